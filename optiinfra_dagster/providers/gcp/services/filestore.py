"""Filestore: file servers. Their price is not modelled."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, by_name_and_location, metric_rows
from optiinfra_dagster.providers.parsing import Item, as_dicts, as_number, as_text, facts


def _read_instance(data: Item, place: Place) -> AssetFacts:
    shares = as_dicts(data.get("fileShares"))
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        capacity=_sum([as_number(share.get("capacityGb")) for share in shares]),
        labels=data.get("labels"),
        metadata=facts(
            volume_type=data.get("tier"), zone=place.zone, shares=len(shares), protocol=data.get("protocol")
        ),
    )


def _sum(sizes: list[float | None]) -> float | None:
    """The sum, if all are known and there are any."""
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


_SOURCE = "Filestore: monitoring instances"

INSTANCE = GcpKind(
    name="gcp:filestore_instance",
    resource_type=ResourceType.VOLUME,
    asset_types=("file.googleapis.com/Instance",),
    read=_read_instance,
    unit="GiB",
    collection="instances",
    series_labels=by_name_and_location,
    metrics=metric_rows(
        "filestore_instance", "instance_name location", "file.googleapis.com/nfs/server/", _SOURCE,
        ("disk_read", "disk", "bytes/s", "read_bytes_count", "ALIGN_RATE"),
        ("disk_write", "disk", "bytes/s", "write_bytes_count", "ALIGN_RATE"),
        ("disk_read_ops", "disk", "ops/s", "read_ops_count", "ALIGN_RATE"),
        ("disk_write_ops", "disk", "ops/s", "write_ops_count", "ALIGN_RATE"),
        ("disk_utilization", "disk", "percent", "used_bytes_percent", "ALIGN_MEAN"),
        ("read_latency", "latency", "seconds", "average_read_latency", "ALIGN_MEAN", 0.001),
        ("write_latency", "latency", "seconds", "average_write_latency", "ALIGN_MEAN", 0.001),
    ),
    not_offered={"uptime": _SOURCE},
)  # fmt: skip

KINDS = (INSTANCE,)
