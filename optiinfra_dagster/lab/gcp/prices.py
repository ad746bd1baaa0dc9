"""The price list, as the Cloud Billing Catalog answers it, and what a resource costs by it."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.gcp.kind import REGIONS
from optiinfra_dagster.lab.gcp.pricelist import in_region
from optiinfra_dagster.lab.gcp.services import KINDS, SKUS

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.kind import LabAsset
    from optiinfra_dagster.lab.gcp.pricelist import LabSku


def skus(service: str) -> list[dict[str, Any]]:
    """The SKUs of a service of the catalogue, by its id."""
    rows = [sku for sku in SKUS if sku.service.id == service]
    shown: list[dict[str, Any]] = []
    for region in REGIONS:
        for sku in rows:
            if not sku.places:
                text = f"{sku.text}{sku.service.before_place}{region}"
                shown.append(_shown(sku, len(shown), text, [region], in_region(region, sku.usd)))
    for sku in rows:
        if sku.places:
            shown.append(_shown(sku, len(shown), sku.text, list(sku.places), Decimal(sku.usd)))
    return shown


def _shown(sku: LabSku, n: int, text: str, places: list[str], usd: Decimal) -> dict[str, Any]:
    whole = int(usd)
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
                        {
                            "startUsageAmount": 0,
                            "unitPrice": {
                                "currencyCode": "USD",
                                "units": str(whole),
                                "nanos": int((usd - whole) * 10**9),
                            },
                        }
                    ],
                }
            }
        ],
        "serviceProviderName": "Google",
    }


def hourly(asset: LabAsset) -> tuple[str, Decimal]:
    """The service that charges for an asset, and the price of an hour in USD; "" and 0 for what costs nothing."""
    kind = KINDS[asset.kind]
    usd = kind.hourly(asset)
    return (kind.bill_service, usd) if usd else ("", usd)
