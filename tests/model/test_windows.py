"""Windows: quarters of an hour in UTC, whatever zone a time comes in."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optiinfra_dagster.assets.partitions import window_partitions
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError

T = datetime(2026, 11, 21, 10, 15, tzinfo=UTC)

# Zones are whole minutes, as everywhere since 1972.
zoned = st.datetimes(
    datetime(2000, 1, 1),  # noqa: DTZ001 - the zones are drawn
    datetime(2100, 1, 1),  # noqa: DTZ001
    timezones=st.integers(-840, 840).map(lambda m: timezone(timedelta(minutes=m))),
)


@given(zoned)
def test_a_time_is_in_its_window(time: datetime) -> None:
    start = windows.floor(time)
    assert start <= time < start + windows.WINDOW
    assert (start.tzinfo, start.minute % 15, start.second, start.microsecond) == (UTC, 0, 0, 0)
    assert windows.floor(start) == start


@given(zoned)
def test_a_key_names_one_window(time: datetime) -> None:
    start = windows.floor(time)
    assert windows.from_key(windows.key(start)) == start
    assert windows.key(start.astimezone(timezone(timedelta(hours=5, minutes=30)))) == windows.key(start)


def test_keys_are_dagsters_partition_keys() -> None:
    partitions = window_partitions(datetime(2026, 11, 1, tzinfo=UTC))
    keys = partitions.get_partition_keys(current_time=datetime(2026, 11, 1, 1, 7, tzinfo=UTC))
    assert keys == [windows.key(w) for w in windows.span(windows.from_key(keys[0]), windows.from_key(keys[-1]))]
    assert keys == ["2026-11-01T00:00Z", "2026-11-01T00:15Z", "2026-11-01T00:30Z", "2026-11-01T00:45Z"]
    span = partitions.time_window_for_partition_key(keys[1])
    assert span.end - span.start == windows.WINDOW
    assert span.start.timestamp() == windows.from_key(keys[1]).timestamp()


def test_partitions_start_in_utc_whatever_the_zone() -> None:
    start = datetime(2026, 11, 1, 2, tzinfo=timezone(timedelta(hours=2)))
    assert window_partitions(start).get_first_partition_key() == "2026-11-01T00:00Z"


@pytest.mark.parametrize(
    ("minutes", "lag", "newest"),
    [(15, 0, 0), (19, 5, -15), (20, 5, 0), (29, 5, 0), (30, 0, 15), (34, 5, 0), (35, 5, 15)],
)
def test_the_newest_window_closed_at_least_the_lag_ago(minutes: int, lag: int, newest: int) -> None:
    found = windows.newest_collectable(T + timedelta(minutes=minutes), timedelta(minutes=lag))
    assert found == T + timedelta(minutes=newest)


def test_a_span_holds_both_ends() -> None:
    assert windows.span(T, T) == [T]
    assert windows.span(T, T + 2 * windows.WINDOW) == [T, T + windows.WINDOW, T + 2 * windows.WINDOW]
    assert windows.span(T, T - windows.WINDOW) == []


@given(st.lists(st.integers(0, 40)))
def test_stretches_are_the_windows_again(offsets: list[int]) -> None:
    given_windows = [T + i * windows.WINDOW for i in offsets]
    stretches = list(windows.runs_of(given_windows))
    assert [w for first, last in stretches for w in windows.span(first, last)] == sorted(set(given_windows))
    assert all(later[0] - earlier[1] > windows.WINDOW for earlier, later in itertools.pairwise(stretches))


@pytest.mark.parametrize("text", ["2026-11-21T10:15Z", "2026-11-21T10:15:00+00:00", "2026-11-21T11:15+01:00"])
def test_a_typed_time_is_an_instant(text: str) -> None:
    assert windows.parse_time(text, "--from") == T


@pytest.mark.parametrize(
    ("text", "remedy"),
    [
        ("yesterday", "is not a time: write it as"),
        ("2026-11-21T10:15", "add Z for UTC, as in 2026-11-21T10:15Z"),
        ("0001-01-01T00:00+14:00", "is too far from now: write a year from 2000 to 2999"),
        ("1700-01-01T00:00Z", "is too far from now"),
        ("9999-12-31T23:59-12:00", "is too far from now"),
    ],
)
def test_a_typed_time_that_is_unclear_is_refused(text: str, remedy: str) -> None:
    with pytest.raises(ConfigError, match=remedy):
        windows.parse_time(text, "--from")
