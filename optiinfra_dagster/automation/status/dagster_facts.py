"""Facts from Dagster's own storage: daemons, ticks, runs, and the newest evaluations of asset checks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg

from optiinfra_dagster.automation import dead_runs
from optiinfra_dagster.automation.dagster_internals import WILL_RETRY_TAG, InstigatorState, InstigatorTick, TickStatus
from optiinfra_dagster.automation.housekeeping import HOUSEKEEPING_JOB
from optiinfra_dagster.automation.jobs import READERS_JOB, collection_job
from optiinfra_dagster.automation.schedules import GOING, every_window_schedule
from optiinfra_dagster.automation.status.items import Item, Kind, Part, Section, State, Trouble, section
from optiinfra_dagster.model.text import ago, counted
from optiinfra_dagster.providers.registry import FAMILIES_OF
from optiinfra_dagster.storage.slice_report import EVERY_SLICE_FAILED

SILENT = timedelta(minutes=5)  # a daemon sends a heartbeat every 30 s; a busy machine delays it
TOGETHER = timedelta(seconds=60)  # heartbeats of one process: all its daemons send one within that time
SKEW = timedelta(minutes=2)  # clocks of two machines may differ by so much
STARTING = timedelta(minutes=2)  # a daemon that never ran here gets to know each sensor when it first looks at it
MOST_RUNS = 100
QUIET_RUN = timedelta(minutes=30)  # a run that goes on tells of each flush
LONG_QUEUED = timedelta(minutes=30)
MOST_TICKS = 20  # skips in a row are counted up to it
_QUARTER, _DAY = timedelta(minutes=20), timedelta(hours=25)

# How old the last tick of each may be.
LONGEST_BETWEEN_TICKS = {
    **{every_window_schedule(provider): _QUARTER for provider in FAMILIES_OF},
    "nightly_housekeeping": _DAY,
    "golden_daily": _DAY,
    "refresh_readers": timedelta(minutes=10),
    "repair": timedelta(minutes=10),
    "alert": timedelta(minutes=10),
    "end_dead_runs": timedelta(minutes=10),
}
_ONCE_A_DAY = {name for name, longest in LONGEST_BETWEEN_TICKS.items() if longest == _DAY}

EVALUATED = dg.DagsterEventType.ASSET_CHECK_EVALUATION
ENDED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE]


def daemons(instance: dg.DagsterInstance, now: datetime) -> Section:
    """The item of the daemons: each that this instance needs must send heartbeats, and all must be of one process."""
    parts, troubles, ages, ids = [], [], [], set()
    for name, status in instance.get_daemon_statuses().items():
        beat = status.last_heartbeat
        if beat is None:
            parts.append(Part(State.RED, name.lower(), "it never sent a heartbeat. Start `dagster-daemon run`"))
            continue
        age = now - datetime.fromtimestamp(beat.timestamp, UTC)
        ages.append(age)
        if age <= TOGETHER:
            ids.add(beat.daemon_id)
        errors = f"; its last error: {_first_line(beat.errors[0].message)}" if beat.errors else ""
        if age > SILENT:
            what = f"silent for {ago(age)}, since {_time(beat.timestamp)}{errors}. Start `dagster-daemon run` again"
            parts.append(Part(State.RED, name.lower(), what))
            # One that never sent any may just be starting.
            text = f"Dagster's daemon {name.lower()} is {what}."
            troubles.append(Trouble(Kind.DAEMON_SILENT, subject=name.lower(), text=text))
        elif age < -SKEW:
            what = f"its last heartbeat is of {_time(beat.timestamp)}, in the future: the clock was set back"
            parts.append(Part(State.WARN, name.lower(), what))
        else:
            parts.append(Part(State.WARN if errors else State.OK, name.lower(), f"{_seconds(age)} ago{errors}"))
    if len(ids) > 1:
        parts.append(
            Part(State.WARN, "", "heartbeats of two processes within a minute: a second daemon runs, or one has just "
                 "been started again. Stop all but one, or each tick may be done twice")
        )  # fmt: skip
    oldest = f", the oldest heartbeat is {_seconds(max(ages))} old" if ages else ""
    return section(Item.DAEMONS, parts, f"{counted(len(ages), 'daemon')} of one process{oldest}", troubles=troubles)


def ticks(instance: dg.DagsterInstance, now: datetime) -> Section:
    """The last tick of each schedule and sensor, and how often in a row it asked for nothing."""
    states = {
        state.instigator_name: state
        for state in instance.all_instigator_state()
        if state.instigator_name in LONGEST_BETWEEN_TICKS
    }
    if not states:
        part = Part(State.RED, "", "no daemon has ever run here. Start `optiinfra dev`, or a Dagster daemon")
        return section(Item.TICKS, [part], "")
    newest_ticks = instance.get_batch_ticks([state.selector_id for state in states.values()], limit=MOST_TICKS)
    starts = any(begun is not None and now - begun < STARTING for begun in map(_begun, states.values()))
    parts = [
        Part(State.OK, name, "no tick yet: the daemon has just begun")
        if starts and name not in states
        else _ticks_of(
            states.get(name), newest_ticks.get(states[name].selector_id, ()) if name in states else (), name, now
        )
        for name in LONGEST_BETWEEN_TICKS
    ]
    return section(Item.TICKS, parts, f"{len(parts)} run, the newest tick of each is in time")


def _ticks_of(state: InstigatorState | None, newest_ticks: Sequence[InstigatorTick], name: str, now: datetime) -> Part:
    if state is None:
        if name in _ONCE_A_DAY:
            return Part(State.OK, name, "no tick yet")
        return Part(
            State.RED, name, "the daemon does not know it. Start the daemon again, so that it loads this version"
        )
    if not state.is_running:
        return Part(State.RED, name, "it is stopped. Turn it on under Automation in Dagster's UI")
    if not newest_ticks:
        begun = _begun(state)
        waits = begun is not None and now - begun < LONGEST_BETWEEN_TICKS[name]
        return Part(State.OK if waits or name in _ONCE_A_DAY else State.WARN, name, "no tick yet")
    state_of_tick, text = _newest_tick(newest_ticks, LONGEST_BETWEEN_TICKS[name], now)
    return Part(state_of_tick, name, text)


def _begun(state: InstigatorState) -> datetime | None:
    """When the daemon got to know a schedule; of a sensor it is not kept, and each ticks within a minute."""
    begun = getattr(state.instigator_data, "start_timestamp", None)
    return None if begun is None else datetime.fromtimestamp(begun, UTC)


def _newest_tick(newest_ticks: Sequence[InstigatorTick], longest: timedelta, now: datetime) -> tuple[State, str]:
    last = newest_ticks[0]
    at = datetime.fromtimestamp(last.timestamp, UTC)
    if at > now + SKEW:
        return State.RED, (
            f"its last tick is of {_time(last.timestamp)}, in the future: the clock was set back, and there is no "
            "tick until that time is over"
        )
    when = f"{_time(last.timestamp)}, {ago(now - at)} ago"
    if now - at > longest:
        return State.RED, f"its last tick was {when}. See whether the daemon runs"
    if last.status is TickStatus.FAILURE:
        return State.RED, f"its last tick failed ({when}): {_first_line(last.error.message if last.error else '')}"
    skips = next((i for i, tick in enumerate(newest_ticks) if tick.status is not TickStatus.SKIPPED), len(newest_ticks))
    if skips:
        many = f"{skips}{' or more' if skips == MOST_TICKS else ''} skipped in a row" if skips > 1 else "skipped"
        return State.OK, f"{when}: {many}: {_first_line(last.skip_reason or 'it does not say why')}"
    return State.OK, f"{when}: {last.status.value.lower()}"


def runs(instance: dg.DagsterInstance, home: Path, now: datetime) -> Section:
    """The runs that are going or wait, those that have fallen silent, and the jobs whose newest run failed."""
    records = instance.get_run_records(dg.RunsFilter(statuses=GOING), limit=MOST_RUNS)
    parts, queued = [], 0
    for record in records:
        run = record.dagster_run
        begun = record.start_time or record.create_timestamp.timestamp()
        age = now - datetime.fromtimestamp(begun, UTC)
        name = f"{run.run_id[:8]} {run.job_name}"
        if run.status in {dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED}:
            queued += 1
            state = State.WARN if age > LONG_QUEUED else State.OK
            parts.append(Part(state, name, f"waits for {ago(age)}"))
        elif dead_runs.is_gone(home, run.run_id) and _is_going(instance, run.run_id):
            parts.append(Part(State.RED, name, "its process is gone. The sensor end_dead_runs ends it; see the daemon"))
        else:
            text = f"going for {ago(age)}"
            state = State.OK
            newest = (
                instance.get_records_for_run(run.run_id, limit=1, ascending=False).records if age > QUIET_RUN else ()
            )
            if newest and (quiet := now - datetime.fromtimestamp(newest[0].event_log_entry.timestamp, UTC)) > QUIET_RUN:
                state, text = State.WARN, f"{text}, silent for {ago(quiet)}. If it hangs, terminate it in Dagster's UI"
            parts.append(Part(state, name, text))
    troubles = []
    for job in (*(collection_job(provider) for provider in FAMILIES_OF), READERS_JOB, HOUSEKEEPING_JOB):
        newest_run = instance.get_run_records(dg.RunsFilter(job_name=job, statuses=ENDED), limit=1)
        if not newest_run or newest_run[0].dagster_run.status is not dg.DagsterRunStatus.FAILURE:
            continue
        if newest_run[0].dagster_run.tags.get(WILL_RETRY_TAG) == "true":  # a crash: it is tried once more by Dagster
            continue
        run, when = newest_run[0].dagster_run, newest_run[0].end_time or newest_run[0].create_timestamp.timestamp()
        reasons = _reasons(instance, run.run_id)
        if reasons is None:
            continue
        text = f"its newest run {run.run_id[:8]} failed at {_time(when)}: {reasons}"
        parts.append(Part(State.RED, job, text))
        troubles.append(Trouble(Kind.RUN_FAILING, subject=job, text=f"{job}: {text}"))
    fine = f"{len(records) - queued} going, {queued} waiting, none silent"
    return section(Item.RUNS, parts, fine, troubles=troubles)


def _is_going(instance: dg.DagsterInstance, run_id: str) -> bool:
    """True unless it has ended since it was read."""
    run = instance.get_run_by_id(run_id)
    return run is not None and not run.is_finished


def _reasons(instance: dg.DagsterInstance, run_id: str) -> str | None:
    """Why a run failed, or None where the ledger tells it, slice by slice."""
    failures = instance.get_records_for_run(
        run_id, of_type={dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}, limit=20
    ).records
    reasons, is_in_ledger = [], False
    for record in failures:
        event = record.event_log_entry.get_dagster_event()
        if event.event_type is dg.DagsterEventType.RUN_FAILURE:
            continue
        data = event.step_failure_data
        if data.user_failure_data and EVERY_SLICE_FAILED in data.user_failure_data.metadata:
            is_in_ledger = True
            continue
        text = data.user_failure_data.description if data.user_failure_data else None
        text = text or ((data.error.cause or data.error).message if data.error else "")
        reasons.append(f"{event.step_key}: {_first_line(text)}")
    if is_in_ledger and not reasons:
        return None
    if not reasons:
        reasons = [
            _first_line(record.event_log_entry.get_dagster_event().message or "")
            for record in failures
            if record.event_log_entry.get_dagster_event().event_type is dg.DagsterEventType.RUN_FAILURE
        ]
    return "; ".join(reasons[:2]) or "it does not say why"


def failing_checks(instance: dg.DagsterInstance, keys: Sequence[dg.AssetCheckKey]) -> list[Trouble]:
    """The asset checks among `keys` whose newest evaluation is an error."""
    troubles = []
    for key, record in instance.event_log_storage.get_latest_asset_check_execution_by_key(list(keys)).items():
        event = record.event.dagster_event if record.event else None
        evaluation = event.asset_check_evaluation_data if event and event.event_type is EVALUATED else None
        if evaluation is None or evaluation.passed or evaluation.severity is not dg.AssetCheckSeverity.ERROR:
            continue
        provider, family = key.asset_key.path
        where = f" for {record.partition}" if record.partition else ""
        text = f"The check {key.name} of {provider} {family} failed{where}: {_first_line(evaluation.description or '')}"
        troubles.append(Trouble(Kind.CHECK, "", provider, family, key.name, text=text))
    return troubles


def last_housekeeping(instance: dg.DagsterInstance) -> tuple[datetime, bool] | None:
    """When the newest housekeeping ended and whether it went well; None if there was none."""
    records = instance.get_run_records(dg.RunsFilter(job_name=HOUSEKEEPING_JOB, statuses=ENDED), limit=1)
    if not records:
        return None
    ended = records[0].end_time or records[0].create_timestamp.timestamp()
    return datetime.fromtimestamp(ended, UTC), records[0].dagster_run.status is dg.DagsterRunStatus.SUCCESS


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:300]


def _time(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _seconds(age: timedelta) -> str:
    return f"{max(0, int(age.total_seconds()))} s" if age < timedelta(minutes=2) else ago(age)
