"""EFS file systems."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import FREE, PLANTED, LabKind, Shown, published, tags_of
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region


def _file_system(resource: LabResource, _region: Region) -> Shown:
    """An EFS file system."""
    size = resource.seed % 10**11
    return {
        "OwnerId": resource.account,
        "CreationToken": f"{PLANTED}-{resource.index}",
        "FileSystemId": resource.id,
        "FileSystemArn": resource.arn,
        "CreationTime": resource.created,
        "LifeCycleState": resource.state or "available",
        "Name": resource.name,
        "NumberOfMountTargets": 3,
        "SizeInBytes": {"Value": size, "ValueInIA": 0, "ValueInStandard": size},
        "PerformanceMode": "generalPurpose",
        "Encrypted": True,
        "ThroughputMode": "bursting",
        "Tags": tags_of(resource),
    }


def _rate(resource: LabResource, _region: Region) -> tuple[Decimal, Decimal]:
    return FREE, Decimal("0.30") * (resource.seed % 100)


FILE_SYSTEM = LabKind(
    name="efs:filesystem",
    arn="elasticfilesystem file-system/{id}",
    describe=_file_system,
    id_prefix="fs-",
    named_by_tag=True,
    metrics=published(
        "FileSystemId", "AWS/EFS", 60, 1,
        ("TotalIOBytes", "Bytes", 0, 9e7, "count"),
        ("DataReadIOBytes", "Bytes", 0, 9e7, "count"),
        ("DataWriteIOBytes", "Bytes", 0, 9e7, "count"),
    ),
    bill_service="Amazon Elastic File System",
    rate=_rate,
)  # fmt: skip

KINDS = (FILE_SYSTEM,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("efs", "DescribeFileSystems"): Listing(("efs:filesystem",), 1, 100, "FileSystemId", "FileSystemNotFound"),
}
