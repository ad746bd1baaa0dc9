"""What the repair sensor asks for again: failed and missing slices, boundedly, later and later, in few runs."""

from __future__ import annotations

import fcntl
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from optiinfra_dagster import assembly
from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.assets.scope import WHOLE, Scope, shard_of, shards
from optiinfra_dagster.automation import ledger_watch, repair_plan, repair_sensor, run_tags
from optiinfra_dagster.automation.ledger_watch import retry_delay
from optiinfra_dagster.automation.repair_plan import Attempts, Repair, plan_repairs, with_crashes
from optiinfra_dagster.automation.repair_sensor import read_attempts, repair_requests
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.config.shards import Shards
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import CUSTOMERS_FILE, load_customers
from optiinfra_dagster.storage.sql import read_sql
from tests.automation.conftest import NOW, W0, Ledger, before, start_run
from tests.support.spine import ACCOUNTS, Spine

BOTH = ("resource", "performance")
MINUTE = timedelta(minutes=1)
OWNERS = {(customer, "aws") for customer in ACCOUNTS}
NOTHING = "Nothing to repair that is due."


def read(spine: Spine, now: datetime) -> tuple[dict[repair_plan.Slice, Attempts], set[repair_plan.Owner]]:
    return read_attempts(spine.clickhouse, load_customers(spine.settings.customers_path), spine.settings, now)


def plan(spine: Spine, now: datetime = NOW) -> list[Repair]:
    attempts, earlier = read(spine, now)
    return plan_repairs(load_customers(spine.settings.customers_path), attempts, spine.settings, now, earlier)


def repair(
    families: Sequence[str], customers: Sequence[str], first: datetime, last: datetime | None = None, attempt: int = 0
) -> Repair:
    return Repair("aws", tuple(families), tuple(customers), first, last or first, attempt)


def test_what_is_published_is_not_asked_for(spine: Spine, ledger: Ledger) -> None:
    ledger.collected(before(2), before(1), W0)
    assert plan(spine) == []


def test_a_transient_failure_is_asked_for_again_once_its_delay_is_over(spine: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0])
    ledger.add("performance", [W0], customers=["acme", "globex"])
    ledger.add("performance", [W0], "failed", customers=["initech"], error="throttled")
    assert plan(spine, NOW + 4 * MINUTE) == []
    assert plan(spine, NOW + 5 * MINUTE) == [repair(["performance"], ["initech"], W0, attempt=1)]


@pytest.mark.parametrize("status", ["failed", "partial"])
def test_what_only_a_person_can_remedy_is_left_alone(spine: Spine, ledger: Ledger, status: str) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0])
    ledger.add("performance", [W0], status, permanent=True, error="AccessDenied")
    assert plan(spine, NOW + 10 * MINUTE) == []


@pytest.mark.parametrize("status", ["failed", "partial"])
def test_what_a_person_has_remedied_is_asked_for_again(spine: Spine, ledger: Ledger, status: str) -> None:
    """A later window was published since: metrics and costs of the days before the remedy can still be had."""
    every = windows.span(before(4), W0)
    ledger.add("resource", every)
    ledger.add("performance", every, customers=["acme", "globex"])

    def refuse(asked: Sequence[datetime], at: datetime) -> None:
        ledger.add("performance", asked, status, customers=["initech"], permanent=True, error="AccessDenied", at=at)

    for window in every[:-1]:
        refuse([window], window + windows.WINDOW + 5 * MINUTE)
    assert plan(spine, NOW) == []
    ledger.add("performance", [W0], customers=["initech"], at=NOW)
    assert plan(spine, NOW) == [repair(["performance"], ["initech"], before(4), before(1), attempt=1)]
    refuse(every[:-1], NOW + MINUTE)  # it was not that after all
    assert plan(spine, NOW + 12 * MINUTE) == []


def test_a_partial_slice_is_asked_for_again(spine: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0])
    ledger.add("performance", [W0], "partial")
    assert plan(spine, NOW + 5 * MINUTE) == [repair(["performance"], sorted(ACCOUNTS), W0, attempt=1)]


@pytest.mark.parametrize("statuses", [["ok", "failed"], ["failed", "partial", "ok"], ["not_due", "ok", "failed"]])
def test_a_slice_that_was_ever_whole_needs_nothing(spine: Spine, ledger: Ledger, statuses: list[str]) -> None:
    """A run without refresh would skip it, and leave no trace that it was asked for."""
    ledger.collected(before(1))
    ledger.add("resource", [W0])
    for i, status in enumerate(statuses):
        ledger.add("performance", [W0], status, at=NOW + timedelta(seconds=i))
    assert plan(spine, NOW + 10 * MINUTE) == []


