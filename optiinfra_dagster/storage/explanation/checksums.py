"""Checksums of published rows: the ledger's, computed again from what is stored, and one that SQL alone computes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.storage.explanation.statements import bound
from optiinfra_dagster.storage.sql import SQL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.explanation.slices import Slice
    from optiinfra_dagster.storage.schema import Dataset

MOST_ROWS = 100_000  # rows of a dataset that are hashed: 0.5 CPU-s
MOST_COUNTED = 10_000_000  # rows of a reader, of all customers, that are counted: 0.1 CPU-s

MATCHES = "matches the ledger"
DIFFERS = "does not match the ledger"
EXPIRED = "the rows are older than the table keeps them"
COUNTED = "as many rows as the ledger says"
MORE = "more rows than the ledger says"
FEWER = "fewer rows than the ledger says"
OTHER_VERSION = "not told: published by a version with other columns"

_NOTHING = (0, 0)
_ADDED = re.compile(r"^ALTER TABLE (\w+) ADD COLUMN IF NOT EXISTS (\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class ChecksumResult:
    """The slices whose rows were hashed or counted again: how many, of how many that are published, and the verdicts.

    `verdicts` counts the slices by verdict; `differing` are the starts of those that do not match.
    """

    slices: int
    of: int
    rows: int
    verdicts: Mapping[str, int]
    differing: Sequence[datetime]


@dataclass(frozen=True, slots=True)
class OfRows:
    """A hash of rows, modulo 2^64, and the SELECT that computes it and their number again."""

    sql: str
    rows: int
    value: int


def of_rows(client: Client, select: str, parameters: Mapping[str, Any]) -> OfRows:
    """The hash of the rows of a SELECT, in whatever order they are."""
    sql = (
        "SELECT count() AS rows, sum(cityHash64(formatRow('TabSeparated', *))) AS checksum "  # noqa: S608 - as given
        f"FROM ({bound(select, parameters)})"
    )
    ((rows, value),) = client.query(sql).result_rows
    return OfRows(sql, int(rows), int(value))


def check(
    client: Client, dataset: Dataset, owner: tuple[str, str], slices: Sequence[Slice], most_rows: int = MOST_ROWS
) -> ChecksumResult:
    """Hash the stored rows of a customer's and provider's published slices as the ledger did, the newest first."""
    from optiinfra_dagster.storage import arrow, merge

    chosen = _newest(slices, most_rows)
    if not chosen:
        return ChecksumResult(0, 0, 0, {}, ())
    rows = sum(one.rows for one in chosen)
    starts = [one.start for one in chosen]
    found = arrow.conform(
        dataset,
        merge.read_current(
            client,
            dataset,
            starts,
            where="customer_id = {customer:String} AND provider = {provider:String}",
            customer=owner[0],
            provider=owner[1],
        ),
    )
    contents = arrow.content_hashes(found)
    expires = _expires(client, dataset.table)
    older = _Older(found, _columns_added(client, dataset))
    verdicts: dict[str, int] = {}
    differing = []
    for one in chosen:
        key = (*owner, int(one.start.timestamp()))
        verdict = MATCHES
        if contents.get(key, _NOTHING) != (one.rows, one.content_hash):
            is_gone = expires is not None and one.start < expires and key not in contents
            verdict = EXPIRED if is_gone else older.verdict(one, key, contents.get(key, _NOTHING)[0])
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        if verdict == DIFFERS:
            differing.append(one.start)
    return ChecksumResult(len(chosen), len(slices), rows, verdicts, tuple(sorted(differing)))


def count(client: Client, table: str, slices: Sequence[Slice], most_rows: int = MOST_COUNTED) -> ChecksumResult:
    """Count the stored rows of a reader's published slices, which the ledger does not hash, the newest first."""
    chosen = _newest(slices, most_rows)
    if not chosen:
        return ChecksumResult(0, 0, 0, {}, ())
    rows = client.query(
        f"SELECT toUnixTimestamp(window_start), batch, count() FROM {table} "  # noqa: S608 - the code's own names
        "WHERE window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32}) "
        "GROUP BY window_start, batch",
        parameters={"first": int(chosen[-1].start.timestamp()), "last": int(chosen[0].start.timestamp())},
    ).result_rows
    stored = {(seconds, batch): found for seconds, batch, found in rows}
    expires = _expires(client, table)
    verdicts: dict[str, int] = {}
    differing = []
    for one in chosen:
        found = stored.get((int(one.start.timestamp()), one.batch), 0)
        verdict = COUNTED if found == one.rows else MORE if found > one.rows else FEWER
        if verdict == FEWER and expires is not None and one.start < expires:
            verdict = EXPIRED
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        if verdict in {MORE, FEWER}:
            differing.append(one.start)
    return ChecksumResult(len(chosen), len(slices), sum(one.rows for one in chosen), verdicts, tuple(sorted(differing)))


