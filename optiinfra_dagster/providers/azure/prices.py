"""What Azure's resources cost by its public price list, the Retail Prices API: pay as you go, in USD.

https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices. A part's key is in the words of
that list, `service | product | meter`, or `Virtual Machines | <size> | <system>`.

Priced are machines and uniform scale sets (Linux, Windows, Spot), managed disks by tier, SQL databases and pools by
vCore, PostgreSQL and MySQL flexible servers, caches for Redis, load balancers, application gateways v2, NAT gateways
and the uptime tier of AKS. Not priced, because the inventory does not tell enough or use decides: DTU, serverless and
Hyperscale databases, managed instances, single servers, Cosmos DB, Redis Enterprise, Ultra and Premium SSD v2 disks,
gateways v1, traffic, transactions and backups. A customer's own discounts are on the bill only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core.rest import HttpRequest

from optiinfra_dagster.model.cost import Component, Price, PriceList
from optiinfra_dagster.model.errors import Cause, CloudError, OptiInfraError
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.azure.client import PlainClient, calling, exact, explained, is_loopback

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.account import AzureAccount

SECONDS = 120.0
"""All prices are fetched within this time, waits included."""

_URL = "https://prices.azure.com"
_TOGETHER = 20  # alternatives in one filter: they all stand in the address
_PAGES = 50  # of one filter
_VM = "Virtual Machines"

# --- What is used -----------------------------------------------------------------------------------------------------


def components(resource: Resource) -> list[Component]:
    """What of the price list a resource uses; [] for what is free, stopped, or not priced here."""
    return list(_PARTS.get(resource.kind, _nothing)(resource))


def _part(service: str, product: str, meter: str, quantity: float | Decimal = 1) -> Component:
    return Component(f"{service} | {product} | {meter}", Decimal(str(quantity)))


def _text(resource: Resource, name: str) -> str:
    return str(resource.metadata.get(name) or "")


def _count(resource: Resource, name: str) -> float:
    value = resource.metadata.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _nothing(_resource: Resource) -> Iterator[Component]:
    yield from ()


def _machine(resource: Resource, count: float = 1) -> Iterator[Component]:
    size = _text(resource, "instance_type")
    # Who brings a licence of Windows pays what Linux costs.
    windows = _text(resource, "platform").lower() == "windows" and "license" not in resource.metadata
    spot = " spot" if _text(resource, "priority").lower() in {"spot", "low"} else ""
    if size and count:
        yield _part(_VM, size, f"{'windows' if windows else 'linux'}{spot}", count)


def _vm(resource: Resource) -> Iterator[Component]:
    # One that was only shut down from within is kept, and paid for: `stopped` and not `deallocated`.
    if resource.cloud_status.lower() not in {"deallocated", "deallocating", "hibernated"}:
        yield from _machine(resource)


def _scale_set(resource: Resource) -> Iterator[Component]:
    if _text(resource, "orchestration").lower() != "flexible":  # its instances are listed as machines
        yield from _machine(resource, _count(resource, "instances"))


# https://learn.microsoft.com/azure/virtual-machines/disks-types: the number of a tier, and the GiB that it ends with
_TIERS: Mapping[int, int] = {
    1: 4, 2: 8, 3: 16, 4: 32, 6: 64, 10: 128, 15: 256, 20: 512, 30: 1024, 40: 2048, 50: 4096, 60: 8192, 70: 16384,
    80: 32767,
}  # fmt: skip
# SKU of a disk -> letter of its tiers, first tier, name in the list
_DISKS: Mapping[str, tuple[str, int, str]] = {
    "premium": ("P", 1, "Premium SSD Managed Disks"),
    "standardssd": ("E", 1, "Standard SSD Managed Disks"),
    "standard": ("S", 4, "Standard HDD Managed Disks"),
}


def _disk(resource: Resource) -> Iterator[Component]:
    sku, _, copies = _text(resource, "volume_type").partition("_")
    known, gib = _DISKS.get(sku.lower()), resource.capacity
    if known is None or not gib:
        return
    letter, smallest, product = known
    tier = next((number for number, ends in _TIERS.items() if number >= smallest and ends >= gib), None)
    if tier is not None:
        yield _part("Storage", product, f"{letter}{tier} {copies.upper()} Disk")


_SQL = "SQL Database"
_SQL_TIERS: Mapping[str, str] = {"generalpurpose": "General Purpose", "businesscritical": "Business Critical"}


def _sql(resource: Resource) -> Iterator[Component]:
    """A vCore database or elastic pool, `GP_Gen5`. A database that is in a pool costs nothing by itself."""
    sku, cores, gib = _text(resource, "sku").lower(), _count(resource, "units"), resource.capacity
    tier = _SQL_TIERS.get(_text(resource, "tier").lower())
    if tier is None or sku not in {"gp_gen5", "bc_gen5"} or not cores or not gib or "elastic_pool" in resource.metadata:
        return
    if resource.metadata.get("zone_redundant") is True and tier == "General Purpose":
        return  # costs more, by meters of its own
    product = f"Single/Elastic Pool {tier}"
    if resource.status is not Status.STOPPED:
        yield _part(_SQL, f"{_SQL} {product} - Compute Gen5", "vCore", cores)
        if _text(resource, "license").lower() != "baseprice":  # a licence of the customer's own
            yield _part(_SQL, f"{_SQL} {product} - SQL License", "vCore", cores)
    yield _part(_SQL, f"{_SQL} {product} - Storage", f"{tier} Data Stored", gib)


_SERVER_SIZE = re.compile(r"standard_([a-z])(\d+)([a-z]*)_v(\d+)", re.IGNORECASE)


def _server(service: str, tiers: Mapping[str, str]) -> Callable[[Resource], Iterator[Component]]:
    """A flexible server: vCores, by the series that its size names, and storage; all twice where it has a standby."""

    def parts(resource: Resource) -> Iterator[Component]:
        size, gib = _text(resource, "sku"), resource.capacity
        copies = 2 if _text(resource, "high_availability").lower() in {"zoneredundant", "samezone"} else 1
        tier, known = tiers.get(_text(resource, "tier").lower()), _SERVER_SIZE.fullmatch(size)
        burst = re.fullmatch(r"standard_(b\d+m?s)", size, re.IGNORECASE)
        if not gib:
            return
        compute = None
        if burst:
            product = f"{service} Flexible Server Burstable BS Series Compute"
            compute = _part(service, product, burst[1].upper(), copies)
        elif tier and known:
            family, cores, features, version = known.groups()
            series = f"{family.upper()}{features.lower()}v{version}"
            product = f"{service} Flexible Server {tier} {series} Series Compute"
            compute = _part(service, product, "vCore", int(cores) * copies)
        if compute is None:
            return
        if resource.status is not Status.STOPPED:
            yield compute
        # The list writes the product `Az DB for PostgreSQL Flexible Server Storage`, or otherwise.
        yield _part(service, "Server Storage", "Storage Data Stored", gib * copies)

    return parts


def _redis(resource: Resource) -> Iterator[Component]:
    tier, size = _text(resource, "sku").capitalize(), resource.metadata.get("units")
    letter = {"Basic": "C", "Standard": "C", "Premium": "P"}.get(tier)
    if letter and size is not None:
        yield _part("Redis Cache", f"Azure Redis Cache {tier}", f"{letter}{_count(resource, 'units'):.0f} Cache")


_INCLUDED_RULES = 5


def _load_balancer(resource: Resource) -> Iterator[Component]:
    """The first five rules of a standard one cost the same as one; without any rule, and of the basic kind, it is free.

    Outbound rules are not in the inventory, and would count too.
    """
    rules = _count(resource, "rules")
    if _text(resource, "sku").lower() != "standard" or not rules:
        return
    yield _part("Load Balancer", "Load Balancer", "Standard Included LB Rules and Outbound Rules")
    if rules > _INCLUDED_RULES:
        more = rules - _INCLUDED_RULES
        yield _part("Load Balancer", "Load Balancer", "Standard Overage LB Rules and Outbound Rules", more)


_UNITS = 10  # capacity units that each instance of an application gateway holds


def _gateway(resource: Resource) -> Iterator[Component]:
    name = {"standard_v2": "Standard v2", "waf_v2": "WAF v2"}.get(_text(resource, "sku").lower())
    if name is None or resource.status is Status.STOPPED:
        return
    product = f"Application Gateway {name}"
    yield _part("Application Gateway", product, "Standard Fixed Cost")
    units = _UNITS * (_count(resource, "instances") or _count(resource, "instances_min"))
    if units:
        yield _part("Application Gateway", product, "Standard Capacity Units", units)


def _nat_gateway(_resource: Resource) -> Iterator[Component]:
    yield _part("NAT Gateway", "NAT Gateway", "Standard Gateway")


def _cluster(resource: Resource) -> Iterator[Component]:
    """The uptime tier, for nodes are machines and scale sets of their own. Free ones and stopped ones cost nothing."""
    if _text(resource, "tier").lower() == "standard" and resource.status is not Status.STOPPED:
        yield _part("Azure Kubernetes Service", "Azure Kubernetes Service", "Standard Uptime SLA")


_PARTS: Mapping[str, Callable[[Resource], Iterator[Component]]] = {
    "azure:vm": _vm,
    "azure:vmss": _scale_set,
    "azure:disk": _disk,
    "azure:sql_database": _sql,
    "azure:sql_pool": _sql,
    "azure:postgresql": _server(
        "Azure Database for PostgreSQL", {"generalpurpose": "General Purpose", "memoryoptimized": "Memory Optimized"}
    ),
    "azure:mysql": _server(
        "Azure Database for MySQL",
        {
            "generalpurpose": "General Purpose",
            "memoryoptimized": "Business Critical",
            "businesscritical": "Business Critical",
        },
    ),
    "azure:redis": _redis,
    "azure:load_balancer": _load_balancer,
    "azure:application_gateway": _gateway,
    "azure:nat_gateway": _nat_gateway,
    "azure:aks": _cluster,
}

# What Cost Management calls the service that charges for a kind.
SERVICES: Mapping[str, str] = {
    "azure:vm": _VM,
    "azure:vmss": _VM,
    "azure:disk": "Storage",
    "azure:sql_database": _SQL,
    "azure:sql_pool": _SQL,
    "azure:postgresql": "Azure Database for PostgreSQL",
    "azure:mysql": "Azure Database for MySQL",
    "azure:redis": "Redis Cache",
    "azure:load_balancer": "Load Balancer",
    "azure:application_gateway": "Application Gateway",
    "azure:nat_gateway": "NAT Gateway",
    "azure:aks": "Azure Kubernetes Service",
}

# --- What it costs ----------------------------------------------------------------------------------------------------


def fetch(
    customer_id: str, accounts: Sequence[AzureAccount], wanted: Collection[tuple[str, str]], meter: Meter
) -> PriceList:
    """The prices of what is wanted, by region and key; what the list does not have is left out.

    What is listed for all regions at once has the region "". One query asks for up to twenty meters of a service in a
    region. Nothing is charged for it, and no credential is shown.
    """
    found = PriceList()
    if not wanted:
        return found
    asked: defaultdict[tuple[str, str], list[str]] = defaultdict(list)
    for region, key in sorted(wanted):
        asked[region, key.partition(" | ")[0]].append(key)
    told: dict[tuple[str, str], Price] = {}
    with calling(meter, SECONDS):
        try:
            listing = _Listing(_endpoint(accounts))
            for (region, service), keys in asked.items():
                name, place = ("armSkuName", 1) if service == _VM else ("meterName", 2)
                values = sorted({key.split(" | ")[place] for key in keys})
                items = [item for part in _parts(values) for item in listing.items(region, service, name, part)]
                for key in keys:
                    price = price_of(region, key, items)
                    if price is not None:
                        told[price.region, price.key] = price
        except OptiInfraError as error:
            cause = error.cause if isinstance(error, CloudError) else Cause.CONFIG
            message = f"the price list could not be read as a whole: {error}"
            found.problems.append(Problem(customer_id, "", "", cause, message))
    found.prices = list(told.values())
    return found


def _parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (values[start : start + _TOGETHER] for start in range(0, len(values), _TOGETHER))


def _endpoint(accounts: Sequence[AzureAccount]) -> str:
    """Where the list is: at a setting of its own, or, for accounts on this machine, there; else in public."""
    for account in accounts:
        endpoint = account.prices_endpoint() or account.endpoint()
        if endpoint and (account.prices_endpoint_url is not None or is_loopback(endpoint)):
            return endpoint
    return _URL


class _Listing:
    """Asks for the items of the list. Only inside of `calling`."""

    def __init__(self, endpoint: str) -> None:
        self._client = PlainClient(endpoint, "RetailPrices")

    def items(self, region: str, service: str, name: str, values: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The items of a service in a region, or everywhere, where a field has one of some values.

        Raises:
            CloudError: the list could not be read to its end.
        """
        alternatives = " or ".join(f"{name} eq '{_quoted(value)}'" for value in values)
        terms = (
            f"serviceName eq '{_quoted(service)}'",
            f"(armRegionName eq '{_quoted(region)}' or armRegionName eq 'Global')",
            "priceType eq 'Consumption'",
            f"({alternatives})",
        )
        parameters = {"api-version": "2023-01-01-preview", "$filter": " and ".join(terms)}
        request = HttpRequest("GET", "/api/retail/prices", params=parameters)
        seen = set[str]()
        while True:
            with explained("retailprices.List", ""):
                response = self._client.send(request)
            try:
                page = exact(response.text())
                yield from page["Items"]
                link = str(page.get("NextPageLink") or "")
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                what = f"the answer is not as documented ({type(error).__name__}). Check prices_endpoint_url"
                raise CloudError(Cause.UNAVAILABLE, f"retailprices.List: {what}") from None
            if not link:
                return
            if link in seen or len(seen) >= _PAGES:
                raise CloudError(Cause.INCOMPLETE, "retailprices.List: the price list repeats a page")
            seen.add(link)
            parts = urlsplit(link)
            request = HttpRequest("GET", f"{parts.path}?{parts.query}")  # at the same host, whatever the link says


