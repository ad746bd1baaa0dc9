"""The metrics that agents in machines write to a Prometheus, as rows for the kinds of any cloud.

The namespace of such a metric is its exporter, `node_exporter`, and its API metric is PromQL, whose answer keeps the
labels that may name a machine. An exporter is a table here, for a kind to name; that of a cloud's own agent stands
with the cloud. No HTTP client is imported here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.model.metrics import Metric

if TYPE_CHECKING:
    from collections.abc import Sequence

MACHINE_LABELS: tuple[str, ...] = ("instance_id", "instance", "hostname")
"""The labels that may name a machine, the surest first: its id, the target that was scraped, its name."""

STATISTIC = "avg"  # of the 300 s before a moment; it tells these metrics from a cloud's own
PERIOD = 300


@dataclass(frozen=True, slots=True)
class Exporter:
    """The metrics of one agent: rows of (our name, type, unit, PromQL), and the document that their names come from.

    In the PromQL, `(machine)` stands for the labels that may name a machine and the job, lest two jobs add up;
    `{disks}` for whole disks, `{nics}` for network interfaces in the label `device`.
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


def _written_out(promql: str, labels: Sequence[str]) -> str:
    return (
        promql.replace("(machine)", f"({', '.join((*labels, 'job'))})")
        .replace("{disks}", "{device=~'[sv]d[a-z]+|nvme[0-9]+n[0-9]+'}")
        .replace("{nics}", "{device=~'e(n|th).+'}")
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
        ("disk_read", "disk", "bytes/s", "sum by (machine) (rate(node_disk_read_bytes_total{disks}[5m]))"),
        ("disk_write", "disk", "bytes/s", "sum by (machine) (rate(node_disk_written_bytes_total{disks}[5m]))"),
        ("disk_read_ops", "disk", "ops/s", "sum by (machine) (rate(node_disk_reads_completed_total{disks}[5m]))"),
        ("disk_write_ops", "disk", "ops/s", "sum by (machine) (rate(node_disk_writes_completed_total{disks}[5m]))"),
        ("network_in", "network", "bytes/s", "sum by (machine) (rate(node_network_receive_bytes_total{nics}[5m]))"),
        ("network_out", "network", "bytes/s", "sum by (machine) (rate(node_network_transmit_bytes_total{nics}[5m]))"),
    ),
)  # fmt: skip

BLACKBOX_EXPORTER = Exporter(
    "blackbox_exporter",
    "blackbox_exporter: README",
    (
        ("response_time", "latency", "seconds",
            "avg by (machine) (avg_over_time(probe_duration_seconds[5m]))"),
    ),
)  # fmt: skip
