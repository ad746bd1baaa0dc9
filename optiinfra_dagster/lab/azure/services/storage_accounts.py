"""Storage accounts. How much one holds is told once an hour."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Row, written

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet


def _account(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row |= {"kind": "StorageV2", "sku": {"name": fleet.type or "Standard_LRS", "tier": "Standard"}}
    return {
        "statusOfPrimary": fleet.state or "available",
        "creationTime": written(created),
        "accessTier": "Hot",
        "isHnsEnabled": False,
        "keyCreationTime": {"key1": PLANTED},
        "primaryEndpoints": {"blob": f"https://lab.blob.core.windows.net/?sig={PLANTED}"},
    }


KINDS = (
    LabKind(
        name="azure:storage_account",
        azure_type="Microsoft.Storage/storageAccounts",
        properties=_account,
        metrics=(
            LabMetric("UsedCapacity", "Bytes", 1e9, 5e12, "count", grain=3600),
            LabMetric("Transactions", "Count", 0, 9e4, "count"),
            LabMetric("SuccessE2ELatency", "MilliSeconds", 1, 400),
            LabMetric("Ingress", "Bytes", 0, 5e8, "count"),
            LabMetric("Egress", "Bytes", 0, 5e8, "count"),
            LabMetric("Availability", "Percent", 0, 100, "up"),
        ),
    ),
)
