"""The model of several replicas does what ClickHouse does, as far as the project relies on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import clickhouse_connect
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from optiinfra_dagster.config.replication import Replication
from tests.support.replicas import Replicas

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client


@pytest.fixture(scope="module")
def replicas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("replicas"), migrated=False) as running:
        yield running


@pytest.fixture
def clients(replicas: Replicas) -> Iterator[list[Client]]:
    """A client of each replica, beside an empty table `t`."""
    both = [clickhouse_connect.get_client(dsn=replicas.url(via=i)) for i in (0, 1)]
    both[0].command("CREATE TABLE t (x UInt32, s String) ENGINE = ReplicatedMergeTree ORDER BY x")
    yield both
    both[0].command("DROP TABLE t")


def rows(client: Client) -> list[int]:
    return [x for (x,) in client.query("SELECT x FROM t ORDER BY x").result_rows]


def insert(client: Client, x: int, **settings: object) -> None:
    client.command("INSERT INTO t SELECT {x:UInt32}, 'a\tb'", parameters={"x": x}, settings=settings)


def test_a_write_stays_on_its_replica_until_somebody_waits_for_it(replicas: Replicas, clients: list[Client]) -> None:
    insert(clients[0], 1)
    clients[0].insert("t", [[2, "x"]], column_names=["x", "s"])
    assert [rows(client) for client in clients] == [[1, 2], []]
    assert replicas.waiting(1, "t") == 2

    replicas.advance(1, "t", writes=1)
    assert rows(clients[1]) == [1]
    clients[1].command("SYSTEM SYNC REPLICA t LIGHTWEIGHT")
    assert rows(clients[1]) == [1, 2]
    clients[1].command("DELETE FROM t WHERE x = 1")
    assert rows(clients[0]) == [1, 2]
    replicas.settle()
    assert [rows(client) for client in clients] == [[2], [2]]


def test_a_quorum_waits_for_the_others(replicas: Replicas, clients: list[Client]) -> None:
    insert(clients[0], 1, insert_quorum="auto")
    assert rows(clients[1]) == [1]

    with replicas.held(1, "t"):
        with pytest.raises(DatabaseError, match="UNKNOWN_STATUS_OF_INSERT"):
            insert(clients[0], 2, insert_quorum=2)
        with pytest.raises(DatabaseError, match="TIMEOUT_EXCEEDED"):
            clients[1].command("SYSTEM SYNC REPLICA t LIGHTWEIGHT")
    assert [rows(client) for client in clients] == [[1, 2], [1]]

    replicas.stop(1)
    with pytest.raises(DatabaseError, match="TOO_FEW_LIVE_REPLICAS"):
        insert(clients[0], 3, insert_quorum="auto")
    insert(clients[0], 4)
    with pytest.raises(OperationalError):
        rows(clients[1])
    replicas.start(1)
    replicas.settle()
    assert [rows(client) for client in clients] == [[1, 2, 4], [1, 2, 4]]


def test_an_insert_is_deduplicated_by_its_token_on_any_replica(replicas: Replicas, clients: list[Client]) -> None:
    insert(clients[0], 1, insert_deduplication_token="a")
    insert(clients[1], 1, insert_deduplication_token="a")
    replicas.settle()
    assert [rows(client) for client in clients] == [[1], [1]]


def test_what_only_a_dead_replica_has_reaches_nobody(replicas: Replicas, clients: list[Client]) -> None:
    replicas.at("INSERT INTO t", lambda: replicas.stop(0), when="after")
    with pytest.raises(OperationalError):
        insert(clients[0], 1)
    insert(clients[1], 2)
    with pytest.raises(DatabaseError, match="TIMEOUT_EXCEEDED"):
        clients[1].command("SYSTEM SYNC REPLICA t")
    assert rows(clients[1]) == [2]
    replicas.start(0)
    replicas.settle()
    assert [rows(client) for client in clients] == [[1, 2], [1, 2]]


def test_a_plain_table_of_a_replicated_database_keeps_its_rows_to_itself(
    replicas: Replicas, clients: list[Client]
) -> None:
    clients[0].command("CREATE TABLE plain (x UInt32) ENGINE = MergeTree ORDER BY x")
    clients[0].command("INSERT INTO plain SELECT 1")
    replicas.settle()
    assert [client.command("SELECT count() FROM plain") for client in clients] == [1, 0]
    clients[0].command("DROP TABLE plain")


def test_system_tables_say_who_replicates(replicas: Replicas, clients: list[Client]) -> None:
    asked = "SELECT engine FROM system.tables WHERE database = currentDatabase() AND name = 't'"
    assert clients[1].command(asked) == "ReplicatedMergeTree"
    assert clients[0].command("SELECT engine FROM system.databases WHERE name = currentDatabase()") == "Replicated"
    assert clients[0].query("SELECT replica_num, is_local FROM system.clusters").result_rows == [(1, 1), (2, 0)]
    replicas.stop(0)
    assert clients[1].query("SELECT active_replicas, replica_is_active FROM system.replicas").result_rows == [
        (1, {"r1": 0, "r2": 1})
    ]
    replicas.start(0)


def test_the_balancer_goes_to_the_replicas_that_are_up(replicas: Replicas, clients: list[Client]) -> None:
    insert(clients[0], 1)
    with clickhouse_connect.get_client(dsn=replicas.url()) as client:
        assert {len(rows(client)) for _ in range(20)} == {0, 1}
        replicas.stop(0)
        assert {len(rows(client)) for _ in range(20)} == {0}
        replicas.start(0)


def test_by_paths_statements_say_on_cluster(replicas: Replicas, clients: list[Client]) -> None:
    engine = "ReplicatedMergeTree('/clickhouse/{shard}/{table}', '{replica}')"
    with replicas.as_if(Replication.PATH):
        clients[0].command(f"CREATE TABLE mine (x UInt32) ENGINE = {engine} ORDER BY x")
        with pytest.raises(DatabaseError, match="UNKNOWN_TABLE"):
            clients[1].command("SELECT x FROM mine")
        clients[1].command(f"CREATE TABLE ours ON CLUSTER '{{cluster}}' (x UInt32) ENGINE = {engine} ORDER BY x")
        clients[0].command("INSERT INTO ours SELECT 1", settings={"insert_quorum": "auto"})
        assert clients[1].command("SELECT x FROM ours") == 1
        clients[0].command("DROP TABLE mine")
        clients[0].command("DROP TABLE ours ON CLUSTER '{cluster}'")


def test_on_cloud_a_select_may_wait(replicas: Replicas, clients: list[Client]) -> None:
    with replicas.as_if(Replication.CLOUD):
        insert(clients[0], 1, insert_quorum="auto")
        assert rows(clients[1]) == []
        clients[1].set_client_setting("select_sequential_consistency", 1)
        assert rows(clients[1]) == [1]
