"""Cloud Run: services, those behind functions of the second generation among them. Paid by use: no estimate.

An asset is a service as version 1 of the API shows it, which is Knative's (metadata, spec, status), or version 2.
"""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    by_name_and_location,
    last_part,
    metric_rows,
)
from optiinfra_dagster.providers.parsing import Item, as_dict, as_dicts, as_text, dig, facts

# Of the condition Ready, in the words of either version.
_STATUSES = {
    **dict.fromkeys(("True", "CONDITION_SUCCEEDED"), Status.RUNNING),
    **dict.fromkeys(("False", "CONDITION_FAILED"), Status.ERROR),
    **dict.fromkeys(("Unknown", "CONDITION_PENDING", "CONDITION_RECONCILING"), Status.STARTING),
}


def _read_service(data: Item, _place: Place) -> AssetFacts:
    return _read_knative(data) if "spec" in data or "metadata" in data else _read_second(data)


def _read_knative(data: Item) -> AssetFacts:
    meta, template = as_dict(data, "metadata"), as_dict(data, "spec", "template")
    conditions = as_dicts(dig(data, "status", "conditions"))
    word = next((as_text(one.get("status")) for one in conditions if one.get("type") == "Ready"), "")
    scaling = as_dict(template, "metadata", "annotations")
    return AssetFacts(
        status=_STATUSES.get(word, Status.UNKNOWN),
        cloud_status=word and f"Ready={word}",
        created=meta.get("creationTimestamp"),
        uid=meta.get("uid"),
        labels=meta.get("labels"),
        metadata=_facts(
            as_dict(meta, "labels"),
            as_dict(template, "spec"),
            concurrency=dig(template, "spec", "containerConcurrency"),
            min_instances=scaling.get("autoscaling.knative.dev/minScale"),
            max_instances=scaling.get("autoscaling.knative.dev/maxScale"),
            revision=dig(data, "status", "latestReadyRevisionName"),
        ),
    )


def _read_second(data: Item) -> AssetFacts:
    template, word = as_dict(data, "template"), as_text(dig(data, "terminalCondition", "state"))
    return AssetFacts(
        status=_STATUSES.get(word, Status.UNKNOWN),
        cloud_status=word,
        labels=data.get("labels"),
        metadata=_facts(
            as_dict(data, "labels"),
            template,
            concurrency=template.get("maxInstanceRequestConcurrency"),
            min_instances=dig(template, "scaling", "minInstanceCount"),
            max_instances=dig(template, "scaling", "maxInstanceCount"),
            revision=last_part(data.get("latestReadyRevision")) or None,
        ),
    )


def _facts(labels: Item, template: Item, **more: object) -> dict[str, str | int | float | bool | None]:
    container: Item = next(iter(as_dicts(template.get("containers"))), {})
    limits = as_dict(container, "resources", "limits")
    # A function of the second generation is a service too, and the bill's line is the service's.
    managed_by = labels.get("goog-managed-by")
    return facts(managed_by=managed_by, cpu_limit=limits.get("cpu"), memory_limit=limits.get("memory"), **more)


_SOURCE = "Cloud Run: metrics"

SERVICE = GcpKind(
    name="gcp:cloud_run_service",
    resource_type=ResourceType.SERVERLESS,
    asset_types=("run.googleapis.com/Service",),
    read=_read_service,
    collection="services",
    series_labels=by_name_and_location,
    # Utilizations are distributions over the containers of all revisions.
    metrics=metric_rows(
        "cloud_run_revision", "service_name location", "run.googleapis.com/", _SOURCE,
        ("cpu_utilization", "cpu", "percent", "container/cpu/utilizations", "REDUCE_MEAN", 100),
        ("memory_utilization", "memory", "percent", "container/memory/utilizations", "REDUCE_MEAN", 100),
        ("response_time", "latency", "seconds", "request_latencies",
         "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 0.001),
        ("request_rate", "traffic", "requests/s", "request_count", "ALIGN_RATE"),
        ("network_in", "network", "bytes/s", "container/network/received_bytes_count", "ALIGN_RATE"),
        ("network_out", "network", "bytes/s", "container/network/sent_bytes_count", "ALIGN_RATE"),
    ),
    not_offered={"uptime": _SOURCE},
    silent_when_idle=True,
)  # fmt: skip

KINDS = (SERVICE,)
