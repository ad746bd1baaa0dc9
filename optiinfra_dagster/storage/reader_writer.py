"""Computes readers inside ClickHouse, by the slice protocol: a slice is a window of every customer and provider."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.model.slices import SliceKey, SliceStatus
from optiinfra_dagster.storage import reader_tables, superseded_batches
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.deletes import delete_batches
from optiinfra_dagster.storage.ledger import LedgerRow, next_batch, publish, published
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.sql import Reader

_DAY = timedelta(days=1)
_MOST_DAYS = 31  # of an INSERT: a month of 10,000 things is some 300,000 rows
_DAYS = (
    "first = toDate({window:DateTime('UTC')}, 'UTC'), last = toDate({last:DateTime('UTC')}, 'UTC'), "
    "until = {last:DateTime('UTC')} + INTERVAL 1 DAY"
)
_MERGES_MAY_DROP = timedelta(hours=1)  # a slice that expires so soon, by a server's clock that is not this one's


def compute(
    clickhouse: ClickHouse, reader: Reader, windows: Sequence[datetime], *, run_id: str = ""
) -> dict[datetime, int]:
    """Publish the reader's slice for each of `windows`; returns the rows of each. See `write_select`.

    A reader with `-- also computes:` computes its older slices again, too, where what they rest on has changed since.
    """
    with clickhouse.session(
        reads=" ".join((reader.select, *reader.empty_without)), writes=f"{LEDGER_TABLE} {reader.table}"
    ) as client:
        windows = sorted({*windows, *_stale(client, reader, max(windows))})
        if reader.empty_without_ever:  # whatever the window
            idle = windows if _has_nothing(client, reader, windows[0]) else []
        else:
            idle = [window for window in windows if _has_nothing(client, reader, window)]
        counts = write_select(
            clickhouse, reader.table, reader.select, windows, run_id=run_id, idle=idle, days_of=reader.days_of
        )
        reader_tables.show(client, clickhouse.topology(client), reader)
    return counts


def _stale(client: Client, reader: Reader, window: datetime) -> list[datetime]:
    """The older slices that are to be computed again together with that of `window`."""
    if not reader.also_computes:
        return []
    rows = client.query(
        read_sql(f"queries/{reader.also_computes}"),
        parameters={"window": _text(window), "dataset": reader.table},
    ).result_rows
    return [datetime.fromtimestamp(seconds, UTC) for (seconds,) in rows]


def _has_nothing(client: Client, reader: Reader, window: datetime) -> bool:
    """True if the reader has no rows for certain, since its tables are empty: its SELECT takes 0.03 to 3 CPU-s."""
    if not reader.empty_without:
        return False
    when = (
        "true"
        if reader.empty_without_ever
        else "window_start >= toStartOfDay({window:DateTime('UTC')}) "
        "AND window_start < {window:DateTime('UTC')} + toIntervalSecond({seconds:UInt32})"
    )
    rows = client.query(
        " UNION ALL ".join(f"(SELECT 1 FROM {table} WHERE {when} LIMIT 1)" for table in reader.empty_without),  # noqa: S608 - the code's own names
        parameters={
            "window": _text(window),
            "seconds": int(reader.length.total_seconds()),
        },
    ).result_rows
    return not rows


def write_select(
    clickhouse: ClickHouse,
    table: str,
    select: str,
    windows: Sequence[datetime],
    *,
    run_id: str = "",
    idle: Collection[datetime] = (),
    days_of: str = "",
    steps: Callable[[str], None] = lambda _name: None,
) -> dict[datetime, int]:
    """Publish a reader's slice for each of `windows`: `select` runs inside ClickHouse, no row passes through Python.

    A slice may be longer than a window, an hour or a day, and is then named by its first one. `select` takes the
    parameter `window` (DateTime('UTC')) and gives the columns of `table` other than `window_start` and `batch`; it is
    not run for the windows of `idle`, of which it is known to give none. Days in a row are written by one INSERT where
    `days_of` names the view of which `select` takes one day. `steps` is called after each step: tests kill there.
    Returns the rows of each window.

    Raises:
        StorageError: ClickHouse failed, or does not have the rows that it says it wrote; nothing is visible then.
    """
    with clickhouse.session(reads=select, writes=f"{LEDGER_TABLE} {table}") as client:
        before = published(client, table, windows)
        batch = next_batch(before.values())
        if not before and set(idle) >= set(windows):  # nothing to write, and nothing to replace
            nothing = [LedgerRow(SliceKey("", "", window), SliceStatus.OK) for window in windows]
            publish(client, table, nothing, batch, run_id)
            return dict.fromkeys(windows, 0)
        columns = [
            row[0]
            for row in client.query(f"DESCRIBE TABLE {table}").result_rows
            if row[0] not in {"window_start", "batch"}
        ]
        days, has_views = _expiry_and_views(client, table)
        kept_from = datetime.now(UTC) - timedelta(days=days) + _MERGES_MAY_DROP if days else None
        computed = [window for window in windows if window not in idle]
        insert = _Insert(table, select, columns, days_of, batch, has_views=has_views, embedded=clickhouse.embedded)
        stretches = _stretches(computed, kept_from) if days_of else [[window] for window in computed]
        inserted = [(stretch, insert.insert_stretch(client, stretch)) for stretch in stretches]
        steps("inserted")
        stored = _stored(client, table, min(windows), max(windows))
        counts = {window: stored.get((window, batch), 0) for window in windows}
        expected = dict.fromkeys(windows, 0) | insert.rows_of(client, inserted, counts)
        certain = [window for window in windows if kept_from is None or window > kept_from]
        _refuse_lost_rows(client, table, batch, {window: (expected[window], counts[window]) for window in certain})
        steps("verified")
        entries = [LedgerRow(SliceKey("", "", window), SliceStatus.OK, counts[window]) for window in windows]
        publish(client, table, entries, batch, run_id)
        steps("published")
        old: dict[SliceKey, list[int]] = {}
        for window, stored_batch in stored:
            key = SliceKey("", "", window)
            # The batch that this one supersedes is not due yet.
            if stored_batch < batch and window in counts and not (key in before and before[key].batch == stored_batch):
                old.setdefault(key, []).append(stored_batch)
        leftovers = superseded_batches.due(client, table, old, clickhouse.keeping, datetime.now(UTC))
        delete_batches(client, table, "1", leftovers)
        steps("cleaned")
    return counts


def _stored(client: Client, table: str, first: datetime, last: datetime) -> dict[tuple[datetime, int], int]:
    """The number of rows that a reader's table has of each window from `first` to `last` and each batch."""
    rows = client.query(
        f"""
        SELECT toUnixTimestamp(window_start), batch, count() FROM {table}
        WHERE window_start >= fromUnixTimestamp({{first:UInt32}})
            AND window_start <= fromUnixTimestamp({{last:UInt32}})
        GROUP BY window_start, batch
        """,  # noqa: S608
        parameters={"first": int(first.timestamp()), "last": int(last.timestamp())},
    ).result_rows
    return {(datetime.fromtimestamp(seconds, UTC), batch): count for seconds, batch, count in rows}


