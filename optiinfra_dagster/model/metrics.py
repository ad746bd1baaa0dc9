"""The typed rows and outcomes that every provider folder yields, whatever the cloud.

Units are the same on every cloud: percent 0-100, bytes/s, ops/s, seconds, bytes, count. Times are zoned UTC.
Nothing here knows Dagster, ClickHouse or an SDK.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Generic

from optiinfra_dagster.model.account import AccountT
from optiinfra_dagster.model.errors import Cause

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.model.inventory import Resource, ResourceType
    from optiinfra_dagster.model.memory import DayMemory
    from optiinfra_dagster.model.problems import Problem


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
    """The state of knowledge of one metric of one resource. Unknown is never zero."""

    COLLECTED = "collected"
    NOT_OFFERED = "not_offered"  # the cloud has no such figure of this resource, as it is now
    NO_POINTS = "no_points"  # it was asked for, and the cloud returned no points
    NO_PERMISSION = "no_permission"
    AGENT_MISSING = "agent_missing"
    THROTTLED = "throttled"
    ERROR = "error"
    NOT_COLLECTED = "not_collected"  # the cloud was not asked: no metric of the kind is in our catalogue

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


@dataclass(frozen=True, slots=True)
class MetricsRequest(Generic[AccountT]):
    """A request for metrics: the points of [start, end) of every catalogue metric of `resources`.

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
    memory: DayMemory | None = None

    def __post_init__(self) -> None:
        """Refuse a range that holds nothing."""
        if self.start.tzinfo is None or self.end.tzinfo is None or self.start >= self.end:
            raise ValueError(f"no time range: {self.start} to {self.end}")


@dataclass(slots=True)
class MetricsResult:
    """The series of one customer on one provider over a time range. Complete only if `problems` is empty."""

    series: list[Series] = field(default_factory=list)
    coverage: list[Coverage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


# What the clouds call a statistic -> what our rows call it. A rate is an average over its period.
STATISTICS: Mapping[str, str] = {
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Total": "average",  # Azure's sum, divided by its period
    "Count": "average",  # Azure's number of samples, the same
    "Sum": "average",  # CloudWatch's, the same
    "p50": "p50",
    "p95": "p95",
    "p99": "p99",
    "ALIGN_MEAN": "average",
    "ALIGN_MAX": "maximum",
    "ALIGN_RATE": "average",
    "ALIGN_SUM": "average",  # Cloud Monitoring's sum; the scale divides it by its period
    "ALIGN_FRACTION_TRUE": "average",  # Cloud Monitoring's share of samples that are true
    "REDUCE_SUM": "average",  # Cloud Monitoring's sum of the means of what a resource consists of
    "REDUCE_MEAN": "average",  # Cloud Monitoring's mean of everything that a distribution counts
    "REDUCE_PERCENTILE_50": "p50",
    "REDUCE_PERCENTILE_95": "p95",
    "REDUCE_PERCENTILE_99": "p99",
    "avg": "average",  # PromQL's
    "day": "daily_average",  # of Vultr's traffic: a name of its own, beside the averages of shorter periods
    "snapshot": "snapshot",  # the state at the moment of asking
}


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric of one kind of resource: its name and unit here, and the question that gets it from the cloud.

    `statistics` are the API's own words, named in our rows by `STATISTICS`; `period` is in seconds. `dimension` names
    the API's dimension or label that holds the resource; `filter` narrows the question further, in the API's words.
    What the API answers becomes ours as `value / (period if per_second else 1) * scale + offset`. `source` is the
    document that the names, units and conditions come from.
    """

    provider: str
    kind: str
    name: str
    metric_type: str
    unit: str
    namespace: str
    api_metric: str
    statistics: tuple[str, ...]
    period: int
    dimension: str = ""
    scale: float = 1.0
    offset: float = 0.0
    per_second: bool = False
    filter: str = ""
    condition: str = ""
    source: str = ""

    def statistic_name(self, api_statistic: str) -> str:
        """Name a statistic in our rows: `average`, `maximum`, `p95`."""
        return STATISTICS[api_statistic]

    def convert(self, value: float) -> float:
        """The API's number in our unit."""
        return value * self.factor + self.offset

    @property
    def factor(self) -> float:
        """The factor from the API's number to our unit."""
        return self.scale / self.period if self.per_second else self.scale
