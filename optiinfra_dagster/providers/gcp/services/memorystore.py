"""Memorystore: Redis, Redis Cluster, Valkey and Memcached. Only the price of Redis instances is modelled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    PriceService,
    Sku,
    by_name_and_location,
    decimal,
    last_part,
    metric_rows,
    short_link,
)
from optiinfra_dagster.providers.parsing import Item, as_bool, as_number, as_text, dig, facts

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric

PRICES = PriceService("5AF5-2C11-D467", re.compile(r"Redis (?:Capacity \w+|Standard Node Capacity) M\d"))

PRIMARY = 'metric.labels.role = "primary"'
"""Replicas do next to nothing, and would halve the load of the nodes that work: Google's own autoscaler of clusters
(cloudspannerecosystem/memorystore-cluster-autoscaler) looks at primary nodes alone, too."""

_DIVISORS = {"response_time": "request_rate"}  # the time that all commands took

# --- Redis ----------------------------------------------------------------------------------------------------------


def _read_redis_instance(data: Item, _place: Place) -> AssetFacts:
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        capacity=as_number(data.get("memorySizeGb")),
        labels=data.get("labels"),
        metadata=facts(
            engine=data.get("redisVersion"),
            **{"class": data.get("tier")},
            zone=as_text(data.get("currentLocationId")) or data.get("locationId"),
            replicas=data.get("replicaCount"),
            network=short_link(data.get("authorizedNetwork")),
        ),
    )


# The largest GiB of each class of Redis: https://cloud.google.com/memorystore/docs/redis/pricing
_CLASSES = (("m1", 4), ("m2", 10), ("m3", 35), ("m4", 100), ("m5", 300))
_TIER_WORDS = {"basic": "Capacity Basic", "standard": "Capacity Standard", "node": "Standard Node Capacity"}


def _redis_price_parts(resource: Resource) -> list[Component]:
    """The price components of Redis: the GiB that are provisioned; with several read replicas, those of each node."""
    tier = {"BASIC": "basic", "STANDARD_HA": "standard"}.get(str(resource.metadata.get("class")))
    size, replicas = resource.capacity or 0, resource.metadata.get("replicas")
    of_size = next((name for name, most in _CLASSES if size <= most), None)
    if tier is None or not size or of_size is None:
        return []
    if isinstance(replicas, int | float) and replicas > 1:
        return [Component(f"redis node {of_size} GiB", decimal(size * (1 + replicas)))]
    return [Component(f"redis {tier} {of_size} GiB", decimal(size))]


def _redis_skus() -> Iterator[Sku]:
    for (of_size, _), (tier, name) in product(_CLASSES, _TIER_WORDS.items()):
        yield Sku(f"redis {tier} {of_size} GiB", PRICES, f"Redis {name} {of_size}")


_REDIS_SOURCE = "Memorystore for Redis: supported monitoring metrics"

REDIS_INSTANCE = GcpKind(
    name="gcp:redis_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("redis.googleapis.com/Instance",),
    read=_read_redis_instance,
    unit="GiB",
    collection="instances",
    series_labels=lambda resource: (resource.resource_id.removeprefix("//redis.googleapis.com/"),),
    # CPU is that of the main thread, which Redis cannot do without: 100 percent is one core. A command's time is what
    # the server works on it.
    metrics=(
        *metric_rows(
            "redis_instance", "instance_id", "redis.googleapis.com/stats/",
            _REDIS_SOURCE,
            ("cpu_utilization", "cpu", "percent", "cpu_utilization_main_thread", "ALIGN_RATE", 100, PRIMARY),
            ("memory_utilization", "memory", "percent", "memory/usage_ratio", "ALIGN_MEAN", 100),
            ("network_in", "network", "bytes/s", "network_traffic", "ALIGN_RATE", 1, 'metric.labels.direction = "in"'),
            ("network_out", "network", "bytes/s", "network_traffic", "ALIGN_RATE", 1,
             'metric.labels.direction = "out"'),
        ),
        *metric_rows(
            "redis_instance", "instance_id", "redis.googleapis.com/commands/", _REDIS_SOURCE,
            ("response_time", "latency", "seconds", "total_time", "ALIGN_RATE", 1e-6, PRIMARY),
            ("request_rate", "traffic", "requests/s", "calls", "ALIGN_RATE", 1, PRIMARY),
        ),
    ),
    divisors=_DIVISORS,
    not_offered={
        "disk_io": _REDIS_SOURCE,
        "uptime": f"{_REDIS_SOURCE} (server/uptime counts seconds since the last start)",
    },
    price_parts=_redis_price_parts,
    skus=tuple(_redis_skus()),
    bill_service="Cloud Memorystore for Redis",
)  # fmt: skip


def _read_redis_cluster(data: Item, _place: Place) -> AssetFacts:
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        capacity=as_number(data.get("preciseSizeGb")) or as_number(data.get("sizeGb")),
        labels=data.get("labels"),
        metadata=facts(
            engine="redis",
            **{"class": data.get("nodeType")},
            shards=data.get("shardCount"),
            replicas=data.get("replicaCount"),
            deletion_protection=as_bool(data.get("deletionProtectionEnabled")),
        ),
    )


def _sharded(resource: str, label: str, prefix: str, source: str) -> tuple[Metric, ...]:
    """The metrics that Redis Cluster and Valkey have alike."""
    return tuple(
        metric_rows(
            resource, f"{label} location", prefix, source,
            ("cpu_utilization", "cpu", "percent", "cpu/average_utilization", "ALIGN_MEAN", 100, PRIMARY),
            ("memory_utilization", "memory", "percent", "memory/average_utilization", "ALIGN_MEAN", 100),
            ("network_in", "network", "bytes/s", "stats/total_net_input_bytes_count", "ALIGN_RATE"),
            ("network_out", "network", "bytes/s", "stats/total_net_output_bytes_count", "ALIGN_RATE"),
            ("response_time", "latency", "seconds", "commandstats/total_usec_count", "ALIGN_RATE", 1e-6, PRIMARY),
            ("request_rate", "traffic", "requests/s", "commandstats/total_calls_count", "ALIGN_RATE", 1, PRIMARY),
        )
    )  # fmt: skip


_CLUSTER_SOURCE = "Memorystore for Redis Cluster: supported monitoring metrics"

REDIS_CLUSTER = GcpKind(
    name="gcp:redis_cluster",
    resource_type=ResourceType.DATABASE,
    asset_types=("redis.googleapis.com/Cluster",),
    read=_read_redis_cluster,
    unit="GiB",
    collection="clusters",
    series_labels=by_name_and_location,
    metrics=_sharded("redis.googleapis.com/Cluster", "cluster_id", "redis.googleapis.com/cluster/", _CLUSTER_SOURCE),
    divisors=_DIVISORS,
    not_offered=dict.fromkeys(("disk_io", "uptime"), _CLUSTER_SOURCE),
)

# --- Valkey and Memcached -------------------------------------------------------------------------------------------


def _read_valkey_instance(data: Item, _place: Place) -> AssetFacts:
    shards, size = as_number(data.get("shardCount")), as_number(dig(data, "nodeConfig", "sizeGb"))
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        capacity=None if size is None or shards is None else size * shards,
        labels=data.get("labels"),
        metadata=facts(
            engine=data.get("engineVersion"),
            **{"class": data.get("nodeType")},
            mode=data.get("mode"),
            shards=shards,
            replicas=data.get("replicaCount"),
            deletion_protection=as_bool(data.get("deletionProtectionEnabled")),
        ),
    )


_VALKEY_SOURCE = "Memorystore for Valkey: supported monitoring metrics"

VALKEY_INSTANCE = GcpKind(
    name="gcp:valkey_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("memorystore.googleapis.com/Instance",),
    read=_read_valkey_instance,
    unit="GiB",
    collection="instances",
    series_labels=by_name_and_location,
    metrics=_sharded(
        "memorystore.googleapis.com/Instance", "instance_id", "memorystore.googleapis.com/instance/", _VALKEY_SOURCE
    ),
    divisors=_DIVISORS,
    not_offered=dict.fromkeys(("disk_io", "uptime"), _VALKEY_SOURCE),
)


def _read_memcache_instance(data: Item, _place: Place) -> AssetFacts:
    nodes, size = as_number(data.get("nodeCount")), as_number(dig(data, "nodeConfig", "memorySizeMb"))
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        capacity=None if size is None or nodes is None else size * nodes / 1024,
        labels=data.get("labels"),
        metadata=facts(
            engine=data.get("memcacheVersion"),
            nodes=nodes,
            vcpus_per_node=as_number(dig(data, "nodeConfig", "cpuCount")),
            network=short_link(data.get("authorizedNetwork")),
        ),
    )


_MEMCACHE_SOURCE = "Memorystore for Memcached: monitoring metrics"

MEMCACHE_INSTANCE = GcpKind(
    name="gcp:memcache_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("memcache.googleapis.com/Instance",),
    read=_read_memcache_instance,
    unit="GiB",
    collection="instances",
    # The location of a series is the zone of a node, of which an instance has several.
    series_labels=lambda resource: (last_part(resource.resource_id),),
    metrics=metric_rows(
        "memcache_node", "instance_id", "memcache.googleapis.com/node/", _MEMCACHE_SOURCE,
        ("cpu_utilization", "cpu", "percent", "cpu/utilization", "ALIGN_MEAN", 100),
        ("memory_utilization", "memory", "percent", "memory/utilization", "ALIGN_MEAN", 100),
        ("request_rate", "traffic", "requests/s", "operation_count", "ALIGN_RATE"),
        ("network_in", "network", "bytes/s", "received_bytes_count", "ALIGN_RATE"),
        ("network_out", "network", "bytes/s", "sent_bytes_count", "ALIGN_RATE"),
    ),
    not_offered={
        **dict.fromkeys(("disk_io", "response_time"), _MEMCACHE_SOURCE),
        "uptime": f"{_MEMCACHE_SOURCE} (node/uptime counts seconds since the last start)",
    },
)  # fmt: skip

KINDS = (REDIS_INSTANCE, REDIS_CLUSTER, VALKEY_INSTANCE, MEMCACHE_INSTANCE)
