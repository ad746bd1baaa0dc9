"""Azure Database for PostgreSQL: flexible servers, single servers and clusters."""

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

_FLEXIBLE, _SINGLE = "Microsoft.DBforPostgreSQL/flexibleServers", "Microsoft.DBforPostgreSQL/servers"
_CLUSTER = "Microsoft.DBforPostgreSQL/serverGroupsv2"
_SERVICE = "Azure Database for PostgreSQL"
_read = database_reader("postgresql")

KINDS = (
    AzureKind(
        name="azure:postgresql",
        azure_type=_FLEXIBLE,
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
            # Samples come every 20 seconds, and one that is 0 among others is no outage: Azure asks for the maximum.
            MetricRow("uptime", "uptime", "percent", "is_db_alive", "Maximum", scale=100),
        ),
        price_parts=flexible_server_parts(
            _SERVICE, {"generalpurpose": "General Purpose", "memoryoptimized": "Memory Optimized"}
        ),
        bill_service=_SERVICE,
        not_offered=not_among(_FLEXIBLE, "response_time"),
    ),
    AzureKind(
        name="azure:postgresql_single",
        azure_type=_SINGLE,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=SERVER_METRICS,
        not_offered=not_among(_SINGLE, "response_time", "uptime", disk_io=SHARES),
    ),
    AzureKind(
        name="azure:postgresql_cluster",
        azure_type=_CLUSTER,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=(*SERVER_METRICS, MetricRow("disk_total_ops", "disk", "ops/s", "iops", "Average")),
        not_offered=not_among(_CLUSTER, "response_time", "uptime"),
    ),
)
