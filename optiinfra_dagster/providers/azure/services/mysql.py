"""Azure Database for MySQL: flexible servers and single servers."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.databases import (
    DATABASE_COLUMNS,
    SERVER_METRICS,
    database_reader,
    flexible_server_parts,
)
from optiinfra_dagster.providers.azure.kind import AzureKind

_SERVICE = "Azure Database for MySQL"
_read = database_reader("mysql")

KINDS = (
    AzureKind(
        name="azure:mysql",
        azure_type="Microsoft.DBforMySQL/flexibleServers",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=SERVER_METRICS,
        price_parts=flexible_server_parts(
            _SERVICE,
            {
                "generalpurpose": "General Purpose",
                "memoryoptimized": "Business Critical",
                "businesscritical": "Business Critical",
            },
            # https://learn.microsoft.com/azure/mysql/flexible-server/concepts-service-tiers-storage#iops
            included_iops=lambda gib: 300 + 3 * gib,
        ),
        bill_service=_SERVICE,
    ),
    AzureKind(
        name="azure:mysql_single",
        azure_type="Microsoft.DBforMySQL/servers",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=SERVER_METRICS,
    ),
)
