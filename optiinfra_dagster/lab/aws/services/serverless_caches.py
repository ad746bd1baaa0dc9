"""ElastiCache Serverless caches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import GIB, LabKind, Shown, published
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region


def _cache(resource: LabResource, _region: Region) -> Shown:
    limits = {"DataStorage": {"Maximum": 10, "Unit": "GB"}, "ECPUPerSecond": {"Maximum": 5000}}
    return {
        "ServerlessCacheName": resource.id,
        "CreateTime": resource.created,
        "Status": resource.state or "available",
        "Engine": resource.fleet.engine or "valkey",
        "FullEngineVersion": "8.0",
        "CacheUsageLimits": limits,
        "ARN": resource.arn,
    }


CACHE = LabKind(
    name="elasticache:serverless",
    arn="elasticache serverlesscache:{id}",
    describe=_cache,
    metrics=published(
        "clusterId", "AWS/ElastiCache", 60, 1,
        ("BytesUsedForCache", "Bytes", 0.1 * GIB, 6 * GIB, "count"),
        ("NetworkBytesIn", "Bytes", 1e3, 9e7, "count"),
        ("NetworkBytesOut", "Bytes", 1e3, 9e7, "count"),
        ("SuccessfulReadRequestLatency", "Microseconds", 20, 900),
        ("SuccessfulWriteRequestLatency", "Microseconds", 20, 900),
        ("ElastiCacheProcessingUnits", "Count", 0, 9e3, "count"),
    ),
    tagged_as="elasticache:serverlesscache",
    by_use=("Amazon ElastiCache", "2.2"),
)  # fmt: skip

KINDS = (CACHE,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("elasticache", "DescribeServerlessCaches"): Listing(("elasticache:serverless",), 1, 100)
}
