"""Spanner: its instances. Their price is not modelled."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, last_part, metric_rows
from optiinfra_dagster.providers.parsing import Item, as_number, as_text, facts


def _read_instance(data: Item, _place: Place) -> AssetFacts:
    config, units = last_part(data.get("config")), as_number(data.get("processingUnits"))
    return AssetFacts(
        region=config.removeprefix("regional-"),  # regional-us-central1, or the name of a multi-region such as nam3
        cloud_status=as_text(data.get("state")),
        capacity=units / 1000 if units else as_number(data.get("nodeCount")),  # 1000 processing units are a node
        labels=data.get("labels"),
        metadata=facts(
            engine="spanner",
            config=config,
            edition=data.get("edition"),
            instance_type=data.get("instanceType"),
            processing_units=units,
        ),
    )


def _in_several_regions(resource: Resource) -> str:
    """The reason why an instance has no load of its own; "" for one in a single region."""
    config = str(resource.metadata.get("config") or "")
    return (
        "" if config.startswith("regional-") else f"in {config or 'several regions'} each region has a load of its own"
    )


_SOURCE = "Spanner: metrics"

INSTANCE = GcpKind(
    name="gcp:spanner_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("spanner.googleapis.com/Instance",),
    read=_read_instance,
    unit="nodes",
    collection="instances",
    series_labels=lambda resource: (last_part(resource.resource_id),),
    # Each database has a part of the load; together they are the instance's.
    metrics=metric_rows(
        "spanner_instance", "instance_id", "spanner.googleapis.com/", _SOURCE,
        ("cpu_utilization", "cpu", "percent", "instance/cpu/utilization", "REDUCE_SUM", 100, "", "one region"),
        ("disk_utilization", "disk", "percent", "instance/storage/utilization", "ALIGN_MEAN", 100),
        ("response_time", "latency", "seconds", "api/request_latencies",
         "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99"),
        ("request_rate", "traffic", "requests/s", "api/api_request_count", "ALIGN_RATE"),
        ("network_in", "network", "bytes/s", "api/received_bytes_count", "ALIGN_RATE"),
        ("network_out", "network", "bytes/s", "api/sent_bytes_count", "ALIGN_RATE"),
    ),
    conditions={"one region": _in_several_regions},
    not_offered=dict.fromkeys(("memory", "disk_io", "uptime"), _SOURCE),
)  # fmt: skip

KINDS = (INSTANCE,)
