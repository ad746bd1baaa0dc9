"""Looks at everything, each part guarded by itself: what is broken is a red line, and never hides the others."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias

import dagster as dg
import yaml

from optiinfra_dagster.automation.alerting import incidents
from optiinfra_dagster.automation.alerting.sinks import sinks_of, unheard
from optiinfra_dagster.automation.ledger_watch import LedgerCache
from optiinfra_dagster.automation.status import dagster_facts, host_facts, ledger_facts, sections
from optiinfra_dagster.automation.status.items import Item, Kind, Part, Section, State, Status, Trouble, section, unread
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import BusyError, ConfigError, OptiInfraError
from optiinfra_dagster.model.text import counted, masked, plain, shortened

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

OPENING_SECONDS = 30.0  # to wait for a process that opens the home, which takes one; then it is opened all the same
LONG_BUSY = timedelta(minutes=10)  # of an embedded engine; a backfill's largest write takes a minute
OF_LEDGER = (Item.COLLECTIONS, Item.CUSTOMERS, Item.GAPS, Item.BUDGETS)


@dataclass(slots=True)
class Look:
    """The way to look: with the parts that take longer (`whole`), and what is remembered from look to look."""

    whole: bool = True
    migrates: bool = False  # an embedded place is brought up to date, as by every sensor
    check_keys: Sequence[dg.AssetCheckKey] = ()
    remembered: LedgerCache | None = None
    gaps: tuple[datetime, tuple[ledger_facts.Gap, ...]] | None = field(default=None, init=False)
    busy_since: datetime | None = field(default=None, init=False)  # since when every look found the engine held


def look(
    settings: Settings, clickhouse: ClickHouse, instance: dg.DagsterInstance | str, now: datetime, how: Look
) -> Status:
    """The status of the whole installation. `instance` is Dagster's, or why there is none."""
    file, customers = host_facts.customers_file(settings)
    of_clickhouse, from_ledger = _ledger(settings, clickhouse, customers, now, how)
    found: dict[Item, Section] = {file.item: file, of_clickhouse.item: of_clickhouse, **from_ledger}
    housekeeping = None
    if isinstance(instance, str):
        for item in (Item.DAEMONS, Item.TICKS, Item.RUNS):
            found[item] = unread(item, instance)
    else:
        found[Item.DAEMONS] = guarded(Item.DAEMONS, lambda: dagster_facts.daemons(instance, now))
        found[Item.TICKS] = guarded(Item.TICKS, lambda: dagster_facts.ticks(instance, now))
        found[Item.RUNS] = guarded(Item.RUNS, lambda: _runs(instance, settings, how, now))
        with suppress(Exception):  # what is wrong with it stands in the lines above
            housekeeping = dagster_facts.last_housekeeping(instance)
        found[Item.ALERTS] = guarded(Item.ALERTS, lambda: _alerts(instance, settings, customers or (), now))
    found[Item.DISK] = guarded(
        Item.DISK, lambda: host_facts.disk(settings, clickhouse, housekeeping, now, with_parts=how.whole)
    )
    return Status(now, tuple(found[item] for item in Item if item in found))


def open_instance(settings: Settings) -> dg.DagsterInstance | str:
    """Dagster's instance of DAGSTER_HOME, or why it cannot be had. No home is made, but Dagster's tables in one are."""
    home = settings.dagster_home
    if not home.is_dir():
        return f"DAGSTER_HOME {home} {'is no folder' if home.exists() else 'does not exist'}"
    if not (home / "dagster.yaml").is_file():
        return f"{home} has no dagster.yaml. Run `optiinfra run` or `optiinfra dev`, or set DAGSTER_HOME"
    try:
        with _opening(home):
            return dg.DagsterInstance.from_config(str(home))
    except Exception as error:  # noqa: BLE001 - of YAML, SQLite, PostgreSQL and Dagster; all say what is wrong
        return cannot_be_used(settings, error)


@contextmanager
def _opening(home: Path) -> Iterator[None]:
    """Let one process at a time open a home: two that are the first to make its tables in SQLite would both fail.

    The lock is on dagster.yaml, so that nothing is made in a home that cannot be used; who is killed lets go of it.
    """
    deadline = time.monotonic() + OPENING_SECONDS
    with (home / "dagster.yaml").open("rb") as held:
        while time.monotonic() < deadline:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)  # a wait of the kernel's for the lock could not end after a time
            except OSError:  # a file system without locks
                break
            else:
                break
        yield


