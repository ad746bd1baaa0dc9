"""EBS snapshots of the account itself. They are charged by what each adds to the one before, which no API tells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.aws.kind import AwsKind, Listing, Place, paged, status_of
from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.parsing import (
    Item,
    as_bool,
    as_datetime,
    as_labels,
    as_number,
    as_text,
    facts,
    name_of,
)


def _items(ec2: Any) -> Iterator[Item]:
    """The snapshots of the account itself: without an owner, DescribeSnapshots lists every public one too."""
    yield from paged("describe_snapshots", 1000, "Snapshots", OwnerIds=["self"])(ec2)


def _snapshot(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "SnapshotId"), as_labels(item.get("Tags")), as_text(item.get("State"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=SNAPSHOT.name,
        resource_id=place.arn("ec2", f"snapshot/{name}"),
        resource_name=tags.get("Name") or name,
        resource_type=SNAPSHOT.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("StartTime")),
        capacity=as_number(item.get("VolumeSize")),
        unit="GiB",
        tags=tags,
        metadata=facts(
            snapshot_of=as_text(item.get("VolumeId")) or "an unknown volume",
            tier=item.get("StorageTier"),
            encrypted=as_bool(item.get("Encrypted")),
        ),
    )


SNAPSHOT = AwsKind(
    name="ebs:snapshot",
    resource_type=ResourceType.SNAPSHOT,
    bill_service=service_names.EC2,
)

KINDS = (SNAPSHOT,)
LISTINGS = (
    Listing(
        kind="ebs:snapshot",
        service="ec2",
        id_key="SnapshotId",
        actions="ec2:DescribeSnapshots",
        items=_items,
        to_resource=_snapshot,
    ),
)
