"""Synapse Analytics: dedicated SQL pools, each in the same workspace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, Row, share, written

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet


def _pool(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "DW100c", "capacity": 0}
    return {"status": fleet.state or "Online", "creationDate": written(created), "storageKey": PLANTED}


KINDS = (
    LabKind(
        name="azure:synapse_pool",
        azure_type="Microsoft.Synapse/workspaces/sqlPools",
        properties=_pool,
        metrics=(share("CPUPercent"), share("MemoryUsedPercent")),
    ),
)
