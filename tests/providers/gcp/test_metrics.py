from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from socket import socket
from typing import Any

import grpc
import pytest
from google.cloud.monitoring_v3 import types
from google.protobuf import json_format
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.series import recorded_points
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult, Series
from optiinfra_dagster.providers.catalog import METRICS, metrics_for
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.providers.gcp import metrics, monitoring
from optiinfra_dagster.providers.gcp.account import GcpAccount
from optiinfra_dagster.providers.gcp.inventory import collect
from optiinfra_dagster.providers.gcp.services import KINDS
from tests.providers.gcp.conftest import ALL_KINDS, PROJECT, Clock, StartLab, account, fleet

START, END = datetime(2026, 11, 20, 11, 30, tzinfo=UTC), datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
OF_INSTANCE = len(metrics_for("gcp", "gcp:instance"))
OF_SQL = len(metrics_for("gcp", "gcp:sql_instance")) - 1  # without Query Insights
EVERYTHING = (
    *(fleet(kind, 2) for kind in ALL_KINDS if kind not in {"gcp:forwarding_rule", "gcp:gke_cluster"}),
    fleet("gcp:instance", name="watched", agent=True, disks=3),
    fleet("gcp:gke_cluster", size=2),
    fleet("gcp:gke_cluster", name="wide", regional=True),
    fleet("gcp:forwarding_rule", region="global", name="shop"),
    fleet("gcp:forwarding_rule", name="regional", type="EXTERNAL_MANAGED"),
    fleet("gcp:forwarding_rule", name="internal", type="INTERNAL_MANAGED"),
    fleet("gcp:sql_instance", name="measured", insights=True),
    fleet("gcp:sql_instance", name="measured-too", insights=True, engine="MYSQL_8_0"),
)
# What one unit of each metric is of ours, by the documents of Google; a rate, a mean and a percentile keep the unit.
_SECONDS = {
    "loadbalancing.": 1e-3, "bigtable.": 1e-3, "run.": 1e-3, "appengine.": 1e-3, "file.": 1e-3, "netapp.": 1e-3,
    "spanner.": 1, "cloudsql.": 1e-6, "dbinsights.": 1e-6, "alloydb.": 1e-6, "cloudfunctions.": 1e-9,
    "redis.": 1e-6, "memorystore.": 1e-6,
}  # fmt: skip
_PERCENT = {"agent.googleapis.com/memory/percent_used", "file.googleapis.com/nfs/server/used_bytes_percent"}


def nothing() -> MetricsRequest[GcpAccount]:
    return MetricsRequest("acme", [], [], START, END)


def inventory(lab: CloudLab) -> list[Resource]:
    found = collect("acme", [account(lab)], Meter())
    assert found.problems == []
    return found.resources


def read(
    lab: CloudLab,
    resources: list[Resource] | None = None,
    start: datetime = START,
    end: datetime = END,
    meter: Meter | None = None,
    accounts: tuple[GcpAccount, ...] = (),
    memory: DayCache | None = None,
) -> MetricsResult:
    resources = inventory(lab) if resources is None else resources
    request = MetricsRequest("acme", accounts or (account(lab),), resources, start, end, memory=memory)
    result = metrics.collect(request, meter or Meter())
    asked = Counter((one.resource_id, metric.name) for one in resources for metric in metrics_for("gcp", one.kind))
    assert Counter((one.resource_id, one.metric_name) for one in result.coverage) == asked
    return result


def states(result: MetricsResult) -> Counter[CoverageState]:
    """What came of the metrics that could be asked for: most databases here have no Query Insights."""
    return Counter(one.state for one in result.coverage if not one.reason.startswith("Query Insights is off"))


