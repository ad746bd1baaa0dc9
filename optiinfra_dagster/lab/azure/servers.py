"""Shared by the lab's servers for open-source databases: their rows, metrics, prices and charges."""

from __future__ import annotations

import re
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabMetric, Meter, Row, Use, share, written

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

SERVER_METRICS = (
    share("cpu_percent"),
    share("memory_percent"),
    share("storage_percent"),
    LabMetric("active_connections", "Count", 0, 400, "count"),
    LabMetric("network_bytes_ingress", "Bytes", 1e3, 5e8, "count"),
    LabMetric("network_bytes_egress", "Bytes", 1e3, 9e8, "count"),
)
"""The metrics of every server."""

_SIZE = re.compile(r"Standard_([A-Z])(\d+)([a-z]*)_v(\d)")


def server(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    """A flexible server without a standby."""
    size, gib = fleet.type or "Standard_D4s_v3", fleet.size or 128
    row["sku"] = {"name": size, "tier": "Burstable" if size.startswith("Standard_B") else "GeneralPurpose"}
    return {
        "state": fleet.state or "Ready",
        "version": "16",
        "creationDate": written(created),
        "administratorLogin": PLANTED,
        "administratorLoginPassword": PLANTED,
        "storage": {"storageSizeGB": gib, "iops": 300 + 3 * gib, "autoGrow": "Enabled", "type": "Premium_LRS"},
        "highAvailability": {"mode": "Disabled", "state": "NotEnabled"},
    }


def single_server(row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    """A server of the kind before the flexible ones, which tells no time of its own."""
    row["sku"] = {"name": fleet.type or "GP_Gen5_2", "tier": "GeneralPurpose", "capacity": 2, "family": "Gen5"}
    return {
        "userVisibleState": fleet.state or "Ready",
        "version": "11",
        "administratorLogin": PLANTED,
        "storageProfile": {"storageMB": (fleet.size or 100) * 1024, "storageAutogrow": "Enabled"},
    }


# How the list writes the series of a size: not the same way twice.
_SERIES = {
    "Dsv3": "General Purpose - Dsv3 Series", "Ddsv4": "General Purpose Ddsv4 Series",
    "Ddsv5": "General Purpose - Ddsv5-series", "Dadsv5": "General Purpose Dadsv5 Series",
}  # fmt: skip


def _compute(service: str, series: str) -> str:
    return f"{service} Flexible Server {_SERIES.get(series, series)} Compute"


def server_meters(service: str, storage: str) -> tuple[Meter, ...]:
    """The prices of a service's flexible servers; `storage` is the product that their storage is listed as."""
    compute = (
        Meter(service, _compute(service, series), sku, "vCore", "1 Hour", Decimal(price))
        for series in _SERIES
        for sku, price in (("vCore", "0.089"), ("2 vCore", "0.178"), ("4 vCore", "0.356"))
    )
    return (
        *compute,
        Meter(service, f"{service} Flexible Server Burstable BS Series Compute", "B1MS", "B1ms", "1 Hour",
              Decimal("0.017")),
        Meter(service, f"{service} Single Server General Purpose - Compute Gen5", "vCore", "vCore", "1 Hour",
              Decimal("0.05")),
        Meter(service, storage, "Storage", "Storage Data Stored", "1 GB/Month", Decimal("0.115")),
        Meter(service, f"{service} Single Server Storage", "Storage", "Storage Data Stored", "1 GB/Month",
              Decimal("0.1")),
        Meter(service, f"{service} Flexible Server Backup Storage", "Backup", "Backup Storage LRS Data Stored",
              "1 GB/Month", Decimal("0.095")),
    )  # fmt: skip


def server_uses(service: str, storage: str) -> Callable[[Row], list[Use]]:
    """Make what a service's flexible servers are charged for: storage, and vCores unless they are stopped."""

    def uses(row: Row) -> list[Use]:
        size, burst = _SIZE.fullmatch(row["sku"]["name"]), row["sku"]["name"] == "Standard_B1ms"
        if size is None and not burst:
            return []
        stored = Use(storage, "Storage Data Stored", row["properties"]["storage"]["storageSizeGB"])
        if row["properties"]["state"] == "Stopped":
            return [stored]
        if size is None:
            return [Use(f"{service} Flexible Server Burstable BS Series Compute", "B1ms"), stored]
        return [Use(_compute(service, f"{size[1]}{size[3]}v{size[4]}"), "vCore", int(size[2])), stored]

    return uses
