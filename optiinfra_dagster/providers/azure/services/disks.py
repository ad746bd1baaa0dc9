"""Managed disks."""

from __future__ import annotations

import re
from collections.abc import Mapping

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    Facts,
    MetricRow,
    Parts,
    Row,
    arm_id,
    fact_number,
    fact_text,
    not_among,
    price_part,
    state_word,
)
from optiinfra_dagster.providers.parsing import as_bool, as_number, as_text, facts

# https://learn.microsoft.com/azure/virtual-machines/disks-types: the number of a tier, and the GiB that it ends with
_TIERS: Mapping[int, int] = {
    1: 4, 2: 8, 3: 16, 4: 32, 6: 64, 10: 128, 15: 256, 20: 512, 30: 1024, 40: 2048, 50: 4096, 60: 8192, 70: 16384,
    80: 32767,
}  # fmt: skip
# SKU of a disk -> letter of its tiers, first tier, name in the list
_PRODUCTS: Mapping[str, tuple[str, int, str]] = {
    "premium": ("P", 1, "Premium SSD Managed Disks"),
    "standardssd": ("E", 1, "Standard SSD Managed Disks"),
    "standard": ("S", 4, "Standard HDD Managed Disks"),
}


def _read(row: Row) -> Facts:
    return Facts(
        word=state_word(row),
        silent=Status.IN_USE if as_text(row.get("managedBy")) else Status.UNKNOWN,
        capacity=as_number(row.get("storageGB")),
        unit="GiB",
        metadata=facts(
            volume_type=row.get("size"),
            iops=as_number(row.get("iops")),
            throughput_mb_s=as_number(row.get("throughput")),
            attached_to=arm_id(row.get("managedBy")),
            platform=row.get("osType"),
            performance_tier=row.get("performanceTier"),
            shares=as_number(row.get("maxShares")),
            bursts=as_bool(row.get("burstingEnabled")) or None,
        ),
    )


def _parts(resource: Resource) -> Parts:
    """A disk costs as much as the tier that holds it, or a higher one for its performance.

    Without an estimate are disks that may be shared, which cost for each mount, and those that burst on demand.
    """
    sku, _, copies = fact_text(resource, "volume_type").partition("_")
    listed, gib = _PRODUCTS.get(sku.lower()), resource.capacity
    if listed is None or not gib or fact_number(resource, "shares") > 1 or resource.metadata.get("bursts"):
        return
    letter, smallest, product = listed
    held = next((number for number, ends in _TIERS.items() if number >= smallest and ends >= gib), None)
    set_to = re.fullmatch(rf"{letter}(\d+)", fact_text(resource, "performance_tier"))
    if held is not None:
        tier = max(held, int(set_to[1])) if set_to else held
        yield price_part("Storage", product, f"{letter}{tier} {copies.upper()} Disk")


def _why_no_points(resource: Resource) -> str:
    attached = resource.status is Status.IN_USE or resource.metadata.get("attached_to")  # shared ones name no machine
    return "" if attached else "the disk is not attached to a machine"


KINDS = (
    AzureKind(
        name="azure:disk",
        azure_type="Microsoft.Compute/disks",
        resource_type=ResourceType.VOLUME,
        columns={
            "state": ("properties.diskState",),
            "uid": ("properties.uniqueId",),
            "created": ("properties.timeCreated",),
            "size": ("sku.name",),
            "osType": ("properties.osType",),
            "storageGB": ("properties.diskSizeGB",),
            "iops": ("properties.diskIOPSReadWrite",),
            "throughput": ("properties.diskMBpsReadWrite",),
            "performanceTier": ("properties.tier",),
            "maxShares": ("properties.maxShares",),
            "burstingEnabled": ("properties.burstingEnabled",),
        },
        read=_read,
        metric_rows=(
            MetricRow("disk_read", "disk", "bytes/s", "Composite Disk Read Bytes/sec", "Average"),
            MetricRow("disk_write", "disk", "bytes/s", "Composite Disk Write Bytes/sec", "Average"),
            MetricRow("disk_read_ops", "disk", "ops/s", "Composite Disk Read Operations/sec", "Average"),
            MetricRow("disk_write_ops", "disk", "ops/s", "Composite Disk Write Operations/sec", "Average"),
        ),
        why_no_points=_why_no_points,
        price_parts=_parts,
        bill_service="Storage",
        attachable=True,
        not_offered=not_among("Microsoft.Compute/disks", "response_time", "uptime"),
    ),
)
