"""Caches for Redis, plain and Enterprise."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.azure.databases import DATABASE_COLUMNS, database_reader
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    MetricRow,
    Parts,
    fact_number,
    fact_text,
    not_among,
    price_part,
)

_SERVICE = "Redis Cache"
_read = database_reader("redis")


def _parts(resource: Resource) -> Parts:
    """A cache, of which a Premium one is many: the price is that of a shard, a primary and its one replica."""
    tier, size = fact_text(resource, "sku").capitalize(), resource.metadata.get("units")
    letter = {"Basic": "C", "Standard": "C", "Premium": "P"}.get(tier)
    if letter is None or size is None:
        return
    nodes = 1 + (fact_number(resource, "replicas") or 1)
    caches = (fact_number(resource, "shards") or 1) * nodes / 2 if tier == "Premium" else 1
    yield price_part(
        _SERVICE, f"Azure Redis Cache {tier}", f"{letter}{fact_number(resource, 'units'):.0f} Cache", caches
    )


_PLAIN, _ENTERPRISE = "Microsoft.Cache/redis", "Microsoft.Cache/redisEnterprise"
_OF_BOTH = (
    MetricRow("cpu_utilization", "cpu", "percent", "percentProcessorTime", "Maximum"),
    MetricRow("memory_utilization", "memory", "percent", "usedmemorypercentage", "Maximum"),
    # What is read from a cache goes out of it. Both are rates already.
    MetricRow("network_in", "network", "bytes/s", "cacheWrite", "Maximum"),
    MetricRow("network_out", "network", "bytes/s", "cacheRead", "Maximum"),
    # In microseconds, though its unit is Count.
    MetricRow("response_time", "latency", "seconds", "cacheLatency", "Average", scale=1e-6),
)

KINDS = (
    AzureKind(
        name="azure:redis",
        azure_type=_PLAIN,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=(
            *_OF_BOTH,
            MetricRow("request_rate", "traffic", "requests/s", "totalcommandsprocessed", "Total"),
        ),
        price_parts=_parts,
        bill_service=_SERVICE,
        not_offered=not_among(_PLAIN, "disk_io", "uptime"),
    ),
    AzureKind(
        name="azure:redis_enterprise",
        azure_type=_ENTERPRISE,
        resource_type=ResourceType.DATABASE,
        columns=DATABASE_COLUMNS,
        read=_read,
        metric_rows=_OF_BOTH,
        not_offered=not_among(_ENTERPRISE, "disk_io", "uptime"),
    ),
)
