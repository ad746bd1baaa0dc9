"""The tables of readers that no migration made: each follows from its reader's SELECT, and is named by its version.

`migrate` makes the table of a new reader, or of one whose SELECT changed, empty. What people read, `<reader>_current`,
goes on showing the table of before until the new one holds a window as new as the newest there; then the view shows the
new table, and the one of before is dropped. What to do is told by which tables there are, so a kill at any statement is
made good by the next migration or computation.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import as_of_views, ddl
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.sql import Reader
    from optiinfra_dagster.storage.topology import Topology

_MADE = "made at "
_SOME_WINDOW = {"window": "2026-01-01 00:00:00"}  # a SELECT has the same columns for each


def missing(client: Client, among: Iterable[Reader] | None = None) -> list[Reader]:
    """The readers, by default of all, whose table or view is still to be made; the ones that others read come first."""
    own = [reader for reader in (readers().values() if among is None else among) if reader.is_own]
    if not own:
        return []
    names = [name for reader in own for name in (reader.table, reader.view)]
    rows = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN {names:Array(String)}",
        parameters={"names": names},
    ).result_rows
    present = {name for (name,) in rows}
    lacking = [reader for reader in own if not present >= {reader.table, reader.view}]
    return sorted(lacking, key=lambda reader: len(reader.computed_from))


def existing(client: Client) -> list[str]:
    """The tables of readers that there are, those of other versions among them."""
    names = "|".join(reader.file for reader in readers().values())
    rows = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND match(name, {names:String}) "
        "ORDER BY name",
        parameters={"names": f"^({names})(_v[0-9a-f]{{8}})?$"},
    ).result_rows
    return [name for (name,) in rows]


def with_other_versions(client: Client) -> list[Reader]:
    """The readers of which there is a table of another version, too."""
    there = existing(client)
    return [
        reader
        for reader in readers().values()
        if any(name != reader.table and re.fullmatch(rf"{reader.file}(_v[0-9a-f]{{8}})?", name) for name in there)
    ]


def create(client: Client, topology: Topology, reader: Reader) -> None:
    """Make the reader's table, and its view where it has none; what the view shows then, `show` decides.

    Raises:
        StorageError: the SELECT lacks a column that its rows are sorted by.
    """
    ddl.run(client, topology, _table(reader, column_types(client, reader), datetime.now(UTC)))
    ddl.run(client, topology, _view(reader, "CREATE VIEW IF NOT EXISTS"))


def show(client: Client, topology: Topology, reader: Reader) -> None:
    """Have the view show the reader's own table, once it is filled as far as the one of before, and drop that one.

    A table that was made later is another version's, which is left alone: its programs are at work, too. When it was
    made, its comment says, on every replica the same; where it has none, it was made before those that have one.
    """
    if not reader.is_own:
        return
    rows = client.query(
        "SELECT name, extract(comment, {made:String}) AS made, "
        "if(made = '', toUnixTimestamp(metadata_modification_time), 0) FROM system.tables "
        "WHERE database = currentDatabase() AND match(name, {names:String})",
        parameters={"made": f"^{_MADE}(.*)", "names": f"^{reader.file}(_v[0-9a-f]{{8}})?$"},
    ).result_rows
    order_of = {name: order for name, *order in rows}
    before = [name for name, at in order_of.items() if name != reader.table and at <= order_of[reader.table]]
    if not before:
        return
    shown = shown_table(client, reader)
    if shown in before and _is_filled(client, reader.table, shown):
        ddl.run(client, topology, _view(reader, "CREATE OR REPLACE VIEW"))
        as_of_views.derive(client, topology)
        shown = reader.table
    if shown == reader.table:
        for name in before:
            ddl.run(client, topology, f"DROP TABLE IF EXISTS {name}")


def renew_views(client: Client, topology: Topology) -> None:
    """Make the views of readers anew that look up the rows before the ledger, as they did before migration 035."""
    rows = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine = 'View' "
        "AND endsWith(name, '_current') AND position(as_select, 'published_batches') > 0"
    ).result_rows
    old = {name for (name,) in rows}
    for reader in readers().values():
        if reader.view in old:
            ddl.run(client, topology, _view(reader, "CREATE OR REPLACE VIEW", shown_table(client, reader)))


def shown_table(client: Client, reader: Reader) -> str:
    """The table that the reader's view shows, which is its name in the ledger; the reader's own where there is no view.

    It is another one from an upgrade that changed the SELECT until the first computation after that.
    """
    if not reader.is_own:
        return reader.table
    rows = client.query(
        "SELECT extract(as_select, 'dataset = \\'(\\w+)\\'') FROM system.tables "
        "WHERE database = currentDatabase() AND name = {view:String}",
        parameters={"view": reader.view},
    ).result_rows
    return str(rows[0][0]) if rows else reader.table


def column_types(client: Client, reader: Reader) -> dict[str, str]:
    """The types of the table's columns: those of the SELECT, but for three rules and what the head says.

    Text is taken to have few distinct values, counts to be below 2^32, and numbers of a byte to be truth values.
    """
    types = {}
    for name, kind in _columns(client, reader.select):
        if name not in {"window_start", "batch"}:
            types[name] = reader.types.get(name) or _by_rule(kind)
    if lacking := [name for name in reader.key if name not in types]:
        raise StorageError(
            f"sql/readers/{reader.file}.sql: the SELECT has no column {', '.join(lacking)}, which `-- key:` names. "
            "Correct the one or the other."
        )
    return types


def _columns(client: Client, select: str) -> list[tuple[str, str]]:
    """The columns of a SELECT and their types, as DESCRIBE TABLE gives them.

    DESCRIBE plans the whole query, which takes eight CPU-s for all readers. The first pass over its tree knows the
    types, and takes two; its answer begins with them, a column a line.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    try:
        lines = client.query(f"EXPLAIN QUERY TREE passes = 1 {select}", parameters=_SOME_WINDOW).result_rows
    except DatabaseError:  # the SELECT's fault, which DESCRIBE tells too, or a server whose analyzer is off
        lines = []
    texts = [text for (text,) in lines]
    if texts[1:2] != ["  PROJECTION COLUMNS"]:  # of a UNION, or as another version words it
        described = client.query(f"DESCRIBE TABLE ({select})", parameters=_SOME_WINDOW).result_rows
        return [(name, kind) for name, kind, *_ in described]
    columns = texts[2 : texts.index("  PROJECTION")]
    return [(name, kind) for name, _, kind in (text.strip().partition(" ") for text in columns)]


