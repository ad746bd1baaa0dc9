"""The sensor that asks again for slices that failed or are missing; `repair_plan.py` decides which."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.assets.scope import WHOLE
from optiinfra_dagster.automation.dagster_internals import SCHEDULE_NAME_TAG
from optiinfra_dagster.automation.jobs import collection_job
from optiinfra_dagster.automation.ledger_watch import (
    ENDED_BADLY,
    MAX_REQUESTS_PER_TICK,
    LedgerCache,
    Requests,
    skip_on_config_error,
)
from optiinfra_dagster.automation.repair_plan import (
    Attempts,
    Owner,
    Repair,
    Slice,
    plan_repairs,
    repair_lookback,
    with_crashes,
)
from optiinfra_dagster.automation.run_tags import REPAIR_TAG, SHARD_TAG, windows_of_run
from optiinfra_dagster.automation.schedules import active_runs
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import COLLECTED_FAMILIES, FAMILIES_OF, load_customers
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings


def build(settings: "Settings", clickhouse: ClickHouse, jobs: Sequence[Any]) -> dg.SensorDefinition:
    """The sensor; `jobs` are those that it may ask runs of."""
    remembered = LedgerCache(clickhouse)

    @dg.sensor(
        name="repair",
        jobs=jobs,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Asks again for slices that failed or are missing: a bounded number of times, ever later, and not "
        "where only a person can help.",
    )
    def repair(context: dg.SensorEvaluationContext) -> Requests:
        yield from skip_on_config_error(
            lambda: repair_requests(context.instance, clickhouse, settings, datetime.now(UTC), remembered)
        )

    return repair


def repair_requests(
    instance: dg.DagsterInstance,
    clickhouse: ClickHouse,
    settings: "Settings",
    now: datetime,
    remembered: LedgerCache | None = None,
) -> Requests:
    """The runs that ask again for what failed or is missing, but for what is being collected."""
    customers = load_customers(settings.customers_path)
    runs = {provider: active_runs(instance, collection_job(provider)) for provider in FAMILIES_OF}
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    remembered = remembered or LedgerCache(clickhouse)
    attempts, before = remembered.get(
        (newest, customers), now, lambda: read_attempts(clickhouse, customers, settings, now)
    )
    lacking = {(customer, provider) for _, customer, provider, _ in attempts} | before
    attempts = with_crashes(attempts, _failed_repairs(instance, now - repair_lookback(settings)), lacking)
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
    """True if a repair must wait for a run of its provider: the schedule's, which is short, or one of its windows.

    A long backfill or repair of the past must not hold up an inventory that can be taken only now. Runs of another
    shard have no customer of this one.
    """
    if _of_another_shard(run.tags.get(SHARD_TAG, WHOLE), repair.shard):
        return False
    span = windows_of_run(run)
    if SCHEDULE_NAME_TAG in run.tags or span is None:
        return True
    return span[0] <= repair.last and repair.first <= span[1]


def _of_another_shard(one: str, other: str) -> bool:
    """True of two shards of as many. Where OPTIINFRA_SHARDS was changed meanwhile, nobody knows."""
    return one != other and one.partition("/")[2] == other.partition("/")[2]


def _only(customers: Sequence[str]) -> dict[str, Any]:
    """The run config that limits a run to `customers`."""
    return {"resources": {"scope": {"config": {"customers": list(customers)}}}}


def _failed_repairs(instance: dg.DagsterInstance, since: datetime) -> list[tuple[Repair, datetime]]:
    """The repair runs that ended badly, with when they did: one that crashed left nothing in the ledger."""
    found = []
    for provider, implemented in FAMILIES_OF.items():
        wanted = dg.RunsFilter(job_name=collection_job(provider), statuses=ENDED_BADLY, created_after=since)
        for record in instance.get_run_records(wanted, limit=500):
            tags = record.dagster_run.tags
            config: Any = record.dagster_run.run_config
            span = windows_of_run(record.dagster_run)
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


def _collected_before(
    client: "Client",
    customers: "Iterable[Customer]",
    began: Mapping[Owner, datetime],
    bounds: Mapping[str, Any],
    start: datetime,
) -> set[Owner]:
    """The owners without an attempt at the first window, `start`, that had one in the month before.

    Of the others it is known that they did not come later: that month of 1,000 customers takes 0.6 CPU-s.
    """
    late = {
        customer.id
        for customer in customers
        for provider, families in FAMILIES_OF.items()
        if any(customer.collects(provider, family) for family in families)
        and began.get((customer.id, provider), datetime.max.replace(tzinfo=UTC)) > start
    }
    if not late:
        return set()
    rows = client.query(
        read_sql("queries/collected_before"), parameters={**bounds, "customers": sorted(late)}
    ).result_rows
    return {(customer, provider) for customer, provider in rows}


def read_attempts(
    clickhouse: ClickHouse, customers: "Iterable[Customer]", settings: "Settings", now: datetime
) -> tuple[dict[Slice, Attempts], set[Owner]]:
    """Read the attempts at each slice within the lookback, and which owners have older slices.

    Only of owners that lack something, which are few: of 1,000 customers, all slices took 4 CPU-s to look through.
    """
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    oldest = newest - repair_lookback(settings)
    # The newest window that may be missed; see `_is_due`.
    turn = windows.floor(now - timedelta(minutes=settings.lag_minutes) - 2 * windows.WINDOW - timedelta(microseconds=1))
    bounds = {
        "datasets": COLLECTED_FAMILIES,
        "first": f"{oldest:%Y-%m-%d %H:%M:%S}",
        "last": f"{newest:%Y-%m-%d %H:%M:%S}",
    }
    with clickhouse.session(reads=LEDGER_TABLE) as client:
        overview = client.query(
            read_sql("queries/repair_overview"), parameters={**bounds, "turn": f"{turn:%Y-%m-%d %H:%M:%S}"}
        ).result_rows
        began: dict[Owner, datetime] = {}
        of_slices: dict[tuple[str, str, str], tuple[int, int]] = {}
        start = max(oldest, settings.partitions_start)
        for family, customer, provider, seconds, attempted, not_whole in overview:
            first = max(datetime.fromtimestamp(seconds, UTC), start)
            began[customer, provider] = min(first, began.get((customer, provider), first))
            of_slices[family, customer, provider] = attempted, not_whole
        before = _collected_before(client, customers, began, bounds, start)
        began |= dict.fromkeys(before, start)
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
