"""What performance says of each resource, of a window, an hour, a day and longer, against plain Python over points.

A world is drawn by chance (`performance_world`) and read by every reader; every column of every row is compared.
"""

from __future__ import annotations

import math
import statistics
import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.sql import readers
from tests.storage import performance_world
from tests.storage.performance_world import DAY, END, NOW, Point, Q, World, publish, roll_up
from tests.storage.test_readers import inclusive
from tests.support.engines import kept_open
from tests.support.samples import select

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

PERIODS = (1, 7, 30)
SERIES_KEY = ("customer_id", "provider", "resource_id", "metric_name", "statistic")
OFF = 1 / 256  # how far a value in a rollup may be off

Row = dict[str, Any]
Place = tuple[ClickHouse, World]
Series = tuple[str, ...]  # what a row is of, an instance's id last

# Student's t, two-sided 1 %, by degrees of freedom.
T = {
    4: 4.604, 5: 4.032, 6: 3.707, 12: 3.055, 13: 3.012, 14: 2.977, 15: 2.947, 16: 2.921, 17: 2.898, 18: 2.878,
    19: 2.861, 20: 2.845, 21: 2.831, 22: 2.819, 23: 2.807, 24: 2.797, 25: 2.787, 26: 2.779,
}  # fmt: skip


