"""Managed disks, loose or attached to machines."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Meter, Row, Use, own_id, written

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

TYPE = "Microsoft.Compute/disks"

# The number of a tier, and its GiB.
_TIERS = {4: 32, 6: 64, 10: 128, 15: 256, 20: 512, 30: 1024, 40: 2048, 50: 4096, 60: 8192, 70: 16384, 80: 32767}
# SKU of a disk -> letter of its tiers, name in the list, USD of a GiB for a month
_PRODUCTS = {
    "Premium": ("P", "Premium SSD Managed Disks", "0.15"),
    "StandardSSD": ("E", "Standard SSD Managed Disks", "0.075"),
    "Standard": ("S", "Standard HDD Managed Disks", "0.045"),
}


def _meters() -> Iterator[Meter]:
    for (letter, name, gib), (tier, size), copies in product(_PRODUCTS.values(), _TIERS.items(), ("LRS", "ZRS")):
        price = Decimal(gib) * size * (1 if copies == "LRS" else Decimal("1.5"))
        sku = f"{letter}{tier} {copies}"
        yield Meter("Storage", name, sku, f"{sku} Disk", "1/Month", price)
        yield Meter("Storage", name, sku, f"{sku} Disk Mount", "1/Month", price / 20)


def properties(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    """A disk; one of a fleet of machines is of the usual kind and size."""
    loose = fleet.kind == "azure:disk"
    row["sku"] = {"name": (fleet.type if loose else None) or "Premium_LRS", "tier": "Premium"}
    return {
        "uniqueId": own_id(row, created),
        "timeCreated": written(created),
        "diskState": (fleet.state if loose else None) or "Unattached",
        "diskSizeGB": (fleet.size if loose else None) or 128,
        "diskIOPSReadWrite": 500,
        "diskMBpsReadWrite": 100,
        "maxShares": 1,
        "burstingEnabled": False,
        "provisioningState": "Succeeded",
        "creationData": {"createOption": "Empty", "sourceUri": f"https://lab.blob.core.windows.net/?sig={PLANTED}"},
        "accessSAS": PLANTED,
    }


def _publishes(row: Row) -> bool:
    return bool(row["properties"].get("diskState") == "Attached")


def _uses(row: Row) -> list[Use]:
    sku, _, copies = row["sku"]["name"].partition("_")
    if sku not in _PRODUCTS:
        return []
    letter, name, _ = _PRODUCTS[sku]
    tier = next(number for number, gib in _TIERS.items() if gib >= row["properties"]["diskSizeGB"])
    return [Use(name, f"{letter}{tier} {copies} Disk")]


KINDS = (
    LabKind(
        name="azure:disk",
        azure_type=TYPE,
        properties=properties,
        metrics=(
            LabMetric("Composite Disk Read Bytes/sec", "BytesPerSecond", 0, 8e7),
            LabMetric("Composite Disk Write Bytes/sec", "BytesPerSecond", 1e3, 9e7),
            LabMetric("Composite Disk Read Operations/sec", "CountPerSecond", 0, 5e3),
            LabMetric("Composite Disk Write Operations/sec", "CountPerSecond", 0, 5e3),
        ),
        publishes=_publishes,
        meters=tuple(_meters()),
        uses=_uses,
    ),
)
