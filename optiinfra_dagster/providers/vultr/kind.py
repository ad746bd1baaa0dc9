"""A kind of resource on Vultr: how it is listed and read, and the parts that the kinds' files share.

Each kind is in one file of `services`. Facts are taken by name, because the answers also carry passwords, S3 keys,
user names and console links that need no login; what changes by itself all the time, such as charges, is left out, so
that a change of a resource is something that somebody did. Shapes: Vultr's OpenAPI document, and govultr where that is
behind (VFS, tags).

Vultr's GB are 2^30 bytes: a snapshot of a 10 GB block is 10737418240 bytes in govultr's recorded answers.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Component, Price
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.metrics import Metric
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.providers.parsing import (
    Item,
    as_datetime,
    as_dict,
    as_labels,
    as_number,
    as_text,
    as_texts,
    dig,
    facts,
    name_of,
)
from optiinfra_dagster.providers.prometheus_exporters import NICS, Exporter, total_over

if TYPE_CHECKING:
    from optiinfra_dagster.providers.figures import Figure
    from optiinfra_dagster.providers.kind import PriceParts

VIEW = "subscriptions_view"
"""The permission of nearly all listings, in the words of `acls` in the answer of get-account."""

BILLING = "billing"
"""The permission that invoices, pending charges and the traffic of an account need."""


@dataclass(frozen=True, slots=True)
class ResourceCall:
    """The call that gives the figures of one resource: Vultr's name of it, and its path with the id as `{}`.

    `has_date_range` is true where the call takes how many days to go back; else it goes back 30.
    """

    operation: str
    path: str
    has_date_range: bool = False


@dataclass(frozen=True, slots=True)
class PriceSource:
    """A list that gives prices. Keys of components that it has the price of begin with `prefix`.

    `read` gives the prices of the items that the list holds under `key`; amounts in them are Decimal or int.
    """

    operation: str
    path: str
    key: str
    prefix: str
    read: Callable[[Iterable[Any]], Iterator[Price]]


@dataclass(frozen=True, kw_only=True)
class VultrKind(Kind):
    """A kind of resource on Vultr.

    One listing covers all regions: `operation` and `permission` are Vultr's own names, `path` is what follows `/v2/`,
    `key` is where the answer holds the items. `to_resource` reads an item, for an account; `nested` gives the items of
    the same kind that an item holds. `resource_call` gives the figures of one resource. `price_source` lists the prices
    of its components, `fixed_price` stands where there is no list. `bill_words` are words of the products under which
    bills charge for it, in lower case; `billed_traffic` is true where bills charge for its traffic too.
    """

    operation: str
    path: str
    key: str
    to_resource: Callable[[Item, str], Resource]
    permission: str = VIEW
    nested: Callable[[Item], Iterator[Item]] = lambda _item: iter(())
    resource_call: ResourceCall | None = None
    price_source: PriceSource | None = None
    fixed_price: Price | None = None
    bill_words: tuple[str, ...] = ()
    billed_traffic: bool = False


# --- Values ---------------------------------------------------------------------------------------------------------


def as_list(item: Item, key: str) -> list[Any]:
    """The list that an item holds under `key`; an empty one where it holds none."""
    value = item.get(key)
    return value if isinstance(value, list) else []


def leading_number(value: object) -> float | None:
    """The number of `4`, `"4"` or `"32768 MB"`."""
    leading = re.match(r"\s*(\d+(?:\.\d+)?)", value) if isinstance(value, str) else None
    return as_number(leading[1] if leading else value)


def whole_number(value: object) -> int | None:
    """The number of `4`, `"4"` or `"32768 MB"`, without its fraction."""
    number = leading_number(value)
    return None if number is None else int(number)


def address(value: object) -> str:
    """An address in its usual form; empty for none, which Vultr writes as `0.0.0.0` or ``."""
    try:
        parsed = ipaddress.ip_address(as_text(value))
    except ValueError:
        return ""
    return "" if parsed.is_unspecified else str(parsed)


def features(item: Item) -> str:
    """The features of a machine, sorted: `auto_backups,ipv6`."""
    return ",".join(sorted(as_texts(as_list(item, "features"))))


def _tags(item: Item) -> dict[str, str]:
    """Vultr's tags, words without a value: `tags`, and where there was one only, `tag`."""
    return as_labels([*as_list(item, "tags"), item.get("tag")])


