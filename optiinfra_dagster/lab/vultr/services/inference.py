"""Serverless Inference."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from optiinfra_dagster.lab.vultr.kind import LabKind, LabResource


def _show(resource: LabResource) -> dict[str, Any]:
    return {
        "id": resource.id,
        "date_created": resource.created.isoformat(timespec="seconds"),
        "label": resource.name,
        "api_key": resource.secret("api_key"),
    }


KINDS = (
    LabKind(
        name="vultr:inference",
        operation="list-inference",
        path="inference",
        key="subscriptions",
        single="subscription",
        paged=False,
        show=_show,
        product="Serverless Inference",
        monthly=lambda _resource: Decimal(10),
    ),
)
