"""Azure Database for MariaDB."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.databases import DATABASE_COLUMNS, SERVER_METRICS, SHARES, database_reader
from optiinfra_dagster.providers.azure.kind import AzureKind, not_among

_SERVERS = "Microsoft.DBforMariaDB/servers"

KINDS = (
    AzureKind(
        name="azure:mariadb",
        azure_type=_SERVERS,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=database_reader("mariadb"),
        metric_rows=SERVER_METRICS,
        not_offered=not_among(_SERVERS, "response_time", "uptime", disk_io=SHARES),
    ),
)
