"""The charges of each Vultr account of a world: lines by the hour, and invoices of the months before.

Every resource has a line for each calendar month (UTC), from its creation on: hours up to 672, at a 672nd of its
monthly price, rounded to cents. On the 1st, at 00:30, a month's lines become an invoice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.vultr.kind import LabLine
from optiinfra_dagster.lab.vultr.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.lab.arrival import BillsArrive
    from optiinfra_dagster.lab.vultr.kind import LabResource


_MONTHS_BACK = 3  # that there are invoices of
_INVOICED_AT = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Invoice:
    """The invoice of a month: its number is made of it."""

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
    """The bills of all accounts. `resources` are an account's, read replicas included.

    Where bills arrive late, pending lines go as far as some hours ago; an invoice has all of its month.
    """

    def __init__(self, arrive: BillsArrive) -> None:
        self.arrive = arrive
        self._restated: dict[str, list[LabLine]] = defaultdict(list)
        self._put: dict[tuple[str, date], list[LabLine]] = defaultdict(list)
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

    def put(self, account: str, month: date, *lines: LabLine) -> None:
        """Put lines on the bill of a month, whatever days they are of."""
        self._put[account, month] += lines

    def exceed(self, account: str, cost: Decimal) -> None:
        """Let the account's traffic of this month exceed its quota, at this cost."""
        self._overage[account] = cost

    def lines(self, account: str, resources: list[LabResource], month: date, now: datetime) -> list[LabLine]:
        """The lines of a calendar month, as far as it went."""
        start, end = _midnight(month), min(_midnight(following(month)), now.replace(minute=0, second=0, microsecond=0))
        lines = [line for resource in resources for line in KINDS[resource.kind].bill(resource, start, end)]
        lines.sort(key=lambda line: not line.resource)  # those of no known resource come last
        lines += [line for line in self._restated[account] if start <= line.start < end]
        return lines + self._put[account, month]

    def invoices(self, account: str, resources: list[LabResource], now: datetime) -> list[Invoice]:
        """The invoices of the months before that cost anything, the newest first."""
        month = now.date().replace(day=1)
        invoices = []
        for _ in range(_MONTHS_BACK):
            dated, month = _midnight(month) + _INVOICED_AT, before(month)
            lines = self.lines(account, resources, month, dated)
            if dated <= now and lines:
                invoices.append(Invoice(int(f"{month:%Y%m}01"), dated, lines))
        return invoices

    def pending(self, account: str, resources: list[LabResource], now: datetime) -> list[LabLine]:
        """The lines that are charged and not yet on an invoice."""
        month, told_to = now.date().replace(day=1), now - timedelta(hours=self.arrive.hours)
        lines = self.lines(account, resources, month, told_to)
        if now < _midnight(month) + _INVOICED_AT:
            lines = self.lines(account, resources, before(month), told_to) + lines
        return lines

    def bandwidth(self, account: str, now: datetime) -> dict[str, Any]:
        """The answer of get-account-bandwidth."""
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
        """The true cost of each day, by product and resource id ("" where a bill's line is of no resource)."""
        bills = [line for invoice in self.invoices(account, resources, now) for line in invoice.lines]
        costs: dict[tuple[date, str, str], Decimal] = defaultdict(Decimal)
        for line in bills + self.pending(account, resources, now):
            for day, amount in by_day(line):
                if first <= day <= last:
                    costs[day, line.product, line.resource] += amount
        return dict(costs)


def by_day(line: LabLine) -> Iterator[tuple[date, Decimal]]:
    """A line's amount by UTC day, by the hours of each; the last day has what rounding leaves."""
    hours = [line.start + timedelta(hours=n) for n in range((line.end - line.start) // timedelta(hours=1))]
    days = sorted({hour.date() for hour in hours})
    rest = line.total
    for day in days[:-1]:
        part = (line.total * sum(hour.date() == day for hour in hours) / len(hours)).quantize(Decimal("1e-9"))
        rest -= part
        yield day, part
    yield days[-1], rest


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


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def following(month: date) -> date:
    """The first day of the next month."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def before(month: date) -> date:
    """The first day of the month before."""
    return (month - timedelta(days=1)).replace(day=1)