def _by_rule(kind: str) -> str:
    nullable = re.fullmatch(r"Nullable\((.*)\)", kind)
    plain = nullable[1] if nullable else kind
    if plain == "String":
        return f"LowCardinality({kind})"
    plain = {"UInt64": "UInt32", "UInt8": "Bool"}.get(plain, plain)
    return f"Nullable({plain})" if nullable else plain


def _table(reader: Reader, types: Mapping[str, str], now: datetime) -> str:
    columns = {"window_start": "DateTime('UTC')", "batch": "UInt64", **types}
    lines = []
    for name, kind in columns.items():
        width = 8 if name == "batch" else {"DateTime": 4, "Date": 2}.get(kind.partition("(")[0])
        codec = f"Delta({width}), ZSTD(1)" if width else "ZSTD(1)"
        lines.append(f"`{name}` {kind} CODEC({codec})")
    return (
        f"CREATE TABLE IF NOT EXISTS {reader.table} ({', '.join(lines)}) ENGINE = MergeTree "
        f"PARTITION BY toYYYYMM(window_start) ORDER BY (window_start, {', '.join(reader.key)}) "
        f"TTL window_start + INTERVAL {reader.kept} DAY SETTINGS enable_block_number_column = 1, "
        "enable_block_offset_column = 1, non_replicated_deduplication_window = 1000 "
        f"COMMENT '{_MADE}{now:%Y-%m-%d %H:%M:%S.%f} UTC'"
    )


def _view(reader: Reader, verb: str, table: str = "") -> str:
    """The view of the published rows, which asks the ledger first: sql/schema/035_ledger_first.sql says why."""
    table = table or reader.table
    return (
        f"{verb} {reader.view} AS SELECT t.* EXCEPT (batch) FROM view(SELECT * FROM {table}) AS t LEFT SEMI JOIN "  # noqa: S608 - the code's own names
        f"(SELECT window_start, max(l.batch) AS batch FROM metric_batches AS l WHERE dataset = '{table}' "
        "AND status IN ('ok', 'partial') GROUP BY window_start) AS b USING (window_start, batch)"
    )


def _is_filled(client: Client, table: str, before: str) -> bool:
    """True if the newest published window of `table` is no older than that of `before`, or nothing was published there.

    Windows that the ledger has and the table has lost to its expiry count: they say how far the readers had come.
    """
    rows = client.query(
        "SELECT dataset, toUnixTimestamp(max(window_start)) FROM published_batches "
        "WHERE dataset IN {datasets:Array(String)} GROUP BY dataset",
        parameters={"datasets": [table, before]},
    ).result_rows
    newest = dict(map(tuple, rows))
    return bool(newest.get(table, 0) >= newest.get(before, 0))
