"""The collection assets: one factory for the matrix of providers and families, because data drives it.

`<provider>/<family>` collects its family of metrics for every customer that has the provider, side by side, one window
or a range of windows per run. Each (customer, window) is a slice of its own: what one customer's credential, throttle
or bug costs is that customer's slice, recorded in the ledger with its true error.
"""

import importlib
import math
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster import windows
from optiinfra_dagster.assets.columns import described
from optiinfra_dagster.assets.scope import Scope
from optiinfra_dagster.customers import Customer
from optiinfra_dagster.errors import Cause, CloudError, OptiInfraError
from optiinfra_dagster.sqlfiles import read_sql
from optiinfra_dagster.storage.io_manager import SliceStream

if TYPE_CHECKING:
    from optiinfra_dagster.providers.types import Meter, Performance, Problem
    from optiinfra_dagster.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.inventory import Listed
    from optiinfra_dagster.storage.slices import Slices

# Which families a provider's folder can collect. The asset graph is drawn from it.
_EVERY = ("resource", "performance", "cost", "application")
IMPLEMENTED: dict[str, tuple[str, ...]] = {"aws": _EVERY, "gcp": _EVERY, "azure": _EVERY, "vultr": _EVERY}

# What a family of the same window works from.
UPSTREAM: dict[str, tuple[str, ...]] = {
    "resource": (),
    "performance": ("resource",),
    "cost": ("resource",),
    "application": (),
}

DESCRIPTIONS = {
    "resource": "Inventory of compute, volumes, databases, load balancers, networks and Kubernetes clusters.",
    "performance": "CPU, memory, disk I/O, network I/O, response time and uptime of what the inventory lists.",
    "cost": "What the bills say, read as often as they change; for the time between, inventory x price list.",
    "application": "Coherence, relevance, accuracy, hallucination and toxicity of sampled LLM answers, by an LLM.",
}

# A lot goes to ClickHouse when it is this large or this old: one flush for many customers, little lost by a kill.
LOT_ROWS = 200_000
LOT_SECONDS = 2.0

# A customer who takes longer gives its place to another and goes on, up to so many times as many as there are places:
# most take a second or two, but a cloud that hangs holds its customers for their whole bound of minutes. Only where one
# window is asked for: what is slow in a long range or a bill is the customer's own size, which places bound in memory.
SLOW_SECONDS = 10.0
SLOW_TIMES = 4

# Memory bound of one customer's request: windows are asked for together up to about this many points.
CHUNK_POINTS = 400_000
POINTS_PER_RESOURCE_AND_WINDOW = 30

INVENTORY_LOOKBACK = timedelta(days=30)
DAILY_LOOKBACK = timedelta(days=4)  # what a source of daily totals is asked for again after an outage, and a day

RETRY = dg.RetryPolicy(max_retries=2, delay=10, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.PLUS_MINUS)


@dataclass(frozen=True)
class Task:
    """What is to be collected for one customer: its windows, and the resources they are asked for."""

    customer: Customer
    windows: tuple[datetime, ...]
    listed: "Listed | None" = None  # the inventory that metrics are asked of
    daily: "Mapping[str, int]" = field(default_factory=dict)  # resource -> newest day whose totals other slices hold
    left_usd: Decimal | None = None  # of the budget of this month; None is no limit
    stopped: bool = False  # the budget stopped a slice this month already, which was said then
    refresh: bool = False


