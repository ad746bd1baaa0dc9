"""The charges of a customer's Vultr account, by day: its invoices, what is pending, and bandwidth beyond the quota.

Vultr bills in lines of up to a month, without a day and without the id of a resource. So a line is spread over the UTC
days of its period by their hours, what rounding leaves going to its last day, and it is matched with the inventory by
the address or label in its description. Sources: Vultr's OpenAPI document, and govultr's recorded answers.

An invoice is the statement of a month, whatever the days of its lines: a credit note is charged on the days that it is
of, and what is paid ahead by the end of the month. What is pending is the statement of the months that are not invoiced
yet. Only days that are over count: of a line that is still running, today's part is left out, and comes with tomorrow's
import.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from optiinfra_dagster.model.cost import Bill, BillRequest, Category, Charge, LeftOut, LeftOutBecause, Source, Total
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.inventory import Resource, ResourceType
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.billing.finality import KEPT, SETTLES_VULTR, arriving_from
from optiinfra_dagster.providers.billing.matching import Matcher, Name
from optiinfra_dagster.providers.vultr.client import Account, items_of, open_account
from optiinfra_dagster.providers.vultr.errors import MissingError
from optiinfra_dagster.providers.vultr.kind import BILLING
from optiinfra_dagster.providers.vultr.services import KINDS

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount

CURRENCY = "USD"  # Vultr has no other
SECONDS = 240.0  # for one account

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


def _product(name: str) -> tuple[tuple[str, ...], str]:
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
        return _text(self.item.get("description"))

    @property
    def product(self) -> str:
        """Its product."""
        return _text(self.item.get("product")) or "Vultr"

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
        return "overage" in f"{_text(self.item.get('unit_type'))} {self.product}".lower()

    @property
    def category(self) -> Category:
        """The FOCUS category, by its words; what is given back is a credit."""
        if re.search(r"\b(tax|vat|gst)\b", f"{self.product} {self.text}", re.IGNORECASE):
            return Category.TAX
        discount = _text(self.item.get("unit_type")).lower() == "discount"
        return Category.CREDIT if discount or self.total < 0 else Category.USAGE


def following(month: date) -> date:
    """The first day of the next month."""
    return (month.replace(day=28) + timedelta(days=4)).replace(day=1)


def _month(end: datetime) -> date:
    """The first day of the month that ends at a time, or that it is in."""
    return (end - timedelta(microseconds=1)).date().replace(day=1)


def _month_of(lines: Sequence[Line], made: datetime) -> date:
    """The month that an invoice is of: the newest of its lines'. It is made after that, the sooner the better."""
    newest = made - _DAY
    return _month(max((min(line.end, newest) for line in lines if line.dated), default=newest))


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


def _lines(items: Sequence[object], operation: str, otherwise: tuple[datetime, datetime]) -> list[Line]:
    """The lines of a bill. A line without a period, such as a tax, has that of the whole bill, else `otherwise`.

    Raises:
        CloudError: a line has no amount, so that the bill's days cannot be known.
    """
    read = []
    for item in items:
        total = _money(item.get("total")) if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping) or total is None:
            raise CloudError(Cause.BUG, f"{operation}: a line has no amount `total`, so its bill was not used")
        start, end = _when(item.get("start_date")), _when(item.get("end_date"))
        read.append((item, total, start, end if end is None or start is None or end > start else start))
    known = [(start, end) for _, _, start, end in read if start and end]
    begin, finish = (min(start for start, _ in known), max(end for _, end in known)) if known else otherwise
    return [
        Line(item, total, start, end, dated=True) if start and end else Line(item, total, begin, finish, dated=False)
        for item, total, start, end in read
    ]


def _money(value: object) -> Decimal | None:
    """An amount as it came: a number, or text as in some of Vultr's answers."""
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        return None
    try:
        amount = Decimal(value)
    except ArithmeticError:
        return None
    return amount if amount.is_finite() and abs(amount) < _LARGEST else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else str(value) if isinstance(value, int | Decimal) else ""


