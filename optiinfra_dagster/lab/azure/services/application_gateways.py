"""Application gateways."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Meter, Row, Use, own_id, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_SERVICE, _FIXED, _UNITS = "Application Gateway", "Standard Fixed Cost", "Standard Capacity units"
# SKU -> product, and USD an hour of a gateway and of a capacity unit
_PRODUCTS = {
    "Standard_v2": (f"{_SERVICE} Standard v2", "0.246", "0.008"),
    "WAF_v2": (f"{_SERVICE} WAF v2", "0.443", "0.0144"),
}


def _properties(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    return {
        "resourceGuid": own_id(row, created),
        "operationalState": fleet.state or "Running",
        "sku": {"name": fleet.type or "WAF_v2", "tier": "WAF_v2", "capacity": 2},
        "frontendIPConfigurations": [{}],
        "requestRoutingRules": [{}],
        "backendAddressPools": [{}],
        "sslCertificates": [{"properties": {"data": PLANTED, "password": PLANTED}}],
        "authenticationCertificates": [{"properties": {"data": PLANTED}}],
    }


def _uses(row: Row) -> list[Use]:
    sku = row["properties"]["sku"]
    if sku["name"] not in _PRODUCTS or row["properties"].get("operationalState") == "Stopped":
        return []
    product, _, _ = _PRODUCTS[sku["name"]]
    return [Use(product, _FIXED), Use(product, _UNITS, sku["capacity"] * 10)]


KINDS = (
    LabKind(
        name="azure:application_gateway",
        azure_type="Microsoft.Network/applicationGateways",
        properties=_properties,
        metrics=(
            LabMetric("ApplicationGatewayTotalTime", "MilliSeconds", 2, 900),
            LabMetric("TotalRequests", "Count", 0, 9e4, "count"),
            LabMetric("BytesReceived", "Bytes", 1e3, 2e9, "count"),
            LabMetric("BytesSent", "Bytes", 1e3, 2e9, "count"),
            share("CpuUtilization"),
        ),
        meters=tuple(
            Meter(_SERVICE, product, "Standard", meter, "1/Hour", Decimal(price))
            for product, fixed, unit in _PRODUCTS.values()
            for meter, price in ((_FIXED, fixed), (_UNITS, unit))
        ),
        uses=_uses,
    ),
)
