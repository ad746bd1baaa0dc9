"""Private networks, which cost nothing."""

from __future__ import annotations

from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabKind, LabResource, common


def _show(resource: LabResource) -> dict[str, Any]:
    shown = common(resource)
    return {
        "id": shown["id"],
        "region": shown["region"],
        "date_created": shown["date_created"],
        "description": resource.name,
        "v4_subnet": f"10.{resource.index % 250 + 1}.96.0",
        "v4_subnet_mask": 20,
    }


KINDS = (LabKind(name="vultr:vpc", operation="list-vpcs", path="vpcs", key="vpcs", single="vpc", show=_show),)
