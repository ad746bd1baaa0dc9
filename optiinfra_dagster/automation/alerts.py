"""The alert for a run that failed: one per incident, to the log and, where one is set, to a webhook."""

import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings

WEBHOOK_SECONDS = 10.0
LONGEST_ERROR = 500
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def build(settings: "Settings") -> dg.SensorDefinition:
    """The sensor."""

    @dg.run_failure_sensor(
        name="alert",
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        description="Tells of the first failed run of a job; its retries, and further failures until a run of the job "
        "succeeds, are the same incident.",
    )
    def alert(context: dg.RunFailureSensorContext) -> None:
        if not begins_incident(context.instance, context.dagster_run):
            context.log.info("%s keeps failing; the alert was sent when it began to.", context.dagster_run.job_name)
            return
        text = message(context)
        context.log.error(text)
        if settings.alert_webhook and (trouble := post(settings.alert_webhook.get_secret_value(), text)):
            context.log.error("The alert could not be posted to OPTIINFRA_ALERT_WEBHOOK: %s.", trouble)

    return alert


def begins_incident(instance: dg.DagsterInstance, run: dg.DagsterRun) -> bool:
    """True if the run of the same job that ended before `run` did not fail."""
    records = instance.get_run_records(dg.RunsFilter(job_name=run.job_name, statuses=ENDED), limit=100)
    ended = {record.dagster_run.run_id: record.end_time or 0.0 for record in records}
    status = {record.dagster_run.run_id: record.dagster_run.status for record in records}
    before = [(end, run_id) for run_id, end in ended.items() if end < ended.get(run.run_id, float("inf"))]
    return not before or status[max(before)[1]] is dg.DagsterRunStatus.SUCCESS


def message(context: dg.RunFailureSensorContext) -> str:
    """Word the failure of a run: which windows, which steps and why, in a few lines without a traceback."""
    run = context.dagster_run
    tags = run.tags
    which = tags.get("dagster/partition") or " to ".join(
        tags[name]
        for name in ("dagster/asset_partition_range_start", "dagster/asset_partition_range_end")
        if name in tags
    )
    errors = []
    for event in context.get_step_failure_events():
        data = event.step_failure_data
        text = (data.user_failure_data.description if data.user_failure_data else None) or (
            (data.error.cause or data.error).message if data.error else ""
        )
        errors.append(f"{event.step_key}: {text.strip()[:LONGEST_ERROR]}")
    reasons = errors or [(context.failure_event.message or "It ended without saying why.")[:LONGEST_ERROR]]
    return "\n".join(
        [f"OptiInfra: {run.job_name} failed{f' for {which}' if which else ''} (run {run.run_id}).", *reasons]
    )


def post(url: str, text: str) -> str:
    """POST `{"text": ...}`, which Slack, Teams and Mattermost take; returns what went wrong, never with the URL."""
    request = urllib.request.Request(  # noqa: S310 - the settings take https only, or a loopback host
        url, json.dumps({"text": text}).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=WEBHOOK_SECONDS):  # noqa: S310
            return ""
    except urllib.error.HTTPError as error:
        return f"it answered {error.code}"
    except (OSError, ValueError) as error:
        return type(error).__name__
