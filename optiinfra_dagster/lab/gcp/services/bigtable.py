"""Bigtable: clusters, and with each the instance that holds it, which alone has labels."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    Child,
    LabAsset,
    Labels,
    LabKind,
    Shape,
    Shown,
    in_project,
    published,
    seconds,
    varied,
)


def _bigtable_cluster(asset: LabAsset) -> Shown:
    """A cluster of a Bigtable instance."""
    return {
        "name": asset.path,
        "location": f"projects/{asset.project}/locations/{asset.zone}",
        "state": asset.fleet.state or "READY",
        "serveNodes": asset.fleet.size or 3,
        "defaultStorageType": asset.fleet.type or "SSD",
        "encryptionConfig": {"kmsKeyName": SECRET},
    }


def _tables(_asset: LabAsset) -> list[Labels]:
    return [
        Labels({"method": f"Bigtable.{method}", "app_profile": "default"}, {"table": table})
        for table in ("events", "users")
        for method in ("ReadRows", "MutateRow")
    ]


def _bigtable_instance(asset: LabAsset) -> Shown:
    """A Bigtable instance."""
    return {
        "name": asset.path,
        "displayName": SECRET,
        "state": "READY",
        "type": "PRODUCTION",
        "labels": asset.fleet.tags,
        "createTime": seconds(asset.created),
    }


INSTANCE = LabKind(
    name="gcp:bigtable_instance",
    shapes=(Shape("bigtableadmin.googleapis.com/Instance", "bigtable", "instances/{name}"),),
    describe=_bigtable_instance,
    in_fleets=False,
    is_global=True,
)

CLUSTER = LabKind(
    name="gcp:bigtable_cluster",
    shapes=(
        Shape("bigtableadmin.googleapis.com/Cluster", "bigtable", "instances/{name}/clusters/{name}", in_zone=True),
    ),
    describe=_bigtable_cluster,
    children=lambda asset: [Child(INSTANCE.name, asset.name)],
    metrics=(
        *published(
            "bigtable_cluster", "bigtable.googleapis.com/cluster/",
            ("cpu_load", "GAUGE", "DOUBLE", 0.01, 0.9),
            ("storage_utilization", "GAUGE", "DOUBLE", 0.01, 0.8, varied("storage_type", "SSD")),
        ),
        *published(
            "bigtable_table", "bigtable.googleapis.com/server/",
            ("latencies", "DELTA", "DISTRIBUTION", 0, 4e3, _tables),
            ("request_count", "DELTA", "INT64", 0, 9e4, _tables),
            ("received_bytes_count", "DELTA", "INT64", 1e3, 9e7, _tables),
            ("sent_bytes_count", "DELTA", "INT64", 1e3, 9e7, _tables),
        ),
    ),
    labels=lambda asset: in_project(asset) | {"instance": asset.name, "cluster": asset.name, "zone": asset.zone},
)  # fmt: skip

KINDS = (INSTANCE, CLUSTER)
