"""Container Apps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Row, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet


def _app(_row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    container = {"name": "web", "resources": {"cpu": 0.5}, "env": [{"name": "KEY", "value": PLANTED}]}
    return {
        "runningStatus": fleet.state or "Running",
        "workloadProfileName": "Consumption",
        "configuration": {"secrets": [{"name": "key", "value": PLANTED}]},
        "template": {"containers": [container], "scale": {"minReplicas": 1, "maxReplicas": fleet.size or 10}},
    }


KINDS = (
    LabKind(
        name="azure:container_app",
        azure_type="Microsoft.App/containerApps",
        properties=_app,
        metrics=(
            share("CpuPercentage"),
            share("MemoryPercentage"),
            LabMetric("ResponseTime", "MilliSeconds", 1, 900),
            LabMetric("Requests", "Count", 0, 9e4, "count"),
            LabMetric("RxBytes", "Bytes", 0, 2e8, "count"),
            LabMetric("TxBytes", "Bytes", 0, 9e8, "count"),
        ),
    ),
)