_FULL = 2**20  # bytes: what SQLite and its journal need for a write


def cannot_be_used(settings: Settings, error: Exception) -> str:
    """What is said where Dagster's state cannot be read or written; the folder may hold ClickHouse's data too."""
    with suppress(OSError):
        if shutil.disk_usage(settings.dagster_home).free < _FULL:  # SQLite then speaks of an I/O error
            return f"the disk of {settings.dagster_home} is full: free some space, then run the same again"
    for place in ("", "history", "history/runs.db", "schedules", "schedules/schedules.db"):
        part = settings.dagster_home / place
        if part.exists() and not os.access(part, os.W_OK):
            return f"{part} may not be written to. Run as the user that the daemon runs as, or set DAGSTER_HOME"
    config = settings.dagster_home / "dagster.yaml"
    cause = _cause(error)
    if isinstance(cause, ModuleNotFoundError) and cause.name == "psycopg":  # what SQLAlchemy takes where none is named
        return f"{config} names PostgreSQL without its driver. Write postgresql+psycopg2:// as the scheme of its URL"
    if type(cause).__module__.startswith("psycopg2"):
        return (
            f"PostgreSQL, where Dagster's state is, cannot be used: {_reason(error)}. Start it, or correct "
            f"what {config} says of it"
        )
    if isinstance(error, dg.DagsterInvalidConfigError):
        return f"{config} cannot be used: {_reason(error)}. Correct it"
    return (
        f"Dagster's state in {settings.dagster_home} cannot be used: {_reason(error)}. Restore what is damaged of "
        "dagster.yaml, history and schedules, or move that away and start again: what was collected is in ClickHouse"
    )


def need_instance(settings: Settings) -> dg.DagsterInstance:
    """Dagster's instance of DAGSTER_HOME.

    Raises:
        ConfigError: it cannot be had.
    """
    instance = open_instance(settings)
    if isinstance(instance, str):
        raise ConfigError(f"{instance}.")
    return instance


def guarded(item: Item, make: Callable[[], Section]) -> Section:
    """The item, or a red line that says why it could not be looked at."""
    try:
        return make()
    except OptiInfraError as error:
        return unread(item, str(error))
    except Exception as error:  # noqa: BLE001 - whatever is broken must not hide the other items
        return unread(item, f"it could not be looked at: {_reason(error)}")


def _runs(instance: dg.DagsterInstance, settings: Settings, how: Look, now: datetime) -> Section:
    runs = dagster_facts.runs(instance, settings.dagster_home, now)
    failing = dagster_facts.failing_checks(instance, how.check_keys) if how.check_keys else []
    return replace(runs, troubles=(*runs.troubles, *failing))


def _ledger(
    settings: Settings, clickhouse: ClickHouse, customers: Sequence[Customer] | None, now: datetime, how: Look
) -> tuple[Section, dict[Item, Section]]:
    """ClickHouse itself, and the items that its ledger tells."""
    if clickhouse.is_new:
        nothing = f"{clickhouse.place} does not exist: nothing was collected yet. Run `optiinfra run`"
        return unread(Item.CLICKHOUSE, nothing, troubles=[Trouble(Kind.CLICKHOUSE, text=nothing)]), _unread(nothing)
    try:
        if customers is None:
            with clickhouse.session(migrated=False) as client:
                state, _ = host_facts.clickhouse_state(client, clickhouse)
            sections_read = state, _unread("the customers file cannot be used")
        else:
            sections_read = _read(settings, clickhouse, customers, now, how)
    except BusyError as error:
        how.busy_since = how.busy_since or now
        lost = host_facts.clickhouse_lost(clickhouse, str(error))
        # A long write is no trouble; somebody who never lets go is.
        lasts = now - how.busy_since >= LONG_BUSY
        return replace(lost, troubles=lost.troubles if lasts else (), unread=not lasts), _unread("ClickHouse is in use")
    except OptiInfraError as error:
        return host_facts.clickhouse_lost(clickhouse, str(error)), _unread("ClickHouse cannot be used")
    except Exception as error:  # noqa: BLE001 - whatever is broken must not hide the other items
        reason = f"{clickhouse.place} cannot be used: {_reason(error)}"
        return host_facts.clickhouse_lost(clickhouse, reason), _unread("ClickHouse cannot be used")
    how.busy_since = None
    return sections_read


