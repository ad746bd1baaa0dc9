"""Load balancers of the fourth layer."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    Facts,
    MetricRow,
    Parts,
    Row,
    fact_has,
    fact_number,
    fact_text,
    not_among,
    price_part,
    state_word,
)
from optiinfra_dagster.providers.parsing import facts

_SERVICE = "Load Balancer"
_INCLUDED_RULES = 5


def _read(row: Row) -> Facts:
    return Facts(
        word=state_word(row),
        ready=Status.RUNNING,
        metadata=facts(
            sku=row.get("size"),
            tier=row.get("tier"),
            frontends=row.get("frontends"),
            rules=row.get("rules"),
            backend_pools=row.get("backendPools"),
        ),
    )


def _parts(resource: Resource) -> Parts:
    """The first five rules of a standard load balancer cost the same as one rule; without any, and basic, it is free.

    Outbound rules are not in the inventory, and would count too.
    """
    rules = fact_number(resource, "rules")
    if fact_text(resource, "sku").lower() != "standard" or fact_text(resource, "tier").lower() == "global" or not rules:
        return
    yield price_part(_SERVICE, _SERVICE, "Standard Included LB Rules and Outbound Rules")
    if rules > _INCLUDED_RULES:
        more = rules - _INCLUDED_RULES
        yield price_part(_SERVICE, _SERVICE, "Standard Overage LB Rules and Outbound Rules", more)


def _standard(resource: Resource) -> str:
    return "basic load balancers have no metrics" if fact_has(resource, "sku", "basic") else ""


KINDS = (
    AzureKind(
        name="azure:load_balancer",
        azure_type="Microsoft.Network/loadBalancers",
        resource_type=ResourceType.LOAD_BALANCER,
        columns={
            "uid": ("properties.resourceGuid",),
            "size": ("sku.name",),
            "tier": ("sku.tier",),
            "frontends": ("array_length(properties.frontendIPConfigurations)",),
            "rules": ("array_length(properties.loadBalancingRules)",),
            "backendPools": ("array_length(properties.backendAddressPools)",),
        },
        read=_read,
        metric_rows=(
            MetricRow("network_total", "network", "bytes/s", "ByteCount", "Total", "standard"),
            # Availability is written as 0 to 100 although its unit is Count.
            MetricRow("uptime", "uptime", "percent", "VipAvailability", "Average", "standard"),
            # That of its backends, by its own probes.
            MetricRow("backend_health", "health", "percent", "DipAvailability", "Average", "standard"),
        ),
        conditions={"standard": _standard},
        price_parts=_parts,
        bill_service=_SERVICE,
        not_offered=not_among("Microsoft.Network/loadBalancers", "cpu", "memory", "response_time"),
    ),
)
