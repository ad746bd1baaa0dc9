"""Elastic IP addresses: each costs the same by the hour, in use or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.aws.kind import AwsKind, Listing, Place, PriceQuery, always
from optiinfra_dagster.providers.parsing import Item, as_dicts, as_labels, as_text, facts, name_of


def _addresses(ec2: Any) -> Iterator[Item]:
    """All addresses of a region: DescribeAddresses has no pages (EC2 API reference)."""
    yield from as_dicts(ec2.describe_addresses().get("Addresses"))


def _address(item: Item, place: Place) -> Resource:
    name, tags = as_text(item.get("AllocationId")) or name_of(item, "PublicIp"), as_labels(item.get("Tags"))
    attached_to = as_text(item.get("InstanceId")) or as_text(item.get("NetworkInterfaceId"))
    return Resource(
        account_id=place.account_id,
        region=place.region,
        kind=ADDRESS.name,
        resource_id=place.arn("ec2", f"elastic-ip/{name}"),
        resource_name=tags.get("Name") or as_text(item.get("PublicIp")) or name,
        resource_type=ADDRESS.resource_type,
        status=Status.IN_USE if attached_to or item.get("AssociationId") else Status.AVAILABLE,
        cloud_status="",  # the API tells no state
        tags=tags,
        metadata=facts(attached_to=attached_to, pool=item.get("PublicIpv4Pool")),
    )


ADDRESS = AwsKind(
    name="ec2:address",
    resource_type=ResourceType.ADDRESS,
    price_parts=always("public address"),
    price_queries={
        "public address": lambda: PriceQuery("AmazonVPC", {"group": "VPCPublicIPv4Address"}, "PublicIPv4:InUseAddress")
    },
    bill_service="Amazon Virtual Private Cloud",
    attachable=True,
    not_offered=dict.fromkeys(
        ("network_io", "uptime"), "CloudWatch user guide: AWS services that publish CloudWatch metrics"
    ),
)

KINDS = (ADDRESS,)
LISTINGS = (
    Listing(
        kind="ec2:address",
        service="ec2",
        id_key="AllocationId",
        actions="ec2:DescribeAddresses",
        items=_addresses,
        to_resource=_address,
    ),
)
