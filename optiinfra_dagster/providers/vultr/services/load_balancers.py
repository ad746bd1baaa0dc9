"""Load balancers, priced by their nodes."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_bool, as_dict, as_text
from optiinfra_dagster.providers.vultr.kind import (
    LABELS,
    VultrKind,
    address,
    as_list,
    hourly_price,
    leading_number,
    not_offered,
    price_part,
    resource,
    status_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component

_NAME = "vultr:load_balancer"
_NODE = "load balancer node"
_NODE_MONTHLY = Decimal(10)  # USD: the invoice in Vultr's OpenAPI document, 720 hours of 0.0149 for 10


def _read(item: Item, account_id: str) -> Resource:
    state, settings, check = as_text(item.get("status")), as_dict(item, "generic_info"), as_dict(item, "health_check")
    rules = as_list(item, "forwarding_rules") or as_list(item, "forward_rules")
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.LOAD_BALANCER,
        state=state,
        status=status_of(state, active=Status.RUNNING),
        capacity=leading_number(item.get("nodes")),
        unit="nodes",
        main_ip=address(item.get("ipv4")),
        v6_main_ip=address(item.get("ipv6")),
        algorithm=as_text(settings.get("balancing_algorithm")),
        vpc_id=as_text(settings.get("vpc")) or as_text(settings.get("private_network")),
        ssl=as_bool(item.get("has_ssl")),
        health_check=":".join(filter(None, (as_text(check.get("protocol")), as_text(check.get("port"))))),
        forwarding_rules=len(rules),
        instances=len(as_list(item, "instances")),
    )


def _price_parts(resource: Resource) -> Iterator[Component]:
    if resource.capacity:
        yield price_part(_NODE, resource.capacity)


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.LOAD_BALANCER,
        operation="list-load-balancers",
        path="load-balancers",
        key="load_balancers",
        permission="loadbalancer",
        to_resource=_read,
        # `status` is of the subscription, so it is no uptime.
        not_offered=not_offered(Figure.CPU, Figure.MEMORY, Figure.NETWORK_IO, Figure.RESPONSE_TIME, Figure.UPTIME),
        own_labels=LABELS,
        price_parts=_price_parts,
        fixed_price=hourly_price("", _NODE, _NODE_MONTHLY, "by the documentation"),
        bill_service="Load Balancer",
        bill_words=("load balancer",),
    ),
)
