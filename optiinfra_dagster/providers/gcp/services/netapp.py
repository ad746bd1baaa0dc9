"""Google Cloud NetApp Volumes: volumes of storage pools. Pools are what is paid; their price is not modelled."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    by_name_and_location,
    last_part,
    metric_rows,
)
from optiinfra_dagster.providers.parsing import Item, as_number, as_text, as_texts, facts


def _read_volume(data: Item, place: Place) -> AssetFacts:
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        capacity=as_number(data.get("capacityGib")),
        labels=data.get("labels"),
        metadata=facts(
            volume_type=data.get("serviceLevel"),
            pool=last_part(data.get("storagePool")),
            zone=place.zone or data.get("zone"),
            protocol=",".join(sorted(as_texts(data.get("protocols")))),
        ),
    )


_SOURCE = "NetApp Volumes: Cloud Monitoring metrics"
# Latencies are told apart by a label of another name.
_READING, _WRITING = ('metric.labels.method = "read"', 'metric.labels.method = "write"')
_READ, _WRITE = ('metric.labels.type = "read"', 'metric.labels.type = "write"')

VOLUME = GcpKind(
    name="gcp:netapp_volume",
    resource_type=ResourceType.VOLUME,
    asset_types=("netapp.googleapis.com/Volume",),
    read=_read_volume,
    unit="GiB",
    collection="volumes",
    series_labels=by_name_and_location,
    metrics=metric_rows(
        "netapp.googleapis.com/Volume", "name location", "netapp.googleapis.com/volume/", _SOURCE,
        ("disk_read", "disk", "bytes/s", "throughput", "ALIGN_RATE", 1, _READ),
        ("disk_write", "disk", "bytes/s", "throughput", "ALIGN_RATE", 1, _WRITE),
        ("disk_read_ops", "disk", "ops/s", "operation_count", "ALIGN_RATE", 1, _READ),
        ("disk_write_ops", "disk", "ops/s", "operation_count", "ALIGN_RATE", 1, _WRITE),
        ("read_latency", "latency", "seconds", "average_latency", "ALIGN_MEAN", 0.001, _READING),
        ("write_latency", "latency", "seconds", "average_latency", "ALIGN_MEAN", 0.001, _WRITING),
        ("storage_used", "disk", "bytes", "bytes_used", "ALIGN_MEAN"),
    ),
    not_offered={"uptime": _SOURCE},
)  # fmt: skip

KINDS = (VOLUME,)