def test_a_missing_slice_is_asked_for_after_the_schedule_had_its_turn(spine: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    turn = W0 + windows.WINDOW + timedelta(minutes=5)
    assert plan(spine, turn + windows.WINDOW) == []
    assert plan(spine, turn + windows.WINDOW + MINUTE / 60) == [repair(BOTH, sorted(ACCOUNTS), W0)]


def test_windows_from_before_a_customer_came_are_not_missing(spine: Spine, ledger: Ledger) -> None:
    ledger.add("resource", [before(3)], customers=["acme"])
    ledger.add("resource", [before(5)], customers=["globex"])
    asked = {(c, r.first) for r in plan(spine) for c in r.customers if "performance" in r.families}
    assert {customer for customer, _ in asked} == {"acme", "globex"}
    assert min(first for customer, first in asked if customer == "acme") == before(3)
    assert min(first for customer, first in asked if customer == "globex") == before(5)


def test_a_customer_from_before_the_lookback_misses_all_of_it(spine: Spine, ledger: Ledger) -> None:
    """The daemon was away for longer than the lookback, and now the schedule has collected one window."""
    ledger.collected(before(4 * 24 + 20))
    ledger.collected(W0)
    (only,) = [r for r in plan(spine) if r.families == ("performance",)]
    assert (only.first, only.last) == (before(4 * 24), before(2))


def test_nothing_before_the_partitions_begin_is_asked_for(spine: Spine, ledger: Ledger) -> None:
    ledger.collected(before(8))
    spine.settings = spine.settings.model_copy(update={"partitions_start": before(5)})
    assert min(r.first for r in plan(spine)) == before(5)


def test_an_inventory_is_asked_for_only_while_it_can_be_taken(spine: Spine, ledger: Ledger) -> None:
    ledger.collected(before(6))
    asked = plan(spine)
    assert [r for r in asked if "resource" in r.families] == [repair(BOTH, sorted(ACCOUNTS), before(1))]
    assert [r for r in asked if "resource" not in r.families] == [
        repair(["performance"], sorted(ACCOUNTS), before(5), before(2))
    ]


def test_a_poll_customers_windows_are_missing_only_when_the_poll_is_over(spine: Spine, ledger: Ledger) -> None:
    spine.extra["acme"] = {"poll_minutes": 60}
    spine.write_customers("http://127.0.0.1:9", ["acme"], families=["resource", "performance"])
    hour = NOW.replace(minute=0) - timedelta(hours=2)
    polled = [hour + i * windows.WINDOW for i in range(4)]
    every = windows.span(hour, hour + timedelta(hours=6))
    ledger.add("resource", every, customers=["acme"])
    ledger.add("performance", polled[:3], "not_due", customers=["acme"])
    turn = hour + timedelta(hours=1, minutes=5)
    assert plan(spine, turn + windows.WINDOW) == []
    assert plan(spine, turn + windows.WINDOW + MINUTE) == [repair(["performance"], ["acme"], hour, polled[3])]


def test_the_retries_within_a_run_are_one_attempt(spine: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0])
    for _ in range(3):
        ledger.add("performance", [W0], "failed", run_id="one")
    (only,) = plan(spine, NOW + 5 * MINUTE)
    assert only.attempt == 1


def test_a_slice_is_tried_again_as_often_as_the_setting_says_and_ever_later(spine: Spine, ledger: Ledger) -> None:
    spine.settings = spine.settings.model_copy(update={"repair_max_attempts": 3, "snapshot_grace_minutes": 1440})
    ledger.collected(W0 - windows.WINDOW)
    ledger.add("performance", [W0])
    ledger.add("resource", [W0], "failed", at=NOW)
    customers = load_customers(spine.settings.customers_path)
    waits, last = [], NOW
    while True:
        attempts, _ = read(spine, NOW)
        only = {key: value for key, value in attempts.items() if key[3] == W0}
        asked_at = next(
            (
                minute
                for minute in range(1, 120)
                if any(r.attempt for r in plan_repairs(customers, only, spine.settings, last + minute * MINUTE))
            ),
            None,
        )
        if asked_at is None:
            break
        waits.append(asked_at)
        last += asked_at * MINUTE
        ledger.add("resource", [W0], "failed", at=last)
    assert waits == [5, 10, 20]


