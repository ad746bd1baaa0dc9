"""Old runs go, and which partitions are filled stays known."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
import pytest
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from optiinfra_dagster.assets import partitions
from optiinfra_dagster.automation import leftovers
from optiinfra_dagster.automation.dagster_storages import SqlEventLogStorage
from optiinfra_dagster.automation.housekeeping import delete_old_runs
from optiinfra_dagster.model import windows
from tests.automation.conftest import start_run

if TYPE_CHECKING:
    from collections.abc import Iterator

PARTITIONS = partitions.window_partitions(windows.floor(datetime.now(UTC)) - timedelta(days=1))
LATER = timedelta(seconds=1)
LONG_AGO = timedelta(days=40)


@dg.asset(partitions_def=PARTITIONS)
def made() -> int:
    return 1


@dg.asset
def looked_at() -> int:
    return 1


@dg.asset_check(asset=looked_at)
def is_one() -> dg.AssetCheckResult:
    print("looked at")
    return dg.AssetCheckResult(passed=True)


@pytest.fixture
def on_disk(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance with SQLite and local compute logs, as DAGSTER_HOME is by default."""
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        yield instance


def files_of(instance: dg.DagsterInstance) -> set[str]:
    """The ids of runs that have a file or a folder below DAGSTER_HOME."""
    runs = {run.run_id for run in instance.get_runs()}
    names = {
        part.split(".db")[0]
        for path in Path(instance.root_directory).rglob("*")
        for part in path.relative_to(instance.root_directory).parts
        if len(part.split(".db")[0]) == 36
    }
    return {"living" if name in runs else "gone" for name in names}


def test_old_runs_are_deleted_and_their_partitions_stay_filled(instance: dg.DagsterInstance) -> None:
    first, second = PARTITIONS.get_partition_keys()[:2]
    dg.materialize([made], instance=instance, partition_key=first)
    going = start_run(instance, "aws_collection")
    border = datetime.now(UTC) + LATER
    assert delete_old_runs(instance, PARTITIONS, [made.key], border) == 1
    assert [run.run_id for run in instance.get_runs()] == [going.run_id]

    dg.materialize([made], instance=instance, partition_key=second)
    cached = get_and_update_asset_status_cache_value(instance, made.key, PARTITIONS)
    assert cached
    filled = cached.deserialize_materialized_partition_subsets(PARTITIONS)
    assert set(filled.get_partition_keys()) == {first, second}


def test_a_night_deletes_no_more_than_its_share_and_nothing_young(instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        start_run(instance, "aws_collection", status=dg.DagsterRunStatus.SUCCESS)
    assert delete_old_runs(instance, PARTITIONS, [], datetime.now(UTC) - timedelta(days=30)) == 0
    assert delete_old_runs(instance, PARTITIONS, [], datetime.now(UTC) + LATER, most=2) == 2
    assert instance.get_runs_count() == 1


def test_of_a_run_that_is_deleted_no_file_stays(on_disk: dg.DagsterInstance) -> None:
    dg.materialize([looked_at, is_one], instance=on_disk)
    assert files_of(on_disk) == {"living"}
    assert delete_old_runs(on_disk, PARTITIONS, [], datetime.now(UTC) + LATER) == 1
    assert files_of(on_disk) == set()


def test_of_a_run_that_is_deleted_no_event_stays_and_its_partition_is_filled(on_disk: dg.DagsterInstance) -> None:
    key = PARTITIONS.get_partition_keys()[0]
    dg.materialize([made], instance=on_disk, partition_key=key)
    dg.materialize([looked_at, is_one], instance=on_disk)
    assert delete_old_runs(on_disk, PARTITIONS, [made.key], datetime.now(UTC) + LATER) == 2
    assert isinstance(on_disk.event_log_storage, SqlEventLogStorage)
    with on_disk.event_log_storage.index_connection() as connection:
        left = [
            connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar()  # noqa: S608
            for table in ("event_logs", "asset_event_tags")
        ]
    assert (left, on_disk.get_runs_count()) == ([0, 0], 0)
    cached = get_and_update_asset_status_cache_value(on_disk, made.key, PARTITIONS)
    assert cached
    assert list(cached.deserialize_materialized_partition_subsets(PARTITIONS).get_partition_keys()) == [key]


def test_files_of_runs_that_are_gone_are_found_and_those_of_others_stay(on_disk: dg.DagsterInstance) -> None:
    gone, living = (dg.materialize([looked_at, is_one], instance=on_disk).run_id for _ in range(2))
    on_disk.delete_run(gone)  # in the UI
    assert files_of(on_disk) == {"living", "gone"}
    now = datetime.now(UTC)
    assert leftovers.of_gone_runs(on_disk, now - LONG_AGO, most=9) == 0  # too young
    old = (now - LONG_AGO).timestamp()
    for path in Path(on_disk.root_directory).rglob("*"):
        os.utime(path, (old, old))
    assert leftovers.of_gone_runs(on_disk, now - LONG_AGO / 2, most=9) == 1
    assert files_of(on_disk) == {"living"}
    assert on_disk.all_logs(living)


def test_old_executions_of_checks_go_and_the_newest_of_each_stays(instance: dg.DagsterInstance) -> None:
    for _ in range(3):
        dg.materialize([looked_at, is_one], instance=instance)
    key = dg.AssetCheckKey(looked_at.key, "is_one")
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
    long_ago = datetime.now(UTC) - LONG_AGO
    assert leftovers.check_executions(instance, long_ago, long_ago) == 0
    assert leftovers.check_executions(instance, datetime.now(UTC) + LATER, long_ago) == 2
    assert instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key].id == newest.id
    assert len(instance.event_log_storage.get_asset_check_execution_history(key, limit=9)) == 1


