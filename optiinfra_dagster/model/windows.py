"""The 15-minute windows everything is partitioned by: their starts, their keys, and when each may be collected.

A window is named by its start, a zoned UTC datetime on a quarter of an hour; it covers [start, start + 15 min).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

WINDOW = timedelta(minutes=15)
KEY_FORMAT = "%Y-%m-%dT%H:%MZ"

_YEARS = range(2000, 3000)  # of times that people type

# The performance read reaches this far back before its window: a point that a cloud delivered late is corrected there.
OVERLAP = WINDOW


def floor(time: datetime) -> datetime:
    """The start of the window that holds `time`."""
    utc = time.astimezone(UTC)
    return utc.replace(minute=utc.minute // 15 * 15, second=0, microsecond=0)


def floor_to(length: timedelta, window: datetime) -> datetime:
    """The start of the hour, day or other part of a day, `length` long, that holds `window`."""
    midnight = window.replace(hour=0, minute=0, second=0, microsecond=0)
    return window - (window - midnight) % length


def key(window: datetime) -> str:
    """The partition key of a window: `2026-11-21T10:15Z`."""
    return window.astimezone(UTC).strftime(KEY_FORMAT)


def from_key(partition_key: str) -> datetime:
    """The window of a partition key."""
    return datetime.strptime(partition_key, KEY_FORMAT).replace(tzinfo=UTC)


def newest_collectable(now: datetime, lag: timedelta) -> datetime:
    """The newest window that closed at least `lag` ago."""
    return floor(now - lag) - WINDOW


def span(first: datetime, last: datetime) -> list[datetime]:
    """Every window from `first` to `last`, both included."""
    return [first + i * WINDOW for i in range((last - first) // WINDOW + 1)]


def within(start: datetime, length: timedelta) -> list[datetime]:
    """Every window of the hour, day or other stretch of time that begins at `start`."""
    return span(start, start + length - WINDOW)


def runs_of(windows: Sequence[datetime]) -> Iterator[tuple[datetime, datetime]]:
    """The contiguous stretches of `windows` as (first, last), in order."""
    stretch: tuple[datetime, datetime] | None = None
    for window in sorted(set(windows)):
        if stretch and window - stretch[1] == WINDOW:
            stretch = (stretch[0], window)
        else:
            if stretch:
                yield stretch
            stretch = (window, window)
    if stretch:
        yield stretch


def parse_time(text: str, option: str) -> datetime:
    """A time typed by a person, as zoned UTC; `option` names where it stands.

    Raises:
        UsageError: not ISO 8601, without a zone, or of a year of which nothing can be known.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} {text!r} is not a time: write it as 2026-11-21T10:15Z.") from None
    if time.tzinfo is None:
        raise UsageError(
            f"{option} {text!r} has no time zone: add Z for UTC, as in {time:%Y-%m-%dT%H:%M}Z, or an offset (+01:00)."
        )
    if time.year not in _YEARS:
        raise UsageError(f"{option} {text} is too far from now: write a year from {_YEARS[0]} to {_YEARS[-1]}.")
    return time.astimezone(UTC)
