"""Spanner: its instances."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import SECRET, LabAsset, LabKind, Shape, Shown, seconds


def _spanner_instance(asset: LabAsset) -> Shown:
    """A Spanner instance."""
    nodes = asset.fleet.size or 1
    return {
        "name": asset.path,
        "config": f"projects/{asset.project}/instanceConfigs/regional-{asset.region}",
        "displayName": SECRET,
        "nodeCount": nodes,
        "processingUnits": 1000 * nodes,
        "state": asset.fleet.state or "READY",
        "labels": asset.fleet.tags,
        "instanceType": "PROVISIONED",
        "edition": "STANDARD",
        "createTime": seconds(asset.created),
    }


INSTANCE = LabKind(
    name="gcp:spanner_instance",
    shapes=(Shape("spanner.googleapis.com/Instance", "spanner", "instances/{name}"),),
    describe=_spanner_instance,
)

KINDS = (INSTANCE,)
