from __future__ import annotations

import json
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.azure import metrics as lab_metrics
from optiinfra_dagster.lab.azure.services import FLEET_KINDS
from optiinfra_dagster.lab.series import recorded_points
from optiinfra_dagster.lab.server import Request, Response, Server
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, Metric, MetricsRequest, MetricsResult, Series
from optiinfra_dagster.providers.azure import client, metric_batches
from optiinfra_dagster.providers.azure import metrics as metrics_
from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.azure.client import open_principal
from optiinfra_dagster.providers.azure.inventory import collect
from optiinfra_dagster.providers.azure.services import KINDS
from optiinfra_dagster.providers.catalog import METRICS, metrics_for
from optiinfra_dagster.storage.rows import performance_rows
from tests.providers.azure.conftest import NOW, OTHER, SUBSCRIPTION, StartLab, account, fleet

START, END = datetime(2026, 11, 20, 11, 30, tzinfo=UTC), datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
VM_METRICS, REDIS_METRICS = (len(metrics_for("azure", kind)) for kind in ("azure:vm", "azure:redis"))
MEASURED = [kind for kind in FLEET_KINDS if KINDS[kind].metrics or kind == "azure:sql_server"]


def inventory(lab: CloudLab, *accounts: AzureAccount) -> list[Resource]:
    found = collect("acme", accounts or [account(lab)], Meter())
    assert found.problems == []
    return found.resources


def machines(count: int, **fields: Any) -> list[Resource]:
    """Machines as an inventory shows them, for tests of what is asked."""
    group = f"/subscriptions/{SUBSCRIPTION}/resourcegroups/main/providers/microsoft.compute/virtualmachines"
    known = {
        "account_id": SUBSCRIPTION,
        "region": "westeurope",
        "kind": "azure:vm",
        "resource_type": ResourceType.COMPUTE,
        "status": Status.RUNNING,
        "cloud_status": "running",
    }
    names = [f"vm-{n:03d}" for n in range(1, count + 1)]
    return [Resource(**{"resource_id": f"{group}/{name}", "resource_name": name, **known, **fields}) for name in names]


def read(
    resources: list[Resource],
    *accounts: AzureAccount,
    start: datetime = START,
    end: datetime = END,
    meter: Meter | None = None,
) -> MetricsResult:
    """Collect, and check what always holds: one coverage for each metric, and points on periods inside of the range."""
    result = metrics_.collect(MetricsRequest("acme", accounts, resources, start, end), meter or Meter())
    asked = Counter((one.resource_id, metric.name) for one in resources for metric in metrics_for("azure", one.kind))
    assert Counter((one.resource_id, one.metric_name) for one in result.coverage) == asked
    for series in result.series:
        assert len(series.timestamps) == len(series.values) == len(set(series.timestamps)) > 0
        first, last = span(series.metric, start, end)
        assert all(first <= at < last and at % series.metric.period == 0 for at in series.timestamps)
        hourly = series.metric.period == 3600
        assert [series.window] == [
            datetime.fromtimestamp(at + 4500, UTC) if hourly else None for at in series.timestamps[:1]
        ]
    collected = {(one.resource_id, one.metric_name) for one in result.coverage if one.state is CoverageState.COLLECTED}
    assert collected <= {(one.resource.resource_id, one.metric.name) for one in result.series}
    return result


