"""Samples and judges one window of a customer's LLM application; the result is rows of `application_metrics`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from itertools import zip_longest
from typing import TYPE_CHECKING

import pyarrow as pa

from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.model.interaction_ids import Ids
from optiinfra_dagster.model.quality import ApplicationRow
from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.quality.asking import explain, is_final, judge_all
from optiinfra_dagster.quality.budget import Allowance
from optiinfra_dagster.quality.rows import metric_rows, sample_row
from optiinfra_dagster.quality.second_judge import SecondJudge, SecondOpinions
from optiinfra_dagster.quality.unread import explain_unread
from optiinfra_dagster.quality.window_calls import draw
from optiinfra_dagster.storage.rows import application_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from optiinfra_dagster.config.application import Application
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.rubrics import Rubric
    from optiinfra_dagster.model.quality import Verdict
    from optiinfra_dagster.quality.counts import SourceCounts
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.quality.judge import Judge
    from optiinfra_dagster.quality.sources import InteractionSource
    from optiinfra_dagster.quality.window_calls import WindowCalls
    from optiinfra_dagster.storage.verdicts import Verdicts

NO_KEY = (
    "LLM quality is not judged: set GROQ_API_KEY to a key of https://console.groq.com/keys, or "
    "OPTIINFRA_JUDGE_BASE_URL and OPTIINFRA_JUDGE_API_KEY to those of another judge."
)
START_LOGGING = (
    "Correct `interactions` in the customers file, or let the application deliver its log there (in ClickHouse: with "
    "the customer's id in customer_id, or in the resource attribute customer.id of OpenTelemetry)."
)


@dataclass(frozen=True, slots=True)
class WindowResult:
    """The result of one window: the fields of its slice, what was paid for judging it now, and its interactions' ids.

    `judge_usd` is no field of the slice: the ledger's costs are what the customer's clouds charge.
    """

    outcome: SliceStatus
    rows: pa.Table | None = None
    error: str = ""
    permanent: bool = False
    api_calls: int = 0
    judge_usd: Decimal = Decimal(0)
    ids: Ids = field(default_factory=Ids)


def collect(
    customer: Customer,
    provider: str,
    window: datetime,
    source: InteractionSource,
    judge: Judge | None,
    verdicts: Verdicts,
    now: Callable[[], datetime],
    second: SecondJudge | None = None,
) -> WindowResult:
    """Judge a sample of a window's interactions; without a judge, say what to set.

    Raises:
        CloudError: interactions or judge cannot be used, by key, permission or setting; verdicts got so far are kept.
        ConfigError: the interactions are not where the customers file says.
        StorageError: verdicts could not be read or kept.
    """
    if customer.application is None:
        raise ConfigError(f"{customer.id} has no `application` in the customers file: add one with `interactions`.")
    application = customer.application
    if judge is None:
        return WindowResult(SliceStatus.NOT_CONFIGURED, error=NO_KEY)
    drawn = draw(customer.id, application, provider, window, source)
    counts = drawn.counts
    if not counts.records and source.is_empty(provider):
        return WindowResult(SliceStatus.FAILED, error=f"nothing was ever logged in {source.place}. {START_LOGGING}")
    chosen = _in_turns(drawn)
    allowance = Allowance.of_window(
        judge.day, judge.late_share, window, now(), provider, customer.application_providers
    )
    answers = judge_all(
        customer.id, chosen, judge, verdicts,
        store_text=application.store_text, now=now, allowance=allowance, own=application.rubrics,
    )  # fmt: skip
    judged = [
        _Judged(interaction, *answers.of(customer.id, judge.version, interaction, application.rubrics))
        for interaction in chosen
    ]
    rows = [
        row
        for one in judged
        for row in metric_rows(customer.id, one.interaction, application, one.verdict, one.by_rubric)
    ]
    rows += _sample_rows(window, application, drawn, judged)
    rows.append(ApplicationRow("source", window, details=_source_details(counts, drawn.feedback.evaluations)))
    opinions = SecondOpinions()
    if second is not None:
        pairs = [(one.interaction, one.verdict) for one in judged]
        opinions = second.opinions(customer.id, application, pairs, verdicts, allowance, now)
    tables = [
        application_rows(customer.id, provider, window, of_one, model, version, now())
        for of_one, model, version in (
            (rows, judge.model, judge.version),
            (list(drawn.feedback.rows()), "", ""),  # by no judge
            (opinions.rows, opinions.model, opinions.version),
        )
        if of_one
    ]
    failed = [one.failed for one in judged if one.failed is not None]
    unanswered = explain(failed, len(chosen), judge, answers.reasons)
    error = " ".join(text for text in (explain_unread(counts), unanswered) if text)
    return WindowResult(
        SliceStatus.PARTIAL if error else SliceStatus.OK,
        pa.concat_tables(tables),
        error=f"{error} {opinions.error}".strip(),
        # What cannot be read stays so until the file changes, which is found without being asked for.
        permanent=bool(error) and is_final(failed),
        api_calls=answers.requests + opinions.requests,
        judge_usd=answers.usd + opinions.usd,
        ids=drawn.ids,
    )


def _in_turns(drawn: WindowCalls) -> list[Interaction]:
    """The chosen interactions, one of each application in turn: none starves the others where a budget ends."""
    sample = drawn.sample
    turns = zip_longest(*(sample.chosen(application) for application in sample.applications))
    return [replace(one, earlier=drawn.sessions.before(one)) for turn in turns for one in turn if one is not None]


@dataclass(frozen=True, slots=True)
class _Judged:
    """A sampled interaction with its verdicts: by our metrics, and by each of the customer's rubrics.

    A rubric without a verdict was not asked about, because the interaction lacks what it needs.
    """

    interaction: Interaction
    verdict: Verdict
    by_rubric: Mapping[Rubric, Verdict | None]

    @property
    def own_verdicts(self) -> list[Verdict]:
        """The verdicts by the customer's rubrics that were asked about."""
        return [verdict for verdict in self.by_rubric.values() if verdict is not None]

    @property
    def failed(self) -> Verdict | None:
        """The first of the verdicts that the judge did not give; None where it gave all."""
        return next((verdict for verdict in (self.verdict, *self.own_verdicts) if verdict.failure), None)


def _sample_rows(
    window: datetime, application: Application, drawn: WindowCalls, judged: Sequence[_Judged]
) -> Iterator[ApplicationRow]:
    """The rows of the samples, one of each application and model, and those of the tokens that were used."""
    sample = drawn.sample
    prices = {price.model: price for price in application.token_prices}
    for (application_id, model), population in sorted(sample.populations.items()):
        group = [
            one
            for one in judged
            if (one.interaction.application_id, one.interaction.model_name) == (application_id, model)
        ]
        yield sample_row(
            window,
            application_id,
            model,
            population,
            [(one.interaction, one.verdict) for one in group],
            sample.tokens(application_id, model),
            prices.get(model),
            [verdict for one in group for verdict in one.own_verdicts],
        )
    yield from drawn.usage.rows(window, prices)


def _source_details(counts: SourceCounts, evaluations: int) -> dict[str, object]:
    """What was read for a window: kept beside its figures, with the digest by which late records are found."""
    return {
        **{name: getattr(counts, name) for name in ("interactions", "bad_lines", "other_provider", "files")},
        **({"feedback": counts.feedback, "evaluations": evaluations} if counts.feedback else {}),
        "skipped": {kind.value: n for kind, n in sorted(counts.skipped.items())},
        "reasons": {reason.value: n for reason, n in sorted(counts.reasons.items())},
        "content": counts.content,
    }
