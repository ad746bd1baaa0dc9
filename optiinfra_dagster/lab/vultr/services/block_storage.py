"""Block Storage, and the Vultr File System."""

from __future__ import annotations

from typing import Any

from optiinfra_dagster.lab.values import digest
from optiinfra_dagster.lab.vultr.kind import LabKind, LabResource, by_size, common


def _show_block(one: LabResource) -> dict[str, Any]:
    return {
        **common(one),
        "cost": one.fleet.size / 10,
        "pending_charges": 1.25,
        "status": one.fleet.state or "active",
        "size_gb": one.fleet.size,
        "attached_to_instance": one.uuid("instance") if one.fleet.attached else "",
        "mount_id": f"{one.region}-{digest(one.seed, 'mount'):x}",
        "block_type": "high_perf",
        "bootable": False,
    }


def _show_file_system(one: LabResource) -> dict[str, Any]:
    return {
        **common(one),
        "status": one.fleet.state or "active",
        "tags": one.fleet.tags,
        "disk_type": "nvme",
        "storage_size": {"bytes": one.fleet.size * 2**30, "gb": one.fleet.size},
        "storage_used": {"bytes": one.fleet.used * 2**30, "gb": one.fleet.used},
        "billing": {"charges": 0.42, "monthly": one.fleet.size / 10},
    }


KINDS = (
    LabKind(
        name="vultr:block",
        operation="list-blocks",
        path="blocks",
        key="blocks",
        single="block",
        show=_show_block,
        product="Block Storage",
        monthly=by_size,
    ),
    LabKind(
        name="vultr:vfs",
        operation="list-vfs",
        path="vfs",
        key="vfs",
        single="vfs",
        show=_show_file_system,
        product="Vultr File System",
        monthly=by_size,
    ),
)
