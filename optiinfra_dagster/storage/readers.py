"""Finds the rows that people read: those of a reader's view, of a family's published rows, of a history."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage import as_of_views, cost_choice
from optiinfra_dagster.storage.reader_tables import shown_table
from optiinfra_dagster.storage.sql import read_sql, readers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.sql import Reader


@dataclass(frozen=True, slots=True)
class Source:
    """The view or (SELECT) that rows are read from, and the columns, order and texts with which people see them."""

    view: str
    shows: tuple[str, ...]  # the most telling first: a terminal shows as many as it has room for
    key: tuple[str, ...]  # what rows are ordered by before their time
    ordered_by: str = ""  # before `key`
    if_empty: str = "nothing is there"
    time: str = "window_start"  # what a range of times is about
    length: timedelta = windows.WINDOW  # of a slice
    is_history: bool = False  # not slices of windows: all of it is read
    reader: Reader | None = None  # None where the rows themselves are read
    of_one_resource: bool = False  # one must be named
    is_unique: bool = False  # no two rows have the same key and time: a million are sorted by that alone
    # Of rows themselves: which of them count from a time on, and how far their times and their windows lie apart.
    since: str = ""
    window_before: timedelta = timedelta(0)
    window_after: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class RowFilter:
    """Which rows are asked for: of which customer, family, times and resource. An empty text and None are no limit.

    `slices` are the windows to read by provider, instead of a range of times; the provider "" stands for all others.
    """

    family: str
    customer: str
    provider: str = ""
    begin: datetime | None = None
    end: datetime | None = None
    resource_id: str = ""
    limit: int | None = None
    cost: str = "billed"  # which of `cost_choice.COSTS` the amount is
    slices: Mapping[str, datetime] = field(default_factory=dict)
    as_of: datetime | None = None  # what was known at a time, instead of now


@dataclass(frozen=True, slots=True)
class Statement:
    """A SELECT of the rows that are asked for, in the order for people; its columns are chosen when it is run."""

    types: Mapping[str, str]  # of the columns
    rows: str  # a SELECT
    order: str
    limit: int | None
    parameters: dict[str, Any]
    shows: Sequence[str] = ()  # the columns for people

    def select(self, columns: str, limit: int | None = None) -> str:
        """The SELECT of some columns or expressions, of at most `limit` rows."""
        most = min((one for one in (limit, self.limit) if one), default=None)
        return f"SELECT {columns} FROM ({self.rows}) ORDER BY {self.order}" + (f" LIMIT {most}" if most else "")  # noqa: S608 - names are the code's own


@dataclass(frozen=True, slots=True)
class Page:
    """The first rows of an answer, as values; `total` counts all rows, in which each column of `same` has one value."""

    types: Mapping[str, str]
    rows: Sequence[Sequence[Any]]
    total: int
    same: frozenset[str]


def _metrics(view: str, shows: str, key: str, **of_rows: Any) -> Source:
    """The published rows of a family themselves."""
    return Source(view, tuple(shows.split()), tuple(key.split()), time="timestamp", **of_rows)


_ROWS: Mapping[str, Mapping[str, Source]] = {
    "performance": {
        "metrics": _metrics(
            "performance_metrics_current",
            "timestamp provider resource_type resource_name metric_name statistic metric_value unit region resource_id",
            "provider resource_type resource_id metric_name statistic instance_uid",
            is_unique=True,
            # A total of a day stands at its start, in the window that it was read in: up to four days later.
            since="if(period_seconds > 900, timestamp + toIntervalSecond(period_seconds) > {begin:DateTime('UTC')}, "
            "timestamp >= {begin:DateTime('UTC')})",
            window_before=timedelta(days=1),
            window_after=timedelta(days=4),
        )
    },
    "resource": {
        "timeline": Source(
            f"({read_sql('queries/resource_timeline')})",
            ("at", "until", "reader", "what", "says", "provider", "instance_uid"),
            ("reader", "what"),
            ordered_by="at",
            time="at",
            is_history=True,
            of_one_resource=True,
        )
    },
    "cost": {
        "metrics": _metrics(
            "costs",  # cost_metrics_current has bills and estimates of the same days
            "charge_day provider service_name resource_name amount currency cost_kind cost_type charge_category "
            "region_id is_final sub_account_id resource_id",
            "provider resource_id sub_account_id service_name charge_day",
            # What is billed is of a whole day, at whose start it stands.
            since="if(cost_kind = 'billed', charge_day >= toDate({begin:DateTime('UTC')}, 'UTC'), "
            "timestamp >= {begin:DateTime('UTC')})",
            window_before=timedelta(days=1),
        ),
        "restatements": Source(
            "cost_restatements_current",
            ("charge_day", "provider", "service_name", "before", "after", "currency", "seen_at", "sub_account_id"),
            ("provider", "sub_account_id", "service_name", "charge_day"),
            if_empty="no day that was published has been changed by its bill since",
            time="seen_at",
            is_history=True,
        ),
    },
    "application": {
        "metrics": _metrics(
            "application_metrics_current",
            "timestamp provider application_id model_name metric_type score label tokens interaction_id",
            "provider application_id model_name interaction_id metric_type judge_version",
        )
    },
}


@cache
def sources() -> dict[str, dict[str, Source]]:
    """The sources of rows: family -> name -> source, each family's own rows before its readers."""
    found = {family: dict(of_family) for family, of_family in _ROWS.items()}
    for (family, name), reader in readers().items():
        found.setdefault(family, {})[name] = Source(
            reader.view,
            reader.shows,
            reader.key[1:],  # the customer is the same in all
            reader.ordered_by,
            reader.if_empty,
            length=reader.length,
            reader=reader,
        )
    return found


