"""The commands `optiinfra run` and `optiinfra collect`: the windows and assets of a request, and its outcome."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from optiinfra_dagster.automation.readers_sensor import stale_readers
from optiinfra_dagster.cli.dagster_runs import Runner
from optiinfra_dagster.config.customers import FAMILIES, Customer, select
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError, UsageError
from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.model.text import counted
from optiinfra_dagster.providers.registry import FAMILIES_OF, PROVIDERS, load_customers
from optiinfra_dagster.storage import ledger
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from optiinfra_dagster.cli.dagster_runs import RunResult
    from optiinfra_dagster.cli.output import Say
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

MOST_TOLD = 12  # customers of one provider and family: where a cloud refuses all of 200, a line for each is 160 kB

# The readers that a newcomer is shown first, with options worth knowing.
_FIRST_READ = {
    ("performance", "summary"): "",
    ("cost", "by_service"): " --limit 10",
    ("application", "summary"): "",
    ("resource", "inventory"): " --format json",
}


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
class RunReport:
    """The text to print: a summary, warnings of what is incomplete, errors of what failed; and the runs it took."""

    lines: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)


def run_window(
    settings: Settings, clickhouse: ClickHouse, window: str | None, say: Say, progress: Say | None = None
) -> RunReport:
    """Collect one window of every asset and compute its readers; `progress` gets a line per flush, else `say` does."""
    customers = load_customers(settings.customers_path)
    if settings.uses_demo:
        say("No customers.yaml here: using the demo customers and the cloud lab. See the README for your own clouds.")
    first = last = chosen_window(settings, window)
    runner = _runner(settings, clickhouse, progress or say)
    outcome = _collect(settings, runner, customers, Request(), (first, last), say)
    say(f"{len(readers())} readers of {_spell(first, last)}")
    _finish(outcome, runner.run("readers", list(readers()), first, last))
    add_troubles(outcome, clickhouse, customers, first, last)
    if nothing := _nothing_to_do(settings, customers, Request()):
        outcome.errors.append(nothing)
    outcome.lines += totals(clickhouse, customers, first, last, Request(), outcome.run_ids)
    outcome.lines += summary(settings, clickhouse, first, customers[0])
    return outcome


def chosen_window(settings: Settings, window: str | None) -> datetime:
    """The window that was typed, or the newest.

    Raises:
        UsageError: it is not the start of a window that can be collected by now.
    """
    now = datetime.now(UTC)
    newest = _newest(settings, now)
    if window is None:
        return newest
    start = windows.parse_time(window, "--window")
    if start != windows.floor(start):
        nearest = windows.key(windows.floor(start))
        raise UsageError(f"--window {window}: a window starts on a quarter of an hour, as in {nearest}.")
    _check_time(settings, "--window", window, start, now)
    _check_closed(settings, start, now)
    return start


def collect_windows(
    settings: Settings, clickhouse: ClickHouse, request: Request, say: Say, progress: Say | None = None
) -> RunReport:
    """Collect a request, then compute the recent readers that it made stale.

    `progress` gets a line per flush, else `say` does.
    """
    customers, span = asked_for(settings, request)
    if nothing := _nothing_to_do(settings, customers, request):
        raise ConfigError(nothing)
    runner = _runner(settings, clickhouse, progress or say)
    outcome = _collect(settings, runner, customers, request, span, say)
    # Windows, then the rollups behind trends, then the trends: each is computed from the one before.
    for _ in range(3):
        for stale in stale_readers(clickhouse, (), settings, datetime.now(UTC), quiet=timedelta(0)):
            names = ", ".join("/".join(reader) for reader in stale.readers[:3])
            more = f" and {len(stale.readers) - 3} more readers" if len(stale.readers) > 3 else ""
            say(f"{names}{more} of {_spell(stale.first, stale.last)}")
            _finish(outcome, runner.run("readers", stale.readers, stale.first, stale.last))
    add_troubles(outcome, clickhouse, customers, *span, request)
    outcome.lines += totals(clickhouse, customers, *span, request, outcome.run_ids)
    return outcome


def _nothing_to_do(settings: Settings, customers: Sequence[Customer], request: Request) -> str:
    """Why none of the customers collects what is asked for; empty where one does."""
    if any(c.collects(p, f) for c in customers for p, f in _wanted(request)):
        return ""
    if all(customer.paused for customer in customers):
        whom = "the chosen customers are" if request.customers else "all customers are"
        return f"Nothing to do: {whom} paused in {settings.customers_path}. Remove `paused: true` of one there."
    what = ", ".join(f"{p}/{f}" for p, f in _wanted(request))
    return (
        f"Nothing to do: no chosen customer that is not paused has {what} in {settings.customers_path}. "
        "Choose another, or add it to the file."
    )


def asked_for(settings: Settings, request: Request) -> tuple[tuple[Customer, ...], tuple[datetime, datetime]]:
    """The customers and the first and last window of a request.

    Raises:
        UsageError: it names what is not there, or times that cannot be meant.
        ConfigError: the customers file cannot be used.
    """
    for value in request.providers:
        _one_of("provider", value, [*PROVIDERS])
    for value in request.families:
        _one_of("family", value, FAMILIES)
    customers = select(load_customers(settings.customers_path), request.customers)
    first, last = requested_windows(settings, request.from_, request.to, datetime.now(UTC))
    if request.families == ("resource",) and not _present(settings, first, last):
        raise UsageError(
            f"The clouds tell what exists now, not what existed at {windows.key(last)}: an inventory can be taken "
            f"until {settings.snapshot_grace_minutes} minutes after its window. Leave out --from and --to to take one "
            "now."
        )
    return customers, (first, last)


def _present(settings: Settings, first: datetime, last: datetime) -> list[datetime]:
    """The windows of a range whose inventory can still be taken."""
    grace, now = timedelta(minutes=settings.snapshot_grace_minutes), datetime.now(UTC)
    return [window for window in windows.span(first, last) if now <= window + windows.WINDOW + grace]


def _wanted(request: Request) -> list[tuple[str, str]]:
    """The (provider, family) pairs of a request."""
    return [
        (provider, family)
        for provider, families in FAMILIES_OF.items()
        for family in families
        if (not request.providers or provider in request.providers)
        and (not request.families or family in request.families)
    ]


def requested_windows(
    settings: Settings, from_: str | None, to: str | None, now: datetime
) -> tuple[datetime, datetime]:
    """The first and last window of [from, to), or the newest one.

    Raises:
        UsageError: not a zoned time, in the future, before the partitions begin, or empty.
    """
    newest = _newest(settings, now)
    begin = windows.parse_time(from_, "--from") if from_ is not None else None
    end = windows.parse_time(to, "--to") if to is not None else now
    for option, time, text in (("--from", begin, from_), ("--to", end, to)):
        if text and time:
            _check_time(settings, option, text, time, now)
    if begin and to and begin >= end:
        raise UsageError(f"--from {from_} is not before --to {to}: swap them, or widen the range.")
    last = min(windows.floor(end - timedelta(microseconds=1)), newest)
    first = windows.floor(begin) if begin else last
    if first > last:
        _check_closed(settings, first, now)
    if end == settings.partitions_start:
        raise UsageError(f"No window starts before --to {to}: the first is {windows.key(settings.partitions_start)}.")
    return max(first, settings.partitions_start), max(last, settings.partitions_start)


def _newest(settings: Settings, now: datetime) -> datetime:
    """The newest window that can be collected by now; ConfigError if the first is still to come."""
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    if newest < settings.partitions_start:
        at = settings.partitions_start + windows.WINDOW + timedelta(minutes=settings.lag_minutes)
        raise ConfigError(
            f"The first window is {windows.key(settings.partitions_start)}, and it can be collected from "
            f"{at:%Y-%m-%dT%H:%MZ} on: wait, or set OPTIINFRA_PARTITIONS_START to an earlier time."
        )
    return newest


def _check_time(settings: Settings, option: str, text: str, time: datetime, now: datetime) -> None:
    if time > now:
        raise UsageError(f"{option} {text} is in the future; it is {now:%Y-%m-%dT%H:%MZ} now.")
    if time < settings.partitions_start:
        raise UsageError(
            f"{option} {text} is before the first window, {windows.key(settings.partitions_start)}. "
            "Ask for a later time, or set OPTIINFRA_PARTITIONS_START (Dagster then rebuilds its partition status)."
        )


def _check_closed(settings: Settings, window: datetime, now: datetime) -> None:
    newest = _newest(settings, now)
    if window > newest:
        raise UsageError(
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
) -> RunReport:
    """Collect with a run per provider and span of windows; inventories only where they can still be taken."""
    first, last = span
    outcome = RunReport()
    for provider, implemented in FAMILIES_OF.items():
        present = _present(settings, first, last)  # a provider before may have taken long
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
                say(f"{', '.join(f'{provider}/{f}' for f in families)} of {_spell(begin, end)}")
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
    with clickhouse.session():
        pass  # a place that cannot be used is said before anything is collected
    return Runner(settings, clickhouse, say)


def _finish(outcome: RunReport, result: RunResult) -> None:
    outcome.run_ids.append(result.run_id)
    outcome.errors += [error for error in result.errors if error not in outcome.errors]
    if not result.success and not result.errors and not result.explained_by_ledger:
        outcome.errors.append(f"Run {result.run_id} failed; see it in the UI.")


def _spell(first: datetime, last: datetime) -> str:
    count = len(windows.span(first, last))
    if count == 1:
        return f"window {windows.key(first)}"
    return f"{count:,} windows, {windows.key(first)} to {windows.key(last)}"


def _one_of(what: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise UsageError(f"There is no {what} '{value}'{closest(value, known)}. Choose from {', '.join(known)}.")


# --- The outcome -----------------------------------------------------------------------------------------------------


def add_troubles(
    outcome: RunReport,
    clickhouse: ClickHouse,
    customers: Sequence[Customer],
    first: datetime,
    last: datetime,
    request: Request = Request(),
) -> None:
    """Add the newest error of each customer, provider and family whose newest attempt in the range lacks something.

    Of one provider, family and status, the first `MOST_TOLD` customers are told and the others counted.
    """
    with clickhouse.session(reads=LEDGER_TABLE) as client:
        troubles = ledger.unfinished(client, [customer.id for customer in customers], first, last)
    wanted = _wanted(request)
    count: Counter[tuple[str, str, SliceStatus]] = Counter()
    for trouble in troubles:
        if (trouble.provider, trouble.dataset) in wanted:
            like = (trouble.provider, trouble.dataset, trouble.status)
            count[like] += 1
            if count[like] > MOST_TOLD:
                continue
            text = (
                f"{trouble.customer_id} {trouble.provider}/{trouble.dataset}: "
                f"{_lacking(trouble.slices, 'window', trouble.status)}: {_shortened(trouble.error)}"
            )
            _list_for(outcome, trouble.status).append(text)
    for (provider, dataset, status), n in count.items():
        if n > MOST_TOLD:
            others = _lacking(n - MOST_TOLD, "more customer", status)
            _list_for(outcome, status).append(f"{provider}/{dataset}: {others}, told by metric_batches.error")


def _lacking(n: int, what: str, status: SliceStatus) -> str:
    """`1 window failed`, `2 windows are incomplete`."""
    verb = "is" if n == 1 else "are"
    told = {"failed": "failed", "partial": f"{verb} incomplete", "budget": f"{verb} left out"}[status]
    return f"{counted(n, what)} {told}"


def _list_for(outcome: RunReport, status: SliceStatus) -> list[str]:
    """The errors for what failed, the warnings for what is incomplete or left out."""
    return outcome.errors if status is SliceStatus.FAILED else outcome.warnings


def _shortened(error: str) -> str:
    """The first of many problems: where nothing works, every kind of resource says so."""
    problems = error.split("; ")
    if len(problems) < 4:
        return error
    return f"{'; '.join(problems[:2])}; and {len(problems) - 2} more, told by metric_batches.error"


def totals(
    clickhouse: ClickHouse,
    customers: Sequence[Customer],
    first: datetime,
    last: datetime,
    request: Request,
    run_ids: Sequence[str],
) -> list[str]:
    """Per provider and family: what is published of the range, and what these runs called and cost the customers."""
    with clickhouse.session(reads=LEDGER_TABLE) as client:
        published = ledger.run_totals(client, [customer.id for customer in customers], first, last, run_ids)
        bills = ledger.billed_days(client, run_ids)
    span = _spell(first, last)
    lines = [f"{span[0].upper()}{span[1:]}", ""]
    for provider, family in _wanted(request):
        if not any(customer.collects(provider, family) for customer in customers):
            continue
        total = published.get((provider, family), ledger.RunTotals())
        calls = f"  {total.api_calls:,} API calls" if total.api_calls else ""
        usd = f", {total.api_cost_usd:.4f} USD" if round(total.api_cost_usd, 4) else ""
        of_windows = total.windows if first != last else 0
        lines.append(_line(f"{provider}/{family}", total.rows, total.customers, of_windows) + calls + usd)
        if family == "cost" and provider in bills:
            rows, of_customers, days = bills[provider]
            lines.append(f"{_line(f'{provider}/cost, bills', rows, of_customers, 0)}  {days:,} days, new or changed")
    return lines


def _line(name: str, rows: int, customers: int, of_windows: int) -> str:
    text = f"  {name:<28}{rows:>10,} rows  {customers:>4,} customer{'s' if customers != 1 else ' '}"
    return f"{text}  {of_windows:>6,} windows" if of_windows else text


def summary(settings: Settings, clickhouse: ClickHouse, window: datetime, customer: Customer) -> list[str]:
    """The rows of the window's readers, and where to look next: at what there is of a customer."""
    # Some readers publish hours or days: the one that holds the window.
    starts = {reader.table: windows.floor_to(reader.length, window) for reader in readers().values()}
    with clickhouse.session(reads=LEDGER_TABLE) as client:
        count = ledger.reader_rows(client, starts.values())
    rows = {key: count.get((reader.table, starts[reader.table]), 0) for key, reader in readers().items()}
    lines = [""]
    for (family, name), reader in readers().items():
        n = rows[family, name]
        why = "" if n else f"  {reader.if_empty}"
        lines.append(f"  {f'{family}/{name}':<28}{n:>10,} rows{why}")
    worth_reading = [
        f"{_command()} read {family} {name} --customer {customer.id}{options}"
        for (family, name), options in _FIRST_READ.items()
        if rows[family, name] and any(customer.collects(provider, family) for provider in FAMILIES_OF)
    ]
    dev = "make dev" if Path("Makefile").is_file() else f"{_command()} dev"
    first, *others = [*worth_reading, f"{dev}, for the Dagster UI and the schedule"]
    return [
        *lines,
        "",
        f"Tables: database optiinfra_metrics at {settings.clickhouse_place}",
        f"Next:   {first}",
        *(f"        {other}" for other in others),
    ]


def _command() -> str:
    """The command line as this shell calls it: by name, by the path it was called with, or as a module."""
    if shutil.which("optiinfra"):
        return "optiinfra"
    if sys.argv[0].endswith("__main__.py"):
        return f"{os.path.relpath(sys.executable)} -m optiinfra_dagster.cli"
    return os.path.relpath(sys.argv[0])
