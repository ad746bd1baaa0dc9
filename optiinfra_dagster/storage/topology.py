"""What kind of ClickHouse a server is: who replicates its tables, asked once for each `ClickHouse`.

Whatever would work by half is refused with what to do: tables that replicate beside tables that do not, several
replicas that nobody keeps the same, several shards, a server that is too old.

What the tables are counts first. What the cluster is, `system.clusters` says, which a user may lack the right to read:
then what the tables are is all that counts, and where there are none yet it is refused, since a guess might be wrong.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage.sql import made_tables

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

VARIABLE = "OPTIINFRA_CLICKHOUSE_REPLICATION"
OLDEST = (24, 8)
ACCESS_DENIED = 497  # ClickHouse's error code

_ENGINE = re.compile(r"(Replicated|Shared|)(?:Replacing)?MergeTree")
_OWN_CLUSTER = "{cluster}"  # the macro of this name, which the server puts in


@dataclass(frozen=True, slots=True)
class Topology:
    """What replicates the tables, and for PATH the cluster that statements are sent to, as `ON CLUSTER` takes it."""

    replication: Replication
    cluster: str = ""

    @property
    def is_replicated(self) -> bool:
        """True if tables need a Replicated engine."""
        return self.replication in {Replication.DATABASE, Replication.PATH}


SINGLE = Topology(Replication.NONE)


@dataclass(frozen=True, slots=True)
class _Cluster:
    """A cluster that this server is part of."""

    name: str
    shards: int
    others: int  # replicas that are other servers


def detect(client: Client, asked: Replication | None) -> Topology:
    """Find out who replicates the server's tables; `asked` is what the settings say, None where they say nothing.

    Raises:
        StorageError: it is too old, is not what was asked for, or would work by half.
    """
    _check_version(client.server_version or "")
    database = client.database or "default"
    client.database = None  # it may be missing yet
    try:
        return _detect(client, database, asked)
    finally:
        client.database = database


def _check_version(version: str) -> None:
    """Raise where it is older than OLDEST; one that says no number is taken to be newer."""
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers and numbers < OLDEST:
        raise StorageError(
            f"the server is ClickHouse {version}, and {OLDEST[0]}.{OLDEST[1]} is the oldest that is supported. "
            "Upgrade the server."
        )


def _detect(client: Client, database: str, asked: Replication | None) -> Topology:
    database_engine, cloud_mode, engines = client.query(
        "SELECT (SELECT any(engine) FROM system.databases WHERE name = {database:String}), "
        "(SELECT any(value) FROM system.settings WHERE name = 'cloud_mode'), "
        "(SELECT groupArray((name, engine)) FROM system.tables WHERE database = {database:String})",
        parameters={"database": database},
    ).result_rows[0]
    tables = {name: engine for name, engine in engines if name in made_tables()}
    forms = _forms(tables)
    if cloud_mode in {"1", "true"} or "Shared" in {database_engine, *forms.values()}:
        found = Replication.CLOUD
    elif database_engine == "Replicated":
        found = Replication.DATABASE
    elif "Replicated" in forms.values() or (asked is Replication.PATH and not tables):
        found = Replication.PATH
    else:
        found = Replication.NONE
    if asked not in {None, found}:
        raise StorageError(_not_so(asked, found, database, tables))
    if found in {Replication.DATABASE, Replication.PATH} and (plain := [t for t, form in forms.items() if not form]):
        raise StorageError(
            f"{plain[0]} is a {tables[plain[0]]}, which does not replicate, where others of the database {database} "
            "should: each replica would have rows of its own. Copy its rows into a database in which "
            "`optiinfra migrate` made the tables."
        )
    clusters = None if asked is Replication.NONE or found is Replication.CLOUD else _clusters(client)
    match found:
        case Replication.DATABASE:
            _refuse_shards([c for c in clusters or () if c.name == database])
        case Replication.PATH:
            return Topology(found, _cluster_of_paths(client, clusters))
        case Replication.NONE if asked is None:
            _refuse_unreplicated(clusters, database, tables)
        case _:
            pass
    return Topology(found)


def _forms(tables: dict[str, str]) -> dict[str, str]:
    """Replicated, Shared or nothing, for each table; StorageError for an engine that is not known."""
    forms = {}
    for table, engine in sorted(tables.items()):
        known = _ENGINE.fullmatch(engine)
        if engine == "Distributed":
            raise StorageError(
                f"{table} is a Distributed table, through which no row can be deleted. Give each group of customers a "
                "database URL of its own, of one shard, whose database holds no Distributed table of this name."
            )
        if known is None:
            raise StorageError(
                f"{table} is of the engine {engine}, which is not MergeTree or ReplacingMergeTree, replicated or not. "
                "Move it to another database, and run `optiinfra migrate`."
            )
        forms[table] = known[1]
    return forms


def _not_so(asked: Replication | None, found: Replication, database: str, tables: dict[str, str]) -> str:
    """Why what was asked for is not so, and what to do."""
    head = f"{VARIABLE} is {asked}, but"
    match found:
        case Replication.CLOUD:
            return f"{head} the server is ClickHouse Cloud. Set it to cloud, or leave it out."
        case Replication.DATABASE:
            return f"{head} the database {database} is of the engine Replicated. Set it to database, or leave it out."
        case Replication.PATH:
            return f"{head} the tables replicate, by paths of their own. Set it to path, or leave it out."
        case _:
            pass
    if asked is Replication.CLOUD:
        return f"{head} the server is not ClickHouse Cloud. Leave it out."
    if asked is Replication.DATABASE:
        return (
            f"{head} the database {database} is not of the engine Replicated. Name another one in "
            f"OPTIINFRA_CLICKHOUSE_URL, and make it {_how_to_make('that database')}."
        )
    table = min(tables)
    return (
        f"{head} {table} is a {tables[table]}, which does not replicate. Name another database in "
        "OPTIINFRA_CLICKHOUSE_URL, run `optiinfra migrate`, and copy the rows."
    )


def _how_to_make(database: str) -> str:
    return (
        f"on every replica by CREATE DATABASE {database} ENGINE = "
        f"Replicated('/clickhouse/databases/{database}', '{{shard}}', '{{replica}}')"
    )


def _clusters(client: Client) -> list[_Cluster] | None:
    """The clusters that this server is part of; None where the user may not ask.

    As it is installed, a server is in one, `default`, by itself.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    try:
        rows = client.query(
            "SELECT cluster, uniqExact(shard_num), countIf(NOT is_local) FROM system.clusters GROUP BY cluster "
            "HAVING max(is_local) ORDER BY cluster"
        ).result_rows
    except DatabaseError as error:
        if error.code != ACCESS_DENIED:
            raise
        return None
    return [_Cluster(*row) for row in rows]


