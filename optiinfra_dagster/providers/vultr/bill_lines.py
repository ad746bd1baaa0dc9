"""The lines of Vultr's bills: their amounts and times, the days that they are of, and the resource that each is of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from optiinfra_dagster.model.cost import Category
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.providers.vultr.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.providers.billing.matching import Matcher, Name

# Dates come with a zone, or without one as on the invoice: those are US Eastern, a month of UTC being written as
# `2021-08-31 20:00:00` to `2021-09-30 20:00:00` in the OpenAPI document.
_EASTERN = ZoneInfo("America/New_York")
_PLACES = Decimal("1e-9")  # of a day's part of a line
_LARGEST = Decimal(10) ** 15  # what is more is no amount of money
_DAY = timedelta(days=1)

Item = Mapping[str, Any]


# --- Products -------------------------------------------------------------------------------------------------------

# A word of a product's name, in lower case: the kinds of resource that its lines may be of, and their cost type. The
# longest first, so that `Bare Metal Compute` is bare metal.
_PRODUCTS: Sequence[tuple[str, tuple[str, ...], str]] = sorted(
    [
        *((word, (kind.name,), kind.resource_type) for kind in KINDS.values() for word in kind.bill_words),
        ("bandwidth", tuple(kind.name for kind in KINDS.values() if kind.billed_traffic), ResourceType.NETWORK),
    ],
    key=lambda product: -len(product[0]),
)


def product_of(name: str) -> tuple[tuple[str, ...], str]:
    """The kinds that a product's lines may be of, none for all of them, and the lines' cost type."""
    plain = name.lower()
    return next(((kinds, cost_type) for word, kinds, cost_type in _PRODUCTS if word in plain), ((), "other"))


# --- Lines ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a bill. `start` is before `end`, or the same for what has no duration."""

    item: Item
    total: Decimal
    start: datetime
    end: datetime
    dated: bool  # its period is its own, not the bill's

    @property
    def text(self) -> str:
        """Its description."""
        return text_of(self.item.get("description"))

    @property
    def product(self) -> str:
        """Its product."""
        return text_of(self.item.get("product")) or "Vultr"

    def within(self, period: date) -> tuple[datetime, datetime]:
        """The part of its period that it is charged in, by the month of its statement: nothing after that.

        A line without a period of its own is not of days before the month either, which other lines may be of.
        """
        begin, limit = (datetime.combine(month, time(), UTC) for month in (period, following(period)))
        start = min(self.start if self.dated else max(self.start, begin), limit - timedelta(microseconds=1))
        return start, max(min(self.end, limit), start)

    @property
    def overage(self) -> bool:
        """True for traffic beyond the quota."""
        return "overage" in f"{text_of(self.item.get('unit_type'))} {self.product}".lower()

    @property
    def category(self) -> Category:
        """The FOCUS category, by its words; what is given back is a credit."""
        if re.search(r"\b(tax|vat|gst)\b", f"{self.product} {self.text}", re.IGNORECASE):
            return Category.TAX
        discount = text_of(self.item.get("unit_type")).lower() == "discount"
        return Category.CREDIT if discount or self.total < 0 else Category.USAGE


def following(month: date) -> date:
    """The first day of the next month."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def month_ending(end: datetime) -> date:
    """The first day of the month that ends at a time, or that it is in."""
    return (end - timedelta(microseconds=1)).date().replace(day=1)


def month_of(lines: Sequence[Line], made: datetime) -> date:
    """The month that an invoice is of: the newest of its lines'. It is made after that, the sooner the better."""
    newest = made - _DAY
    return month_ending(max((min(line.end, newest) for line in lines if line.dated), default=newest))


def spread(total: Decimal, start: datetime, end: datetime) -> Iterator[tuple[date, Decimal]]:
    """The part of an amount for each UTC day of [start, end), by its share of the hours; the last day has the rest."""
    first, last = start.date(), max(end - timedelta(microseconds=1), start).date()
    rest, day = total, first
    while day < last:
        midnight = datetime.combine(day, time(), UTC)
        share = min(end, midnight + _DAY) - max(start, midnight)
        part = (total * _micros(share) / _micros(end - start)).quantize(_PLACES)
        yield day, part
        rest -= part
        day += _DAY
    yield last, rest


def _micros(duration: timedelta) -> int:
    return duration // timedelta(microseconds=1)


def lines_of(items: Sequence[object], operation: str, otherwise: tuple[datetime, datetime]) -> list[Line]:
    """The lines of a bill. A line without a period, such as a tax, has that of the whole bill, else `otherwise`.

    Raises:
        CloudError: a line has no amount, so that the bill's days cannot be known.
    """
    read = []
    for item in items:
        total = amount_of(item.get("total")) if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or total is None:
            raise CloudError(Cause.BUG, f"{operation}: a line has no amount `total`, so its bill was not used")
        start, end = time_of(item.get("start_date")), time_of(item.get("end_date"))
        read.append((item, total, start, end if end is None or start is None or end > start else start))
    known = [(start, end) for _, _, start, end in read if start and end]
    begin, finish = (min(start for start, _ in known), max(end for _, end in known)) if known else otherwise
    return [
        Line(item, total, start, end, dated=True) if start and end else Line(item, total, begin, finish, dated=False)
        for item, total, start, end in read
    ]


def amount_of(value: object) -> Decimal | None:
    """An amount as it came: a number, or text as in some of Vultr's answers."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        amount = Decimal(value)
    except ArithmeticError:
        return None
    return amount if amount.is_finite() and abs(amount) < _LARGEST else None


def text_of(value: object) -> str:
    """A text or number as text; empty for what is neither."""
    return value if isinstance(value, str) else str(value) if isinstance(value, int | Decimal) else ""


def time_of(value: object) -> datetime | None:
    """A time, in UTC; None for what is none."""
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
    except ValueError:
        return None
    if moment is None or not 2000 <= moment.year < 2100:  # such as year 1, which Go writes for no time
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=_EASTERN)).astimezone(UTC)


# --- The resource of a line ------------------------------------------------------------------------------------------

_UUID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)
_ADDRESS = re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")
_LABEL = re.compile(r"[\[(]([^\[\]()]+)[\])]")


def names_of(resource: Resource) -> Iterator[Name]:
    """The names that a line of the bill may have for a resource: its id, its label, or its address."""
    yield "id", resource.resource_id
    yield "label", resource.resource_name
    if address := resource.metadata.get("main_ip"):
        yield "address", str(address)


def match(matcher: Matcher, line: Line) -> tuple[Resource | None, str]:
    """The resource that a line is of, by what its description says, and what it was matched by; None if not known.

    `1.1.1.1 (8192 MB) [my-instance]` and `Load Balancer (my-loadbalancer)` are Vultr's forms. It is a guess: a resource
    that was created after the line's period began is not the one.
    """
    kinds, _ = product_of(line.product)
    names = [("id", word.lower()) for word in _UUID.findall(line.text)]
    names += [("address", word) for word in _ADDRESS.findall(line.text)]
    names += [("label", word.strip()) for word in reversed(_LABEL.findall(line.text))]
    latest = line.start + timedelta(hours=1)
    return matcher.match(
        names,
        lambda resource: (
            (not kinds or resource.kind in kinds)
            and (not line.dated or resource.created_at is None or resource.created_at <= latest)
        ),
    )
