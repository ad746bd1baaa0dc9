"""List prices of AWS resources: on-demand prices by the hour, before discounts, tax and anything by use.

What is charged by use (capacity units of load balancers, requests, transfer, Aurora storage, DynamoDB, EFS, S3, Lambda,
serverless caches) has no estimate, and neither have snapshots, whose price follows from what changed since the one
before, Fargate and FSx, whose sizes are told elsewhere, spot instances, which have no list price, Aurora Serverless,
Multi-AZ clusters of RDS, and databases with a volume of their own for logs. Fields of the price list:
https://docs.aws.amazon.com/awsaccountbilling/latest/aboutv2/using-price-list-query-api.html
"""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Component, Price, PriceList
from optiinfra_dagster.model.errors import CloudError, CollectionError
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws.client import Account, open_account
from optiinfra_dagster.providers.aws.kind import pages_of
from optiinfra_dagster.providers.aws.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount
    from optiinfra_dagster.providers.aws.kind import PriceQuery

# The one region of a partition that serves its price list here; GovCloud's is served to other partitions only.
_ENDPOINTS = {"aws": "us-east-1", "aws-cn": "cn-northwest-1"}
_MONTH_HOURS = 730  # by which AWS itself turns a price by the month into one by the hour
_LAST_DIGIT = Decimal("1e-18")
_AT_ONCE = 4
_SECONDS = 120.0

_QUERIES = [(re.compile(pattern), query) for kind in KINDS.values() for pattern, query in kind.price_queries.items()]


def components(resource: Resource) -> list[Component]:
    """The parts of a resource that have a price by the hour; none for what is free, stopped or charged by use."""
    kind = KINDS.get(resource.kind)
    unpaid = resource.status in {Status.TERMINATED, Status.STARTING, Status.ERROR}
    if kind is None or kind.price_parts is None or unpaid:
        return []
    return [part for part in kind.price_parts(resource) if part.quantity > 0]


def query_for(key: str) -> PriceQuery | None:
    """The query that finds the price of a component's key; None for a key that no kind has."""
    for pattern, query in _QUERIES:
        if match := pattern.fullmatch(key):
            return query(*match.groups())
    return None


def fetch(
    customer_id: str,
    accounts: Sequence[AwsAccount],
    wanted: Collection[tuple[str, str]],
    meter: Meter,
    currency: str = "USD",
) -> PriceList:
    """Ask for the list prices of `wanted`, as (region, key): a call for each, free of charge, by one of the accounts.

    What the list has no price for is left out. The price list is the same for all; the first account that may read it
    is enough. It is in USD, and in China in CNY, whatever the bill is in.
    """
    problems: list[Problem] = []
    for config in accounts:
        try:
            account = open_account(customer_id, config, meter)
            endpoint = _ENDPOINTS.get(account.partition)
            return PriceList() if endpoint is None else _ask_all(account, endpoint, sorted(wanted), meter, currency)
        except CollectionError as error:
            problems.append(Problem.of(config.account_id, error))
    return PriceList(problems=problems)


def _ask_all(
    account: Account, endpoint: str, wanted: Sequence[tuple[str, str]], meter: Meter, currency: str
) -> PriceList:
    """Ask for each; the first alone, so that an account that may not costs one call. CloudError if it may not."""
    until = time.monotonic() + _SECONDS

    def ask(place: tuple[str, str]) -> Price | CloudError | None:
        query = query_for(place[1])
        if query is None:
            return None
        try:
            with account.call("pricing", endpoint, meter, until=until) as pricing:
                return _listed(pricing, query, *place, currency)
        except CloudError as error:
            return error

    first = ask(wanted[0]) if wanted else None
    if isinstance(first, CloudError) and first.cause.permanent:
        raise first
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="aws-prices") as pool:
        answers = [first, *pool.map(ask, wanted[1:])]
    failures = dict.fromkeys((answer.cause, str(answer)) for answer in answers if isinstance(answer, CloudError))
    return PriceList(
        [answer for answer in answers if isinstance(answer, Price)],
        [Problem(account.account_id, endpoint, "", cause, message) for cause, message in failures],
    )


# A region's code before a usage type; us-east-1 has none, or USE1. Not TS-, Outposts- or a Local Zone's USW2-LAX1-.
_CODE = r"(?:(?:EU|[A-Z]{2,4}\d{1,2})-)?"
_PLACES = ("AWS Region", "")  # of locationType: neither Outposts nor Local Zones nor Wavelength


def _listed(pricing: Any, query: PriceQuery, region: str, key: str, currency: str = "USD") -> Price | None:
    """The price of the product that a query finds; None where there is none, or products of different prices.

    Of a price in several currencies it is the one in `currency`.
    """
    fields = {"regionCode": region, **query.filters}
    filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in fields.items()]
    pages = pages_of(pricing, "get_products", 100, ServiceCode=query.service, Filters=filters)
    usage = re.compile(_CODE + query.usage)
    found: defaultdict[tuple[int, ...], list[Price]] = defaultdict(list)  # by how well the product fits
    for text in (text for page in pages for text in page.get("PriceList") or ()):
        item = json.loads(text)
        fits = _fit(item["product"]["attributes"], query, usage)
        if fits is not None:
            found[fits] += _prices(item, region, key, currency)
    best = next((prices for _, prices in sorted(found.items()) if prices), [])
    return best[0] if len({(price.hourly, price.currency) for price in best}) == 1 else None


def _fit(attributes: Mapping[str, str], query: PriceQuery, usage: re.Pattern[str]) -> tuple[int, ...] | None:
    """The rank of a product that fits, 0 is best; None for another product."""
    if not usage.fullmatch(str(attributes.get("usagetype"))):
        return None
    wanted = {"locationType": _PLACES, **query.among}
    if any(attributes.get(name, "") not in values for name, values in wanted.items()):
        return None
    return tuple(values.index(attributes.get(name, "")) for name, values in query.among.items())


def _prices(item: Any, region: str, key: str, currency: str) -> Iterator[Price]:
    """The on-demand prices of a product, by the hour, in `currency` if it has it; of a price in tiers, the first."""
    for term in item.get("terms", {}).get("OnDemand", {}).values():
        for dimension in term["priceDimensions"].values():
            amounts = dimension["pricePerUnit"]
            for code in next(([each] for each in (currency, "USD") if each in amounts), list(amounts)):
                hourly = _hourly(Decimal(amounts[code]), str(dimension.get("unit")).lower())
                # Nothing is what a reservation leaves to pay, and what a free tier costs.
                if hourly and hourly.is_finite() and hourly > 0 and not Decimal(str(dimension.get("beginRange") or 0)):
                    yield Price(region, key, hourly, code, str(dimension.get("description") or ""))


def _hourly(amount: Decimal, unit: str) -> Decimal | None:
    """A price by the hour; None for a unit that is neither of time nor of a month."""
    if unit in {"hrs", "hours", "hour", "hr"}:
        return amount
    if not unit.endswith(("-mo", "-month")):
        return None
    parts = 1024 if unit.startswith("gibps-") else 1  # our key is by MiB/s
    return (amount / _MONTH_HOURS / parts).quantize(_LAST_DIGIT)
