"""What `optiinfra run` and `optiinfra collect` do: which windows and assets are asked for, and what came of it."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster import windows
from optiinfra_dagster.assets.collection import IMPLEMENTED
from optiinfra_dagster.assets.readers import LENGTHS, READERS
from optiinfra_dagster.customers import FAMILIES, PROVIDERS, Customer, load_customers, select
from optiinfra_dagster.errors import ConfigError, OptiInfraError
from optiinfra_dagster.references import closest

if TYPE_CHECKING:
    from optiinfra_dagster.runs import Runner, RunResult
    from optiinfra_dagster.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Request:
    """A collection as it was typed; empty means all, or for times the newest window."""

    customers: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    from_: str | None = None
    to: str | None = None
    refresh: bool = False


@dataclass(slots=True)
class Outcome:
    """What to print: a summary, what is incomplete, and what failed, as plain messages; and which runs it took."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)


def run_window(
    settings: Settings, clickhouse: ClickHouse, window: str | None, say: Say, progress: Say | None = None
) -> Outcome:
    """Collect one window of every asset and compute its readers; `progress` is told of every flush, else `say`."""
    customers = load_customers(settings.customers_path)
    if settings.uses_demo:
        say("No customers.yaml here: using the demo customers and the cloud lab. See the README for your own clouds.")
    now = datetime.now(UTC)
    if window is None:
        first = last = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    else:
        start = windows.parse_time(window, "--window")
        if start != windows.floor(start):
            nearest = windows.key(windows.floor(start))
            raise ConfigError(f"--window {window}: a window starts on a quarter of an hour, as in {nearest}.")
        first = last = start
        _check_time(settings, "--window", window, start, now)
        _check_closed(settings, first, now)
    runner = _runner(settings, clickhouse, progress or say)
    outcome = _collect(settings, runner, customers, Request(), (first, last), say)
    _finish(outcome, runner.run("readers", list(READERS), first, last))
    _add_troubles(outcome, clickhouse, customers, first, last)
    outcome.lines += summary(settings, clickhouse, first)
    return outcome


def collect(
    settings: Settings, clickhouse: ClickHouse, request: Request, say: Say, progress: Say | None = None
) -> Outcome:
    """Collect what was asked for, then compute the recent readers that it made stale.

    `progress` is told of every flush, else `say`.
    """
    from optiinfra_dagster.automation.sensors import stale_readers

    for value in request.providers:
        _one_of("provider", value, PROVIDERS, IMPLEMENTED)
    for value in request.families:
        _one_of("family", value, FAMILIES, {f for families in IMPLEMENTED.values() for f in families})
    customers = select(load_customers(settings.customers_path), request.customers)
    now = datetime.now(UTC)
    span = asked_windows(settings, request.from_, request.to, now)
    if not any(c.collects(p, f) for c in customers for p, f in _wanted(request)):
        what = ", ".join(f"{p}/{f}" for p, f in _wanted(request))
        raise ConfigError(f"Nothing to do: no chosen customer has {what} in {settings.customers_path}.")
    runner = _runner(settings, clickhouse, progress or say)
    outcome = _collect(settings, runner, customers, request, span, say)
    # Windows, then the rollups behind trends, then the trends: each is computed from the one before.
    for _ in range(3):
        for stale in stale_readers(clickhouse, (), settings, datetime.now(UTC), quiet=timedelta(0)):
            say(f"{', '.join(name for _, name in stale.readers)}: {_spell(stale.first, stale.last)}")
            _finish(outcome, runner.run("readers", stale.readers, stale.first, stale.last))
    _add_troubles(outcome, clickhouse, customers, *span, request)
    outcome.lines += totals(clickhouse, customers, *span, request, outcome.run_ids)
    return outcome


def _wanted(request: Request) -> list[tuple[str, str]]:
    """The (provider, family) pairs of a request."""
    return [
        (provider, family)
        for provider, families in IMPLEMENTED.items()
        for family in families
        if (not request.providers or provider in request.providers)
        and (not request.families or family in request.families)
    ]


