"""The outlook of costs: its SQL against plain Python on worlds drawn at random, by hand, and by replay of past months."""

from __future__ import annotations

import random
import shutil
from datetime import date, timedelta
from typing import Any

import pytest

from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.benchmarks.outlook import JUDGED_BY, MONTHS, computed, figures, keep_all_years, replay, table
from tests.support.outlook import Known, month_of, outlook, publish
from tests.support.outlook_worlds import World

D = timedelta(days=1)


@pytest.fixture
def place(migrated_folder: Any, tmp_path: Any) -> ClickHouse:
    """A place that keeps rows of any year."""
    shutil.copytree(migrated_folder, tmp_path / "clickhouse", symlinks=True)
    clickhouse = ClickHouse(f"chdb://{tmp_path / 'clickhouse'}")
    with clickhouse.session() as client:
        keep_all_years(client)
    return clickhouse


def spoiled(known: Known, rng: random.Random) -> Known:
    """What is known, with days missing, or only the last ones, or another kind of rows."""
    days = sorted(known.days)
    keep = set(days)
    how = rng.choice(["", "", "gaps", "young", "one day", "late", "partly", "corrected", "arriving"])
    if how == "gaps":
        keep -= set(rng.sample(days[-40:], rng.randint(1, 6)))
    elif how in ("young", "one day"):
        keep = set(days[-(rng.randint(5, 30) if how == "young" else 1) :])
    elif how == "late":
        keep -= set(days[-rng.randint(3, 9) :])
    known.days = {d: v for d, v in known.days.items() if d in keep}
    for of in (known.amounts, known.provisional):
        for name, amounts in of.items():
            of[name] = {d: v for d, v in amounts.items() if d in keep}
    for day in rng.sample(sorted(keep), min(len(keep), 4)):
        if how == "partly" and known.days[day][0] == "estimated":
            known.days[day] = "estimated", rng.choice([0.25, 0.5, 0.94, 0.96])
        elif how == "corrected" and known.days[day][0] == "billed":
            known.days[day] = "corrected", 0.0
    if how == "arriving":
        known.amounts["new", "Usage"], known.provisional["new", "Usage"] = {}, {}
    known.amounts = {name: v for name, v in known.amounts.items() if v or name[0] == "new"}
    return known


@pytest.mark.parametrize("today", [date(2025, 6, 1), date(2025, 3, 2), date(2024, 3, 10), date(2025, 8, 31)])
def test_every_figure_is_that_of_plain_python(place: ClickHouse, today: date) -> None:
    rng = random.Random(today.toordinal())  # noqa: S311
    worlds = {f"world-{seed}": World(seed, month_of(today, 3), today) for seed in range(40)}
    known = {name: spoiled(world.known(today), rng) for name, world in worlds.items()}
    with place.session() as client:
        publish(client, known)
        rows = computed(client, today)
    said = {(row["customer_id"], row["scope"], row["service_name"]): row for row in rows}
    assert len(said) == len(rows)
    expected = {(name, *key): row for name, one in known.items() for key, row in outlook(one).items()}
    assert said.keys() == expected.keys()
    for key, row in expected.items():
        found = {name: said[key][name] for name in row}
        close = {
            name: pytest.approx(value, rel=1e-6, abs=2e-6)
            for name, value in row.items() if isinstance(value, float)
        }  # fmt: skip
        assert {n: float(v) if n in close and v is not None else v for n, v in found.items()} == row | close, key
    assert {bool(row["is_unusual"]) for row in rows} == {True, False}
    assert len({row["reason"].translate(dict.fromkeys(b"0123456789")) for row in rows}) >= 4
