"""Dagster's storage as months of an installation fill it: the rows and files of five real runs, again for each window.

The runs are those of one window of the demo: one of each cloud, and one of the readers. Each copy has ids, partition
and times of its own; texts keep their length, so that a row and a page are as large as real ones.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
import sqlalchemy as sa
from dagster._core.events.log import EventLogEntry
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteInstigatorOrigin, RemoteRepositoryOrigin
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
    TickData,
    TickStatus,
)
from dagster._core.storage.event_log.schema import (
    AssetCheckExecutionsTable,
    AssetEventTagsTable,
    AssetKeyTable,
    SqlEventLogStorageTable,
)
from dagster._core.storage.partition_status_cache import AssetStatusCacheValue
from dagster._core.storage.runs import SqlRunStorage
from dagster._core.storage.runs.schema import RunsTable, RunTagsTable, SnapshotsTable
from dagster._core.storage.schedules import SqlScheduleStorage
from dagster._core.storage.schedules.schema import JobTickTable

from optiinfra_dagster.automation.dagster_storages import SqlEventLogStorage, SqliteEventLogStorage
from optiinfra_dagster.model import windows

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

Row = dict[str, Any]
# Ticks a day of the sensors and schedules; most ask for nothing. Dagster itself forgets those after a day.
TICKS_A_DAY = {"refresh_readers": 2880, "end_dead_runs": 2880, "repair": 1440, "alert": 1440}


@dataclass(slots=True)
class Recording:
    """The rows and files that the runs of one window left."""

    home: Path
    window: datetime
    runs: list[Row]
    run_tags: list[Row]
    snapshots: list[Row]
    asset_keys: list[Row]
    index: list[Row]  # the events of all runs by which assets are found
    shards: dict[str, list[Row]]  # every event, by run
    event_tags: list[Row]
    checks: list[Row]


def record(home: Path) -> Recording:
    """Collect the newest window of the demo into a new home, and read what Dagster's storage has of it then."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OPTIINFRA_")}
    start = {"OPTIINFRA_PARTITIONS_START": os.environ["OPTIINFRA_PARTITIONS_START"]}
    subprocess.run(
        [str(Path(sys.executable).with_name("optiinfra")), "run"],
        check=True,
        env={**environment, **start, "DAGSTER_HOME": str(home)},
        capture_output=True,
    )
    return read(home)


def read(home: Path) -> Recording:
    """What a home has of the runs of one window."""
    runs = _rows(home / "history" / "runs.db", "runs")
    index = home / "history" / "runs" / "index.db"
    return Recording(
        home,
        windows.from_key(runs[0]["partition"]),
        runs,
        _rows(home / "history" / "runs.db", "run_tags"),
        _rows(home / "history" / "runs.db", "snapshots"),
        _rows(index, "asset_keys"),
        _rows(index, "event_logs"),
        {one["run_id"]: _rows(shard_of(home, one["run_id"]), "event_logs") for one in runs},
        _rows(index, "asset_event_tags"),
        _rows(index, "asset_check_executions"),
    )


def shard_of(home: Path, run_id: str) -> Path:
    """The database of a run's events."""
    return home / "history" / "runs" / f"{run_id}.db"


def _rows(path: Path, table: str) -> list[Row]:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    try:
        return [dict(row) for row in connection.execute(f"SELECT * FROM {table} ORDER BY rowid")]  # noqa: S608
    finally:
        connection.close()