# The words of all kinds, in lower case, with dashes. What `active` means differs.
_STATUS_WORDS: Mapping[Status, str] = {
    Status.RUNNING: "running rebalancing updating upgrading",
    Status.STOPPED: "stopped suspended halted off powered-off poweroff",
    Status.STARTING: (
        "pending installing installingbooting booting creating starting rebooting provisioning initializing "
        "configuring rebuilding resizing restoring reinstalling"
    ),
    Status.STOPPING: "stopping halting deleting destroying pending-delete",
    Status.TERMINATED: "deleted destroyed terminated",
    Status.AVAILABLE: "available complete",  # a snapshot is
    Status.IN_USE: "in-use attached",
    Status.ERROR: "error failed locked",
}
_STATUSES = {word: status for status, words in _STATUS_WORDS.items() for word in words.split()}


def status_of(word: str, active: Status) -> Status:
    """The status that Vultr's word means, where `active` of this kind means `active`."""
    plain = word.lower().replace(" ", "-").replace("_", "-")
    return active if plain == "active" else _STATUSES.get(plain, Status.UNKNOWN)


def resource(  # noqa: PLR0913 - a row has these columns
    item: Item,
    account_id: str,
    *,
    kind: str,
    resource_type: ResourceType,
    status: Status,
    state: str = "",
    name: str = "",
    capacity: float | None = None,
    unit: str = "",
    utilization: float | None = None,
    **metadata: object,
) -> Resource:
    """The resource of an item, by what the kinds have in common; `state` is Vultr's word for its status.

    Databases write their regions large (`EWR`), all others small.

    Raises:
        ValueError: the item has no id.
    """
    return Resource(
        account_id=account_id,
        region=as_text(item.get("region")).lower(),
        kind=kind,
        resource_id=name_of(item, "id"),
        resource_name=name or as_text(item.get("label")) or name_of(item, "id"),
        resource_type=resource_type,
        status=status,
        cloud_status=state,
        created_at=as_datetime(item.get("date_created")),
        capacity=capacity,
        unit=unit,
        utilization=utilization,
        tags=_tags(item),
        metadata=facts(**metadata),
    )


# --- Metrics --------------------------------------------------------------------------------------------------------

POWER, DATABASE_USAGE, BANDWIDTH = "power", "database_usage", "bandwidth"
"""Vultr's sources of figures, as `Metric.namespace`."""

LABELS = ("vultr_instance_id", "vpsid")
"""The labels of Vultr's own that name a machine. v-agent takes `vpsid` from Vultr's metadata, or from its
configuration."""

API = "Vultr API v2: https://www.vultr.com/api/"
"""The document that lists what Vultr measures: of machines their traffic by the day, of databases what they use."""


def vultr_metrics(
    kind: str, namespace: str, source: str, statistic: str, period: int, *rows: tuple[str, str, str, str]
) -> tuple[Metric, ...]:
    """Rows of (our name, type, unit, field of the answer) from one of Vultr's own sources.

    A sum of a day is divided by its seconds.
    """
    return tuple(
        Metric(
            provider="vultr",
            kind=kind,
            name=name,
            metric_type=metric_type,
            unit=unit,
            namespace=namespace,
            api_metric=field,
            statistics=(statistic,),
            period=period,
            scale=2.0**30 if field.endswith("_gb") else 1.0,
            per_second=statistic == "day",
            source=source,
        )
        for name, metric_type, unit, field in rows
    )


def traffic_metrics(kind: str, call: ResourceCall) -> tuple[Metric, ...]:
    """The traffic of a machine, by the day."""
    return vultr_metrics(
        kind, BANDWIDTH, f"Vultr OpenAPI: {call.operation}", "day", 86_400,
        ("network_in", "network", "bytes/s", "incoming_bytes"),
        ("network_out", "network", "bytes/s", "outgoing_bytes"),
    )  # fmt: skip


def not_offered(*figures: Figure) -> Mapping[str, str]:
    """The figures that Vultr does not measure of a kind."""
    return dict.fromkeys(figures, API)


