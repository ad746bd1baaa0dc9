"""A kind of resource of the lab's Azure: its rows, what it measures, and what it costs.

A service writes its kinds in `services/<service>.py`, by the names that the product gives them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.azure.world import AzureFleet

PLANTED = "planted-Secret-9f3c"
"""Stands in every field of a row that may hold a secret."""

Row = dict[str, Any]
"""A resource as Resource Graph holds it."""


@dataclass(frozen=True, slots=True)
class LabMetric:
    """A metric as Azure publishes it: from `low` to `high` in its unit, each minute, and never by less than its grain.

    `shape`: wave (a day's rise and fall), count (the same in whole numbers) or up (`high`, and `low` now and then).
    """

    name: str
    unit: str
    low: float
    high: float
    shape: str = "wave"
    grain: int = 60  # seconds


def share(name: str) -> LabMetric:
    """A metric in percent."""
    return LabMetric(name, "Percent", 1.0, 96.0)


class Meter(NamedTuple):
    """A price of the list. `everywhere`: it is listed once, for the region `Global`."""

    service: str
    product: str
    sku: str
    meter: str
    unit: str
    price: Decimal
    everywhere: bool = False
    arm_sku: str = ""
    type: str = "Consumption"


class Use(NamedTuple):
    """A part of a resource that is charged by the hour: so many of a meter of a product."""

    product: str
    meter: str
    quantity: Decimal | int = 1


def own_id(row: Row, created: datetime) -> str:
    """The id that Azure gives to what was made at a time: another one for what is made later under the same name."""
    return str(UUID(int=digest(row["id"], f"{created:%Y%m%d%H%M%S}") << 64 | digest(row["id"], "own id")))


def is_on(row: Row) -> bool:
    """True unless a resource's state says that it does not run."""
    properties = row["properties"]
    power = ((properties.get("extended") or {}).get("instanceView") or {}).get("powerState") or {}
    word = str(power.get("code") or (properties.get("powerState") or {}).get("code") or properties.get("state") or "")
    return word.rpartition("/")[2].lower() not in {"deallocated", "hibernated", "stopped", "disabled"}


def _no_children(_row: Row, _fleet: AzureFleet, _created: datetime) -> Iterator[Row]:
    yield from ()


def _no_uses(_row: Row) -> list[Use]:
    return []


@dataclass(frozen=True, kw_only=True)
class LabKind:
    """A kind of resource.

    `properties` makes a fleet's resource: it may change the row's own columns, and returns its properties; None where
    the kind has no fleets and comes with resources of others. `children` are the rows that a resource brings along.
    `publishes` is true while it measures anything. `meters` is its part of the price list, and `uses` what it is
    charged for; `has_traffic` adds a charge for bandwidth.
    """

    name: str
    azure_type: str
    properties: Callable[[Row, AzureFleet, datetime], Row] | None = None
    children: Callable[[Row, AzureFleet, datetime], Iterator[Row]] = _no_children
    metrics: tuple[LabMetric, ...] = ()
    publishes: Callable[[Row], bool] = is_on
    meters: tuple[Meter, ...] = ()
    uses: Callable[[Row], list[Use]] = _no_uses
    has_traffic: bool = False


def bare_row(resource_id: str, azure_type: str, **more: Any) -> Row:
    """A row with every column that the table has, those that are not passed empty."""
    parts = resource_id.split("/")
    group = parts[4] if len(parts) > 4 and parts[3].lower() == "resourcegroups" else ""
    return {
        "id": resource_id,
        "name": resource_id.rpartition("/")[2],
        "type": azure_type.lower(),
        "tenantId": "72f988bf-0000-4000-8000-000000000000",
        "kind": "",
        "location": "",
        "resourceGroup": group.lower(),
        "subscriptionId": parts[2] if len(parts) > 2 else "",
        "managedBy": "",
        "sku": None,
        "plan": None,
        "properties": {},
        "tags": None,
        "identity": None,
        "zones": None,
        "extendedLocation": None,
        **more,
    }


def written(moment: datetime) -> str:
    """A time with seven digits after the point, as Azure writes it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.1234567Z")
