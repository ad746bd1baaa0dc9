"""A real `dagster-daemon`, its code server and its run workers, under a clock that the test moves."""

from __future__ import annotations

import os
import signal
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from optiinfra_dagster.automation.readers_sensor import stale_windows
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage.sql import readers
from tests.support.daemon_site import PATIENCE, DaemonSite
from tests.support.moved_clock import morning, until
from tests.support.spine import ACCOUNTS, fleet, world

FIRST = morning()
W = windows.WINDOW
LAG = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)


class Site(DaemonSite):
    """A place with three customers of AWS, and what is looked at of it."""

    def __init__(self, folder: Path, start: datetime) -> None:
        super().__init__(
            folder,
            start,
            world([fleet("ec2:instance", 1, name="web")]),
            lambda spine, env: spine.write_customers(env["OPTIINFRA_LAB_AWS"], families=["resource", "performance"]),
            OPTIINFRA_PARTITIONS_START=windows.key(FIRST - 10 * 4 * W),  # recent, so that they are few
        )

    def ledger(self) -> dict[tuple[str, str], list[str]]:
        """(dataset, window) -> "customer outcome" of each attempt, in order; a reader has no customer."""
        rows = self.spine.query(
            "SELECT dataset, window_start, customer_id, toString(status) AS outcome FROM metric_batches "
            "ORDER BY published_at, customer_id"
        )
        found: dict[tuple[str, str], list[str]] = {}
        for row in rows:
            key = (row["dataset"], f"{row['window_start']:%H:%M}")
            found.setdefault(key, []).append(f"{row['customer_id']} {row['outcome']}".strip())
        return found

    def outcome(self, family: str, window: datetime) -> Counter[str]:
        """How often each "customer outcome" of a window is in the ledger; corrections of late points do not count."""
        return Counter(self.ledger().get((family, f"{window:%H:%M}"), []))

    def published(self, family: str, window: datetime) -> bool:
        """Whether every customer's slice was published."""
        return {f"{customer} ok" for customer in ACCOUNTS} <= set(self.outcome(family, window))

    def readers_done(self, *of: datetime) -> bool:
        """Whether every reader has computed the windows from what is published now."""
        customers = load_customers(self.spine.settings.customers_path)
        stale = stale_windows(self.spine.clickhouse, customers, self.spine.settings, self.clock.now())
        slices = {
            (row["dataset"], row["window_start"])
            for row in self.spine.query("SELECT DISTINCT dataset, window_start FROM metric_batches")
        }
        wanted = {(one.table, windows.floor_to(one.length, window)) for window in of for one in readers().values()}
        return wanted <= slices and not set(of) & set(stale)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    warnings.filterwarnings("ignore", module="dagster")
    made = Site(tmp_path, FIRST + W)
    try:
        yield made
    finally:
        made.close()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_windows_are_collected_repaired_and_caught_up(site: Site) -> None:
    first, second, third = FIRST, FIRST + W, FIRST + 2 * W
    everyone = Counter(f"{customer} ok" for customer in ACCOUNTS)

    # A tick, a window, its readers.
    site.start()
    idle = site.cpu_seconds()
    site.clock.advance_to(first + W + LAG)
    site.wait_for(
        lambda: site.readers_done(first), "the first window's readers", first + W + LAG + timedelta(minutes=4)
    )
    assert site.outcome("resource", first) == site.outcome("performance", first) == everyone
    print(f"one window: {site.cpu_seconds() - idle:.1f} CPU-s for its two runs, with the daemon's own work beside them")

    # One customer's metrics fail; the others' are published, and once the cloud is well again so is this one's.
    site.lab.add_faults({"action": "unavailable", "service": "cloudwatch", "account": ACCOUNTS["initech"]})
    site.clock.advance_to(second + W + LAG)
    site.wait_for(
        lambda: site.readers_done(second), "the second window's readers", second + W + LAG + timedelta(minutes=4)
    )
    assert site.outcome("performance", second) == Counter(["acme ok", "globex ok", "initech failed"])
    site.lab.clear_faults()
    site.clock.advance_to(site.clock.now() + timedelta(minutes=5))
    site.wait_for(
        lambda: site.published("performance", second) and site.readers_done(second),
        "the repair and the readers after it",
        second + W + LAG + timedelta(minutes=14),
    )
    assert site.outcome("performance", second) == everyone + Counter(["initech failed"])
    assert site.outcome("resource", second) == everyone
    repairs = [run for run in site.instance.get_runs() if "optiinfra/repair" in run.tags]
    assert [(r.asset_selection, r.run_config) for r in repairs] == [
        ({dg.AssetKey(["aws", "performance"])}, {"resources": {"scope": {"config": {"customers": ["initech"]}}}})
    ]

    # A third tick.
    site.clock.advance_to(third + W + LAG)
    site.wait_for(
        lambda: site.readers_done(third), "the third window's readers", third + W + LAG + timedelta(minutes=4)
    )
    assert site.published("performance", third)

    # The daemon is away while two windows pass. The newest is the schedule's, the two before are missing.
    site.stop()
    missed, late, newest = third + W, third + 2 * W, third + 3 * W
    site.clock.advance_to(newest + W + LAG + timedelta(minutes=1))
    site.start()
    site.wait_for(
        lambda: site.readers_done(missed, late, newest), "both windows and their readers", newest + W + LAG + W - LAG
    )
    for window in (missed, late, newest):
        assert site.published("performance", window)
    # An inventory tells what exists now: it is taken until half an hour after its window and never for longer ago.
    assert site.outcome("resource", missed) == Counter()
    assert site.outcome("resource", late) == site.outcome("resource", newest) == everyone

    assert {status for *_, status in site.runs()} == {"SUCCESS"}
    scheduled = [r.tags["dagster/partition"] for r in site.instance.get_runs() if "dagster/schedule_name" in r.tags]
    assert sorted(scheduled) == [windows.key(w) for w in (first, second, third, newest)]


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_run_worker_that_was_killed_is_run_once_more(site: Site) -> None:
    window = FIRST
    site.start()
    site.lab.add_faults({"action": "delay", "seconds": 15, "operation": "DescribeInstances"})
    site.clock.advance_to(window + W + LAG)
    until(lambda: site.workers("aws_collection"), PATIENCE, "a run worker")
    os.kill(site.workers("aws_collection")[0], signal.SIGKILL)
    site.lab.clear_faults()
    site.wait_for(lambda: site.published("performance", window), "the second attempt", window + W + LAG + 9 * MINUTE)
    killed, again = (run for run in reversed(site.instance.get_runs()) if run.job_name == "aws_collection")
    assert killed.status is dg.DagsterRunStatus.FAILURE
    assert again.status is dg.DagsterRunStatus.SUCCESS
    assert again.parent_run_id == killed.run_id
    assert again.tags["dagster/retry_number"] == "1"


