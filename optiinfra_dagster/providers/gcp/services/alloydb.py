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


CLUSTER = GcpKind(
    name="gcp:alloydb_cluster",
    resource_type=ResourceType.DATABASE,
    asset_types=("alloydb.googleapis.com/Cluster",),
    read=_read_cluster,
    collection="clusters",
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
            "alloydb.googleapis.com/Instance", "instance_id cluster_id location", "alloydb.googleapis.com/instance/",
            "AlloyDB: system insights metrics reference",
            ("cpu_utilization", "cpu", "percent", "cpu/average_utilization", "ALIGN_MEAN", 100),
            ("memory_free", "memory", "bytes", "memory/min_available_memory", "ALIGN_MEAN"),
        ),
    ),
)  # fmt: skip

KINDS = (CLUSTER, INSTANCE)
