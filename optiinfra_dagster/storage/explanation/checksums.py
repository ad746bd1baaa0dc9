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

MATCHES = "matches the ledger"
DIFFERS = "does not match the ledger"
EXPIRED = "the rows are older than the table keeps them"
OTHER_VERSION = "not told: published by a version with other columns"

_ADDED = re.compile(r"^ALTER TABLE (\w+) ADD COLUMN IF NOT EXISTS (\w+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checked:
    """The slices of a dataset whose rows were hashed again: how many, of how many that are published, and the verdicts.

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
) -> Checked:
    """Hash the stored rows of a customer's and provider's published slices as the ledger did, the newest first."""
    from optiinfra_dagster.storage import arrow, merge

    chosen: list[Slice] = []
    rows = 0
    for one in reversed(slices):
        if chosen and rows + one.rows > most_rows:
            break
        chosen.append(one)
        rows += one.rows
    if not chosen:
        return Checked(0, 0, 0, {}, ())
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
    expires = _expires(client, dataset)
    newer = _columns_added(client, dataset)
    verdicts: dict[str, int] = {}
    differing = []
    for one in chosen:
        key = (*owner, int(one.start.timestamp()))
        said = (one.rows, one.content_hash)
        verdict = MATCHES if contents.get(key, (0, 0)) == said else DIFFERS
        if verdict == DIFFERS and expires is not None and one.start < expires and key not in contents:
            verdict = EXPIRED
        elif verdict == DIFFERS:
            verdict = _by_columns_of_then(found, one, key, newer)
        verdicts[verdict] = verdicts.get(verdict, 0) + 1
        if verdict == DIFFERS:
            differing.append(one.start)
    return Checked(len(chosen), len(slices), rows, verdicts, tuple(sorted(differing)))


def _by_columns_of_then(
    found: pa.Table, one: Slice, key: tuple[str, str, int], added: Sequence[tuple[datetime, Sequence[str]]]
) -> str:
    """The verdict on a slice by the columns that its table had when it was published.

    Columns that were added since count for nothing where they are empty in all rows, and only there.
    """
    from optiinfra_dagster.storage import arrow

    rows = arrow.of_windows(arrow.of_slice(found, key[0], key[1]), [one.start])
    since = [names for at, names in added if one.published_at is not None and at >= one.published_at]
    if not since:
        return DIFFERS
    dropped: list[str] = []
    for names in reversed(since):
        dropped += [name for name in names if name in rows.column_names]
        if any(_is_filled(rows[name]) for name in dropped):
            break
        content = arrow.content_hashes(rows.drop_columns(dropped)).get(key, (0, 0))
        if content == (one.rows, one.content_hash):
            return MATCHES
    return OTHER_VERSION if rows.num_rows == one.rows else DIFFERS


def _is_filled(column: pa.ChunkedArray) -> bool:
    return any(value not in {None, "", 0} for value in column.unique().to_pylist())


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


def _expires(client: Client, dataset: Dataset) -> datetime | None:
    """The time before which the table's rows have expired; None where they never do."""
    rows = client.query(
        "SELECT toUInt32OrZero(extract(engine_full, 'toIntervalDay\\((\\d+)\\)')), toUnixTimestamp(now()) "
        "FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
        parameters={"table": dataset.table},
    ).result_rows
    days, now = map(int, rows[0]) if rows else (0, 0)
    return datetime.fromtimestamp(now - 86400 * days, UTC) if days else None
