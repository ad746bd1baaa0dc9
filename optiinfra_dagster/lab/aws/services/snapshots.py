"""EBS snapshots: of the account itself, and one that is public, which a listing without an owner shows too."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import FREE, PLANTED, LabKind, Shown, tags_of
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation, as_list

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region
    from optiinfra_dagster.lab.aws.wire import Call


def _snapshot(resource: LabResource, _region: Region) -> Shown:
    return {
        "SnapshotId": resource.id,
        "VolumeId": "vol-" + resource.hexid("volume"),
        "State": resource.state or "completed",
        "StartTime": resource.created,
        "Progress": "100%",
        "OwnerId": resource.account,
        "Description": f"{PLANTED} before the upgrade",
        "VolumeSize": resource.fleet.size or 8 * (1 + resource.seed % 16),
        "Encrypted": True,
        "StorageTier": "standard",
        "Tags": tags_of(resource),
    }


def _rate(resource: LabResource, _region: Region) -> tuple[Decimal, Decimal]:
    return FREE, Decimal("0.05") * (resource.seed % 8)


SNAPSHOT = LabKind(
    name="ebs:snapshot",
    arn="ec2 snapshot/{id}",
    describe=_snapshot,
    id_prefix="snap-",
    named_by_tag=True,
    bill_service="EC2 - Other",
    rate=_rate,
)

_OWN = Listing(("ebs:snapshot",), 5, 1000, "SnapshotId", "InvalidSnapshot.NotFound")


def _snapshots(estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    owners = as_list(call.params.pop("Owner", None))
    answer = _OWN(estate, call, region)
    if owners != ["self"]:
        public = {"SnapshotId": "snap-0public", "OwnerId": "000000000000", "State": "completed", "VolumeSize": 8}
        answer["Snapshots"] = [*answer["Snapshots"], public]
    return answer


KINDS = (SNAPSHOT,)
OPERATIONS: Mapping[Operation, Answer] = {("ec2", "DescribeSnapshots"): _snapshots}
