"""The times that a row's own figures are of, which may be part of what its reader reads."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.months import first_of_month, first_of_month_before, first_of_next_month

if TYPE_CHECKING:
    from collections.abc import Mapping

_DAY = timedelta(days=1)


def times(row: Mapping[str, Any], begin: datetime, end: datetime) -> tuple[datetime, datetime] | None:
    """The times, from a row of the slice `begin` to `end`, by its `period` or `days`; None where it has neither.

    A row with a change has the equal period before it as well.
    """
    day = begin.replace(hour=0, minute=0)
    period = row.get("period")
    if isinstance(first := row.get("period_start"), date) and not isinstance(first, datetime):
        start = datetime(first.year, first.month, first.day, tzinfo=UTC)
        length = {"day": _DAY, "week": 7 * _DAY}.get(str(period))
        if length:
            return start - length, min(end, start + length)
        return first_of_month_before(start), min(end, first_of_next_month(start))
    if period in _PERIODS:
        return _of_period(str(period), begin, end)
    if isinstance(days := row.get("days"), int) and "change_percent" in row:
        return end - 2 * days * _DAY, end
    if isinstance(days, int) and "measured_known" in row:
        return day - days * _DAY, day
    return None


_PERIODS = frozenset({"window", "hour", "day", "today", "yesterday", "last_30_days", "month_to_date"})


def _of_period(period: str, begin: datetime, end: datetime) -> tuple[datetime, datetime]:
    day = begin.replace(hour=0, minute=0)
    if period == "yesterday":
        return day - _DAY, day
    if period == "last_30_days":
        return day - 30 * _DAY, day
    first = {"window": begin, "hour": begin.replace(minute=0), "month_to_date": first_of_month(day)}.get(period, day)
    return first, end
