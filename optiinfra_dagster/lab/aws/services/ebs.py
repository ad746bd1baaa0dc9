"""EBS volumes: of instances, and attached to nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import (
    FREE,
    LabKind,
    LabMetric,
    Row,
    Shown,
    device_of,
    published,
    runs,
    tags_of,
    zone_of,
)
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation
from optiinfra_dagster.lab.aws.rates import usd_in

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region

# USD in us-east-1 by the month: of a GiB, and of an operation a second.
_GIB_USD = {
    "gp3": "0.08", "gp2": "0.10", "io1": "0.125", "io2": "0.125", "st1": "0.045", "sc1": "0.015", "standard": "0.05",
}  # fmt: skip  # fmt: skip
_IOPS_USD = {"gp3": "0.005", "io1": "0.065", "io2": "0.065"}
_IO2_TIERS = {".tier2": "0.0455", ".tier3": "0.03185"}  # of IOPS beyond 32,000 and beyond 64,000


def _volume(resource: LabResource, region: Region) -> Shown:
    """An EBS volume, attached where an instance owns it."""
    owner = resource.parent
    size = resource.fleet.size or 8 * (1 + resource.seed % 16)
    kind = "gp3" if owner is not None else resource.fleet.type or "gp3"
    attachments = [
        {
            "AttachTime": owner.created + timedelta(seconds=1),
            "Device": device_of(region.children[owner].index(resource)),
            "InstanceId": owner.id,
            "State": "attached",
            "VolumeId": resource.id,
            "DeleteOnTermination": resource is region.children[owner][0],
        }
        for owner in ([owner] if owner is not None else [])
    ]
    return {
        "Attachments": attachments,
        "AvailabilityZone": zone_of(resource),
        "CreateTime": owner.created if owner else resource.created,
        "Encrypted": resource.seed % 3 > 0,
        "Size": size,
        "SnapshotId": "snap-" + resource.hexid("snapshot") if owner else "",
        "State": resource.state or ("in-use" if owner else "available"),
        "VolumeId": resource.id,
        "Iops": 3000 if kind == "gp3" else max(100, 3 * size),
        "Tags": tags_of(resource),
        "VolumeType": kind,
        "MultiAttachEnabled": False,
        **({"Throughput": 125} if kind == "gp3" else {}),
    }


def _as_published(resource: LabResource, metric: LabMetric) -> LabMetric | None:
    """EBS reports on volumes in use only."""
    return metric if resource.parent is not None and runs(resource.parent) else None


def _products(resource: LabResource, shown: Shown) -> Iterator[Row]:
    volume_type = shown["VolumeType"]
    usd = usd_in(resource.region, _GIB_USD[volume_type])
    code, unit = "piops" if volume_type == "io1" else volume_type, "GB-month" if volume_type == "io2" else "GB-Mo"
    yield "Storage", {"volumeApiName": volume_type}, f"EBS:VolumeUsage.{code}", unit, usd
    if volume_type == "gp3":
        usd = usd_in(resource.region, "40.96")
        yield "Provisioned Throughput", {"volumeApiName": "gp3"}, "EBS:VolumeP-Throughput.gp3", "GiBps-mo", usd
    for tier, price in {"": _IOPS_USD.get(volume_type), **(_IO2_TIERS if volume_type == "io2" else {})}.items():
        if price is not None:
            attributes = {"volumeApiName": volume_type, "group": f"EBS IOPS{tier.replace('.tier', ' Tier ')}"}
            usage = f"EBS:VolumeP-IOPS.{code}{tier}"
            yield "System Operation", attributes, usage, "IOPS-Mo", usd_in(resource.region, price)


def _rate(resource: LabResource, region: Region) -> tuple[Decimal, Decimal]:
    shown = _volume(resource, region)
    iops = shown["Iops"] if shown["VolumeType"] in {"io1", "io2"} else 0
    size_usd = usd_in(resource.region, _GIB_USD[shown["VolumeType"]]) * shown["Size"]
    return FREE, size_usd + usd_in(resource.region, _IOPS_USD["io1"]) * iops


VOLUME = LabKind(
    name="ebs:volume",
    arn="ec2 volume/{id}",
    describe=_volume,
    id_prefix="vol-",
    named_by_tag=True,
    metrics=published(
        "VolumeId", "AWS/EBS", 300, 5,
        ("VolumeReadBytes", "Bytes", 0, 8e7, "count"),
        ("VolumeWriteBytes", "Bytes", 1e4, 2e8, "count"),
        ("VolumeReadOps", "Count", 0, 3e3, "count"),
        ("VolumeWriteOps", "Count", 1, 9e3, "count"),
        ("VolumeAvgReadLatency", "Milliseconds", 0.2, 20),
        ("VolumeAvgWriteLatency", "Milliseconds", 0.2, 20),
        ("VolumeQueueLength", "Count", 0, 4),
        ("VolumeIdleTime", "Seconds", 5, 60),
    ),
    as_published=_as_published,
    price_list="AmazonEC2",
    products=_products,
    bill_service="EC2 - Other",
    rate=_rate,
)  # fmt: skip

KINDS = (VOLUME,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("ec2", "DescribeVolumes"): Listing(("ebs:volume",), 5, 1000, "VolumeId", "InvalidVolume.NotFound"),
}
