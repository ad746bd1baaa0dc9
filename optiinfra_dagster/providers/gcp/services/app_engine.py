"""App Engine: the services of a project's application. Paid by the hours of their instances: no estimate."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, last_part, metric_rows
from optiinfra_dagster.providers.parsing import Item, as_dict, dig, facts


def _read_service(data: Item, _place: Place) -> AssetFacts:
    return AssetFacts(
        status=Status.RUNNING,  # the API tells no state: a service that is listed takes requests
        labels=data.get("labels"),
        metadata=facts(versions=len(as_dict(data, "split", "allocations")), split_by=dig(data, "split", "shardBy")),
    )


_SOURCE = "App Engine: metrics"

SERVICE = GcpKind(
    name="gcp:app_engine_service",
    resource_type=ResourceType.SERVERLESS,
    asset_types=("appengine.googleapis.com/Service",),
    read=_read_service,
    collection="services",
    series_labels=lambda resource: (last_part(resource.resource_id),),
    metrics=metric_rows(
        "gae_app", "module_id", "appengine.googleapis.com/", _SOURCE,
        ("memory_used", "memory", "bytes", "system/memory/usage", "REDUCE_SUM"),
        ("response_time", "latency", "seconds", "http/server/response_latencies",
         "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 0.001),
        ("request_rate", "traffic", "requests/s", "http/server/response_count", "ALIGN_RATE"),
        ("network_in", "network", "bytes/s", "system/network/received_bytes_count", "ALIGN_RATE"),
        ("network_out", "network", "bytes/s", "system/network/sent_bytes_count", "ALIGN_RATE"),
    ),
    not_offered={"cpu": f"{_SOURCE} (system/cpu/usage is in megacycles)", "uptime": _SOURCE},
    silent_when_idle=True,
)  # fmt: skip

KINDS = (SERVICE,)
