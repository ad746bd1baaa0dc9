"""Snapshots: images of a machine's disk, kept until somebody deletes them. They belong to no region."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.parsing import Item, as_text
from optiinfra_dagster.providers.vultr.kind import (
    VultrKind,
    hourly_price,
    leading_number,
    price_part,
    resource,
    status_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component

_NAME = "vultr:snapshot"
_GIGABYTE = "snapshot GB"
# USD, by the size of the image:
# https://docs.vultr.com/support/platform/billing/does-vultr-charge-for-stored-snapshots
_GIGABYTE_MONTHLY = Decimal("0.05")


def _gibibytes(value: object) -> float | None:
    number = leading_number(value)
    return None if number is None else number / 2**30


def _read(item: Item, account_id: str) -> Resource:
    state = as_text(item.get("status"))
    return resource(
        item,
        account_id,
        kind=_NAME,
        resource_type=ResourceType.SNAPSHOT,
        state=state,
        status=status_of(state, active=Status.AVAILABLE),
        name=as_text(item.get("description")),  # the portal shows it as the name
        capacity=_gibibytes(item.get("size")) or None,  # 0 until it is complete
        unit="GiB",
        snapshot_of="a machine",  # Vultr does not tell which
        compressed_gib=_gibibytes(item.get("compressed_size")) or None,
    )


def _price_parts(resource: Resource) -> Iterator[Component]:
    if resource.capacity:
        yield price_part(_GIGABYTE, resource.capacity)


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.SNAPSHOT,
        operation="list-snapshots",
        path="snapshots",
        key="snapshots",
        to_resource=_read,
        price_parts=_price_parts,
        fixed_price=hourly_price("", _GIGABYTE, _GIGABYTE_MONTHLY, "by the documentation"),
        bill_service="Snapshot",
        bill_words=("snapshot",),
    ),
)
