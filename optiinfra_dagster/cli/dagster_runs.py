"""Dagster runs started from the command line: real runs on the real instance, seen in the UI like any other."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING
from uuid import uuid4

import dagster as dg
import yaml
from sqlalchemy.exc import SQLAlchemyError

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.automation import dead_runs
from optiinfra_dagster.automation.run_tags import range_tags
from optiinfra_dagster.automation.status.gather import cannot_be_used, need_instance
from optiinfra_dagster.collection.pool import stop_collecting
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.background import in_background
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager
from optiinfra_dagster.storage.slice_report import EVERY_SLICE_FAILED

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse


SIGNAL_SECONDS = 0.5


def _warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


# SHA-256 of every dagster.yaml that was shipped before: a copy that nobody edited is replaced by the current one.
SHIPPED_BEFORE = {
    "ba545ee1f7b409a9852f2b6c7d39a20b43228473253b20cfad750338a8718e35",
    "733d1d11606933922f7fc222f80632eb3fb0227b24c20f12c174877e6ded9f63",
    "c6a05d4c9bc325a318210293bd914c10c0d17af8a4aa540090896f6a5100b428",
}


def prepare_home(settings: Settings, warn: Callable[[str], None] = _warn) -> None:
    """Make DAGSTER_HOME a folder with a dagster.yaml, and known to this process and those it starts.

    `warn` is told of what an edited dagster.yaml lacks.
    """
    _make_private(settings.dagster_home)
    shipped = (files("optiinfra_dagster") / "dagster.yaml").read_bytes()
    own = settings.dagster_home / "dagster.yaml"
    before = own.read_bytes() if own.exists() else None
    if before is None or sha256(before).hexdigest() in SHIPPED_BEFORE:
        new = own.with_suffix(".new")
        new.write_bytes(shipped)
        new.replace(own)
    elif lacking := _lacking_limits(before, shipped):
        warn(
            f"{own} has no limit for {', '.join(lacking)}, so repairs and backfills may hold up the newest window, "
            "whose inventory would be lost. Copy concurrency.runs.tag_concurrency_limits from "
            f"{files('optiinfra_dagster') / 'dagster.yaml'}."
        )
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)


def _make_private(home: Path) -> None:
    """Make the folder, for this user alone: with `store_text` it holds what people asked an LLM.

    One that everybody may enter is closed, with all that is in it; one that is open to a group was opened on purpose.
    """
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    if home.stat().st_mode & 0o007:
        with suppress(PermissionError):  # it is another user's
            home.chmod(0o700)


def _lacking_limits(own: bytes, shipped: bytes) -> list[str]:
    """The tags that the shipped dagster.yaml limits and the own one does not."""
    return [key for key in _limited(shipped) if key not in _limited(own)]


def _limited(text: bytes) -> list[str]:
    try:
        content = yaml.safe_load(text)
        return [limit["key"] for limit in content["concurrency"]["runs"]["tag_concurrency_limits"]]
    except (yaml.YAMLError, KeyError, TypeError):
        return []  # Dagster itself says what is wrong with it


@dataclass(frozen=True, slots=True)
class RunResult:
    """The end of a run; `errors` are plain messages, one per failed asset.

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
        self._instance = need_instance(settings)
        self._defs = build_defs(
            settings,
            {"clickhouse": clickhouse, "io_manager": ClickHouseIOManager(clickhouse, progress=progress)},
        )
        self._settings = settings

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
            ConfigError: Dagster's state cannot be used.
            KeyboardInterrupt: at once; the run is recorded as canceled. Its threads may still be at work, but nothing
                comes of it any more.
        """
        config: dict[str, object] = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
        if customers or refresh:
            config["resources"] = {"scope": {"config": {"customers": list(customers), "refresh": refresh}}}
        one = first == last
        run_id = str(uuid4())

        def execute() -> dg.ExecuteInProcessResult:
            return self._defs.resolve_job_def(job).execute_in_process(
                instance=self._instance,
                run_id=run_id,
                run_config=config,
                asset_selection=[dg.AssetKey(list(key)) for key in assets],
                partition_key=windows.key(first) if one else None,
                tags=None if one else range_tags(first, last),
                raise_on_error=False,
            )

        with dead_runs.holding(self._settings.dagster_home, run_id):
            try:
                result = _in_thread(execute)
            except KeyboardInterrupt:
                stop_collecting()
                if run := self._instance.get_run_by_id(run_id):
                    self._instance.report_run_canceled(run, "Interrupted at the command line.")
                raise
            except SQLAlchemyError as error:
                raise ConfigError(f"{cannot_be_used(self._settings, error)}.") from error
        failures = [e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_FAILURE]
        explained = [e for e in failures if _is_explained_by_ledger(e)]
        errors = _errors([e for e in failures if e not in explained])
        return RunResult(result.run_id, result.success, tuple(errors), explained_by_ledger=bool(explained))


def _is_explained_by_ledger(failure: dg.DagsterEvent) -> bool:
    """True if a step failed because every slice of its asset did."""
    data = failure.step_failure_data.user_failure_data
    return data is not None and EVERY_SLICE_FAILED in data.metadata


def _in_thread(work: Callable[[], dg.ExecuteInProcessResult]) -> dg.ExecuteInProcessResult:
    """The result of `work`: in the main thread Dagster takes Ctrl-C for a failure, which assets' retries try again.

    Nobody waits for the thread when the process ends.
    """

    def run() -> dg.ExecuteInProcessResult:
        # Ctrl-C at a terminal goes to the whole group: of the processes that Dagster starts here for each step, which
        # inherit this, one would print a traceback. They end by themselves when this process does.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        return work()

    future = in_background(run, name="run")
    # A signal may be delivered to any thread, of which there are many: only a main thread that wakes up acts on it.
    while not wait([future], timeout=SIGNAL_SECONDS).done:
        pass
    return future.result()


def _errors(failures: Sequence[dg.DagsterEvent]) -> list[str]:
    """Plain messages of the steps that failed: never a traceback."""
    messages = []
    for failure in failures:
        data = failure.step_failure_data
        if data.user_failure_data:
            messages.append(data.user_failure_data.description or "")
        elif data.error:
            error = data.error.cause or data.error
            messages.append(re.sub(r"^\w+(\.\w+)*: ", "", error.message.strip()))
    return [m for m in messages if m]
