"""The direction of trends: rarely up or down where nothing changes, and found where something does.

The kinds of series are those that a slope over their points misreads: each point resembles the one before, each day
repeats itself, or weekdays differ. A world is the day rollups of many series at once, read by the reader itself.
"""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.sql import readers
from tests.support.engines import kept_open

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from optiinfra_dagster.storage.clickhouse import ClickHouse

    Days = NDArray[np.float64]  # the mean of each day, by series and day

DAY = timedelta(days=1)
# Rows expire, so the worlds are of now. The hour is one at noon: directions are of the days before its day.
TODAY = windows.floor_to(DAY, datetime.now(UTC)) - DAY
HOUR = TODAY + timedelta(hours=12)
POINTS, DAYS, SERIES = 288, 28, 400
STATIONARY = ("white", "AR0.95", "AR0.99", "AR0.997", "daily", "weekly", "backup")


def days_of(kind: str, rng: np.random.Generator, slope: float = 0.0) -> Days:
    """The day means of series of a kind, which rise by `slope` a day."""
    day, number = np.arange(DAYS), np.arange(SERIES)[:, None]
    if kind.startswith("AR"):
        means = 50 + _autoregressive(float(kind[2:]), rng)
    else:
        # The mean of a day's points is the mean of what repeats every day, and that of their independent noise.
        repeats, noise = {"white": (50, 1.0), "daily": (50, 3.0), "weekly": (0, 3.0), "backup": (45, 0.5)}[kind]
        means = repeats + rng.normal(scale=noise / np.sqrt(POINTS), size=(SERIES, DAYS))
    if kind == "weekly":
        means += np.where((day + number) % 7 < 5, 60, 20)
    return np.asarray(means + slope * day)


