"""Block Storage, and the Vultr File System: volumes of a size, priced by the GB."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_bool, as_dict, as_text, percent
from optiinfra_dagster.providers.vultr.kind import (
    PriceSource,
    VultrKind,
    amount,
    hourly_price,
    leading_number,
    not_offered,
    price_part,
    resource,
    status_of,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component, Price
    from optiinfra_dagster.providers.kind import PriceParts

_BLOCK, _FILE_SYSTEM = "vultr:block", "vultr:vfs"
_BLOCK_PRICES, _FILE_SYSTEM_PRICES = "block ", "vfs "


def _read_block(item: Item, account_id: str) -> Resource:
    state, attached_to = as_text(item.get("status")), as_text(item.get("attached_to_instance"))
    return resource(
        item,
        account_id,
        kind=_BLOCK,
        resource_type=ResourceType.VOLUME,
        state=state,
        status=status_of(state, active=Status.IN_USE if attached_to else Status.AVAILABLE),
        capacity=leading_number(item.get("size_gb")),
        unit="GiB",
        volume_type=as_text(item.get("block_type")),
        attached_to=attached_to,
        bootable=as_bool(item.get("bootable")),
        monthly_cost_usd=leading_number(item.get("cost")),
    )


def _size(item: Item, key: str) -> float | None:
    """A size in GiB: from the bytes where the answer has them, since `gb` is rounded."""
    size = as_dict(item, key)
    exact = leading_number(size.get("bytes"))
    return exact / 2**30 if exact else leading_number(size.get("gb"))


def _read_file_system(item: Item, account_id: str) -> Resource:
    state, size, used = as_text(item.get("status")), _size(item, "storage_size"), _size(item, "storage_used")
    return resource(
        item,
        account_id,
        kind=_FILE_SYSTEM,
        resource_type=ResourceType.VOLUME,
        state=state,
        status=status_of(state, active=Status.AVAILABLE),
        capacity=size,
        unit="GiB",
        utilization=percent(used, size),
        volume_type=as_text(item.get("disk_type")),
        monthly_cost_usd=leading_number(as_dict(item, "billing").get("monthly")),
    )


# --- Prices: of a GB, by the customer's own volumes, whose listings have the price of each ----------------------------


def _price_parts(prefix: str) -> PriceParts:
    def parts(resource: Resource) -> Iterator[Component]:
        volume_type = resource.metadata.get("volume_type")
        if resource.capacity and volume_type:
            yield price_part(f"{prefix}{volume_type} GB", resource.capacity)

    return parts


def _block_price(item: Item) -> tuple[Decimal | None, Decimal | None, str]:
    """The size, monthly price and type of a block."""
    return amount(item.get("size_gb")), amount(item.get("cost")), str(item.get("block_type") or "")


def _file_system_price(item: Item) -> tuple[Decimal | None, Decimal | None, str]:
    """The size, monthly price and type of a file system."""
    size, billing = item.get("storage_size"), item.get("billing")
    return (
        amount(size.get("gb")) if isinstance(size, Mapping) else None,
        amount(billing.get("monthly")) if isinstance(billing, Mapping) else None,
        str(item.get("disk_type") or ""),
    )


def _gigabyte_prices(
    prefix: str, price_of: Callable[[Item], tuple[Decimal | None, Decimal | None, str]]
) -> Callable[[Iterable[Any]], Iterator[Price]]:
    """A reader of the price of a GB, of the largest volume of each region and type: prices are rounded to cents."""

    def read(items: Iterable[Any]) -> Iterator[Price]:
        largest: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for item in items:
            if not isinstance(item, Mapping):
                continue
            size, monthly, volume_type = price_of(item)
            key = str(item.get("region", "")).lower(), f"{prefix}{volume_type} GB"
            if size and monthly and volume_type and size > largest.get(key, (Decimal(0),))[0]:
                largest[key] = size, monthly
        for (region, key_of_type), (gigabytes, cost) in largest.items():
            yield hourly_price(region, key_of_type, cost / gigabytes, "by the largest of the customer's own")

    return read


KINDS = (
    VultrKind(
        name=_BLOCK,
        resource_type=ResourceType.VOLUME,
        operation="list-blocks",
        path="blocks",
        key="blocks",
        to_resource=_read_block,
        price_parts=_price_parts(_BLOCK_PRICES),
        price_source=PriceSource(
            "list-blocks", "blocks", "blocks", _BLOCK_PRICES, _gigabyte_prices(_BLOCK_PRICES, _block_price)
        ),
        bill_service="Block Storage",
        bill_words=("block storage",),
        not_offered=not_offered(Figure.DISK_IO, Figure.RESPONSE_TIME, Figure.UPTIME),
        attachable=True,
    ),
    VultrKind(
        name=_FILE_SYSTEM,
        resource_type=ResourceType.VOLUME,
        operation="list-vfs",
        path="vfs",
        key="vfs",
        to_resource=_read_file_system,
        price_parts=_price_parts(_FILE_SYSTEM_PRICES),
        price_source=PriceSource(
            "list-vfs", "vfs", "vfs", _FILE_SYSTEM_PRICES, _gigabyte_prices(_FILE_SYSTEM_PRICES, _file_system_price)
        ),
        bill_service="Vultr File System",
        bill_words=("file system",),
        not_offered=not_offered(Figure.DISK_IO, Figure.RESPONSE_TIME, Figure.UPTIME),
    ),
)