def asked_windows(settings: Settings, from_: str | None, to: str | None, now: datetime) -> tuple[datetime, datetime]:
    """The first and last window of [from, to), or the newest one.

    Raises:
        ConfigError: not a zoned time, in the future, before the partitions begin, or empty.
    """
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    begin = windows.parse_time(from_, "--from") if from_ is not None else None
    end = windows.parse_time(to, "--to") if to is not None else now
    for option, time, text in (("--from", begin, from_), ("--to", end, to)):
        if text and time:
            _check_time(settings, option, text, time, now)
    if begin and to and begin >= end:
        raise ConfigError(f"--from {from_} is not before --to {to}: swap them, or widen the range.")
    last = min(windows.floor(end - timedelta(microseconds=1)), newest)
    first = windows.floor(begin) if begin else last
    if first > last:
        _check_closed(settings, first, now)
    return max(first, settings.partitions_start), max(last, settings.partitions_start)


def _check_time(settings: Settings, option: str, text: str, time: datetime, now: datetime) -> None:
    if time > now:
        raise ConfigError(f"{option} {text} is in the future; it is {now:%Y-%m-%dT%H:%MZ} now.")
    if time < settings.partitions_start:
        raise ConfigError(
            f"{option} {text} is before the first window, {windows.key(settings.partitions_start)}. "
            "Ask for a later time, or set OPTIINFRA_PARTITIONS_START (Dagster then rebuilds its partition status)."
        )


def _check_closed(settings: Settings, window: datetime, now: datetime) -> None:
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    if window > newest:
        raise ConfigError(
            f"Window {windows.key(window)} cannot be collected yet: the newest is {windows.key(newest)}, collected "
            f"{settings.lag_minutes} minutes after its end."
        )


def _collect(
    settings: Settings,
    runner: Runner,
    customers: Sequence[Customer],
    request: Request,
    span: tuple[datetime, datetime],
    say: Say,
) -> Outcome:
    """One run per provider; inventories only where they can still be taken."""
    first, last = span
    outcome = Outcome()
    grace = timedelta(minutes=settings.snapshot_grace_minutes)
    now = datetime.now(UTC)
    present = [w for w in windows.span(first, last) if now <= w + windows.WINDOW + grace]
    if request.families == ("resource",) and not present:
        raise ConfigError(
            f"The clouds tell what exists now, not what existed at {windows.key(last)}: an inventory can be taken "
            f"until {settings.snapshot_grace_minutes} minutes after its window. Leave out --from and --to to take one "
            "now."
        )
    for provider, implemented in IMPLEMENTED.items():
        wanted = [
            family
            for family in implemented
            if (provider, family) in _wanted(request) and any(c.collects(provider, family) for c in customers)
        ]
        plan: list[tuple[list[str], datetime, datetime]] = []
        if present and present[0] == first:
            plan.append((wanted, first, last))
        else:
            if "resource" in wanted and present:
                plan.append((["resource"], present[0], present[-1]))
            elif "resource" in wanted:
                say(f"{provider}/resource: left out, an inventory can only be taken of the present.")
            plan.append(([family for family in wanted if family != "resource"], first, last))
        for families, begin, end in plan:
            if families:
                say(f"{', '.join(f'{provider}/{f}' for f in families)}: {_spell(begin, end)}")
                result = runner.run(
                    f"{provider}_collection",
                    [(provider, family) for family in families],
                    begin,
                    end,
                    customers=request.customers,
                    refresh=request.refresh,
                )
                _finish(outcome, result)
    return outcome


def _runner(settings: Settings, clickhouse: ClickHouse, say: Say) -> Runner:
    from optiinfra_dagster.runs import Runner

    with clickhouse.session():
        pass  # a place that cannot be used is said before anything is collected
    return Runner(settings, clickhouse, say)


