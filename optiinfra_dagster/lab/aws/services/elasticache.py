"""ElastiCache clusters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import FREE, GIB, LabKind, LabMetric, Row, Shown, published, zone_of
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation
from optiinfra_dagster.lab.aws.rates import machine_usd

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region

_VCPU_USD = "0.034"
_ENGINE_NAMES = {"redis": "Redis", "valkey": "Valkey", "memcached": "Memcached"}


def _cache_cluster(resource: LabResource, _region: Region) -> Shown:
    """An ElastiCache cluster."""
    return {
        "CacheClusterId": resource.id,
        "ClientDownloadLandingPage": "https://console.aws.amazon.com/elasticache/home#client-download:",
        "CacheNodeType": resource.fleet.type or "cache.t4g.small",
        "Engine": resource.fleet.engine or "redis",
        "EngineVersion": "7.1.0",
        "CacheClusterStatus": resource.state or "available",
        "NumCacheNodes": resource.fleet.size or 1,
        "PreferredAvailabilityZone": zone_of(resource),
        "CacheClusterCreateTime": resource.created,
        "PreferredMaintenanceWindow": "sun:06:30-sun:07:30",
        "PendingModifiedValues": {},
        "CacheSecurityGroups": [],
        "CacheSubnetGroupName": "default",
        "AutoMinorVersionUpgrade": True,
        "SnapshotRetentionLimit": 0,
        "SnapshotWindow": "03:30-04:30",
        "TransitEncryptionEnabled": True,
        "AtRestEncryptionEnabled": True,
        "ARN": resource.arn,
        "ReplicationGroupLogDeliveryEnabled": False,
        "LogDeliveryConfigurations": [],
        "NetworkType": "ipv4",
        "IpDiscovery": "ipv4",
    }


# Metrics that some engines have only; "" is the engine of a fleet that names none.
_ENGINES_OF_METRIC = {
    "DatabaseMemoryUsagePercentage": {"", "redis", "valkey"},
    "SuccessfulReadRequestLatency": {"valkey"},
    "SuccessfulWriteRequestLatency": {"valkey"},
    "GetTypeCmdsLatency": {"", "redis"},
    "SetTypeCmdsLatency": {"", "redis"},
}


def _as_published(resource: LabResource, metric: LabMetric) -> LabMetric | None:
    engine = resource.fleet.engine or ""
    return metric if engine in _ENGINES_OF_METRIC.get(metric.name, {engine}) else None


def _products(resource: LabResource, shown: Shown) -> Iterator[Row]:
    node_type = shown["CacheNodeType"]
    attributes = {"instanceType": node_type, "cacheEngine": _ENGINE_NAMES[shown["Engine"]]}
    usd = machine_usd(resource.region, node_type, of=_VCPU_USD)
    yield "Cache Instance", attributes, f"NodeUsage:{node_type}", "Hrs", usd


def _rate(resource: LabResource, region: Region) -> tuple[Decimal, Decimal]:
    shown = _cache_cluster(resource, region)
    return machine_usd(resource.region, shown["CacheNodeType"], of=_VCPU_USD) * shown["NumCacheNodes"], FREE


CLUSTER = LabKind(
    name="elasticache:cluster",
    arn="elasticache cluster:{id}",
    describe=_cache_cluster,
    metrics=published(
        "CacheClusterId", "AWS/ElastiCache", 60, 1,
        ("CPUUtilization", "Percent", 0.5, 80),
        ("FreeableMemory", "Bytes", 0.2 * GIB, 6 * GIB, "count"),
        ("NetworkBytesIn", "Bytes", 1e3, 9e7, "count"),
        ("NetworkBytesOut", "Bytes", 1e3, 9e7, "count"),
        ("DatabaseMemoryUsagePercentage", "Percent", 1, 99),
        ("SuccessfulReadRequestLatency", "Microseconds", 20, 900),
        ("SuccessfulWriteRequestLatency", "Microseconds", 20, 900),
        ("GetTypeCmdsLatency", "Microseconds", 20, 900),
        ("SetTypeCmdsLatency", "Microseconds", 20, 900),
    ),
    as_published=_as_published,
    tagged_as="elasticache:cluster",
    price_list="AmazonElastiCache",
    products=_products,
    bill_service="Amazon ElastiCache",
    rate=_rate,
)  # fmt: skip

KINDS = (CLUSTER,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("elasticache", "DescribeCacheClusters"): Listing(
        ("elasticache:cluster",), 20, 100, "CacheClusterId", "CacheClusterNotFound"
    ),
}
