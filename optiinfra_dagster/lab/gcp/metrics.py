"""What every resource of Google Cloud measures: a table of metrics, and their samples for any time, from arithmetic.

A sample is a function of the series (world's seed, project, resource, metric, labels) and its minute: a daily wave on a
level of its own, and noise. Most resources have several series of a metric, which differ in their labels, as the
real ones do; all of them are computed at once, as matrices of series x minutes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optiinfra_dagster.lab.aws.metrics import DAY, Floats, Whole, chance
from optiinfra_dagster.lab.gcp.describe import describe
from optiinfra_dagster.lab.world import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.estate import LabAsset

SAMPLE = 60  # seconds; every metric here is sampled once a minute
GIB = 1024.0**3
# Bounds of the buckets of a distribution, in ms: exponential, as those of load balancers are.
BOUNDS = 1.4 ** np.arange(40)


@dataclass(frozen=True, slots=True)
class Labels:
    """What tells the series of one resource apart: labels of the metric, and further ones of the resource."""

    metric: Mapping[str, str]
    resource: Mapping[str, str]


Parts = Callable[["LabAsset"], list[Labels]]


@dataclass(frozen=True, slots=True)
class LabMetric:
    """One metric as Google publishes it: `low` to `high` in its unit per sample, visible `delay` seconds after it.

    A `rare` one is `high`, and `low` now and then for 15 minutes. Samples of a distribution are counts of values.
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


# --- Series of a resource -------------------------------------------------------------------------------------------


def _one(_asset: LabAsset) -> list[Labels]:
    return [Labels({}, {})]


def _varied(name: str, *values: str) -> Parts:
    """A series for each value of a label of the metric."""
    return lambda _asset: [Labels({name: value}, {}) for value in values]


def _disks(asset: LabAsset) -> list[Labels]:
    names = [asset.name, *(f"{asset.name}-data-{n}" for n in range(1, asset.fleet.disks))][: asset.fleet.disks]
    return [Labels({"device_name": name, "storage_type": "pd-balanced"}, {}) for name in names]


def _traffic(_asset: LabAsset) -> list[Labels]:
    return [
        Labels({"response_code": code, "proxy_continent": continent}, {"url_map_name": "main"})
        for code in ("200", "502")
        for continent in ("America", "Europe")
    ]


def _nodes(asset: LabAsset) -> list[Labels]:
    zones = 3 if asset.fleet.regional else 1
    count = (asset.fleet.size or 1) * asset.fleet.node_pools * zones
    return [Labels({}, {"node_name": f"gke-{asset.name}-{n}"}) for n in range(count)]


def _memory_of_nodes(asset: LabAsset) -> list[Labels]:
    types = ("evictable", "non-evictable")
    return [Labels({"memory_type": one}, node.resource) for node in _nodes(asset) for one in types]


def _redis(name: str, *values: str) -> Parts:
    """A series for each value of a label, on the primary and on a replica."""
    return lambda _asset: [
        Labels({"role": role, name: value}, {"node_id": f"node-{n}"})
        for n, role in enumerate(("primary", "replica"))
        for value in values
    ]


def _gateways(_asset: LabAsset) -> list[Labels]:
    return [Labels({"ip_protocol": protocol}, {"gateway_name": "nat"}) for protocol in ("6", "17")]


# --- The table ------------------------------------------------------------------------------------------------------


def _published(
    kind: str, resource: str, prefix: str, *rows: tuple[Any, ...], delay: int = 240
) -> tuple[LabMetric, ...]:
    """Lay out rows of (rest of the metric type, kind, value type, low, high[, parts[, rare]])."""
    found = []
    for name, metric_kind, value_type, low, high, *more in rows:
        parts = more[0] if more else _one
        rare = len(more) > 1
        found.append(
            LabMetric(kind, resource, f"{prefix}{name}", metric_kind, value_type, low, high, parts, rare, delay)
        )
    return tuple(found)


_LOAD_BALANCING = "loadbalancing.googleapis.com/https/"
_REQUESTS: tuple[tuple[Any, ...], ...] = (
    ("total_latencies", "DELTA", "DISTRIBUTION", 0, 4e3, _traffic),
    ("request_count", "DELTA", "INT64", 0, 9e3, _traffic),
    ("request_bytes_count", "DELTA", "INT64", 1e3, 9e6, _traffic),
    ("response_bytes_count", "DELTA", "INT64", 1e3, 9e7, _traffic),
)
_DISKS: tuple[tuple[Any, ...], ...] = (
    ("disk/read_bytes_count", "DELTA", "INT64", 0, 8e7),
    ("disk/write_bytes_count", "DELTA", "INT64", 1e4, 2e8),
    ("disk/read_ops_count", "DELTA", "INT64", 0, 3e3),
    ("disk/write_ops_count", "DELTA", "INT64", 1, 9e3),
)
AGENT = "agent.googleapis.com/"

