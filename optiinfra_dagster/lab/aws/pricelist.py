"""The price list of the lab's AWS: GetProducts, with the products that the world's resources need and their neighbours.

Prices are by the hour or the month, in USD; where only one region is known, other regions are a tenth dearer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.aws.kind import describe
from optiinfra_dagster.lab.aws.wire import AwsError, Call
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import Estate


@dataclass(frozen=True, slots=True)
class Product:
    """A line of the price list."""

    service: str
    family: str
    attributes: Mapping[str, str]
    unit: str
    usd: Decimal
    currency: str = "USD"

    @property
    def shown(self) -> str:
        """The product as GetProducts shows it: JSON in a string, with its on-demand term and a reserved one."""
        sku = f"{digest(self.service, self.family, json.dumps(self.attributes, sort_keys=True)):016X}"

        def terms(usd: Decimal, code: str) -> dict[str, Any]:
            dimension = {
                "unit": self.unit, "beginRange": "0", "endRange": "Inf", "appliesTo": [],
                "rateCode": f"{sku}.{code}.6YS6EN2CT7",
                "description": f"${usd:f} per {self.unit}", "pricePerUnit": {self.currency: f"{usd:.10f}"},
            }  # fmt: skip
            # What is left to pay where a reservation is used: the list has it among the on-demand prices of caches.
            reserved = dimension | {
                "rateCode": f"{sku}.{code}.2TG2D8R56U", "description": "reserved instance applied",
                "pricePerUnit": {self.currency: "0.0000000000"},
            }  # fmt: skip
            dimensions = [reserved, dimension] if self.family == "Cache Instance" else [dimension]
            return {
                f"{sku}.{code}": {
                    "priceDimensions": {each["rateCode"]: each for each in dimensions},
                    "sku": sku, "effectiveDate": "2024-01-01T00:00:00Z", "offerTermCode": code, "termAttributes": {},
                }
            }  # fmt: skip

        return json.dumps(
            {
                "product": {"productFamily": self.family, "attributes": dict(self.attributes), "sku": sku},
                "serviceCode": self.service,
                "terms": {
                    "OnDemand": terms(self.usd, "JRTCKXETXF"),
                    "Reserved": terms(self.usd / 2, "4NA7Y494T4"),
                },
                "version": "20240101000000",
                "publicationDate": "2024-01-01T00:00:00Z",
            }
        )

    def value(self, field: str) -> str:
        """The value that a filter compares with."""
        return self.family if field == "productFamily" else self.attributes.get(field, "")


# What stands before a usage type, its locationType, and how dear it is beside the region's own.
_PLACES = (
    ("Outposts-", "AWS Outposts", Decimal("0.9")),
    ("LAX1-", "AWS Local Zone", Decimal("1.2")),
    ("", "AWS Region", Decimal(1)),
)


def _usage(region: str, what: str) -> str:
    short = "".join(part[:2] for part in region.split("-")).upper()
    return {"us-east-1": what, "eu-west-1": f"EU-{what}"}.get(region, f"{short}-{what}")


class PriceList:
    """The price list, as far as a world's resources come near it."""

    def __init__(self, estate: Estate) -> None:
        self._estate = estate

    def get_products(self, call: Call) -> dict[str, Any]:
        """A page of GetProducts: the products of a service whose attributes are as the filters say."""
        params = call.params
        if call.region not in {"us-east-1", "eu-central-1", "ap-south-1"}:
            raise AwsError(400, "InvalidParameterException", "The price list is not offered in this region.")
        size = int(params.get("MaxResults", 100))
        if not params.get("ServiceCode") or not 1 <= size <= 100:
            raise AwsError(400, "InvalidParameterException", "Input Parameters are invalid: ServiceCode, MaxResults")
        products = [product for product in self.products if product.service == params["ServiceCode"]]
        for wanted in params.get("Filters") or []:
            if wanted.get("Type") != "TERM_MATCH":
                raise AwsError(400, "InvalidParameterException", "The cloud lab knows the filter TERM_MATCH only")
            field, value = wanted["Field"], wanted["Value"].lower()
            products = [product for product in products if product.value(field).lower() == value]
        start = int(str(params.get("NextToken") or 0))
        more = {"NextToken": str(start + size)} if start + size < len(products) else {}
        page = [product.shown for product in products[start : start + size]]
        return {"FormatVersion": "aws_v1", "PriceList": page, **more}

    @cached_property
    def products(self) -> list[Product]:
        """Every product, each once."""
        products: dict[str, Product] = {}
        for resource in self._estate.resources():
            kind = resource.definition
            if kind.products is None:
                continue
            shown = describe(resource, self._estate.region(resource.account, resource.region))
            place = {"regionCode": resource.region, "servicecode": kind.price_list}
            for family, described, usage, unit, usd in kind.products(resource, shown):
                for where, location, factor in _PLACES:
                    there = {"usagetype": _usage(resource.region, where + usage), "locationType": location}
                    attributes = {**place, **described, **there}
                    product = Product(kind.price_list, family, attributes, unit, usd * factor)
                    products.setdefault(f"{kind.price_list} {family} {sorted(attributes.items())}", product)
        return list(products.values())
