"""Cloud Compute."""

from __future__ import annotations

from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabCall, LabKind, LabPlans, LabResource, machine, machine_text, plan_price


def _show(one: LabResource) -> dict[str, Any]:
    return {
        **machine(one),
        "ram": 2048 * one.fleet.vcpus,
        "disk": 40 * one.fleet.vcpus,
        "vcpu_count": one.fleet.vcpus,
        "status": "active",
        "allowed_bandwidth": 3000,
        "power_status": one.fleet.state or "running",
        "server_status": one.fleet.server,
        "internal_ip": one.address("internal"),
        "kvm": f"https://my.vultr.com/subs/vps/novnc/api.php?data={one.secret('kvm')}",
        "hostname": one.name,
        "tag": one.fleet.tags[0] if one.fleet.tags else "",
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
            lambda figures, one, days, now: figures.bandwidth(one, days, now),
        ),
        plans=LabPlans("plans", "list-plans", "plans", _PRICE),
        product="Vultr Cloud Compute",
        monthly=lambda one: _PRICE(one.fleet.plan),
        describe=machine_text,
    ),
)
