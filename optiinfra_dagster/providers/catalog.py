"""The metric catalogue: provider x resource kind x our metric name -> what to ask of the cloud, and how to convert it.

Adding a metric is one line in this table. `scale` turns the API's number into our unit; `per_second` divides a sum by
its period first. `condition` names a predicate on the resource, kept by the provider's performance.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache

# What the clouds call a statistic -> what our rows call it. A rate is an average over its period.
STATISTICS: Mapping[str, str] = {
    "Average": "average",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Total": "average",  # Azure's sum, divided by its period
    "Sum": "average",  # CloudWatch's, the same
    "p50": "p50",
    "p95": "p95",
    "p99": "p99",
    "ALIGN_MEAN": "average",
    "ALIGN_MAX": "maximum",
    "ALIGN_RATE": "average",
    "ALIGN_FRACTION_TRUE": "average",
    "ALIGN_PERCENTILE_50": "p50",
    "ALIGN_PERCENTILE_95": "p95",
    "ALIGN_PERCENTILE_99": "p99",
    "snapshot": "snapshot",  # the state at the moment of asking
}


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric of one kind of resource: its name and unit here, and the question that gets it from the cloud.

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
        """What the API's number is multiplied by."""
        return self.scale / self.period if self.per_second else self.scale


def _aws(kind: str, namespace: str, dimension: str, source: str, *rows: tuple[str, ...]) -> Iterator[Metric]:
    """Lay out AWS rows of (our name, type, unit, API metric, API statistics, condition).

    A sum whose unit is per second is divided by its period. The period is 300 s: every metric here has it at no cost
    to the customer, and a finer one multiplies the rows.
    """
    for name, metric_type, unit, api_metric, statistics, *condition in rows:
        yield Metric(
            provider="aws",
            kind=kind,
            name=name,
            metric_type=metric_type,
            unit=unit,
            namespace=namespace,
            api_metric=api_metric,
            statistics=tuple(statistics.split()),
            period=300,
            dimension=dimension,
            per_second=statistics == "Sum" and unit.endswith("/s"),
            condition="".join(condition),
            source=source,
        )


