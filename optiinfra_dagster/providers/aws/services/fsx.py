"""FSx file systems. Their prices follow from a deployment and a throughput that each sort tells in its own way."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.aws.kind import AwsKind, Listing, Place, metric_rows, paged, status_of
from optiinfra_dagster.providers.parsing import Item, as_datetime, as_labels, as_number, as_text, facts, name_of


def _file_system(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "FileSystemId"), as_text(item.get("Lifecycle"))
    tags = as_labels(item.get("Tags"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=FILE_SYSTEM.name,
        resource_id=place.arn("fsx", f"file-system/{name}", listed=item.get("ResourceARN")),
        resource_name=tags.get("Name") or name,
        resource_type=FILE_SYSTEM.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreationTime")),
        capacity=as_number(item.get("StorageCapacity")),
        unit="GiB",
        tags=tags,
        metadata=facts(
            engine=as_text(item.get("FileSystemType")).lower(),
            engine_version=item.get("FileSystemTypeVersion"),
            storage_type=item.get("StorageType"),
            vpc_id=item.get("VpcId"),
        ),
    )


_SOURCE = "FSx user guides: CloudWatch metrics"

FILE_SYSTEM = AwsKind(
    name="fsx:filesystem",
    resource_type=ResourceType.VOLUME,
    metrics=metric_rows(
        "fsx:filesystem", "AWS/FSx", "FileSystemId", _SOURCE,
        ("disk_read", "disk", "bytes/s", "DataReadBytes", "Sum"),
        ("disk_write", "disk", "bytes/s", "DataWriteBytes", "Sum"),
        ("disk_read_ops", "disk", "ops/s", "DataReadOperations", "Sum"),
        ("disk_write_ops", "disk", "ops/s", "DataWriteOperations", "Sum"),
    ),
    bill_service="Amazon FSx",
    not_offered={"response_time": _SOURCE, "uptime": _SOURCE},
)  # fmt: skip

KINDS = (FILE_SYSTEM,)
LISTINGS = (
    Listing(
        kind="fsx:filesystem",
        service="fsx",
        id_key="FileSystemId",
        actions="fsx:DescribeFileSystems",
        items=paged("describe_file_systems", 100, "FileSystems"),
        to_resource=_file_system,
    ),
)
