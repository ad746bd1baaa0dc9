"""Load balancers: application, network and gateway ones come from one listing, classic ones from another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import (
    NOBODY,
    AwsKind,
    Listing,
    Place,
    PriceQuery,
    always,
    batches,
    count_of,
    made_at,
    metric_rows,
    paged,
    status_of,
)
from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.parsing import (
    Item,
    as_datetime,
    as_dicts,
    as_labels,
    as_text,
    dig,
    facts,
    name_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric

_TAGS_PER_CALL = 20  # ELB API reference: DescribeTags


def _with_tags(
    items_of: Callable[[Any], Iterator[Item]], id_key: str, parameter: str, answer_key: str
) -> Callable[[Any], Iterator[Item]]:
    """List load balancers with their tags, which are asked for separately, 20 at a time.

    Where tags are refused, the load balancers still come, without tags; the refusal is raised at the end.
    """

    def tags_of(client: Any, ids: Sequence[str]) -> dict[str, Any]:
        from botocore.exceptions import ClientError

        try:
            answer = client.describe_tags(**{parameter: list(ids)})
        except ClientError as error:
            # Deleted since it was listed, and it takes the tags of its 19 neighbours with it.
            if "NotFound" not in error.response["Error"]["Code"]:
                raise
            alone = [] if len(ids) == 1 else ids
            return {key: tags for each in alone for key, tags in tags_of(client, [each]).items()}
        return {as_text(entry.get(answer_key)): entry.get("Tags") for entry in as_dicts(answer.get("TagDescriptions"))}

    def items(client: Any) -> Iterator[Item]:
        from botocore.exceptions import ClientError

        refused: ClientError | None = None
        for batch in batches(items_of(client), _TAGS_PER_CALL):
            tags: dict[str, Any] = {}
            ids = [name for item in batch if (name := as_text(item.get(id_key)))]
            try:
                tags = tags_of(client, ids) if ids and refused is None else {}
            except ClientError as error:
                refused = error
            for item in batch:
                yield {**item, "Tags": tags.get(as_text(item.get(id_key)))}
        if refused is not None:
            raise refused

    return items


_LOAD_BALANCER_TYPES = {"app": "application", "net": "network", "gwy": "gateway"}


def _load_balancer(item: Item, place: Place) -> Resource:
    arn, state = name_of(item, "LoadBalancerArn"), as_text(dig(item, "State", "Code"))
    _, family, name, _ = arn.rsplit("/", 3)  # ...:loadbalancer/app/name/0123456789abcdef
    family = _LOAD_BALANCER_TYPES.get(family) or as_text(item.get("Type")) or family
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=f"elbv2:{family}",
        resource_id=arn,
        resource_name=as_text(item.get("LoadBalancerName")) or name,
        resource_type=ResourceType.LOAD_BALANCER,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreatedTime")),
        tags=as_labels(item.get("Tags")),
        metadata=facts(
            scheme=item.get("Scheme"),
            dns_name=item.get("DNSName"),
            vpc_id=item.get("VpcId"),
            ip_address_type=item.get("IpAddressType"),
            availability_zones=count_of(item.get("AvailabilityZones")),
        ),
    )


def _classic_load_balancer(item: Item, place: Place) -> Resource:
    name, created = name_of(item, "LoadBalancerName"), as_datetime(item.get("CreatedTime"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=CLASSIC.name,
        resource_id=place.arn("elasticloadbalancing", f"loadbalancer/{name}"),
        resource_name=name,
        resource_type=CLASSIC.resource_type,
        status=Status.RUNNING,  # the API tells no state: while it is listed, it takes connections
        cloud_status="",
        created_at=created,
        instance_uid=made_at(created),
        tags=as_labels(item.get("Tags")),
        metadata=facts(
            scheme=item.get("Scheme"),
            dns_name=item.get("DNSName"),
            vpc_id=item.get("VPCId"),
            availability_zones=count_of(item.get("AvailabilityZones")),
            instances=count_of(item.get("Instances")),
        ),
    )


# --- The kinds --------------------------------------------------------------------------------------------------------


def _kind(name: str, *metrics: Metric, price_key: str, product_family: str, has_none_of: str) -> AwsKind:
    """A kind of load balancer. What it is charged by use (capacity units) is not estimated.

    Load balancers have no uptime: HealthyHostCount tells of one target group, and of hosts rather than of time.
    `has_none_of` are the figures that the document of its metrics does not list.
    """
    query = PriceQuery("AWSELB", {"productFamily": product_family}, "LoadBalancerUsage")
    return AwsKind(
        name=name,
        resource_type=ResourceType.LOAD_BALANCER,
        metrics=metrics,
        price_parts=always(price_key),
        price_queries={price_key: lambda: query},
        bill_service=service_names.ELB,
        not_offered=dict.fromkeys(has_none_of.split(), metrics[0].source),
        silent_when_idle=True,  # CloudWatch has no point of a period in which nothing passed
    )


APPLICATION = _kind(
    "elbv2:application",
    *metric_rows(
        "elbv2:application", "AWS/ApplicationELB", "LoadBalancer", "ELB user guide: Application Load Balancer metrics",
        ("response_time", "latency", "seconds", "TargetResponseTime", "Average p50 p95 p99"),
        ("request_rate", "traffic", "requests/s", "RequestCount", "Sum"),
        ("network_total", "network", "bytes/s", "ProcessedBytes", "Sum"),
    ),
    price_key="application load balancer",
    has_none_of="cpu memory uptime",
    product_family="Load Balancer-Application",
)  # fmt: skip

NETWORK = _kind(
    "elbv2:network",
    *metric_rows(
        "elbv2:network", "AWS/NetworkELB", "LoadBalancer", "ELB user guide: Network Load Balancer metrics",
        ("network_total", "network", "bytes/s", "ProcessedBytes", "Sum"),
    ),
    price_key="network load balancer",
    has_none_of="cpu memory response_time uptime",
    product_family="Load Balancer-Network",
)  # fmt: skip

GATEWAY = _kind(
    "elbv2:gateway",
    *metric_rows(
        "elbv2:gateway", "AWS/GatewayELB", "LoadBalancer", "ELB user guide: Gateway Load Balancer metrics",
        ("network_total", "network", "bytes/s", "ProcessedBytes", "Sum"),
    ),
    price_key="gateway load balancer",
    has_none_of="cpu memory response_time uptime",
    product_family="Load Balancer-Gateway",
)  # fmt: skip

CLASSIC = _kind(
    "elb:classic",
    *metric_rows(
        "elb:classic", "AWS/ELB", "LoadBalancerName", "ELB user guide: Classic Load Balancer metrics",
        ("response_time", "latency", "seconds", "Latency", "Average p50 p95 p99"),
        ("request_rate", "traffic", "requests/s", "RequestCount", "Sum"),
        ("network_total", "network", "bytes/s", "EstimatedProcessedBytes", "Sum"),
    ),
    price_key="classic load balancer",
    has_none_of="cpu memory uptime",
    product_family="Load Balancer",
)  # fmt: skip

_ACTIONS = "elasticloadbalancing:DescribeLoadBalancers elasticloadbalancing:DescribeTags"

KINDS = (APPLICATION, NETWORK, GATEWAY, CLASSIC)
LISTINGS = (
    Listing(
        kind="elbv2:load_balancer",
        service="elbv2",
        id_key="LoadBalancerArn",
        actions=_ACTIONS,
        items=_with_tags(
            paged("describe_load_balancers", 400, "LoadBalancers"), "LoadBalancerArn", "ResourceArns", "ResourceArn"
        ),
        to_resource=_load_balancer,
    ),
    Listing(
        kind="elb:classic",
        service="elb",
        id_key="LoadBalancerName",
        actions=_ACTIONS,
        items=_with_tags(
            paged("describe_load_balancers", 400, "LoadBalancerDescriptions"),
            "LoadBalancerName",
            "LoadBalancerNames",
            "LoadBalancerName",
        ),
        to_resource=_classic_load_balancer,
        probes=(lambda elb: elb.describe_tags(LoadBalancerNames=[NOBODY]),),
    ),
)