def span(metric: Metric, start: datetime, end: datetime) -> tuple[int, int]:
    """The first and the last period that a range holds; an hour is read in the window a quarter past its end."""
    later = 4500 if metric.period == 3600 else 0
    first, last = (-(-(moment.timestamp() - later) // metric.period) * metric.period for moment in (start, end))
    return int(first), int(last)


def states(result: MetricsResult) -> Counter[CoverageState]:
    return Counter(one.state for one in result.coverage)


def truth(lab: CloudLab, series: Series, start: datetime = START, end: datetime = END) -> dict[int, float]:
    """The points that a series must have, from the lab's own arithmetic and the catalogue's conversion."""
    metric = series.metric
    (aggregation,) = [one for one in metric.statistics if metric.statistic_name(one) == series.statistic]
    first, last = (datetime.fromtimestamp(at, UTC) for at in span(metric, start, end))
    points = lab.azure.metrics.expected(
        series.resource.resource_id, metric.api_metric, aggregation, first, last, metric.period
    )
    divisor = metric.period if metric.per_second else 1
    return {at: value / divisor * metric.scale + metric.offset for at, value in points.items()}


def check(lab: CloudLab, result: MetricsResult, start: datetime = START, end: datetime = END) -> None:
    for series in result.series:
        points = truth(lab, series, start, end)
        if series.window is not None:  # of several hours, each is a series
            points = {at: value for at, value in points.items() if at in series.timestamps}
        assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(points), series.metric


@contextmanager
def answering(*answers: Any) -> Iterator[AzureAccount]:
    """A host of metrics that gives these answers one after the other, the last one for ever: bodies, or responses."""
    given = list(answers)

    def answer(_request: Request) -> Response | None:
        one = given.pop(0) if len(given) > 1 else given[0]
        if one is None or isinstance(one, Response):
            return one
        return Response(200, json.dumps(one).encode(), {"Content-Type": "application/json"})

    server = Server(answer)
    server.start()
    yield AzureAccount.model_validate({"subscription_id": SUBSCRIPTION, "endpoint_url": server.url})
    server.stop()


# --- Values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MEASURED)
def test_points_are_the_clouds_in_our_units(start_lab: StartLab, kind: str) -> None:
    held = {"state": "Succeeded"} if kind == "azure:public_ip" else {}  # an address that nothing has tells nothing
    lab = start_lab(fleet("azure:vm" if kind == "azure:disk" else kind, 2, **held))
    kind = kind.replace("sql_server", "sql_database")
    resources = [one for one in inventory(lab) if one.kind == kind]

    result = read(resources, account(lab))

    assert result.problems == []
    check(lab, result)
    metrics = metrics_for("azure", kind)
    without = 2 * sum(metric.condition in {"v1", "route"} or metric.period == 3600 for metric in metrics)
    assert states(result)[CoverageState.NOT_OFFERED] == without
    assert {len(series.timestamps) for series in result.series} == {6}
    assert len(result.series) == 2 * sum(len(metric.statistics) for metric in metrics) - without


@st.composite
def worlds(draw: st.DrawFn) -> dict[str, Any]:
    def drawn(n: int) -> dict[str, Any]:
        return {
            "kind": draw(st.sampled_from(FLEET_KINDS)),
            "region": draw(st.sampled_from(["westeurope", "eastus"])),
            "count": draw(st.integers(0, 4)),
            "group": f"group-{n}",
            "state": draw(st.sampled_from([None, None, "deallocated", "stopped"])),
            "disks": draw(st.integers(0, 2)),
        }

    subscriptions = [
        {"id": one, "fleets": [drawn(n) for n in range(draw(st.integers(1, 4)))]} for one in (SUBSCRIPTION, OTHER)
    ]
    return {"seed": draw(st.integers(0, 9)), "azure": {"subscriptions": subscriptions}}


@settings(max_examples=12)
@given(world=worlds(), minutes=st.integers(0, 9), length=st.integers(1, 70))
def test_every_cell_of_a_drawn_world_is_the_clouds(world: dict[str, Any], minutes: int, length: int) -> None:
    start = START + timedelta(minutes=minutes)
    end = start + timedelta(minutes=length)
    with CloudLab(world, now=lambda: NOW) as lab:
        accounts = [account(lab), account(lab, OTHER)]
        resources = inventory(lab, *accounts)

        result = read(resources, *accounts, start=start, end=end)

        assert result.problems == []
        came = {(one.resource.resource_id, one.metric.name, one.statistic) for one in result.series}
        assert len(came) == len([one for one in result.series if one.window is None]) + len(
            {(one.resource.resource_id, one.metric.name) for one in result.series if one.window is not None}
        )
        for one in resources:
            for metric in metrics_for("azure", one.kind):
                if KINDS[one.kind].why_not_offered(metric, one):
                    continue
                for statistic in metric.statistics:
                    name = metric.statistic_name(statistic)
                    points = truth(lab, Series(one, metric, name, [], []), start, end)
                    assert ((one.resource_id, metric.name, name) in came) == bool(points)
        check(lab, result, start, end)


def test_an_hour_is_read_once_in_the_window_a_quarter_past_it(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:storage_account", 60))
    resources, noon = inventory(lab), END
    quarter = timedelta(minutes=15)

    for n in range(4):
        meter = Meter()
        result = read(resources, account(lab), start=noon + n * quarter, end=noon + (n + 1) * quarter, meter=meter)

        of_hours = [one for one in result.series if one.metric.name == "storage_used"]
        assert meter.calls == {"getBatch": 4 if n == 1 else 2}
        assert {(one.timestamps[0], one.window) for one in of_hours} == (
            {(int(noon.timestamp()) - 3600, noon + quarter)} if n == 1 else set()
        )
        coverage = [one for one in result.coverage if one.metric_name == "storage_used"]
        assert {one.state for one in coverage} == {CoverageState.COLLECTED if n == 1 else CoverageState.NOT_OFFERED}
        check(lab, result, noon + n * quarter, noon + (n + 1) * quarter)
    rows = performance_rows("acme", "azure", of_hours_of(lab, resources, noon + quarter), noon)
    assert set(rows["window_start"].to_pylist()) == {noon + quarter}


def of_hours_of(lab: CloudLab, resources: list[Resource], window: datetime) -> list[Series]:
    result = read(resources, account(lab), start=window, end=window + timedelta(minutes=15))
    return [one for one in result.series if one.window is not None]


@pytest.mark.parametrize(
    ("file", "metric", "name", "convert"),
    [
        ("ec2_cpu_utilization_5f5533.csv", "Percentage CPU", "cpu_utilization", lambda value: value),
        ("ec2_network_in_257a54.csv", "Network In Total", "network_in", lambda value: value / 300),
        (
            "ec2_cpu_utilization_24ae8d.csv",
            "Available Memory Percentage",
            "memory_utilization",
            lambda value: 100 - value,
        ),
    ],
)
def test_a_recorded_series_comes_out_as_it_went_in(
    shared_data: Path, file: str, metric: str, name: str, convert: Callable[[float], float]
) -> None:
    (path,) = (shared_data / "nab").rglob(file)
    end = datetime(2026, 11, 20, tzinfo=UTC)
    replay = {"metric": metric, "resource": "vm-001", "file": str(path), "ends_at": end}
    world = {"subscriptions": [{"id": SUBSCRIPTION, "fleets": [fleet("azure:vm", disks=0)]}], "replay": [replay]}
    times, values = recorded_points(path, ends_at=end)
    wanted: dict[int, list[float]] = {}
    for at, value in zip(times.tolist(), values.tolist(), strict=True):
        wanted.setdefault(at // 300 * 300, []).append(value)
    divisor = 1 if metric == "Network In Total" else None  # a total adds up, averages do not

    with CloudLab({"azure": world}, now=lambda: NOW) as lab:
        result = read(inventory(lab), account(lab), start=end - timedelta(days=2), end=end)

    (series,) = [one for one in result.series if one.metric.name == name]
    first = int((end - timedelta(days=2)).timestamp())
    assert len(series.timestamps) > 500
    assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(
        {
            at: convert(sum(found) / (divisor or len(found)))
            for at, found in wanted.items()
            if first <= at < end.timestamp()
        }
    )


def test_the_end_is_exclusive_and_odd_times_are_aligned(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", disks=0))
    second = timedelta(seconds=1)

    result = read(inventory(lab), account(lab), start=START + second, end=END - second)

    first, last = int(START.timestamp()) + 300, int(END.timestamp()) - 300
    assert {tuple(series.timestamps) for series in result.series} == {tuple(range(first, last + 1, 300))}


def test_a_range_without_a_whole_period_is_not_asked_for(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", disks=0))
    meter = Meter()

    result = read(
        inventory(lab), account(lab), start=START + timedelta(seconds=1), end=START + timedelta(seconds=9), meter=meter
    )

    assert (states(result), meter.calls) == ({CoverageState.NOT_OFFERED: VM_METRICS}, {})


@pytest.mark.parametrize("mode", ["missing", "low"])
def test_points_that_come_late_are_final_at_the_next_reading(mode: str) -> None:
    now = [datetime.now(UTC)]
    step = timedelta(minutes=15)
    world = {"azure": {"subscriptions": [{"id": SUBSCRIPTION, "fleets": [fleet("azure:vm", 3, disks=0)]}]}}
    with CloudLab(world, now=lambda: now[0]) as lab:
        lab.control.add_faults({"action": "late", "seconds": 720, "mode": mode})
        resources = inventory(lab)
        stored: dict[tuple[str, str, int], float] = {}
        changed = 0
        for window in range(4):
            end = START + (window + 1) * step
            now[0] = end + timedelta(minutes=5)
            for series in read(resources, account(lab), start=end - 2 * step, end=end).series:
                for at, value in zip(series.timestamps, series.values, strict=True):
                    key = (series.resource.resource_id, series.metric.name, at)
                    changed += stored.get(key, value) != value
                    stored[key] = value
        last = START + 3 * step  # the windows that were read twice
        now[0] = last + timedelta(hours=1)
        lab.control.clear_faults()
        final = read(resources, account(lab), start=START - step, end=last)

    assert changed > 0
    for series in final.series:
        for at, value in zip(series.timestamps, series.values, strict=True):
            assert stored[series.resource.resource_id, series.metric.name, at] == pytest.approx(value)


# --- What is asked ----------------------------------------------------------------------------------------------------


def test_ten_thousand_machines_are_two_hundred_calls() -> None:
    request: MetricsRequest[AzureAccount] = MetricsRequest("acme", [], machines(10_000), START, END)

    assert metrics_.price(request) == Decimal("0.002")  # 200 calls, 1,000 for a cent


def test_calls_hold_fifty_resources_of_one_place_and_type(start_lab: StartLab) -> None:
    other = {"id": OTHER, "fleets": [fleet("azure:vm", 2, disks=0)]}
    lab = start_lab(
        fleet("azure:vm", 101, disks=0),
        fleet("azure:vm", 1, "eastus", name="east", disks=0),
        fleet("azure:redis", 3),
        others=(other,),
    )
    accounts = [account(lab), account(lab, OTHER)]
    resources, meter = inventory(lab, *accounts), Meter()

    result = read(resources, *accounts, meter=meter)

    assert result.problems == []
    assert meter.calls == {"getBatch": 3 + 1 + 1 + 1}
    assert lab.control.calls().billed_metrics == {SUBSCRIPTION: 5, OTHER: 1}
    assert meter.cost_usd == metrics_.price(MetricsRequest("acme", accounts, resources, START, END))
    assert lab.control.calls().count("monitor", "getBatch", region="eastus", status=200) == 1


def test_a_long_range_is_cut_into_answers_that_fit_into_memory(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("azure:vm", 7, disks=0))
    monkeypatch.setattr(metric_batches, "POINTS_PER_CALL", 24 * VM_METRICS * 2)
    meter = Meter()

    result = read(inventory(lab), account(lab), start=END - timedelta(hours=2), end=END, meter=meter)

    assert meter.calls == {"getBatch": 4}
    assert {len(series.timestamps) for series in result.series} == {24}


def test_a_deallocated_machine_is_not_asked_about(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", 2, state="deallocated", disks=0), fleet("azure:vm", name="on", disks=0))
    meter = Meter()

    result = read(inventory(lab), account(lab), meter=meter)

    assert meter.calls == {"getBatch": 1}
    assert states(result) == {CoverageState.NOT_OFFERED: 2 * VM_METRICS, CoverageState.COLLECTED: VM_METRICS}
    assert {one.reason for one in result.coverage} == {"the vm is deallocated", ""}


def test_what_measures_nothing_is_told_why(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:aks", state="Stopped"), fleet("azure:disk"), fleet("azure:vnet"))

    result = read(inventory(lab), account(lab))

    assert result.series == []
    assert {one.reason for one in result.coverage} == {
        "the aks is stopped",
        "the disk is not attached to a machine",
    }


@pytest.mark.parametrize(
    ("kind", "metadata", "without"),
    [
        ("azure:sql_database", {"tier": "DataWarehouse"}, {"memory_utilization", "disk_utilization"}),
        ("azure:sql_database", {"tier": "Hyperscale"}, {"disk_utilization"}),
        ("azure:sql_database", {"tier": "GeneralPurpose"}, set()),
        ("azure:load_balancer", {"sku": "Basic"}, {"network_total", "uptime", "backend_health"}),
        ("azure:vnet_gateway", {"gateway_type": "Vpn"}, {"cpu_utilization"}),
        ("azure:vnet_gateway", {"gateway_type": "ExpressRoute"}, {"network_in", "network_out"}),
        ("azure:vnet_gateway", {}, set()),
        ("azure:load_balancer", {"sku": "Standard"}, set()),
        ("azure:application_gateway", {"sku": "Standard_v2"}, {"cpu_utilization"}),
        ("azure:application_gateway", {"sku": "WAF_Medium"}, {"response_time", "network_in", "network_out"}),
        ("azure:application_gateway", {}, set()),
    ],
)
def test_metrics_that_a_size_does_not_have_are_not_asked_for(
    kind: str, metadata: dict[str, str | int | float | bool | None], without: set[str]
) -> None:
    (one,) = machines(1, kind=kind, metadata=metadata)

    assert {
        metric.name for metric in metrics_for("azure", kind) if KINDS[one.kind].why_not_offered(metric, one)
    } == without


def test_the_catalogue_fits_into_the_calls() -> None:
    rows = [metric for metric in METRICS if metric.provider == "azure"]

    assert {metric.period for metric in rows} == {300, 3600}
    assert {one for metric in rows for one in metric.statistics} <= {"Average", "Maximum", "Minimum", "Total", "Count"}
    assert not [metric.api_metric for metric in rows if "," in metric.api_metric]
    for kind in {metric.kind for metric in rows}:
        mine = metrics_for("azure", kind)
        assert len(mine) <= metric_batches.METRICS_PER_CALL
        assert len({metric.api_metric.lower() for metric in mine}) == len(mine)
        assert len({metric.namespace for metric in mine}) == 1


# --- What goes wrong --------------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def elsewhere(lab: CloudLab) -> AzureAccount:
    """The lab's subscription, with a host of metrics that is not there."""
    return account(lab, metrics_endpoint_url=f"http://127.0.0.1:{closed_port()}")


def test_without_the_host_of_metrics_resource_manager_is_asked(start_lab: StartLab, waits: list[float]) -> None:
    lab = start_lab(fleet("azure:vm", 60, disks=0), fleet("azure:redis", 2))

    result = read(inventory(lab), elsewhere(lab))

    assert result.problems == []
    assert states(result) == {CoverageState.COLLECTED: 60 * VM_METRICS + 2 * REDIS_METRICS}
    check(lab, result)
    assert lab.control.calls().count("monitor", "ListAtSubscriptionScope") == 2
    assert sum(waits) < 60


def test_a_host_of_metrics_that_lets_nobody_in_is_gone_round(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", 120, disks=0))
    lab.control.add_faults({"action": "deny", "operation": "getBatch"})
    meter = Meter()

    result = read(inventory(lab), account(lab), meter=meter)

    assert result.problems == []
    assert len(result.series) == 120 * VM_METRICS
    assert meter.calls["ListAtSubscriptionScope"] == 1
    assert lab.control.calls().billed_metrics[SUBSCRIPTION] == sum(meter.calls.values())


def test_what_resource_manager_leaves_out_is_asked_for_by_its_id(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", 30, disks=0))
    lab.control.add_faults(
        {"action": "deny", "operation": "getBatch"},
        {"action": "partial", "operation": "ListAtSubscriptionScope", "every": 3, "times": 1},
    )

    result = read(inventory(lab), account(lab))

    assert result.problems == []
    assert states(result) == {CoverageState.COLLECTED: 30 * VM_METRICS}
    assert lab.control.calls().count("monitor", "ListAtSubscriptionScope") == 2
    check(lab, result)


def test_a_role_that_reads_no_metrics_is_told_with_its_remedy(start_lab: StartLab) -> None:
    closed = {"id": OTHER, "actions": ["Microsoft.Compute/*"], "fleets": [fleet("azure:vm", 2, disks=0)]}
    lab = start_lab(fleet("azure:vm", disks=0), others=(closed,))
    accounts = [account(lab), account(lab, OTHER)]
    resources = [*machines(1), *machines(2, account_id=OTHER)]
    resources = [replace(one, resource_id=one.resource_id.replace(SUBSCRIPTION, one.account_id)) for one in resources]

    result = read(resources, *accounts)

    (problem,) = result.problems
    assert (problem.account_id, problem.region, problem.kind) == (OTHER, "westeurope", "azure:vm")
    assert problem.cause is Cause.PERMISSION
    assert "Assign the role Monitoring Reader, on the subscription" in problem.message
    assert f"{2 * VM_METRICS} metrics are missing" in problem.message
    assert states(result) == {CoverageState.COLLECTED: VM_METRICS, CoverageState.NO_PERMISSION: 2 * VM_METRICS}


def test_what_an_answer_leaves_out_is_asked_for_once_more(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", 50, disks=0))
    lab.control.add_faults({"action": "partial", "operation": "getBatch", "every": 5, "times": 1})

    result = read(inventory(lab), account(lab))

    assert result.problems == []
    assert len(result.series) == 50 * VM_METRICS
    assert lab.control.calls().count("monitor", "getBatch") == 2


def test_what_stays_left_out_is_told_and_nothing_else_is_lost(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", 50, disks=0))
    lab.control.add_faults({"action": "partial", "operation": "getBatch", "every": 5})  # 10 of 50, then 2 of 10

    result = read(inventory(lab), account(lab))

    (problem,) = result.problems
    assert problem.cause is Cause.INCOMPLETE
    assert f"({2 * VM_METRICS} metrics are missing)" in problem.message
    assert states(result) == {CoverageState.COLLECTED: 48 * VM_METRICS, CoverageState.ERROR: 2 * VM_METRICS}


@pytest.mark.parametrize(
    ("code", "state"), [("InternalServerError", CoverageState.ERROR), ("Throttled", CoverageState.THROTTLED)]
)
def test_a_metric_that_azure_could_not_read_is_a_problem(start_lab: StartLab, code: str, state: CoverageState) -> None:
    lab = start_lab(fleet("azure:vm", 4, disks=0))
    lab.control.add_faults({"action": "partial", "operation": "getBatch", "every": 4, "mode": code})

    result = read(inventory(lab), account(lab))

    (problem,) = result.problems
    assert problem.cause is Cause.INCOMPLETE
    assert code in problem.message
    assert states(result) == {CoverageState.COLLECTED: 3 * VM_METRICS, state: VM_METRICS}


@pytest.mark.parametrize("operation", ["getBatch", "ListAtSubscriptionScope"])
def test_a_metric_that_a_cloud_does_not_know_costs_itself_only(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    known = tuple(one for one in lab_metrics.PUBLISHED["microsoft.compute/virtualmachines"] if "Memory" not in one.name)
    monkeypatch.setitem(lab_metrics.PUBLISHED, "microsoft.compute/virtualmachines", known)
    lab = start_lab(fleet("azure:vm", 2, disks=0))
    if operation != "getBatch":
        lab.control.add_faults({"action": "deny", "operation": "getBatch"})

    result = read(inventory(lab), account(lab))

    assert result.problems == []
    missing = [one for one in result.coverage if one.state is CoverageState.NOT_OFFERED]
    assert {one.metric_name for one in missing} == {"memory_utilization", "memory_free"}
    assert all("does not know Available Memory" in one.reason for one in missing)
    assert states(result)[CoverageState.COLLECTED] == 2 * (VM_METRICS - 2)


def test_a_metric_that_one_resource_has_not_is_read_of_the_others(start_lab: StartLab) -> None:
    """Of one kind, and another SKU: it fails the whole call, which names the metric and not the resource."""
    odd = fleet("azure:vm", 2, disks=0, name="odd-{n}", unmeasured=["Available Memory Bytes"])
    lab = start_lab(fleet("azure:vm", 48, disks=0), odd)

    result = read(inventory(lab), account(lab))

    assert result.problems == []
    lacking = {
        (one.resource_id[-5:], one.metric_name, one.state) for one in result.coverage if one.state != "collected"
    }
    assert lacking == {(f"odd-{n}", "memory_free", CoverageState.NOT_OFFERED) for n in (1, 2)}
    assert lab.control.calls().count("monitor", "getBatch") < 2 + 2 * 2 * 6


def test_what_the_host_of_metrics_does_not_implement_is_asked_of_resource_manager(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", 3, disks=0))
    lab.control.add_faults({"action": "error", "operation": "getBatch", "mode": "501"})

    result = read(inventory(lab), account(lab))

    assert result.problems == []
    assert states(result) == {CoverageState.COLLECTED: 3 * VM_METRICS}
    assert lab.control.calls().count("monitor", "getBatch") == 1  # such an answer is not asked for again

    lab.control.add_faults({"action": "deny", "operation": "ListAtSubscriptionScope"})
    (problem,) = read(inventory(lab), account(lab)).problems
    assert "it does not have those of Microsoft.Compute/virtualMachines" in problem.message


def test_a_metric_that_no_resource_has_is_soon_given_up(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    known = tuple(one for one in lab_metrics.PUBLISHED["microsoft.compute/virtualmachines"] if "Memory" not in one.name)
    monkeypatch.setitem(lab_metrics.PUBLISHED, "microsoft.compute/virtualmachines", known)
    lab = start_lab(fleet("azure:vm", 1000, disks=0))

    result = read(inventory(lab), account(lab))

    assert result.problems == []
    assert states(result)[CoverageState.NOT_OFFERED] == 2000
    assert lab.control.calls().count("monitor", "getBatch") <= 20 * 3 + 2 * 40


def test_a_resource_that_is_gone_costs_itself_only(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", 49, disks=0))
    gone = machines(50)[-1]

    result = read([*inventory(lab), gone], account(lab))

    assert result.problems == []
    assert {one.resource_id for one in result.coverage if one.state is not CoverageState.COLLECTED} == {
        gone.resource_id
    }
    assert len(result.series) == 49 * VM_METRICS
    assert lab.control.calls().count("monitor", "getBatch") < 20


def test_looking_for_what_is_gone_ends(start_lab: StartLab) -> None:
    lab = start_lab()

    result = read(machines(200), account(lab))

    assert {problem.cause for problem in result.problems} == {Cause.BUG}
    assert lab.control.calls().count("monitor", "getBatch") < 100


@pytest.mark.parametrize("mode", ["429", "529"])
def test_throttling_of_a_third_of_the_calls_loses_little_and_tells_it(
    start_lab: StartLab, waits: list[float], mode: str
) -> None:
    lab = start_lab(*(fleet("azure:vm", region=f"region{n}", name=f"vm{n}", disks=0) for n in range(60)))
    lab.control.add_faults(
        {"action": "throttle", "operation": "getBatch", "probability": 0.3, "mode": mode, "seconds": 7}
    )
    meter = Meter()

    result = read(inventory(lab), account(lab), meter=meter)

    found = states(result)
    assert found[CoverageState.COLLECTED] >= 55 * VM_METRICS
    assert sum(found.values()) == 60 * VM_METRICS
    assert bool(result.problems) == (found[CoverageState.COLLECTED] < 60 * VM_METRICS)
    assert waits
    assert {round(wait) for wait in waits} == {7}
    assert lab.control.calls().count("monitor", "getBatch", status=int(mode)) > 0
    assert meter.calls["getBatch"] == lab.control.calls().billed_metrics[SUBSCRIPTION]


@pytest.mark.parametrize("seconds", [0, 30, 3600])
def test_minutes_of_throttling_end_as_a_problem(start_lab: StartLab, waits: list[float], seconds: int) -> None:
    lab = start_lab(fleet("azure:vm", 60, disks=0), fleet("azure:redis"))
    lab.control.add_faults({"action": "throttle", "operation": "getBatch", "mode": "529", "seconds": seconds})

    result = read(inventory(lab), account(lab))

    assert {problem.cause for problem in result.problems} == {Cause.THROTTLED}
    assert {problem.kind for problem in result.problems} == {"azure:vm", "azure:redis"}
    assert states(result) == {CoverageState.THROTTLED: 60 * VM_METRICS + REDIS_METRICS}
    assert sum(waits) <= 3 * metrics_._SECONDS  # of all threads together


def test_cut_connections_are_tried_again_and_then_told(start_lab: StartLab, waits: list[float]) -> None:
    lab = start_lab(fleet("azure:vm", 2, disks=0))
    resources = inventory(lab)
    lab.control.add_faults({"action": "disconnect", "service": "monitor", "times": 2})
    assert read(resources, account(lab)).problems == []

    lab.control.add_faults({"action": "disconnect", "service": "monitor"})
    result = read(resources, account(lab))

    assert [problem.cause for problem in result.problems] == [Cause.UNAVAILABLE]
    assert states(result) == {CoverageState.ERROR: 2 * VM_METRICS}
    assert sum(waits) < metrics_._SECONDS


def test_a_host_that_hangs_holds_nobody_up(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(fleet("azure:vm", 120, disks=0))
    resources = inventory(lab)
    lab.control.add_faults({"action": "delay", "service": "monitor", "seconds": 5})
    monkeypatch.setattr(metrics_, "_SECONDS", 0.5)

    begun = time.monotonic()
    result = read(resources, account(lab))

    assert time.monotonic() - begun < 3
    assert {problem.cause for problem in result.problems} == {Cause.UNAVAILABLE}
    assert states(result) == {CoverageState.ERROR: 120 * VM_METRICS}


def test_where_nothing_listens_both_ways_are_told(waits: list[float]) -> None:
    nobody = AzureAccount.model_validate(
        {"subscription_id": SUBSCRIPTION, "endpoint_url": f"http://127.0.0.1:{closed_port()}"}
    )

    result = read(machines(3), nobody)

    (problem,) = result.problems
    assert problem.cause is Cause.UNAVAILABLE
    assert "monitor.ListAtSubscriptionScope: Azure could not be reached" in problem.message
    assert "The host of metrics of westeurope: monitor.getBatch: Azure could not be reached" in problem.message
    assert sum(waits) < metrics_._SECONDS


@pytest.mark.parametrize("action", ["expired", "unknown_key"])
def test_a_credential_that_fails_is_one_problem(start_lab: StartLab, action: str) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": action, "service": "monitor"})

    result = read(machines(1000), account(lab))

    assert [(problem.cause, problem.region) for problem in result.problems] == [(Cause.AUTH, "")]
    assert lab.control.calls().count("monitor") <= 16
    assert states(result) == {CoverageState.NO_PERMISSION: 1000 * VM_METRICS}


def test_a_call_that_the_budget_does_not_allow_is_not_made(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", 120, disks=0))
    meter = Meter(limit_usd=2 * client.METRICS_PRICE_USD)

    result = read(inventory(lab), account(lab), meter=meter)

    assert {problem.cause for problem in result.problems} == {Cause.BUDGET}
    assert lab.control.calls().billed_metrics == {SUBSCRIPTION: 2}
    assert len(result.series) in {100 * VM_METRICS, 70 * VM_METRICS}
    assert meter.cost_usd == Decimal("0.00002")


def test_resources_of_a_subscription_that_is_no_longer_configured_are_told(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", disks=0))

    result = read([*inventory(lab), *machines(1, account_id=OTHER)], account(lab))

    assert [(problem.account_id, problem.cause) for problem in result.problems] == [(OTHER, Cause.CONFIG)]
    assert len(result.series) == VM_METRICS


def test_an_id_that_is_none_costs_that_resource(start_lab: StartLab) -> None:
    lab = start_lab(fleet("azure:vm", disks=0))

    result = read([*inventory(lab), *machines(1, resource_id="vm-001")], account(lab))

    assert len(result.series) == VM_METRICS
    assert {one.state for one in result.coverage if one.resource_id == "vm-001"} == {CoverageState.ERROR}


# --- Answers of all forms ---------------------------------------------------------------------------------------------


def answer_of(resource_id: str, *points: Any, **metric: Any) -> dict[str, Any]:
    one = {"name": {"value": "Percentage CPU"}, "timeseries": [{"data": list(points)}], **metric}
    return {"values": [{"resourceid": resource_id, "value": [one]}]}


@pytest.mark.parametrize(
    ("point", "value"),
    [
        ({"timeStamp": "2026-11-20T11:30:00Z", "average": 5}, 5.0),
        ({"timeStamp": "2026-11-20T11:30:00.0000000Z", "average": 0.0}, 0.0),
        ({"timeStamp": "2026-11-20T12:30:00+01:00", "average": 5.5}, 5.5),
        ({"timeStamp": "2026-11-20T11:30:00", "average": 5.5}, 5.5),
        ({"timeStamp": "2026-11-20T11:30:00Z"}, None),
        ({"timeStamp": "2026-11-20T11:30:00Z", "average": None}, None),
        ({"timeStamp": "2026-11-20T11:30:00Z", "average": float("nan")}, None),
        ({"timeStamp": "2026-11-20T11:30:00Z", "total": 5.5}, None),
        ({"timeStamp": "2026-11-20T11:31:00Z", "average": 5.5}, None),
        ({"timeStamp": "2026-11-20T12:00:00Z", "average": 5.5}, None),
        ({"timeStamp": "2026-11-20T11:30:00Z", "average": float("inf")}, None),
    ],
)
def test_a_point_is_a_number_at_the_start_of_a_period_in_the_range(point: dict[str, Any], value: float | None) -> None:
    (machine,) = machines(1)
    with answering(answer_of(machine.resource_id.upper(), point)) as told:
        result = read([machine], told)

    assert result.problems == []
    assert [(series.timestamps, series.values) for series in result.series] == (
        [] if value is None else [([int(START.timestamp())], [value])]
    )


def test_an_answer_that_is_a_text_of_json_is_read_too() -> None:
    (machine,) = machines(1)
    with answering(
        json.dumps(answer_of(machine.resource_id, {"timeStamp": "2026-11-20T11:30:00Z", "average": 1}))
    ) as told:
        assert [series.values for series in read([machine], told).series] == [[1.0]]


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        7,
        "no json",
        {"values": None},
        {"values": [None]},
        {"values": [{"resourceid": None, "value": None}]},
        {"values": [{"value": [{}]}]},
        {"values": [{"resourceid": "elsewhere", "value": []}]},
        answer_of("x", {"timeStamp": "yesterday", "average": 1}),
        answer_of(machines(1)[0].resource_id, {"timeStamp": "yesterday", "average": 1}),
        answer_of(machines(1)[0].resource_id, 7),
        answer_of(machines(1)[0].resource_id, name=None, id=None),
        Response(200, b"<html>captive portal</html>", {"Content-Type": "text/html"}),
        Response(200, b"{", {"Content-Type": "application/json"}),
        Response(400, b"", {}),
        Response(418, b"[]", {"Content-Type": "application/json"}),
    ],
)
def test_no_answer_is_too_odd_to_bear(body: Any) -> None:
    with answering(Response(200, b"null", {"Content-Type": "application/json"}) if body is None else body) as told:
        result = read(machines(1), told)

    assert result.series == []
    assert set(states(result)) <= {CoverageState.ERROR, CoverageState.NO_POINTS}
    assert bool(result.problems) == (CoverageState.ERROR in states(result))


def recorded_answers(shared_data: Path) -> Iterator[dict[str, Any]]:
    """Metrics as Resource Manager once told them of one resource."""
    for file in sorted((shared_data / "azure_recordings").glob("*metric*.json")):
        for interaction in json.loads(file.read_text(encoding="utf-8"))["interactions"]:
            data = interaction["response"]["body"].get("data") or {}
            if "/metrics?" in interaction["request"]["uri"].lower() and isinstance(data.get("value"), list):
                yield data
    grafana = shared_data / "grafana_testdata/pkg/tsdb/azuremonitor/test-data/azuremonitor"
    for file in sorted(grafana.glob("*.json")):
        yield json.loads(file.read_text(encoding="utf-8"))
    telegraf = shared_data / "telegraf/plugins/inputs/azure_monitor/testdata/json/azure_metrics_responses.json"
    yield from json.loads(telegraf.read_text(encoding="utf-8"))


def test_recorded_answers_come_out_whole(shared_data: Path) -> None:
    """What the recordings hold on whole periods comes out, of the metrics of the catalogue; the rest is no point."""
    found = 0
    for answer in recorded_answers(shared_data):
        metrics = answer["value"]
        resource_id = metrics[0]["id"].partition("/providers/Microsoft.Insights")[0].lower() if metrics else ""
        if len(resource_id.split("/")) < 9:
            continue
        points = [point for metric in metrics for one in metric["timeseries"] for point in one["data"]]
        times = [datetime.fromisoformat(point["timeStamp"]) for point in points] or [START]
        (machine,) = machines(1, resource_id=resource_id)
        wanted = {
            metric.name: [
                (int(at.timestamp()), metric.convert(point[metric.statistics[0].lower()]))
                for one in metrics
                if (one["name"].get("value") or one["id"].rpartition("/")[2]) == metric.api_metric
                for series in one["timeseries"]
                for point in series["data"]
                if (at := datetime.fromisoformat(point["timeStamp"])).timestamp() % 300 == 0
                and point.get(metric.statistics[0].lower()) is not None
            ]
            for metric in metrics_for("azure", "azure:vm")
        }

        with answering({"values": [{**answer, "resourceid": resource_id}]}) as told:
            result = read([machine], told, start=min(times), end=max(times) + timedelta(minutes=5))

        assert result.problems == []
        came = {one.metric.name: list(zip(one.timestamps, one.values, strict=True)) for one in result.series}
        assert came == {name: points for name, points in wanted.items() if points}
        found += len(came)
    assert found > 0


# --- Hosts and secrets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [
        (None, "metrics.monitor.azure.com"),
        ("https://management.chinacloudapi.cn", "metrics.monitor.azure.cn"),
        ("https://management.usgovcloudapi.net", "metrics.monitor.azure.us"),
    ],
)
def test_each_region_of_each_cloud_has_its_host(
    monkeypatch: pytest.MonkeyPatch, endpoint: str | None, host: str
) -> None:
    monkeypatch.setattr(client, "_PRINCIPALS", {})
    one = AzureAccount.model_validate({"subscription_id": SUBSCRIPTION, "endpoint_url": endpoint})

    principal = open_principal(one)

    assert principal.metrics_host("westeurope", None) == f"https://westeurope.{host}"
    assert principal._cloud.metrics_scope == f"https://{host}/.default"


def test_a_host_of_metrics_on_this_machine_is_never_shown_a_secret(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_PRINCIPALS", {})
    monkeypatch.setenv("AZ_TEST_SECRET", "hunter2-secret")
    seen: list[str] = []
    lab = start_lab(fleet("azure:vm", disks=0))
    resources = inventory(lab)
    way_in = {"tenant_id": OTHER, "client_id": OTHER, "client_secret": {"env": "AZ_TEST_SECRET"}}
    real = AzureAccount.model_validate({"subscription_id": SUBSCRIPTION, "metrics_endpoint_url": lab.url, **way_in})
    claims = lab.azure.claims

    def watched(request: Request) -> bool:
        seen.append(str(request.headers))
        return claims(request)

    monkeypatch.setattr(lab.azure, "claims", watched)

    result = read(resources, real)

    assert len(result.series) == VM_METRICS
    assert seen
    assert not [headers for headers in seen if "authorization" in headers.lower()]
