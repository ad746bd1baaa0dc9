"""Application gateways: load balancers of the seventh layer, of a first and a second version."""

from __future__ import annotations

from typing import TYPE_CHECKING

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
from optiinfra_dagster.providers.parsing import as_number, facts

if TYPE_CHECKING:
    from optiinfra_dagster.providers.kind import Condition

_SERVICE = "Application Gateway"
_UNITS = 10  # capacity units that each instance of an application gateway holds


def _read(row: Row) -> Facts:
    return Facts(
        word=state_word(row),
        ready=Status.RUNNING,
        metadata=facts(
            sku=row.get("size"),
            tier=row.get("tier"),
            instances=as_number(row.get("units")),
            instances_min=as_number(row.get("autoscaleMin")),
            instances_max=as_number(row.get("autoscaleMax")),
            frontends=row.get("frontends"),
            rules=row.get("rules"),
            backend_pools=row.get("backendPools"),
        ),
    )


def _parts(resource: Resource) -> Parts:
    name = {"standard_v2": "Standard v2", "waf_v2": "WAF v2"}.get(fact_text(resource, "sku").lower())
    if name is None or resource.status is Status.STOPPED:
        return
    product = f"{_SERVICE} {name}"
    yield price_part(_SERVICE, product, "Standard Fixed Cost")
    units = _UNITS * (fact_number(resource, "instances") or fact_number(resource, "instances_min"))
    if units:
        yield price_part(_SERVICE, product, "Standard Capacity Units", units)


def _of_version(version: int) -> Condition:
    def condition(resource: Resource) -> str:
        named = fact_has(resource, "sku", "standard", "waf")
        is_version = 2 if fact_has(resource, "sku", "_v2") else 1
        return f"only gateways of version {version} have it" if named and is_version != version else ""

    return condition


KINDS = (
    AzureKind(
        name="azure:application_gateway",
        azure_type="Microsoft.Network/applicationGateways",
        resource_type=ResourceType.LOAD_BALANCER,
        columns={
            "uid": ("properties.resourceGuid",),
            "state": ("properties.operationalState",),
            "size": ("properties.sku.name",),
            "tier": ("properties.sku.tier",),
            "units": ("properties.sku.capacity",),
            "autoscaleMin": ("properties.autoscaleConfiguration.minCapacity",),
            "autoscaleMax": ("properties.autoscaleConfiguration.maxCapacity",),
            "frontends": ("array_length(properties.frontendIPConfigurations)",),
            "rules": ("array_length(properties.requestRoutingRules)",),
            "backendPools": ("array_length(properties.backendAddressPools)",),
        },
        read=_read,
        metric_rows=(
            MetricRow(
                "response_time", "latency", "seconds", "ApplicationGatewayTotalTime", "Average Maximum", "v2",
                scale=0.001,
            ),
            MetricRow("request_rate", "traffic", "requests/s", "TotalRequests", "Total"),
            MetricRow("network_in", "network", "bytes/s", "BytesReceived", "Total", "v2"),
            MetricRow("network_out", "network", "bytes/s", "BytesSent", "Total", "v2"),
            MetricRow("cpu_utilization", "cpu", "percent", "CpuUtilization", "Average", "v1"),
        ),
        conditions={"v1": _of_version(1), "v2": _of_version(2)},
        price_parts=_parts,
        bill_service=_SERVICE,
        not_offered=not_among("Microsoft.Network/applicationGateways", "memory", "uptime"),
    ),
)  # fmt: skip
