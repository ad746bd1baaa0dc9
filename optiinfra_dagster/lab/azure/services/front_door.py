"""Front Door, as profiles of today and in its classic form. It is in no region."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Row, own_id, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_METRICS = (
    LabMetric("TotalLatency", "MilliSeconds", 5, 1500),
    LabMetric("RequestCount", "Count", 0, 9e4, "count"),
    LabMetric("RequestSize", "Bytes", 0, 4e8, "count"),
    LabMetric("ResponseSize", "Bytes", 0, 9e9, "count"),
)


def _profile(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row |= {"location": "Global", "sku": {"name": fleet.type or "Premium_AzureFrontDoor"}}
    return {
        "resourceState": fleet.state or "Active",
        "frontDoorId": own_id(row, created),
        "logScrubbing": {"scrubbingRules": [PLANTED]},
    }


def _classic(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["location"] = "Global"
    return {
        "resourceState": "Enabled",
        "enabledState": fleet.state or "Enabled",
        "frontdoorId": own_id(row, created),
        "backendPoolsSettings": {"key": PLANTED},
    }


KINDS = (
    LabKind(
        name="azure:front_door",
        azure_type="Microsoft.Cdn/profiles",
        properties=_profile,
        metrics=(*_METRICS, share("OriginHealthPercentage")),
    ),
    LabKind(
        name="azure:front_door_classic",
        azure_type="Microsoft.Network/frontDoors",
        properties=_classic,
        metrics=(*_METRICS, share("BackendHealthPercentage")),
    ),
)
