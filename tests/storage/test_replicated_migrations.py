"""Migrations of several replicas: made on all of them, once, whichever of them a migration speaks to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import ddl, migrations
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.database import DATABASE
from optiinfra_dagster.storage.migrations import Migration
from optiinfra_dagster.storage.topology import Topology
from tests.storage.test_migrations import Killed, Mortal, lapse, made
from tests.support.replicas import Replicas

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from clickhouse_connect.driver.client import Client

FILES = [
    Migration("001_first", "CREATE TABLE a (x UInt8)\nENGINE = MergeTree ORDER BY x;\nCREATE TABLE b AS a;\n"),
    Migration("002_second", "DROP VIEW v;\nCREATE VIEW v AS SELECT x FROM a;\nALTER TABLE b ADD COLUMN y UInt8;\n"),
]
NAMES = [migration.name for migration in FILES]


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("replicas"), migrated=False) as running:
        yield running


@pytest.fixture
def replicas(servers: Replicas) -> Iterator[Replicas]:
    """Two replicas of an empty database."""
    yield servers
    servers.settle()
    with ClickHouse(servers.url(via=0)).session(migrated=False) as client:
        for (name,) in client.query("SELECT name FROM system.tables WHERE database = currentDatabase()").result_rows:
            client.command(f"DROP TABLE {name}")


def migrate(replicas: Replicas, via: int, files: list[Migration] = FILES, **how: Any) -> list[str]:
    """What a migration applied that speaks to a replica."""
    clickhouse = ClickHouse(replicas.url(via=via))
    with clickhouse.session(migrated=False) as client:
        return migrations.migrate(client, files, topology=clickhouse.topology(client), **how)


def each(replicas: Replicas, ask: Callable[[Client], Any]) -> list[Any]:
    """What each replica says by itself, when all have taken over everything."""
    replicas.settle()
    said = []
    for server in replicas.servers:
        with ClickHouse(server.url(DATABASE)).session(migrated=False) as client:
            said.append(ask(client))
    return said


def applied(client: Client) -> list[str]:
    rows = client.query("SELECT name FROM schema_migrations ORDER BY name").result_rows
    return [name for (name,) in rows]


def engines_of(client: Client) -> dict[str, str]:
    """The engine of each table and view."""
    rows = client.query("SELECT name, engine FROM system.tables WHERE database = currentDatabase()").result_rows
    return dict(map(tuple, rows))


@pytest.mark.parametrize("replication", [Replication.DATABASE, Replication.PATH])
def test_tables_are_made_on_every_replica_and_replicate(replicas: Replicas, replication: Replication) -> None:
    with replicas.as_if(replication):
        asked = {Replication.PATH: Replication.PATH}.get(replication)
        clickhouse = ClickHouse(replicas.url(via=0), replication=asked)
        with clickhouse.session(migrated=False) as client:
            assert migrations.migrate(client, FILES, topology=clickhouse.topology(client)) == NAMES
            client.command("INSERT INTO a VALUES (1)")
        assert migrate(replicas, via=1) == []
        with ClickHouse(replicas.url(via=1)).session(migrated=False) as client:
            engines = engines_of(client)
    assert engines.pop("v") == "View"
    assert set(engines) == {"a", "b", "schema_migrations", "schema_migrations_lock"}
    assert set(engines.values()) == {"ReplicatedMergeTree"}
    assert each(replicas, applied) == [NAMES, NAMES]
    assert each(replicas, lambda client: client.query("SELECT x FROM v").result_rows) == [[(1,)], [(1,)]]


def test_a_migration_that_is_killed_is_finished_at_another_replica(replicas: Replicas) -> None:
    """At every third statement; what the killed one has put into the log comes there when it is asked for."""
    lives = kills = 0
    while True:
        clickhouse = ClickHouse(replicas.url(via=kills % 2))
        with clickhouse.session(migrated=False) as client:
            mortal: Any = Mortal(client, lives)
            try:
                migrations.migrate(mortal, FILES, topology=clickhouse.topology(client))
                break
            except Killed:
                kills += 1
                if lives > 3:
                    lapse(client)
        lives += 3
    assert kills > 3
    assert each(replicas, applied) == [NAMES, NAMES]
    first, second = each(replicas, lambda client: made(client, DATABASE))
    assert first == second


@pytest.mark.parametrize("replication", [Replication.DATABASE, Replication.CLOUD])
def test_two_migrations_at_two_replicas_apply_each_file_once(replicas: Replicas, replication: Replication) -> None:
    """The second begins in the middle of the first, and no replica learns of rows by itself."""
    said: list[str] = []
    with replicas.as_if(replication), ThreadPoolExecutor(1) as threads:
        later: list[Any] = []

        def begin() -> None:
            later.append(threads.submit(migrate, replicas, 1, say=said.append))

        replicas.at("CREATE TABLE IF NOT EXISTS b", begin)
        assert migrate(replicas, via=0) == NAMES
        assert later[0].result(60) == []
    assert each(replicas, applied) == [NAMES, NAMES]


@pytest.mark.parametrize("replication", [Replication.DATABASE, Replication.PATH, Replication.NONE, Replication.CLOUD])
def test_a_balancer_that_distributes_requests_is_refused(replicas: Replicas, replication: Replication) -> None:
    """Cloud is not, where all servers have one storage."""
    asked = None if replication is Replication.DATABASE else replication
    with replicas.as_if(replication):
        clickhouse = ClickHouse(replicas.url(), replication=asked)
        with clickhouse.session(migrated=False) as client:
            topology = clickhouse.topology(client)
            if replication is Replication.CLOUD:
                assert migrations.migrate(client, FILES, topology=topology) == NAMES
                return
            with pytest.raises(StorageError, match=r"reach several servers.*Name the servers one by one in OPTI"):
                migrations.migrate(client, FILES, topology=topology)
    assert each(replicas, engines_of) == [{}, {}]


def test_a_balancer_that_keeps_connections_will_do(replicas: Replicas) -> None:
    replicas.balance = "connection"
    replicas.hang_up()
    try:
        clickhouse = ClickHouse(replicas.url())
        with clickhouse.session(migrated=False) as client:
            assert migrations.migrate(client, FILES, topology=clickhouse.topology(client)) == NAMES
    finally:
        replicas.balance = "request"
        replicas.hang_up()


@pytest.mark.parametrize("down", ["the other, and it comes back", "the one that took it"])
def test_the_lock_of_another_replica_is_seen(replicas: Replicas, down: str) -> None:
    topology = Topology(Replication.DATABASE)
    migrate(replicas, via=0, files=[])
    clients = [ClickHouse(replicas.url(via=i)) for i in (0, 1)]
    with clients[0].session(migrated=False) as first, clients[1].session(migrated=False) as second:
        lock, other = migrations._Lock(first, topology), migrations._Lock(second, topology)
        if down == "the one that took it":
            lock.acquire(pytest.fail)
            replicas.stop(0)
            assert other._is_taken()
            replicas.start(0)
        else:
            replicas.stop(1)
            lock.acquire(pytest.fail)
            replicas.start(1)
            assert replicas.waiting(1, "schema_migrations_lock") > 0
            assert other._is_taken()
            lock.release()
            assert not other._is_taken()


def test_a_replica_that_lacks_what_was_applied_says_so(replicas: Replicas) -> None:
    migrate(replicas, via=0)
    replicas.stop(1)
    with ClickHouse(replicas.url(via=0)).session(migrated=False) as client:
        client.command("INSERT INTO schema_migrations (name) SELECT '003_third'")
    replicas.start(1)
    with (
        ClickHouse(replicas.url(via=1)).session(migrated=False) as client,
        replicas.held(1, "schema_migrations"),
        pytest.raises(StorageError, match="the replica lacks rows of schema_migrations that others have"),
    ):
        migrations.status(client, FILES, Topology(Replication.DATABASE))


def test_a_session_that_came_to_a_replica_which_lags_finds_the_tables_up_to_date(replicas: Replicas) -> None:
    migrate(replicas, via=0, files=[])
    replicas.stop(1)
    migrate(replicas, via=0)
    replicas.start(1)
    clickhouse = ClickHouse(replicas.url(via=1))
    with clickhouse.session(migrated=False) as client:
        assert not any(done for _, done in migrations.status(client, FILES))
        topology = clickhouse.topology(client)
        assert all(done for _, done in migrations.status(client, FILES, topology))


def test_a_replica_that_did_not_carry_out_a_statement_is_told_of(replicas: Replicas) -> None:
    replicas.servers[0].fault("exception", match="CREATE TABLE IF NOT EXISTS b", code=159)
    with pytest.raises(
        StorageError, match=r"Not every replica has carried out `CREATE TABLE IF NOT EXISTS b.*Start it"
    ):
        migrate(replicas, via=0)
    assert migrate(replicas, via=1) == NAMES


def test_a_table_that_has_not_applied_the_alter_before_is_asked_again(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    replicas.servers[0].fault("exception", match="ADD COLUMN", code=ddl.CANNOT_ASSIGN_ALTER, times=2)
    assert migrate(replicas, via=0) == NAMES
    monkeypatch.setattr(ddl, "_ALTER_SECONDS", 0.0)
    replicas.servers[0].fault("exception", match="ADD COLUMN", code=ddl.CANNOT_ASSIGN_ALTER)
    with pytest.raises(StorageError, match="517"):
        migrate(replicas, via=0, files=[*FILES, Migration("003_third", "ALTER TABLE b ADD COLUMN z UInt8;")])


def test_ddl_waits_for_every_replica_and_nothing_else_is_said(replicas: Replicas) -> None:
    replicas.servers[0].reset()
    migrate(replicas, via=0)
    seen = {s.text.split("(")[0].strip(): s.settings for s in replicas.servers[0].statements()}
    of_ddl = {text: settings for text, settings in seen.items() if text.startswith(("CREATE TABLE", "ALTER", "DROP"))}
    assert len(of_ddl) >= 6
    assert all(s.items() >= {(k, str(v)) for k, v in ddl.REPLICATED_SETTINGS.items()} for s in of_ddl.values())


def test_tables_of_an_older_version_are_taken_over_with_their_rows(replicas: Replicas) -> None:
    migrate(replicas, via=0, files=FILES[:1])
    with ClickHouse(replicas.url(via=0)).session(migrated=False) as client:
        client.command("INSERT INTO a VALUES (7)")
    assert migrate(replicas, via=1) == NAMES[1:]
    assert each(replicas, lambda client: client.query("SELECT x FROM v").result_rows) == [[(7,)], [(7,)]]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("replication", [Replication.DATABASE, Replication.PATH])
def test_the_whole_schema_is_made_on_two_replicas(replicas: Replicas, replication: Replication) -> None:
    """Beginning at one, from an older version with rows, and ending at the other."""
    files = migrations.load()
    with replicas.as_if(replication):
        clickhouse = ClickHouse(replicas.url(via=0), replication=replication)
        with clickhouse.session(migrated=False) as client:
            migrations.migrate(client, files[:14], topology=clickhouse.topology(client))
            client.command("INSERT INTO coverage (customer_id, state, since) VALUES ('acme', 'error', 1)")
        clickhouse = ClickHouse(replicas.url(via=1))
        with clickhouse.session(migrated=False) as client:
            assert migrations.migrate(client, topology=clickhouse.topology(client))[: len(files[14:])] == [
                migration.name for migration in files[14:]
            ]
        with ClickHouse(replicas.url(via=0)).session() as client:
            engines = engines_of(client)
    assert {engine for engine in engines.values() if engine != "View"} == {
        "ReplicatedMergeTree",
        "ReplicatedReplacingMergeTree",
    }
    first, second = each(replicas, lambda client: made(client, DATABASE))
    assert first == second
    rows = each(replicas, lambda client: client.query("SELECT customer_id FROM coverage_current").result_rows)
    assert rows == [[("acme",)], [("acme",)]]
