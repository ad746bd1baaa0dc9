"""A kind of resource on Azure: how it is listed, read, measured and priced. No SDK is imported here.

A service writes its kinds in `services/<service>.py`, with the helpers of this module. Facts are asked for by name,
because properties also carry user names, keys, certificates and scripts: what no kind names never leaves Azure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass, field
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import NamedTuple

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.metrics import Metric
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.providers.parsing import (
    Item,
    as_datetime,
    as_labels,
    as_text,
    as_texts,
    dig,
    facts,
    name_of,
)

Row = Item
"""A row of Resource Graph's answer: the values of `COMMON_COLUMNS` and of every kind's columns, by name."""

Fact = str | int | float | bool | None

Columns = Mapping[str, tuple[str, ...]]
"""A column's name -> where its value stands in a resource: the first of the expressions that is not null."""

Parts = Iterator[Component]
"""The parts of a resource that have a price by the hour."""

COMMON_COLUMNS: Columns = {
    **{name: (name,) for name in ("id", "name", "type", "location", "resourceGroup", "subscriptionId", "tags")},
    "zones": ("zones",),
    "managedBy": ("managedBy",),
    "provisioningState": ("properties.provisioningState",),
}
"""The columns that are asked for whatever the kind."""

PERIOD = 300
"""Seconds between the points of a metric: nearly all are published so often at no further cost."""

HOUR = 3600
"""Seconds between the points of a metric that Azure publishes once an hour."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The facts of a row that differ by kind.

    `word` is Azure's own for its state; `ready` is the status of a resource that is provisioned and says no more,
    `silent` that of one that says nothing at all.
    """

    word: str
    ready: Status = Status.AVAILABLE
    silent: Status = Status.UNKNOWN
    capacity: float | None = None
    unit: str = ""
    metadata: dict[str, Fact] = field(default_factory=dict)


class MetricRow(NamedTuple):
    """A metric of a kind: our name, type and unit, and Azure's name and aggregations, in Azure's words.

    `condition` is a name of `Kind.conditions`. Azure's number becomes ours as `value * scale + offset`; a total or
    count whose unit is per second is divided by its period first.
    """

    name: str
    metric_type: str
    unit: str
    api_metric: str
    aggregations: str
    condition: str = ""
    scale: float = 1.0
    offset: float = 0.0
    period: int = PERIOD


def document(azure_type: str) -> str:
    """The name of Azure's document of the metrics of a type."""
    return f"Azure Monitor: supported metrics for {azure_type}"


def not_among(azure_type: str, *figures: str, **reasons: str) -> Mapping[str, str]:
    """`Kind.not_offered`: the figures that a type's document does not have, and those that it has in no usable form."""
    with_reasons = {figure: f"{document(azure_type)}: {reason}" for figure, reason in reasons.items()}
    return dict.fromkeys(figures, document(azure_type)) | with_reasons


def _no_parts(_row: Row, _resource: Resource) -> Iterator[Resource]:
    yield from ()


@dataclass(frozen=True, kw_only=True)
class AzureKind(Kind):
    """A kind of resource on Azure.

    `azure_type` is its type in Azure's spelling, which is the namespace of its metrics too; `read` takes a row's facts
    from `columns` and `COMMON_COLUMNS`. Two of these say the same of every kind: `created`, and `uid`, which is another
    for each resource that is made under the same id. `skipped_ids` ends the ids of what Azure made for itself.
    `parts` are the resources of other kinds that a row tells of too; `listed` is false for those kinds, which Resource
    Graph has no rows of. `metric_rows` become `metrics`.
    """

    azure_type: str
    read: Callable[[Row], Facts]
    columns: Columns = field(default_factory=lambda: MappingProxyType({}))
    skipped_ids: str = ""
    parts: Callable[[Row, Resource], Iterator[Resource]] = _no_parts
    listed: bool = True
    metric_rows: InitVar[tuple[MetricRow, ...]] = ()

    def __post_init__(self, metric_rows: tuple[MetricRow, ...]) -> None:
        """Lay out the rows of metrics, which say the kind and its namespace once."""
        if metric_rows:
            object.__setattr__(self, "metrics", tuple(self._metrics(metric_rows)))

    def _metrics(self, rows: tuple[MetricRow, ...]) -> Iterator[Metric]:
        for row in rows:
            yield Metric(
                provider="azure",
                kind=self.name,
                name=row.name,
                metric_type=row.metric_type,
                unit=row.unit,
                namespace=self.azure_type,
                api_metric=row.api_metric,
                statistics=tuple(row.aggregations.split()),
                period=row.period,
                dimension="Microsoft.ResourceId",
                scale=row.scale,
                offset=row.offset,
                per_second=row.aggregations in {"Total", "Count"} and row.unit.endswith("/s"),
                condition=row.condition,
                source=document(self.azure_type),
            )

    @property
    def read_action(self) -> str:
        """The action that a role must allow, lest Resource Graph leave out this kind without a word."""
        return f"{self.azure_type.lower()}/read"

    def to_resource(self, row: Row) -> Resource | None:
        """Read one row; None for what Azure made for itself.

        Raises:
            ValueError and the like: the row has no id.
        """
        resource_id = arm_id(name_of(row, "id"))
        if self.skipped_ids and resource_id.endswith(self.skipped_ids):
            return None
        read = self.read(row)
        created = as_datetime(row.get("created"))
        return Resource(
            account_id=subscription_of(row),
            region=as_text(row.get("location")).lower().replace(" ", ""),  # old services write `East US 2`
            kind=self.name,
            resource_id=resource_id,
            resource_name=as_text(row.get("name")) or resource_id.rpartition("/")[2] or resource_id,
            resource_type=self.resource_type,
            status=status_of(read),
            cloud_status=read.word,
            created_at=created,
            capacity=read.capacity,
            unit=read.unit,
            instance_uid=self._instance_uid(row, created),
            tags=as_labels(row.get("tags")),
            metadata=facts(
                **read.metadata,
                provisioning_state=row.get("provisioningState"),
                resource_group=arm_id(row.get("resourceGroup")),
                zones=",".join(as_texts(row.get("zones"))),
            ),
        )

    def _instance_uid(self, row: Row, created: datetime | None) -> str:
        """The id that Azure gave to this one thing; of a kind that is given none, the second in which it was made."""
        if "uid" in self.columns:
            return arm_id(row.get("uid"))
        return "" if created is None or "created" not in self.columns else f"{created:%Y-%m-%dT%H:%M:%SZ}"


