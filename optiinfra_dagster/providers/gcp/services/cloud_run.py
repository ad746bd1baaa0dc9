"""Cloud Run: services, those behind functions of the second generation among them. Paid by use: no estimate.

Cloud Asset Inventory shows a service as the Knative API does (metadata, spec, status).
"""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, by_name_and_location, metric_rows
from optiinfra_dagster.providers.parsing import Item, as_dict, as_dicts, as_text, dig, facts

_STATUSES = {"True": Status.RUNNING, "False": Status.ERROR, "Unknown": Status.STARTING}  # of the condition Ready


def _read_service(data: Item, _place: Place) -> AssetFacts:
    meta, template = as_dict(data, "metadata"), as_dict(data, "spec", "template")
    conditions = as_dicts(dig(data, "status", "conditions"))
    word = next((as_text(one.get("status")) for one in conditions if one.get("type") == "Ready"), "")
    container: Item = next(iter(as_dicts(dig(template, "spec", "containers"))), {})
    limits, scaling = as_dict(container, "resources", "limits"), as_dict(template, "metadata", "annotations")
    return AssetFacts(
        status=_STATUSES.get(word, Status.UNKNOWN),
        cloud_status=f"Ready={word}" if word else "",
        created=meta.get("creationTimestamp"),
        uid=meta.get("uid"),
        labels=meta.get("labels"),
        metadata=facts(
            # A function of the second generation is a service too, and the bill's line is the service's.
            managed_by=dig(meta, "labels", "goog-managed-by"),
            cpu_limit=limits.get("cpu"),
            memory_limit=limits.get("memory"),
            min_instances=scaling.get("autoscaling.knative.dev/minScale"),
            max_instances=scaling.get("autoscaling.knative.dev/maxScale"),
            concurrency=dig(template, "spec", "containerConcurrency"),
            revision=dig(data, "status", "latestReadyRevisionName"),
        ),
    )


_SOURCE = "Cloud Run: metrics"

SERVICE = GcpKind(
    name="gcp:cloud_run_service",
    resource_type=ResourceType.SERVERLESS,
    asset_types=("run.googleapis.com/Service",),
    read=_read_service,
    collection="services",
    series_labels=by_name_and_location,
    # Utilizations are distributions over the containers of all revisions.
    metrics=(
        *metric_rows(
            "cloud_run_revision", "service_name location", "run.googleapis.com/", _SOURCE,
            ("cpu_utilization", "cpu", "percent", "container/cpu/utilizations", "REDUCE_MEAN", 100),
            ("memory_utilization", "memory", "percent", "container/memory/utilizations", "REDUCE_MEAN", 100),
            ("response_time", "latency", "seconds", "request_latencies",
             "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 0.001),
            ("request_rate", "traffic", "requests/s", "request_count", "ALIGN_RATE"),
            ("network_in", "network", "bytes/s", "container/network/received_bytes_count", "ALIGN_RATE"),
            ("network_out", "network", "bytes/s", "container/network/sent_bytes_count", "ALIGN_RATE"),
        ),
    ),
    not_offered={"uptime": _SOURCE},
    silent_when_idle=True,
)  # fmt: skip

KINDS = (SERVICE,)
