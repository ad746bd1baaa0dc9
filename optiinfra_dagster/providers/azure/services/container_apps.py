"""Container Apps. They are paid by the second and the request, so that they have no price by the hour."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.azure.kind import AzureKind, Facts, MetricRow, Row, not_among, state_word
from optiinfra_dagster.providers.parsing import as_number, facts

_APPS = "Microsoft.App/containerApps"


def _read(row: Row) -> Facts:
    # Its containers are not asked for: their variables may hold secrets.
    return Facts(
        word=state_word(row),
        ready=Status.RUNNING,
        metadata=facts(
            workload_profile=row.get("workloadProfile"),
            replicas_min=as_number(row.get("minReplicas")),
            replicas_max=as_number(row.get("maxReplicas")),
        ),
    )


KINDS = (
    AzureKind(
        name="azure:container_app",
        azure_type=_APPS,
        resource_type=ResourceType.SERVERLESS,
        columns={
            "state": ("properties.runningStatus",),
            "workloadProfile": ("properties.workloadProfileName",),
            "minReplicas": ("properties.template.scale.minReplicas",),
            "maxReplicas": ("properties.template.scale.maxReplicas",),
        },
        read=_read,
        metric_rows=(
            MetricRow("cpu_utilization", "cpu", "percent", "CpuPercentage", "Average"),
            MetricRow("memory_utilization", "memory", "percent", "MemoryPercentage", "Average"),
            MetricRow("response_time", "latency", "seconds", "ResponseTime", "Average", scale=0.001),
            MetricRow("request_rate", "traffic", "requests/s", "Requests", "Total"),
            MetricRow("network_in", "network", "bytes/s", "RxBytes", "Total"),
            MetricRow("network_out", "network", "bytes/s", "TxBytes", "Total"),
        ),
        not_offered=not_among(_APPS, "uptime"),
    ),
)
