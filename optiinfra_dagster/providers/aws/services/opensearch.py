"""OpenSearch domains, those of Elasticsearch among them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import (
    NOBODY,
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    batches,
    dimensions,
    fact,
    fact_number,
    metric_rows,
    part,
    status_of,
)
from optiinfra_dagster.providers.parsing import (
    Item,
    as_dict,
    as_dicts,
    as_number,
    as_text,
    dig,
    facts,
    name_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component
    from optiinfra_dagster.model.metrics import Metric

_PER_CALL = 5  # OpenSearch Service API reference: DescribeDomains


def _items(opensearch: Any) -> Iterator[Item]:
    """ListDomainNames has no pages."""
    names = (as_text(one.get("DomainName")) for one in as_dicts(opensearch.list_domain_names().get("DomainNames")))
    for some in batches(filter(None, names), _PER_CALL):
        yield from as_dicts(opensearch.describe_domains(DomainNames=some).get("DomainStatusList"))


def _state(item: Item) -> str:
    """The word of newer answers; older ones tell the same by three switches."""
    if state := as_text(item.get("DomainProcessingStatus")):
        return state
    if item.get("Deleted"):
        return "Deleting"
    return "Modifying" if item.get("Processing") else "Active" if item.get("Created") else "Creating"


def _domain(item: Item, place: Place) -> Resource:
    name, state, cluster = name_of(item, "DomainName"), _state(item), as_dict(item, "ClusterConfig")
    volumes = as_dict(item, "EBSOptions")
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=DOMAIN.name,
        resource_id=place.arn("es", f"domain/{name}", listed=item.get("ARN")),
        resource_name=name,
        resource_type=DOMAIN.resource_type,
        status=status_of(state),
        cloud_status=state,
        capacity=as_number(cluster.get("InstanceCount")),
        unit="nodes",
        metadata=facts(
            engine="opensearch",
            engine_version=item.get("EngineVersion"),
            **{"class": cluster.get("InstanceType")},
            masters=as_number(cluster.get("DedicatedMasterCount")) if cluster.get("DedicatedMasterEnabled") else None,
            master_class=cluster.get("DedicatedMasterType") if cluster.get("DedicatedMasterEnabled") else None,
            warm=bool(cluster.get("WarmEnabled")) or None,
            storage_type=volumes.get("VolumeType"),
            storage_gib=as_number(volumes.get("VolumeSize")),
            vpc_id=dig(item, "VPCOptions", "VPCId"),
        ),
    )


def _dimensions(resource: Resource, _metric: Metric, name: str) -> list[dict[str, str]]:
    return dimensions(DomainName=name, ClientId=resource.account_id)


def _published_as(resource: Resource, metric: Metric) -> Metric:
    """The metric under the name that the engine has for it (developer guide: rename, summary of changes)."""
    legacy = fact(resource, "engine_version").startswith("Elasticsearch")
    renamed = legacy and metric.api_metric == "OpenSearchRequests"
    return replace(metric, api_metric="ElasticsearchRequests") if renamed else metric


def _price_parts(resource: Resource) -> Iterator[Component]:
    """Nothing for a domain with parts whose price is not known here: volumes, and nodes for rarely used data."""
    node, masters = fact(resource, "class"), fact_number(resource, "masters")
    unknown = resource.metadata.get("warm") or fact(resource, "storage_type") or resource.status is Status.STOPPED
    if node and resource.capacity and not unknown:
        yield part(f"{node} opensearch", resource.capacity)
        if masters:
            yield part(f"{fact(resource, 'master_class')} opensearch", masters)


def _price_query(node: str) -> PriceQuery:
    return PriceQuery("AmazonES", {"instanceType": node}, r"ESInstance:.*")


_SOURCE = "OpenSearch Service developer guide: cluster metrics"

DOMAIN = AwsKind(
    name="opensearch:domain",
    resource_type=ResourceType.DATABASE,
    metrics=(
        *metric_rows(
            "opensearch:domain", "AWS/ES", "DomainName", _SOURCE,
            ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
            ("memory_utilization", "memory", "percent", "SysMemoryUtilization", "Average"),
            ("disk_read", "disk", "bytes/s", "ReadThroughput", "Average", "volumes"),
            ("disk_write", "disk", "bytes/s", "WriteThroughput", "Average", "volumes"),
            ("request_rate", "traffic", "requests/s", "OpenSearchRequests", "Sum"),
        ),
        *metric_rows(
            "opensearch:domain", "AWS/ES", "DomainName", _SOURCE,
            ("read_latency", "latency", "seconds", "SearchLatency", "Average"),
            ("write_latency", "latency", "seconds", "IndexingLatency", "Average"), scale=1e-3,
        ),
        # 1 while part of the data cannot be reached.
        *metric_rows(
            "opensearch:domain", "AWS/ES", "DomainName", _SOURCE,
            ("uptime", "uptime", "percent", "ClusterStatus.red", "Average"), scale=-100, offset=100,
        ),
    ),
    conditions={
        "volumes": lambda resource: "" if fact(resource, "storage_type") else "its nodes have disks and no volumes"
    },
    dimensions_of=_dimensions,
    published_as=_published_as,
    price_parts=_price_parts,
    price_queries={r"(\S+\.search) opensearch": _price_query},
    bill_service="Amazon OpenSearch Service",
    tagged_as="es:domain",
    not_offered={"network_io": _SOURCE},
)  # fmt: skip

KINDS = (DOMAIN,)
LISTINGS = (
    Listing(
        kind="opensearch:domain",
        service="opensearch",
        id_key="DomainName",
        actions="es:ListDomainNames es:DescribeDomains",
        items=_items,
        to_resource=_domain,
        probes=(lambda opensearch: opensearch.describe_domains(DomainNames=[NOBODY]),),
    ),
)
