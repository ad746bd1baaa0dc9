"""NetApp Files: volumes, each in the same pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Row, own_id, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet


def _volume(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    return {
        "fileSystemId": own_id(row, created),
        "usageThreshold": (fleet.size or 100) * 2**30,
        "serviceLevel": fleet.type or "Premium",
        "throughputMibps": 64.0,
        "mountTargets": [{"smbServerFqdn": PLANTED}],
    }


KINDS = (
    LabKind(
        name="azure:netapp_volume",
        azure_type="Microsoft.NetApp/netAppAccounts/capacityPools/volumes",
        properties=_volume,
        metrics=(
            LabMetric("ReadThroughput", "BytesPerSecond", 0, 6e7),
            LabMetric("WriteThroughput", "BytesPerSecond", 0, 6e7),
            LabMetric("ReadIops", "CountPerSecond", 0, 4e3),
            LabMetric("WriteIops", "CountPerSecond", 0, 4e3),
            share("VolumeConsumedSizePercentage"),
            LabMetric("AverageReadLatency", "MilliSeconds", 0.2, 20),
            LabMetric("AverageWriteLatency", "MilliSeconds", 0.2, 20),
        ),
    ),
)
