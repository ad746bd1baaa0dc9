"""The database of the project's tables, on a server or in the embedded engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client


DATABASE = "optiinfra_metrics"
LEDGER_TABLE = "metric_batches"


def use_database(client: Client, name: str, *, create: bool = False, cluster: str = "") -> None:
    """Make `name` the database of every following statement; a server's is created by `optiinfra migrate` only.

    Where a cluster is named, it is created on every server of it.
    """
    if create:
        client.database = None
        everywhere = f" ON CLUSTER '{cluster}'" if cluster else ""
        client.command(f"CREATE DATABASE IF NOT EXISTS `{name.replace('`', '')}`{everywhere}")
    client.database = name
