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
    row["sku"] = {"name": fleet.type or "Standard_D4s_v3", "tier": "GeneralPurpose"}
    return {
        "state": fleet.state or "Ready",
        "version": "16",
        "creationDate": written(created),
        "administratorLogin": PLANTED,
        "administratorLoginPassword": PLANTED,
        "storage": {"storageSizeGB": fleet.size or 128, "iops": 500, "autoGrow": "Enabled"},
        "highAvailability": {"mode": "Disabled", "state": "NotEnabled"},
    }


def _compute(service: str, series: str) -> str:
    return f"{service} Flexible Server General Purpose {series} Series Compute"


def server_meters(service: str, storage: str) -> tuple[Meter, ...]:
    """The prices of a service's flexible servers; `storage` is the product that their storage is listed as."""
    compute = (
        Meter(service, _compute(service, series), sku, "vCore", "1 Hour", Decimal(price))
        for series in ("Dsv3", "Ddsv4", "Ddsv5")
        for sku, price in (("vCore", "0.089"), ("2 vCore", "0.178"), ("4 vCore", "0.356"))
    )
    return (*compute, Meter(service, storage, "Storage", "Storage Data Stored", "1 GB/Month", Decimal("0.115")))


def server_uses(service: str, storage: str) -> Callable[[Row], list[Use]]:
    """Make what a service's flexible servers are charged for: storage, and vCores unless they are stopped."""

    def uses(row: Row) -> list[Use]:
        size = _SIZE.fullmatch(row["sku"]["name"])
        if size is None:
            return []
        stored = Use(storage, "Storage Data Stored", row["properties"]["storage"]["storageSizeGB"])
        if row["properties"]["state"] == "Stopped":
            return [stored]
        return [Use(_compute(service, f"{size[1]}{size[3]}v{size[4]}"), "vCore", int(size[2])), stored]

    return uses
