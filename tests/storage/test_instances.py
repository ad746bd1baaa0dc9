"""What is replaced under its name stands apart from its predecessor: points, readers, changes; the switch to that."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.automation.checks import duplicate_keys
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.metrics import Series
from optiinfra_dagster.model.slices import MergeLatePoints, Replace, SliceResult, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.rows import performance_rows, resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.samples import CPU, EARLY, resource, select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.storage.clickhouse import ClickHouse

NOW = windows.floor(datetime.now(UTC)) - timedelta(hours=1)
Q = windows.WINDOW
MINUTE = timedelta(minutes=1)

WHOLE = Replace()

# uid, metric, minutes since NOW, value
Point = tuple[str, str, int, float]


def publish(
    clickhouse: ClickHouse, found: Sequence[Point], *, mode: Replace | MergeLatePoints = WHOLE, at: datetime = NOW
) -> None:
    """Publish points of the one machine `m`, of each uid as one collection has them, in the slice of NOW."""
    series = [
        Series(
            resource("m", instance_uid=uid),
            replace(CPU, name=metric, period=60),
            "average",
            [int((NOW + minute * MINUTE).timestamp())],
            [value],
        )
        for uid, metric, minute, value in found
    ]
    rows = performance_rows("acme", "aws", series, EARLY)
    result = SliceResult("acme", "aws", [NOW], SliceStatus.OK, rows=rows, mode=mode)
    Writer(clickhouse, schema.PERFORMANCE).flush([result])


def stored(clickhouse: ClickHouse) -> list[Point]:
    """The points that are published, in order."""
    rows = select(
        clickhouse,
        "SELECT instance_uid, metric_name, timestamp, metric_value FROM performance_metrics_current ORDER BY ALL",
    )
    return sorted(
        (r["instance_uid"], r["metric_name"], (r["timestamp"] - NOW) // MINUTE, r["metric_value"]) for r in rows
    )


def duplicates(clickhouse: ClickHouse) -> int:
    """The keys that stand twice, as the asset check counts them."""
    sql = duplicate_keys(schema.PERFORMANCE)
    rows = select(clickhouse, sql, provider="aws", first=0, last=int((NOW + Q).timestamp()))
    return sum(row["count()"] for row in rows)


def read(clickhouse: ClickHouse, family: str, name: str, window: datetime = NOW) -> list[dict[str, Any]]:
    reader = readers()[family, name]
    compute(clickhouse, reader, [window])
    return select(
        clickhouse, f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL", at=window
    )


def inventoried(clickhouse: ClickHouse, window: datetime, *found: Resource) -> None:
    rows = resource_rows("acme", "aws", window, found, EARLY)
    Writer(clickhouse, schema.RESOURCE).flush([SliceResult("acme", "aws", [window], SliceStatus.OK, rows=rows)])


def changes(clickhouse: ClickHouse, window: datetime = NOW) -> set[tuple[str, str, str, str, str]]:
    """What `resource/changes` tells of a window: name, uid, change, before, after."""
    return {
        (r["resource_name"], r["instance_uid"], r["change"], r["before"], r["after"])
        for r in read(clickhouse, "resource", "changes", window)
    }


# --- Late points ----------------------------------------------------------------------------------------------------


def test_a_window_read_again_after_the_switch_doubles_no_point(clickhouse: ClickHouse) -> None:
    """What was stored without a uid and what comes with one of the same time are one point."""
    publish(clickhouse, [("", "cpu", 0, 1), ("", "cpu", 5, 2), ("", "memory", 0, 7)])
    publish(clickhouse, [("b", "cpu", 0, 1), ("b", "cpu", 5, 3), ("b", "cpu", 10, 4)], mode=MergeLatePoints())
    assert stored(clickhouse) == [("", "memory", 0, 7), ("b", "cpu", 0, 1), ("b", "cpu", 5, 3), ("b", "cpu", 10, 4)]
    assert duplicates(clickhouse) == 0

    # And the other way round, as where an older version of the program goes on for a while.
    publish(clickhouse, [("", "cpu", 0, 1), ("", "cpu", 5, 3)], mode=MergeLatePoints())
    assert [point[1:] for point in stored(clickhouse)] == [
        ("cpu", 0, 1), ("cpu", 5, 3), ("memory", 0, 7), ("cpu", 10, 4),
    ]  # fmt: skip
    assert duplicates(clickhouse) == 0


def test_the_overlap_after_a_replacement_keeps_the_predecessors_points(clickhouse: ClickHouse) -> None:
    publish(clickhouse, [("a", "cpu", 0, 1), ("a", "cpu", 5, 2)])
    publish(clickhouse, [("b", "cpu", 5, 50), ("b", "cpu", 10, 60)], mode=MergeLatePoints())
    assert stored(clickhouse) == [("a", "cpu", 0, 1), ("a", "cpu", 5, 2), ("b", "cpu", 5, 50), ("b", "cpu", 10, 60)]


def test_points_without_a_uid_stand_twice_where_one_with_a_uid_is_beside_them(clickhouse: ClickHouse) -> None:
    """The check sees it, should such rows ever be."""
    publish(clickhouse, [("", "cpu", 0, 1), ("a", "cpu", 0, 1), ("b", "cpu", 0, 2)])
    assert duplicates(clickhouse) == 1


# --- Performance readers --------------------------------------------------------------------------------------------


def test_an_instance_and_its_predecessor_have_rows_of_their_own(clickhouse: ClickHouse) -> None:
    publish(clickhouse, [("a", "cpu", 0, 10), ("a", "cpu", 5, 20), ("b", "cpu", 10, 80), ("a", "memory", 5, 1)])
    rows = read(clickhouse, "performance", "by_resource")
    assert {(r["instance_uid"], r["metric_name"]): (r["points"], r["mean"], r["last_value"]) for r in rows} == {
        ("a", "cpu"): (2, 15, 20),
        ("b", "cpu"): (1, 80, 80),
        ("a", "memory"): (1, 1, 1),
    }
    latest = read(clickhouse, "performance", "latest")  # the predecessor's memory is not the instance's
    assert [(r["instance_uid"], r["metric_name"], r["metric_value"]) for r in latest] == [("b", "cpu", 80)]
    summary = read(clickhouse, "performance", "summary")
    assert {r["metric_name"]: (r["resources"], r["points"]) for r in summary} == {"cpu": (1, 3), "memory": (1, 1)}


def test_the_switch_splits_no_series(clickhouse: ClickHouse) -> None:
    """Points without a uid are those of the first instance named after them."""
    publish(clickhouse, [("", "cpu", 0, 10), ("a", "cpu", 5, 20), ("b", "cpu", 10, 80), ("", "memory", 0, 1)])
    rows = read(clickhouse, "performance", "by_resource")
    assert {(r["instance_uid"], r["metric_name"]): (r["points"], r["mean"]) for r in rows} == {
        ("a", "cpu"): (2, 15),
        ("b", "cpu"): (1, 80),
        ("a", "memory"): (1, 1),
    }


def test_latest_tells_what_has_totals_of_days_alone_as_long_as_it_is_listed(clickhouse: ClickHouse) -> None:
    """Such as the size of a bucket: no window has a point of it but the one in which its day becomes known."""
    publish(clickhouse, [("", "cpu", 0, 5)])
    metric, day = replace(CPU, name="storage_used", period=86400), timedelta(days=1)
    for window, value in ((NOW - 8 * Q - day, 1.0), (NOW - 8 * Q, 2.0)):
        at = int((windows.floor_to(day, window) - day).timestamp())
        series = [Series(resource(name), metric, "average", [at], [value], window) for name in ("bucket", "deleted")]
        rows = performance_rows("acme", "aws", series, EARLY)
        Writer(clickhouse, schema.PERFORMANCE).flush([SliceResult("acme", "aws", [window], SliceStatus.OK, rows=rows)])
    inventoried(clickhouse, NOW, resource("m"), resource("bucket"))
    told = {r["resource_id"]: (r["metric_value"], r["as_of"]) for r in read(clickhouse, "performance", "latest")}
    assert told == {"m": (5, NOW), "bucket": (2, NOW - 8 * Q)}


def test_what_has_no_uid_is_as_before(clickhouse: ClickHouse) -> None:
    publish(clickhouse, [("", "cpu", 0, 10), ("", "cpu", 5, 20)])
    for name, value in (("by_resource", "last_value"), ("latest", "metric_value")):
        rows = read(clickhouse, "performance", name)
        assert [(r["instance_uid"], r[value]) for r in rows] == [("", 20)]


# --- Changes ---------------------------------------------------------------------------------------------------------


def test_what_is_replaced_under_its_name_is_deleted_and_created_and_nothing_else(clickhouse: ClickHouse) -> None:
    old = resource("m", instance_uid="a", capacity=2.0, unit="vcpu", tags={"v": "1"}, region="eu-west-1")
    new = resource("m", instance_uid="b", status=Status.STOPPED, cloud_status="stopped", resource_name="other")
    inventoried(clickhouse, NOW - Q, old)
    inventoried(clickhouse, NOW, new)
    assert changes(clickhouse) == {("M", "a", "deleted", "running", ""), ("other", "b", "created", "", "stopped")}
    rows = read(clickhouse, "resource", "changes")
    assert {row["change"]: row["region"] for row in rows} == {"deleted": "eu-west-1", "created": "us-east-1"}


def test_the_switch_makes_no_change(clickhouse: ClickHouse) -> None:
    """Nor does a listing that does not tell the uid once."""
    for back, uid in ((3, ""), (2, "a"), (1, ""), (0, "a")):
        inventoried(clickhouse, NOW - back * Q, resource("m", instance_uid=uid))
        assert changes(clickhouse, NOW - back * Q) == set()


def test_a_terminated_machine_is_told_once(clickhouse: ClickHouse) -> None:
    """Of what is gone neither lost tags are told, nor that the listing has it no longer."""
    dead = {"status": Status.TERMINATED, "cloud_status": "terminated"}
    short = resource("short", **dead)  # it came and went between two inventories
    inventoried(clickhouse, NOW - 3 * Q, resource("m", tags={"Name": "m"}))
    inventoried(clickhouse, NOW - 2 * Q, resource("m", resource_name="i-1", **dead), short)
    inventoried(clickhouse, NOW - Q, resource("m", resource_name="i-2", **dead), short)
    inventoried(clickhouse, NOW)
    assert changes(clickhouse, NOW - 2 * Q) == {
        ("i-1", "", "status", "running", "terminated"),
        ("SHORT", "", "created", "", "terminated"),
    }
    assert changes(clickhouse, NOW - Q) == set()
    assert changes(clickhouse) == set()


def test_a_terminated_machine_counts_nowhere(clickhouse: ClickHouse) -> None:
    machine: dict[str, Any] = {"capacity": 2.0, "unit": "vCPU"}
    dead = {"status": Status.TERMINATED, "cloud_status": "terminated"}
    spots = [resource(f"spot-{i}", **machine, **dead) for i in range(8)]
    inventoried(clickhouse, NOW, resource("a", **machine), resource("b", **machine), *spots)
    (by_type,) = read(clickhouse, "resource", "by_type")
    assert {name: by_type[name] for name in ("resources", "running", "stopped", "other", "capacity")} == {
        "resources": 2, "running": 2, "stopped": 0, "other": 0, "capacity": 4,
    }  # fmt: skip
    (summary,) = read(clickhouse, "resource", "summary")
    assert (summary["status"], summary["resources"], summary["capacity"]) == ("running", 2, 4)
    (account,) = read(clickhouse, "resource", "by_account")
    assert (account["resources"], account["running"]) == (2, 2)
    assert len(read(clickhouse, "resource", "inventory")) == 10  # with their status
