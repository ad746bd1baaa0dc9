"""What every resource measures: a table of metrics, and their points for any time, from arithmetic alone.

A point is a function of the series (world's seed, account, region, metric, resource) and its time: a daily wave on a
level of its own, and noise. All series of a question are computed at once, as matrices of series x points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from optiinfra_dagster.lab.aws.describe import has_ebs_totals
from optiinfra_dagster.lab.world import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
Dimensions = tuple[tuple[str, str], ...]

DAY = 86400
GIB = 1024.0**3


@dataclass(frozen=True, slots=True)
class LabMetric:
    """One metric as AWS publishes it: `low` to `high` in its unit per sample, `samples` of them in each `period`.

    `shape`: wave (a day's rise and fall), count (the same in whole numbers), level (one whole number that stays) or
    rare (0, and 1 now and then for 15 minutes).
    """

    namespace: str
    name: str
    unit: str
    low: float
    high: float
    period: int
    samples: int
    shape: str = "wave"
    dimensions: Dimensions = ()  # beside the one that holds the resource's id


def _published(
    dimension: str, namespace: str, period: int, samples: int, *rows: tuple[Any, ...]
) -> tuple[str, tuple[LabMetric, ...]]:
    """Lay out rows of (name, unit, low, high[, shape[, period, samples]]); a name may say `Latency Operation=Get`."""
    found = []
    for words, unit, low, high, *rest in rows:
        name, *more = words.split()
        dimensions = tuple(tuple(one.split("=")) for one in more)
        one = LabMetric(namespace, name, unit, low, high, *(rest[1:] or (period, samples)), *rest[:1])
        found.append(replace(one, dimensions=dimensions))
    return dimension, tuple(found)


_IO: tuple[tuple[Any, ...], ...] = (
    ("ReadBytes", "Bytes", 0, 8e7),
    ("WriteBytes", "Bytes", 1e4, 2e8),
    ("ReadOps", "Count", 0, 3e3),
    ("WriteOps", "Count", 1, 9e3),
)

# kind: the dimension that holds a resource's id, and its metrics
PUBLISHED: dict[str, tuple[str, tuple[LabMetric, ...]]] = {
    "ec2:instance": _published(
        "InstanceId", "AWS/EC2", 300, 5,
        ("CPUUtilization", "Percent", 0.5, 97.0),
        ("NetworkIn", "Bytes", 1e4, 3e8, "count"),
        ("NetworkOut", "Bytes", 1e4, 5e8, "count"),
        *((f"EBS{name}", *rest, "count") for name, *rest in _IO),
        ("StatusCheckFailed", "Count", 0, 1, "rare", 60, 1),
    ),
    "ebs:volume": _published(
        "VolumeId", "AWS/EBS", 300, 5,
        *((f"Volume{name}", *rest, "count") for name, *rest in _IO),
        ("VolumeQueueLength", "Count", 0, 4),
        ("VolumeIdleTime", "Seconds", 5, 60),
    ),
    "rds:db": _published(
        "DBInstanceIdentifier", "AWS/RDS", 60, 1,
        ("CPUUtilization", "Percent", 1.0, 95.0),
        ("FreeableMemory", "Bytes", 0.5 * GIB, 12 * GIB, "count"),
        ("FreeStorageSpace", "Bytes", 2 * GIB, 200 * GIB, "count"),
        ("DatabaseConnections", "Count", 0, 400, "count"),
        ("ReadThroughput", "Bytes/Second", 0, 9e7),
        ("WriteThroughput", "Bytes/Second", 1e3, 6e7),
        ("ReadIOPS", "Count/Second", 0, 2500),
        ("WriteIOPS", "Count/Second", 0.5, 1800),
        ("ReadLatency", "Seconds", 2e-4, 2e-2),
        ("WriteLatency", "Seconds", 3e-4, 3e-2),
        ("NetworkReceiveThroughput", "Bytes/Second", 1e3, 5e7),
        ("NetworkTransmitThroughput", "Bytes/Second", 1e3, 9e7),
    ),
    "rds:cluster": _published(
        "DBClusterIdentifier", "AWS/RDS", 300, 1,
        ("VolumeReadIOPs", "Count", 0, 9e5, "count"),
        ("VolumeWriteIOPs", "Count", 0, 9e5, "count"),
        ("VolumeBytesUsed", "Bytes", 1 * GIB, 900 * GIB, "count"),
    ),
    "elbv2:application": _published(
        "LoadBalancer", "AWS/ApplicationELB", 60, 1,
        ("TargetResponseTime", "Seconds", 2e-3, 0.9, "wave", 60, 60),  # a sample per request
        ("RequestCount", "Count", 0, 9e3, "count"),
        ("ProcessedBytes", "Bytes", 1e3, 2e8, "count"),
        ("HealthyHostCount", "Count", 1, 9, "level"),
    ),
    "elbv2:network": _published(
        "LoadBalancer", "AWS/NetworkELB", 60, 1,
        ("ProcessedBytes", "Bytes", 1e3, 2e8, "count"),
        ("ActiveFlowCount", "Count", 0, 5e3, "count"),
        ("HealthyHostCount", "Count", 1, 9, "level"),
    ),
    "elbv2:gateway": _published(
        "LoadBalancer", "AWS/GatewayELB", 60, 1,
        ("ProcessedBytes", "Bytes", 1e3, 2e8, "count"),
    ),
    "elb:classic": _published(
        "LoadBalancerName", "AWS/ELB", 60, 1,
        ("Latency", "Seconds", 2e-3, 0.9, "wave", 60, 60),
        ("RequestCount", "Count", 0, 9e3, "count"),
        ("HealthyHostCount", "Count", 1, 9, "level"),
    ),
    "eks:cluster": _published(
        "ClusterName", "ContainerInsights", 60, 1,
        ("node_cpu_utilization", "Percent", 2, 90),
        ("node_memory_utilization", "Percent", 10, 85),
        ("node_filesystem_utilization", "Percent", 5, 95),
        ("node_network_total_bytes", "Bytes/Second", 1e3, 9e7),
    ),
    "eks:control_plane": _published(  # an EKS cluster's too, with or without the add-on
        "ClusterName", "AWS/EKS", 60, 1,
        ("apiserver_request_total", "Count", 10, 9e4, "count"),
    ),
    "elasticache:cluster": _published(
        "CacheClusterId", "AWS/ElastiCache", 60, 1,
        ("CPUUtilization", "Percent", 0.5, 80),
        ("FreeableMemory", "Bytes", 0.2 * GIB, 6 * GIB, "count"),
        ("NetworkBytesIn", "Bytes", 1e3, 9e7, "count"),
        ("NetworkBytesOut", "Bytes", 1e3, 9e7, "count"),
        ("DatabaseMemoryUsagePercentage", "Percent", 1, 99),
        ("SuccessfulReadRequestLatency", "Microseconds", 20, 900),
        ("SuccessfulWriteRequestLatency", "Microseconds", 20, 900),
    ),
    "redshift:cluster": _published(
        "ClusterIdentifier", "AWS/Redshift", 60, 1,
        ("CPUUtilization", "Percent", 1, 95),
        ("HealthStatus", "Count", 1, 1, "level"),
        ("PercentageDiskSpaceUsed", "Percent", 3, 97),
        ("ReadThroughput", "Bytes/Second", 0, 9e7),
        ("WriteThroughput", "Bytes/Second", 0, 9e7),
        ("ReadIOPS", "Count/Second", 0, 2500),
        ("WriteIOPS", "Count/Second", 0, 1800),
        ("ReadLatency", "Seconds", 2e-4, 2e-2),
        ("WriteLatency", "Seconds", 3e-4, 3e-2),
        ("NetworkReceiveThroughput", "Bytes/Second", 1e3, 5e7),
        ("NetworkTransmitThroughput", "Bytes/Second", 1e3, 9e7),
    ),
    "ec2:natgateway": _published(
        "NatGatewayId", "AWS/NATGateway", 60, 1,
        ("BytesInFromSource", "Bytes", 1e3, 2e8, "count"),
        ("BytesInFromDestination", "Bytes", 1e3, 2e8, "count"),
        ("BytesOutToDestination", "Bytes", 1e3, 2e8, "count"),
    ),
    "dynamodb:table": _published(
        "TableName", "AWS/DynamoDB", 60, 1,
        ("ConsumedReadCapacityUnits", "Count", 0, 900, "count"),
        ("ConsumedWriteCapacityUnits", "Count", 0, 900, "count"),
        *((f"SuccessfulRequestLatency Operation={name}", "Milliseconds", 1, 40, "wave", 60, 60)
          for name in ("GetItem", "PutItem", "Query")),
    ),
    "efs:filesystem": _published(
        "FileSystemId", "AWS/EFS", 60, 1,
        ("TotalIOBytes", "Bytes", 0, 9e7, "count"),
        ("DataReadIOBytes", "Bytes", 0, 9e7, "count"),
        ("DataWriteIOBytes", "Bytes", 0, 9e7, "count"),
    ),
}  # fmt: skip

# Metrics that some engines of their kind have only; "" is the engine of a fleet that names none.
_ENGINES: dict[str, set[str]] = {
    "FreeStorageSpace": {"", "mysql", "mariadb", "postgres", "oracle-ee", "oracle-se2", "sqlserver-ee", "sqlserver-se"},
    "VolumeReadIOPs": (_CLUSTERED := {"", "aurora", "aurora-mysql", "aurora-postgresql", "docdb", "neptune"}),
    "VolumeWriteIOPs": _CLUSTERED,
    "VolumeBytesUsed": _CLUSTERED,
    "DatabaseMemoryUsagePercentage": {"", "redis", "valkey"},
    "SuccessfulReadRequestLatency": {"valkey"},
    "SuccessfulWriteRequestLatency": {"valkey"},
}
_OTHER_NAMESPACES = {"docdb": "AWS/DocDB", "neptune": "AWS/Neptune"}

# The agent's: memory, and two file systems of a Linux instance.
AGENT = _published(
    "InstanceId", "CWAgent", 60, 1,
    ("mem_used_percent", "Percent", 4, 96),
    ("disk_used_percent path=/ device=nvme0n1p1 fstype=xfs", "Percent", 2, 99),
    ("disk_used_percent path=/data device=nvme1n1 fstype=ext4", "Percent", 2, 99),
)[1]  # fmt: skip
AGENT_DIMENSIONS = ["ImageId", "InstanceId", "InstanceType"]  # of the agent's standard configuration


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """One metric of one resource. `key` is the number that all its values come from."""

    resource: LabResource
    metric: LabMetric
    dimensions: Dimensions
    key: int
    start: int  # seconds since the epoch; before it the resource did not exist
    recorded: tuple[Whole, Floats] | None = None  # times and values served in place of generated ones


def series_of(resource: LabResource) -> Iterator[Series]:
    """Every series that a resource publishes; none where it is stopped, detached, or lacks the agent it needs."""
    if not _publishes(resource):
        return
    dimension, metrics = PUBLISHED.get(resource.kind, ("", ()))
    if resource.kind == "eks:cluster":
        metrics = (metrics if resource.fleet.agent else ()) + PUBLISHED["eks:control_plane"][1]
    for metric in metrics:
        if _offers(resource, metric.name):
            yield _series(resource, _as_run(resource, metric), ((dimension, resource.id),))
    if resource.kind == "ec2:instance" and resource.fleet.agent:
        names = resource.fleet.agent if isinstance(resource.fleet.agent, list) else AGENT_DIMENSIONS
        values = {
            "InstanceId": resource.id,
            "ImageId": "ami-" + resource.hexid("image"),
            "InstanceType": resource.fleet.type or "m6i.large",
            "AutoScalingGroupName": f"{resource.fleet.kind}-group",
        }
        for metric in AGENT:
            yield _series(resource, metric, tuple((name, values[name]) for name in names))


def _offers(resource: LabResource, metric: str) -> bool:
    """Whether instances of this type, or databases of this engine, have a metric."""
    engines = _ENGINES.get(metric)
    if engines is not None:
        return (resource.fleet.engine or "") in engines
    return not metric.startswith("EBS") or has_ebs_totals(resource)


def _as_run(resource: LabResource, metric: LabMetric) -> LabMetric:
    """A metric with the period and the namespace that it has for this resource."""
    if resource.kind == "ec2:instance" and resource.fleet.detailed:
        return replace(metric, period=60, samples=1)
    if metric.namespace == "AWS/RDS" and resource.fleet.engine in _OTHER_NAMESPACES:
        return replace(metric, namespace=_OTHER_NAMESPACES[resource.fleet.engine])
    return metric


def _publishes(resource: LabResource) -> bool:
    if resource.kind == "ebs:volume":  # EBS reports on volumes in use only
        return resource.parent is not None and _publishes(resource.parent)
    return resource.state not in {"stopped", "stopping", "terminated", "shutting-down"}


def _series(resource: LabResource, metric: LabMetric, dimensions: Dimensions) -> Series:
    key = digest(resource.seed, metric.namespace, metric.name, *metric.dimensions)
    dimensions = tuple(sorted(dimensions + metric.dimensions))
    return Series(resource, metric, dimensions, key, int(resource.created.timestamp()))


# --- values -----------------------------------------------------------------------------------------------------------


def chance(keys: Any, times: Any, salt: int = 0) -> Floats:
    """Numbers in [0, 1), the same for the same keys and times (splitmix64 of both)."""
    with np.errstate(over="ignore"):
        moments = np.asarray(times, np.uint64) + np.uint64(salt * 1_000_003)
        x = np.asarray(keys, np.uint64) + np.uint64(0x9E3779B97F4A7C15) * moments
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((x ^ (x >> np.uint64(31))) >> np.uint64(11), np.float64) / float(1 << 53)


@dataclass(frozen=True, slots=True)
class Points:
    """The samples of several series in each of several periods: matrices of series x periods."""

    times: Whole  # the start of each period, seconds since the epoch
    total: Floats
    least: Floats
    most: Floats
    count: Floats

    def folded(self, period: int) -> Points:
        """The same samples in periods of `period` seconds, which start at multiples of it."""
        starts = self.times // period * period
        if not len(starts) or np.array_equal(starts, self.times):
            return self
        first = np.flatnonzero(np.diff(starts, prepend=starts[0] - 1))
        return Points(
            starts[first],
            np.add.reduceat(self.total, first, axis=1),
            np.minimum.reduceat(self.least, first, axis=1),
            np.maximum.reduceat(self.most, first, axis=1),
            np.add.reduceat(self.count, first, axis=1),
        )

    def only(self, seen: npt.NDArray[np.bool_]) -> Points:
        """Without the samples of the periods that are not `seen` (series x periods)."""
        if seen.all():
            return self
        return Points(
            self.times,
            np.where(seen, self.total, 0.0),
            np.where(seen, self.least, np.inf),
            np.where(seen, self.most, -np.inf),
            np.where(seen, self.count, 0.0),
        )

    def scaled(self, final: npt.NDArray[np.bool_], factor: float) -> Points:
        """With provisional values, `factor` times the final ones, in the periods that are not `final`."""
        low = np.where(final, 1.0, factor)
        return Points(self.times, self.total * low, self.least * low, self.most * low, self.count)

    def statistic(self, name: str) -> Floats:
        """`Average`, `Sum`, `Minimum`, `Maximum`, `SampleCount` or a percentile such as `p95`."""
        if name == "Sum":
            return self.total
        if name == "Minimum":
            return self.least
        if name == "Maximum":
            return self.most
        if name == "SampleCount":
            return self.count
        with np.errstate(invalid="ignore", divide="ignore"):
            average = self.total / self.count
        if name == "Average":
            return average
        share = float(name[1:]) / 100  # percentiles lie on straight lines from least over average (p50) to most
        if share >= 0.5:
            return average + (self.most - average) * (share - 0.5) * 2
        return self.least + (average - self.least) * share * 2


def generate(series: Sequence[Series], times: Whole) -> Points:
    """The native points of `series`, which share one native period, at `times` (multiples of that period).

    Periods before a resource was created have a `count` of 0.
    """
    metrics = [one.metric for one in series]
    keys = np.array([one.key for one in series], np.uint64)[:, None]
    low, high, samples = (
        np.array([[getattr(metric, name)] for metric in metrics], np.float64) for name in ("low", "high", "samples")
    )
    level, phase = chance(keys, 1), chance(keys, 2)
    wave = 0.65 + 0.35 * np.sin(2 * np.pi * ((times % DAY) / DAY + phase))
    height = np.clip((0.1 + 0.75 * level) * wave + 0.12 * (chance(keys, times, 1) - 0.5), 0.005, 0.995)
    average = low + (high - low) * height
    spread = chance(keys, times, 2)
    least = average - (average - low) * 0.3 * spread
    most = average + (high - average) * 0.5 * spread
    shapes = np.array([[metric.shape] for metric in metrics])
    total = average * samples
    if (whole := shapes[:, 0] == "count").any():
        total[whole] = np.rint(total[whole])
        least[whole], most[whole] = np.floor(least[whole]), np.ceil(most[whole])
    if (flat := shapes[:, 0] == "level").any():
        steady = np.rint(low + (high - low) * level)[flat]
        total[flat], least[flat], most[flat] = steady * samples[flat], steady, steady
    if (rare := shapes[:, 0] == "rare").any():
        struck = (chance(keys[rare], times // 900, 3) < 0.001).astype(np.float64)
        total[rare], least[rare], most[rare] = struck * samples[rare], struck, struck
    alive = times >= np.array([[one.start] for one in series])
    return Points(times, total, least, most, np.broadcast_to(samples, total.shape)).only(alive)
