"""Bare Metal: whole servers. What Vultr tells of one is the state of its subscription, not whether it runs."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_text
from optiinfra_dagster.providers.vultr.kind import (
    LABELS,
    V_AGENT,
    PriceSource,
    ResourceCall,
    VultrKind,
    address,
    features,
    leading_number,
    not_offered,
    plan_parts,
    plan_prices,
    resource,
    status_of,
    traffic_metrics,
    whole_number,
)

_NAME = "vultr:bare_metal"
_PRICES = "bare metal "
_BANDWIDTH = ResourceCall("get-bandwidth-baremetal", "bare-metals/{}/bandwidth")


def _read(item: Item, account_id: str) -> Resource:
    state = as_text(item.get("status"))
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.COMPUTE,
        state=state,
        status=status_of(state, active=Status.RUNNING),
        capacity=leading_number(item.get("cpu_count")),
        unit="vCPU",
        main_ip=address(item.get("main_ip")),
        v6_main_ip=address(item.get("v6_main_ip")),
        plan=as_text(item.get("plan")),
        ram_mib=whole_number(item.get("ram")),
        disks=as_text(item.get("disk")),  # `2x 240GB SSD`
        os=as_text(item.get("os")),
        features=features(item),
    )


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.COMPUTE,
        operation="list-baremetals",
        path="bare-metals",
        key="bare_metals",
        to_resource=_read,
        resource_call=_BANDWIDTH,
        metrics=traffic_metrics(_NAME, _BANDWIDTH),
        not_offered=not_offered(Figure.CPU, Figure.MEMORY, Figure.DISK_IO, Figure.RESPONSE_TIME, Figure.UPTIME),
        own_exporters=(V_AGENT,),
        own_labels=LABELS,
        price_parts=plan_parts(_PRICES),
        price_source=PriceSource("list-metal-plans", "plans-metal", "plans_metal", _PRICES, plan_prices(_PRICES)),
        bill_service="Bare Metal",
        bill_words=("bare metal",),
        billed_traffic=True,
    ),
)
