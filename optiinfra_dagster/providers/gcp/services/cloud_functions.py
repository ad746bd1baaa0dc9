"""Cloud Functions of both generations. Paid by use: no estimate.

Cloud Asset Inventory may hear of a change half a day late (its supported asset types).
"""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    by_name_and_location,
    last_part,
    metric_rows,
)
from optiinfra_dagster.providers.parsing import Item, as_dict, as_text, dig, facts


def _read_function(data: Item, _place: Place) -> AssetFacts:
    service = as_dict(data, "serviceConfig")
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        labels=data.get("labels"),
        metadata=facts(
            generation=data.get("environment"),
            runtime=dig(data, "buildConfig", "runtime"),
            trigger=dig(data, "eventTrigger", "eventType") or "http",
            memory_limit=service.get("availableMemory"),
            cpu_limit=service.get("availableCpu"),
            timeout_seconds=service.get("timeoutSeconds"),
            max_instances=service.get("maxInstanceCount"),
            service=last_part(service.get("service")) or None,
        ),
    )


def _is_a_service(resource: Resource) -> str:
    """The reason why a function has no figures; "" for one of the first generation."""
    if resource.metadata.get("generation") != "GEN_2":
        return ""
    return f"it runs as the Cloud Run service {resource.metadata.get('service')}, which has the figures"


_SOURCE = "Cloud Functions: metrics"

FUNCTION = GcpKind(
    name="gcp:cloud_function",
    resource_type=ResourceType.SERVERLESS,
    asset_types=("cloudfunctions.googleapis.com/Function",),
    read=_read_function,
    collection="functions",
    series_labels=by_name_and_location,
    metrics=metric_rows(
        "cloud_function", "function_name region", "cloudfunctions.googleapis.com/function/", _SOURCE,
        ("memory_used", "memory", "bytes", "user_memory_bytes", "REDUCE_MEAN", 1, "", "first generation"),
        ("response_time", "latency", "seconds", "execution_times",
         "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 1e-9, "", "first generation"),
        ("request_rate", "traffic", "requests/s", "execution_count", "ALIGN_RATE", 1, "", "first generation"),
        ("network_out", "network", "bytes/s", "network_egress", "ALIGN_RATE", 1, "", "first generation"),
    ),
    conditions={"first generation": _is_a_service},
    not_offered=dict.fromkeys(("cpu", "uptime"), _SOURCE),
    silent_when_idle=True,
)  # fmt: skip

KINDS = (FUNCTION,)
