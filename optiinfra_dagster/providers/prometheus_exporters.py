"""The metrics that agents in machines write to a Prometheus, as rows for the kinds of any cloud.

The namespace of such a metric is its exporter, `node_exporter`, and its API metric is PromQL, whose answer keeps the
labels that may name a machine. An exporter is a table here, and `EXPORTERS_OF` says which types of resource it knows;
that of a cloud's own agent stands with the cloud (`Kind.own_exporters`). No HTTP client is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.metrics import Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.providers.kind import Kind

MACHINE_LABELS: tuple[str, ...] = ("instance_id", "host_id", "instance", "hostname", "host_name")
"""The labels that may name a machine, the surest first: its id, the target that was scraped, its name.

`host_id` and `host_name` are OpenTelemetry's resource attributes `host.id` and `host.name`.
"""

STATISTIC = "avg"  # of the 300 s before a moment; it tells these metrics from a cloud's own
PERIOD = 300


@dataclass(frozen=True, slots=True)
class Exporter:
    """The metrics of one agent: rows of (our name, type, unit, PromQL), and the document that their names come from.

    In the PromQL, `(machine)` stands for the labels that may name a machine and the job, lest two jobs add up;
    `disks}` ends a selector of whole disks, `nics}` one of network interfaces, in the label `device`.
    """

    name: str
    source: str
    rows: tuple[tuple[str, str, str, str], ...]

    def metrics(self, provider: str, kind: str, labels: Sequence[str] = MACHINE_LABELS) -> tuple[Metric, ...]:
        """The catalogue's rows of a kind of resource, in table order; answers keep `labels` and the job."""
        return tuple(
            Metric(
                provider=provider,
                kind=kind,
                name=name,
                metric_type=metric_type,
                unit=unit,
                namespace=self.name,
                api_metric=_written_out(promql, labels),
                statistics=(STATISTIC,),
                period=PERIOD,
                source=self.source,
            )
            for name, metric_type, unit, promql in self.rows
        )


def total_over(label: str, promql: str) -> str:
    """PromQL that adds up what a machine has of each value of a label, such as its disks.

    Two Prometheus servers that scrape the same machines, and write to one storage, tell each series twice, with a label
    of their own: of these, the larger one counts.
    """
    return f"sum by (machine) (max by (machine, {label}) ({promql}))"


_DISKS = "[sv]d[a-z]+|xvd[a-z]+|nvme[0-9]+n[0-9]+"  # of Xen's machines too, as EC2 had them
# Neither a VLAN on a card (`ens5.100`) nor the end of a pod's cable on AWS (`eni5f0c1d2a3b4`): the card has the bytes.
NICS = "e(n[^i]|th)[^.]*"
"""The names of network interfaces that are cards, as a pattern of PromQL."""


def _written_out(promql: str, labels: Sequence[str]) -> str:
    return (
        promql.replace("(machine", f"({', '.join((*labels, 'job'))}")
        .replace("disks}", f"device=~'{_DISKS}'}}")
        .replace("nics}", f"device=~'{NICS}'}}")
    )


NODE_EXPORTER = Exporter(
    "node_exporter",
    "node_exporter: README, collectors",
    (
        ("cpu_utilization", "cpu", "percent",
            "100 - 100 * avg by (machine) (rate(node_cpu_seconds_total{mode='idle'}[5m]))"),
        ("memory_utilization", "memory", "percent", (
            "100 - 100 * avg by (machine)"
            " (avg_over_time(node_memory_MemAvailable_bytes[5m]) / node_memory_MemTotal_bytes)")),
        ("memory_free", "memory", "bytes", "avg by (machine) (avg_over_time(node_memory_MemAvailable_bytes[5m]))"),
        ("disk_utilization", "disk", "percent", (
            "100 - 100 * max by (machine)"
            " (avg_over_time(node_filesystem_avail_bytes{mountpoint='/'}[5m]) / node_filesystem_size_bytes)")),
        ("disk_read", "disk", "bytes/s", total_over("device", "rate(node_disk_read_bytes_total{disks}[5m])")),
        ("disk_write", "disk", "bytes/s", total_over("device", "rate(node_disk_written_bytes_total{disks}[5m])")),
        ("disk_read_ops", "disk", "ops/s", total_over("device", "rate(node_disk_reads_completed_total{disks}[5m])")),
        ("disk_write_ops", "disk", "ops/s", total_over("device", "rate(node_disk_writes_completed_total{disks}[5m])")),
        ("network_in", "network", "bytes/s", total_over("device", "rate(node_network_receive_bytes_total{nics}[5m])")),
        ("network_out", "network", "bytes/s",
            total_over("device", "rate(node_network_transmit_bytes_total{nics}[5m])")),
    ),
)  # fmt: skip

