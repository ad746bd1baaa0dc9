"""S3 buckets. Their listing is the storage lab's (`lab/storage/s3.py`), which speaks S3's protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import GIB, Dimensions, LabKind, LabMetric, Shown, published

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region
    from optiinfra_dagster.lab.aws.listing import Answer, Operation


def _bucket(resource: LabResource, _region: Region) -> Shown:
    return {"Name": resource.id, "CreationDate": resource.created, "BucketRegion": resource.region}


def _identify(name: str | None, digits: str, _parent: LabResource | None) -> str:
    """Names are given once in all the world."""
    return f"{name or 'bucket'}-{digits[:8]}"


def _dimensions_of(resource: LabResource, _metric: LabMetric) -> Dimensions:
    return (("BucketName", resource.id),)


BUCKET = LabKind(
    name="s3:bucket",
    arn="s3 {id}",
    describe=_bucket,
    identify=_identify,
    metrics=published(
        "BucketName", "AWS/S3", 86_400, 1,
        ("BucketSizeBytes StorageType=StandardStorage", "Bytes", 1 * GIB, 900 * GIB, "count"),
        ("BucketSizeBytes StorageType=GlacierStorage", "Bytes", 1 * GIB, 900 * GIB, "count"),
        ("NumberOfObjects StorageType=AllStorageTypes", "Count", 10, 9e6, "count"),
    ),
    dimensions_of=_dimensions_of,
    tagged_as="s3",
    by_use=("Amazon Simple Storage Service", "0.6"),
)  # fmt: skip

KINDS = (BUCKET,)
OPERATIONS: Mapping[Operation, Answer] = {}
