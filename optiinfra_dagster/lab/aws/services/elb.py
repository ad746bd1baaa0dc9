"""Load balancers: application, network and gateway ones, and classic ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import (
    FREE,
    PLANTED,
    LabKind,
    LabMetric,
    Row,
    Shown,
    published,
    subnet_of,
    tags_of,
    zone_of,
)
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation, as_list
from optiinfra_dagster.lab.aws.rates import usd_in
from optiinfra_dagster.lab.aws.wire import AwsError, Call

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region


def _classic_load_balancer(resource: LabResource, region: Region) -> Shown:
    """A classic load balancer."""
    place, network = subnet_of(resource, region)
    host = f"{resource.name}-{resource.seed % 10**10}.{resource.region}.elb.amazonaws.com"
    listener = {"Protocol": "HTTP", "LoadBalancerPort": 80, "InstanceProtocol": "HTTP", "InstancePort": 8080}
    return {
        "LoadBalancerName": resource.id,
        "DNSName": host,
        "CanonicalHostedZoneName": host,
        "CanonicalHostedZoneNameID": "Z35SXDOTRQ7X7K",
        "ListenerDescriptions": [{"Listener": listener, "PolicyNames": []}],
        "Policies": {
            "AppCookieStickinessPolicies": [{"PolicyName": "sticky", "CookieName": PLANTED}],
            "LBCookieStickinessPolicies": [],
            "OtherPolicies": [],
        },
        "BackendServerDescriptions": [],
        "AvailabilityZones": [zone_of(resource)],
        "Subnets": [place],
        "VPCId": network,
        "Instances": [{"InstanceId": target.id} for target in region.of("ec2:instance")[:3]],
        "HealthCheck": {
            "Target": "HTTP:8080/health",
            "Interval": 30,
            "Timeout": 5,
            "UnhealthyThreshold": 2,
            "HealthyThreshold": 10,
        },
        "SourceSecurityGroup": {"OwnerAlias": resource.account, "GroupName": "default"},
        "SecurityGroups": ["sg-" + resource.hexid("group")],
        "CreatedTime": resource.created,
        "Scheme": "internet-facing",
    }


def _load_balancer(resource: LabResource, region: Region) -> Shown:
    """An application, network or gateway load balancer."""
    kind = resource.kind.partition(":")[2]
    place, network = subnet_of(resource, region)
    return {
        "LoadBalancerArn": resource.arn,
        "DNSName": f"{resource.name}-{resource.seed % 10**10}.{resource.region}.elb.amazonaws.com",
        "CanonicalHostedZoneId": "Z35SXDOTRQ7X7K",
        "CreatedTime": resource.created,
        "LoadBalancerName": resource.name,
        "Scheme": "internet-facing",
        "VpcId": network,
        "State": {"Code": resource.state or "active"},
        "Type": kind,
        "AvailabilityZones": [{"ZoneName": zone_of(resource), "SubnetId": place, "LoadBalancerAddresses": []}],
        "IpAddressType": "ipv4",
        **({"SecurityGroups": ["sg-" + resource.hexid("group")]} if kind == "application" else {}),
    }


def _id_of(family: str) -> Callable[[str | None, str, LabResource | None], str]:
    return lambda name, digits, _parent: f"{family}/{name}/{digits[:16]}"


def _kind(
    name: str,
    describe: Callable[[LabResource, Region], Shown],
    metrics: tuple[LabMetric, ...],
    *,
    product_family: str,
    usd: str,
    id_family: str = "",
    by_use: str = "",
) -> LabKind:
    """A kind of load balancer: `usd` by the hour, and capacity units by use."""

    def products(resource: LabResource, _shown: Shown) -> Iterator[Row]:
        yield product_family, {}, "LoadBalancerUsage", "Hrs", usd_in(resource.region, usd)
        yield product_family, {}, "TS-LoadBalancerUsage", "Hrs", usd_in(resource.region, "0.0056")  # a trust store
        yield product_family, {}, "ReservedLCUUsage", "LCU-Hrs", usd_in(resource.region, "0.008")
        yield product_family, {}, "LCUUsage", "LCU-Hrs", usd_in(resource.region, "0.008")

    def rate(resource: LabResource, _region: Region) -> tuple[Decimal, Decimal]:
        return usd_in(resource.region, usd), FREE

    return LabKind(
        name=name,
        arn="elasticloadbalancing loadbalancer/{id}",
        describe=describe,
        identify=_id_of(id_family) if id_family else None,
        metrics=metrics,
        price_list="AWSELB",
        products=products,
        bill_service=_BILL_SERVICE,
        rate=rate,
        by_use=(_BILL_SERVICE, by_use) if by_use else None,
    )


_BILL_SERVICE = "Amazon Elastic Load Balancing"

APPLICATION = _kind(
    "elbv2:application",
    _load_balancer,
    published(
        "LoadBalancer", "AWS/ApplicationELB", 60, 1,
        ("TargetResponseTime", "Seconds", 2e-3, 0.9, "wave", 60, 60),  # a sample per request
        ("RequestCount", "Count", 0, 9e3, "count"),
        ("ProcessedBytes", "Bytes", 1e3, 2e8, "count"),
        ("HealthyHostCount", "Count", 1, 9, "level"),
    ),
    product_family="Load Balancer-Application",
    usd="0.0225",
    id_family="app",
    by_use="0.9",
)  # fmt: skip

NETWORK = _kind(
    "elbv2:network",
    _load_balancer,
    published(
        "LoadBalancer", "AWS/NetworkELB", 60, 1,
        ("ProcessedBytes", "Bytes", 1e3, 2e8, "count"),
        ("ActiveFlowCount", "Count", 0, 5e3, "count"),
        ("HealthyHostCount", "Count", 1, 9, "level"),
    ),
    product_family="Load Balancer-Network",
    usd="0.0225",
    id_family="net",
)  # fmt: skip

GATEWAY = _kind(
    "elbv2:gateway",
    _load_balancer,
    published(
        "LoadBalancer", "AWS/GatewayELB", 60, 1,
        ("ProcessedBytes", "Bytes", 1e3, 2e8, "count"),
    ),
    product_family="Load Balancer-Gateway",
    usd="0.0125",
    id_family="gwy",
)  # fmt: skip

CLASSIC = _kind(
    "elb:classic",
    _classic_load_balancer,
    published(
        "LoadBalancerName", "AWS/ELB", 60, 1,
        ("Latency", "Seconds", 2e-3, 0.9, "wave", 60, 60),
        ("EstimatedProcessedBytes", "Bytes", 1e3, 2e8, "count"),
        ("RequestCount", "Count", 0, 9e3, "count"),
        ("HealthyHostCount", "Count", 1, 9, "level"),
    ),
    product_family="Load Balancer",
    usd="0.025",
)  # fmt: skip

KINDS = (APPLICATION, NETWORK, GATEWAY, CLASSIC)

_LISTING = Listing(
    tuple(kind.name for kind in (APPLICATION, NETWORK, GATEWAY)), 1, 400, "LoadBalancerArns", "LoadBalancerNotFound"
)
_CLASSIC_LISTING = Listing(("elb:classic",), 1, 400, "LoadBalancerNames", "LoadBalancerNotFound")


def _tags(listing: Listing, parameter: str, key: str) -> Answer:
    """DescribeTags of what a listing shows, named by `parameter` and `key`."""

    def answer(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
        names = as_list(call.params.get(parameter))
        if not 1 <= len(names) <= 20:  # both API references: 1 to 20 per call
            raise AwsError(400, "ValidationError", f"1 to 20 {parameter} are allowed, not {len(names)}")
        return {"TagDescriptions": [{key: name, "Tags": tags_of(listing.find(call, region, name))} for name in names]}

    return answer


OPERATIONS: Mapping[Operation, Answer] = {
    ("elb", "DescribeLoadBalancers"): _CLASSIC_LISTING,
    ("elbv2", "DescribeLoadBalancers"): _LISTING,
    ("elb", "DescribeTags"): _tags(_CLASSIC_LISTING, "LoadBalancerNames", "LoadBalancerName"),
    ("elbv2", "DescribeTags"): _tags(_LISTING, "ResourceArns", "ResourceArn"),
}
