"""A kind of resource: everything that is known of it, in one object, for every cloud alike.

A kind is written in one file, `providers/<cloud>/services/<service>.py`. Listings, the metric catalogue, prices, the
permissions that a role needs and the reference tables of the documentation are derived from these objects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.providers.parsing import as_datetime

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.model.cost import Component
    from optiinfra_dagster.model.inventory import Resource, ResourceType
    from optiinfra_dagster.model.metrics import Metric
    from optiinfra_dagster.providers.prometheus_exporters import Exporter

Condition = Callable[["Resource"], str]
"""Why a metric does not exist for a resource, as a clause for people; "" where it does."""

PriceParts = Callable[["Resource"], "Iterable[Component]"]
"""The parts of a resource that have a price by the hour."""


def stopped_since(resource: Resource, start: datetime) -> str:
    """The reason why a machine has no points since `start`, if it is known to have stopped before; else ""."""
    stopped_at = as_datetime(resource.metadata.get("stopped_at"))
    stopped = resource.status in {Status.STOPPED, Status.TERMINATED} and stopped_at is not None and stopped_at < start
    return f"the {resource.kind.partition(':')[2]} is {resource.status}" if stopped else ""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """A kind of resource. Each cloud's own class adds how it is listed and read.

    `name` is its key in every table: `ebs:volume`. `conditions` are those that its metrics name in `Metric.condition`.
    `idle_since` tells why a resource has had no points since a time, so that none are asked for; `why_no_points` why
    one that returned no points has none, as it is now; "" where neither is so. `price_parts` is None where its list
    price is not modelled. `bill_service` is the bill's name of the service that charges for it, "" where that is not
    known. `attachable` is true for what costs money while it is attached to nothing. `silent_when_idle` is true where
    the cloud writes no points at all while nothing passes, so that silence is idleness and not a gap.
    """

    name: str
    resource_type: ResourceType
    metrics: tuple[Metric, ...] = ()
    conditions: Mapping[str, Condition] = field(default_factory=lambda: MappingProxyType({}))
    idle_since: Callable[[Resource, datetime], str] = lambda _resource, _start: ""
    why_no_points: Condition = lambda _resource: ""
    price_parts: PriceParts | None = None
    bill_service: str = ""
    attachable: bool = False
    silent_when_idle: bool = False
    not_offered: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    own_exporters: tuple[Exporter, ...] = ()
    own_labels: tuple[str, ...] = ()

    def why_not_offered(self, metric: Metric, resource: Resource) -> str:
        """The reason why a resource does not have a metric of its kind; "" where it does."""
        condition = self.conditions.get(metric.condition)
        return condition(resource) if condition else ""
