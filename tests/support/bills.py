"""Bills and estimates by hand, published as collections do it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.cost import Bill, Charge, Estimate, Total
from optiinfra_dagster.model.slices import MergeBilledAccounts, SliceResult, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.cost_rows import ImportedDay, charge_rows, estimate_rows, midnight
from optiinfra_dagster.storage.writer import FlushResult, Writer
from tests.support.samples import resource

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from optiinfra_dagster.model.cost import LeftOut
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.storage.clickhouse import ClickHouse


def charge(day: date, amount: str | Decimal, service: str = "EC2", account: str = "payer", **changes: Any) -> Charge:
    """A charge of a day; `account` is the bill's and, without `sub_account_id`, that of the charge."""
    facts = {
        "billing_account_id": account, "sub_account_id": account, "service_name": service, "currency": "USD",
    }  # fmt: skip
    return Charge(day=day, amount=Decimal(amount), **facts | changes)


def parts_of(bill: Bill) -> list[Charge | LeftOut]:
    """What is charged and what is left out."""
    return [*bill.charges, *bill.left_out]


def sums_of(bill: Bill) -> dict[tuple[str, date, str], Decimal]:
    """What is charged and left out of each day or, of a source that tells statements, of each statement."""
    sums: dict[tuple[str, date, str], Decimal] = {}
    for part in parts_of(bill):
        of = part.billing_period if part.billing_account_id in bill.periods else part.day
        key = part.billing_account_id, of, part.currency
        sums[key] = sums.get(key, Decimal(0)) + part.amount
    return sums


def totals_of(bill: Bill) -> dict[tuple[str, date, str], Decimal]:
    """The totals that must be those sums."""
    return {(total.billing_account_id, total.day, total.currency): total.amount for total in bill.totals}


def publish_bill(
    clickhouse: ClickHouse,
    days: Sequence[date],
    charges: Iterable[Charge],
    *,
    customer: str = "acme",
    provider: str = "aws",
    read: Sequence[str] = ("payer",),
    covers: Sequence[str] | None = None,
    totals: dict[tuple[date, str], str] | None = None,
    apart: bool = True,
    left_out: Iterable[LeftOut] = (),
    at: datetime | None = None,
    names: dict[str, str] | None = None,
    resources: dict[str, Resource] | None = None,
    arriving: Iterable[date] = (),
    statements: Collection[date] = (),
    outside: Collection[date] = (),
    steps: Callable[[str], None] = lambda _name: None,
) -> FlushResult:
    """Publish what a reading of the `read` accounts' bills gave of `days`.

    `covers` are the accounts told of, `arriving` those of the days of which more is to come. The totals are told
    `apart` from the lines. With `statements`, the
    charges are those of the statements of these months, which once had others on days `outside`.
    """
    unsettled = set(arriving)
    readings = [
        ImportedDay(day, account, covered, settled=day not in unsettled)
        for day in days
        for account in read
        for covered in (covers if covers is not None else [account])
    ] + [ImportedDay(day, account, account, "USD", Decimal(total)) for (day, account), total in (totals or {}).items()]
    now = (at or datetime.now(UTC)).replace(microsecond=0)
    bill = Bill(
        list(charges),
        [Total(day, account, "USD", Decimal(total), apart) for (day, account), total in (totals or {}).items()],
        arriving=dict.fromkeys(read, unsettled),
        periods={account: set(statements) for account in read} if statements else {},
        left_out=list(left_out),
    )
    known = {name: resource(name, resource_name=called) for name, called in (names or {}).items()} | (resources or {})
    rows = charge_rows(customer, provider, bill, readings, known, now)
    part = SliceResult(
        customer,
        provider,
        [midnight(day) for day in sorted({*days, *outside, *(part.day for part in parts_of(bill))})],
        SliceStatus.OK,
        rows=rows,
        dataset=schema.BILLED.name,
        mode=MergeBilledAccounts(
            [] if statements else list(read),
            statements={(account, period) for account in read for period in statements},
        ),
    )
    return Writer(clickhouse, schema.BILLED, steps=steps).flush([part])


def estimates(
    customer: str,
    window: datetime,
    amounts: dict[str, str],
    *,
    provider: str = "aws",
    account: str = "payer",
    currency: str = "USD",
    **changes: Any,
) -> SliceResult:
    """A window's estimate: the amount of each resource."""
    found = [
        Estimate(resource(name, account_id=account, **changes), Decimal(amount), currency, f"1 x {name}", "EC2")
        for name, amount in amounts.items()
    ]
    rows = estimate_rows(customer, provider, window, found, "by hand", window + timedelta(minutes=16))
    return SliceResult(customer, provider, [window], SliceStatus.OK, rows=rows)


def publish_estimates(clickhouse: ClickHouse, *batch: SliceResult) -> FlushResult:
    """Publish estimates."""
    return Writer(clickhouse, schema.COST).flush(list(batch))
