"""The status: what is broken is a red line that names it, what is well is counted, and nothing hides the rest."""

from __future__ import annotations

import json
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    TickData,
    TickStatus,
)
from dagster._daemon.types import DaemonHeartbeat
from dagster_shared.error import SerializableErrorInfo

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.automation.status import asset as status_asset
from optiinfra_dagster.automation.status import sections, show
from optiinfra_dagster.automation.status.dagster_facts import LONGEST_BETWEEN_TICKS
from optiinfra_dagster.automation.status.gather import Look, look, open_instance
from optiinfra_dagster.automation.status.items import Item, Kind, Section, State, Status, was_looked_at
from optiinfra_dagster.automation.status.ledger_facts import FamilyFailure
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.sql import readers
from tests.automation.conftest import NOW, W0, Ledger, before, start_run
from tests.support.engines import SERVED, empty

if TYPE_CHECKING:
    from tests.support.clickhouse_http import ClickHouseHttp
    from tests.support.spine import Spine

MINUTE = timedelta(minutes=1)
OLD = NOW - timedelta(days=2)
LAST_TRY = {"dagster/max_retries": "0"}  # of a run: Dagster's `run_retries` do not try it once more
LATER = NOW + 10 * MINUTE


def stands(
    spine: Spine, instance: dg.DagsterInstance | str = "not asked for", now: datetime = NOW, how: Look | None = None
) -> Status:
    return look(spine.settings, spine.clickhouse, instance, now, how or Look())


def texts(section: Section) -> dict[str, str]:
    return {part.name: f"{part.state} {part.text}" for part in section.parts}


@pytest.fixture
def settled(spine: Spine) -> Spine:
    """A spine whose customers file is not new."""
    os.utime(spine.settings.customers_path, (OLD.timestamp(), OLD.timestamp()))
    return spine


# --- Collections and customers ---------------------------------------------------------------------------------------


def test_all_is_well_when_every_customer_is_in(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1), W0)
    status = stands(settled)
    assert status.of(Item.COLLECTIONS).state is State.OK
    assert texts(status.of(Item.COLLECTIONS)) == {
        f"aws {family}": f"ok newest window {windows.key(W0)}, closed 6 min ago; 3 of 3 customers in"
        for family in ("resource", "performance")
    }
    for item in (Item.CUSTOMERS, Item.GAPS, Item.BUDGETS, Item.CUSTOMERS_FILE, Item.CLICKHOUSE):
        assert status.of(item).state is State.OK, status.of(item).text


def test_a_failing_customer_is_red_with_since_when_why_and_the_next_try(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(3), before(2))
    for n, window in enumerate((before(1), W0)):
        ledger.add("resource", [window])
        ledger.add("performance", [window], customers=["acme", "initech"])
        ledger.add("performance", [window], "failed", customers=["globex"], error="throttled", at=NOW + n * MINUTE)
    ledger.add("performance", [W0], "failed", customers=["globex"], error="throttled again", at=NOW + 2 * MINUTE)
    status = stands(settled, now=NOW + 3 * MINUTE)
    failing = status.of(Item.CUSTOMERS)
    assert failing.state is State.RED
    assert texts(failing)["globex aws performance"] == (
        f"red fails since {windows.key(before(1))} (2 windows): throttled again; 4 attempts left, the next after "
        f"{NOW + 12 * MINUTE:%H:%M}Z"
    )
    assert [trouble.key for trouble in failing.troubles] == ["slice_failing/globex/aws/performance/"]
    collections = status.of(Item.COLLECTIONS)
    assert collections.state is State.OK  # it goes on for the others
    assert texts(collections)["aws performance"].endswith("2 of 3 customers in, 1 failed")


@pytest.mark.parametrize("is_first", [True, False])
def test_what_needs_an_inventory_that_fails_for_everybody_says_so(
    settled: Spine, ledger: Ledger, is_first: bool
) -> None:
    """Its asset is left out, so it has no attempt; `optiinfra run` would mend nothing."""
    if not is_first:
        ledger.collected(before(8))
    ledger.add("resource", [before(1), W0], "failed", error="AccessDenied", permanent=True)
    told = texts(stands(settled).of(Item.COLLECTIONS))["aws performance"]
    why = "needs aws resource, which fails for every customer: mend what failing customers tell"
    assert told.startswith("red ")
    assert told.endswith(
        f"nothing was collected yet. It {why}" if is_first else f"3 missing (acme, globex, initech), it {why}"
    )


def test_an_error_that_needs_a_person_says_so_and_is_known_by_its_gist(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0], customers=["acme", "globex"])
    ledger.add(
        "resource", [W0], "failed", customers=["initech"], permanent=True,
        error="AccessDenied (request 1b9d6bcd-bbfd-4b2d-9b5d-ab8dfbbd4bed of 2026-11-29T10:00Z)",
    )  # fmt: skip
    (trouble,) = [t for t in stands(settled).of(Item.CUSTOMERS).troubles if t.family == "resource"]
    assert trouble.cause == "AccessDenied (request # of #)"
    assert trouble.text.endswith("It needs a person.")


