"""The sensors: readers follow collections, and what failed or is missing is asked for again. Both read the ledger."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.storage.tags import (
    ASSET_PARTITION_RANGE_END_TAG,
    ASSET_PARTITION_RANGE_START_TAG,
    PARTITION_NAME_TAG,
    SCHEDULE_NAME_TAG,
)

from optiinfra_dagster.automation.jobs import (
    CATCH_UP_TAG,
    READERS_JOB,
    READERS_TAGS,
    REPAIR_TAG,
    REPAIR_TAGS,
    RUN_TAGS,
    collection_job,
)
from optiinfra_dagster.automation.schedules import going
from optiinfra_dagster.collection.plan import poll_end
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.providers.registry import FAMILIES_OF, load_customers
from optiinfra_dagster.storage.clickhouse import LINGER_SECONDS, ClickHouse
from optiinfra_dagster.storage.sql import read_sql, readers

if TYPE_CHECKING:
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings

# Older windows' readers are re-materialized on demand: a backfill must not recompute every window it touches, but only
# the rollups of its hours and days, and what the newest window says from those.
READERS_LOOKBACK = timedelta(hours=6)

# How long ago a backfill may have been published for its rollups to be computed, and how long it must be over.
ROLLUPS_LOOKBACK = timedelta(days=1)
ROLLUPS_QUIET = timedelta(minutes=2)

# How long a tick waits for the embedded engine; the daemon gives up on a tick after 60 s.
LOCK_SECONDS = 20.0

READERS_TAG = "optiinfra/readers"
FIRST_DELAY = timedelta(minutes=5)
LONGEST_DELAY = timedelta(hours=6)
MAX_REQUESTS_PER_TICK = 4
ENDED_BADLY = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

FAMILIES = sorted({family for families in FAMILIES_OF.values() for family in families})
READER_TABLES = [reader.table for reader in readers().values() if reader.length == windows.WINDOW]

Requests = Iterator[dg.RunRequest | dg.SkipReason]


def build(settings: "Settings", jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """Every sensor; `jobs` are those that they may ask runs of."""
    clickhouse = ClickHouse(
        settings.clickhouse_url.get_secret_value(), lock_timeout=LOCK_SECONDS, linger=LINGER_SECONDS
    )
    return [
        _readers_sensor(settings, clickhouse),
        _repair_sensor(settings, clickhouse, [job for job in jobs if job.name != READERS_JOB]),
    ]


def range_tags(first: datetime, last: datetime) -> dict[str, str]:
    """The run tags that make one run of the windows from `first` to `last`, both included."""
    return {ASSET_PARTITION_RANGE_START_TAG: windows.key(first), ASSET_PARTITION_RANGE_END_TAG: windows.key(last)}


def _plainly(requests: Callable[[], Requests]) -> Requests:
    """The tick's requests; a bad customers file or a ClickHouse out of reach is a tick skipped with that message.

    Otherwise every tick, two a minute, would write a traceback into the daemon's log and the UI.
    """
    try:
        yield from list(requests())
    except OptiInfraError as error:
        yield dg.SkipReason(str(error))


class Remembered:
    """What a sensor read of an embedded ledger, until that changes: to open it costs 0.3 CPU-s, 45 times a window.

    A server's ledger is read by every tick. What depends on the time too is remembered only when the ledger has been
    the same for longer than `settling`.
    """

    def __init__(self, clickhouse: ClickHouse, settling: timedelta = timedelta(0)) -> None:
        self._clickhouse = clickhouse
        self._settling = settling
        self._changed_at: int | None = None
        self._seen_at = datetime.min.replace(tzinfo=UTC)  # when that was first seen
        self._known: tuple[Any, Any] | None = None

    def get(self, asked: Any, now: datetime, read: Callable[[], Any]) -> Any:
        """The answer of `read` to what was `asked`, which is called where it may not be the last one."""
        changed_at = self._clickhouse.changed_at("metric_batches")  # before it is read: what is written then is seen
        if changed_at is None or changed_at != self._changed_at:
            self._changed_at, self._seen_at, self._known = changed_at, now, None
        if self._known and self._known[0] == asked:
            return self._known[1]
        answer = read()
        if changed_at is not None and now - self._seen_at >= self._settling:
            self._known = asked, answer
        return answer


# --- Readers ---------------------------------------------------------------------------------------------------------


def _readers_sensor(settings: "Settings", clickhouse: ClickHouse) -> dg.SensorDefinition:
    remembered = Remembered(clickhouse, settling=ROLLUPS_QUIET + timedelta(minutes=1))  # clocks and ticks are not exact

    @dg.sensor(
        name="refresh_readers",
        job_name=READERS_JOB,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Computes a window's readers once its collections are in, and again when a repair changed them.",
    )
    def refresh_readers(context: dg.SensorEvaluationContext) -> Requests:
        yield from _plainly(
            lambda: readers_requests(context.instance, clickhouse, settings, datetime.now(UTC), remembered)
        )

    return refresh_readers


def readers_requests(
    instance: dg.DagsterInstance,
    clickhouse: ClickHouse,
    settings: "Settings",
    now: datetime,
    remembered: Remembered | None = None,
) -> Requests:
    """The runs that bring the readers up to date; none while they are being computed."""
    if before := going(instance, READERS_JOB):
        yield dg.SkipReason(f"The readers are being computed by run {before[0].run_id[:8]}.")
        return
    customers = load_customers(settings.customers_path)
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    remembered = remembered or Remembered(clickhouse)
    stale: list[Stale] = remembered.get(
        (newest, customers), now, lambda: stale_readers(clickhouse, customers, settings, now)
    )
    if not stale:
        yield dg.SkipReason("Every reader is up to date.")
        return
    asked = False
    for one in stale[:MAX_REQUESTS_PER_TICK]:
        failed = instance.get_run_records(dg.RunsFilter(tags={READERS_TAG: one.key}, statuses=ENDED_BADLY))
        if failed and (
            len(failed) > settings.repair_max_attempts
            or max(record.create_timestamp for record in failed).astimezone(UTC) + delay(len(failed)) > now
        ):
            continue
        asked = True
        # The number of failures is part of the key: Dagster never asks twice for a key, even where its run failed.
        yield dg.RunRequest(
            run_key=f"readers:{one.key}:{len(failed)}",
            asset_selection=[dg.AssetKey(list(reader)) for reader in one.readers],
            tags={**range_tags(one.first, one.last), **RUN_TAGS, **READERS_TAGS, READERS_TAG: one.key},
        )
    if not asked:
        yield dg.SkipReason("The last computation of the readers failed; it is tried again later.")


@dataclass(frozen=True, slots=True)
class Stale:
    """One run's worth of readers to compute again: which, for which windows in a row, and what made them stale."""

    readers: tuple[tuple[str, str], ...]
    first: datetime
    last: datetime
    newest: int  # when the newest of what they are computed from was published, or began, in ns

    @property
    def key(self) -> str:
        """What tells this request from others: it changes when there is something newer."""
        which = "" if self.readers == tuple(readers()) else "+".join(name for _, name in self.readers) + ":"
        return f"{which}{windows.key(self.first)}:{windows.key(self.last)}:{self.newest}"


