"""Kubernetes Engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabKind, LabLine, LabResource, charged, common, plan_price


def _show(one: LabResource) -> dict[str, Any]:
    state = one.fleet.state or "active"
    pools = []
    for n in range(one.fleet.pools):
        nodes = [
            {"id": one.uuid(f"node-{n}-{m}"), "label": f"{one.name}-{n}-{m}", "status": state}
            for m in range(one.fleet.size)
        ]
        pools.append(
            {
                "id": one.uuid(f"pool-{n}"),
                "date_created": one.created.isoformat(timespec="seconds"),
                "label": f"{one.name}-{n}",
                "plan": one.fleet.plan,
                "status": state,
                "node_quantity": one.fleet.size,
                "min_nodes": 1,
                "max_nodes": one.fleet.size * 2,
                "auto_scaler": True,
                "tag": "",
                "user_data": one.secret("user_data"),
                "nodes": nodes,
            }
        )
    return {
        **common(one),
        "cluster_subnet": "10.244.0.0/16",
        "service_subnet": "10.96.0.0/12",
        "ip": one.address("main"),
        "endpoint": f"{one.id}.vultr-k8s.com",
        "version": "v1.33.0+1",
        "status": state,
        "ha_controlplanes": False,
        "kube_config": one.secret("kube_config"),
        "node_pools": pools,
    }


_PRICE = plan_price()


def _node_lines(kind: LabKind, one: LabResource, start: datetime, end: datetime) -> Iterator[LabLine]:
    """The lines of the nodes, which are servers without a listing here: they are of no known resource."""
    for pool in range(one.fleet.pools):
        for node in range(one.fleet.size):
            text = f"node [{one.name}-{pool}-{node}]"
            yield charged(kind.product, text, start, end, _PRICE(one.fleet.plan), "")


KINDS = (
    LabKind(
        name="vultr:kubernetes",
        operation="list-kubernetes-clusters",
        path="kubernetes/clusters",
        key="vke_clusters",
        single="vke_cluster",
        show=_show,
        product="Vultr Cloud Compute",
        monthly=lambda one: _PRICE(one.fleet.plan),  # of a node
        lines=_node_lines,
    ),
)
