"""Google Kubernetes Engine: clusters and their node pools. Nodes are instances of Compute Engine, with its price."""

from __future__ import annotations

from decimal import Decimal

from optiinfra_dagster.model.cost import Component
from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.gcp.kind import (
    AssetFacts,
    GcpKind,
    Place,
    PriceService,
    Sku,
    by_name_and_location,
    length,
    metric_rows,
    parent_of,
)
from optiinfra_dagster.providers.parsing import Item, as_bool, as_dict, as_number, as_text, as_texts, dig, facts

PRICES = PriceService("CCD8-9BF1-090E")


def _read_cluster(data: Item, place: Place) -> AssetFacts:
    return AssetFacts(
        cloud_status=as_text(data.get("status")),
        capacity=as_number(data.get("currentNodeCount")),
        labels=data.get("resourceLabels"),
        metadata=facts(
            version=data.get("currentMasterVersion"),
            zone=place.zone,
            autopilot=dig(data, "autopilot", "enabled") is True,
            release_channel=dig(data, "releaseChannel", "channel"),
            network=data.get("network"),
            subnetwork=data.get("subnetwork"),
            locations=",".join(as_texts(data.get("locations"))),
            node_pools=length(data.get("nodePools")),
            private_nodes=dig(data, "privateClusterConfig", "enablePrivateNodes"),
        ),
    )


def _price_parts(resource: Resource) -> list[Component]:
    """The fee for the cluster itself."""
    autopilot = bool(resource.metadata.get("autopilot"))
    mode = "autopilot" if autopilot else "zonal" if resource.metadata.get("zone") else "regional"
    return [Component(f"gke {mode}", Decimal(1))]


_SOURCE = "GKE: system metrics"

CLUSTER = GcpKind(
    name="gcp:gke_cluster",
    resource_type=ResourceType.KUBERNETES,
    asset_types=("container.googleapis.com/Cluster",),
    read=_read_cluster,
    unit="nodes",
    collection="clusters",
    series_labels=by_name_and_location,
    # The mean of the nodes, and the sum of their traffic. Evictable memory is cache, which the kernel gives back.
    # Uptime is the share of the time in which its nodes are ready: one that waits to be makes it less than 100 percent.
    metrics=metric_rows(
        "k8s_node", "cluster_name location", "kubernetes.io/node/", _SOURCE,
        ("cpu_utilization", "cpu", "percent", "cpu/allocatable_utilization", "ALIGN_MEAN", 100),
        ("memory_utilization", "memory", "percent", "memory/allocatable_utilization", "ALIGN_MEAN", 100,
         'metric.labels.memory_type = "non-evictable"'),
        ("network_in", "network", "bytes/s", "network/received_bytes_count", "ALIGN_RATE"),
        ("network_out", "network", "bytes/s", "network/sent_bytes_count", "ALIGN_RATE"),
        ("uptime", "uptime", "percent", "status_condition", "ALIGN_FRACTION_TRUE", 100,
         'metric.labels.condition = "Ready" AND metric.labels.status = "True"'),
    ),
    not_offered=dict.fromkeys(("disk_io", "response_time"), _SOURCE),
    price_parts=_price_parts,
    skus=tuple(
        Sku(f"gke {mode.lower()}", PRICES, f"{mode} Kubernetes Clusters") for mode in ("Zonal", "Regional", "Autopilot")
    ),
    bill_service="Kubernetes Engine",
)  # fmt: skip


def _read_node_pool(data: Item, place: Place) -> AssetFacts:
    config, scaling = as_dict(data, "config"), as_dict(data, "autoscaling")
    per_zone, zones = as_number(data.get("initialNodeCount")), len(as_texts(data.get("locations"))) or 1
    return AssetFacts(
        cloud_status=as_text(data.get("status")),
        # A resize by hand changes this number too; under the autoscaler the pool does not tell its size.
        capacity=None if per_zone is None or scaling.get("enabled") is True else per_zone * zones,
        labels=config.get("resourceLabels"),
        metadata=facts(
            cluster=parent_of(place.name),
            version=data.get("version"),
            zone=place.zone,
            machine_type=config.get("machineType"),
            image_type=config.get("imageType"),
            disk_type=config.get("diskType"),
            disk_gib=config.get("diskSizeGb"),
            spot=as_bool(config.get("spot")),
            preemptible=as_bool(config.get("preemptible")),
            autoscaled=as_bool(scaling.get("enabled")),
            min_nodes=scaling.get("minNodeCount"),
            max_nodes=scaling.get("maxNodeCount"),
        ),
    )


NODE_POOL = GcpKind(
    name="gcp:gke_node_pool",
    resource_type=ResourceType.KUBERNETES,
    asset_types=("container.googleapis.com/NodePool",),
    read=_read_node_pool,
    unit="nodes",
    collection="nodePools",
    not_offered=dict.fromkeys(
        ("cpu", "memory", "disk_io", "network_io", "response_time", "uptime"),
        f"{_SOURCE} (its nodes are instances, which have the figures)",
    ),
)

KINDS = (CLUSTER, NODE_POOL)