def test_delays_double_and_end_at_six_hours() -> None:
    assert [retry_delay(i) / MINUTE for i in range(1, 6)] == [5, 10, 20, 40, 80]
    assert retry_delay(100) == timedelta(hours=6)


def test_metrics_are_not_retried_while_their_inventory_waits_for_a_person(spine: Spine, ledger: Ledger) -> None:
    """They would fail again for want of an inventory, up to five times in each of a day's windows."""
    ledger.collected(before(1))
    ledger.add("resource", [W0], customers=["acme", "globex"])
    for window in (before(3), before(2), before(1), W0):
        ledger.add("resource", [window], "failed", permanent=True, customers=["newcomer"])
        ledger.add("performance", [window], "failed", customers=["newcomer"], error="no inventory")
    described = {"id": "newcomer", "name": "N", "families": BOTH, "aws": [{"account_id": "4" * 12}]}
    customers = [CUSTOMERS_FILE.customer_type.model_validate(described)]
    later = NOW + 8 * MINUTE
    attempts, _ = read_attempts(spine.clickhouse, customers, spine.settings, later)
    assert plan_repairs(customers, attempts, spine.settings, later) == []
    ledger.add("resource", [W0], customers=["newcomer"], at=later)  # a person has helped
    attempts, _ = read_attempts(spine.clickhouse, customers, spine.settings, later)
    assert plan_repairs(customers, attempts, spine.settings, later) == [
        repair(["performance"], ["newcomer"], W0, attempt=1),  # the others once that one is well
        repair(["resource"], ["newcomer"], before(1), attempt=1),  # which can still be taken
    ]


# --- Grouping --------------------------------------------------------------------------------------------------------

NAMES = ["a", "b", "c"]
SLICES = st.tuples(st.sampled_from(BOTH), st.sampled_from(NAMES), st.just("aws"), st.integers(0, 7).map(before))
KNOWN = st.builds(
    Attempts,
    st.sampled_from(["ok", "failed", "partial", "not_due", "missing"]),
    st.booleans(),
    st.integers(0, 7),
    st.integers(0, 400).map(lambda minutes: NOW - minutes * MINUTE),
)


@given(attempts=st.dictionaries(SLICES, KNOWN, max_size=40))
def test_every_slice_is_asked_for_at_most_once_and_none_that_is_whole_or_beyond_help(
    attempts: Mapping[tuple[str, str, str, datetime], Attempts],
) -> None:
    customers = [
        CUSTOMERS_FILE.customer_type.model_validate({"id": n, "name": n, "aws": [{"account_id": "1" * 12}]})
        for n in NAMES
    ]
    settings = Settings.model_validate({"DAGSTER_HOME": "nowhere"})
    asked = [one for r in plan_repairs(customers, attempts, settings, NOW) for one in r.slices]
    assert len(asked) == len(set(asked))
    for one in asked:
        family, _, _, window = one
        known = attempts.get(one)
        assert W0 >= window >= min(w for *_, w in attempts)
        assert family != "resource" or window >= NOW - timedelta(minutes=45)
        if known and known.status != "ok":  # between others it is skipped, at no cost
            assert known.count <= settings.repair_max_attempts
            well = [k.last for (f, c, _, _), k in attempts.items() if (f, c, k.status) == (family, one[1], "ok")]
            is_remedied = any(at > known.last for at in well)
            assert is_remedied or not (known.permanent and known.status in {"failed", "partial"})
    for r in plan_repairs(customers, attempts, settings, NOW):
        for edge in (r.first, r.last):
            for customer in r.customers:
                of_edge = [attempts.get((family, customer, "aws", edge)) for family in r.families]
                assert not any(of_family and of_family.status == "ok" for of_family in of_edge)


def test_customers_with_the_same_gap_share_a_run(spine: Spine, ledger: Ledger) -> None:
    ledger.collected(before(5))
    ledger.add("resource", windows.span(before(4), W0))
    ledger.add("performance", windows.span(before(4), W0), customers=["globex"])
    assert plan(spine) == [repair(["performance"], ["acme", "initech"], before(4), before(1))]


def fail(ledger: Ledger, *asked: datetime, at: datetime = NOW, times: int = 1) -> None:
    """Attempts at Initech's metrics that failed."""
    for _ in range(times):
        ledger.add("performance", asked, "failed", customers=["initech"], at=at, error="throttled")


