"""Synapse Analytics: dedicated SQL pools."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.databases import DATABASE_COLUMNS, database_reader
from optiinfra_dagster.providers.azure.kind import AzureKind, MetricRow, not_among

_POOLS = "Microsoft.Synapse/workspaces/sqlPools"

KINDS = (
    AzureKind(
        name="azure:synapse_pool",
        azure_type=_POOLS,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=database_reader("sqlserver"),
        metric_rows=(
            MetricRow("cpu_utilization", "cpu", "percent", "CPUPercent", "Average"),
            MetricRow("memory_utilization", "memory", "percent", "MemoryUsedPercent", "Average"),
        ),
        not_offered=not_among(_POOLS, "disk_io", "network_io", "response_time", "uptime"),
    ),
)
