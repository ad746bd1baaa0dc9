"""Virtual networks and NAT gateways."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Meter, Row, Use

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_NAT = "NAT Gateway"


def _network(_row: Row, _fleet: AzureFleet, _created: datetime) -> Row:
    peering = {"properties": {"sharedKey": PLANTED}}
    space = {"addressPrefixes": ["10.0.0.0/16"]}
    return {"addressSpace": space, "subnets": [{}, {}], "virtualNetworkPeerings": [peering]}


def _nat_gateway(row: Row, _fleet: AzureFleet, _created: datetime) -> Row:
    row["sku"] = {"name": "Standard"}
    return {"subnets": [{}]}


def _nat_gateway_uses(_row: Row) -> list[Use]:
    return [Use(_NAT, "Standard Gateway")]


KINDS = (
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