# The names that the Collector's exporters give its metrics in Prometheus, with their units. Of memory, `used` is what
# neither free, buffers nor caches hold, so these four add up to the whole; slabs are a part of them.
OPEN_TELEMETRY = Exporter(
    "opentelemetry",
    "OpenTelemetry Collector: hostmetricsreceiver, documentation of its scrapers",
    (
        ("cpu_utilization", "cpu", "percent",
            "100 - 100 * avg by (machine) (rate(system_cpu_time_seconds_total{state='idle'}[5m]))"),
        ("memory_utilization", "memory", "percent", (
            "100 * sum by (machine) (avg_over_time(system_memory_usage_bytes{state='used'}[5m]))"
            " / sum by (machine) (avg_over_time(system_memory_usage_bytes{state=~'used|free|buffered|cached'}[5m]))")),
        ("memory_free", "memory", "bytes",
            total_over("state", "avg_over_time(system_memory_usage_bytes{state=~'free|buffered|cached'}[5m])")),
        ("disk_utilization", "disk", "percent", (
            "100 - 100 * sum by (machine)"
            " (avg_over_time(system_filesystem_usage_bytes{mountpoint='/',state='free'}[5m]))"
            " / sum by (machine) (avg_over_time(system_filesystem_usage_bytes{mountpoint='/'}[5m]))")),
        ("disk_read", "disk", "bytes/s",
            total_over("device", "rate(system_disk_io_bytes_total{direction='read',disks}[5m])")),
        ("disk_write", "disk", "bytes/s",
            total_over("device", "rate(system_disk_io_bytes_total{direction='write',disks}[5m])")),
        ("disk_read_ops", "disk", "ops/s",
            total_over("device", "rate(system_disk_operations_total{direction='read',disks}[5m])")),
        ("disk_write_ops", "disk", "ops/s",
            total_over("device", "rate(system_disk_operations_total{direction='write',disks}[5m])")),
        ("network_in", "network", "bytes/s",
            total_over("device", "rate(system_network_io_bytes_total{direction='receive',nics}[5m])")),
        ("network_out", "network", "bytes/s",
            total_over("device", "rate(system_network_io_bytes_total{direction='transmit',nics}[5m])")),
    ),
)  # fmt: skip

# A probe that failed took as long as its timeout, which is no response time.
BLACKBOX_EXPORTER = Exporter(
    "blackbox_exporter",
    "blackbox_exporter: README",
    (
        ("response_time", "latency", "seconds",
            "avg by (machine) (avg_over_time((probe_duration_seconds and probe_success == 1)[5m:1m]))"),
        ("uptime", "uptime", "percent", "100 * avg by (machine) (avg_over_time(probe_success[5m]))"),
    ),
)  # fmt: skip

EXPORTERS_OF: Mapping[ResourceType, tuple[Exporter, ...]] = {
    ResourceType.COMPUTE: (NODE_EXPORTER, OPEN_TELEMETRY, BLACKBOX_EXPORTER),
    ResourceType.DATABASE: (BLACKBOX_EXPORTER,),
    ResourceType.LOAD_BALANCER: (BLACKBOX_EXPORTER,),
}
"""The exporters that may know a resource of a type, on every cloud; of several, the first that knows one counts."""


def labels_of(kind: Kind) -> tuple[str, ...]:
    """The labels that may name a resource of a kind, the surest first."""
    return (*kind.own_labels, *MACHINE_LABELS)


def metrics_of(provider: str, kind: Kind) -> tuple[Metric, ...]:
    """The rows of a kind that a customer's own Prometheus may have; the first exporters of a name come first."""
    exporters = (*EXPORTERS_OF.get(kind.resource_type, ()), *kind.own_exporters)
    return tuple(metric for exporter in exporters for metric in exporter.metrics(provider, kind.name, labels_of(kind)))
