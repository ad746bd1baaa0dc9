"""Checks that all rows of a past time are still stored: an answer as of a time is whole, or it is refused.

The ledger tells which batch of each slice was published then, and how many rows it had; the tables tell which are
left. Rows go when their batch has been superseded for long enough (`superseded`), when they expire, and when a customer
is erased; an upgrade that changes a reader gives it another table.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import LostError, UsageError
from optiinfra_dagster.storage.reader_tables import shown_table
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.readers import RowFilter, Source
    from optiinfra_dagster.storage.sql import Reader

_FOREVER = datetime(2100, 1, 1, tzinfo=UTC)
_BILLS = {"cost": "cost_kind = 'estimated'", "cost_billed": "cost_kind = 'billed'"}


def checked_time(typed: str, now: datetime) -> datetime:
    """The time that a person typed, after a check that it is a time of the past.

    Raises:
        UsageError: it is no time, or in the future.
    """
    time = windows.parse_time(typed, "--as-of")
    if time > now:
        raise UsageError(f"--as-of {typed} is in the future; it is {now:%Y-%m-%dT%H:%M:%SZ} now.")
    return time


def refuse_other_table(client: Client, reader: Reader, time: datetime) -> None:
    """Raise if people read another table of the reader at a time: an upgrade has changed what it computes since.

    Raises:
        LostError: they did, and that table is gone, or not filled again.
    """
    rows = client.query(
        read_sql("queries/reader_shown_at"),
        parameters={"shown": shown_table(client, reader), "file": reader.file, "as_of": int(time.timestamp() * 1000)},
    ).result_rows
    for others, own, since in rows:
        if others > own:
            oldest = f"; the oldest time is {_seconds(since)}" if since else ""
            raise LostError(
                f"{reader.family} {reader.name} was computed otherwise at {_seconds(_milliseconds(time))}, by an "
                f"earlier version, whose table is gone{oldest}. Ask for a later time, or for what it was computed "
                f"from: `optiinfra read {reader.family} metrics`."
            )


def refuse_lost(client: Client, source: Source, wanted: RowFilter, name: str) -> None:
    """Raise unless every row that was published of what is wanted, at the time it is wanted as of, is still there.

    To be called after the rows were read: rows only go, so what is whole now was whole then.

    Raises:
        LostError: rows are gone. It names the oldest time as of which what is wanted can be read.
    """
    if wanted.as_of is not None:
        _refuse_lost(client, list(_parts(client, source, wanted)), wanted, name)


def refuse_lost_bills(client: Client, wanted: RowFilter, name: str) -> None:
    """Raise unless every billed row of the days that are wanted is still there; estimates do not count.

    Raises:
        LostError: rows are gone.
    """
    if wanted.as_of is None:
        return
    begin, end = wanted.begin or datetime.fromtimestamp(0, UTC), wanted.end or _FOREVER
    bills = _Part("cost_billed", "cost_metrics", begin, end, _BILLS["cost_billed"])
    _refuse_lost(client, [bills], wanted, name)


def _refuse_lost(client: Client, parts: Sequence[_Part], wanted: RowFilter, name: str) -> None:
    for part in parts:
        lost = _lost(client, part, wanted, part.end)
        if lost.slices:
            break
    else:
        return
    time = _seconds(_milliseconds(wanted.as_of or _FOREVER))
    if part.of_all and _is_of_one_customer(client):
        raise LostError(
            f"Whether rows of {wanted.customer} that were known at {time} are gone is not known to the role of a "
            f"customer: {name} has none of windows from {lost.first} to {lost.last}, which were replaced since. Ask "
            "for a later time, or ask whoever runs OptiInfra."
        )
    # At the time that is named, no part may lack anything.
    of_parts = [_lost(client, one, wanted, _FOREVER if wanted.slices else one.end) for one in parts]
    remedy = (
        "They have expired: ask for a later time, or with --from for later windows."
        if any(one.expired for one in of_parts)
        else f"The oldest time is {_seconds(max(one.superseded_at for one in of_parts))}; "
        "OPTIINFRA_KEEP_SUPERSEDED_HOURS says how long rows are kept after they were replaced."
    )
    raise LostError(
        f"{name} of {wanted.customer} cannot be read as of {time}: rows that were known then are gone, of windows from "
        f"{lost.first} to {lost.last}. {remedy}"
    )


def _is_of_one_customer(client: Client) -> bool:
    """True of a user who sees one customer's rows alone (`grants`), of a reader's slice so maybe none."""
    found = client.command(
        "SELECT arrayExists(role -> match(role, {own:String}), enabledRoles())",
        parameters={"own": "^optiinfra_[a-z0-9-]"},
    )
    return bool(found)


@dataclass(frozen=True, slots=True)
class _Part:
    """A dataset's slices from `begin` to before `end`, of the table's rows for which `where` holds."""

    dataset: str
    table: str
    begin: datetime
    end: datetime
    where: str = "1"
    of_all: bool = False  # a slice is a whole window
    kept: int = 0  # days, of a reader's rows


def _parts(client: Client, source: Source, wanted: RowFilter) -> Iterator[_Part]:
    """What is read, but for a history: its rows stay."""
    if source.is_history:
        return
    if wanted.slices:
        begin, end = min(wanted.slices.values()), max(wanted.slices.values()) + timedelta(seconds=1)
    else:
        begin = wanted.begin or datetime.fromtimestamp(0, UTC)
        begin = windows.floor(begin) - source.window_before if begin.timestamp() > 0 else begin
        end = wanted.end + source.window_after if wanted.end else _FOREVER
    if source.reader is not None:
        table = shown_table(client, source.reader)
        yield _Part(table, table, begin, end, of_all=True, kept=source.reader.kept)
    elif wanted.family == "cost":
        # Estimates count where the bill of their day has not been read: that stands at the day's start.
        begin = windows.floor_to(timedelta(days=1), begin)
        for dataset, where in _BILLS.items():
            yield _Part(dataset, "cost_metrics", begin, end, where)
    else:
        yield _Part(wanted.family, f"{wanted.family}_metrics", begin, end)


class _Lost(NamedTuple):
    """The slices that lack rows which were known at a time: how many, and their first and last window.

    Of all batches that lack rows, whatever the time, `superseded_at` is when the last of them was superseded (ms), and
    `expired` counts those that never were.
    """

    slices: int
    first: str
    last: str
    superseded_at: int
    expired: int


def _lost(client: Client, part: _Part, wanted: RowFilter, end: datetime) -> _Lost:
    """What is lost of a part, up to before `end`."""
    owner = "" if part.of_all else "customer_id, provider, "
    mine = "customer_id = {customer:String} AND (empty({provider:String}) OR provider = {provider:String})"
    range_ = "window_start >= fromUnixTimestamp({begin:UInt32}) AND window_start < fromUnixTimestamp({end:UInt32})"
    # A reader's slice is deleted as a whole: when it was replaced, or when it expires. Where it has no rows and neither
    # is so, they were of customers who are erased, or of those that the user may not see.
    is_replaced = "isNotNull(until) OR window_start <= now() - toIntervalDay({kept:UInt32})"
    is_lost = f"found = 0 AND ({is_replaced})" if part.of_all else "found < rows"
    (row,) = client.query(
        f"""
        WITH fromUnixTimestamp64Milli({{as_of:Int64}}, 'UTC') AS time
        SELECT
            countIf(since <= time AND (isNull(until) OR until > time)),
            formatDateTime(minIf(window_start, since <= time AND (isNull(until) OR until > time)), '%FT%H:%iZ'),
            formatDateTime(maxIf(window_start, since <= time AND (isNull(until) OR until > time)), '%FT%H:%iZ'),
            ifNull(toUnixTimestamp64Milli(max(until)), 0),
            countIf(isNull(until))
        FROM
        (
            SELECT * FROM published_versions
            WHERE dataset = {{dataset:String}} AND {"customer_id = ''" if part.of_all else mine}
                AND {range_}
        ) AS v
        LEFT JOIN
        (
            SELECT {owner}window_start, batch, count() AS found
            FROM {part.table}
            WHERE {range_} AND {part.where} AND {"1" if part.of_all else mine}
            GROUP BY {owner}window_start, batch
        ) AS r USING ({owner}window_start, batch)
        WHERE rows > 0 AND {is_lost} AND (isNull(until) OR until > since)
        """,  # noqa: S608 - names are the code's own
        parameters={
            "as_of": _milliseconds(wanted.as_of) if wanted.as_of else 0,
            "dataset": part.dataset,
            "customer": wanted.customer,
            "provider": wanted.provider,
            "begin": int(part.begin.timestamp()),
            "end": int(end.timestamp()),
            "kept": part.kept,
        },
    ).result_rows
    return _Lost(*row)


def _milliseconds(time: datetime) -> int:
    return int(time.timestamp() * 1000)


def _seconds(milliseconds: int) -> str:
    """A time to be typed, not before it."""
    return f"{datetime.fromtimestamp(-(-milliseconds // 1000), UTC):%Y-%m-%dT%H:%M:%SZ}"
