"""What performance says of each resource, of a window, an hour, a day and longer, against plain Python over points."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.metrics import Series
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.rows import performance_rows
from optiinfra_dagster.storage.slices import Writer
from optiinfra_dagster.storage.sql import read_sql
from tests.storage.test_readers import inclusive
from tests.support.samples import CPU, EARLY, resource, select

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from optiinfra_dagster.storage.clickhouse import ClickHouse

Q, HOUR, DAY = windows.WINDOW, timedelta(hours=1), timedelta(days=1)
# Rows expire after weeks, so the worlds are of now; their hour is one of yesterday's, not its last.
NOW = windows.floor(datetime.now(UTC)).replace(minute=0) - 5 * HOUR
END = NOW + HOUR
PERIODS = (1, 7, 30)

Key = tuple[str, str, str, str]  # customer, provider, resource, metric
Points = dict[datetime, float]
World = dict[Key, Points]


def collect(clickhouse: ClickHouse, world: Mapping[Key, Points]) -> None:
    """Publish the world's points in the slices that hold them."""
    series: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for (customer, provider, name, metric), points in world.items():
        seconds = [int(at.timestamp()) for at in points]
        one = Series(resource(name), replace(CPU, name=metric), "average", seconds, list(points.values()))
        series[customer, provider].append(one)
    lot = []
    for (customer, provider), its_series in series.items():
        rows = performance_rows(customer, provider, its_series, EARLY)
        of_rows = sorted({windows.floor(at) for s in its_series for at in map(_time, s.timestamps)})
        if of_rows:
            lot.append(SliceResult(customer, provider, of_rows, SliceStatus.OK, rows=rows))
    if lot:
        Writer(clickhouse, schema.PERFORMANCE).flush(lot)


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def compute(clickhouse: ClickHouse, reader: str, starts: Sequence[datetime]) -> None:
    write_select(clickhouse, reader, read_sql(f"readers/{reader}"), starts)


def roll_up(clickhouse: ClickHouse, touched: Sequence[datetime]) -> None:
    """The rollups of the hours and days that hold the windows."""
    for reader, length in (("performance_hourly", HOUR), ("performance_daily", DAY)):
        compute(clickhouse, reader, sorted({windows.floor_to(length, w) for w in touched}))


def rows_of(clickhouse: ClickHouse, reader: str, start: datetime = NOW) -> list[dict[str, Any]]:
    return select(
        clickhouse,
        f"SELECT * FROM {reader}_current WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL",
        at=start,
    )


# --- Trends over random worlds --------------------------------------------------------------------------------------


def line(points: Points) -> tuple[float, float] | None:
    """Slope per day and its t-statistic, exactly; None where there is one time only."""
    xs = [Fraction(int(at.timestamp())) / 86400 for at in points]
    ys = [Fraction(value) for value in points.values()]
    n, mean_x, mean_y = len(xs), sum(xs) / len(xs), sum(ys) / len(ys)
    sxx = sum((x - mean_x) ** 2 for x in xs)
    if not sxx:
        return None
    sxy = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    rest = sum((y - mean_y) ** 2 for y in ys) - sxy**2 / sxx
    slope = sxy / sxx
    if n < 3 or not slope:
        return float(slope), 0.0
    return float(slope), math.sqrt(slope**2 * (n - 2) * sxx / rest) if rest else math.inf