def _refuse_lost_rows(client: Client, table: str, batch: int, rows: Mapping[datetime, tuple[int, int]]) -> None:
    """Check that each window has as many rows as were written; `rows` are those written and those stored.

    Raises:
        StorageError: one has not, and no higher batch was published meanwhile, whose writer deletes lower ones.
    """
    lost = [window for window, (written, stored) in rows.items() if written != stored]
    newest = published(client, table, lost)
    for window in lost:
        key = SliceKey("", "", window)
        if key not in newest or newest[key].batch < batch:
            written, stored = rows[window]
            raise StorageError(
                f"{table}: {written} rows were written for {window:%Y-%m-%dT%H:%MZ}, {stored} "
                "arrived. Nothing was published; run the reader again."
            )


@dataclass(frozen=True, slots=True)
class _Insert:
    """The INSERT of a reader's rows from its SELECT, or of several days at once from the view that this reads."""

    table: str
    select: str
    columns: Sequence[str]
    days_of: str
    batch: int
    has_views: bool
    embedded: bool

    def insert_stretch(self, client: Client, stretch: Sequence[datetime]) -> int:
        """Insert the rows of a window, or of some days in a row; returns how many there are."""
        start, source = "{window:DateTime('UTC')}", f"({self.select})"
        parameters = {"window": _text(stretch[0])}
        if len(stretch) > 1:
            start, source = "toDateTime(charge_day, 'UTC')", f"{self.days_of}({_DAYS})"
            parameters["last"] = _text(stretch[-1])
        columns = ", ".join(self.columns)
        rows = _insert_select(
            client,
            f"INSERT INTO {self.table} (window_start, batch, {columns}) "  # noqa: S608 - the code's own names
            f"SELECT {start} AS window_start, {self.batch} AS batch, {columns} FROM {source}",
            parameters,
            {
                "insert_deduplication_token": f"{self.table}-{self.batch}-{int(stretch[0].timestamp())}",
                "max_insert_threads": 1,
            },
            embedded=self.embedded,
        )
        if rows is None or self.has_views:  # the figure holds what the views wrote as well
            ((rows,),) = client.query(f"SELECT count() FROM {source}", parameters=parameters).result_rows  # noqa: S608
        return rows

    def rows_of(
        self, client: Client, inserted: Sequence[tuple[Sequence[datetime], int]], counts: Mapping[datetime, int]
    ) -> dict[datetime, int]:
        """The number of rows that each window must have. `inserted` has it by stretch; `counts` is what is stored."""
        expected: dict[datetime, int] = {}
        for stretch, rows in inserted:
            if len(stretch) == 1:
                expected[stretch[0]] = rows
            elif sum(counts[day] for day in stretch) == rows:
                expected |= {day: counts[day] for day in stretch}
            else:  # which of them lacks rows
                for day in stretch:
                    ((expected[day],),) = client.query(
                        f"SELECT count() FROM ({self.select})",  # noqa: S608 - the code's own
                        parameters={"window": _text(day)},
                    ).result_rows
        return expected


