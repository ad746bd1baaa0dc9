"""Virtual networks, and what connects and guards them."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Meter, Row, Use, own_id, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_NAT = "NAT Gateway"


def _network(row: Row, _fleet: AzureFleet, created: datetime) -> Row:
    peering = {"properties": {"sharedKey": PLANTED}}
    space = {"addressPrefixes": ["10.0.0.0/16"]}
    return {
        "resourceGuid": own_id(row, created),
        "addressSpace": space,
        "subnets": [{}, {}],
        "virtualNetworkPeerings": [peering],
    }


def _nat_gateway(row: Row, _fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": "Standard"}
    return {"resourceGuid": own_id(row, created), "subnets": [{}]}


def _nat_gateway_uses(_row: Row) -> list[Use]:
    return [Use(_NAT, "Standard Gateway")]


def _gateway(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    size = fleet.type or "VpnGw1"
    route = size.startswith("Er")
    return {
        "resourceGuid": own_id(row, created),
        "sku": {"name": size, "tier": size},
        "gatewayType": "ExpressRoute" if route else "Vpn",
        "vpnClientConfiguration": {"radiusServerSecret": PLANTED},
    }


def _firewall(_row: Row, _fleet: AzureFleet, _created: datetime) -> Row:
    return {"sku": {"name": "AZFW_VNet", "tier": "Standard"}, "threatIntelMode": "Alert"}


KINDS = (
    LabKind(
        name="azure:vnet_gateway",
        azure_type="Microsoft.Network/virtualNetworkGateways",
        properties=_gateway,
        metrics=(
            LabMetric("TunnelIngressBytes", "Bytes", 1e3, 2e9, "count"),
            LabMetric("TunnelEgressBytes", "Bytes", 1e3, 2e9, "count"),
            share("ExpressRouteGatewayCpuUtilization"),
        ),
    ),
    LabKind(
        name="azure:firewall",
        azure_type="Microsoft.Network/azureFirewalls",
        properties=_firewall,
        metrics=(
            LabMetric("DataProcessed", "Bytes", 1e3, 9e9, "count"),
            LabMetric("FirewallLatencyPng", "MilliSeconds", 1, 40),
            LabMetric("FirewallHealth", "Percent", 0, 100, "up"),
        ),
    ),
    LabKind(name="azure:vnet", azure_type="Microsoft.Network/virtualNetworks", properties=_network),
    LabKind(
        name="azure:nat_gateway",
        azure_type="Microsoft.Network/natGateways",
        properties=_nat_gateway,
        metrics=(
            LabMetric("ByteCount", "Bytes", 1e3, 2e9, "count"),
            LabMetric("DatapathAvailability", "Count", 0, 100, "up"),
        ),
        meters=(Meter(_NAT, _NAT, "Standard", "Standard Gateway", "1 Hour", Decimal("0.045"), everywhere=True),),
        uses=_nat_gateway_uses,
    ),
)
