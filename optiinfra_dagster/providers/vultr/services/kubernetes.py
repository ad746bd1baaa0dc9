"""Kubernetes Engine: clusters with their node pools.

A cluster has no list price: its control plane is free unless it is highly available, and its nodes are instances.
"""

from __future__ import annotations

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_bool, as_dicts, as_text
from optiinfra_dagster.providers.vultr.kind import (
    VultrKind,
    as_list,
    leading_number,
    not_offered,
    resource,
    status_of,
)

_NAME = "vultr:kubernetes"


def _read(item: Item, account_id: str) -> Resource:
    """A cluster with its node pools, which are part of it: `vc2-2c-4gb:3,vc2-4c-8gb:1` are plans and their nodes.

    The first state that is not `active`, of the cluster, a pool or a node, is the cluster's word.
    """
    pools = as_dicts(item.get("node_pools"))
    nodes_of_pools = [node for pool in pools for node in as_dicts(pool.get("nodes"))]
    states = [as_text(part.get("status")) for part in (item, *pools, *nodes_of_pools)]
    state = next((word for word in states if word and word.lower() != "active"), states[0])
    nodes = [_nodes(pool) for pool in pools]
    sizes = sorted(f"{as_text(pool.get('plan'))}:{count:.0f}" for pool, count in zip(pools, nodes, strict=True))
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.KUBERNETES,
        state=state,
        status=status_of(state, active=Status.RUNNING),
        capacity=sum(nodes) if isinstance(item.get("node_pools"), list) else None,
        unit="nodes",
        version=as_text(item.get("version")),
        high_availability=as_bool(item.get("ha_controlplanes")),
        node_pools=len(pools),
        node_plans=",".join(sizes),
        auto_scaler=any(pool.get("auto_scaler") is True for pool in pools),
        firewall_group_id=as_text(item.get("firewall_group_id")),
    )


def _nodes(pool: Item) -> float:
    quantity = leading_number(pool.get("node_quantity"))
    return float(len(as_list(pool, "nodes"))) if quantity is None else quantity


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.KUBERNETES,
        operation="list-kubernetes-clusters",
        path="kubernetes/clusters",
        key="vke_clusters",
        to_resource=_read,
        not_offered=not_offered(*Figure),
        bill_words=("kubernetes",),
    ),
)
