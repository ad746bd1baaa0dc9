"""Container registries."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabKind, LabResource


def _storage(gigabytes: int) -> dict[str, Any]:
    return {"bytes": gigabytes * 2**30, "mb": gigabytes * 1024, "gb": gigabytes, "tb": round(gigabytes / 1024, 2)}


def _monthly(resource: LabResource) -> Decimal:
    return Decimal(resource.fleet.size) / 4


def _show(resource: LabResource) -> dict[str, Any]:
    created = f"{resource.created:%Y-%m-%d %H:%M:%S}"
    return {
        "id": resource.id,
        "name": resource.name,
        "urn": f"{resource.region}.vultrcr.com/{resource.name}",
        "storage": {"used": _storage(resource.fleet.used), "allowed": _storage(resource.fleet.size)},
        "date_created": created,
        "public": False,
        "root_user": {
            "id": 635,
            "username": resource.secret("username"),
            "password": resource.secret("password"),
            "root": True,
            "added_at": created,
        },
        "metadata": {
            "region": {"id": 3, "name": resource.region, "urn": f"{resource.region}.vultrcr.com", "public": True},
            "subscription": {"billing": {"monthly_price": float(_monthly(resource)), "pending_charges": 0.5}},
        },
    }


KINDS = (
    LabKind(
        name="vultr:registry",
        operation="list-registries",
        path="registries",
        key="registries",
        single="registry",
        show=_show,
        product="Container Registry",
        monthly=_monthly,
    ),
)
