"""MemoryDB clusters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.aws.kind import (
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    fact,
    metric_rows,
    paged,
    part,
    status_of,
)
from optiinfra_dagster.providers.parsing import Item, as_bool, as_dicts, as_number, as_text, facts, name_of

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component


def _cluster(item: Item, place: Place) -> Resource:
    """A cluster. Its listing tells no time of creation, and the number of nodes by shard, if that is asked for."""
    name, state = name_of(item, "Name"), as_text(item.get("Status"))
    nodes = [as_number(shard.get("NumberOfNodes")) for shard in as_dicts(item.get("Shards"))]
    known = [number for number in nodes if number is not None]
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=CLUSTER.name,
        resource_id=place.arn("memorydb", f"cluster/{name}", listed=item.get("ARN")),
        resource_name=name,
        resource_type=CLUSTER.resource_type,
        status=status_of(state),
        cloud_status=state,
        capacity=sum(known) if known and len(known) == len(nodes) else None,
        unit="nodes",
        metadata=facts(
            engine=as_text(item.get("Engine")) or "redis",
            engine_version=item.get("EngineVersion"),
            **{"class": item.get("NodeType")},
            shards=as_number(item.get("NumberOfShards")),
            encrypted=as_bool(item.get("TLSEnabled")),
        ),
    )


def _price_parts(resource: Resource) -> Iterator[Component]:
    """The nodes; what is written is charged by use."""
    if (node := fact(resource, "class")) and resource.capacity:
        yield part(f"{node} memorydb {fact(resource, 'engine')}", resource.capacity)


def _price_query(node: str, engine: str) -> PriceQuery:
    # Valkey is cheaper: only Redis may be what a product without an engine is. Written from the price page alone.
    among = {"engine": (engine.capitalize(), "") if engine == "redis" else (engine.capitalize(),)}
    return PriceQuery("AmazonMemoryDB", {"instanceType": node}, r"NodeUsage:.*", among)


_SOURCE = "MemoryDB developer guide: metrics for MemoryDB"

CLUSTER = AwsKind(
    name="memorydb:cluster",
    resource_type=ResourceType.DATABASE,
    metrics=(
        *metric_rows(
            "memorydb:cluster", "AWS/MemoryDB", "ClusterName", _SOURCE,
            ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
            ("memory_utilization", "memory", "percent", "DatabaseMemoryUsagePercentage", "Average"),
            ("memory_free", "memory", "bytes", "FreeableMemory", "Average"),
            ("network_in", "network", "bytes/s", "NetworkBytesIn", "Sum"),
            ("network_out", "network", "bytes/s", "NetworkBytesOut", "Sum"),
        ),
        *metric_rows(
            "memorydb:cluster", "AWS/MemoryDB", "ClusterName", _SOURCE,
            ("read_latency", "latency", "seconds", "SuccessfulReadRequestLatency", "Average"),
            ("write_latency", "latency", "seconds", "SuccessfulWriteRequestLatency", "Average"), scale=1e-6,
        ),
    ),
    price_parts=_price_parts,
    price_queries={r"(\S+) memorydb (\S+)": _price_query},
    bill_service="Amazon MemoryDB",
    tagged_as="memorydb:cluster",
    not_offered={"disk_io": _SOURCE, "uptime": _SOURCE},
)  # fmt: skip

KINDS = (CLUSTER,)
LISTINGS = (
    Listing(
        kind="memorydb:cluster",
        service="memorydb",
        id_key="Name",
        actions="memorydb:DescribeClusters",
        items=paged("describe_clusters", 100, "Clusters", ShowShardDetails=True),
        to_resource=_cluster,
    ),
)
