"""App Service: web and function apps, and plans."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Row, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_NETWORK = (
    LabMetric("BytesReceived", "Bytes", 0, 2e8, "count"),
    LabMetric("BytesSent", "Bytes", 0, 9e8, "count"),
)


def _app(row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    base, _, _ = row["id"].partition("/providers/")
    row["kind"] = "functionapp,linux" if fleet.type == "function" else "app,linux"
    return {
        "state": fleet.state or "Running",
        "sku": "PremiumV3",
        "serverFarmId": f"{base}/providers/Microsoft.Web/serverfarms/Plan-1",
        "siteConfig": {"alwaysOn": True, "appSettings": [{"name": "KEY", "value": PLANTED}]},
        "customDomainVerificationId": PLANTED,
    }


def _plan(row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    row |= {"kind": "linux", "sku": {"name": fleet.type or "P1v3", "tier": "PremiumV3", "capacity": fleet.size or 2}}
    return {"status": fleet.state or "Ready", "numberOfSites": 3}


KINDS = (
    LabKind(
        name="azure:app_service",
        azure_type="Microsoft.Web/sites",
        properties=_app,
        metrics=(
            LabMetric("HttpResponseTime", "Seconds", 0.01, 3),
            LabMetric("Requests", "Count", 0, 9e4, "count"),
            LabMetric("MemoryWorkingSet", "Bytes", 5e7, 2e9, "count"),
            *_NETWORK,
        ),
    ),
    LabKind(
        name="azure:app_service_plan",
        azure_type="Microsoft.Web/serverfarms",
        properties=_plan,
        metrics=(share("CpuPercentage"), share("MemoryPercentage"), *_NETWORK),
    ),
)
