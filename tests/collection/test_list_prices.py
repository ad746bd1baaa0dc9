"""What a resource costs by a price list, in currencies of large numbers too."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.collection.list_prices import priced
from optiinfra_dagster.model.cost import Component, Price
from optiinfra_dagster.providers.vultr.provider import Vultr
from optiinfra_dagster.storage.bills import KnownPrice
from tests.support.samples import resource

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource


class Cloud(Vultr):
    """A cloud whose resources are two parts each."""

    def components(self, resource: Resource) -> list[Component]:
        return [Component("cpu", Decimal("2.5")), Component("disk", Decimal(100))]


@pytest.mark.parametrize(
    ("hours", "amount"),
    [("0.25", "77160493132.577160493132716074"), ("730", "225308639947125.308639947530935350")],
)
def test_a_price_is_exact_in_any_currency(hours: str, amount: str) -> None:
    """A month of a large machine in rials has 15 digits before the point, and 18 after it."""
    hourly = {"cpu": "123456789012.123456789012345678", "disk": "0.000000000000000001"}
    prices = {
        ("", key): KnownPrice(Price("", key, Decimal(value), "IRR"), *[datetime(2026, 1, 1, tzinfo=UTC)] * 2)
        for key, value in hourly.items()
    }
    found = priced(resource("i-1"), Cloud(), prices, lambda _: Decimal(hours))
    assert found is not None
    assert found[:2] == (Decimal(amount), "IRR")
