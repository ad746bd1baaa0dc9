"""Cloud Storage: buckets. What they cost depends on what is in them, which only their metrics tell: no estimate."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, last_part, length, metric_rows
from optiinfra_dagster.providers.parsing import Item, as_bool, as_text, dig, facts


def _read_bucket(data: Item, _place: Place) -> AssetFacts:
    return AssetFacts(
        status=Status.AVAILABLE,  # the API tells no state
        region=as_text(data.get("location")).lower(),  # EUROPE-WEST1, or a multi-region such as US
        labels=data.get("labels"),
        metadata=facts(
            storage_class=data.get("storageClass"),
            location_type=data.get("locationType"),
            versioning=as_bool(dig(data, "versioning", "enabled")),
            lifecycle_rules=length(dig(data, "lifecycle", "rule")),
            autoclass=as_bool(dig(data, "autoclass", "enabled")),
            soft_delete_seconds=as_text(dig(data, "softDeletePolicy", "retentionDurationSeconds")) or None,
            public_access_prevention=dig(data, "iamConfiguration", "publicAccessPrevention"),
        ),
    )


_SOURCE = "Cloud Storage: metrics"

BUCKET = GcpKind(
    name="gcp:bucket",
    resource_type=ResourceType.OBJECT_STORAGE,
    asset_types=("storage.googleapis.com/Bucket",),
    read=_read_bucket,
    collection="storage.googleapis.com",  # a full name has nothing else before the bucket
    series_labels=lambda resource: (last_part(resource.resource_id),),
    # What is stored is measured once a day, and told all day; each class of storage is a series of its own.
    metrics=metric_rows(
        "gcs_bucket", "bucket_name", "storage.googleapis.com/", _SOURCE,
        ("storage_used", "disk", "bytes", "storage/total_bytes", "REDUCE_SUM"),
        ("request_rate", "traffic", "requests/s", "api/request_count", "ALIGN_RATE"),
        ("network_in", "network", "bytes/s", "network/received_bytes_count", "ALIGN_RATE"),
        ("network_out", "network", "bytes/s", "network/sent_bytes_count", "ALIGN_RATE"),
    ),
    not_offered=dict.fromkeys(("response_time", "uptime"), _SOURCE),
    silent_when_idle=True,
)  # fmt: skip

KINDS = (BUCKET,)
