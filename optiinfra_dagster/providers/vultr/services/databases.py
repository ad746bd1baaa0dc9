"""Managed databases, and their read replicas, which stand within them in the listing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_text
from optiinfra_dagster.providers.vultr.kind import (
    DATABASE_USAGE,
    LABELS,
    PriceSource,
    ResourceCall,
    VultrKind,
    as_list,
    leading_number,
    not_offered,
    plan_parts,
    plan_prices,
    resource,
    status_of,
    vultr_metrics,
    whole_number,
)

_NAME = "vultr:database"
_PRICES = "database "


def _read_replicas(item: Item) -> Iterator[Item]:
    for replica in as_list(item, "read_replicas"):
        yield {**replica, "replica_of": item.get("id")} if isinstance(replica, Mapping) else replica


def _read(item: Item, account_id: str) -> Resource:
    state = as_text(item.get("status"))
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.DATABASE,
        state=state,
        status=status_of(state, active=Status.RUNNING),
        capacity=leading_number(item.get("plan_disk")),  # engines that keep all in memory have none
        unit="GiB",
        engine=as_text(item.get("database_engine")),
        engine_version=as_text(item.get("database_engine_version")),
        plan=as_text(item.get("plan")),
        vcpus=whole_number(item.get("plan_vcpus")),
        ram_mib=whole_number(item.get("plan_ram")),
        replica_nodes=whole_number(item.get("plan_replicas")),
        replica_of=as_text(item.get("replica_of")),
        vpc_id=as_text(item.get("vpc_id")),
    )


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.DATABASE,
        operation="list-databases",
        path="databases",
        key="databases",
        to_resource=_read,
        nested=_read_replicas,
        resource_call=ResourceCall("get-database-usage", "databases/{}/usage"),
        metrics=(
            vultr_metrics(
                _NAME, DATABASE_USAGE, "Vultr OpenAPI: get-database-usage", "snapshot", 900,
                ("cpu_utilization", "cpu", "percent", "cpu.percentage"),
                ("memory_utilization", "memory", "percent", "memory.percentage"),
                ("disk_utilization", "disk", "percent", "disk.percentage"),
                ("storage_used", "disk", "bytes", "disk.current_gb"),
            )
        ),
        # `status` is of the subscription, so it is no uptime.
        not_offered=not_offered(Figure.DISK_IO, Figure.NETWORK_IO, Figure.RESPONSE_TIME, Figure.UPTIME),
        own_labels=LABELS,
        price_parts=plan_parts(_PRICES),
        price_source=PriceSource("list-database-plans", "databases/plans", "plans", _PRICES, plan_prices(_PRICES)),
        bill_service="Managed Database",
        bill_words=("database",),
    ),
)  # fmt: skip
