"""The metric catalogue: provider x resource kind x our metric name -> what to ask of the cloud, and how to convert it.

Adding a metric is one line in this table. `scale` turns the API's number into our unit; `per_second` divides a sum by
its period first. `condition` names a predicate on the resource, kept by the provider's performance.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from optiinfra_dagster.model.metrics import Metric
from optiinfra_dagster.providers.aws.services import METRICS as AWS_METRICS


def _gcp(
    kind: str, resource: str, labels: str, prefix: str, source: str, *rows: tuple[str | float, ...]
) -> Iterator[Metric]:
    """Lay out Google Cloud rows of (our name, type, unit, metric type, aligner or reducer, scale, filter, condition).

    `resource` is the type of the monitored resource, `labels` are those that name one of them; `prefix` begins all
    metric types. The period is 300 s.
    """
    for name, metric_type, unit, api_metric, statistics, *more in rows:
        scale, narrowed, condition = (*more, *(1.0, "", "")[len(more) :])
        yield Metric(
            provider="gcp",
            kind=kind,
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


# Short for, in the table's PromQL: the labels that may name a machine, and the job, lest two jobs add up; whole disks;
# network interfaces, in node_exporter's and in v-agent's label.
_PROMQL = {
    "(machine)": "(instance, job, instance_id, vultr_instance_id, vpsid, hostname)",
    "{disks}": "{device=~'[sv]d[a-z]+|nvme[0-9]+n[0-9]+'}",
    "{nics}": "{device=~'e(n|th).+'}",
    "{v-nics}": "{nic=~'e(n|th).+'}",
}


def _vultr(
    kinds: str, namespace: str, source: str, statistic: str, period: int, *rows: tuple[str, ...]
) -> Iterator[Metric]:
    """Lay out Vultr rows of (our name, type, unit, API metric) for each of `kinds`.

    The namespace is where the figure comes from: the exporter that a customer's Prometheus has it from, with PromQL as
    the API metric; or one of Vultr's own sources, with the field of the answer. A name may come from several sources:
    their points differ in the statistic, except among exporters, of which the first in the table that knows a resource
    counts.
    """
    for kind in kinds.split():
        for name, metric_type, unit, api_metric in rows:
            asked = api_metric
            for short, long in _PROMQL.items():
                asked = asked.replace(short, long)
            yield Metric(
                provider="vultr",
                kind=kind,
                name=name,
                metric_type=metric_type,
                unit=unit,
                namespace=namespace,
                api_metric=asked,
                statistics=(statistic,),
                period=period,
                scale=2.0**30 if api_metric.endswith("_gb") else 1.0,
                per_second=statistic == "day",
                source=source,
            )


def _azure(kind: str, namespace: str, *rows: tuple[Any, ...]) -> Iterator[Metric]:
    """Lay out Azure rows of (our name, type, unit, API metric, aggregations[, condition[, scale[, offset]]]).

    A total or count whose unit is per second is divided by its period, which is 300 s: every metric here has it.
    """
    for name, metric_type, unit, api_metric, aggregations, *more in rows:
        yield Metric(
            provider="azure",
            kind=kind,
            name=name,
            metric_type=metric_type,
            unit=unit,
            namespace=namespace,
            api_metric=api_metric,
            statistics=tuple(aggregations.split()),
            period=300,
            dimension="Microsoft.ResourceId",
            per_second=aggregations in {"Total", "Count"} and unit.endswith("/s"),
            source=f"Azure Monitor: supported metrics for {namespace}",
            **dict(zip(("condition", "scale", "offset"), more, strict=False)),
        )


# What the older kinds of Azure's servers for open-source databases have in common.
_AZURE_SERVER = (
    ("cpu_utilization", "cpu", "percent", "cpu_percent", "Average"),
    ("memory_utilization", "memory", "percent", "memory_percent", "Average"),
    ("disk_utilization", "disk", "percent", "storage_percent", "Average"),
    ("network_in", "network", "bytes/s", "network_bytes_ingress", "Total"),
    ("network_out", "network", "bytes/s", "network_bytes_egress", "Total"),
)


METRICS: tuple[Metric, ...] = (
    *AWS_METRICS,
    # --- Google Cloud ---
    # Utilizations are fractions. Counts are rates a second already, summed over disks, interfaces and traffic classes.
    # `uptime` counts the seconds that an instance ran: a sum of 300 in a period is 100 percent.
    *_gcp(
        "gcp:instance", "gce_instance", "instance_id", "compute.googleapis.com/instance/",
        "Cloud Monitoring: Google Cloud metrics, compute",
        ("cpu_utilization", "cpu", "percent", "cpu/utilization", "ALIGN_MEAN", 100),
        ("disk_read", "disk", "bytes/s", "disk/read_bytes_count", "ALIGN_RATE"),
        ("disk_write", "disk", "bytes/s", "disk/write_bytes_count", "ALIGN_RATE"),
        ("disk_read_ops", "disk", "ops/s", "disk/read_ops_count", "ALIGN_RATE"),
        ("disk_write_ops", "disk", "ops/s", "disk/write_ops_count", "ALIGN_RATE"),
        ("network_in", "network", "bytes/s", "network/received_bytes_count", "ALIGN_RATE"),
        ("network_out", "network", "bytes/s", "network/sent_bytes_count", "ALIGN_RATE"),
        ("uptime", "uptime", "percent", "uptime", "ALIGN_SUM", 100 / 300),
    ),
    # The hypervisor sees the memory of E2 instances only, and counts the guest's caches as used: not the same figure.
    *_gcp(
        "gcp:instance", "gce_instance", "instance_id", "agent.googleapis.com/", "Cloud Monitoring: Ops Agent metrics",
        ("memory_utilization", "memory", "percent", "memory/percent_used", "ALIGN_MEAN", 1,
         'metric.labels.state = "used"', "agent"),
    ),
    *_gcp(
        "gcp:sql_instance", "cloudsql_database", "database_id", "cloudsql.googleapis.com/database/",
        "Cloud SQL: Cloud SQL metrics",
        ("cpu_utilization", "cpu", "percent", "cpu/utilization", "ALIGN_MEAN", 100),
        ("memory_utilization", "memory", "percent", "memory/utilization", "ALIGN_MEAN", 100),
        ("disk_utilization", "disk", "percent", "disk/utilization", "ALIGN_MEAN", 100),
        ("disk_read", "disk", "bytes/s", "disk/read_bytes_count", "ALIGN_RATE"),
        ("disk_write", "disk", "bytes/s", "disk/write_bytes_count", "ALIGN_RATE"),
        ("disk_read_ops", "disk", "ops/s", "disk/read_ops_count", "ALIGN_RATE"),
        ("disk_write_ops", "disk", "ops/s", "disk/write_ops_count", "ALIGN_RATE"),
        ("network_in", "network", "bytes/s", "network/received_bytes_count", "ALIGN_RATE"),
        ("network_out", "network", "bytes/s", "network/sent_bytes_count", "ALIGN_RATE"),
        ("uptime", "uptime", "percent", "up", "ALIGN_MEAN", 100),
    ),
    # Of global external Application Load Balancers; regional and internal ones have the same under other prefixes.
    *_gcp(
        "gcp:forwarding_rule", "https_lb_rule", "forwarding_rule_name region", "loadbalancing.googleapis.com/https/",
        "Cloud Load Balancing: monitoring metrics",
        ("response_time", "latency", "seconds", "total_latencies",
         "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 0.001, "", "http"),
        ("request_rate", "traffic", "requests/s", "request_count", "ALIGN_RATE", 1, "", "http"),
        ("network_in", "network", "bytes/s", "request_bytes_count", "ALIGN_RATE", 1, "", "http"),
        ("network_out", "network", "bytes/s", "response_bytes_count", "ALIGN_RATE", 1, "", "http"),
    ),
    # The mean of the nodes, and the sum of their traffic. Evictable memory is cache, which the kernel gives back.
    *_gcp(
        "gcp:gke_cluster", "k8s_node", "cluster_name location", "kubernetes.io/node/", "GKE: system metrics",
        ("cpu_utilization", "cpu", "percent", "cpu/allocatable_utilization", "ALIGN_MEAN", 100),
        ("memory_utilization", "memory", "percent", "memory/allocatable_utilization", "ALIGN_MEAN", 100,
         'metric.labels.memory_type = "non-evictable"'),
        ("network_in", "network", "bytes/s", "network/received_bytes_count", "ALIGN_RATE"),
        ("network_out", "network", "bytes/s", "network/sent_bytes_count", "ALIGN_RATE"),
    ),
    # CPU is that of the main thread, which Redis cannot do without: 100 percent is one core.
    *_gcp(
        "gcp:redis_instance", "redis_instance", "instance_id", "redis.googleapis.com/stats/",
        "Memorystore for Redis: supported monitoring metrics",
        ("cpu_utilization", "cpu", "percent", "cpu_utilization_main_thread", "ALIGN_RATE", 100,
         'metric.labels.role = "primary"'),
        ("memory_utilization", "memory", "percent", "memory/usage_ratio", "ALIGN_MEAN", 100),
        ("network_in", "network", "bytes/s", "network_traffic", "ALIGN_RATE", 1, 'metric.labels.direction = "in"'),
        ("network_out", "network", "bytes/s", "network_traffic", "ALIGN_RATE", 1, 'metric.labels.direction = "out"'),
    ),
    *_gcp(
        "gcp:redis_cluster", "redis.googleapis.com/Cluster", "cluster_id location", "redis.googleapis.com/cluster/",
        "Memorystore for Redis Cluster: supported monitoring metrics",
        ("cpu_utilization", "cpu", "percent", "cpu/average_utilization", "ALIGN_MEAN", 100),
        ("memory_utilization", "memory", "percent", "memory/average_utilization", "ALIGN_MEAN", 100),
    ),
    *_gcp(
        "gcp:alloydb_instance", "alloydb.googleapis.com/Instance", "instance_id cluster_id location",
        "alloydb.googleapis.com/instance/", "AlloyDB: system insights metrics reference",
        ("cpu_utilization", "cpu", "percent", "cpu/average_utilization", "ALIGN_MEAN", 100),
        ("memory_free", "memory", "bytes", "memory/min_available_memory", "ALIGN_MEAN"),
    ),
    *_gcp(
        "gcp:filestore_instance", "filestore_instance", "instance_name location", "file.googleapis.com/nfs/server/",
        "Filestore: monitoring instances",
        ("disk_read", "disk", "bytes/s", "read_bytes_count", "ALIGN_RATE"),
        ("disk_write", "disk", "bytes/s", "write_bytes_count", "ALIGN_RATE"),
        ("disk_read_ops", "disk", "ops/s", "read_ops_count", "ALIGN_RATE"),
        ("disk_write_ops", "disk", "ops/s", "write_ops_count", "ALIGN_RATE"),
    ),
    *_gcp(
        "gcp:router", "nat_gateway", "router_id", "router.googleapis.com/nat/", "Cloud NAT: logs and metrics",
        ("network_in", "network", "bytes/s", "received_bytes_count", "ALIGN_RATE", 1, "", "nat"),
        ("network_out", "network", "bytes/s", "sent_bytes_count", "ALIGN_RATE", 1, "", "nat"),
    ),
    # --- Azure ---
    # The memory of a machine is a platform metric: no agent. `Network In` and `Network Out` are deprecated.
    *_azure(
        "azure:vm", "Microsoft.Compute/virtualMachines",
        ("cpu_utilization", "cpu", "percent", "Percentage CPU", "Average"),
        ("memory_utilization", "memory", "percent", "Available Memory Percentage", "Average", "", -1, 100),
        ("memory_free", "memory", "bytes", "Available Memory Bytes", "Average"),
        ("disk_read", "disk", "bytes/s", "Disk Read Bytes", "Total"),
        ("disk_write", "disk", "bytes/s", "Disk Write Bytes", "Total"),
        ("disk_read_ops", "disk", "ops/s", "Disk Read Operations/Sec", "Average"),
        ("disk_write_ops", "disk", "ops/s", "Disk Write Operations/Sec", "Average"),
        ("network_in", "network", "bytes/s", "Network In Total", "Total"),
        ("network_out", "network", "bytes/s", "Network Out Total", "Total"),
        ("uptime", "uptime", "percent", "VmAvailabilityMetric", "Average", "", 100),
    ),
    # Averages are those of one machine of the set, totals those of all. Operations a second are averages, and would
    # be misread beside totals.
    *_azure(
        "azure:vmss", "Microsoft.Compute/virtualMachineScaleSets",
        ("cpu_utilization", "cpu", "percent", "Percentage CPU", "Average"),
        ("memory_utilization", "memory", "percent", "Available Memory Percentage", "Average", "", -1, 100),
        ("memory_free", "memory", "bytes", "Available Memory Bytes", "Average"),
        ("disk_read", "disk", "bytes/s", "Disk Read Bytes", "Total"),
        ("disk_write", "disk", "bytes/s", "Disk Write Bytes", "Total"),
        ("network_in", "network", "bytes/s", "Network In Total", "Total"),
        ("network_out", "network", "bytes/s", "Network Out Total", "Total"),
    ),
    *_azure(
        "azure:disk", "Microsoft.Compute/disks",
        ("disk_read", "disk", "bytes/s", "Composite Disk Read Bytes/sec", "Average"),
        ("disk_write", "disk", "bytes/s", "Composite Disk Write Bytes/sec", "Average"),
        ("disk_read_ops", "disk", "ops/s", "Composite Disk Read Operations/sec", "Average"),
        ("disk_write_ops", "disk", "ops/s", "Composite Disk Write Operations/sec", "Average"),
    ),
    *_azure(
        "azure:sql_database", "Microsoft.Sql/servers/databases",
        ("cpu_utilization", "cpu", "percent", "cpu_percent", "Average"),
        ("memory_utilization", "memory", "percent", "sql_instance_memory_percent", "Average", "no_warehouse"),
        ("disk_utilization", "disk", "percent", "storage_percent", "Average", "fixed_size"),
        ("uptime", "uptime", "percent", "availability", "Average"),
    ),
    *_azure(
        "azure:sql_pool", "Microsoft.Sql/servers/elasticPools",
        ("cpu_utilization", "cpu", "percent", "cpu_percent", "Average"),
        ("memory_utilization", "memory", "percent", "sql_instance_memory_percent", "Average"),
        ("disk_utilization", "disk", "percent", "storage_percent", "Average", "fixed_size"),
    ),
    *_azure(
        "azure:sql_instance", "Microsoft.Sql/managedInstances",
        ("cpu_utilization", "cpu", "percent", "avg_cpu_percent", "Average"),
    ),
    # Throughput and operations are rates already.
    *_azure(
        "azure:postgresql", "Microsoft.DBforPostgreSQL/flexibleServers",
        ("cpu_utilization", "cpu", "percent", "cpu_percent", "Average"),
        ("memory_utilization", "memory", "percent", "memory_percent", "Average"),
        ("disk_utilization", "disk", "percent", "storage_percent", "Average"),
        ("disk_read", "disk", "bytes/s", "read_throughput", "Average"),
        ("disk_write", "disk", "bytes/s", "write_throughput", "Average"),
        ("disk_read_ops", "disk", "ops/s", "read_iops", "Average"),
        ("disk_write_ops", "disk", "ops/s", "write_iops", "Average"),
        ("network_in", "network", "bytes/s", "network_bytes_ingress", "Total"),
        ("network_out", "network", "bytes/s", "network_bytes_egress", "Total"),
        ("uptime", "uptime", "percent", "is_db_alive", "Average", "", 100),
    ),
    *_azure("azure:postgresql_single", "Microsoft.DBforPostgreSQL/servers", *_AZURE_SERVER),
    *_azure("azure:postgresql_cluster", "Microsoft.DBforPostgreSQL/serverGroupsv2", *_AZURE_SERVER),
    *_azure("azure:mysql", "Microsoft.DBforMySQL/flexibleServers", *_AZURE_SERVER),
    *_azure("azure:mysql_single", "Microsoft.DBforMySQL/servers", *_AZURE_SERVER),
    *_azure("azure:mariadb", "Microsoft.DBforMariaDB/servers", *_AZURE_SERVER),
    *_azure(
        "azure:redis", "Microsoft.Cache/redis",
        ("cpu_utilization", "cpu", "percent", "percentProcessorTime", "Maximum"),
        ("memory_utilization", "memory", "percent", "usedmemorypercentage", "Maximum"),
        ("request_rate", "traffic", "requests/s", "totalcommandsprocessed", "Total"),
    ),
    *_azure(
        "azure:redis_enterprise", "Microsoft.Cache/redisEnterprise",
        ("cpu_utilization", "cpu", "percent", "percentProcessorTime", "Maximum"),
        ("memory_utilization", "memory", "percent", "usedmemorypercentage", "Maximum"),
    ),
    *_azure(
        "azure:cosmosdb", "Microsoft.DocumentDB/databaseAccounts",
        ("request_rate", "traffic", "requests/s", "TotalRequests", "Count"),
    ),
    # Availability is written as 0 to 100 although its unit is Count.
    *_azure(
        "azure:load_balancer", "Microsoft.Network/loadBalancers",
        ("network_total", "network", "bytes/s", "ByteCount", "Total", "standard"),
        ("uptime", "uptime", "percent", "VipAvailability", "Average", "standard"),
    ),
    *_azure(
        "azure:application_gateway", "Microsoft.Network/applicationGateways",
        ("response_time", "latency", "seconds", "ApplicationGatewayTotalTime", "Average Maximum", "v2", 0.001),
        ("request_rate", "traffic", "requests/s", "TotalRequests", "Total"),
        ("network_in", "network", "bytes/s", "BytesReceived", "Total", "v2"),
        ("network_out", "network", "bytes/s", "BytesSent", "Total", "v2"),
        ("cpu_utilization", "cpu", "percent", "CpuUtilization", "Average", "v1"),
    ),
    *_azure(
        "azure:nat_gateway", "Microsoft.Network/natGateways",
        ("network_total", "network", "bytes/s", "ByteCount", "Total"),
        ("uptime", "uptime", "percent", "DatapathAvailability", "Average"),
    ),
    # Averages of the nodes. Over which time node_network_in_bytes and its like are counted is not documented.
    *_azure(
        "azure:aks", "Microsoft.ContainerService/managedClusters",
        ("cpu_utilization", "cpu", "percent", "node_cpu_usage_percentage", "Average"),
        ("memory_utilization", "memory", "percent", "node_memory_working_set_percentage", "Average"),
        ("disk_utilization", "disk", "percent", "node_disk_usage_percentage", "Average"),
    ),
    # --- Vultr ---
    *_vultr(
        "vultr:instance vultr:bare_metal", "power", "Vultr OpenAPI: list-instances, list-baremetals", "snapshot", 900,
        ("uptime", "uptime", "percent", "power_status"),
    ),
    *_vultr(
        "vultr:database vultr:load_balancer vultr:kubernetes", "power", "Vultr OpenAPI: list-databases and others",
        "snapshot", 900,
        ("uptime", "uptime", "percent", "status"),
    ),
    *_vultr(
        "vultr:database", "database_usage", "Vultr OpenAPI: get-database-usage", "snapshot", 900,
        ("cpu_utilization", "cpu", "percent", "cpu.percentage"),
        ("memory_utilization", "memory", "percent", "memory.percentage"),
        ("disk_utilization", "disk", "percent", "disk.percentage"),
        ("storage_used", "disk", "bytes", "disk.current_gb"),
    ),
    # Vultr's API tells nothing else of a machine. The rest is known only to an agent in it, if there is one.
    *_vultr(
        "vultr:instance", "bandwidth", "Vultr OpenAPI: get-instance-bandwidth", "day", 86_400,
        ("network_in", "network", "bytes/s", "incoming_bytes"),
        ("network_out", "network", "bytes/s", "outgoing_bytes"),
    ),
    *_vultr(
        "vultr:bare_metal", "bandwidth", "Vultr OpenAPI: get-bandwidth-baremetal", "day", 86_400,
        ("network_in", "network", "bytes/s", "incoming_bytes"),
        ("network_out", "network", "bytes/s", "outgoing_bytes"),
    ),
    *_vultr(
        "vultr:instance vultr:bare_metal", "node_exporter", "node_exporter: README, collectors", "avg", 300,
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
    # v-agent writes once per interval what the kernel counted since the last time, for disks and their partitions; its
    # free memory holds buffers and caches, and its network counters never start anew.
    *_vultr(
        "vultr:instance vultr:bare_metal", "v-agent", "v-agent: README and pkg/metrics", "avg", 300,
        ("cpu_utilization", "cpu", "percent", "avg by (machine) (avg_over_time(v_cpu_util_pct[5m]))"),
        ("memory_utilization", "memory", "percent",
            "100 - 100 * avg by (machine) (avg_over_time(v_memory_free[5m]) / v_memory_total)"),
        ("memory_free", "memory", "bytes", "avg by (machine) (avg_over_time(v_memory_free[5m]))"),
        ("disk_utilization", "disk", "percent", "max by (machine) (avg_over_time(v_fs_bytes_util{mount='/'}[5m]))"),
        ("disk_read", "disk", "bytes/s",
            "512 / 300 * sum by (machine) (sum_over_time(v_disk_stats_sectors_read{disks}[5m]))"),
        ("disk_write", "disk", "bytes/s",
            "512 / 300 * sum by (machine) (sum_over_time(v_disk_stats_sectors_written{disks}[5m]))"),
        ("disk_read_ops", "disk", "ops/s",
            "1 / 300 * sum by (machine) (sum_over_time(v_disk_stats_read{disks}[5m]))"),
        ("disk_write_ops", "disk", "ops/s",
            "1 / 300 * sum by (machine) (sum_over_time(v_disk_stats_writes_completed{disks}[5m]))"),
        ("network_in", "network", "bytes/s", "sum by (machine) (rate(v_nic_bytes_rx{v-nics}[5m]))"),
        ("network_out", "network", "bytes/s", "sum by (machine) (rate(v_nic_bytes_tx{v-nics}[5m]))"),
    ),
    *_vultr(
        "vultr:load_balancer", "blackbox_exporter", "blackbox_exporter: README", "avg", 300,
        ("response_time", "latency", "seconds", "avg by (machine) (avg_over_time(probe_duration_seconds[5m]))"),
    ),
)  # fmt: skip


@cache
def metrics_for(provider: str, kind: str) -> tuple[Metric, ...]:
    """The catalogue's metrics of one kind of resource, in table order; empty for a kind without metrics."""
    return tuple(metric for metric in METRICS if (metric.provider, metric.kind) == (provider, kind))
