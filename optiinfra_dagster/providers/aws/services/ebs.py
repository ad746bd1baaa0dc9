"""EBS volumes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import (
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    fact,
    fact_number,
    metric_rows,
    paged,
    part,
    status_of,
)
from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.parsing import (
    Item,
    as_bool,
    as_datetime,
    as_dicts,
    as_labels,
    as_number,
    as_text,
    facts,
    name_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component


def _volume(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "VolumeId"), as_labels(item.get("Tags")), as_text(item.get("State"))
    attached_to = sorted({as_text(each.get("InstanceId")) for each in as_dicts(item.get("Attachments"))} - {""})
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=VOLUME.name,
        resource_id=place.arn("ec2", f"volume/{name}"),
        resource_name=tags.get("Name") or name,
        resource_type=VOLUME.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreateTime")),
        capacity=as_number(item.get("Size")),
        unit="GiB",
        tags=tags,
        metadata=facts(
            volume_type=item.get("VolumeType"),
            iops=as_number(item.get("Iops")),
            throughput_mib_s=as_number(item.get("Throughput")),
            availability_zone=item.get("AvailabilityZone"),
            attached_to=",".join(attached_to),
            encrypted=as_bool(item.get("Encrypted")),
            multi_attach=as_bool(item.get("MultiAttachEnabled")),
            snapshot_id=item.get("SnapshotId"),
        ),
    )


def _unattached(resource: Resource) -> str:
    return "the volume is not attached to an instance" if resource.status is Status.AVAILABLE else ""


# --- Prices -----------------------------------------------------------------------------------------------------------

_INCLUDED = {"gp3 IOPS": 3000, "gp3 MiB/s": 125}  # in the price by GiB
_PROVISIONED = {
    "gp3": {"IOPS": "iops", "MiB/s": "throughput_mib_s"},
    "io1": {"IOPS": "iops"},
    "io2": {"IOPS": "iops"},
}
# The IOPS of io2 beyond these cost less, by usage types of their own: https://aws.amazon.com/ebs/pricing/
_IO2_TIERS = (("io2 IOPS", 0, 32_000), ("io2.tier2 IOPS", 32_000, 64_000), ("io2.tier3 IOPS", 64_000, math.inf))


def _price_parts(resource: Resource) -> Iterator[Component]:
    volume_type = fact(resource, "volume_type")
    provisioned = _PROVISIONED.get(volume_type, {})
    if not volume_type or not resource.capacity or not set(provisioned.values()) <= resource.metadata.keys():
        return  # of what is not known, a part would be left out
    yield part(f"{volume_type} GiB", resource.capacity)
    for unit, name in provisioned.items():
        key, quantity = f"{volume_type} {unit}", fact_number(resource, name)
        if volume_type == "io2":
            for tier, begins, ends in _IO2_TIERS:
                yield part(tier, max(0, min(quantity, ends) - begins))
        else:
            yield part(key, quantity - _INCLUDED.get(key, 0))


def _price_query(volume_type: str, unit: str) -> PriceQuery:
    name, _, _ = volume_type.partition(".")
    if unit == "GiB":
        filters = {"productFamily": "Storage", "volumeApiName": name}
        return PriceQuery("AmazonEC2", filters, r"EBS:VolumeUsage(\.\w+)?")
    family, usage = ("System Operation", "IOPS") if unit == "IOPS" else ("Provisioned Throughput", "Throughput")
    code = "piops" if volume_type == "io1" else volume_type
    filters = {"productFamily": family, "volumeApiName": name}
    return PriceQuery("AmazonEC2", filters, rf"EBS:VolumeP-{usage}\.{re.escape(code)}")


# --- The kind ---------------------------------------------------------------------------------------------------------

_SOURCE = "EBS user guide: CloudWatch metrics for Amazon EBS"

VOLUME = AwsKind(
    name="ebs:volume",
    resource_type=ResourceType.VOLUME,
    metrics=(
        *metric_rows(
            "ebs:volume", "AWS/EBS", "VolumeId", _SOURCE,
            ("disk_read", "disk", "bytes/s", "VolumeReadBytes", "Sum"),
            ("disk_write", "disk", "bytes/s", "VolumeWriteBytes", "Sum"),
            ("disk_read_ops", "disk", "ops/s", "VolumeReadOps", "Sum"),
            ("disk_write_ops", "disk", "ops/s", "VolumeWriteOps", "Sum"),
        ),
        # Of volumes on Nitro instances.
        *metric_rows(
            "ebs:volume", "AWS/EBS", "VolumeId", _SOURCE,
            ("read_latency", "latency", "seconds", "VolumeAvgReadLatency", "Average"),
            ("write_latency", "latency", "seconds", "VolumeAvgWriteLatency", "Average"), scale=1e-3,
        ),
    ),
    why_no_points=_unattached,
    price_parts=_price_parts,
    price_queries={r"(\S+) (GiB|IOPS|MiB/s)": _price_query},
    bill_service=service_names.EC2,
    attachable=True,
    not_offered={"uptime": f"{_SOURCE} (VolumeStalledIOCheck tells of stalled operations)"},
)  # fmt: skip

KINDS = (VOLUME,)
LISTINGS = (
    Listing(
        kind="ebs:volume",
        service="ec2",
        id_key="VolumeId",
        actions="ec2:DescribeVolumes",
        items=paged("describe_volumes", 1000, "Volumes"),
        to_resource=_volume,
    ),
)
