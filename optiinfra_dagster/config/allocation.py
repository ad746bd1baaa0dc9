"""How a customer's costs are allocated: by which tags, and who bears those that are shared."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, ValidationInfo, field_validator

from optiinfra_dagster.config.secrets import Section, problem

MOST_KEYS = 10  # each is a row of cost/allocation by value and period, of up to 1,000 values

# Usage is what costs are spread by, so it is not itself among the categories.
SharedCategory = Literal["Purchase", "Tax", "Credit", "Adjustment"]


class SharedCosts(Section):
    """The charges that all share, such as support, tax and data transfer, and how they are spread in cost allocation.

    A charge is shared if its service is among `services` or its category among `categories`; names are those of
    `optiinfra read cost by_service`, to the letter. `by: proportional` spreads them by what each value costs otherwise,
    `even` in equal parts over the values that cost something, `(untagged)` and the like apart.
    """

    services: tuple[str, ...] = Field(default=(), description="Write a list of services, as the bill names them")
    categories: tuple[SharedCategory, ...] = Field(
        default=(), description="Write a list of Purchase, Tax, Credit, Adjustment"
    )
    by: Literal["proportional", "even"] = Field(
        default="proportional", validate_default=True, description="Write proportional, or even"
    )

    @field_validator("by")
    @classmethod
    def _refuse_none(cls, value: str, info: ValidationInfo) -> str:
        if info.data.get("services") == () and info.data.get("categories") == ():
            raise problem("names no charges to spread", "Add services or categories beside it")
        return value


def check_keys(value: tuple[str, ...]) -> tuple[str, ...]:
    """The tag keys of `allocate_by`, if each is there once and is not empty."""
    if len(value) > MOST_KEYS:
        raise problem(f"names more than {MOST_KEYS} tag keys")
    if len(set(value)) != len(value):
        raise problem("holds a tag key twice")
    if not all(key.strip() for key in value):
        raise problem("holds an empty tag key")
    return value
