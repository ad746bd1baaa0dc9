"""Caches for Redis."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Meter, Row, Use, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet


def _properties(_row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    return {
        "redisVersion": "6.0",
        "sku": {"name": fleet.type or "Standard", "family": "C", "capacity": 1},
        "accessKeys": {"primaryKey": PLANTED, "secondaryKey": PLANTED},
        "redisConfiguration": {"rdb-storage-connection-string": PLANTED},
    }


def _uses(row: Row) -> list[Use]:
    sku = row["properties"]["sku"]
    return [Use(f"Azure Redis Cache {sku['name']}", f"{sku['family']}{sku['capacity']} Cache")]


KINDS = (
    LabKind(
        name="azure:redis",
        azure_type="Microsoft.Cache/Redis",
        properties=_properties,
        metrics=(
            share("percentProcessorTime"),
            share("usedmemorypercentage"),
            LabMetric("totalcommandsprocessed", "Count", 0, 1e6, "count"),
        ),
        meters=tuple(
            Meter("Redis Cache", f"Azure Redis Cache {tier}", f"C{n}", f"C{n} Cache", "1 Hour", smallest * 2**n)
            for tier, smallest in (("Basic", Decimal("0.022")), ("Standard", Decimal("0.055")))
            for n in range(7)
        ),
        uses=_uses,
    ),
)