def columns(client: Client, view: str) -> dict[str, str]:
    """The columns of a view, with their types."""
    return {row[0]: row[1] for row in client.query(f"DESCRIBE TABLE {view}").result_rows}


def statement(source: Source, wanted: RowFilter, types: Mapping[str, str]) -> Statement:
    """The rows that are wanted. `types` are those of `columns`."""
    conditions = ["customer_id = {customer:String}"]
    if wanted.provider:
        conditions.append("provider = {provider:String}")
    if wanted.begin:
        conditions.append(source.since or f"{source.time} >= {{begin:DateTime('UTC')}}")
    if wanted.end:
        conditions.append(f"{source.time} < {{end:DateTime('UTC')}}")
    # Bounds on window_start are what skips old parts.
    if wanted.begin and not source.is_history:
        conditions.append("window_start >= {first_window:DateTime('UTC')}")
    if wanted.end and not source.is_history:
        conditions.append("window_start < {end_of_windows:DateTime('UTC')}")
    if wanted.resource_id:
        conditions.append("resource_id = {resource:String}")
    conditions += _of_slices(wanted.slices)
    instead = [f"{sql} AS {name}" for name, sql in cost_choice.instead(wanted.cost, types).items()]
    list_of_instead = f" REPLACE ({', '.join(instead)})" if instead else ""
    parameters = {
        "customer": wanted.customer,
        "provider": wanted.provider,
        "begin": _text(wanted.begin),
        "end": _text(wanted.end),
        "first_window": _text(windows.floor(wanted.begin) - source.window_before if wanted.begin else None),
        "end_of_windows": _text(wanted.end + source.window_after if wanted.end else None),
        "resource": wanted.resource_id,
        "as_of": as_of_views.text(wanted.as_of or as_of_views.EVER),
    }
    view = as_of_views.call(source.view) if wanted.as_of else source.view
    return Statement(
        types,
        f"SELECT *{list_of_instead} FROM {view} AS t WHERE {' AND '.join(conditions)}",  # noqa: S608 - names are the code's own
        ", ".join(_order(source, types)),
        wanted.limit,
        parameters,
        source.shows,
    )


def _order(source: Source, types: Mapping[str, str]) -> list[str]:
    """What rows are sorted by: at each asking the same rows come in the same order, those of one key, too."""
    first = [*filter(None, [source.ordered_by]), *source.key, source.time]
    return first if source.is_unique else [*first, *(name for name in telling(types) if name not in first)]


def telling(types: Mapping[str, str]) -> list[str]:
    """The columns that tell rows apart: those that can be compared exactly, and sorted."""
    return [name for name, kind in types.items() if not re.search(r"Float|Map\(|Array\(|Tuple\(|JSON", kind)]


def _of_slices(slices: Mapping[str, datetime]) -> list[str]:
    """The conditions of rows that stand in the slice of their provider."""
    if not slices:
        return []
    starts = sorted({int(start.timestamp()) for start in slices.values()})
    named = {provider: int(start.timestamp()) for provider, start in slices.items() if provider}
    conditions = [
        f"window_start >= fromUnixTimestamp({starts[0]})",
        f"window_start <= fromUnixTimestamp({starts[-1]})",
    ]
    if len(starts) > 1:
        of_others = int(slices[""].timestamp())
        own = f"transform(toString(provider), {list(named)}, {list(named.values())}, {of_others})"
        conditions.append(f"toUnixTimestamp(window_start) = {own}")
    return conditions