def test_a_partial_slice_is_a_warning_and_no_alert(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0])
    ledger.add("performance", [W0], "partial", customers=["acme"], permanent=True, error="no permission for x")
    ledger.add("performance", [W0], customers=["globex", "initech"])
    failing = stands(settled).of(Item.CUSTOMERS)
    assert (failing.state, failing.troubles) == (State.WARN, ())
    assert "incomplete since" in failing.text


def test_costs_whose_bill_cannot_be_read_wait_for_its_next_reading() -> None:
    error = "the bill has nothing of 2026-11 now"
    one = FamilyFailure(
        "acme",
        "aws",
        "cost",
        "partial",
        W0,
        at_least=False,
        windows=1,
        error=error,
        permanent=True,
        attempts=1,
        last=NOW,
    )
    assert sections._failing(one, Settings(), NOW).endswith(
        f"{error}; the bill is read again in its own time, unless it needs a person"
    )
    assert sections._failing(replace(one, status="failed"), Settings(), NOW).endswith(f"{error}; needs a person")


def test_a_failure_that_was_made_good_is_forgotten(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0])
    ledger.add("performance", [W0], "failed", error="throttled")
    ledger.add("performance", [W0], at=NOW + MINUTE)
    ledger.add("performance", [W0], "failed", error="throttled", at=NOW + 2 * MINUTE)  # a refresh of what is whole
    assert stands(settled, now=NOW + 3 * MINUTE).of(Item.CUSTOMERS).state is State.OK


def test_a_family_that_was_taken_out_after_it_failed_fails_no_more(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(2))
    ledger.add("resource", [before(1), W0])
    ledger.add("performance", [before(1)], "failed", error="throttled")
    ledger.add("performance", [W0], "not_configured")
    assert stands(settled).of(Item.CUSTOMERS).state is State.OK


def test_what_stopped_is_red_and_nobody_it_left_out_counts_as_healed(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(5))
    ledger.add("resource", [before(4)], "failed", customers=["acme"], error="AccessDenied", permanent=True)
    status = stands(settled)
    collections = status.of(Item.COLLECTIONS)
    assert collections.state is State.RED
    assert "3 missing (acme, globex, initech)" in texts(collections)["aws resource"]
    assert {trouble.kind for trouble in collections.troubles} == {Kind.LATE}
    # Half a day later there is no attempt in sight at all, and nothing is known of the failing customer.
    away = stands(settled, now=NOW + timedelta(hours=12))
    assert "closed 13 h" in texts(away.of(Item.COLLECTIONS))["aws resource"]
    assert "slice_failing/acme/aws/resource/" in away.of(Item.CUSTOMERS).undecided
    assert away.of(Item.CUSTOMERS).troubles == ()


def test_a_customer_that_was_just_added_waits_and_is_not_missing(spine: Spine, ledger: Ledger) -> None:
    ledger.add("resource", [before(1), W0], customers=["acme", "globex"])
    ledger.add("performance", [before(1), W0], customers=["acme", "globex"])
    os.utime(spine.settings.customers_path, (NOW.timestamp(), NOW.timestamp()))
    fresh = stands(spine).of(Item.COLLECTIONS)
    assert fresh.state is State.OK
    assert "1 wait for the next window (initech)" in texts(fresh)["aws resource"]
    os.utime(spine.settings.customers_path, (OLD.timestamp(), OLD.timestamp()))
    assert stands(spine).of(Item.COLLECTIONS).state is State.RED


def test_a_long_poll_is_not_late(spine: Spine, ledger: Ledger) -> None:
    spine.write_customers("http://127.0.0.1:9", families=["resource", "performance"], poll_minutes=1440)
    os.utime(spine.settings.customers_path, (OLD.timestamp(), OLD.timestamp()))
    ledger.add("resource", [before(2), before(1), W0])
    ledger.add("performance", [before(97)])
    ledger.add("performance", windows.span(before(96), W0), "not_due")
    status = stands(spine)
    assert status.of(Item.COLLECTIONS).state is State.OK, texts(status.of(Item.COLLECTIONS))
    # Its last poll failed: the windows since, which were not due, do not hide that.
    ledger.add("performance", [before(97)], "failed", at=NOW + MINUTE, customers=["acme"], error="throttled")
    with spine.clickhouse.session() as client:
        client.command(
            "DELETE FROM metric_batches WHERE customer_id = 'acme' AND dataset = 'performance' AND status = 'ok'",
            settings={"mutations_sync": 1},
        )
    assert [t.key for t in stands(spine).of(Item.CUSTOMERS).troubles] == ["slice_failing/acme/aws/performance/"]


