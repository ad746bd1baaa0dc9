"""Verdicts as rows of `application_metrics`: the scores of each interaction, and what each sample stands for."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import quality
from optiinfra_dagster.model.quality import GRADED, METRICS, ApplicationRow, Failure, Verdict
from optiinfra_dagster.quality import rubric
from optiinfra_dagster.quality.models import same_family

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from optiinfra_dagster.config.token_prices import TokenPrice
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.quality.sampling import Tokens


def metric_rows(
    customer_id: str, interaction: Interaction, verdict: Verdict, *, store_text: bool
) -> Iterator[ApplicationRow]:
    """The five rows of an interaction. What the judge did not say has no score, whatever the label."""
    texts = rubric.texts_of(interaction)
    common: dict[str, Any] = {
        "prompt_length": len(interaction.prompt),
        "response_length": len(interaction.response),
        "prompt_hash": rubric.text_hash(customer_id, texts["prompt"]),
        "response_hash": rubric.text_hash(customer_id, texts["response"]),
        "self_preference": same_family(verdict.judge_model, interaction.model_name),
    }
    if cut := rubric.too_long(texts):
        common["cut"] = cut  # the judge saw the beginning and the end of these
    for metric in METRICS:
        score, label, details = _score(metric, verdict)
        direction = "higher_is_better" if metric in GRADED else "higher_is_worse"
        part = getattr(verdict.answer, metric, None)
        if store_text and part is not None and part.evidence:
            details["evidence"] = part.evidence
        yield ApplicationRow(
            metric,
            interaction.timestamp,
            interaction.application_id,
            interaction.application_name,
            interaction.model_name,
            interaction.interaction_id,
            score,
            label,
            {"direction": direction, **common, **details},
            texts["prompt"] if store_text else "",
            texts["response"] if store_text else "",
            verdict.tokens,
            {"usd": _money(verdict.usd)},
        )


def _score(metric: str, verdict: Verdict) -> tuple[float | None, str, dict[str, Any]]:
    """The score from 0 to 1, its label, and what else is to be told of one metric."""
    answer = verdict.answer
    if answer is None:
        cause = verdict.failure or Failure.REFUSED
        return None, "over_budget" if cause is Failure.OVER_BUDGET else "judge_failed", {"cause": cause.value}
    if metric == "hallucination":
        part = answer.hallucination
        if part is None:
            return None, quality.NOT_ASSESSABLE, {"cause": "no context or reference"}
        counts = {"claims_checked": part.claims_checked, "unsupported_claims": part.unsupported_claims}
        return quality.HALLUCINATION.get(part.label), part.label, counts
    if metric == "toxicity":
        severity = answer.toxicity.severity
        return severity / 3, quality.SEVERITIES[severity], {"raw": severity, "category": answer.toxicity.category}
    raw: int = getattr(answer, metric).score
    return (raw - 1) / 4, quality.LEVELS[raw], {"raw": raw}


def sample_row(
    window: datetime,
    application_id: str,
    model: str,
    population: int,
    group: Sequence[tuple[Interaction, Verdict]],
    tokens: Tokens,
    price: TokenPrice | None,
) -> ApplicationRow:
    """The row of an application's and model's sample: how much of it was judged, and what its verdicts took.

    Beside it stand the tokens of the whole population with the customer's price of them at this time, so that a price
    that changes later does not change what was paid before.
    """
    judged = [verdict for _, verdict in group if verdict.answer is not None]
    failed = Counter(verdict.failure.value for _, verdict in group if verdict.failure)
    # Interactions with equal texts share one verdict, which was paid for once.
    paid = list({id(verdict): verdict for _, verdict in group}.values())
    costs = [verdict.usd for verdict in paid]
    details = {
        "population": population,
        "sampled": len(group),
        "judged": len(judged),
        "over_budget": failed.pop(Failure.OVER_BUDGET.value, 0),
        "failed": dict(sorted(failed.items())),
        "not_assessable": sum(_score("hallucination", verdict)[1] == quality.NOT_ASSESSABLE for verdict in judged),
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
