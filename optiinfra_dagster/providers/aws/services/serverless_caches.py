"""ElastiCache Serverless caches. They are charged by what they hold and do, which is not estimated."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.aws.kind import AwsKind, Listing, Place, made_at, metric_rows, paged, status_of
from optiinfra_dagster.providers.parsing import Item, as_datetime, as_number, as_text, dig, facts, name_of


def _cache(item: Item, place: Place) -> Resource:
    name, state = name_of(item, "ServerlessCacheName"), as_text(item.get("Status"))
    created = as_datetime(item.get("CreateTime"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=CACHE.name,
        resource_id=place.arn("elasticache", f"serverlesscache:{name}", listed=item.get("ARN")),
        resource_name=name,
        resource_type=CACHE.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=created,
        instance_uid=made_at(created),
        metadata=facts(
            engine=item.get("Engine"),
            engine_version=item.get("FullEngineVersion"),
            most_gib=as_number(dig(item, "CacheUsageLimits", "DataStorage", "Maximum")),
            most_ecpu_per_second=as_number(dig(item, "CacheUsageLimits", "ECPUPerSecond", "Maximum")),
        ),
    )


_SOURCE = "ElastiCache user guide: metrics and events for serverless caches"

CACHE = AwsKind(
    name="elasticache:serverless",
    resource_type=ResourceType.DATABASE,
    metrics=(
        *metric_rows(
            "elasticache:serverless", "AWS/ElastiCache", "clusterId", _SOURCE,
            ("memory_used", "memory", "bytes", "BytesUsedForCache", "Average"),
            ("network_in", "network", "bytes/s", "NetworkBytesIn", "Sum"),
            ("network_out", "network", "bytes/s", "NetworkBytesOut", "Sum"),
        ),
        *metric_rows(
            "elasticache:serverless", "AWS/ElastiCache", "clusterId", _SOURCE,
            ("read_latency", "latency", "seconds", "SuccessfulReadRequestLatency", "Average"),
            ("write_latency", "latency", "seconds", "SuccessfulWriteRequestLatency", "Average"), scale=1e-6,
        ),
    ),
    bill_service="Amazon ElastiCache",
    tagged_as="elasticache:serverlesscache",
    not_offered={"cpu": _SOURCE, "disk_io": _SOURCE, "uptime": _SOURCE},
)  # fmt: skip

KINDS = (CACHE,)
LISTINGS = (
    Listing(
        kind="elasticache:serverless",
        service="elasticache",
        id_key="ServerlessCacheName",
        actions="elasticache:DescribeServerlessCaches",
        items=paged("describe_serverless_caches", 100, "ServerlessCaches"),
        to_resource=_cache,
    ),
)
