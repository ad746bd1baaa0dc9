"""An installation left alone: two retention periods of runs, purged each night, and a month of 1,000 customers' ledger.

What a night, a tick and a page cost then, in CPU seconds of all processes that take part, and what is on the disk.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import dagster as dg
import yaml

from optiinfra_dagster.assets.partitions import window_partitions
from optiinfra_dagster.automation import leftovers
from optiinfra_dagster.automation.alerting.sensor import Watch
from optiinfra_dagster.automation.checks import alerted_keys
from optiinfra_dagster.automation.dead_runs import end_dead
from optiinfra_dagster.automation.housekeeping import MAX_DELETED_PER_NIGHT, PASSED_CHECKS_KEPT, delete_old_runs
from optiinfra_dagster.automation.own_metrics import OwnMetrics
from optiinfra_dagster.automation.readers_sensor import readers_requests
from optiinfra_dagster.automation.repair_sensor import repair_requests
from optiinfra_dagster.automation.status.gather import Look, look
from optiinfra_dagster.config.settings import Settings, load_settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage import coverage, superseded_batches
from optiinfra_dagster.storage.sql import readers
from tests.benchmarks import storage_replay
from tests.benchmarks.ui_pages import Pages, pages
from tests.support.engines import kept_open

if TYPE_CHECKING:
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from tests.benchmarks.storage_replay import Recording
    from tests.support import postgres

CUSTOMERS = 1_000
LEDGER_DAYS = 30
FAMILIES = ("resource", "performance", "cost")
DAY = timedelta(days=1)
PARTITIONS_START = "OPTIINFRA_PARTITIONS_START"
CHECK = {"assetKey": {"path": ["aws", "performance"]}, "checkName": "every_customer_published"}
# What the UI asks for a page, and how: the runs, their timeline, an asset, its events, its checks, and the lineage.
PAGES: Mapping[str, Mapping[str, Any]] = {
    "RunsFeedRootQuery": {"limit": 30, "view": "RUNS", "filter": {}},
    "CompletedRunTimelineQuery": {"limit": 500, "completedFilter": {"statuses": ["SUCCESS", "FAILURE", "CANCELED"]}},
    "PartitionHealthQuery": {"assetKey": {"path": ["aws", "performance"]}},
    "RecentAssetEventsQuery": {
        "assetKey": {"path": ["aws", "performance"]}, "limit": 100, "eventTypeSelectors": ["MATERIALIZATION"],
    },
    "AssetChecksQuery": {"assetKey": {"path": ["aws", "performance"]}},
    "AssetCheckDetailsQuery": {**CHECK, "limit": 25},
    "AssetCheckPartitionHealthQuery": CHECK,
}  # fmt: skip
OF_ALL_ASSETS = ("AssetHealthQuery", "AssetGraphLiveQuery")


class Figure(NamedTuple):
    """A figure, what it is to be, and what it is compared with."""

    says: str
    value: float
    aim: str = "told"
    baseline: float | None = None


@contextmanager
def recorded(home: Path) -> Iterator[Recording]:
    """The runs of a window, of which the partitions began a year ago, as long as this lasts."""
    start = windows.floor_to(DAY, datetime.now(UTC)) - timedelta(days=365)
    os.environ[PARTITIONS_START] = start.isoformat()
    try:
        yield storage_replay.record(home)
    finally:
        del os.environ[PARTITIONS_START]


@dataclass(slots=True)
class Growth:
    """The figures of one storage: SQLite below `home`, or a database of `server`."""

    recording: Recording
    home: Path
    server: postgres.PostgreSQL | None = None

    def figures(self) -> Iterator[Figure]:
        """Fill the storage, purge it night by night, and measure all."""
        self.home.mkdir(parents=True)
        environment = {name: os.environ[name] for name in os.environ if name == "OPTIINFRA_RUN_RETENTION_DAYS"}
        settings = load_settings(
            {
                "DAGSTER_HOME": str(self.home),
                "OPTIINFRA_CUSTOMERS": str(self.home / "customers.yaml"),
                "OPTIINFRA_CLICKHOUSE_URL": f"chdb://{self.home}/clickhouse",
                PARTITIONS_START: os.environ[PARTITIONS_START],
                **environment,
            }
        )
        url = {"postgres": {"postgres_url": self.server.new_database()}} if self.server else {}
        with dg.DagsterInstance.local_temp(str(self.home), overrides={"storage": url} if url else {}) as instance:
            yield from self._nights(instance, settings)
            yield from self._sizes(instance)
            yield from self._ticks(instance, settings)
            with pages(instance) as ui:
                yield from self._pages(ui)

    def _nights(self, instance: dg.DagsterInstance, settings: Settings) -> Iterator[Figure]:
        site = storage_replay.Site(instance, self.recording)
        partitions = window_partitions(settings.partitions_start)
        keys = [dg.AssetKey(yaml.safe_load(one["asset_key"])) for one in self.recording.asset_keys]
        days = 2 * settings.run_retention_days
        first = self.recording.window - days * DAY
        year = windows.span(settings.partitions_start, first)
        site.begin(partitions, [windows.key(window) for n, window in enumerate(year) if n % 50])
        nights: list[tuple[float, float]] = []
        deleted = 0
        for day in range(1, days + 1):
            end = first + day * DAY
            site.fill(windows.span(end - DAY + windows.WINDOW, end))
            older = end - settings.run_retention_days * DAY
            began = time.monotonic()

            def purge(older: datetime = older, end: datetime = end) -> None:
                nonlocal deleted
                deleted = delete_old_runs(instance, partitions, keys, older)
                leftovers.of_gone_runs(instance, older, MAX_DELETED_PER_NIGHT)
                leftovers.check_executions(instance, older, end - PASSED_CHECKS_KEPT)

            nights.append((self._cpu(purge), time.monotonic() - began))
        site.ticks(storage_replay.now_of(self.recording))
        yield Figure(f"nights of which each deletes {deleted:,} runs at last", days)
        yield Figure("CPU-s of a purge, the last", nights[-1][0])
        yield Figure("CPU-s of a purge, the dearest", max(cpu for cpu, _ in nights))
        yield Figure("seconds of a purge, the last", nights[-1][1])
        filled = instance.get_asset_records([keys[0]])[0].asset_entry.cached_status
        assert filled
        known = filled.deserialize_materialized_partition_subsets(partitions)
        wanted = len(year) - (len(year) + 49) // 50 + days * 96
        yield Figure("partitions that are filled, of all that were", len(known) / wanted, "1")

    def _sizes(self, instance: dg.DagsterInstance) -> Iterator[Figure]:
        if self.server:
            yield Figure("MB of the database", storage_replay.database_size(instance) / 1e6)
            return
        sizes = storage_replay.sizes(self.home)
        for part, (size, files) in sizes.items():
            yield Figure(f"MB of {part}", size / 1e6)
            yield Figure(f"files of {part}", files)
        of_all = sum(size for size, _ in sizes.values())
        yield Figure("MB of DAGSTER_HOME, without ClickHouse", of_all / 1e6, "<= 2,000")

    def _ticks(self, instance: dg.DagsterInstance, settings: Settings) -> Iterator[Figure]:
        now = storage_replay.now_of(self.recording)
        write_customers(settings.customers_path)
        clickhouse = kept_open(self.home / "clickhouse")
        with clickhouse.session():
            newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
            fill_ledger(clickhouse, newest, days=8)  # a day more than the status looks back for gaps
            of_days = self._least(lambda: look(settings, clickhouse, instance, now, Look()))
            fill_ledger(clickhouse, newest)
            watch = Watch(settings, clickhouse, alerted_keys())
            ticks: dict[str, tuple[Callable[[], object], str]] = {
                "repair": (lambda: list(repair_requests(instance, clickhouse, settings, now)), "<= 0.3"),
                "refresh_readers": (lambda: list(readers_requests(instance, clickhouse, settings, now)), "told"),
                "alert": (lambda: watch.tick(instance, now, logging.getLogger("growth")), "told"),
                "end_dead_runs": (lambda: end_dead(instance, settings.dagster_home), "told"),
            }
            for name, (work, aim) in ticks.items():
                yield Figure(f"CPU-s of a tick of {name}", self._least(work), aim)
            whole = self._least(lambda: look(settings, clickhouse, instance, now, Look()))
            yield Figure("CPU-s of `optiinfra status`: a month, 8 days of ledger", whole, "<= 1.25 x", of_days)
            scrape = self._least(
                lambda: list(OwnMetrics(settings, clickhouse, instance=instance, clock=lambda: now).collect())
            )
            yield Figure("CPU-s of a scrape of `optiinfra metrics`", scrape)

            def tidy() -> None:
                with clickhouse.session() as client:
                    coverage.forget(client, now - timedelta(days=90))
                    # All that is kept is due.
                    superseded_batches.clear(client, settings.keep_superseded, now + 40 * DAY)

            yield Figure("CPU-s of ClickHouse's part of housekeeping", self._cpu(tidy))

    def _pages(self, ui: Pages) -> Iterator[Figure]:
        every = [{"path": yaml.safe_load(one["asset_key"])} for one in self.recording.asset_keys]
        asked = {**PAGES, **{name: {"assetKeys": every} for name in OF_ALL_ASSETS}}
        for name, variables in asked.items():
            aim = "<= 0.05" if name == "AssetCheckDetailsQuery" else "told"
            yield Figure(f"CPU-s of {name}", self._least(partial(ui.ask, name, **variables)), aim)

    def _cpu(self, work: Callable[[], object]) -> float:
        """CPU seconds of this process, and of the server where there is one."""
        began = self._spent()
        work()
        return self._spent() - began

    def _spent(self) -> float:
        return time.process_time() + (self.server.cpu_seconds() if self.server else 0.0)

    def _least(self, work: Callable[[], object]) -> float:
        work()
        return min(self._cpu(work) for _ in range(3))


def write_customers(path: Path) -> None:
    """The customers file of as many customers as the ledger has."""
    customers = [
        {
            "id": f"customer-{n:04}", "name": f"Customer {n}", "families": list(FAMILIES),
            "aws": [{"account_id": f"{n:012}", "role_arn": f"arn:aws:iam::{n:012}:role/reader"}],
        }
        for n in range(CUSTOMERS)
    ]  # fmt: skip
    path.write_text(yaml.safe_dump({"customers": customers}))


def fill_ledger(clickhouse: ClickHouse, newest: datetime, days: int = LEDGER_DAYS) -> None:
    """The ledger of all customers and readers, well in every window of `days`, merged into one part a month."""
    tables = {reader.table: int(reader.length.total_seconds()) for reader in readers().values()}
    with clickhouse.session() as client:
        client.command("TRUNCATE TABLE metric_batches")
        for names, owners, seconds in (
            (list(FAMILIES), f"concat('customer-', leftPad(toString(number % {CUSTOMERS}), 4, '0'))", 900),
            *(
                ([name for name, length in tables.items() if length == seconds], "''", seconds)
                for seconds in sorted(set(tables.values()))
            ),
        ):
            many = CUSTOMERS if seconds == 900 and owners != "''" else 1
            first = int(windows.floor_to(timedelta(seconds=seconds), newest - days * DAY).timestamp())
            count = days * 86_400 // seconds + 1
            client.command(
                f"""
                INSERT INTO metric_batches
                WITH
                    intDiv(number, {many}) * {seconds} + {first} AS start,
                    start + {max(900, seconds) + 400} AS at,
                    {owners} AS customer
                SELECT arrayJoin({names}), customer, if(customer = '', '', 'aws'), fromUnixTimestamp(start),
                    at * 1000000000, 10, 1, 'ok', false, '', 3, 0.001, toString(intHash64(start)),
                    fromUnixTimestamp64Milli(toInt64(at) * 1000)
                FROM numbers({many * count})
                """,  # noqa: S608 - the code's own names
                settings={"max_partitions_per_insert_block": 0},
            )
        client.command("OPTIMIZE TABLE metric_batches FINAL")
