"""A kind of resource on Google Cloud: what `services/<service>.py` states about it, and readers that services share.

No SDK is imported here: the definitions and the documentation read the kinds.

Facts are taken by name, because an asset is the whole answer of its own API: start-up scripts, SSH keys, certificates
and passwords among it. Field names are those of the REST APIs (Compute Engine v1, Filestore v1, Cloud SQL v1beta4,
Memorystore v1, Spanner v1, Bigtable Admin v2, AlloyDB v1, GKE v1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from types import MappingProxyType

from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.metrics import Metric
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.providers.parsing import (
    Item,
    as_datetime,
    as_dict,
    as_labels,
    as_number,
    as_text,
    dig,
    name_of,
)

AGENT = "agent"
"""The condition of metrics that only the Ops Agent publishes. It shows itself by its points alone."""


@dataclass(frozen=True, slots=True)
class Place:
    """The place of an asset: `name` is its full resource name, `zone` is empty unless it stands in one."""

    account_id: str
    name: str
    region: str
    zone: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetFacts:
    """The facts of an asset that its kind reads; name, place and time of creation are read alike for all kinds.

    `status` None is the one that `cloud_status` stands for everywhere; `region` "" is that of the asset's place.
    `labels` are as the API has them. `capacity` is in the kind's `unit`. `created` and `uid` are for APIs that have
    them in a place of their own.
    """

    cloud_status: str = ""
    status: Status | None = None
    capacity: float | None = None
    labels: object = None
    region: str = ""
    created: object = None
    uid: object = None
    metadata: dict[str, str | int | float | bool | None] = field(default_factory=dict)


BEFORE_IN = re.compile(r".+?(?= in (?:[A-Z]|[a-z]+-)|$)")
"""The description of most SKUs, as far as ` in <place>`, or all of it."""


@dataclass(frozen=True, slots=True)
class PriceService:
    """A service of the Cloud Billing Catalog, by its id.

    `beginning` matches the part of a SKU's description before its place. `plain` gives the words of that part that
    count: regions are described in different ones.
    """

    id: str
    beginning: re.Pattern[str] = BEFORE_IN
    plain: Callable[[str], str] = str.lower


@dataclass(frozen=True, slots=True)
class Sku:
    """A rule that tells which SKU is the price of a component.

    `key` is the component's; `text` is the beginning of the SKU's description, before the place. Descriptions are all
    that tells SKUs apart.
    """

    key: str
    service: PriceService
    text: str

    @property
    def spot(self) -> bool:
        """True for the price of capacity that Google may take back."""
        return self.key.endswith(" spot")


def as_catalogued(metric: Metric, _resource: Resource) -> Metric:
    """The metric under the names that the catalogue has for it."""
    return metric


@dataclass(frozen=True, kw_only=True)
class GcpKind(Kind):
    """A kind of resource on Google Cloud.

    `asset_types` are those of Cloud Asset Inventory that are of this kind: what is regional or global may have one of
    its own. `read` takes the facts from an asset's data. `unit` is that of the capacity. `collection` is the word
    before a resource's name in its full name: `instances`. `number` names the fact that holds the numeric id, which
    the bill has in place of the name; "" where there is none. `labelled_by` is the kind of what holds one of this kind
    and has its labels, where the kind has none.

    `series_labels` gives the values of the labels by which a time series names a resource, in the order of the
    metrics' `dimension`; None for a kind without metrics. `published` gives a metric the names under which a
    resource's own family has it. The metrics are laid out without the name of the kind, which is filled in here.
    `divisors` names, for a metric that the cloud tells only as a sum, the metric that it is divided by, with the same
    filter: the time that all requests took, by their number. `skus` are the price list's rules for the components of
    `price_parts`.
    """

    asset_types: tuple[str, ...]
    read: Callable[[Item, Place], AssetFacts]
    collection: str
    unit: str = ""
    number: str = ""
    labelled_by: str = ""
    series_labels: Callable[[Resource], tuple[str, ...]] | None = None
    published: Callable[[Metric, Resource], Metric] = as_catalogued
    divisors: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    skus: tuple[Sku, ...] = ()

    def __post_init__(self) -> None:
        """Fill the kind's name in."""
        object.__setattr__(self, "metrics", tuple(replace(metric, kind=self.name) for metric in self.metrics))

    def to_resource(self, data: Item, place: Place) -> Resource:
        """The resource that an asset of this kind is; `data` is the answer of its own API."""
        facts = self.read(data, place)
        created_text = (
            facts.created or data.get("creationTimestamp") or data.get("createTime") or data.get("timeCreated")
        )
        created = as_datetime(created_text)  # by Compute Engine, most APIs, or Cloud Storage
        return Resource(
            account_id=place.account_id,
            region=facts.region or place.region,
            kind=self.name,
            resource_id=place.name,
            resource_name=last_part(data.get("name")) or last_part(place.name),
            resource_type=self.resource_type,
            status=status_of(facts.cloud_status) if facts.status is None else facts.status,
            cloud_status=facts.cloud_status,
            created_at=created,
            capacity=facts.capacity,
            unit=self.unit,
            instance_uid=as_text(facts.uid) or _own_id(data, place) or iso(created) or "",
            tags=as_labels(facts.labels),
            metadata=facts.metadata,
        )