def test_a_paused_customer_and_one_that_left_the_file_are_nobodys_trouble(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0], customers=["acme"])
    ledger.add("performance", [W0], customers=["acme"])
    ledger.add("resource", [W0], "failed", customers=["globex", "initech"], error="AccessDenied", permanent=True)
    settled.extra = {"globex": {"paused": True}}
    settled.write_customers("http://127.0.0.1:9", ["acme", "globex"], families=["resource", "performance"])
    status = stands(settled)
    assert status.of(Item.CUSTOMERS).state is State.OK
    assert "1 of 1 customer in" in texts(status.of(Item.COLLECTIONS))["aws resource"]
    assert "1 of them paused" in status.of(Item.CUSTOMERS_FILE).text


# --- Gaps and budgets ------------------------------------------------------------------------------------------------


def test_what_the_lookback_no_longer_reaches_is_a_gap(settled: Spine, ledger: Ledger) -> None:
    """The daemon was away for 30 hours: repairs fetch the last 24 of the metrics, and no inventory."""
    ledger.collected(*windows.span(before(130), before(121)), *windows.span(before(1), W0))
    ledger.add("performance", windows.span(before(96), before(2)))
    found = texts(stands(settled).of(Item.GAPS))
    assert len(found) == 6
    assert found["acme aws resource"].startswith(f"warn 119 windows from {windows.key(before(120))}")
    assert "an inventory of the past cannot be taken" in found["acme aws resource"]
    assert found["acme aws performance"] == (
        f"warn 24 windows from {windows.key(before(120))} to {windows.key(before(97))}: run `optiinfra collect "
        f"--customer acme --provider aws --family performance --from {windows.key(before(120))} "
        f"--to {windows.key(before(96))}`"
    )


def test_a_window_that_was_given_up_is_a_gap_once_the_customer_is_well(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(4), before(2), before(1), W0)
    ledger.add("resource", [before(3)])
    ledger.add("performance", [before(3)], "failed", customers=["acme"], permanent=True, error="AccessDenied")
    ledger.add("performance", [before(3)], "failed", customers=["globex"], error="throttled")
    ledger.add("performance", [before(3)], customers=["initech"])
    status = stands(settled)
    assert set(texts(status.of(Item.GAPS))) == {"acme aws performance"}  # the other one is tried again
    assert [t.key for t in status.of(Item.GAPS).troubles] == ["gap/acme/aws/performance/"]


def test_a_window_that_a_remedy_came_for_is_no_gap_while_it_is_tried_again(settled: Spine, ledger: Ledger) -> None:
    """Else every mended credential is followed by an alert of gaps that the next repair fills."""
    ledger.collected(before(4))
    ledger.add("resource", windows.span(before(3), W0))
    ledger.add("performance", windows.span(before(3), W0), customers=["globex", "initech"])
    missed = windows.span(before(3), before(1))

    def refuse(at: datetime) -> None:
        ledger.add("performance", missed, "failed", customers=["acme"], permanent=True, error="denied", at=at)

    refuse(NOW)
    ledger.add("performance", [W0], customers=["acme"], at=NOW + MINUTE)
    assert stands(settled).of(Item.GAPS).state is State.OK
    for n in range(2, 8):  # as often as repairs are tried
        refuse(NOW + n * MINUTE)
    assert set(texts(stands(settled).of(Item.GAPS))) == {"acme aws performance"}


