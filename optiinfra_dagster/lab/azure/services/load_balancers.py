"""Load balancers."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import LabKind, LabMetric, Meter, Row, Use, own_id

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet

_SERVICE = "Load Balancer"
_INCLUDED = "Standard Included LB Rules and Outbound Rules"


def _properties(row: Row, fleet: AzureFleet, created: datetime) -> Row:
    row["sku"] = {"name": fleet.type or "Standard", "tier": "Regional"}
    return {
        "resourceGuid": own_id(row, created),
        "frontendIPConfigurations": [{}],
        "loadBalancingRules": [{}, {}],
        "backendAddressPools": [{}],
    }


def _uses(row: Row) -> list[Use]:
    return [Use(_SERVICE, _INCLUDED)] if row["sku"]["name"] == "Standard" else []


KINDS = (
    LabKind(
        name="azure:load_balancer",
        azure_type="Microsoft.Network/loadBalancers",
        properties=_properties,
        metrics=(
            LabMetric("ByteCount", "Bytes", 1e3, 2e9, "count"),
            LabMetric("VipAvailability", "Count", 0, 100, "up"),
            LabMetric("DipAvailability", "Count", 0, 100, "up"),
        ),
        meters=tuple(
            Meter(_SERVICE, _SERVICE, "Standard", meter, unit, Decimal(price), everywhere=True)
            for meter, unit, price in (
                (_INCLUDED, "1 Hour", "0.025"),
                ("Standard Overage LB Rules and Outbound Rules", "1/Hour", "0.01"),
                ("Standard Data Processed", "1 GB", "0.005"),
                ("Global Included LB Rules and Outbound Rules", "1 Hour", "0.03"),
            )
        ),
        uses=_uses,
    ),
)
