"""Compute Engine: snapshots of disks. One kept in a region is priced by what it stores; those of continents are not."""

from __future__ import annotations

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, Sku, decimal, digits, last_part
from optiinfra_dagster.providers.gcp.services import compute
from optiinfra_dagster.providers.parsing import Item, as_bool, as_number, as_text, as_texts, facts

_GIB = 2.0**30


def _read_snapshot(data: Item, _place: Place) -> AssetFacts:
    stored, places = as_number(data.get("storageBytes")), as_texts(data.get("storageLocations"))
    return AssetFacts(
        region=places[0] if len(places) == 1 else "",
        cloud_status=as_text(data.get("status")),
        capacity=None if stored is None else stored / _GIB,
        labels=data.get("labels"),
        metadata=facts(
            snapshot_id=digits(data.get("id")),
            # Whose copy it is; the disk may be gone, and is named all the same.
            snapshot_of=last_part(data.get("sourceDisk")) or "an unknown disk",
            snapshot_type=data.get("snapshotType"),
            disk_gib=as_number(data.get("diskSizeGb")),
            automatic=as_bool(data.get("autoCreated")),
            storage_locations=",".join(places),
        ),
    )


def _price_parts(resource: Resource) -> list[Component]:
    archived = str(resource.metadata.get("snapshot_type") or "STANDARD").upper() != "STANDARD"
    return [] if archived or not resource.capacity else [Component("snapshot GiB", decimal(resource.capacity))]


SNAPSHOT = GcpKind(
    name="gcp:snapshot",
    resource_type=ResourceType.SNAPSHOT,
    asset_types=("compute.googleapis.com/Snapshot",),
    read=_read_snapshot,
    unit="GiB",
    collection="snapshots",
    number="snapshot_id",
    price_parts=_price_parts,
    skus=(Sku("snapshot GiB", compute.PRICES, "Storage PD Snapshot"),),
    bill_service=compute.BILL_SERVICE,
)

KINDS = (SNAPSHOT,)
