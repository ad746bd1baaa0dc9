"""The 15-minute schedules, one per provider, each asking for the newest window that closed at least the lag ago."""

from collections.abc import Sequence
from datetime import timedelta

import dagster as dg

from optiinfra_dagster import windows
from optiinfra_dagster.assets.collection import IMPLEMENTED
from optiinfra_dagster.automation.jobs import collection_job
from optiinfra_dagster.settings import Settings

GOING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def going(instance: dg.DagsterInstance, job: str) -> Sequence[dg.DagsterRun]:
    """The runs of a job that are not over."""
    return instance.get_runs(dg.RunsFilter(job_name=job, statuses=GOING), limit=1)


def build(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Every schedule."""
    return [_every_window(provider, settings) for provider in IMPLEMENTED]


def _every_window(provider: str, settings: Settings) -> dg.ScheduleDefinition:
    job = collection_job(provider)
    minutes = ",".join(str(quarter + settings.lag_minutes) for quarter in (0, 15, 30, 45))

    @dg.schedule(
        name=f"{provider}_every_15_minutes",
        job_name=job,
        cron_schedule=f"{minutes} * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Collect the newest window of {provider}, {settings.lag_minutes} minutes after it closed: the "
        "newest points of a cloud are wrong.",
    )
    def every_window(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        window = windows.newest_collectable(context.scheduled_execution_time, timedelta(minutes=settings.lag_minutes))
        if before := going(context.instance, job):
            return dg.SkipReason(
                f"Run {before[0].run_id[:8]} of {job} is still going, so {windows.key(window)} is left to the repair sensor."
            )
        return dg.RunRequest(run_key=f"{provider}:{windows.key(window)}", partition_key=windows.key(window))

    return every_window
