"""What the role of each process takes, no less and no more, on an engine that enforces it, and one that only reads."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest

from optiinfra_dagster.cli import export, metrics, report, status
from optiinfra_dagster.cli.grants import tell_grants
from optiinfra_dagster.model.cost import Category
from optiinfra_dagster.model.errors import ConfigError, StorageError
from optiinfra_dagster.reports import page
from optiinfra_dagster.storage import (
    coverage,
    erasure,
    grants,
    migrations,
    reader_tables,
    reader_writer,
    readers,
    reading,
    schema,
)
from optiinfra_dagster.storage.clickhouse import ClickHouse, fetch
from optiinfra_dagster.storage.sql import SQL, statements_of
from optiinfra_dagster.storage.sql import readers as all_readers
from optiinfra_dagster.storage.topology import SINGLE
from optiinfra_dagster.storage.writer import Writer
from tests.conftest import LONG
from tests.support.bills import charge, publish_bill
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.engines import copy_migrated
from tests.support.samples import W, collected, failed
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DATABASE = "optiinfra_metrics"


def administer(server: ClickHouseHttp, *statements: str) -> None:
    """Run statements as the administrator."""
    with ClickHouse(server.url()).session(migrated=False) as client:
        grants.run(client, statements)


def of(server: ClickHouseHttp, user: str) -> ClickHouse:
    """The place as a user finds it."""
    return ClickHouse(server.url(DATABASE, user, ""))


def with_users(server: ClickHouseHttp) -> ClickHouseHttp:
    """The server with the users `migrator`, `writer` and `reader`, who have the role of that name."""
    made = []
    for process in grants.PROCESSES:
        made.append(f"CREATE USER {process} SETTINGS readonly = {int(process == 'reader')}")
        made += grants.of_process(process, DATABASE, process)
    administer(server, *made, "CREATE USER looker SETTINGS readonly = 1", "GRANT `optiinfra__writer` TO looker")
    return server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHttp]:
    """A server with every table, and the users `migrator`, `writer` and `reader`."""
    folder = copy_migrated(tmp_path_factory.mktemp("access") / "engine")
    with ClickHouseHttp(folder, access="lenient") as started:
        yield with_users(started)


@pytest.mark.long
def test_the_migrator_makes_every_table() -> None:
    with ClickHouseHttp(access="lenient") as server:
        clickhouse = of(with_users(server), "migrator")
        with clickhouse.session(migrated=False) as client:
            assert migrations.migrate(client)
        for user in ("writer", "reader"):
            run(of(server, user), "SELECT count() FROM cost_allocation_current")


def test_every_kind_of_statement_of_a_migration_is_the_migrators() -> None:
    """The whole of them with its rights takes seconds, and is tried on request."""
    kinds = {"CREATE TABLE", "CREATE VIEW", "CREATE OR", "DROP VIEW", "DROP TABLE", "ALTER TABLE"}
    for migration in migrations.load():
        for statement in migration.statements:
            assert " ".join(statement.split()[:2]) in kinds | {"INSERT INTO"}, migration.name


# A statement that each right of each role is for. What is refused without it is refused for no other reason.
NEEDS = {
    "CREATE DATABASE": "CREATE DATABASE IF NOT EXISTS optiinfra_metrics",
    "SELECT ON db": "SELECT count() FROM schema_migrations",
    "INSERT": "INSERT INTO schema_migrations (name) SELECT 'a' WHERE 0",
    "CREATE TABLE": "CREATE TABLE IF NOT EXISTS coverage (a Int32) ENGINE = MergeTree ORDER BY a",
    "DROP TABLE": "DROP TABLE IF EXISTS gone_{process}",
    "CREATE VIEW": "CREATE VIEW IF NOT EXISTS costs AS SELECT 1 AS a",
    "ALTER TABLE": "ALTER TABLE coverage ADD COLUMN IF NOT EXISTS reason String",
    "ALTER DELETE": "DELETE FROM cost_daily WHERE 0 SETTINGS lightweight_delete_mode = 'lightweight_update_force'",
    "SYSTEM SYNC REPLICA": "SYSTEM SYNC REPLICA coverage",
    "SELECT ON system.clusters": "SELECT count() FROM system.clusters",
    "SELECT ON system.macros": "SELECT count() FROM system.macros",
    "SELECT ON system.replicas": "SELECT count() FROM system.replicas",
    "SELECT ON system.mutations": "SELECT count() FROM system.mutations",
    "SELECT ON system.parts": "SELECT count() FROM system.parts",
    "SHOW ROW POLICIES": "SELECT count() FROM system.row_policies",
}
UNENFORCED = {"TABLE ENGINE", "CLUSTER"}  # the embedded engine asks for no grant of these, as a server may not


def rights_of(process: str) -> list[str]:
    """The rights of a role, one by one, as GRANT takes them."""
    found = []
    for statement in grants.of_process(process, DATABASE):
        if granted := re.fullmatch(r"GRANT (.*) ON (.*) TO .*", statement):
            found += [f"{right} ON {granted[2]}" for right in granted[1].split(", ")]
    return found


def key(right: str) -> str:
    """What `NEEDS` calls it."""
    return right.replace(f"`{DATABASE}`.*", "db") if right.startswith("SELECT") else right.partition(" ON ")[0]


# That each grant is needed costs a user with all the others: one in three is tried always, all on request.
TRIED = [(process, right) for process in grants.PROCESSES for right in rights_of(process)][:: 1 if LONG else 3]


@pytest.fixture(scope="module")
def lacking(server: ClickHouseHttp) -> dict[tuple[str, str], str]:
    """A user of each role and right, who has all the role's rights but this one."""
    users, statements = {}, []
    for process in grants.PROCESSES:
        rights = rights_of(process)
        statements += [
            f"CREATE TABLE {DATABASE}.gone_{process} (a Int32) ENGINE = MergeTree ORDER BY a",
        ]
        for number, missing in enumerate(right for of, right in TRIED if of == process):
            user = users[process, missing] = f"{process}_without_{number}"
            statements += [f"CREATE USER {user}", f"CREATE ROLE {user}", f"GRANT {user} TO {user}"]
            statements += [f"GRANT {right} TO {user}" for right in rights if right != missing]
    administer(server, *sorted(statements, key=lambda one: one.startswith("GRANT")))
    return users