def test_a_gap_that_still_grows_is_told_of_when_the_failing_is_over(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(*windows.span(before(8), before(6)))
    later = windows.span(before(5), W0)
    ledger.add("resource", later, "failed", customers=["acme"], permanent=True, error="AccessDenied")
    ledger.add("resource", later, customers=["globex", "initech"])
    ledger.add("performance", later)
    status = stands(settled)
    assert "acme aws resource" in texts(status.of(Item.GAPS))
    assert status.of(Item.GAPS).troubles == ()
    assert status.of(Item.GAPS).undecided == {"gap/acme/aws/resource/"}  # one that was told before is not over


def test_the_windows_before_a_customer_came_are_no_gap(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(*windows.span(before(2), W0))
    assert stands(settled).of(Item.GAPS).state is State.OK


@pytest.mark.parametrize("days", [3, 20])
def test_an_inventory_of_the_past_that_was_asked_for_does_not_make_a_customer_older(
    settled: Spine, ledger: Ledger, days: int
) -> None:
    """Whoever materialized one old partition had hundreds of windows lost, told in an alert of each customer."""
    ledger.collected(*windows.span(before(2), W0))
    ledger.add("resource", [before(days * 96)], "failed", permanent=True, error="aws tells what exists now")
    assert stands(settled).of(Item.GAPS).state is State.OK


def test_a_hole_at_the_start_of_the_week_is_a_gap_of_a_customer_that_was_there(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(8 * 96), *windows.span(before(6 * 96), W0))
    assert len(texts(stands(settled).of(Item.GAPS))) == 6


def test_a_used_up_budget_is_told_with_what_is_left(spine: Spine, ledger: Ledger) -> None:
    spine.extra = {"acme": {"monthly_api_budget_usd": 25}, "globex": {"monthly_api_budget_usd": 10}}
    spine.write_customers("http://127.0.0.1:9", families=["resource", "performance"])
    ledger.add("resource", [before(1), W0])
    ledger.add("performance", [before(1)])
    ledger.add(
        "performance", [W0], "budget", customers=["acme"], permanent=True, error="the budget of 25 USD is used up"
    )
    ledger.add("performance", [W0], customers=["globex", "initech"])
    with spine.clickhouse.session() as client:
        client.command(
            "INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, status, api_cost_usd, "
            "published_at) SELECT 'performance', c, 'aws', {w:DateTime('UTC')}, 1, 'ok', usd, {at:DateTime('UTC')} "
            "FROM values('c String, usd Decimal(18, 9)', ('acme', 25.5), ('globex', 8.5))",
            parameters={"w": f"{before(9):%Y-%m-%d %H:%M:%S}", "at": f"{NOW:%Y-%m-%d %H:%M:%S}"},
        )
    budgets = stands(spine).of(Item.BUDGETS)
    assert budgets.state is State.WARN
    assert texts(budgets)["acme aws"].startswith("warn 25.50 of 25.00 USD spent this month; stopped since")
    assert texts(budgets)["globex aws"] == "ok 8.50 of 10.00 USD spent this month, 1.50 left"
    assert [t.key for t in budgets.troubles] == ["budget/acme/aws//"]


def test_the_judges_day_is_shown_where_it_is_nearly_used_up(settled: Spine, ledger: Ledger) -> None:
    with settled.clickhouse.session() as client:
        client.command("TRUNCATE TABLE application_verdicts")
        client.insert(
            "application_verdicts",
            [[NOW, "acme", "k", "m", "v", "", "", True, 2_500_000, 600_000, 0, 10, None],
             [NOW, "globex", "k", "m", "v", "", "", True, 5, 5, 0, 2_400, None],
             [NOW, "initech", "k", "m", "v", "", "", True, 5, 5, 0, 1, None]],
            column_names=["asked_at", "customer_id", "verdict_key", "judge_model", "judge_version", "answer", "failure",
                          "settled", "prompt_tokens", "completion_tokens", "unanswered_tokens", "requests", "usd"],
        )  # fmt: skip
    found = texts(stands(settled).of(Item.BUDGETS))
    assert set(found) == {"acme judge", "globex judge"}
    assert found["acme judge"].startswith("warn the judge used 3,100,000 of 3,000,000 tokens")
    assert found["globex judge"].startswith("ok the judge used 10 of 3,000,000 tokens and 2,400 of 3,000 requests")


# --- What is broken is a line ----------------------------------------------------------------------------------------


def test_where_a_readers_view_is_broken_only_what_it_tells_is_undecided(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1), W0)
    (view,) = settled.query("SELECT create_table_query AS sql FROM system.tables WHERE name = 'cost_outlook_current'")
    with settled.clickhouse.session() as client:
        client.command("CREATE OR REPLACE VIEW cost_outlook_current AS SELECT 1 AS other")
        try:
            status = stands(settled)
        finally:
            client.command(view["sql"].replace("CREATE VIEW", "CREATE OR REPLACE VIEW"))
    collections = status.of(Item.COLLECTIONS)
    assert collections.state is State.WARN
    assert collections.text.startswith("cost outlook: it cannot be read, so nothing is known of what it tells: ")
    assert "3 of 3 customers in" in texts(collections)["aws resource"]
    assert [was_looked_at(kind, status) for kind in (Kind.COST_UNUSUAL, Kind.QUALITY_WORSE, Kind.LATE)] == [
        False, True, True,
    ]  # fmt: skip
    assert [status.of(item).unread for item in (Item.CUSTOMERS, Item.GAPS, Item.BUDGETS, Item.CLICKHOUSE)] == 4 * [
        False
    ]


def test_a_broken_customers_file_is_red_and_the_rest_is_looked_at(spine: Spine, ledger: Ledger) -> None:
    spine.settings.customers_path.write_text("customers:\n  - id: ACME\n    nam: x\n")
    status = stands(spine)
    file = status.of(Item.CUSTOMERS_FILE)
    assert (file.state, file.unread) == (State.RED, True)
    assert "more lines)" in file.text
    assert [t.kind for t in file.troubles] == [Kind.CUSTOMERS_FILE]
    assert status.of(Item.CLICKHOUSE).state is State.OK
    assert status.of(Item.CUSTOMERS).unread


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://reader:s3cret@127.0.0.1:9/x", "ClickHouse at http://127.0.0.1:9"),
        ("chdb:///proc/nowhere/clickhouse", "does not exist"),
    ],
)
def test_a_dead_clickhouse_is_one_red_line_and_hides_nothing(settled: Spine, url: str, said: str) -> None:
    status = look(settled.settings, ClickHouse(url, lock_timeout=1, answer_seconds=5), "not asked for", NOW, Look())
    clickhouse = status.of(Item.CLICKHOUSE)
    assert clickhouse.state is State.RED
    assert said in clickhouse.text
    assert [t.kind for t in clickhouse.troubles] == [Kind.CLICKHOUSE]
    assert all(status.of(item).unread for item in (Item.COLLECTIONS, Item.CUSTOMERS, Item.GAPS, Item.BUDGETS))
    assert status.of(Item.CUSTOMERS_FILE).state is State.OK
    assert "s3cret" not in show.to_json(status)


