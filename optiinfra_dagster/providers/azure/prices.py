"""List prices of Azure: its public price list, the Retail Prices API, pay as you go and in the bill's currency.

https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices. A part's key is in the words of
that list, `service | product | meter`, or `Virtual Machines | <size> | <system>`. The list itself is not at one with
its words: `Ddsv5 Series` and `- Ddsv5-series`, `B1MS` and `B1ms`. So case, hyphens and the word Series do not count.

Priced are machines and uniform scale sets (Linux, Windows, Spot), managed disks by tier, SQL databases and pools by
vCore, PostgreSQL and MySQL flexible servers, caches for Redis, load balancers, application gateways v2, NAT gateways
and the uptime tier of AKS. Not priced, because the inventory does not tell enough or use decides: DTU, serverless and
Hyperscale databases, managed instances, single servers, Cosmos DB, Redis Enterprise, Ultra and Premium SSD v2 disks,
snapshots and images, storage accounts, NetApp volumes, App Service plans, Container Apps,
gateways v1, global load balancers, traffic, transactions and backups; and machines whose image costs a licence beside
the machine. A customer's own discounts are on the bill only.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
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
from optiinfra_dagster.providers.parsing import Item, as_datetime, as_dicts

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.account import AzureAccount

SECONDS = 120.0
"""All prices are fetched within this time, waits included."""

_URL = "https://prices.azure.com"
_TOGETHER = 20  # alternatives in one filter: they all stand in the address
_PAGES = 50  # of one filter


# What the list comes in: https://learn.microsoft.com/rest/api/cost-management/retail-prices/azure-retail-prices
_CURRENCIES = {
    "USD", "AUD", "BRL", "CAD", "CHF", "CNY", "DKK", "EUR", "GBP", "INR", "JPY", "KRW", "NOK", "NZD", "RUB", "SEK",
    "TWD",
}  # fmt: skip


def fetch(
    customer_id: str,
    accounts: Sequence[AzureAccount],
    wanted: Collection[tuple[str, str]],
    meter: Meter,
    currency: str = "USD",
) -> PriceList:
    """The prices of `wanted`, as (region, key), in a currency or, where the list does not come in it, in USD.

    What the list does not have is left out. What is listed for all regions at once has the region "". One query asks
    for up to twenty meters of a service in a region, and one more for the whole service where a meter was not found.
    Nothing is charged for it, and no credential is shown.
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
            listing = _Listing(_endpoint(accounts), currency if currency in _CURRENCIES else "USD")
            for (region, service), keys in together.items():
                name, place = ("armSkuName", 1) if service == VIRTUAL_MACHINES else ("meterName", 2)
                values = sorted({key.split(" | ")[place] for key in keys})
                items = [item for part in _parts(values) for item in listing.items(region, service, name, part)]
                found = {key: price_of(region, key, items) for key in keys}
                if service != VIRTUAL_MACHINES and None in found.values():
                    # Filters are case-sensitive, so a meter in another case is found in the whole service only.
                    items = list(listing.items(region, service))
                    found = {key: price or price_of(region, key, items) for key, price in found.items()}
                prices |= {(price.region, price.key): price for price in found.values() if price is not None}
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

    def __init__(self, endpoint: str, currency: str) -> None:
        self._client = RestClient(endpoint, Transport("RetailPrices"))
        self._currency = currency

    def items(self, region: str, service: str, name: str = "", values: Sequence[str] = ()) -> Iterator[Item]:
        """The items of a service in a region, or everywhere; with `values` those where a field has one of them.

        Raises:
            CloudError: the list could not be read to its end.
        """
        alternatives = " or ".join(f"{name} eq '{_quoted(value)}'" for value in values)
        terms = (
            f"serviceName eq '{_quoted(service)}'",
            f"(armRegionName eq '{_quoted(region)}' or armRegionName eq 'Global')",
            "priceType eq 'Consumption'",
            *([f"({alternatives})"] if values else []),
        )
        parameters = {
            "api-version": "2023-01-01-preview",
            "currencyCode": f"'{self._currency}'",
            "$filter": " and ".join(terms),
        }
        request = HttpRequest("GET", "/api/retail/prices", params=parameters)
        guard = PageGuard("retailprices.List", _PAGES)
        while True:
            with explained("retailprices.List", ""):
                response = self._client.send(request)
            try:
                page = exact(response.text())
                if not isinstance(page["Items"], list):
                    raise TypeError
                yield from as_dicts(page["Items"])
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
    rates: dict[_Rank, set[tuple[Decimal, str]]] = defaultdict(set)  # hourly, with their currencies
    now = datetime.now(UTC)
    for item in items:
        hourly = _hourly(item) if _holds(item, now) else None
        rank = None if hourly is None else _rank(item, region, *key.split(" | "))
        currency = str(item.get("currencyCode") or "")
        if hourly is not None and rank is not None and currency:
            rates[rank].add((hourly / rank.cores, currency))
    if not rates:
        return None
    best = min(rates)
    if len(rates[best]) != 1:
        return None
    ((rate, currency),) = rates[best]
    place = "" if best.elsewhere else region
    return Price(place, key, rate.quantize(_LAST_DIGIT), currency, f"pay as you go: {key}")


