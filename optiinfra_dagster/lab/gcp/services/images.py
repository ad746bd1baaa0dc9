"""Compute Engine: images of disks and of whole machines, kept in their fleet's region."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import SECRET, LabAsset, LabKind, Shape, Shown, compute_head, link

_GIB = 2**30


def _image(asset: LabAsset) -> Shown:
    """An image of a disk."""
    size = asset.fleet.size or 3
    return compute_head(asset, "image") | {
        "status": asset.fleet.state or "READY",
        "family": "base",
        "sourceDisk": link(asset, f"zones/{asset.zone}/disks/builder-{asset.index}"),
        "sourceType": "RAW",
        "diskSizeGb": "20",
        "archiveSizeBytes": str(size * _GIB),
        "storageLocations": [asset.fleet.region],
        "labels": asset.fleet.tags,
        "imageEncryptionKey": {"rawKey": SECRET},
    }


IMAGE = LabKind(
    name="gcp:image",
    shapes=(Shape("compute.googleapis.com/Image", "compute", "global/images/{name}"),),
    describe=_image,
)


def _machine_image(asset: LabAsset) -> Shown:
    """An image of a machine with its disks."""
    return compute_head(asset, "machineImage") | {
        "status": asset.fleet.state or "READY",
        "sourceInstance": link(asset, f"zones/{asset.zone}/instances/builder-{asset.index}"),
        "totalStorageBytes": str((asset.fleet.size or 9) * _GIB),
        "storageLocations": [asset.fleet.region],
        "labels": asset.fleet.tags,
        "instanceProperties": {"metadata": {"items": [{"key": "startup-script", "value": SECRET}]}},
    }


MACHINE_IMAGE = LabKind(
    name="gcp:machine_image",
    shapes=(Shape("compute.googleapis.com/MachineImage", "compute", "global/machineImages/{name}"),),
    describe=_machine_image,
)

KINDS = (IMAGE, MACHINE_IMAGE)