def _own_id(data: Item, place: Place) -> str:
    """The id that Google gives to this one resource and to none that is made later under its name; "" without one.

    Compute Engine numbers what it makes; Kubernetes Engine and younger APIs have an id or uid. Where an API's `id` is
    the name once more (buckets, services of App Engine), it is none.
    """
    number = digits(data.get("id")) or ""
    return number if number not in {"", last_part(place.name)} else as_text(data.get("uid"))


def metric_rows(
    resource: str, labels: str, prefix: str, source: str, *rows: tuple[str | float, ...]
) -> tuple[Metric, ...]:
    """Lay out metrics from rows of (our name, type, unit, metric type, aligner or reducer, scale, filter, condition).

    `resource` is the type of the monitored resource, `labels` are those that name one of them; `prefix` begins all
    metric types. The period is 300 s. The last three of a row may be left out.
    """
    metrics = []
    for name, metric_type, unit, api_metric, statistics, *more in rows:
        scale, narrowed, condition = (*more, *(1.0, "", "")[len(more) :])
        metrics.append(
            Metric(
                provider="gcp",
                kind="",
                name=str(name),
                metric_type=str(metric_type),
                unit=str(unit),
                namespace=resource,
                api_metric=f"{prefix}{api_metric}",
                statistics=tuple(str(statistics).split()),
                period=300,
                dimension=labels,
                scale=float(scale),
                filter=str(narrowed),
                condition=str(condition),
                source=source,
            )
        )
    return tuple(metrics)


# --- Places ---------------------------------------------------------------------------------------------------------

_ZONE = re.compile(r"([a-z]+(?:-[a-z]+)+\d+)-[a-z][a-z0-9]*")  # us-central1-a, us-south1-ai1b
_IN_NAME = re.compile(r"/(?:zones|regions|locations)/([^/]+)")


def place_of(asset: Item, project_id: str) -> Place:
    """The place of an asset: by its name, its location or its data, or else `global`.

    Raises:
        ValueError: the asset has no name.
    """
    name, data = name_of(asset, "name"), as_dict(asset, "resource", "data")
    in_name = _IN_NAME.search(name)
    in_data = (last_part(data.get(key)) for key in ("zone", "region", "location"))
    location = (
        (in_name[1] if in_name else "")
        or as_text(dig(asset, "resource", "location"))
        or next(filter(None, in_data), "")
        or "global"
    )
    zone = _ZONE.fullmatch(location)
    return Place(project_id, name, zone[1] if zone else location, location if zone else "")


