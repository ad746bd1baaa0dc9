"""VPCs, their subnets and NAT gateways."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.kind import FREE, ZONES, LabKind, Row, Shown, address_of, published, subnet_of, tags_of
from optiinfra_dagster.lab.aws.listing import Answer, Listing, Operation
from optiinfra_dagster.lab.aws.rates import usd_in

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource, Region

_NAT_USD = "0.045"  # by the hour, and by the GB


def _vpc(resource: LabResource, _region: Region) -> Shown:
    """A VPC."""
    block = f"10.{resource.index % 64}.0.0/16"
    return {
        "OwnerId": resource.account,
        "InstanceTenancy": "default",
        "CidrBlockAssociationSet": [
            {
                "AssociationId": "vpc-cidr-assoc-" + resource.hexid("cidr"),
                "CidrBlock": block,
                "CidrBlockState": {"State": "associated"},
            }
        ],
        "IsDefault": resource.index == 0,
        "Tags": tags_of(resource),
        "VpcId": resource.id,
        "State": resource.state or "available",
        "CidrBlock": block,
        "DhcpOptionsId": "dopt-" + resource.hexid("dhcp"),
    }


def _subnet(resource: LabResource, _region: Region) -> Shown:
    """A subnet of a VPC."""
    network = resource.parent or resource
    return {
        "AvailabilityZoneId": f"use1-az{1 + resource.index % 6}",
        "MapCustomerOwnedIpOnLaunch": False,
        "OwnerId": resource.account,
        "AssignIpv6AddressOnCreation": False,
        "Ipv6CidrBlockAssociationSet": [],
        "Tags": tags_of(resource),
        "SubnetArn": resource.arn,
        "EnableDns64": False,
        "Ipv6Native": False,
        "SubnetId": resource.id,
        "State": resource.state or "available",
        "VpcId": network.id,
        "CidrBlock": f"10.{network.index % 64}.{16 * (resource.index % 16)}.0/20",
        "AvailableIpAddressCount": 4091 - resource.seed % 400,
        "AvailabilityZone": resource.region + ZONES[resource.index % len(ZONES)],
        "DefaultForAz": network.index == 0,
        "MapPublicIpOnLaunch": network.index == 0,
    }


def _nat_gateway(resource: LabResource, region: Region) -> Shown:
    """A NAT gateway with its address."""
    place, network = subnet_of(resource, region)
    return {
        "CreateTime": resource.created,
        "NatGatewayAddresses": [
            {
                "AllocationId": "eipalloc-" + resource.hexid("address"),
                "NetworkInterfaceId": "eni-" + resource.hexid("interface"),
                "PrivateIp": address_of(resource),
                "PublicIp": f"198.51.100.{resource.index % 256}",
                "IsPrimary": True,
                "Status": "succeeded",
            }
        ],
        "NatGatewayId": resource.id,
        "State": resource.state or "available",
        "SubnetId": place,
        "VpcId": network,
        "Tags": tags_of(resource),
        "ConnectivityType": "public",
    }


def _nat_products(resource: LabResource, _shown: Shown) -> Iterator[Row]:
    usd = usd_in(resource.region, _NAT_USD)
    yield "NAT Gateway", {"group": "NGW:NatGateway"}, "NatGateway-Hours", "Hrs", usd
    yield "NAT Gateway", {"group": "NGW:RegionalNatGateway"}, "RegionalNatGateway-Hours", "Hrs", usd * Decimal("0.9")
    yield "NAT Gateway", {"group": "NGW:NatGateway"}, "NatGateway-Bytes", "GB", usd


def _nat_rate(resource: LabResource, _region: Region) -> tuple[Decimal, Decimal]:
    return usd_in(resource.region, _NAT_USD), FREE


VPC = LabKind(
    name="ec2:vpc",
    arn="ec2 vpc/{id}",
    describe=_vpc,
    id_prefix="vpc-",
    named_by_tag=True,
    children=(("ec2:subnet", lambda fleet: fleet.subnets),),
)

SUBNET = LabKind(
    name="ec2:subnet", arn="ec2 subnet/{id}", describe=_subnet, id_prefix="subnet-", named_by_tag=True, in_fleets=False
)

NAT_GATEWAY = LabKind(
    name="ec2:nat_gateway",
    arn="ec2 natgateway/{id}",
    describe=_nat_gateway,
    id_prefix="nat-",
    named_by_tag=True,
    metrics=published(
        "NatGatewayId", "AWS/NATGateway", 60, 1,
        ("BytesInFromSource", "Bytes", 1e3, 2e8, "count"),
        ("BytesInFromDestination", "Bytes", 1e3, 2e8, "count"),
        ("BytesOutToDestination", "Bytes", 1e3, 2e8, "count"),
    ),
    price_list="AmazonEC2",
    products=_nat_products,
    bill_service="EC2 - Other",
    rate=_nat_rate,
)  # fmt: skip

KINDS = (VPC, SUBNET, NAT_GATEWAY)
OPERATIONS: Mapping[Operation, Answer] = {
    ("ec2", "DescribeVpcs"): Listing(("ec2:vpc",), 5, 1000, "VpcId", "InvalidVpcID.NotFound"),
    ("ec2", "DescribeSubnets"): Listing(("ec2:subnet",), 5, 1000, "SubnetId", "InvalidSubnetID.NotFound"),
    ("ec2", "DescribeNatGateways"): Listing(("ec2:nat_gateway",), 5, 1000, "NatGatewayId", "NatGatewayNotFound"),
}
