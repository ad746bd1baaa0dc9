"""The prices of what runs on Google Cloud, per hour, by its price list: the Cloud Billing Catalog.

The catalogue lists SKUs, whose descriptions are all that tells what they are: the kinds' `skus` say which one is meant.
Estimates are at list price, on demand or spot, without sustained-use and committed-use discounts, free tiers and
traffic. What is not priced, each file of `services` says. Prices are in the bill's currency, as Google lists them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Price, PriceList
from optiinfra_dagster.model.errors import Cause, CollectionError
from optiinfra_dagster.model.hosts import is_plain_loopback
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.gcp.client import open_project
from optiinfra_dagster.providers.gcp.services import SKUS
from optiinfra_dagster.providers.parsing import ODD

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount
    from optiinfra_dagster.providers.gcp.kind import Sku

API = "cloudbilling.googleapis.com"
_PAGE = 5000
_HOURS = 730  # of a month: https://cloud.google.com/compute/disks-image-pricing
_PLACES = Decimal("1e-15")

_SERVICES = {sku.service.id: sku.service for sku in SKUS}
_BY_TEXT: Mapping[tuple[str, str], Sku] = {(sku.service.id, sku.service.plain(sku.text)): sku for sku in SKUS}


def fetch(
    _customer_id: str,
    accounts: Sequence[GcpAccount],
    wanted: Collection[tuple[str, str]],
    meter: Meter,
    currency: str = "USD",
) -> PriceList:
    """The list prices of what is wanted, by (region, key), in a currency: the same for all, so the first account asks.

    Only the services that have a wanted key are listed; a key without a SKU, or with SKUs of different prices, has no
    price. What is listed as `global` is the price everywhere. A currency that the catalogue does not know is asked for
    in USD.
    """
    services = sorted({sku.service.id for sku in SKUS if sku.key in {key for _, key in wanted}})
    for account in accounts[:1] if services else ():
        try:
            return PriceList(_listed(account, services, wanted, meter, currency))
        except CollectionError as error:
            if currency != "USD" and error.cause in {Cause.BUG, Cause.CONFIG}:  # as INVALID_ARGUMENT is understood
                return fetch(_customer_id, accounts, wanted, meter)
            return PriceList(problems=[Problem.of(account.project_id, error)])
    return PriceList()


def _listed(
    account: GcpAccount, services: Sequence[str], wanted: Collection[tuple[str, str]], meter: Meter, currency: str
) -> list[Price]:
    """The prices of what is wanted, by an account.

    Raises:
        CollectionError: a service could not be listed to its end.
    """
    endpoint = account.endpoint()
    project = open_project(account, meter)
    local = endpoint if is_plain_loopback(endpoint) else None
    project = replace(project, endpoint=local or f"https://{API}", api=API, role=_ROLE)
    query = {"pageSize": _PAGE, "currencyCode": currency, "prettyPrint": "false"}
    places = {*wanted, *(("", key) for _, key in wanted)}
    found: defaultdict[tuple[str, str], list[Price]] = defaultdict(list)
    for service in services:
        operation = f"skus.list of services/{service}"
        for page in project.listing(f"v1/services/{service}/skus", query, "skus", "ListSkus", operation, meter):
            for sku in page:
                with suppress(*ODD):  # what cannot be read has no price
                    for price in prices_of(service, sku):
                        found[price.region, price.key].append(price)
    return [prices[0] for at, prices in found.items() if at in places and len({price.hourly for price in prices}) == 1]


_ROLE = "nothing but a valid credential"  # the catalogue is public


def prices_of(service: str, sku: Mapping[str, Any]) -> Iterator[Price]:
    """The prices of a SKU in the catalogue, one for each region that it is for; none where no rule means it.

    `service` is the id of the catalogue's service that has it.
    """
    text, of_service = str(sku.get("description") or ""), _SERVICES[service]
    begin = of_service.beginning.match(text)
    rule = _BY_TEXT.get((service, of_service.plain(begin[0]))) if begin else None
    usage = str((sku.get("category") or {}).get("usageType") or "")
    if rule is None or usage != ("Preemptible" if rule.spot else "OnDemand"):
        return
    expression = ((sku.get("pricingInfo") or [{}])[-1]).get("pricingExpression") or {}
    hours = {"h": 1, "GiBy.h": 1, "GiBy.mo": _HOURS}.get(str(expression.get("usageUnit")))
    rates = sorted(expression.get("tieredRates") or [], key=lambda rate: float(rate.get("startUsageAmount") or 0))
    # The first that costs anything: what is free comes before it, what is cheaper by the quantity after.
    paid = [(amount, unit) for rate in rates if (unit := rate.get("unitPrice") or {}) and (amount := _amount(unit)) > 0]
    if not paid or hours is None:
        return
    amount, unit = paid[0]
    if not (currency := str(unit.get("currencyCode") or "")):
        return
    for region in sku.get("serviceRegions") or ():
        yield Price(
            "" if region == "global" else region,
            rule.key,
            (amount / hours).quantize(_PLACES),
            currency,
            text,
        )


def _amount(unit: Mapping[str, Any]) -> Decimal:
    return Decimal(str(unit.get("units") or 0)) + Decimal(int(unit.get("nanos") or 0)).scaleb(-9)