def test_a_clickhouse_that_never_answers_is_not_waited_for(settled: Spine) -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(20)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        status = look(settled.settings, ClickHouse(url, answer_seconds=1), "not asked for", NOW, Look())
    assert "Read timed out" in status.of(Item.CLICKHOUSE).text


def test_the_asset_shows_the_status_of_now_when_it_is_materialized(home: tuple[Spine, dg.DagsterInstance]) -> None:
    spine, instance = home
    result = dg.materialize(
        [status_asset.build(spine.settings)], instance=instance, resources={"clickhouse": spine.clickhouse}
    )
    (event,) = result.asset_materializations_for_node("operations__status")
    assert event.metadata["state"].value == "red"  # no daemon runs here
    assert "| red | daemons |" in str(event.metadata["status"].value)
    (check,) = result.get_asset_check_evaluations()
    assert (check.check_name, check.passed) == ("nothing_is_red", False)


def test_the_check_of_the_status_names_the_customers_and_what_to_do(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0], customers=["acme", "globex"])
    ledger.add("performance", [W0], customers=["acme", "globex"])
    for family in ("resource", "performance"):
        ledger.add(
            family, [W0], "failed", customers=["initech"], permanent=True, error="AccessDenied. Check role_arn",
        )  # fmt: skip
    _, check = status_asset.events(stands(settled))
    assert isinstance(check, dg.AssetCheckEvaluation)
    assert (check.passed, check.severity) == (False, dg.AssetCheckSeverity.ERROR)
    text = str(check.description)
    assert text.startswith("Customers in trouble: initech.\n\nAs of ")
    assert (
        f"| red | failing customers | initech aws resource | fails since {windows.key(W0)} (1 window): AccessDenied. "
        "Check role_arn; needs a person |"
    ) in text
    # The inventory first: what fails for lack of it stands below.
    assert text.index("initech aws resource") < text.index("initech aws performance")
    assert check.metadata["customers"].value == "initech"
    assert check.metadata["customers_failing"].value == 1


def test_a_server_without_tables_asks_for_a_migration(settled: Spine, clickhouse_url: str) -> None:
    clickhouse = look(settled.settings, ClickHouse(clickhouse_url), "not asked for", NOW, Look()).of(Item.CLICKHOUSE)
    assert clickhouse.state is State.RED
    assert "migrations not applied, the first is 001_ledger. Run `optiinfra migrate`" in clickhouse.text


def test_a_server_is_asked_the_same_way(settled: Spine, clickhouse_http: ClickHouseHttp) -> None:
    clickhouse = ClickHouse(clickhouse_http.url(SERVED))
    with clickhouse.session() as client:
        empty(client)
    status = look(settled.settings, clickhouse, "not asked for", NOW, Look())
    assert status.of(Item.CLICKHOUSE).state is State.OK, status.of(Item.CLICKHOUSE)
    assert "nothing was collected yet" in status.of(Item.COLLECTIONS).text


def test_who_holds_the_embedded_engine_is_named(settled: Spine, tmp_path: Path) -> None:
    from filelock import FileLock

    from optiinfra_dagster.storage.embedded import holder

    folder = tmp_path / "clickhouse"
    folder.mkdir()
    with FileLock(f"{folder}.lock"):
        assert holder(folder).startswith(f"process {os.getpid()} (")
        status = look(settled.settings, ClickHouse(f"chdb://{folder}", lock_timeout=0.1), "not asked for", NOW, Look())
    assert f"held by process {os.getpid()}" in status.of(Item.CLICKHOUSE).text
    assert holder(folder) == ""


# --- Dagster's own state ---------------------------------------------------------------------------------------------


@pytest.fixture
def home(spine: Spine) -> Iterator[tuple[Spine, dg.DagsterInstance]]:
    """A spine with Dagster's state on SQLite."""
    from optiinfra_dagster.cli.dagster_runs import prepare_home

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", str(spine.home))
        prepare_home(spine.settings)
        instance = open_instance(spine.settings)
        assert not isinstance(instance, str), instance
        yield spine, instance
        instance.dispose()


