"""Dagster runs started from the command line: real runs on the real instance, seen in the UI like any other."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import as_file, files
from typing import TYPE_CHECKING
from uuid import uuid4

import dagster as dg

from optiinfra_dagster.automation.sensors import range_tags
from optiinfra_dagster.definitions import build_defs
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager
from optiinfra_dagster.storage.report import EVERY_SLICE_FAILED

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse


def prepare_home(settings: Settings) -> None:
    """Make DAGSTER_HOME a folder with a dagster.yaml, and known to this process and those it starts."""
    settings.dagster_home.mkdir(parents=True, exist_ok=True)
    if not (settings.dagster_home / "dagster.yaml").exists():
        with as_file(files("optiinfra_dagster") / "dagster.yaml") as shipped:
            shutil.copyfile(shipped, settings.dagster_home / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended; `errors` are plain messages, one per failed asset.

    `explained_by_ledger` is true if an asset failed because every slice of it did. The ledger says why, customer by
    customer, so there is no error of that asset here.
    """

    run_id: str
    success: bool
    errors: tuple[str, ...]
    explained_by_ledger: bool = False


class Runner:
    """Executes jobs in this process, one after the other.

    `progress` is called with a line of text whenever a flush went to ClickHouse.
    """

    def __init__(self, settings: Settings, clickhouse: ClickHouse, progress: Callable[[str], None]) -> None:
        prepare_home(settings)
        self._defs = build_defs(
            settings,
            {"clickhouse": clickhouse, "io_manager": ClickHouseIOManager(clickhouse, progress=progress)},
        )
        self._instance = dg.DagsterInstance.get()

    def run(
        self,
        job: str,
        assets: Sequence[Sequence[str]],
        first: datetime,
        last: datetime,
        *,
        customers: Sequence[str] = (),
        refresh: bool = False,
    ) -> RunResult:
        """Materialize `assets` of `job` for the windows from `first` to `last` in one run.

        Raises:
            KeyboardInterrupt: at once; the run is recorded as canceled, and its threads may still be at work.
        """
        config: dict[str, object] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        if customers or refresh:
            config["resources"] = {"scope": {"config": {"customers": list(customers), "refresh": refresh}}}
        one = first == last
        run_id = str(uuid4())
        # In a thread: in the main one Dagster takes Ctrl-C for a failure, which the assets' retry policy tries again.
        pool = ThreadPoolExecutor(1, thread_name_prefix="run")
        running = pool.submit(
            self._defs.resolve_job_def(job).execute_in_process,
            instance=self._instance,
            run_id=run_id,
            run_config=config,
            asset_selection=[dg.AssetKey(list(key)) for key in assets],
            partition_key=windows.key(first) if one else None,
            tags=None if one else range_tags(first, last),
            raise_on_error=False,
        )
        try:
            result = running.result()
        except KeyboardInterrupt:
            if run := self._instance.get_run_by_id(run_id):
                self._instance.report_run_canceled(run, "Interrupted at the command line.")
            raise
        finally:
            pool.shutdown(wait=False)
        failures = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_FAILURE]
        explained = [e for e in failures if _is_explained_by_ledger(e)]
        errors = _errors([e for e in failures if e not in explained])
        return RunResult(result.run_id, result.success, tuple(errors), explained_by_ledger=bool(explained))


def _is_explained_by_ledger(failure: dg.DagsterEvent) -> bool:
    """True if a step failed because every slice of its asset did."""
    data = failure.step_failure_data.user_failure_data
    return data is not None and EVERY_SLICE_FAILED in data.metadata


def _errors(failures: Sequence[dg.DagsterEvent]) -> list[str]:
    """What failed, as messages: never a traceback."""
    messages = []
    for failure in failures:
        data = failure.step_failure_data
        if data.user_failure_data:
            messages.append(data.user_failure_data.description or "")
        elif data.error:
            error = data.error.cause or data.error
            messages.append(re.sub(r"^\w+(\.\w+)*: ", "", error.message.strip()))
    return [m for m in messages if m]
