"""Compute Engine: images of disks and of whole machines, kept in their fleet's region."""

from __future__ import annotations

from decimal import Decimal

from optiinfra_dagster.lab.gcp.kind import SECRET, LabAsset, LabKind, Shape, Shown, compute_head, link
from optiinfra_dagster.lab.gcp.pricelist import GIB_MONTH, LabSku, price_of
from optiinfra_dagster.lab.gcp.services import compute

_GIB = 2**30
_SKUS = (
    LabSku(compute.PRICES, "Storage Image", GIB_MONTH, "0.05"),
    LabSku(compute.PRICES, "Storage Machine Image", GIB_MONTH, "0.06"),
)


def _size(asset: LabAsset) -> int:
    return asset.fleet.size or 5


def _image(asset: LabAsset) -> Shown:
    """An image of a disk."""
    return compute_head(asset, "image") | {
        "status": asset.fleet.state or "READY",
        "family": "base",
        "sourceDisk": link(asset, f"zones/{asset.zone}/disks/builder-{asset.index}"),
        "sourceType": "RAW",
        "diskSizeGb": "20",
        "archiveSizeBytes": str(_size(asset) * _GIB),
        "storageLocations": [asset.fleet.region],
        "labels": asset.fleet.tags,
        "imageEncryptionKey": {"rawKey": SECRET},
    }


IMAGE = LabKind(
    name="gcp:image",
    shapes=(Shape("compute.googleapis.com/Image", "compute", "global/images/{name}"),),
    describe=_image,
    skus=_SKUS[:1],
    bill_service=compute.BILL_SERVICE,
    hourly=lambda asset: Decimal(_size(asset)) * price_of(_SKUS, "Storage Image", asset.region),
)


def _machine_image(asset: LabAsset) -> Shown:
    """An image of a machine with its disks."""
    return compute_head(asset, "machineImage") | {
        "status": asset.fleet.state or "READY",
        "sourceInstance": link(asset, f"zones/{asset.zone}/instances/builder-{asset.index}"),
        "totalStorageBytes": str(_size(asset) * _GIB),
        "storageLocations": [asset.fleet.region],
        "labels": asset.fleet.tags,
        "instanceProperties": {"metadata": {"items": [{"key": "startup-script", "value": SECRET}]}},
    }


MACHINE_IMAGE = LabKind(
    name="gcp:machine_image",
    shapes=(Shape("compute.googleapis.com/MachineImage", "compute", "global/machineImages/{name}"),),
    describe=_machine_image,
    skus=_SKUS[1:],
    bill_service=compute.BILL_SERVICE,
    hourly=lambda asset: Decimal(_size(asset)) * price_of(_SKUS, "Storage Machine Image", asset.region),
)

KINDS = (IMAGE, MACHINE_IMAGE)
