"""Runs the statements that make, change and drop tables and views, on one server or on all replicas.

The files of `sql/schema/` say plain engines, which is what one server, the embedded engine and ClickHouse Cloud take.
Elsewhere a table has the Replicated engine of the same name; in a database of the engine Replicated the statement
reaches the replicas by itself, with tables by paths it is sent to all of them by ON CLUSTER.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.model.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.topology import Topology

TABLE_PATH = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"

# A statement is done when every replica has done it: a writer may be at another one the moment after. Replicas are
# waited for less long than the client waits for the answer. What a statement says itself goes before these.
REPLICATED_SETTINGS: Mapping[str, str | int] = {
    "alter_sync": 2,
    "distributed_ddl_output_mode": "throw",
    "distributed_ddl_task_timeout": 180,
}

# ClickHouse's error codes
TIMEOUT_EXCEEDED = 159
UNFINISHED = 341
CANNOT_ASSIGN_ALTER = 517

_ALTER_SECONDS = 60.0

_ENGINE = re.compile(r"\bENGINE = (Replacing)?MergeTree(?:\((\w*)\))?")
_WINDOW = re.compile(r"\bnon_replicated_deduplication_window = (\d+)")
_NAMED = re.compile(
    r"^(?:CREATE (?:OR REPLACE )?(?:TABLE|VIEW)(?: IF NOT EXISTS)?|DROP (?:TABLE|VIEW)(?: IF EXISTS)?|ALTER TABLE"
    r"|EXCHANGE TABLES \w+ AND) \w+"
)


def rendered(statement: str, topology: Topology) -> str:
    """The statement as it is sent to a server of this topology."""
    if not topology.is_replicated:
        return statement
    by_path = topology.replication is Replication.PATH
    if statement.startswith("CREATE TABLE "):
        statement = _ENGINE.sub(lambda found: _replicated(found, TABLE_PATH if by_path else ""), statement)
        if " replicated_deduplication_window" not in statement:
            statement = _WINDOW.sub(r"\g<0>, replicated_deduplication_window = \1", statement)
    if by_path:
        statement = _NAMED.sub(rf"\g<0> ON CLUSTER '{topology.cluster}'", statement)
        if statement.startswith("DROP TABLE "):
            statement += " SYNC"  # the path is free at once, for a table of the same name
    return statement


def _replicated(found: re.Match[str], path: str) -> str:
    arguments = ", ".join(argument for argument in (path, found[2]) if argument)
    return f"ENGINE = Replicated{found[1] or ''}MergeTree{f'({arguments})' if arguments else ''}"


def run(client: Client, topology: Topology, statement: str, more: Mapping[str, int] | None = None) -> None:
    """Run a statement on every replica, with `more` settings.

    A table takes an ALTER only when this replica has applied the ones before, which one with `alter_sync = 0` did not
    wait for: it is then sent again.

    Raises:
        StorageError: a replica did not carry it out.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    until = time.monotonic() + _ALTER_SECONDS
    settings = {**(more or {}), **(REPLICATED_SETTINGS if topology.is_replicated else {})}
    while True:
        try:
            client.command(rendered(statement, topology), settings=settings)
        except DatabaseError as error:
            if error.code == CANNOT_ASSIGN_ALTER and time.monotonic() < until:
                time.sleep(0.2)
                continue
            if topology.is_replicated and error.code in {TIMEOUT_EXCEEDED, UNFINISHED}:
                raise StorageError(
                    f"Not every replica has carried out `{statement.splitlines()[0][:80]}`: one is down, or slow. "
                    "Start it, or remove it from the cluster, and run `optiinfra migrate` again."
                ) from error
            raise
        return
