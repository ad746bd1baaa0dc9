"""App Service: web and function apps, and the plans that they run on, which are what costs.

Plans are not priced: how the price list writes their sizes is not known.
"""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    Facts,
    MetricRow,
    Row,
    arm_id,
    not_among,
    state_word,
)
from optiinfra_dagster.providers.parsing import as_bool, as_number, facts

_APPS, _PLANS = "Microsoft.Web/sites", "Microsoft.Web/serverfarms"
_NETWORK = (
    MetricRow("network_in", "network", "bytes/s", "BytesReceived", "Total"),
    MetricRow("network_out", "network", "bytes/s", "BytesSent", "Total"),
)


def _read_app(row: Row) -> Facts:
    return Facts(
        word=state_word(row),
        metadata=facts(
            app_kind=row.get("resourceKind"),  # such as `functionapp,linux`
            sku=row.get("size"),
            plan=arm_id(row.get("serverFarmId")),
            always_on=as_bool(row.get("alwaysOn")),
        ),
    )


def _read_plan(row: Row) -> Facts:
    return Facts(
        word=state_word(row),
        ready=Status.RUNNING,
        capacity=as_number(row.get("units")),
        unit="instances",
        metadata=facts(
            sku=row.get("size"),
            tier=row.get("tier"),
            plan_kind=row.get("resourceKind"),
            apps=as_number(row.get("numberOfSites")),
        ),
    )


KINDS = (
    AzureKind(
        name="azure:app_service",
        azure_type=_APPS,
        resource_type=ResourceType.SERVERLESS,
        columns={
            "state": ("properties.state",),
            "size": ("properties.sku",),
            "resourceKind": ("kind",),
            "serverFarmId": ("properties.serverFarmId",),
            "alwaysOn": ("properties.siteConfig.alwaysOn",),
        },
        read=_read_app,
        metric_rows=(
            MetricRow("response_time", "latency", "seconds", "HttpResponseTime", "Average"),
            MetricRow("request_rate", "traffic", "requests/s", "Requests", "Total"),
            MetricRow("memory_used", "memory", "bytes", "MemoryWorkingSet", "Average"),
            *_NETWORK,
        ),
        not_offered=not_among(
            _APPS, cpu="the share of its plan's processors is told of the plan", uptime="it counts healthy instances"
        ),
    ),
    AzureKind(
        name="azure:app_service_plan",
        azure_type=_PLANS,
        resource_type=ResourceType.SERVERLESS,
        columns={
            "state": ("properties.status",),
            "size": ("sku.name",),
            "tier": ("sku.tier",),
            "units": ("sku.capacity",),
            "resourceKind": ("kind",),
            "numberOfSites": ("properties.numberOfSites",),
        },
        read=_read_plan,
        metric_rows=(
            MetricRow("cpu_utilization", "cpu", "percent", "CpuPercentage", "Average"),
            MetricRow("memory_utilization", "memory", "percent", "MemoryPercentage", "Average"),
            *_NETWORK,
        ),
        not_offered=not_among(_PLANS, "response_time", "uptime"),
    ),
)
