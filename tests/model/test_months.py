"""Calendar months: the first day of a month, of the next one and of the one before."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest

from optiinfra_dagster.model.months import first_of_month, first_of_month_before, first_of_next_month


@pytest.mark.parametrize(
    ("day", "before", "first", "following"),
    [
        (date(2026, 3, 31), date(2026, 2, 1), date(2026, 3, 1), date(2026, 4, 1)),
        (date(2026, 1, 1), date(2025, 12, 1), date(2026, 1, 1), date(2026, 2, 1)),
        (date(2026, 1, 31), date(2025, 12, 1), date(2026, 1, 1), date(2026, 2, 1)),
        (date(2026, 2, 28), date(2026, 1, 1), date(2026, 2, 1), date(2026, 3, 1)),
        (date(2028, 2, 29), date(2028, 1, 1), date(2028, 2, 1), date(2028, 3, 1)),
        (date(2026, 12, 31), date(2026, 11, 1), date(2026, 12, 1), date(2027, 1, 1)),
    ],
)
def test_the_month_of_a_day_and_its_neighbours(day: date, before: date, first: date, following: date) -> None:
    assert (first_of_month_before(day), first_of_month(day), first_of_next_month(day)) == (before, first, following)


def test_a_time_stays_the_same_time_of_day() -> None:
    assert first_of_month(datetime(2026, 11, 21, 10, 15, tzinfo=UTC)) == datetime(2026, 11, 1, 10, 15, tzinfo=UTC)
