"""A soak: the real daemon, its code server and run workers, left alone for hours of a moved clock while things break.

`python -m tests.benchmarks soak` takes 16 windows of 6 customers on 4 clouds. SOAK sets others, the day of 20 customers
being `SOAK="windows=96 customers=20"`; further words are `clouds=aws,vultr`, `seed=2` (when what happens),
`events=kill_worker,outage` (what happens; `none` for nothing) and `keep=/folder` (nothing is deleted).

Faults on 5 % of the clouds' calls and the refused customers are always there. At the end the tables are compared with
those of a clean run, and gaps, failures, alerts and runs with what the events must leave. It ends with 1 on any fault.
"""

from __future__ import annotations

import contextlib
import os
import random
import resource
import shutil
import subprocess
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.execution.backfill import BulkActionStatus, PartitionBackfill

from optiinfra_dagster.automation.alerting import incidents
from optiinfra_dagster.automation.jobs import READERS_JOB, collection_job
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model import windows
from tests.benchmarks.soak_world import CLOUDS, FAMILIES, Customers, clean_run, rows_of
from tests.support.alert_servers import Webhook, webhook
from tests.support.daemon_site import DaemonSite
from tests.support.moved_clock import morning, until
from tests.support.spine import LAG

W = windows.WINDOW
MINUTE = timedelta(minutes=1)
FIRST = morning()
STEP = timedelta(seconds=170)  # of the clock: daemons are called silent after 300 s
PATIENCE = 1800.0  # real seconds for all that is going to end: beside much other work, 900 were too few once
ENDING = 120.0  # real seconds for the process of a run that has ended
DISK = 3 * 2**30  # bytes of the small disk: less than 1 GiB free is told
AWAY = timedelta(minutes=43)  # of the power cut and the jump: the oldest inventories missed cannot be taken any more
CLOSING = 3  # windows after the last event, in which all that can be mended is
FAULTS = 0.05  # of the calls


@dataclass(frozen=True)
class Event:
    """Something that happens, and how many windows it needs to itself."""

    name: str
    windows: int


EVENTS = (
    Event("kill_daemon", 1),
    Event("kill_worker", 1),
    Event("power_cut", 3),
    Event("full_disk", 1),
    Event("clock_jump", 3),
    Event("broken_file", 1),
    Event("outage", 2),
)


@dataclass(frozen=True)
class Plan:
    """The parameters of a soak, and at which window each event happens."""

    windows: int
    customers: int
    clouds: tuple[str, ...]
    seed: int
    at: Mapping[str, int]
    keep: Path | None = None

    @classmethod
    def read(cls, text: str) -> Plan:
        """The plan that SOAK asks for."""
        words = dict(word.split("=", 1) for word in text.split())
        count, seed = int(words.pop("windows", 16)), int(words.pop("seed", 1))
        clouds = tuple(words.pop("clouds", ",".join(CLOUDS)).split(","))
        wanted = words.pop("events", ",".join(event.name for event in EVENTS)).split(",")
        customers, keep = int(words.pop("customers", 6)), words.pop("keep", None)
        if words:
            raise SystemExit(f"SOAK has no {', '.join(words)}")
        events = [event for event in EVENTS if event.name in wanted]
        chance = random.Random(seed)  # noqa: S311 - repeatable
        chance.shuffle(events)
        spare = count - 1 - CLOSING - sum(event.windows for event in events)
        if spare < 0:
            raise SystemExit(f"{count} windows are {-spare} too few for these events: write fewer events")
        at, window = {}, 1
        for n, event in enumerate(events):
            rest = chance.randint(0, spare) if n < len(events) - 1 else 0
            at[event.name] = window + rest
            window, spare = window + rest + event.windows, spare - rest
        return cls(count, customers, clouds, seed, at, Path(keep) if keep else None)

    def tick(self, window: int) -> datetime:
        """When the schedules ask for a window."""
        return FIRST + (window + 1) * W + LAG


