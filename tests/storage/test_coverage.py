"""Coverage: a row when a state changes, with since and until, whatever order and how often windows come."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.inventory import ResourceType
from optiinfra_dagster.model.metrics import Coverage, CoverageState
from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.storage import coverage, schema
from optiinfra_dagster.storage.writer import Writer
from tests.support.samples import W, collected, select

if TYPE_CHECKING:
    from optiinfra_dagster.storage.clickhouse import ClickHouse

CPU, MEMORY = "cpu_utilization", "memory_utilization"
OK, DENIED, THROTTLED = CoverageState.COLLECTED, CoverageState.NO_PERMISSION, CoverageState.THROTTLED


def found(states: dict[tuple[str, str], CoverageState]) -> list[Coverage]:
    return [
        Coverage(resource, ResourceType.COMPUTE, metric, state, "" if state is OK else f"why {state}")
        for (resource, metric), state in states.items()
    ]


class Recorder:
    """Collections of one customer, window by window."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self.clickhouse = clickhouse

    def __call__(self, window: int, states: dict[tuple[str, str], CoverageState], **changes: Any) -> None:
        """Publish a window with these states; its values differ each time, so that it is always written."""
        at = W + window * windows.WINDOW
        slices = collected(span=[at], coverage=found(states), **changes)
        Writer(self.clickhouse, schema.PERFORMANCE).flush([slices])

    def states(self) -> set[tuple[str, str, str, int, int | None]]:
        """What the table holds: resource, metric, state, and the windows since and until."""
        rows = select(
            self.clickhouse,
            "SELECT resource_id, metric_name, toString(state) AS state, since, until FROM coverage FINAL",
        )

        def number(time: Any) -> Any:
            return None if time is None else (time - W) // windows.WINDOW

        return {(r["resource_id"], r["metric_name"], r["state"], number(r["since"]), number(r["until"])) for r in rows}

    def written(self) -> int:
        return int(select(self.clickhouse, "SELECT count() AS n FROM coverage")[0]["n"])


@pytest.fixture
def record(clickhouse: ClickHouse) -> Recorder:
    return Recorder(clickhouse)


def test_a_state_is_written_when_it_changes_and_not_before(record: Recorder) -> None:
    for window in range(3):
        record(window, {("i-1", CPU): OK, ("i-1", MEMORY): DENIED})
    assert record.written() == 2
    record(3, {("i-1", CPU): OK, ("i-1", MEMORY): OK})

    assert record.states() == {
        ("i-1", CPU, "collected", 0, None),
        ("i-1", MEMORY, "no_permission", 0, 3),
        ("i-1", MEMORY, "collected", 3, None),
    }
    rows = select(record.clickhouse, "SELECT metric_name, toString(state) AS state FROM coverage_current ORDER BY ALL")
    assert [tuple(row.values()) for row in rows] == [(CPU, "collected"), (MEMORY, "collected")]


def test_a_state_lasts_when_its_resource_is_of_another_type(record: Recorder) -> None:
    """A kind that moves to a type of its own is known as long as before."""
    record(0, {("snap-1", CPU): OK})
    moved = [replace(one, resource_type=ResourceType.SNAPSHOT) for one in found({("snap-1", CPU): OK})]
    for window in (1, 2):
        slices = collected(span=[W + window * windows.WINDOW], values=[window], coverage=moved)
        Writer(record.clickhouse, schema.PERFORMANCE).flush([slices])
    assert record.states() == {("snap-1", CPU, "collected", 0, None)}
    rows = select(record.clickhouse, "SELECT resource_type, since FROM coverage_current")
    assert rows == [{"resource_type": "snapshot", "since": W}]


def test_the_same_window_again_changes_nothing(record: Recorder) -> None:
    record(0, {("i-1", CPU): OK})
    for _ in range(2):
        record(1, {("i-1", CPU): DENIED})
    assert record.states() == {("i-1", CPU, "collected", 0, 1), ("i-1", CPU, "no_permission", 1, None)}


def test_the_same_window_with_another_finding_replaces_the_first(record: Recorder) -> None:
    record(0, {("i-1", CPU): THROTTLED})
    record(0, {("i-1", CPU): OK}, values=[3])
    assert record.states() == {("i-1", CPU, "collected", 0, None)}


def test_a_vanished_resource_is_closed(record: Recorder) -> None:
    record(0, {("i-1", CPU): OK, ("i-2", CPU): OK})
    record(1, {("i-1", CPU): OK})
    assert record.states() == {("i-1", CPU, "collected", 0, None), ("i-2", CPU, "collected", 0, 1)}


