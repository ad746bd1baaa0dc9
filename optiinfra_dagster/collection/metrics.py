"""Collects the performance family: the points of a customer's windows, and late ones of the window before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.collection.outcome import all_permanent
from optiinfra_dagster.collection.points import settle_coverage, to_ask
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import MetricsRequest
from optiinfra_dagster.model.problems import describe
from optiinfra_dagster.model.slices import MergeLatePoints, ReplaceMetrics, SliceResult, SliceStatus
from optiinfra_dagster.providers import prometheus_figures
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.storage import arrow
from optiinfra_dagster.storage.rows import performance_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from optiinfra_dagster.collection.plan import Context, Due, Task
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.model.metrics import Coverage, MetricsResult
    from optiinfra_dagster.providers.registry import AnyProvider

# Memory bound of one customer's request: windows are asked for together up to about this many points.
CHUNK_POINTS = 400_000
POINTS_PER_RESOURCE_AND_WINDOW = 30


def collect_metrics(context: Context, task: Task) -> Iterator[SliceResult]:
    """The slices of a customer's points: of its windows and, where late points may have arrived, of the one before.

    Raises:
        CloudError: there is no inventory to ask metrics of, or the rest of the windows would fail alike.
    """
    customer, provider, snapshot = task.customer, context.provider, task.snapshot
    if snapshot is None:
        raise CloudError(
            Cause.UNAVAILABLE,
            f"no inventory of {customer.id} on {provider.name} was published yet, so there is nothing to ask metrics "
            f"of. Collect {provider.name}/resource first.",
        )
    due = context.due()
    oldest = due.now - provider.metrics_history
    yield from _not_collectable(task, provider, due, oldest)
    ready = [window for window in task.windows if window >= oldest and due.polled(customer, window)]
    cache = DayCache(context.settings.dagster_home / "memory")
    budget = task.budget_usd
    for first, last in windows.runs_of(ready):
        for begin, end in _chunks(first, last, len(snapshot.resources)):
            has_overlap = begin == first and first - windows.OVERLAP >= oldest
            start = begin - windows.OVERLAP if has_overlap else begin
            request = MetricsRequest(
                customer.id,
                customer.accounts(provider.name),
                to_ask(snapshot.resources, start),
                start,
                end + windows.WINDOW,
                present=end if due.present(end) else None,
                listed=snapshot.window,
                daily=task.daily,
                memory=cache,
            )
            # All of it or nothing: half a window would be paid for and still be missing.
            if budget is not None and (price := provider.metrics_price(request)) > budget:
                error = _over_budget(customer, price, budget)
                yield SliceResult(customer.id, provider.name, windows.span(begin, end), SliceStatus.BUDGET, error=error)
                continue
            meter = Meter(budget)
            answer = provider.metrics(request, meter)
            prometheus_figures.add_figures(provider.name, provider.kinds, request, answer, meter)
            settle_coverage(answer, begin, request.resources, provider.kinds, task.daily)
            budget = None if budget is None else budget - meter.cost_usd
            poll_seconds = customer.poll_minutes * 60
            rows = performance_rows(customer.id, provider.name, answer.series, context.now(), poll_seconds)
            mode = ReplaceMetrics(request.present)
            yield from _slices(customer.id, provider.name, windows.span(begin, end), rows, answer, meter, mode)
            if has_overlap and not answer.problems:
                before = begin - windows.WINDOW
                late = arrow.between(rows, before, before)
                yield SliceResult(
                    customer.id, provider.name, [before], SliceStatus.OK, rows=late, mode=MergeLatePoints()
                )
            if not answer.series and all_permanent(answer.problems):
                # The windows that are left would fail alike, at the price of more calls.
                raise CloudError(answer.problems[0].cause, describe(answer.problems))


def _not_collectable(task: Task, provider: AnyProvider, due: Due, oldest: datetime) -> Iterator[SliceResult]:
    """The slices of windows whose poll is not over, and of those whose points the cloud keeps no longer."""
    if early := [window for window in task.windows if not due.polled(task.customer, window)]:
        yield SliceResult(task.customer.id, provider.name, early, SliceStatus.NOT_DUE)
    if past := [window for window in task.windows if window < oldest]:
        # An old question is answered like an idle machine's: with no points. That must not stand as collected.
        yield SliceResult(
            task.customer.id,
            provider.name,
            past,
            SliceStatus.FAILED,
            permanent=True,
            error=f"{provider.name} keeps the points of these metrics for {provider.metrics_history.days} days, so "
            f"windows before {windows.key(windows.floor(oldest) + windows.WINDOW)} cannot be collected any more.",
        )


def _over_budget(customer: Customer, price: Decimal, left: Decimal) -> str:
    return (
        f"the calls cost up to {price:f} USD and {left:f} USD are left of this month's budget of "
        f"{customer.monthly_api_budget_usd:f} USD, so they were not made. Raise monthly_api_budget_usd or "
        "poll_minutes in the customers file, or wait for the next month."
    )


def _slices(
    customer_id: str,
    provider: str,
    requested: Sequence[datetime],
    rows: pa.Table,
    answer: MetricsResult,
    meter: Meter,
    mode: ReplaceMetrics,
) -> Iterator[SliceResult]:
    """The slices of one answer. If it has problems, a window without any rows has failed, and is not an empty one."""
    rows = arrow.between(rows, requested[0], requested[-1])
    filled = set(rows["window_start"].unique().to_pylist()) if answer.problems else set[datetime]()
    only_budget = all(problem.cause is Cause.BUDGET for problem in answer.problems)
    parts = (
        (SliceStatus.OK, [] if answer.problems else requested),
        (SliceStatus.PARTIAL, [window for window in requested if window in filled]),
        (
            SliceStatus.BUDGET if only_budget else SliceStatus.FAILED,
            [window for window in requested if answer.problems and window not in filled],
        ),
    )
    calls, usd = meter.calls.total(), meter.cost_usd
    coverage: Sequence[Coverage] | None = answer.coverage
    for status, its_windows in parts:
        if its_windows:
            yield SliceResult(
                customer_id,
                provider,
                its_windows,
                status,
                rows=rows if status.published else None,
                error=describe(answer.problems),
                permanent=all_permanent(answer.problems),
                api_calls=calls,
                api_cost_usd=usd,
                coverage=coverage,
                mode=mode,
            )
            calls, usd, coverage = 0, Decimal(0), None  # of the whole answer, so only once


def _chunks(first: datetime, last: datetime, resources: int) -> Iterator[tuple[datetime, datetime]]:
    """The range cut into parts (first, last) whose points fit in memory."""
    size = max(1, CHUNK_POINTS // (POINTS_PER_RESOURCE_AND_WINDOW * max(resources, 1)))
    whole = windows.span(first, last)
    for i in range(0, len(whole), size):
        part = whole[i : i + size]
        yield part[0], part[-1]