PUBLISHED: tuple[LabMetric, ...] = (
    *_published(
        "gcp:instance", "gce_instance", "compute.googleapis.com/instance/",
        ("cpu/utilization", "GAUGE", "DOUBLE", 0.005, 0.97),
        *((*row, _disks) for row in _DISKS),
        ("network/received_bytes_count", "DELTA", "INT64", 1e4, 3e8, _varied("loadbalanced", "true", "false")),
        ("network/sent_bytes_count", "DELTA", "INT64", 1e4, 5e8, _varied("loadbalanced", "true", "false")),
        ("uptime", "DELTA", "DOUBLE", 0, SAMPLE, _one, True),
    ),
    *_published(
        "gcp:instance", "gce_instance", AGENT,
        ("memory/percent_used", "GAUGE", "DOUBLE", 2, 45, _varied("state", "used", "cached", "free")),
    ),
    *_published(
        "gcp:sql_instance", "cloudsql_database", "cloudsql.googleapis.com/database/",
        ("cpu/utilization", "GAUGE", "DOUBLE", 0.01, 0.95),
        ("memory/utilization", "GAUGE", "DOUBLE", 0.1, 0.9),
        ("disk/utilization", "GAUGE", "DOUBLE", 0.05, 0.9),
        *_DISKS,
        ("network/received_bytes_count", "DELTA", "INT64", 1e3, 5e7),
        ("network/sent_bytes_count", "DELTA", "INT64", 1e3, 9e7, _varied("destination", "private", "public")),
        ("up", "GAUGE", "INT64", 0, 1, _one, True),
        ("instance_state", "GAUGE", "BOOL", 0, 1, _varied("state", "RUNNING"), True),
        delay=165,
    ),
    *_published("gcp:forwarding_rule", "https_lb_rule", _LOAD_BALANCING, *_REQUESTS, delay=210),
    *_published(
        "gcp:forwarding_rule", "http_external_regional_lb_rule", f"{_LOAD_BALANCING}external/regional/", *_REQUESTS,
        delay=210,
    ),
    *_published("gcp:forwarding_rule", "internal_http_lb_rule", f"{_LOAD_BALANCING}internal/", *_REQUESTS, delay=90),
    *_published(
        "gcp:gke_cluster", "k8s_node", "kubernetes.io/node/",
        ("cpu/allocatable_utilization", "GAUGE", "DOUBLE", 0.02, 0.9, _nodes),
        ("memory/allocatable_utilization", "GAUGE", "DOUBLE", 0.1, 0.45, _memory_of_nodes),
        ("network/received_bytes_count", "CUMULATIVE", "INT64", 1e3, 9e7, _nodes),
        ("network/sent_bytes_count", "CUMULATIVE", "INT64", 1e3, 9e7, _nodes),
    ),
    *_published(
        "gcp:redis_instance", "redis_instance", "redis.googleapis.com/stats/",
        ("cpu_utilization_main_thread", "DELTA", "DOUBLE", 0, 25, _redis("space", "sys", "user")),
        ("memory/usage_ratio", "GAUGE", "DOUBLE", 0.1, 0.9),
        ("network_traffic", "DELTA", "INT64", 1e3, 9e7, _redis("direction", "in", "out")),
    ),
    *_published(
        "gcp:redis_cluster", "redis.googleapis.com/Cluster", "redis.googleapis.com/cluster/",
        ("cpu/average_utilization", "GAUGE", "DOUBLE", 0.01, 0.9, _varied("role", "primary", "replica")),
        ("memory/average_utilization", "GAUGE", "DOUBLE", 0.1, 0.9),
    ),
    *_published(
        "gcp:alloydb_instance", "alloydb.googleapis.com/Instance", "alloydb.googleapis.com/instance/",
        ("cpu/average_utilization", "GAUGE", "DOUBLE", 0.01, 0.9),
        ("memory/min_available_memory", "GAUGE", "INT64", 0.5 * GIB, 30 * GIB),
    ),
    *_published(
        "gcp:filestore_instance", "filestore_instance", "file.googleapis.com/nfs/server/",
        *((name.removeprefix("disk/"), *rest, _varied("file_share", "share1")) for name, *rest in _DISKS),
    ),
    *_published(
        "gcp:router", "nat_gateway", "router.googleapis.com/nat/",
        ("received_bytes_count", "DELTA", "INT64", 1e3, 2e8, _gateways),
        ("sent_bytes_count", "DELTA", "INT64", 1e3, 2e8, _gateways),
    ),
)  # fmt: skip

BY_TYPE: dict[str, LabMetric] = {metric.type: metric for metric in PUBLISHED}


def publishes(asset: LabAsset, metric: LabMetric) -> bool:
    """Whether a resource has series of a metric: it runs, has the agent, or is of the right family."""
    if asset.kind != metric.kind or (asset.fleet.state or "RUNNING") in {"TERMINATED", "STOPPED", "SUSPENDED"}:
        return False
    if metric.type.startswith(AGENT):
        return asset.fleet.agent
    if asset.kind != "gcp:forwarding_rule":
        return True
    rule = describe(asset)["resource"]["data"]
    if "/targetHttp" not in rule["target"]:
        return False
    if rule["loadBalancingScheme"] == "INTERNAL_MANAGED":
        return metric.resource == "internal_http_lb_rule"
    regional = asset.region != "global" and rule["loadBalancingScheme"] == "EXTERNAL_MANAGED"
    return metric.resource == ("http_external_regional_lb_rule" if regional else "https_lb_rule")