def stale_readers(
    clickhouse: ClickHouse,
    customers: "Sequence[Customer]",
    settings: "Settings",
    now: datetime,
    quiet: timedelta = ROLLUPS_QUIET,
) -> list[Stale]:
    """What to compute now, the newest first: the recent windows, then the rollups behind trends, then the trends.

    Each is computed from the one before, so the next is told of only when there is nothing left of it.
    """
    with clickhouse.session():  # one for all: an embedded engine takes its time to open
        if stale := stale_windows(clickhouse, customers, settings, now):
            return [
                Stale(tuple(readers()), first, last, max(stale[w] for w in windows.span(first, last)))
                for first, last in reversed(list(windows.runs_of(list(stale))))
            ]
        return stale_rollups(clickhouse, settings, now, quiet)


def stale_rollups(
    clickhouse: ClickHouse, settings: "Settings", now: datetime, quiet: timedelta = ROLLUPS_QUIET
) -> list[Stale]:
    """The rollups of what a backfill published lately, however old its windows; or the trends that lack them.

    The newest window's hour and the one before, where its late points belong, are left to that window's own readers.
    """
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    hour, day = timedelta(hours=1), timedelta(days=1)
    steps = (
        ("performance", "performance_hourly", hour, ("hourly", "daily"), windows.floor_to(hour, newest) - hour, quiet),
        ("performance_hourly", "performance_daily", day, ("daily",), newest, timedelta(0)),
    )
    since = f"{now - ROLLUPS_LOOKBACK:%Y-%m-%d %H:%M:%S}"
    with clickhouse.session() as client:
        for source, rollup, length, names, before, wait in steps:
            rows = client.query(
                read_sql("queries/stale_rollups"),
                parameters={
                    "source": source,
                    "rollup": rollup,
                    "seconds": int(length.total_seconds()),
                    "since": since,
                    "settled": f"{now - wait:%Y-%m-%d %H:%M:%S}",
                    "before": f"{before:%Y-%m-%d %H:%M:%S}",
                },
            ).result_rows
            found = {datetime.fromtimestamp(seconds, UTC): published for seconds, published in rows}
            if found:
                readers = tuple(("performance", name) for name in names)
                stretches = list(windows.runs_of([w for start in found for w in windows.within(start, length)]))
                return [
                    # The first window of each slice is enough, and the last one may not be over.
                    Stale(
                        readers,
                        max(first, settings.partitions_start),
                        max(windows.floor_to(length, last), settings.partitions_start),
                        max(published for start, published in found.items() if first <= start <= last),
                    )
                    for first, last in reversed(stretches)
                ]
        rows = client.query(read_sql("queries/stale_trends"), parameters={"since": since}).result_rows
    hours = [(max(datetime.fromtimestamp(s, UTC), settings.partitions_start), published) for s, published in rows]
    return [Stale((("performance", "trends"),), start, start, published) for start, published in hours]


