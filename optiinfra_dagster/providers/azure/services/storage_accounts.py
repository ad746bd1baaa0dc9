"""Storage accounts: blobs, files, queues and tables in one. They cost by what they hold in which tier, and by use."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.azure.kind import HOUR, AzureKind, Facts, MetricRow, Row, state_word
from optiinfra_dagster.providers.parsing import as_bool, facts


def _read(row: Row) -> Facts:
    return Facts(
        word=state_word(row),
        silent=Status.AVAILABLE,
        metadata=facts(
            sku=row.get("size"),
            account_kind=row.get("resourceKind"),
            access_tier=row.get("accessTier"),
            hierarchical=as_bool(row.get("hierarchical")) or None,
        ),
    )


KINDS = (
    AzureKind(
        name="azure:storage_account",
        azure_type="Microsoft.Storage/storageAccounts",
        resource_type=ResourceType.OBJECT_STORAGE,
        columns={
            "state": ("properties.statusOfPrimary",),
            "created": ("properties.creationTime",),
            "size": ("sku.name",),
            "resourceKind": ("kind",),
            "accessTier": ("properties.accessTier",),
            "hierarchical": ("properties.isHnsEnabled",),
        },
        read=_read,
        metric_rows=(
            MetricRow("storage_used", "disk", "bytes", "UsedCapacity", "Average", period=HOUR),
            MetricRow("request_rate", "traffic", "requests/s", "Transactions", "Total"),
            MetricRow("response_time", "latency", "seconds", "SuccessE2ELatency", "Average", scale=0.001),
            MetricRow("network_in", "network", "bytes/s", "Ingress", "Total"),
            MetricRow("network_out", "network", "bytes/s", "Egress", "Total"),
            MetricRow("uptime", "uptime", "percent", "Availability", "Average"),
        ),
    ),
)