def build(
    provider: str, family: str, settings: "Settings", partitions: dg.TimeWindowPartitionsDefinition
) -> dg.AssetsDefinition:
    """The collection asset of one provider and family."""

    @dg.asset(
        key=[provider, family],
        partitions_def=partitions,
        backfill_policy=dg.BackfillPolicy.single_run(),
        deps=[dg.AssetKey([provider, upstream]) for upstream in UPSTREAM[family]],
        group_name=provider,
        kinds={provider, "clickhouse"},
        description=DESCRIPTIONS[family],
        io_manager_key="io_manager",
        metadata={"dataset": family, "provider": provider, **described(f"{family}_metrics")},
        retry_policy=RETRY,
        tags={"family": family},
    )
    def collect(context: dg.AssetExecutionContext, scope: Scope, clickhouse: dg.ResourceParam[Any]) -> SliceStream:
        from optiinfra_dagster.customers import load_customers

        asked = [windows.from_key(key) for key in context.partition_keys]
        try:
            customers = scope.select(load_customers(settings.customers_path))
            lots = collect_slices(
                provider,
                family,
                [c for c in customers if c.collects(provider, family)],
                asked,
                clickhouse=clickhouse,
                settings=settings,
                refresh=scope.refresh,
                log=context.log.warning,
            )
        except OptiInfraError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        return SliceStream(lots)

    return collect


