"""Old runs go, and which partitions are filled stays known."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from optiinfra_dagster.assets import partitions
from optiinfra_dagster.automation.housekeeping import delete_old_runs
from optiinfra_dagster.model import windows
from tests.automation.conftest import start_run

PARTITIONS = partitions.window_partitions(windows.floor(datetime.now(UTC)) - timedelta(days=1))
LATER = timedelta(seconds=1)


@dg.asset(partitions_def=PARTITIONS)
def made() -> int:
    return 1


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
