"""Finds the rows that people read: those of a reader's view, of a family's published rows, of a history."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage import cost_shown
from optiinfra_dagster.storage.reader_tables import shown_table
from optiinfra_dagster.storage.sql import read_sql, readers

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
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


@dataclass(frozen=True, slots=True)
class Wanted:
    """Whose rows, and which of them. An empty text and None are no limit."""

    family: str
    customer: str
    provider: str = ""
    begin: datetime | None = None
    end: datetime | None = None
    resource_id: str = ""
    limit: int | None = None
    cost: str = "billed"  # which of `cost_shown.COSTS` the amount is


def _metrics(view: str, shows: str, key: str) -> Source:
    """The published rows of a family themselves."""
    return Source(view, tuple(shows.split()), tuple(key.split()), time="timestamp")


_ROWS: Mapping[str, Mapping[str, Source]] = {
    "performance": {
        "metrics": _metrics(
            "performance_metrics_current",
            "timestamp provider resource_type resource_name metric_name statistic metric_value unit region resource_id",
            "provider resource_type resource_id metric_name statistic",
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


def find(client: Client, source: Source, wanted: Wanted, types: Mapping[str, str]) -> pa.Table:
    """The rows as Arrow, in the order for people. `types` are those of `columns`.

    Times are made DateTime64, which Arrow knows as times; of a DateTime it makes a bare number.
    """
    conditions = ["customer_id = {customer:String}"]
    if wanted.provider:
        conditions.append("provider = {provider:String}")
    if wanted.begin:
        conditions.append(f"{source.time} >= {{begin:DateTime('UTC')}}")
    if wanted.end:
        conditions.append(f"{source.time} < {{end:DateTime('UTC')}}")
    # Rows stand in the window that holds their timestamp: the bound on window_start is what skips old parts.
    if wanted.begin and not source.is_history:
        conditions.append("window_start >= {begin_window:DateTime('UTC')}")
    if wanted.end and not source.is_history:
        conditions.append("window_start < {end:DateTime('UTC')}")
    if wanted.resource_id:
        conditions.append("resource_id = {resource:String}")
    times = [f"toDateTime64({name}, 0, 'UTC') AS {name}" for name, kind in types.items() if "DateTime(" in kind]
    list_of_times = ", ".join(times)
    instead = [f"{sql} AS {name}" for name, sql in cost_shown.instead(wanted.cost, types).items()]
    list_of_instead = f" REPLACE ({', '.join(instead)})" if instead else ""
    order = [*filter(None, [source.ordered_by]), *source.key, source.time]
    sql = (
        f"SELECT *{f' REPLACE ({list_of_times})' if times else ''} "  # noqa: S608 - names are the code's own
        f"FROM (SELECT *{list_of_instead} FROM {source.view} AS t WHERE {' AND '.join(conditions)}) "
        f"ORDER BY {', '.join(order)}" + (f" LIMIT {wanted.limit}" if wanted.limit else "")
    )
    parameters = {
        "customer": wanted.customer,
        "provider": wanted.provider,
        "begin": _text(wanted.begin),
        "begin_window": _text(windows.floor(wanted.begin) if wanted.begin else None),
        "end": _text(wanted.end),
        "resource": wanted.resource_id,
    }
    return client.query_arrow(sql, parameters=parameters, use_strings=True)


def newest(client: Client, source: Source, wanted: Wanted) -> tuple[datetime | None, datetime | None]:
    """The customer's newest published window of the family, and the newest of the source that tells of it.

    A reader's window is newer than the customer's where its last collection failed: that window says nothing of it.
    """
    of_customer = (
        "customer_id = {customer:String} AND dataset = {family:String} AND status IN ('ok', 'partial') "
        "AND (empty({provider:String}) OR provider = {provider:String})"
    )
    parameters: dict[str, str | int] = {
        "customer": wanted.customer, "family": wanted.family, "provider": wanted.provider,
    }  # fmt: skip
    collected = _latest(client, of_customer, parameters, datetime.now(UTC) - timedelta(days=1))
    if collected is None or source.reader is None:
        return collected, collected
    of_reader = (
        "dataset = {dataset:String} AND customer_id = '' AND status IN ('ok', 'partial') "
        "AND window_start <= fromUnixTimestamp({collected:UInt32})"
    )
    parameters["dataset"] = shown_table(client, source.reader)
    parameters["collected"] = int(collected.timestamp())
    return collected, _latest(client, of_reader, parameters, collected - timedelta(days=1))


def last_attempt(client: Client, wanted: Wanted) -> tuple[str, str, str] | None:
    """The provider, status and error of the newest attempt at the customer's family; None where there was none."""
    attempts = client.query(
        "SELECT provider, toString(status), error FROM metric_batches "
        "WHERE customer_id = {customer:String} AND dataset = {family:String} "
        "AND (empty({provider:String}) OR provider = {provider:String}) ORDER BY published_at DESC, batch DESC LIMIT 1",
        parameters={"customer": wanted.customer, "family": wanted.family, "provider": wanted.provider},
    ).result_rows
    return (str(attempts[0][0]), str(attempts[0][1]), str(attempts[0][2])) if attempts else None


def is_collected(client: Client, wanted: Wanted) -> bool:
    """True if a slice of the customer's family was published in the times that are wanted."""
    ((count,),) = client.query(
        "SELECT count() FROM published_batches WHERE customer_id = {customer:String} AND dataset = {family:String} "
        "AND (empty({provider:String}) OR provider = {provider:String}) "
        "AND window_start >= fromUnixTimestamp({begin:UInt32}) AND window_start < fromUnixTimestamp({end:UInt32})",
        parameters={
            "customer": wanted.customer, "family": wanted.family, "provider": wanted.provider,
            "begin": int(windows.floor(wanted.begin).timestamp()) if wanted.begin else 0,
            "end": int(wanted.end.timestamp()) if wanted.end else 2**32 - 1,
        },
    ).result_rows  # fmt: skip
    return bool(count)


def _latest(client: Client, condition: str, parameters: Mapping[str, str | int], day: datetime) -> datetime | None:
    """The newest window in the ledger that meets a condition; the whole history is read only if `day` on has none."""
    for since in (int(day.timestamp()), 0):
        count, at = client.query(
            "SELECT count(), toUnixTimestamp(max(window_start)) FROM metric_batches "  # noqa: S608
            f"WHERE {condition} AND window_start >= fromUnixTimestamp({{since:UInt32}})",
            parameters={**parameters, "since": since},
        ).result_rows[0]
        if count:
            return datetime.fromtimestamp(at, UTC)
    return None


def _text(time: datetime | None) -> str:
    """A time as the text that {name:DateTime('UTC')} parses; what no condition names may be any time."""
    return f"{(time or datetime(2000, 1, 1, tzinfo=UTC)).astimezone(UTC):%Y-%m-%d %H:%M:%S}"
