"""The ledger (`metric_batches`): the published batch of each slice, the outcomes of attempts, the cost of their calls.

This module alone asks the ledger for a single answer; its SELECTs are in `sql/queries/`. Nothing here imports numpy or
pyarrow at the top: checks and the command line load it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Decimal
from typing import TYPE_CHECKING, Any, NamedTuple

from optiinfra_dagster.model.months import start_of_month
from optiinfra_dagster.model.slices import SliceKey, SliceStatus
from optiinfra_dagster.model.text import storable
from optiinfra_dagster.model.windows import WINDOW
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from clickhouse_connect.driver.client import Client

_LAST_DIGIT = Decimal("1e-9")  # of what the ledger says that calls cost


# --- Batches that are published --------------------------------------------------------------------------------------


@dataclass(slots=True)
class LedgerRow:
    """A row that is to be written to the ledger: the outcome of one slice of a flush.

    `batch` is None for the batch of the flush; an attempt that gave the published content again names the batch that
    holds it, so its API calls are kept and nothing is written twice. `scope` is that of `SliceResult`.
    """

    key: SliceKey
    status: SliceStatus
    rows: int = 0
    content_hash: int = 0
    error: str = ""
    permanent: bool = False
    api_calls: int = 0
    api_cost_usd: Decimal = Decimal(0)
    batch: int | None = None
    scope: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PublishedBatch:
    """The newest published batch of a slice."""

    batch: int
    status: SliceStatus
    rows: int
    content_hash: int
    error: str = ""
    permanent: bool = False


def published(
    client: Client, dataset: str, windows: Collection[datetime], customers: Sequence[str] | None = None
) -> dict[SliceKey, PublishedBatch]:
    """The newest published batch of each slice of `dataset` between the first and the last of `windows`."""
    if not windows:
        return {}
    rows = client.query(
        read_sql("queries/published_slices"),
        parameters={"dataset": dataset, **_between(windows), "customers": list(customers or [])},
    ).result_rows
    return {
        SliceKey(customer, provider, _utc(seconds)): PublishedBatch(batch, SliceStatus(status), *facts)
        for customer, provider, seconds, batch, status, *facts in rows
    }


def next_batch(newest: Iterable[PublishedBatch], now: Callable[[], int] = time.time_ns) -> int:
    """A number higher than any batch in `newest`, and in practice than any other: nanoseconds since the epoch.

    A clock that went backwards is overtaken by counting on from the highest number seen, by a step of up to a second
    that is drawn: the next number in turn may be that of rows which a killed attempt left.
    """
    clock, highest = now(), max((p.batch for p in newest), default=0)
    return clock if clock > highest else highest + 1 + secrets.randbelow(10**9)


def publish(client: Client, dataset: str, entries: Sequence[LedgerRow], batch: int, run_id: str) -> None:
    """The commit: one INSERT of one block per month partition holds the ledger rows of every slice of the flush."""
    # pyarrow, and numpy behind it, cost every process that loads the definitions 0.25 CPU-s.
    import pyarrow as pa

    from optiinfra_dagster.storage.schema import LEDGER

    now = datetime.now(UTC)
    months: dict[str, list[dict[str, Any]]] = {}
    for e in entries:
        months.setdefault(f"{e.key.window:%Y%m}", []).append(
            {
                "dataset": dataset,
                "customer_id": e.key.customer_id,
                "provider": e.key.provider,
                "window_start": e.key.window,
                "batch": e.batch or batch,
                "rows": e.rows,
                "content_hash": e.content_hash,
                "status": e.status.value,
                "permanent": e.permanent,
                "error": storable(e.error),
                "api_calls": e.api_calls,
                "api_cost_usd": e.api_cost_usd.quantize(_LAST_DIGIT, ROUND_CEILING),
                "run_id": run_id,
                "published_at": now,
                "scope": list(e.scope.items()),
            }
        )
    for month, rows in months.items():
        client.insert_arrow(
            "metric_batches",
            pa.Table.from_pylist(rows, schema=LEDGER),
            settings={"insert_deduplication_token": f"{dataset}-{batch}-{month}"},
        )


class InventoryWindows(NamedTuple):
    """The published inventories of a customer: the newest at or before a window, None for none; and the oldest."""

    at_or_before: datetime | None
    oldest: datetime


def inventory_windows(
    client: Client, provider: str, customers: Sequence[str], window: datetime, since: datetime
) -> dict[str, InventoryWindows]:
    """The inventories published since a moment, by customer; a customer without any is not in the answer."""
    rows = client.query(
        read_sql("queries/inventory_windows"),
        parameters={
            "provider": provider,
            "customers": list(customers),
            "window": int(window.timestamp()),
            "oldest": int(since.timestamp()),
        },
    ).result_rows
    return {
        customer: InventoryWindows(_utc(newest) if newest else None, _utc(oldest)) for customer, newest, oldest in rows
    }


Scope = Mapping[str, Sequence[str]]
"""Where an inventory looked: by account the regions that it listed, or none where that was all of the account."""


def inventory_scopes(client: Client, provider: str, windows: Mapping[str, datetime]) -> dict[str, Scope]:
    """Where the inventory of each customer's window looked, by customer; one of which it is not known is not there."""
    if not windows:
        return {}
    seconds = {customer: int(window.timestamp()) for customer, window in windows.items()}
    parameters = {"provider": provider, "customers": list(seconds), "windows": sorted(set(seconds.values()))}
    rows = client.query(read_sql("queries/inventory_scopes"), parameters=parameters).result_rows
    return {customer: scope for customer, window, scope in rows if seconds[customer] == window}


# --- Outcomes of attempts --------------------------------------------------------------------------------------------