def _autoregressive(rho: float, rng: np.random.Generator) -> Days:
    """The day means of points of which each is `rho` of the one before, and noise."""
    value = rng.normal(size=SERIES) / np.sqrt(1 - rho * rho)
    means = np.zeros((DAYS, SERIES))
    for step in range(DAYS * POINTS):
        value = rho * value + rng.normal(size=SERIES)
        means[step // POINTS] += value / POINTS
    return means.T


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    clickhouse = kept_open(tmp_path_factory.mktemp("directions") / "clickhouse")
    with clickhouse.session():
        yield clickhouse


def read(
    clickhouse: ClickHouse, worlds: Mapping[str, NDArray[Any]], n: Mapping[str, NDArray[Any]] | None = None
) -> list[dict[str, Any]]:
    """The trends of the worlds' series, each called `<world> <number>`. A day that is NaN has no rollup.

    `n` is how many points the days of some worlds have, where not all.
    """
    reader = readers()["performance", "trends"]
    rows: dict[str, list[Any]] = {name: [] for name in ("resource_id", "window_start", "total", "n")}
    for world, days in worlds.items():
        points = np.broadcast_to((n or {}).get(world, np.array(POINTS)), days.shape).astype(int)
        series, day = np.nonzero(~np.isnan(days))
        rows["resource_id"] += [f"{world} {number}" for number in series.tolist()]
        rows["window_start"] += [TODAY - (DAYS - number) * DAY for number in day.tolist()]
        rows["total"] += (days * points)[series, day].tolist()
        rows["n"] += points[series, day].tolist()
    same: dict[str, Any] = {
        "batch": 1, "customer_id": "acme", "provider": "aws", "metric_name": "cpu_utilization", "statistic": "average",
        "expected": POINTS, "period_seconds": 86400 // POINTS, "minimum": 0.0, "maximum": 1.0,
    }  # fmt: skip
    constant = {name: [value] * len(rows["n"]) for name, value in same.items()}
    with clickhouse.session() as client:
        for name in ("performance_daily", "metric_batches", reader.table):
            client.command(f"TRUNCATE TABLE {name}")
        client.insert_arrow("performance_daily", pa.table({**rows, "first_at": rows["window_start"], **constant}))
        ledger = [["performance_daily", "", "", TODAY - back * DAY, 1, "ok"] for back in range(1, DAYS + 1)]
        names = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
        client.insert("metric_batches", ledger, column_names=names)
        compute(clickhouse, reader, [HOUR])
        found = client.query("SELECT resource_id, days, direction, slope_per_day FROM performance_trends_current")
        return list(found.named_results())


Said = dict[tuple[str, int], Counter[str]]


def said(rows: list[dict[str, Any]]) -> Said:
    """How many series of each world have each direction, by the days of the period."""
    found: Said = {}
    for row in rows:
        found.setdefault((row["resource_id"].rpartition(" ")[0], row["days"]), Counter())[row["direction"]] += 1
    return found


def test_where_nothing_changes_up_or_down_is_said_of_three_in_a_hundred_at_most(clickhouse: ClickHouse) -> None:
    rng = np.random.default_rng(2026)
    found = said(read(clickhouse, {kind: days_of(kind, rng) for kind in STATIONARY}))
    for kind in STATIONARY:
        for days in (7, 30):
            seen = found[kind, days]
            assert seen["up"] + seen["down"] <= 0.03 * SERIES, (kind, days, seen)
            assert seen["unknown"] == 0


@pytest.mark.long
def test_neither_is_it_of_thousands_of_the_kind_that_wanders_most(clickhouse: ClickHouse) -> None:
    """2.85 % of 30 days. Of 400 series chance alone makes up to 22 of 3 %, so these are as many as a bound needs."""
    wrong = Counter[int]()
    for seed in range(100, 120):
        found = said(read(clickhouse, {"AR0.997": days_of("AR0.997", np.random.default_rng(seed))}))
        for (_, days), seen in found.items():
            wrong[days] += seen["up"] + seen["down"]
    assert wrong.keys() == {7, 30}
    assert max(wrong.values()) <= 0.03 * 20 * SERIES


def test_a_real_slope_is_found_in_three_of_four(clickhouse: ClickHouse) -> None:
    rng = np.random.default_rng(47)
    slopes = {"daily": 0.5, "weekly": 0.5, "AR0.99": 0.5, "daily, steep": 1.0, "daily, falling": -0.5}
    rows = read(clickhouse, {name: days_of(name.partition(",")[0], rng, slope) for name, slope in slopes.items()})
    found = said(rows)
    for name, slope in slopes.items():
        right, wrong = ("up", "down") if slope > 0 else ("down", "up")
        assert found[name, 30][right] >= 0.75 * SERIES, (name, found[name, 30])
        assert found[name, 30][wrong] == 0
        if name != "AR0.99":  # which moves by more than that from one week to the next
            assert found[name, 7][right] >= 0.75 * SERIES
        of_world = [row["slope_per_day"] for row in rows if row["resource_id"].startswith(f"{name} ")]
        assert np.mean([value for value in of_world if value is not None]) == pytest.approx(slope, rel=0.1)


def test_flat_is_said_where_a_slope_would_have_been_seen(clickhouse: ClickHouse) -> None:
    """Of 28 days 21 are needed, and of 7 days 5 beside their weekdays before; one that is known in part is none."""
    cases = {
        "none": ([], "flat", "flat"),
        "seven": ([0, 1, 2, 3, 4, 5, 6], "flat", "flat"),
        "eight": ([0, 1, 2, 3, 4, 5, 6, 7], "flat", "unknown"),
        "two pairs": ([21, 15], "flat", "flat"),
        "three pairs": ([21, 22, 16], "unknown", "flat"),
    }
    days = 50 + np.random.default_rng(5).normal(size=(1, DAYS))
    lacks = {name: np.isin(np.arange(DAYS), numbers)[None] for name, (numbers, *_) in cases.items()}
    worlds = {f"{name} lacking": np.where(its, np.nan, days) for name, its in lacks.items()}
    worlds |= {f"{name} in part": days for name in cases}
    n = {f"{name} in part": np.where(its, int(0.89 * POINTS), POINTS) for name, its in lacks.items()}
    found = said(read(clickhouse, worlds, n))
    for name, (_, week, month) in cases.items():
        for how in ("lacking", "in part"):
            assert [*found[f"{name} {how}", 7]] == [week], (name, how)
            assert [*found[f"{name} {how}", 30]] == [month], (name, how)


def test_what_is_constant_is_flat_and_a_line_without_noise_is_not(clickhouse: ClickHouse) -> None:
    """Sums of 0.1 differ in their last digit with the number of points, which is no rise."""
    day = np.arange(DAYS)[None]
    worlds = {"constant": 0 * day + 0.1, "zero": 0.0 * day, "line": 1e6 + 0.5 * day, "weeks": 3.0 * (day % 7)}
    found = said(read(clickhouse, worlds, dict.fromkeys(worlds, np.where(day < 14, POINTS, 280))))
    for days in (7, 30):
        assert {name: [*found[name, days]] for name in worlds} == {
            "constant": ["flat"], "zero": ["flat"], "line": ["up"], "weeks": ["flat"],
        }  # fmt: skip
