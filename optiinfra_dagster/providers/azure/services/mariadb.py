"""Azure Database for MariaDB."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.databases import DATABASE_COLUMNS, SERVER_METRICS, database_reader
from optiinfra_dagster.providers.azure.kind import AzureKind

KINDS = (
    AzureKind(
        name="azure:mariadb",
        azure_type="Microsoft.DBforMariaDB/servers",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=database_reader("mariadb"),
        metric_rows=SERVER_METRICS,
    ),
)
