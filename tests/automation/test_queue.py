"""Which run Dagster's own queue starts next: the newest window's, whatever repairs and backfills are going or wait."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.test_utils import create_test_daemon_workspace_context
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator import QueuedRunCoordinatorDaemon

from optiinfra_dagster.assets.scope import WHOLE
from optiinfra_dagster.automation import run_tags, schedules
from optiinfra_dagster.automation.jobs import READERS_JOB, collection_job
from optiinfra_dagster.automation.repair_plan import Repair
from optiinfra_dagster.providers.registry import FAMILIES_OF
from tests.automation.conftest import W0, before, queue_run
from tests.support.engines import copy_dagster

SCHEDULED = {f"{provider} scheduled" for provider in FAMILIES_OF}


class Site:
    """An instance with our dagster.yaml, runs that wait in its queue, and the daemon that starts them."""

    def __init__(self, instance: dg.DagsterInstance, workspace: Any) -> None:
        self._instance, self._workspace = instance, workspace
        self._names: dict[str, str] = {}

    def add(self, name: str, job: str, tags: dict[str, str]) -> None:
        """One run into the queue."""
        self._names[queue_run(self._instance, job, tags).run_id] = name

    def add_scheduled(self, window: str = "") -> None:
        """What the four schedules ask for at a tick, with the tag that Dagster adds."""
        for provider in FAMILIES_OF:
            self.add_shard(provider, f"{provider} scheduled{window}")

    def add_shard(self, provider: str, name: str, shard: str = WHOLE) -> None:
        """What one schedule asks for, for one shard."""
        tags = {"dagster/schedule_name": f"{provider}_every_15_minutes", **schedules.request(provider, "", shard).tags}
        self.add(name, collection_job(provider), tags)

    def add_repairs(self, *families: str, count: int = 1) -> None:
        """Repairs of every provider, as the sensor tags them."""
        for provider in FAMILIES_OF:
            for n in range(count):
                repair = Repair(provider, families, ("acme",), before(95), before(n + 1))
                self.add(f"{provider} repair", collection_job(provider), repair.tags)

    def iterate(self) -> list[str]:
        """One iteration of the daemon; the names of the runs that it started, in that order."""
        launched: list[dg.DagsterRun] = self._instance.run_launcher.queue()  # type: ignore[attr-defined]
        before = len(launched)
        with QueuedRunCoordinatorDaemon(interval_seconds=5) as daemon:
            list(daemon.run_iteration(self._workspace))
        return [self._names[run.run_id] for run in launched[before:]]

    def end(self, *names: str) -> None:
        """End the runs of those names that are going."""
        for run in self._instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING])):
            if self._names[run.run_id] in names:
                self._instance.report_run_canceled(run)


@pytest.fixture(params=[None, 4], ids=["shipped", "four slots"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    shipped = yaml.safe_load((files("optiinfra_dagster") / "dagster.yaml").read_text())
    if request.param:
        shipped["concurrency"]["runs"]["max_concurrent_runs"] = request.param
    launcher = {"run_launcher": {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}}
    with (
        dg.DagsterInstance.local_temp(copy_dagster(tmp_path), overrides={**shipped, **launcher}) as instance,
        create_test_daemon_workspace_context(EmptyWorkspaceTarget(), instance) as workspace,
    ):
        yield Site(instance, workspace)


def test_the_newest_window_is_started_before_what_waited_longer(site: Site) -> None:
    site.add_repairs("resource", "performance", count=3)
    site.add("backfill", "aws_collection", {"dagster/backfill": "abcdefgh"})
    site.add("readers", READERS_JOB, run_tags.READERS_TAGS)
    site.add_scheduled()
    started = site.iterate()
    assert set(started[:4]) == SCHEDULED
    assert started[4:5] in ([], ["readers"])


def test_repairs_and_backfills_that_never_end_leave_slots_to_the_newest_window(site: Site) -> None:
    site.add_repairs("resource", "performance", count=2)
    site.add_repairs("performance", count=2)
    for _ in range(5):
        site.add("backfill", "gcp_collection", {"dagster/backfill": "abcdefgh"})
    going = site.iterate() + site.iterate()
    assert len(going) <= 3
    assert going.count("backfill") == 1
    for _ in range(2):  # windows one after the other
        site.add_scheduled()
        started: list[str] = []
        while new := site.iterate():
            started += new
            site.end(*new)
        assert set(started) == SCHEDULED


def test_one_repair_of_past_windows_leaves_a_slot_to_an_inventory_that_can_still_be_taken(site: Site) -> None:
    site.add_repairs("performance", count=2)
    assert len(site.iterate() + site.iterate()) == 1
    site.add_repairs("resource", "performance")
    assert len(site.iterate()) == 1
    assert site.iterate() == []


def test_a_schedules_runs_are_started_one_after_the_other(site: Site) -> None:
    site.add_scheduled(" first")
    site.add_scheduled(" second")
    assert sorted(site.iterate()) == sorted(f"{provider} scheduled first" for provider in FAMILIES_OF)
    assert site.iterate() == []
    site.end("gcp scheduled first")
    assert site.iterate() == ["gcp scheduled second"]


def test_shards_of_a_window_are_collected_side_by_side_and_each_before_its_next_window(site: Site) -> None:
    for window in ("first", "second"):
        for shard in ("1/2", "2/2"):
            site.add_shard("aws", f"{shard} {window}", shard)
    assert sorted(site.iterate()) == ["1/2 first", "2/2 first"]
    assert site.iterate() == []
    site.end("2/2 first")
    assert site.iterate() == ["2/2 second"]


def test_what_the_sensor_asks_for_carries_the_tags_of_the_limits() -> None:
    limits = yaml.safe_load((files("optiinfra_dagster") / "dagster.yaml").read_text())["concurrency"]["runs"]
    keys = {limit["key"] for limit in limits["tag_concurrency_limits"]}
    past = Repair("aws", ("performance",), ("acme",), before(9), before(1))
    present = Repair("aws", ("resource", "performance"), ("acme",), W0, W0)
    assert keys == {*past.tags, "dagster/backfill", run_tags.IN_TURN_TAG} & keys
    assert run_tags.CATCH_UP_TAG in past.tags
    assert run_tags.CATCH_UP_TAG not in present.tags
