"""A kind of resource on the lab's Vultr, and the parts that the kinds' files share.

Answers hold what the real ones hold, credentials included: whatever shall not leave a collector begins with `PLANTED`.
"""

from __future__ import annotations

import ipaddress
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.vultr.metrics import Figures
    from optiinfra_dagster.lab.vultr.world import VultrFleet

PLANTED = "planted-secret-"

HOURS = 672  # of a month's price
_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True, eq=False)
class LabResource:
    """A resource of the world. `index` counts within account and kind; a read replica has a `parent`.

    `seed` is a number of its own, from which whatever else it shows is derived; `place` is that of its kind in the
    table of kinds.
    """

    account: str
    kind: str
    index: int
    name: str
    fleet: VultrFleet
    seed: int
    epoch: datetime
    place: int
    parent: LabResource | None = None

    @property
    def id(self) -> str:
        """Its UUID."""
        return self.uuid("id")

    @property
    def region(self) -> str:
        """Its region, such as `ewr`."""
        return self.fleet.region

    @property
    def created(self) -> datetime:
        """The time of its creation: as the fleet says, or a fixed one in the 400 days before the world's epoch."""
        return self.fleet.created or self.epoch - timedelta(seconds=self.seed % (400 * 86400))

    def uuid(self, what: str) -> str:
        """A UUID for something that belongs to this resource."""
        return str(uuid.UUID(int=digest(self.seed, what) << 64 | digest(what, self.seed), version=4))

    def secret(self, what: str) -> str:
        """A credential that no collector may keep."""
        return f"{PLANTED}{what}-{self.seed:016x}"

    def address(self, what: str) -> str:
        """An IPv4 address that nothing else of its account has: public ones are of a network for benchmarks."""
        return str(ipaddress.IPv4Address("10.0.0.0" if what == "internal" else "198.18.0.0") + self._number)

    @property
    def address6(self) -> str:
        """An IPv6 address, of a network that is set aside for documents."""
        return str(ipaddress.IPv6Address("2001:db8:5:4973::") + self._number)

    @property
    def _number(self) -> int:
        return 30_000 * self.place % 120_000 + self.index + 1


@dataclass(frozen=True, slots=True)
class LabLine:
    """A line of a bill, and the resource that it is of, which the answer does not show."""

    product: str
    description: str
    start: datetime
    end: datetime
    hours: int
    unit_price: Decimal
    total: Decimal
    resource: str
    unit_type: str = "hours"

    def show(self) -> dict[str, Any]:
        """The line as the API answers it."""
        return {
            "description": self.description,
            "product": self.product,
            "start_date": self.start.isoformat(timespec="seconds"),
            "end_date": self.end.isoformat(timespec="seconds"),
            "units": self.hours,
            "unit_type": self.unit_type,
            "unit_price": float(self.unit_price),
            "total": float(self.total),
        }


@dataclass(frozen=True, slots=True)
class LabCall:
    """The call that shows figures of one resource: `/v2/<listing>/<id>/<suffix>`.

    `answer` gives what the answer holds under `key`, by the world's figures, the days of `date_range`, and the time.
    """

    operation: str
    suffix: str
    key: str
    answer: Callable[[Figures, LabResource, int, datetime], Any]


@dataclass(frozen=True, slots=True)
class LabPlans:
    """The list of a kind's plans: those that the world uses, and `others` that nobody does. `price` is of a month."""

    path: str
    operation: str
    key: str
    price: Callable[[str], Decimal]
    paged: bool = True
    others: tuple[str, ...] = ("vc2-1c-1gb", "vc2-1c-2gb", "vc2-2c-4gb", "vc2-4c-8gb")

    def show(self, used: set[str]) -> list[dict[str, Any]]:
        """The list as the API answers it."""
        return [
            {
                "id": plan,
                "monthly_cost": float(self.price(plan)),
                "type": plan.partition("-")[0],
                **_plan_size(plan),
                # Where it can be had now: in `mia` nothing small is left.
                "locations": ["ams", "ewr", "fra", *([] if plan.startswith("vc2-1c") else ["mia"])],
            }
            for plan in sorted(used | set(self.others))
        ]