def trend(points: Points, days: int, until: datetime) -> dict[str, Any] | None:
    """What trends say of a series, computed from its points."""
    begin = END - days * DAY
    own = {at: value for at, value in points.items() if begin <= at < END}
    before = [value for at, value in points.items() if begin - days * DAY <= at < begin]
    if not own:
        return None
    values = list(own.values())
    seen = min(at for at in points if at >= END - 60 * DAY)
    expected = max(1, math.ceil((until - max(begin, seen)).total_seconds() / CPU.period))
    mean = statistics.fmean(values)
    change = mean - statistics.fmean(before) if before else None
    found = line(own)
    direction = "unknown"
    if found and len(own) > 2:
        slope, t = found
        direction = "flat" if abs(t) < 3 else "up" if slope > 0 else "down"
    return {
        "n": len(own),
        "coverage": min(1, len(own) / expected),
        "mean": mean,
        "minimum": min(values),
        "maximum": max(values),
        "p95": inclusive(values, 0.95),
        "slope_per_day": found[0] if found else None,
        "change": change,
        "change_percent": 100 * change / abs(statistics.fmean(before)) if change is not None and any(before) else None,
        "direction": direction,
    }


def on_the_fence(points: Points, days: int) -> bool:
    """Whether rounding decides the direction: a t-statistic of 3, or a mean before that is all but 0."""
    found = line({at: v for at, v in points.items() if END - days * DAY <= at < END} or {END: 0.0})
    return bool(found and abs(abs(found[1]) - 3) < 1e-3)


# Times: five-minute points anywhere in 61 days, with more of them where periods begin and end.
SLOTS = int(61 * DAY / timedelta(minutes=5))
edges = st.sampled_from([int(d * DAY / timedelta(minutes=5)) for d in (0, 1, 2, 7, 14, 30, 60)])
near = st.builds(lambda edge, off: min(max(edge + off, 1), SLOTS), edges, st.integers(-30, 30))
times = st.builds(lambda back: END - back * timedelta(minutes=5), st.one_of(st.integers(1, SLOTS), near))
values = st.one_of(
    st.floats(0, 100).map(lambda value: round(value, 4)),
    st.sampled_from([0.0, -1.0, 1e15, -1e15, 3.5]),
    st.floats(-1e6, 1e6).map(lambda value: round(value, 4)),
    st.builds(lambda v: 1e12 + v, st.integers(0, 1000)),
)
lines = st.builds(
    lambda first, count, step, start, rise: {
        first + i * step * timedelta(minutes=5): start + i * rise
        for i in range(count)
        if first + i * step * timedelta(minutes=5) < END
    },
    times, st.integers(1, 40), st.sampled_from([1, 1, 2]),
    st.integers(-500, 500).map(lambda tenths: tenths / 10), st.sampled_from([0.0, 0.25, -3.0]),
)  # fmt: skip
series_points = st.one_of(st.dictionaries(times, values, min_size=1, max_size=5), lines)
keys = st.tuples(
    st.sampled_from(["acme", "globex"]),
    st.sampled_from(["aws", "gcp"]),
    st.sampled_from(["i-1", "i-2", "gone"]),
    st.sampled_from(["cpu_utilization", "disk_read"]),
)
worlds = st.dictionaries(keys, series_points, min_size=1, max_size=3)


def correct(world: World, corrections: Mapping[int, float], *, vanishes: bool) -> tuple[World, datetime]:
    """Change the first window of the first series in `world`; returns what its slice holds now, and which it is."""
    (owner, points), *_ = world.items()
    window = windows.floor(min(points))
    for place, value in corrections.items():
        points[window + timedelta(minutes=5 * place)] = value
    found = {}
    for key in [key for key in world if key[:2] == owner[:2]]:
        if vanishes and key != owner:
            world[key] = {at: value for at, value in world[key].items() if windows.floor(at) != window}
        found[key] = {at: value for at, value in world[key].items() if windows.floor(at) == window}
    return found, window


