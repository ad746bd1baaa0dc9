"""The six figures that are wanted of every kind of resource, and what is known of each on every cloud.

A figure is a question that people ask, such as how busy the processors are; a metric is one answer to it. A kind has a
figure if one of its metrics is of it. Where the cloud measures no such thing, the kind says so in `Kind.not_offered`,
with the document that lists what the cloud does measure, and every resource of it has a coverage row with that name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.metrics import Coverage, CoverageState
from optiinfra_dagster.providers.prometheus_exporters import metrics_of

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.providers.kind import Kind


class Figure(StrEnum):
    """A figure; its value is the key in `Kind.not_offered`, and the metric's name in coverage where there is none."""

    CPU = "cpu"
    MEMORY = "memory"
    DISK_IO = "disk_io"
    NETWORK_IO = "network_io"
    RESPONSE_TIME = "response_time"
    UPTIME = "uptime"


METRICS_OF: Mapping[Figure, frozenset[str]] = {
    Figure.CPU: frozenset({"cpu_utilization"}),
    Figure.MEMORY: frozenset({"memory_utilization", "memory_free", "memory_used"}),
    Figure.DISK_IO: frozenset(
        {"disk_read", "disk_write", "disk_total", "disk_read_ops", "disk_write_ops", "disk_total_ops"}
    ),
    Figure.NETWORK_IO: frozenset({"network_in", "network_out", "network_total"}),
    Figure.RESPONSE_TIME: frozenset({"response_time", "response_time_direct", "read_latency", "write_latency"}),
    Figure.UPTIME: frozenset({"uptime"}),
}
"""The names of the metrics that answer a figure. Space on a disk, requests and connections are beside the six."""

FIGURE_OF: Mapping[str, Figure] = {name: figure for figure, names in METRICS_OF.items() for name in names}
"""The figure that a metric's name is of."""

_NO_PROCESSOR = "it has no processor, memory or disk of its own"
_NOTHING = "there is nothing in it that runs"

NOTHING_TO_MEASURE: Mapping[ResourceType, Mapping[Figure, str]] = {
    ResourceType.VOLUME: {
        **dict.fromkeys((Figure.CPU, Figure.MEMORY), "it has no processor or memory of its own"),
        Figure.NETWORK_IO: "its traffic is disk I/O",
    },
    ResourceType.OBJECT_STORAGE: dict.fromkeys((Figure.CPU, Figure.MEMORY, Figure.DISK_IO), _NO_PROCESSOR),
    ResourceType.NETWORK: dict.fromkeys((Figure.CPU, Figure.MEMORY, Figure.DISK_IO), _NO_PROCESSOR),
    ResourceType.SERVERLESS: {Figure.DISK_IO: "it has no disk of its own"},
    ResourceType.LOAD_BALANCER: {Figure.DISK_IO: "it has no disk"},
    ResourceType.ADDRESS: dict.fromkeys(
        (Figure.CPU, Figure.MEMORY, Figure.DISK_IO, Figure.RESPONSE_TIME), "it is a number, behind which something runs"
    ),
    ResourceType.SNAPSHOT: dict.fromkeys(Figure, _NOTHING),
}
"""The figures that things of a type cannot have on any cloud, and why. No coverage is recorded of them."""


def collected(kind: Kind, figure: Figure) -> list[str]:
    """The names of a kind's metrics that answer a figure, in the order of its file."""
    return list(dict.fromkeys(metric.name for metric in kind.metrics if metric.name in METRICS_OF[figure]))


def from_prometheus(kind: Kind, figure: Figure) -> list[str]:
    """The names of the metrics of a figure that a customer's own Prometheus can add to a kind."""
    return list(dict.fromkeys(metric.name for metric in metrics_of("", kind) if metric.name in METRICS_OF[figure]))


def not_offered(kind: Kind, figure: Figure) -> str:
    """The reason why a kind cannot have a figure: the cloud's document, or what it is; "" where none is known."""
    if document := kind.not_offered.get(figure):
        return document
    return NOTHING_TO_MEASURE.get(kind.resource_type, {}).get(figure, "")


def coverage_of_what_is_not_offered(
    kinds: Mapping[str, Kind], resources: Iterable[Resource], known: Iterable[Coverage]
) -> Iterator[Coverage]:
    """A row for each figure of each resource that its cloud does not measure, with the name of the document.

    `known` is the coverage of the metrics that were asked for: a figure that any of them is of has no other row.
    """
    reasons = {name: dict(_reasons(kind)) for name, kind in kinds.items() if kind.not_offered}
    if not reasons:
        return
    names = {name for of_kind in reasons.values() for figure in of_kind for name in METRICS_OF[figure]}
    covered = {(one.resource_id, FIGURE_OF[one.metric_name]) for one in known if one.metric_name in names}
    for resource in resources:
        for figure, reason in reasons.get(resource.kind, {}).items():
            if (resource.resource_id, figure) not in covered:
                yield Coverage(
                    resource.resource_id, resource.resource_type, figure.value, CoverageState.NOT_OFFERED, reason
                )


def _reasons(kind: Kind) -> Iterator[tuple[Figure, str]]:
    for name, document in kind.not_offered.items():
        figure = Figure(name)
        more = "; a Prometheus of the customer can: give prometheus_url in the customers file"
        yield figure, f"the cloud does not measure it: {document}{more if from_prometheus(kind, figure) else ''}"
