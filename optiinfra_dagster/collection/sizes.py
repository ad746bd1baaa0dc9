"""Finds the type of each machine and database, and what the next smaller type would cost.

The price of a smaller type is asked for with those of what there is, and is one more of them: once a day and type.
"""

from __future__ import annotations

from dataclasses import asdict
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.collection.list_prices import priced
from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.sizes import MachineType, MachineTypes, Offer, SizeStep

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from optiinfra_dagster.collection.list_prices import Prices
    from optiinfra_dagster.collection.plan import Task
    from optiinfra_dagster.model.cost import Component
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.model.problems import Problem
    from optiinfra_dagster.providers.day_cache import DayCache
    from optiinfra_dagster.providers.registry import AnyProvider

_SIZED = {ResourceType.COMPUTE, ResourceType.DATABASE}
_MONTH = 730  # hours, as in every figure of a month here


def sized(
    provider: AnyProvider, task: Task, resources: Iterable[Resource], cache: DayCache, at: datetime, meter: Meter
) -> tuple[list[SizeStep], list[Problem]]:
    """The machines and databases among some resources, each with its type and the next smaller one.

    Lists of types are read once a day; without one, nothing is known of its kinds, and they are left out.
    """
    machines = [resource for resource in resources if resource.resource_type in _SIZED]
    listed = _listed(provider, task, {machine.kind for machine in machines}, cache, at, meter)
    unread = {problem.kind for problem in listed.problems}
    found = [provider.sized(machine, listed.types) for machine in machines if machine.kind not in unread]
    return [one for one in found if one is not None], listed.problems


def _listed(
    provider: AnyProvider, task: Task, kinds: set[str], cache: DayCache, at: datetime, meter: Meter
) -> MachineTypes:
    key = "machine types", provider.name, at.date().isoformat(), *sorted(kinds)
    known = cache.get(*key)
    if known is not None:
        return MachineTypes([MachineType(**row) for row in known])
    listed = provider.machine_types(task.customer.id, task.customer.accounts(provider.name), kinds, meter)
    if listed.types and not listed.problems:
        cache.put([asdict(one) for one in listed.types], *key)
    return listed


def among(resources: Iterable[Resource], machines: Iterable[SizeStep]) -> list[SizeStep]:
    """The machines that are among some resources."""
    ids = {id(resource) for resource in resources}
    return [machine for machine in machines if id(machine.resource) in ids]


def offer(machine: SizeStep, provider: AnyProvider, prices: Prices) -> Offer:
    """What a machine costs a month, and would in its smaller type."""

    def monthly(resource: Resource) -> tuple[Decimal, str] | None:
        found = priced(resource, provider, prices, _hours_of_month)
        return found[:2] if found else None

    now = monthly(machine.resource)
    if now is None:
        return Offer(machine)
    then = monthly(machine.smaller) if machine.smaller else None
    comparable = then is not None and then[1] == now[1]
    return Offer(machine, now[0], then[0] if then and comparable else None, now[1])


def _hours_of_month(component: Component) -> Decimal:
    return Decimal(min(_MONTH, component.monthly_hours or _MONTH))
