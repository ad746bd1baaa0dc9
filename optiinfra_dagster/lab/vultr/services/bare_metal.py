"""Bare Metal."""

from __future__ import annotations

from typing import Any

from optiinfra_dagster.lab.values import digest
from optiinfra_dagster.lab.vultr.kind import LabCall, LabKind, LabPlans, LabResource, machine, machine_text, plan_price


def _show(resource: LabResource) -> dict[str, Any]:
    return {
        **machine(resource),
        "ram": f"{8192 * resource.fleet.vcpus} MB",
        "disk": "2x 240GB SSD",
        "cpu_count": resource.fleet.vcpus,
        "status": resource.fleet.state or "active",
        "mac_address": digest(resource.seed, "mac") % 2**48,
    }


_PRICE = plan_price("9.375")

KINDS = (
    LabKind(
        name="vultr:bare_metal",
        operation="list-baremetals",
        path="bare-metals",
        key="bare_metals",
        single="bare_metal",
        show=_show,
        call=LabCall(
            "get-bandwidth-baremetal",
            "bandwidth",
            "bandwidth",
            lambda figures, resource, _days, now: figures.bandwidth(resource, 30, now),  # it has no `date_range`
        ),
        plans=LabPlans("plans-metal", "list-metal-plans", "plans_metal", _PRICE, others=()),
        product="Bare Metal",
        monthly=lambda resource: _PRICE(resource.fleet.plan),
        describe=machine_text,
    ),
)
