"""What each project of a world runs: the assets that its fleets stand for, with stable names and identifiers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import Lock
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.world import World, digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.world import GcpFleet

REGIONS = ("us-central1", "europe-west1", "asia-east1", "us-east1", "europe-north1")
_ZONES = "abc"

# kind: (asset type, host of its full name, name below the project; {at} is zones/Z, regions/R or global)
NAMES = {
    "gcp:instance": ("compute.googleapis.com/Instance", "compute", "zones/{zone}/instances/{name}"),
    "gcp:disk": ("compute.googleapis.com/Disk", "compute", "zones/{zone}/disks/{name}"),
    "gcp:region_disk": ("compute.googleapis.com/RegionDisk", "compute", "regions/{region}/disks/{name}"),
    "gcp:filestore_instance": ("file.googleapis.com/Instance", "file", "locations/{zone}/instances/{name}"),
    "gcp:sql_instance": ("sqladmin.googleapis.com/Instance", "cloudsql", "instances/{name}"),
    "gcp:redis_instance": ("redis.googleapis.com/Instance", "redis", "locations/{region}/instances/{name}"),
    "gcp:redis_cluster": ("redis.googleapis.com/Cluster", "redis", "locations/{region}/clusters/{name}"),
    "gcp:valkey_instance": (
        "memorystore.googleapis.com/Instance",
        "memorystore",
        "locations/{region}/instances/{name}",
    ),
    "gcp:memcache_instance": ("memcache.googleapis.com/Instance", "memcache", "locations/{region}/instances/{name}"),
    "gcp:bigtable_cluster": ("bigtableadmin.googleapis.com/Cluster", "bigtable", "instances/{name}/clusters/{name}"),
    "gcp:spanner_instance": ("spanner.googleapis.com/Instance", "spanner", "instances/{name}"),
    "gcp:alloydb_cluster": ("alloydb.googleapis.com/Cluster", "alloydb", "locations/{region}/clusters/{name}"),
    "gcp:alloydb_instance": (
        "alloydb.googleapis.com/Instance",
        "alloydb",
        "locations/{region}/clusters/{parent}/instances/{name}",
    ),
    "gcp:forwarding_rule": (
        "compute.googleapis.com/ForwardingRule",
        "compute",
        "regions/{region}/forwardingRules/{name}",
    ),
    "gcp:global_forwarding_rule": (
        "compute.googleapis.com/GlobalForwardingRule",
        "compute",
        "global/forwardingRules/{name}",
    ),
    "gcp:network": ("compute.googleapis.com/Network", "compute", "global/networks/{name}"),
    "gcp:subnetwork": ("compute.googleapis.com/Subnetwork", "compute", "regions/{region}/subnetworks/{name}"),
    "gcp:router": ("compute.googleapis.com/Router", "compute", "regions/{region}/routers/{name}"),
    "gcp:gke_cluster": ("container.googleapis.com/Cluster", "container", "{at}/clusters/{name}"),
    "gcp:gke_node_pool": ("container.googleapis.com/NodePool", "container", "{at}/clusters/{parent}/nodePools/{name}"),
}


@dataclass(frozen=True, slots=True, eq=False)
class LabAsset:
    """One resource of a project. `kind` is the collector's; `shape` tells regional and global ones apart."""

    project: str
    region: str
    zone: str
    kind: str
    shape: str
    index: int
    name: str
    fleet: GcpFleet
    seed: int  # a number of its own, from which whatever else it shows is derived
    epoch: datetime
    parent: LabAsset | None = None

    @property
    def asset_type(self) -> str:
        """The asset type, such as `compute.googleapis.com/Instance`."""
        return NAMES[self.shape][0]

    @property
    def path(self) -> str:
        """The name within its service: `projects/p/zones/z/instances/i`."""
        at = f"locations/{self.region}" if self.fleet.regional else f"zones/{self.zone}"
        parent = self.parent.name if self.parent else ""
        rest = NAMES[self.shape][2].format(at=at, zone=self.zone, region=self.region, name=self.name, parent=parent)
        return f"projects/{self.project}/{rest}"

    @property
    def full_name(self) -> str:
        """The full resource name, which the asset carries."""
        return f"//{NAMES[self.shape][1]}.googleapis.com/{self.path}"

    @property
    def location(self) -> str:
        """Where the asset says that it is: zone, region or `global`."""
        if "zones/" in self.path or self.kind in {"gcp:filestore_instance", "gcp:bigtable_cluster"}:
            return self.zone
        return "global" if "/global/" in self.path else self.region

    @property
    def created(self) -> datetime:
        """When it was created: as the fleet says, or a fixed time in the 400 days before the world's epoch."""
        return self.fleet.created or self.epoch - timedelta(seconds=self.seed % (400 * 86400))

    @property
    def number(self) -> str:
        """Its numeric id, as text."""
        return str(10**18 + self.seed % (8 * 10**18))


