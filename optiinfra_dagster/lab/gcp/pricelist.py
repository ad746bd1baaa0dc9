"""The price list: rows of SKUs as services state them, and what they cost in each region."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

HOUR, GIB_HOUR, GIB_MONTH = "h", "GiBy.h", "GiBy.mo"
_MONTH = 730  # hours

OTHER = Decimal("0.5")
"""The price of an hour of what is not in the price list, in USD."""


@dataclass(frozen=True, slots=True)
class PriceService:
    """A service of the Cloud Billing Catalog: its id, and the text before the place in descriptions of its SKUs."""

    id: str
    before_place: str = " in "


@dataclass(frozen=True, slots=True)
class LabSku:
    """A SKU for each region, with the region's name added to its description; or as it is, in `places`.

    `usd` is the price of a `unit` in the United States; the first `free` of them cost nothing. `newer` is the
    description in regions that came later.
    """

    service: PriceService
    text: str
    unit: str
    usd: str
    places: tuple[str, ...] = ()
    usage: str = "OnDemand"
    newer: str = ""
    free: int = 0

    def described(self, region: str) -> str:
        """The description in a region: some have a name, some their id."""
        text = self.newer if self.newer and region in _NEWER else self.text
        return f"{text}{self.service.before_place}{_NAMES.get(region, region)}"


_NEWER = {"europe-north1"}
_NAMES = {"us-central1": "Iowa", "us-east1": "Americas", "europe-west1": "EMEA", "europe-north1": "Finland"}
RATES = {"USD": Decimal(1), "EUR": Decimal("0.9")}
"""The currencies of the catalogue, and what a dollar is in them."""


def in_region(region: str, usd: str) -> Decimal:
    """A price in a region: outside the United States all is a tenth dearer."""
    return Decimal(usd) * (1 if region.startswith("us-") else Decimal("1.1"))


def price_of(skus: Sequence[LabSku], text: str, region: str) -> Decimal:
    """The price of an hour, by the beginning of the SKU's description."""
    sku = next(sku for sku in skus if sku.text == text)
    nanos = Decimal("1e-9")
    return in_region(region, sku.usd).quantize(nanos) / (_MONTH if sku.unit == GIB_MONTH else 1)
