"""Caches for Redis, plain and Enterprise."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, LabKind, LabMetric, Meter, Row, Use, share

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.lab.azure.world import AzureFleet


def _properties(_row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    premium = fleet.type == "Premium"
    return {
        "redisVersion": "6.0",
        "sku": {"name": fleet.type or "Standard", "family": "P" if premium else "C", "capacity": 1},
        **({"shardCount": fleet.size or 2, "replicasPerPrimary": 2} if premium else {}),
        "accessKeys": {"primaryKey": PLANTED, "secondaryKey": PLANTED},
        "redisConfiguration": {"rdb-storage-connection-string": PLANTED},
    }


def _uses(row: Row) -> list[Use]:
    """What is listed as a cache is two nodes, a primary and its replica; Premium has so many for each shard."""
    sku, shards = row["properties"]["sku"], row["properties"].get("shardCount", 1)
    nodes = 1 + row["properties"].get("replicasPerPrimary", 1)
    name = f"{sku['family']}{sku['capacity']} Cache"
    return [Use(f"Azure Redis Cache {sku['name']}", name, Decimal(shards * nodes) / 2)]


def _meters() -> Iterator[Meter]:
    for tier, letter, smallest in (("Basic", "C", "0.022"), ("Standard", "C", "0.055"), ("Premium", "P", "0.555")):
        for n in range(7) if letter == "C" else range(1, 6):
            name, price = f"{letter}{n}", Decimal(smallest) * 2**n
            product = f"Azure Redis Cache {tier}"
            yield Meter("Redis Cache", product, name, f"{name} Cache", "1 Hour", price)
            if tier != "Basic":
                yield Meter("Redis Cache", product, name, f"{name} Cache Instance", "1 Hour", price / 2)  # of a node
                yield Meter("Redis Cache", product, name, f"{name} Cache", "1 Hour", price * 5000, type="Reservation")


def _enterprise(row: Row, fleet: AzureFleet, _created: datetime) -> Row:
    row["sku"] = {"name": "Enterprise_E10", "capacity": 2}
    return {
        "resourceState": fleet.state or "Running",
        "redisVersion": "7.2",
        "hostName": "lab.redisenterprise.cache.azure.net",
    }


_METRICS = (
    share("percentProcessorTime"),
    share("usedmemorypercentage"),
    LabMetric("cacheRead", "BytesPerSecond", 0, 4e7),
    LabMetric("cacheWrite", "BytesPerSecond", 0, 2e7),
    LabMetric("cacheLatency", "Count", 90, 4000),  # microseconds
)

KINDS = (
    LabKind(
        name="azure:redis_enterprise",
        azure_type="Microsoft.Cache/redisEnterprise",
        properties=_enterprise,
        metrics=_METRICS,
    ),
    LabKind(
        name="azure:redis",
        azure_type="Microsoft.Cache/Redis",
        properties=_properties,
        metrics=(*_METRICS, LabMetric("totalcommandsprocessed", "Count", 0, 1e6, "count")),
        meters=tuple(_meters()),
        uses=_uses,
    ),
)
