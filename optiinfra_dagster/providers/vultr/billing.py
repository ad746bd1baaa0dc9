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

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Bill, BillRequest, Charge, LeftOut, LeftOutBecause, Source, Total
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.billing.finality import KEPT, SETTLES_VULTR, arriving_from
from optiinfra_dagster.providers.billing.matching import Matcher
from optiinfra_dagster.providers.vultr.bill_lines import (
    Item,
    Line,
    amount_of,
    lines_of,
    match,
    month_ending,
    month_of,
    names_of,
    product_of,
    spread,
    text_of,
    time_of,
)
from optiinfra_dagster.providers.vultr.client import Account, open_account
from optiinfra_dagster.providers.vultr.errors import MissingError
from optiinfra_dagster.providers.vultr.kind import BILLING

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount

CURRENCY = "USD"  # Vultr has no other
SECONDS = 240.0  # for one account

_DAY = timedelta(days=1)
# Lines that Vultr puts into one answer: of more, one that ends meanwhile shifts others over the end of a page.
_ONE_PAGE = 100
_LISTINGS = 3  # further ones, until two are of the same lines

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
            made = time_of(invoice.get("date"))
            try:
                lines = self._items(invoice, made)
            except CloudError as error:
                self._problem(error)
                unread |= {month_ending(made - _DAY)} if made else self._months
                continue
            period = month_of(lines, made or self.request.at)
            if period < self.request.first.replace(day=1):
                continue
            self._add([(line, period) for line in lines], invoice, amount_of(invoice.get("amount")))
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
        own = month_ending(min(line.end, self.request.at))
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
        invoices: dict[str, Item] = {}  # by number: one that is made meanwhile shifts others onto the next page
        for invoice in every:
            if not isinstance(invoice, Mapping) or not text_of(invoice.get("id")):
                raise CloudError(Cause.BUG, f"{operation}: an invoice has no id")
            made = time_of(invoice.get("date"))
            if made is None or month_ending(made - _DAY) >= self.request.first.replace(day=1):
                invoices[text_of(invoice["id"])] = invoice
        return [invoices[number] for number in sorted(invoices)]

    def _items(self, invoice: Item, made: datetime | None) -> list[Line]:
        operation, number = "get-invoice-items", text_of(invoice["id"])
        path = f"billing/invoices/{number}/items"
        items = list(self.account.pages(operation, path, "invoice_items", self.meter, BILLING, money=True))
        before = made or datetime.combine(self.request.last + _DAY, time(), UTC)
        return lines_of(items, f"{operation} of {number}", (before - _DAY, before))

    def _pending(self) -> tuple[list[Line], Decimal | None] | None:
        """The pending lines and Vultr's own sum of them, None where it has none; None if the lines cannot be read."""
        try:
            sums = {self._pending_sum()}
            lines = self._pending_lines()
            if _confirmed(_total(lines), sums) is None:
                sums.add(self._pending_sum())  # they grow every hour: perhaps between the two calls
            for _ in range(_LISTINGS):
                if len(lines) <= _ONE_PAGE or _confirmed(_total(lines), sums) is not None:
                    break
                before, lines = lines, self._pending_lines()
                if sorted(map(_of, before)) == sorted(map(_of, lines)):
                    break
            else:
                text = "list-pending-charges: lines came and went while they were listed, so some may be missing"
                raise CloudError(Cause.INCOMPLETE, f"{text}. They are read again with the next collection")
        except CloudError as error:
            self._problem(error)
            return None
        confirmed = _confirmed(_total(lines), sums)
        return lines, confirmed if confirmed is not None else next((own for own in sums if own is not None), None)

    def _pending_lines(self) -> list[Line]:
        operation, path, key = "list-pending-charges", "billing/pending-charges", "pending_charges"
        items = list(self.account.pages(operation, path, key, self.meter, BILLING, money=True))
        month, today = self.request.last.replace(day=1), self.request.last + _DAY
        otherwise = datetime.combine(month, time(), UTC), datetime.combine(today, time(), UTC)
        return lines_of(items, operation, otherwise)

    def _pending_sum(self) -> Decimal | None:
        try:
            answer = self.account.get_money("get-account", "account", self.meter)
        except CloudError:  # a key may read its bill, but not its owner
            return None
        owner = answer.get("account")
        return amount_of(owner.get("pending_charges")) if isinstance(owner, Mapping) else None

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
            "unit_price": text_of(line.item.get("unit_price")),
            "matched_by": by,
            "period": "" if line.dated else "of the whole bill",
            "source": text_of(line.item.get("source")),
        }
        unit, units = text_of(line.item.get("unit_type")), amount_of(line.item.get("units"))
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
                    cost_type=str(resource.resource_type if resource else product_of(line.product)[1]),
                    effective_cost=None if ahead else amount,
                    resource_id=resource.resource_id if resource else "",
                    region_id=resource.region if resource else "",
                    is_final=invoice is not None,
                    description=line.text,
                    metadata={name: fact for name, fact in facts.items() if fact},
                    period=period,
                    charge_start=line.start if ahead else None,
                    charge_end=line.end if ahead else None,
                    invoice_id=text_of(invoice["id"]) if invoice else "",
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
            cost, start, end = amount_of(month.get("overage_cost")), _moment(month, "start"), _moment(month, "end")
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


def _total(lines: Sequence[Line]) -> Decimal:
    return sum((line.total for line in lines), Decimal(0))


def _of(line: Line) -> tuple[str, str, str]:
    """What a pending line is of: it grows, and stays the same line."""
    return line.product, line.text, text_of(line.item.get("start_date"))


def _moment(month: Item, which: str) -> datetime | None:
    """The start or end of a month of get-account-bandwidth: seconds since the epoch, as number or text."""
    seconds = text_of(month.get(f"timestamp_{which}"))
    return datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() and len(seconds) < 12 else None


def _confirmed(total: Decimal, sums: set[Decimal | None]) -> Decimal | None:
    """The sum of the lines, if one of Vultr's own sums is the same to the last digit that it gives."""
    for own in sums:
        if own is not None and total.quantize(Decimal(1).scaleb(min(int(own.as_tuple().exponent), -2))) == own:
            return total
    return None
