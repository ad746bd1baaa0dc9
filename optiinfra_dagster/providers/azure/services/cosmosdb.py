"""Cosmos DB: accounts, and clusters with the vCores of their own that speak MongoDB's protocol."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.databases import DATABASE_COLUMNS, database_reader
from optiinfra_dagster.providers.azure.kind import HOUR, AzureKind, MetricRow, not_among

_ACCOUNTS, _CLUSTERS = "Microsoft.DocumentDB/databaseAccounts", "Microsoft.DocumentDB/mongoClusters"

KINDS = (
    AzureKind(
        name="azure:cosmosdb",
        azure_type=_ACCOUNTS,
        resource_type=ResourceType.DATABASE,
        columns={**DATABASE_COLUMNS, "uid": ("properties.instanceId",)},
        read=database_reader("cosmosdb"),
        metric_rows=(
            MetricRow("request_rate", "traffic", "requests/s", "TotalRequests", "Count"),
            MetricRow("throughput_utilization", "traffic", "percent", "NormalizedRUConsumption", "Maximum"),
            # By how clients are connected: through the gateway, or with the partitions themselves.
            MetricRow("response_time", "latency", "seconds", "ServerSideLatencyGateway", "Average", scale=0.001),
            MetricRow("response_time_direct", "latency", "seconds", "ServerSideLatencyDirect", "Average", scale=0.001),
            MetricRow("storage_used", "disk", "bytes", "DataUsage", "Total"),
            MetricRow("uptime", "uptime", "percent", "ServiceAvailability", "Average", period=HOUR),
        ),
        not_offered=not_among(_ACCOUNTS, "cpu", "memory", "disk_io", "network_io"),
    ),
    AzureKind(
        name="azure:cosmosdb_mongo",
        azure_type=_CLUSTERS,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=database_reader("mongodb"),
        metric_rows=(
            MetricRow("cpu_utilization", "cpu", "percent", "CpuPercent", "Average"),
            MetricRow("memory_utilization", "memory", "percent", "MemoryPercent", "Average"),
            MetricRow("disk_utilization", "disk", "percent", "StoragePercent", "Average"),
            MetricRow("disk_total_ops", "disk", "ops/s", "IOPS", "Average"),
            MetricRow("network_in", "network", "bytes/s", "NetworkBytesIngress", "Total"),
            MetricRow("network_out", "network", "bytes/s", "NetworkBytesEgress", "Total"),
            MetricRow("response_time", "latency", "seconds", "MongoRequestDurationMs", "Average", scale=0.001),
        ),
        not_offered=not_among(_CLUSTERS, "uptime"),
    ),
)
