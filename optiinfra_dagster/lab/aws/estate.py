"""What each AWS account of a world runs: the resources that its fleets stand for, with stable identifiers.

Only identities are made here, a few microseconds each; `describe.py` writes out what an API shows of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock

from optiinfra_dagster.lab.world import AwsAccount, Fleet, World, digest

# kind: (service, resource) of its ARN
ARNS = {
    "ec2:instance": ("ec2", "instance/{id}"),
    "ebs:volume": ("ec2", "volume/{id}"),
    "ec2:vpc": ("ec2", "vpc/{id}"),
    "ec2:subnet": ("ec2", "subnet/{id}"),
    "ec2:natgateway": ("ec2", "natgateway/{id}"),
    "rds:db": ("rds", "db:{id}"),
    "rds:cluster": ("rds", "cluster:{id}"),
    "elb:classic": ("elasticloadbalancing", "loadbalancer/{id}"),
    "elbv2:application": ("elasticloadbalancing", "loadbalancer/{id}"),
    "elbv2:network": ("elasticloadbalancing", "loadbalancer/{id}"),
    "elbv2:gateway": ("elasticloadbalancing", "loadbalancer/{id}"),
    "eks:cluster": ("eks", "cluster/{id}"),
    "eks:nodegroup": ("eks", "nodegroup/{id}"),
    "elasticache:cluster": ("elasticache", "cluster:{id}"),
    "redshift:cluster": ("redshift", "cluster:{id}"),
    "dynamodb:table": ("dynamodb", "table/{id}"),
    "efs:filesystem": ("elasticfilesystem", "file-system/{id}"),
}
_PREFIXES = {
    "ec2:instance": "i-",
    "ebs:volume": "vol-",
    "ec2:vpc": "vpc-",
    "ec2:subnet": "subnet-",
    "ec2:natgateway": "nat-",
    "efs:filesystem": "fs-",
}
_BALANCERS = {"elbv2:application": "app", "elbv2:network": "net", "elbv2:gateway": "gwy"}


@dataclass(frozen=True, slots=True, eq=False)
class LabResource:
    """One resource of the world. `id` is what its metrics carry; `index` counts within account, region and kind."""

    account: str
    region: str
    kind: str
    index: int
    id: str
    name: str | None
    fleet: Fleet
    seed: int  # a number of its own, from which whatever else it shows is derived
    epoch: datetime
    parent: LabResource | None = None

    @property
    def arn(self) -> str:
        """The resource's ARN."""
        service, rest = ARNS[self.kind]
        return f"arn:aws:{service}:{self.region}:{self.account}:{rest.format(id=self.id)}"

    @property
    def created(self) -> datetime:
        """When it was created: as the fleet says, or a fixed time in the 400 days before the world's epoch."""
        return self.fleet.created or self.epoch - timedelta(seconds=self.seed % (400 * 86400))

    @property
    def state(self) -> str | None:
        """The cloud's word for how it is, where the fleet says one."""
        return self.fleet.state if self.parent is None else None

    @property
    def tags(self) -> dict[str, str]:
        """Its tags, the name among them where the service has no other place for a name."""
        named = self.name is not None and self.kind.partition(":")[0] in {"ec2", "ebs", "efs"}
        return ({"Name": str(self.name)} if named else {}) | self.fleet.tags

    def hexid(self, what: str, length: int = 17) -> str:
        """Hexadecimal digits for something that belongs to this resource, e.g. its network interface."""
        return f"{digest(self.seed, what):016x}{digest(what, self.seed):016x}"[:length]


