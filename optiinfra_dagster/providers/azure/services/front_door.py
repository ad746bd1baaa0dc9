"""Front Door, as profiles of today and in its classic form."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.azure.kind import AzureKind, Columns, Facts, MetricRow, Row, not_among, state_word
from optiinfra_dagster.providers.parsing import facts

_COLUMNS: Columns = {
    "uid": ("properties.frontDoorId", "properties.frontdoorId"),
    "state": ("properties.resourceState",),
    "size": ("sku.name",),
    "tier": ("sku.tier",),
}


_OF_BOTH = (
    MetricRow("response_time", "latency", "seconds", "TotalLatency", "Average", scale=0.001),
    MetricRow("request_rate", "traffic", "requests/s", "RequestCount", "Total"),
    MetricRow("network_in", "network", "bytes/s", "RequestSize", "Total"),
    MetricRow("network_out", "network", "bytes/s", "ResponseSize", "Total"),
)


def _health(api_metric: str) -> MetricRow:
    """The share of Front Door's probes that its backends answered: it tells of them, and not of Front Door."""
    return MetricRow("backend_health", "health", "percent", api_metric, "Average")


def _read(row: Row) -> Facts:
    return Facts(word=state_word(row), ready=Status.RUNNING, metadata=facts(sku=row.get("size"), tier=row.get("tier")))


KINDS = (
    AzureKind(
        name="azure:front_door",
        azure_type="Microsoft.Cdn/profiles",
        resource_type=ResourceType.LOAD_BALANCER,
        columns=_COLUMNS,
        read=_read,
        metric_rows=(*_OF_BOTH, _health("OriginHealthPercentage")),
        not_offered=not_among("Microsoft.Cdn/profiles", "cpu", "memory", "uptime"),
    ),
    AzureKind(
        name="azure:front_door_classic",
        azure_type="Microsoft.Network/frontDoors",
        resource_type=ResourceType.LOAD_BALANCER,
        columns=_COLUMNS,
        read=_read,
        metric_rows=(*_OF_BOTH, _health("BackendHealthPercentage")),
        not_offered=not_among("Microsoft.Network/frontDoors", "cpu", "memory", "uptime"),
    ),
)
