"""Calendar months, each named by its first day: bills are restated and closed by the month."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TypeVar

Day = TypeVar("Day", bound=date)  # a date, or a datetime, which keeps its time of day


def first_of_month(day: Day) -> Day:
    """The first day of the month that holds `day`."""
    return day.replace(day=1)


def start_of_month(time: datetime) -> datetime:
    """The first moment of the month that holds `time`, in its own zone."""
    return first_of_month(time).replace(hour=0, minute=0, second=0, microsecond=0)


def first_of_next_month(day: Day) -> Day:
    """The first day of the month after that of `day`."""
    return first_of_month(first_of_month(day) + timedelta(days=31))


def first_of_month_before(day: Day) -> Day:
    """The first day of the month before that of `day`."""
    return first_of_month(first_of_month(day) - timedelta(days=1))
