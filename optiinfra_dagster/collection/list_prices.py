"""What a resource costs by the price list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING

from optiinfra_dagster.storage.bills import KnownPrice

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.providers.registry import AnyProvider

Prices = Mapping[tuple[str, str], KnownPrice]  # by region and key
_LAST_DIGIT = Decimal("1e-18")  # of amounts in tables
_DIGITS = 60  # 38 are stored: Python's own 28 hold no rials of a month


def priced(
    resource: Resource, provider: AnyProvider, prices: Prices, hours: Callable[[Component], Decimal]
) -> tuple[Decimal, str, str] | None:
    """The price of a resource for so many hours of each part, its currency, and the parts in words.

    None where the resource has no price model, or the price of a part is not known.
    """
    components = provider.components(resource)
    if not components:
        return None
    amount, currencies = Decimal(0), set[str]()
    with localcontext(prec=_DIGITS):
        for component in components:
            known = prices.get((resource.region, component.key)) or prices.get(("", component.key))
            if known is None:
                return None
            amount += known.price.hourly * component.quantity * hours(component)
            currencies.add(known.price.currency)
        amount = amount.quantize(_LAST_DIGIT)
    if len(currencies) != 1:
        return None
    words = " + ".join(f"{component.quantity.normalize():f} x {component.key}" for component in components)
    return amount, currencies.pop(), words
