"""Virtual machines with their disks, and scale sets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import (
    PLANTED,
    LabKind,
    LabMetric,
    Meter,
    Row,
    Use,
    bare_row,
    own_id,
    share,
    written,
)
from optiinfra_dagster.lab.azure.services import disks
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

VIRTUAL_MACHINES = "Virtual Machines"
"""The service and, for `Use`, the product of machines, whose meters are sizes."""

INTERFACE = "Microsoft.Network/networkInterfaces"
"""The type of what has a machine's addresses: no resource of a kind that is collected."""

_GIB = 1024.0**3
_METRICS = (
    share("Percentage CPU"),
    share("Available Memory Percentage"),
    LabMetric("Available Memory Bytes", "Bytes", 0.2 * _GIB, 14 * _GIB, "count"),
    LabMetric("Disk Read Bytes", "Bytes", 0, 8e8, "count"),
    LabMetric("Disk Write Bytes", "Bytes", 1e4, 2e9, "count"),
    LabMetric("Disk Read Operations/Sec", "CountPerSecond", 0, 3e3),
    LabMetric("Disk Write Operations/Sec", "CountPerSecond", 0, 9e3),
    LabMetric("Network In Total", "Bytes", 1e4, 3e9, "count"),
    LabMetric("Network Out Total", "Bytes", 1e4, 5e9, "count"),
    LabMetric("Network In", "Bytes", 1e4, 3e9, "count"),
    LabMetric("Network Out", "Bytes", 1e4, 5e9, "count"),
    LabMetric("VmAvailabilityMetric", "Count", 0, 1, "up"),
)


def machine_price(size: str) -> Decimal:
    """The price in USD of a machine of a size for an hour with Linux: so much for each of its virtual CPUs."""
    number = re.search(r"\d+", size)
    return Decimal(number[0] if number else 1) * Decimal("0.048")


def machine_meters(size: str) -> Iterator[Meter]:
    """The prices of machines of a size: both systems, spot and low priority, and a reservation."""
    name = size.removeprefix("Standard_").replace("_", " ")
    series = re.sub(r"\d+", "", name.split(" ")[0]) + (name.split(" ")[1] if " " in name else "")
    product = f"{VIRTUAL_MACHINES} {series} Series"
    for system, factor in (("", Decimal(1)), (" Windows", Decimal("1.92"))):
        for suffix, part in (("", Decimal(1)), (" Spot", Decimal("0.2")), (" Low Priority", Decimal("0.25"))):
            price, sku = machine_price(size) * factor * part, name + suffix
            yield Meter(VIRTUAL_MACHINES, f"{product}{system}", sku, sku, "1 Hour", price, arm_sku=size)
    price = machine_price(size) * 8760 * Decimal("0.6")
    yield Meter(VIRTUAL_MACHINES, product, name, name, "1 Hour", price, arm_sku=size, type="Reservation")


def _machine(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    state = fleet.state or "running"
    return {
        "vmId": own_id(row, created),
        "timeCreated": written(created),
        "hardwareProfile": {"vmSize": fleet.type or "Standard_D2s_v5"},
        "extended": {"instanceView": {"powerState": {"code": f"PowerState/{state}", "displayStatus": f"VM {state}"}}},
        "storageProfile": {
            "osDisk": {"osType": "Linux", "diskSizeGB": 30},
            "imageReference": {"publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server"},
        },
        "osProfile": {"adminUsername": PLANTED, "adminPassword": PLANTED, "customData": PLANTED},
        "userData": PLANTED,
        "priority": "Regular",
    }


def _attached(row: Row, fleet: AzureFleet, created: datetime) -> Iterator[Row]:
    yield from _interfaces(row, fleet)
    yield _loose_interface(row, fleet)
    base, _, _ = row["id"].partition("/providers/")
    for n in range(fleet.disks):
        name = f"{row['name']}_{'OsDisk' if n == 0 else 'DataDisk'}_{n}"
        disk = bare_row(f"{base}/providers/{disks.TYPE}/{name}", disks.TYPE)
        disk |= {"location": fleet.region, "tags": row["tags"], "managedBy": row["id"]}
        yield disk | {"properties": disks.properties(disk, fleet, created) | {"diskState": "Attached"}}


def _interfaces(row: Row, fleet: AzureFleet) -> Iterator[Row]:
    """Two interfaces of a machine, the second of which is its primary one and has two addresses."""
    base, _, _ = row["id"].partition("/providers/")
    for n, is_primary in enumerate((False, True)):
        nic = bare_row(f"{base}/providers/{INTERFACE}/{row['name']}-nic-{n}", INTERFACE, location=fleet.region)
        seed = digest(row["id"], "address", n)
        addresses = [f"10.{seed % 200}.{seed // 200 % 250}.{seed // 50_000 % 250 + 1 + extra}" for extra in range(2)]
        yield nic | {
            "properties": {
                "primary": is_primary,
                "virtualMachine": {"id": row["id"].upper()},  # services write ids in any case
                "ipConfigurations": [
                    {"name": PLANTED, "properties": {"privateIPAddress": address, "primary": address == addresses[0]}}
                    for address in addresses
                ],
            }
        }


def _loose_interface(row: Row, fleet: AzureFleet) -> Row:
    """The interface of a private endpoint, which is of no machine."""
    base, _, _ = row["id"].partition("/providers/")
    nic = bare_row(f"{base}/providers/{INTERFACE}/{row['name']}-endpoint", INTERFACE, location=fleet.region)
    return nic | {"properties": {"ipConfigurations": [{"properties": {"privateIPAddress": "10.254.0.4"}}]}}


def _scale_set(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "Standard_D2s_v5", "tier": "Standard", "capacity": fleet.size or 2}
    settings = {"commandToExecute": PLANTED}
    profile = {
        "osProfile": {"adminPassword": PLANTED, "customData": PLANTED},
        "storageProfile": {"osDisk": {"osType": "Linux"}},
        "extensionProfile": {"extensions": [{"properties": {"protectedSettings": settings, "settings": settings}}]},
    }
    return {
        "uniqueId": own_id(row, created),
        "timeCreated": written(created),
        "orchestrationMode": "Uniform",
        "virtualMachineProfile": profile,
    }


def _machine_uses(row: Row) -> list[Use]:
    properties = row["properties"]
    if properties["extended"]["instanceView"]["powerState"]["code"] == "PowerState/deallocated":
        return []
    return [Use(VIRTUAL_MACHINES, properties["hardwareProfile"]["vmSize"])]


def _scale_set_uses(row: Row) -> list[Use]:
    return [Use(VIRTUAL_MACHINES, row["sku"]["name"], row["sku"]["capacity"])]


KINDS = (
    LabKind(
        name="azure:vm",
        azure_type="Microsoft.Compute/virtualMachines",
        properties=_machine,
        children=_attached,
        metrics=_METRICS,
        uses=_machine_uses,
        has_traffic=True,
    ),
    LabKind(
        name="azure:vmss",
        azure_type="Microsoft.Compute/virtualMachineScaleSets",
        properties=_scale_set,
        metrics=_METRICS,
        uses=_scale_set_uses,
    ),
)