@dataclass
class Soak:
    """A site that is left alone, what happened to it, and what was seen of it."""

    plan: Plan
    site: DaemonSite
    customers: Customers
    hook: Webhook
    down: bool = False  # nobody works: the clock may jump
    deaf: bool = False  # nothing can be stored: no look is waited for
    happened: list[str] = field(default_factory=list)
    lost: set[datetime] = field(default_factory=set)  # windows whose inventories nobody could take
    perhaps_lost: set[datetime] = field(default_factory=set)
    unlisted: dict[str, set[datetime]] = field(default_factory=dict)  # of a cloud in an outage, which may be lost
    notes: list[str] = field(default_factory=list)
    rounds_before: int = 0  # of the sensors, when it was waited last
    powered: datetime | None = None  # when there was power again
    mended: datetime | None = None  # when the customers file was right again
    deaths: int = 0  # of a daemon or a code server by itself
    cpu: float = 0.0  # of processes that have ended
    spoilt: tuple[int, int] = (0, 0)
    backfill: str = ""

    # --- Time ---------------------------------------------------------------------------------------------------------

    def pass_to(self, moment: datetime) -> None:
        """Let the time go on until a moment, as fast as the daemon keeps up with it."""
        while self.site.clock.now() < moment:
            self.calm()
            self.site.clock.advance_to(min(self.site.clock.now() + (AWAY if self.down else STEP), moment))

    def calm(self) -> None:
        """Wait until no run is going, and the daemons have been heard of."""
        if self.down:
            return
        self.rounds_before = self.rounds()
        try:
            until(self._is_calm, PATIENCE, "all that is going to end")
        except AssertionError as error:
            text = f"{error}; at {self.site.clock.now():%H:%M:%S}, {self.site.runs()[-20:]}\n{self.site.tail()}"
            raise AssertionError(text) from None

    def _is_calm(self) -> bool:
        for name, process in list(self.site.processes.items()):
            if process.ended:  # whoever supervises it starts it again
                self.deaths += 1
                self.notes.append(f"{self.site.clock.now():%H:%M:%S} {name} ended by itself")
                self.site.processes.pop(name).stop()
                self.site.launch(name)
        if self.deaf:
            return self.rounds() >= self.rounds_before + 3
        if self.site.going():
            return False
        now = self.site.clock.now().timestamp()
        beats = [status.last_heartbeat for status in self.site.instance.get_daemon_statuses().values()]
        heard = all(beat is not None and now - beat.timestamp < 90 for beat in beats)
        return heard and now - incidents.load(self.site.instance).seen < 100

    def rounds(self) -> int:
        """How often the sensors had their turn, by the log of the daemon, which is on another disk than its home."""
        return self.site.tail(None).count("dagster.daemon.SensorDaemon")

    def work_of(self, cloud: str) -> list[int]:
        """Wait for a run worker of a cloud, of this tick or else of the next; its process ids."""
        found: list[int] = []
        now = self.site.clock.now()
        if now - LAG - windows.floor(now - LAG) > MINUTE:  # its runs may be over
            self.pass_to(windows.floor(now - LAG) + W + LAG + timedelta(seconds=1))

        def working() -> bool:
            found[:] = self.site.workers(f"{cloud}_collection")
            return bool(found)

        until(working, PATIENCE, f"a run worker of {cloud}")
        return found

    # --- The clouds ---------------------------------------------------------------------------------------------------

    def faults(self, *more: Mapping[str, Any]) -> None:
        """Put the usual faults in force, and more."""
        self.site.lab.clear_faults()
        actions = ("throttle", "unavailable", "error", "disconnect")
        usual = [{"action": action, "probability": FAULTS / len(actions)} for action in actions]
        self.site.lab.add_faults(*(dict(fault) for fault in more), *usual)

    # --- What happens -------------------------------------------------------------------------------------------------

    def script(self) -> list[tuple[datetime, Callable[[], None]]]:
        """What happens when."""
        plan = self.plan
        chance = random.Random(plan.seed + 1)  # noqa: S311 - repeatable
        found: list[tuple[datetime, Callable[[], None]]] = []
        if "vultr" in plan.clouds:
            begin = chance.randint(1, max(plan.windows - CLOSING - 3, 1))
            self.spoilt = begin, min(begin + 3, plan.windows - CLOSING)
            found.append((plan.tick(begin) - 2 * MINUTE, self.spoil_key))
            found.append((plan.tick(self.spoilt[1]) - 2 * MINUTE, self.mend_key))
        lead = {"full_disk": 6 * MINUTE, "broken_file": 2 * MINUTE, "outage": 2 * MINUTE}
        for name, window in plan.at.items():
            found.append((plan.tick(window) - lead.get(name, timedelta(seconds=-1)), getattr(self, name)))
        return sorted(found, key=lambda one: one[0])

    def spoil_key(self) -> None:
        """The first customer's key for Vultr is replaced by a wrong one."""
        self.customers.write_key(spoilt=True)

    def mend_key(self) -> None:
        """The right key is back."""
        self.customers.write_key()

    def kill_daemon(self) -> None:
        """Kill -9 of the daemon alone, while runs are going; it is started again two minutes later."""
        self.faults({"action": "delay", "seconds": 3, "probability": 0.2})
        self.work_of(self.plan.clouds[0])
        self.cpu += self.site.processes["daemon"].cpu_seconds()
        self.site.kill("daemon")
        going = len(self.site.going())
        until(lambda: len(self.site.going()) < going, PATIENCE, "a run to end without the daemon")
        self.site.clock.advance_to(self.site.clock.now() + 2 * MINUTE)
        self.site.launch("daemon")
        self.faults()

    def kill_worker(self) -> None:
        """Kill -9 of a run worker."""
        cloud = self.plan.clouds[-1]
        self.faults(
            {"action": "delay", "seconds": 20, "account": self.customers.accounts(cloud)[self.customers.ids[0]]}
        )
        os.kill(self.work_of(cloud)[0], 9)
        self.faults()

    def power_cut(self) -> None:
        """Everything is killed while runs are going, and comes back after a time."""
        cloud = self.plan.clouds[0]
        self.faults({"action": "delay", "seconds": 20})
        self.work_of(cloud)
        self.cpu += self.site.cpu_seconds()
        self.site.kill("code", "daemon")
        self.faults()
        self.down = True
        self.gone_until(self.site.clock.now() + AWAY)
        self.down = False
        self.powered = self.site.clock.now()
        self.site.launch("code", "daemon")

    def clock_jump(self) -> None:
        """The clock jumps forward, as on a machine that was suspended."""
        self.calm()
        moment = self.site.clock.now() + AWAY
        self.lose(moment)
        self.site.clock.advance_to(moment)

    def gone_until(self, moment: datetime) -> None:
        """Nobody works until a moment."""
        self.lose(moment)
        self.pass_to(moment)

    def lose(self, moment: datetime) -> None:
        """Note the windows of which no inventory can be taken any more at a moment, since nobody works until then."""
        grace = timedelta(minutes=Settings().snapshot_grace_minutes)
        newest = windows.newest_collectable(self.site.clock.now(), LAG)
        for window in windows.span(newest, windows.floor(moment)):
            if window + W + grace < moment:
                # The runs of the newest one may be going, and may have stored some.
                (self.lost if window > newest else self.perhaps_lost).add(window)
            elif window + W + grace < moment + W:  # its repair comes after the newest one's runs, perhaps too late
                self.perhaps_lost.add(window)

    def full_disk(self) -> None:
        """The disk fills up: first nearly, then wholly until three minutes after the next tick; then space is back."""
        home = self.site.spine.home
        if not home.is_mount():
            self.happened[-1] += " (left out: no small disk could be mounted here)"
            return
        self.calm()
        filler = home / "filler"
        free = shutil.disk_usage(home).free
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free - 700 * 2**20)
        self.pass_to(self.site.clock.now() + 4 * MINUTE)  # it is told now
        self.calm()
        self.faults({"action": "delay", "seconds": 5, "probability": 0.3})
        self.pass_to(self.plan.tick(self.plan.at["full_disk"]) + timedelta(seconds=1))
        self.deaf = True
        with contextlib.suppress(AssertionError):
            until(lambda: self.site.workers(f"{self.plan.clouds[0]}_collection"), 60, "a run worker")
        with filler.open("ab") as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 2**20)
                file.flush()
        self.faults()
        self.pass_to(self.site.clock.now() + 3 * MINUTE)
        filler.unlink()
        self.deaf = False

    def broken_file(self) -> None:
        """The customers file is broken before a tick, and mended seven minutes later."""
        path = self.site.spine.settings.customers_path
        broken = self.plan.at["broken_file"]
        away = {event.name: event.windows for event in EVENTS if event.name in {"power_cut", "clock_jump"}}
        if broken + 1 in {self.plan.at.get(name) for name in away}:
            self.perhaps_lost.add(FIRST + broken * W)  # a repair has its turn with the next tick
        if any(self.plan.at.get(name) == broken - length for name, length in away.items()):
            self.perhaps_lost.add(FIRST + (broken - 1) * W)  # it can be repaired for the last two minutes of its grace
        self.customers.write(path, broken=True)
        self.pass_to(self.site.clock.now() + 7 * MINUTE)
        self.customers.write(path)
        self.mended = self.site.clock.now()

    def outage(self) -> None:
        """One cloud answers nothing for two windows; then a backfill is asked for beside the repair."""
        clouds = [cloud for cloud in self.plan.clouds if cloud != "aws"] or ["aws"]
        cloud = clouds[self.plan.seed % len(clouds)]
        self.happened[-1] += f" of {cloud}"
        self.unlisted[cloud] = {FIRST + (self.plan.at["outage"] + n) * W for n in range(2)}
        self.faults(*({"action": "unavailable", "account": a} for a in self.customers.accounts(cloud).values()))
        self.pass_to(self.plan.tick(self.plan.at["outage"] + 2) - 2 * MINUTE)
        self.faults()
        self.ask_backfill(self.plan.clouds[0], 8)

    def ask_backfill(self, cloud: str, count: int) -> None:
        """Ask for the metrics and costs of the last windows once more, as in the UI."""
        from optiinfra_dagster.definitions import defs

        newest = windows.newest_collectable(self.site.clock.now(), LAG)
        asked = windows.span(max(newest - (count - 1) * W, FIRST), newest)
        self.backfill = "soakbackf"
        self.site.instance.add_backfill(
            PartitionBackfill.from_asset_partitions(
                backfill_id=self.backfill,
                asset_graph=defs.resolve_asset_graph(),
                partition_names=[windows.key(window) for window in asked],
                asset_selection=[dg.AssetKey([cloud, family]) for family in ("performance", "cost")],
                backfill_timestamp=self.site.clock.now().timestamp(),
                tags={},
                dynamic_partitions_store=self.site.instance,
                all_partitions=False,
                title=None,
                description=None,
                run_config={"resources": {"scope": {"config": {"refresh": True}}}},
            )
        )

    def backfill_was_hit(self) -> bool:
        """True if what kills runs or breaks the customers file happened in the two windows after it was asked for."""
        after = range(self.plan.at["outage"] + 2, self.plan.at["outage"] + 4)
        return any(at in after for name, at in self.plan.at.items() if name != "outage")

    def run(self) -> None:
        """From the first start to the last window."""
        self.faults()
        self.site.start()
        for moment, happen in self.script():
            self.pass_to(moment)
            self.happened.append(f"{self.site.clock.now():%H:%M} {happen.__name__}")
            print(f"    {self.happened[-1]}", flush=True)
            happen()
        self.pass_to(self.plan.tick(self.plan.windows - 1) + 12 * MINUTE)
        self.calm()