class _Rank(NamedTuple):
    """The distance of an item of the list from what is meant; the nearest item has the price."""

    elsewhere: bool  # it is for all regions
    secondary: bool  # it is no primary meter
    more: bool  # its product's name says more than ours
    cores: int  # that it is the price of


def _holds(item: Mapping[str, Any], now: datetime) -> bool:
    """False for a price that was announced, or that another one took the place of."""
    start, end = (as_datetime(item.get(f"effective{which}Date")) for which in ("Start", "End"))
    return (start is None or start <= now) and (end is None or now < end)


def _hourly(item: Mapping[str, Any]) -> Decimal | None:
    """The price of an hour; None for an item that is not bought by time, as one goes.

    Nothing is the price of free use, not of what is meant here; in a tier, what is used first has another price.
    """
    hours, listed = _HOURS.get(_lower(item, "unitOfMeasure")), item.get("retailPrice")
    if hours is None or isinstance(listed, bool) or not isinstance(listed, Decimal | int) or listed <= 0:
        return None
    bought_otherwise = item.get("type") not in {None, "Consumption"} or item.get("tierMinimumUnits")
    return None if bought_otherwise else Decimal(listed) / hours


def _rank(item: Mapping[str, Any], region: str, service: str, product: str, meter: str) -> _Rank | None:
    """The rank of an item for a meter of a product; None where it is of another one."""
    more, cores = False, 1
    if _words(item.get("serviceName")) != _words(service):
        return None
    if service == VIRTUAL_MACHINES:
        fits = _lower(item, "armSkuName") == product.lower() and _bought_as(item) == meter
    else:
        named, wanted = _words(item.get("productName")), _words(product)
        more = named != wanted
        fits = f" {named}".endswith(f" {wanted}") and _words(item.get("meterName")) == _words(meter)
    if meter == "vCore":
        # One price for each number of vCores: those of one are the rate.
        numbered = _CORES.fullmatch(str(item.get("skuName")))
        fits, cores = fits and numbered is not None, int((numbered and numbered[1]) or 1)
    elsewhere = _lower(item, "armRegionName") != region.lower()
    return _Rank(elsewhere, item.get("isPrimaryMeterRegion") is False, more, cores) if fits else None


_LAST_DIGIT = Decimal("1e-18")

# Names that the list has for the same, and what our keys leave out of it.
_SAME = (
    (re.compile(r"[^a-z0-9]+"), " "),
    (re.compile(r"\bseries\b"), ""),
    (re.compile(r"\b(az|azure) (db|database)\b"), "azure database"),
    (re.compile(r"\bflex server\b"), "flexible server"),
    (re.compile(r"^server storage$"), "flexible server storage"),
)


@lru_cache(maxsize=10_000)
def _plain(text: str) -> str:
    for pattern, replacement in _SAME:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def _words(value: object) -> str:
    """The words of a name in the list, so that the list's ways to write one thing are the same."""
    return _plain(str(value or "").lower())


def _lower(item: Mapping[str, Any], name: str) -> str:
    return str(item.get(name) or "").strip().lower()


def _bought_as(item: Mapping[str, Any]) -> str:
    """The system of a machine, and whether it may be taken away; "" for one of Cloud Services, or of old terms."""
    names = {_lower(item, "skuName"), _lower(item, "meterName")}
    product = _lower(item, "productName")
    if "cloudservices" in product.replace(" ", "") or any(
        name.endswith((" low priority", " expired")) for name in names
    ):
        return ""
    spot = " spot" if any(name.endswith(" spot") for name in names) else ""
    return f"{'windows' if product.endswith(' windows') else 'linux'}{spot}"
