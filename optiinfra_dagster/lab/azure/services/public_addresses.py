"""Public IP addresses: those of a fleet with a state are held by a load balancer, the others by nothing."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import LabKind, LabMetric, Meter, Row, Use, own_id

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_SERVICE, _PRODUCT, _METER = "Virtual Network", "IP Addresses", "Standard IPv4 Static Public IP"


def _address(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    base, _, _ = row["id"].partition("/providers/")
    row["sku"] = {"name": "Standard", "tier": "Regional"}
    front = f"{base}/providers/Microsoft.Network/loadBalancers/Web/frontendIPConfigurations/public"
    return {
        "provisioningState": "Succeeded",
        "resourceGuid": own_id(row, created),
        "ipAddress": "203.0.113.7",
        "publicIPAddressVersion": "IPv4",
        "publicIPAllocationMethod": "Static",
        **({"ipConfiguration": {"id": front}} if fleet.state else {}),
    }


def _uses(_row: Row) -> list[Use]:
    return [Use(_PRODUCT, _METER)]


KINDS = (
    LabKind(
        name="azure:public_ip",
        azure_type="Microsoft.Network/publicIPAddresses",
        properties=_address,
        metrics=(
            LabMetric("ByteCount", "Bytes", 1e3, 2e9, "count"),
            LabMetric("VipAvailability", "Count", 0, 100, "up"),
        ),
        meters=(Meter(_SERVICE, _PRODUCT, "Standard", _METER, "1 Hour", Decimal("0.005")),),
        uses=_uses,
    ),
)