def stale_windows(
    clickhouse: ClickHouse, customers: "Sequence[Customer]", settings: "Settings", now: datetime
) -> dict[datetime, int]:
    """The windows whose collections are in and whose readers are older, with the newest collected batch.

    A window's collections are in when every slice that is due was attempted, or when the next window's turn has come.
    """
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    expected = sum(
        c.collects(provider, family)
        for provider, families in FAMILIES_OF.items()
        for family in families
        for c in customers
    )
    with clickhouse.session() as client:
        rows = client.query(
            read_sql("queries/stale_windows"),
            parameters={
                "first": f"{newest - READERS_LOOKBACK:%Y-%m-%d %H:%M:%S}",
                "last": f"{newest:%Y-%m-%d %H:%M:%S}",
                "readers": READER_TABLES,
                "collected": FAMILIES,
            },
        ).result_rows
    stale = {}
    for seconds, attempted, collected, collected_at, present, computed in rows:
        window = datetime.fromtimestamp(seconds, UTC)
        is_in = attempted >= expected or window < newest
        if is_in and collected and (present < len(READER_TABLES) or computed < max(collected, collected_at)):
            stale[window] = collected
    return stale


# --- Repair ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempts:
    """What is known of a slice that was attempted: how the last attempt ended, how many failed, when the last was."""

    status: str
    permanent: bool
    count: int
    last: datetime


# The family, customer, provider and window of a slice; the customer and provider of many.
Slice = tuple[str, str, str, datetime]
Owner = tuple[str, str]

FAILING = {"failed", "partial"}


