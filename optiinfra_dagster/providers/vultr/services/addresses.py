"""Reserved IPs: addresses that stay the customer's while no machine has them.

They have no list price here: neither the API nor Vultr's documents tell one.
"""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_text
from optiinfra_dagster.providers.vultr.kind import VultrKind, address, not_offered, resource, whole_number

_NAME = "vultr:address"


def _read(item: Item, account_id: str) -> Resource:
    attached_to, subnet = as_text(item.get("instance_id")), address(item.get("subnet"))
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.ADDRESS,
        status=Status.IN_USE if attached_to else Status.AVAILABLE,  # the API tells no state
        name=as_text(item.get("label")) or subnet,
        address=subnet,
        prefix_length=whole_number(item.get("subnet_size")),
        ip_version=as_text(item.get("ip_type")),
        attached_to=attached_to,
    )


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.ADDRESS,
        operation="list-reserved-ips",
        path="reserved-ips",
        key="reserved_ips",
        to_resource=_read,
        bill_service="Reserved IP",
        bill_words=("reserved ip",),
        attachable=True,
        not_offered=not_offered(Figure.NETWORK_IO, Figure.UPTIME),
    ),
)
