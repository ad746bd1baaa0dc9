"""VPCs, their subnets and their NAT gateways."""

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
from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.parsing import (
    Item,
    addresses,
    as_bool,
    as_datetime,
    as_labels,
    as_number,
    as_text,
    facts,
    name_of,
    network,
    percent,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component


def _vpc(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "VpcId"), as_labels(item.get("Tags")), as_text(item.get("State"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=VPC.name,
        resource_id=place.arn("ec2", f"vpc/{name}", owner=item.get("OwnerId")),
        resource_name=tags.get("Name") or name,
        resource_type=VPC.resource_type,
        status=status_of(state),
        cloud_status=state,
        tags=tags,
        metadata=facts(
            cidr=network(item.get("CidrBlock")),
            is_default=as_bool(item.get("IsDefault")),
            tenancy=item.get("InstanceTenancy"),
        ),
    )


def _subnet(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "SubnetId"), as_labels(item.get("Tags")), as_text(item.get("State"))
    size, free = addresses(item.get("CidrBlock")), as_number(item.get("AvailableIpAddressCount"))
    # AWS keeps five addresses of every subnet for itself (VPC user guide: subnet CIDR blocks).
    usable = None if size is None else max(size - 5.0, 0.0)
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=SUBNET.name,
        resource_id=place.arn("ec2", f"subnet/{name}", owner=item.get("OwnerId"), listed=item.get("SubnetArn")),
        resource_name=tags.get("Name") or name,
        resource_type=SUBNET.resource_type,
        status=status_of(state),
        cloud_status=state,
        capacity=usable,
        unit="addresses",
        utilization=None if usable is None or free is None else percent(usable - free, usable),
        tags=tags,
        metadata=facts(
            cidr=network(item.get("CidrBlock")),
            vpc_id=item.get("VpcId"),
            availability_zone=item.get("AvailabilityZone"),
            is_default=as_bool(item.get("DefaultForAz")),
            public=as_bool(item.get("MapPublicIpOnLaunch")),
        ),
    )


def _nat_gateway(item: Item, place: Place) -> Resource:
    name, tags, state = name_of(item, "NatGatewayId"), as_labels(item.get("Tags")), as_text(item.get("State"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=NAT_GATEWAY.name,
        resource_id=place.arn("ec2", f"natgateway/{name}"),
        resource_name=tags.get("Name") or name,
        resource_type=NAT_GATEWAY.resource_type,
        status=status_of(state),
        cloud_status=state,
        created_at=as_datetime(item.get("CreateTime")),
        tags=tags,
        metadata=facts(
            vpc_id=item.get("VpcId"),
            subnet_id=item.get("SubnetId"),
            connectivity=item.get("ConnectivityType"),
            availability_mode=item.get("AvailabilityMode"),
        ),
    )


def _nat_gateway_parts(resource: Resource) -> Iterator[Component]:
    """The gateway; nothing for one that stands in as many zones as it is used in, and is charged for each."""
    if fact(resource, "availability_mode") != "regional":
        yield part("nat gateway")


# --- The kinds --------------------------------------------------------------------------------------------------------

# Of a VPC CloudWatch has the number of addresses in use, and nothing else.
_OF_VPC = "VPC user guide: CloudWatch metrics for your VPCs (traffic is told by flow logs, which the customer pays for)"
_NOT_OF_VPC = dict.fromkeys(("network_io", "response_time", "uptime"), _OF_VPC)
_OF_NAT = "VPC user guide: NAT gateway metrics and dimensions"

VPC = AwsKind(name="ec2:vpc", resource_type=ResourceType.NETWORK, not_offered=_NOT_OF_VPC)

SUBNET = AwsKind(name="ec2:subnet", resource_type=ResourceType.NETWORK, not_offered=_NOT_OF_VPC)

NAT_GATEWAY = AwsKind(
    name="ec2:nat_gateway",
    resource_type=ResourceType.NETWORK,
    # What comes from and goes to the outside; the VPC's side carries the same bytes
    metrics=metric_rows(
        "ec2:nat_gateway", "AWS/NATGateway", "NatGatewayId", _OF_NAT,
        ("network_in", "network", "bytes/s", "BytesInFromDestination", "Sum"),
        ("network_out", "network", "bytes/s", "BytesOutToDestination", "Sum"),
    ),
    price_parts=_nat_gateway_parts,
    price_queries={
        "nat gateway": lambda: PriceQuery("AmazonEC2", {"productFamily": "NAT Gateway"}, "NatGateway-Hours")
    },
    bill_service=service_names.EC2,
    not_offered={"response_time": _OF_NAT, "uptime": _OF_NAT},
)  # fmt: skip

KINDS = (VPC, SUBNET, NAT_GATEWAY)
LISTINGS = (
    Listing(
        kind="ec2:vpc",
        service="ec2",
        id_key="VpcId",
        actions="ec2:DescribeVpcs",
        items=paged("describe_vpcs", 1000, "Vpcs"),
        to_resource=_vpc,
    ),
    Listing(
        kind="ec2:subnet",
        service="ec2",
        id_key="SubnetId",
        actions="ec2:DescribeSubnets",
        items=paged("describe_subnets", 1000, "Subnets"),
        to_resource=_subnet,
    ),
    Listing(
        kind="ec2:nat_gateway",
        service="ec2",
        id_key="NatGatewayId",
        actions="ec2:DescribeNatGateways",
        items=paged("describe_nat_gateways", 1000, "NatGateways"),
        to_resource=_nat_gateway,
    ),
)