def _stretches(days: Sequence[datetime], kept_from: datetime | None) -> list[list[datetime]]:
    """The days that one INSERT may write: some in a row. One that may expire meanwhile is counted by itself.

    A wide restatement has 60 days computed again: one by one the SELECTs take 3 CPU-s, together 0.06.
    """
    stretches: list[list[datetime]] = []
    for day in sorted(days):
        newest = stretches[-1] if stretches else []
        follows = bool(newest) and day - newest[-1] == _DAY
        may_expire = kept_from is not None and min([day, *newest]) <= kept_from
        if follows and not may_expire and len(newest) < _MOST_DAYS:
            newest.append(day)
        else:
            stretches.append([day])
    return stretches


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S")


def _insert_select(
    client: Client, statement: str, parameters: dict[str, str], settings: dict[str, Any], *, embedded: bool
) -> int | None:
    """Run an INSERT ... SELECT; returns how many rows the server says it wrote, None where it does not say.

    A server says so in the header X-ClickHouse-Summary, which a proxy may drop. The embedded engine's client does not
    pass the figure on, but the engine counts, and works for this session alone.
    """
    from clickhouse_connect.driver.summary import QuerySummary

    before = _rows_inserted(client) if embedded else 0
    summary = client.command(statement, parameters=parameters, settings=settings)
    if embedded:
        return _rows_inserted(client) - before
    written = summary.summary.get("written_rows") if isinstance(summary, QuerySummary) else None
    return None if written is None else int(written)


def _rows_inserted(client: Client) -> int:
    """The number of rows that the engine has inserted since it was opened."""
    rows = client.query("SELECT value FROM system.events WHERE event = 'InsertedRows'").result_rows
    return int(rows[0][0]) if rows else 0


def _expiry_and_views(client: Client, table: str) -> tuple[int, bool]:
    """After how many days a table's rows expire, 0 for never, and whether it feeds materialized views."""
    ((days, has_views),) = client.query(
        "SELECT toUInt32OrZero(extract(engine_full, 'toIntervalDay\\((\\d+)\\)')), notEmpty(dependencies_table) "
        "FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
        parameters={"table": table},
    ).result_rows
    return int(days), bool(has_views)
