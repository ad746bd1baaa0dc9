"""Bills of Azure: Cost Management asked for each subscription, or the export that a customer has made of it.

A query tells the costs of each day by service and resource, and once more without groups, which is what the charges
must add up to. Two groups are the most that it takes, so that it tells no purchase or tax from what was used; what is
given back is known by its sign, and the rest is in an export.
https://learn.microsoft.com/azure/cost-management-billing/costs/understand-cost-mgmt-data: usage arrives 8 to 72 hours
late, and a month may change until its invoice is closed.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Bill, BillRequest, Category, Charge, Source, Total
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.azure import cost_exports
from optiinfra_dagster.providers.azure.client import Principal, forget, open_principal
from optiinfra_dagster.providers.azure.errors import ends_all
from optiinfra_dagster.providers.azure.services import KINDS, KINDS_BY_TYPE
from optiinfra_dagster.providers.azure.transport import calling
from optiinfra_dagster.providers.billing import finality, service_names, service_types
from optiinfra_dagster.providers.billing.finality import arriving_from, is_final
from optiinfra_dagster.providers.paging import PageGuard

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.account import AzureAccount


SECONDS = 300.0
"""All bills of one customer are read within this time, waits included."""

_AT_ONCE = 4  # subscriptions; each has limits of its own
_LARGEST = Decimal(10) ** 15  # what is more is no amount of money
_PAGES = 200  # of one query: more is no answer but a loop


def price(_request: BillRequest[AzureAccount]) -> Decimal:
    """The price of reading a bill, zero: cost queries are free, and so is the Retail Prices API."""
    return Decimal(0)


def read(request: BillRequest[AzureAccount], meter: Meter) -> Bill:
    """Read the bills that are due; what fails is that subscription's problem. Each has `SECONDS` with all others."""
    deadline = time.monotonic() + SECONDS

    def bill_of(source: Source[AzureAccount]) -> Bill:
        principal: Principal | None = None
        try:
            principal = open_principal(source.account)
            with calling(meter, max(deadline - time.monotonic(), 0.0)):
                if source.account.cost_export:
                    bill = cost_exports.read(principal, source, request)
                else:
                    bill = _Reading(principal, source.id, request).run()
        except CollectionError as error:
            bill = Bill(problems=[Problem.of(source.id, error)])
        if principal is not None and any(problem.cause is Cause.AUTH for problem in bill.problems):
            forget(principal)
        return bill

    whole = Bill()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"azure-cost-{request.customer_id}") as pool:
        for bill in pool.map(bill_of, request.sources):
            whole.merge(bill)
    return whole


def probe(principal: Principal, source: Source[AzureAccount], day: date) -> None:
    """Make one call, to see that a bill may be read. Only inside of `calling`.

    Raises:
        CloudError: it may not, or is not there.
    """
    if source.account.cost_export:
        cost_exports.probe(principal, source, day)
    else:
        principal.costs(source.id, query(day, day))


# --- Cost Management --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a cost query's answer. `service` and `resource_id` are empty where it is not grouped by them."""

    day: date
    amount: Decimal
    currency: str
    service: str = ""
    resource_id: str = ""


def query(first: date, last: date, groups: Sequence[str] = ()) -> dict[str, Any]:
    """The body that asks for the costs of each day from `first` to `last`, at most 31 of them, and two groups."""
    return {
        "type": "ActualCost",
        "timeframe": "Custom",
        "timePeriod": {"from": f"{first.isoformat()}T00:00:00Z", "to": f"{last.isoformat()}T23:59:59Z"},
        "dataset": {
            "granularity": "Daily",
            "aggregation": {"totalCost": {"name": "Cost", "function": "Sum"}},
            "grouping": [{"type": "Dimension", "name": name} for name in groups],
        },
    }


GROUPS = ("ServiceName", "ResourceId")

# How the amount is called, by the kind of agreement that a subscription is bought under.
_AMOUNTS = ("Cost", "PreTaxCost", "CostInBillingCurrency", "totalCost")


def rows_of(properties: Mapping[str, Any], groups: Sequence[str] = ()) -> list[Row]:
    """The rows of one page, by the names of its columns; without those that cost nothing, in no currency.

    Raises:
        CloudError: a column is missing, or a value is not of its kind.
    """
    columns = properties.get("columns")
    named = columns if isinstance(columns, list) else []
    names = [str(column.get("name")) if isinstance(column, dict) else "" for column in named]
    places = {name.lower(): place for place, name in reversed(list(enumerate(names)))}
    amount = next((name for name in _AMOUNTS if name.lower() in places), _AMOUNTS[0])
    missing = [name for name in (amount, "UsageDate", "Currency", *groups) if name.lower() not in places]
    rows = properties.get("rows") or ()
    if not rows:
        return []
    if missing:
        raise CloudError(
            Cause.BUG,
            f"costmanagement.Query: the answer has no column {' and no column '.join(missing)}, only "
            f"{', '.join(names)}. Please report this",
        )
    at = {name: places[name.lower()] for name in ("UsageDate", "Currency", *groups)}
    try:
        return [
            Row(
                _day(row[at["UsageDate"]]),
                cost,
                _currency(row[at["Currency"]]),
                *(str(row[at[name]] or "").strip() for name in groups),
            )
            for row in rows
            if (cost := _amount(row[places[amount.lower()]])) or row[at["Currency"]]
        ]
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        what = f"a row of the answer is not as documented ({type(error).__name__}). Please report this"
        raise CloudError(Cause.BUG, f"costmanagement.Query: {what}") from None


