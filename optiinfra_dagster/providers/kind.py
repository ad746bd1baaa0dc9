"""A kind of resource: everything that is known of it, in one object, for every cloud alike.

A kind is written in one file, `providers/<cloud>/services/<service>.py`. Listings, the metric catalogue, prices, the
permissions that a role needs and the reference tables of the documentation are derived from these objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component
    from optiinfra_dagster.model.inventory import Resource, ResourceType
    from optiinfra_dagster.model.metrics import Metric

Condition = Callable[["Resource"], str]
"""Why a metric does not exist for a resource, as a clause for people; "" where it does."""

PriceParts = Callable[["Resource"], "Iterable[Component]"]
"""The parts of a resource that have a price by the hour."""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of resource. Each cloud's own class adds how it is listed and read.

    `name` is its key in every table: `ebs:volume`. `conditions` are those that its metrics name in
    `Metric.condition`. `price_parts` is None where its list price is not modelled. `bill_service` is the bill's name of
    the service that charges for it, "" where that is not known. `attachable` is true for what costs money while it is
    attached to nothing. `silent_when_idle` is true where the cloud writes no points at all while nothing passes, so
    that silence is idleness and not a gap.
    """

    name: str
    resource_type: ResourceType
    metrics: tuple[Metric, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=lambda: MappingProxyType({}))
    price_parts: PriceParts | None = None
    bill_service: str = ""
    attachable: bool = False
    silent_when_idle: bool = False