# --- What is seen at the end ------------------------------------------------------------------------------------------

Owner = tuple[str, str, str]  # family, customer, provider


@dataclass
class Attempt:
    """A row of the ledger."""

    window: datetime
    status: str
    permanent: bool
    at: datetime


class Findings:
    """What is wrong, in words, and the figures of the report."""

    def __init__(self, soak: Soak) -> None:
        self.soak = soak
        self.wrong: list[str] = []
        self.newest = windows.newest_collectable(soak.site.clock.now(), LAG)
        self.attempts: dict[Owner, list[Attempt]] = defaultdict(list)
        for row in soak.site.spine.query(
            "SELECT dataset, customer_id, provider, window_start, toString(status) AS outcome, permanent, published_at "
            "FROM metric_batches WHERE dataset IN ('resource', 'performance', 'cost') ORDER BY published_at, batch"
        ):
            self.attempts[row["dataset"], row["customer_id"], row["provider"]].append(
                Attempt(row["window_start"], row["outcome"], bool(row["permanent"]), row["published_at"])
            )
        self.owners = [
            (family, customer, provider)
            for provider in soak.plan.clouds
            for customer in soak.customers.ids
            for family in FAMILIES
        ]
        self.status = soak.site.status()

    def say(self, text: str) -> None:
        """Something is wrong."""
        self.wrong.append(text)

    def refused(self, owner: Owner) -> bool:
        """True of the customer that AWS refuses for good."""
        return owner[1:] == (self.soak.customers.refused, "aws")

    def holes(self, owner: Owner) -> set[datetime]:
        """The windows of which nothing was published."""
        of = {one.window for one in self.attempts[owner] if one.status in {"ok", "partial"}}
        return set(windows.span(FIRST, self.newest)) - of

    def asked_late(self, owner: Owner) -> set[datetime]:
        """The windows that were not published before an inventory of them could be taken no more."""
        grace = timedelta(minutes=Settings().snapshot_grace_minutes)
        in_time = {one.window for one in self.attempts[owner]
                   if one.status in {"ok", "partial"} and one.at <= one.window + W + grace}  # fmt: skip
        return set(windows.span(FIRST, self.newest)) - in_time

    def tables(self) -> None:
        """Compare with a clean run: each cell of metrics and costs, and the inventories that are there."""
        soak = self.soak
        clean = clean_run(soak.site.log.parent / "clean", soak.customers, FIRST, self.newest)
        for family in FAMILIES:
            there, wanted = (rows_of(spine, family, FIRST, self.newest) for spine in (soak.site.spine, clean))
            of_inventories = [owner for owner in self.owners if owner[0] == "resource"]
            lacking = {(*owner[1:], window) for owner in of_inventories for window in self.holes(owner)}
            # Metrics that an inventory tells, such as uptimes, are lost also where it was taken later than they were,
            # and where they were asked for when their window was not the present any more.
            late = {(*o[1:], one.window) for o in of_inventories for one in self.attempts[o] if one.status != "ok"}
            late |= {(*o[1:], window) for o in self.owners if o[0] == "performance" for window in self.asked_late(o)}
            for row in list(wanted):
                place = row[0], row[1], row[-1]
                if (place in lacking and family == "resource") or (place in lacking | late and "snapshot" in row):
                    del wanted[row]
                    there.pop(row, None)
            print(f"    {family}: {sum(there.values()):,} rows, {sum(wanted.values()):,} of the clean run", flush=True)
            for what, rows in (("lacks", wanted - there), ("has besides", there - wanted)):
                of = Counter(f"{row[0]} {row[1]} {row[-1]:%H:%M}" for row in rows.elements())
                for name, count in of.most_common(8):
                    example = next(row for row in rows if name == f"{row[0]} {row[1]} {row[-1]:%H:%M}")
                    self.say(f"{family} {what} {count:,} rows of {name}: {example}")
            if doubled := [row for row, count in there.items() if count > 1]:
                self.say(f"{family} has {len(doubled):,} rows twice: {doubled[0]}")

    def gaps(self) -> None:
        """The holes are those that had to be, and each is in the status."""
        told = {part["name"]: part["text"] for part in self.status["gaps"]["details"]}
        for owner in self.owners:
            family, customer, provider = owner
            name, holes = f"{customer} {provider} {family}", self.holes(owner)
            if self.refused(owner):
                continue
            spoilt = (customer, provider) == (self.soak.customers.spoilt, "vultr") and family == "resource"
            of_spoilt = {FIRST + n * W for n in range(*self.soak.spoilt)} if spoilt else set()
            wanted = self.soak.lost if family == "resource" else set()
            may = wanted | of_spoilt
            if family == "resource":
                may |= self.soak.perhaps_lost | self.soak.unlisted.get(provider, set())
            if not wanted <= holes or not holes <= may:
                self.say(f"{name} lacks {_keys(holes)}, and had to lack {_keys(wanted)}, at most {_keys(may)}")
            if bool(holes) != (name in told):
                self.say(f"{name} lacks {_keys(holes)}, and the status says {told.get(name, 'nothing')}")
            elif holes and f"{len(holes)} window" not in told[name]:
                self.say(f"{name} lacks {len(holes)} windows, and the status says {told[name]}")
            told.pop(name, None)
        refused = self.soak.customers.refused
        for name, text in told.items():
            if not name.startswith(f"{refused} aws"):
                self.say(f"the status has a gap besides: {name}: {text}")

    def failures(self) -> None:
        """What fails is the one that is refused for good, and nothing is incomplete.

        A bill that could not be read when its cloud was away is told of until it is read again, up to 12 hours later.
        """
        wanted = {f"{o[1]} {o[2]} {o[0]}" for o in self.owners if self.refused(o)}
        details = self.status["failing customers"]["details"]
        waits = "the bill is read again in its own time"
        there = {part["name"]: part["text"] for part in details if part["name"] in wanted or waits not in part["text"]}
        for name in sorted(wanted ^ there.keys()):
            self.say(f"failing customers: {name}: {there.get(name, 'is not there')}")
        for item in ("daemons", "schedules and sensors", "collections", "runs", "customers file", "clickhouse", "disk",
                     "alerts", "budgets"):  # fmt: skip
            if self.status[item]["state"] != "ok" and not (item == "collections" and wanted):
                self.say(f"the status says of {item}: {self.status[item]['text']}")

    def runs(self) -> None:
        """No run is going, and nothing holds a place."""
        if going := self.soak.site.going():
            self.say(f"{len(going)} runs are going: {[(run.job_name, run.status.value) for run in going]}")
        # A worker's file is there until its process is, a moment longer than its run.
        places = self.soak.site.spine.home / "running"
        with contextlib.suppress(AssertionError):
            until(lambda: not any(places.iterdir()), ENDING, "the processes of runs to end")
        if left := sorted(places.glob("*")):
            self.say(f"files of runs are left: {[one.name for one in left]}")
        if self.soak.backfill:
            told = self.soak.site.instance.get_backfill(self.soak.backfill)
            # What breaks its runs is no fault of it: repairs fetch the rest, which the tables show.
            wanted = {BulkActionStatus.COMPLETED_SUCCESS} | (
                {BulkActionStatus.COMPLETED_FAILED} if self.soak.backfill_was_hit() else set()
            )
            if told is None or told.status not in wanted:
                self.say(f"the backfill ended as {told and told.status}")

    def failing_spans(self, owner: Owner) -> list[tuple[datetime, datetime | None]]:
        """From when to when the newest window of an owner failed."""
        spans: list[tuple[datetime, datetime | None]] = []
        newest, failing = FIRST, False
        for one in self.attempts[owner]:
            if one.window < newest:
                continue
            newest = one.window
            if (one.status == "failed") != failing:
                failing = not failing
                spans = [*spans, (one.at, None)] if failing else [*spans[:-1], (spans[-1][0], one.at)]
        return spans

    def expected(self) -> tuple[Counter[str], Counter[str], set[str]]:
        """How often each incident had to begin at least and at most, and which cannot be over."""
        least, most, open_ = Counter[str](), Counter[str](), set[str]()
        for owner in self.owners:
            family, customer, provider = owner
            key = f"slice_failing/{customer}/{provider}/{family}/"
            for begin, end in self.failing_spans(owner):
                most[key] += 1
                least[key] += end is None or end - begin > 5 * MINUTE
                open_ |= {key} if end is None else set()
            if self.holes(owner) and not self.refused(owner):
                key = f"gap/{customer}/{provider}/{family}/"
                most[key] = 1
                # The sensor looks for gaps once an hour; a window is one when its successor cannot be taken either.
                hour = self.soak.site.clock.now().replace(minute=0, second=0, microsecond=0)
                least[key] = int(min(self.holes(owner)) + 4 * W <= hour)
                open_.add(key)
        happened = {text.split()[1] for text in self.soak.happened if "left out" not in text}
        for name, key in (("broken_file", "customers_file////"), ("full_disk", "disk////DAGSTER_HOME")):
            least[key] = most[key] = int(name in happened)
        least["daemon_silent////"] = most["daemon_silent////"] = len(happened & {"power_cut", "clock_jump"})
        if "power_cut" in happened:
            # A run that was starting fails after Dagster's 300 s, and as the daemon may be up before the code server,
            # Dagster may be unable to try it once more: its job is failing until its next run has ended.
            most.update(self.jobs())
        if "broken_file" in happened:
            most.update(self.jobs())  # a run that was asked for before reads the broken file as it begins
        for provider in self.soak.plan.clouds:
            if any(text.endswith(f"outage of {provider}") for text in self.soak.happened):
                # All of it fails for half an hour, or longer where something else comes on top.
                most.update({f"late//{provider}/{family}/": 1 for family in FAMILIES})
        return least, most, open_

    def jobs(self) -> list[str]:
        """The incident of each job that fails."""
        return [f"run_failing////{job}" for job in (*map(collection_job, self.soak.plan.clouds), READERS_JOB)]

    def alerts(self) -> None:
        """Each incident that had to be told was told once when it began and once when it was over, and no other."""
        told = [one for _, _, content in self.soak.hook.received for one in content["incidents"]]
        if twice := [one for one, count in Counter(one["id"] for one in told).items() if count > 1]:
            self.say(f"{len(twice)} messages came twice")
        of: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for one in told:
            of["/".join(one[name] for name in ("kind", "customer", "provider", "family", "subject"))].append(one)
        least, most, open_ = self.expected()
        spans = [(moment - before, moment + after) for moment, before, after in (
                     (self.soak.powered, 0 * MINUTE, 10 * MINUTE), (self.soak.mended, 8 * MINUTE, 2 * MINUTE)
                 ) if moment]  # fmt: skip
        for one in (one for one in told if one["kind"] == "run_failing"):
            if not any(begin <= datetime.fromisoformat(one["since"]) <= end for begin, end in spans):
                self.say(f"alerts: of neither the power cut nor the broken file: {one['text'][:160]}")
        for key in sorted(of.keys() | most.keys()):
            phases = [one["phase"] for one in of[key]]
            begun = len({one["since"] for one in of[key]})
            seen = [
                f"{one['phase']} {one['since'][11:16]} {(one['over'] or '')[11:16]} {one['text'][:160]}"
                for one in of[key]
            ]
            if not least[key] <= begun <= most[key]:
                self.say(f"alerts: {key} began {begun} times, and had to {least[key]} to {most[key]} times: {seen}")
            elif phases.count("over") != begun - (key in open_ and begun > 0):
                self.say(f"alerts: {key} was over {phases.count('over')} times: {seen}")

    def report(self, real: float) -> None:
        """The figures."""
        soak, calls = self.soak, self.soak.site.lab.calls()
        failed = sum(n for key, n in calls.requests.items() if key.status == 0 or key.status >= 400)
        statuses = Counter(run.status.value for run in soak.site.instance.get_runs())
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        told = Counter(
            f"{one['kind']} {one['phase']}" for _, _, content in soak.hook.received for one in content["incidents"]
        )
        ledger = Counter(one.status for rows in self.attempts.values() for one in rows)
        print(f"  seed {soak.plan.seed}: {', '.join(soak.happened)}; key spoilt for windows {soak.spoilt}")
        print(
            f"  {(self.newest - FIRST) // W + 1} windows, {soak.plan.customers} customers, "
            f"{len(soak.plan.clouds)} clouds"
        )
        print(f"  runs {dict(statuses)}; attempts {dict(ledger)}")
        print(f"  {soak.cpu + soak.site.cpu_seconds():,.0f} CPU-s or more ({usage.ru_utime + usage.ru_stime:,.0f} of "
              f"processes that have ended), {real:,.0f} s, {soak.deaths} ended by themselves")  # fmt: skip
        print(f"  {sum(calls.requests.values()):,} calls, {failed:,} of them refused")
        print(f"  alerts {dict(told)}")
        for note in soak.notes:
            print(f"  {note}")


