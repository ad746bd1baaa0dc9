"""Virtual networks and what connects and guards them: NAT gateways, VPN and ExpressRoute gateways, firewalls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    Columns,
    Facts,
    MetricRow,
    Parts,
    Row,
    fact_text,
    not_among,
    price_part,
    state_word,
)
from optiinfra_dagster.providers.parsing import addresses, as_texts, facts

if TYPE_CHECKING:
    from optiinfra_dagster.providers.kind import Condition

_COLUMNS: Columns = {
    "uid": ("properties.resourceGuid",),
    "size": ("sku.name", "properties.sku.name"),
    "addressPrefixes": ("properties.addressSpace.addressPrefixes",),
    "subnets": ("array_length(properties.subnets)",),
    "peerings": ("array_length(properties.virtualNetworkPeerings)",),
    "gatewayType": ("properties.gatewayType",),
}


def _read(row: Row) -> Facts:
    prefixes = as_texts(row.get("addressPrefixes"))
    size = sum(addresses(prefix) or 0 for prefix in prefixes if ":" not in prefix)  # of IPv4
    return Facts(
        word=state_word(row),
        capacity=float(size) if size else None,
        unit="addresses" if size else "",
        metadata=facts(
            sku=row.get("size"),
            address_prefixes=",".join(prefixes),
            subnets=row.get("subnets"),
            peerings=row.get("peerings"),
            gateway_type=row.get("gatewayType"),
        ),
    )


def _nat_gateway_parts(resource: Resource) -> Parts:
    if fact_text(resource, "sku").lower() == "standard":  # StandardV2 has a price of its own
        yield price_part("NAT Gateway", "NAT Gateway", "Standard Gateway")


def _of_gateway(name: str, word: str) -> Condition:
    def condition(resource: Resource) -> str:
        known = fact_text(resource, "gateway_type").lower()
        return f"only {name} gateways have it" if known not in {"", word} else ""

    return condition


KINDS = (
    AzureKind(
        name="azure:vnet",
        azure_type="Microsoft.Network/virtualNetworks",
        resource_type=ResourceType.NETWORK,
        columns=_COLUMNS,
        read=_read,
        not_offered=not_among("Microsoft.Network/virtualNetworks", "network_io", "response_time", "uptime"),
    ),
    AzureKind(
        name="azure:nat_gateway",
        azure_type="Microsoft.Network/natGateways",
        resource_type=ResourceType.NETWORK,
        columns=_COLUMNS,
        read=_read,
        metric_rows=(
            MetricRow("network_total", "network", "bytes/s", "ByteCount", "Total"),
            # Availability is written as 0 to 100 although its unit is Count.
            MetricRow("uptime", "uptime", "percent", "DatapathAvailability", "Average"),
        ),
        price_parts=_nat_gateway_parts,
        bill_service="NAT Gateway",
        not_offered=not_among("Microsoft.Network/natGateways", "response_time"),
    ),
    AzureKind(
        name="azure:vnet_gateway",
        azure_type="Microsoft.Network/virtualNetworkGateways",
        resource_type=ResourceType.NETWORK,
        columns=_COLUMNS,
        read=_read,
        metric_rows=(
            MetricRow("network_in", "network", "bytes/s", "TunnelIngressBytes", "Total", "vpn"),
            MetricRow("network_out", "network", "bytes/s", "TunnelEgressBytes", "Total", "vpn"),
            MetricRow("cpu_utilization", "cpu", "percent", "ExpressRouteGatewayCpuUtilization", "Average", "route"),
        ),
        conditions={"vpn": _of_gateway("VPN", "vpn"), "route": _of_gateway("ExpressRoute", "expressroute")},
        not_offered=not_among("Microsoft.Network/virtualNetworkGateways", "response_time", "uptime"),
    ),
    AzureKind(
        name="azure:firewall",
        azure_type="Microsoft.Network/azureFirewalls",
        resource_type=ResourceType.NETWORK,
        columns=_COLUMNS,
        read=_read,
        metric_rows=(
            MetricRow("network_total", "network", "bytes/s", "DataProcessed", "Total"),
            MetricRow("response_time", "latency", "seconds", "FirewallLatencyPng", "Average", scale=0.001),
            MetricRow("uptime", "uptime", "percent", "FirewallHealth", "Average"),
        ),
    ),
)
