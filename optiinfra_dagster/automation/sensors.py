"""The sensors: readers follow collections, and what failed or is missing is asked for again. Both read the ledger."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster._core.storage.tags import ASSET_PARTITION_RANGE_END_TAG, ASSET_PARTITION_RANGE_START_TAG

from optiinfra_dagster import windows
from optiinfra_dagster.assets.collection import IMPLEMENTED, poll_end
from optiinfra_dagster.assets.readers import READERS
from optiinfra_dagster.automation.jobs import READERS_JOB, RUN_TAGS, collection_job
from optiinfra_dagster.automation.schedules import going
from optiinfra_dagster.sqlfiles import read_sql

if TYPE_CHECKING:
    from optiinfra_dagster.customers import Customer
    from optiinfra_dagster.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

# Older windows' readers are re-materialized on demand: a backfill must not recompute every window it touches.
READERS_LOOKBACK = timedelta(hours=6)

REPAIR_TAG = "optiinfra/repair"
FIRST_DELAY = timedelta(minutes=5)
MAX_REQUESTS_PER_TICK = 4

FAMILIES = sorted({family for families in IMPLEMENTED.values() for family in families})
READER_TABLES = [f"{family}_{name}" for family, name in READERS]


def build(settings: "Settings", jobs: Sequence[Any]) -> list[dg.SensorDefinition]:
    """Every sensor; `jobs` are those that they may ask runs of."""
    return [_readers_sensor(settings), _repair_sensor(settings, [job for job in jobs if job.name != READERS_JOB])]


def range_tags(first: datetime, last: datetime) -> dict[str, str]:
    """The run tags that make one run of the windows from `first` to `last`, both included."""
    return {ASSET_PARTITION_RANGE_START_TAG: windows.key(first), ASSET_PARTITION_RANGE_END_TAG: windows.key(last)}


# --- Readers ---------------------------------------------------------------------------------------------------------


def _readers_sensor(settings: "Settings") -> dg.SensorDefinition:
    @dg.sensor(
        name="refresh_readers",
        job_name=READERS_JOB,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Computes a window's readers once its collections are in, and again when a repair changed them.",
    )
    def refresh_readers(
        context: dg.SensorEvaluationContext, clickhouse: dg.ResourceParam[Any]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        from optiinfra_dagster.customers import load_customers

        if going(context.instance, READERS_JOB):
            yield dg.SkipReason("The readers are being computed.")
            return
        stale = stale_windows(clickhouse, load_customers(settings.customers_path), settings, datetime.now(UTC))
        if not stale:
            yield dg.SkipReason("Every reader is up to date.")
        for first, last in windows.runs_of(list(stale)):
            newest = max(stale[w] for w in windows.span(first, last))
            yield dg.RunRequest(
                run_key=f"readers:{windows.key(first)}:{windows.key(last)}:{newest}",
                tags={**range_tags(first, last), **RUN_TAGS},
            )

    return refresh_readers


def stale_windows(
    clickhouse: "ClickHouse", customers: "Sequence[Customer]", settings: "Settings", now: datetime
) -> dict[datetime, int]:
    """The windows whose collections are in and whose readers are older, with the newest collected batch.

    A window's collections are in when every slice that is due was attempted, or when the next window's turn has come.
    """
    lag = timedelta(minutes=settings.lag_minutes)
    newest = windows.newest_collectable(now, lag)
    expected = sum(
        c.collects(provider, family) for provider, families in IMPLEMENTED.items() for family in families for c in customers
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
    for seconds, attempted, collected, readers, computed in rows:
        window = datetime.fromtimestamp(seconds, UTC)
        is_in = attempted >= expected or window < newest
        if is_in and collected and (readers < len(READER_TABLES) or computed < collected):
            stale[window] = collected
    return stale


# --- Repair ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Attempts:
    """What the ledger says of a slice that was attempted."""

    status: str
    permanent: bool
    count: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Repair:
    """One run's worth of slices to ask for again: windows in a row, the same families and customers throughout."""

    provider: str
    families: tuple[str, ...]
    customers: tuple[str, ...]
    first: datetime
    last: datetime

    @property
    def key(self) -> str:
        """What tells this repair from others."""
        customers = hashlib.blake2b(",".join(self.customers).encode(), digest_size=6).hexdigest()
        span = f"{windows.key(self.first)}:{windows.key(self.last)}"
        return f"{self.provider}:{'+'.join(self.families)}:{span}:{customers}"


def _repair_sensor(settings: "Settings", jobs: Sequence[Any]) -> dg.SensorDefinition:
    @dg.sensor(
        name="repair",
        jobs=jobs,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks again for slices that failed or are missing: a bounded number of times, ever later, and not where "
        "only a person can help.",
    )
    def repair(
        context: dg.SensorEvaluationContext, clickhouse: dg.ResourceParam[Any]
    ) -> Iterator[dg.RunRequest | dg.SkipReason]:
        from optiinfra_dagster.customers import load_customers

        now = datetime.now(UTC)
        busy = {provider for provider in IMPLEMENTED if going(context.instance, collection_job(provider))}
        attempts = _attempts(clickhouse, settings, now)
        wanted = [
            repair
            for repair in plan_repairs(load_customers(settings.customers_path), attempts, settings, now)
            if repair.provider not in busy and _may_ask(context.instance, repair, settings, now)
        ]
        if not wanted:
            yield dg.SkipReason(
                f"Waiting for the runs of {', '.join(sorted(busy))}." if busy else "Nothing to repair that is due."
            )
        for repair in wanted[:MAX_REQUESTS_PER_TICK]:
            asked = context.instance.get_runs_count(dg.RunsFilter(tags={REPAIR_TAG: repair.key}))
            yield dg.RunRequest(
                run_key=f"repair:{repair.key}:{asked}",
                job_name=collection_job(repair.provider),
                asset_selection=[dg.AssetKey([repair.provider, family]) for family in repair.families],
                run_config={"resources": {"scope": {"config": {"customers": list(repair.customers)}}}},
                tags={**range_tags(repair.first, repair.last), **RUN_TAGS, REPAIR_TAG: repair.key},
            )

    return repair


