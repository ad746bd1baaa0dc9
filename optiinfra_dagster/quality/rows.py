"""Verdicts as rows of `application_metrics`: the scores of each interaction, and what each sample stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from optiinfra_dagster.model import quality
from optiinfra_dagster.model.quality import METRICS, RETRIEVAL, ApplicationRow, Failure, OwnAnswers, Verdict
from optiinfra_dagster.quality import own_rubrics, rubric, rules
from optiinfra_dagster.quality.models import same_family

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from optiinfra_dagster.config.application import Application
    from optiinfra_dagster.config.rubrics import Rubric
    from optiinfra_dagster.config.token_prices import TokenPrice
    from optiinfra_dagster.model.quality import Evident, Hallucination, Recall, Retrieval
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.quality.sampling import Tokens

_WORSE = ("hallucination", "toxicity")  # where a higher score is worse


def metric_rows(
    customer_id: str,
    interaction: Interaction,
    application: Application,
    verdict: Verdict,
    own: Mapping[Rubric, Verdict | None],
) -> Iterator[ApplicationRow]:
    """The rows of an interaction: one of each metric, of each of the customer's `own` rubrics and of each rule.

    What the judge did not say has no score, whatever the label. A rubric without a verdict was not asked about, because
    the interaction lacks what it needs.
    """
    store_text = application.store_text
    texts = rubric.texts_of(interaction)
    common: dict[str, Any] = {
        "prompt_length": len(interaction.prompt),
        "response_length": len(interaction.response),
        "prompt_hash": rubric.text_hash(customer_id, texts["prompt"]),
        "response_hash": rubric.text_hash(customer_id, texts["response"]),
        "self_preference": same_family(verdict.judge_model, interaction.model_name),
    }
    if cut := rubric.too_long(texts):
        common["cut"] = cut  # the judge saw parts of these
    if interaction.earlier:
        common["earlier_turns"] = len(interaction.earlier)

    def row(
        metric: str, scored: MetricScore, *, worse: bool, by: Verdict | None = None, version: str = ""
    ) -> ApplicationRow:
        details = {"direction": "higher_is_worse" if worse else "higher_is_better", **common, **scored.details}
        return ApplicationRow(
            metric,
            interaction.timestamp,
            interaction.application_id,
            interaction.application_name,
            interaction.model_name,
            interaction.interaction_id,
            scored.score,
            scored.label,
            {**details, **(scored.quoting if store_text else {})},
            texts["prompt"] if store_text else "",
            texts["response"] if store_text else "",
            by.tokens if by else 0,
            {"usd": _money(by.usd)} if by else {},
            version,
        )

    for metric in (*METRICS, *RETRIEVAL):
        yield row(metric, score_of(metric, verdict), worse=metric in _WORSE, by=verdict)
    for rubric_, judged in own.items():
        worse, version = rubric_.direction == "higher_is_worse", own_rubrics.judged_by(verdict.judge_version, rubric_)
        yield row(f"rubric:{rubric_.name}", _own_score(rubric_, judged), worse=worse, by=judged, version=version)
    for name, found in rules.apply(interaction, application).items():
        yield row(name, MetricScore(*found), worse=True)


class MetricScore(NamedTuple):
    """A metric's score from 0 to 1, its label, and what else is to be told; `quoting` may quote what is judged."""

    score: float | None
    label: str
    details: Mapping[str, Any] = MappingProxyType({})
    quoting: Mapping[str, Any] = MappingProxyType({})


def score_of(metric: str, verdict: Verdict) -> MetricScore:
    """The score of a verdict by one of our metrics."""
    answer = verdict.answer
    if answer is None:
        return _failed(verdict)
    match metric:
        case "hallucination":
            return _hallucination(answer.hallucination)
        case "groundedness":
            return _groundedness(answer.hallucination)
        case "context_relevance" | "context_precision":
            return _retrieval(metric, answer.retrieval)
        case "context_recall":
            return _recall(answer.recall)
        case "toxicity":
            severity, category = answer.toxicity.severity, answer.toxicity.category
            raw = {"raw": severity, "category": category}
            return MetricScore(severity / 3, quality.SEVERITIES[severity], raw, _evidence(answer.toxicity))
    graded = getattr(answer, metric)
    if isinstance(graded.score, str):
        return MetricScore(None, graded.score, {}, _evidence(graded))
    return MetricScore((graded.score - 1) / 4, quality.LEVELS[graded.score], {"raw": graded.score}, _evidence(graded))


