"""Object Storage."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabKind, LabResource, common


def _show(resource: LabResource) -> dict[str, Any]:
    return {
        **common(resource),
        "cluster_id": 2,
        "status": resource.fleet.state or "active",
        "s3_hostname": f"{resource.region}1.vultrobjects.com",
        "s3_access_key": resource.secret("s3_access_key"),
        "s3_secret_key": resource.secret("s3_secret_key"),
    }


KINDS = (
    LabKind(
        name="vultr:object_storage",
        operation="list-object-storages",
        path="object-storage",
        key="object_storages",
        single="object_storage",
        acl="objstore",
        show=_show,
        product="Object Storage",
        monthly=lambda _resource: Decimal(18),
    ),
)
