"""OpenSearch domains: listed by name, and shown five at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import (
    FREE,
    PLANTED,
    Dimensions,
    LabKind,
    LabMetric,
    Row,
    Shown,
    describe,
    published,
)
from optiinfra_dagster.lab.aws.listing import Answer, Operation, as_list, refuse_unknown
from optiinfra_dagster.lab.aws.rates import machine_usd
from optiinfra_dagster.lab.aws.wire import AwsError, Call

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region

_PER_CALL = 5
_VCPU_USD = "0.09"


def _has_volumes(resource: LabResource) -> bool:
    return "i4" not in (resource.fleet.type or "")


def _domain(resource: LabResource, _region: Region) -> Shown:
    volumes = {"EBSEnabled": True, "VolumeType": "gp3", "VolumeSize": 100} if _has_volumes(resource) else {}
    return {
        "DomainId": f"{resource.account}/{resource.id}",
        "DomainName": resource.id,
        "ARN": resource.arn,
        "Created": True,
        "Deleted": False,
        "Processing": False,
        "Endpoints": {"vpc": f"{PLANTED}.es.amazonaws.com"},
        "EngineVersion": "Elasticsearch_7.10" if _is_legacy(resource) else "OpenSearch_2.17",
        "ClusterConfig": {
            "InstanceType": resource.fleet.type or "r6g.large.search",
            "InstanceCount": resource.fleet.size or 2,
            "DedicatedMasterEnabled": False,
            "WarmEnabled": False,
        },
        "EBSOptions": {"EBSEnabled": False, **volumes},
        "AccessPolicies": PLANTED,
        **({"DomainProcessingStatus": resource.state} if resource.state else {}),
    }


def _is_legacy(resource: LabResource) -> bool:
    return resource.fleet.engine == "elasticsearch"


def _as_published(resource: LabResource, metric: LabMetric) -> LabMetric | None:
    if metric.name == "OpenSearchRequests" and _is_legacy(resource):
        return replace(metric, name="ElasticsearchRequests")
    return None if metric.name in {"ReadThroughput", "WriteThroughput"} and not _has_volumes(resource) else metric


def _dimensions_of(resource: LabResource, _metric: LabMetric) -> Dimensions:
    return ("ClientId", resource.account), ("DomainName", resource.id)


def _products(resource: LabResource, shown: Shown) -> Iterator[Row]:
    node = str(shown["ClusterConfig"]["InstanceType"])
    usd = machine_usd(resource.region, node.removesuffix(".search"), of=_VCPU_USD)
    attributes = {"instanceType": node}
    yield "Amazon OpenSearch Service Instance", attributes, f"ESInstance:{node.removesuffix('.search')}", "Hrs", usd


def _rate(resource: LabResource, region: Region) -> tuple[Decimal, Decimal]:
    cluster = _domain(resource, region)["ClusterConfig"]
    node = str(cluster["InstanceType"]).removesuffix(".search")
    return machine_usd(resource.region, node, of=_VCPU_USD) * cluster["InstanceCount"], FREE


DOMAIN = LabKind(
    name="opensearch:domain",
    arn="es domain/{id}",
    describe=_domain,
    metrics=published(
        "DomainName", "AWS/ES", 60, 1,
        ("CPUUtilization", "Percent", 1, 95),
        ("SysMemoryUtilization", "Percent", 40, 99),
        ("ReadThroughput", "Bytes/Second", 0, 9e7),
        ("WriteThroughput", "Bytes/Second", 0, 9e7),
        ("OpenSearchRequests", "Count", 0, 9e3, "count"),
        ("SearchLatency", "Milliseconds", 1, 90),
        ("IndexingLatency", "Milliseconds", 1, 90),
        ("ClusterStatus.red", "Count", 0, 1, "rare"),
    ),
    as_published=_as_published,
    dimensions_of=_dimensions_of,
    tagged_as="es:domain",
    price_list="AmazonES",
    products=_products,
    bill_service="Amazon OpenSearch Service",
    rate=_rate,
)  # fmt: skip


def _names(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    refuse_unknown(call, set())
    return {"DomainNames": [{"DomainName": one.id, "EngineType": "OpenSearch"} for one in region.of(DOMAIN.name)]}


def _domains(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    refuse_unknown(call, {"DomainNames"})
    names = as_list(call.params.get("DomainNames"))
    if len(names) > _PER_CALL:
        raise AwsError(400, "ValidationException", f"Please provide a maximum of {_PER_CALL} domain names to describe.")
    return {"DomainStatusList": [describe(one, region) for one in region.of(DOMAIN.name) if one.id in names]}


KINDS = (DOMAIN,)
OPERATIONS: Mapping[Operation, Answer] = {
    ("opensearch", "ListDomainNames"): _names,
    ("opensearch", "DescribeDomains"): _domains,
}
