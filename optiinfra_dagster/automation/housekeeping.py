"""The nightly job that deletes what would be kept for ever, Dagster's old runs among it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.automation.dagster_internals import get_and_update_asset_status_cache_value
from optiinfra_dagster.automation.run_tags import RUN_TAGS
from optiinfra_dagster.providers.day_cache import forget
from optiinfra_dagster.storage import coverage, superseded_batches

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings

HOUSEKEEPING_JOB = "housekeeping"
OVER = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
PAGE = 500
COVERAGE_KEPT = timedelta(days=90)  # of states that are over: as long as the metrics
PASSED_CHECKS_KEPT = timedelta(days=1)  # executions of checks, where the newest of the partition passed
MAX_DELETED_PER_NIGHT = 20_000  # a month's backlog of about 580 runs a day, so that a first night ends


def build(
    settings: "Settings",
    partitions: dg.TimeWindowPartitionsDefinition,
    keys: Sequence[dg.AssetKey],
    status: dg.AssetKey,
) -> tuple[Any, dg.ScheduleDefinition]:
    """The job and its nightly schedule. `keys` are the assets with those partitions, `status` is that of the status."""
    delete_runs = _delete_old_runs(settings, partitions, keys, status)
    clear = _clear_superseded(settings)

    @dg.job(
        name=HOUSEKEEPING_JOB,
        description="Delete old runs of Dagster, old states of coverage, and superseded batches.",
        tags=RUN_TAGS,
    )
    def housekeeping() -> None:
        delete_runs()
        _forget_old_coverage()
        clear()

    schedule = dg.ScheduleDefinition(
        name="nightly_housekeeping",
        job_name=HOUSEKEEPING_JOB,
        cron_schedule="10 3 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Deletes old runs, old states of coverage and superseded batches at night.",
    )
    return housekeeping, schedule


def _delete_old_runs(
    settings: "Settings",
    partitions: dg.TimeWindowPartitionsDefinition,
    keys: Sequence[dg.AssetKey],
    status: dg.AssetKey,
) -> dg.OpDefinition:
    """The op that deletes what Dagster keeps of old runs; what a sensor reports of the status is of no run."""

    @dg.op(
        name="delete_old_runs",
        description=f"Delete the runs that began more than {settings.run_retention_days} days ago, with their events, "
        "their files and the executions of checks, executions from before yesterday where they passed, what was "
        "reported of the status before then, and what the clouds' answers of earlier days are remembered in.",
    )
    def delete(context: dg.OpExecutionContext) -> None:
        from optiinfra_dagster.automation import leftovers

        now = datetime.now(UTC)
        older = now - timedelta(days=settings.run_retention_days)
        deleted = delete_old_runs(context.instance, partitions, keys, older)
        context.log.info("%d runs were deleted, created before %s.", deleted, f"{older:%Y-%m-%d}")
        context.add_output_metadata(
            {
                "deleted_runs": deleted,
                "deleted_files_of_gone_runs": leftovers.of_gone_runs(context.instance, older, MAX_DELETED_PER_NIGHT),
                "deleted_check_executions": leftovers.check_executions(
                    context.instance, older, now - PASSED_CHECKS_KEPT
                ),
                "deleted_reports_of_the_status": leftovers.reported_events(context.instance, status, older),
                "forgotten_answers": forget(settings.dagster_home / "memory"),
            }
        )

    return delete


@dg.op(
    name="forget_old_coverage",
    description=f"Delete the states of coverage that were over {COVERAGE_KEPT.days} days ago.",
)
def _forget_old_coverage(clickhouse: dg.ResourceParam[Any]) -> None:
    with clickhouse.session() as client:
        coverage.forget(client, datetime.now(UTC) - COVERAGE_KEPT)


def _clear_superseded(settings: "Settings") -> dg.OpDefinition:
    @dg.op(
        name="clear_superseded",
        description="Delete the rows of batches that were superseded and are kept no longer.",
    )
    def clear(context: dg.OpExecutionContext, clickhouse: dg.ResourceParam[Any]) -> None:
        with clickhouse.session(writes="metric_batches superseded_cleared") as client:
            cleared = superseded_batches.clear(client, settings.keep_superseded, datetime.now(UTC))
        context.add_output_metadata({"deleted_batches": sum(cleared.values()), "by_dataset": cleared})

    return clear


def delete_old_runs(
    instance: dg.DagsterInstance,
    partitions: dg.TimeWindowPartitionsDefinition,
    keys: Sequence[dg.AssetKey],
    older: datetime,
    most: int = MAX_DELETED_PER_NIGHT,
) -> int:
    """Delete finished runs created before `older`, the oldest first; returns how many.

    A run takes the events of its materializations along, so which partitions are filled is first brought up to date in
    the assets' status caches, from which Dagster goes on. Its files go with it.
    """
    from optiinfra_dagster.automation import leftovers

    wanted = dg.RunsFilter(statuses=OVER, created_before=older)
    if not instance.get_runs_count(wanted):
        return 0
    for key in keys:
        get_and_update_asset_status_cache_value(instance, key, partitions)
    deleted = 0
    while deleted < most:
        page: Sequence[dg.RunRecord] = instance.get_run_records(wanted, limit=min(PAGE, most - deleted), ascending=True)
        if not page:
            break
        leftovers.delete_runs(instance, [record.dagster_run.run_id for record in page])
        deleted += len(page)
    return deleted
