"""Bigtable: the clusters of its instances."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import SECRET, LabAsset, LabKind, Shape, Shown


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


CLUSTER = LabKind(
    name="gcp:bigtable_cluster",
    shapes=(
        Shape("bigtableadmin.googleapis.com/Cluster", "bigtable", "instances/{name}/clusters/{name}", in_zone=True),
    ),
    describe=_bigtable_cluster,
)

KINDS = (CLUSTER,)