def _refuse_shards(clusters: list[_Cluster]) -> None:
    for cluster in clusters:
        if cluster.shards > 1 and cluster.others:
            raise StorageError(
                f"the cluster {cluster.name} has {cluster.shards} shards, and the tables must all be on one. Give each "
                "group of customers a database URL of its own, of a cluster of one shard."
            )


def _cluster_of_paths(client: Client, clusters: list[_Cluster] | None) -> str:
    """What `ON CLUSTER` takes: the macro {cluster}, or the only cluster of several replicas."""
    if clusters is None:
        return _OWN_CLUSTER
    macros = dict(map(tuple, client.query("SELECT macro, substitution FROM system.macros").result_rows))
    if lacking := [macro for macro in ("shard", "replica") if macro not in macros]:
        raise StorageError(
            f"the server has no macro {{{lacking[0]}}}, by which the tables of a replica find each other. Define the "
            "macros shard, the same on all replicas, and replica, another on each, in its configuration."
        )
    several = [c for c in clusters if c.others]
    if "cluster" in macros:
        _refuse_shards([c for c in clusters if c.name == macros["cluster"]])
        return _OWN_CLUSTER
    if len(several) != 1:
        named = ", ".join(c.name for c in several) or "none"
        raise StorageError(
            f"which cluster the statements are for is not clear: of those with several replicas this server is in "
            f"{named}. Name it by the macro cluster in the configuration of every replica."
        )
    _refuse_shards(several)
    return several[0].name


def _refuse_unreplicated(clusters: list[_Cluster] | None, database: str, tables: dict[str, str]) -> None:
    """Raise where there are several replicas, or may be."""
    if clusters is None:
        if not tables:
            raise StorageError(
                "whether the server is one of several replicas cannot be told, since the user may not read "
                f"system.clusters. Grant it SELECT ON system.clusters, or set {VARIABLE} to none if it is the only one."
            )
        return
    if several := [c for c in clusters if c.others]:
        raise StorageError(
            f"the cluster {several[0].name} has several replicas, and nothing keeps the tables of the database "
            f"{database} the same on them. Make a database {_how_to_make('<name>')} and name it in "
            f"OPTIINFRA_CLICKHOUSE_URL; or set {VARIABLE} to path for an empty database of another engine, or to none "
            "if this server is used alone."
        )
