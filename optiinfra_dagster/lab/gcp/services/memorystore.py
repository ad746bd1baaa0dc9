"""Memorystore: Redis, Redis Cluster, Valkey and Memcached."""

from __future__ import annotations

from decimal import Decimal

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    LabAsset,
    Labels,
    LabKind,
    LabMetric,
    Parts,
    Shape,
    Shown,
    address,
    contained,
    in_project,
    published,
    seconds,
    varied,
)
from optiinfra_dagster.lab.gcp.pricelist import GIB_HOUR, HOUR, LabSku, PriceService, price_of

_PRICES = PriceService("5AF5-2C11-D467", before_place=" ")

# --- Redis ----------------------------------------------------------------------------------------------------------


def _redis_instance(asset: LabAsset) -> Shown:
    """A Memorystore for Redis instance."""
    return {
        "name": asset.path,
        "displayName": SECRET,
        "labels": asset.fleet.tags,
        "locationId": asset.zone,
        "currentLocationId": asset.zone,
        "redisVersion": asset.fleet.engine or "REDIS_7_0",
        "tier": asset.fleet.type or "BASIC",
        "memorySizeGb": asset.fleet.size or 1,
        "host": address(asset),
        "port": 6379,
        "state": asset.fleet.state or "READY",
        "createTime": seconds(asset.created),
        "authEnabled": True,
        "authString": SECRET,
        "serverCaCerts": [{"cert": SECRET}],
        "authorizedNetwork": f"projects/{asset.project}/global/networks/default",
        "redisConfigs": {"notify-keyspace-events": SECRET},
    }


def _on_nodes(name: str, *values: str) -> Parts:
    """A series for each value of a label, on the primary and on a replica."""
    return lambda _asset: [
        Labels({"role": role, name: value}, {"node_id": f"node-{n}"})
        for n, role in enumerate(("primary", "replica"))
        for value in values
    ]


_SKUS = (
    *(
        LabSku(_PRICES, f"Redis Capacity {tier} M{n}", GIB_HOUR, usd)
        for tier, prices in (
            ("Basic", ("0.049", "0.027", "0.023", "0.019", "0.016")),
            ("Standard", ("0.064", "0.054", "0.046", "0.037", "0.03")),
        )
        for n, usd in enumerate(prices, 1)
    ),
    LabSku(_PRICES, "Redis Standard Node Capacity M2", GIB_HOUR, "0.027"),
    LabSku(_PRICES, "Redis Cluster Node Default", HOUR, "0.0688"),
)


def _hourly(asset: LabAsset) -> Decimal:
    size, tier = asset.fleet.size or 1, "Standard" if asset.fleet.type == "STANDARD_HA" else "Basic"
    number = next(n for n, most in enumerate((4, 10, 35, 100, 300), 1) if size <= most)
    return price_of(_SKUS, f"Redis Capacity {tier} M{number}", asset.region) * size


REDIS_INSTANCE = LabKind(
    name="gcp:redis_instance",
    shapes=(Shape("redis.googleapis.com/Instance", "redis", "locations/{region}/instances/{name}"),),
    describe=_redis_instance,
    metrics=published(
        "redis_instance", "redis.googleapis.com/stats/",
        ("cpu_utilization_main_thread", "DELTA", "DOUBLE", 0, 25, _on_nodes("space", "sys", "user")),
        ("memory/usage_ratio", "GAUGE", "DOUBLE", 0.1, 0.9),
        ("network_traffic", "DELTA", "INT64", 1e3, 9e7, _on_nodes("direction", "in", "out")),
    ) + published(
        "redis_instance", "redis.googleapis.com/commands/",
        ("total_time", "DELTA", "INT64", 1e4, 9e6, _on_nodes("cmd", "get", "set")),
        ("calls", "DELTA", "INT64", 10, 9e3, _on_nodes("cmd", "get", "set")),
    ),
    labels=lambda asset: in_project(asset) | {"instance_id": asset.path, "region": asset.region},
    skus=_SKUS,
    bill_service="Cloud Memorystore for Redis",
    hourly=_hourly,
)  # fmt: skip


def _redis_cluster(asset: LabAsset) -> Shown:
    """A Memorystore for Redis Cluster."""
    size = asset.fleet.size or 5
    return {
        "name": asset.path,
        "uid": f"{asset.seed:016x}",
        "state": asset.fleet.state or "ACTIVE",
        "createTime": seconds(asset.created),
        "nodeType": asset.fleet.type or "REDIS_SHARED_CORE_NANO",
        "shardCount": 3,
        "replicaCount": 1,
        "sizeGb": size,
        "preciseSizeGb": float(size),
        "authorizationMode": "AUTH_MODE_IAM_AUTH",
        "discoveryEndpoints": [{"address": address(asset), "port": 6379, "pscConfig": {}}],
        "redisConfigs": {"maxmemory-policy": SECRET},
        "deletionProtectionEnabled": True,
        "labels": asset.fleet.tags,
    }