def last_part(path: object) -> str:
    """The last part of a path or link: `.../machineTypes/e2-small` is e2-small."""
    return as_text(path).rpartition("/")[2]


def short_link(value: object) -> str:
    """A link without its host and version: `projects/p/global/networks/n`; it names the same thing in every API."""
    link = as_text(value)
    return link[link.find("/projects/") + 1 :] if "/projects/" in link else link


def parent_of(name: str) -> str:
    """The name of the resource that holds another: `.../clusters/main/nodePools/blue` is in main."""
    parts = name.split("/")
    return parts[-3] if len(parts) >= 3 else ""


# --- Values ---------------------------------------------------------------------------------------------------------

_STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "RUNNING RUNNABLE RUNNING_WITH_ERROR RECONCILING DEGRADED ACTIVE UPDATING ONLINE_MAINTENANCE",
    # An instance that Compute Engine calls TERMINATED is switched off: it keeps its disks and can be started.
    Status.STOPPED: "TERMINATED STOPPED SUSPENDED DISABLED OFFLINE",
    Status.STARTING: (
        "PROVISIONING STAGING PENDING CREATING RESTORING PENDING_CREATE BOOTSTRAPPING STARTING RESUMING UPLOADING "
        "PREPARING DEPLOYING DEPLOY_IN_PROGRESS"
    ),
    Status.STOPPING: "STOPPING PENDING_STOP SUSPENDING DEPROVISIONING DELETING PENDING_DELETE DELETE_IN_PROGRESS",
    Status.AVAILABLE: (
        "READY MAINTENANCE IMPORTING FAILING_OVER PERFORMING_MAINTENANCE PROMOTING RESIZING REVERTING SWITCHOVER EMPTY "
        "DRAINING MEMCACHE_VERSION_UPGRADING"
    ),
    Status.ERROR: "ERROR FAILED REPAIRING UNAVAILABLE INVALID",
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words.split()}


def status_of(word: str) -> Status:
    """The status that a word of Google's APIs stands for."""
    return _STATUSES.get(word.upper(), Status.UNKNOWN)


def is_stopped(resource: Resource) -> bool:
    """True for a resource that is switched off."""
    return resource.status in {Status.STOPPED, Status.TERMINATED}


def digits(value: object) -> str | None:
    """The numeric id of a resource, which its metrics and costs carry, as text."""
    if isinstance(value, float):
        return f"{value:.0f}" if as_number(value) else None
    return as_text(value) if value else None


def iso(moment: object) -> str | None:
    """A time as ISO text in UTC, to the second."""
    time = as_datetime(moment)
    return time.isoformat(timespec="seconds") if time else None


def length(value: object) -> int | None:
    """The length of a list. Google leaves out those that are empty."""
    return len(value) if isinstance(value, list) else 0 if value is None else None


def decimal(value: float | None) -> Decimal:
    """A size as a quantity of a component; 0 for one that is not known."""
    return Decimal(str(value or 0))


# --- Labels of time series ------------------------------------------------------------------------------------------


def by_fact(fact: str) -> Callable[[Resource], tuple[str, ...]]:
    """Series that name a resource by one of the facts in its metadata."""
    return lambda resource: (str(resource.metadata.get(fact) or ""),)


def by_name_and_location(resource: Resource) -> tuple[str, ...]:
    """Series that name a resource by its own name and its location."""
    return last_part(resource.resource_id), location_of(resource)


def within(resource: Resource, collection: str) -> str:
    """The part of a full resource name after `collection`: `.../locations/eu/clusters/c` is in `eu`."""
    _, _, rest = resource.resource_id.partition(f"/{collection}/")
    return rest.partition("/")[0]


def location_of(resource: Resource) -> str:
    """The location, zone or region in a full resource name."""
    return within(resource, "locations") or within(resource, "zones") or within(resource, "regions")
