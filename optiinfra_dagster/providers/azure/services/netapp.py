"""NetApp Files: volumes. They are not priced: what costs is the pool that they are cut from."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.azure.kind import AzureKind, Facts, MetricRow, Row, not_among, state_word
from optiinfra_dagster.providers.parsing import as_number, facts

_VOLUMES = "Microsoft.NetApp/netAppAccounts/capacityPools/volumes"


def _read(row: Row) -> Facts:
    quota = as_number(row.get("quotaBytes"))
    return Facts(
        word=state_word(row),
        capacity=quota / 2**30 if quota else None,
        unit="GiB",
        metadata=facts(
            volume_type=row.get("serviceLevel"),
            throughput_mb_s=as_number(row.get("throughputMibps")),
        ),
    )


KINDS = (
    AzureKind(
        name="azure:netapp_volume",
        azure_type=_VOLUMES,
        resource_type=ResourceType.VOLUME,
        columns={
            "uid": ("properties.fileSystemId",),
            "quotaBytes": ("properties.usageThreshold",),
            "serviceLevel": ("properties.serviceLevel",),
            "throughputMibps": ("properties.throughputMibps",),
        },
        read=_read,
        metric_rows=(
            MetricRow("disk_read", "disk", "bytes/s", "ReadThroughput", "Average"),
            MetricRow("disk_write", "disk", "bytes/s", "WriteThroughput", "Average"),
            MetricRow("disk_read_ops", "disk", "ops/s", "ReadIops", "Average"),
            MetricRow("disk_write_ops", "disk", "ops/s", "WriteIops", "Average"),
            MetricRow("disk_utilization", "disk", "percent", "VolumeConsumedSizePercentage", "Average"),
            MetricRow("read_latency", "latency", "seconds", "AverageReadLatency", "Average", scale=0.001),
            MetricRow("write_latency", "latency", "seconds", "AverageWriteLatency", "Average", scale=0.001),
        ),
        not_offered=not_among(_VOLUMES, "uptime"),
    ),
)