@pytest.mark.parametrize("status", [SliceStatus.PARTIAL, SliceStatus.FAILED])
def test_what_could_not_be_collected_is_told_whatever_was_published(record: Recorder, status: SliceStatus) -> None:
    rows = {"rows": None} if status is SliceStatus.FAILED else {}
    record(0, {("i-1", CPU): OK, ("i-2", CPU): OK})
    record(1, {("i-1", CPU): THROTTLED, ("i-2", CPU): DENIED}, status=status, error="throttled", **rows)
    assert record.states() == {
        ("i-1", CPU, "collected", 0, 1),
        ("i-1", CPU, "throttled", 1, None),
        ("i-2", CPU, "collected", 0, 1),
        ("i-2", CPU, "no_permission", 1, None),
    }
    record(0, {("i-1", CPU): DENIED}, values=[9])  # older than the attempt that failed, so it says nothing
    assert ("i-1", CPU, "throttled", 1, None) in record.states()


def test_an_older_window_says_nothing_of_the_present(record: Recorder) -> None:
    record(5, {("i-1", CPU): OK})
    record(7, {("i-1", CPU): OK})
    before = record.states()
    record(6, {("i-1", CPU): DENIED, ("gone", CPU): OK})
    record(1, {("gone", CPU): OK})
    assert record.states() == before


def test_windows_after_everything_vanished_do_not_bring_back_the_past(record: Recorder) -> None:
    record(3, {("i-1", CPU): OK})
    record(5, {})
    record(3, {("i-1", CPU): OK}, values=[9])
    assert record.states() == {("i-1", CPU, "collected", 3, 5)}


def test_of_several_windows_in_a_flush_the_newest_counts(record: Recorder) -> None:
    batch = [
        collected(span=[W + n * windows.WINDOW], coverage=found({("i-1", CPU): state}))
        for n, state in ((0, DENIED), (5, OK), (3, THROTTLED))
    ]
    Writer(record.clickhouse, schema.PERFORMANCE).flush(batch)
    assert record.states() == {("i-1", CPU, "collected", 5, None)}


def test_customers_and_providers_are_apart(record: Recorder) -> None:
    at = [W]
    batch = [
        collected("acme", at, coverage=found({("i-1", CPU): OK})),
        collected("acme", at, provider="gcp", coverage=found({("g-1", CPU): OK})),
        collected("hooli", at, coverage=found({("i-1", CPU): DENIED})),
    ]
    Writer(record.clickhouse, schema.PERFORMANCE).flush(batch)
    Writer(record.clickhouse, schema.PERFORMANCE).flush([collected("acme", [W + windows.WINDOW], coverage=[])])
    rows = select(
        record.clickhouse, "SELECT customer_id, provider, until IS NULL AS open FROM coverage FINAL ORDER BY ALL"
    )
    assert [tuple(row.values()) for row in rows] == [("acme", "aws", 0), ("acme", "gcp", 1), ("hooli", "aws", 1)]


def test_a_change_wins_although_the_clock_went_backwards(clickhouse: ClickHouse, record: Recorder) -> None:
    with clickhouse.session() as client:
        for window, state, version in ((0, OK, 1000), (1, DENIED, 10)):
            seen = coverage.WindowCoverage("acme", "aws", W + window * windows.WINDOW, found({("i-1", CPU): state}))
            coverage.record(client, "performance", [seen], version)
    assert record.states() == {("i-1", CPU, "collected", 0, 1), ("i-1", CPU, "no_permission", 1, None)}


def test_what_was_over_long_ago_is_forgotten_and_does_not_come_back(clickhouse: ClickHouse, record: Recorder) -> None:
    record(0, {("i-1", CPU): OK, ("i-2", CPU): OK})
    record(1, {("i-1", CPU): DENIED})
    record(2, {("i-1", CPU): OK})
    with clickhouse.session() as client:
        coverage.forget(client, W + 2 * windows.WINDOW)
        assert record.states() == {("i-1", CPU, "no_permission", 1, 2), ("i-1", CPU, "collected", 2, None)}
        client.command("OPTIMIZE TABLE coverage FINAL")
        coverage.forget(client, W + 2 * windows.WINDOW)
    assert record.states() == {("i-1", CPU, "no_permission", 1, 2), ("i-1", CPU, "collected", 2, None)}
