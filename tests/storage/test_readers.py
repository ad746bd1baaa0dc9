"""The readers' SQL over small data by hand, against plain Python; and the inventory that collections work from."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import math
import statistics
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import inventory, schema
from optiinfra_dagster.storage.reader_writer import compute, write_select
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import read_sql, readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.samples import EARLY, collected, failed, resource, select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.storage.clickhouse import ClickHouse

# Readers' rows expire after days, so their windows are of today.
NOW = windows.floor(datetime.now(UTC)) - timedelta(hours=1)
Q = windows.WINDOW


def performance(clickhouse: ClickHouse, *lot: SliceResult) -> None:
    Writer(clickhouse, schema.PERFORMANCE).flush(list(lot))


def inventoried(
    clickhouse: ClickHouse, customer: str, window: datetime, found: Sequence[Resource], **changes: Any
) -> None:
    rows = resource_rows(customer, "aws", window, found, EARLY)
    status = changes.pop("status", SliceStatus.OK)
    Writer(clickhouse, schema.RESOURCE).flush([SliceResult(customer, "aws", [window], status, rows=rows, **changes)])


def read(clickhouse: ClickHouse, reader: str, window: datetime = NOW) -> list[dict[str, Any]]:
    """What the reader publishes for a window."""
    counts = write_select(clickhouse, reader, read_sql(f"readers/{reader}"), [window])
    rows = select(
        clickhouse,
        f"SELECT * FROM {reader}_current WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL",
        at=window,
    )
    assert counts == {window: len(rows)}
    return rows


def test_latest_is_the_newest_point_of_the_newest_published_window(clickhouse: ClickHouse) -> None:
    performance(clickhouse, collected(span=[NOW - Q], names=["i-1", "deleted"], values=[1, 2]))
    performance(clickhouse, collected(span=[NOW], names=["i-1"], values=[5, 9, 7]))
    performance(clickhouse, collected("dark", [NOW - 3 * Q], values=[4]), failed("dark", [NOW - 2 * Q, NOW - Q, NOW]))
    performance(clickhouse, collected("gone", [NOW - 96 * Q]), collected("day-old", [NOW - 95 * Q], values=[3]))
    performance(clickhouse, collected("later", [NOW + Q]))

    rows = read(clickhouse, "performance_latest")

    found = {row["customer_id"]: row for row in rows}
    assert {name: (r["resource_id"], r["metric_value"], r["timestamp"], r["as_of"]) for name, r in found.items()} == {
        "acme": ("i-1", 7, NOW + timedelta(minutes=2), NOW),
        "dark": ("i-1", 4, NOW - 3 * Q, NOW - 3 * Q),
        "day-old": ("i-1", 3, NOW - 95 * Q, NOW - 95 * Q),
    }
    assert len(rows) == 3


def test_latest_sees_published_rows_only(clickhouse: ClickHouse) -> None:
    performance(clickhouse, collected(span=[NOW], values=[1]))

    def stop(step: str) -> None:
        if step == "verified":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        Writer(clickhouse, schema.PERFORMANCE, steps=stop).flush([collected(span=[NOW], values=[2])])
    assert [row["metric_value"] for row in read(clickhouse, "performance_latest")] == [1]
    assert [row["maximum"] for row in read(clickhouse, "performance_summary")] == [1]


def test_a_customer_whose_newest_window_is_empty_has_no_latest(clickhouse: ClickHouse) -> None:
    performance(clickhouse, collected(span=[NOW - Q]))
    performance(clickhouse, collected(span=[NOW], rows=None))
    assert read(clickhouse, "performance_latest") == []


@pytest.mark.parametrize("count", [1, 2, 14])
def test_the_summarys_figures_are_those_of_the_points(clickhouse: ClickHouse, count: int) -> None:
    values = [(i * 37 % 101) / 7 for i in range(count)]
    others = [v + 0.25 for v in values]
    performance(
        clickhouse,
        collected(span=[NOW], names=["i-1"], values=values),
        collected("hooli", [NOW], names=["i-1", "i-2"], values=others, status=SliceStatus.PARTIAL, error="throttled"),
        collected("elsewhen", [NOW - Q]),
    )

    rows = {row["customer_id"]: row for row in read(clickhouse, "performance_summary")}

    assert rows.keys() == {"acme", "hooli"}
    for row, points, resources in ((rows["acme"], values, 1), (rows["hooli"], others * 2, 2)):
        assert (row["resources"], row["points"]) == (resources, len(points))
        assert (row["minimum"], row["maximum"]) == (min(points), max(points))
        assert row["mean"] == pytest.approx(statistics.fmean(points))
        assert row["p95"] == pytest.approx(inclusive(points, 0.95))
        assert (row["metric_name"], row["statistic"], row["unit"]) == ("cpu_utilization", "average", "percent")
    assert (rows["acme"]["complete"], rows["hooli"]["complete"]) == (True, False)


def inclusive(points: Sequence[float], share: float) -> float:
    """The interpolated quantile that includes minimum and maximum, as PERCENTILE.INC and NumPy compute it."""
    ordered = sorted(points)
    place = (len(ordered) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def test_a_reader_that_is_computed_again_replaces_its_window(clickhouse: ClickHouse) -> None:
    performance(clickhouse, collected(span=[NOW], names=["i-1", "i-2"]))
    assert len(read(clickhouse, "performance_latest")) == 2
    performance(clickhouse, collected(span=[NOW], names=["i-2"]))

    assert [row["resource_id"] for row in read(clickhouse, "performance_latest")] == ["i-2"]
    assert select(clickhouse, "SELECT count() AS n FROM performance_latest_current") == [{"n": 1}]


def test_a_range_of_windows_is_computed_in_one_go(clickhouse: ClickHouse) -> None:
    span = windows.span(NOW - 3 * Q, NOW)
    performance(clickhouse, *(collected(span=[w], values=[i]) for i, w in enumerate(span)))
    for _ in range(2):
        counts = write_select(clickhouse, "performance_summary", read_sql("readers/performance_summary"), span[1:3])
        assert counts == dict.fromkeys(span[1:3], 1)
    rows = select(clickhouse, "SELECT window_start, maximum FROM performance_summary_current ORDER BY ALL")
    assert [tuple(row.values()) for row in rows] == [(span[1], 1), (span[2], 2)]
    assert select(clickhouse, "SELECT count() AS n FROM performance_summary_current") == [{"n": 2}]


@pytest.mark.parametrize("step", ["inserted", "verified", "published"])
def test_an_interrupted_reader_leaves_the_old_or_the_new(clickhouse: ClickHouse, step: str) -> None:
    performance(clickhouse, collected(span=[NOW], values=[1]))
    assert [row["maximum"] for row in read(clickhouse, "performance_summary")] == [1]
    performance(clickhouse, collected(span=[NOW], values=[2]))

    def stop(name: str) -> None:
        if name == step:
            raise InterruptedError

    sql = read_sql("readers/performance_summary")
    with pytest.raises(InterruptedError):
        write_select(clickhouse, "performance_summary", sql, [NOW], steps=stop)
    seen = select(clickhouse, "SELECT maximum FROM performance_summary_current")
    assert seen == [{"maximum": 2.0 if step == "published" else 1.0}]

    assert [row["maximum"] for row in read(clickhouse, "performance_summary")] == [2]
    assert select(clickhouse, "SELECT count() AS n FROM performance_summary_current") == [{"n": 1}]


def test_inventory_and_its_summary_are_of_the_newest_inventory(clickhouse: ClickHouse) -> None:
    inventoried(clickhouse, "acme", NOW - Q, [resource("deleted"), resource("i-1")])
    found = [
        resource("i-1", capacity=4.0, unit="vcpu"),
        resource("i-2", capacity=8.0, unit="vcpu"),
        resource("i-3", unit="vcpu", status=Status.STOPPED),
    ]
    inventoried(clickhouse, "acme", NOW, found)
    inventoried(clickhouse, "hooli", NOW - 2 * Q, [resource("h-1")], status=SliceStatus.PARTIAL, error="throttled")
    inventoried(clickhouse, "gone", NOW - 96 * Q, [resource("g-1")])

    rows = read(clickhouse, "resource_inventory")
    assert {(r["customer_id"], r["resource_id"], r["as_of"], r["complete"]) for r in rows} == {
        ("acme", "i-1", NOW, True),
        ("acme", "i-2", NOW, True),
        ("acme", "i-3", NOW, True),
        ("hooli", "h-1", NOW - 2 * Q, False),
    }
    summary = read(clickhouse, "resource_summary")
    assert {(r["customer_id"], r["status"], r["resources"], r["capacity"], r["complete"]) for r in summary} == {
        ("acme", "running", 2, 12.0, True),
        ("acme", "stopped", 1, None, True),
        ("hooli", "running", 1, None, False),
    }


def test_resources_are_counted_by_account_and_type(clickhouse: ClickHouse) -> None:
    """Of the newest inventory only: what an older one had does not count."""
    inventoried(clickhouse, "acme", NOW - Q, [resource("gone", account_id="222")])
    inventoried(
        clickhouse,
        "acme",
        NOW,
        [
            resource("a", account_id="111"),
            resource("b", account_id="111", region="eu-west-1", status=Status.STOPPED),
            resource("c", account_id="222"),
        ],
    )
    compute(clickhouse, readers()["resource", "by_account"], [NOW])
    found = select(clickhouse, "SELECT * FROM resource_by_account_current ORDER BY account_id")
    shown = [
        (row["account_id"], row["resource_type"], row["resources"], row["running"], row["regions"]) for row in found
    ]
    assert shown == [("111", "compute", 2, 1, 2), ("222", "compute", 1, 1, 1)]


# --- The inventory that collections work from -----------------------------------------------------------------------


def newest(clickhouse: ClickHouse, window: datetime = NOW, *customers: str) -> dict[str, list[str]]:
    """Resource ids per customer."""
    found = inventory.newest(clickhouse, "aws", customers or ("acme", "hooli"), window, lookback=timedelta(days=2))
    return {customer: [r.resource_id for r in listed.resources] for customer, listed in found.items()}


def test_the_newest_inventory_at_or_before_the_window_is_taken(clickhouse: ClickHouse) -> None:
    inventoried(clickhouse, "acme", NOW - 2 * Q, [resource("old"), resource("i-1")])
    inventoried(clickhouse, "acme", NOW - Q, [resource("i-1")])
    inventoried(clickhouse, "acme", NOW + Q, [resource("new")])
    assert newest(clickhouse) == {"acme": ["i-1"]}
    assert newest(clickhouse, NOW - 2 * Q) == {"acme": ["i-1", "old"]}


def test_a_window_before_every_inventory_takes_the_oldest(clickhouse: ClickHouse) -> None:
    inventoried(clickhouse, "acme", NOW - Q, [resource("first")])
    inventoried(clickhouse, "acme", NOW, [resource("second")])
    assert newest(clickhouse, NOW - 9 * Q) == {"acme": ["first"]}


def test_a_partial_inventory_is_completed_by_the_whole_one_before(clickhouse: ClickHouse) -> None:
    inventoried(clickhouse, "acme", NOW - 3 * Q, [resource("long gone")])
    inventoried(clickhouse, "acme", NOW - 2 * Q, [resource("a"), resource("b", tags={"v": "1"})])
    inventoried(clickhouse, "acme", NOW - Q, [resource("b", tags={"v": "2"})], status=SliceStatus.PARTIAL, error="e")
    inventoried(clickhouse, "acme", NOW, [resource("c")], status=SliceStatus.PARTIAL, error="e")
    assert newest(clickhouse) == {"acme": ["a", "b", "c"]}
    listed = inventory.newest(clickhouse, "aws", ["acme"], NOW, timedelta(days=1))["acme"]
    assert listed.window == NOW
    a, b, c = listed.resources
    assert b.tags == {"v": "2"}
    assert (a.status, c.status) == (Status.UNKNOWN, Status.RUNNING)


def test_what_a_partial_inventory_did_not_look_for_is_not_taken_from_the_one_before(clickhouse: ClickHouse) -> None:
    """An account that was taken out of the customers file, or a region, while another one cannot be listed."""
    before = [
        resource("kept", account_id="1", region="eu"),
        resource("global", account_id="1", region=""),
        resource("region-out", account_id="1", region="us"),
        resource("account-out", account_id="2"),
        resource("whole", account_id="3", region="anywhere"),
    ]
    inventoried(clickhouse, "acme", NOW - Q, before)
    scope = {"1": ["eu"], "3": []}
    found = [resource("seen", account_id="1", region="eu")]
    inventoried(clickhouse, "acme", NOW, found, status=SliceStatus.PARTIAL, error="e", scope=scope)
    inventoried(clickhouse, "hooli", NOW - Q, before)
    inventoried(clickhouse, "hooli", NOW, found, status=SliceStatus.PARTIAL, error="e")

    assert newest(clickhouse)["acme"] == ["global", "kept", "seen", "whole"]
    assert len(newest(clickhouse)["hooli"]) == 6  # as rows of before tell no scope


def test_partial_inventories_alone_are_what_there_is(clickhouse: ClickHouse) -> None:
    inventoried(clickhouse, "acme", NOW, [resource("a")], status=SliceStatus.PARTIAL, error="e")
    assert newest(clickhouse) == {"acme": ["a"]}


def test_no_inventory_is_not_an_empty_one(clickhouse: ClickHouse) -> None:
    inventoried(clickhouse, "hooli", NOW, [])
    inventoried(clickhouse, "ancient", NOW - 5 * 96 * Q, [resource("x")])
    assert newest(clickhouse, NOW, "acme", "hooli", "ancient") == {"hooli": []}


def test_a_resource_comes_back_as_it_was(clickhouse: ClickHouse) -> None:
    facts = {"n": 1, "flag": True, "none": None}
    given = resource("i-1", tags={"a": "ü"}, metadata=facts, created_at=NOW - 99 * Q, instance_uid="7")
    inventoried(clickhouse, "acme", NOW, [given])
    assert inventory.newest(clickhouse, "aws", ["acme"], NOW, timedelta(days=1)) == {
        "acme": inventory.InventorySnapshot(NOW, [given])
    }