@pytest.mark.long
@pytest.mark.timeout(600)
def test_after_a_power_cut_the_run_is_ended_and_tried_again_within_minutes(site: Site) -> None:
    """Code server, daemon and worker are killed together, so that nobody has noticed."""
    window = FIRST
    site.start()
    site.lab.add_faults({"action": "delay", "seconds": 60, "operation": "DescribeInstances"})
    site.clock.advance_to(window + W + LAG)
    held = site.spine.home / "running"
    until(lambda: held.is_dir() and list(held.glob("[!.]*")), PATIENCE, "a run worker")
    site.kill("code", "daemon")
    site.lab.clear_faults()
    (cut,) = (run for run in site.going() if run.job_name == "aws_collection")
    site.start()
    site.wait_for(lambda: site.published("performance", window), "the second attempt", window + W + LAG + 9 * MINUTE)
    ended = site.instance.get_run_by_id(cut.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    assert not (held / cut.run_id).exists()


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_a_clock_that_is_set_back_is_told_and_nothing_is_collected_twice(site: Site) -> None:
    """Dagster has no tick, of a schedule or a sensor, before the time of its last one: so the status must say it."""
    first, second = FIRST, FIRST + W
    everyone = Counter(f"{customer} ok" for customer in ACCOUNTS)
    site.start()
    site.clock.advance_to(first + W + LAG)
    site.wait_for(lambda: site.published("performance", first), "the first window", first + W + LAG + 9 * MINUTE)

    runs = len(site.instance.get_runs())
    site.clock.set_back(timedelta(hours=2))
    back = site.clock.now()
    site.wait_for(lambda: site.clock.now() > back + timedelta(seconds=90), "a minute and a half to pass")
    told = site.status()["schedules and sensors"]
    assert told["state"] == "red"
    stopped = {one["name"] for one in told["details"] if "the clock was set back" in one["text"]}
    assert {"aws_every_15_minutes", "repair", "refresh_readers", "alert", "end_dead_runs"} <= stopped, told
    assert len(site.instance.get_runs()) == runs

    site.clock.advance_to(second + W + LAG)
    site.wait_for(lambda: site.published("performance", second), "the next window", second + W + LAG + 9 * MINUTE)
    assert site.status()["schedules and sensors"]["state"] == "ok"
    for window in (first, second):
        assert site.outcome("resource", window) == site.outcome("performance", window) == everyone
    assert {status for *_, status in site.runs()} == {"SUCCESS"}
