"""Cloud Compute."""

from __future__ import annotations

from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabCall, LabKind, LabPlans, LabResource, machine, machine_text, plan_price


def _show(resource: LabResource) -> dict[str, Any]:
    return {
        **machine(resource),
        "ram": 2048 * resource.fleet.vcpus,
        "disk": 40 * resource.fleet.vcpus,
        "vcpu_count": resource.fleet.vcpus,
        "status": "active",
        "allowed_bandwidth": 3000,
        "power_status": resource.fleet.state or "running",
        "server_status": resource.fleet.server,
        "internal_ip": resource.address("internal"),
        "kvm": f"https://my.vultr.com/subs/vps/novnc/api.php?data={resource.secret('kvm')}",
        "hostname": resource.name,
        "tag": resource.fleet.tags[0] if resource.fleet.tags else "",
        "firewall_group_id": "",
    }


_PRICE = plan_price()

KINDS = (
    LabKind(
        name="vultr:instance",
        operation="list-instances",
        path="instances",
        key="instances",
        single="instance",
        show=_show,
        call=LabCall(
            "get-instance-bandwidth",
            "bandwidth",
            "bandwidth",
            lambda figures, resource, days, now: figures.bandwidth(resource, days, now),
        ),
        plans=LabPlans("plans", "list-plans", "plans", _PRICE),
        product="Vultr Cloud Compute",
        monthly=lambda resource: _PRICE(resource.fleet.plan),
        describe=machine_text,
    ),
)