@pytest.fixture(scope="module", params=[1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 13))])
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A world, and the place that has it, read by every reader, with late points and what they make stale."""
    clickhouse = kept_open(tmp_path_factory.mktemp("world") / "clickhouse")
    world = performance_world.draw(request.param)
    with clickhouse.session():
        publish(clickhouse, world)
        roll_up(clickhouse, world.windows)
        touched = performance_world.late(world, request.param)
        publish(clickhouse, world, touched)
        roll_up(clickhouse, [*touched, NOW])  # the last for a second time, with nothing new
        for name in ("trends", "latest", "by_resource", "summary"):
            compute(clickhouse, readers()["performance", name], [NOW])
        yield clickhouse, world


def rows_of(clickhouse: ClickHouse, name: str) -> list[Row]:
    return select(clickhouse, f"SELECT * FROM performance_{name}_current")  # noqa: S608


def assert_same(found: Iterable[Row], expected: Iterable[Row], key: Sequence[str]) -> None:
    """The same rows, and the same columns but for rounding, which grows with the largest value of the series."""
    by_key = {tuple(row[name] for name in key): row for row in found}
    wanted = {tuple(row[name] for name in key): row for row in expected}
    assert by_key.keys() == wanted.keys()
    for of, row in wanted.items():
        seen = by_key[of]
        assert seen.keys() == row.keys() - {"largest"}
        for name, value in row.items():
            if name == "largest":
                continue
            if isinstance(value, float) and isinstance(seen[name], float):
                assert seen[name] == pytest.approx(value, rel=1e-6, abs=slack_of(row, name)), (of, name)
            else:
                assert seen[name] == value, (of, name)


def slack_of(row: Row, name: str) -> float:
    """How far a figure may be off by rounding."""
    slack: float = row["largest"] * 1e-12
    if name != "change_percent":
        return slack
    before = abs(row["mean"] - row["change"])  # 0 where it is lost beside a huge mean
    change = abs(float(row[name]))
    return slack * 100 * (1 + change) / before if before else change * 1e-6


# --- The hour and the day ---------------------------------------------------------------------------------------------


def rounded(value: float) -> float:
    """The nearest number with 8 binary digits."""
    (bits,) = struct.unpack("I", struct.pack("f", value))
    (nearest,) = struct.unpack("f", struct.pack("I", (bits + 0x8000) & 0xFFFF0000))
    return float(nearest)


def by_instance(points: Iterable[Point]) -> dict[Series, list[Point]]:
    """The points of each instance, in order. One without an id is of the first instance that has one."""
    of_base: dict[Series, list[Point]] = defaultdict(list)
    for point in points:
        of_base[point.base].append(point)
    found: dict[Series, list[Point]] = defaultdict(list)
    for base, its in of_base.items():
        its.sort(key=lambda point: point.at)
        first = next((point.uid for point in its if point.uid), "")
        for point in its:
            found[*base, point.uid or first].append(point)
    return found


def identity(series: Series, points: Sequence[Point]) -> Row:
    customer, provider, resource, metric, statistic, uid = series
    return {
        "customer_id": customer, "provider": provider, "resource_id": resource, "metric_name": metric,
        "statistic": statistic, "instance_uid": uid, "resource_name": points[-1].name, "resource_type": "compute",
        "region": "us-east-1", "metric_type": "cpu", "unit": "percent",
        "largest": max(abs(point.value) for point in points),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["hourly", "daily"])
def test_a_rollup_is_that_of_its_points(place: Place, name: str) -> None:
    clickhouse, world = place
    length = readers()["performance", name].length
    slices: dict[datetime, list[Point]] = defaultdict(list)
    for point in world.points.values():
        slices[windows.floor_to(length, point.window)].append(point)
    expected = []
    for start, points in slices.items():
        for series, its in by_instance(points).items():
            totals = [[point] for point in its if point.period >= 86400]
            for part in totals or [its]:
                values = [point.value for point in part]
                period = part[-1].period
                expected.append(
                    identity(series, part)
                    | {
                        "window_start": start, "period_seconds": period, "n": len(part),
                        "expected": max(1, int(length.total_seconds()) // period), "total": math.fsum(values),
                        "minimum": min(values), "maximum": max(values), "first_at": part[0].at,
                        "values": sorted(map(rounded, values)),
                    }
                )  # fmt: skip
    assert_same(rows_of(clickhouse, name), expected, ("window_start", *SERIES_KEY, "instance_uid", "first_at"))


# --- Trends -----------------------------------------------------------------------------------------------------------


def known_days(points: Sequence[Point]) -> dict[int, float]:
    """The means of the whole days before today that are known well enough, by how many days they are before it."""
    of_day: dict[int, list[Point]] = defaultdict(list)
    for point in points:
        back = (windows.floor_to(DAY, END) - windows.floor_to(DAY, point.of)).days
        if 1 <= back <= 28:
            of_day[back].append(point)
    return {
        back: math.fsum(p.value for p in its) / len(its)
        for back, its in of_day.items()
        if len(its) * its[-1].period >= 0.9 * 86400
    }


def line(
    days: Sequence[float], means: Sequence[float], weekdays: Sequence[int] | None
) -> tuple[float, Any, int, float]:
    """Rise per day of the least-squares line, what is left, degrees of freedom, and the spread of the days."""
    x, y = np.array(days, float), np.array(means)
    groups = [0] * len(x) if weekdays is None else list(weekdays)
    model = np.column_stack([x, *[[float(group == one) for one in groups] for group in sorted(set(groups))]])
    middle = float(y.mean())
    solution, *_ = np.linalg.lstsq(model, y - middle, rcond=None)
    others = model[:, 1:]
    spread = x - others @ np.linalg.lstsq(others, x, rcond=None)[0]
    return float(solution[0]), y - middle - model @ solution, len(x) - model.shape[1], float(spread @ spread)


def of_month(known: Mapping[int, float]) -> tuple[float, float, float] | None:
    """Rise per day over 28 days, what chance would give, and how much a day is like the one before."""
    if len(known) < 21:
        return None
    backs = sorted(known, reverse=True)
    means = [known[back] for back in backs]
    plain = line([-back for back in backs], means, None)
    weekly = line([-back for back in backs], means, [back % 7 for back in backs])
    more = plain[2] - weekly[2]
    f = ((plain[1] @ plain[1] - weekly[1] @ weekly[1]) / more) / max(weekly[1] @ weekly[1] / weekly[2], 1e-300)
    rise, rest, free, spread = weekly if f > 2.6 else plain
    squares = float(rest @ rest)
    lag = float(rest[1:] @ rest[:-1]) / squares if squares else 0.0
    likeness = min(0.9, max(0.0, lag + (1 + 4 * lag) / len(known)))
    error = math.sqrt(squares / free / spread) * math.sqrt((1 + likeness) / (1 - likeness))
    return rise, T[free] * error, likeness


def direction(points: Sequence[Point], days: int) -> tuple[str, float | None, bool]:
    """Direction and slope over a period, and whether rounding decides between two directions."""
    known = known_days(points)
    month = of_month(known)
    slope, chance = None, 0.0
    if days == 30 and month:
        slope, chance, _ = month
    pairs = [known[back] - known[back + 7] for back in range(1, 8) if back in known and back + 7 in known]
    if days == 7 and len(pairs) >= 5:
        likeness = month[2] if month else 0.4
        spread = statistics.stdev(pairs) / math.sqrt(len(pairs)) * math.sqrt((1 + likeness) / (1 - likeness))
        slope, chance = statistics.fmean(pairs) / 7, T[len(pairs) - 1] * spread / 7
    if slope is None:
        return "unknown", None, False
    if abs(slope) * min(28, days) <= 1e-9 * max(map(abs, known.values())):
        return "flat", slope, False
    said = "flat" if abs(slope) < chance else "up" if slope > 0 else "down"
    return said, slope, abs(abs(slope) - chance) < 0.01 * chance


def tried_until(world: World, owner: tuple[str, str]) -> datetime:
    """The end of the newest window that was tried of a customer on a provider."""
    tried = [w for w in world.tried[owner] | world.failed[owner] if END - 2 * DAY <= w < END]
    return max(tried) + Q if tried else END


def trend(world: World, series: Series, points: Sequence[Point], days: int) -> Row | None:
    """What trends say of a series over a period."""
    begin = END - days * DAY
    own = [point for point in points if begin <= point.of < END]
    before = [point for point in points if begin - days * DAY <= point.of < begin]
    if not own:
        return None
    values, newest = [point.value for point in own], points[-1].period
    start = max(begin, points[0].at).timestamp()
    until = tried_until(world, (series[0], series[1])).timestamp() - (86400 if newest >= 86400 else 0)
    expected = max(newest, until // newest * newest - math.ceil(start / newest) * newest)
    covered = sum(point.period for point in before) >= 0.9 * days * 86400
    mean = statistics.fmean(values)
    change = mean - statistics.fmean(point.value for point in before) if covered else None
    said, slope, _ = direction(points, days)
    return identity(series, points) | {
        "window_start": NOW, "days": days, "n": len(own), "n_before": len(before),
        "coverage": min(1.0, sum(point.period for point in own) / expected), "mean": mean,
        "minimum": min(values), "maximum": max(values), "p95": inclusive([rounded(value) for value in values], 0.95),
        "slope_per_day": slope, "change": change, "direction": said,
        "change_percent": 100 * change / abs(mean - change) if change is not None and mean != change else None,
    }  # fmt: skip


def test_trends_are_those_of_the_points(place: Place) -> None:
    clickhouse, world = place
    of_60_days = [point for point in world.points.values() if END - 60 * DAY <= point.window < END]
    found = rows_of(clickhouse, "trends")
    key = (*SERIES_KEY, "instance_uid", "days")
    by_key = {tuple(row[name] for name in key): row for row in found}
    expected, fences = [], 0
    for series, points in by_instance(of_60_days).items():
        for days in PERIODS:
            if row := trend(world, series, points, days):
                if direction(points, days)[2]:
                    row["direction"] = by_key[*series, days]["direction"]
                    fences += 1
                expected.append(row)
    assert_same(found, expected, key)
    assert fences < len(expected) / 20
    assert {row["direction"] for row in found} >= {"up", "down", "flat", "unknown"}


def test_p95_of_trends_is_off_by_no_more_than_is_told(place: Place) -> None:
    clickhouse, world = place
    series = by_instance(p for p in world.points.values() if END - 60 * DAY <= p.window < END)
    for row in rows_of(clickhouse, "trends"):
        of = tuple(row[name] for name in (*SERIES_KEY, "instance_uid"))
        values = sorted(p.value for p in series[of] if END - row["days"] * DAY <= p.of < END)
        beside = values[int(0.95 * (len(values) - 1)) :][:2]
        assert abs(row["p95"] - inclusive(values, 0.95)) <= OFF * max(map(abs, beside)), of


# --- A window ---------------------------------------------------------------------------------------------------------


def published_points(world: World, window: datetime) -> list[Point]:
    return [point for point in world.points.values() if point.window == window]


def test_by_resource_is_that_of_the_windows_points(place: Place) -> None:
    clickhouse, world = place
    expected = []
    for series, its in by_instance(published_points(world, NOW)).items():
        values = [point.value for point in its]
        expected.append(
            identity(series, its)
            | {
                "window_start": NOW, "points": len(its), "mean": statistics.fmean(values), "minimum": min(values),
                "maximum": max(values), "last_value": values[-1], "last_at": its[-1].at,
            }
        )  # fmt: skip
    found = rows_of(clickhouse, "by_resource")
    assert_same(found, told_of(expected, found), SERIES_KEY)


def test_latest_is_the_newest_point_of_the_newest_window(place: Place) -> None:
    clickhouse, world = place
    expected = []
    for owner, tried in world.tried.items():
        newest = max(window for window in tried if NOW - DAY < window <= NOW)
        points = [p for p in world.points.values() if (p.customer, p.provider) == owner]
        present = {p.resource for p in points if p.window == newest}
        told = [
            p for p in points
            if p.window == newest or (p.resource in present and p.period >= 86400 and NOW - 2 * DAY < p.window <= NOW)
        ]  # fmt: skip
        for series, its in by_instance(told).items():
            as_of = max(point.window for point in its)
            expected.append(
                identity(series, its)
                | {"window_start": NOW, "metric_value": its[-1].value, "timestamp": its[-1].at, "as_of": as_of}
            )
    found = rows_of(clickhouse, "latest")
    assert len(found) > 4
    totals = [row for row in found if row["resource_id"] == "totals" and row["statistic"] == "daily_average"]
    assert [row["metric_value"] for row in totals] == [2.0]
    assert_same(found, told_of(expected, found), SERIES_KEY)


def test_summary_is_that_of_the_windows_points(place: Place) -> None:
    clickhouse, world = place
    groups: dict[tuple[str, ...], list[Point]] = defaultdict(list)
    for point in published_points(world, NOW):
        groups[point.customer, point.provider, point.metric, point.statistic].append(point)
    expected = []
    for (customer, provider, metric, statistic), its in groups.items():
        values = [point.value for point in its]
        expected.append({
            "customer_id": customer, "provider": provider, "resource_type": "compute", "metric_name": metric,
            "statistic": statistic, "window_start": NOW, "unit": "percent", "points": len(its), "complete": True,
            "resources": len({point.resource for point in its}), "mean": statistics.fmean(values),
            "minimum": min(values), "maximum": max(values), "p95": inclusive(values, 0.95),
            "largest": max(map(abs, values)),
        })  # fmt: skip
    assert_same(rows_of(clickhouse, "summary"), expected, ("customer_id", "provider", "metric_name", "statistic"))


def told_of(expected: Sequence[Row], found: Sequence[Row]) -> list[Row]:
    """The expected rows with the columns that the reader has: one of a single window may tell no id."""
    without = {"instance_uid"} - {name for row in found for name in row}
    return [{name: value for name, value in row.items() if name not in without} for row in expected]


# --- What a world says by chance only, said on purpose ---------------------------------------------------------------


def trends_of(clickhouse: ClickHouse, name: str, statistic: str = "average") -> dict[tuple[str, int], Row]:
    """The trends of a resource's one metric of a statistic, by the id of its instance and the days."""
    sql = "SELECT * FROM performance_trends_current WHERE resource_id = {name:String} AND statistic = {of:String}"
    rows = select(clickhouse, sql, name=name, of=statistic)
    return {(row["instance_uid"], row["days"]): row for row in rows}


