"""Steps from a type to the next smaller one, shared by the clouds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from optiinfra_dagster.model.inventory import Resource

SMALLEST = "it is the smallest type of its family"
BURSTABLE = "its CPU runs on credits: a percentage of it does not say how much of a vCPU is in use"
WITH_ACCELERATORS = "a smaller type has fewer accelerators, whose use is not measured"
NO_FAMILY = "the sizes of its type are not known"


def next_below(sizes: Iterable[float], size: float) -> float | None:
    """The largest of some sizes that is below one; None where there is none."""
    return max((other for other in sizes if other < size), default=None)


def retyped(resource: Resource, **facts: str | float) -> Resource:
    """A resource as it would be listed with other facts in its metadata."""
    return replace(resource, metadata={**resource.metadata, **facts})


def notes(resource: Resource, *more: str, groups: Iterable[str] = ()) -> str:
    """What else changes with a type, in one text; `groups` are tags of machines whose type their group decides."""
    owner = next((resource.tags[tag] for tag in groups if resource.tags.get(tag)), "")
    of_group = f"its type is that of its group {owner}" if owner else ""
    return "; ".join(part for part in (of_group, *more) if part)
