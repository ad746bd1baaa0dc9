"""Detection of runs whose process is gone. A living one locks a file named as its run; no end leaves it locked.

A pid would tell less: another process may have it by now, and in another container it means something else. The kernel
lets go of the lock at kill -9, at a crash and at a power cut alike. Runs of machines that do not share DAGSTER_HOME
are left to Dagster's run monitoring.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.automation.dagster_internals import ExecutionPlan, Executor

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings

FOLDER = "running"
GONE = "The process of this run is gone: it was killed, or its machine went down."


@contextmanager
def holding(home: Path, run_id: str) -> Iterator[None]:
    """Hold the lock of a run for the duration."""
    place, descriptor = _hold(home, run_id)
    try:
        yield
    finally:
        place.unlink(missing_ok=True)
        os.close(descriptor)


def _hold(home: Path, run_id: str) -> tuple[Path, int]:
    """Lock the run's file, and name it so only then: unlocked it means that the process is gone."""
    folder = home / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    place = folder / run_id
    new = folder / f".{run_id}"
    descriptor = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    new.replace(place)
    return place, descriptor


class _HoldingExecutor(Executor):
    """Another executor, in a process that holds the lock of its run until it ends."""

    def __init__(self, executor: Executor, home: Path) -> None:
        self._executor = executor
        self._home = home

    @property
    def retries(self) -> Any:
        """The retries of the executor inside."""
        return self._executor.retries

    @property
    def step_dependency_config(self) -> Any:
        """The step dependencies of the executor inside."""
        return self._executor.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: ExecutionPlan) -> Iterator[dg.DagsterEvent]:
        """Execute the run, which is over only after this; its file is left to `end_dead`."""
        try:
            _hold(self._home, plan_context.run_id)
        except OSError as error:  # a full disk; should the process die too, run monitoring ends the run after two hours
            plan_context.log.warning("The lock of this run cannot be held: %s.", error.strerror)
        yield from self._executor.execute(plan_context, execution_plan)


def executor(settings: "Settings") -> dg.ExecutorDefinition:
    """Dagster's executor for steps in the run's own process, which holds the lock of its run."""

    @dg.executor(name="in_process", config_schema=dg.in_process_executor.config_schema.as_field())
    def in_process(context: dg.InitExecutorContext) -> Executor:
        create = dg.in_process_executor.executor_creation_fn
        if create is None:
            raise TypeError("Dagster's in_process_executor creates no executor.")
        return _HoldingExecutor(create(context), settings.dagster_home)

    return in_process


def is_gone(home: Path, run_id: str) -> bool:
    """True if a run of this machine has no process any more, and nothing has ended it yet."""
    try:
        lock = os.open(home / FOLDER / run_id, os.O_RDWR)
    except OSError:
        return False  # it has ended, or is of another machine
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    else:
        return True
    finally:
        os.close(lock)


def end_dead(instance: dg.DagsterInstance, home: Path) -> list[dg.DagsterRun]:
    """End the runs whose process is gone, and return them.

    A run of the daemon has failed, which Dagster tries once more; one of the command line is canceled.
    """
    ended = []
    for place in sorted((home / FOLDER).glob("[!.]*")):
        try:
            lock = os.open(place, os.O_RDWR)
        except FileNotFoundError:
            continue  # it has just ended
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Read after its process has ended: nobody but this one writes of it now.
            run = instance.get_run_by_id(place.name)
            if run and not run.is_finished:
                if run.remote_job_origin:
                    instance.report_run_failed(run, GONE)
                else:
                    instance.report_run_canceled(run, GONE)
                ended.append(run)
            place.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(lock)
    return ended


def build(settings: "Settings") -> dg.SensorDefinition:
    """The sensor."""

    @dg.sensor(
        name="end_dead_runs",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Ends the runs whose process is gone, as after a power cut: otherwise they would stay started for "
        "two hours and hold up what comes after them.",
    )
    def end_dead_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
        ended = end_dead(context.instance, settings.dagster_home)
        names = ", ".join(f"{run.run_id[:8]} of {run.job_name}" for run in ended)
        return dg.SkipReason(f"Ended {names}." if names else "Every run that is going has its process.")

    return end_dead_runs
