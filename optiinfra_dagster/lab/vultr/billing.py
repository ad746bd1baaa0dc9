"""What each Vultr account of a world is charged: plans and prices, lines by the hour, invoices of the months before.

Every resource has a line for each calendar month (UTC), from its creation on: hours up to 672, at a 672nd of its
monthly price, rounded to cents. On the 1st, at 00:30, a month's lines become an invoice.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from optiinfra_dagster.lab.vultr.estate import LabResource

_HOURS = 672
_CENT = Decimal("0.01")
_MONTHS_BACK = 3  # that there are invoices of
_INVOICED_AT = timedelta(minutes=30)
_PRODUCTS = {
    "vultr:instance": "Vultr Cloud Compute",
    "vultr:bare_metal": "Bare Metal",
    "vultr:block": "Block Storage",
    "vultr:vfs": "Vultr File System",
    "vultr:object_storage": "Object Storage",
    "vultr:database": "Managed Database",
    "vultr:load_balancer": "Load Balancer",
    "vultr:kubernetes": "Vultr Cloud Compute",  # its nodes
}


def monthly(kind: str, plan: str) -> Decimal:
    """The monthly price of a plan, in USD: by the memory that its name tells, `vc2-2c-4gb`."""
    named = re.search(r"-(\d+)c-(\d+)gb", plan)
    cores, memory = (int(named[1]), int(named[2])) if named else (1, 1)
    each = {"vultr:bare_metal": Decimal("9.375"), "vultr:database": Decimal("7.5")}.get(kind, Decimal(5))
    return each * memory + (cores if kind == "vultr:database" else 0)


def of_month(one: LabResource) -> Decimal:
    """What a resource costs in a whole month."""
    match one.kind:
        case "vultr:block" | "vultr:vfs":
            return Decimal(one.fleet.size) / 10  # as the listings say
        case "vultr:object_storage":
            return Decimal(18)
        case "vultr:load_balancer":
            return Decimal(10) * one.fleet.size
        case "vultr:vpc":
            return Decimal(0)
    return monthly(one.kind, one.fleet.plan)


@dataclass(frozen=True, slots=True)
class LabLine:
    """A line of a bill, and the resource that it is of, which the answer does not tell."""

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
class Invoice:
    """The invoice of a month: its number tells which."""

    number: int
    date: datetime
    lines: list[LabLine]

    @property
    def amount(self) -> Decimal:
        """The sum of its lines."""
        return sum((line.total for line in self.lines), Decimal(0))

    def show(self) -> dict[str, Any]:
        """The invoice as the API answers it."""
        return {
            "id": self.number,
            "date": self.date.isoformat(timespec="seconds"),
            "description": f"Invoice #{self.number}",
            "amount": float(self.amount),
            "balance": 0,
        }


class Billing:
    """The bills of all accounts. `resources` are an account's, read replicas included."""

    def __init__(self) -> None:
        self._restated: dict[str, list[LabLine]] = defaultdict(list)
        self._overage: dict[str, Decimal] = {}

    def restate(self, account: str, day: date, amount: Decimal) -> None:
        """Charge an account for a past day once more, or less."""
        start = _midnight(day)
        self._restated[account].append(
            LabLine(
                "Adjustment", f"Correction {len(self._restated[account]) + 1}", start, start + timedelta(days=1), 1,
                amount, amount, "", "discount" if amount < 0 else "hours",
            )
        )  # fmt: skip

    def exceed(self, account: str, cost: Decimal) -> None:
        """Let the account's traffic of this month exceed its quota, at this cost."""
        self._overage[account] = cost

    def lines(self, account: str, resources: list[LabResource], month: date, now: datetime) -> list[LabLine]:
        """The lines of a calendar month, as far as it went."""
        start, end = _midnight(month), min(_midnight(following(month)), now.replace(minute=0, second=0, microsecond=0))
        found = [line for one in resources if (line := _line(one, start, end)) is not None]
        for one in resources:
            found += _nodes(one, start, end)
        return found + [line for line in self._restated[account] if start <= line.start < end]

    def invoices(self, account: str, resources: list[LabResource], now: datetime) -> list[Invoice]:
        """The invoices of the months before that cost anything, the newest first."""
        month = now.date().replace(day=1)
        found = []
        for _ in range(_MONTHS_BACK):
            dated, month = _midnight(month) + _INVOICED_AT, before(month)
            lines = self.lines(account, resources, month, dated)
            if dated <= now and lines:
                found.append(Invoice(int(f"{month:%Y%m}01"), dated, lines))
        return found

    def pending(self, account: str, resources: list[LabResource], now: datetime) -> list[LabLine]:
        """What is charged and not yet on an invoice."""
        month = now.date().replace(day=1)
        lines = self.lines(account, resources, month, now)
        if now < _midnight(month) + _INVOICED_AT:
            lines = self.lines(account, resources, before(month), now) + lines
        return lines

    def bandwidth(self, account: str, now: datetime) -> dict[str, Any]:
        """What get-account-bandwidth tells."""
        month = now.date().replace(day=1)
        cost = self._overage.get(account, Decimal(0))
        return {
            "previous_month": _traffic(_midnight(before(month)), _midnight(month), Decimal(0)),
            "current_month_to_date": _traffic(_midnight(month), now, cost),
            "current_month_projected": _traffic(_midnight(month), _midnight(following(month)), cost * 2),
        }

    def expected(
        self, account: str, resources: list[LabResource], first: date, last: date, now: datetime
    ) -> dict[tuple[date, str, str], Decimal]:
        """What each day costs, by product and resource id ("" where a bill's line does not tell): the truth."""
        bills = [line for one in self.invoices(account, resources, now) for line in one.lines]
        found: dict[tuple[date, str, str], Decimal] = defaultdict(Decimal)
        for line in bills + self.pending(account, resources, now):
            for day, amount in by_day(line):
                if first <= day <= last:
                    found[day, line.product, line.resource] += amount
        return dict(found)


