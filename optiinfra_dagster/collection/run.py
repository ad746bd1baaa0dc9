"""A collection run: one family of one provider for many customers, side by side.

Each (customer, window) is a slice of its own: what one customer's credential, throttle or bug costs is that customer's
slice, recorded in the ledger with its true error. Nothing here knows Dagster: `assets/collection_assets.py` calls it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from optiinfra_dagster.collection.application import judging
from optiinfra_dagster.collection.cost import CostCollector
from optiinfra_dagster.collection.inventory import collect_inventory, too_late
from optiinfra_dagster.collection.metrics import collect_metrics
from optiinfra_dagster.collection.plan import Context, Task, with_budgets, with_daily_totals, with_poll, with_snapshots
from optiinfra_dagster.collection.pool import SLOW_TIMES, SlotPool, in_flush_batches
from optiinfra_dagster.model.errors import CloudError, OptiInfraError
from optiinfra_dagster.model.slices import PublishedWindows, SliceKey, SliceResult, SliceStatus
from optiinfra_dagster.storage import allocation
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.ledger import published

if TYPE_CHECKING:
    from optiinfra_dagster.config.customers import Customer

Work = Callable[[Task], Iterator[SliceResult]]
"""The collection of one customer: yields slices as they are finished."""


def collect_slices(
    context: Context,
    family: str,
    customers: Sequence[Customer],
    requested: Collection[datetime],
    *,
    refresh: bool = False,
    log: Callable[[str], None] = lambda _message: None,
) -> Iterator[Sequence[SliceResult | PublishedWindows]]:
    """Collect the `requested` windows of `family` for `customers`, several customers at a time.

    Yields flush batches as they fill. Published slices are left out unless `refresh`, and named in the first batch;
    partial ones are collected again where that is still possible.
    """
    if family == "cost":  # the readers that follow go by it
        with context.clickhouse.session(writes="allocation_rules") as client:
            allocation.record(client, customers)
    tasks, complete = _plan(context, family, customers, requested, log, refresh=refresh)
    work_list: Iterable[Task] = tasks
    if tasks and family == "performance":
        tasks = with_daily_totals(context, tasks)
    if tasks and family in {"performance", "cost"}:
        work_list = with_snapshots(context, with_budgets(context, tasks), max(requested))
    if complete:
        yield complete
    lent = SLOW_TIMES if family in {"resource", "performance"} and len(requested) == 1 else 1
    concurrency = context.settings.concurrency
    slots = SlotPool(concurrency, concurrency * lent)
    with _working(context, family, log) as work:
        yield from in_flush_batches(lambda task: _guarded(work, context.provider.name, task, log), work_list, slots)


def _plan(
    context: Context,
    family: str,
    customers: Sequence[Customer],
    requested: Collection[datetime],
    log: Callable[[str], None],
    *,
    refresh: bool,
) -> tuple[list[Task], list[PublishedWindows]]:
    """The tasks of those customers that lack something, and the slices that are published already."""
    provider = context.provider.name
    windows_of = {
        customer.id: with_poll(requested, customer.poll_minutes) if family == "performance" else requested
        for customer in customers
    }
    with context.clickhouse.session(reads=LEDGER_TABLE) as client:
        ledger = published(
            client,
            family,
            [window for its_windows in windows_of.values() for window in its_windows],
            [customer.id for customer in customers],
        )
    tasks, complete = [], []
    late: dict[datetime, list[str]] = {}
    due = context.due()
    for customer in customers:
        wanted: list[datetime] = []
        published_windows: list[datetime] = []
        published_rows = 0
        for window in windows_of[customer.id]:
            if window not in requested and not due.polled(customer, window):
                continue
            old = ledger.get(SliceKey(customer.id, provider, window))
            # An inventory of the past stays as it is, or is not there: the present neither completes nor replaces it.
            if family == "resource" and not due.present(window):
                if old is None:
                    late.setdefault(window, []).append(customer.id)
                    continue
                is_wanted = False
            else:
                is_lacking = old is None or old.status is SliceStatus.PARTIAL
                is_wanted = is_lacking or (refresh and window in requested)
            (wanted if is_wanted else published_windows).append(window)
            published_rows += old.rows if old and not is_wanted else 0
        if published_windows:
            complete.append(PublishedWindows(customer.id, provider, published_windows, published_rows))
        if wanted:
            tasks.append(Task(customer, tuple(wanted), refresh=refresh))
    if late:
        log(too_late(context, {customer for names in late.values() for customer in names}, late))
    return tasks, complete


@contextmanager
def _working(context: Context, family: str, log: Callable[[str], None]) -> Iterator[Work]:
    """Lend the collector of a family."""
    if family == "application":
        with judging(context) as work:
            yield work
    elif family == "cost":
        yield CostCollector(context).collect
    elif family == "resource":
        yield partial(collect_inventory, context, log=log)
    else:
        yield partial(collect_metrics, context)


def _guarded(work: Work, provider: str, task: Task, log: Callable[[str], None]) -> Iterator[SliceResult]:
    """Yield a customer's slices; an error becomes the failure of those that are missing, with its true text."""
    missing = set(task.windows)
    logged = {SliceStatus.BUDGET} if task.over_budget_told else set()  # once a month is enough
    try:
        for slices in work(task):
            missing.difference_update(slices.windows)
            if slices.error and slices.status not in logged:
                log(f"{slices.customer_id} {provider}: {slices.error}")
            if slices.status is SliceStatus.BUDGET:
                logged.add(slices.status)
            yield slices
    except OptiInfraError as error:
        permanent = not isinstance(error, CloudError) or error.cause.permanent
        message = str(error)
    except Exception as error:  # noqa: BLE001 - one customer's odd answer must not cost the others their slices
        permanent = False
        message = f"{type(error).__name__} at {_where(error)}: a fault of this program, please report it."
    else:
        return
    if missing:
        log(f"{task.customer.id} {provider}: {message}")
        yield SliceResult(
            task.customer.id, provider, sorted(missing), SliceStatus.FAILED, error=message, permanent=permanent
        )
    else:
        log(f"{task.customer.id} {provider}: after its slices: {message}")


def _where(error: BaseException) -> str:
    """The innermost place of this package in the traceback; the error's text is left out, it may quote an answer."""
    place, tb = "?", error.__traceback__
    while tb:
        if "optiinfra_dagster" in tb.tb_frame.f_code.co_filename:
            place = f"{tb.tb_frame.f_globals.get('__name__', '?')}:{tb.tb_lineno}"
        tb = tb.tb_next
    return place
