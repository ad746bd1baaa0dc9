"""The plan of a run: the windows due of each customer, and the inventory and budget that they are collected with."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage import inventory
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.ledger import MonthSpend, spent_this_month
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.providers.registry import AnyProvider
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.inventory import InventorySnapshot

INVENTORY_LOOKBACK = timedelta(days=30)
CUSTOMERS_READ = 100  # inventories that are read together
DAILY_LOOKBACK = timedelta(days=4)  # as far as a source of daily totals is read again after an outage, and a day


@dataclass(frozen=True)
class Context:
    """Context of a run: what the collections of all its customers share. `now` is the clock; tests hold it still."""

    provider: AnyProvider
    clickhouse: ClickHouse
    settings: Settings
    now: Callable[[], datetime]

    def due(self) -> Due:
        """The rules of what can be collected, at this moment."""
        return Due(self.settings, self.now())


@dataclass(frozen=True)
class Task:
    """The collection of one customer: its windows, and what they are collected with.

    `snapshot` is the inventory that metrics are asked for and estimates are made of. `daily` is, by resource, the
    newest day (epoch seconds) whose totals other slices hold. `budget_usd` is what is left of the month's budget, None
    for no limit; `over_budget_told` is true if the ledger already says so this month.
    """

    customer: Customer
    windows: tuple[datetime, ...]
    snapshot: InventorySnapshot | None = None
    daily: Mapping[str, int] = field(default_factory=dict)
    budget_usd: Decimal | None = None
    over_budget_told: bool = False
    refresh: bool = False


def with_snapshots(context: Context, tasks: Sequence[Task], window: datetime) -> Iterator[Task]:
    """The tasks with the inventory of `window`, or the newest before it, which is read for some customers at a time.

    Inventories of 1,000 customers with 60 resources each take 140 MB.
    """
    for start in range(0, len(tasks), CUSTOMERS_READ):
        part = tasks[start : start + CUSTOMERS_READ]
        customers = [task.customer.id for task in part]
        newest = inventory.newest(
            context.clickhouse, context.provider.name, customers, window, lookback=INVENTORY_LOOKBACK
        )
        for task in part:
            yield replace(task, snapshot=newest.pop(task.customer.id, None))


def with_daily_totals(context: Context, tasks: Sequence[Task]) -> list[Task]:
    """The tasks with the days whose totals are stored, for a provider that tells such totals."""
    if not context.provider.has_daily_totals:
        return list(tasks)
    windows_of_all = sorted({window for task in tasks for window in task.windows})
    with context.clickhouse.session(reads=read_sql("queries/newest_daily")) as client:
        rows = client.query(
            read_sql("queries/newest_daily"),
            parameters={
                "provider": context.provider.name,
                "customers": [task.customer.id for task in tasks],
                "first": int((windows_of_all[0] - DAILY_LOOKBACK).timestamp()),
                "windows": [int(window.timestamp()) for window in windows_of_all],
            },
        ).result_rows
    daily: dict[str, dict[str, int]] = {}
    for customer, resource, day in rows:
        daily.setdefault(customer, {})[resource] = day
    return [replace(task, daily=daily.get(task.customer.id, {})) for task in tasks]


def with_budgets(context: Context, tasks: Sequence[Task]) -> list[Task]:
    """The tasks with what is left of their customers' budgets for API calls this month."""
    limits = {task.customer.id: task.customer.monthly_api_budget_usd for task in tasks}
    limited = [customer for customer, limit in limits.items() if limit is not None]
    if not limited:
        return list(tasks)
    with context.clickhouse.session(reads=LEDGER_TABLE) as client:
        spent = spent_this_month(client, context.provider.name, limited, context.now())
    budgeted = []
    for task in tasks:
        limit, known = limits[task.customer.id], spent.get(task.customer.id, MonthSpend())
        budget = None if limit is None else max(limit - known.usd, Decimal(0))
        budgeted.append(replace(task, budget_usd=budget, over_budget_told=known.stopped))
    return budgeted


@dataclass(frozen=True)
class Due:
    """The rules of what can be collected, at a moment."""

    settings: Settings
    now: datetime

    def polled(self, customer: Customer, window: datetime) -> bool:
        """True once the customer's poll that `window` belongs to is over, and the lag after it."""
        return poll_end(window, customer.poll_minutes) + timedelta(minutes=self.settings.lag_minutes) <= self.now

    def present(self, window: datetime) -> bool:
        """True while a snapshot taken now may be stored under `window`: `snapshot_grace_minutes` beyond its end."""
        grace = timedelta(minutes=self.settings.snapshot_grace_minutes)
        return window <= self.now <= window + windows.WINDOW + grace


def poll_end(window: datetime, poll_minutes: int) -> datetime:
    """The end of the poll of `window`: polls count from midnight UTC, and a day's last may be shorter."""
    poll, day = timedelta(minutes=poll_minutes), timedelta(days=1)
    return min(windows.floor_to(poll, window) + poll, windows.floor_to(day, window) + day)


def with_poll(requested: Collection[datetime], poll_minutes: int) -> list[datetime]:
    """The windows of `requested`, and those of the same polls before them: a poll asks for all its windows at once."""
    if timedelta(minutes=poll_minutes) == windows.WINDOW:
        return list(requested)
    wanted = set(requested)
    for window in requested:
        wanted.update(windows.span(windows.floor_to(timedelta(minutes=poll_minutes), window), window))
    return sorted(wanted)
