"""Which machines and databases there are in which type, and what the next smaller type of each would cost.

The price of a smaller type is asked for with those of what there is, and is one more of them: once a day and type.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.sizes import MachineType, MachineTypes, Offer, Sized

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from optiinfra_dagster.collection.plan import Task
    from optiinfra_dagster.model.cost import Estimate
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.model.problems import Problem
    from optiinfra_dagster.providers.day_cache import DayCache
    from optiinfra_dagster.providers.registry import AnyProvider

_SIZED = {ResourceType.COMPUTE, ResourceType.DATABASE}
_MONTH = 730  # hours, as in every figure of a month here
_LAST_DIGIT = Decimal("1e-18")


def sized(
    provider: AnyProvider, task: Task, resources: Iterable[Resource], cache: DayCache, at: datetime, meter: Meter
) -> tuple[list[Sized], list[Problem]]:
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
        return MachineTypes([MachineType(**{**row, "regions": tuple(row["regions"])}) for row in known])
    listed = provider.machine_types(task.customer.id, task.customer.accounts(provider.name), kinds, meter)
    if listed.types and not listed.problems:
        cache.put([asdict(one) for one in listed.types], *key)
    return listed


def offers(machines: Iterable[Sized], estimate: Callable[[Resource], Estimate | None], hours: Decimal) -> list[Offer]:
    """What the machines cost a month, and would in their smaller types; an estimate is of so many hours."""
    found = []
    for machine in machines:
        offer, now = Offer(machine), estimate(machine.resource)
        if now is not None:
            offer = replace(offer, monthly=_monthly(now, hours), currency=now.currency)
            then = estimate(machine.smaller) if machine.smaller else None
            if then is not None and then.currency == now.currency:
                offer = replace(offer, smaller_monthly=_monthly(then, hours))
        found.append(offer)
    return found


def _monthly(estimate: Estimate, hours: Decimal) -> Decimal:
    return (estimate.amount / hours * _MONTH).quantize(_LAST_DIGIT)