def by_day(line: LabLine) -> Iterator[tuple[date, Decimal]]:
    """A line's amount by UTC day, by the hours of each; the last day has what rounding leaves."""
    hours = [line.start + timedelta(hours=n) for n in range((line.end - line.start) // timedelta(hours=1))]
    days = sorted({hour.date() for hour in hours})
    left = line.total
    for day in days[:-1]:
        part = (line.total * sum(hour.date() == day for hour in hours) / len(hours)).quantize(Decimal("1e-9"))
        left -= part
        yield day, part
    yield days[-1], left


def _line(one: LabResource, start: datetime, end: datetime) -> LabLine | None:
    price = of_month(one)
    start = max(start, one.created.replace(minute=0, second=0, microsecond=0))
    if one.kind == "vultr:kubernetes" or not price or start >= end:
        return None
    named = f"[{one.name}]" if one.kind in {"vultr:instance", "vultr:bare_metal"} else f"({one.name})"
    text = f"{one.address('main')} ({2048 * one.fleet.vcpus} MB) {named}" if "[" in named else ""
    product = _PRODUCTS[one.kind]
    return _charged(product, text or f"{product} {named}", start, end, price, one.id)


def _nodes(one: LabResource, start: datetime, end: datetime) -> Iterator[LabLine]:
    """The nodes of a cluster, which are servers without a listing here: their lines are of no known resource."""
    start = max(start, one.created.replace(minute=0, second=0, microsecond=0))
    if one.kind != "vultr:kubernetes" or start >= end:
        return
    for pool in range(one.fleet.pools):
        for node in range(one.fleet.size):
            text = f"node [{one.name}-{pool}-{node}]"
            yield _charged(_PRODUCTS[one.kind], text, start, end, monthly(one.kind, one.fleet.plan), "")


def _charged(product: str, text: str, start: datetime, end: datetime, price: Decimal, resource: str) -> LabLine:
    hours = (end - start) // timedelta(hours=1)
    total = (price * min(hours, _HOURS) / _HOURS).quantize(_CENT)
    return LabLine(product, text, start, end, hours, (price / _HOURS).quantize(Decimal("1e-4")), total, resource)


def _traffic(start: datetime, end: datetime, cost: Decimal) -> dict[str, Any]:
    return {
        "timestamp_start": str(int(start.timestamp())),
        "timestamp_end": str(int(end.timestamp())),
        "gb_in": 120,
        "gb_out": 480,
        "total_instance_hours": 720,
        "total_instance_count": 2,
        "overage": float(cost * 100),
        "overage_unit_cost": 0.01,
        "overage_cost": float(cost),
    }


def plans(kind: str, used: set[str]) -> list[dict[str, Any]]:
    """The plans of a kind: those that the world uses, and a few that nobody does."""
    names = sorted(used | {"vc2-1c-1gb", "vc2-2c-4gb", "vc2-4c-8gb"} if kind != "vultr:bare_metal" else used)
    return [
        {"id": name, "monthly_cost": float(monthly(kind, name)), "type": name.partition("-")[0], "locations": ["ewr"]}
        for name in names
    ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def following(month: date) -> date:
    """The first day of the next month."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def before(month: date) -> date:
    """The first day of the month before."""
    return (month - timedelta(days=1)).replace(day=1)
