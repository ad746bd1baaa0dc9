"""The metrics of an installation itself, for Prometheus: its collections, calls, judging, runs and incidents.

Runs are short-lived processes that nobody could scrape, so every figure is computed when it is asked for, from the
ledger and Dagster's storage. Counters count since midnight UTC and begin anew there, as after the restart of a process,
which `rate()` and `increase()` know. There are as many series for one customer as for a thousand, unless they are asked
for by customer.

What cannot be read has no series, and `optiinfra_readable` of its part is 0: an unknown figure is no zero.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Literal

import dagster as dg
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from optiinfra_dagster.automation.alerting import incidents
from optiinfra_dagster.automation.jobs import READERS_JOB, collection_job
from optiinfra_dagster.automation.ledger_watch import LedgerCache
from optiinfra_dagster.automation.schedules import GOING
from optiinfra_dagster.automation.status import dagster_facts, ledger_facts
from optiinfra_dagster.automation.status.gather import open_instance
from optiinfra_dagster.automation.status.items import Kind
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.providers.registry import COLLECTED_FAMILIES, FAMILIES_OF, load_customers
from optiinfra_dagster.storage.io_manager import CPU_SECONDS
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

Part = Literal["customers_file", "ledger", "dagster"]
WAITING = [dg.DagsterRunStatus.QUEUED, dg.DagsterRunStatus.NOT_STARTED]
_OF_SLICE = ("provider", "family")
_TODAY = "since midnight UTC"

Values = Mapping[tuple[str, ...], "int | float | Decimal"]  # by the values of the labels


@dataclass(frozen=True, slots=True)
class _Ledger:
    """What ClickHouse tells; the first three are None where the customers file cannot be used."""

    families: tuple[ledger_facts.Family, ...] | None
    gaps: tuple[ledger_facts.Gap, ...] | None
    wanted: frozenset[tuple[str, str, str]] | None  # provider, family and customer
    attempts: Sequence[Sequence[Any]]  # as attempts_since.sql has them
    judged: Sequence[Sequence[Any]]  # as judged_since.sql has them


class OwnMetrics(Collector):
    """Computes the metrics at every scrape; `warn` is told in one line what cannot be read."""

    def __init__(
        self,
        settings: Settings,
        clickhouse: ClickHouse,
        *,
        by_customer: bool = False,
        warn: Callable[[str], None] = lambda _: None,
        instance: dg.DagsterInstance | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._clickhouse = clickhouse
        self._by_customer = by_customer
        self._warn = warn
        self._instance = instance
        self._clock = clock
        self._lock = threading.Lock()
        self._remembered = LedgerCache(clickhouse)
        self._cpu: dict[str, tuple[str, float | None]] = {}  # job -> the newest run that ended, and its CPU seconds

    def collect(self) -> Iterator[Metric]:
        """Every metric with its series, each part guarded by itself. One scrape at a time."""
        with self._lock:
            found = self._collect(self._clock().astimezone(UTC))
        yield from found

    def _collect(self, now: datetime) -> list[Metric]:
        readable: dict[Part, int] = {}
        found: list[Metric] = []
        customers: tuple[Customer, ...] | None = None
        with self._guarded("customers_file", readable):
            customers = load_customers(self._settings.customers_path)
            collected = sum(not customer.paused for customer in customers)
            found.append(_gauge("customers", "Customers that are collected.", (), {(): collected}))
        with self._guarded("ledger", readable):
            found += list(self._of_ledger(self._read_ledger(customers, now)))
        with self._guarded("dagster", readable):
            found += list(self._of_dagster())
        what = "Whether a part could be read: 1, or 0, and what it tells has no series."
        return [_gauge("readable", what, ("part",), {(part,): well for part, well in readable.items()}), *found]

    @contextmanager
    def _guarded(self, part: Part, readable: dict[Part, int]) -> Iterator[None]:
        readable[part] = 0
        try:
            yield
            readable[part] = 1
        except OptiInfraError as error:
            self._warn(f"{part} has no metrics: {error}")
        except Exception as error:  # noqa: BLE001 - whatever is broken must not hide the other parts
            self._warn(f"{part} has no metrics: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}")

    # --- The ledger --------------------------------------------------------------------------------------------------

    def _read_ledger(self, customers: tuple[Customer, ...] | None, now: datetime) -> _Ledger:
        midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
        newest = windows.newest_collectable(now, timedelta(minutes=self._settings.lag_minutes))

        def load() -> _Ledger:
            with self._clickhouse.session(migrated=False) as client:
                return self._load(client, customers, midnight, now)

        if self._clickhouse.path is not None and not self._clickhouse.path.exists():
            raise OptiInfraError(f"{self._clickhouse.place} does not exist: nothing was collected yet.")
        return self._remembered.get((newest, midnight, customers), now, load)

    def _load(
        self, client: Client, customers: tuple[Customer, ...] | None, midnight: datetime, now: datetime
    ) -> _Ledger:
        begin = int(midnight.timestamp())
        of_attempts = {"by_customer": self._by_customer, "datasets": COLLECTED_FAMILIES, "begin": begin}
        of_judging = {"by_customer": self._by_customer, "begin": 1000 * begin}
        attempts = client.query(read_sql("queries/attempts_since"), parameters=of_attempts).result_rows
        judged = client.query(read_sql("queries/judged_since"), parameters=of_judging).result_rows
        if customers is None:
            return _Ledger(None, None, None, attempts, judged)
        wanted = frozenset(
            (provider, family, customer.id)
            for customer in customers
            if not customer.paused
            for provider, families in FAMILIES_OF.items()
            for family in families
            if customer.collects(provider, family)
        )
        facts = ledger_facts.read_collections(client, customers, self._settings, now)
        gaps = ledger_facts.read_gaps(client, customers, self._settings, now)
        return _Ledger(facts.families, tuple(gaps), wanted, attempts, judged)

    def _of_ledger(self, read: _Ledger) -> Iterator[Metric]:
        of_slice = (*_OF_SLICE, "customer") if self._by_customer else _OF_SLICE
        # What is collected has all its series from the start: one that appeared with its first failure would hide it
        # from increase().
        owners = {self._owner(*owner) for owner in read.wanted or ()}
        outcomes = [status.value for status in SliceStatus]
        counted: dict[tuple[str, ...], int] = {(*owner, outcome): 0 for owner in owners for outcome in outcomes}
        rows, calls, usd = (defaultdict[tuple[str, ...], Decimal](Decimal) for _ in range(3))
        for owner in owners:
            rows[owner] = calls[owner] = usd[owner] = Decimal(0)
        for provider, family, customer, outcome, count, given, called, charged in read.attempts:
            owner = self._owner(provider, family, customer)
            counted[(*owner, outcome)] = count
            rows[owner] += given
            calls[owner] += called
            usd[owner] += charged
        yield _counter("slice_attempts", "Attempts at slices, by outcome,", (*of_slice, "outcome"), counted)
        yield _counter("collected_rows", "Rows that the attempts gave,", of_slice, rows)
        yield _counter("api_calls", "Calls of the clouds' APIs,", of_slice, calls)
        yield _counter("api_cost_usd", "What the clouds charge for these calls, in US dollars,", of_slice, usd)
        yield from self._judging(read)
        if read.families is not None:
            yield from _families(read.families)
        if read.gaps is not None:
            missing = dict.fromkeys(owners, 0)
            for gap in read.gaps:
                owner = self._owner(gap.provider, gap.family, gap.customer)
                missing[owner] = missing.get(owner, 0) + gap.windows
            what = f"Windows of the last {ledger_facts.GAPS_LOOKBACK_TEXT} that are not there and will not be fetched."
            yield _gauge("gap_windows", what, of_slice, missing)

    def _judging(self, read: _Ledger) -> Iterator[Metric]:
        labels = ("customer",) if self._by_customer else ()
        used = {(customer,) if self._by_customer else (): rest for customer, *rest in read.judged}
        if not self._by_customer:
            used.setdefault((), [0, 0, Decimal(0), 0])
        for index, (name, what) in enumerate(
            (
                ("judge_tokens", "Tokens that the LLM judge used,"),
                ("judge_requests", "Requests to the LLM judge,"),
                ("judge_cost_usd", "What the LLM judge cost in US dollars, where its price is known,"),
                ("judge_unpriced_requests", "Requests to the LLM judge whose price is not known,"),
            )
        ):
            yield _counter(name, what, labels, {key: values[index] or 0 for key, values in used.items()})

    def _owner(self, provider: str, family: str, customer: str) -> tuple[str, ...]:
        return (provider, family, customer) if self._by_customer else (provider, family)

    # --- Dagster -----------------------------------------------------------------------------------------------------

    def _cpu_of(self, instance: dg.DagsterInstance, job: str, run_id: str) -> float | None:
        """The CPU seconds of a job's newest run, whose events are read once: it has ended."""
        known = self._cpu.get(job)
        if known is None or known[0] != run_id:
            known = self._cpu[job] = run_id, _cpu_seconds(instance, run_id)
        return known[1]

    def _of_dagster(self) -> Iterator[Metric]:
        if self._instance is None:
            opened = open_instance(self._settings)
            if isinstance(opened, str):
                raise OptiInfraError(opened)
            self._instance = opened
        instance = self._instance
        waiting = instance.get_runs_count(dg.RunsFilter(statuses=WAITING))
        running = instance.get_runs_count(dg.RunsFilter(statuses=[one for one in GOING if one not in WAITING]))
        yield _gauge("runs", "Runs that wait or are going.", ("state",), {("waiting",): waiting, ("going",): running})
        lasted: dict[tuple[str, ...], float] = {}
        used: dict[tuple[str, ...], float] = {}
        for job in (*map(collection_job, FAMILIES_OF), READERS_JOB):
            for record in instance.get_run_records(dg.RunsFilter(job_name=job, statuses=dagster_facts.ENDED), limit=1):
                if record.start_time and record.end_time:
                    lasted[job,] = record.end_time - record.start_time
                if (cpu := self._cpu_of(instance, job, record.dagster_run.run_id)) is not None:
                    used[job,] = cpu
        yield _gauge("last_run_duration_seconds", "How long the newest run that ended took.", ("job",), lasted)
        what = "What the newest run that ended used of a CPU until its last output, its start included."
        yield _gauge("last_run_cpu_seconds", what, ("job",), used)
        beats: dict[tuple[str, ...], float] = {
            (name.lower(),): status.last_heartbeat.timestamp
            for name, status in instance.get_daemon_statuses().items()
            if status.last_heartbeat
        }
        yield _gauge("daemon_heartbeat_timestamp_seconds", "The newest heartbeat of a daemon.", ("daemon",), beats)
        book = incidents.load(instance)
        open_ones: dict[tuple[str, ...], int] = {(kind.value,): 0 for kind in Kind}
        for incident in book.all():
            if incident.over is None:
                open_ones[incident.kind,] = open_ones.get((incident.kind,), 0) + 1
        yield _gauge("incidents", "Incidents that go on.", ("kind",), open_ones)
        yield _gauge("unreached_sinks", "Sinks of alerts that could not be reached.", (), {(): len(book.trying)})


