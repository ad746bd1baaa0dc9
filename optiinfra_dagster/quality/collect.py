"""Sampling and judging of one window of one customer's LLM application, as rows of `application_metrics`."""

from __future__ import annotations

from collections import defaultdict
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
    from collections.abc import Callable

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.model.quality import Verdict
    from optiinfra_dagster.quality.counts import SourceCounts
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.quality.judge import Judge
    from optiinfra_dagster.quality.sources import InteractionSource
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
    sample, counts = drawn.sample, drawn.counts
    if not counts.records and source.is_empty(provider):
        return WindowResult(SliceStatus.FAILED, error=f"nothing was ever logged in {source.place}. {START_LOGGING}")
    # The applications in turn, so that none starves the others where a budget ends.
    turns = zip_longest(*(sample.chosen(application) for application in sample.applications))
    chosen = [replace(one, earlier=drawn.sessions.before(one)) for turn in turns for one in turn if one is not None]
    store_text = application.store_text
    providers = customer.application_providers
    allowance = Allowance.of_window(judge.day, judge.late_share, window, now(), provider, providers)
    judged = judge_all(
        customer.id, chosen, judge, verdicts,
        store_text=store_text, now=now, allowance=allowance, own=application.rubrics,
    )  # fmt: skip

    scored: list[tuple[Interaction, Verdict]] = []
    by_rubrics: dict[tuple[str, str], list[Verdict]] = defaultdict(list)
    rows: list[ApplicationRow] = []
    lacking: list[Verdict] = []
    for interaction in chosen:
        verdict, by_own = judged.of(customer.id, judge.version, interaction, application.rubrics)
        scored.append((interaction, verdict))
        rows += metric_rows(customer.id, interaction, application, verdict, by_own)
        given = [one for one in by_own.values() if one is not None]
        by_rubrics[interaction.application_id, interaction.model_name] += given
        lacking += [one for one in (verdict, *given) if one.failure][:1]
    prices = {price.model: price for price in application.token_prices}
    for (application_id, model), population in sorted(sample.populations.items()):
        group = [(o, v) for o, v in scored if (o.application_id, o.model_name) == (application_id, model)]
        rows.append(
            sample_row(
                window, application_id, model, population, group,
                sample.tokens(application_id, model), prices.get(model), by_rubrics[application_id, model],
            )
        )  # fmt: skip
    rows += drawn.usage.rows(window, prices)
    rows.append(ApplicationRow("source", window, details=_source_details(counts, drawn.feedback.evaluations)))
    table = application_rows(customer.id, provider, window, rows, judge.model, judge.version, now())
    if said := list(drawn.feedback.rows()):  # by no judge
        table = pa.concat_tables([table, application_rows(customer.id, provider, window, said, "", "", now())])
    others = SecondOpinions()
    if second is not None:
        others = second.opinions(customer.id, application, scored, verdicts, allowance, now)
    if others.rows:
        of_second = application_rows(customer.id, provider, window, others.rows, others.model, others.version, now())
        table = pa.concat_tables([table, of_second])
    judging = explain(lacking, len(scored), judge, judged.reasons)
    error = " ".join(text for text in (explain_unread(counts), judging) if text)
    return WindowResult(
        SliceStatus.PARTIAL if error else SliceStatus.OK,
        table,
        error=f"{error} {others.error}".strip(),
        # What cannot be read stays so until the file changes, which is found without being asked for.
        permanent=bool(error) and is_final(lacking),
        api_calls=judged.requests + others.requests,
        judge_usd=judged.usd + others.usd,
        ids=drawn.ids,
    )


def _source_details(counts: SourceCounts, evaluations: int) -> dict[str, object]:
    """What was read for a window: kept beside its figures, with the digest by which late records are found."""
    return {
        **{name: getattr(counts, name) for name in ("interactions", "bad_lines", "other_provider", "files")},
        **({"feedback": counts.feedback, "evaluations": evaluations} if counts.feedback else {}),
        "skipped": {kind.value: n for kind, n in sorted(counts.skipped.items())},
        "reasons": {reason.value: n for reason, n in sorted(counts.reasons.items())},
        "content": counts.content,
    }
