"""Compute Engine: persistent disks, in a zone or in two zones of a region.

Not priced, so without an estimate: Hyperdisk and extreme disks.
"""

from __future__ import annotations

from collections.abc import Iterator

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    Sku,
    decimal,
    digits,
    iso,
    last_part,
    short_link,
    status_of,
)
from optiinfra_dagster.providers.gcp.services import compute
from optiinfra_dagster.providers.parsing import Item, as_bool, as_number, as_text, as_texts, facts


def _read_disk(data: Item, place: Place) -> AssetFacts:
    state, users = as_text(data.get("status")), as_texts(data.get("users"))
    status = status_of(state)
    return AssetFacts(
        status=Status.IN_USE if users and status is Status.AVAILABLE else status,
        cloud_status=state,
        capacity=as_number(data.get("sizeGb")),
        labels=data.get("labels"),
        metadata=facts(
            disk_id=digits(data.get("id")),
            volume_type=last_part(data.get("type")),
            zone=place.zone,
            replica_zones=",".join(sorted(last_part(zone) for zone in as_texts(data.get("replicaZones")))),
            iops=as_number(data.get("provisionedIops")),
            throughput_mib_s=as_number(data.get("provisionedThroughput")),
            attached_to=",".join(sorted(last_part(user) for user in users)),
            multi_attach=as_bool(data.get("multiWriter")),
            source_image=short_link(data.get("sourceImage")),
            last_attached_at=iso(data.get("lastAttachTimestamp")),
            last_detached_at=iso(data.get("lastDetachTimestamp")),
        ),
    )


_WORDS = {"pd-standard": "Storage PD", "pd-balanced": "Balanced PD", "pd-ssd": "SSD backed PD"}


def _price_parts(resource: Resource) -> list[Component]:
    disk, size = str(resource.metadata.get("volume_type")), resource.capacity
    regional = "regional " if resource.metadata.get("replica_zones") else ""
    return [Component(f"{regional}{disk} GiB", decimal(size))] if size and disk in _WORDS else []


def _skus() -> Iterator[Sku]:
    for disk, word in _WORDS.items():
        yield Sku(f"{disk} GiB", compute.PRICES, f"{word} Capacity")
        yield Sku(f"regional {disk} GiB", compute.PRICES, f"Regional {word} Capacity")


_SOURCE = "Cloud Monitoring: Google Cloud metrics, compute"

DISK = GcpKind(
    name="gcp:disk",
    resource_type=ResourceType.VOLUME,
    asset_types=("compute.googleapis.com/Disk", "compute.googleapis.com/RegionDisk"),
    read=_read_disk,
    unit="GiB",
    collection="disks",
    number="disk_id",
    price_parts=_price_parts,
    skus=tuple(_skus()),
    bill_service=compute.BILL_SERVICE,
    attachable=True,
    not_offered={
        **dict.fromkeys(("disk_io", "response_time"), f"{_SOURCE} (an instance has those of its disks)"),
        "uptime": _SOURCE,
    },
)

KINDS = (DISK,)
