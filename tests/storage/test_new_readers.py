"""A reader is one .sql file: its table, view, asset and order follow from it, and a changed SELECT has a table anew."""

from __future__ import annotations

import csv
import io
import re
import shutil
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from optiinfra_dagster.assets.partitions import window_partitions
from optiinfra_dagster.assets.readers import build
from optiinfra_dagster.cli.printing import print_rows
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import migrations, reader_tables, sql
from optiinfra_dagster.storage import readers as rows_of
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.reading import Query
from optiinfra_dagster.storage.topology import SINGLE
from tests.support.engines import copy_migrated, empty
from tests.support.samples import collected, select

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.sql import Reader
    from tests.support.clickhouse_http import ClickHouseHttp

NOW = windows.floor(datetime.now(UTC)) - timedelta(hours=1)
Q = windows.WINDOW
LINGER = 3_600.0  # the engine is opened once for all sessions of a ClickHouse

BUSIEST = """\
-- The busiest resources of the window.
--
-- shows: window_start provider resource_id highest is_busy
-- kept: 30 days
-- key: customer_id provider resource_id
SELECT
    customer_id,
    provider,
    resource_id,   -- the cloud's id
    max(m.metric_value) AS highest,
    count() AS points,
    highest > 5 AS is_busy,
    concat('seen in ', any(m.region)) AS note,
    max(m.timestamp) AS last_at
FROM performance_metrics_current AS m
WHERE window_start = {window:DateTime('UTC')}
GROUP BY customer_id, provider, resource_id
"""
CHANGED = BUSIEST.replace("count() AS points", "toUInt64(2 * count()) AS points").replace("30 days", "20 days")