def _plan_size(plan: str) -> dict[str, Any]:
    """What a plan's name, `vc2-2c-4gb`, says of its size, and a disk by it."""
    named = re.search(r"-(\d+)c-(\d+)gb?", plan)
    cores, memory = (int(named[1]), int(named[2])) if named else (1, 1)
    return {"vcpu_count": cores, "ram": 1024 * memory, "disk": 25 * memory, "disk_count": 1}


@dataclass(frozen=True, kw_only=True)
class LabKind:
    """A kind of resource: how it is listed, shown and charged.

    `operation`, `path`, `key` and `acl` are those of its listing, in Vultr's words; `single` is what an answer calls
    one of it. `show` gives it as the API does; `children` are resources that its answer holds. `monthly` is what one
    costs in a whole month, in USD; `lines` are the lines of its bill from a time to another, by default one line of
    `product` for the hours that there were of it, described by `describe`.
    """

    name: str
    operation: str
    path: str
    key: str
    single: str
    show: Callable[[LabResource], dict[str, Any]]
    acl: str = "subscriptions_view"
    paged: bool = True
    children: Callable[[LabResource], list[LabResource]] = lambda _resource: []
    call: LabCall | None = None
    plans: LabPlans | None = None
    product: str = ""
    monthly: Callable[[LabResource], Decimal] = lambda _resource: Decimal(0)
    describe: Callable[[LabResource, str], str] = lambda resource, product: f"{product} ({resource.name})"
    lines: Callable[[LabKind, LabResource, datetime, datetime], Iterator[LabLine]] | None = None

    def bill(self, resource: LabResource, start: datetime, end: datetime) -> Iterator[LabLine]:
        """The lines of a resource's bill in [start, end), from its creation on."""
        start = max(start, resource.created.replace(minute=0, second=0, microsecond=0))
        if start >= end:
            return
        if self.lines is not None:
            yield from self.lines(self, resource, start, end)
        elif price := self.monthly(resource):
            yield charged(self.product, self.describe(resource, self.product), start, end, price, resource.id)


def charged(product: str, text: str, start: datetime, end: datetime, price: Decimal, resource: str) -> LabLine:
    """A line for some hours at a 672nd of a monthly price each, the whole at most, rounded to cents."""
    hours = (end - start) // timedelta(hours=1)
    total = (price * min(hours, HOURS) / HOURS).quantize(_CENT)
    return LabLine(product, text, start, end, hours, (price / HOURS).quantize(Decimal("1e-4")), total, resource)


def plan_price(each: str = "5", per_core: int = 0) -> Callable[[str], Decimal]:
    """The monthly price of a plan, in USD: `each` by the GB of memory that its name has, `vc2-2c-4gb`."""

    def price(plan: str) -> Decimal:
        named = re.search(r"-(\d+)c-(\d+)gb", plan)
        cores, memory = (int(named[1]), int(named[2])) if named else (1, 1)
        return Decimal(each) * memory + per_core * cores

    return price


def by_size(resource: LabResource) -> Decimal:
    """The monthly price of a volume: as the listings say."""
    return Decimal(resource.fleet.size) / 10


def machine_text(resource: LabResource, _product: str) -> str:
    """The description of a machine's line, in Vultr's form: `1.1.1.1 (8192 MB) [my-instance]`."""
    return f"{resource.address('main')} ({2048 * resource.fleet.vcpus} MB) [{resource.name}]"


def common(resource: LabResource) -> dict[str, Any]:
    """The fields that nearly every answer begins with."""
    return {
        "id": resource.id,
        "date_created": resource.created.isoformat(timespec="seconds"),
        "region": resource.region,
        "label": resource.name,
    }


def machine(resource: LabResource) -> dict[str, Any]:
    """The fields that answers on virtual and on bare machines have in common."""
    return {
        **common(resource),
        "os": "Ubuntu 24.04 LTS x64",
        "main_ip": resource.address("main"),
        "plan": resource.fleet.plan,
        "netmask_v4": "255.255.254.0",
        "gateway_v4": "198.51.100.1",
        "default_password": resource.secret("default_password"),
        "v6_network": "2001:db8:5:4973::",
        "v6_main_ip": resource.address6,
        "v6_network_size": 64,
        "os_id": 2284,
        "app_id": 0,
        "image_id": "",
        "features": ["ipv6"],
        "tags": resource.fleet.tags,
        "user_scheme": "root",
    }