class Estate:
    """All resources of a world, by account and region. Regions are worked out when first asked for."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.accounts: dict[str, AwsAccount] = {account.id: account for account in world.aws.accounts}
        self._regions: dict[tuple[str, str], Region] = {}
        self._lock = Lock()

    def region(self, account: str, region: str) -> Region:
        """The resources of one account in one region; an empty region where the world says nothing."""
        with self._lock:
            found = self._regions.get((account, region))
            if found is None:
                fleets = [fleet for fleet in self.fleets(account) if fleet.region == region]
                found = self._regions[account, region] = Region(self.world, account, region, fleets)
            return found

    def fleets(self, account: str) -> list[Fleet]:
        """The fleets of one account."""
        return self.accounts[account].fleets if account in self.accounts else []

    def resources(
        self, account: str | None = None, region: str | None = None, kind: str | None = None
    ) -> list[LabResource]:
        """The resources of an account, a region and a kind, each of them `None` for all: what a collector must find."""
        return [
            resource
            for one in self.accounts.values()
            if account in {None, one.id}
            for place in one.regions
            if region in {None, place}
            for resource in self.region(one.id, place).all
            if kind in {None, resource.kind}
        ]


class Region:
    """One account in one region."""

    def __init__(self, world: World, account: str, region: str, fleets: list[Fleet]) -> None:
        self.world, self.account, self.name, self.fleets = world, account, region, fleets
        self.kinds: dict[str, list[LabResource]] = {}
        self._ids: dict[str, set[str]] = {}
        for fleet in sorted(fleets, key=lambda one: one.kind != "ec2:vpc"):  # networks first: others stand in them
            for n in range(1, fleet.count + 1):
                self._add(fleet, n)

    @property
    def all(self) -> Iterator[LabResource]:
        """Every resource, kind by kind."""
        for found in self.kinds.values():
            yield from found

    @cached_property
    def by_name(self) -> dict[tuple[str, str], LabResource]:
        """Resources by (kind, id), (kind, name) and (kind, ARN)."""
        return {(one.kind, key): one for one in self.all for key in (one.name, one.arn, one.id) if key}

    @cached_property
    def children(self) -> dict[LabResource, list[LabResource]]:
        """What belongs to each resource: volumes to instances, subnets to VPCs, node groups to clusters."""
        found: dict[LabResource, list[LabResource]] = {}
        for one in self.all:
            if one.parent is not None:
                found.setdefault(one.parent, []).append(one)
        return found

    def of(self, kind: str) -> list[LabResource]:
        """The resources of one kind, in listing order."""
        return self.kinds.get(kind, [])

    def _add(self, fleet: Fleet, n: int) -> None:
        one = self._make(fleet.kind, fleet, n)
        if fleet.kind == "ec2:instance":
            for _ in range(fleet.volumes):
                self._make("ebs:volume", fleet, n, one)
        elif fleet.kind == "ec2:vpc":
            for _ in range(fleet.subnets):
                self._make("ec2:subnet", fleet, n, one)
        elif fleet.kind == "eks:cluster":
            for _ in range(fleet.nodegroups):
                self._make("eks:nodegroup", fleet, n, one)

    def _make(self, kind: str, fleet: Fleet, n: int, parent: LabResource | None = None) -> LabResource:
        siblings = self.kinds.setdefault(kind, [])
        index = len(siblings)
        seed = digest(self.world.seed, self.account, self.name, kind, index)
        short = kind.partition(":")[2]
        name = fleet.name and fleet.name.format(kind=short, n=n, index=index + 1)
        digits = f"{seed:016x}{seed % 13:x}"
        if parent is not None and kind == "eks:nodegroup":
            name = f"{parent.name}-nodes-{index}"
        if kind in _PREFIXES:
            unique = _PREFIXES[kind] + digits
        elif kind in _BALANCERS:
            unique = f"{_BALANCERS[kind]}/{name}/{digits[:16]}"
        elif kind == "eks:nodegroup" and parent is not None:
            unique = f"{parent.name}/{name}/{digits[:8]}-{digits[8:12]}-{digits[12:16]}-8000-{digits[:12]}"
        else:
            unique = name or f"{short}-{digits[:8]}"
        one = LabResource(self.account, self.name, kind, index, unique, name, fleet, seed, self.world.epoch, parent)
        if unique in self._ids.setdefault(kind, set()):
            raise ValueError(f"two {kind} named {unique} in {self.account} {self.name}: give one fleet another name")
        self._ids[kind].add(unique)
        siblings.append(one)
        return one
