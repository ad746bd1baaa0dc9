"""The readers follow the collections: once per window, again after a repair, and for a backfill only its rollups."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from optiinfra_dagster.automation import ledger_watch
from optiinfra_dagster.automation.jobs import READERS_JOB
from optiinfra_dagster.automation.ledger_watch import LedgerCache
from optiinfra_dagster.automation.readers_sensor import (
    APPLICATION_READERS,
    READER_TABLES,
    TRENDS_TABLE,
    readers_requests,
    stale_applications,
)
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.sql import readers
from tests.automation.conftest import NOW, W0, Ledger, before, start_run

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from tests.support.spine import Spine

Ask = Callable[..., list[str] | str]
MINUTE = timedelta(minutes=1)


@pytest.fixture
def ask(instance: dg.DagsterInstance, spine: Spine) -> Ask:
    """The windows that the sensor asks readers of, as "HH:MM-HH:MM"; or why it asks for none."""

    def ask(now: datetime = NOW) -> list[str] | str:
        answer = list(readers_requests(instance, spine.clickhouse, spine.settings, now))
        if isinstance(answer[0], dg.SkipReason):
            assert len(answer) == 1
            return str(answer[0].skip_message)
        return [spell(request) for request in answer if isinstance(request, dg.RunRequest)]

    return ask


def spell(request: dg.RunRequest) -> str:
    tags = request.tags
    return f"{tags['dagster/asset_partition_range_start']}..{tags['dagster/asset_partition_range_end']}"


def stretch(first: datetime, last: datetime | None = None) -> str:
    return f"{windows.key(first)}..{windows.key(last or first)}"


def test_nothing_collected_asks_for_nothing(ask: Ask) -> None:
    assert ask() == "Every reader is up to date."


def test_a_window_is_asked_for_once_its_slices_are_in_and_then_no_more(ask: Ask, ledger: Ledger) -> None:
    ledger.collected(W0)
    assert ask() == [stretch(W0)]
    ledger.readers(W0)
    assert ask() == "Every reader is up to date."


def test_the_newest_window_waits_until_every_due_slice_was_attempted(ask: Ask, ledger: Ledger) -> None:
    ledger.add("resource", [W0])
    ledger.add("performance", [W0], customers=["acme", "globex"])
    assert ask() == "Every reader is up to date."
    ledger.add("performance", [W0], "failed", customers=["initech"])
    assert ask() == [stretch(W0)]


def test_an_incomplete_window_is_read_when_the_next_ones_turn_has_come(ask: Ask, ledger: Ledger) -> None:
    ledger.add("resource", [W0], customers=["acme"])
    assert ask(NOW + windows.WINDOW) == [stretch(W0)]


def test_attempts_that_published_nothing_ask_for_nothing(ask: Ask, ledger: Ledger) -> None:
    ledger.add("resource", [W0, before(1)], "failed")
    ledger.add("performance", [W0, before(1)], "failed")
    assert ask() == "Every reader is up to date."


def test_a_repair_of_one_slice_has_the_windows_readers_computed_again(ask: Ask, ledger: Ledger) -> None:
    ledger.collected(before(3), before(2), before(1), W0)
    ledger.readers(before(3), before(2), before(1), W0)
    ledger.add("performance", [before(2)], customers=["initech"], at=NOW + MINUTE)
    assert ask(NOW + 2 * MINUTE) == [stretch(before(2))]


def test_what_was_published_while_the_readers_were_computed_is_not_missed(ask: Ask, ledger: Ledger) -> None:
    """On a server nothing stops a flush that began before the readers from ending after them."""
    began = int((NOW - MINUTE).timestamp() * 1e9)
    for table in READER_TABLES:
        ledger.add(table, [W0], batch=began + 10)
    ledger.add("resource", [W0], batch=began - 10, at=NOW - 2 * MINUTE)
    ledger.add("performance", [W0], batch=began - 5, at=NOW)
    assert ask() == [stretch(W0)]


def test_an_attempt_that_found_the_same_content_asks_for_nothing(ask: Ask, ledger: Ledger) -> None:
    batch = ledger.add("performance", [W0], at=NOW - MINUTE, batch=int((NOW - MINUTE).timestamp() * 1e9))
    ledger.add("resource", [W0], at=NOW - MINUTE, batch=batch)
    for table in READER_TABLES:
        ledger.add(table, [W0], batch=batch + 10**9)
    ledger.add("performance", [W0], at=NOW, batch=batch)
    assert ask() == "Every reader is up to date."


def test_a_month_that_its_bill_restates_has_the_newest_window_s_readers_computed_once(ask: Ask, ledger: Ledger) -> None:
    """Its days are published before the estimates of the window with which the bill was read."""
    ledger.collected(before(1))
    ledger.readers(before(1))
    midnight = W0.replace(hour=0, minute=0)
    ledger.add("cost_billed", [midnight - timedelta(days=n) for n in range(1, 31)])
    assert ask() == "Every reader is up to date."
    ledger.collected(W0)
    assert ask() == [stretch(W0)]
    ledger.readers(W0)
    assert ask() == "Every reader is up to date."


def test_windows_in_a_row_are_one_run_and_a_gap_makes_two(ask: Ask, ledger: Ledger) -> None:
    ledger.collected(before(5), before(4), before(2), before(1), W0)
    assert ask() == [stretch(before(2), W0), stretch(before(5), before(4))]


def test_the_engine_stays_closed_until_something_is_published_or_a_window_ends(
    instance: dg.DagsterInstance, spine: Spine, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered, quiet = LedgerCache(spine.clickhouse, settling=3 * MINUTE), "Every reader is up to date."
    sessions, session = [], spine.clickhouse.session

    def counted(**named: Any) -> AbstractContextManager[Client]:
        sessions.append(1)
        return session(**named)

    def tick(minutes: int) -> tuple[str | None, bool]:
        sessions.clear()
        asked = readers_requests(instance, spine.clickhouse, spine.settings, NOW + minutes * MINUTE, remembered)
        answer = next(iter(asked))
        return (answer.skip_message if isinstance(answer, dg.SkipReason) else spell(answer)), bool(sessions)

    def merge() -> None:  # as the engine does at any time, and cleans up half a minute later: nothing was written
        with session() as client:
            client.command("OPTIMIZE TABLE metric_batches FINAL")

    monkeypatch.setattr(spine.clickhouse, "session", counted)
    assert [tick(0), tick(1), tick(3), tick(4)] == [(quiet, True)] * 3 + [(quiet, False)]
    ledger.collected(W0)
    merge()
    assert [tick(5), tick(6)] == [(stretch(W0), True)] * 2
    ledger.readers(W0)
    assert [tick(7), tick(10)] == [(quiet, True), (quiet, True)]
    merge()
    assert [tick(11), tick(14)] == [(quiet, False), (quiet, True)]


HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
def requests(instance: dg.DagsterInstance, spine: Spine) -> Callable[..., list[tuple[set[str], str]]]:
    """What the sensor asks for: the readers' names, and the windows."""

    def requests(now: datetime) -> list[tuple[set[str], str]]:
        asked = readers_requests(instance, spine.clickhouse, spine.settings, now)
        return [
            ({key.path[-1] for key in request.asset_selection or ()}, spell(request))
            for request in asked
            if isinstance(request, dg.RunRequest)
        ]

    return requests


