"""Worlds of points, drawn by chance and published, for what reads them to be compared with plain Python.

A world has gaps, late points, a failed and a late poll, machines that are replaced under their name, named anew, or
given an id while they run, a period that changes, and totals of whole days that come a day later.
"""

from __future__ import annotations

import random
from collections import defaultdict
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.metrics import Series
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.rows import performance_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.samples import CPU, EARLY, resource

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from optiinfra_dagster.storage.clickhouse import ClickHouse

Q, HOUR, DAY, MINUTES = windows.WINDOW, timedelta(hours=1), timedelta(days=1), timedelta(minutes=1)
# Rows expire after weeks, so the worlds are of now; their hour is one of yesterday's, not its last.
NOW = windows.floor(datetime.now(UTC)).replace(minute=0) - 5 * HOUR
END = NOW + HOUR

Base = tuple[str, str, str, str, str]  # customer, provider, resource, metric, statistic


@dataclass(frozen=True, slots=True)
class Point:
    """A point as it is collected. `window` is its slice's."""

    customer: str
    provider: str
    resource: str
    metric: str
    statistic: str
    uid: str
    name: str
    period: int
    at: datetime
    value: float
    window: datetime

    @property
    def base(self) -> Base:
        """What it is a point of, whichever machine."""
        return self.customer, self.provider, self.resource, self.metric, self.statistic

    @property
    def of(self) -> datetime:
        """When it counts: a day's total on its day."""
        return windows.floor_to(DAY, self.at) if self.period >= 86400 else self.at


@dataclass
class World:
    """The points that are published, by what they are of and when, and the windows that were tried."""

    points: dict[tuple[Base, datetime], Point] = field(default_factory=dict)
    tried: dict[tuple[str, str], set[datetime]] = field(default_factory=lambda: defaultdict(set))
    failed: dict[tuple[str, str], set[datetime]] = field(default_factory=lambda: defaultdict(set))
    not_due: dict[tuple[str, str], set[datetime]] = field(default_factory=lambda: defaultdict(set))

    def add(self, points: Iterable[Point]) -> None:
        """Take points, each instead of one of the same time."""
        for point in points:
            self.points[point.base, point.at] = point
            self.tried[point.customer, point.provider].add(point.window)

    @property
    def windows(self) -> list[datetime]:
        """Every window that was tried."""
        return sorted({window for of_one in self.tried.values() for window in of_one})


