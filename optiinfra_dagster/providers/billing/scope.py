"""The scope of a bill: which charges of a statement that tells of many accounts are this customer's.

A payer's Cost Explorer tells of all its members, a billing table of all projects, an export of all subscriptions that
its billing account pays for. Only those that the customers file names are the customer's; a member with a bill of its
own is counted there. What is charged to the billing account itself (tax, support) is of the one customer that says
`account_charges: true`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any, TypeAlias

from optiinfra_dagster.model.cost import BillRequest, LeftOut, LeftOutBecause
from optiinfra_dagster.providers.billing.exports.decimals import EXACT

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Bill, Charge, Source

_Part: TypeAlias = tuple[date, str, str, LeftOutBecause, str, date | None]


def keep_own(bill: Bill, sources: Sequence[Source[Any]]) -> Bill:
    """A bill of the customer's own charges; the others are among what was left out.

    Its totals stay those of the whole statement: they are what charges and what was left out add up to.
    `sources` are all bills of the customer on this cloud, also those that were not read this time.
    """
    of_id = {source.id: source for source in sources}
    everyone = {account for source in sources for account in source.covers}
    own: list[Charge] = []
    parts: dict[_Part, tuple[Decimal, int]] = {}
    with localcontext(EXACT):
        for charge in bill.charges:
            source = of_id[charge.billing_account_id]
            because = _reason(charge, source, everyone)
            if because is None:
                own.append(charge)
                continue
            period = charge.billing_period if source.id in bill.periods else None
            part = period or charge.day, source.id, charge.sub_account_id, because, charge.currency, period
            amount, rows = parts.get(part, (Decimal(0), 0))
            parts[part] = amount + charge.amount, rows + 1
        return replace(
            bill,
            charges=own,
            left_out=[_told(part, everyone) for part in bill.left_out]
            + [
                LeftOut(day, source_id, account, because, amount, currency, rows, period)
                for (day, source_id, account, because, currency, period), (amount, rows) in parts.items()
            ],
        )


def _told(part: LeftOut, everyone: Collection[str]) -> LeftOut:
    """What a reader left out, with the reason as all of the customer's bills have it: a reader knows its own."""
    elsewhere = part.because is LeftOutBecause.ANOTHER_ACCOUNT and part.account_id in everyone
    return replace(part, because=LeftOutBecause.ANOTHER_BILL) if elsewhere else part


def newest_statement(customer_id: str, source: Source[Any]) -> BillRequest[Any]:
    """The request of the newest statement that is told of: of this month or, in its first days, of the one before."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    return BillRequest(customer_id, [source], [], (yesterday - _ARRIVES).replace(day=1), yesterday)


_ARRIVES = timedelta(days=3)  # a month's first statement, at the latest


def _reason(charge: Charge, source: Source[Any], everyone: Collection[str]) -> LeftOutBecause | None:
    """Why a charge of a source is not the customer's, None where it is."""
    account = charge.sub_account_id
    if account in source.covers:
        return None
    if account in everyone:
        return LeftOutBecause.ANOTHER_BILL
    # A line without an account has the billing account's id in its place, or nothing.
    if account == charge.payer_account_id or not source.account.is_account(account):
        return None if source.account_charges else LeftOutBecause.BILLING_ACCOUNT
    return LeftOutBecause.ANOTHER_ACCOUNT