def test_a_backfill_has_the_rollups_of_its_hours_computed_and_then_the_newest_trends(
    requests: Callable[..., list[tuple[set[str], str]]], ledger: Ledger
) -> None:
    ledger.collected(W0)
    ledger.readers(W0)
    first = windows.floor_to(DAY, W0) - 40 * DAY + 22 * HOUR
    ledger.add("performance", windows.span(first + windows.WINDOW, first + 4 * HOUR), customers=["acme"])
    ledger.add("performance", [first - 9 * HOUR], customers=["globex"])
    later = NOW + 3 * MINUTE
    # Newest first, each hour once, whichever of its windows were touched.
    assert requests(later) == [
        ({"hourly", "daily"}, stretch(first, first + 4 * HOUR)),
        ({"hourly", "daily"}, stretch(windows.floor_to(HOUR, first - 9 * HOUR))),
    ]
    ledger.rollups(*windows.span(first, first + 4 * HOUR), first - 9 * HOUR, trends=False, at=later)
    assert requests(later + MINUTE) == [({"trends"}, stretch(windows.floor_to(HOUR, W0)))]
    ledger.add(TRENDS_TABLE, [windows.floor_to(HOUR, W0)], at=later + MINUTE)
    assert requests(later + 2 * MINUTE) == []


def test_a_backfill_that_goes_on_is_waited_for_and_one_of_long_ago_is_left_alone(ask: Ask, ledger: Ledger) -> None:
    ledger.collected(W0)
    ledger.readers(W0)
    ledger.add("performance", [before(96)], at=NOW)
    assert ask(NOW + MINUTE) == "Every reader is up to date."
    assert ask(NOW + 3 * MINUTE) == [stretch(windows.floor_to(HOUR, before(96)))]
    ledger.rollups(before(96), at=NOW + 3 * MINUTE)
    ledger.add("performance", [before(960)], at=NOW - 2 * DAY)
    assert ask(NOW + 5 * MINUTE) != [stretch(windows.floor_to(HOUR, before(960)))]


def test_a_backfill_of_inventories_asks_for_nothing(ask: Ask, ledger: Ledger) -> None:
    ledger.collected(W0)
    ledger.readers(W0)
    ledger.add("resource", [before(i) for i in range(25, 96)], at=NOW - 3 * MINUTE)
    assert ask() == "Every reader is up to date."


