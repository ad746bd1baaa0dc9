"""The schema files: applied in order, once, again after a kill, and what they make is what storage/schema.py says."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import migrations, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.migrations import Migration
from tests.support import killing
from tests.support.samples import select

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.clickhouse_http import ClickHouseHttp

ARROW_TYPES = {
    "DateTime('UTC')": schema.TIME,
    "LowCardinality(String)": schema.NAME,
    "String": pa.string(),
    "Float64": pa.float64(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Bool": pa.bool_(),
    "Decimal(18, 9)": schema.MONEY,
    "Decimal(38, 18)": schema.AMOUNT,
}


@pytest.mark.parametrize("dataset", schema.DATASETS.values(), ids=lambda dataset: dataset.name)
def test_the_arrow_schema_is_that_of_the_table(clickhouse: ClickHouse, dataset: schema.Dataset) -> None:
    with clickhouse.session() as client:
        described = {row[0]: row[1] for row in client.query(f"DESCRIBE TABLE {dataset.table}").result_rows}
        seen = [row[0] for row in client.query(f"DESCRIBE TABLE {dataset.table}_current").result_rows]

    assert sorted(seen) == sorted(described.keys() - {"batch"})
    assert described.pop("batch") == "UInt64"
    plain = {name: re.sub(r"^Nullable\((.*)\)$", r"\1", kind) for name, kind in described.items()}
    assert {field.name: field.type for field in dataset.schema} == {n: ARROW_TYPES[kind] for n, kind in plain.items()}
    assert set(dataset.key) <= plain.keys()


def test_every_expiring_table_is_outlived_by_the_ledger(clickhouse: ClickHouse) -> None:
    """Without its ledger row a slice is not seen."""
    rows = select(
        clickhouse,
        "SELECT name, toUInt32OrZero(extract(engine_full, 'toIntervalDay\\((\\d+)\\)')) AS days FROM system.tables "
        "WHERE database = currentDatabase() AND engine_full LIKE '%TTL%'",
    )
    days = {row["name"]: row["days"] for row in rows}
    assert days.keys() >= {dataset.table for dataset in schema.DATASETS.values()}
    assert days.pop("metric_batches") > max(days.values())


def test_every_migration_is_applied_in_order_and_once(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:
        applied = client.query("SELECT name FROM schema_migrations ORDER BY applied_at, name").result_rows
        assert [name for (name,) in applied] == [m.name for m in migrations.load()]
        assert all(done for _, done in migrations.status(client))
        assert migrations.migrate(client) == []


def test_files_are_numbered_and_no_number_is_twice() -> None:
    names = [migration.name for migration in migrations.load()]
    assert names == sorted(names)
    assert [int(name[:3]) for name in names] == list(range(1, len(names) + 1))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A schema folder of the test's own."""
    folder = tmp_path / "schema"
    folder.mkdir()
    (folder / "002_second.sql").write_text("CREATE VIEW v AS\nSELECT a FROM t; -- a comment; with a semicolon\n")
    (folder / "001_first.sql").write_text("-- why; and how\nCREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a;\n")
    return folder


@pytest.fixture
def fresh(clickhouse_http: ClickHouseHttp, clickhouse_url: str) -> ClickHouse:
    """An empty database on a server."""
    return ClickHouse(clickhouse_url)


def test_an_edited_file_is_an_error(fresh: ClickHouse, folder: Path) -> None:
    with fresh.session(migrated=False) as client:
        assert migrations.migrate(client, migrations.load(folder)) == ["001_first", "002_second"]
        text = (folder / "001_first.sql").read_text()
        (folder / "001_first.sql").write_bytes(text.replace("\n", "\r\n").encode())
        assert all(done for _, done in migrations.status(client, migrations.load(folder)))
        (folder / "001_first.sql").write_text(text.replace("UInt8", "UInt16"))
        with pytest.raises(StorageError, match=r"001_first\.sql was changed after it was applied\. Put the file back"):
            migrations.status(client, migrations.load(folder))


def test_tables_of_a_newer_version_are_an_error(fresh: ClickHouse, folder: Path) -> None:
    with fresh.session(migrated=False) as client:
        migrations.migrate(client, migrations.load(folder))
        (folder / "002_second.sql").unlink()
        with pytest.raises(StorageError, match=r"newer version: it applied 002_second\. Upgrade"):
            migrations.status(client, migrations.load(folder))


def test_a_new_file_is_pending_and_then_applied(fresh: ClickHouse, folder: Path) -> None:
    with fresh.session(migrated=False) as client:
        migrations.migrate(client, migrations.load(folder))
        known = [*migrations.load(folder), Migration("003_third", "ALTER TABLE t ADD COLUMN IF NOT EXISTS b UInt8;")]
        pending = [migration for migration, done in migrations.status(client, known) if not done]
        assert [migration.name for migration in pending] == ["003_third"]
        migrations.migrate(client, pending)
        assert all(done for _, done in migrations.status(client, known))


@pytest.mark.parametrize("statements", [2, 4, 9])
def test_a_kill_between_statements_is_made_good_by_the_next_migration(
    clickhouse_http: ClickHouseHttp, clickhouse_url: str, statements: int
) -> None:
    assert killing.run(killing.migrate, clickhouse_url, statements) == -signal.SIGKILL

    clickhouse = ClickHouse(clickhouse_url)
    with pytest.raises(StorageError, match="optiinfra migrate"), clickhouse.session():
        pass
    with clickhouse.session(migrated=False) as client:
        assert migrations.migrate(client)
        assert all(done for _, done in migrations.status(client))
    with clickhouse.session() as client:
        assert client.query("SELECT count() FROM performance_metrics_current").first_item == {"count()": 0}


def test_an_embedded_place_that_a_kill_left_half_migrated_comes_up_to_date_by_itself(tmp_path: Path) -> None:
    url = f"chdb://{tmp_path / 'place'}"
    assert killing.run(killing.migrate, url, 5) == -signal.SIGKILL

    with ClickHouse(url).session() as client:
        assert all(done for _, done in migrations.status(client))


def test_a_server_that_was_not_migrated_says_what_to_do(fresh: ClickHouse) -> None:
    with pytest.raises(StorageError, match=r"001_ledger is missing\. Run `optiinfra migrate`"), fresh.session():
        pass


def test_a_server_without_the_database_says_what_to_do_and_is_given_one(clickhouse_http: ClickHouseHttp) -> None:
    clickhouse = ClickHouse(clickhouse_http.url("no-such_database"))
    with pytest.raises(StorageError, match=r"001_ledger is missing\. Run `optiinfra migrate`"), clickhouse.session():
        pass
    with clickhouse.session(migrated=False) as client:
        assert not any(done for _, done in migrations.status(client))
        migrations.migrate(client)
        assert all(done for _, done in migrations.status(client))
        client.command("DROP DATABASE `no-such_database` SYNC")
    with pytest.raises(StorageError, match="Run `optiinfra migrate`"), ClickHouse(clickhouse._url).session():
        pass
