"""What things cost on Vultr by its price list, per hour.

Plans have a monthly price. An hour costs a 672nd of it, and a month at most the whole; of GPU plans it is a 730th
(https://docs.vultr.com/support/platform/billing/how-am-i-billed-for-my-servers, which also says that stopped servers
cost as much as running ones). Volumes have no price list: what a GB costs is taken from the customer's own volumes,
whose listings tell their price. Load balancers have none either: `LOAD_BALANCER_MONTHLY` stands for it.

Not priced: object storage, which is billed by what is used; the control plane of a Kubernetes cluster, which is free
unless it is highly available, and its nodes, which are instances of their own; traffic; licences of software.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Component, Price, PriceList
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.vultr.account import account_name
from optiinfra_dagster.providers.vultr.client import open_account
from optiinfra_dagster.providers.vultr.kinds import pages

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount

HOURS, GPU_HOURS = 672, 730  # of a month's price
LOAD_BALANCER_MONTHLY = Decimal(10)  # USD a node: the invoice in Vultr's OpenAPI document, 720 hours of 0.0149 for 10
_NODE = "load balancer node"
_BACKUPS = Decimal("1.2")  # automatic backups cost a fifth of the plan
_SECONDS = 120.0
_PLACES = Decimal("1e-15")

Item = Mapping[str, Any]


def components(resource: Resource) -> list[Component]:
    """What a resource's price is made of; stopped ones cost the same."""
    facts, one = resource.metadata, Decimal(1)
    plan, size = facts.get("plan"), resource.capacity
    match resource.kind:
        case "vultr:instance" if plan:
            with_backups = "auto_backups" in str(facts.get("features", "")).split(",")
            return [Component(str(plan), _BACKUPS if with_backups else one)]
        case "vultr:bare_metal" if plan:
            return [Component(f"bare metal {plan}", one)]
        case "vultr:database" if plan:
            return [Component(f"database {plan}", one)]
        case "vultr:block" | "vultr:vfs" if size and facts.get("volume_type"):
            return [Component(f"{resource.kind.partition(':')[2]} {facts['volume_type']} GB", Decimal(str(size)))]
        case "vultr:load_balancer":
            return [Component(_NODE, Decimal(str(size or 1)))]
    return []


# What bills call the product that a kind is; instances of other families have names of their own there.
SERVICES: Mapping[str, str] = {
    "vultr:instance": "Vultr Cloud Compute",
    "vultr:bare_metal": "Bare Metal",
    "vultr:database": "Managed Database",
    "vultr:block": "Block Storage",
    "vultr:vfs": "Vultr File System",
    "vultr:load_balancer": "Load Balancer",
}


def fetch(
    _customer_id: str, accounts: Sequence[VultrAccount], wanted: Collection[tuple[str, str]], meter: Meter
) -> PriceList:
    """The list prices of what is wanted, by (region, key): each of the first account that tells it.

    Plans cost the same for all; what a GB of a volume costs, only an account that has one tells.
    """
    found: dict[tuple[str, str], Price] = {}
    given = PriceList()
    if any(key == _NODE for _, key in wanted):
        found["", _NODE] = _price("", _NODE, LOAD_BALANCER_MONTHLY, "by the documentation")
    for account in accounts:
        lacking = {(region, key) for region, key in wanted if found.keys().isdisjoint({(region, key), ("", key)})}
        try:
            opened = open_account(account, _SECONDS)
            for what in sorted({_list_of(key) for _, key in lacking}):
                operation, path, list_key, read = _LISTS[what]
                items = pages(opened, meter, operation, path, list_key, "subscriptions_view", money=True)
                keys = {key for _, key in lacking}
                found |= {(one.region, one.key): one for one in read(items) if one.key in keys}
        except CloudError as error:
            given.problems.append(Problem(account_name(account), "", "", error.cause, str(error)))
        except ConfigError as error:
            given.problems.append(Problem(account_name(account), "", "", Cause.CONFIG, str(error)))
    given.prices = list(found.values())
    return given


def _list_of(key: str) -> str:
    """Which list tells the price of a key."""
    for word in ("bare metal", "database", "block", "vfs"):
        if key.startswith(f"{word} "):
            return word
    return "plan"


def _price(region: str, key: str, monthly: Decimal, description: str, hours: int = HOURS) -> Price:
    return Price(region, key, (monthly / hours).quantize(_PLACES), "USD", f"{monthly:f} USD a month {description}")


def _plans(prefix: str = "") -> Any:
    def read(items: Iterator[Any]) -> Iterator[Price]:
        for item in items:
            monthly = _money(item.get("monthly_cost")) if isinstance(item, Mapping) else None
            if monthly is not None and item.get("id"):
                hours = GPU_HOURS if item.get("type") == "vcg" else HOURS
                yield _price("", f"{prefix}{item['id']}", monthly, f"of {hours} hours", hours)

    return read


def _volumes(kind: str) -> Any:
    """What a GB costs, of the largest volume of each region and type: prices are rounded to cents, or dollars."""

    def read(items: Iterator[Any]) -> Iterator[Price]:
        largest: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for item in items:
            size, monthly, of_type = _volume(item) if isinstance(item, Mapping) else (None, None, "")
            region = str(item.get("region", "")).lower() if isinstance(item, Mapping) else ""
            key = region, f"{kind} {of_type} GB"
            if size and monthly and of_type and size > largest.get(key, (Decimal(0),))[0]:
                largest[key] = size, monthly
        for (place, what), (gigabytes, cost) in largest.items():
            yield _price(place, what, cost / gigabytes, "by the largest of the customer's own")

    return read


def _volume(item: Item) -> tuple[Decimal | None, Decimal | None, str]:
    """The size, monthly price and type of a block or file system."""
    if "size_gb" in item:
        return _money(item["size_gb"]), _money(item.get("cost")), str(item.get("block_type") or "")
    size, billing = item.get("storage_size"), item.get("billing")
    return (
        _money(size.get("gb")) if isinstance(size, Mapping) else None,
        _money(billing.get("monthly")) if isinstance(billing, Mapping) else None,
        str(item.get("disk_type") or ""),
    )


def _money(value: object) -> Decimal | None:
    return Decimal(value) if isinstance(value, int | Decimal) and not isinstance(value, bool) else None


_LISTS: Mapping[str, tuple[str, str, str, Any]] = {
    "plan": ("list-plans", "plans", "plans", _plans()),
    "bare metal": ("list-metal-plans", "plans-metal", "plans_metal", _plans("bare metal ")),
    "database": ("list-database-plans", "databases/plans", "plans", _plans("database ")),
    "block": ("list-blocks", "blocks", "blocks", _volumes("block")),
    "vfs": ("list-vfs", "vfs", "vfs", _volumes("vfs")),
}
