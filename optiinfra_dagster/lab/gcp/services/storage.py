"""Cloud Storage: buckets, whose names are the whole world's."""

from __future__ import annotations

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    LabAsset,
    Labels,
    LabKind,
    Shape,
    Shown,
    in_project,
    published,
    seconds,
    varied,
)


def _bucket(asset: LabAsset) -> Shown:
    """A bucket."""
    return {
        "kind": "storage#bucket",
        "id": asset.name,
        "selfLink": f"https://www.googleapis.com/storage/v1/b/{asset.name}",
        "name": asset.name,
        "projectNumber": "1",
        "location": asset.region.upper(),
        "locationType": "region",
        "storageClass": asset.fleet.type or "STANDARD",
        "timeCreated": seconds(asset.created),
        "versioning": {"enabled": True},
        "labels": asset.fleet.tags,
        "acl": [{"entity": SECRET}],
        "lifecycle": {"rule": [{"action": {"type": "Delete"}, "condition": {"age": 365}}]},
        "iamConfiguration": {"publicAccessPrevention": "enforced"},
    }


def _methods(_asset: LabAsset) -> list[Labels]:
    return [Labels({"method": method, "response_code": "OK"}, {}) for method in ("ReadObject", "WriteObject")]


BUCKET = LabKind(
    name="gcp:bucket",
    shapes=(Shape("storage.googleapis.com/Bucket", "storage", "/{name}"),),
    describe=_bucket,
    metrics=published(
        "gcs_bucket", "storage.googleapis.com/",
        ("storage/total_bytes", "GAUGE", "DOUBLE", 1e6, 9e12, varied("storage_class", "REGIONAL", "NEARLINE")),
        ("api/request_count", "DELTA", "INT64", 0, 9e3, _methods),
        ("network/received_bytes_count", "DELTA", "INT64", 1e3, 9e7, _methods),
        ("network/sent_bytes_count", "DELTA", "INT64", 1e3, 9e7, _methods),
    ),
    labels=lambda asset: in_project(asset) | {"bucket_name": asset.name, "location": asset.region},
)  # fmt: skip

KINDS = (BUCKET,)
