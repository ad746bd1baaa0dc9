"""The prices of what runs on Google Cloud, per hour, by its price list: the Cloud Billing Catalog.

The catalogue lists SKUs, whose descriptions are all that tells what they are: the kinds' `skus` say which one is meant.
Estimates are at list price, on demand or spot, without sustained-use and committed-use discounts, free tiers, traffic
and licences. What is not priced, each file of `services` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Price, PriceList
from optiinfra_dagster.model.errors import CollectionError
from optiinfra_dagster.model.hosts import is_plain_loopback
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.gcp.client import open_project
from optiinfra_dagster.providers.gcp.services import SKUS

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount
    from optiinfra_dagster.providers.gcp.kind import Sku

API = "cloudbilling.googleapis.com"
_PAGE = 5000
_HOURS = 730  # of a month: https://cloud.google.com/compute/disks-image-pricing
_PLACES = Decimal("1e-15")

_SERVICES = {sku.service.id: sku.service for sku in SKUS}
_BY_TEXT: Mapping[tuple[str, str], Sku] = {(sku.service.id, sku.text.lower()): sku for sku in SKUS}


def fetch(
    _customer_id: str, accounts: Sequence[GcpAccount], wanted: Collection[tuple[str, str]], meter: Meter
) -> PriceList:
    """The list prices of what is wanted, by (region, key), in USD: the same for all, asked with the first account.

    Only the services that have a wanted key are listed; a key without a SKU has no price. What is listed as `global` is
    the price everywhere.
    """
    prices = PriceList()
    keys = {key for _, key in wanted}
    places = {*wanted, *(("", key) for key in keys)}
    services = sorted({sku.service.id for sku in SKUS if sku.key in keys})
    for account in accounts[:1] if services else ():
        try:
            endpoint = account.endpoint()
            project = open_project(account, meter)
            local = endpoint if is_plain_loopback(endpoint) else None
            project = replace(project, endpoint=local or f"https://{API}", api=API, role=_ROLE)
            query = {"pageSize": _PAGE, "currencyCode": "USD", "prettyPrint": "false"}
            for service in services:
                operation = f"skus.list of services/{service}"
                for page in project.listing(f"v1/services/{service}/skus", query, "skus", "ListSkus", operation, meter):
                    prices.prices += [
                        price for sku in page for price in prices_of(service, sku) if _at(price) in places
                    ]
        except CollectionError as error:
            prices.problems.append(Problem.of(account.project_id, error))
    return prices


_ROLE = "nothing but a valid credential"  # the catalogue is public


def _at(price: Price) -> tuple[str, str]:
    return price.region, price.key


def prices_of(service: str, sku: Mapping[str, Any]) -> Iterator[Price]:
    """The prices of a SKU in the catalogue, one for each region that it is for; none where no rule means it.

    `service` is the id of the catalogue's service that has it.
    """
    text = str(sku.get("description") or "")
    begin = _SERVICES[service].beginning.match(text)
    rule = _BY_TEXT.get((service, begin[0].lower())) if begin else None
    usage = str((sku.get("category") or {}).get("usageType") or "")
    if rule is None or usage != ("Preemptible" if rule.spot else "OnDemand"):
        return
    expression = ((sku.get("pricingInfo") or [{}])[-1]).get("pricingExpression") or {}
    rates = expression.get("tieredRates") or []
    hours = {"h": 1, "GiBy.h": 1, "GiBy.mo": _HOURS}.get(str(expression.get("usageUnit")))
    if not rates or hours is None:
        return
    unit = max(rates, key=lambda rate: rate.get("startUsageAmount") or 0).get("unitPrice") or {}  # after the free tier
    usd = Decimal(str(unit.get("units") or 0)) + Decimal(int(unit.get("nanos") or 0)).scaleb(-9)
    for region in sku.get("serviceRegions") or ():
        yield Price(
            "" if region == "global" else region,
            rule.key,
            (usd / hours).quantize(_PLACES),
            str(unit.get("currencyCode") or "USD"),
            text,
        )
