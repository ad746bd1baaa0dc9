"""The resources that each Vultr account of a world runs, with stable identifiers."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.values import digest
from optiinfra_dagster.lab.vultr.kind import LabResource
from optiinfra_dagster.lab.vultr.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.lab.vultr.world import VultrAccount, VultrFleet
    from optiinfra_dagster.lab.world import World


class Estate:
    """The resources of one account, kind by kind."""

    def __init__(self, world: World, account: VultrAccount) -> None:
        self._world, self._account = world, account

    @cached_property
    def kinds(self) -> dict[str, list[LabResource]]:
        """The resources of each kind in listing order, made at the first use; replicas are not among them."""
        kinds: dict[str, list[LabResource]] = {}
        for fleet in self._account.fleets:
            siblings = kinds.setdefault(fleet.kind, [])
            siblings += [self._make(fleet, n, len(siblings) + n - 1) for n in range(1, fleet.count + 1)]
        return kinds

    @cached_property
    def by_id(self) -> dict[str, LabResource]:
        """Every resource, read replicas included."""
        return {resource.id: resource for resource in self.resources()}

    def _make(self, fleet: VultrFleet, n: int, index: int) -> LabResource:
        account = self._account.name
        name = fleet.name.format(kind=fleet.kind.partition(":")[2], n=n, index=index + 1)
        seed = digest(self._world.seed, "vultr", account, fleet.kind, index)
        place = list(KINDS).index(fleet.kind)
        return LabResource(account, fleet.kind, index, name, fleet, seed, self._world.epoch, place)

    def resources(self, kind: str | None = None) -> Iterator[LabResource]:
        """The resources that a collector must find, read replicas included."""
        for listed in self.kinds.values():
            for resource in listed:
                if kind in {None, resource.kind}:
                    yield resource
                    yield from KINDS[resource.kind].children(resource)

    def show(self, kind: str, start: int, stop: int) -> list[dict[str, Any]]:
        """A part of a listing, as the API answers it."""
        return [
            {key: value for key, value in KINDS[kind].show(resource).items() if key not in resource.fleet.omit}
            for resource in self.kinds.get(kind, [])[start:stop]
        ]
