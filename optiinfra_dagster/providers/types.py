"""The typed rows and outcomes that every provider folder yields, whatever the cloud.

Units are the same on every cloud: percent 0-100, bytes/s, ops/s, seconds, bytes, count. Times are zoned UTC.
Nothing here knows Dagster, ClickHouse or an SDK.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

from optiinfra_dagster.errors import Cause, CloudError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optiinfra_dagster.providers.catalog import Metric
    from optiinfra_dagster.providers.memory import Memory


class ResourceType(StrEnum):
    """What a resource is, in one vocabulary for all clouds."""

    COMPUTE = "compute"
    VOLUME = "volume"
    DATABASE = "database"
    LOAD_BALANCER = "load_balancer"
    NETWORK = "network"
    KUBERNETES = "kubernetes"


class Status(StrEnum):
    """How a resource is, in one vocabulary for all clouds; the cloud's own word is kept beside it."""

    RUNNING = "running"
    STOPPED = "stopped"
    STARTING = "starting"
    STOPPING = "stopping"
    TERMINATED = "terminated"
    AVAILABLE = "available"
    IN_USE = "in_use"
    ERROR = "error"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Resource:
    """One thing a customer runs, as its cloud listed it.

    `resource_id` is the cloud's full, stable id (ARN, self link, ARM id, UUID), the same that metrics and costs use.
    `kind` is the catalogue's key, e.g. `ec2:instance`. `capacity` is None where the listing does not tell it.
    `metadata` holds allow-listed, flat facts only: never a field that may carry a secret.
    """

    account_id: str
    region: str
    kind: str
    resource_id: str
    resource_name: str
    resource_type: ResourceType
    status: Status
    cloud_status: str
    created_at: datetime | None = None
    capacity: float | None = None
    unit: str = ""
    utilization: float | None = None
    tags: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, str | int | float | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Problem:
    """What a collection could not get, and why. `region` or `kind` is empty where the whole account is meant."""

    account_id: str
    region: str
    kind: str
    cause: Cause
    message: str

    def __str__(self) -> str:
        """Name the place, then the reason: `123456789012/us-east-1 rds:db: AccessDenied ...`."""
        place = "/".join(part for part in (self.account_id, self.region) if part)
        return f"{place} {self.kind}: {self.message}" if self.kind else f"{place}: {self.message}"


@dataclass(slots=True)
class Inventory:
    """The resources of one customer on one provider, now. Complete only if `problems` is empty."""

    resources: list[Resource] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@dataclass(slots=True)
class Series:
    """The points of one statistic of one metric of one resource, already in the catalogue's unit.

    `timestamps` are the starts of the periods, as whole seconds since the epoch (UTC), any order;
    `values` has the same length. `window` is the slice that holds the points where it is not the one of their
    timestamps, as for the total of a day, which is known only after it.
    """

    resource: Resource
    metric: Metric
    statistic: str
    timestamps: list[int]
    values: list[float]
    window: datetime | None = None


class CoverageState(StrEnum):
    """What is known of one metric of one resource. Unknown is never zero."""

    COLLECTED = "collected"
    NOT_OFFERED = "not_offered"
    NO_PERMISSION = "no_permission"
    AGENT_MISSING = "agent_missing"
    THROTTLED = "throttled"
    ERROR = "error"

    @classmethod
    def of(cls, cause: Cause) -> CoverageState:
        """The state of a metric whose call failed for `cause`."""
        if cause in {Cause.AUTH, Cause.PERMISSION}:
            return cls.NO_PERMISSION
        return cls.THROTTLED if cause is Cause.THROTTLED else cls.ERROR


@dataclass(frozen=True, slots=True)
class Coverage:
    """The state of one catalogue metric of one resource, with the reason where it is not `collected`."""

    resource_id: str
    resource_type: ResourceType
    metric_name: str
    state: CoverageState
    reason: str = ""


AccountT = TypeVar("AccountT")


@dataclass(frozen=True, slots=True)
class MetricsRequest(Generic[AccountT]):
    """What one collection of metrics is asked for: the points of [start, end) of every catalogue metric of `resources`.

    `present` is the start of the window that what is there now may be told of, for sources that know only the present;
    None where the whole range is past. `listed` is the window of the inventory that `resources` come from, and whose
    statuses they have. `daily` names, for a source of daily totals, the newest day that each resource
    already has in other slices (resource id -> start of that day, epoch seconds). `memory` keeps for a day what need
    not be asked of the cloud every time.

    Raises:
        ValueError: the range is empty, or its times have no zone.
    """

    customer_id: str
    accounts: Sequence[AccountT]
    resources: Sequence[Resource]
    start: datetime
    end: datetime
    present: datetime | None = None
    listed: datetime | None = None
    daily: Mapping[str, int] = field(default_factory=dict)
    memory: Memory | None = None

    def __post_init__(self) -> None:
        """Refuse a range that holds nothing."""
        if self.start.tzinfo is None or self.end.tzinfo is None or self.start >= self.end:
            raise ValueError(f"no time range: {self.start} to {self.end}")


@dataclass(slots=True)
class Performance:
    """The series of one customer on one provider over a time range. Complete only if `problems` is empty."""

    series: list[Series] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


class Meter:
    """Counts the API calls that a slice makes and what the cloud charges the customer for them. Thread-safe.

    `limit_usd` is what is left of the customer's budget; None is no limit.
    """

    def __init__(self, limit_usd: Decimal | None = None) -> None:
        self._lock = threading.Lock()
        self._limit_usd = limit_usd
        self.calls: Counter[str] = Counter()
        self.cost_usd = Decimal(0)

    def count(self, operation: str, *, usd: Decimal = Decimal(0)) -> None:
        """Note one call of `operation` (`GetMetricData`), billed at `usd` whether or not it succeeds.

        To be called before the request is sent: one that would pass the limit is not counted and must not be sent.

        Raises:
            CloudError: the call would cost more than is left of the budget (`Cause.BUDGET`).
        """
        with self._lock:
            if usd and self._limit_usd is not None and self.cost_usd + usd > self._limit_usd:
                left = self._limit_usd - self.cost_usd
                raise CloudError(
                    Cause.BUDGET,
                    f"{operation} costs the customer {usd:f} USD and {left:f} USD are left of this month's budget: not "
                    "called. Raise monthly_api_budget_usd or poll_minutes in the customers file.",
                )
            self.calls[operation] += 1
            self.cost_usd += usd

    def bill(self, operation: str, *, usd: Decimal) -> None:
        """Note what a cloud charges by what it answered (time series returned), which no limit can stop any more."""
        with self._lock:
            self.calls[operation] += 0
            self.cost_usd += usd