# --- Reading rows -----------------------------------------------------------------------------------------------------


def arm_id(value: object) -> str:
    """An ARM id as our rows write it. Azure takes ids in any case and its services write the same id differently."""
    return as_text(value).lower()


def subscription_of(row: Row) -> str:
    """The id of the subscription that a row belongs to."""
    parts = arm_id(dig(row, "id")).split("/")
    return (parts[2] if len(parts) > 2 else "") or arm_id(dig(row, "subscriptionId"))


# The words of all services, in lower case; those of _PROVISIONED mean that nothing is known to be wrong.
_STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "active enabled running",
    Status.STOPPED: "deallocated disabled hibernated offline paused shutdown stopped autoclosed offlinesecondary "
    "suspended",
    Status.STARTING: (
        "accepted creating enabling initializing progressing provisioning registering restarting resuming starting "
        "uninitialized pending inprogress resolvingdns"
    ),
    Status.STOPPING: (
        "deallocating deleting deprovisioning disabling dropping hibernating pausing stopping unprovisioning"
    ),
    Status.TERMINATED: "deleted dropped",
    Status.AVAILABLE: (
        "copying frozen online onlinechangingdwperformancetiers readytoupload ready restoring scaling standby "
        "unattached activesasfrozen exporting importing linking recoveringscalefailure unlinking internallyready "
        "created moving available"
    ),
    Status.IN_USE: "activesas activeupload attached reserved",
    Status.ERROR: (
        "canceled emergencymode failed inaccessible offlinechangingdwperformancetiers recovering recoverypending "
        "suspect scalefailed unrecoverable deletefailed dropfailed createfailed updatefailed enablefailed "
        "disablefailed scalingfailed deletionfailed timedout migrationfailed migrationcancellationfailed unavailable"
    ),
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words.split()}
_PROVISIONED = {
    "succeeded", "updating", "upgrading", "migrating", "configuring", "configuringaad", "reconciling",
    "reconcilingclustercertificates", "reconcilingclusteretcdcertificates", "rotatingclustercertificates",
    "migrationsucceeded", "migrationcancelling", "migrated", "abortingmigration", "committingmigration",
    "pendingmigrationcommit", "patching", "adminupdating", "upgradingnodeimageversion",
}  # fmt: skip


def state_word(row: Row) -> str:
    """Azure's word for the state of a resource, else that of its last change.

    The state goes first because what was changed without success may run all the same. Machines write it
    `PowerState/running`.
    """
    return as_text(row.get("state")).rpartition("/")[2] or as_text(row.get("provisioningState"))


def is_provisioned(word: str) -> bool:
    """True for a word that only says that nothing is known to be wrong with a resource."""
    return word.lower().replace(" ", "") in _PROVISIONED


def status_of(read: Facts) -> Status:
    """The status of what was read, in our words."""
    plain = read.word.lower().replace(" ", "")
    if not plain:
        return read.silent
    return read.ready if plain in _PROVISIONED else _STATUSES.get(plain, Status.UNKNOWN)


# --- Conditions and prices --------------------------------------------------------------------------------------------


def fact_text(resource: Resource, name: str) -> str:
    """A fact of a resource as text; "" where it is not known."""
    return str(resource.metadata.get(name) or "")


def fact_number(resource: Resource, name: str) -> float:
    """A fact of a resource as a number; 0 where it is not known."""
    value = resource.metadata.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def fact_has(resource: Resource, name: str, *words: str) -> bool:
    """True if a fact of a resource contains one of some words, which are in lower case."""
    text = str(resource.metadata.get(name, "")).lower()
    return any(word in text for word in words)


def price_part(service: str, product: str, meter: str, quantity: float | Decimal = 1) -> Component:
    """A part of a resource that has a price by the hour, in the words of the Retail Prices API."""
    return Component(f"{service} | {product} | {meter}", Decimal(str(quantity)))