def _when(value: object) -> datetime | None:
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
    kinds, _ = _product(line.product)
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


# --- Reading --------------------------------------------------------------------------------------------------------


def price(_request: BillRequest[VultrAccount]) -> Decimal:
    """The most that `read` costs, in USD: Vultr's calls are free."""
    return Decimal(0)


def read(request: BillRequest[VultrAccount], meter: Meter) -> Bill:
    """Read the invoices of the range, what is pending, and bandwidth beyond the quota, of each account.

    Only what is on invoices is final. The totals are Vultr's own sums, by the month of the statement: an invoice's
    amount, and the pending charges of get-account; what the lines miss of a sum is in its last month. An account
    without a sum of its pending charges has no totals of their months.
    """
    bill, matcher = Bill(), Matcher(request.resources, names_of)
    for source in request.sources:
        try:
            bill.merge(_Import(source, request, matcher, meter).read())
        except CollectionError as error:
            bill.problems.append(Problem.of(source.id, error))
    return bill


@dataclass(slots=True)
class _Import:
    """A single import of an account's bill."""

    source: Source[VultrAccount]
    request: BillRequest[VultrAccount]
    matcher: Matcher
    meter: Meter
    bill: Bill = field(default_factory=Bill)
    account: Account = field(init=False)
    totals: dict[date, Decimal] = field(default_factory=lambda: defaultdict(Decimal))  # by the month of the statement
    without_total: set[date] = field(default_factory=set)
    left: dict[tuple[date, LeftOutBecause], list[Decimal]] = field(default_factory=lambda: defaultdict(list))

    def read(self) -> Bill:
        """Read it all; gives the statements and days that could be read whole.

        Raises:
            CloudError: not even the invoices are known, so no day is.
            ConfigError: the account cannot be entered.
        """
        self.account = open_account(self.source.account, SECONDS)
        for _ in range(2):  # an invoice that is written meanwhile takes its lines from the pending ones
            invoices = self._invoices()
            pending = self._pending()
            if pending is None or [invoice["id"] for invoice in self._invoices()] == [
                invoice["id"] for invoice in invoices
            ]:
                break
        else:
            raise CloudError(Cause.INCOMPLETE, "an invoice is being written. It is read again with the next collection")
        unread, invoiced_to, billed = set[date](), self.request.first, list[Line]()
        for invoice in invoices:
            made = _when(invoice.get("date"))
            try:
                lines = self._items(invoice, made)
            except CloudError as error:
                self._problem(error)
                unread |= {_month(made - _DAY)} if made else self._months
                continue
            period = _month_of(lines, made or self.request.at)
            if period < self.request.first.replace(day=1):
                continue
            self._add([(line, period) for line in lines], invoice, _money(invoice.get("amount")))
            billed += lines
            invoiced_to = max([invoiced_to, *(line.within(period)[1].date() for line in lines if line.dated)])
        if pending is None:
            unread |= {month for month in self._months if month >= invoiced_to.replace(day=1)}
        else:
            lines, total = pending
            self._add([(line, self._pending_period(line, invoiced_to)) for line in lines], None, total)
            self._add_overage([*billed, *lines], invoiced_to)
        return self._whole(unread, invoiced_to)

    @property
    def _months(self) -> set[date]:
        return {day.replace(day=1) for day in self.request.days}

    def _pending_period(self, line: Line, invoiced_to: date) -> date:
        """The month whose invoice will have a pending line: its own, or the next one where that was written already."""
        own = _month(min(line.end, self.request.at))
        not_invoiced = invoiced_to.replace(day=1)
        return own if own >= not_invoiced else max(self.request.last.replace(day=1), not_invoiced)

    def _whole(self, unread: set[date], invoiced_to: date) -> Bill:
        """The bill without the months of which a part could not be read."""
        source_id, read = self.source.id, self.bill
        days = [day for day in self.request.days if day.replace(day=1) not in unread]
        arriving = max(arriving_from(self.request.at, SETTLES_VULTR), invoiced_to)
        charges = [charge for charge in read.charges if charge.billing_period not in unread]
        left_out = [
            LeftOut(period, source_id, source_id, because, sum(amounts, Decimal(0)), CURRENCY, len(amounts), period)
            for (period, because), amounts in self.left.items()
            if period not in unread
        ]
        return Bill(
            charges=charges,
            totals=[
                Total(period, source_id, CURRENCY, amount, is_apart=True)
                for period, amount in sorted(self.totals.items())
                if period not in unread | self.without_total
            ],
            read={source_id: days},
            problems=read.problems,
            arriving={source_id: {day for day in days if day >= arriving}},
            periods={
                source_id: (self._months - unread)
                | {part.billing_period for part in charges}
                | {part.billing_period for part in left_out}
            },
            left_out=left_out,
        )

    def _problem(self, error: CloudError) -> None:
        self.bill.problems.append(Problem.of(self.source.id, error))

    def _invoices(self) -> list[Item]:
        """The invoices of the months of the range."""
        operation = "list-invoices"
        every = self.account.pages(operation, "billing/invoices", "billing_invoices", self.meter, BILLING, money=True)
        invoices = []
        for invoice in every:
            if not isinstance(invoice, Mapping) or not _text(invoice.get("id")):
                raise CloudError(Cause.BUG, f"{operation}: an invoice has no id")
            made = _when(invoice.get("date"))
            if made is None or _month(made - _DAY) >= self.request.first.replace(day=1):
                invoices.append(invoice)
        return sorted(invoices, key=lambda invoice: _text(invoice["id"]))

    def _items(self, invoice: Item, made: datetime | None) -> list[Line]:
        operation, number = "get-invoice-items", _text(invoice["id"])
        path = f"billing/invoices/{number}/items"
        items = list(self.account.pages(operation, path, "invoice_items", self.meter, BILLING, money=True))
        before = made or datetime.combine(self.request.last + _DAY, time(), UTC)
        return _lines(items, f"{operation} of {number}", (before - _DAY, before))

    def _pending(self) -> tuple[list[Line], Decimal | None] | None:
        """The pending lines and Vultr's own sum of them, None where it has none; None if the lines cannot be read."""
        operation = "list-pending-charges"
        try:
            sums = {self._pending_sum()}
            answer = self.account.get_money(operation, "billing/pending-charges", self.meter, BILLING)
            month, today = self.request.last.replace(day=1), self.request.last + _DAY
            otherwise = datetime.combine(month, time(), UTC), datetime.combine(today, time(), UTC)
            lines = _lines(items_of(answer, operation, "pending_charges"), operation, otherwise)
        except CloudError as error:
            self._problem(error)
            return None
        total = sum((line.total for line in lines), Decimal(0))
        if _confirmed(total, sums) is None:
            sums.add(self._pending_sum())  # they grow every hour: perhaps between the two calls
        confirmed = _confirmed(total, sums)
        return lines, confirmed if confirmed is not None else next((own for own in sums if own is not None), None)

    def _pending_sum(self) -> Decimal | None:
        try:
            answer = self.account.get_money("get-account", "account", self.meter)
        except CloudError:  # a key may read its bill, but not its owner
            return None
        owner = answer.get("account")
        return _money(owner.get("pending_charges")) if isinstance(owner, Mapping) else None

    def _add(self, lines: Sequence[tuple[Line, date]], invoice: Item | None, total: Decimal | None) -> None:
        """Add the lines of a bill with their months, and its total, where Vultr tells one."""
        for line, period in lines:
            self._charge(line, period, invoice)
        if total is None:
            self.without_total |= {period for _, period in lines}
        elif missing := total - sum((line.total for line, _ in lines), Decimal(0)):
            self.totals[max((period for _, period in lines), default=self.request.last.replace(day=1))] += missing

    def _charge(self, line: Line, period: date, invoice: Item | None) -> None:
        """Add a line's charges, what is left out of it, and their sum."""
        resource, by = match(self.matcher, line)
        facts: dict[str, str] = {
            "unit_price": _text(line.item.get("unit_price")),
            "matched_by": by,
            "period": "" if line.dated else "of the whole bill",
            "source": _text(line.item.get("source")),
        }
        unit, units = _text(line.item.get("unit_type")), _money(line.item.get("units"))
        start, end = line.within(period)
        ahead = end < line.end  # what is paid ahead is of days to come too
        of_units = dict(spread(units, start, end)) if units is not None and unit else {}
        self.totals[period] += line.total
        for day, amount in spread(line.total, start, end):
            if day > self.request.last or day < min(self.request.first, self.request.last - KEPT):
                old = day < self.request.last
                self.left[period, LeftOutBecause.TOO_OLD if old else LeftOutBecause.NOT_OVER].append(amount)
                continue
            self.bill.charges.append(
                Charge(
                    day=day,
                    billing_account_id=self.source.id,
                    sub_account_id=self.source.id,
                    service_name=line.product,
                    amount=amount,
                    currency=CURRENCY,
                    category=line.category,
                    cost_type=str(resource.resource_type if resource else _product(line.product)[1]),
                    effective_cost=None if ahead else amount,
                    resource_id=resource.resource_id if resource else "",
                    region_id=resource.region if resource else "",
                    is_final=invoice is not None,
                    description=line.text,
                    metadata={name: fact for name, fact in facts.items() if fact},
                    period=period,
                    charge_start=line.start if ahead else None,
                    charge_end=line.end if ahead else None,
                    invoice_id=_text(invoice["id"]) if invoice else "",
                    invoice_issuer="Vultr",
                    publisher="Vultr",
                    payer_account_id=self.source.id,
                    consumed_quantity=of_units.get(day),
                    consumed_unit=unit if day in of_units else "",
                    pricing_quantity=of_units.get(day),
                    pricing_unit=unit if day in of_units else "",
                )
            )

    def _add_overage(self, billed: Sequence[Line], invoiced_to: date) -> None:
        """Add the cost of traffic beyond the quota, by get-account-bandwidth, where no line charges for it yet."""
        try:
            answer = self.account.get_money("get-account-bandwidth", "account/bandwidth", self.meter, BILLING)
        except MissingError:
            return
        except CloudError as error:
            self._problem(error)
            return
        bandwidth = answer.get("bandwidth")
        for name in ("previous_month", "current_month_to_date"):
            month = bandwidth.get(name) if isinstance(bandwidth, Mapping) else None
            if not isinstance(month, Mapping):
                continue
            cost, start, end = _money(month.get("overage_cost")), _moment(month, "start"), _moment(month, "end")
            if not cost or start is None or end is None or start >= end or start.date() < invoiced_to:
                continue
            if any(line.overage and line.start < end and line.end > start for line in billed):
                continue
            item = {
                "description": "Bandwidth beyond the quota",
                "product": "Bandwidth overage",
                "units": month.get("overage"),
                "unit_type": "overage",
                "unit_price": month.get("overage_unit_cost"),
                "source": "account/bandwidth",
            }
            self._charge(Line(item, cost, start, end, dated=True), start.date().replace(day=1), None)


def _moment(month: Item, which: str) -> datetime | None:
    """The start or end of a month of get-account-bandwidth: seconds since the epoch, as number or text."""
    seconds = _text(month.get(f"timestamp_{which}"))
    return datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() and len(seconds) < 12 else None


def _confirmed(total: Decimal, sums: set[Decimal | None]) -> Decimal | None:
    """The sum of the lines, if one of Vultr's own sums is the same to the last digit that it gives."""
    for own in sums:
        if own is not None and total.quantize(Decimal(1).scaleb(min(int(own.as_tuple().exponent), -2))) == own:
            return total
    return None
