"""Load balancers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from optiinfra_dagster.lab.values import digest
from optiinfra_dagster.lab.vultr.kind import LabKind, LabResource, common


def _show(one: LabResource) -> dict[str, Any]:
    rule = {"frontend_protocol": "https", "frontend_port": 443, "backend_protocol": "http", "backend_port": 80}
    return {
        **common(one),
        "status": one.fleet.state or "active",
        "ipv4": one.address("main"),
        "ipv6": one.address6,
        "generic_info": {
            "balancing_algorithm": "roundrobin",
            "ssl_redirect": True,
            "sticky_sessions": {"cookie_name": one.secret("cookie_name")},
            "proxy_protocol": False,
            "vpc": one.uuid("vpc"),
        },
        "health_check": {"protocol": "http", "port": 80, "path": f"/health?token={one.secret('path')}"},
        "has_ssl": True,
        "ssl": {"private_key": one.secret("private_key"), "certificate": one.secret("certificate")},
        "http2": True,
        "nodes": one.fleet.size,
        "forwarding_rules": [{"id": f"{digest(one.seed, 'rule'):016x}", **rule}],
        "firewall_rules": [],
        "instances": [one.uuid("instance")],
    }


KINDS = (
    LabKind(
        name="vultr:load_balancer",
        operation="list-load-balancers",
        path="load-balancers",
        key="load_balancers",
        single="load_balancer",
        acl="loadbalancer",
        show=_show,
        product="Load Balancer",
        monthly=lambda one: Decimal(10) * one.fleet.size,
    ),
)