def test_old_events_that_a_sensor_reported_go_and_the_newest_of_each_kind_stays(instance: dg.DagsterInstance) -> None:
    """The sensor of alerts reports what the status asset shows, up to 288 times a day."""
    report_and_delete(instance)


def test_they_go_where_each_run_has_a_database_too(on_disk: dg.DagsterInstance) -> None:
    report_and_delete(on_disk)


def report_and_delete(instance: dg.DagsterInstance) -> None:
    other = dg.AssetKey("other")
    for n in range(3):
        instance.report_runless_asset_event(dg.AssetMaterialization(looked_at.key, metadata={"n": n}))
        instance.report_runless_asset_event(
            dg.AssetCheckEvaluation(asset_key=looked_at.key, check_name="is_one", passed=True)
        )
    instance.report_runless_asset_event(dg.AssetMaterialization(other))
    living = dg.materialize([looked_at], instance=instance).run_id
    now = datetime.now(UTC)
    assert leftovers.reported_events(instance, looked_at.key, now - LONG_AGO) == 0
    assert leftovers.reported_events(instance, looked_at.key, now + LATER) == 2  # the checks' executions are all there
    assert leftovers.check_executions(instance, now + LATER, now) == 2
    assert leftovers.reported_events(instance, looked_at.key, now + LATER) == 2
    assert leftovers.reported_events(instance, looked_at.key, now + LATER) == 0
    shown = [one.asset_materialization for one in instance.fetch_materializations(looked_at.key, limit=9).records]
    assert [one.metadata["n"].value for one in shown if one and "n" in one.metadata] == [2]
    assert len(instance.fetch_materializations(other, limit=9).records) == 1
    assert instance.all_logs(living)
    assert len(instance.all_logs("")) == 3  # SQLite's second copy
    check = dg.AssetCheckKey(looked_at.key, "is_one")
    newest = instance.event_log_storage.get_latest_asset_check_execution_by_key([check])[check]
    assert newest.event
    assert newest.evaluation


PASSES: list[bool] = []  # of the next executions


@dg.asset_check(asset=made, partitions_def=PARTITIONS)
def is_well() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=PASSES.pop(0))


def test_executions_of_partitions_that_passed_go_sooner_and_a_failure_never_comes_back(
    instance: dg.DagsterInstance,
) -> None:
    healed, failing, well, newest = PARTITIONS.get_partition_keys()[:4]
    PASSES[:] = [False, False, True, True, False]
    for partition in (healed, failing, healed, well, newest):
        dg.materialize([made, is_well], instance=instance, partition_key=partition)
    now = datetime.now(UTC) + LATER
    assert leftovers.check_executions(instance, now - LONG_AGO, now) == 3  # both of the healed one among them
    left = instance.event_log_storage.get_asset_check_execution_history(dg.AssetCheckKey(made.key, "is_well"), limit=9)
    assert {(one.partition, one.status.value) for one in left} == {(failing, "FAILED"), (newest, "FAILED")}