def truth(lab: CloudLab, series: Series, start: datetime = START, end: datetime = END) -> dict[int, float]:
    """The points that a series must have, from the lab's own arithmetic and a conversion written out here."""
    assert lab.gcp.monitoring is not None
    (asset,) = [one for one in lab.gcp.estate.assets(PROJECT) if one.full_name == series.resource.resource_id]
    metric, published = series.metric, KINDS[series.resource.kind].published(series.metric, series.resource)
    (statistic,) = [one for one in metric.statistics if metric.statistic_name(one) == series.statistic]
    types = ", ".join(f'"{name}"' for name in published.namespace.split())
    where = " AND ".join(filter(None, (f"resource.type = one_of({types})", metric.filter)))
    points = lab.gcp.monitoring.expected(PROJECT, asset, published.api_metric, statistic, start, end, where)
    if name := KINDS[series.resource.kind].divisors.get(metric.name):
        (divisor,) = [one.api_metric for one in metrics_for("gcp", metric.kind) if one.name == name]
        by = lab.gcp.monitoring.expected(PROJECT, asset, divisor, statistic, start, end, metric.filter)
        points = {moment: value / by[moment] for moment, value in points.items()}
    factor = 1.0
    if metric.unit == "percent" and published.api_metric not in _PERCENT:
        factor = 100.0
    if metric.unit == "seconds":
        (factor,) = [each for prefix, each in _SECONDS.items() if published.api_metric.startswith(prefix)]
    if statistic == "ALIGN_SUM":
        factor /= 300
    return {moment: value * factor for moment, value in points.items()}


def assert_true(lab: CloudLab, result: MetricsResult, start: datetime = START, end: datetime = END) -> None:
    for series in result.series:
        points = truth(lab, series, start, end)
        assert points
        assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(points)
        assert len(set(series.timestamps)) == len(series.timestamps)


def test_every_catalogue_metric_comes_as_the_world_has_it_in_our_units(start_lab: StartLab) -> None:
    lab = start_lab(*EVERYTHING)
    meter = Meter()

    result = read(lab, meter=meter)

    assert result.problems == []
    assert_true(lab, result)
    assert {len(series.timestamps) for series in result.series} == {6}
    got = {(series.resource.kind, series.metric.name, series.statistic) for series in result.series}
    assert got == {
        (metric.kind, metric.name, metric.statistic_name(one))
        for metric in METRICS
        if metric.provider == "gcp"
        for one in metric.statistics
    }
    assert states(result)[CoverageState.AGENT_MISSING] == 2
    assert (
        meter.cost_usd
        == Decimal("0.0000005") * lab.control.calls().billed_metrics[PROJECT]
        == (Decimal("0.0000005") * len(result.series))
    )


