"""The metric catalogue: provider x resource kind x our metric name -> what to ask of the cloud, and how to convert it.

Adding a metric is one line in this table. `scale` turns the API's number into our unit; `per_second` divides a sum by
its period first. `condition` names a predicate on the resource, kept by the provider's performance.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from optiinfra_dagster.model.metrics import Metric
from optiinfra_dagster.providers.vultr.services import METRICS as VULTR_METRICS


def _aws(
    kind: str,
    namespace: str,
    dimension: str,
    source: str,
    *rows: tuple[str, ...],
    scale: float = 1.0,
    offset: float = 0.0,
    narrowed_to: str = "",
) -> Iterator[Metric]:
    """Lay out AWS rows of (our name, type, unit, API metric, API statistics, condition).

    A sum whose unit is per second is divided by its period. The period is 300 s: every metric here has it at no cost
    to the customer, and a finer one multiplies the rows. `narrowed_to` is a further dimension, `Operation=GetItem`.
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
            scale=scale,
            offset=offset,
            per_second=statistics == "Sum" and unit.endswith("/s"),
            filter=narrowed_to,
            condition="".join(condition),
            source=source,
        )


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
    # 0 or 1 for each minute in which the checks ran: the mean is the share of the minutes in which they failed.
    *_aws(
        "ec2:instance", "AWS/EC2", "InstanceId", "EC2 user guide: status check metrics",
        ("uptime", "uptime", "percent", "StatusCheckFailed", "Average"), scale=-100, offset=100,
    ),
    # The hypervisor sees neither memory nor file systems; which dimensions an agent writes is configured in it.
    *_aws(
        "ec2:instance", "CWAgent", "InstanceId", "CloudWatch user guide: metrics collected by the CloudWatch agent",
        ("memory_utilization", "memory", "percent", "mem_used_percent", "Average", "agent"),
    ),
    *_aws(  # the root file system: the only one that every Linux instance has
        "ec2:instance", "CWAgent", "InstanceId", "CloudWatch user guide: metrics collected by the CloudWatch agent",
        ("disk_utilization", "disk", "percent", "disk_used_percent", "Average", "agent"), narrowed_to="path=/",
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
        ("storage_free", "disk", "bytes", "FreeStorageSpace", "Average", "own_storage"),
    ),
    # The volume of an Aurora cluster: operations are counted every five minutes, for the five minutes before.
    *_aws(
        "rds:cluster", "AWS/RDS", "DBClusterIdentifier", "Aurora user guide: cluster-level metrics",
        ("disk_read_ops", "disk", "ops/s", "VolumeReadIOPs", "Average", "cluster_volume"),
        ("disk_write_ops", "disk", "ops/s", "VolumeWriteIOPs", "Average", "cluster_volume"), scale=1 / 300,
    ),
    *_aws(
        "rds:cluster", "AWS/RDS", "DBClusterIdentifier", "Aurora user guide: cluster-level metrics",
        ("storage_used", "disk", "bytes", "VolumeBytesUsed", "Average", "cluster_volume"),
    ),
    # Load balancers have no uptime: HealthyHostCount tells of one target group, and of hosts rather than of time.
    *_aws(
        "elbv2:application", "AWS/ApplicationELB", "LoadBalancer", "ELB user guide: Application Load Balancer metrics",
        ("response_time", "latency", "seconds", "TargetResponseTime", "Average p50 p95 p99"),
        ("request_rate", "traffic", "requests/s", "RequestCount", "Sum"),
        ("network_total", "network", "bytes/s", "ProcessedBytes", "Sum"),
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
    *_aws(  # what comes from and goes to the outside; the VPC's side carries the same bytes
        "ec2:nat_gateway", "AWS/NATGateway", "NatGatewayId", "VPC user guide: NAT gateway metrics and dimensions",
        ("network_in", "network", "bytes/s", "BytesInFromDestination", "Sum"),
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
        "elasticache:cluster", "AWS/ElastiCache", "CacheClusterId", "ElastiCache user guide: Valkey and Redis metrics",
        ("memory_utilization", "memory", "percent", "DatabaseMemoryUsagePercentage", "Average", "redis"),
    ),
    *_aws(
        "elasticache:cluster", "AWS/ElastiCache", "CacheClusterId", "ElastiCache user guide: Valkey and Redis metrics",
        ("read_latency", "latency", "seconds", "SuccessfulReadRequestLatency", "Average", "valkey"),
        ("write_latency", "latency", "seconds", "SuccessfulWriteRequestLatency", "Average", "valkey"), scale=1e-6,
    ),
    # Every minute, Redshift tries a query on the cluster: 1 if it was answered.
    *_aws(
        "redshift:cluster", "AWS/Redshift", "ClusterIdentifier", "Redshift management guide: performance data",
        ("uptime", "uptime", "percent", "HealthStatus", "Average"), scale=100,
    ),
    *_aws(
        "redshift:cluster", "AWS/Redshift", "ClusterIdentifier", "Redshift management guide: performance data",
        ("cpu_utilization", "cpu", "percent", "CPUUtilization", "Average"),
        ("disk_utilization", "disk", "percent", "PercentageDiskSpaceUsed", "Average"),
        ("disk_read", "disk", "bytes/s", "ReadThroughput", "Average"),
        ("disk_write", "disk", "bytes/s", "WriteThroughput", "Average"),
        ("disk_read_ops", "disk", "ops/s", "ReadIOPS", "Average"),
        ("disk_write_ops", "disk", "ops/s", "WriteIOPS", "Average"),
        ("network_in", "network", "bytes/s", "NetworkReceiveThroughput", "Average"),
        ("network_out", "network", "bytes/s", "NetworkTransmitThroughput", "Average"),
        ("read_latency", "latency", "seconds", "ReadLatency", "Average"),
        ("write_latency", "latency", "seconds", "WriteLatency", "Average"),
    ),
    # Latency is told by operation only: those of single items stand for reads and writes.
    *_aws(
        "dynamodb:table", "AWS/DynamoDB", "TableName", "DynamoDB developer guide: metrics and dimensions",
        ("read_capacity", "traffic", "units/s", "ConsumedReadCapacityUnits", "Sum"),
        ("write_capacity", "traffic", "units/s", "ConsumedWriteCapacityUnits", "Sum"),
    ),
    *_aws(
        "dynamodb:table", "AWS/DynamoDB", "TableName", "DynamoDB developer guide: metrics and dimensions",
        ("read_latency", "latency", "seconds", "SuccessfulRequestLatency", "Average"),
        scale=1e-3, narrowed_to="Operation=GetItem",
    ),
    *_aws(
        "dynamodb:table", "AWS/DynamoDB", "TableName", "DynamoDB developer guide: metrics and dimensions",
        ("write_latency", "latency", "seconds", "SuccessfulRequestLatency", "Average"),
        scale=1e-3, narrowed_to="Operation=PutItem",
    ),
    *_aws(
        "efs:filesystem", "AWS/EFS", "FileSystemId", "EFS user guide: CloudWatch metrics for Amazon EFS",
        ("disk_read", "disk", "bytes/s", "DataReadIOBytes", "Sum"),
        ("disk_write", "disk", "bytes/s", "DataWriteIOBytes", "Sum"),
    ),
    # Published only where the customer runs the Container Insights add-on, plain or with enhanced observability. Each
    # is the mean of the cluster's nodes; bytes are per second already.
    *_aws(
        "eks:cluster", "ContainerInsights", "ClusterName", "CloudWatch user guide: EKS Container Insights metrics",
        ("cpu_utilization", "cpu", "percent", "node_cpu_utilization", "Average", "add_on"),
        ("memory_utilization", "memory", "percent", "node_memory_utilization", "Average", "add_on"),
        ("disk_utilization", "disk", "percent", "node_filesystem_utilization", "Average", "add_on"),
        ("network_total", "network", "bytes/s", "node_network_total_bytes", "Average", "add_on"),
    ),
    *_aws(  # of the API server, from Kubernetes 1.28 on
        "eks:cluster", "AWS/EKS", "ClusterName", "EKS user guide: monitor cluster data with Amazon CloudWatch",
        ("request_rate", "traffic", "requests/s", "apiserver_request_total", "Sum"),
    ),
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
    *VULTR_METRICS,
)  # fmt: skip


@cache
def metrics_for(provider: str, kind: str) -> tuple[Metric, ...]:
    """The catalogue's metrics of one kind of resource, in table order; empty for a kind without metrics."""
    return tuple(metric for metric in METRICS if (metric.provider, metric.kind) == (provider, kind))