@pytest.mark.parametrize("fault", ["missing", "a file", "without dagster.yaml", "corrupt", "bad yaml"])
def test_a_home_that_cannot_be_used_is_red_and_nothing_is_made_in_it(fault: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    if fault == "a file":
        home.write_text("")
    elif fault != "missing":
        home.mkdir()
    if fault in {"corrupt", "bad yaml"}:
        (home / "dagster.yaml").write_text("telemetry: {enabled: false}" if fault == "corrupt" else "storage: [")
    if fault == "corrupt":
        for folder in ("history", "schedules"):
            (home / folder).mkdir()
        for place in ("history/runs.db", "history/runs/index.db", "schedules/schedules.db"):
            (home / place).parent.mkdir(exist_ok=True)
            (home / place).write_text("not a database, but long enough to be taken for one" * 100)
    settings = Settings(dagster_home=home, customers_path=tmp_path / "customers.yaml")
    before_it = sorted(tmp_path.rglob("*"))
    status = look(settings, ClickHouse(f"chdb://{home}/clickhouse"), open_instance(settings), NOW, Look())
    for item in (Item.DAEMONS, Item.TICKS, Item.RUNS):
        assert status.of(item).state is State.RED, status.of(item)
        assert "\n" not in status.of(item).text
        assert "Traceback" not in status.of(item).text
    if fault != "corrupt":
        assert sorted(tmp_path.rglob("*")) == before_it


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("foo: bar", 'dagster.yaml cannot be used: Received unexpected config entry "foo" at the root. Correct it'),
        ("run_retries: {enabled: maybe}", 'root:run_retries:enabled. Value "maybe"'),
        ("storage: {postgres: {postgres_url: {env: NO_SUCH}}}", "the environment variable NO_SUCH is not set. Correct"),
        ("telemetry:\n  enabled: [", "cannot be used: line 2 of dagster.yaml: "),
        ("storage: {postgres: {postgres_url: 'postgresql://me:hunter2@127.0.0.1:1/x'}}",
         "dagster.yaml names PostgreSQL without its driver. Write postgresql+psycopg2:// as the scheme of its URL"),
        ("storage: {postgres: {postgres_url: 'postgresql+psycopg2://me:hunter2@127.0.0.1:1/x'}}",
         "PostgreSQL, where Dagster's state is, cannot be used: connection to server at \"127.0.0.1\", port 1 failed"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_dagster_yaml_is_said(content: str, said: str, tmp_path: Path) -> None:
    """Of PostgreSQL that was down, it was to restore or move away what is damaged; nothing was."""
    (tmp_path / "dagster.yaml").write_text(content)
    why = open_instance(Settings(dagster_home=tmp_path))
    assert isinstance(why, str)
    assert said in why
    assert "\n" not in why
    assert "hunter2" not in why


def beat(instance: dg.DagsterInstance, at: datetime, process: str = "one", *, but: str = "") -> None:
    """A heartbeat of every daemon that the instance needs."""
    for name in instance.get_required_daemon_types():
        if name != but:
            instance.add_daemon_heartbeat(DaemonHeartbeat(at.timestamp(), name, process, []))


def test_daemons_are_told_by_their_heartbeats(home: tuple[Spine, dg.DagsterInstance]) -> None:
    spine, instance = home
    never = stands(spine, instance).of(Item.DAEMONS)
    assert (never.state, never.troubles) == (State.RED, ())  # they may be starting
    beat(instance, NOW - MINUTE / 2)
    assert stands(spine, instance).of(Item.DAEMONS).state is State.OK
    silent = stands(spine, instance, LATER).of(Item.DAEMONS)
    assert silent.state is State.RED
    assert "silent for 10 min" in silent.text
    assert {t.kind for t in silent.troubles} == {Kind.DAEMON_SILENT}
    beat(instance, LATER, but="SENSOR")
    (one,) = stands(spine, instance, LATER).of(Item.DAEMONS).troubles
    assert one.key == "daemon_silent////sensor"


def test_a_second_daemon_and_a_clock_that_went_back_are_warnings(home: tuple[Spine, dg.DagsterInstance]) -> None:
    spine, instance = home
    beat(instance, NOW)
    beat(instance, NOW, "two", but="SENSOR")
    two = stands(spine, instance).of(Item.DAEMONS)
    assert (two.state, "two processes" in two.text) == (State.WARN, True)
    beat(instance, NOW + timedelta(hours=2))
    assert "the clock was set back" in stands(spine, instance).of(Item.DAEMONS).text


def tick(
    instance: dg.DagsterInstance,
    name: str,
    *ticks: tuple[datetime, TickStatus, str],
    running: bool = True,
    begun: datetime | None = None,
) -> None:
    """A schedule or sensor that the daemon knows, with these ticks, the oldest first."""
    kind = InstigatorType.SCHEDULE if "every" in name else InstigatorType.SENSOR
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("optiinfra"), "__repository__")
    state = InstigatorState(
        RemoteInstigatorOrigin(repository, name),
        kind,
        InstigatorStatus.DECLARED_IN_CODE if running else InstigatorStatus.STOPPED,
        ScheduleInstigatorData("*/15 * * * *", begun.timestamp() if begun else None)
        if kind is InstigatorType.SCHEDULE
        else None,
    )
    if instance.get_instigator_state(state.instigator_origin_id, state.selector_id):
        instance.update_instigator_state(state)
    else:
        instance.add_instigator_state(state)
    for at, status, said in ticks:
        failed = status is TickStatus.FAILURE
        instance.create_tick(
            TickData(
                state.instigator_origin_id, name, kind, status, at.timestamp(), [], [], selector_id=state.selector_id,
                skip_reason=None if failed else said,
                error=SerializableErrorInfo(said, [], None) if failed else None,
            )
        )  # fmt: skip


def test_ticks_are_told_with_their_skips_and_why(home: tuple[Spine, dg.DagsterInstance]) -> None:
    spine, instance = home
    assert "no daemon has ever run here" in stands(spine, instance).of(Item.TICKS).text
    for name in LONGEST_BETWEEN_TICKS:
        tick(instance, name, (NOW - 3 * MINUTE, TickStatus.SUCCESS, ""))
    assert stands(spine, instance).of(Item.TICKS).state is State.OK
    tick(instance, "repair", *((NOW - n * MINUTE, TickStatus.SKIPPED, "Waiting.") for n in (2, 1, 0)))
    tick(instance, "refresh_readers", (NOW - MINUTE, TickStatus.FAILURE, "It broke.\nTraceback"))
    tick(instance, "aws_every_15_minutes", (NOW + timedelta(hours=2), TickStatus.SUCCESS, ""))
    tick(instance, "gcp_every_15_minutes", running=False)
    tick(instance, "alert_of_old", (OLD, TickStatus.FAILURE, "of an earlier version"))
    found = texts(stands(spine, instance).of(Item.TICKS))
    assert found["repair"] == f"ok {NOW:%Y-%m-%dT%H:%M:%SZ}, 0 min ago: 3 skipped in a row: Waiting"
    assert found["refresh_readers"].startswith("red its last tick failed (")
    assert found["refresh_readers"].endswith("): It broke")
    assert "the clock was set back" in found["aws_every_15_minutes"]
    assert found["gcp_every_15_minutes"].startswith("red it is stopped")
    assert "red its last tick was" in texts(stands(spine, instance, NOW + timedelta(hours=1)).of(Item.TICKS))["repair"]
    assert "alert_of_old" not in found


def test_a_daemon_that_has_just_begun_does_not_know_every_sensor_yet(home: tuple[Spine, dg.DagsterInstance]) -> None:
    """Seconds after its first start it was to be started again, so that it loads this version."""
    spine, instance = home
    instance.wipe_all_schedules()
    tick(instance, "aws_every_15_minutes", begun=NOW)
    soon = texts(stands(spine, instance, NOW + MINUTE).of(Item.TICKS))
    assert soon["repair"] == "ok no tick yet: the daemon has just begun"
    later = texts(stands(spine, instance, NOW + 3 * MINUTE).of(Item.TICKS))
    assert later["repair"].startswith("red the daemon does not know it")


def test_every_schedule_and_sensor_is_expected(spine: Spine) -> None:
    repository = build_defs(spine.settings).get_repository_def()
    found = {one.name for one in repository.schedule_defs} | {one.name for one in repository.sensor_defs}
    assert found == set(LONGEST_BETWEEN_TICKS)


def test_a_run_that_dagster_tries_once_more_is_no_trouble_yet(home: tuple[Spine, dg.DagsterInstance]) -> None:
    """Else each worker that is killed is an alert, which is over three minutes later without anybody's doing."""
    spine, instance = home
    killed = start_run(instance, "readers")
    instance.report_run_failed(killed, "Out of memory.")
    assert stands(spine, instance, datetime.now(UTC)).of(Item.RUNS).state is State.OK
    again = start_run(instance, "readers", tags=LAST_TRY)
    instance.report_run_failed(again, "Out of memory.")
    assert [t.key for t in stands(spine, instance, datetime.now(UTC)).of(Item.RUNS).troubles] == [
        "run_failing////readers"
    ]
    for run in (killed, again):
        instance.delete_run(run.run_id)


def test_a_gone_run_a_waiting_one_and_a_failed_job_are_told(home: tuple[Spine, dg.DagsterInstance]) -> None:
    spine, instance = home
    now = datetime.now(UTC)
    going = start_run(instance, "aws_collection")
    (spine.home / "running").mkdir(exist_ok=True)
    place = spine.home / "running" / going.run_id
    place.write_text("")  # nobody holds its lock
    failed = start_run(instance, "readers", tags=LAST_TRY)
    instance.report_run_failed(failed, "Out of memory.")
    runs = stands(spine, instance, now).of(Item.RUNS)
    assert texts(runs)[f"{going.run_id[:8]} aws_collection"].startswith("red its process is gone")
    assert "red its newest run" in texts(runs)["readers"]
    assert "Out of memory" in texts(runs)["readers"]
    assert [t.key for t in runs.troubles] == ["run_failing////readers"]
    place.unlink()
    instance.report_run_canceled(going)
    instance.delete_run(failed.run_id)
    assert stands(spine, instance, now).of(Item.RUNS).state is State.OK


def test_the_disk_is_told_by_part(home: tuple[Spine, dg.DagsterInstance]) -> None:
    spine, instance = home
    (spine.home / "big").mkdir(exist_ok=True)
    (spine.home / "big" / "file").write_bytes(os.urandom(3_000_000))
    parts = texts(stands(spine, instance).of(Item.DISK))
    assert parts["big"] == "ok 3.01 MB" or parts["big"].startswith("ok 3")
    assert "clickhouse" in parts


# --- How it is shown -------------------------------------------------------------------------------------------------


def test_it_is_a_line_an_item_and_its_parts_on_request(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1), W0)
    status = stands(settled)
    short = list(show.lines(status, details=False))
    assert len(short) == len(status.sections)
    long = list(show.lines(status, details=True))
    assert len(long) > len(short)
    assert all("\n" not in line for line in long)
    assert [one["item"] for one in json.loads(show.to_json(status))["items"]] == [one.item for one in status.sections]


