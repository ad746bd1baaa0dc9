"""Reserved IPs, whose listing tells no time of creation."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabKind, LabResource


def _show(resource: LabResource) -> dict[str, Any]:
    return {
        "id": resource.id,
        "region": resource.region,
        "ip_type": "v4",
        "subnet": resource.address("reserved"),
        "subnet_size": 32,
        "label": resource.name,
        "instance_id": resource.uuid("instance") if resource.fleet.attached else "",
    }


KINDS = (
    LabKind(
        name="vultr:address",
        operation="list-reserved-ips",
        path="reserved-ips",
        key="reserved_ips",
        single="reserved_ip",
        show=_show,
        product="Reserved IP",
        monthly=lambda _resource: Decimal(3),
    ),
)
