"""Changes what a table's rows are sorted by, which ClickHouse cannot do in place.

The rows are copied, some days at a time, to a new table that then changes names with the old one. So the table is whole
at any moment, and there must be room for it twice.

Writers may be at work on a server. A batch that came after its day was copied is in the old table alone when the two
change names; it is copied then. One that arrives in the old table even later is no matter: its writer counts the rows
of its batch before it publishes them, finds none, and fails, to be tried again.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.storage import ddl
from optiinfra_dagster.storage.replicas import caught_up, everywhere

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import date

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.topology import Topology

ROWS_AT_ONCE = 20_000_000  # 12 CPU-s, of the 300 s that a client waits
ROWS_TOLD = 5_000_000  # of a table that takes long enough to say how far it is

# 10 million rows take 0.6 GB so, and 1.0 otherwise.
_SMALL = {"max_threads": 1, "min_insert_block_size_rows": 262_144, "min_insert_block_size_bytes": 2**26}

_CHANGE = re.compile(r"ALTER TABLE (?P<table>\w+) MODIFY ORDER BY \((?P<key>.+)\)")

# Of the batches of which the old table has more rows, the slices that the new one lacks. A slice comes in one part.
_CATCH_UP = """INSERT INTO {table} SELECT * FROM {old}
WHERE batch IN ({behind}) AND (customer_id, provider, window_start, batch) NOT IN
(
    SELECT customer_id, provider, window_start, batch FROM {table} WHERE batch IN ({behind})
)"""
_BEHIND = """SELECT batch FROM
(
    SELECT batch, 1 AS is_old FROM {old} UNION ALL SELECT batch, 0 AS is_old FROM {table}
)
GROUP BY batch
HAVING sum(is_old) > count() - sum(is_old)"""


def change_of(statement: str) -> tuple[str, str] | None:
    """The table and the new sort key of `ALTER TABLE t MODIFY ORDER BY (...)`; None of any other statement."""
    found = _CHANGE.fullmatch(" ".join(statement.split()))
    return (found["table"], found["key"]) if found else None


def other_table(table: str, key: str) -> str:
    """The name of the table that is sorted anew: each key has its own, since its replicas' path keeps it for good."""
    return f"{table}_{zlib.crc32(key.encode()):08x}"


def change(
    client: Client,
    topology: Topology,
    table: str,
    key: str,
    renew: Callable[[], None],
    say: Callable[[str], None],
) -> None:
    """Have the rows of a table, which have a batch, a customer, a provider and a window, sorted by a key.

    It calls `renew` before each statement, tells `say` how far it is where it takes long, and can be run again after a
    kill.

    Raises:
        StorageError: a replica did not carry out a statement, or lacks rows.
    """
    other = other_table(table, key)
    if (before := _sort_key(client, table)) != key:
        renew()
        ddl.run(client, topology, f"DROP TABLE IF EXISTS {other}")
        renew()
        ddl.run(client, topology, _new_table(client, table, other, before, key))
        _copy(client, topology, table, other, renew, say)
        renew()
        ddl.run(client, topology, f"EXCHANGE TABLES {table} AND {other}")
    if client.command(f"EXISTS TABLE {other}"):
        renew()
        settings = _settings(client, topology, table, other)
        behind = _BEHIND.format(table=table, old=other)
        client.command(_CATCH_UP.format(table=table, old=other, behind=behind), settings=settings)
        renew()
        ddl.run(client, topology, f"DROP TABLE IF EXISTS {other}", {"max_table_size_to_drop": 0})


def _sort_key(client: Client, table: str) -> str:
    return str(
        client.command(
            "SELECT sorting_key FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
            parameters={"table": table},
        )
    )


def _new_table(client: Client, table: str, other: str, before: str, key: str) -> str:
    """The statement that makes the new table: as the old one, with what was set of it since, but for the sort key."""
    engine = str(
        client.command(
            "SELECT engine_full FROM system.tables WHERE database = currentDatabase() AND name = {table:String}",
            parameters={"table": table},
        )
    )
    rest = engine[engine.index(" PARTITION BY ") :]
    rest = rest.replace(f" ORDER BY ({before})", f" ORDER BY ({key})", 1)
    return f"CREATE TABLE IF NOT EXISTS {other} AS {table} ENGINE = MergeTree{rest}"


def _copy(
    client: Client, topology: Topology, table: str, other: str, renew: Callable[[], None], say: Callable[[str], None]
) -> None:
    settings = _settings(client, topology, table, other)
    rows = client.query(
        f"SELECT toDate(window_start) AS day, count() FROM {table} GROUP BY day ORDER BY day",  # noqa: S608 - ours
        settings=settings,
    ).result_rows
    total, copied = sum(count for _, count in rows), 0
    for first, last, count in _stretches(rows):
        renew()
        client.command(
            f"INSERT INTO {other} SELECT * FROM {table} "  # noqa: S608 - ours
            "WHERE toDate(window_start) BETWEEN {first:Date} AND {last:Date}",
            parameters={"first": first, "last": last},
            settings=settings,
        )
        copied += count
        if total > ROWS_TOLD:
            say(f"Sorting {table} anew: {copied / 1e6:,.0f} of {total / 1e6:,.0f} million rows.")


def _stretches(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[date, date, int]]:
    """Days that follow each other, as many as have ROWS_AT_ONCE together: the first, the last, and their rows."""
    first, count = None, 0
    for i, (day, of_day) in enumerate(rows):
        first, count = first or day, count + of_day
        if count >= ROWS_AT_ONCE or i == len(rows) - 1:
            yield first, day, count
            first, count = None, 0


def _settings(client: Client, topology: Topology, table: str, other: str) -> dict[str, int | str]:
    """Those of an INSERT ... SELECT between the two, of which this replica then has every row."""
    reads = [caught_up(client, topology, name) for name in (table, other)]
    return {**reads[0], **everywhere(client, topology, table), "insert_deduplicate": 0, **_SMALL}