class GcpEstate:
    """All assets of a world's projects, each project worked out when first asked for."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.projects = {project.id: project for project in world.gcp.projects}
        self._assets: dict[str, list[LabAsset]] = {}
        self._lock = Lock()

    def assets(self, project: str, kind: str | None = None) -> list[LabAsset]:
        """The assets of one project and kind (None: all), in listing order: what a collector must find."""
        with self._lock:
            if project not in self._assets:
                self._assets[project] = list(_Builder(self._world, project).all(self.projects[project].fleets))
        return [one for one in self._assets[project] if kind in {None, one.kind}]


class _Builder:
    def __init__(self, world: World, project: str) -> None:
        self._world, self._project = world, project
        self._counts: dict[str, int] = {}
        self._made: dict[str, LabAsset] = {}

    def all(self, fleets: list[GcpFleet]) -> list[LabAsset]:
        for fleet in fleets:
            for n in range(1, fleet.count + 1):
                self._family(fleet, n)
        return list(self._made.values())

    def _family(self, fleet: GcpFleet, n: int) -> None:
        one = self._make(fleet.kind, fleet, n, fleet.region)
        if fleet.kind == "gcp:instance":
            for i in range(fleet.disks):
                self._make("gcp:disk", fleet, n, fleet.region, one, one.name if i == 0 else f"{one.name}-data-{i}")
        elif fleet.kind == "gcp:network":
            first = REGIONS.index(fleet.region) if fleet.region in REGIONS else 0
            for i in range(fleet.subnets):
                region = fleet.region if i == 0 else REGIONS[(first + i) % len(REGIONS)]
                self._make("gcp:subnetwork", fleet, n, region, one, f"{one.name}-{i + 1}")
        elif fleet.kind == "gcp:gke_cluster":
            for i in range(fleet.node_pools):
                self._make("gcp:gke_node_pool", fleet, n, fleet.region, one, f"pool-{i + 1}")
        elif fleet.kind == "gcp:alloydb_cluster":
            self._make("gcp:alloydb_instance", fleet, n, fleet.region, one, f"{one.name}-primary")

    def _make(
        self, kind: str, fleet: GcpFleet, n: int, region: str, parent: LabAsset | None = None, name: str = ""
    ) -> LabAsset:
        index = self._counts[kind] = self._counts.get(kind, 0) + 1
        word = kind.partition(":")[2].replace("_", "-")
        shape = kind
        if kind == "gcp:disk" and fleet.kind == kind and fleet.regional:
            shape = "gcp:region_disk"
        elif kind == "gcp:forwarding_rule" and region == "global":
            shape = "gcp:global_forwarding_rule"
        number = parent.index if parent else index
        one = LabAsset(
            project=self._project,
            region="global" if kind == "gcp:network" else region,
            zone=f"{region}-{_ZONES[number % len(_ZONES)]}",
            kind=kind,
            shape=shape,
            index=index,
            name=name or fleet.name.format(kind=word, n=n, index=index),
            fleet=fleet,
            seed=digest(self._world.seed, self._project, kind, index),
            epoch=self._world.epoch,
            parent=parent,
        )
        if one.full_name in self._made:
            raise ValueError(f"two assets named {one.full_name}: give one fleet another name")
        self._made[one.full_name] = one
        return one
