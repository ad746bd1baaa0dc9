"""What left all that it was in two weeks: against plain Python on random worlds, and on labelled real series."""

from __future__ import annotations

import csv
import json
import math
import random
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.sql import readers
from tests.storage import performance_world
from tests.storage.performance_world import Point, World
from tests.support.engines import copy_migrated
from tests.support.samples import select

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

HOUR, DAY = 3600, 86400
ANOMALIES = readers()["performance", "anomalies"]
# Rows expire after weeks, so what is drawn is of now.
TODAY = windows.floor_to(timedelta(days=1), datetime.now(UTC))
MIDNIGHT = int(TODAY.timestamp())
Key = tuple[str, str, str, str]  # provider, resource, metric, statistic
Range = tuple[float, float]


@dataclass
class Series:
    """The lowest and highest value of each hour, by the hour's second, and the id that the instance had then."""

    hours: dict[int, Range]
    uids: dict[int, str] = field(default_factory=dict)
    period: int = 300

    def days(self) -> dict[tuple[int, str], Range]:
        """Those of each day and id."""
        of_day: dict[tuple[int, str], list[Range]] = defaultdict(list)
        for hour, values in self.hours.items():
            of_day[hour // DAY * DAY, self.uids.get(hour, "")].append(values)
        return {key: (min(low for low, _ in of), max(high for _, high in of)) for key, of in of_day.items()}


def publish(client: Client, world: Mapping[Key, Series], since: int, *, replaced: bool = True) -> None:
    """Publish the hours from `since` on and all whole days before today, beside what a later batch has `replaced`."""
    batches = (1, 2) if replaced else (2,)
    tables: dict[str, list[list[Any]]] = {"performance_hourly": [], "performance_daily": []}
    for (provider, resource, metric, statistic), series in world.items():
        who = ["acme", provider, resource, f"name of {resource}", "compute", "r-1", "cpu", metric, statistic, "percent"]
        first = min(series.hours)
        for hour, (low, high) in series.hours.items():
            if hour >= since:
                at = [hour, hour, 2, low, high, series.uids.get(hour, ""), series.period]
                old = [*who, hour, hour, 1, low - 1e6, high + 1e6, *at[5:]]
                tables["performance_hourly"] += [[*who, *at], old][: len(batches)]
        for (day, uid), (low, high) in series.days().items():
            if day < MIDNIGHT:
                at = [day, max(day, first), 2, low, high, uid, series.period]
                old = [*who, day, day, 1, low - 1e6, high + 1e6, *at[5:]]
                tables["performance_daily"] += [[*who, *at], old][: len(batches)]
    names = ["customer_id", "provider", "resource_id", "resource_name", "resource_type", "region", "metric_type",
             "metric_name", "statistic", "unit", "window_start", "first_at", "batch", "minimum", "maximum",
             "instance_uid", "period_seconds"]  # fmt: skip
    for table, rows in tables.items():
        client.insert(table, rows, column_names=names)
        ledger = [[table, "", "", start, batch, "ok"] for start in {row[10] for row in rows} for batch in batches]
        ledger_columns = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
        client.insert("metric_batches", ledger, column_names=ledger_columns)


def told(hours: Mapping[int, Range], end: int) -> dict[str, Any] | None:
    """What is told of a series at the end of an hour."""
    days: dict[int, list[Range]] = defaultdict(list)
    for hour, values in hours.items():
        days[hour // DAY * DAY].append(values)
    found: dict[str, Any] | None = None
    for hour in sorted(hours):
        day = hour // DAY * DAY
        before = [days[one] for one in days if day - 14 * DAY <= one < day]
        if not end - 72 * HOUR <= hour < end or len(before) < 3:
            continue
        so_far = [*before, [values for at, values in hours.items() if day <= at < hour]]
        lowest = min(low for of in so_far for low, _ in of)
        highest = max(high for of in so_far for _, high in of)
        usual = max(
            statistics.median(max(high for _, high in of) for of in before)
            - statistics.median(min(low for low, _ in of) for of in before),
            0.01 * max(abs(lowest), abs(highest)),
        )
        above, below = hours[hour][1] - highest, lowest - hours[hour][0]
        beyond = max(above, below)
        is_quiet = found is not None and hour - found["since"] < DAY
        if beyond > 0 and beyond > 0.25 * usual and not is_quiet:
            found = {
                "since": hour, "direction": "above" if above == beyond else "below", "minimum_before": lowest,
                "maximum_before": highest, "usual_range": usual, "days_before": len(before),
            }  # fmt: skip
    if found is None or found["since"] < end - DAY:
        return None
    since = [values for hour, values in hours.items() if found["since"] <= hour < end]
    is_above = found["direction"] == "above"
    found["value"] = max(high for _, high in since) if is_above else min(low for low, _ in since)
    far = found["value"] - found["maximum_before"] if is_above else found["minimum_before"] - found["value"]
    found["ranges"] = far / found["usual_range"] if found["usual_range"] else None
    return found


def by_instance(series: Series) -> dict[str, dict[int, Range]]:
    """The hours of each id; those that tell none belong to the first id."""
    told_ids = [series.uids[hour] for hour in sorted(series.hours) if series.uids.get(hour)]
    found: dict[str, dict[int, Range]] = defaultdict(dict)
    for hour, values in series.hours.items():
        found[series.uids.get(hour) or next(iter(told_ids), "")][hour] = values
    return found


def drawn(seed: int) -> dict[Key, Series]:
    """A world of some sixty series over 20 days, each with something odd in its last days or not."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    world = {}
    for number in range(60):
        level, noise = chance.choice([0.0, 1.0, 50.0, -20.0, 1e9]), chance.choice([0.0, 0.001, 1.0, 10.0])
        days = chance.choice([2, 3, 4, 9, 14, 16, 20])
        lacking = chance.choice([0.0, 0.0, 0.1, 0.6])
        first = MIDNIGHT - days * DAY + chance.randrange(24) * HOUR
        hours = {}
        for hour in range(first, MIDNIGHT + 20 * HOUR, HOUR):
            low = level + noise * chance.random()
            if chance.random() >= lacking:
                hours[hour] = (low, low + noise * chance.random())
        for _ in range(chance.choice([0, 1, 1, 2, 5])):
            at = MIDNIGHT + 19 * HOUR - chance.randrange(80) * HOUR
            move = chance.choice([-1, 1]) * chance.choice([0.0, 0.3, 1.0, 4.0, 4.0]) * (noise or 1.0)
            for hour in range(at, at + chance.choice([1, 1, 3, 30]) * HOUR, HOUR):
                if hour in hours:
                    hours[hour] = (hours[hour][0] + min(move, 0), hours[hour][1] + max(move, 0))
        replaced = chance.choice([0, 0, MIDNIGHT - 10 * DAY, MIDNIGHT - 5 * DAY, MIDNIGHT - DAY])
        ids = chance.choice([("", ""), ("a", "a"), ("", "a"), ("a", "b"), ("", "b")])
        uids = {hour: ids[hour >= replaced] for hour in hours}
        if hours:
            key = (
                chance.choice(["aws", "gcp"]),
                f"r-{number}",
                "cpu_utilization",
                chance.choice(["average", "maximum"]),
            )
            world[key] = Series(hours, uids, 86400 if number == 0 else 300)
    return world


@pytest.mark.parametrize("seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(2, 12))])
def test_every_column_is_what_plain_python_says(chdb_url: str, seed: int) -> None:
    world = drawn(seed)
    clickhouse = ClickHouse(chdb_url)
    ends = [TODAY + timedelta(hours=at) for at in (-20, -1, 0, 1, 12, 19)]
    with clickhouse.session() as client:
        publish(client, world, MIDNIGHT - 6 * DAY)
        compute(clickhouse, ANOMALIES, ends)
        rows = select(clickhouse, f"SELECT * FROM {ANOMALIES.view}")  # noqa: S608
        compute(clickhouse, ANOMALIES, ends[:3])  # the windows of before, again
        assert sorted(map(repr, rows)) == sorted(map(repr, select(clickhouse, f"SELECT * FROM {ANOMALIES.view}")))  # noqa: S608
    expected = {}
    for start in ends:
        for key, series in world.items():
            for uid, hours in by_instance(series).items() if series.period < DAY else ():
                if row := told(hours, int(start.timestamp()) + HOUR):
                    expected[start, *key, uid] = row
    said = {
        (r["window_start"], r["provider"], r["resource_id"], r["metric_name"], r["statistic"], r["instance_uid"]): r
        for r in rows
    }
    assert said.keys() == expected.keys()
    assert len(said) == len(rows) > 10
    for one, row in expected.items():
        of_key = said[one]
        assert of_key["since"] == datetime.fromtimestamp(row.pop("since"), UTC)
        for name, value in row.items():
            if isinstance(value, float):
                assert math.isclose(of_key[name], value, rel_tol=1e-9, abs_tol=1e-9), (one, name)
            else:
                assert of_key[name] == value, (one, name)
        assert (of_key["customer_id"], of_key["resource_name"]) == ("acme", f"name of {one[2]}")
        facts = [of_key[name] for name in ("resource_type", "region", "metric_type", "unit")]
        assert facts == ["compute", "r-1", "cpu", "percent"]


def test_points_that_are_collected_are_told_of_through_their_rollups(chdb_url: str) -> None:
    """A machine's processor is at 10 for four days, at 90 in an hour of today, and its neighbour's never moves."""
    world, now = World(), performance_world.NOW
    for name, last in (("odd", 90.0), ("usual", 10.5)):
        values = [(now - timedelta(days=back), 10.0 + back % 2) for back in range(4, 0, -1)]
        world.add(
            Point("acme", "aws", name, "cpu_utilization", "average", "i-1", name, 300, at, value, at)
            for at, value in [*values, (now, last)]
        )
    clickhouse = ClickHouse(chdb_url)
    with clickhouse.session():
        performance_world.publish(clickhouse, world)
        performance_world.roll_up(clickhouse, world.windows)
        compute(clickhouse, ANOMALIES, [now])
        [row] = select(clickhouse, f"SELECT * FROM {ANOMALIES.view}")  # noqa: S608
    assert (row["resource_id"], row["instance_uid"], row["since"], row["direction"]) == ("odd", "i-1", now, "above")
    figures = [row[name] for name in ("value", "minimum_before", "maximum_before", "days_before")]
    assert figures == [90.0, 10.0, 11.0, 4]
    assert row["ranges"] == pytest.approx((90 - 11) / row["usual_range"])


# --- The labelled series of the Numenta Anomaly Benchmark ------------------------------------------------------------

Labelled = tuple[list[int], list[float], list[tuple[int, int]]]  # times, values, and the windows of what is odd


def labelled(folder: Path) -> dict[str, Labelled]:
    """The real series, with the windows in which something odd is said to happen."""
    found = {}
    for name, spans in json.loads((folder / "labels_dev/combined_windows.json").read_text()).items():
        if name.startswith("real"):
            with (folder / "data" / name).open() as file:
                rows = sorted((_seconds(row["timestamp"]), float(row["value"])) for row in csv.DictReader(file))
            found[name] = ([at for at, _ in rows], [value for _, value in rows], [_span(one) for one in spans])
    return found


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp())


def _span(ends: Sequence[str]) -> tuple[int, int]:
    return _seconds(ends[0]), _seconds(ends[1])


def hours_of(times: Sequence[int], values: Sequence[float]) -> dict[int, Range]:
    found: dict[int, Range] = {}
    for at, value in zip(times, values, strict=True):
        low, high = found.get(at // HOUR * HOUR, (value, value))
        found[at // HOUR * HOUR] = (min(low, value), max(high, value))
    return found


def three_sigmas(times: Sequence[int], values: Sequence[float]) -> list[int]:
    """The hours in which a point is three standard deviations off the mean of 14 days, with the same quiet after it."""
    at, value = np.array(times), np.array(values)
    sums, squares = (np.concatenate([[0.0], np.cumsum(value**power)]) for power in (1, 2))
    first = np.searchsorted(at, at - 14 * DAY)
    n = np.maximum(np.arange(len(at)) - first, 1)
    mean = (sums[:-1] - sums[first]) / n
    deviation = np.sqrt(np.maximum((squares[:-1] - squares[first]) / n - mean**2, 0))
    is_off = (np.abs(value - mean) > 3 * deviation) & (deviation > 0) & (at - at[0] >= 3 * DAY)
    found: list[int] = []
    for one in at[is_off].tolist():
        if not found or one - found[-1] >= DAY:
            found.append(one)
    return [one // HOUR * HOUR for one in found]


def scored(series: Mapping[str, Labelled], events: Mapping[str, Iterable[int]]) -> dict[str, float]:
    """Precision and recall of events against windows, F1, and false events per series and week."""
    hits = windows_hit = false = labels = 0
    weeks = 0.0
    for name, (times, _, spans) in series.items():
        of_series = list(events.get(name, ()))
        is_in = [any(hour + HOUR > begin and hour <= end for begin, end in spans) for hour in of_series]
        hits, false = hits + sum(is_in), false + len(is_in) - sum(is_in)
        windows_hit += sum(any(hour + HOUR > begin and hour <= end for hour in of_series) for begin, end in spans)
        labels += len(spans)
        weeks += (times[-1] - times[0]) / (7 * DAY)
    precision, recall = hits / (hits + false), windows_hit / labels
    return {
        "precision": precision, "recall": recall, "f1": 2 * precision * recall / (precision + recall),
        "false_per_week": false / weeks,
    }  # fmt: skip


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)])
def test_on_labelled_real_series_it_beats_three_sigmas(shared_data: Path, tmp_path: Path, every: int) -> None:
    """Each day of each series is a series of its own, moved to yesterday: 24 windows tell what is said of all."""
    series = dict([*labelled(shared_data / "nab").items()][::every])
    yesterday, world, of = MIDNIGHT - DAY, {}, {}
    for name, (times, values, _) in series.items():
        hours = hours_of(times, values)
        for day in range(min(hours) // DAY * DAY, max(hours) + 1, DAY):
            moved = {h + yesterday - day: values for h, values in hours.items() if day - 18 * DAY <= h < day + DAY}
            key = ("aws", f"{name} {day}", "metric", "average")
            world[key], of[f"{name} {day}"] = Series(moved), (name, day)
    clickhouse = ClickHouse(f"chdb://{copy_migrated(tmp_path / 'clickhouse')}")
    events: dict[str, list[int]] = defaultdict(list)
    with clickhouse.session() as client:
        publish(client, world, yesterday - 4 * DAY, replaced=False)
        compute(clickhouse, ANOMALIES, [TODAY - timedelta(hours=back) for back in range(1, 25)])
        said = select(clickhouse, f"SELECT resource_id, since FROM {ANOMALIES.view} WHERE since = window_start")  # noqa: S608
    for row in said:
        name, day = of[row["resource_id"]]
        events[name].append(int(row["since"].timestamp()) - yesterday + day)
    assert all(later - earlier >= DAY for hours in events.values() for earlier, later in pairwise(sorted(hours)))
    ours = scored(series, events)
    theirs = scored(series, {name: three_sigmas(times, values) for name, (times, values, _) in series.items()})
    assert (ours["f1"] >= 0.6, theirs["f1"] < 0.35) == (True, True)
    assert (ours["false_per_week"] <= 0.1, theirs["false_per_week"] > 1) == (True, True)