worlds = st.lists(
    st.builds(
        fleet,
        st.sampled_from([kind for kind in ALL_KINDS if metrics_for("gcp", kind)]),
        st.integers(1, 3),
        st.sampled_from(["us-central1", "europe-west1"]),
        name=st.sampled_from(["a-{index}", "b-{index}"]),
        agent=st.booleans(),
        disks=st.integers(1, 3),
        regional=st.booleans(),
        size=st.integers(1, 3),
        type=st.sampled_from([None, "EXTERNAL_MANAGED", "INTERNAL_MANAGED", "EXTERNAL"]),
        state=st.sampled_from([None, None, "STOPPED"]),
        created=st.sampled_from([None, "2026-11-20T11:42:00Z"]),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fleets=worlds, seed=st.integers(0, 2**32), windows=st.integers(1, 4))
def test_drawn_worlds_are_read_cell_by_cell(fleets: list[dict[str, Any]], seed: int, windows: int) -> None:
    named = [{**one, "name": f"{one['name']}-{n}"} for n, one in enumerate(fleets)]
    start = END - windows * timedelta(minutes=15)
    with CloudLab({"seed": seed, "gcp": {"projects": [{"id": PROJECT, "fleets": named}]}}) as lab:
        result = read(lab, start=start)

        assert result.problems == []
        assert_true(lab, result, start)
    assets = {one.full_name: one for one in lab.gcp.estate.assets(PROJECT)}
    collected = {(one.resource_id, one.metric_name) for one in result.coverage if one.state is CoverageState.COLLECTED}
    assert collected == {(series.resource.resource_id, series.metric.name) for series in result.series}
    for one in result.coverage:
        asset = assets[one.resource_id]
        off = asset.fleet.state == "STOPPED"
        no_agent = one.metric_name == "memory_utilization" and not asset.fleet.agent
        network = asset.kind == "gcp:forwarding_rule" and one.metric_name in {"response_time", "request_rate"}
        no_insights = asset.kind == "gcp:sql_instance" and one.metric_name == "response_time"
        assert one.state is CoverageState.COLLECTED or off or no_agent or network or no_insights, one


@pytest.mark.parametrize("metric", ["cpu/utilization", "network/received_bytes_count"])
def test_recorded_series_come_through_the_protocol_as_they_are(
    start_lab: StartLab, shared_data: Path, metric: str
) -> None:
    for file in itertools.islice(sorted(shared_data.glob("nab/**/*.csv")), 3):
        lab = start_lab(
            fleet("gcp:instance", name="recorded"),
            replay=[
                {
                    "metric": f"compute.googleapis.com/instance/{metric}",
                    "resource": "recorded",
                    "file": file,
                    "ends_at": END - timedelta(minutes=5),
                }
            ],
        )
        start = END - timedelta(days=2)

        result = read(lab, start=start)

        name = "cpu_utilization" if metric.startswith("cpu") else "network_in"
        (series,) = [one for one in result.series if one.metric.name == name]
        times, values = recorded_points(file, 0, END - timedelta(minutes=5))
        wanted: dict[int, list[float]] = {}
        for moment, value in zip(times.tolist(), values.tolist(), strict=True):
            if start.timestamp() <= moment < END.timestamp():
                wanted.setdefault(moment // 300 * 300, []).append(value)
        converted = {
            moment: 100 * sum(some) / len(some) if name == "cpu_utilization" else sum(some) / 300
            for moment, some in wanted.items()
        }
        assert len(converted) > 100
        assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(converted)


def test_ten_thousand_machines_are_one_call_for_each_metric_type(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:instance", 10_000, disks=1))
    resources = [machine(one.number) for one in lab.gcp.estate.assets(PROJECT, "gcp:instance")]
    request = MetricsRequest("acme", [account(lab)], resources, END - timedelta(minutes=5), END)
    meter = Meter()

    result = metrics.collect(request, meter)

    assert meter.calls == {"ListMetricDescriptors": 1, "ListTimeSeries": OF_INSTANCE}
    assert states(result) == {
        CoverageState.COLLECTED: 10_000 * (OF_INSTANCE - 1),
        CoverageState.AGENT_MISSING: 10_000,
    }
    assert metrics.price(request) == Decimal("0.0000005") * 10_000 * OF_INSTANCE
    assert meter.cost_usd == Decimal("0.04")
    assert lab.control.calls().billed_metrics == {PROJECT: 80_000}


def test_pages_follow_each_other_and_a_series_cut_in_two_is_joined(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("gcp:instance", 10))
    monkeypatch.setattr("optiinfra_dagster.lab.gcp.monitoring._MOST_POINTS", 25)
    meter = Meter()

    result = read(lab, meter=meter)

    assert result.problems == []
    assert_true(lab, result)
    assert len(result.series) == 10 * (OF_INSTANCE - 1)
    assert meter.calls["ListTimeSeries"] == (OF_INSTANCE - 1) * 3 + 1
    assert meter.cost_usd == Decimal("0.0000005") * lab.control.calls().billed_metrics[PROJECT]


def test_only_metrics_of_kinds_that_are_there_are_asked_for(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:router"), fleet("gcp:network"), fleet("gcp:disk"))
    meter = Meter()

    read(lab, meter=meter)

    assert meter.calls["ListTimeSeries"] == 2


def test_nothing_is_called_for_resources_that_cannot_have_points(start_lab: StartLab) -> None:
    lab = start_lab(
        fleet("gcp:forwarding_rule", engine="targetVpnGateways"),
        fleet("gcp:instance", state="TERMINATED"),
        fleet("gcp:network"),
    )
    resources = [
        replace(one, metadata=one.metadata | {"stopped_at": "2026-11-01T00:00:00+00:00"})
        if one.kind == "gcp:instance"
        else one
        for one in inventory(lab)
    ]
    meter = Meter()

    result = read(lab, resources, meter=meter)

    assert meter.calls == {}
    assert {(one.state, one.reason) for one in result.coverage} == {
        (CoverageState.NOT_OFFERED, "only Application Load Balancers tell requests and response times"),
        (CoverageState.NOT_OFFERED, "it is no load balancer: it forwards to targetVpnGateways"),
        (CoverageState.NOT_OFFERED, "the instance is stopped"),
    }


def test_an_instance_that_stopped_in_the_window_is_asked_about(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:instance"))
    (one,) = [one for one in inventory(lab) if one.kind == "gcp:instance"]
    stopped = replace(one, status=Status.STOPPED, metadata=one.metadata | {"stopped_at": "2026-11-20T11:45:00+00:00"})

    assert len(read(lab, [stopped]).series) == OF_INSTANCE - 1


def test_a_router_without_gateway_and_a_machine_without_number_cost_no_call(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:router"), fleet("gcp:instance", disks=0))
    resources = [
        replace(
            one,
            metadata={key: fact for key, fact in one.metadata.items() if key not in {"nat_gateways", "instance_id"}},
        )
        for one in inventory(lab)
    ]
    meter = Meter()

    result = read(lab, resources, meter=meter)

    assert meter.calls == {}
    assert states(result) == {CoverageState.NOT_OFFERED: 2, CoverageState.ERROR: OF_INSTANCE}


def test_series_of_others_are_dropped(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:sql_instance", 3))
    mine = inventory(lab)[:1]

    result = read(lab, mine)

    assert {series.resource.resource_id for series in result.series} == {mine[0].resource_id}
    assert result.problems == []


# --- Lag, late points, memory ---------------------------------------------------------------------------------------


def test_points_that_come_late_are_final_after_the_next_window(start_lab: StartLab) -> None:
    clock = {"now": END}
    lab = start_lab(fleet("gcp:instance", 3), fleet("gcp:sql_instance", 2), now=lambda: clock["now"])
    resources = inventory(lab)
    lab.control.add_faults({"action": "late", "seconds": 12 * 60})
    window = timedelta(minutes=15)
    stored: dict[tuple[str, str, str], dict[int, float]] = {}
    missing = 0
    for n in range(4):
        end = END + n * window
        clock["now"] = end + timedelta(minutes=5)
        result = read(lab, resources, end - 2 * window, end)
        missing += sum(6 - len(series.timestamps) for series in result.series)
        for series in result.series:
            key = (series.resource.resource_id, series.metric.name, series.statistic)
            stored.setdefault(key, {}).update(zip(series.timestamps, series.values, strict=True))

    lab.control.clear_faults()
    clock["now"] = END + timedelta(days=1)
    last = END + 2 * window  # the newest window has not been read twice
    final = read(lab, resources, END - window, last)

    assert missing > 0
    for series in final.series:
        key = (series.resource.resource_id, series.metric.name, series.statistic)
        kept = {
            moment: value
            for moment, value in stored[key].items()
            if START.timestamp() + 900 <= moment < last.timestamp()
        }
        assert kept == pytest.approx(dict(zip(series.timestamps, series.values, strict=True)))


def test_descriptors_are_asked_once_a_day(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab(fleet("gcp:sql_instance"))
    now = {"time": 1e9}
    memory = DayCache(tmp_path, lambda: now["time"])

    for expected in (1, 1, 2):
        read(lab, memory=memory)
        assert lab.control.calls().count("monitoring", "ListMetricDescriptors") == expected
        now["time"] += 50_000


def test_without_descriptors_the_metrics_come_all_the_same(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab(fleet("gcp:sql_instance"))
    lab.control.add_faults({"action": "deny", "operation": "ListMetricDescriptors"})

    result = read(lab, memory=DayCache(tmp_path))

    assert (len(result.series), result.problems) == (OF_SQL, [])


def test_a_metric_sampled_seldom_is_asked_from_the_sample_before() -> None:
    request = nothing()
    metric = metrics_for("gcp", "gcp:instance")[0]

    often = metrics._request_for(request, metric, PROJECT, "ALIGN_MEAN", metrics._Lag(60, 240))
    seldom = metrics._request_for(request, metric, PROJECT, "ALIGN_MEAN", metrics._Lag(700, 9000))

    assert often.interval.start_time.timestamp() == START.timestamp()
    assert seldom.interval.start_time.timestamp() == START.timestamp() - 900
    assert seldom.interval.end_time.timestamp() == END.timestamp()


def test_points_that_cannot_have_arrived_yet_are_told_so(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:router"))
    now = datetime.now(UTC).replace(microsecond=0)

    result = read(lab, start=now - timedelta(minutes=1), end=now + timedelta(minutes=9))

    assert {(one.state, one.reason) for one in result.coverage} == {
        (CoverageState.NOT_OFFERED, "its points arrive up to 5 minutes late")
    }


# --- What goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("action", ["throttle", "unavailable", "error", "disconnect"])
def test_what_may_pass_is_tried_again_and_every_attempt_is_counted(
    start_lab: StartLab, action: str, clock: Clock
) -> None:
    lab = start_lab(fleet("gcp:router"))
    lab.control.add_faults({"action": action, "operation": "ListTimeSeries", "times": 2})
    meter = Meter()

    result = read(lab, meter=meter)

    assert (len(result.series), result.problems) == (2, [])
    assert meter.calls["ListTimeSeries"] == lab.control.calls().count("monitoring", "ListTimeSeries") == 4
    assert meter.cost_usd == Decimal("0.000001")
    assert len(clock.slept) == 2


def test_throttling_of_a_third_of_all_calls_costs_nothing(start_lab: StartLab) -> None:
    lab = start_lab(*EVERYTHING)
    lab.control.add_faults({"action": "throttle", "service": "monitoring", "probability": 0.3})

    result = read(lab)

    assert result.problems == []
    assert lab.control.calls().count("monitoring", status=429) > 5
    assert_true(lab, result)


@pytest.mark.parametrize(
    ("action", "cause", "state"),
    [
        ("throttle", Cause.THROTTLED, CoverageState.THROTTLED),
        ("unavailable", Cause.UNAVAILABLE, CoverageState.ERROR),
    ],
)
def test_what_does_not_pass_ends_as_one_problem_in_bounded_time(
    start_lab: StartLab, action: str, cause: Cause, state: CoverageState, clock: Clock
) -> None:
    lab = start_lab(fleet("gcp:instance", 2), fleet("gcp:sql_instance"))
    resources = inventory(lab)
    lab.control.add_faults({"action": action, "operation": "ListTimeSeries"})
    began = clock.monotonic()

    result = read(lab, resources)

    assert {problem.cause for problem in result.problems} == {cause}
    assert states(result) == {state: 2 * OF_INSTANCE + OF_SQL}
    assert clock.monotonic() - began < 260


def test_a_server_that_hangs_is_given_up_and_what_was_got_is_kept(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitoring, "_CALL_S", 0.3)
    monkeypatch.setattr(monitoring, "_PATIENCE", {})
    lab = start_lab(fleet("gcp:router"))
    resources = inventory(lab)
    lab.control.add_faults({"action": "delay", "seconds": 60, "operation": "ListTimeSeries", "skip": 1})
    began = time.monotonic()

    result = read(lab, resources)

    assert time.monotonic() - began < 10
    (problem,) = result.problems
    assert problem.cause is Cause.UNAVAILABLE
    assert "1 metrics are missing" in problem.message
    assert states(result) == {CoverageState.COLLECTED: 1, CoverageState.ERROR: 1}


def test_a_collection_ends_when_its_time_is_up(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "_TOTAL_S", 0.5)
    lab = start_lab(fleet("gcp:sql_instance"))
    resources = inventory(lab)
    lab.control.add_faults({"action": "delay", "seconds": 60, "service": "monitoring"})
    began = time.monotonic()

    result = read(lab, resources)

    assert time.monotonic() - began < 10
    assert {problem.cause for problem in result.problems} == {Cause.UNAVAILABLE}
    assert states(result) == {CoverageState.ERROR: OF_SQL}


def test_a_server_that_is_not_there_ends_in_bounded_time(start_lab: StartLab, clock: Clock) -> None:
    lab = start_lab(fleet("gcp:router"))
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        gone = account(lab, monitoring_endpoint_url=f"http://127.0.0.1:{free.getsockname()[1]}")
        began = clock.monotonic()
        result = read(lab, accounts=(gone,))

    assert {problem.cause for problem in result.problems} == {Cause.UNAVAILABLE}
    assert clock.monotonic() - began < 260


def test_a_missing_permission_is_one_problem_that_names_the_role(start_lab: StartLab, clock: Clock) -> None:
    lab = start_lab(fleet("gcp:sql_instance", 2))
    resources = inventory(lab)
    lab.control.add_faults({"action": "deny", "service": "monitoring"})

    result = read(lab, resources)

    (problem,) = result.problems
    assert (problem.account_id, problem.cause) == (PROJECT, Cause.PERMISSION)
    assert "roles/monitoring.viewer" in problem.message
    assert f"{2 * OF_SQL} metrics are missing" in problem.message
    assert states(result) == {CoverageState.NO_PERMISSION: 2 * OF_SQL}
    assert clock.slept == []


def test_a_disabled_api_is_named(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:sql_instance"))
    resources = inventory(lab)
    lab.control.add_faults({"action": "optin_required", "service": "monitoring"})

    (problem,) = read(lab, resources).problems

    assert problem.cause is Cause.CONFIG
    assert f"gcloud services enable monitoring.googleapis.com --project {PROJECT}" in problem.message


def test_a_credential_that_fails_ends_the_project(start_lab: StartLab) -> None:
    lab = start_lab(*EVERYTHING)
    resources = inventory(lab)
    lab.control.add_faults({"action": "unknown_key", "operation": "ListTimeSeries"})

    result = read(lab, resources)

    assert [problem.cause for problem in result.problems] == [Cause.AUTH]
    assert set(states(result)) == {CoverageState.NO_PERMISSION}
    assert lab.control.calls().count(operation="ListTimeSeries") <= 8


def test_a_call_that_fails_costs_its_own_metric(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:sql_instance", 3))
    resources = inventory(lab)
    lab.control.add_faults({"action": "deny", "operation": "ListTimeSeries", "times": 1})

    result = read(lab, resources)

    (problem,) = result.problems
    assert "3 metrics are missing" in problem.message
    assert states(result) == {CoverageState.NO_PERMISSION: 3, CoverageState.COLLECTED: 3 * (OF_SQL - 1)}


def test_a_partial_answer_is_kept_and_told(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:router", 4))
    lab.control.add_faults({"action": "partial", "every": 2, "operation": "ListTimeSeries"})

    result = read(lab)

    (problem,) = result.problems
    assert problem.cause is Cause.INCOMPLETE
    assert "some shards did not answer (4 metrics are missing: network_in, network_out)" in problem.message
    assert states(result) == {CoverageState.COLLECTED: 4, CoverageState.ERROR: 4}
    assert_true(lab, result)


def test_a_spent_budget_ends_the_calls_and_is_said_once(start_lab: StartLab) -> None:
    lab = start_lab(fleet("gcp:sql_instance", 4))
    resources = inventory(lab)
    meter = Meter(Decimal("0.000005"))  # ten time series: two calls, one after the other

    result = read(lab, resources, meter=meter)

    (problem,) = result.problems
    assert problem.cause is Cause.BUDGET
    assert meter.cost_usd <= Decimal("0.000005")
    assert meter.calls["ListTimeSeries"] == lab.control.calls().count(operation="ListTimeSeries") == 2
    assert states(result) == {CoverageState.COLLECTED: 8, CoverageState.ERROR: 4 * (OF_SQL - 2)}


def test_projects_are_told_apart(start_lab: StartLab) -> None:
    other = {"id": "acme-test", "fleets": [fleet("gcp:sql_instance", 2)]}
    lab = start_lab(fleet("gcp:sql_instance", 2), projects=(other,))
    accounts = (account(lab), account(lab, "acme-test"))
    resources = collect("acme", accounts, Meter()).resources
    lab.control.add_faults({"action": "deny", "service": "monitoring", "account": "acme-test"})

    result = read(lab, [*resources, *_stranger()], accounts=accounts)

    assert [(one.account_id, one.cause) for one in result.problems] == [
        ("acme-test", Cause.PERMISSION),
        ("nobodys-project", Cause.CONFIG),
    ]
    assert {series.resource.account_id for series in result.series} == {PROJECT}


def _stranger() -> list[Resource]:
    name = "//cloudsql.googleapis.com/projects/nobodys-project/instances/db"
    return [
        Resource(
            "nobodys-project",
            "us-central1",
            "gcp:sql_instance",
            name,
            "db",
            ResourceType.DATABASE,
            Status.RUNNING,
            "RUNNABLE",
        )
    ]


# --- Answers of all kinds, recorded ones among them -----------------------------------------------------------------


@contextmanager
def answering(pages: list[dict[str, Any]]) -> Iterator[GcpAccount]:
    """A server that gives these answers, whatever is asked, and the account that leads to it."""
    answers = [
        json_format.ParseDict(page, types.ListTimeSeriesResponse.pb()(), ignore_unknown_fields=True) for page in pages
    ]
    lock, served = threading.Lock(), iter(answers)

    def answer(_request: Any, _context: Any) -> Any:
        with lock:
            return next(served, answers[-1])

    handler = grpc.unary_unary_rpc_method_handler(
        answer,
        types.ListTimeSeriesRequest.pb().FromString,
        types.ListTimeSeriesResponse.pb().SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(4))
    methods = {"ListTimeSeries": handler}
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler("google.monitoring.v3.MetricService", methods),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield GcpAccount.model_validate({"project_id": PROJECT, "monitoring_endpoint_url": f"http://127.0.0.1:{port}"})
    finally:
        server.stop(None)


def machine(number: str) -> Resource:
    return Resource(
        account_id=PROJECT,
        region="asia-east1",
        kind="gcp:instance",
        resource_id=f"//compute.googleapis.com/projects/{PROJECT}/zones/asia-east1-a/instances/i-{number}",
        resource_name=f"i-{number}",
        resource_type=ResourceType.COMPUTE,
        status=Status.RUNNING,
        cloud_status="RUNNING",
        metadata={"instance_id": number},
    )


def answered(
    account: GcpAccount, resources: list[Resource], start: datetime = START, end: datetime = END
) -> MetricsResult:
    return metrics.collect(MetricsRequest("acme", [account], resources, start, end), Meter())


def one_series(*points: dict[str, Any], **labels: str) -> dict[str, Any]:
    return {"timeSeries": [{"resource": {"type": "gce_instance", "labels": labels}, "points": list(points)}]}


def point(end: str, **value: Any) -> dict[str, Any]:
    return {"interval": {"endTime": end, "startTime": end}, "value": value}


def test_values_of_every_type_are_read_and_odd_points_cost_themselves(clock: Clock) -> None:
    page = one_series(
        point("2026-11-20T11:35:00Z", doubleValue=0.5),
        point("2026-11-20T11:40:00Z", int64Value="1"),
        point("2026-11-20T11:45:00Z", boolValue=True),
        point("2026-11-20T11:50:00Z", distributionValue={"count": "4", "mean": 0.25}),
        point("2026-11-20T11:55:00Z", doubleValue="NaN"),
        point("2026-11-20T12:00:00Z", stringValue="up"),
        point("2026-11-20T12:00:00Z", distributionValue={}),
        point("2026-11-20T12:05:00Z", doubleValue=0.9),  # of the next window
        point("2026-11-20T11:30:00Z", doubleValue=0.9),  # of the window before
        point("2026-11-20T11:52:30Z", doubleValue=0.9),  # not aligned
        {"value": {"doubleValue": 1.0}},
        {},
        instance_id="7",
    )
    with answering([page]) as account:
        result = answered(account, [machine("7"), machine("8")])

    cpu = next(one for one in result.series if one.metric.name == "cpu_utilization")
    first = int(START.timestamp())
    assert dict(zip(cpu.timestamps, cpu.values, strict=True)) == {
        first: 50.0,
        first + 300: 100.0,
        first + 600: 100.0,
        first + 900: 25.0,
    }
    assert {one.resource_id[-3:] for one in result.coverage if one.state is CoverageState.COLLECTED} == {"i-7"}


def test_points_that_come_twice_are_kept_once(clock: Clock) -> None:
    twice = point("2026-11-20T11:35:00Z", doubleValue=0.5)
    with answering([one_series(twice, twice, instance_id="7")]) as account:
        result = answered(account, [machine("7")])

    assert all(len(series.timestamps) == 1 for series in result.series)
    assert result.problems == []


def test_a_page_that_repeats_itself_is_an_end(clock: Clock) -> None:
    page = one_series(point("2026-11-20T11:35:00Z", doubleValue=0.5), instance_id="7") | {"nextPageToken": "again"}
    with answering([page]) as account:
        result = answered(account, [machine("7")])

    (problem,) = result.problems
    assert problem.cause is Cause.INCOMPLETE
    assert set(states(result)) == {CoverageState.COLLECTED}


def test_recorded_answers_of_google_are_read(shared_data: Path, clock: Clock) -> None:
    file = shared_data / "grafana_testdata/pkg/tsdb/stackdriver/test-data/2-series-response-no-agg.json"
    recorded = json.loads(file.read_text(encoding="utf-8"))
    wanted: dict[str, dict[int, float]] = {}
    for series in recorded["timeSeries"]:  # by the minute: brought to periods of 5 minutes, as if asked for so
        number = series["resource"]["labels"]["instance_id"]
        for n, one in enumerate(series["points"]):
            moment = int(START.timestamp()) + 300 * n
            ended = datetime.fromtimestamp(moment + 300, UTC).isoformat().replace("+00:00", "Z")
            one["interval"] = {"startTime": ended, "endTime": ended}
            wanted.setdefault(number, {})[moment] = one["value"]["doubleValue"] * 100
    with answering([recorded]) as account:
        result = answered(account, [machine(number) for number in wanted])

    got = {
        str(one.resource.metadata["instance_id"]): dict(zip(one.timestamps, one.values, strict=True))
        for one in result.series
        if one.metric.name == "cpu_utilization"
    }
    assert len(wanted) >= 2
    assert got == {number: pytest.approx(points) for number, points in wanted.items()}


def test_recordings_of_other_shapes_are_no_error(shared_data: Path, clock: Clock) -> None:
    files = [
        *shared_data.glob("gcp_recordings/*/*timeSeries*.json"),
        *shared_data.glob("grafana_testdata/pkg/tsdb/stackdriver/**/*.json"),
    ]
    assert files
    for file in files:
        recorded = json.loads(file.read_text(encoding="utf-8"))
        with answering([recorded.get("body", recorded)]) as account:
            result = answered(account, [machine("1119268429530133111")])
        assert result.problems == []
        assert result.series == []  # years away from the range


# --- Secrets, names, the catalogue ----------------------------------------------------------------------------------


def test_no_credential_is_shown_to_a_plain_server(
    start_lab: StartLab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = tmp_path / "key.json"
    key.write_text("not even looked at", encoding="utf-8")
    monkeypatch.setattr("optiinfra_dagster.providers.gcp.credentials._load", pytest.fail)
    lab = start_lab(fleet("gcp:router"))

    result = read(lab, accounts=(account(lab, credentials_file=str(key)),))

    assert (len(result.series), result.problems) == (2, [])


def test_a_lab_of_assets_alone_does_not_lead_to_google_without_credentials(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab = start_lab(fleet("gcp:router"))
    resources = inventory(lab)
    lost = account(lab, monitoring_endpoint_url=None, credentials_file=str(tmp_path / "none.json"))

    (problem,) = read(lab, resources, accounts=(lost,)).problems

    assert problem.cause is Cause.CONFIG


def test_every_kind_of_the_catalogue_has_a_name_and_every_statistic_a_meaning() -> None:
    ours = [metric for metric in METRICS if metric.provider == "gcp"]

    assert {metric.kind for metric in ours} == {kind.name for kind in KINDS.values() if kind.series_labels is not None}
    for kind in KINDS.values():
        assert {metric.condition for metric in kind.metrics} - {""} == kind.conditions.keys(), kind.name
    assert {one for metric in ours for one in metric.statistics} <= metrics._AGGREGATIONS.keys()
    assert {metric.period for metric in ours} == {300}
    assert all(re.fullmatch(r"[\w./]+", metric.api_metric) for metric in ours)


def test_the_time_series_of_a_project_are_asked_for_and_no_others() -> None:
    request = nothing()
    (metric,) = [one for one in metrics_for("gcp", "gcp:instance") if one.condition == "agent"]

    asked = metrics._request_for(request, metric, PROJECT, "ALIGN_MEAN", metrics._Lag())

    assert asked.filter == (
        'metric.type = "agent.googleapis.com/memory/percent_used" AND resource.type = "gce_instance" AND '
        f'project = "{PROJECT}" AND metric.labels.state = "used"'
    )
    assert list(asked.aggregation.group_by_fields) == ["resource.labels.instance_id"]
