"""Compute Engine: images of disks and of whole machines, those that the project keeps.

One kept in a region is priced by what it stores; those of continents are not.
"""

from __future__ import annotations

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    Sku,
    decimal,
    digits,
    last_part,
    short_link,
)
from optiinfra_dagster.providers.gcp.services import compute
from optiinfra_dagster.providers.parsing import Item, as_number, as_text, as_texts, dig, facts

_GIB = 2.0**30


def _gib(stored: float | None) -> float | None:
    return None if stored is None else stored / _GIB


def _only(places: list[str]) -> str:
    """The one region that something is kept in; "" for a continent's, and for several."""
    return places[0] if len(places) == 1 else ""


def _stored(resource: Resource, key: str) -> list[Component]:
    return [Component(key, decimal(resource.capacity))] if resource.capacity else []


def _read_image(data: Item, _place: Place) -> AssetFacts:
    places = as_texts(data.get("storageLocations"))
    return AssetFacts(
        region=_only(places),
        cloud_status=as_text(data.get("status")),
        capacity=_gib(as_number(data.get("archiveSizeBytes"))),
        labels=data.get("labels"),
        metadata=facts(
            image_id=digits(data.get("id")),
            family=data.get("family"),
            source_disk=last_part(data.get("sourceDisk")) or None,
            source_image=short_link(data.get("sourceImage")) or None,
            deprecated=dig(data, "deprecated", "state"),
            disk_gib=as_number(data.get("diskSizeGb")),
            storage_locations=",".join(places),
        ),
    )


IMAGE = GcpKind(
    name="gcp:image",
    resource_type=ResourceType.SNAPSHOT,
    asset_types=("compute.googleapis.com/Image",),
    read=_read_image,
    unit="GiB",
    collection="images",
    number="image_id",
    price_parts=lambda resource: _stored(resource, "image GiB"),
    skus=(Sku("image GiB", compute.PRICES, "Storage Image"),),
    bill_service=compute.BILL_SERVICE,
)


def _read_machine_image(data: Item, _place: Place) -> AssetFacts:
    places = as_texts(data.get("storageLocations"))
    return AssetFacts(
        region=_only(places),
        cloud_status=as_text(data.get("status")),
        capacity=_gib(as_number(data.get("totalStorageBytes"))),
        labels=data.get("labels"),
        metadata=facts(
            machine_image_id=digits(data.get("id")),
            source_instance=last_part(data.get("sourceInstance")) or None,
            storage_locations=",".join(places),
        ),
    )


MACHINE_IMAGE = GcpKind(
    name="gcp:machine_image",
    resource_type=ResourceType.SNAPSHOT,
    asset_types=("compute.googleapis.com/MachineImage",),
    read=_read_machine_image,
    unit="GiB",
    collection="machineImages",
    number="machine_image_id",
    price_parts=lambda resource: _stored(resource, "machine image GiB"),
    skus=(Sku("machine image GiB", compute.PRICES, "Storage Machine Image"),),
    bill_service=compute.BILL_SERVICE,
)

KINDS = (IMAGE, MACHINE_IMAGE)
