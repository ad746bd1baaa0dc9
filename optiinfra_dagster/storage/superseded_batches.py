"""Deletes superseded batches once they have been kept for SELECTs that began before, and for reading as of a time.

A batch is superseded when a higher one of its slice is published, which is what the ledger says (`published_versions`).
Its rows are deleted no sooner than a time after that (`config.retention`): by the next flush of the slice, or by the
nightly job where no flush comes. Rows that were never published, which a kill left, and which are below a published
batch, nobody can see: they go at once.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import SliceKey
from optiinfra_dagster.storage import reader_tables
from optiinfra_dagster.storage.deletes import delete_batches
from optiinfra_dagster.storage.sql import read_sql, readers

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.retention import Retention

_MARGIN = timedelta(hours=1)  # between clocks that differ, and for a publish that was on its way
_SLICES_AT_ONCE = 20_000


def kept_for(keeping: Retention, dataset: str) -> timedelta:
    """The time for which the superseded batches of a dataset, or of a reader's table, are kept."""
    return keeping.of(dataset, is_rollup=dataset in _rollups() or dataset.rpartition("_v")[0] in _rollups())


def _rollups() -> set[str]:
    """The readers whose slices are longer than a window: each is computed again with every window of it."""
    return {reader.file for reader in readers().values() if reader.length > windows.WINDOW}


def due(
    client: Client, dataset: str, old: Mapping[SliceKey, Collection[int]], keeping: Retention, now: datetime
) -> list[tuple[SliceKey, int]]:
    """The batches among `old`, which are below the published ones, whose rows may be deleted now.

    To be asked after a publish: what somebody else published meanwhile is then known to be, or is below a higher batch
    and was never seen.
    """
    if not old:
        return []
    rows = client.query(
        read_sql("queries/superseded_at"),
        parameters={
            "dataset": dataset,
            "first": int(min(key.window for key in old).timestamp()),
            "last": int(max(key.window for key in old).timestamp()),
            "customers": sorted({key.customer_id for key in old}),
        },
    ).result_rows
    until = {
        (SliceKey(customer, provider, datetime.fromtimestamp(seconds, UTC)), batch): milliseconds
        for customer, provider, seconds, batch, milliseconds in rows
    }
    latest = int((now - kept_for(keeping, dataset)).timestamp() * 1000)
    return [(key, batch) for key, batches in old.items() for batch in batches if until.get((key, batch), 0) <= latest]


def clear(client: Client, keeping: Retention, now: datetime) -> dict[str, int]:
    """Delete what is due of every dataset and reader; returns how many batches of slices, by table.

    Looked at are the slices of which something was published since the last time, so that history costs nothing. Killed
    at any point, it is done again from where it was.
    """
    from optiinfra_dagster.storage.schema import DATASETS

    since: dict[str, int] = dict(map(tuple, client.query(read_sql("queries/superseded_cleared")).result_rows))
    tables = {name: (dataset.table, dataset.where) for name, dataset in DATASETS.items()}
    tables |= {table: (table, "1") for table in reader_tables.existing(client)}
    spans = {
        name: (since.get(name, since[""]), int((now - kept_for(keeping, name)).timestamp() * 1000)) for name in tables
    }
    spans = {name: (begin, end) for name, (begin, end) in spans.items() if begin < end}
    old = _superseded(client, spans)
    deleted: dict[str, int] = {}
    for name, batches in old.items():
        table, where = tables[name]
        present = _present(client, table, where, batches)
        for i in range(0, len(present), _SLICES_AT_ONCE):
            delete_batches(client, table, where, present[i : i + _SLICES_AT_ONCE])
        if present:
            deleted[name] = len(present)
        _note(client, {name: spans[name][1]})
    _note(client, {name: end for name, (_, end) in spans.items() if name not in old})
    return deleted


def _superseded(client: Client, spans: Mapping[str, tuple[int, int]]) -> dict[str, list[tuple[SliceKey, int]]]:
    """The batches that were superseded in a span of each dataset (ms): most have none, so all are asked for at once."""
    found: dict[str, list[tuple[SliceKey, int]]] = {}
    if spans:
        margin = int(_MARGIN.total_seconds() * 1000)
        rows = client.query(
            read_sql("queries/superseded_between"),
            parameters={
                "datasets": list(spans),
                "begins": [begin - margin for begin, _ in spans.values()],
                "ends": [end for _, end in spans.values()],
            },
        ).result_rows
        for name, customer, provider, seconds, batch in rows:
            key = SliceKey(customer, provider, datetime.fromtimestamp(seconds, UTC))
            found.setdefault(name, []).append((key, batch))
    return found


def _note(client: Client, cleared: Mapping[str, int]) -> None:
    """Note up to when (ms) datasets are cleared."""
    if cleared:
        client.command(
            "INSERT INTO superseded_cleared (dataset, until) SELECT one.1, fromUnixTimestamp64Milli(one.2, 'UTC') "
            "FROM (SELECT arrayJoin(arrayZip({datasets:Array(String)}, {untils:Array(Int64)})) AS one)",
            parameters={"datasets": list(cleared), "untils": list(cleared.values())},
        )


def _present(
    client: Client, table: str, where: str, old: Collection[tuple[SliceKey, int]]
) -> list[tuple[SliceKey, int]]:
    """The batches among some that still have rows: most were deleted by a flush."""
    if not old:
        return []
    of_all = all(key.customer_id == "" for key, _ in old)
    identity = "'' AS customer, '' AS cloud" if of_all else "customer_id AS customer, provider AS cloud"
    rows = client.query(
        f"SELECT DISTINCT {identity}, toUnixTimestamp(window_start), batch FROM {table} "  # noqa: S608 - the code's own names
        "WHERE window_start IN arrayMap(one -> fromUnixTimestamp(one), {windows:Array(UInt32)}) "
        "AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start <= fromUnixTimestamp({last:UInt32}) "
        f"AND {where}",
        parameters={
            "windows": sorted({int(key.window.timestamp()) for key, _ in old}),
            "first": int(min(key.window for key, _ in old).timestamp()),
            "last": int(max(key.window for key, _ in old).timestamp()),
        },
    ).result_rows
    wanted = set(old)
    found = ((SliceKey(c, p, datetime.fromtimestamp(seconds, UTC)), batch) for c, p, seconds, batch in rows)
    return [one for one in found if one in wanted]