def _finish(outcome: Outcome, result: RunResult) -> None:
    outcome.run_ids.append(result.run_id)
    outcome.errors += [error for error in result.errors if error not in outcome.errors]
    if not result.success and not result.errors:
        outcome.errors.append(f"Run {result.run_id} failed; see it in the UI.")


def _spell(first: datetime, last: datetime) -> str:
    count = len(windows.span(first, last))
    if count == 1:
        return f"window {windows.key(first)}"
    return f"{count:,} windows, {windows.key(first)} to {windows.key(last)}"


def _one_of(what: str, value: str, known: Iterable[str], collected: Iterable[str]) -> None:
    known, collected = list(known), list(collected)
    if value not in known:
        raise ConfigError(f"There is no {what} '{value}'{closest(value, known)}. Choose from {', '.join(collected)}.")
    if value not in collected:
        raise ConfigError(f"This version does not collect {what} {value} yet. Choose from {', '.join(collected)}.")


# --- What came of it -------------------------------------------------------------------------------------------------


def _add_troubles(
    outcome: Outcome,
    clickhouse: ClickHouse,
    customers: Sequence[Customer],
    first: datetime,
    last: datetime,
    request: Request = Request(),
) -> None:
    """The newest error of each customer, provider and family whose newest attempt in the range lacks something."""
    with clickhouse.session() as client:
        rows = client.query(
            """
            SELECT customer_id, provider, dataset, status, count() AS slices, argMax(error, window_start)
            FROM
            (
                SELECT customer_id, provider, dataset, window_start,
                    argMax(toString(status), (published_at, batch)) AS status,
                    argMax(error, (published_at, batch)) AS error
                FROM metric_batches
                WHERE customer_id IN {customers:Array(String)}
                    AND window_start >= fromUnixTimestamp({first:UInt32})
                    AND window_start <= fromUnixTimestamp({last:UInt32})
                GROUP BY customer_id, provider, dataset, window_start
            )
            WHERE status IN ('failed', 'partial', 'budget')
            GROUP BY customer_id, provider, dataset, status
            ORDER BY customer_id, provider, dataset, status
            """,
            parameters={
                "customers": [c.id for c in customers], "first": int(first.timestamp()), "last": int(last.timestamp()),
            },
        ).result_rows  # fmt: skip
    wanted = _wanted(request)
    for customer, provider, family, status, slices, error in rows:
        if (provider, family) in wanted:
            verb = "is" if slices == 1 else "are"
            what = {"failed": "failed", "partial": f"{verb} incomplete", "budget": f"{verb} left out"}[status]
            text = f"{customer} {provider}/{family}: {slices:,} window{'s' if slices > 1 else ''} {what}: {error}"
            (outcome.errors if status == "failed" else outcome.warnings).append(text)


def totals(
    clickhouse: ClickHouse,
    customers: Sequence[Customer],
    first: datetime,
    last: datetime,
    request: Request,
    run_ids: Sequence[str],
) -> list[str]:
    """Per provider and family: what is published of the range, and what these runs called and cost."""
    with clickhouse.session() as client:
        rows = client.query(
            """
            SELECT provider, dataset, countIf(published > 0), sum(slice_rows), sum(calls), sum(usd)
            FROM
            (
                SELECT provider, dataset, customer_id, window_start,
                    argMaxIf(rows, batch, status IN ('ok', 'partial')) AS slice_rows,
                    countIf(status IN ('ok', 'partial')) AS published,
                    sumIf(api_calls, run_id IN {runs:Array(String)}) AS calls,
                    sumIf(api_cost_usd, run_id IN {runs:Array(String)}) AS usd
                FROM metric_batches
                WHERE customer_id IN {customers:Array(String)}
                    AND window_start >= fromUnixTimestamp({first:UInt32})
                    AND window_start <= fromUnixTimestamp({last:UInt32})
                GROUP BY provider, dataset, customer_id, window_start
            )
            GROUP BY provider, dataset
            ORDER BY provider, dataset
            """,
            parameters={
                "customers": [c.id for c in customers], "first": int(first.timestamp()), "last": int(last.timestamp()),
                "runs": list(run_ids),
            },
        ).result_rows  # fmt: skip
    wanted = _wanted(request)
    return [
        f"{provider}/{family}: {slices:,} slices published with {count:,} rows; {calls:,} API calls, {usd:.4f} USD now"
        for provider, family, slices, count, calls, usd in rows
        if (provider, family) in wanted
    ]


