"""The ways in which the tables of a ClickHouse of several replicas are kept the same on all of them."""

from __future__ import annotations

from enum import StrEnum


class Replication(StrEnum):
    """What replicates the tables. The value is that of `OPTIINFRA_CLICKHOUSE_REPLICATION`."""

    NONE = "none"  # nobody: one server, or the embedded engine
    DATABASE = "database"  # a database of the engine Replicated, which sends statements to all and chooses paths
    PATH = "path"  # tables by paths of Keeper that hold the macros {shard} and {replica}; statements ON CLUSTER
    CLOUD = "cloud"  # ClickHouse Cloud: SharedMergeTree, whatever the statements say