def _commands(_asset: LabAsset) -> list[Labels]:
    return [
        Labels({"role": role, "command": command}, {}) for role in ("primary", "replica") for command in ("get", "set")
    ]


def _sharded(resource: str, prefix: str) -> tuple[LabMetric, ...]:
    """What Redis Cluster and Valkey publish alike, of primary and replica nodes."""
    roles = varied("role", "primary", "replica")
    return published(
        resource, prefix,
        ("cpu/average_utilization", "GAUGE", "DOUBLE", 0.01, 0.9, roles),
        ("memory/average_utilization", "GAUGE", "DOUBLE", 0.1, 0.9),
        ("stats/total_net_input_bytes_count", "DELTA", "INT64", 1e3, 9e7, roles),
        ("stats/total_net_output_bytes_count", "DELTA", "INT64", 1e3, 9e7, roles),
        ("commandstats/total_usec_count", "DELTA", "INT64", 1e4, 9e6, _commands),
        ("commandstats/total_calls_count", "DELTA", "INT64", 10, 9e3, _commands),
        delay=300,
    )  # fmt: skip


REDIS_CLUSTER = LabKind(
    name="gcp:redis_cluster",
    shapes=(Shape("redis.googleapis.com/Cluster", "redis", "locations/{region}/clusters/{name}"),),
    describe=_redis_cluster,
    metrics=_sharded("redis.googleapis.com/Cluster", "redis.googleapis.com/cluster/"),
    labels=lambda asset: contained(asset) | {"cluster_id": asset.name},
)

# --- Valkey and Memcached -------------------------------------------------------------------------------------------


def _valkey_instance(asset: LabAsset) -> Shown:
    """A Memorystore for Valkey instance."""
    return {
        "name": asset.path,
        "uid": f"{asset.seed:016x}",
        "state": asset.fleet.state or "ACTIVE",
        "createTime": seconds(asset.created),
        "engineVersion": asset.fleet.engine or "VALKEY_8_0",
        "engineConfigs": {"maxmemory-policy": SECRET},
        "mode": "CLUSTER",
        "nodeType": asset.fleet.type or "STANDARD_SMALL",
        "nodeConfig": {"sizeGb": 6.5},
        "shardCount": asset.fleet.size or 3,
        "replicaCount": 1,
        "authorizationMode": "IAM_AUTH",
        "deletionProtectionEnabled": True,
        "labels": asset.fleet.tags,
    }


VALKEY_INSTANCE = LabKind(
    name="gcp:valkey_instance",
    shapes=(Shape("memorystore.googleapis.com/Instance", "memorystore", "locations/{region}/instances/{name}"),),
    describe=_valkey_instance,
    metrics=_sharded("memorystore.googleapis.com/Instance", "memorystore.googleapis.com/instance/"),
    labels=lambda asset: contained(asset) | {"instance_id": asset.name},
)


def _memcache_instance(asset: LabAsset) -> Shown:
    """A Memorystore for Memcached instance."""
    return {
        "name": asset.path,
        "displayName": SECRET,
        "labels": asset.fleet.tags,
        "authorizedNetwork": f"projects/{asset.project}/global/networks/default",
        "zones": [asset.zone],
        "nodeCount": asset.fleet.size or 2,
        "nodeConfig": {"cpuCount": 1, "memorySizeMb": 4096},
        "memcacheVersion": asset.fleet.engine or "MEMCACHE_1_6_15",
        "parameters": {"id": SECRET, "params": {"listen-backlog": SECRET}},
        "createTime": seconds(asset.created),
        "state": asset.fleet.state or "READY",
        "discoveryEndpoint": address(asset),
    }


def _nodes(asset: LabAsset) -> list[Labels]:
    """A series for each node, which stand in different zones."""
    return [
        Labels({}, {"node_id": f"node-{asset.region}-{letter}-1", "location": f"{asset.region}-{letter}"})
        for letter in "ab"
    ]


MEMCACHE_INSTANCE = LabKind(
    name="gcp:memcache_instance",
    shapes=(Shape("memcache.googleapis.com/Instance", "memcache", "locations/{region}/instances/{name}"),),
    describe=_memcache_instance,
    metrics=published(
        "memcache_node", "memcache.googleapis.com/node/",
        ("cpu/utilization", "DELTA", "DOUBLE", 0.01, 0.9, _nodes),
        ("memory/utilization", "GAUGE", "DOUBLE", 0.1, 0.9, _nodes),
        ("operation_count", "DELTA", "INT64", 0, 9e3, _nodes),
        ("received_bytes_count", "DELTA", "INT64", 1e3, 9e7, _nodes),
        ("sent_bytes_count", "DELTA", "INT64", 1e3, 9e7, _nodes),
        delay=180,
    ),
    labels=lambda asset: in_project(asset) | {"instance_id": asset.name},
)  # fmt: skip

KINDS = (REDIS_INSTANCE, REDIS_CLUSTER, VALKEY_INSTANCE, MEMCACHE_INSTANCE)