@pytest.mark.parametrize(("process", "right"), TRIED)
def test_each_right_is_needed(
    server: ClickHouseHttp, lacking: dict[tuple[str, str], str], process: str, right: str
) -> None:
    if key(right) in UNENFORCED:
        return
    statement = NEEDS[key(right)].format(process=process)
    with pytest.raises(StorageError, match="Not enough privileges"):
        run(of(server, lacking[process, right]), statement)
    try:
        run(of(server, process), statement)
    except StorageError as error:
        assert "Not enough privileges" not in str(error)  # noqa: PT017 - a table that is no replica is another matter


def run(clickhouse: ClickHouse, statement: str) -> None:
    with clickhouse.session(migrated=False) as client:
        client.command(statement)


def test_the_writer_collects_computes_deletes_and_erases(server: ClickHouseHttp) -> None:
    """By the slice protocol, with what is superseded; a reader of before is replaced; and a customer is erased."""
    reader = next(one for one in all_readers().values() if one.is_own)
    old = f"{reader.file}_v00000000"
    now = datetime.now(UTC)
    with ClickHouse(server.url(DATABASE)).session() as client:
        for statement in (
            f"CREATE TABLE {old} AS {reader.table}",
            f"DROP TABLE {reader.table}",
            f"CREATE OR REPLACE VIEW {reader.view} AS SELECT t.* EXCEPT (batch) FROM {old} AS t LEFT SEMI JOIN (SELECT "  # noqa: S608, ISC004
            f"window_start, batch FROM published_batches WHERE dataset = '{old}') AS b USING (window_start, batch)",
        ):
            client.command(statement)
        reader_tables.create(client, SINGLE, reader)
    clickhouse = of(server, "writer")
    for batch in (collected("erased"), collected("erased"), failed("erased"), collected("acme"), collected("globex")):
        Writer(clickhouse, schema.PERFORMANCE, run_id="test").flush([batch])
    for one in (reader, all_readers()["performance", "summary"], all_readers()["cost", "summary"]):
        for _ in range(2):
            reader_writer.compute(clickhouse, one, [W])
    with clickhouse.session() as client:
        assert not client.command(f"EXISTS TABLE {old}")
        coverage.forget(client, now - timedelta(days=400))
        assert erasure.erase(client, "erased")
        assert erasure.stored_rows(client, "erased") == {}


def test_who_only_reads_reads_all_and_sends_no_setting(server: ClickHouseHttp) -> None:
    clickhouse = of(server, "reader")
    server.reset()
    with clickhouse.session() as client:
        for family, of_family in readers.sources().items():
            for source in list(of_family.values())[:: 1 if LONG else 6]:  # the same kinds of statements for all
                types = readers.columns(client, source.view)
                one = "x" if source.of_one_resource else ""
                asked = readers.RowFilter(family, "acme", begin=W, end=W + timedelta(days=1), resource_id=one)
                readers.records(client, readers.statement(source, asked, types))
        assert fetch(client, "SELECT count() AS n FROM metric_batches")["n"][0].as_py() > 0
    assert all(statement.settings == {} for statement in server.statements())


def test_who_only_reads_writes_nothing_and_is_told(server: ClickHouseHttp) -> None:
    clickhouse = of(server, "looker")
    with pytest.raises(StorageError) as of_flush:
        Writer(clickhouse, schema.PERFORMANCE, run_id="test").flush([collected("fresh")])
    with pytest.raises(StorageError) as of_command:
        run(clickhouse, "INSERT INTO schema_migrations (name) SELECT 'a'")
    with pytest.raises(StorageError) as of_migration, clickhouse.session(migrated=False) as client:
        migrations.migrate(client)
    assert "Remedy: grant the user" in str(of_migration.value)  # it has no right either, which comes first
    for refused in (of_flush, of_command):
        assert "\n" not in str(refused.value)
        assert "name a user who may write in OPTIINFRA_CLICKHOUSE_URL" in str(refused.value)