_LedgerRead: TypeAlias = (
    "tuple[Section, ledger_facts.Facts | None, tuple[ledger_facts.Gap, ...], ledger_facts.BudgetUse | None]"
)


def _read(
    settings: Settings, clickhouse: ClickHouse, customers: Sequence[Customer], now: datetime, how: Look
) -> tuple[Section, dict[Item, Section]]:
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    remembered = how.remembered or LedgerCache(clickhouse)

    def load() -> _LedgerRead:
        with clickhouse.session(migrated=how.migrates and clickhouse.embedded) as client:
            state, is_readable = host_facts.clickhouse_state(client, clickhouse)
            if not is_readable:
                return state, None, (), None
            facts = ledger_facts.read_facts(client, customers, settings, now)
            hour = now.replace(minute=0, second=0, microsecond=0)
            if how.gaps is None or how.gaps[0] != hour or how.whole:  # what is older than a day changes seldom
                how.gaps = hour, tuple(ledger_facts.read_gaps(client, customers, settings, now))
            spending = ledger_facts.read_spending(client, customers, settings, now) if how.whole else None
        return state, facts, how.gaps[1], spending

    state, facts, gaps, spending = remembered.get((newest, tuple(customers)), now, load)
    if facts is None:
        return state, _unread(state.text)
    changed = host_facts.file_changed(settings)
    collections = sections.collections(facts, settings, changed, now)
    of_readers = (*sections.unusual_costs(facts.unusual), *sections.worse_quality(facts.worse))
    collections = sections.without_readers(
        replace(collections, troubles=(*collections.troubles, *of_readers)), facts.unread
    )
    return state, {
        Item.COLLECTIONS: collections,
        Item.CUSTOMERS: sections.customers(facts, settings, now),
        Item.GAPS: sections.gaps(gaps, facts.failing),
        Item.BUDGETS: sections.budgets(facts, spending, settings),
    }


def _unread(reason: str) -> dict[Item, Section]:
    return {item: unread(item, reason) for item in OF_LEDGER}


def _reason(error: BaseException) -> str:
    """An error in one line: its innermost cause, without a stack or a statement that a driver adds."""
    cause = _cause(error)
    text = str(cause).strip()
    if isinstance(cause, dg.DagsterInvalidConfigError):
        of_key = cause.errors[0].message
        unset = re.search(r'the environment variable "(\w+)" which is not set', of_key)
        text = f"the environment variable {unset[1]} is not set" if unset else of_key.partition(" Expected: ")[0]
    elif isinstance(cause, yaml.MarkedYAMLError) and cause.problem_mark:
        text = f"line {cause.problem_mark.line + 1} of dagster.yaml: {cause.problem}"
    return shortened(plain(masked(text.split("\n", 1)[0] or type(cause).__name__)), 200)


def _cause(error: BaseException) -> BaseException:
    """The innermost cause of an error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _alerts(instance: dg.DagsterInstance, settings: Settings, customers: Sequence[Customer], now: datetime) -> Section:
    """The incidents that go on, who is not told of them, the sinks that cannot be reached, and what is silenced."""
    book = incidents.load(instance)
    parts = [
        Part(State.RED, sink, f"not reached since {_time(one.since)}, {counted(one.attempts, 'attempt')}: {one.said}")
        for sink, one in book.trying.items()
    ]
    parts += [Part(State.WARN, name, said) for name, said in unheard(settings, customers)]
    silenced = incidents.silences(instance, now)
    parts += [Part(State.OK, "silenced", str(silence)) for silence in silenced]
    going_on = [one for one in book.all() if one.over is None]
    parts += [Part(State.OK, one.kind, f"since {_time(one.since)}: {one.text}") for one in going_on]
    sinks = len(sinks_of(settings, customers, lambda _: None)) - 1
    all_well = f"no trouble with {counted(sinks, 'sink')} beside the log" if sinks else "nobody is told beyond the log"
    made = section(Item.ALERTS, parts, all_well)
    return replace(made, text=f"{counted(len(going_on), 'incident')} going on, {len(silenced):,} silenced; {made.text}")


def _time(timestamp: float) -> str:
    return f"{datetime.fromtimestamp(timestamp, UTC):%Y-%m-%dT%H:%MZ}"