def newest_tried(
    client: Client, dataset: str, customers: Sequence[str], since: datetime
) -> dict[tuple[str, str], datetime]:
    """The newest window after `since` that was collected, or tried and failed, by customer and provider."""
    rows = client.query(
        read_sql("queries/newest_tried"),
        parameters={"dataset": dataset, "customers": list(customers), "since": int(since.timestamp())},
    ).result_rows
    return {(customer, provider): _utc(seconds) for customer, provider, seconds in rows}


class UnfinishedSlices(NamedTuple):
    """Slices of a customer, provider and dataset whose newest attempts lack something alike: `status` says how.

    `error` is that of the newest window among them.
    """

    customer_id: str
    provider: str
    dataset: str
    status: SliceStatus
    slices: int
    error: str


def unfinished(client: Client, customers: Sequence[str], first: datetime, last: datetime) -> list[UnfinishedSlices]:
    """The slices from `first` to `last` that failed, are partial or were left out for a budget, counted, in order."""
    rows = client.query(
        read_sql("queries/unfinished_slices"),
        parameters={"customers": list(customers), **_between((first, last))},
    ).result_rows
    return [
        UnfinishedSlices(customer, provider, dataset, SliceStatus(status), slices, error)
        for customer, provider, dataset, status, slices, error in rows
    ]


class SliceStates(NamedTuple):
    """The slices of a customer, counted: `complete` ones, `incomplete` ones, and failed ones that need a person.

    `error` is the newest error of a slice that is not complete.
    """

    complete: int = 0
    incomplete: int = 0
    helpless: int = 0
    error: str = ""


def slice_states(
    client: Client, dataset: str, provider: str, windows: Collection[datetime], excused: Sequence[SliceStatus]
) -> dict[str, SliceStates]:
    """The slices of `windows` by customer; one whose newest attempt has an `excused` status counts as complete."""
    rows = client.query(
        read_sql("queries/slice_states"),
        parameters={
            "dataset": dataset,
            "provider": provider,
            "excused": [status.value for status in excused],
            **_between(windows),
        },
    ).result_rows
    return {customer: SliceStates(*states) for customer, *states in rows}


def failing_since(
    client: Client, dataset: str, provider: str, customers: Sequence[str], first: datetime, last: datetime
) -> dict[str, datetime]:
    """Since which window between `first` and `last` these customers' slices are not whole, where any was due."""
    rows = client.query(
        read_sql("queries/status_failing"),
        parameters={"datasets": [dataset], "customers": list(customers), "first": first, "last": last},
    ).result_rows
    found = {}
    for _, customer, of_provider, whole_until, first_seen, not_whole, _ in rows:
        if of_provider == provider and not_whole:
            found[customer] = _utc(whole_until) + WINDOW if whole_until else _utc(first_seen)
    return found


# --- Costs of calls, and totals of runs ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class MonthSpend:
    """A customer's month at one provider: the cost of the calls, and whether the budget already stopped a slice."""

    usd: Decimal = Decimal(0)
    stopped: bool = False


def spent_this_month(client: Client, provider: str, customers: Sequence[str], now: datetime) -> dict[str, MonthSpend]:
    """The cost of the calls of this calendar month (UTC) by customer; one that is not there spent nothing."""
    begin = start_of_month(now.astimezone(UTC))
    rows = client.query(
        read_sql("queries/spent_since"),
        parameters={"provider": provider, "customers": list(customers), "begin": int(begin.timestamp())},
    ).result_rows
    return {customer: MonthSpend(Decimal(usd), bool(stopped)) for customer, usd, stopped in rows}


def stopped_by_budget(client: Client, provider: str, windows: Collection[datetime]) -> dict[str, str]:
    """The customers with a slice of `windows` that was left out for their budget at last, and what was said of it."""
    rows = client.query(
        read_sql("queries/stopped_by_budget"), parameters={"provider": provider, **_between(windows)}
    ).result_rows
    return dict(map(tuple, rows))


class RunTotals(NamedTuple):
    """Totals of a provider and dataset: what is published of a range, and the calls of runs for it, with their cost."""

    rows: int = 0
    customers: int = 0
    windows: int = 0
    api_calls: int = 0
    api_cost_usd: Decimal = Decimal(0)


def run_totals(
    client: Client, customers: Sequence[str], first: datetime, last: datetime, runs: Sequence[str]
) -> dict[tuple[str, str], RunTotals]:
    """The totals published from `first` to `last`, both included, and the calls of `runs`, by provider and dataset."""
    rows = client.query(
        read_sql("queries/run_totals"),
        parameters={"customers": list(customers), **_between((first, last)), "runs": list(runs)},
    ).result_rows
    return {(provider, dataset): RunTotals(*totals) for provider, dataset, *totals in rows}


class BilledDays(NamedTuple):
    """The rows, customers and days of bills that runs published."""

    rows: int
    customers: int
    days: int


def billed_days(client: Client, runs: Sequence[str]) -> dict[str, BilledDays]:
    """The days of bills that `runs` of the last two days published, by provider."""
    rows = client.query(read_sql("queries/billed_days"), parameters={"runs": list(runs)}).result_rows
    return {provider: BilledDays(*counts) for provider, *counts in rows}


def reader_rows(client: Client, windows: Iterable[datetime]) -> dict[tuple[str, datetime], int]:
    """The number of published rows by reader's table and window."""
    rows = client.query(
        read_sql("queries/reader_rows"),
        parameters={"windows": sorted({int(window.timestamp()) for window in windows})},
    ).result_rows
    return {(table, _utc(seconds)): count for table, seconds, count in rows}


def _between(windows: Collection[datetime]) -> dict[str, int]:
    return {"first": int(min(windows).timestamp()), "last": int(max(windows).timestamp())}


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
