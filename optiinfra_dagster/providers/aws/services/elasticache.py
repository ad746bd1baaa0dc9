"""ElastiCache clusters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import (
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    fact,
    made_at,
    metric_rows,
    paged,
    part,
    status_of,
)
from optiinfra_dagster.providers.parsing import (
    Item,
    as_bool,
    as_datetime,
    as_number,
    as_text,
    facts,
    name_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component
    from optiinfra_dagster.model.metrics import Metric
    from optiinfra_dagster.providers.kind import Condition


def _cache_cluster(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "CacheClusterId"), as_text(item.get("CacheClusterStatus"))
    created = as_datetime(item.get("CacheClusterCreateTime"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=CLUSTER.name,
        resource_id=place.arn("elasticache", f"cluster:{name}", listed=item.get("ARN")),
        resource_name=name,
        resource_type=CLUSTER.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=created,
        instance_uid=made_at(created),
        capacity=as_number(item.get("NumCacheNodes")),
        unit="nodes",
        metadata=facts(
            engine=item.get("Engine"),
            engine_version=item.get("EngineVersion"),
            **{"class": item.get("CacheNodeType")},
            availability_zone=item.get("PreferredAvailabilityZone"),
            replication_group=item.get("ReplicationGroupId"),
            encrypted=as_bool(item.get("AtRestEncryptionEnabled")),
        ),
    )


def _only(*engines: str) -> Condition:
    reason = f"only {' and '.join(engines)} have this metric"
    return lambda resource: "" if fact(resource, "engine") in engines else reason


# Redis tells the latency of its commands where Valkey tells that of requests.
_OF_REDIS = {
    "SuccessfulReadRequestLatency": "GetTypeCmdsLatency",
    "SuccessfulWriteRequestLatency": "SetTypeCmdsLatency",
}


def _published_as(resource: Resource, metric: Metric) -> Metric:
    name = _OF_REDIS.get(metric.api_metric) if fact(resource, "engine") == "redis" else None
    return replace(metric, api_metric=name) if name else metric


def _price_parts(resource: Resource) -> Iterator[Component]:
    node_type = fact(resource, "class")
    if node_type and resource.status is not Status.STOPPED:
        yield part(f"{node_type} {fact(resource, 'engine')}", resource.capacity or 0)


_CACHES = {"redis": "Redis", "valkey": "Valkey", "memcached": "Memcached"}


def _price_query(node_type: str, engine: str) -> PriceQuery:
    filters = {"instanceType": node_type, "cacheEngine": _CACHES.get(engine, engine)}
    return PriceQuery("AmazonElastiCache", filters, r"NodeUsage:.*")


CLUSTER = AwsKind(
    name="elasticache:cluster",
    resource_type=ResourceType.DATABASE,
    metrics=(
        *metric_rows(
            "elasticache:cluster", "AWS/ElastiCache", "CacheClusterId", "ElastiCache user guide: host-level metrics",
            ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
            ("memory_free", "memory", "bytes", "FreeableMemory", "Average"),
            ("network_in", "network", "bytes/s", "NetworkBytesIn", "Sum"),
            ("network_out", "network", "bytes/s", "NetworkBytesOut", "Sum"),
        ),
        *metric_rows(
            "elasticache:cluster", "AWS/ElastiCache", "CacheClusterId",
            "ElastiCache user guide: Valkey and Redis metrics",
            ("memory_utilization", "memory", "percent", "DatabaseMemoryUsagePercentage", "Average", "redis"),
        ),
        *metric_rows(
            "elasticache:cluster", "AWS/ElastiCache", "CacheClusterId",
            "ElastiCache user guide: Valkey and Redis metrics",
            ("read_latency", "latency", "seconds", "SuccessfulReadRequestLatency", "Average", "redis"),
            ("write_latency", "latency", "seconds", "SuccessfulWriteRequestLatency", "Average", "redis"), scale=1e-6,
        ),
    ),
    conditions={"redis": _only("redis", "valkey")},
    published_as=_published_as,
    price_parts=_price_parts,
    price_queries={r"(cache\.\S+) (\S+)": _price_query},
    bill_service="Amazon ElastiCache",
    tagged_as="elasticache:cluster",
    not_offered=dict.fromkeys(("disk_io", "uptime"), "ElastiCache user guide: host-level, Valkey and Redis metrics"),
)  # fmt: skip

KINDS = (CLUSTER,)
LISTINGS = (
    Listing(
        kind="elasticache:cluster",
        service="elasticache",
        id_key="CacheClusterId",
        actions="elasticache:DescribeCacheClusters",
        items=paged("describe_cache_clusters", 100, "CacheClusters"),
        to_resource=_cache_cluster,
    ),
)
