"""Compute Engine: reserved addresses: each second external one is in use, and internal ones are free."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.gcp.kind import LabAsset, LabKind, Shape, Shown, compute_head, link
from optiinfra_dagster.lab.gcp.pricelist import HOUR, LabSku, price_of
from optiinfra_dagster.lab.gcp.services import compute

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.fleet import Fleet

_REGIONAL = Shape("compute.googleapis.com/Address", "compute", "regions/{region}/addresses/{name}")
_GLOBAL = Shape("compute.googleapis.com/GlobalAddress", "compute", "global/addresses/{name}")


def _shape(_fleet: Fleet, region: str) -> Shape:
    return _GLOBAL if region == "global" else _REGIONAL


def _is_used(asset: LabAsset) -> bool:
    return asset.index % 2 == 0


def _is_internal(asset: LabAsset) -> bool:
    return asset.fleet.type == "INTERNAL"


def _address(asset: LabAsset) -> Shown:
    """An address in a region, or of the whole world."""
    shown = compute_head(asset, "address") | {
        **({} if asset.shape is _GLOBAL else {"region": link(asset, f"regions/{asset.region}")}),
        "address": f"203.0.113.{asset.index % 256}",
        "addressType": asset.fleet.type or "EXTERNAL",
        "networkTier": "PREMIUM",
        "status": "IN_USE" if _is_used(asset) else "RESERVED",
        "labels": asset.fleet.tags,
    }
    if _is_used(asset):
        shown["users"] = [link(asset, f"regions/{asset.region}/forwardingRules/rule-{asset.index}")]
    if _is_internal(asset):
        shown |= {"purpose": "GCE_ENDPOINT", "subnetwork": link(asset, f"regions/{asset.region}/subnetworks/main")}
    return shown


_SKUS = (LabSku(compute.PRICES, "Static Ip Charge", HOUR, "0.01"),)


def _hourly(asset: LabAsset) -> Decimal:
    free = _is_used(asset) or _is_internal(asset)
    return Decimal(0) if free else price_of(_SKUS, "Static Ip Charge", asset.region)


ADDRESS = LabKind(
    name="gcp:address",
    shapes=(_REGIONAL, _GLOBAL),
    shape_of=_shape,
    describe=_address,
    skus=_SKUS,
    bill_service=compute.BILL_SERVICE,
    hourly=_hourly,
)

KINDS = (ADDRESS,)
