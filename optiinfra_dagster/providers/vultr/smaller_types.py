"""The next smaller plan of Vultr's machines and databases, by the lists of plans.

Plans of a family differ in numbers only: `vc2-2c-4gb` and `vc2-1c-2gb`. The smaller one has fewer vCPUs and no more
memory, and is offered in the region. https://www.vultr.com/api/#operation/list-plans
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import CollectionError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.model.sizes import MachineType, MachineTypes, SizeStep
from optiinfra_dagster.providers.parsing import as_number, as_text, as_texts
from optiinfra_dagster.providers.sizing import NO_FAMILY, SMALLEST, WITH_ACCELERATORS, notes, retyped
from optiinfra_dagster.providers.vultr.account import account_name
from optiinfra_dagster.providers.vultr.client import open_account
from optiinfra_dagster.providers.vultr.kind import VIEW
from optiinfra_dagster.providers.vultr.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount

_SECONDS = 60.0
_KINDS = ("vultr:instance", "vultr:database")  # a bare-metal server's plan is the server that it is
_MIB = 1024
_NUMBER = re.compile(r"(?<=-)\d+(?:\.\d+)?(?=c-|gb|s-|s$|-|$)")
_OLD_GPU = "vcg"


def machine_types(accounts: Sequence[VultrAccount], kinds: Collection[str], meter: Meter) -> MachineTypes:
    """The plans of some kinds: one list each, the same for all, of the first account that may read it."""
    found = MachineTypes()
    for name in sorted(set(_KINDS) & set(kinds)):
        source, problems = KINDS[name].price_source, list[Problem]()
        for account in accounts if source else ():
            try:
                opened = open_account(account, _SECONDS)
                items = list(opened.pages(source.operation, source.path, source.key, meter, VIEW))  # type: ignore[union-attr]
            except CollectionError as error:
                problems.append(Problem.of(account_name(account), error, kind=name))
            else:
                found.types += read_plans(name, items)
                problems.clear()
                break
        found.problems += problems
    return found


def read_plans(kind: str, items: Iterable[Any]) -> Iterator[MachineType]:
    """The types that a list of plans has; an item that tells no size is none."""
    for item in items:
        if not isinstance(item, Mapping):
            continue
        name, cores, ram = as_text(item.get("id")), as_number(item.get("vcpu_count")), as_number(item.get("ram"))
        if name and cores and ram:
            nodes = as_text(item.get("number_of_nodes"))
            family = f"{as_text(item.get('type'))} {_NUMBER.sub('#', name)} {nodes}"
            places = item.get("locations")
            regions = tuple(sorted(map(str.lower, as_texts(places)))) if isinstance(places, list) else None
            yield MachineType(kind, name, family, cores, ram / _MIB, as_number(item.get("disk")), regions)


def sized(resource: Resource, types: Sequence[MachineType]) -> SizeStep | None:
    """A machine or database with its size and the next smaller one among `types`; None for other kinds."""
    plan = as_text(resource.metadata.get("plan"))
    if resource.kind not in _KINDS or not plan:
        return None
    if plan.startswith(_OLD_GPU):
        return SizeStep(resource, plan, resource.capacity, why_not=WITH_ACCELERATORS)
    of_kind = [one for one in types if one.kind == resource.kind]
    own = next((one for one in of_kind if one.name == plan), None)
    if own is None:
        return SizeStep(resource, plan, why_not=NO_FAMILY)
    region = resource.region.lower()
    below = [
        one
        for one in of_kind
        if one.family == own.family and one.vcpus < own.vcpus and one.memory_gib <= own.memory_gib
    ]
    had_here = [one for one in below if one.regions is None or region in one.regions]
    if not had_here:
        why_not = "no smaller plan of its family can be had in its region now" if below else SMALLEST
        return SizeStep(resource, plan, own.vcpus, own.memory_gib, why_not=why_not)
    to = max(had_here, key=lambda one: (one.vcpus, one.memory_gib, one.disk_gib or 0, one.name))
    return SizeStep(
        resource,
        plan,
        own.vcpus,
        own.memory_gib,
        retyped(resource, plan=to.name),
        to.name,
        to.vcpus,
        to.memory_gib / own.memory_gib,
        note=notes(resource, *_notes(resource.kind, own, to)),
    )


def _notes(kind: str, own: MachineType, to: MachineType) -> Iterator[str]:
    """What else changes: a disk does not shrink, and an instance's plan only grows."""
    if kind == _KINDS[0]:
        yield "it takes a new instance: a plan is only changed for a larger one"
    if own.disk_gib and to.disk_gib and to.disk_gib < own.disk_gib:
        yield f"its disk of {own.disk_gib:g} GiB would have {to.disk_gib:g}"
