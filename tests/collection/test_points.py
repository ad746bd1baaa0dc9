"""Which points of an answer count, and what coverage then says of the windows that were asked for."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.collection.points import ALL_METRICS, settle_coverage, to_ask
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState, Metric, MetricsResult, Series
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.sql import read_sql
from tests.support.samples import CPU, resource
from tests.support.spine import fleet, newest_window, world

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from optiinfra_dagster.model.inventory import Resource
    from tests.collection.conftest import StartLab
    from tests.support.spine import Spine

Q = windows.WINDOW
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAILY = replace(CPU, name="network_in", statistics=("day",), period=86400)
KINDS = {"ec2:instance": Kind(name="ec2:instance", resource_type=ResourceType.COMPUTE, metrics=(CPU, DAILY))}


def series(minutes: Mapping[int, float], *, of: Resource | None = None, metric: Metric = CPU, **more: Any) -> Series:
    """Points at minutes from NOON."""
    seconds = [int((NOON + minute * MINUTE).timestamp()) for minute in minutes]
    return Series(of or resource("i-1"), metric, "average", seconds, list(minutes.values()), **more)


def settled(
    *found: Series, state: CoverageState = CoverageState.COLLECTED, daily: Sequence[str] = ()
) -> tuple[list[Series], dict[str, tuple[str, str]]]:
    """What is left of an answer about the windows from NOON on, with its coverage: state and reason by metric."""
    asked = {one.metric.name: one.resource for one in found}
    answer = MetricsResult(
        series=list(found),
        coverage=[Coverage(r.resource_id, r.resource_type, metric, state) for metric, r in asked.items()],
    )
    settle_coverage(answer, NOON, list(asked.values()), KINDS, daily)
    return answer.series, {one.metric_name: (one.state.value, one.reason) for one in answer.coverage}


NO_POINTS = ("no_points", "the cloud returned no points of this time")
COLLECTED = ("collected", "")


@pytest.mark.parametrize(
    ("minutes", "period", "known"),
    [
        ([0], 300, COLLECTED),
        ([-15, -5], 300, NO_POINTS),  # its period ends as the window begins
        ([-15, 10], 300, COLLECTED),
        ([-1], 60, NO_POINTS),
        ([-15], 3600, COLLECTED),  # an hour's figure is of the window as well
        ([-60], 3600, NO_POINTS),
    ],
)
def test_coverage_is_of_the_windows_and_not_of_the_overlap(
    minutes: list[int], period: int, known: tuple[str, str]
) -> None:
    found = series(dict.fromkeys(minutes, 1.0), metric=replace(CPU, period=period))
    kept, coverage = settled(found)
    assert kept == [found]  # late points are merged all the same
    assert coverage == {"cpu_utilization": known}


def test_only_what_is_collected_is_looked_at_again() -> None:
    _, coverage = settled(series({-5: 1.0}), state=CoverageState.THROTTLED)
    assert coverage == {"cpu_utilization": ("throttled", "")}


def test_a_days_total_is_known_without_points_in_the_answer() -> None:
    """Of the window that it stands in, or because another slice has it."""
    machine = resource("i-1")
    days_ago = {-1440: 5.0}
    assert settled(series(days_ago, metric=DAILY, window=NOON))[1] == {"network_in": COLLECTED}
    by_prometheus = series({-5: 1.0}, of=machine, metric=replace(CPU, name="network_in"))
    assert settled(by_prometheus, daily=["i-1"])[1] == {"network_in": COLLECTED}
    assert settled(by_prometheus)[1] == {"network_in": NO_POINTS}
    assert settled(series({-5: 1.0}), daily=["i-1"])[1] == {"cpu_utilization": NO_POINTS}  # which no day has


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_no_point(odd: float) -> None:
    kept, coverage = settled(series({0: 1.0, 5: odd, 10: 3.0}))
    assert [(one.values, len(one.timestamps)) for one in kept] == [([1.0, 3.0], 2)]
    assert coverage == {"cpu_utilization": COLLECTED}
    kept, coverage = settled(series({0: odd}))
    assert kept == []
    assert coverage == {"cpu_utilization": ("error", "the cloud's values are NaN or infinity")}


def test_points_of_before_it_was_made_are_its_predecessors() -> None:
    """A cloud that finds metrics by name tells them with those of what had the name before."""
    new = resource("i-1", instance_uid="b", created_at=NOON + 7 * MINUTE)
    kept, coverage = settled(series({-15: 9.0, 0: 8.0, 5: 1.0, 10: 2.0}, of=new))
    assert [one.values for one in kept] == [[1.0, 2.0]]  # it was there in a part of the second
    assert coverage == {"cpu_utilization": COLLECTED}
    assert settled(series({0: 8.0}, of=new)) == ([], {"cpu_utilization": NO_POINTS})
    for same in (resource("i-1", created_at=NOON + 7 * MINUTE), resource("i-1", instance_uid="b")):
        assert [one.values for one in settled(series({0: 8.0}, of=same))[0]] == [[8.0]]


def test_every_resource_has_some_coverage() -> None:
    """What no metric is collected of says so; what has nothing to measure, too."""
    network = resource("vpc-1", kind="ec2:vpc", resource_type=ResourceType.NETWORK)
    snapshot = resource("snap-1", kind="ebs:snapshot", resource_type=ResourceType.SNAPSHOT)
    answer = MetricsResult(coverage=[Coverage("i-1", ResourceType.COMPUTE, "cpu_utilization", CoverageState.COLLECTED)])
    settle_coverage(answer, NOON, [resource("i-1"), network, snapshot], KINDS)
    assert [(c.resource_id, c.metric_name, c.state.value, c.reason) for c in answer.coverage[1:]] == [
        ("vpc-1", ALL_METRICS, "not_collected", "no metric of ec2:vpc is collected"),
        ("snap-1", ALL_METRICS, "not_offered", "there is nothing in it that runs"),
    ]


def test_what_is_terminated_is_asked_about_only_where_it_ended_since() -> None:
    def ended(name: str, **facts: str) -> Resource:
        return resource(name, status=Status.TERMINATED, metadata=facts)

    found = [
        resource("running"),
        ended("just now", stopped_at="2026-11-20T12:01:00Z"),
        ended("before", stopped_at="2026-11-20T11:59:00Z"),
        ended("some time"),
    ]
    assert [one.resource_id for one in to_ask(found, NOON)] == ["running", "just now"]


def clock(at: datetime) -> Callable[[], datetime]:
    """A clock that stands still."""
    return lambda: at


# --- Through a cloud -------------------------------------------------------------------------------------------------


def test_a_metric_that_stops_is_collected_no_window_longer(start_lab: StartLab, spine: Spine, tmp_path: Path) -> None:
    """The overlap still has its points, which CloudWatch answers with."""
    window = newest_window()
    times = [window - (1 + n) * 5 * MINUTE for n in range(6)]
    (tmp_path / "cpu.csv").write_text("timestamp,value\n" + "".join(f"{at:%Y-%m-%d %H:%M:%S},{7.5}\n" for at in times))
    of_acme = world(acme=[fleet("ec2:instance", name="web", volumes=0)])
    of_acme["aws"]["replay"] = [
        {"namespace": "AWS/EC2", "metric": "CPUUtilization", "resource": "web", "file": str(tmp_path / "cpu.csv"),
         "ends_at": times[0]}
    ]  # fmt: skip
    spine.write_customers(start_lab(of_acme), ["acme"])
    states = "SELECT toString(state) AS state, since FROM coverage_current WHERE metric_name = 'cpu_utilization'"
    for at, known in ((window - Q, "collected"), (window, "no_points")):
        spine.collect("resource", [at], now=clock(at + Q + 6 * MINUTE))
        spine.collect("performance", [at], now=clock(at + Q + 6 * MINUTE))
        assert spine.query(states) == [{"state": known, "since": at}]
    points = spine.query("SELECT count() AS n FROM performance_metrics_current WHERE metric_name = 'cpu_utilization'")
    assert points[0]["n"] >= 3


def test_terminated_machines_cost_no_call_and_count_nowhere(start_lab: StartLab, free_spine: Spine) -> None:
    machine = {"type": "m6i.large", "volumes": 0}
    lab, window = start_lab(world(acme=[
        fleet("ec2:instance", 2, "eu-west-1", name="run-{n}", **machine),
        fleet("ec2:instance", 8, "eu-west-1", name="spot-{n}", state="terminated", **machine),
    ])), newest_window()  # fmt: skip
    free_spine.write_customers(lab, ["acme"])
    free_spine.collect("resource", [window])
    lab.control.reset()
    free_spine.collect("performance", [window])
    free_spine.collect("cost", [window])
    write_select(free_spine.clickhouse, "resource_by_type", read_sql("readers/resource_by_type"), [window])
    (machines,) = free_spine.query(
        "SELECT resources, capacity FROM resource_by_type_current WHERE kind = 'ec2:instance'"
    )
    assert machines == {"resources": 2, "capacity": 4.0}
    for table in ("coverage_current", "performance_metrics_current", "cost_metrics_current"):
        of_whom = f"SELECT uniqExact(resource_id) AS n FROM {table} WHERE resource_id LIKE '%instance/%'"  # noqa: S608
        assert free_spine.query(of_whom) == [{"n": 2}], table
    # Eight metrics of each machine that runs, which is what CloudWatch charges for.
    assert lab.control.calls().billed_metrics == {"111111111111": 16}
