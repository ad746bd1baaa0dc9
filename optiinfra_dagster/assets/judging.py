"""How one customer's LLM interactions of some windows are judged; all customers of a run share one judge."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.types import Meter
from optiinfra_dagster.quality.collect import NO_KEY, collect
from optiinfra_dagster.quality.judge import Judge
from optiinfra_dagster.quality.sources import open_source
from optiinfra_dagster.quality.verdicts import Verdicts
from optiinfra_dagster.storage.slices import Outcome, Slices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from optiinfra_dagster.assets.collection import Put, Task, Work
    from optiinfra_dagster.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse


@contextmanager
def judging(clickhouse: ClickHouse, settings: Settings) -> Iterator[Work]:
    """What judges one customer's windows; its judge keeps the budget of the run."""
    judge, verdicts = Judge.of(settings), Verdicts(clickhouse)

    def work(provider: str, task: Task, _settings: Settings, now: Callable[[], datetime], put: Put) -> None:
        customer = task.customer
        if judge is None:
            put(Slices(customer.id, provider, task.windows, Outcome.NOT_CONFIGURED, error=NO_KEY))
            return
        for window in task.windows:
            meter = Meter()
            source = open_source(customer, clickhouse=clickhouse, meter=meter)
            found = collect(customer, provider, window, source, judge, verdicts, now)
            put(
                Slices(
                    customer.id,
                    provider,
                    [window],
                    found.outcome,
                    rows=found.rows,
                    error=found.error,
                    permanent=found.permanent,
                    api_calls=found.api_calls + meter.calls.total(),
                    # What the judge costs is ours, and stands in the rows; this is what the customer's cloud charges.
                    api_cost_usd=meter.cost_usd,
                )
            )

    try:
        yield work
    finally:
        if judge is not None:
            judge.close()