@dataclass(slots=True)
class Site:
    """A storage that is filled day by day."""

    instance: dg.DagsterInstance
    recording: Recording
    _next_event: int = field(default=1, init=False)

    @property
    def _events(self) -> SqlEventLogStorage:
        found = self.instance.event_log_storage
        assert isinstance(found, SqlEventLogStorage)
        return found

    @property
    def _runs(self) -> SqlRunStorage:
        found = self.instance.run_storage
        assert isinstance(found, SqlRunStorage)
        return found

    @property
    def _is_sharded(self) -> bool:
        """True for SQLite, where the events of each run have a database of their own."""
        return isinstance(self._events, SqliteEventLogStorage)

    def begin(self, partitions: dg.TimeWindowPartitionsDefinition, filled: Sequence[str]) -> None:
        """Make the assets known, with the status of the windows of a year before, whose runs are long gone."""
        subset = partitions.empty_subset().with_partition_keys(filled).serialize()
        cached = AssetStatusCacheValue(0, partitions.get_serializable_unique_identifier(), subset)
        keys = [
            {**_typed(AssetKeyTable, one), "id": None, "cached_status_data": dg.serialize_value(cached)}
            for one in self.recording.asset_keys
        ]
        with self._events.index_connection() as connection:
            _insert(connection, AssetKeyTable, keys)
        with self._runs.connect() as connection:
            _insert(connection, SnapshotsTable, [{**one, "id": None} for one in self.recording.snapshots])

    def fill(self, of_day: Sequence[datetime]) -> None:
        """The runs of some windows."""
        rows: dict[sa.Table, list[Row]] = {}
        for window in of_day:
            renamed = {one["run_id"]: str(uuid.uuid4()) for one in self.recording.runs}
            for table, row in self._of_window(window, renamed):
                rows.setdefault(table, []).append(row)
            if self._is_sharded:
                for old, new in renamed.items():
                    self._copy_files(old, new, window)
        with self._runs.connect() as connection:
            for table in (RunsTable, RunTagsTable):
                _insert(connection, table, rows.pop(table))
        with self._events.index_connection() as connection:
            for table, of_table in rows.items():
                _insert(connection, table, of_table)
        for row in rows[SqlEventLogStorageTable]:
            if row["dagster_event_type"] == "ASSET_MATERIALIZATION" and row["partition"] == windows.key(max(of_day)):
                self._events.store_asset_event(dg.deserialize_value(row["event"], EventLogEntry), row["id"])

    def ticks(self, until: datetime) -> None:
        """A day of ticks that asked for nothing, which is how long they are kept."""
        made = []
        for name, count in TICKS_A_DAY.items():
            repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("optiinfra"), "__repository__")
            data = SensorInstigatorData(last_tick_timestamp=until.timestamp())
            state = InstigatorState(
                RemoteInstigatorOrigin(repository, name), InstigatorType.SENSOR, InstigatorStatus.RUNNING, data
            )
            self.instance.add_instigator_state(state)
            for n in range(count):
                at = until - timedelta(days=1) * (n / count)
                tick = TickData(
                    state.instigator_origin_id, name, InstigatorType.SENSOR, TickStatus.SKIPPED, at.timestamp(), [], [],
                    selector_id=state.selector_id, skip_reason="Every reader is up to date.",
                )  # fmt: skip
                made.append(
                    {
                        "job_origin_id": tick.instigator_origin_id, "selector_id": tick.selector_id,
                        "status": tick.status.value, "type": tick.instigator_type.value,
                        "timestamp": at.replace(tzinfo=None), "tick_body": dg.serialize_value(tick),
                    }
                )  # fmt: skip
        schedules = self.instance.schedule_storage
        assert isinstance(schedules, SqlScheduleStorage)
        with schedules.connect() as connection:
            _insert(connection, JobTickTable, sorted(made, key=lambda row: row["timestamp"]))

    def _of_window(self, window: datetime, renamed: Mapping[str, str]) -> Iterator[tuple[sa.Table, Row]]:
        recorded = self.recording
        shift = window - recorded.window
        texts = {**renamed, windows.key(recorded.window): windows.key(window)}

        def copied(table: sa.Table, row: Row, drop: Sequence[str] = ("id",)) -> Row:
            kept = {name: value for name, value in _typed(table, row).items() if name not in drop}
            return _shifted({name: _renamed(value, texts) for name, value in kept.items()}, shift)

        for row in recorded.runs:
            yield RunsTable, copied(RunsTable, row)
        for row in recorded.run_tags:
            yield RunTagsTable, copied(RunTagsTable, row)
        events = recorded.index if self._is_sharded else [row for rows in recorded.shards.values() for row in rows]
        ids: dict[str, int] = {}
        for row in events:
            ids[row["event"]] = self._next_event
            yield SqlEventLogStorageTable, {**copied(SqlEventLogStorageTable, row), "id": self._next_event}
            self._next_event += 1
        of_index = {row["id"]: ids[row["event"]] for row in recorded.index}
        for row in recorded.event_tags:
            yield AssetEventTagsTable, {**copied(AssetEventTagsTable, row), "event_id": of_index[row["event_id"]]}
        for row in recorded.checks:
            made = copied(AssetCheckExecutionsTable, row)
            for name in ("evaluation_event_storage_id", "materialization_event_storage_id"):
                made[name] = of_index.get(made[name])
            yield AssetCheckExecutionsTable, made

    def _copy_files(self, old: str, new: str, window: datetime) -> None:
        """The database of a run's events and its compute logs, as old as the window."""
        recorded = self.recording
        home = Path(self.instance.root_directory)
        shard = shard_of(home, new)
        shutil.copyfile(recorded.home / shard_of(Path(), old), shard)
        connection = sqlite3.connect(shard)
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute(
            "UPDATE event_logs SET run_id = ?, event = replace(replace(event, ?, ?), ?, ?)",
            (new, old, new, windows.key(recorded.window), windows.key(window)),
        )
        connection.commit()
        connection.execute("PRAGMA journal_mode = WAL")
        connection.close()
        logs = home / "storage" / new
        shutil.copytree(recorded.home / "storage" / old, logs)
        for path in (shard, logs, *logs.rglob("*")):
            os.utime(path, (window.timestamp(), window.timestamp()))