FEW = {"performance_latest", "performance_summary", "resource_summary"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of `sql/` that the program reads, with few readers: each is looked at over and over."""
    shutil.copytree(sql.SQL, tmp_path / "sql")
    for path in (tmp_path / "sql" / "readers").glob("*.sql"):
        if path.stem not in FEW:
            path.unlink()
    monkeypatch.setattr(sql, "SQL", tmp_path / "sql")
    _forget()
    yield tmp_path / "sql"
    monkeypatch.undo()
    _forget()


def _forget() -> None:
    for cached in (sql.read_sql, sql.readers, sql.columns, rows_of.sources):
        cached.cache_clear()


def put(folder: Path, text: str, name: str = "performance_busiest") -> Reader:
    (folder / "readers" / f"{name}.sql").write_text(text)
    _forget()
    family, _, of_family = name.partition("_")
    return sql.readers()[family, of_family]


def tables(client: Client, stem: str = "performance_busiest") -> set[str]:
    rows = client.query("SELECT name FROM system.tables WHERE database = currentDatabase()").result_rows
    return {name for (name,) in rows if name.startswith(stem) and not name.endswith("_as_of")}


def published(clickhouse: ClickHouse, *values: float, window: datetime = NOW) -> None:
    from optiinfra_dagster.storage import schema
    from optiinfra_dagster.storage.writer import Writer

    Writer(clickhouse, schema.PERFORMANCE).flush([collected(span=[window], values=list(values))])


@pytest.fixture
def place(folder: Path, open_engine: ClickHouse) -> Iterator[ClickHouse]:
    """The engine that stays open; what the test's own reader has there is gone after the test."""
    del folder
    with open_engine.session() as client:
        yield open_engine
        rows = client.query(
            "SELECT if(engine = 'View', 'VIEW', 'TABLE'), name FROM system.tables "
            "WHERE database = currentDatabase() AND startsWith(name, 'performance_busiest')"
        ).result_rows
        for kind, name in rows:
            client.command(f"DROP {kind} {name}")
        empty(client)


def upgraded(clickhouse: ClickHouse) -> ClickHouse:
    """The place, once it was brought up to date, as an opening of it does."""
    with clickhouse.session() as client:
        migrations.migrate(client, alone=True)
    return clickhouse


def test_a_new_reader_is_one_file(folder: Path, chdb_url: str, tmp_path: Path) -> None:
    """The file is dropped in; the place is opened, the asset materialized, its rows read by the command line."""
    reader = put(folder, BUSIEST)
    clickhouse = ClickHouse(chdb_url, linger=LINGER)
    published(clickhouse, 4, 9)

    assets = {asset.key.to_user_string(): asset for asset in build(window_partitions(NOW - timedelta(days=2)))}
    asset = assets["performance/busiest"]
    with dg.DagsterInstance.ephemeral() as instance:
        done = dg.materialize(
            [asset], partition_key=windows.key(NOW), instance=instance,
            resources={"io_manager": ClickHouseIOManager(clickhouse)}, selection=[asset.key],
        )  # fmt: skip
        (shown,) = done.asset_materializations_for_node(asset.node_def.name)

    of_table = shown.metadata["dagster/column_schema"].value
    assert isinstance(of_table, dg.TableSchema)
    columns = {column.name: column for column in of_table.columns}
    assert {name: column.type for name, column in columns.items()} == {
        "window_start": "DateTime('UTC')", "customer_id": "LowCardinality(String)",
        "provider": "LowCardinality(String)", "resource_id": "LowCardinality(String)", "highest": "Float64",
        "points": "UInt32", "is_busy": "Bool", "note": "LowCardinality(String)", "last_at": "DateTime('UTC')",
    }  # fmt: skip
    assert columns["resource_id"].description == "the cloud's id"
    assert asset.metadata_by_key[asset.key]["dagster/table_name"] == "performance_busiest_current"

    (tmp_path / "customers.yaml").write_text("customers:\n  - {id: acme, name: A, vultr: [{api_key: {env: K}}]}\n")
    settings = Settings(dagster_home=tmp_path, customers_path=tmp_path / "customers.yaml")
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    print_rows(clickhouse, settings, Query("performance", "busiest", "acme"), "csv", out)
    out.seek(0)
    names, row = csv.reader(out)
    assert ",".join(names) == "window_start,customer_id,provider,resource_id,highest,points,is_busy,note,last_at"
    assert row[1:7] == ["acme", "aws", "i-1", "9", "2", "True"]
    with clickhouse.session() as client:
        made = client.command(f"SHOW CREATE TABLE {reader.table}")
    assert "ORDER BY (window_start, customer_id, provider, resource_id)" in str(made)
    assert "toIntervalDay(30)" in str(made)


def test_a_changed_select_has_a_table_of_its_own_which_is_shown_when_it_is_filled(folder: Path, chdb_url: str) -> None:
    old = put(folder, BUSIEST)
    clickhouse = ClickHouse(chdb_url, linger=LINGER)
    published(clickhouse, 4, 9)
    compute(clickhouse, old, [NOW])
    of_view = "SELECT points FROM performance_busiest_current WHERE window_start = {at:DateTime('UTC')}"

    new = put(folder, CHANGED)
    assert new.table != old.table
    clickhouse = ClickHouse(chdb_url, linger=LINGER)  # as after an upgrade
    assert select(clickhouse, of_view, at=NOW) == [{"points": 2}]
    with clickhouse.session() as client:
        assert reader_tables.shown_table(client, new) == old.table
        assert tables(client) == {old.table, new.table, "performance_busiest_current"}

    published(clickhouse, 1, window=NOW - Q)
    compute(clickhouse, new, [NOW - Q])  # a window of before: the newest is in the old table only
    assert select(clickhouse, of_view, at=NOW) == [{"points": 2}]
    compute(clickhouse, new, [NOW])
    assert select(clickhouse, of_view, at=NOW) == [{"points": 4}]
    with clickhouse.session() as client:
        assert tables(client) == {new.table, "performance_busiest_current"}


def test_a_table_that_was_made_later_is_kept_whenever_a_replica_got_it(folder: Path, place: ClickHouse) -> None:
    """A replica that is restored makes all tables anew, in any order: here the one of before comes last."""
    old = put(folder, BUSIEST)
    clickhouse = upgraded(place)
    published(clickhouse, 4, 9)
    compute(clickhouse, old, [NOW])
    new = put(folder, CHANGED)
    compute(upgraded(clickhouse), old, [NOW - Q])  # a program of before is at work, too
    with clickhouse.session() as client:
        client.command(f"ALTER TABLE {old.table} MODIFY SETTING max_parts_in_total = 50000")
        changed = "SELECT metadata_modification_time FROM system.tables WHERE name = {table:String}"
        of_old, of_new = (str(client.command(changed, parameters={"table": one.table})) for one in (old, new))
        assert of_old >= of_new
        reader_tables.show(client, SINGLE, old)
        assert tables(client) == {old.table, new.table, "performance_busiest_current"}
    compute(clickhouse, new, [NOW])
    with clickhouse.session() as client:
        assert tables(client) == {new.table, "performance_busiest_current"}


def test_a_table_that_does_not_say_when_it_was_made_is_one_of_before(folder: Path, place: ClickHouse) -> None:
    old = put(folder, BUSIEST)
    clickhouse = upgraded(place)
    published(clickhouse, 4, 9)
    compute(clickhouse, old, [NOW])
    with clickhouse.session() as client:
        client.command(f"ALTER TABLE {old.table} MODIFY COMMENT ''")
    new = put(folder, CHANGED)
    compute(upgraded(clickhouse), new, [NOW])
    with clickhouse.session() as client:
        assert tables(client) == {new.table, "performance_busiest_current"}


def test_an_edit_that_leaves_the_select_as_it_is_keeps_the_table(folder: Path) -> None:
    reader = put(folder, BUSIEST)
    said = BUSIEST.replace("The busiest", "Most busy").replace("the cloud's id", "whose id").replace(
        "    provider,", "\n    -- a comment\n    provider,"
    )  # fmt: skip
    assert put(folder, said).table == reader.table
    for edit in (("30 days", "31 days"), ("key: customer_id provider", "key: customer_id"), ("> 5", "> 6")):
        assert put(folder, BUSIEST.replace(*edit)).table != reader.table


def test_a_migrations_table_is_kept_while_its_select_is_the_same(folder: Path, chdb_url: str) -> None:
    before = sql.readers()["resource", "summary"]
    assert (before.table, before.is_own) == ("resource_summary", False)
    text = before.select
    changed = put(folder, text.replace("count() AS resources", "count() + 0 AS resources"), "resource_summary")
    assert changed.table == f"resource_summary_v{changed.version}"
    clickhouse = ClickHouse(chdb_url, linger=LINGER)
    with clickhouse.session() as client:  # nothing was published of it
        assert tables(client, "resource_summary") == {changed.table, "resource_summary_current"}
    kept = re.sub(r"(-- table: resource_summary) \w+", rf"\1 {changed.version}", changed.select)
    assert put(folder, kept, "resource_summary").table == "resource_summary"


# CREATE TABLE of the log and of the reader, VIEW, CREATE OR REPLACE VIEW and that of what was known, DROP TABLE
STATEMENTS = 6


class Killed(Exception):  # noqa: N818
    """The process ends here."""


@pytest.mark.parametrize("lives", range(STATEMENTS + 1))
def test_a_kill_at_any_statement_is_made_good(
    folder: Path, place: ClickHouse, lives: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the migration that makes the table, and of the computation that shows it and drops the one of before."""
    old = put(folder, BUSIEST)
    clickhouse = upgraded(place)
    published(clickhouse, 4, 9)
    compute(clickhouse, old, [NOW])
    new = put(folder, CHANGED)
    with clickhouse.session() as client:
        command, count = client.command, [0]

        def mortal(statement: str, *arguments: Any, **named: Any) -> Any:
            if re.match(r"(CREATE|DROP) (TABLE|VIEW|OR)", statement):
                if count[0] == lives:
                    raise Killed
                count[0] += 1
            return command(statement, *arguments, **named)

        monkeypatch.setattr(client, "command", mortal)
        killed = False
        try:
            migrations.migrate(client, alone=True)
            compute(clickhouse, new, [NOW])
        except Killed:
            killed = True
        monkeypatch.setattr(client, "command", command)
        assert killed == (lives < STATEMENTS)
        # The view never lacks the window.
        assert select(clickhouse, "SELECT points FROM performance_busiest_current")[0]["points"] in {2, 4}
        migrations.migrate(client, alone=True)
        compute(clickhouse, new, [NOW])
        assert tables(client) == {new.table, "performance_busiest_current"}
        assert select(clickhouse, "SELECT points FROM performance_busiest_current") == [{"points": 4}]
        assert reader_tables.missing(client) == []


def test_a_server_is_told_to_migrate_and_then_has_the_table(
    http_url: str, clickhouse_http: ClickHouseHttp, folder: Path
) -> None:
    del clickhouse_http
    reader = put(folder, BUSIEST)
    clickhouse = ClickHouse(http_url)
    remedy = rf"{reader.table} is missing\. Run `optiinfra migrate`"
    with pytest.raises(StorageError, match=remedy), clickhouse.session():
        pass
    with clickhouse.session(migrated=False) as client:
        assert migrations.migrate(client) == [reader.table]
        assert migrations.migrate(client) == []
    with clickhouse.session() as client:
        client.command("DROP VIEW performance_busiest_current")
        client.command(f"DROP TABLE {reader.table}")


def test_a_key_that_the_select_lacks_is_told(folder: Path, chdb_url: str) -> None:
    put(folder, BUSIEST.replace("key: customer_id provider resource_id", "key: customer_id bogus"))
    with (
        pytest.raises(StorageError, match=r"performance_busiest\.sql: the SELECT has no column bogus"),
        ClickHouse(chdb_url).session(),
    ):
        pass


def test_the_rules_give_the_tables_that_migrations_made(tmp_path: Path) -> None:
    """So that a reader whose SELECT changes keeps its types, its key but for the order, and for how long it is kept."""
    made_by_migrations = [reader for reader in sql.readers().values() if not reader.is_own]
    assert made_by_migrations
    folder = copy_migrated(tmp_path / "clickhouse", expiring=True)
    with ClickHouse(f"chdb://{folder}").session() as client:
        for reader in made_by_migrations:
            described = client.query(f"DESCRIBE TABLE {reader.table}").result_rows
            made = {row[0]: row[1] for row in described if row[0] not in {"window_start", "batch", "values"}}
            rules = reader_tables.column_types(client, reader)
            assert {name: rules.get(name) for name in made} == made, reader.table
            kept, key = client.query(
                "SELECT extract(engine_full, 'toIntervalDay\\((\\d+)\\)'), sorting_key FROM system.tables "
                "WHERE database = currentDatabase() AND name = {table:String}",
                parameters={"table": reader.table},
            ).result_rows[0]
            assert reader.kept == int(kept), reader.table
            assert set(key.split(", ")) <= {"window_start", *reader.key}, reader.table


DESCRIBED = {"cost_daily", "application_quality", "resource_uptime"}


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_types_of_a_select_are_those_that_it_is_described_with(open_engine: ClickHouse, every: bool) -> None:
    selects = {reader.file: reader.select for reader in sql.readers().values() if every or reader.file in DESCRIBED}
    selects["odd"] = (
        "SELECT toDecimal64(1, 2) AS a, [(1, 'x')] AS b, CAST(NULL, 'Nullable(DateTime(\\'UTC\\'))') AS c, 1 = 1 AS d "
        "-- a comment\nSETTINGS max_threads = 1"
    )
    selects["union"] = "SELECT 1 AS a UNION ALL SELECT 300"
    with open_engine.session() as client:
        for name, select in selects.items():
            rows = client.query(f"DESCRIBE TABLE ({select})", parameters=reader_tables._SOME_WINDOW).result_rows
            assert reader_tables._columns(client, select) == [row[:2] for row in rows], name
            assert len(rows) >= 1