def _cpu_seconds(instance: dg.DagsterInstance, run_id: str) -> float | None:
    """The CPU seconds that a run told of with its outputs, None where it had none."""
    connection = instance.get_records_for_run(run_id, of_type=dg.DagsterEventType.ASSET_MATERIALIZATION)
    materializations = [one.asset_materialization for one in connection.records]
    # By asset: an output of many windows is a materialization of each, and all say the same.
    by_asset = {
        one.asset_key: one.metadata[CPU_SECONDS].value
        for one in materializations
        if one and CPU_SECONDS in one.metadata
    }
    return sum(float(str(value)) for value in by_asset.values()) if by_asset else None


def _families(families: Sequence[ledger_facts.Family]) -> Iterator[Metric]:
    newest: dict[tuple[str, ...], float] = {}
    stand: dict[tuple[str, ...], int] = {}
    for one in families:
        key = one.provider, one.family
        if one.newest is not None:
            newest[key] = (one.newest + windows.WINDOW).timestamp()
        for state, count in (
            ("in", one.all_there),
            ("partial", one.incomplete),
            ("failed", one.failed),
            ("missing", len(one.missing)),
        ):
            stand[*key, state] = count
    what = "The end of the newest window that is published; time() minus this is the lag."
    yield _gauge("newest_window_end_timestamp_seconds", what, _OF_SLICE, newest)
    what = "How the newest slices of customers stand."
    yield _gauge("newest_slices", what, (*_OF_SLICE, "state"), stand)


def _gauge(name: str, what: str, labels: Sequence[str], values: Values) -> Metric:
    metric = GaugeMetricFamily(f"optiinfra_{name}", what, labels=labels)
    for key, value in sorted(values.items()):
        metric.add_metric(key, float(value))
    return metric


def _counter(name: str, what: str, labels: Sequence[str], values: Values) -> Metric:
    metric = CounterMetricFamily(f"optiinfra_{name}", f"{what} {_TODAY}.", labels=labels)
    for key, value in sorted(values.items()):
        metric.add_metric(key, float(value))
    return metric
