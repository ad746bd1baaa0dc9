"""`token_prices` of the customers file: what they give, and what people read for a wrong one."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.config.token_prices import TokenPrice
from optiinfra_dagster.model.errors import ConfigError
from tests.config.test_allocation import load

if TYPE_CHECKING:
    from pathlib import Path


def application(prices: str) -> str:
    return f"application: {{interactions: clickhouse, token_prices: {prices}}}"


def test_a_price_is_exact(tmp_path: Path) -> None:
    prices = "[{model: gpt-4o, input_usd_per_million: 2.50, output_usd_per_million: '0.075'}]"
    customer = load(tmp_path, application(prices))
    assert customer.application is not None
    assert customer.application.token_prices == (
        TokenPrice(
            model="gpt-4o", input_usd_per_million=Decimal("2.5"), output_usd_per_million=Decimal("0.075")
        ),
    )  # fmt: skip


PRICE = "input_usd_per_million: 1, output_usd_per_million: 1"


@pytest.mark.parametrize(
    ("prices", "said"),
    [
        (f"[{{model: a, {PRICE}}}, {{model: a, {PRICE}}}]", "names the model 'a' twice. Keep one price of each model"),
        ("[{model: a, input_usd_per_million: -1, output_usd_per_million: 1}]", "is too small. Write USD per million"),
        ("[{model: a, input_usd_per_million: true, output_usd_per_million: 1}]", "is not an amount. Write USD per"),
        ("[{model: a, input_usd_per_million: 1}]", "output_usd_per_million: is missing. Write USD per million"),
        (f"[{{model: '', {PRICE}}}]", "is empty. Write the model's name"),
        (f"[{{modell: a, {PRICE}}}]", "is not a known key (did you mean 'model'?)"),
        (f"{{model: a, {PRICE}}}", "must be a list. Write a list"),
    ],
)
def test_a_wrong_price_is_refused_with_what_to_write(tmp_path: Path, prices: str, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        load(tmp_path, application(prices))
    assert said in str(raised.value)