def test_names_and_errors_from_clouds_are_no_markup_and_no_control_characters(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1))
    ledger.add("resource", [W0], "failed", error="bad | <img src=x> \x1b[31m [x](http://y)\nsecond", permanent=True)
    ledger.add("performance", [W0])
    status = stands(settled)
    shown = show.to_markdown(status)
    for markup in ("<img", "](http", "| <", "[31m"):
        assert re.search(rf"(?<!\\){re.escape(markup)}", shown) is None, markup
    assert "\x1b" not in "".join(show.lines(status, details=True))


def test_a_thousand_failing_customers_stay_a_page(settled: Spine, ledger: Ledger) -> None:
    names = [f"c{n}" for n in range(1000)]
    ledger.add("resource", [W0], "failed", customers=names, error="x" * 5000, provider="vultr")
    rest = [{"id": name, "name": name} for name in names]
    text = "customers:\n" + "".join(
        f"  - {{id: {one['id']}, name: {one['name']}, families: [resource], vultr: [{{api_key: {{env: K{i}}}}}]}}\n"
        for i, one in enumerate(rest)
    )
    settled.settings.customers_path.write_text(text)
    status = stands(settled)
    section = status.of(Item.CUSTOMERS)
    assert len(section.parts) + section.more == 1000
    assert len(section.troubles) == 1000
    assert len("\n".join(show.lines(status, details=True))) < 40_000
    assert len(show.to_markdown(status)) < 20_000


