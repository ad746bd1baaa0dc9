"""Sampling and judging of one window of one customer's LLM application, as rows of `application_metrics`."""

from __future__ import annotations

import time
from collections import Counter, deque
from concurrent.futures import FIRST_COMPLETED, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import quality, windows
from optiinfra_dagster.model.errors import CloudError, ConfigError
from optiinfra_dagster.model.quality import GRADED, METRICS, ApplicationRow, Failure, Verdict
from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.quality import rubric
from optiinfra_dagster.quality.budget import Admission
from optiinfra_dagster.quality.models import same_family
from optiinfra_dagster.quality.rubric import Question
from optiinfra_dagster.quality.sampling import Sample
from optiinfra_dagster.storage.rows import application_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from concurrent.futures import Future

    import pyarrow as pa

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.token_prices import TokenPrice
    from optiinfra_dagster.quality.budget import Budget
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.quality.judge import Judge
    from optiinfra_dagster.quality.sampling import Tokens
    from optiinfra_dagster.quality.sources import InteractionSource
    from optiinfra_dagster.storage.verdicts import Verdicts

NO_KEY = "LLM quality is not judged: set GROQ_API_KEY to a key of https://console.groq.com/keys."
LINGER_SECONDS = 0.2
"""A verdict waits so long for those that arrive soon after it, to be stored with them: each store is an insert."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdicts on some interactions, by their keys, and what asking took now (cached verdicts take nothing)."""

    verdicts: Mapping[str, Verdict]
    asked: frozenset[str] = frozenset()

    @property
    def requests(self) -> int:
        """The number of requests that were made."""
        return sum(self.verdicts[key].requests for key in self.asked)

    @property
    def usd(self) -> Decimal:
        """Their cost in USD, as far as the model's price is known."""
        return sum((self.verdicts[key].usd or Decimal(0) for key in self.asked), Decimal(0))


@dataclass(frozen=True, slots=True)
class Collected:
    """The result of one window: the fields of its slice, and what was paid for judging it now.

    `judge_usd` is no field of the slice: the ledger's costs are what the customer's clouds charge.
    """

    outcome: SliceStatus
    rows: pa.Table | None = None
    error: str = ""
    permanent: bool = False
    api_calls: int = 0
    judge_usd: Decimal = Decimal(0)


def collect(
    customer: Customer,
    provider: str,
    window: datetime,
    source: InteractionSource,
    judge: Judge | None,
    verdicts: Verdicts,
    now: Callable[[], datetime],
) -> Collected:
    """Judge a sample of a window's interactions; without a judge, say what to set.

    Raises:
        CloudError: interactions or judge cannot be used, by key, permission or setting; verdicts got so far are kept.
        ConfigError: the interactions are not where the customers file says.
        StorageError: verdicts could not be read or kept.
    """
    if customer.application is None:
        raise ConfigError(f"{customer.id} has no `application` in the customers file: add one with `interactions`.")
    if judge is None:
        return Collected(SliceStatus.NOT_CONFIGURED, error=NO_KEY)
    sample = Sample(customer.id, customer.application.sample_per_window)
    for interaction in source.fetch(provider, window, window + windows.WINDOW):
        sample.add(interaction)
    # The applications in turn, so that none starves the others where a budget ends.
    turns = zip_longest(*(sample.chosen(application) for application in sample.applications))
    chosen = [interaction for turn in turns for interaction in turn if interaction is not None]
    store_text = customer.application.store_text
    judged = judge_all(customer.id, chosen, judge, verdicts, store_text=store_text, now=now)

    scored = [
        (interaction, judged.verdicts[rubric.key_of(customer.id, judge.version, interaction)]) for interaction in chosen
    ]
    rows = [
        row
        for interaction, verdict in scored
        for row in _metric_rows(customer.id, interaction, verdict, store_text=store_text)
    ]
    prices = {price.model: price for price in customer.application.token_prices}
    for (application_id, model), population in sorted(sample.populations.items()):
        group = [(o, v) for o, v in scored if (o.application_id, o.model_name) == (application_id, model)]
        rows.append(
            _sample_row(
                window, application_id, model, population, group,
                sample.tokens(application_id, model), prices.get(model),
            )
        )  # fmt: skip
    counts = source.counts
    details = {name: getattr(counts, name) for name in ("interactions", "bad_lines", "other_provider", "files")}
    rows.append(ApplicationRow("source", window, details=details))
    lacking = Counter(verdict.failure for _, verdict in scored if verdict.failure and not verdict.settled)
    return Collected(
        SliceStatus.PARTIAL if lacking else SliceStatus.OK,
        application_rows(customer.id, provider, window, rows, judge.model, judge.version, now()),
        error=_explain(lacking, len(scored), judge),
        permanent=bool(lacking) and set(lacking) <= _NEED_A_HAND,
        api_calls=judged.requests,
        judge_usd=judged.usd,
    )