def page(client: Client, wanted: Statement, size: int) -> Page:
    """The first rows, at most `size`, with the columns for people."""
    columns = wanted.shows
    listed = ", ".join(columns)
    rows = client.query(wanted.select(listed, size + 1), parameters=wanted.parameters, tz_mode="aware").result_rows
    types = {name: wanted.types[name] for name in columns}
    if len(rows) <= size:
        values = list(zip(*rows, strict=True)) or [()] * len(columns)
        same = (name for name, of_rows in zip(columns, values, strict=True) if len(set(map(repr, of_rows))) == 1)
        return Page(types, rows, len(rows), frozenset(same))
    counts = ", ".join(f"uniqUpTo(1)(tuple({name}))" for name in columns)
    ((total, *distinct),) = client.query(
        f"SELECT count(), {counts} FROM ({wanted.select(listed)})",  # noqa: S608 - names are the code's own
        parameters=wanted.parameters,
    ).result_rows
    one = (name for name, values in zip(columns, distinct, strict=True) if values == 1)
    return Page(types, rows[:size], total, frozenset(one))


def records(client: Client, wanted: Statement) -> list[dict[str, Any]]:
    """All rows with all columns, as values."""
    rows = client.query(wanted.select("*"), parameters=wanted.parameters, tz_mode="aware")
    return list(rows.named_results())


@dataclass(frozen=True, slots=True)
class Standing:
    """The newest published window of a customer's provider, and its newest attempt."""

    provider: str
    collected: datetime | None
    tried: datetime
    status: str
    error: str


def standings(client: Client, wanted: RowFilter, providers: Collection[str]) -> dict[str, Standing]:
    """By provider, those of the customer's family that the ledger knows something of.

    It is read as a whole only where its last day does not tell of all `providers` that are expected.
    """
    found: dict[str, Standing] = {}
    for since in ((wanted.as_of or datetime.now(UTC)) - timedelta(days=1), datetime.fromtimestamp(0, UTC)):
        rows = client.query(
            read_sql("queries/standings"),
            parameters={
                "customer": wanted.customer,
                "family": wanted.family,
                "provider": wanted.provider,
                "since": int(since.timestamp()),
                "as_of": as_of_views.text(wanted.as_of or as_of_views.EVER),
            },
        ).result_rows
        for provider, published, newest, tried, status, error in rows:
            collected = datetime.fromtimestamp(newest, UTC) if published else None
            found[provider] = Standing(provider, collected, datetime.fromtimestamp(tried, UTC), status, error)
        if all(provider in found and found[provider].collected for provider in providers or [""]):
            break
    return found


def computed(
    client: Client, reader: Reader, collected: Collection[datetime], as_of: datetime | None = None
) -> dict[datetime, datetime]:
    """For each of some windows, the reader's newest slice that is of it or of one before; none where there is none.

    A reader's window is newer than a provider's where its last collection failed: that window says nothing of it.
    """
    found: dict[datetime, datetime] = {}
    for since in (min(collected) - timedelta(days=1), datetime.fromtimestamp(0, UTC)):
        rows = client.query(
            "SELECT DISTINCT toUnixTimestamp(window_start) AS seconds FROM metric_batches "
            "WHERE dataset = {dataset:String} AND customer_id = '' AND status IN ('ok', 'partial') "
            "AND window_start >= fromUnixTimestamp({since:UInt32}) "
            "AND window_start <= fromUnixTimestamp({last:UInt32}) AND published_at <= {as_of:DateTime64(3, 'UTC')} "
            "ORDER BY seconds",
            parameters={
                "as_of": as_of_views.text(as_of or as_of_views.EVER),
                "dataset": shown_table(client, reader),
                "since": int(since.timestamp()),
                "last": int(max(collected).timestamp()),
            },
        ).result_rows
        starts = [datetime.fromtimestamp(seconds, UTC) for (seconds,) in rows]
        for window in collected:
            if place := bisect_right(starts, window):
                found[window] = starts[place - 1]
        if len(found) == len(set(collected)):
            break
    return found


def is_collected(client: Client, wanted: RowFilter) -> bool:
    """True if a slice of the customer's family was published in the times that are wanted."""
    ledger = as_of_views.call("published_batches") if wanted.as_of else "published_batches"
    ((count,),) = client.query(
        f"SELECT count() FROM {ledger} WHERE customer_id = {{customer:String}} "  # noqa: S608 - names are the code's own
        "AND dataset IN ({family:String}, concat({family:String}, '_billed')) "
        "AND (empty({provider:String}) OR provider = {provider:String}) "
        "AND window_start >= fromUnixTimestamp({begin:UInt32}) AND window_start < fromUnixTimestamp({end:UInt32})",
        parameters={
            "customer": wanted.customer, "family": wanted.family, "provider": wanted.provider,
            "as_of": as_of_views.text(wanted.as_of or as_of_views.EVER),
            "begin": int(windows.floor(wanted.begin).timestamp()) if wanted.begin else 0,
            "end": int(wanted.end.timestamp()) if wanted.end else 2**32 - 1,
        },
    ).result_rows  # fmt: skip
    return bool(count)


def _text(time: datetime | None) -> str:
    """A time as the text that {name:DateTime('UTC')} parses; what no condition names may be any time."""
    return f"{(time or datetime(2000, 1, 1, tzinfo=UTC)).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
