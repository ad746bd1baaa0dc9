"""AlloyDB: clusters, and the instances that are their compute. Their price is not modelled."""

from __future__ import annotations

from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    last_part,
    location_of,
    metric_rows,
    parent_of,
    short_link,
    within,
)
from optiinfra_dagster.providers.parsing import Item, as_number, as_text, dig, facts


def _read_cluster(data: Item, _place: Place) -> AssetFacts:
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        labels=data.get("labels"),
        metadata=facts(
            engine=data.get("databaseVersion"),
            cluster_type=data.get("clusterType"),
            network=short_link(data.get("network")),
        ),
    )


_LABELS, _SOURCE = "instance_id cluster_id location", "AlloyDB: system insights metrics reference"
_FIGURES = ("cpu", "memory", "disk_io", "network_io", "response_time", "uptime")

CLUSTER = GcpKind(
    name="gcp:alloydb_cluster",
    resource_type=ResourceType.DATABASE,
    asset_types=("alloydb.googleapis.com/Cluster",),
    read=_read_cluster,
    collection="clusters",
    not_offered=dict.fromkeys(_FIGURES, f"{_SOURCE} (its instances have the figures)"),
)


def _read_instance(data: Item, place: Place) -> AssetFacts:
    return AssetFacts(
        cloud_status=as_text(data.get("state")),
        capacity=as_number(dig(data, "machineConfig", "cpuCount")),
        labels=data.get("labels"),
        metadata=facts(
            engine="alloydb",
            cluster=parent_of(place.name),
            instance_type=data.get("instanceType"),
            availability_type=data.get("availabilityType"),
            zone=data.get("gceZone"),
            nodes=dig(data, "readPoolConfig", "nodeCount"),
        ),
    )


INSTANCE = GcpKind(
    name="gcp:alloydb_instance",
    resource_type=ResourceType.DATABASE,
    asset_types=("alloydb.googleapis.com/Instance",),
    read=_read_instance,
    unit="vCPU",
    collection="instances",
    series_labels=lambda resource: (
        last_part(resource.resource_id), within(resource, "clusters"), location_of(resource)
    ),
    metrics=(
        *metric_rows(
            "alloydb.googleapis.com/Instance", _LABELS, "alloydb.googleapis.com/instance/", _SOURCE,
            ("cpu_utilization", "cpu", "percent", "cpu/average_utilization", "ALIGN_MEAN", 100),
            ("memory_free", "memory", "bytes", "memory/min_available_memory", "ALIGN_MEAN"),
        ),
        *metric_rows(
            "alloydb.googleapis.com/InstanceNode", _LABELS, "alloydb.googleapis.com/node/", _SOURCE,
            ("network_in", "network", "bytes/s", "network/received_bytes_count", "ALIGN_RATE"),
            ("network_out", "network", "bytes/s", "network/sent_bytes_count", "ALIGN_RATE"),
            ("uptime", "uptime", "percent", "postgres/uptime", "ALIGN_MEAN", 100),
        ),
        *metric_rows(
            "alloydb.googleapis.com/Database", _LABELS, "alloydb.googleapis.com/database/postgresql/insights/", _SOURCE,
            ("response_time", "latency", "seconds", "aggregate/latencies",
             "REDUCE_PERCENTILE_50 REDUCE_PERCENTILE_95 REDUCE_PERCENTILE_99", 1e-6),
        ),
    ),
    not_offered={"disk_io": _SOURCE},
)  # fmt: skip

KINDS = (CLUSTER, INSTANCE)