def assert_same(seen: Mapping[str, Any], row: Mapping[str, Any], largest: float) -> None:
    """Equal but for rounding, which grows with the largest value."""
    for name, value in row.items():
        if not isinstance(value, float):
            assert seen[name] == value, name
            continue
        slack = largest * 1e-12
        if name == "slope_per_day":
            slack *= DAY / timedelta(minutes=5)
        if name == "change_percent":
            before = abs(row["mean"] - row["change"])  # 0 where it is lost beside a huge mean
            slack = slack * 100 * (1 + abs(value)) / before if before else abs(value) * 1e-6
        assert seen[name] == pytest.approx(value, rel=1e-6, abs=slack), name


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(world=worlds, corrections=st.dictionaries(st.integers(0, 2), values, max_size=2), vanishes=st.booleans())
def test_trends_are_those_of_the_points(
    clickhouse: ClickHouse, world: World, corrections: dict[int, float], vanishes: bool
) -> None:
    with clickhouse.session() as client:
        for table in ("performance_metrics", "metric_batches", *ROLLUPS):
            client.command(f"TRUNCATE TABLE {table}")
    collect(clickhouse, world)
    roll_up(clickhouse, [windows.floor(at) for points in world.values() for at in points])
    if corrections:
        again, window = correct(world, corrections, vanishes=vanishes)
        collect(clickhouse, again)
        roll_up(clickhouse, [window])
    with clickhouse.session() as client:
        client.command("TRUNCATE TABLE performance_metrics")  # trends read the rollups alone
    compute(clickhouse, "performance_trends", [NOW])

    newest = max((windows.floor(at) for points in world.values() for at in points if at >= NOW), default=NOW - Q)
    found = {
        (r["customer_id"], r["provider"], r["resource_id"], r["metric_name"], r["days"]): r
        for r in select(clickhouse, "SELECT * FROM performance_trends_current")
    }
    expected = {
        (*key, days): row
        for key, points in world.items()
        for days in PERIODS
        if points and (row := trend(points, days, newest + Q))
    }
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        points = world[key[:4]]
        if on_the_fence(points, key[4]):
            row["direction"] = found[key]["direction"]
        assert_same(found[key], row, max(map(abs, points.values())))


# --- A window, an hour --------------------------------------------------------------------------------------------


MINUTES = timedelta(minutes=1)


def test_by_resource_says_each_series_of_the_window(clickhouse: ClickHouse) -> None:
    at = {NOW: 4.0, NOW + 5 * MINUTES: 8.0, NOW + 10 * MINUTES: 3.0}
    collect(clickhouse, {("acme", "aws", "i-1", "cpu_utilization"): {**at, NOW + Q: 99.0}})
    compute(clickhouse, "performance_by_resource", [NOW])
    (row,) = rows_of(clickhouse, "performance_by_resource")
    assert (row["points"], row["mean"], row["minimum"], row["maximum"]) == (3, 5.0, 3.0, 8.0)
    assert (row["last_value"], row["last_at"]) == (3.0, NOW + 10 * MINUTES)
    assert (row["resource_name"], row["resource_type"], row["region"]) == ("I-1", "compute", "us-east-1")
    assert (row["metric_type"], row["statistic"], row["unit"]) == ("cpu", "average", "percent")


def test_a_rollup_is_of_the_whole_hour_and_of_what_is_published_now(clickhouse: ClickHouse) -> None:
    key = ("acme", "aws", "i-1", "cpu_utilization")
    collect(clickhouse, {key: {NOW - 5 * MINUTES: 7.0, NOW: 4.0, NOW + 50 * MINUTES: 2.0, END: 7.0}})
    compute(clickhouse, "performance_hourly", [NOW])
    collect(clickhouse, {key: {NOW + 45 * MINUTES: 9.0, NOW + 50 * MINUTES: 3.0}})
    compute(clickhouse, "performance_hourly", [NOW])
    (row,) = rows_of(clickhouse, "performance_hourly")
    assert (row["n"], row["expected"], row["total"], row["minimum"], row["maximum"]) == (3, 12, 16.0, 3.0, 9.0)
    assert (row["values"], row["first_at"], row["period_seconds"]) == ([3.0, 4.0, 9.0], NOW, 300)


ROLLUPS = ("performance_hourly", "performance_daily", "performance_trends")
