"""The rules of a customer's cost allocation: by which tags, and who bears shared costs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import Field, PlainValidator, ValidationInfo, field_validator

from optiinfra_dagster.config.secrets import Section, problem
from optiinfra_dagster.config.wording import closest

MOST_KEYS = 10  # each is a row of cost/allocation by value and period, of up to 1,000 values

# Usage is what costs are spread by, so it is not itself among the categories.
SharedCategory = Literal["Purchase", "Tax", "Credit", "Adjustment"]
SharedUsage = Literal["data_transfer"]  # what bills tell apart from what else a service costs

DIMENSIONS = ("provider", "account", "region", "service")  # of cost/allocation, beside the customer's tag keys
_RULES = ("proportional", "even")


@dataclass(frozen=True, slots=True)
class FixedShares:
    """The share that each value of one dimension bears; shares add up to 1.

    `key` is a tag key of `allocate_by` or one of `DIMENSIONS`.
    """

    key: str
    parts: tuple[tuple[str, Decimal], ...]


def _rule(value: object) -> str | FixedShares:
    """A rule by which costs are spread, as the file has it."""
    if isinstance(value, Mapping):
        return _fixed_shares(value)
    if isinstance(value, str) and value in _RULES:
        return value
    raise problem(f"is not a word that is known here{closest(str(value), _RULES)}")


def _fixed_shares(value: Mapping[object, object]) -> FixedShares:
    """The shares of `{team: {web: 0.6, data: 0.4}}`."""
    if len(value) != 1:
        raise problem("must name one dimension")
    [(key, shares)] = value.items()
    if not isinstance(key, str) or not isinstance(shares, Mapping) or not shares:
        raise problem("must name one dimension, and beneath it a share of each value")
    parts = []
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise problem("has a share that is no number above 0 and up to 1")
        parts.append((str(name), Decimal(str(share))))
    if (total := sum(part for _, part in parts)) != 1:
        raise problem(f"has shares that add up to {total}, and not to 1")
    return FixedShares(key, tuple(parts))


class SharedCosts(Section):
    """The charges that all share, such as support, tax and data transfer, and how they are spread in cost allocation.

    A charge is shared if its service is among `services` or its category among `categories`; names are those of
    `optiinfra read cost by_service`, to the letter. So is one that is for a `usage`: `data_transfer` is what moving
    data costs, as far as a bill tells it apart. Exports in files, BigQuery and Vultr do; Azure's API does as the
    service Bandwidth, and Cost Explorer does not.

    `by: proportional` spreads them by what each value costs otherwise, `even` in equal parts over the values that cost
    something, `(untagged)` and the like apart. `by: {team: {web: 0.6, data: 0.4}}` gives values of one dimension fixed
    shares, also where they cost nothing else: of a tag key of `allocate_by`, or of provider, account, region, service.
    In other dimensions nothing is spread then.
    """

    services: tuple[str, ...] = Field(default=(), description="Write a list of services, as the bill names them")
    categories: tuple[SharedCategory, ...] = Field(
        default=(), description="Write a list of Purchase, Tax, Credit, Adjustment"
    )
    usage: tuple[SharedUsage, ...] = Field(default=(), description="Write [data_transfer]")
    by: Annotated[Literal["proportional", "even"] | FixedShares, PlainValidator(_rule)] = Field(
        default="proportional",
        validate_default=True,
        description="Write proportional, even, or shares that add up to 1 such as {team: {web: 0.6, data: 0.4}}",
    )

    @field_validator("by")
    @classmethod
    def _refuse_none(cls, value: str | FixedShares, info: ValidationInfo) -> str | FixedShares:
        if all(info.data.get(name) == () for name in ("services", "categories", "usage")):
            raise problem("names no charges to spread", "Add services, categories or usage beside it")
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


def check_rule(value: SharedCosts | None, info: ValidationInfo) -> SharedCosts | None:
    """The rule of shared costs, if costs are allocated by the dimension that it names."""
    known = (*info.data.get("allocate_by", ()), *DIMENSIONS)
    if value is not None and isinstance(value.by, FixedShares) and value.by.key not in known:
        raise problem(
            f"names a dimension under by that costs are not allocated by{closest(value.by.key, known)}",
            f"Choose from {', '.join(known)}, or add the tag key to allocate_by",
        )
    return value
