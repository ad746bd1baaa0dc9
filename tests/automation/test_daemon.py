"""A real `dagster-daemon`, its code server and its run workers, under a clock that the test moves."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.definitions.run_request import InstigatorType

from optiinfra_dagster.automation.schedules import GOING
from optiinfra_dagster.lab import LabControl
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.sql import readers
from tests.support.moved_clock import PROJECT, MovedClock, Process, free_port, start_lab, until
from tests.support.spine import ACCOUNTS, Spine, fleet, world

# Far from a midnight and a month's end; a start of partitions that is recent, so that they are few.
FIRST = datetime(2026, 11, 22, 10, 0, tzinfo=UTC)
W = windows.WINDOW
LAG = timedelta(minutes=5)
MINUTE = timedelta(minutes=1)
PATIENCE = 150.0  # real seconds for one step; it takes 15 to 25 on two free cores


class Site:
    """A lab and a home under a moved clock, and the daemon that works there."""

    def __init__(self, folder: Path, start: datetime) -> None:
        self.clock = MovedClock(folder, start)
        self.spine = Spine.at(folder / "home")
        shutil.copy(PROJECT / "optiinfra_dagster" / "dagster.yaml", self.spine.home / "dagster.yaml")
        (folder / "world.yaml").write_text(yaml.safe_dump(world([fleet("ec2:instance", 1, name="web")])))
        self._env = {**self.spine.env, **self.clock.env, "OPTIINFRA_PARTITIONS_START": "2026-11-22T00:00Z"}
        self._log = folder / "daemon.log"
        self._lab, lab_env = start_lab(self._env, folder / "world.yaml", folder / "lab.log")
        self._env |= lab_env
        self.lab = LabControl(lab_env["OPTIINFRA_LAB_AWS"])
        self.spine.write_customers(lab_env["OPTIINFRA_LAB_AWS"], families=["resource", "performance"])
        with self.spine.clickhouse.session():
            pass  # the tables, once and before the clock matters
        self.instance = dg.DagsterInstance.from_config(str(self.spine.home))
        # The daemon's own code server would end at each jump, since it hears from the daemon every 20 s of the clock.
        port = free_port()
        (folder / "workspace.yaml").write_text(
            yaml.safe_dump(
                {"load_from": [{"grpc_server": {"host": "127.0.0.1", "port": port, "location_name": "optiinfra"}}]}
            )
        )
        self._commands = {
            "code": [
                "dagster",
                "api",
                "grpc",
                "-m",
                "optiinfra_dagster.definitions",
                "-h",
                "127.0.0.1",
                "-p",
                str(port),
            ],
            "daemon": ["dagster._daemon", "run", "-w", str(folder / "workspace.yaml")],
        }
        self.processes: dict[str, Process] = {}

    def start(self) -> None:
        """Start the code server and `dagster-daemon run`, and wait until the daemon works."""
        for name, command in self._commands.items():
            self.processes[name] = Process([sys.executable, "-m", *command], self._env, self._log)
        # A schedule that the daemon has not seen yet begins with its first tick after that.
        self.wait_for(
            lambda: any(
                state.instigator_type is InstigatorType.SCHEDULE for state in self.instance.all_instigator_state()
            ),
            "the daemon to know the schedule",
            self.clock.now() + timedelta(minutes=3),
        )

    def stop(self) -> None:
        """Stop them, with the run workers."""
        for process in self.processes.values():
            process.stop()
        self.processes = {}

    def cpu_seconds(self) -> float:
        """CPU time so far of the daemon, the code server and every run worker that has ended."""
        return sum(process.cpu_seconds() for process in self.processes.values())

    def close(self) -> None:
        """End everything."""
        self.stop()
        self._lab.stop()
        self.instance.dispose()

    def wait_for(self, condition: Any, what: str, hurry_until: datetime | None = None) -> None:
        """Wait until `condition` holds and no run is going.

        `hurry_until` lets the clock run ahead to that moment, half a minute at a time.

        Sensors tick every 30 and 60 seconds of the moved clock; nothing jumps while a run is going.
        """
        polls = 0

        def check() -> bool:
            nonlocal polls
            assert not any(process.ended for process in self.processes.values()), self.tail()
            polls += 1
            if self.going():
                return False
            if hurry_until and polls % 6 == 0:
                self.clock.advance_to(min(self.clock.now() + timedelta(seconds=30), hurry_until))
            # Conditions open ClickHouse, which the daemon's sensors and runs want to themselves.
            return polls % 4 == 0 and bool(condition()) and not self.going()

        try:
            until(check, PATIENCE, what)
        except AssertionError as error:
            raise AssertionError(
                f"{error}; at {self.clock.now():%H:%M:%S}, runs {self.runs()}\n{self.tail()}"
            ) from None

    def tail(self, last: int | None = 6000) -> str:
        """The end of the daemon's log."""
        return self._log.read_text()[-last if last else 0 :] if self._log.exists() else ""

    def going(self) -> list[dg.DagsterRun]:
        """The runs that are not over."""
        return list(self.instance.get_runs(dg.RunsFilter(statuses=GOING)))

    def runs(self, job: str | None = None) -> list[tuple[str, str, str, str]]:
        """(job, first window, last window, status) of every run, oldest first."""
        found = []
        for run in reversed(self.instance.get_runs(dg.RunsFilter(job_name=job))):
            one = run.tags.get("dagster/partition", "")
            first = run.tags.get("dagster/asset_partition_range_start", one)
            last = run.tags.get("dagster/asset_partition_range_end", one)
            found.append((run.job_name, first[11:16], last[11:16], run.status.value))
        return found

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
        from optiinfra_dagster.automation.readers_sensor import stale_windows
        from optiinfra_dagster.providers.registry import load_customers

        customers = load_customers(self.spine.settings.customers_path)
        stale = stale_windows(self.spine.clickhouse, customers, self.spine.settings, self.clock.now())
        ledger = self.ledger()
        return all(w not in stale and (f"{f}_{r}", f"{w:%H:%M}") in ledger for w in of for f, r in readers())


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
    workers: list[int] = []

    def working() -> bool:
        events = [
            entry.user_message or entry.message
            for run in site.instance.get_runs(
                dg.RunsFilter(job_name="aws_collection", statuses=[dg.DagsterRunStatus.STARTED])
            )
            for entry in site.instance.all_logs(run.run_id)
        ]
        found = (re.search(r"Executing steps in process \(pid: (\d+)\)", event) for event in events)
        workers[:] = [int(match[1]) for match in found if match]
        return bool(workers)

    until(working, PATIENCE, "a run worker")
    os.kill(workers[0], signal.SIGKILL)
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
    for pid in {pid for process in site.processes.values() for pid in process.descendants()}:
        os.kill(pid, signal.SIGKILL)
    site.stop()
    site.lab.clear_faults()
    (cut,) = (run for run in site.going() if run.job_name == "aws_collection")
    site.start()
    site.wait_for(lambda: site.published("performance", window), "the second attempt", window + W + LAG + 9 * MINUTE)
    ended = site.instance.get_run_by_id(cut.run_id)
    assert ended is not None
    assert ended.status is dg.DagsterRunStatus.FAILURE
    assert not (held / cut.run_id).exists()
