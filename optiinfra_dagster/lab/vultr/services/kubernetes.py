"""Kubernetes Engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabKind, LabLine, LabResource, charged, common, plan_price


def _show(resource: LabResource) -> dict[str, Any]:
    state = resource.fleet.state or "active"
    pools = []
    for n in range(resource.fleet.pools):
        nodes = [
            {
                "id": resource.uuid(f"node-{n}-{m}"),
                "label": f"{resource.name}-{n}-{m}",
                "status": "pending" if n == 0 and m < resource.fleet.pending_nodes else state,
            }
            for m in range(resource.fleet.size)
        ]
        pools.append(
            {
                "id": resource.uuid(f"pool-{n}"),
                "date_created": resource.created.isoformat(timespec="seconds"),
                "label": f"{resource.name}-{n}",
                "plan": resource.fleet.plan,
                "status": state,
                "node_quantity": resource.fleet.size,
                "min_nodes": 1,
                "max_nodes": resource.fleet.size * 2,
                "auto_scaler": True,
                "tag": "",
                "user_data": resource.secret("user_data"),
                "nodes": nodes,
            }
        )
    return {
        **common(resource),
        "cluster_subnet": "10.244.0.0/16",
        "service_subnet": "10.96.0.0/12",
        "ip": resource.address("main"),
        "endpoint": f"{resource.id}.vultr-k8s.com",
        "version": "v1.33.0+1",
        "status": state,
        "ha_controlplanes": False,
        "kube_config": resource.secret("kube_config"),
        "node_pools": pools,
    }


_PRICE = plan_price()


def _node_lines(kind: LabKind, resource: LabResource, start: datetime, end: datetime) -> Iterator[LabLine]:
    """The lines of the nodes, which are servers without a listing here: they are of no known resource."""
    for pool in range(resource.fleet.pools):
        for node in range(resource.fleet.size):
            text = f"node [{resource.name}-{pool}-{node}]"
            yield charged(kind.product, text, start, end, _PRICE(resource.fleet.plan), "")


KINDS = (
    LabKind(
        name="vultr:kubernetes",
        operation="list-kubernetes-clusters",
        path="kubernetes/clusters",
        key="vke_clusters",
        single="vke_cluster",
        show=_show,
        product="Vultr Cloud Compute",
        monthly=lambda resource: _PRICE(resource.fleet.plan),  # of a node
        lines=_node_lines,
    ),
)
