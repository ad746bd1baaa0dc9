"""Snapshots, which belong to no region."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabKind, LabResource


def _show(resource: LabResource) -> dict[str, Any]:
    is_complete = resource.fleet.state in {None, "complete"}
    return {
        "id": resource.id,
        "date_created": resource.created.isoformat(timespec="seconds"),
        "description": resource.name,
        "size": resource.fleet.size * 2**30 if is_complete else 0,
        "compressed_size": resource.fleet.used * 2**30 if is_complete else 0,
        "status": resource.fleet.state or "complete",
        "os_id": 2284,
        "app_id": 0,
    }


KINDS = (
    LabKind(
        name="vultr:snapshot",
        operation="list-snapshots",
        path="snapshots",
        key="snapshots",
        single="snapshot",
        show=_show,
        product="Snapshot",
        monthly=lambda resource: resource.fleet.size * Decimal("0.05"),
    ),
)
