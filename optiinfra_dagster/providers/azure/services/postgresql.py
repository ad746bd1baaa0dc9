"""Azure Database for PostgreSQL: flexible servers, single servers and clusters."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.databases import (
    DATABASE_COLUMNS,
    SERVER_METRICS,
    database_reader,
    flexible_server_parts,
)
from optiinfra_dagster.providers.azure.kind import AzureKind, MetricRow

_SERVICE = "Azure Database for PostgreSQL"
_read = database_reader("postgresql")

KINDS = (
    AzureKind(
        name="azure:postgresql",
        azure_type="Microsoft.DBforPostgreSQL/flexibleServers",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=(
            *SERVER_METRICS,
            # Throughput and operations are rates already.
            MetricRow("disk_read", "disk", "bytes/s", "read_throughput", "Average"),
            MetricRow("disk_write", "disk", "bytes/s", "write_throughput", "Average"),
            MetricRow("disk_read_ops", "disk", "ops/s", "read_iops", "Average"),
            MetricRow("disk_write_ops", "disk", "ops/s", "write_iops", "Average"),
            MetricRow("uptime", "uptime", "percent", "is_db_alive", "Average", scale=100),
        ),
        price_parts=flexible_server_parts(
            _SERVICE, {"generalpurpose": "General Purpose", "memoryoptimized": "Memory Optimized"}
        ),
        bill_service=_SERVICE,
    ),
    AzureKind(
        name="azure:postgresql_single",
        azure_type="Microsoft.DBforPostgreSQL/servers",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=SERVER_METRICS,
    ),
    AzureKind(
        name="azure:postgresql_cluster",
        azure_type="Microsoft.DBforPostgreSQL/serverGroupsv2",
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=SERVER_METRICS,
    ),
)
