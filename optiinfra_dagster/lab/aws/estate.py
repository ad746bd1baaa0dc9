"""The resources of each AWS account of a world: those that its fleets stand for, with stable identifiers.

Only identities are made here, a few microseconds each; a kind's `describe` writes out what an API shows of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.aws.services import KINDS
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.kind import LabKind
    from optiinfra_dagster.lab.aws.world import AwsAccount, Fleet
    from optiinfra_dagster.lab.world import World


@dataclass(frozen=True, slots=True, eq=False)
class LabResource:
    """A resource of the world. `id` is what its metrics carry; `index` counts within account, region and kind."""

    account: str
    region: str
    definition: LabKind
    index: int
    id: str
    name: str | None
    fleet: Fleet
    seed: int  # a number of its own, from which whatever else it shows is derived
    epoch: datetime
    parent: LabResource | None = None

    @property
    def kind(self) -> str:
        """The name of its kind: `ec2:instance`."""
        return self.definition.name

    @property
    def arn(self) -> str:
        """The resource's ARN."""
        service, path = self.definition.arn.split()
        if service == "s3":  # whose names are given once in all the world
            return f"arn:aws:s3:::{self.id}"
        return f"arn:aws:{service}:{self.region}:{self.account}:{path.format(id=self.id)}"

    @property
    def created(self) -> datetime:
        """The time of its creation: the fleet's, or a fixed time in the 400 days before the world's epoch."""
        return self.fleet.created or self.epoch - timedelta(seconds=self.seed % (400 * 86400))

    @property
    def state(self) -> str | None:
        """The cloud's word for how it is, where the fleet says one."""
        return self.fleet.state if self.parent is None else None

    @property
    def tags(self) -> dict[str, str]:
        """Its tags, the name among them where the service has no other place for a name."""
        named = {} if self.name is None or not self.definition.named_by_tag else {"Name": self.name}
        return named | self.fleet.tags

    def hexid(self, what: str, length: int = 17) -> str:
        """Hexadecimal digits for something that belongs to this resource, e.g. its network interface."""
        return f"{digest(self.seed, what):016x}{digest(what, self.seed):016x}"[:length]


class Estate:
    """The resources of a world, by account and region. Regions are worked out when first asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.accounts: dict[str, AwsAccount] = {account.id: account for account in world.aws.accounts}
        self._regions: dict[tuple[str, str], Region] = {}
        self._lock = Lock()

    def region(self, account: str, region: str) -> Region:
        """The resources of one account in one region; an empty region where the world says nothing."""
        with self._lock:
            known = self._regions.get((account, region))
            if known is None:
                fleets = [fleet for fleet in self.fleets(account) if fleet.region == region]
                known = self._regions[account, region] = Region(self.world, account, region, fleets)
            return known

    def fleets(self, account: str) -> list[Fleet]:
        """The fleets of one account."""
        return self.accounts[account].fleets if account in self.accounts else []

    def resources(
        self, account: str | None = None, region: str | None = None, kind: str | None = None
    ) -> list[LabResource]:
        """The resources of an account, a region and a kind, each of them `None` for all: what a collector must find."""
        return [
            resource
            for account_of_world in self.accounts.values()
            if account in {None, account_of_world.id}
            for place in account_of_world.regions
            if region in {None, place}
            for resource in self.region(account_of_world.id, place).all
            if kind in {None, resource.kind}
        ]


class Region:
    """The resources of one account in one region."""

    def __init__(self, world: World, account: str, region: str, fleets: list[Fleet]) -> None:
        self.world, self.account, self.name, self.fleets = world, account, region, fleets
        self.kinds: dict[str, list[LabResource]] = {}
        self._ids: dict[str, set[str]] = {}
        for fleet in sorted(fleets, key=lambda each: each.kind != "ec2:vpc"):  # networks first: others stand in them
            for n in range(1, fleet.count + 1):
                self._add(fleet, n)

    @property
    def all(self) -> Iterator[LabResource]:
        """Every resource, kind by kind."""
        for resources in self.kinds.values():
            yield from resources

    @cached_property
    def by_name(self) -> dict[tuple[str, str], LabResource]:
        """Resources by (kind, id), (kind, name) and (kind, ARN)."""
        return {
            (resource.kind, key): resource
            for resource in self.all
            for key in (resource.name, resource.arn, resource.id)
            if key
        }

    @cached_property
    def children(self) -> dict[LabResource, list[LabResource]]:
        """The parts of each resource: volumes of instances, subnets of VPCs, node groups of clusters."""
        parts: dict[LabResource, list[LabResource]] = {}
        for resource in self.all:
            if resource.parent is not None:
                parts.setdefault(resource.parent, []).append(resource)
        return parts

    def of(self, kind: str) -> list[LabResource]:
        """The resources of one kind, in listing order."""
        return self.kinds.get(kind, [])

    def _add(self, fleet: Fleet, n: int) -> None:
        resource = self._make(KINDS[fleet.kind], fleet, n)
        for kind, count_of in resource.definition.children:
            for _ in range(count_of(fleet)):
                self._make(KINDS[kind], fleet, n, resource)

    def _make(self, kind: LabKind, fleet: Fleet, n: int, parent: LabResource | None = None) -> LabResource:
        siblings = self.kinds.setdefault(kind.name, [])
        index = len(siblings)
        seed = digest(self.world.seed, self.account, self.name, kind.name, index)
        short = kind.name.partition(":")[2]
        name = fleet.name and fleet.name.format(kind=short, n=n, index=index + 1)
        if parent is not None and kind.name_of_child is not None:
            name = kind.name_of_child(parent, index)
        digits = f"{seed:016x}{seed % 13:x}"
        if kind.identify is not None:
            unique = kind.identify(name, digits, parent)
        elif kind.id_prefix:
            unique = kind.id_prefix + digits
        else:
            unique = name or f"{short}-{digits[:8]}"
        resource = LabResource(
            self.account, self.name, kind, index, unique, name, fleet, seed, self.world.epoch, parent
        )
        if unique in self._ids.setdefault(kind.name, set()):
            place = f"{self.account} {self.name}"
            raise ValueError(f"two {kind.name} named {unique} in {place}: give one fleet another name")
        self._ids[kind.name].add(unique)
        siblings.append(resource)
        return resource