def _newest(slices: Sequence[Slice], most_rows: int) -> list[Slice]:
    """The newest slices, so many that their rows are not too many, and one at least."""
    chosen: list[Slice] = []
    rows = 0
    for one in reversed(slices):
        if chosen and rows + one.rows > most_rows:
            break
        chosen.append(one)
        rows += one.rows
    return chosen


class _Older:
    """The hashes of rows without the columns that migrations added: those of slices from before them.

    Such a column counts for nothing in a slice where it is empty in all rows, and only there.
    """

    def __init__(self, rows: pa.Table, added: Sequence[tuple[datetime, Sequence[str]]]) -> None:
        self._rows = rows
        self._added = added
        self._hashes: dict[int, tuple[Mapping[tuple[str, str, int], tuple[int, int]], set[int]]] = {}

    def verdict(self, one: Slice, key: tuple[str, str, int], stored: int) -> str:
        """The verdict on a slice, of which so many rows are stored, that does not match as it is."""
        since = [n for n, (at, _) in enumerate(self._added) if one.published_at is not None and at >= one.published_at]
        if not since or stored != one.rows:
            return DIFFERS
        for first in reversed(since):
            contents, filled = self._without(first)
            if contents.get(key) == (one.rows, one.content_hash) and key[2] not in filled:
                return MATCHES
        return OTHER_VERSION

    def _without(self, first: int) -> tuple[Mapping[tuple[str, str, int], tuple[int, int]], set[int]]:
        """The hashes without the columns of the migration of this number and later ones, and where these hold anything.

        Windows are in epoch seconds.
        """
        from optiinfra_dagster.storage import arrow

        if first not in self._hashes:
            named = {name for _, names in self._added[first:] for name in names}
            dropped = [name for name in self._rows.column_names if name in named]
            starts = [int(start.timestamp()) for start in self._rows["window_start"].to_pylist()]
            filled = {
                start
                for name in dropped
                for start, value in zip(starts, self._rows[name].to_pylist(), strict=True)
                if value not in {None, "", 0}
            }
            self._hashes[first] = arrow.content_hashes(self._rows.drop_columns(dropped)), filled
        return self._hashes[first]


def _columns_added(client: Client, dataset: Dataset) -> list[tuple[datetime, tuple[str, ...]]]:
    """The columns that migrations added to a table, with when each was applied here, in order."""
    rows = client.query("SELECT name, toUnixTimestamp(applied_at) FROM schema_migrations").result_rows
    applied = {str(name).partition(".")[0]: datetime.fromtimestamp(seconds, UTC) for name, seconds in rows}
    found = []
    for path in sorted((SQL / "schema").glob("*.sql")):
        names = tuple(
            name for table, name in _ADDED.findall(path.read_text(encoding="utf-8")) if table == dataset.table
        )
        if names and path.stem in applied:
            found.append((applied[path.stem], names))
    return found


def _expires(client: Client, table: str) -> datetime | None:
    """The time before which the table's rows have expired; None where they never do."""
    rows = client.query(
        "SELECT toUInt32OrZero(extract(engine_full, 'toIntervalDay\\((\\d+)\\)')), toUnixTimestamp(now()) "
        "FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
        parameters={"table": table},
    ).result_rows
    days, now = map(int, rows[0]) if rows else (0, 0)
    return datetime.fromtimestamp(now - 86400 * days, UTC) if days else None
