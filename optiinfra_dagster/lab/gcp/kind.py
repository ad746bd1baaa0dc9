"""A kind of resource in the lab: what `services/<service>.py` states about it, and what the services share.

The names of the kinds are the product's. Every field of an answer that may hold a secret, or that people write freely,
holds `SECRET`: nothing of that may leave a collector.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.fleet import Fleet
    from optiinfra_dagster.lab.gcp.pricelist import LabSku

Shown = dict[str, Any]
"""A resource as an API shows it."""

SECRET = "planted-secret-7Qx"  # noqa: S105 - what tests look for
REGIONS = ("us-central1", "europe-west1", "asia-east1", "us-east1", "europe-north1")
AGENT = "agent.googleapis.com/"
"""The beginning of the metric types that only the Ops Agent writes."""

COMPUTE = "https://www.googleapis.com/compute/v1"
_PACIFIC = timezone(timedelta(hours=-7))  # Compute Engine tells times as California has them
_NOT_RUNNING = {"TERMINATED", "STOPPED", "SUSPENDED"}


@dataclass(frozen=True, slots=True)
class Shape:
    """A form that a kind takes in Cloud Asset Inventory: its asset type, and how its full name is made.

    `form` is the part of the name below the project, or all of it after a slash; {at} is zones/Z or locations/R.
    `in_zone` is true for what stands in a zone though its name does not say `zones/`.
    """

    asset_type: str
    host: str
    form: str
    in_zone: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class LabAsset:
    """A resource of a project. `shape` tells regional and global ones apart.

    `since` is the time when it was made in the place of another of its name, `until` the time when such a one took
    its place.
    """

    project: str
    region: str
    zone: str
    kind: str
    shape: Shape
    index: int
    name: str
    fleet: Fleet
    seed: int  # a number of its own, from which whatever else it shows is derived
    epoch: datetime
    parent: LabAsset | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def asset_type(self) -> str:
        """The asset type, such as `compute.googleapis.com/Instance`."""
        return self.shape.asset_type

    @property
    def path(self) -> str:
        """The name within its service: `projects/p/zones/z/instances/i`."""
        at = f"locations/{self.region}" if self.fleet.regional else f"zones/{self.zone}"
        parent = self.parent.name if self.parent else ""
        form = self.shape.form if self.shape.form.startswith("/") else f"/projects/{{project}}/{self.shape.form}"
        return form[1:].format(
            project=self.project, at=at, zone=self.zone, region=self.region, name=self.name, parent=parent
        )

    @property
    def full_name(self) -> str:
        """The full resource name, which the asset carries."""
        return f"//{self.shape.host}.googleapis.com/{self.path}"

    @property
    def location(self) -> str:
        """The location that the asset carries: zone, region or `global`."""
        if "zones/" in self.path or self.shape.in_zone:
            return self.zone
        return "global" if "/global/" in self.path else self.region

    @property
    def created(self) -> datetime:
        """The time of creation: as the fleet says, or a fixed time in the 400 days before the world's epoch."""
        return self.since or self.fleet.created or self.epoch - timedelta(seconds=self.seed % (400 * 86400))

    def stands(self, now: datetime) -> bool:
        """True for what is there at a time; one that replaces another comes into being then."""
        return (self.since is None or self.since <= now) and (self.until is None or now < self.until)

    @property
    def number(self) -> str:
        """Its numeric id, as text."""
        return str(10**18 + self.seed % (8 * 10**18))

    @property
    def runs(self) -> bool:
        """False for a resource that is switched off."""
        return (self.fleet.state or "RUNNING") not in _NOT_RUNNING


@dataclass(frozen=True, slots=True)
class Child:
    """A resource that comes with another, such as the disk of an instance. Without a region it stands beside it."""

    kind: str
    name: str
    region: str = ""


# --- Metrics --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Labels:
    """The labels that tell the series of a resource apart: of the metric, and further ones of the resource.

    `of` is the type of the monitored resource, where the metric has several; values are `share` of what they were.
    """

    metric: Mapping[str, str]
    resource: Mapping[str, str]
    of: str = ""
    share: float = 1.0


Parts = Callable[[LabAsset], list[Labels]]
"""The series that a resource has of a metric."""


@dataclass(frozen=True, slots=True)
class LabMetric:
    """A metric as Google publishes it: `low` to `high` in its unit per sample, visible `delay` seconds after it.

    A `rare` one is `high`, and `low` now and then for 15 minutes. Samples of a distribution are counts of values, which
    are about 15 to 12,000 times `value_unit`.
    """

    kind: str
    resource: str
    type: str
    metric_kind: str
    value_type: str
    low: float
    high: float
    parts: Parts
    rare: bool
    delay: int
    value_unit: float = 1.0