def draw(seed: int) -> World:
    """A world of two customers on three clouds."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    world = World()
    for owner in (("acme", "aws"), ("globex", "gcp")):
        for kind in ("slope", "falling", "noise"):
            world.add(_long(chance, owner, kind, kind, days=31, lacking=0.0))
        for number in range(9):
            world.add(_long(chance, owner, f"i-{number}"))
        for number in range(4):
            world.add(_short(chance, owner, f"s-{number}"))
    for number in range(4):
        world.add(_totals(chance, f"v-{number}"))
    world.add(_on_purpose())
    acme, globex, vultr = ("acme", "aws"), ("globex", "gcp"), ("acme", "vultr")
    # The newest window of the one failed: what was asked and not answered lacks. The other is polled once an hour: the
    # running hour is not over, and what it has is complete.
    ends = {acme: NOW + 2 * Q, globex: NOW, vultr: NOW + Q}
    world.points = {
        key: point for key, point in world.points.items() if point.window < ends[point.customer, point.provider]
    }
    for owner, end in ends.items():
        world.tried[owner] = {window for window in world.tried[owner] if window < end} | {end - Q}
    world.failed[acme] |= {NOW + 2 * Q}
    world.not_due[globex] |= {NOW, NOW + Q}
    return world


def late(world: World, seed: int) -> list[datetime]:
    """Change the world as late points do: corrected, more, and a window that holds fewer; returns the windows."""
    chance = random.Random(-seed)  # noqa: S311 - no secret
    old = sorted(world.points.values(), key=lambda point: (point.at, point.base))
    touched = set()
    for point in chance.sample([one for one in old if one.resource[1] == "-"], 12):
        touched.add(point.window)
        if chance.random() < 0.3:
            del world.points[point.base, point.at]
        else:
            world.add([replace(point, value=point.value + 5)])
            if point.period < 900:
                world.add([replace(point, at=point.at + timedelta(seconds=30), value=1.0)])
    return sorted(touched)


KINDS = ("noise", "slope", "falling", "weekly", "constant", "huge", "beside huge", "signs", "jump")


def _values(chance: random.Random, kind: str) -> Callable[[float], float]:
    """The value at a day of a series of a kind."""
    level = chance.choice([3.0, 50.0, 0.02])
    noise = level / 10

    def value(day: float) -> float:
        draw = chance.gauss(0, noise)
        return round(
            {
                "noise": level + draw,
                "slope": level + day * noise + draw,
                "falling": level - day * noise / 3 + draw,
                "weekly": level * (3 if int(day) % 7 < 5 else 1) + draw,
                "constant": level,
                "huge": chance.choice([1e15, -1e15, 0.0, 3.5]),
                "beside huge": 1e12 + 1000 * draw,
                "signs": draw,
                "jump": level * (1 + (day > 40)) + draw / 100,
            }[kind],
            4,
        )

    return value


EVENTS = ("nothing", "replaced", "id told", "id told and replaced", "renamed", "period")


def _long(
    chance: random.Random,
    owner: tuple[str, str],
    name: str,
    kind: str = "",
    days: int | None = None,
    lacking: float | None = None,
) -> Iterator[Point]:
    """Points twice a day of some weeks, of a machine that something happens to; by chance what is not given.

    What happens to the period is that half of the points lacked before.
    """
    value = _values(chance, kind or chance.choice(KINDS))
    days = days or chance.choice([2, 9, 16, 31, 31, 33, 36])
    lacking = chance.choice([0.0, 0.0, 0.02, 0.1, 0.4]) if lacking is None else lacking
    start = windows.floor_to(DAY, NOW) - days * DAY
    change = start + chance.randrange(days) * DAY + chance.choice([0, 12]) * HOUR
    happens = "id told" if kind else chance.choice(EVENTS)
    ends = END if kind else chance.choice([END, END, END, NOW - 3 * DAY])
    uids = {"replaced": ("a", "b"), "id told": ("", "a"), "id told and replaced": ("", "b")}.get(happens, ("a", "a"))
    at = start
    while at < ends:
        after = at >= change
        period = 21600 if happens == "period" and at < windows.floor_to(DAY, change) else 43200
        if chance.random() >= lacking:
            yield Point(
                *owner, name, "cpu_utilization", "average", uids[after] and f"{name}-{uids[after]}",
                "new" if happens == "renamed" and after else "old", period, at,
                value((at - NOW) / DAY + 61), windows.floor(at),
            )  # fmt: skip
        at += 12 * HOUR


def _short(chance: random.Random, owner: tuple[str, str], name: str) -> Iterator[Point]:
    """Points every five minutes of some hours, most where periods begin and end."""
    value = _values(chance, chance.choice(KINDS))
    told = chance.choice([None, NOW - HOUR + 25 * MINUTES])
    for hours in (0, 1, 2, 24, 7 * 24, 14 * 24, 30 * 24, 60 * 24):
        if chance.random() < 0.3:
            continue
        for step in range(12):
            at = NOW - hours * HOUR + step * 5 * MINUTES
            if chance.random() < 0.9:
                uid = "" if told is None or at < told else f"{name}-a"
                yield Point(
                    *owner, name, "disk_read", chance.choice(["average", "average", "maximum"]), uid, "old", 300, at,
                    value((at - NOW) / DAY + 61), windows.floor(at),
                )  # fmt: skip


def _totals(chance: random.Random, name: str) -> Iterator[Point]:
    """Totals of whole days, each told in a window of the day after, or of three days later after an outage."""
    value = _values(chance, chance.choice(KINDS))
    days = chance.choice([5, 20, 33])
    today = windows.floor_to(DAY, NOW)
    for back in range(1, days):
        day = today - back * DAY
        if chance.random() < 0.05:
            continue
        told = today - 2 * DAY + 12 * HOUR if back in {3, 4, 5} else day + DAY + chance.choice([0, 12]) * HOUR
        if told < END:
            yield Point(
                "acme", "vultr", name, "network_in", "daily_average", "", "old", 86400, day, value(61 - back), told
            )


def _on_purpose() -> Iterator[Point]:
    """What every world has: each series shows one rule of trends."""
    acme, globex, today = ("acme", "aws"), ("globex", "gcp"), windows.floor_to(DAY, NOW)
    for back in range(1, 7):  # a state, told once a poll
        at = NOW - back * 4 * HOUR
        yield Point(*globex, "state", "uptime", "snapshot", "", "old", 14400, at, 100.0, at)
    for half in range(20):  # collected for ten days
        at = today - half * 12 * HOUR
        yield Point(*acme, "ten days old", "cpu_utilization", "average", "", "old", 43200, at, 5.0, at)
    for back in range(28):  # an id is told from the tenth day on, and the machine is another from the fourth day on
        at = today - back * 12 * HOUR
        kept, replaced = ("", "x")[back < 20], "second" if back < 8 else "first"
        yield Point(*acme, "kept", "cpu_utilization", "average", kept, "old", 43200, at, 5.0, at)
        yield Point(*acme, "replaced", "cpu_utilization", "average", replaced, "old", 43200, at, 5.0 + back, at)
    yield Point("acme", "vultr", "totals", "uptime", "snapshot", "", "old", 900, NOW, 100.0, NOW)
    for back in range(2, 11):  # the totals of days: three of them came after an outage, on one day
        day = today - back * DAY
        told = today - DAY if back <= 4 else day + DAY
        yield Point("acme", "vultr", "totals", "network_in", "daily_average", "", "old", 86400, day, float(back), told)


def publish(clickhouse: ClickHouse, world: World, only: Sequence[datetime] | None = None) -> None:
    """Publish the world's slices, or those of some windows, and record what failed or is not due."""
    lot = []
    for (customer, provider), tried in world.tried.items():
        its_windows = sorted(tried if only is None else tried & set(only))
        if not its_windows:
            continue
        of_series: dict[tuple[object, ...], list[Point]] = defaultdict(list)
        for point in world.points.values():
            if (point.customer, point.provider) == (customer, provider) and (only is None or point.window in only):
                is_elsewhere = point.window != windows.floor(point.at)
                key = point.base, point.uid, point.name, point.period, point.window if is_elsewhere else None
                of_series[key].append(point)
        series = [
            Series(
                resource(p[0].resource, instance_uid=p[0].uid, resource_name=p[0].name),
                replace(CPU, name=p[0].metric, period=p[0].period),
                p[0].statistic,
                [int(point.at.timestamp()) for point in p],
                [point.value for point in p],
                key[-1] if isinstance(key[-1], datetime) else None,
            )
            for key, p in of_series.items()
        ]
        rows = performance_rows(customer, provider, series, EARLY)
        lot.append(SliceResult(customer, provider, its_windows, SliceStatus.OK, rows=rows))
    if only is None:
        for of_status, status in ((world.failed, SliceStatus.FAILED), (world.not_due, SliceStatus.NOT_DUE)):
            for (customer, provider), its in of_status.items():
                lot.append(SliceResult(customer, provider, sorted(its), status, error="no answer"))
    Writer(clickhouse, schema.PERFORMANCE).flush(lot)


def roll_up(clickhouse: ClickHouse, touched: Iterable[datetime]) -> None:
    """Compute the rollups of the hours and days that hold the windows."""
    touched = list(touched)
    for name in ("hourly", "daily"):
        reader = readers()["performance", name]
        compute(clickhouse, reader, sorted({windows.floor_to(reader.length, window) for window in touched}))