def collect_slices(  # noqa: PLR0913 - each is one thing a collection needs
    provider: str,
    family: str,
    customers: Sequence[Customer],
    asked: Collection[datetime],
    *,
    clickhouse: "ClickHouse",
    settings: "Settings",
    refresh: bool = False,
    log: Callable[[str], None] = lambda _message: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> "Iterator[list[Slices]]":
    """Collect `asked` windows of `family` for `customers`, several customers at a time; yields lots as they finish.

    Published slices are skipped unless `refresh`; partial ones are collected again where that is still possible.
    """
    from optiinfra_dagster.storage import slices

    windows_of = {c.id: _with_poll(asked, c.poll_minutes) if family == "performance" else asked for c in customers}
    with clickhouse.session() as client:
        there = slices.published(
            client, family, [w for ws in windows_of.values() for w in ws], [c.id for c in customers]
        )
    tasks, done = [], []
    due = Due(settings, now())
    for customer in customers:
        kept: list[datetime] = []
        rows = 0
        wanted: list[datetime] = []
        for window in windows_of[customer.id]:
            if window not in asked and not due.polled(customer, window):
                continue
            old = there.get(slices.SliceKey(customer.id, provider, window))
            # A partial inventory of the past stays as it is: the present cannot complete it.
            lacking = old is not None and old.status is slices.Outcome.PARTIAL
            lacking = lacking and (family != "resource" or due.present(window))
            fresh = old is None or lacking or (refresh and window in asked)
            (wanted if fresh else kept).append(window)
            rows += old.rows if old and not fresh else 0
        if kept:
            ok = slices.Outcome.OK
            done.append(slices.Slices(customer.id, provider, kept, ok, skipped=True, skipped_rows=rows))
        if wanted:
            tasks.append(Task(customer, tuple(wanted), refresh=refresh))
    if tasks and family in {"performance", "cost"}:
        tasks = _with_resources(provider, tasks, max(asked), clickhouse)
        tasks = _within_budget(provider, tasks, clickhouse, now())
    if tasks and family == "performance":
        tasks = _with_daily(provider, tasks, clickhouse)
    if done:
        yield done
    lent = SLOW_TIMES if family in {"resource", "performance"} and len(asked) == 1 else 1
    places = _Places(settings.concurrency, settings.concurrency * lent)
    with _working(family, provider, clickhouse, settings) as work:
        yield from _in_lots(lambda task, put: _guarded(work, provider, task, settings, now, put, log), tasks, places)


Work = Callable[[str, Task, "Settings", Callable[[], datetime], Any], None]


@contextmanager
def _working(family: str, provider: str, clickhouse: "ClickHouse", settings: "Settings") -> "Iterator[Work]":
    """What is done for each customer of a family."""
    if family == "application":
        from optiinfra_dagster.assets.judging import judging

        with judging(clickhouse, settings) as work:
            yield work
    elif family == "cost":
        from optiinfra_dagster.assets.costing import Costing

        yield Costing(provider, clickhouse, settings).collect
    else:
        yield {"resource": _collect_inventory, "performance": _collect_performance}[family]


def _with_resources(provider: str, tasks: "Sequence[Task]", window: datetime, clickhouse: "ClickHouse") -> "list[Task]":
    """The tasks with what they are to be asked of: the inventory of the window, or the newest before it."""
    from optiinfra_dagster.storage import inventory

    ids = [task.customer.id for task in tasks]
    found = inventory.newest(clickhouse, provider, ids, window, lookback=INVENTORY_LOOKBACK)
    return [replace(task, listed=found.get(task.customer.id)) for task in tasks]


def _with_daily(provider: str, tasks: "list[Task]", clickhouse: "ClickHouse") -> "list[Task]":
    """The tasks with the daily totals that are there already, for a provider that has any."""
    if not getattr(_metrics_module(provider), "DAILY", False):
        return tasks
    asked = sorted({window for task in tasks for window in task.windows})
    with clickhouse.session() as client:
        rows = client.query(
            read_sql("queries/newest_daily"),
            parameters={
                "provider": provider,
                "customers": [task.customer.id for task in tasks],
                "first": int((asked[0] - DAILY_LOOKBACK).timestamp()),
                "windows": [int(window.timestamp()) for window in asked],
            },
        ).result_rows
    daily: dict[str, dict[str, int]] = {}
    for customer, resource, day in rows:
        daily.setdefault(customer, {})[resource] = day
    return [replace(task, daily=daily.get(task.customer.id, {})) for task in tasks]


def _within_budget(provider: str, tasks: "list[Task]", clickhouse: "ClickHouse", now: datetime) -> "list[Task]":
    """The tasks with what is left of their customers' budgets."""
    from optiinfra_dagster.storage import spend

    limits = {task.customer.id: task.customer.monthly_api_budget_usd for task in tasks}
    limited = [customer for customer, limit in limits.items() if limit is not None]
    if not limited:
        return tasks
    with clickhouse.session() as client:
        spent = spend.this_month(client, provider, limited, now)
    budgeted = []
    for task in tasks:
        limit, known = limits[task.customer.id], spent.get(task.customer.id, spend.Spent())
        left = None if limit is None else max(limit - known.usd, Decimal(0))
        budgeted.append(replace(task, left_usd=left, stopped=known.stopped))
    return budgeted


def _metrics_module(provider: str) -> Any:
    """`collect`, `price` and `HISTORY` of a provider's metrics."""
    return importlib.import_module(f"optiinfra_dagster.providers.{provider}.performance")


@dataclass(frozen=True)
class Due:
    """What can be collected at a moment."""

    settings: "Settings"
    now: datetime

    def polled(self, customer: Customer, window: datetime) -> bool:
        """Whether the poll that a customer's window belongs to is over."""
        return poll_end(window, customer.poll_minutes) + timedelta(minutes=self.settings.lag_minutes) <= self.now

    def present(self, window: datetime) -> bool:
        """Whether what is there now may still be told as what was there in a window."""
        grace = timedelta(minutes=self.settings.snapshot_grace_minutes)
        return window <= self.now <= window + windows.WINDOW + grace


Put = Any  # Callable[[Slices], None]; a forward reference would need the storage modules at import


def _guarded(
    work: Callable[..., None],
    provider: str,
    task: Task,
    settings: "Settings",
    now: Callable[[], datetime],
    put: Put,
    log: Callable[[str], None],
) -> None:
    """Do one customer's work; whatever goes wrong becomes that customer's failed slices, with the true error."""
    from optiinfra_dagster.storage.slices import Outcome, Slices

    left = set(task.windows)
    said = {Outcome.BUDGET} if task.stopped else set()  # once a month is enough

    def put_and_tick(slices: "Slices") -> None:
        left.difference_update(slices.windows)
        if slices.error and slices.status not in said:
            log(f"{slices.customer_id} {provider}: {slices.error}")
        if slices.status is Outcome.BUDGET:
            said.add(slices.status)
        put(slices)

    try:
        work(provider, task, settings, now, put_and_tick)
    except OptiInfraError as error:
        permanent = not isinstance(error, CloudError) or error.cause.permanent
        message = str(error)
    except Exception as error:  # noqa: BLE001 - one customer's odd answer must not cost the others their slices
        permanent = False
        message = f"{type(error).__name__} at {_where(error)}: a fault of this program, please report it."
    else:
        return
    if left:
        put_and_tick(
            Slices(task.customer.id, provider, sorted(left), Outcome.FAILED, error=message, permanent=permanent)
        )
    else:
        log(f"{task.customer.id} {provider}: after its slices: {message}")


def _where(error: BaseException) -> str:
    """The innermost place of this package in the traceback; the error's text is left out, it may quote an answer."""
    place, tb = "?", error.__traceback__
    while tb:
        if "optiinfra_dagster" in tb.tb_frame.f_code.co_filename:
            place = f"{tb.tb_frame.f_globals.get('__name__', '?')}:{tb.tb_lineno}"
        tb = tb.tb_next
    return place


def _collect_inventory(provider: str, task: Task, settings: "Settings", now: Callable[[], datetime], put: Put) -> None:
    """An inventory is what is there now: only the newest window can be given one."""
    from optiinfra_dagster import tables
    from optiinfra_dagster.providers.types import Meter
    from optiinfra_dagster.storage.slices import Outcome, Slices

    customer = task.customer
    due = Due(settings, now())
    known = [w for w in task.windows if due.present(w)]
    if past := [w for w in task.windows if w not in known]:
        put(
            Slices(
                customer.id, provider, past, Outcome.FAILED, permanent=True,
                error=f"{provider} tells what exists now, not what existed at {windows.key(past[0])}: an inventory can "
                f"be taken until {settings.snapshot_grace_minutes} minutes after its window. Collect the newest window "
                "instead.",
            )
        )  # fmt: skip
    if not known:
        return
    meter = Meter()
    module = importlib.import_module(f"optiinfra_dagster.providers.{provider}.resource")
    found = module.collect(customer.id, customer.accounts(provider), meter)
    for i, window in enumerate(known):
        put(
            Slices(
                customer.id,
                provider,
                [window],
                _outcome(bool(found.resources), found.problems),
                rows=tables.resource_rows(customer.id, provider, window, found.resources, now()),
                error=describe(found.problems),
                permanent=_permanent(found.problems),
                api_calls=meter.calls.total() if i == 0 else 0,
                api_cost_usd=meter.cost_usd if i == 0 else Decimal(0),
            )
        )


def _collect_performance(
    provider: str, task: Task, settings: "Settings", now: Callable[[], datetime], put: Put
) -> None:
    """The points of the windows, and once more those of the window before, where late ones may have arrived."""
    from optiinfra_dagster import tables
    from optiinfra_dagster.providers.memory import Memory
    from optiinfra_dagster.providers.types import Meter, MetricsRequest
    from optiinfra_dagster.storage.slices import Outcome, Slices

    customer = task.customer
    if task.listed is None:
        raise CloudError(
            Cause.UNAVAILABLE,
            f"no inventory of {customer.id} on {provider} was published yet, so there is nothing to ask metrics of. "
            f"Collect {provider}/resource first.",
        )
    module = _metrics_module(provider)
    due = Due(settings, now())
    if early := [w for w in task.windows if not due.polled(customer, w)]:
        put(Slices(customer.id, provider, early, Outcome.NOT_DUE))
    oldest = due.now - module.HISTORY
    if past := [w for w in task.windows if w < oldest]:
        # An old question is answered like an idle machine's: with no points. That must not stand as collected.
        put(
            Slices(
                customer.id, provider, past, Outcome.FAILED, permanent=True,
                error=f"{provider} keeps the points of these metrics for {module.HISTORY.days} days, so windows before "
                f"{windows.key(windows.floor(oldest) + windows.WINDOW)} cannot be collected any more.",
            )
        )  # fmt: skip
    ready = [w for w in task.windows if w >= oldest and due.polled(customer, w)]
    memory = Memory(settings.dagster_home / "memory")
    left = task.left_usd
    for first, last in windows.runs_of(ready):
        for begin, end in _chunks(first, last, len(task.listed.resources)):
            overlap = windows.OVERLAP if begin == first and first - windows.OVERLAP >= oldest else timedelta(0)
            request = MetricsRequest(
                customer.id,
                customer.accounts(provider),
                task.listed.resources,
                begin - overlap,
                end + windows.WINDOW,
                present=end if due.present(end) else None,
                listed=task.listed.window,
                daily=task.daily,
                memory=memory,
            )
            # All of it or nothing: half a window would be paid for and still be missing.
            if left is not None and (cost := module.price(request)) > left:
                error = (
                    f"the calls cost up to {cost:f} USD and {left:f} USD are left of this month's budget of "
                    f"{customer.monthly_api_budget_usd:f} USD, so they were not made. Raise monthly_api_budget_usd or "
                    "poll_minutes in the customers file, or wait for the next month."
                )
                put(Slices(customer.id, provider, windows.span(begin, end), Outcome.BUDGET, error=error))
                continue
            meter = Meter(left)
            found = module.collect(request, meter)
            left = None if left is None else left - meter.cost_usd
            rows = tables.performance_rows(customer.id, provider, found.series, now())
            asked = tables.between(rows, begin, end)
            for slices in _with_outcomes(customer.id, provider, begin, end, asked, found, meter):
                put(slices)
            if overlap and not found.problems:
                before = [begin - windows.WINDOW]
                late = tables.between(rows, before[0], before[0])
                put(Slices(customer.id, provider, before, Outcome.OK, rows=late, correction=True))
            if not found.series and _permanent(found.problems):
                # The windows that are left would fail alike, at the price of more calls.
                raise CloudError(found.problems[0].cause, describe(found.problems))


def _with_outcomes(
    customer_id: str,
    provider: str,
    first: datetime,
    last: datetime,
    rows: Any,
    found: "Performance",
    meter: "Meter",
) -> "Iterator[Slices]":
    """The slices of one answer: where it has gaps, a window without any rows is one that failed, not an empty one."""
    from optiinfra_dagster.storage.slices import Outcome, Slices

    asked, filled = windows.span(first, last), set[datetime]()
    if found.problems:
        filled.update(rows["window_start"].unique().to_pylist())
    parts = (
        (Outcome.OK, [] if found.problems else asked),
        (Outcome.PARTIAL, [w for w in asked if w in filled]),
        (
            Outcome.BUDGET if all(p.cause is Cause.BUDGET for p in found.problems) else Outcome.FAILED,
            [w for w in asked if found.problems and w not in filled],
        ),
    )
    calls, usd = meter.calls.total(), meter.cost_usd
    coverage: Any = found.coverage
    for outcome, its_windows in parts:
        if its_windows:
            yield Slices(
                customer_id,
                provider,
                its_windows,
                outcome,
                rows=rows if outcome.published else None,
                error=describe(found.problems),
                permanent=_permanent(found.problems),
                api_calls=calls,
                api_cost_usd=usd,
                coverage=coverage,
            )
            calls, usd, coverage = 0, Decimal(0), None  # of the whole answer, so told once


def poll_end(window: datetime, poll_minutes: int) -> datetime:
    """When the poll of `window` is over: polls count from midnight UTC, and a day's last may be shorter."""
    poll, day = timedelta(minutes=poll_minutes), timedelta(days=1)
    return min(windows.floor_to(poll, window) + poll, windows.floor_to(day, window) + day)


def _with_poll(asked: Collection[datetime], poll_minutes: int) -> list[datetime]:
    """`asked`, and the windows of the same polls before them: a poll asks for all its windows at once."""
    if timedelta(minutes=poll_minutes) == windows.WINDOW:
        return list(asked)
    wanted = set(asked)
    for window in asked:
        wanted.update(windows.span(windows.floor_to(timedelta(minutes=poll_minutes), window), window))
    return sorted(wanted)


def _chunks(first: datetime, last: datetime, resources: int) -> Iterator[tuple[datetime, datetime]]:
    """The range cut so that one request's points fit in memory."""
    size = max(1, CHUNK_POINTS // (POINTS_PER_RESOURCE_AND_WINDOW * max(resources, 1)))
    whole = windows.span(first, last)
    for i in range(0, len(whole), size):
        part = whole[i : i + size]
        yield part[0], part[-1]


def _outcome(anything: bool, problems: "Sequence[Problem]") -> Any:
    from optiinfra_dagster.storage.slices import Outcome

    if not problems:
        return Outcome.OK
    return Outcome.PARTIAL if anything else Outcome.FAILED


def _permanent(problems: "Sequence[Problem]") -> bool:
    return bool(problems) and all(p.cause.permanent for p in problems)


def describe(problems: "Sequence[Problem]", most: int = 10) -> str:
    """Problems as one text: each once, with its place, and how many more there are."""
    texts = list(dict.fromkeys(str(p) for p in problems))
    more = f"; and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


def _in_lots(work: Callable[[Task, Put], None], tasks: Sequence[Task], places: "_Places") -> "Iterator[list[Slices]]":
    """Run `work` for the tasks on a pool of threads and yield what they put, in lots worth a flush."""
    if not tasks:
        return
    # A bounded queue: when ClickHouse is slow, collection waits instead of filling the memory.
    finished: queue.Queue[Any] = queue.Queue(maxsize=2 * places.most)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                return finished.put(item, timeout=0.5)
            except queue.Full:
                continue
        return None

    def run(task: Task) -> None:
        try:
            with places.one():
                if not stop.is_set():
                    work(task, put)
        finally:
            put(_OVER)

    with ThreadPoolExecutor(min(places.threads, len(tasks)), thread_name_prefix="customer") as pool:
        for task in tasks:
            pool.submit(run, task)
        left = len(tasks)
        try:
            while left:
                lot, ended = _next_lot(finished, left, places)
                left -= ended
                if lot:
                    yield lot
        finally:
            stop.set()


_OVER: Any = object()  # what a customer's work puts last


class _Places:
    """How many customers are worked for side by side: `most`, and up to `threads` with slow ones. Thread-safe."""

    def __init__(self, most: int, threads: int) -> None:
        self.most, self.threads = most, threads
        self._free = threading.Semaphore(most)
        self._taken: dict[object, float] = {}  # since when
        self._lock = threading.Lock()

    @contextmanager
    def one(self) -> Iterator[None]:
        """Have a place, once there is one."""
        self._free.acquire()
        mine = object()
        with self._lock:
            self._taken[mine] = time.monotonic()
        try:
            yield
        finally:
            self._free_those([mine])

    def free_slow_ones(self) -> None:
        """Give the places of those who take long to others; they go on, each in its thread."""
        since = time.monotonic() - SLOW_SECONDS
        with self._lock:
            slow = [one for one, taken in self._taken.items() if taken <= since]
        self._free_those(slow)

    def _free_those(self, ones: Sequence[object]) -> None:
        with self._lock:
            for one in ones:
                if self._taken.pop(one, None) is not None:
                    self._free.release()


def _next_lot(finished: "queue.Queue[Any]", left: int, places: _Places) -> "tuple[list[Slices], int]":
    """What was put until a lot is full or old, and how many of the `left` customers ended meanwhile."""
    lot, ended, rows, deadline = [], 0, 0, math.inf
    while ended < left and rows < LOT_ROWS and (wait := deadline - time.monotonic()) > 0:
        if finished.empty():  # otherwise somebody may wait for ClickHouse, and not for a cloud
            places.free_slow_ones()
        try:
            item = finished.get(timeout=min(wait, SLOW_SECONDS / 10))
        except queue.Empty:
            continue
        if item is _OVER:
            ended += 1
            continue
        lot.append(item)
        rows += item.rows.num_rows if item.rows is not None else 0
        deadline = min(deadline, time.monotonic() + LOT_SECONDS)
    return lot, ended
