"""Collects the application family: a sample of a customer's LLM interactions, judged by one judge for the run."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.quality.collect import NO_KEY, collect
from optiinfra_dagster.quality.judge import Judge
from optiinfra_dagster.quality.sources import open_source
from optiinfra_dagster.storage.dialects import Dialects
from optiinfra_dagster.storage.verdicts import Verdicts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optiinfra_dagster.collection.plan import Context, Task
    from optiinfra_dagster.collection.run import Work


@contextmanager
def judging(context: Context) -> Iterator[Work]:
    """Lend what judges a customer's windows. All customers of a run share its judge, which keeps the run's budget."""
    judge = Judge.of(context.settings, Dialects(context.clickhouse))
    verdicts = Verdicts(context.clickhouse)

    def work(task: Task) -> Iterator[SliceResult]:
        customer, provider = task.customer, context.provider.name
        if judge is None:
            yield SliceResult(customer.id, provider, task.windows, SliceStatus.NOT_CONFIGURED, error=NO_KEY)
            return
        for window in task.windows:
            meter = Meter()
            source = open_source(customer, clickhouse=context.clickhouse, meter=meter)
            judged = collect(customer, provider, window, source, judge, verdicts, context.now)
            yield SliceResult(
                customer.id,
                provider,
                [window],
                judged.outcome,
                rows=judged.rows,
                error=judged.error,
                permanent=judged.permanent,
                api_calls=judged.api_calls + meter.calls.total(),
                # What the judge costs is ours, and stands in the rows; this is what the customer's cloud charges.
                api_cost_usd=meter.cost_usd,
            )

    try:
        yield work
    finally:
        if judge is not None:
            judge.close()