def _own_score(rubric_: Rubric, verdict: Verdict | None) -> MetricScore:
    if verdict is None:
        return MetricScore(None, quality.NOT_ASSESSABLE, {"cause": f"no {rubric_.needs}"})
    if not isinstance(verdict.said, OwnAnswers):
        return _failed(verdict)
    answer = verdict.said.own[rubric_.name]
    score, label = own_rubrics.score_of(rubric_, answer)
    return MetricScore(score, label, {}, _evidence(answer))


def _failed(verdict: Verdict) -> MetricScore:
    cause = verdict.failure or Failure.REFUSED
    label = "over_budget" if cause is Failure.OVER_BUDGET else "judge_failed"
    return MetricScore(None, label, {"cause": cause.value})


def _hallucination(part: Hallucination | None) -> MetricScore:
    if part is None:
        return MetricScore(None, quality.NOT_ASSESSABLE, {"cause": "no context or reference"})
    counts = {
        "claims_checked": part.checked,
        "unsupported_claims": part.unsupported,
        "contradicted_claims": part.count("contradicted"),
        "not_verifiable_claims": part.count("not_verifiable"),
    }
    claims = [claim.model_dump() for claim in part.claims if claim.claim]
    return MetricScore(quality.HALLUCINATION[part.label], part.label, counts, {"claims": claims} if claims else {})


def _groundedness(part: Hallucination | None) -> MetricScore:
    """The share of the claims that are supported, of those that a source could decide."""
    if part is None:
        return MetricScore(None, quality.NOT_ASSESSABLE, {"cause": "no context or reference"})
    if not part.checked:
        return MetricScore(None, quality.NOT_ASSESSABLE, {"cause": "the response states no fact"})
    share = part.count("supported") / part.checked
    return MetricScore(share, _level(share), {"claims_checked": part.checked, "unsupported_claims": part.unsupported})


def _retrieval(metric: str, part: Retrieval | None) -> MetricScore:
    if part is None:
        return MetricScore(None, quality.NOT_ASSESSABLE, {"cause": "no context"})
    share = part.relevance if metric == "context_relevance" else part.precision
    details = {"chunks": len(part.chunks)}
    if share is None:
        return MetricScore(None, quality.CANNOT_TELL, details)
    return MetricScore(share, _level(share), details)


def _recall(part: Recall | None) -> MetricScore:
    if part is None:
        return MetricScore(None, quality.NOT_ASSESSABLE, {"cause": "no context, or no reference"})
    if not part.facts:
        return MetricScore(None, quality.NOT_ASSESSABLE, {"cause": "the reference states no fact"})
    share, details = part.recall, {"facts": len(part.facts)}
    if share is None:
        return MetricScore(None, quality.CANNOT_TELL, details)
    return MetricScore(share, _level(share), details)


def _level(share: float) -> str:
    """The word for a share: all | part | none."""
    return "all" if share == 1 else "none" if share == 0 else "part"


def _evidence(part: Evident) -> dict[str, str]:
    return {"evidence": part.evidence} if part.evidence else {}


def sample_row(
    window: datetime,
    application_id: str,
    model: str,
    population: int,
    group: Sequence[tuple[Interaction, Verdict]],
    tokens: Tokens,
    price: TokenPrice | None,
    by_rubrics: Sequence[Verdict] = (),
) -> ApplicationRow:
    """The row of an application's and model's sample: how much of it was judged, and what its verdicts took.

    Beside it stand the tokens of the whole population with the customer's price of them at this time, so that a price
    that changes later does not change what was paid before.
    """
    judged = [verdict for _, verdict in group if verdict.answer is not None]
    failed = Counter(verdict.failure.value for _, verdict in group if verdict.failure)
    # Interactions with equal texts share one verdict, which was paid for once.
    paid = list({id(verdict): verdict for verdict in (*(verdict for _, verdict in group), *by_rubrics)}.values())
    costs = [verdict.usd for verdict in paid]
    details = {
        "population": population,
        "sampled": len(group),
        "judged": len(judged),
        "over_budget": failed.pop(Failure.OVER_BUDGET.value, 0),
        "failed": dict(sorted(failed.items())),
        "not_assessable": sum(score_of("hallucination", verdict).label == quality.NOT_ASSESSABLE for verdict in judged),
        "tokens": sum(verdict.tokens for verdict in paid),
        "usd": None if None in costs else _money(sum((cost or Decimal(0) for cost in costs), Decimal(0))),
        "requests_with_tokens": tokens.counted,
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "input_usd_per_million": None if price is None else f"{price.input_usd_per_million:f}",
        "output_usd_per_million": None if price is None else f"{price.output_usd_per_million:f}",
    }
    name = min((interaction.application_name for interaction, _ in group), default="")
    return ApplicationRow("sample", window, application_id, name, model, details=details)


def _money(usd: Decimal | None) -> str | None:
    return None if usd is None else f"{usd:.9f}"
