"""Virtual networks and what connects and guards them: NAT gateways, VPN and ExpressRoute gateways, firewalls."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    Columns,
    Facts,
    MetricRow,
    Parts,
    Row,
    fact_text,
    price_part,
    state_word,
)
from optiinfra_dagster.providers.parsing import addresses, as_texts, facts

_COLUMNS: Columns = {
    "size": ("sku.name", "properties.sku.name"),
    "addressPrefixes": ("properties.addressSpace.addressPrefixes",),
    "subnets": ("array_length(properties.subnets)",),
    "peerings": ("array_length(properties.virtualNetworkPeerings)",),
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
        ),
    )


def _nat_gateway_parts(resource: Resource) -> Parts:
    if fact_text(resource, "sku").lower() == "standard":  # StandardV2 has a price of its own
        yield price_part("NAT Gateway", "NAT Gateway", "Standard Gateway")


KINDS = (
    AzureKind(
        name="azure:vnet",
        azure_type="Microsoft.Network/virtualNetworks",
        resource_type=ResourceType.NETWORK,
        columns=_COLUMNS,
        read=_read,
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
    ),
    AzureKind(
        name="azure:vnet_gateway",
        azure_type="Microsoft.Network/virtualNetworkGateways",
        resource_type=ResourceType.NETWORK,
        columns=_COLUMNS,
        read=_read,
    ),
    AzureKind(
        name="azure:firewall",
        azure_type="Microsoft.Network/azureFirewalls",
        resource_type=ResourceType.NETWORK,
        columns=_COLUMNS,
        read=_read,
    ),
)
