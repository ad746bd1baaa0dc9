"""Bigtable: the clusters of its instances."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    LabAsset,
    Labels,
    LabKind,
    Shape,
    Shown,
    in_project,
    published,
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


CLUSTER = LabKind(
    name="gcp:bigtable_cluster",
    shapes=(
        Shape("bigtableadmin.googleapis.com/Cluster", "bigtable", "instances/{name}/clusters/{name}", in_zone=True),
    ),
    describe=_bigtable_cluster,
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

KINDS = (CLUSTER,)
