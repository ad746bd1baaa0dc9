"""Block Storage, and the Vultr File System."""

from __future__ import annotations

from typing import Any

from optiinfra_dagster.lab.values import digest
from optiinfra_dagster.lab.vultr.kind import LabKind, LabResource, by_size, common


def _show_block(resource: LabResource) -> dict[str, Any]:
    return {
        **common(resource),
        "cost": resource.fleet.size / 10,
        "pending_charges": 1.25,
        "status": resource.fleet.state or "active",
        "size_gb": resource.fleet.size,
        "attached_to_instance": resource.uuid("instance") if resource.fleet.attached else "",
        "mount_id": f"{resource.region}-{digest(resource.seed, 'mount'):x}",
        "block_type": "high_perf",
        "bootable": False,
    }


def _show_file_system(resource: LabResource) -> dict[str, Any]:
    return {
        **common(resource),
        "status": resource.fleet.state or "active",
        "tags": resource.fleet.tags,
        "disk_type": "nvme",
        "storage_size": {"bytes": resource.fleet.size * 2**30, "gb": resource.fleet.size},
        "storage_used": {"bytes": resource.fleet.used * 2**30, "gb": resource.fleet.used},
        "billing": {"charges": 0.42, "monthly": resource.fleet.size / 10},
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
