"""Google Kubernetes Engine: clusters and their node pools."""

from __future__ import annotations

from decimal import Decimal

from optiinfra_dagster.lab.gcp.kind import (
    SECRET,
    Child,
    LabAsset,
    Labels,
    LabKind,
    Shape,
    Shown,
    address,
    in_project,
    published,
)
from optiinfra_dagster.lab.gcp.pricelist import HOUR, LabSku, PriceService

_PRICES = PriceService("CCD8-9BF1-090E")


def _node_config(asset: LabAsset) -> Shown:
    return {
        "machineType": asset.fleet.type or "e2-medium",
        "diskSizeGb": 100,
        "diskType": "pd-balanced",
        "imageType": "COS_CONTAINERD",
        "serviceAccount": "default",
        "oauthScopes": ["https://www.googleapis.com/auth/devstorage.read_only"],
        "metadata": {"disable-legacy-endpoints": "true", "startup-script": SECRET},
        "labels": {"note": SECRET},
        "shieldedInstanceConfig": {"enableIntegrityMonitoring": True},
    }


def _zones(asset: LabAsset) -> list[str]:
    return [f"{asset.region}-{zone}" for zone in "abc"] if asset.fleet.regional else [asset.zone]


def _gke_cluster(asset: LabAsset) -> Shown:
    """A Kubernetes cluster; its node pools are assets of their own too."""
    per_zone = asset.fleet.size or 1
    return {
        "name": asset.name,
        "description": SECRET,
        "selfLink": f"https://container.googleapis.com/v1/{asset.path}",
        "id": f"{asset.seed:016x}",
        "location": asset.region if asset.fleet.regional else asset.zone,
        "zone": asset.region if asset.fleet.regional else asset.zone,
        "locations": _zones(asset),
        "status": asset.fleet.state or "RUNNING",
        "statusMessage": SECRET,
        "createTime": asset.created.isoformat(timespec="seconds"),
        "currentMasterVersion": asset.fleet.engine or "1.30.5-gke.1014001",
        "currentNodeCount": per_zone * len(_zones(asset)) * asset.fleet.node_pools,
        "endpoint": address(asset),
        "network": "default",
        "subnetwork": "default",
        "masterAuth": {
            "username": SECRET,
            "password": SECRET,
            "clientCertificate": SECRET,
            "clientKey": SECRET,
            "clusterCaCertificate": SECRET,
        },
        "nodeConfig": _node_config(asset),
        "nodePools": [
            {"name": f"pool-{n + 1}", "config": _node_config(asset), "initialNodeCount": per_zone}
            for n in range(asset.fleet.node_pools)
        ],
        "resourceLabels": asset.fleet.tags,
        "releaseChannel": {"channel": "REGULAR"},
        "autopilot": {},
        "databaseEncryption": {"state": "DECRYPTED", "keyName": SECRET},
        "notificationConfig": {"pubsub": {"topic": SECRET}},
        "privateClusterConfig": {"enablePrivateNodes": True, "privateEndpoint": address(asset)},
    }


def _nodes(asset: LabAsset) -> list[Labels]:
    count = (asset.fleet.size or 1) * asset.fleet.node_pools * len(_zones(asset))
    return [Labels({}, {"node_name": f"gke-{asset.name}-{n}"}) for n in range(count)]


def _memory_of_nodes(asset: LabAsset) -> list[Labels]:
    types = ("evictable", "non-evictable")
    return [Labels({"memory_type": name}, node.resource) for node in _nodes(asset) for name in types]


def _conditions(asset: LabAsset) -> list[Labels]:
    """A series for each condition of a node and each answer to it, of which one is true at a time."""
    series = []
    for n, node in enumerate(_nodes(asset)):
        answers = {"Ready": "False" if n < asset.fleet.pending else "True", "DiskPressure": "False"}
        for condition, answer in answers.items():
            for status in ("True", "False", "Unknown"):
                labels = {"condition": condition, "status": status}
                series.append(Labels(labels, node.resource, share=float(status == answer)))
    return series


CLUSTER = LabKind(
    name="gcp:gke_cluster",
    shapes=(Shape("container.googleapis.com/Cluster", "container", "{at}/clusters/{name}"),),
    describe=_gke_cluster,
    children=lambda asset: [Child("gcp:gke_node_pool", f"pool-{i + 1}") for i in range(asset.fleet.node_pools)],
    metrics=published(
        "k8s_node", "kubernetes.io/node/",
        ("cpu/allocatable_utilization", "GAUGE", "DOUBLE", 0.02, 0.9, _nodes),
        ("memory/allocatable_utilization", "GAUGE", "DOUBLE", 0.1, 0.45, _memory_of_nodes),
        ("network/received_bytes_count", "CUMULATIVE", "INT64", 1e3, 9e7, _nodes),
        ("network/sent_bytes_count", "CUMULATIVE", "INT64", 1e3, 9e7, _nodes),
        ("status_condition", "GAUGE", "BOOL", 0, 1, _conditions, True),
    ),
    labels=lambda asset: in_project(asset) | {"cluster_name": asset.name, "location": asset.location},
    skus=(
        LabSku(_PRICES, "Extended Period Kubernetes Clusters", HOUR, "0.5", ("global",)),
        LabSku(_PRICES, "Zonal Kubernetes Clusters", HOUR, "0.1", ("global",)),
        LabSku(_PRICES, "Regional Kubernetes Clusters", HOUR, "0.1", ("global",)),
    ),
    bill_service="Kubernetes Engine",
    hourly=lambda _asset: Decimal("0.1"),
)  # fmt: skip


def _gke_node_pool(asset: LabAsset) -> Shown:
    """A node pool of a Kubernetes cluster."""
    return {
        "name": asset.name,
        "selfLink": f"https://container.googleapis.com/v1/{asset.path}",
        "config": _node_config(asset),
        "initialNodeCount": asset.fleet.size or 1,
        "locations": _zones(asset),
        "status": "RUNNING",
        "statusMessage": SECRET,
        "version": asset.fleet.engine or "1.30.5-gke.1014001",
        "management": {"autoUpgrade": True, "autoRepair": True},
        "maxPodsConstraint": {"maxPodsPerNode": "110"},
        "podIpv4CidrSize": 24,
    }


NODE_POOL = LabKind(
    name="gcp:gke_node_pool",
    shapes=(Shape("container.googleapis.com/NodePool", "container", "{at}/clusters/{parent}/nodePools/{name}"),),
    describe=_gke_node_pool,
    in_fleets=False,
)

KINDS = (CLUSTER, NODE_POOL)
