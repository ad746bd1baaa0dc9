"""Azure Database for MySQL: flexible servers and single servers."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.databases import (
    DATABASE_COLUMNS,
    SERVER_METRICS,
    SHARES,
    database_reader,
    flexible_server_parts,
)
from optiinfra_dagster.providers.azure.kind import AzureKind, MetricRow, not_among

_FLEXIBLE, _SINGLE = "Microsoft.DBforMySQL/flexibleServers", "Microsoft.DBforMySQL/servers"
_SERVICE = "Azure Database for MySQL"
_read = database_reader("mysql")

KINDS = (
    AzureKind(
        name="azure:mysql",
        azure_type=_FLEXIBLE,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=(*SERVER_METRICS, MetricRow("disk_total_ops", "disk", "ops/s", "storage_io_count", "Total")),
        not_offered=not_among(_FLEXIBLE, "response_time", uptime="it tells the seconds since the server began"),
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
        azure_type=_SINGLE,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=SERVER_METRICS,
        not_offered=not_among(_SINGLE, "response_time", "uptime", disk_io=SHARES),
    ),
)
