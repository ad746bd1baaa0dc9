"""Deletes what Dagster keeps for ever: files and checks' executions of runs that are gone, and events of no run.

Of a run that is deleted, SQLite keeps a database of 140 kB without rows, the compute logs keep their folder, and the
table of check executions keeps its rows: at 580 runs a day some 50 GB and 800,000 files in a year.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from optiinfra_dagster.automation.dagster_storages import (
    RUNLESS_RUN_ID,
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    LocalComputeLogManager,
    SqlEventLogStorage,
    SqlEventLogStorageTable,
    SqliteEventLogStorage,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager
    from datetime import datetime

    import dagster as dg

_RUN = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SHARD_FILES = ("", "-wal", "-shm", "-journal")
_PASSED = "SUCCEEDED"  # as Dagster writes that an execution of a check passed
_EVALUATION = "ASSET_CHECK_EVALUATION"  # the type of event, which names its check in its text only
_ROWS_AT_ONCE = 5_000  # a short lock each
_RUNS_AT_ONCE = 25  # 1,000 events: about 0.1 s, in which no run can write events of its own


def delete_runs(instance: dg.DagsterInstance, run_ids: Sequence[str]) -> None:
    """Delete runs, with their events and files. Killed at any point, it is done again with those that are left.

    Events of many runs go in one transaction, where Dagster takes some of each run, and connects for each: 75 ms of CPU
    on PostgreSQL. On SQLite a run's own database goes as a file: to open it, only to empty it, takes 50 ms.
    """
    storage = instance.event_log_storage
    for i in range(0, len(run_ids), _RUNS_AT_ONCE):
        together = run_ids[i : i + _RUNS_AT_ONCE]
        if isinstance(storage, SqlEventLogStorage):
            with storage.index_connection() as connection:
                for run_id in together:
                    storage.delete_events_for_run(connection, run_id)
        for run_id in together:
            if isinstance(storage, SqlEventLogStorage):
                instance.run_storage.delete_run(run_id)
            else:
                instance.delete_run(run_id)
            of_run(instance, run_id)


def of_run(instance: dg.DagsterInstance, run_id: str) -> None:
    """Delete the files of a run that was deleted: its compute logs, wherever they are, and its database."""
    with suppress(OSError):  # a folder that somebody holds open; the next night looks again
        instance.compute_log_manager.delete_logs(prefix=[run_id])
    if (shard := _shard(instance, run_id)) is not None:
        for ending in _SHARD_FILES:
            shard.with_name(shard.name + ending).unlink(missing_ok=True)


def of_gone_runs(instance: dg.DagsterInstance, older: datetime, most: int) -> int:
    """Delete the files on this machine, unchanged since `older`, of runs that are there no more; returns of how many.

    They are of runs that were deleted by other means than the nightly job, or before it knew of their files.
    """
    deleted = 0
    for run_id in _runs_with_old_files(instance, older.timestamp()):
        if deleted == most:
            break
        if not instance.has_run(run_id):
            of_run(instance, run_id)
            deleted += 1
    return deleted


def check_executions(instance: dg.DagsterInstance, older: datetime, passed_older: datetime) -> int:
    """Delete the executions of checks from before `older`, but for the newest of each check; returns how many.

    Those of a partition whose newest execution passed go if they are from before `passed_older`. Dagster's UI adds up
    every execution of every check whenever it shows the assets, 0.9 ms of CPU each: 24 s with 7 days of 40 checks.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    of = AssetCheckExecutionsTable.c
    every = sa.select(of.id, of.asset_key, of.check_name, of.partition, of.execution_status, of.create_timestamp)
    newest: dict[tuple[str, str], int] = {}
    passed: dict[tuple[str, str, str | None], bool] = {}
    with storage.index_connection() as connection:
        rows = connection.execute(every.order_by(of.id)).all()
        for row in rows:
            newest[row.asset_key, row.check_name] = row.id
            passed[row.asset_key, row.check_name, row.partition] = row.execution_status == _PASSED
        # Dagster writes times of UTC without a zone.
        limits = {False: older.replace(tzinfo=None), True: max(older, passed_older).replace(tzinfo=None)}
        old = [
            row.id
            for row in rows
            if row.create_timestamp < limits[passed[row.asset_key, row.check_name, row.partition]]
            and row.id != newest[row.asset_key, row.check_name]
        ]
    for i in range(0, len(old), _ROWS_AT_ONCE):
        with storage.index_connection() as connection:
            connection.execute(AssetCheckExecutionsTable.delete().where(of.id.in_(old[i : i + _ROWS_AT_ONCE])))
    return len(old)


def reported_events(instance: dg.DagsterInstance, key: dg.AssetKey, older: datetime) -> int:
    """Delete the events of no run from before `older`: of an asset without partitions, and of checks; returns how many.

    The newest of the asset stays, and those of executions that `check_executions` left: the UI shows both.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return 0
    # SQLite has them twice: in a database of their own, and for what looks across runs.
    count = _delete_reported(storage.index_connection, key, older, has_executions=True)
    if isinstance(storage, SqliteEventLogStorage):
        _delete_reported(lambda: storage.run_connection(RUNLESS_RUN_ID), key, older, has_executions=False)
    return count


def _delete_reported(
    connect: Callable[[], AbstractContextManager[sa.Connection]],
    key: dg.AssetKey,
    older: datetime,
    *,
    has_executions: bool,
) -> int:
    of = SqlEventLogStorageTable.c
    reported = sa.select(of.id, of.dagster_event_type, of.timestamp).where(
        of.run_id == RUNLESS_RUN_ID, (of.asset_key == key.to_string()) | (of.dagster_event_type == _EVALUATION)
    )
    with connect() as connection:
        rows = connection.execute(reported.order_by(of.id)).all()
        newest_ids = set({row.dagster_event_type: row.id for row in rows}.values())
        if has_executions:
            shown = connection.execute(sa.select(AssetCheckExecutionsTable.c.evaluation_event_storage_id)).all()
            newest_ids |= {one.evaluation_event_storage_id for one in shown}
    limit = older.replace(tzinfo=None)  # Dagster writes times of UTC without a zone
    old = [row.id for row in rows if row.timestamp < limit and row.id not in newest_ids]
    for i in range(0, len(old), _ROWS_AT_ONCE):
        ids = old[i : i + _ROWS_AT_ONCE]
        with connect() as connection:
            connection.execute(SqlEventLogStorageTable.delete().where(of.id.in_(ids)))
            if has_executions:
                connection.execute(AssetEventTagsTable.delete().where(AssetEventTagsTable.c.event_id.in_(ids)))
    return len(old)


def _runs_with_old_files(instance: dg.DagsterInstance, older: float) -> Iterator[str]:
    """The ids of runs with a database or a folder of compute logs that was not changed since."""
    found: dict[str, Path] = {}
    if (shard := _shard(instance, "any")) is not None:
        found |= {path.stem: path for path in _listed(shard.parent)}
    if isinstance(instance.compute_log_manager, LocalComputeLogManager):
        found |= {path.name: path for path in _listed(Path(instance.storage_directory()))}
    for run_id, path in found.items():
        with suppress(OSError):  # gone meanwhile
            if _RUN.fullmatch(run_id) and path.stat().st_mtime < older:
                yield run_id


def _listed(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _shard(instance: dg.DagsterInstance, run_id: str) -> Path | None:
    """The database of a run's events; None where all runs share one."""
    storage = instance.event_log_storage
    return Path(storage.path_for_shard(run_id)) if isinstance(storage, SqliteEventLogStorage) else None