# --- What readers say ------------------------------------------------------------------------------------------------


def published(spine: Spine, reader: tuple[str, str], window: datetime, rows: list[dict[str, Any]]) -> None:
    """Rows of a reader, as if computed for a window; what is not said has its column's default."""
    table = readers()[reader].table
    with spine.clickhouse.session() as client:
        client.command(f"TRUNCATE TABLE {table}")
        for row in rows:
            full = {"window_start": f"{window:%Y-%m-%d %H:%M:%S}", "batch": 7, **row}
            client.command(
                f"INSERT INTO {table} ({', '.join(full)}) FORMAT JSONEachRow {json.dumps(full, default=str)}"
            )


def test_an_unusual_day_of_an_account_is_a_trouble_of_its_customer(settled: Spine, ledger: Ledger) -> None:
    ledger.collected(before(1), W0)
    ledger.add(readers()["cost", "outlook"].table, [W0], batch=7)
    row = {"customer_id": "acme", "provider": "aws", "sub_account_id": "111", "currency": "USD", "scope": "account"}
    day = {"day": f"{W0:%Y-%m-%d}", "unusual_by": "40.5", "usual_day": "10", "is_unusual": True, "causes": "web-1 +40"}
    published(
        settled,
        ("cost", "outlook"),
        W0,
        [row | day, row | day | {"sub_account_id": "222", "is_unusual": False}, row | {"sub_account_id": "333"}],
    )
    (trouble,) = stands(settled).of(Item.COLLECTIONS).troubles
    assert trouble.key == "cost_unusual/acme/aws/cost/111 USD"
    assert trouble.text == f"acme aws 111: {W0:%Y-%m-%d} cost 40.50 USD more than the usual 10.00: web-1 +40."
