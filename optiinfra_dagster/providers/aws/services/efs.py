"""EFS file systems. They are charged by what they hold, which is not estimated."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.aws.kind import AwsKind, Listing, Place, metric_rows, paged, status_of
from optiinfra_dagster.providers.parsing import Item, as_bool, as_datetime, as_labels, as_text, facts, name_of


def _file_system(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "FileSystemId"), as_text(item.get("LifeCycleState"))
    tags = as_labels(item.get("Tags"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=FILE_SYSTEM.name,
        resource_id=place.arn("elasticfilesystem", f"file-system/{name}", listed=item.get("FileSystemArn")),
        resource_name=as_text(item.get("Name")) or tags.get("Name") or name,
        resource_type=FILE_SYSTEM.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreationTime")),
        tags=tags,
        metadata=facts(
            performance_mode=item.get("PerformanceMode"),
            throughput_mode=item.get("ThroughputMode"),
            availability_zone=item.get("AvailabilityZoneName"),
            encrypted=as_bool(item.get("Encrypted")),
        ),
    )


FILE_SYSTEM = AwsKind(
    name="efs:filesystem",
    resource_type=ResourceType.VOLUME,
    metrics=metric_rows(
        "efs:filesystem", "AWS/EFS", "FileSystemId", "EFS user guide: CloudWatch metrics for Amazon EFS",
        ("disk_read", "disk", "bytes/s", "DataReadIOBytes", "Sum"),
        ("disk_write", "disk", "bytes/s", "DataWriteIOBytes", "Sum"),
    ),
    bill_service="Amazon Elastic File System",
    not_offered=dict.fromkeys(("response_time", "uptime"), "EFS user guide: CloudWatch metrics for Amazon EFS"),
)  # fmt: skip

KINDS = (FILE_SYSTEM,)
LISTINGS = (
    Listing(
        kind="efs:filesystem",
        service="efs",
        id_key="FileSystemId",
        actions="elasticfilesystem:DescribeFileSystems",
        items=paged("describe_file_systems", 100, "FileSystems"),
        to_resource=_file_system,
    ),
)