def _day(value: object) -> date:
    """20261121, or `2026-11-21T00:00:00` where the answer writes out its dates."""
    text = str(value)
    return datetime.strptime(text, "%Y%m%d").date() if text.isdigit() else date.fromisoformat(text[:10])  # noqa: DTZ007


def _amount(value: object) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | str | Decimal):
        raise TypeError
    amount = Decimal(value)
    if not amount.is_finite() or abs(amount) >= _LARGEST:
        raise ValueError
    return amount


def _currency(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch("[A-Za-z]{3}", value):
        raise ValueError
    return value.upper()


def months(first: date, last: date) -> Iterator[tuple[date, date]]:
    """The calendar months of a range, cut to it, the newest first: none is longer than a query may be."""
    while first <= last:
        start = max(first, last.replace(day=1))
        yield start, last
        last = start - timedelta(days=1)


@dataclass(slots=True)
class _Reading:
    """The reading of one subscription's costs. Only inside of `calling`."""

    principal: Principal
    subscription: str
    request: BillRequest[AzureAccount]
    bill: Bill = field(default_factory=Bill)

    def run(self) -> Bill:
        """Month by month, the newest first; one that fails costs its own days, and those before if they would too."""
        inventory = {resource.resource_id: resource for resource in self.request.resources}
        months_read: dict[tuple[date, date], list[Row]] = {}
        for month in months(self.request.first, self.request.last):
            try:
                months_read[month] = list(self._rows(*month, GROUPS))
            except CloudError as error:
                # What the next month would meet too.
                last = error.cause.permanent or error.cause is Cause.THROTTLED or ends_all(error)
                self._complain(self.request.first if last else month[0], month[1], error, "not read")
                if last:
                    break
                continue
            try:
                totals = list(self._rows(*month))
            except CloudError as error:
                self._complain(*month, error, "read, but not compared with their totals")
                continue
            self.bill.totals += [
                Total(row.day, self.subscription, row.currency, row.amount, is_apart=True) for row in totals
            ]
        if not months_read:
            return self.bill
        rows = [row for of_month in months_read.values() for row in of_month]
        days = [day for day in self.request.days if any(a <= day <= b for a, b in months_read)]
        arriving = arriving_from(self.request.at, finality.SETTLES_AZURE)
        self.bill.read[self.subscription] = days
        self.bill.arriving[self.subscription] = {day for day in days if day >= arriving}
        today = self.request.last + timedelta(days=1)
        self.bill.charges = [
            charge_of(row, self.subscription, inventory, is_final(row.day, today, finality.AZURE)) for row in rows
        ]
        self.bill.problems += self.bill.currency_problems()
        return self.bill

    def _rows(self, first: date, last: date, groups: Sequence[str] = ()) -> Iterator[Row]:
        body, link = query(first, last, groups), ""
        guard = PageGuard("costmanagement.Query", _PAGES)
        while True:
            properties = self.principal.costs(self.subscription, body, link)
            yield from (row for row in rows_of(properties, groups) if first <= row.day <= last)
            link = str(properties.get("nextLink") or "")
            if not link:
                return
            guard.check(link)

    def _complain(self, first: date, last: date, error: CloudError, loss: str) -> None:
        message = f"the costs of {first} to {last} are {loss}: {error}"
        if error.cause is Cause.THROTTLED:
            message += ". A subscription with very many resources is better read from an export: write cost_export"
        self.bill.problems.append(Problem(self.subscription, "", "", error.cause, message))


# --- Charges ----------------------------------------------------------------------------------------------------------

_RESOURCE_TYPES = service_types.of_kinds(KINDS.values(), service_types.COST_MANAGEMENT)


def charge_of(row: Row, subscription: str, inventory: Mapping[str, Resource], final: bool) -> Charge:
    """A row as a charge, with what the inventory knows of its resource.

    Args:
        row: grouped by service and resource.
        subscription: is charged.
        inventory: resources by their ids, which are ARM ids in lower case; Cost Management writes them in any case.
        final: the month is closed.
    """
    resource_id = row.resource_id.lower()
    resource = inventory.get(resource_id)
    kind = resource or KINDS_BY_TYPE.get(type_of(resource_id))
    of_resource = kind.resource_type if kind else service_types.OTHER
    return Charge(
        day=row.day,
        billing_account_id=subscription,
        sub_account_id=subscription,
        service_name=service_names.canonical(row.service) or row.service,
        amount=row.amount,
        currency=row.currency,
        category=Category.CREDIT if row.amount < 0 else Category.USAGE,
        cost_type=str(_RESOURCE_TYPES.get(row.service.lower(), of_resource)),
        resource_id=resource_id,
        region_id=resource.region if resource else "",
        is_final=final,
    )


def type_of(resource_id: str) -> str:
    """The type that an ARM id in lower case names: `microsoft.sql/servers/databases`; nothing where it names none."""
    parts = resource_id.rpartition("/providers/")[2].split("/")
    return "/".join((parts[0], *parts[1::2])) if len(parts) > 2 else ""
