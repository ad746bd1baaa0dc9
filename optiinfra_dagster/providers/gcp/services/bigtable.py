"""Bigtable: instances, and the clusters that are their compute. Their price is not modelled.

Labels are an instance's, and so its clusters'.
"""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.gcp.kind import AssetFacts, GcpKind, Place, last_part, metric_rows, parent_of
from optiinfra_dagster.providers.parsing import Item, as_dict, as_number, as_text, facts


def _read_cluster(data: Item, place: Place) -> AssetFacts:
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        capacity=as_number(data.get("serveNodes")),
        metadata=facts(
            engine="bigtable",
            instance=parent_of(place.name),
            zone=place.zone,
            storage_type=data.get("defaultStorageType"),
            autoscaled=bool(as_dict(data, "clusterConfig", "clusterAutoscalingConfig")),
        ),
    )


def _read_instance(data: Item, _place: Place) -> AssetFacts:
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        labels=data.get("labels"),
        metadata=facts(engine="bigtable", instance_type=data.get("type")),
    )


_SOURCE = "Bigtable: metrics"

INSTANCE = GcpKind(
    name="gcp:bigtable_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("bigtableadmin.googleapis.com/Instance",),
    read=_read_instance,
    collection="instances",
    not_offered=dict.fromkeys(
        ("cpu", "memory", "disk_io", "network_io", "response_time", "uptime"),
        f"{_SOURCE} (its clusters have the figures)",
    ),
)

CLUSTER = GcpKind(
    name="gcp:bigtable_cluster",
    resource_type=ResourceType.DATABASE,
    asset_types=("bigtableadmin.googleapis.com/Cluster",),
    read=_read_cluster,
    unit="nodes",
    collection="clusters",
    labelled_by=INSTANCE.name,
    series_labels=lambda resource: (parent_of(resource.resource_id), last_part(resource.resource_id)),
    # The load is the cluster's; requests are those to the tables, of which each cluster serves its own.
    metrics=(
        *metric_rows(
            "bigtable_cluster", "instance cluster", "bigtable.googleapis.com/cluster/", _SOURCE,
            ("cpu_utilization", "cpu", "percent", "cpu_load", "ALIGN_MEAN", 100),
            ("disk_utilization", "disk", "percent", "storage_utilization", "ALIGN_MEAN", 100),
        ),
        *metric_rows(
            "bigtable_table", "instance cluster", "bigtable.googleapis.com/server/", _SOURCE,
            ("response_time", "latency", "seconds", "latencies",
             "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 0.001),
            ("request_rate", "traffic", "requests/s", "request_count", "ALIGN_RATE"),
            ("network_in", "network", "bytes/s", "received_bytes_count", "ALIGN_RATE"),
            ("network_out", "network", "bytes/s", "sent_bytes_count", "ALIGN_RATE"),
        ),
    ),
    not_offered=dict.fromkeys(("memory", "disk_io", "uptime"), _SOURCE),
)  # fmt: skip

KINDS = (INSTANCE, CLUSTER)
