"""Cloud Compute: virtual machines, with or without GPUs."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_text
from optiinfra_dagster.providers.vultr.kind import (
    LABELS,
    POWER,
    V_AGENT,
    PriceSource,
    ResourceCall,
    VultrKind,
    address,
    features,
    hours_of,
    leading_number,
    not_offered,
    plan_prices,
    price_part,
    resource,
    status_of,
    traffic_metrics,
    vultr_metrics,
    whole_number,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component

_NAME = "vultr:instance"
_BANDWIDTH = ResourceCall("get-instance-bandwidth", "instances/{}/bandwidth", has_date_range=True)
_BACKUPS = Decimal("1.2")  # automatic backups cost a fifth of the plan


def _read(item: Item, account_id: str) -> Resource:
    # `status` is of the subscription, `server_status` of the installation, `power_status` of the machine: the first
    # that is not as it should be is the instance's word.
    state = as_text(item.get("status"))
    if state.lower() in {"active", ""}:
        server = as_text(item.get("server_status"))
        power = as_text(item.get("power_status"))
        not_well = server == "installingbooting" or (server == "locked" and power == "running")
        state = server if not_well else power or state
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.COMPUTE,
        state=state,
        status=status_of(state, active=Status.RUNNING),
        capacity=leading_number(item.get("vcpu_count")),
        unit="vCPU",
        main_ip=address(item.get("main_ip")),
        internal_ip=address(item.get("internal_ip")),
        v6_main_ip=address(item.get("v6_main_ip")),
        hostname=as_text(item.get("hostname")),
        plan=as_text(item.get("plan")),
        ram_mib=whole_number(item.get("ram")),
        disk_gib=whole_number(item.get("disk")),
        os=as_text(item.get("os")),
        allowed_bandwidth_gb=whole_number(item.get("allowed_bandwidth")),
        features=features(item),
        firewall_group_id=as_text(item.get("firewall_group_id")),
    )


def _price_parts(resource: Resource) -> Iterator[Component]:
    """The plan, and its backups; none where a licence or protection against floods comes on top of it."""
    plan = as_text(resource.metadata.get("plan"))
    extras = str(resource.metadata.get("features", "")).split(",")
    costs_more = "ddos_protection" in extras or as_text(resource.metadata.get("os")).lower().startswith("windows")
    if plan and not costs_more:
        yield price_part(plan, _BACKUPS if "auto_backups" in extras else 1, hours_of(plan))


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.COMPUTE,
        operation="list-instances",
        path="instances",
        key="instances",
        to_resource=_read,
        resource_call=_BANDWIDTH,
        metrics=(
            *vultr_metrics(
                _NAME, POWER, "Vultr OpenAPI: list-instances", "snapshot", 900,
                ("uptime", "uptime", "percent", "power_status"),
            ),
            *traffic_metrics(_NAME, _BANDWIDTH),
        ),
        not_offered=not_offered(Figure.CPU, Figure.MEMORY, Figure.DISK_IO, Figure.RESPONSE_TIME),
        own_exporters=(V_AGENT,),
        own_labels=LABELS,
        price_parts=_price_parts,
        price_source=PriceSource("list-plans", "plans", "plans", "", plan_prices()),
        bill_service="Vultr Cloud Compute",  # instances of other families have names of their own there
        bill_words=("compute", "gpu"),
        billed_traffic=True,
    ),
)  # fmt: skip
