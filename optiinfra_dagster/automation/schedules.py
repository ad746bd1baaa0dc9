"""The 15-minute schedules, one per provider, each asking for the newest window that closed at least the lag ago."""

from datetime import UTC, datetime, timedelta

import dagster as dg

from optiinfra_dagster.assets import golden
from optiinfra_dagster.automation.jobs import REPAIR_TAG, collection_job
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.providers.registry import FAMILIES_OF, load_customers

GOING = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


# A run whose process was killed together with the one that watched it stays "started" until run monitoring ends it,
# two hours later. A live one says something at every flush and every step.
SILENCE = timedelta(minutes=30)


def going(instance: dg.DagsterInstance, job: str, *, repairs: bool = True) -> dg.DagsterRun | None:
    """A run of `job` that is not over, if there is one; one that was started and has said nothing for long is dead."""
    for run in instance.get_runs(dg.RunsFilter(job_name=job, statuses=GOING), limit=20):
        if REPAIR_TAG in run.tags and not repairs:
            continue
        if run.status is not dg.DagsterRunStatus.STARTED or _last_word(instance, run) + SILENCE > datetime.now(UTC):
            return run
    return None


def _last_word(instance: dg.DagsterInstance, run: dg.DagsterRun) -> datetime:
    newest = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
    return datetime.fromtimestamp(newest[0].timestamp if newest else 0.0, UTC)


def build(settings: Settings) -> list[dg.ScheduleDefinition]:
    """Every schedule."""
    return [*(_every_window(provider, settings) for provider in FAMILIES_OF), _golden_daily(settings)]


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
        try:
            customers = load_customers(settings.customers_path)
        except OptiInfraError as error:
            return dg.SkipReason(str(error))
        # A run costs 7 CPU-s before it finds that there is nothing to collect.
        if not any(c.collects(provider, family) for c in customers for family in FAMILIES_OF[provider]):
            return dg.SkipReason(f"No customer has {provider}.")
        # A repair of other windows must not cost the newest one its turn: an inventory can be taken only now.
        if before := going(context.instance, job, repairs=False):
            return dg.SkipReason(
                f"Run {before.run_id[:8]} of {job} is still going: {windows.key(window)} is left to the repair sensor."
            )
        return dg.RunRequest(run_key=f"{provider}:{windows.key(window)}", partition_key=windows.key(window))

    return every_window


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
        if settings.golden_set is None or settings.groq_api_key is None:
            return dg.SkipReason("OPTIINFRA_GOLDEN_SET and GROQ_API_KEY are not both set.")
        return dg.RunRequest(run_key=f"golden:{context.scheduled_execution_time:%Y-%m-%d}")

    return golden_daily
