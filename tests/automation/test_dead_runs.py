"""A run whose process is gone is ended at once, whatever ended the process; one that lives is left alone."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run_iterator

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.automation import dead_runs
from tests.automation.conftest import queue_run, start_run
from tests.support.engines import copy_dagster

if TYPE_CHECKING:
    from tests.support.spine import Spine

# A process that holds the lock of a run for ever.
HOLDER = """
import sys, threading
from pathlib import Path
from optiinfra_dagster.automation import dead_runs
with dead_runs.holding(Path(sys.argv[1]), sys.argv[2]):
    print("held", flush=True)
    threading.Event().wait()
"""


@pytest.fixture
def hold(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def holder(hold: list[subprocess.Popen[str]], home: Path, run: dg.DagsterRun) -> subprocess.Popen[str]:
    """A process that works on `run`."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(home), run.run_id], stdout=subprocess.PIPE, text=True)
    hold.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def started(instance: dg.DagsterInstance) -> dg.DagsterRun:
    """A run that the daemon has started."""
    run = queue_run(instance, "aws_collection", {})
    for kind in (dg.DagsterEventType.RUN_STARTING, dg.DagsterEventType.RUN_START):
        event = dg.DagsterEvent(event_type_value=kind.value, job_name=run.job_name)
        instance.report_dagster_event(event, run.run_id)
    return run


def status(instance: dg.DagsterInstance, run: dg.DagsterRun) -> str:
    found = instance.get_run_by_id(run.run_id)
    assert found
    return found.status.value


def test_only_the_run_whose_process_was_killed_is_ended(
    instance: dg.DagsterInstance, tmp_path: Path, hold: list[subprocess.Popen[str]]
) -> None:
    dead, alive, elsewhere = (started(instance) for _ in range(3))
    victim = holder(hold, tmp_path, dead)
    holder(hold, tmp_path, alive)
    assert dead_runs.end_dead(instance, tmp_path) == []
    victim.kill()
    victim.wait()
    assert [run.run_id for run in dead_runs.end_dead(instance, tmp_path)] == [dead.run_id]
    assert [status(instance, run) for run in (dead, alive, elsewhere)] == ["FAILURE", "STARTED", "STARTED"]
    assert [path.name for path in (tmp_path / dead_runs.FOLDER).iterdir()] == [alive.run_id]


@pytest.mark.parametrize("outcome", ["report_run_canceled", "report_run_failed"])
def test_a_run_that_is_over_stays_as_it_is_and_its_file_goes(
    instance: dg.DagsterInstance, tmp_path: Path, hold: list[subprocess.Popen[str]], outcome: str
) -> None:
    run = started(instance)
    process = holder(hold, tmp_path, run)
    getattr(instance, outcome)(run)
    before = status(instance, run)
    process.kill()
    process.wait()
    assert dead_runs.end_dead(instance, tmp_path) == []
    assert status(instance, run) == before
    assert list((tmp_path / dead_runs.FOLDER).iterdir()) == []


def test_a_run_that_was_deleted_leaves_no_file(
    instance: dg.DagsterInstance, tmp_path: Path, hold: list[subprocess.Popen[str]]
) -> None:
    run = started(instance)
    process = holder(hold, tmp_path, run)
    instance.delete_run(run.run_id)
    process.kill()
    process.wait()
    assert dead_runs.end_dead(instance, tmp_path) == []
    assert list((tmp_path / dead_runs.FOLDER).iterdir()) == []


def test_a_home_without_runs_has_nothing_to_end(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    assert dead_runs.end_dead(instance, tmp_path) == []


def test_a_run_of_the_command_line_is_canceled_since_nobody_could_try_it_again(
    instance: dg.DagsterInstance, tmp_path: Path, hold: list[subprocess.Popen[str]]
) -> None:
    run = start_run(instance, "aws_collection")
    holder(hold, tmp_path, run).kill()
    hold[0].wait()
    assert dead_runs.end_dead(instance, tmp_path)
    assert status(instance, run) == "CANCELED"


def test_every_job_of_the_daemon_holds_the_lock_of_its_run(spine: "Spine", tmp_path: Path) -> None:
    """By the executor of the definitions, which `execute_in_process` would replace."""
    seen: list[str] = []

    @dg.op
    def look(context: dg.OpExecutionContext) -> None:
        held = spine.settings.dagster_home / dead_runs.FOLDER / context.run_id
        assert held.exists()
        with dg.DagsterInstance.ephemeral() as other:
            assert dead_runs.end_dead(other, spine.settings.dagster_home) == []
        assert held.exists()
        seen.append(context.run_id)

    @dg.job(executor_def=dead_runs.executor(spine.settings))
    def looking() -> None:
        look()

    with dg.DagsterInstance.local_temp(copy_dagster(tmp_path)) as instance:
        run = instance.create_run_for_job(looking)
        events = list(execute_run_iterator(InMemoryJob(looking), run, instance))
    assert seen == [run.run_id], events
    (executor,) = {
        job.executor_def.name
        for job in build_defs(spine.settings).get_repository_def().get_all_jobs()
        if not job.name.startswith("__")
    }
    assert executor == "in_process"
