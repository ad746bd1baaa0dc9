"""Container registries: images of containers, in plans that allow a size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.providers.figures import Figure
from optiinfra_dagster.providers.parsing import Item, as_bool, as_dict, as_text, dig, percent
from optiinfra_dagster.providers.vultr.kind import (
    PriceSource,
    VultrKind,
    amount,
    hourly_price,
    leading_number,
    not_offered,
    price_part,
    resource,
)

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Component, Price

_NAME = "vultr:registry"
_PRICES = "registry "


def _size(item: Item, which: str) -> float | None:
    number = leading_number(dig(item, "storage", which, "bytes"))
    return None if number is None else number / 2**30


def _read(item: Item, account_id: str) -> Resource:
    allowed = _size(item, "allowed")
    region = as_text(dig(item, "metadata", "region", "name")) or as_text(item.get("region"))
    return resource(
        {**item, "region": region},
        account_id,
        kind=_NAME,
        resource_type=ResourceType.OBJECT_STORAGE,
        status=Status.AVAILABLE,  # the API tells no state
        name=as_text(item.get("name")),
        capacity=allowed,
        unit="GiB",
        utilization=percent(_size(item, "used"), allowed),
        public=as_bool(item.get("public")),
        monthly_cost_usd=leading_number(_billing(item).get("monthly_price")),
    )


def _billing(item: Item) -> Item:
    return as_dict(as_dict(as_dict(item, "metadata"), "subscription"), "billing")


# --- Prices: of a plan, by the customer's own registries, whose listing has the price of each -------------------------


def _price_parts(resource: Resource) -> Iterator[Component]:
    if resource.capacity:
        yield price_part(_price_key(resource.capacity))


def _price_key(gibibytes: float) -> str:
    return f"{_PRICES}{gibibytes:g} GB"


def _prices(items: Iterable[Any]) -> Iterator[Price]:
    for item in items:
        if isinstance(item, Mapping):
            allowed, monthly = _size(item, "allowed"), amount(_billing(item).get("monthly_price"))
            if allowed and monthly is not None:
                yield hourly_price("", _price_key(allowed), monthly, "by the customer's own")


KINDS = (
    VultrKind(
        name=_NAME,
        resource_type=ResourceType.OBJECT_STORAGE,
        operation="list-registries",
        path="registries",
        key="registries",
        to_resource=_read,
        price_parts=_price_parts,
        price_source=PriceSource("list-registries", "registries", "registries", _PRICES, _prices),
        bill_service="Container Registry",
        bill_words=("registry",),
        not_offered=not_offered(Figure.NETWORK_IO, Figure.RESPONSE_TIME, Figure.UPTIME),
    ),
)
