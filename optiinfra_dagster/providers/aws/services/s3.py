"""S3 buckets. They are charged by what they hold and by requests, which is not estimated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import AwsKind, Listing, Place, daily_rows, dimensions, paged
from optiinfra_dagster.providers.parsing import Item, as_text, name_of

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric

_LARGEST_PAGE = 1000  # without a size, no more than 10,000 buckets are listed, and their regions are left out


def _items(s3: Any) -> Iterator[Item]:
    yield from paged("list_buckets", _LARGEST_PAGE, "Buckets")(s3)


def _bucket(item: Item, place: Place) -> Resource:
    """A bucket. Its CreationDate is left out: it moves when the bucket's policy is edited (S3 API reference)."""
    name = name_of(item, "Name")
    return Resource(
        account_id=place.account_id,
        region=as_text(item.get("BucketRegion")),
        kind=BUCKET.name,
        resource_id=f"arn:{place.partition}:s3:::{name}",
        resource_name=name,
        resource_type=BUCKET.resource_type,
        status=Status.AVAILABLE,
        cloud_status="",  # the API tells no state
    )


def _dimensions(resource: Resource, _metric: Metric, _name: str) -> list[dict[str, str]]:
    return dimensions(BucketName=resource.resource_name)


_SOURCE = "S3 user guide: CloudWatch metrics dimensions, daily storage metrics for buckets"
_REQUESTS = f"{_SOURCE}; metrics of requests only where the customer pays for them, under a filter's name"

# What a bucket holds is told by class of storage, and is the sum of all: what S3 keeps beside objects is not in it.
_CLASSES = (
    "StandardStorage", "IntelligentTieringFAStorage", "IntelligentTieringIAStorage", "IntelligentTieringAAStorage",
    "IntelligentTieringAIAStorage", "IntelligentTieringDAAStorage", "StandardIAStorage", "OneZoneIAStorage",
    "ReducedRedundancyStorage", "GlacierInstantRetrievalStorage", "GlacierStorage", "DeepArchiveStorage",
)  # fmt: skip

BUCKET = AwsKind(
    name="s3:bucket",
    resource_type=ResourceType.OBJECT_STORAGE,
    metrics=(
        *daily_rows(
            "s3:bucket", "AWS/S3", "BucketName", _SOURCE,
            ("storage_used", "disk", "bytes", "BucketSizeBytes"), narrowed_to=f"StorageType={'|'.join(_CLASSES)}",
        ),
        *daily_rows(
            "s3:bucket", "AWS/S3", "BucketName", _SOURCE,
            ("object_count", "traffic", "count", "NumberOfObjects"), narrowed_to="StorageType=AllStorageTypes",
        ),
    ),
    dimensions_of=_dimensions,
    bill_service="Amazon Simple Storage Service",
    tagged_as="s3",
    not_offered={"network_io": _REQUESTS, "response_time": _REQUESTS, "uptime": _SOURCE},
)  # fmt: skip

KINDS = (BUCKET,)
LISTINGS = (
    Listing(
        kind="s3:bucket",
        service="s3",
        id_key="Name",
        actions="s3:ListAllMyBuckets",
        items=_items,
        to_resource=_bucket,
        of_account=True,
    ),
)
