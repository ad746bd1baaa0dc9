"""What a server is found to be, and what is refused with what to do."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.topology import SINGLE, Topology, detect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client

    from tests.support.clickhouse_http import ClickHouseHttp

DATABASE = "metrics"
MACROS = {"shard": "01", "replica": "r1"}


class Server:
    """A client of a server whose system tables say something else."""

    def __init__(
        self,
        client: Client,
        *,
        engine: str = "Atomic",
        tables: dict[str, str] | None = None,
        clusters: list[tuple[str, int, bool]] | None = None,
        macros: dict[str, str] | None = None,
        cloud: bool = False,
        version: str = "24.8.1.1",
    ) -> None:
        self._client = client
        self.server_version, self.database = version, DATABASE
        own = [("default", 1, True)]
        self._says = {
            "databases": rows("name, engine", [(DATABASE, engine)]),
            "settings": rows("name, value", [("cloud_mode", str(int(cloud)))]),
            "tables": rows("database, name, engine", [(DATABASE, *table) for table in (tables or {}).items()]),
            "clusters": rows("cluster, shard_num, is_local", own if clusters is None else clusters),
            "macros": rows("macro, substitution", list((MACROS if macros is None else macros).items())),
        }

    def query(self, sql: str, **named: Any) -> Any:
        """What the engine makes of it."""
        return self._client.query(re.sub(r"\bsystem\.(\w+)", lambda found: self._says[found[1]], sql), **named)


def rows(columns: str, values: list[tuple[Any, ...]]) -> str:
    """A table in a statement, of constants."""
    names = columns.split(", ")
    selects = [", ".join(f"{value!r} AS {name}" for name, value in zip(names, row, strict=True)) for row in values]
    nothing = ", ".join(f"'' AS {name}" for name in names)
    return "(SELECT " + " UNION ALL SELECT ".join(selects or [f"{nothing} WHERE 0"]) + ")"


@pytest.fixture(scope="module")
def client(clickhouse_http: ClickHouseHttp) -> Iterator[Client]:
    """A client of no database: what is asked is made up."""
    with ClickHouse(clickhouse_http.url()).session(migrated=False) as client:
        client.database = None
        yield client


SEVERAL = [("main", 1, True), ("main", 1, False)]
IN_DATABASE = Topology(Replication.DATABASE)
SHARDED = [("metrics", 1, True), ("metrics", 2, False)]
PLAIN = {"metric_batches": "MergeTree", "coverage": "ReplacingMergeTree", "otel_logs": "Log"}
REPLICATED = {"metric_batches": "ReplicatedMergeTree", "coverage": "ReplicatedReplacingMergeTree"}


@pytest.mark.parametrize(
    ("says", "asked", "found"),
    [
        ({}, None, SINGLE),
        ({"tables": PLAIN}, None, SINGLE),
        ({"tables": PLAIN}, "none", SINGLE),
        ({"tables": PLAIN, "clusters": SEVERAL}, "none", SINGLE),
        ({"clusters": [("elsewhere", 1, False), ("elsewhere", 1, False)]}, None, SINGLE),
        ({"engine": "Replicated"}, None, IN_DATABASE),
        ({"engine": "Replicated", "tables": REPLICATED, "clusters": SEVERAL}, "database", IN_DATABASE),
        ({"clusters": SEVERAL}, "path", Topology(Replication.PATH, "main")),
        ({"tables": REPLICATED, "clusters": SEVERAL}, None, Topology(Replication.PATH, "main")),
        (
            {"tables": REPLICATED, "clusters": [*SEVERAL, ("all", 1, True), ("all", 1, False)],
             "macros": {**MACROS, "cluster": "all"}},
            None,
            Topology(Replication.PATH, "{cluster}"),
        ),
        ({"cloud": True, "engine": "Replicated"}, None, Topology(Replication.CLOUD)),
        ({"engine": "Shared"}, "cloud", Topology(Replication.CLOUD)),
        ({"tables": {"coverage": "SharedReplacingMergeTree"}, "clusters": SEVERAL}, None, Topology(Replication.CLOUD)),
    ],
)  # fmt: skip
def test_what_a_server_is(client: Client, says: dict[str, Any], asked: str | None, found: Topology) -> None:
    assert detect(Server(client, **says), Replication(asked) if asked else None) == found  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("says", "asked", "why"),
    [
        ({"version": "24.3.18.7"}, None, r"is ClickHouse 24\.3\.18\.7, and 24\.8 is the oldest.*Upgrade the server"),
        (
            {"clusters": SEVERAL},
            None,
            r"main has several replicas, and nothing keeps.*CREATE DATABASE <name> ENGINE = Repl.* to path .* none",
        ),
        ({"clusters": SEVERAL, "tables": PLAIN}, None, "several replicas, and nothing keeps"),
        ({"tables": {"cost_metrics": "Distributed"}}, None, "cost_metrics is a Distributed table.*of one shard"),
        ({"tables": {"cost_metrics": "Distributed"}}, "none", "cost_metrics is a Distributed table"),
        ({"tables": {"coverage": "Memory"}}, None, "coverage is of the engine Memory.*another database"),
        ({"engine": "Replicated", "tables": PLAIN}, None, "coverage is a ReplacingMergeTree, which does not replicate"),
        (
            {"tables": {**PLAIN, "coverage": "ReplicatedReplacingMergeTree"}},
            None,
            "metric_batches is a MergeTree, which",
        ),
        ({"engine": "Replicated", "clusters": SHARDED}, None, "cluster metrics has 2 shards.*database URL of its own"),
        ({"tables": REPLICATED, "clusters": SHARDED}, None, "cluster metrics has 2 shards"),
        ({"tables": REPLICATED, "clusters": SHARDED, "macros": {**MACROS, "cluster": "metrics"}}, None, "has 2 shards"),
        ({"clusters": SEVERAL, "macros": {"shard": "1"}}, "path", r"no macro \{replica\}.*Define the macros"),
        ({}, "path", "is in none.*Name it by the macro cluster"),
        ({"clusters": [*SEVERAL, ("a", 1, True), ("a", 1, False)]}, "path", "is in a, main"),
        ({"tables": PLAIN}, "path", "REPLICATION is path, but coverage is a ReplacingMergeTree.*copy the rows"),
        ({}, "database", "is database, but the database metrics is not of the engine Replicated.*CREATE DATABASE"),
        ({}, "cloud", "is cloud, but the server is not ClickHouse Cloud. Leave it out"),
        ({"cloud": True}, "none", "is none, but the server is ClickHouse Cloud. Set it to cloud"),
        (
            {"engine": "Replicated"},
            "none",
            "is none, but the database metrics is of the engine Replicated. Set it to data",
        ),
        ({"tables": REPLICATED, "clusters": SEVERAL}, "none", "is none, but the tables replicate.*Set it to path"),
    ],
)
def test_what_would_work_by_half_is_refused(client: Client, says: dict[str, Any], asked: str | None, why: str) -> None:
    with pytest.raises(StorageError, match=why) as raised:
        detect(Server(client, **says), Replication(asked) if asked else None)  # type: ignore[arg-type]
    assert str(raised.value).endswith(".")


def test_a_user_who_may_not_read_the_clusters_is_told_where_it_matters(
    client: Client, clickhouse_http: ClickHouseHttp
) -> None:
    """What the tables are says enough where there are some; before that, a guess might be wrong."""

    def found(asked: Replication | None = None, **says: Any) -> Topology:
        clickhouse_http.reset()
        clickhouse_http.fault("exception", match="HAVING max", code=497)
        try:
            return detect(Server(client, **says), asked)  # type: ignore[arg-type]
        finally:
            clickhouse_http.reset()

    assert found(tables=PLAIN) == SINGLE
    assert found(Replication.NONE) == SINGLE
    assert found(engine="Replicated") == IN_DATABASE
    assert found(tables=REPLICATED) == Topology(Replication.PATH, "{cluster}")
    with pytest.raises(StorageError, match=r"Grant it SELECT ON system\.clusters, or set OPTIINFRA.* to none"):
        found()


def test_a_place_asks_once_and_an_embedded_one_never(
    clickhouse_url: str, clickhouse_http: ClickHouseHttp, chdb_url: str
) -> None:
    clickhouse = ClickHouse(clickhouse_url)
    with clickhouse.session(migrated=False) as client:
        clickhouse_http.reset()
        assert [clickhouse.replication(client) for _ in range(3)] == [Replication.NONE] * 3
        assert sum("system.databases" in statement.text for statement in clickhouse_http.statements()) == 1

    asked = ClickHouse(clickhouse_url, replication=Replication.CLOUD)
    with (
        asked.session(migrated=False) as client,
        pytest.raises(StorageError, match=r"ClickHouse at http://127\.0\.0\.1:\d+: OPTIINFRA_\w+ is cloud, but"),
    ):
        asked.replication(client)

    embedded = ClickHouse(chdb_url, replication=Replication.CLOUD)
    with embedded.session() as client:
        assert embedded.replication(client) is Replication.NONE
