"""The price list, as the Cloud Billing Catalog answers it, and what a resource costs by it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.gcp.kind import REGIONS
from optiinfra_dagster.lab.gcp.pricelist import RATES, in_region
from optiinfra_dagster.lab.gcp.services import KINDS, SKUS

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.kind import LabAsset
    from optiinfra_dagster.lab.gcp.pricelist import LabSku


def skus(service: str, currency: str = "USD") -> list[dict[str, Any]]:
    """The SKUs of a service of the catalogue, by its id, with prices in a currency."""
    rows = [sku for sku in SKUS if sku.service.id == service]
    shown: list[dict[str, Any]] = []
    for region in REGIONS:
        for sku in rows:
            if not sku.places:
                usd = in_region(region, sku.usd)
                shown.append(_shown(sku, len(shown), sku.described(region), [region], usd, currency))
    for sku in rows:
        if sku.places:
            shown.append(_shown(sku, len(shown), sku.text, list(sku.places), Decimal(sku.usd), currency))
    return shown


def _shown(sku: LabSku, n: int, text: str, places: list[str], usd: Decimal, currency: str) -> dict[str, Any]:
    steps = [(0, Decimal(0)), (sku.free, usd)] if sku.free else [(0, usd)]
    return {
        "name": f"services/{sku.service.id}/skus/{n:04X}-0000-0001",
        "skuId": f"{n:04X}-0000-0001",
        "description": text,
        "category": {"resourceFamily": "Compute", "usageType": sku.usage},
        "serviceRegions": places,
        "pricingInfo": [
            {
                "pricingExpression": {
                    "usageUnit": sku.unit,
                    "tieredRates": [
                        {"startUsageAmount": begin, "unitPrice": _money(price * RATES[currency], currency)}
                        for begin, price in steps
                    ],
                }
            }
        ],
        "serviceProviderName": "Google",
    }


def _money(amount: Decimal, currency: str) -> dict[str, Any]:
    whole = int(amount)
    return {"currencyCode": currency, "units": str(whole), "nanos": int((amount - whole) * 10**9)}


def hourly(asset: LabAsset) -> tuple[str, Decimal]:
    """The service that charges for an asset, and the price of an hour in USD; "" and 0 for what costs nothing."""
    kind = KINDS[asset.kind]
    usd = kind.hourly(asset)
    return (kind.bill_service, usd) if usd else ("", usd)