def test_while_the_newest_window_fails_only_that_one_is_tried(spine: Spine, ledger: Ledger) -> None:
    every = windows.span(before(8), W0)
    ledger.add("resource", every)
    ledger.add("performance", every, customers=["acme", "globex"])
    for window in every:
        fail(ledger, window, at=window + windows.WINDOW + 5 * MINUTE)
    assert plan(spine, NOW + 5 * MINUTE) == [repair(["performance"], ["initech"], W0, attempt=1)]


def test_once_it_is_well_all_that_failed_shares_a_run(spine: Spine, ledger: Ledger) -> None:
    """Also over a window that is whole, and with one whose own delay is not over."""
    every = windows.span(before(8), before(1))
    ledger.add("resource", [*every, W0])
    ledger.add("performance", [*every, W0], customers=["acme", "globex"])
    ledger.add("performance", [before(4), W0], customers=["initech"])
    for window in every:
        if window != before(4):
            fail(ledger, window, at=window + windows.WINDOW + 5 * MINUTE)
    fail(ledger, before(1), at=NOW - MINUTE, times=2)
    assert plan(spine) == [repair(["performance"], ["initech"], before(8), before(1), attempt=3)]


def test_what_the_ledger_is_asked_for_is_only_of_those_who_lack_something(spine: Spine, ledger: Ledger) -> None:
    every = windows.span(before(20), W0)
    ledger.add("resource", every)
    ledger.add("performance", every, customers=["acme", "globex"])
    ledger.add("performance", every[:-3], customers=["initech"])
    ledger.add("performance", [before(30 * 4)])
    attempts, earlier = read(spine, NOW)
    assert {owner for _, owner, _, _ in attempts} | {owner for owner, _ in earlier} == {"acme", "globex", "initech"}
    ledger.add("resource", windows.span(before(96), before(21)))
    ledger.add("performance", windows.span(before(96), before(21)))
    attempts, earlier = read(spine, NOW)
    assert {owner for _, owner, _, _ in attempts} | {owner for owner, _ in earlier} == {"initech"}
    assert plan(spine) == [repair(["performance"], ["initech"], before(2), before(1))]


# --- Requests --------------------------------------------------------------------------------------------------------


def ask(instance: dg.DagsterInstance, spine: Spine, now: datetime = NOW) -> list[dg.RunRequest | str]:
    """The runs that the sensor asks for, or why it asks for none."""
    return [
        str(answer.skip_message) if isinstance(answer, dg.SkipReason) else answer
        for answer in repair_requests(instance, spine.clickhouse, spine.settings, now)
    ]


@pytest.fixture
def gap(ledger: Ledger) -> datetime:
    """Initech misses the metrics of three windows; the last of them is returned."""
    ledger.collected(before(5))
    ledger.add("resource", windows.span(before(4), W0))
    ledger.add("performance", windows.span(before(4), W0), customers=["acme", "globex"])
    ledger.add("performance", [before(1), W0], customers=["initech"])
    return before(2)