def single(_asset: LabAsset) -> list[Labels]:
    """A single series without labels of its own."""
    return [Labels({}, {})]


def varied(name: str, *values: str) -> Parts:
    """A series for each value of a label of the metric."""
    return lambda _asset: [Labels({name: value}, {}) for value in values]


def published(
    resource: str, prefix: str, *rows: tuple[Any, ...], delay: int = 240, value_unit: float = 1.0
) -> tuple[LabMetric, ...]:
    """Lay out metrics from rows of (rest of the metric type, kind, value type, low, high[, parts[, rare]])."""
    metrics = []
    for name, metric_kind, value_type, low, high, *more in rows:
        parts = more[0] if more else single
        rare = len(more) > 1
        metrics.append(
            LabMetric(
                "", resource, f"{prefix}{name}", metric_kind, value_type, low, high, parts, rare, delay, value_unit
            )
        )
    return tuple(metrics)


DISK_METRICS: tuple[tuple[Any, ...], ...] = (
    ("disk/read_bytes_count", "DELTA", "INT64", 0, 8e7),
    ("disk/write_bytes_count", "DELTA", "INT64", 1e4, 2e8),
    ("disk/read_ops_count", "DELTA", "INT64", 0, 3e3),
    ("disk/write_ops_count", "DELTA", "INT64", 1, 9e3),
)
"""Rows that several services publish alike."""


def in_project(asset: LabAsset) -> dict[str, str]:
    """The label of monitored resources that names the project."""
    return {"project_id": asset.project}


def contained(asset: LabAsset) -> dict[str, str]:
    """The labels of newer monitored resources that name project and place."""
    return {"resource_container": f"projects/{asset.project}", "location": asset.location}


# --- The kind -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LabKind:
    """A kind of resource, as Google's APIs show, measure and charge it.

    `shape_of` picks among several shapes, by the fleet and the region. `in_fleets` is false for what comes only with
    another resource. `is_global` is true for what stands in no region, whatever its fleet says. `labels` are those of
    the monitored resource, without the ones that vary between its series; `publishes` decides among metrics of several
    families. `hourly` is the price of an hour in USD, 0 where nothing is charged; `bill_service` charges it.
    The metrics are laid out without the name of the kind, which is filled in here.
    """

    name: str
    shapes: tuple[Shape, ...]
    describe: Callable[[LabAsset], Shown]
    shape_of: Callable[[Fleet, str], Shape] | None = None
    children: Callable[[LabAsset], Iterable[Child]] = lambda _asset: ()
    in_fleets: bool = True
    is_global: bool = False
    metrics: tuple[LabMetric, ...] = ()
    labels: Callable[[LabAsset], dict[str, str]] = in_project
    publishes: Callable[[LabAsset, LabMetric], bool] = lambda _asset, _metric: True
    skus: tuple[LabSku, ...] = field(default=())
    bill_service: str = ""
    hourly: Callable[[LabAsset], Decimal] = lambda _asset: Decimal(0)

    def __post_init__(self) -> None:
        """Fill the kind's name in."""
        object.__setattr__(self, "metrics", tuple(replace(metric, kind=self.name) for metric in self.metrics))

    def shape(self, fleet: Fleet, region: str) -> Shape:
        """The shape of a resource in a region."""
        return self.shape_of(fleet, region) if self.shape_of else self.shapes[0]


# --- Answers --------------------------------------------------------------------------------------------------------


def seconds(moment: datetime) -> str:
    """A time as most APIs write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def pacific(moment: datetime) -> str:
    """A time as Compute Engine writes it."""
    return moment.astimezone(_PACIFIC).isoformat(timespec="milliseconds")


def compute_head(asset: LabAsset, kind: str) -> Shown:
    """The fields that all answers of Compute Engine begin with."""
    return {
        "kind": f"compute#{kind}",
        "id": asset.number,
        "creationTimestamp": pacific(asset.created),
        "name": asset.name,
        "description": SECRET,
        "selfLink": f"{COMPUTE}/{asset.path}",
    }


def link(asset: LabAsset, rest: str) -> str:
    """A link of Compute Engine to something in the asset's project."""
    return f"{COMPUTE}/projects/{asset.project}/{rest}"


def address(asset: LabAsset) -> str:
    """A private address of the asset's own."""
    return f"10.{asset.seed >> 8 & 63}.{asset.seed >> 16 & 255}.{4 + asset.index % 250}"