METRICS: tuple[Metric, ...] = (
    # --- AWS ---
    # DiskReadBytes and its kin tell of instance store volumes only, so they are not asked for; the EBS totals exist on
    # Nitro instances that are not bare metal.
    *_aws(
        "ec2:instance", "AWS/EC2", "InstanceId", "EC2 user guide: CloudWatch metrics available for your instances",
        ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
        ("disk_read", "disk", "bytes/s", "EBSReadBytes", "Sum", "nitro"),
        ("disk_write", "disk", "bytes/s", "EBSWriteBytes", "Sum", "nitro"),
        ("disk_read_ops", "disk", "ops/s", "EBSReadOps", "Sum", "nitro"),
        ("disk_write_ops", "disk", "ops/s", "EBSWriteOps", "Sum", "nitro"),
        ("network_in", "network", "bytes/s", "NetworkIn", "Sum"),
        ("network_out", "network", "bytes/s", "NetworkOut", "Sum"),
    ),
    # Memory is invisible to the hypervisor; which dimensions the agent writes beside the instance is configured in it.
    *_aws(
        "ec2:instance", "CWAgent", "InstanceId", "CloudWatch user guide: metrics collected by the CloudWatch agent",
        ("memory_utilization", "memory", "percent", "mem_used_percent", "Average", "agent"),
    ),
    *_aws(
        "ebs:volume", "AWS/EBS", "VolumeId", "EBS user guide: CloudWatch metrics for Amazon EBS",
        ("disk_read", "disk", "bytes/s", "VolumeReadBytes", "Sum"),
        ("disk_write", "disk", "bytes/s", "VolumeWriteBytes", "Sum"),
        ("disk_read_ops", "disk", "ops/s", "VolumeReadOps", "Sum"),
        ("disk_write_ops", "disk", "ops/s", "VolumeWriteOps", "Sum"),
    ),
    # RDS publishes throughput, operations and latency as rates already: their average is the rate.
    *_aws(
        "rds:db", "AWS/RDS", "DBInstanceIdentifier", "RDS user guide: CloudWatch metrics for Amazon RDS",
        ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
        ("memory_free", "memory", "bytes", "FreeableMemory", "Average"),
        ("disk_read", "disk", "bytes/s", "ReadThroughput", "Average"),
        ("disk_write", "disk", "bytes/s", "WriteThroughput", "Average"),
        ("disk_read_ops", "disk", "ops/s", "ReadIOPS", "Average"),
        ("disk_write_ops", "disk", "ops/s", "WriteIOPS", "Average"),
        ("network_in", "network", "bytes/s", "NetworkReceiveThroughput", "Average"),
        ("network_out", "network", "bytes/s", "NetworkTransmitThroughput", "Average"),
        ("read_latency", "latency", "seconds", "ReadLatency", "Average"),
        ("write_latency", "latency", "seconds", "WriteLatency", "Average"),
    ),
    *_aws(
        "elbv2:application", "AWS/ApplicationELB", "LoadBalancer", "ELB user guide: Application Load Balancer metrics",
        ("response_time", "latency", "seconds", "TargetResponseTime", "Average p50 p95 p99"),
        ("request_rate", "traffic", "requests/s", "RequestCount", "Sum"),
    ),
    *_aws(
        "elbv2:network", "AWS/NetworkELB", "LoadBalancer", "ELB user guide: Network Load Balancer metrics",
        ("network_total", "network", "bytes/s", "ProcessedBytes", "Sum"),
    ),
    *_aws(
        "elbv2:gateway", "AWS/GatewayELB", "LoadBalancer", "ELB user guide: Gateway Load Balancer metrics",
        ("network_total", "network", "bytes/s", "ProcessedBytes", "Sum"),
    ),
    *_aws(
        "elb:classic", "AWS/ELB", "LoadBalancerName", "ELB user guide: Classic Load Balancer metrics",
        ("response_time", "latency", "seconds", "Latency", "Average p50 p95 p99"),
        ("request_rate", "traffic", "requests/s", "RequestCount", "Sum"),
    ),
    *_aws(
        "ec2:nat_gateway", "AWS/NATGateway", "NatGatewayId", "VPC user guide: NAT gateway metrics and dimensions",
        ("network_in", "network", "bytes/s", "BytesInFromSource", "Sum"),
        ("network_out", "network", "bytes/s", "BytesOutToDestination", "Sum"),
    ),
    *_aws(
        "elasticache:cluster", "AWS/ElastiCache", "CacheClusterId", "ElastiCache user guide: host-level metrics",
        ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
        ("memory_free", "memory", "bytes", "FreeableMemory", "Average"),
        ("network_in", "network", "bytes/s", "NetworkBytesIn", "Sum"),
        ("network_out", "network", "bytes/s", "NetworkBytesOut", "Sum"),
    ),
    *_aws(
        "redshift:cluster", "AWS/Redshift", "ClusterIdentifier", "Redshift management guide: performance data",
        ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
        ("disk_read", "disk", "bytes/s", "ReadThroughput", "Average"),
        ("disk_write", "disk", "bytes/s", "WriteThroughput", "Average"),
    ),
    *_aws(
        "efs:filesystem", "AWS/EFS", "FileSystemId", "EFS user guide: CloudWatch metrics for Amazon EFS",
        ("disk_total", "disk", "bytes/s", "TotalIOBytes", "Sum"),
    ),
    # Published only where the customer runs the Container Insights add-on.
    *_aws(
        "eks:cluster", "ContainerInsights", "ClusterName", "CloudWatch user guide: EKS Container Insights metrics",
        ("cpu_utilization", "cpu", "percent", "node_cpu_utilization", "Average", "add_on"),
        ("memory_utilization", "memory", "percent", "node_memory_utilization", "Average", "add_on"),
    ),
    # --- Google Cloud ---
    # --- Azure ---
    # --- Vultr ---
)  # fmt: skip


@cache
def metrics_for(provider: str, kind: str) -> tuple[Metric, ...]:
    """The catalogue's metrics of one kind of resource, in table order; empty for a kind without metrics."""
    return tuple(metric for metric in METRICS if (metric.provider, metric.kind) == (provider, kind))
