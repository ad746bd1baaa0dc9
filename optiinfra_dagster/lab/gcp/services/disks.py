"""Compute Engine: persistent disks, in a zone or in two zones of a region."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.gcp.kind import COMPUTE, SECRET, LabAsset, LabKind, Shape, Shown, compute_head, link
from optiinfra_dagster.lab.gcp.pricelist import GIB_MONTH, LabSku, price_of
from optiinfra_dagster.lab.gcp.services import compute

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.fleet import Fleet

_ZONAL = Shape("compute.googleapis.com/Disk", "compute", "zones/{zone}/disks/{name}")
_REGIONAL = Shape("compute.googleapis.com/RegionDisk", "compute", "regions/{region}/disks/{name}")


def _shape(fleet: Fleet, _region: str) -> Shape:
    return _REGIONAL if fleet.kind == "gcp:disk" and fleet.regional else _ZONAL


def _size(asset: LabAsset) -> int:
    return asset.fleet.size or 10 * (1 + asset.seed % 20)


def _disk(asset: LabAsset) -> Shown:
    """A persistent disk, attached where an instance owns it."""
    kind = (asset.fleet.type if asset.parent is None else None) or "pd-balanced"
    regional = asset.shape is _REGIONAL
    where = f"regions/{asset.region}" if regional else f"zones/{asset.zone}"
    zones = [f"{asset.region}-a", f"{asset.region}-b"]
    shown = compute_head(asset, "disk") | {
        **(
            {"region": link(asset, where), "replicaZones": [link(asset, f"zones/{zone}") for zone in zones]}
            if regional
            else {"zone": link(asset, where)}
        ),
        "sizeGb": str(_size(asset)),
        "status": (asset.fleet.state if asset.parent is None else None) or "READY",
        "type": link(asset, f"{where}/diskTypes/{kind}"),
        "labels": asset.fleet.tags,
        "labelFingerprint": "42WmSpB8rSM=",
        "physicalBlockSizeBytes": "4096",
        "diskEncryptionKey": {"rawKey": SECRET, "rsaEncryptedKey": SECRET, "sha256": SECRET},
        "enableConfidentialCompute": False,
    }
    if asset.parent is not None:
        shown["users"] = [f"{COMPUTE}/{asset.parent.path}"]
        shown["sourceImage"] = f"{COMPUTE}/projects/debian-cloud/global/images/debian-12-bookworm-v20240515"
        shown["lastAttachTimestamp"] = shown["creationTimestamp"]
    return shown


_SKUS = (
    LabSku(compute.PRICES, "Storage PD Capacity", GIB_MONTH, "0.04", free=30),
    LabSku(compute.PRICES, "Balanced PD Capacity", GIB_MONTH, "0.1"),
    LabSku(compute.PRICES, "SSD backed PD Capacity", GIB_MONTH, "0.17"),
    LabSku(compute.PRICES, "Regional Balanced PD Capacity", GIB_MONTH, "0.2"),
)
_WORDS = {"pd-standard": "Storage PD", "pd-balanced": "Balanced PD", "pd-ssd": "SSD backed PD"}


def _hourly(asset: LabAsset) -> Decimal:
    word = _WORDS.get((asset.fleet.type if asset.parent is None else None) or "", "Balanced PD")
    regional = "Regional " if asset.shape is _REGIONAL else ""
    return Decimal(_size(asset)) * price_of(_SKUS, f"{regional}{word} Capacity", asset.region)


DISK = LabKind(
    name="gcp:disk",
    shapes=(_ZONAL, _REGIONAL),
    shape_of=_shape,
    describe=_disk,
    skus=_SKUS,
    bill_service=compute.BILL_SERVICE,
    hourly=_hourly,
)

KINDS = (DISK,)