def summary(settings: Settings, clickhouse: ClickHouse, window: datetime) -> list[str]:
    """The window's rows per asset, and where to look next."""
    # Some readers publish hours or days: the one that holds the window.
    starts = {f"{family}_{name}": windows.floor_to(length, window) for (family, name), length in LENGTHS.items()}
    with clickhouse.session() as client:
        rows = client.query(
            """
            SELECT if(customer_id = '', dataset, provider || '/' || dataset) AS asset, toUnixTimestamp(window_start),
                sum(slice_rows), uniqExact(customer_id)
            FROM
            (
                SELECT dataset, customer_id, provider, window_start, argMax(rows, batch) AS slice_rows
                FROM metric_batches
                WHERE status IN ('ok', 'partial') AND window_start IN
                    arrayMap(seconds -> fromUnixTimestamp(seconds), {starts:Array(UInt32)})
                GROUP BY dataset, customer_id, provider, window_start
            )
            GROUP BY asset, window_start
            """,
            parameters={"starts": [int(start.timestamp()) for start in {window, *starts.values()}]},
        ).result_rows
    count = {asset: (n, customers) for asset, at, n, customers in rows if at == starts.get(asset, window).timestamp()}
    known = load_customers(settings.customers_path)
    names = [
        f"{provider}/{family}"
        for provider, families in IMPLEMENTED.items()
        for family in families
        if any(customer.collects(provider, family) for customer in known)
    ]
    lines = [f"Window {windows.key(window)}", ""]
    for name in names:
        n, customers = count.get(name, (0, 0))
        lines.append(f"  {name:<28}{n:>8,} rows  {customers} customer{'s' if customers != 1 else ''}")
    for family, reader in READERS:
        n, _ = count.get(f"{family}_{reader}", (0, 0))
        why = "  nothing changed, or no complete inventory before" if reader == "changes" and not n else ""
        lines.append(f"  {f'{family}/{reader}':<28}{n:>8,} rows{why}")
    customer = known[0].id
    return [
        *lines,
        "",
        f"Tables: database optiinfra_metrics at {settings.clickhouse_place}",
        f"Next:   {_command()} read performance summary --customer {customer}",
        f"        {_command()} read resource inventory --customer {customer} --format json",
        "        make dev, for the Dagster UI and the schedule",
    ]


def _command() -> str:
    """How this shell calls the command line: by name, or by the path it was called with."""
    return "optiinfra" if shutil.which("optiinfra") else os.path.relpath(sys.argv[0])


def check_customers(settings: Settings, ids: tuple[str, ...], tell: Say) -> int:
    """Prove every account of every customer; tells one line each and returns how many problems there are."""
    found = 0
    for customer in select(load_customers(settings.customers_path), ids):
        for provider in customer.providers:
            if provider not in IMPLEMENTED:
                tell(f"{customer.id} {provider}: not collected by this version")
                continue
            module = importlib.import_module(f"optiinfra_dagster.providers.{provider}.check")
            for account in customer.accounts(provider):
                try:
                    problems = [str(problem) for problem in module.check(customer.id, account)]
                except OptiInfraError as error:
                    problems = [str(error)]
                found += len(problems)
                for problem in problems:
                    tell(f"{customer.id} {provider}: {problem}")
                if not problems:
                    tell(f"{customer.id} {provider}: ok")
    return found
