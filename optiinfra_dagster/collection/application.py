"""Collects the application family: a sample of a customer's LLM interactions, judged by one judge for the run.

With the present window, those before it whose logs came late are collected again. A slice says what it was made of, so
that this is found whatever happened between: a kill, or two runs at once, cost at most the same work again.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.quality.collect import NO_KEY, collect
from optiinfra_dagster.quality.judge import Judge
from optiinfra_dagster.quality.second_judge import SecondJudge
from optiinfra_dagster.quality.sources import open_source
from optiinfra_dagster.storage.dialects import Dialects
from optiinfra_dagster.storage.known_interactions import KnownInteractions
from optiinfra_dagster.storage.log_files import collected_contents
from optiinfra_dagster.storage.verdicts import Verdicts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from optiinfra_dagster.collection.plan import Context, Task
    from optiinfra_dagster.collection.run import Work


MOST_LATE = 24
"""Windows with late records that one run collects again, the newest first; the others have their turn in the next."""


@contextmanager
def judging(context: Context) -> Iterator[Work]:
    """Lend what judges a customer's windows. All customers of a run share its judge, which keeps the run's budget."""
    dialects, verdicts = Dialects(context.clickhouse), Verdicts(context.clickhouse)
    known = KnownInteractions(context.clickhouse)
    judge = Judge.of(context.settings, dialects)
    second = SecondJudge.of(context.settings, judge, dialects) if judge is not None else None

    def work(task: Task) -> Iterator[SliceResult]:
        customer, provider = task.customer, context.provider.name
        if judge is None:
            yield SliceResult(customer.id, provider, task.windows, SliceStatus.NOT_CONFIGURED, error=NO_KEY)
            return
        newest, late = max(task.windows), timedelta(hours=context.settings.late_logs_hours)
        # Old windows are looked at again along with the present one; who asks for an old one wants that one.
        looks_back = late > timedelta(0) and context.due().present(newest)
        meter = Meter()
        source = open_source(
            customer,
            clickhouse=context.clickhouse,
            meter=meter,
            since=min(task.windows) - (late if looks_back else timedelta(0)),
            late=late,
            now=context.now,
        )
        counted = _MeterReading(meter)

        def result(window: datetime) -> SliceResult:
            judged = collect(customer, provider, window, source, judge, verdicts, context.now, second)
            known.keep(customer.id, provider, window, judged.ids)
            calls, usd = counted.since_last()
            return SliceResult(
                customer.id,
                provider,
                [window],
                judged.outcome,
                rows=judged.rows,
                error=judged.error,
                permanent=judged.permanent,
                api_calls=judged.api_calls + calls,
                # What the judge costs is ours, and stands in the rows; this is what the customer's cloud charges.
                api_cost_usd=usd,
            )

        yield from map(result, task.windows)
        if looks_back:
            collected = collected_contents(
                context.clickhouse, customer.id, provider, newest - late, newest - windows.WINDOW
            )
            for window in task.windows:
                collected.pop(window, None)
            yield from map(result, source.changed(provider, collected)[:MOST_LATE])

    try:
        yield work
    finally:
        if second is not None:
            second.judge.close()
        if judge is not None:
            judge.close()


class _MeterReading:
    """What a meter counts, from one slice to the next."""

    def __init__(self, meter: Meter) -> None:
        self._meter, self._calls, self._usd = meter, 0, Decimal(0)

    def since_last(self) -> tuple[int, Decimal]:
        """Calls and USD since this was asked before."""
        calls, usd = self._meter.calls.total(), self._meter.cost_usd
        since = calls - self._calls, usd - self._usd
        self._calls, self._usd = calls, usd
        return since