def _keys(found: Collection[datetime]) -> str:
    return ", ".join(f"{window:%H:%M}" for window in sorted(found)) or "nothing"


@contextlib.contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    """A folder whose `home` is a small disk of its own, where one can be mounted."""
    folder = keep or Path(tempfile.mkdtemp(prefix="soak-"))
    home = folder / "home"
    home.mkdir(parents=True)
    mounted = os.geteuid() == 0 and not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "soak", str(home)], capture_output=True, check=False
    ).returncode  # fmt: skip
    try:
        yield folder
    finally:
        if mounted and not keep:
            subprocess.run(["umount", "-l", str(home)], check=False)
        if not keep:
            shutil.rmtree(folder, ignore_errors=True)


def soak() -> None:
    """Run it, and print what was seen."""
    plan = Plan.read(os.environ.get("SOAK", ""))
    print(f"soak: {plan}", flush=True)
    begun = time.monotonic()
    with _place(plan.keep) as folder, webhook() as hook:
        customers = Customers(plan.customers, plan.clouds, folder)
        customers.write_key()
        site = DaemonSite(
            folder,
            FIRST + W,
            customers.world(),
            lambda spine, _: customers.write(spine.settings.customers_path),
            OPTIINFRA_PARTITIONS_START=f"{FIRST:%Y-%m-%dT%H:%MZ}",
            OPTIINFRA_ALERT_WEBHOOK=hook.url,
        )
        one = Soak(plan, site, customers, hook)
        try:
            one.run()
            found = Findings(one)
            for look in (found.runs, found.failures, found.gaps, found.alerts, found.tables):
                look()
            found.report(time.monotonic() - begun)
        finally:
            site.close()
    for text in found.wrong:
        print(f"  WRONG: {text}")
    print("  nothing is wrong" if not found.wrong else f"  {len(found.wrong)} things are wrong", flush=True)
    if found.wrong:
        raise SystemExit(1)
