"""List prices of Azure: its public price list, the Retail Prices API, pay as you go and in USD.

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
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core.rest import HttpRequest

from optiinfra_dagster.model.cost import Price, PriceList
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.hosts import is_plain_loopback
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.azure.client import exact
from optiinfra_dagster.providers.azure.errors import explained
from optiinfra_dagster.providers.azure.services.virtual_machines import VIRTUAL_MACHINES
from optiinfra_dagster.providers.azure.transport import RestClient, Transport, calling
from optiinfra_dagster.providers.paging import PageGuard

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.account import AzureAccount

SECONDS = 120.0
"""All prices are fetched within this time, waits included."""

_URL = "https://prices.azure.com"
_TOGETHER = 20  # alternatives in one filter: they all stand in the address
_PAGES = 50  # of one filter


def fetch(
    customer_id: str, accounts: Sequence[AzureAccount], wanted: Collection[tuple[str, str]], meter: Meter
) -> PriceList:
    """The prices of `wanted`, as (region, key); what the list does not have is left out.

    What is listed for all regions at once has the region "". One query asks for up to twenty meters of a service in a
    region. Nothing is charged for it, and no credential is shown.
    """
    answer = PriceList()
    if not wanted:
        return answer
    together: defaultdict[tuple[str, str], list[str]] = defaultdict(list)  # keys by region and service
    for region, key in sorted(wanted):
        together[region, key.partition(" | ")[0]].append(key)
    prices: dict[tuple[str, str], Price] = {}
    with calling(meter, SECONDS):
        try:
            listing = _Listing(_endpoint(accounts))
            for (region, service), keys in together.items():
                name, place = ("armSkuName", 1) if service == VIRTUAL_MACHINES else ("meterName", 2)
                values = sorted({key.split(" | ")[place] for key in keys})
                items = [item for part in _parts(values) for item in listing.items(region, service, name, part)]
                for key in keys:
                    price = price_of(region, key, items)
                    if price is not None:
                        prices[price.region, price.key] = price
        except CollectionError as error:
            message = f"the price list could not be read as a whole: {error}"
            answer.problems.append(Problem(customer_id, "", "", error.cause, message))
    answer.prices = list(prices.values())
    return answer


def _parts(values: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (values[start : start + _TOGETHER] for start in range(0, len(values), _TOGETHER))


def _endpoint(accounts: Sequence[AzureAccount]) -> str:
    """The address of the list: at a setting of its own, or, for accounts on this machine, there; else in public."""
    for account in accounts:
        endpoint = account.prices_endpoint() or account.endpoint()
        if endpoint and (account.prices_endpoint_url is not None or is_plain_loopback(endpoint)):
            return endpoint
    return _URL


class _Listing:
    """Asks for the items of the list. Only inside of `calling`."""

    def __init__(self, endpoint: str) -> None:
        self._client = RestClient(endpoint, Transport("RetailPrices"))

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
        guard = PageGuard("retailprices.List", _PAGES)
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
            guard.check(link)
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
    # (is for all regions, is no primary meter, vCores) -> hourly rates with their currencies; the least counts
    rates: dict[tuple[bool, bool, int], set[tuple[Decimal, str]]] = defaultdict(set)
    for item in items:
        hours, cores = _HOURS.get(_lower(item, "unitOfMeasure")), 1
        listed = item.get("retailPrice")
        if hours is None or not isinstance(listed, Decimal | int) or item.get("type") not in {None, "Consumption"}:
            continue
        if item.get("serviceName") != service or item.get("tierMinimumUnits"):
            continue  # a tier: what is used first is at another price
        if service == VIRTUAL_MACHINES:
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
            rates[not here, secondary, cores].add((Decimal(listed) / hours / cores, str(item.get("currencyCode"))))
    if not rates:
        return None
    best = min(rates)
    if len(rates[best]) != 1:
        return None
    ((hourly, currency),) = rates[best]
    return Price("" if best[0] else region, key, hourly.quantize(_LAST_DIGIT), currency, f"pay as you go: {key}")


_LAST_DIGIT = Decimal("1e-18")


def _lower(item: Mapping[str, Any], name: str) -> str:
    return str(item.get(name) or "").lower()


def _of_another_kind(item: Mapping[str, Any]) -> bool:
    """A machine that may be taken away under another name, or that is one of Cloud Services."""
    return _lower(item, "skuName").endswith(" low priority") or "cloudservices" in _lower(item, "productName").replace(
        " ", ""
    )