@dataclass(frozen=True, slots=True)
class Repair:
    """One run's worth of slices to ask for again: windows in a row, the same families and customers throughout."""

    provider: str
    families: tuple[str, ...]
    customers: tuple[str, ...]
    first: datetime
    last: datetime
    attempt: int = 0  # the most that one of its slices was attempted before

    @property
    def key(self) -> str:
        """What tells this request from others: it changes when an attempt failed."""
        customers = hashlib.blake2b(",".join(self.customers).encode(), digest_size=6).hexdigest()
        span = f"{windows.key(self.first)}:{windows.key(self.last)}"
        return f"{self.provider}:{'+'.join(self.families)}:{span}:{customers}:{self.attempt}"

    @property
    def partition(self) -> str | None:
        """The partition of its run, if it is one: only of a run with a partition Dagster knows whose check it was."""
        return windows.key(self.first) if self.first == self.last else None

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its run: its windows, what it asks for, and its place in the queue."""
        return {
            **(range_tags(self.first, self.last) if self.partition is None else {}),
            **RUN_TAGS,
            **REPAIR_TAGS,
            REPAIR_TAG: f"{self.provider}:{'+'.join(self.families)}",
            **({} if "resource" in self.families else {CATCH_UP_TAG: self.provider}),
        }

    @property
    def slices(self) -> Iterator[Slice]:
        """Every slice that it asks for."""
        for window in windows.span(self.first, self.last):
            for customer in self.customers:
                for family in self.families:
                    yield family, customer, self.provider, window


def _repair_sensor(settings: "Settings", clickhouse: ClickHouse, jobs: Sequence[Any]) -> dg.SensorDefinition:
    remembered = Remembered(clickhouse)

    @dg.sensor(
        name="repair",
        jobs=jobs,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks again for slices that failed or are missing: a bounded number of times, ever later, and not "
        "where only a person can help.",
    )
    def repair(context: dg.SensorEvaluationContext) -> Requests:
        yield from _plainly(
            lambda: repair_requests(context.instance, clickhouse, settings, datetime.now(UTC), remembered)
        )

    return repair


def repair_requests(
    instance: dg.DagsterInstance,
    clickhouse: ClickHouse,
    settings: "Settings",
    now: datetime,
    remembered: Remembered | None = None,
) -> Requests:
    """The runs that ask again for what failed or is missing, but for what is being collected."""
    customers = load_customers(settings.customers_path)
    runs = {provider: going(instance, collection_job(provider)) for provider in FAMILIES_OF}
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    remembered = remembered or Remembered(clickhouse)
    attempts, before = remembered.get(
        (newest, customers), now, lambda: read_attempts(clickhouse, customers, settings, now)
    )
    lacking = {(customer, provider) for _, customer, provider, _ in attempts} | before
    attempts = with_crashes(attempts, _failed_repairs(instance, now - _lookback(settings)), lacking)
    wanted = plan_repairs(customers, attempts, settings, now, before)
    repairs = [r for r in wanted if not any(_holds_up(run, r) for run in runs[r.provider])]
    if not repairs:
        busy = ", ".join(sorted({r.provider for r in wanted}))
        yield dg.SkipReason(f"Waiting for the runs of {busy}." if busy else "Nothing to repair that is due.")
    for repair in repairs[:MAX_REQUESTS_PER_TICK]:
        yield dg.RunRequest(
            run_key=f"repair:{repair.key}",
            job_name=collection_job(repair.provider),
            asset_selection=[dg.AssetKey([repair.provider, family]) for family in repair.families],
            run_config=_only(repair.customers),
            partition_key=repair.partition,
            tags=repair.tags,
        )


def _holds_up(run: dg.DagsterRun, repair: Repair) -> bool:
    """Whether a repair waits for a run of its provider: the schedule's, which is short, or one of the same windows.

    A long backfill or repair of the past must not hold up an inventory that can be taken only now.
    """
    span = _windows_of(run)
    if SCHEDULE_NAME_TAG in run.tags or span is None:
        return True
    return span[0] <= repair.last and repair.first <= span[1]


def _windows_of(run: dg.DagsterRun) -> tuple[datetime, datetime] | None:
    """The first and last window of a run."""
    one = run.tags.get(PARTITION_NAME_TAG)
    first = one or run.tags.get(ASSET_PARTITION_RANGE_START_TAG)
    last = one or run.tags.get(ASSET_PARTITION_RANGE_END_TAG)
    return (windows.from_key(first), windows.from_key(last)) if first and last else None


def _only(customers: Sequence[str]) -> dict[str, Any]:
    """The run config that limits a run to `customers`."""
    return {"resources": {"scope": {"config": {"customers": list(customers)}}}}


def delay(attempts: int) -> timedelta:
    """How long to wait after so many attempts: 5, 10, 20, 40 ... minutes, at most 6 hours."""
    doublings: int = min(max(attempts - 1, 0), 20)
    return min(FIRST_DELAY * (1 << doublings), LONGEST_DELAY)


def _lookback(settings: "Settings") -> timedelta:
    return timedelta(hours=settings.repair_lookback_hours)


def _failed_repairs(instance: dg.DagsterInstance, since: datetime) -> list[tuple[Repair, datetime]]:
    """The repair runs that ended badly, with when they did: one that crashed left nothing in the ledger."""
    found = []
    for provider, implemented in FAMILIES_OF.items():
        wanted = dg.RunsFilter(job_name=collection_job(provider), statuses=ENDED_BADLY, created_after=since)
        for record in instance.get_run_records(wanted, limit=500):
            tags = record.dagster_run.tags
            config: Any = record.dagster_run.run_config
            span = _windows_of(record.dagster_run)
            if REPAIR_TAG not in tags or span is None:
                continue
            families = tuple(f for f in tags[REPAIR_TAG].partition(":")[2].split("+") if f in implemented)
            repair = Repair(
                provider,
                families,
                tuple(config["resources"]["scope"]["config"]["customers"]),
                *span,
            )
            ended = datetime.fromtimestamp(record.end_time, UTC) if record.end_time else record.create_timestamp
            found.append((repair, ended.astimezone(UTC)))
    return found


def with_crashes(
    attempts: Mapping[Slice, Attempts], failed: Iterable[tuple[Repair, datetime]], lacking: Collection[Owner]
) -> dict[Slice, Attempts]:
    """What the ledger says, and that the slices of `failed` repairs were attempted at least as often as those ran.

    Only of owners that lack something.
    """
    merged = dict(attempts)
    crashes: dict[Slice, int] = defaultdict(int)
    for repair, ended in failed:
        for asked in repair.slices:
            if asked[1:3] not in lacking:
                continue
            crashes[asked] += 1
            known = merged.get(asked, Attempts("missing", permanent=False, count=0, last=ended))
            merged[asked] = replace(known, count=max(known.count, crashes[asked]), last=max(known.last, ended))
    return merged


def read_attempts(
    clickhouse: ClickHouse, customers: "Iterable[Customer]", settings: "Settings", now: datetime
) -> tuple[dict[Slice, Attempts], set[Owner]]:
    """What the ledger says of each slice within the lookback, and which owners have older ones.

    Only of owners that lack something, which are few: of 1,000 customers, all slices took 4 CPU-s to look through.
    """
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    oldest = newest - _lookback(settings)
    # The newest window that may be missed; see `_is_due`.
    turn = windows.floor(now - timedelta(minutes=settings.lag_minutes) - 2 * windows.WINDOW - timedelta(microseconds=1))
    bounds = {
        "datasets": FAMILIES,
        "first": f"{oldest:%Y-%m-%d %H:%M:%S}",
        "last": f"{newest:%Y-%m-%d %H:%M:%S}",
    }
    with clickhouse.session() as client:
        overview = client.query(
            read_sql("queries/repair_overview"), parameters={**bounds, "turn": f"{turn:%Y-%m-%d %H:%M:%S}"}
        ).result_rows
        rows = client.query(read_sql("queries/collected_before"), parameters=bounds).result_rows
        before: set[Owner] = {(customer, provider) for customer, provider in rows}
        oldest = max(oldest, settings.partitions_start)
        began = dict.fromkeys(before, oldest)
        of_slices: dict[tuple[str, str, str], tuple[int, int]] = {}
        for family, customer, provider, seconds, attempted, not_whole in overview:
            first = max(datetime.fromtimestamp(seconds, UTC), oldest)
            began[customer, provider] = min(first, began.get((customer, provider), first))
            of_slices[family, customer, provider] = attempted, not_whole
        lacking = {
            (customer.id, provider)
            for customer in customers
            for provider, families in FAMILIES_OF.items()
            if (begin := began.get((customer.id, provider)))
            for family in families
            if customer.collects(provider, family)
            and of_slices.get((family, customer.id, provider), (0, 0))
            != (max((turn - begin) // windows.WINDOW + 1, 0), 0)
        }
        rows = (
            client.query(
                read_sql("queries/attempts"),
                parameters={**bounds, "customers": sorted({owner[0] for owner in lacking})},
            ).result_rows
            if lacking
            else []
        )
    return {
        (family, customer, provider, datetime.fromtimestamp(seconds, UTC)): Attempts(
            status, permanent, count, datetime.fromtimestamp(last, UTC)
        )
        for family, customer, provider, seconds, status, permanent, count, last in rows
        if (customer, provider) in lacking
    }, before & lacking


def plan_repairs(
    customers: "Iterable[Customer]",
    attempts: Mapping[Slice, Attempts],
    settings: "Settings",
    now: datetime,
    before: Iterable[Owner] = (),
) -> list[Repair]:
    """What to ask for again now, the newest windows first.

    A slice is missing if it was never attempted although an earlier one of its customer and provider was, within the
    lookback or `before` it: windows from before a customer came are not asked for. Slices whose last error only a
    person can remedy are left alone.
    """
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    oldest = max(newest - _lookback(settings), settings.partitions_start)
    began = dict.fromkeys(before, oldest)
    for _, customer_id, provider, window in attempts:
        began[customer_id, provider] = min(window, began.get((customer_id, provider), window))
    without_inventory = _without_inventory(attempts)
    wanted: dict[tuple[str, str, datetime], dict[str, int]] = defaultdict(dict)
    for customer in customers:
        for provider, families in FAMILIES_OF.items():
            if (customer.id, provider) not in began:
                continue
            span = windows.span(max(oldest, began[customer.id, provider]), newest)
            for family in families:
                if not customer.collects(provider, family):
                    continue
                known = {
                    w: attempts[family, customer.id, provider, w]
                    for w in span
                    if (family, customer.id, provider, w) in attempts
                }
                if family != "resource" and (customer.id, provider) in without_inventory:
                    span_of_family = [w for w in span if w not in known]
                else:
                    span_of_family = span
                for window in _due(family, customer, span_of_family, known, settings, now):
                    wanted[provider, customer.id, window][family] = known[window].count if window in known else 0
    return _grouped(wanted, attempts)


def _due(
    family: str,
    customer: "Customer",
    span: Sequence[datetime],
    known: Mapping[datetime, Attempts],
    settings: "Settings",
    now: datetime,
) -> list[datetime]:
    """The windows of one customer's family to ask for now.

    While the newest attempted window fails, what is older would fail too: only the newest is tried, as a probe. Once it
    is well, the first window that is due takes all the others that failed along, so that they share a run.
    """
    due = [w for w in span if _is_due(family, customer, w, known.get(w), settings, now)]
    attempted = [w for w, of_window in known.items() if of_window.status not in {"missing", "not_due"}]
    latest = max(attempted, default=None)
    if not due or latest is None:
        return due
    if known[latest].status in FAILING and not known[latest].permanent:
        return [w for w in due if w >= latest]
    return [
        w
        for w in span
        if w in due
        or (
            (of_window := known.get(w))
            and of_window.status in FAILING
            and not of_window.permanent
            and of_window.count <= settings.repair_max_attempts
            and _in_time(family, w, settings, now)
        )
    ]


def _without_inventory(attempts: Mapping[Slice, Attempts]) -> set[tuple[str, str]]:
    """The (customer, provider) whose inventory waits for a person: what needs it would only fail again."""
    newest: dict[tuple[str, str], tuple[datetime, Attempts]] = {}
    published = set()
    for (family, customer, provider, window), known in attempts.items():
        if family != "resource":
            continue
        if known.status in {"ok", "partial"}:
            published.add((customer, provider))
        elif (customer, provider) not in newest or newest[customer, provider][0] < window:
            newest[customer, provider] = (window, known)
    return {owner for owner, (_, known) in newest.items() if known.permanent} - published


def _is_due(
    family: str, customer: "Customer", window: datetime, known: Attempts | None, settings: "Settings", now: datetime
) -> bool:
    if not _in_time(family, window, settings, now):
        return False
    if known and known.count and (known.count > settings.repair_max_attempts or known.last + delay(known.count) > now):
        return False
    if known is None or known.status in {"missing", "not_due"}:
        if not settings.repair_max_attempts:
            return False
        # The schedule has its turn first.
        over = poll_end(window, customer.poll_minutes if family == "performance" else 15)
        return now > over + timedelta(minutes=settings.lag_minutes) + windows.WINDOW
    return known.status in FAILING and not known.permanent


def _in_time(family: str, window: datetime, settings: "Settings", now: datetime) -> bool:
    """Whether a window can still be collected: an inventory has no history."""
    return family != "resource" or now <= window + windows.WINDOW + timedelta(minutes=settings.snapshot_grace_minutes)


def _grouped(
    wanted: Mapping[tuple[str, str, datetime], Mapping[str, int]], attempts: Mapping[Slice, Attempts]
) -> list[Repair]:
    """As few runs as possible: stretches of windows, customers with the same stretch and families together.

    A stretch goes on over windows that are whole, which a run skips at no cost.
    """
    by_customer: dict[tuple[str, str, tuple[str, ...]], list[datetime]] = defaultdict(list)
    for (provider, customer_id, window), families in wanted.items():
        by_customer[provider, customer_id, tuple(sorted(families, reverse=True))].append(window)
    together: dict[tuple[str, tuple[str, ...], datetime, datetime], list[str]] = defaultdict(list)
    for (provider, customer_id, names), its_windows in by_customer.items():
        for first, last in _stretches(provider, customer_id, names, its_windows, attempts):
            together[provider, names, first, last].append(customer_id)
    repairs = []
    for (provider, names, first, last), customers in together.items():
        attempt = max(
            max(wanted[provider, customer, window].values())
            for customer in customers
            for window in windows.span(first, last)
            if (provider, customer, window) in wanted
        )
        repairs.append(Repair(provider, names, tuple(sorted(customers)), first, last, attempt))
    return sorted(repairs, key=lambda r: (r.last, r.provider), reverse=True)


def _stretches(
    provider: str,
    customer_id: str,
    families: Sequence[str],
    its_windows: Sequence[datetime],
    attempts: Mapping[Slice, Attempts],
) -> list[tuple[datetime, datetime]]:
    """The stretches of a customer's windows, joined over those whose every family is whole."""

    def whole(window: datetime) -> bool:
        known = (attempts.get((family, customer_id, provider, window)) for family in families)
        return all(one is not None and one.status == "ok" for one in known)

    joined: list[tuple[datetime, datetime]] = []
    for first, last in windows.runs_of(its_windows):
        if joined and all(whole(w) for w in windows.span(joined[-1][1] + windows.WINDOW, first - windows.WINDOW)):
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined
