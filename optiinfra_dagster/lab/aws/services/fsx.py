"""FSx file systems."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import FREE, PLANTED, LabKind, Shown, published, tags_of
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region


def _file_system(resource: LabResource, _region: Region) -> Shown:
    return {
        "OwnerId": resource.account,
        "CreationTime": resource.created,
        "FileSystemId": resource.id,
        "FileSystemType": (resource.fleet.engine or "lustre").upper(),
        "Lifecycle": resource.state or "AVAILABLE",
        "StorageCapacity": resource.fleet.size or 1200,
        "StorageType": "SSD",
        "VpcId": "vpc-" + resource.hexid("vpc"),
        "DNSName": f"{PLANTED}.fsx.{resource.region}.amazonaws.com",
        "ResourceARN": resource.arn,
        "Tags": tags_of(resource),
    }


def _rate(resource: LabResource, _region: Region) -> tuple[Decimal, Decimal]:
    return FREE, Decimal("0.145") * (resource.fleet.size or 1200)


FILE_SYSTEM = LabKind(
    name="fsx:filesystem",
    arn="fsx file-system/{id}",
    describe=_file_system,
    id_prefix="fs-",
    named_by_tag=True,
    metrics=published(
        "FileSystemId", "AWS/FSx", 60, 1,
        ("DataReadBytes", "Bytes", 0, 9e7, "count"),
        ("DataWriteBytes", "Bytes", 0, 9e7, "count"),
        ("DataReadOperations", "Count", 0, 9e4, "count"),
        ("DataWriteOperations", "Count", 0, 9e4, "count"),
    ),
    bill_service="Amazon FSx",
    rate=_rate,
)  # fmt: skip

KINDS = (FILE_SYSTEM,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("fsx", "DescribeFileSystems"): Listing(("fsx:filesystem",), 1, 100, "FileSystemIds", "FileSystemNotFound")
}
