"""The lab's price list in the words of the Retail Prices API, and what a resource costs an hour by it.

https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple

from optiinfra_dagster.lab.world import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.azure.estate import Row

MONTH = 730  # hours
_LAST_DIGIT = Decimal("1e-6")


class Meter(NamedTuple):
    """One price. `everywhere`: it is listed once, for the region `Global`."""

    service: str
    product: str
    sku: str
    meter: str
    unit: str
    price: Decimal
    everywhere: bool = False
    arm_sku: str = ""
    type: str = "Consumption"


def _meter(service: str, product: str, sku: str, meter: str, unit: str, price: str, **more: Any) -> Meter:
    return Meter(service, product, sku, meter, unit, Decimal(price), **more)


_SIZES = {4: 32, 6: 64, 10: 128, 15: 256, 20: 512, 30: 1024, 40: 2048, 50: 4096, 60: 8192, 70: 16384, 80: 32767}
_DISKS = {"Premium": ("P", "Premium SSD", "0.15"), "StandardSSD": ("E", "Standard SSD", "0.075"),
          "Standard": ("S", "Standard HDD", "0.045")}  # fmt: skip
_LB, _APPGW, _PG, _MYSQL, _SQL = (
    "Load Balancer", "Application Gateway", "Azure Database for PostgreSQL", "Azure Database for MySQL", "SQL Database",
)  # fmt: skip
_PG_STORAGE = "Az DB for PostgreSQL Flexible Server Storage"
_GP = "SQL Database Single/Elastic Pool General Purpose"


def _disks() -> Iterator[Meter]:
    for (letter, name, gib), (tier, size), copies in product(_DISKS.values(), _SIZES.items(), ("LRS", "ZRS")):
        price = Decimal(gib) * size * (1 if copies == "LRS" else Decimal("1.5"))
        sku = f"{letter}{tier} {copies}"
        yield Meter("Storage", f"{name} Managed Disks", sku, f"{sku} Disk", "1/Month", price)
        yield Meter("Storage", f"{name} Managed Disks", sku, f"{sku} Disk Mount", "1/Month", price / 20)


METERS: tuple[Meter, ...] = (
    *_disks(),
    _meter(_LB, _LB, "Standard", "Standard Included LB Rules and Outbound Rules", "1 Hour", "0.025", everywhere=True),
    _meter(_LB, _LB, "Standard", "Standard Overage LB Rules and Outbound Rules", "1/Hour", "0.01", everywhere=True),
    _meter(_LB, _LB, "Standard", "Standard Data Processed", "1 GB", "0.005", everywhere=True),
    _meter("NAT Gateway", "NAT Gateway", "Standard", "Standard Gateway", "1 Hour", "0.045", everywhere=True),
    _meter(_APPGW, f"{_APPGW} Standard v2", "Standard", "Standard Fixed Cost", "1/Hour", "0.246"),
    _meter(_APPGW, f"{_APPGW} Standard v2", "Standard", "Standard Capacity Units", "1/Hour", "0.008"),
    _meter(_APPGW, f"{_APPGW} WAF v2", "Standard", "Standard Fixed Cost", "1/Hour", "0.443"),
    _meter(_APPGW, f"{_APPGW} WAF v2", "Standard", "Standard Capacity Units", "1/Hour", "0.0144"),
    *(
        _meter("Redis Cache", f"Azure Redis Cache {tier}", f"C{size}", f"C{size} Cache", "1 Hour", f"{each * 2**size}")
        for tier, each in (("Basic", Decimal("0.022")), ("Standard", Decimal("0.055")))
        for size in range(7)
    ),
    *(
        _meter(name, f"{name} Flexible Server General Purpose {series} Series Compute", sku, "vCore", "1 Hour", one)
        for name, series in product((_PG, _MYSQL), ("Dsv3", "Ddsv4", "Ddsv5"))
        for sku, one in (("vCore", "0.089"), ("2 vCore", "0.178"), ("4 vCore", "0.356"))
    ),
    _meter(_PG, _PG_STORAGE, "Storage", "Storage Data Stored", "1 GB/Month", "0.115"),
    _meter(_MYSQL, f"{_MYSQL} Flexible Server Storage", "Storage", "Storage Data Stored", "1 GB/Month", "0.115"),
    *(
        _meter(_SQL, f"{_GP} - Compute Gen5", f"{n} vCore", "vCore", "1 Hour", f"{n * Decimal('0.152')}")
        for n in (1, 2, 4, 8)
    ),
    _meter(_SQL, f"{_GP} - SQL License", "vCore", "vCore", "1 Hour", "0.099966", everywhere=True),
    _meter(_SQL, f"{_GP} - Storage", "General Purpose", "General Purpose Data Stored", "1 GB/Month", "0.115"),
    _meter("Azure Kubernetes Service", "Azure Kubernetes Service", "Standard", "Standard Uptime SLA", "1 Hour", "0.1"),
)  # fmt: skip


def monthly_hours(unit: str) -> int:
    """The hours that a unit of measure is for."""
    return MONTH if "Month" in unit else 1


def machine(size: str) -> Decimal:
    """What a machine of a size costs an hour with Linux: so much for each of its virtual CPUs."""
    number = re.search(r"\d+", size)
    return Decimal(number[0] if number else 1) * Decimal("0.048")


def _machines(size: str) -> Iterator[Meter]:
    name = size.removeprefix("Standard_").replace("_", " ")
    series = re.sub(r"\d+", "", name.split(" ")[0]) + (name.split(" ")[1] if " " in name else "")
    for system, factor in (("", 1), (" Windows", Decimal("1.92"))):
        for suffix, share in (("", 1), (" Spot", Decimal("0.2")), (" Low Priority", Decimal("0.25"))):
            price, of = machine(size) * factor * share, f"Virtual Machines {series} Series{system}"
            yield Meter("Virtual Machines", of, name + suffix, name + suffix, "1 Hour", price, arm_sku=size)
    price = machine(size) * 8760 * Decimal("0.6")
    yield Meter(
        "Virtual Machines", f"Virtual Machines {series} Series", name, name, "1 Hour", price, arm_sku=size,
        type="Reservation",
    )  # fmt: skip


def regional(price: Decimal, region: str) -> Decimal:
    """A price in a region: up to 20 % above the lowest."""
    return price if region == "Global" else (price * (100 + digest(region) % 20) / 100).quantize(_LAST_DIGIT)


_EQUALS = re.compile(r"(\w+) eq '([^']*)'")


def price_items(asked: str) -> list[dict[str, Any]]:
    """What the list shows for a filter: terms of `field eq 'value'`, alternatives in parentheses.

    Raises:
        ValueError: the filter is of another form.
    """
    wanted: list[tuple[str, set[str]]] = []
    for part in re.split(r" and (?![^(]*\))", asked):
        terms = part.strip("()").split(" or ")
        read = [_EQUALS.fullmatch(term.strip()) for term in terms]
        fields = {one[1] for one in read if one}
        if len(fields) != 1 or None in read:
            raise ValueError(f"the lab cannot evaluate {part!r}")
        wanted.append((fields.pop(), {one[2] for one in read if one}))
    given = dict(wanted)
    machines = [meter for size in sorted(given.get("armSkuName", ())) for meter in _machines(size)]
    items = [
        item
        for region in sorted(given.get("armRegionName", {"Global"}))
        for meter in (*METERS, *machines)
        if meter.everywhere == (region == "Global")
        for item in [_item(meter, region)]
        if all(item[name] in values for name, values in wanted if name != "priceType")
    ]
    return [item for item in items if item["type"] in given.get("priceType", {item["type"]})]


def _item(meter: Meter, region: str) -> dict[str, Any]:
    price = float(regional(meter.price, region))
    return {
        "currencyCode": "USD",
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

_Parts = list[tuple[str, Decimal]]  # service, and what it takes an hour
_ONE = {(meter.product, meter.meter): meter for meter in METERS if meter.sku in {"vCore", "1 vCore"}}
_LIST = {(meter.product, meter.meter): meter for meter in METERS} | _ONE


def _part(row: Row, product: str, meter: str, quantity: Decimal | int = 1) -> tuple[str, Decimal]:
    one = _LIST[product, meter]
    price = one.price if one.everywhere else regional(one.price, row["location"])
    return one.service, price / monthly_hours(one.unit) * quantity


def _running(row: Row, size: str, count: int = 1) -> tuple[str, Decimal]:
    return "Virtual Machines", regional(machine(size), row["location"]) * count


def _vm(row: Row) -> _Parts:
    properties = row["properties"]
    if properties["extended"]["instanceView"]["powerState"]["code"] == "PowerState/deallocated":
        return []
    return [_running(row, properties["hardwareProfile"]["vmSize"])]


def _scale_set(row: Row) -> _Parts:
    return [_running(row, row["sku"]["name"], row["sku"]["capacity"])]


def _disk(row: Row) -> _Parts:
    tier, _, copies = row["sku"]["name"].partition("_")
    if tier not in _DISKS:
        return []
    letter, name, _ = _DISKS[tier]
    size = next(number for number, gib in _SIZES.items() if gib >= row["properties"]["diskSizeGB"])
    return [_part(row, f"{name} Managed Disks", f"{letter}{size} {copies} Disk")]


def _sql(row: Row) -> _Parts:
    if row["name"] == "master":
        return []
    cores = row["sku"]["capacity"]
    return [
        _part(row, f"{_GP} - Compute Gen5", "vCore", cores),
        _part(row, f"{_GP} - SQL License", "vCore", cores),
        _part(row, f"{_GP} - Storage", "General Purpose Data Stored", row["properties"]["maxSizeBytes"] // 2**30),
    ]


def _server(service: str, storage: str) -> Callable[[Row], _Parts]:
    def parts(row: Row) -> _Parts:
        size = re.fullmatch(r"Standard_([A-Z])(\d+)([a-z]*)_v(\d)", row["sku"]["name"])
        if size is None:
            return []
        series = f"{size[1]}{size[3]}v{size[4]}"
        held = _part(row, storage, "Storage Data Stored", row["properties"]["storage"]["storageSizeGB"])
        if row["properties"]["state"] == "Stopped":
            return [held]
        compute = f"{service} Flexible Server General Purpose {series} Series Compute"
        return [_part(row, compute, "vCore", int(size[2])), held]

    return parts


def _redis(row: Row) -> _Parts:
    sku = row["properties"]["sku"]
    return [_part(row, f"Azure Redis Cache {sku['name']}", f"{sku['family']}{sku['capacity']} Cache")]


def _load_balancer(row: Row) -> _Parts:
    if row["sku"]["name"] != "Standard":
        return []
    return [_part(row, _LB, "Standard Included LB Rules and Outbound Rules")]


def _gateway(row: Row) -> _Parts:
    properties = row["properties"]
    name = {"WAF_v2": "WAF v2", "Standard_v2": "Standard v2"}.get(properties["sku"]["name"])
    if name is None or properties.get("operationalState") == "Stopped":
        return []
    units = properties["sku"]["capacity"] * 10
    product = f"{_APPGW} {name}"
    return [_part(row, product, "Standard Fixed Cost"), _part(row, product, "Standard Capacity Units", units)]


def _nat_gateway(row: Row) -> _Parts:
    return [_part(row, "NAT Gateway", "Standard Gateway")]


def _cluster(row: Row) -> _Parts:
    if row["properties"]["powerState"]["code"] == "Stopped" or row["sku"]["tier"] != "Standard":
        return []
    return [_part(row, "Azure Kubernetes Service", "Standard Uptime SLA")]


_BY_TYPE: dict[str, Callable[[Row], _Parts]] = {
    "microsoft.compute/virtualmachines": _vm,
    "microsoft.compute/virtualmachinescalesets": _scale_set,
    "microsoft.compute/disks": _disk,
    "microsoft.sql/servers/databases": _sql,
    "microsoft.dbforpostgresql/flexibleservers": _server(_PG, _PG_STORAGE),
    "microsoft.dbformysql/flexibleservers": _server(_MYSQL, f"{_MYSQL} Flexible Server Storage"),
    "microsoft.cache/redis": _redis,
    "microsoft.network/loadbalancers": _load_balancer,
    "microsoft.network/applicationgateways": _gateway,
    "microsoft.network/natgateways": _nat_gateway,
    "microsoft.containerservice/managedclusters": _cluster,
}


def of_resource(row: Row) -> _Parts:
    """What each service takes for a resource an hour, by the list; [] for what is free, stopped or not in the list."""
    sums: dict[str, Decimal] = {}
    known = _BY_TYPE.get(row["type"])
    for service, hourly in known(row) if known else ():
        sums[service] = sums.get(service, Decimal(0)) + hourly
    return list(sums.items())
