"""MemoryDB clusters. Shards and their nodes are shown where they are asked for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import FREE, GIB, PLANTED, LabKind, Row, Shown, published
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation
from optiinfra_dagster.lab.aws.rates import machine_usd

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region
    from optiinfra_dagster.lab.aws.wire import Call

_VCPU_USD = "0.12"


def _cluster(resource: LabResource, _region: Region) -> Shown:
    nodes = resource.fleet.size or 2
    return {
        "Name": resource.id,
        "Description": PLANTED,
        "Status": resource.state or "available",
        "NumberOfShards": 1,
        "Shards": [{"Name": "0001", "Status": "available", "NumberOfNodes": nodes}],
        "NodeType": resource.fleet.type or "db.r7g.large",
        "Engine": resource.fleet.engine or "valkey",
        "EngineVersion": "7.3",
        "TLSEnabled": True,
        "ARN": resource.arn,
    }


def _products(resource: LabResource, shown: Shown) -> Iterator[Row]:
    node, usd = str(shown["NodeType"]), _usd(resource, shown)
    for engine, factor in (("Valkey", Decimal(1)), ("Redis", Decimal("1.4"))):
        yield "Database Instance", {"instanceType": node, "engine": engine}, f"NodeUsage:{node}", "Hrs", usd * factor


def _usd(resource: LabResource, shown: Shown) -> Decimal:
    return machine_usd(resource.region, str(shown["NodeType"]), of=_VCPU_USD)


def _rate(resource: LabResource, region: Region) -> tuple[Decimal, Decimal]:
    shown = _cluster(resource, region)
    return _usd(resource, shown) * (resource.fleet.size or 2), FREE


CLUSTER = LabKind(
    name="memorydb:cluster",
    arn="memorydb cluster/{id}",
    describe=_cluster,
    metrics=published(
        "ClusterName", "AWS/MemoryDB", 60, 1,
        ("CPUUtilization", "Percent", 1, 95),
        ("DatabaseMemoryUsagePercentage", "Percent", 1, 99),
        ("FreeableMemory", "Bytes", 0.2 * GIB, 6 * GIB, "count"),
        ("NetworkBytesIn", "Bytes", 1e3, 9e7, "count"),
        ("NetworkBytesOut", "Bytes", 1e3, 9e7, "count"),
        ("SuccessfulReadRequestLatency", "Microseconds", 20, 900),
        ("SuccessfulWriteRequestLatency", "Microseconds", 20, 900),
    ),
    tagged_as="memorydb:cluster",
    price_list="AmazonMemoryDB",
    products=_products,
    bill_service="Amazon MemoryDB",
    rate=_rate,
)  # fmt: skip

_LISTING = Listing(("memorydb:cluster",), 1, 100, "ClusterName", "ClusterNotFoundFault")


def _clusters(estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    detailed = call.params.pop("ShowShardDetails", False)
    answer = _LISTING(estate, call, region)
    if not detailed:
        for cluster in answer["Clusters"]:
            del cluster["Shards"]
    return answer


KINDS = (CLUSTER,)
OPERATIONS: Mapping[Operation, Answer] = {("memorydb", "DescribeClusters"): _clusters}