def judge_all(
    customer_id: str,
    interactions: Iterable[Interaction],
    judge: Judge,
    verdicts: Verdicts,
    *,
    store_text: bool,
    now: Callable[[], datetime],
) -> Judged:
    """A verdict on each interaction, by `rubric.key_of`: known ones from the cache, the others asked for in turn.

    A verdict is stored before the next question is sent in its place, so a kill loses at most `judge.concurrency`
    answers. Equal texts are asked about once.

    Raises:
        CloudError: the judge cannot be used at all; what it answered before is stored.
        StorageError: verdicts could not be read or stored.
    """
    questions: dict[str, Interaction] = {}
    for interaction in interactions:
        questions.setdefault(rubric.key_of(customer_id, judge.version, interaction), interaction)
    today = now().astimezone(UTC).date()
    known, used = verdicts.load(customer_id, list(questions), today)
    waiting = deque(key for key in questions if key not in known)
    if not waiting:
        return Judged(known)
    judge.prepare()
    purse = [judge.run_budget, judge.day_budget(customer_id, today, *used)]
    asking = _Asking(judge, purse, questions, waiting, known)
    asked: set[str] = set()
    while asking.go_on():
        arrived = asking.wait()
        verdicts.store(customer_id, arrived, now(), store_text=store_text)
        asked |= arrived.keys()
    if asking.refusal is not None:
        raise asking.refusal
    return Judged(known, frozenset(asked))


class _Asking:
    """Questions put to a judge a few at a time, each in the place of one whose verdict was taken."""

    def __init__(
        self,
        judge: Judge,
        purse: list[Budget],
        questions: Mapping[str, Interaction],
        waiting: deque[str],
        known: dict[str, Verdict],
    ) -> None:
        self._judge, self._purse, self._questions, self._waiting, self._known = judge, purse, questions, waiting, known
        self._deadline = time.monotonic() + judge.seconds
        self._under_way: dict[Future[Verdict], str] = {}
        self.refusal: CloudError | None = None

    def go_on(self) -> bool:
        """Put as many questions as may be under way; True while there is something to wait for."""
        while self._waiting and len(self._under_way) < self._judge.concurrency:
            question = Question.about(self._questions[self._waiting[0]])
            in_time = time.monotonic() < self._deadline
            leave = self._judge.hold(question, self._purse) if in_time else Admission.NEVER
            if leave is Admission.LATER:
                break
            key = self._waiting.popleft()
            if leave is Admission.GRANTED:
                self._under_way[self._judge.ask(question, self._purse, self._deadline)] = key
            else:
                self._known[key] = self._judge.not_asked(Failure.OVER_BUDGET if in_time else Failure.OUT_OF_TIME)
        return bool(self._waiting or self._under_way)

    def wait(self) -> dict[str, Verdict]:
        """The verdicts that arrive next, none where budgets are held by the questions of other customers."""
        if not self._under_way:
            self._judge.budgets.wait(self._deadline)
            return {}
        arrived = {}
        wait(self._under_way, return_when=FIRST_COMPLETED)
        for future in wait(self._under_way, timeout=LINGER_SECONDS).done:
            key = self._under_way.pop(future)
            try:
                arrived[key] = future.result()
            except CloudError as error:
                self.refusal = error
                self._waiting.clear()
        self._known.update(arrived)
        return arrived


# --- Rows -----------------------------------------------------------------------------------------------------------


def _metric_rows(
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


def _sample_row(
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


# Causes that stay until somebody changes something, or the budget's day is over.
_NEED_A_HAND = {Failure.OVER_BUDGET, Failure.TOO_LARGE, Failure.REFUSED}

_REMEDIES = {
    Failure.OVER_BUDGET: "raise the limits OPTIINFRA_JUDGE_RUN_TOKENS={0.run_tokens}, OPTIINFRA_JUDGE_RUN_REQUESTS="
    "{0.run_requests}, OPTIINFRA_JUDGE_CUSTOMER_DAY_TOKENS={0.day_tokens} and OPTIINFRA_JUDGE_CUSTOMER_DAY_REQUESTS="
    "{0.day_requests}, or lower sample_per_window",
    Failure.OUT_OF_TIME: "raise OPTIINFRA_JUDGE_SECONDS={0.seconds:g} or OPTIINFRA_JUDGE_CONCURRENCY={0.concurrency}, "
    "or lower sample_per_window",
    Failure.THROTTLED: "ask Groq for a higher rate limit, or lower sample_per_window",
    Failure.TOO_LARGE: "set OPTIINFRA_JUDGE_MODEL to a model with a larger context or rate limit",
    Failure.REFUSED: "set OPTIINFRA_JUDGE_MODEL to a model that supports strict JSON schemas",
}


def _explain(lacking: Mapping[Failure, int], sampled: int, judge: Judge) -> str:
    """`3 of 40 sampled interactions have no verdict: 2 throttled, 1 timeout. Remedy: ...`."""
    if not lacking:
        return ""
    causes = ", ".join(f"{count} {cause.value}" for cause, count in sorted(lacking.items()))
    remedies = "; ".join(_REMEDIES[cause].format(judge) for cause in sorted(lacking) if cause in _REMEDIES)
    text = f"{sum(lacking.values())} of {sampled} sampled interactions have no verdict: {causes}."
    return f"{text} Remedy: {remedies}." if remedies else text