# v-agent writes once per interval what the kernel counted since the last time, for disks and their partitions; its
# free memory holds buffers and caches, and its network counters never start anew.
V_AGENT = Exporter(
    "v-agent",
    "v-agent: README and pkg/metrics",
    (
        ("cpu_utilization", "cpu", "percent", "avg by (machine) (avg_over_time(v_cpu_util_pct[5m]))"),
        ("memory_utilization", "memory", "percent",
            "100 - 100 * avg by (machine) (avg_over_time(v_memory_free[5m]) / v_memory_total)"),
        ("memory_free", "memory", "bytes", "avg by (machine) (avg_over_time(v_memory_free[5m]))"),
        ("disk_utilization", "disk", "percent", "max by (machine) (avg_over_time(v_fs_bytes_util{mount='/'}[5m]))"),
        ("disk_read", "disk", "bytes/s",
            "512 / 300 * " + total_over("device", "sum_over_time(v_disk_stats_sectors_read{disks}[5m])")),
        ("disk_write", "disk", "bytes/s",
            "512 / 300 * " + total_over("device", "sum_over_time(v_disk_stats_sectors_written{disks}[5m])")),
        ("disk_read_ops", "disk", "ops/s",
            "1 / 300 * " + total_over("device", "sum_over_time(v_disk_stats_read{disks}[5m])")),
        ("disk_write_ops", "disk", "ops/s",
            "1 / 300 * " + total_over("device", "sum_over_time(v_disk_stats_writes_completed{disks}[5m])")),
        ("network_in", "network", "bytes/s", total_over("nic", f"rate(v_nic_bytes_rx{{nic=~'{NICS}'}}[5m])")),
        ("network_out", "network", "bytes/s", total_over("nic", f"rate(v_nic_bytes_tx{{nic=~'{NICS}'}}[5m])")),
    ),
)  # fmt: skip


# --- Prices ---------------------------------------------------------------------------------------------------------

HOURS, GPU_HOURS = 672, 730  # of a month's price, and the most that are charged in a calendar month
_GPU_PLANS = "vcg-"
_PLACES = Decimal("1e-15")


def hourly_price(region: str, key: str, monthly: Decimal, description: str, hours: int = HOURS) -> Price:
    """The price of an hour, which is a 672nd of the price of a month, or another share of it. In USD.

    It is rounded down, so that the hours of a month do not cost more than the month.
    """
    hourly = (monthly / hours).quantize(_PLACES, ROUND_DOWN)
    return Price(region, key, hourly, "USD", f"{monthly:f} USD a month {description}")


def price_part(key: str, quantity: Decimal | float = 1, hours: int = HOURS) -> Component:
    """A part of a resource that has a price, of which a calendar month costs so many hours at most."""
    return Component(key, Decimal(str(quantity)), hours)


def amount(value: object) -> Decimal | None:
    """An amount of a price list as it came, a Decimal or int; None for anything else, and for less than nothing."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value < 0:
        return None
    return Decimal(value)


def hours_of(plan: str) -> int:
    """The hours that a month of a plan costs."""
    return GPU_HOURS if plan.startswith(_GPU_PLANS) else HOURS


def plan_prices(prefix: str = "") -> Callable[[Iterable[Any]], Iterator[Price]]:
    """A reader of a list of plans, whose keys are the plans' ids behind a prefix; some cost more in some regions."""

    def read(items: Iterable[Any]) -> Iterator[Price]:
        for item in items:
            plan = as_text(dig(item, "id"))
            hours = hours_of(plan)
            for region, cost in {"": item, **as_dict(item, "location_cost")}.items():
                monthly = amount(dig(cost, "monthly_cost"))
                if plan and monthly is not None:
                    yield hourly_price(region, f"{prefix}{plan}", monthly, f"of {hours} hours", hours)

    return read


def plan_parts(prefix: str = "") -> PriceParts:
    """The price of a resource that is its plan's; none where the plan is not known."""

    def parts(resource: Resource) -> Iterator[Component]:
        if plan := as_text(resource.metadata.get("plan")):
            yield price_part(f"{prefix}{plan}", hours=hours_of(plan))

    return parts