def test_a_day_whose_hours_were_computed_alone_is_computed_too(
    requests: Callable[..., list[tuple[set[str], str]]], ledger: Ledger
) -> None:
    hour = windows.floor_to(HOUR, before(96))
    ledger.collected(W0)
    ledger.readers(W0)
    ledger.add("performance_hourly", [hour], at=NOW + MINUTE)
    assert requests(NOW + 2 * MINUTE) == [({"daily"}, stretch(windows.floor_to(DAY, hour)))]


def test_no_readers_are_asked_for_while_they_are_being_computed(
    ask: Ask, ledger: Ledger, instance: dg.DagsterInstance
) -> None:
    ledger.collected(W0)
    run = start_run(instance, READERS_JOB)
    assert ask() == f"The readers are being computed by run {run.run_id[:8]}."
    instance.report_run_failed(run)
    assert ask() == [stretch(W0)]


def test_a_failed_run_is_asked_for_again_later_with_a_new_key_and_a_bounded_number_of_times(
    instance: dg.DagsterInstance, spine: Spine, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger.collected(W0)
    spine.settings = spine.settings.model_copy(update={"repair_max_attempts": 1})
    keys = []
    for _ in range(2):
        (request,) = readers_requests(instance, spine.clickhouse, spine.settings, NOW)
        assert isinstance(request, dg.RunRequest)
        keys.append(request.run_key)
        start_run(instance, READERS_JOB, tags=dict(request.tags), status=dg.DagsterRunStatus.FAILURE)
        with monkeypatch.context() as patient:
            patient.setattr(ledger_watch, "FIRST_DELAY", timedelta(hours=5))
            (answer,) = readers_requests(instance, spine.clickhouse, spine.settings, NOW)
            assert isinstance(answer, dg.SkipReason)
            assert answer.skip_message == "The last computation of the readers failed; it is tried again later."
    assert keys[0] != keys[1]
    (answer,) = readers_requests(instance, spine.clickhouse, spine.settings, NOW)
    assert isinstance(answer, dg.SkipReason)


# --- Logs that came late ----------------------------------------------------------------------------------------------


def application(ledger: Ledger, at: datetime, *asked: datetime) -> None:
    """The application family of every customer, published."""
    ledger.add("application", asked, at=at)


def application_readers(ledger: Ledger, at: datetime, *asked: datetime) -> None:
    for key in APPLICATION_READERS:
        ledger.add(readers()[key].table, asked, at=at)


def asked_readers(spine: Spine, now: datetime = NOW) -> list[tuple[tuple[str, ...], str]]:
    """The names of the readers asked for, and of which windows."""
    return [
        (tuple(name for _, name in one.readers), stretch(one.first, one.last))
        for one in stale_applications(spine.clickhouse, spine.settings, now)
    ]


def test_the_readers_of_logs_that_came_hours_late_are_asked_for_once(spine: Spine, ledger: Ledger, ask: Ask) -> None:
    late, names = before(40), tuple(name for _, name in APPLICATION_READERS)
    hours = timedelta(hours=9)
    application(ledger, NOW - hours, late, before(41))
    application_readers(ledger, NOW - hours + MINUTE, late, before(41))
    assert asked_readers(spine) == []
    application(ledger, NOW, late)
    assert asked_readers(spine) == [(names, stretch(late))]
    assert ask() == [stretch(late)]
    application_readers(ledger, NOW + MINUTE, late)
    assert asked_readers(spine) == []
    # An attempt that found nothing new names the batch that holds what it found.
    same = ledger.add("application", [late], at=NOW - hours)
    application_readers(ledger, NOW + 2 * MINUTE, late)
    ledger.add("application", [late], at=NOW + 3 * MINUTE, batch=same)
    assert asked_readers(spine) == []


def test_the_last_window_of_a_past_day_follows_each_of_its_windows(spine: Spine, ledger: Ledger) -> None:
    now = NOW.replace(hour=3, minute=0) + timedelta(days=1)
    midnight = now.replace(hour=0)
    last, late = midnight - windows.WINDOW, midnight - 40 * windows.WINDOW
    application(ledger, now - timedelta(hours=4), late, last)
    application_readers(ledger, now - timedelta(hours=3), late, last)
    assert asked_readers(spine, now) == []
    application(ledger, now, late)
    assert [of for _, of in asked_readers(spine, now)] == [stretch(last), stretch(late)]
    application_readers(ledger, now + MINUTE, late, last)
    assert asked_readers(spine, now) == []


def test_a_backfill_of_applications_from_before_asks_for_none_of_its_readers(spine: Spine, ledger: Ledger) -> None:
    application(ledger, NOW, before(60), before(1000))
    application_readers(ledger, NOW - timedelta(days=9), before(1000))
    assert asked_readers(spine) == []
