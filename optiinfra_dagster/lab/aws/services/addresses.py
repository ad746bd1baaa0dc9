"""Elastic IP addresses: each second one is in use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import FREE, LabKind, Row, Shown, describe, tags_of
from optiinfra_dagster.lab.aws.listing import Answer, Operation, refuse_unknown
from optiinfra_dagster.lab.aws.rates import usd_in

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate, LabResource, Region
    from optiinfra_dagster.lab.aws.wire import Call

_USD = "0.005"  # by the hour, in use or not


def _address(resource: LabResource, _region: Region) -> Shown:
    """An address; one with an even index belongs to a network interface."""
    shown: Shown = {
        "PublicIp": f"203.0.113.{resource.index % 256}",
        "AllocationId": resource.id,
        "Domain": "vpc",
        "Tags": tags_of(resource),
        "PublicIpv4Pool": "amazon",
        "NetworkBorderGroup": resource.region,
    }
    if resource.index % 2 == 0:
        shown["AssociationId"] = "eipassoc-" + resource.hexid("association")
        shown["NetworkInterfaceId"] = "eni-" + resource.hexid("interface")
    return shown


def _addresses(_estate: Estate, call: Call, region: Region) -> dict[str, Any]:
    """All addresses of the region: the operation has no pages."""
    refuse_unknown(call, set())
    return {"Addresses": [describe(resource, region) for resource in region.of("ec2:address")]}


def _products(resource: LabResource, _shown: Shown) -> Iterator[Row]:
    usd = usd_in(resource.region, _USD)
    for use in ("InUse", "Idle"):
        yield "", {"group": "VPCPublicIPv4Address"}, f"PublicIPv4:{use}Address", "Hrs", usd


def _rate(resource: LabResource, _region: Region) -> tuple[Decimal, Decimal]:
    return usd_in(resource.region, _USD), FREE


ADDRESS = LabKind(
    name="ec2:address",
    arn="ec2 elastic-ip/{id}",
    describe=_address,
    id_prefix="eipalloc-",
    named_by_tag=True,
    price_list="AmazonVPC",
    products=_products,
    bill_service="Amazon Virtual Private Cloud",
    rate=_rate,
)

KINDS = (ADDRESS,)
OPERATIONS: Mapping[Operation, Answer] = {("ec2", "DescribeAddresses"): _addresses}