@pytest.mark.long
def test_every_command_that_reads_works_for_who_only_reads(
    server: ClickHouseHttp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And prints what it prints for others."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    days = [datetime.now(UTC).date() - timedelta(days=one) for one in (40, 41)]
    odd = charge(days[0], "1.50", resource_id="i-1", description='a "b", c', metadata={"a": 'x"y'})
    publish_bill(of(server, "writer"), days, [odd, charge(days[1], "-0.1", category=Category.CREDIT)])
    spine = Spine.at(tmp_path, server.url(DATABASE, "reader", ""))
    spine.write_customers("http://127.0.0.1:1", ["acme"])
    Writer(of(server, "writer"), schema.PERFORMANCE, run_id="test").flush([collected("acme", [newest_window()])])
    part = next(part.reader for part in page.PARTS if part.reader[0] == "performance")
    reader_writer.compute(of(server, "writer"), all_readers()[part], [newest_window()])
    files = {}
    for user in ("reader", "writer"):
        clickhouse = of(server, user)
        for format_, version in (("csv", "1.2"), ("csv", "1.4"), ("parquet", "1.2")):
            out = tmp_path / f"{user}.{version}.{format_}"
            begin, end = f"{days[1]:%Y-%m-%d}", f"{days[0] + timedelta(days=1):%Y-%m-%d}"
            export.export_focus(clickhouse, spine.settings, export.Request("acme", begin, end, version, format_, out))
            files[user, version, format_] = out
        report.write_report(clickhouse, spine.settings, "acme", tmp_path / f"{user}.html")
    for version in ("1.2", "1.4"):
        text = files["reader", version, "csv"].read_text()
        assert text == files["writer", version, "csv"].read_text()
        assert text.count("\n") == 3
    assert pq.read_table(files["reader", "1.2", "parquet"]).equals(pq.read_table(files["writer", "1.2", "parquet"]))
    warnings: list[str] = []
    assert 'customer="acme"' in metrics.text(spine.settings, warnings.append, by_customer=True)
    assert [line for line in warnings if not line.startswith("dagster has no metrics")] == []
    shown: list[str] = []
    status.print_status(spine.settings, shown.append, as_json=False, details=True)
    assert not any("privileges" in line or "readonly" in line for line in [*warnings, *shown])
    rows = reading.read_rows(
        of(server, "reader"), spine.settings, reading.Query("performance", "metrics", "acme"), reading.as_records
    )
    assert rows.rows is not None


def test_the_statements_are_printed_for_the_database_of_the_url(tmp_path: Path) -> None:
    settings = Spine.at(tmp_path, "http://default@127.0.0.1:1/own`s").settings
    printed: list[str] = []
    tell_grants(settings, "reader", "graf`ana", printed.append)
    assert printed[0] == "CREATE ROLE IF NOT EXISTS `optiinfra__reader`;"
    assert printed[1] == "GRANT SELECT ON `own\\`s`.* TO `optiinfra__reader`;"
    assert printed[-1] == "GRANT `optiinfra__reader` TO `graf\\`ana`;"
    with_all: list[str] = []
    tell_grants(settings, None, "", with_all.append)
    assert set(printed[:-1]) < set(with_all)
    on_cluster: list[str] = []
    tell_grants(settings, "reader", "graf`ana", on_cluster.append, "{cluster}")
    assert on_cluster[0] == "CREATE ROLE IF NOT EXISTS `optiinfra__reader` ON CLUSTER `{cluster}`;"
    assert [line.replace(" ON CLUSTER `{cluster}`", "") for line in on_cluster] == printed
    assert all(line.count(" ON CLUSTER ") == 1 for line in on_cluster)
    with pytest.raises(ConfigError, match=r"There is no role 'writter' .did you mean 'writer'"):
        tell_grants(settings, "writter", "", print)
    with pytest.raises(ConfigError, match="--user is of use with one role"):
        tell_grants(settings, None, "grafana", print)


def test_every_statement_is_one_of_clickhouse(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As its parser takes them, those with rows of customers too."""
    places = {"role": "`r`", "database": "`d`", "table": "`t`", "permits": "`p`", "policy": "`p`", "whom": "ALL"}
    condition = "customer_id = 'acme' OR customer_id = ''"
    with ClickHouse(f"chdb://{tmp_path_factory.mktemp('parser') / 'clickhouse'}").session(migrated=False) as client:
        for path in sorted((SQL / "grants").glob("*.sql")):
            for statement in statements_of(path.read_text()):
                for cluster in ("", " ON CLUSTER `{cluster}`"):
                    filled = statement.format(**places, condition=condition, cluster=cluster)
                    assert client.command("SELECT formatQuery({s:String})", parameters={"s": filled})
