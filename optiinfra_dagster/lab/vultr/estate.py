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
        """The resources of each kind in listing order, worked out when first asked for; replicas are not among them."""
        found: dict[str, list[LabResource]] = {}
        for fleet in self._account.fleets:
            siblings = found.setdefault(fleet.kind, [])
            siblings += [self._make(fleet, n, len(siblings) + n - 1) for n in range(1, fleet.count + 1)]
        return found

    @cached_property
    def by_id(self) -> dict[str, LabResource]:
        """Every resource, read replicas included."""
        return {one.id: one for one in self.resources()}

    def _make(self, fleet: VultrFleet, n: int, index: int) -> LabResource:
        account = self._account.name
        name = fleet.name.format(kind=fleet.kind.partition(":")[2], n=n, index=index + 1)
        seed = digest(self._world.seed, "vultr", account, fleet.kind, index)
        place = list(KINDS).index(fleet.kind)
        return LabResource(account, fleet.kind, index, name, fleet, seed, self._world.epoch, place)

    def resources(self, kind: str | None = None) -> Iterator[LabResource]:
        """What a collector must find, read replicas included."""
        for listed in self.kinds.values():
            for one in listed:
                if kind in {None, one.kind}:
                    yield one
                    yield from KINDS[one.kind].children(one)

    def show(self, kind: str, start: int, stop: int) -> list[dict[str, Any]]:
        """A part of a listing, as the API answers it."""
        return [
            {key: value for key, value in KINDS[kind].show(one).items() if key not in one.fleet.omit}
            for one in self.kinds.get(kind, [])[start:stop]
        ]