def _in_project(asset: LabAsset) -> dict[str, str]:
    return {"project_id": asset.project}


def _contained(asset: LabAsset) -> dict[str, str]:
    return {"resource_container": f"projects/{asset.project}", "location": asset.location}


_RESOURCE_LABELS: dict[str, Callable[[LabAsset], dict[str, str]]] = {
    "gcp:instance": lambda one: _in_project(one) | {"instance_id": one.number, "zone": one.zone},
    "gcp:sql_instance": lambda one: (
        _in_project(one) | {"database_id": f"{one.project}:{one.name}", "region": one.region}
    ),
    "gcp:forwarding_rule": lambda one: _in_project(one) | {"forwarding_rule_name": one.name, "region": one.region},
    "gcp:gke_cluster": lambda one: _in_project(one) | {"cluster_name": one.name, "location": one.location},
    "gcp:redis_instance": lambda one: _in_project(one) | {"instance_id": one.path, "region": one.region},
    "gcp:redis_cluster": lambda one: _contained(one) | {"cluster_id": one.name},
    "gcp:alloydb_instance": lambda one: (
        _contained(one) | {"instance_id": one.name, "cluster_id": one.parent.name if one.parent else ""}
    ),
    "gcp:filestore_instance": lambda one: _in_project(one) | {"instance_name": one.name, "location": one.location},
    "gcp:router": lambda one: _in_project(one) | {"router_id": one.number, "region": one.region},
}


def resource_labels(asset: LabAsset) -> dict[str, str]:
    """The labels of the monitored resource, without those that vary between its series."""
    return _RESOURCE_LABELS[asset.kind](asset)


# --- Samples --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Raw:
    """All series of one metric in one project, before any alignment. `keys` are the numbers their values come from."""

    metric: LabMetric
    assets: Sequence[LabAsset]
    labels: Sequence[Labels]
    keys: Any
    recorded: Mapping[int, tuple[Whole, Floats]]  # by row: minutes and values served in place of generated ones

    @classmethod
    def of(cls, metric: LabMetric, assets: Sequence[LabAsset], recorded: Mapping[str, tuple[Whole, Floats]]) -> Raw:
        """The series of those assets that publish the metric; a recorded resource, by name, has one only."""
        owners: list[LabAsset] = []
        labels: list[Labels] = []
        rows: dict[int, tuple[Whole, Floats]] = {}
        for asset in assets:
            if not publishes(asset, metric):
                continue
            parts = metric.parts(asset)
            if asset.name in recorded:
                rows[len(owners)] = recorded[asset.name]
                parts = parts[:1]
            owners += [asset] * len(parts)
            labels += parts
        keys = np.array([one.seed for one in owners], np.uint64)
        salts = [digest(metric.type, part.metric, part.resource) for part in labels]
        return cls(metric, owners, labels, keys ^ np.array(salts, np.uint64), rows)

    def only(self, rows: Sequence[int]) -> Raw:
        """Some of the series."""
        if len(rows) == len(self.labels):
            return self
        place = {row: n for n, row in enumerate(rows)}
        kept = {place[row]: points for row, points in self.recorded.items() if row in place}
        owners, labels = [self.assets[row] for row in rows], [self.labels[row] for row in rows]
        return Raw(self.metric, owners, labels, self.keys[list(rows)], kept)

    def samples(self, minutes: Whole) -> tuple[Floats, Any]:
        """Values of the samples that begin at `minutes`, and which of them there are: matrices of series x minutes."""
        metric, keys = self.metric, self.keys[:, None]
        level, phase = chance(keys, 1), chance(keys, 2)
        wave = 0.65 + 0.35 * np.sin(2 * np.pi * ((minutes % DAY) / DAY + phase))
        height = np.clip((0.1 + 0.75 * level) * wave + 0.12 * (chance(keys, minutes, 1) - 0.5), 0.005, 0.995)
        if metric.rare:
            height = (chance(keys, minutes // 900, 3) >= 0.01).astype(np.float64)
        values = metric.low + (metric.high - metric.low) * height
        if metric.value_type in {"INT64", "DISTRIBUTION"}:
            values = np.rint(values)
        there = minutes >= np.array([one.created.timestamp() for one in self.assets])[:, None]
        for row, (times, recorded) in self.recorded.items():
            place = np.searchsorted(times, minutes).clip(max=len(times) - 1)
            there[row] = times[place] == minutes
            values[row] = recorded[place]
        return values, there

    def buckets(self, counts: Floats) -> Floats:
        """The values of each sample of a distribution, by bucket: series x minutes x buckets."""
        centre = 8 + 20 * chance(self.keys, 5)
        weights = np.exp(-0.5 * ((np.arange(len(BOUNDS)) - centre[:, None]) / 2.5) ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        return np.asarray(np.floor(counts[:, :, None] * weights[:, None, :]))
