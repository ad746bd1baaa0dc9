"""AlloyDB: clusters, each with its primary instance."""

from __future__ import annotations

from datetime import timedelta

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    Child,
    LabAsset,
    Labels,
    LabKind,
    Shape,
    Shown,
    address,
    contained,
    published,
    seconds,
)


def _alloydb_cluster(asset: LabAsset) -> Shown:
    """An AlloyDB cluster; its compute is that of its instances."""
    return {
        "name": asset.path,
        "displayName": SECRET,
        "uid": f"{asset.seed:016x}",
        "state": asset.fleet.state or "READY",
        "clusterType": "PRIMARY",
        "databaseVersion": asset.fleet.engine or "POSTGRES_15",
        "initialUser": {"user": SECRET, "password": SECRET},
        "network": f"projects/{asset.project}/global/networks/default",
        "labels": asset.fleet.tags,
        "annotations": {"note": SECRET},
        "createTime": seconds(asset.created),
    }


CLUSTER = LabKind(
    name="gcp:alloydb_cluster",
    shapes=(Shape("alloydb.googleapis.com/Cluster", "alloydb", "locations/{region}/clusters/{name}"),),
    describe=_alloydb_cluster,
    children=lambda asset: [Child("gcp:alloydb_instance", f"{asset.name}-primary")],
)


def _alloydb_instance(asset: LabAsset) -> Shown:
    """The primary instance of an AlloyDB cluster."""
    return {
        "name": asset.path,
        "displayName": SECRET,
        "state": "READY",
        "instanceType": "PRIMARY",
        "availabilityType": "REGIONAL",
        "machineConfig": {"cpuCount": 4},
        "databaseFlags": {"password.enforce_complexity": SECRET},
        "ipAddress": address(asset),
        "createTime": seconds(asset.created + timedelta(minutes=10)),
    }


def _nodes(_asset: LabAsset) -> list[Labels]:
    return [Labels({}, {"node_id": f"node-{n}"}) for n in range(2)]


def _databases(_asset: LabAsset) -> list[Labels]:
    return [Labels({"user": "app", "client_addr": ""}, {"database": name}) for name in ("orders", "users")]


INSTANCE = LabKind(
    name="gcp:alloydb_instance",
    shapes=(
        Shape(
            "alloydb.googleapis.com/Instance", "alloydb", "locations/{region}/clusters/{parent}/instances/{name}"
        ),
    ),
    describe=_alloydb_instance,
    in_fleets=False,
    metrics=(
        *published(
            "alloydb.googleapis.com/Instance", "alloydb.googleapis.com/instance/",
            ("cpu/average_utilization", "GAUGE", "DOUBLE", 0.01, 0.9),
            ("memory/min_available_memory", "GAUGE", "INT64", 0.5 * 2.0**30, 30 * 2.0**30),
        ),
        *published(
            "alloydb.googleapis.com/InstanceNode", "alloydb.googleapis.com/node/",
            ("network/received_bytes_count", "DELTA", "INT64", 1e3, 9e7, _nodes),
            ("network/sent_bytes_count", "DELTA", "INT64", 1e3, 9e7, _nodes),
            ("postgres/uptime", "GAUGE", "DOUBLE", 0, 1, _nodes, True),
        ),
        *published(
            "alloydb.googleapis.com/Database", "alloydb.googleapis.com/database/postgresql/insights/",
            ("aggregate/latencies", "DELTA", "DISTRIBUTION", 0, 4e3, _databases),
            value_unit=1000,
        ),
    ),
    labels=lambda asset: (
        contained(asset) | {"instance_id": asset.name, "cluster_id": asset.parent.name if asset.parent else ""}
    ),
)  # fmt: skip

KINDS = (CLUSTER, INSTANCE)
