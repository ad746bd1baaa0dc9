"""The estate of each project of a world: the assets that its fleets stand for, with stable names and identifiers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.gcp.kind import LabAsset
from optiinfra_dagster.lab.gcp.services import KINDS
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.fleet import Fleet
    from optiinfra_dagster.lab.world import World

_ZONES = "abc"


class GcpEstate:
    """The assets of a world's projects, each project worked out when first asked for. `now` is the lab's clock."""

    def __init__(self, world: World, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._world, self._now = world, now
        self.projects = {project.id: project for project in world.gcp.projects}
        self._assets: dict[str, list[LabAsset]] = {}
        self._lock = Lock()

    def assets(self, project: str, kind: str | None = None) -> list[LabAsset]:
        """The assets of one project and kind (None: all), in listing order: the truth that a collector must list."""
        now = self._now()
        return [asset for asset in self.ever(project, kind) if asset.stands(now)]

    def ever(self, project: str, kind: str | None = None) -> list[LabAsset]:
        """The assets of all times: also those that are replaced by now, and those that do not stand yet."""
        with self._lock:
            if project not in self._assets:
                self._assets[project] = list(_Builder(self._world, project).all(self.projects[project].fleets))
        return [asset for asset in self._assets[project] if kind in {None, asset.kind}]


class _Builder:
    def __init__(self, world: World, project: str) -> None:
        self._world, self._project = world, project
        self._counts: dict[str, int] = {}
        self._made: dict[str, LabAsset] = {}

    def all(self, fleets: Sequence[Fleet]) -> list[LabAsset]:
        for fleet in fleets:
            for n in range(1, fleet.count + 1):
                self._family(fleet, n)
        return [one for asset in self._made.values() for one in self._lives(asset)]

    def _lives(self, asset: LabAsset) -> list[LabAsset]:
        """An asset, or it and the one that replaces it under its name: another thing, with a number of its own."""
        moment = asset.fleet.replaced
        if moment is None:
            return [asset]
        successor = replace(asset, seed=digest(asset.seed, "successor"), since=moment)
        return [replace(asset, until=moment), successor]

    def _family(self, fleet: Fleet, n: int) -> None:
        """Make the n-th resource of a fleet, and those that come with it."""
        asset = self._make(fleet.kind, fleet, n, fleet.region)
        for child in KINDS[fleet.kind].children(asset):
            self._make(child.kind, fleet, n, child.region or fleet.region, asset, child.name)

    def _make(
        self, name_of_kind: str, fleet: Fleet, n: int, region: str, parent: LabAsset | None = None, name: str = ""
    ) -> LabAsset:
        kind = KINDS[name_of_kind]
        index = self._counts[kind.name] = self._counts.get(kind.name, 0) + 1
        word = kind.name.partition(":")[2].replace("_", "-")
        number = parent.index if parent else index
        asset = LabAsset(
            project=self._project,
            region="global" if kind.is_global else region,
            zone=f"{region}-{_ZONES[number % len(_ZONES)]}",
            kind=kind.name,
            shape=kind.shape(fleet, region),
            index=index,
            name=name or fleet.name.format(kind=word, n=n, index=index),
            fleet=fleet,
            seed=digest(self._world.seed, self._project, kind.name, index),
            epoch=self._world.epoch,
            parent=parent,
        )
        if asset.full_name in self._made:
            raise ValueError(f"two assets named {asset.full_name}: give one fleet another name")
        self._made[asset.full_name] = asset
        return asset
