"""Memorystore: Redis, Redis Cluster, Valkey and Memcached. Only the price of Redis instances is modelled."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

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
    metric_rows,
    short_link,
)
from optiinfra_dagster.providers.parsing import Item, as_bool, as_number, as_text, dig, facts

PRICES = PriceService("5AF5-2C11-D467", re.compile(r"Redis (?:Capacity \w+|Standard Node Capacity) M\d"))

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


REDIS_INSTANCE = GcpKind(
    name="gcp:redis_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("redis.googleapis.com/Instance",),
    read=_read_redis_instance,
    unit="GiB",
    collection="instances",
    series_labels=lambda resource: (resource.resource_id.removeprefix("//redis.googleapis.com/"),),
    # CPU is that of the main thread, which Redis cannot do without: 100 percent is one core.
    metrics=(
        *metric_rows(
            "redis_instance", "instance_id", "redis.googleapis.com/stats/",
            "Memorystore for Redis: supported monitoring metrics",
            ("cpu_utilization", "cpu", "percent", "cpu_utilization_main_thread", "ALIGN_RATE", 100,
             'metric.labels.role = "primary"'),
            ("memory_utilization", "memory", "percent", "memory/usage_ratio", "ALIGN_MEAN", 100),
            ("network_in", "network", "bytes/s", "network_traffic", "ALIGN_RATE", 1, 'metric.labels.direction = "in"'),
            ("network_out", "network", "bytes/s", "network_traffic", "ALIGN_RATE", 1,
             'metric.labels.direction = "out"'),
        ),
    ),
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


REDIS_CLUSTER = GcpKind(
    name="gcp:redis_cluster",
    resource_type=ResourceType.DATABASE,
    asset_types=("redis.googleapis.com/Cluster",),
    read=_read_redis_cluster,
    unit="GiB",
    collection="clusters",
    series_labels=by_name_and_location,
    metrics=(
        *metric_rows(
            "redis.googleapis.com/Cluster", "cluster_id location", "redis.googleapis.com/cluster/",
            "Memorystore for Redis Cluster: supported monitoring metrics",
            ("cpu_utilization", "cpu", "percent", "cpu/average_utilization", "ALIGN_MEAN", 100),
            ("memory_utilization", "memory", "percent", "memory/average_utilization", "ALIGN_MEAN", 100),
        ),
    ),
)  # fmt: skip

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


VALKEY_INSTANCE = GcpKind(
    name="gcp:valkey_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("memorystore.googleapis.com/Instance",),
    read=_read_valkey_instance,
    unit="GiB",
    collection="instances",
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


MEMCACHE_INSTANCE = GcpKind(
    name="gcp:memcache_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("memcache.googleapis.com/Instance",),
    read=_read_memcache_instance,
    unit="GiB",
    collection="instances",
)

KINDS = (REDIS_INSTANCE, REDIS_CLUSTER, VALKEY_INSTANCE, MEMCACHE_INSTANCE)
