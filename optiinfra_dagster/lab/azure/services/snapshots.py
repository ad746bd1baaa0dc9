"""Snapshots of managed disks, whose disks are gone, and images of machines that are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, Row, own_id, written
from optiinfra_dagster.lab.azure.services import disks

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet


def _snapshot(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    base, _, _ = row["id"].partition("/providers/")
    row["sku"] = {"name": fleet.type or "Standard_LRS", "tier": "Standard"}
    return {
        "uniqueId": own_id(row, created),
        "timeCreated": written(created),
        "diskSizeGB": fleet.size or 128,
        "diskState": "Unattached",
        "incremental": True,
        "provisioningState": "Succeeded",
        "creationData": {
            "createOption": "Copy",
            "sourceResourceId": f"{base}/providers/{disks.TYPE}/Gone-{row['name']}",
            "sourceUri": f"https://lab.blob.core.windows.net/?sig={PLANTED}",
        },
    }


def _image(row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    base, _, _ = row["id"].partition("/providers/")
    disk = {"osType": "Linux", "diskSizeGB": fleet.size or 30, "blobUri": f"https://lab/?sig={PLANTED}"}
    return {
        "storageProfile": {"osDisk": disk},
        "sourceVirtualMachine": {"id": f"{base}/providers/Microsoft.Compute/virtualMachines/Gone-{row['name']}"},
    }


KINDS = (
    LabKind(name="azure:snapshot", azure_type="Microsoft.Compute/snapshots", properties=_snapshot),
    LabKind(name="azure:image", azure_type="Microsoft.Compute/images", properties=_image),
)
