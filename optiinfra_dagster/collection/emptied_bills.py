"""Keeps what is published of a month where its bill has become empty: nothing is no statement of zero.

Azure's Cost Management may answer 204 or no rows, and Cost Explorer days without amounts; an export's run may have a
head and no rows, and a list of invoices be empty for a moment. Where a month really costs nothing any more, there are
lines that say so, such as credits or amounts of zero. No document says what Azure's 204 means: it is taken for unknown.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping
    from datetime import date

    from optiinfra_dagster.model.cost import Bill, Charge, LeftOut

_REMEDY = (
    "They stay as they are, and are read again with the next collection. If it is right that nothing is charged, "
    "collect them with `optiinfra collect --refresh`"
)


def without_emptied(bill: Bill, charged: Callable[[Mapping[str, Collection[date]]], Mapping[str, set[date]]]) -> Bill:
    """The bill without the months that have no lines and had charges before, which are told as a problem.

    Args:
        bill: of some sources, with the days that were read.
        charged: of some days of each source, those that are published with charges; of a source that tells statements,
            the first days of the months whose statements are.
    """
    suspects = {source_id: days for source_id in bill.read if (days := _without_lines(bill, source_id))}
    if not suspects:
        return bill
    emptied = {source_id: {day.replace(day=1) for day in days} for source_id, days in charged(suspects).items() if days}
    for source_id, months in sorted(emptied.items()):
        named = " and ".join(f"{month:%Y-%m}" for month in sorted(months))
        text = f"the bill has nothing of {named} now, and had charges before. {_REMEDY}"
        bill.problems.append(Problem(source_id, "", "", Cause.INCOMPLETE, text))

    def is_kept(source_id: str, day: date) -> bool:
        return day.replace(day=1) not in emptied.get(source_id, ())

    return replace(
        bill,
        totals=[total for total in bill.totals if is_kept(total.billing_account_id, total.day)],
        read={name: [day for day in days if is_kept(name, day)] for name, days in bill.read.items()},
        arriving={name: {day for day in days if is_kept(name, day)} for name, days in bill.arriving.items()},
        periods={name: {month for month in months if is_kept(name, month)} for name, months in bill.periods.items()},
    )


def _without_lines(bill: Bill, source_id: str) -> list[date]:
    """The days that were read of months of which the bill has no line; of statements, these months' first days."""
    by_statement = bill.periods.get(source_id)
    parts: list[Charge | LeftOut] = [*bill.charges, *bill.left_out]
    told = {
        part.billing_period if by_statement else part.day.replace(day=1)
        for part in parts
        if part.billing_account_id == source_id
    }
    days = by_statement or bill.read[source_id]
    return sorted(day for day in days if day.replace(day=1) not in told)
