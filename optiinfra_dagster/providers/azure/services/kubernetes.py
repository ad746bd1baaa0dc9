"""Kubernetes clusters: AKS, and OpenShift in its present and its third version."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.azure.kind import (
    AzureKind,
    Columns,
    Facts,
    MetricRow,
    Parts,
    Row,
    arm_id,
    document,
    fact_text,
    not_among,
    price_part,
    state_word,
    status_of,
)
from optiinfra_dagster.providers.parsing import as_bool, as_dicts, as_number, as_text, as_texts, dig, facts

_SERVICE, _POOL = "Azure Kubernetes Service", "azure:aks_pool"
_COLUMNS: Columns = {
    "uid": ("properties.resourceUID",),
    "state": ("properties.powerState.code",),
    "tier": ("sku.tier",),
    "version": (
        "properties.kubernetesVersion",
        "properties.clusterProfile.version",
        "properties.openShiftVersion",
    ),
    "nodeResourceGroup": ("properties.nodeResourceGroup",),
    "pools": ("properties.agentPoolProfiles", "properties.workerProfiles"),
}


def _read(row: Row) -> Facts:
    pools = as_dicts(row.get("pools"))
    nodes = [as_number(pool.get("count")) for pool in pools]
    counted = [count for count in nodes if count is not None]
    return Facts(
        word=state_word(row),
        ready=Status.RUNNING,
        capacity=sum(counted) if counted and len(counted) == len(nodes) else None,
        unit="nodes",
        metadata=facts(
            version=row.get("version"),
            tier=row.get("tier"),
            node_pools=len(pools),
            node_types=",".join(sorted(set(as_texts([pool.get("vmSize") for pool in pools])))),
            autoscaled_pools=sum(pool.get("enableAutoScaling") is True for pool in pools),
            node_resource_group=row.get("nodeResourceGroup"),
        ),
    )


def _node_pools(row: Row, cluster: Resource) -> Iterator[Resource]:
    """The pools of an AKS cluster. Their nodes are counted with it, and listed as scale sets."""
    for pool in as_dicts(row.get("pools")):
        if not (name := as_text(pool.get("name"))):
            continue
        word = as_text(dig(pool, "powerState", "code")) or as_text(pool.get("provisioningState"))
        yield replace(
            cluster,
            kind=_POOL,
            resource_id=f"{cluster.resource_id}/agentpools/{arm_id(name)}",
            resource_name=name,
            status=status_of(Facts(word, ready=Status.RUNNING)),
            cloud_status=word,
            created_at=None,
            capacity=None,
            unit="",
            instance_uid="",
            metadata=facts(
                cluster=cluster.resource_name,
                nodes=as_number(pool.get("count")),
                instance_type=pool.get("vmSize"),
                mode=pool.get("mode"),
                priority=pool.get("scaleSetPriority"),
                platform=pool.get("osType"),
                autoscaled=as_bool(pool.get("enableAutoScaling")),
                nodes_min=as_number(pool.get("minCount")),
                nodes_max=as_number(pool.get("maxCount")),
            ),
        )


def _parts(resource: Resource) -> Parts:
    """The uptime tier, for nodes are machines and scale sets of their own. Free and stopped clusters cost nothing."""
    if fact_text(resource, "tier").lower() == "standard" and resource.status is not Status.STOPPED:
        yield price_part(_SERVICE, _SERVICE, "Standard Uptime SLA")


_UNMEASURED = dict.fromkeys(
    ("cpu", "memory", "disk_io", "network_io", "response_time", "uptime"),
    "Azure Monitor: index of supported metrics, which has no OpenShift clusters",
)

KINDS = (
    AzureKind(
        name="azure:aks",
        parts=_node_pools,
        azure_type="Microsoft.ContainerService/managedClusters",
        resource_type=ResourceType.KUBERNETES,
        columns=_COLUMNS,
        read=_read,
        # Averages of the nodes.
        metric_rows=(
            MetricRow("cpu_utilization", "cpu", "percent", "node_cpu_usage_percentage", "Average"),
            MetricRow("memory_utilization", "memory", "percent", "node_memory_working_set_percentage", "Average"),
            MetricRow("disk_utilization", "disk", "percent", "node_disk_usage_percentage", "Average"),
        ),
        price_parts=_parts,
        bill_service=_SERVICE,
        not_offered=not_among(
            "Microsoft.ContainerService/managedClusters",
            "response_time",
            "uptime",
            disk_io="it is told as a share of what nodes have, and as space",
            network_io="over which time node_network_in_bytes and its like count is not told",
        ),
    ),
    AzureKind(
        name=_POOL,
        azure_type="Microsoft.ContainerService/managedClusters/agentPools",
        listed=False,
        resource_type=ResourceType.KUBERNETES,
        read=_read,
        not_offered=dict.fromkeys(
            ("cpu", "memory", "disk_io", "network_io", "response_time", "uptime"),
            f"{document('Microsoft.ContainerService/managedClusters')}: what a pool does is told of its scale set",
        ),
    ),
    AzureKind(
        name="azure:openshift",
        azure_type="Microsoft.RedHatOpenShift/openShiftClusters",
        resource_type=ResourceType.KUBERNETES,
        columns=_COLUMNS,
        read=_read,
        not_offered=_UNMEASURED,
    ),
    AzureKind(
        name="azure:openshift_v3",
        azure_type="Microsoft.ContainerService/openShiftManagedClusters",
        resource_type=ResourceType.KUBERNETES,
        columns=_COLUMNS,
        read=_read,
        not_offered=_UNMEASURED,
    ),
)
