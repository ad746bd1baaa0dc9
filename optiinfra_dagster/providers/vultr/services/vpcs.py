"""Private networks (VPC). VPC 2.0 (/vpc2) is deprecated and not listed; a NAT gateway needs a call for each VPC."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_text, network
from optiinfra_dagster.providers.vultr.kind import VultrKind, not_offered, resource

_NAME = "vultr:vpc"


def _read(item: Item, account_id: str) -> Resource:
    cidr = f"{as_text(item.get('v4_subnet'))}/{as_text(item.get('v4_subnet_mask'))}"
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.NETWORK,
        status=Status.AVAILABLE,  # the API has no state of it: while it is listed, it can be used
        name=as_text(item.get("description")),  # the portal shows it as the name
        cidr=network(cidr),
    )


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.NETWORK,
        operation="list-vpcs",
        path="vpcs",
        key="vpcs",
        to_resource=_read,
        bill_words=("vpc", "nat"),
        not_offered=not_offered(Figure.NETWORK_IO, Figure.RESPONSE_TIME, Figure.UPTIME),
    ),
)