def _quoted(value: str) -> str:
    return value.replace("'", "''")


# Hours in what a price is for. Azure itself counts 730 to a month.
_HOURS: Mapping[str, int] = {
    "1 hour": 1, "1/hour": 1, "1/day": 24, "1 day": 24, "1/month": 730, "1 month": 730, "1 gb/month": 730,
    "1 gib/month": 730,
}  # fmt: skip
_CORES = re.compile(r"(?:(\d+) )?vCore", re.IGNORECASE)


def price_of(region: str, key: str, items: Iterable[Mapping[str, Any]]) -> Price | None:
    """The price of a key among items of the list; None where there is none, or more than one that may be meant."""
    service, product, meter = key.split(" | ")
    found: dict[tuple[bool, bool, int], set[tuple[Decimal, str]]] = defaultdict(set)
    for item in items:
        hours, cores = _HOURS.get(_lower(item, "unitOfMeasure")), 1
        given = item.get("retailPrice")
        if hours is None or not isinstance(given, Decimal | int) or item.get("type") not in {None, "Consumption"}:
            continue
        if item.get("serviceName") != service or item.get("tierMinimumUnits"):
            continue  # a tier: what is used first is at another price
        if service == _VM:
            system = "windows" if _lower(item, "productName").endswith(" windows") else "linux"
            spot = " spot" if _lower(item, "skuName").endswith(" spot") else ""
            fits = (item.get("armSkuName"), f"{system}{spot}") == (product, meter) and not _of_another_kind(item)
        else:
            fits = str(item.get("productName")).endswith(product) and item.get("meterName") == meter
        if fits and meter == "vCore":
            # One price for each number of vCores: those of one are the rate.
            numbered = _CORES.fullmatch(str(item.get("skuName")))
            if numbered is None:
                continue
            cores = int(numbered[1] or 1)
        if fits:
            here = item.get("armRegionName") == region
            secondary = item.get("isPrimaryMeterRegion") is False
            found[not here, secondary, cores].add((Decimal(given) / hours / cores, str(item.get("currencyCode"))))
    if not found:
        return None
    best = min(found)
    if len(found[best]) != 1:
        return None
    ((hourly, currency),) = found[best]
    return Price("" if best[0] else region, key, hourly.quantize(_LAST_DIGIT), currency, f"pay as you go: {key}")


_LAST_DIGIT = Decimal("1e-18")


def _lower(item: Mapping[str, Any], name: str) -> str:
    return str(item.get(name) or "").lower()


def _of_another_kind(item: Mapping[str, Any]) -> bool:
    """A machine that may be taken away under another name, or that is one of Cloud Services."""
    return _lower(item, "skuName").endswith(" low priority") or "cloudservices" in _lower(item, "productName").replace(
        " ", ""
    )