def test_the_month_before_is_read_only_of_those_who_may_have_come_later(
    spine: Spine, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def read(name: str) -> str:
        asked.append(name)
        return read_sql(name)

    monkeypatch.setattr(repair_sensor, "read_sql", read)
    first = before(spine.settings.repair_lookback_hours * 4)
    ledger.collected(first)
    customers = load_customers(spine.settings.customers_path)
    assert read_attempts(spine.clickhouse, customers, spine.settings, NOW)[1] == set()
    assert "queries/collected_before" not in asked
    # One whose first attempt in sight is later: did it come then, or does it lack what was before?
    with spine.clickhouse.session() as client:
        client.command("TRUNCATE TABLE metric_batches")
    ledger.collected(first - windows.WINDOW, first + windows.WINDOW)
    assert {owner[0] for owner in read_attempts(spine.clickhouse, customers, spine.settings, NOW)[1]} == set(ACCOUNTS)
    assert "queries/collected_before" in asked


def test_a_gap_is_one_range_run_limited_to_its_family_and_customer(
    instance: dg.DagsterInstance, spine: Spine, gap: datetime
) -> None:
    (request,) = ask(instance, spine)
    assert isinstance(request, dg.RunRequest)
    assert request.job_name == "aws_collection"
    assert request.asset_selection == [dg.AssetKey(["aws", "performance"])]
    assert request.run_config == {"resources": {"scope": {"config": {"customers": ["initech"]}}}}
    assert request.tags["dagster/asset_partition_range_start"] == windows.key(before(4))
    assert request.tags["dagster/asset_partition_range_end"] == windows.key(gap)
    assert request.tags["dagster/retry_on_asset_or_op_failure"] == "false"


def test_what_is_being_collected_is_not_repaired_meanwhile(
    instance: dg.DagsterInstance, spine: Spine, gap: datetime
) -> None:
    waiting = ["Waiting for the runs of aws."]
    scheduled = {"dagster/schedule_name": "aws_every_15_minutes", "dagster/partition": windows.key(W0)}
    for tags in ({}, scheduled, run_tags.range_tags(gap, W0)):
        run = start_run(instance, "aws_collection", tags=tags)
        assert ask(instance, spine) == waiting
        instance.report_run_failed(run)
        assert ask(instance, spine) != waiting


@pytest.mark.parametrize(
    ("first", "last"), [(before(95), before(5)), (before(0), W0)], ids=["a long backfill", "the newest window"]
)
def test_a_run_of_other_windows_does_not_hold_a_repair_up(
    instance: dg.DagsterInstance, spine: Spine, gap: datetime, first: datetime, last: datetime
) -> None:
    start_run(instance, "aws_collection", tags=run_tags.range_tags(first, last))
    (request,) = ask(instance, spine)
    assert isinstance(request, dg.RunRequest)


# --- Shards ----------------------------------------------------------------------------------------------------------


def sharded(spine: Spine, shards: Shards) -> Settings:
    return spine.settings.model_copy(update={"shards": shards})


def test_customers_of_two_shards_share_no_repair(spine: Spine, ledger: Ledger) -> None:
    """One run of all of them would take as many times longer as there are shards."""
    ledger.collected(before(5))
    settings = sharded(spine, Shards(by_provider={"aws": 2}))
    attempts, earlier = read(spine, NOW)
    customers = load_customers(spine.settings.customers_path)
    repairs = plan_repairs(customers, attempts, settings, NOW, earlier)
    of_metrics = [r for r in repairs if r.families == ("performance",)]
    assert {r.shard: set(r.customers) for r in of_metrics} == {
        shard: ids for shard in shards(2) if (ids := {customer.id for customer in Scope(shard=shard).select(customers)})
    }
    assert len(of_metrics) > 1
    assert all(r.tags["optiinfra/shard"] == r.shard for r in repairs)
    assert {r.shard for r in plan(spine)} == {WHOLE}
    assert not any("optiinfra/shard" in r.tags for r in plan(spine))


@pytest.mark.parametrize(
    ("going", "waits"), [("{mine}", True), ("{other}", False), ("1/5", True), (None, True)],
    ids=["its own", "another", "of another number of shards", "of no shard"],
)  # fmt: skip
def test_a_repair_waits_for_its_own_shard_only(
    instance: dg.DagsterInstance, spine: Spine, gap: datetime, going: str | None, waits: bool
) -> None:
    settings = sharded(spine, Shards(of_all=2))
    mine = shard_of("initech", 2)
    other = next(shard for shard in shards(2) if shard != mine)
    tags = {"dagster/schedule_name": "aws_every_15_minutes", "dagster/partition": windows.key(W0)}
    if going:
        tags["optiinfra/shard"] = going.format(mine=mine, other=other)
    start_run(instance, "aws_collection", tags=tags)
    (answer,) = repair_requests(instance, spine.clickhouse, settings, NOW)
    assert isinstance(answer, dg.SkipReason if waits else dg.RunRequest)
    if isinstance(answer, dg.RunRequest):
        assert answer.tags["optiinfra/shard"] == mine


def run_of(instance: dg.DagsterInstance, request: dg.RunRequest, **fields: Any) -> dg.DagsterRun:
    return start_run(instance, "aws_collection", tags=dict(request.tags), run_config=dict(request.run_config), **fields)


def test_a_single_window_is_asked_for_by_its_partition(
    instance: dg.DagsterInstance, spine: Spine, ledger: Ledger
) -> None:
    """A run with range tags has its checks evaluated without a partition, which leaves the partition's red."""
    ledger.collected(before(1))
    ledger.add("resource", [W0])
    ledger.add("performance", [W0], "failed")
    (request,) = ask(instance, spine, NOW + 5 * MINUTE)
    assert isinstance(request, dg.RunRequest)
    assert request.partition_key == windows.key(W0)
    assert not any("range" in name for name in request.tags)


@pytest.mark.parametrize("status", [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED])
def test_a_repair_that_crashed_is_asked_for_again_with_a_new_key_and_a_bounded_number_of_times(
    instance: dg.DagsterInstance, spine: Spine, gap: datetime, status: dg.DagsterRunStatus
) -> None:
    """It left nothing in the ledger."""
    spine.settings = spine.settings.model_copy(update={"repair_max_attempts": 2})
    keys = []
    while (asked := ask(instance, spine)) != [NOTHING]:
        (request,) = asked
        assert isinstance(request, dg.RunRequest)
        keys.append(request.run_key)
        run_of(instance, request, status=status)
    assert len(keys) == len(set(keys)) == 3


def test_a_repair_that_crashed_is_asked_for_later(spine: Spine, gap: datetime) -> None:
    attempts, earlier = read(spine, NOW)
    crashed = [(repair(["performance"], ["initech"], before(4), gap), NOW - 9 * MINUTE)]
    customers = load_customers(spine.settings.customers_path)
    once, twice = (with_crashes(attempts, crashed * n, OWNERS) for n in (1, 2))
    assert plan_repairs(customers, twice, spine.settings, NOW, earlier) == []
    assert plan_repairs(customers, once, spine.settings, NOW, earlier) == [
        repair(["performance"], ["initech"], before(4), gap, attempt=1)
    ]


def test_a_window_that_joins_a_gap_that_keeps_crashing_is_asked_for_all_the_same(spine: Spine, gap: datetime) -> None:
    attempts, earlier = read(spine, NOW)
    crashed = [(repair(["performance"], ["initech"], before(4), before(3)), NOW - timedelta(hours=9))] * 6
    asked = plan_repairs(
        load_customers(spine.settings.customers_path),
        with_crashes(attempts, crashed, OWNERS),
        spine.settings,
        NOW,
        earlier,
    )
    assert asked == [repair(["performance"], ["initech"], gap)]


def test_few_runs_are_asked_for_at_a_time_and_the_newest_first(
    instance: dg.DagsterInstance, spine: Spine, ledger: Ledger
) -> None:
    ledger.collected(before(21))
    ledger.add("resource", windows.span(before(20), W0))
    ledger.add("performance", [before(i) for i in range(0, 20, 2)], "failed", permanent=True)
    requests = ask(instance, spine)
    assert [r.partition_key for r in requests if isinstance(r, dg.RunRequest)] == [
        windows.key(before(i)) for i in (1, 3, 5, 7)
    ]


# --- Trouble ---------------------------------------------------------------------------------------------------------


def evaluate(spine: Spine, instance: dg.DagsterInstance, name: str, place: str | None = None) -> str:
    """One tick of a sensor as the daemon has it evaluated; what it says of having been skipped."""
    settings = spine.settings
    if place:
        settings = settings.model_copy(update={"clickhouse_url": SecretStr(place)})
    built = build_defs(settings)
    context = dg.build_sensor_context(instance, definitions=built)
    answer = built.get_repository_def().get_sensor_def(name).evaluate_tick(context)
    assert not answer.run_requests
    return str(answer.skip_message)


SENSORS = pytest.mark.parametrize("name", ["repair", "refresh_readers"])


@SENSORS
def test_a_dead_server_is_a_tick_skipped_with_a_plain_message(
    instance: dg.DagsterInstance, spine: Spine, name: str
) -> None:
    said = evaluate(spine, instance, name, "http://me:hidden@127.0.0.1:9")
    assert said.startswith("ClickHouse at http://127.0.0.1:9: ")
    assert "hidden" not in said
    assert "Traceback" not in said


@SENSORS
def test_a_locked_engine_is_a_tick_skipped_within_the_daemons_patience(
    instance: dg.DagsterInstance, spine: Spine, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ledger_watch.LOCK_SECONDS <= 30
    monkeypatch.setattr(assembly, "LOCK_SECONDS", 1.0)
    with Path(f"{spine.clickhouse.path}.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)  # as another process has it
        assert "is in use by another process" in evaluate(spine, instance, name)


@SENSORS
def test_a_bad_customers_file_is_a_tick_skipped_with_its_message(
    instance: dg.DagsterInstance, spine: Spine, name: str
) -> None:
    spine.settings.customers_path.write_text("customers: [{id: UPPER}]")
    said = evaluate(spine, instance, name)
    assert "customers[0].id" in said


@SENSORS
def test_a_tick_on_a_new_ledger_has_nothing_to_do(instance: dg.DagsterInstance, spine: Spine, name: str) -> None:
    assert evaluate(spine, instance, name) in {NOTHING, "Every reader is up to date."}
