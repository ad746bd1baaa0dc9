"""The lab's price list in the words of the Retail Prices API, and what a resource costs an hour by it.

https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.azure.services import KINDS, KINDS_BY_TYPE
from optiinfra_dagster.lab.azure.services.virtual_machines import VIRTUAL_MACHINES, machine_meters, machine_price
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.azure.kind import Meter, Row, Use

MONTH = 730  # hours
_LAST_DIGIT = Decimal("1e-6")

METERS: tuple[Meter, ...] = tuple(meter for kind in KINDS.values() for meter in kind.meters)
"""Every price but those of machines, which there are for each size that is asked for."""


def monthly_hours(unit: str) -> int:
    """The hours that a unit of measure is for."""
    return MONTH if "Month" in unit else 1


def regional(price: Decimal, region: str) -> Decimal:
    """A price in a region: up to 20 % above the lowest."""
    return price if region == "Global" else (price * (100 + digest(region) % 20) / 100).quantize(_LAST_DIGIT)


_EQUALS = re.compile(r"(\w+) eq '([^']*)'")


RATES = {"USD": Decimal(1), "EUR": Decimal("0.9"), "GBP": Decimal("0.8")}
"""What the list comes in, and what a dollar is in it."""


def price_items(filtered: str, currency: str = "USD") -> list[dict[str, Any]]:
    """The items of the list for a filter: terms of `field eq 'value'`, alternatives in parentheses, in a currency.

    Raises:
        ValueError: the filter is of another form.
    """
    wanted: list[tuple[str, set[str]]] = []
    for part in re.split(r" and (?![^(]*\))", filtered):
        terms = part.strip("()").split(" or ")
        read = [equals for term in terms if (equals := _EQUALS.fullmatch(term.strip()))]
        fields = {equals[1] for equals in read}
        if len(fields) != 1 or len(read) < len(terms):
            raise ValueError(f"the lab cannot evaluate {part!r}")
        wanted.append((fields.pop(), {equals[2] for equals in read}))
    alternatives = dict(wanted)
    machines = [meter for size in sorted(alternatives.get("armSkuName", ())) for meter in machine_meters(size)]
    items = [
        item
        for region in sorted(alternatives.get("armRegionName", {"Global"}))
        for meter in (*METERS, *machines)
        if meter.everywhere == (region == "Global")
        for item in [_item(meter, region, currency)]
        if all(item[name] in values for name, values in wanted if name != "priceType")
    ]
    return [item for item in items if item["type"] in alternatives.get("priceType", {item["type"]})]


def _item(meter: Meter, region: str, currency: str) -> dict[str, Any]:
    price = float(regional(meter.price, region) * RATES[currency])
    return {
        "currencyCode": currency,
        "tierMinimumUnits": 0.0,
        "retailPrice": price,
        "unitPrice": price,
        "armRegionName": region,
        "location": region,
        "effectiveStartDate": "2024-01-01T00:00:00Z",
        "meterId": f"{digest(meter):016x}",
        "meterName": meter.meter,
        "productName": meter.product,
        "skuName": meter.sku,
        "serviceName": meter.service,
        "serviceFamily": "",
        "unitOfMeasure": meter.unit,
        "type": meter.type,
        "isPrimaryMeterRegion": True,
        "armSkuName": meter.arm_sku,
    }


# --- What a resource costs --------------------------------------------------------------------------------------------

# Of prices for several numbers of vCores, that of one vCore is the rate.
_ONE = {(meter.product, meter.meter): meter for meter in METERS if meter.sku in {"vCore", "1 vCore"}}
_LIST = {(meter.product, meter.meter): meter for meter in METERS if meter.type == "Consumption"} | _ONE


def of_resource(row: Row) -> list[tuple[str, Decimal]]:
    """The charge of each service for a resource an hour, by the list; [] for what is free, stopped or not listed."""
    sums: dict[str, Decimal] = {}
    kind = KINDS_BY_TYPE.get(row["type"])
    for use in kind.uses(row) if kind else ():
        service, hourly = _hourly(row, use)
        sums[service] = sums.get(service, Decimal(0)) + hourly
    return list(sums.items())


def _hourly(row: Row, use: Use) -> tuple[str, Decimal]:
    if use.product == VIRTUAL_MACHINES:
        return VIRTUAL_MACHINES, regional(machine_price(use.meter), row["location"]) * use.quantity
    meter = _LIST[use.product, use.meter]
    price = meter.price if meter.everywhere else regional(meter.price, row["location"])
    return meter.service, price / monthly_hours(meter.unit) * use.quantity
