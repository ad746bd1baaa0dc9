"""The sensor that computes readers again when what they are computed from has changed."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import dagster as dg

from optiinfra_dagster.automation.jobs import READERS_JOB
from optiinfra_dagster.automation.ledger_watch import (
    ENDED_BADLY,
    MAX_REQUESTS_PER_TICK,
    LedgerCache,
    Requests,
    retry_delay,
    skip_on_config_error,
)
from optiinfra_dagster.automation.run_tags import READERS_TAG, READERS_TAGS, RUN_TAGS, range_tags
from optiinfra_dagster.automation.schedules import active_runs
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import COLLECTED_FAMILIES, FAMILIES_OF, load_customers
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.database import LEDGER_TABLE
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
TRENDS_TABLE = readers()["performance", "trends"].table
APPLICATION_READERS = tuple(
    key for key, reader in readers().items() if key[0] == "application" and reader.length == windows.WINDOW
)
READER_TABLES = [reader.table for reader in readers().values() if reader.length == windows.WINDOW]


def build(settings: "Settings", clickhouse: ClickHouse) -> dg.SensorDefinition:
    """The sensor."""
    remembered = LedgerCache(
        clickhouse, settling=ROLLUPS_QUIET + timedelta(minutes=1)
    )  # clocks and ticks are not exact

    @dg.sensor(
        name="refresh_readers",
        job_name=READERS_JOB,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Computes a window's readers once its collections are in, and again when a repair changed them.",
    )
    def refresh_readers(context: dg.SensorEvaluationContext) -> Requests:
        yield from skip_on_config_error(
            lambda: readers_requests(context.instance, clickhouse, settings, datetime.now(UTC), remembered)
        )

    return refresh_readers


def readers_requests(
    instance: dg.DagsterInstance,
    clickhouse: ClickHouse,
    settings: "Settings",
    now: datetime,
    remembered: LedgerCache | None = None,
) -> Requests:
    """The runs that bring the readers up to date; none while they are being computed."""
    if before := active_runs(instance, READERS_JOB):
        yield dg.SkipReason(f"The readers are being computed by run {before[0].run_id[:8]}.")
        return
    customers = load_customers(settings.customers_path)
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    remembered = remembered or LedgerCache(clickhouse)
    stale: list[StaleReaders] = remembered.get(
        (newest, customers), now, lambda: stale_readers(clickhouse, customers, settings, now)
    )
    if not stale:
        yield dg.SkipReason("Every reader is up to date.")
        return
    is_requested = False
    for one in stale[:MAX_REQUESTS_PER_TICK]:
        failed = instance.get_run_records(dg.RunsFilter(tags={READERS_TAG: one.key}, statuses=ENDED_BADLY))
        if failed and (
            len(failed) > settings.repair_max_attempts
            or max(record.create_timestamp for record in failed).astimezone(UTC) + retry_delay(len(failed)) > now
        ):
            continue
        is_requested = True
        # The number of failures is part of the key: Dagster never asks twice for a key, even where its run failed.
        yield dg.RunRequest(
            run_key=f"readers:{one.key}:{len(failed)}",
            asset_selection=[dg.AssetKey(list(reader)) for reader in one.readers],
            tags={**range_tags(one.first, one.last), **RUN_TAGS, **READERS_TAGS, READERS_TAG: one.key},
        )
    if not is_requested:
        yield dg.SkipReason("The last computation of the readers failed; it is tried again later.")


@dataclass(frozen=True, slots=True)
class StaleReaders:
    """A request to compute readers again: which, for which windows in a row, and what made them stale."""

    readers: tuple[tuple[str, str], ...]
    first: datetime
    last: datetime
    newest: int  # when the newest of what they are computed from was published, or began, in ns

    @property
    def key(self) -> str:
        """The identity of this request: it changes when there is something newer."""
        which = "" if self.readers == tuple(readers()) else "+".join(name for _, name in self.readers) + ":"
        return f"{which}{windows.key(self.first)}:{windows.key(self.last)}:{self.newest}"


def stale_readers(
    clickhouse: ClickHouse,
    customers: "Sequence[Customer]",
    settings: "Settings",
    now: datetime,
    quiet: timedelta = ROLLUPS_QUIET,
) -> list[StaleReaders]:
    """Plan the readers to compute now, the newest first: recent windows, late logs, rollups, the trends over them.

    Each is computed from the one before, so the next is told of only when there is nothing left of it.
    """
    with clickhouse.session(reads=LEDGER_TABLE):  # one for all: an embedded engine takes its time to open
        if stale := stale_windows(clickhouse, customers, settings, now):
            return [
                StaleReaders(tuple(readers()), first, last, max(stale[w] for w in windows.span(first, last)))
                for first, last in reversed(list(windows.runs_of(list(stale))))
            ]
        return stale_applications(clickhouse, settings, now) or stale_rollups(clickhouse, settings, now, quiet)


def stale_applications(clickhouse: ClickHouse, settings: "Settings", now: datetime) -> list[StaleReaders]:
    """The application readers of windows whose logs came hours late, and of the days that those belong to.

    Windows that are recent are told by `stale_windows`, save that the last one of a day has the figures of all its
    windows. Between them the day so far is as it was known then.
    """
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    first = max(newest - timedelta(hours=settings.late_logs_hours), settings.partitions_start)
    with clickhouse.session() as client:
        rows = client.query(
            read_sql("queries/stale_applications"),
            parameters={
                "first": f"{first:%Y-%m-%d %H:%M:%S}",
                "last": f"{newest - windows.WINDOW:%Y-%m-%d %H:%M:%S}",
                "old": f"{newest - READERS_LOOKBACK:%Y-%m-%d %H:%M:%S}",
                "readers": [readers()[key].table for key in APPLICATION_READERS],
            },
        ).result_rows
    found = {datetime.fromtimestamp(seconds, UTC): published for seconds, published in rows}
    return [
        StaleReaders(APPLICATION_READERS, first, last, max(found[w] for w in windows.span(first, last)))
        for first, last in reversed(list(windows.runs_of(list(found))))
    ]


def stale_rollups(
    clickhouse: ClickHouse, settings: "Settings", now: datetime, quiet: timedelta = ROLLUPS_QUIET
) -> list[StaleReaders]:
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
                    StaleReaders(
                        readers,
                        max(first, settings.partitions_start),
                        max(windows.floor_to(length, last), settings.partitions_start),
                        max(published for start, published in found.items() if first <= start <= last),
                    )
                    for first, last in reversed(stretches)
                ]
        rows = client.query(
            read_sql("queries/stale_trends"), parameters={"since": since, "trends": TRENDS_TABLE}
        ).result_rows
    hours = [(max(datetime.fromtimestamp(s, UTC), settings.partitions_start), published) for s, published in rows]
    return [StaleReaders((("performance", "trends"),), start, start, published) for start, published in hours]


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
                "collected": COLLECTED_FAMILIES,
            },
        ).result_rows
    stale = {}
    for seconds, attempted, collected, collected_at, present, computed in rows:
        window = datetime.fromtimestamp(seconds, UTC)
        is_in = attempted >= expected or window < newest
        if is_in and collected and (present < len(READER_TABLES) or computed < max(collected, collected_at)):
            stale[window] = collected
    return stale
