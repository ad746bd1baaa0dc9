"""Compute Engine: snapshots of disks, each kept in its fleet's region."""

from __future__ import annotations

from decimal import Decimal

from optiinfra_dagster.lab.gcp.kind import SECRET, LabAsset, LabKind, Shape, Shown, compute_head, link
from optiinfra_dagster.lab.gcp.pricelist import GIB_MONTH, LabSku, price_of
from optiinfra_dagster.lab.gcp.services import compute

_GIB = 2**30


def _size(asset: LabAsset) -> int:
    return asset.fleet.size or 5


def _snapshot(asset: LabAsset) -> Shown:
    """A snapshot; its disk is gone."""
    return compute_head(asset, "snapshot") | {
        "status": asset.fleet.state or "READY",
        "sourceDisk": link(asset, f"zones/{asset.zone}/disks/gone-{asset.index}"),
        "diskSizeGb": str(4 * _size(asset)),
        "storageBytes": str(_size(asset) * _GIB),
        "storageBytesStatus": "UP_TO_DATE",
        "storageLocations": [asset.fleet.region],
        "snapshotType": "STANDARD",
        "labels": asset.fleet.tags,
        "snapshotEncryptionKey": {"rawKey": SECRET},
    }


_SKUS = (LabSku(compute.PRICES, "Storage PD Snapshot", GIB_MONTH, "0.05"),)

SNAPSHOT = LabKind(
    name="gcp:snapshot",
    shapes=(Shape("compute.googleapis.com/Snapshot", "compute", "global/snapshots/{name}"),),
    describe=_snapshot,
    skus=_SKUS,
    bill_service=compute.BILL_SERVICE,
    hourly=lambda asset: Decimal(_size(asset)) * price_of(_SKUS, "Storage PD Snapshot", asset.fleet.region),
)

KINDS = (SNAPSHOT,)