def test_who_is_polled_less_often_is_covered(place: Place) -> None:
    """The running poll is not over, and a state that is told once a poll stands for all of it."""
    clickhouse, _ = place
    rows = trends_of(clickhouse, "state", "snapshot")
    assert rows["", 1]["n"] == 5
    assert {days: row["coverage"] for (_, days), row in rows.items()} == {1: 1.0, 7: 1.0, 30: 1.0}


def test_a_window_that_failed_is_not_covered(place: Place) -> None:
    clickhouse, world = place
    assert tried_until(world, ("acme", "aws")) == NOW + 3 * Q
    sql = "SELECT max(coverage) AS most FROM performance_trends_current WHERE customer_id = 'acme' AND days = 1"
    rows = select(clickhouse, f"{sql} AND metric_name = 'disk_read'")
    assert rows[0]["most"] < 1


def test_a_change_needs_a_period_before_that_is_known(place: Place) -> None:
    clickhouse, _ = place
    rows = trends_of(clickhouse, "ten days old")
    assert (rows["", 1]["change_percent"], rows["", 1]["n_before"]) == (0.0, 2)
    assert (rows["", 7]["change_percent"], rows["", 7]["change"]) == (None, None)
    assert 0 < rows["", 7]["n_before"] < 13


def test_an_id_that_is_told_splits_no_series_and_another_machine_does(place: Place) -> None:
    clickhouse, _ = place
    kept, replaced = trends_of(clickhouse, "kept"), trends_of(clickhouse, "replaced")
    assert {(uid, days): row["n"] for (uid, days), row in kept.items() if days == 30} == {("x", 30): 28}
    assert {(uid, days): row["n"] for (uid, days), row in replaced.items() if days == 30} == {
        ("first", 30): 20, ("second", 30): 8,
    }  # fmt: skip
    assert ("first", 1) not in replaced
    assert replaced["first", 30]["coverage"] < 1 == replaced["second", 30]["coverage"]
    assert replaced["second", 30]["maximum"] < replaced["first", 30]["minimum"]


def test_the_total_of_a_day_counts_on_its_day(place: Place) -> None:
    """However late it came, and however many came together."""
    clickhouse, _ = place
    rows = trends_of(clickhouse, "totals", "daily_average")
    week = [back for back in range(2, 11) if windows.floor_to(DAY, NOW) - back * DAY >= END - 7 * DAY]
    assert (rows["", 7]["n"], rows["", 7]["mean"]) == (len(week), statistics.fmean(week))
    assert ("", 1) not in rows


def test_few_days_tell_no_direction(place: Place) -> None:
    clickhouse, _ = place
    rows = select(
        clickhouse,
        "SELECT days, direction, slope_per_day FROM performance_trends_current "
        "WHERE resource_id IN ('ten days old', 'kept') OR days = 1",
    )
    told = {(row["days"], row["direction"], row["slope_per_day"]) for row in rows}
    assert {(days, said) for days, said, _ in told} == {(1, "unknown"), (7, "unknown"), (30, "unknown"), (7, "flat")}
    assert {slope for _, said, slope in told if said == "unknown"} == {None}