def delay(attempts: int) -> timedelta:
    """How long to wait after so many attempts: 5, 10, 20, 40 ... minutes."""
    return FIRST_DELAY * 2 ** max(attempts - 1, 0)


def _may_ask(instance: dg.DagsterInstance, repair: Repair, settings: "Settings", now: datetime) -> bool:
    """Whether this very repair was not asked for too often or too recently; a run that crashed leaves no ledger row."""
    records = instance.get_run_records(dg.RunsFilter(tags={REPAIR_TAG: repair.key}), limit=settings.repair_max_attempts)
    if not records:
        return True
    newest = max(record.create_timestamp for record in records)
    return len(records) < settings.repair_max_attempts and newest.astimezone(UTC) + delay(len(records)) <= now


def _attempts(
    clickhouse: "ClickHouse", settings: "Settings", now: datetime
) -> dict[tuple[str, str, str, datetime], Attempts]:
    """Per (family, customer, provider, window) within the lookback: what the ledger says."""
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    with clickhouse.session() as client:
        rows = client.query(
            read_sql("queries/attempts"),
            parameters={
                "datasets": FAMILIES,
                "first": f"{newest - timedelta(hours=settings.repair_lookback_hours):%Y-%m-%d %H:%M:%S}",
                "last": f"{newest:%Y-%m-%d %H:%M:%S}",
            },
        ).result_rows
    return {
        (family, customer, provider, datetime.fromtimestamp(seconds, UTC)): Attempts(
            status, permanent, count, datetime.fromtimestamp(last, UTC)
        )
        for family, customer, provider, seconds, status, permanent, count, last in rows
    }


def plan_repairs(
    customers: "Iterable[Customer]",
    attempts: Mapping[tuple[str, str, str, datetime], Attempts],
    settings: "Settings",
    now: datetime,
) -> list[Repair]:
    """What to ask for again now.

    A slice is missing if it was never attempted although an earlier one of its customer and provider was: windows from
    before a customer came are not asked for. Slices whose last error only a person can remedy are left alone.
    """
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    oldest = newest - timedelta(hours=settings.repair_lookback_hours)
    began: dict[tuple[str, str], datetime] = {}
    for _, customer_id, provider, window in attempts:
        began[customer_id, provider] = min(window, began.get((customer_id, provider), window))
    wanted: dict[tuple[str, str, datetime], set[str]] = defaultdict(set)
    for customer in customers:
        for provider, families in IMPLEMENTED.items():
            if (customer.id, provider) not in began:
                continue
            start = max(oldest, began[customer.id, provider])
            for family in families:
                if not customer.collects(provider, family):
                    continue
                for window in windows.span(start, newest):
                    known = attempts.get((family, customer.id, provider, window))
                    if _is_due(family, customer, window, known, settings, now):
                        wanted[provider, customer.id, window].add(family)
    return _grouped(wanted)


def _is_due(  # noqa: PLR0913
    family: str, customer: "Customer", window: datetime, known: Attempts | None, settings: "Settings", now: datetime
) -> bool:
    lag = timedelta(minutes=settings.lag_minutes)
    if family == "resource" and now > window + windows.WINDOW + timedelta(minutes=settings.snapshot_grace_minutes):
        return False  # an inventory has no history
    if known is None or known.status == "not_due":
        # The schedule has its turn first.
        over = poll_end(window, customer.poll_minutes if family == "performance" else 15)
        return now > over + lag + windows.WINDOW
    if known.status not in {"failed", "partial"} or known.permanent or known.count >= settings.repair_max_attempts:
        return False
    return known.last + delay(known.count) <= now


def _grouped(wanted: Mapping[tuple[str, str, datetime], set[str]]) -> list[Repair]:
    """As few runs as possible: stretches of windows, customers with the same stretch and families together."""
    by_customer: dict[tuple[str, str, tuple[str, ...]], list[datetime]] = defaultdict(list)
    for (provider, customer_id, window), families in wanted.items():
        by_customer[provider, customer_id, tuple(sorted(families, reverse=True))].append(window)
    together: dict[tuple[str, tuple[str, ...], datetime, datetime], list[str]] = defaultdict(list)
    for (provider, customer_id, families), its_windows in by_customer.items():
        for first, last in windows.runs_of(its_windows):
            together[provider, families, first, last].append(customer_id)
    repairs = [
        Repair(provider, families, tuple(sorted(customers)), first, last)
        for (provider, families, first, last), customers in together.items()
    ]
    return sorted(repairs, key=lambda r: (r.last, r.provider), reverse=True)