def _insert(connection: Any, table: sa.Table, rows: Sequence[Row]) -> None:
    kept = [{name: value for name, value in row.items() if name != "id" or value is not None} for row in rows]
    if kept:
        connection.execute(table.insert(), kept)


def _typed(table: sa.Table, row: Row) -> Row:
    """A row of SQLite, which has times as texts, as SQLAlchemy wants it."""
    types = {column.name: column.type for column in table.columns}
    return {
        name: datetime.fromisoformat(value)
        if isinstance(value, str) and isinstance(types.get(name), sa.DateTime)
        else value
        for name, value in row.items()
        if name in types
    }


def _shifted(row: Row, shift: timedelta) -> Row:
    made = dict(row)
    for name, value in row.items():
        if isinstance(value, datetime):
            made[name] = value + shift
        elif name in {"start_time", "end_time"} and value:
            made[name] = value + shift.total_seconds()
    return made


def _renamed(value: Any, texts: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        for old, new in texts.items():
            value = value.replace(old, new)
    return value


def now_of(recording: Recording) -> datetime:
    """A moment after the recorded window was collected."""
    return max(datetime.fromisoformat(one["update_timestamp"]) for one in recording.runs).replace(tzinfo=UTC)


def sizes(home: Path) -> dict[str, tuple[int, int]]:
    """The bytes on the disk and the files of each part of a home, but for ClickHouse."""
    parts = {
        "history/runs/index.db": [home / "history" / "runs" / "index.db"],
        "history/runs, a database a run": [p for p in (home / "history" / "runs").glob("*.db") if p.stem != "index"],
        "history/runs.db": [home / "history" / "runs.db"],
        "schedules": list((home / "schedules").rglob("*")),
        "storage, compute logs": list((home / "storage").rglob("*")),
    }
    return {
        part: (sum(path.stat().st_blocks * 512 for path in paths if path.exists()), len(paths))
        for part, paths in parts.items()
    }


def database_size(instance: dg.DagsterInstance) -> int:
    """The bytes of a database of PostgreSQL."""
    assert isinstance(instance.run_storage, SqlRunStorage)
    with instance.run_storage.connect() as connection:
        return int(connection.execute(sa.text("SELECT pg_database_size(current_database())")).scalar_one())
