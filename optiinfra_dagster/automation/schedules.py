"""The 15-minute schedules, one per provider, each asking for the newest window that closed at least the lag ago."""

from datetime import datetime, timedelta

import dagster as dg

from optiinfra_dagster.assets import golden
from optiinfra_dagster.assets.scope import WHOLE, Scope, shards
from optiinfra_dagster.automation.dagster_internals import PARTITION_NAME_TAG, SCHEDULE_NAME_TAG
from optiinfra_dagster.automation.jobs import collection_job
from optiinfra_dagster.automation.run_tags import IN_TURN_TAG, SCHEDULED_TAGS, SHARD_TAG
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError, OptiInfraError
from optiinfra_dagster.providers.registry import FAMILIES_OF, load_customers

GOING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]
MOST_GOING = 200  # runs of a job: three windows of the most shards


def every_window_schedule(provider: str) -> str:
    """The name of the schedule that collects a provider."""
    return f"{provider}_every_15_minutes"


def active_runs(instance: dg.DagsterInstance, job: str) -> list[dg.DagsterRun]:
    """The runs of `job` that are not over; one whose process is gone is ended within a minute."""
    return list(instance.get_runs(dg.RunsFilter(job_name=job, statuses=GOING), limit=MOST_GOING))


def give_up_late(instance: dg.DagsterInstance, schedule: str, newest: datetime, settings: Settings) -> None:
    """Cancel the schedule's runs that still wait when no inventory of their window can be taken any more.

    All that they would have collected is asked for by the repair sensor, in one run for as many windows as there are.
    """
    waiting = dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED], tags={SCHEDULE_NAME_TAG: schedule})
    grace = timedelta(minutes=settings.snapshot_grace_minutes)
    now = newest + windows.WINDOW + timedelta(minutes=settings.lag_minutes)
    for run in instance.get_runs(waiting):
        partition = run.tags.get(PARTITION_NAME_TAG)
        if partition and windows.from_key(partition) + windows.WINDOW + grace < now:
            instance.report_run_canceled(run, f"It has waited too long: {partition} is left to the repair sensor.")


def build(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Every schedule.

    Raises:
        ConfigError: OPTIINFRA_SHARDS names a provider that does not exist.
    """
    for named in settings.shards.by_provider:
        if named not in FAMILIES_OF:
            raise ConfigError(
                f"OPTIINFRA_SHARDS names {named!r}, which is no provider{closest(named, FAMILIES_OF)}. "
                f"Set it to a number, or to numbers of {', '.join(FAMILIES_OF)}, such as aws=4."
            )
    return [*(_every_window(provider, settings) for provider in FAMILIES_OF), _golden_daily(settings)]


def _every_window(provider: str, settings: Settings) -> dg.ScheduleDefinition:
    job = collection_job(provider)
    minutes = ",".join(str(quarter + settings.lag_minutes) for quarter in (0, 15, 30, 45))

    @dg.schedule(
        name=every_window_schedule(provider),
        job_name=job,
        cron_schedule=f"{minutes} * * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Collect the newest window of {provider}, {settings.lag_minutes} minutes after it closed: the "
        "newest points of a cloud are wrong.",
    )
    def every_window(context: dg.ScheduleEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        window = windows.newest_collectable(context.scheduled_execution_time, timedelta(minutes=settings.lag_minutes))
        if window < settings.partitions_start:
            return dg.SkipReason(f"The first window is {windows.key(settings.partitions_start)}.")
        try:
            customers = load_customers(settings.customers_path)
        except OptiInfraError as error:
            return dg.SkipReason(str(error))
        # A run costs 7 CPU-s before it finds that there is nothing to collect.
        collected = [c for c in customers if any(c.collects(provider, family) for family in FAMILIES_OF[provider])]
        if not collected:
            return dg.SkipReason(f"No customer has {provider}.")
        give_up_late(context.instance, every_window_schedule(provider), window, settings)
        # Whatever is going or waits: an inventory can be taken only now. Dagster's queue starts the runs of a shard one
        # after the other, and before what may wait.
        return [
            request(provider, windows.key(window), shard)
            for shard in shards(settings.shards.of(provider))
            if Scope(shard=shard).select(collected)
        ]

    return every_window


def request(provider: str, window: str, shard: str) -> dg.RunRequest:
    """The run of a window, or of a shard of it."""
    if shard == WHOLE:
        tags = {**SCHEDULED_TAGS, IN_TURN_TAG: provider}
        return dg.RunRequest(run_key=f"{provider}:{window}", partition_key=window, tags=tags)
    return dg.RunRequest(
        run_key=f"{provider}:{window}:{shard}",
        partition_key=window,
        tags={**SCHEDULED_TAGS, IN_TURN_TAG: f"{provider}:{shard}", SHARD_TAG: shard},
        run_config={"resources": {"scope": {"config": {"shard": shard}}}},
    )


def _golden_daily(settings: Settings) -> dg.ScheduleDefinition:
    @dg.schedule(
        name="golden_daily",
        target=dg.AssetSelection.assets(golden.KEY),
        cron_schedule="40 2 * * *",
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Compare the judge with people once more, if it or the golden set changed.",
    )
    def golden_daily(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if settings.golden_set is None:
            return dg.SkipReason("OPTIINFRA_GOLDEN_SET is not set.")
        if not settings.has_judge:
            return dg.SkipReason(f"{settings.judge_key_variable} is not set.")
        return dg.RunRequest(run_key=f"golden:{context.scheduled_execution_time:%Y-%m-%d}")

    return golden_daily
