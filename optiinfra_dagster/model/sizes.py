"""Types of machines and databases, and the next smaller one of a family."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from decimal import Decimal

    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.problems import Problem


@dataclass(frozen=True, slots=True)
class MachineType:
    """A type as a cloud's own list tells it. Types of one `family` differ in nothing but their size."""

    kind: str  # of the resources that have it
    name: str
    family: str
    vcpus: float
    memory_gib: float
    disk_gib: float | None = None  # that comes with it
    regions: tuple[str, ...] | None = None  # where it can be had now; None where the list does not say


@dataclass(slots=True)
class MachineTypes:
    """The types that lists of a cloud have, whole only if `problems` is empty."""

    types: list[MachineType] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class SizeStep:
    """A machine or database of a type, and the same in the next smaller type of the family.

    `smaller` is the resource as it would be listed then, so that it is priced as it is; None where there is no such
    type, with the reason in `why_not`. `memory_share` is the part of the memory that the smaller type has, also where
    neither is known in GiB; None where a type's name does not guarantee it.
    """

    resource: Resource
    type: str
    vcpus: float | None = None
    memory_gib: float | None = None
    smaller: Resource | None = None
    smaller_type: str = ""
    smaller_vcpus: float | None = None
    memory_share: float | None = None
    why_not: str = ""
    note: str = ""  # what else changes with the type


@dataclass(frozen=True, slots=True)
class Offer:
    """What a sized resource costs a month of 730 hours by the price list, and what in the smaller type.

    None where the list has no price.
    """

    sized: SizeStep
    monthly: Decimal | None = None
    smaller_monthly: Decimal | None = None
    currency: str = ""
