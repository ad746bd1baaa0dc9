"""What a customer pays for the tokens of a language model, as its contract says."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

from pydantic import Field, field_validator

from optiinfra_dagster.config.secrets import Section, problem


class TokenPrice(Section):
    """The price of a model's tokens, for `application unit_cost`.

    `model` is the name that the interactions have, to the letter. Prices are in USD per million tokens, those of the
    customer's own contract: a list price that this program knew would be wrong for whoever negotiated. A model that is
    not listed costs an unknown amount, never nothing.
    """

    model: str = Field(min_length=1, description="Write the model's name as the interactions have it, such as gpt-4o")
    input_usd_per_million: Decimal = Field(ge=0, description="Write USD per million tokens of prompts, such as 2.50")
    output_usd_per_million: Decimal = Field(ge=0, description="Write USD per million tokens of responses, such as 10")

    @field_validator("input_usd_per_million", "output_usd_per_million", mode="before")
    @classmethod
    def _refuse_truth(cls, value: object) -> object:
        if isinstance(value, bool):  # Decimal(True) is 1
            raise problem("is not an amount")
        return value


def check_models(prices: tuple[TokenPrice, ...]) -> tuple[TokenPrice, ...]:
    """The prices, if each model is there once."""
    twice = [model for model, count in Counter(price.model for price in prices).items() if count > 1]
    if twice:
        raise problem(f"names the model '{twice[0]}' twice", "Keep one price of each model")
    return prices
