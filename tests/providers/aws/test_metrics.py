from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from botocore.config import Config
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.aws.services import KINDS as LAB_KINDS
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, Metric, MetricsRequest, MetricsResult
from optiinfra_dagster.providers.aws import client, sdk
from optiinfra_dagster.providers.aws import metrics as metrics_
from optiinfra_dagster.providers.aws.account import AwsAccount
from optiinfra_dagster.providers.aws.inventory import collect
from optiinfra_dagster.providers.aws.questions import Question, batches_of, dimension_value, questions_of
from optiinfra_dagster.providers.aws.services import KINDS
from optiinfra_dagster.providers.catalog import METRICS, metrics_for
from optiinfra_dagster.providers.day_cache import DayCache
from tests.providers.aws.conftest import ACME, NOW, StartLab, acme, fleet

START, END = datetime(2026, 11, 20, 11, 30, tzinfo=UTC), datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def inventory() -> list[Resource]:
    found = collect("acme", [acme()], Meter())
    assert found.problems == []
    return found.resources


def instances(count: int, *, account: str = ACME, **fields: Any) -> list[Resource]:
    """Instances that no cloud has, for tests of what is asked."""
    return [
        replace(
            Resource(
                account_id=account,
                region="us-east-1",
                kind="ec2:instance",
                resource_id=f"arn:aws:ec2:us-east-1:{account}:instance/i-{n:017x}",
                resource_name=f"i-{n:017x}",
                resource_type=ResourceType.COMPUTE,
                status=Status.RUNNING,
                cloud_status="running",
                metadata={"instance_type": "m6i.large"},
            ),
            **fields,
        )
        for n in range(count)
    ]


def read(
    resources: list[Resource],
    start: datetime = START,
    end: datetime = END,
    meter: Meter | None = None,
    accounts: tuple[AwsAccount, ...] = (),
) -> MetricsResult:
    result = metrics_.collect(MetricsRequest("acme", accounts or (acme(),), resources, start, end), meter or Meter())
    asked = Counter((one.resource_id, metric.name) for one in resources for metric in metrics_for("aws", one.kind))
    assert Counter((one.resource_id, one.metric_name) for one in result.coverage) == asked
    return result


def states(result: MetricsResult) -> dict[str, CoverageState]:
    return {one.metric_name: one.state for one in result.coverage}


# CloudWatch's unit and ours -> what its number is multiplied by; sums are over 300 s.
FACTORS = {
    ("Percent", "percent"): 1,
    ("Bytes", "bytes"): 1,
    ("Bytes", "bytes/s"): 1 / 300,
    ("Bytes/Second", "bytes/s"): 1,
    ("Count", "count"): 1,
    ("Count", "ops/s"): 1 / 300,
    ("Count", "requests/s"): 1 / 300,
    ("Count", "units/s"): 1 / 300,
    ("Count/Second", "ops/s"): 1,
    ("Seconds", "seconds"): 1,
    ("Milliseconds", "seconds"): 1e-3,
    ("Microseconds", "seconds"): 1e-6,
}


def in_our_unit(metric: Metric, value: float) -> float:
    """A number of CloudWatch in our unit, by CloudWatch's own unit rather than by the catalogue."""
    if metric.name == "uptime":
        return 100 * (1 - value) if metric.api_metric in {"StatusCheckFailed", "ClusterStatus.red"} else 100 * value
    units = {one.unit for kind in LAB_KINDS.values() for one in kind.metrics if one.name == metric.api_metric}
    conversion = (min(units), metric.unit)
    assert conversion in FACTORS, f"{metric.kind} {metric.name}: add {conversion} to FACTORS in this file"
    return value * FACTORS[conversion]


# The names that some engines have for a metric of the catalogue, by engine or the beginning of its version.
OTHERWISE = {
    "redis": {
        "SuccessfulReadRequestLatency": "GetTypeCmdsLatency",
        "SuccessfulWriteRequestLatency": "SetTypeCmdsLatency",
    },
    "Elasticsearch": {"OpenSearchRequests": "ElasticsearchRequests"},
}


def of_moments(kind: str) -> list[Metric]:
    """The metrics of a kind but for those of whole days."""
    return [metric for metric in metrics_for("aws", kind) if metric.period == 300]


def truth(
    lab: CloudLab, one: Resource, metric: Metric, statistic: str, start: datetime = START, end: datetime = END
) -> dict[int, float]:
    """The points that a statistic (in CloudWatch's words) must have, from the lab's own arithmetic."""
    engine, version = str(one.metadata.get("engine")), str(one.metadata.get("engine_version"))
    names = OTHERWISE.get(engine) or OTHERWISE.get(version.partition("_")[0], {})
    points = lab.expected_points(
        one.account_id,
        one.region,
        one.resource_id,
        {"docdb": "AWS/DocDB", "neptune": "AWS/Neptune"}.get(engine, metric.namespace),
        names.get(metric.api_metric, metric.api_metric),
        statistic=statistic,
        period=300,
        start=start,
        end=end,
        narrowed_to=metric.filter,
    )
    return {int(time.timestamp()): in_our_unit(metric, value) for time, value in points.items()}


def compare(
    lab: CloudLab, resources: list[Resource], result: MetricsResult, start: datetime = START, end: datetime = END
) -> None:
    """Every catalogue metric of every resource: all points of the lab, in our units, or a word of why not."""
    found = {(one.resource.resource_id, one.metric.name, one.statistic): one for one in result.series}
    assert len(found) == len(result.series)
    state = {(one.resource_id, one.metric_name): one.state for one in result.coverage}
    for one, metric in [(each, metric) for each in resources for metric in of_moments(each.kind)]:
        published = False
        for statistic in metric.statistics:
            points = truth(lab, one, metric, statistic, start, end)
            series = found.pop((one.resource_id, metric.name, metric.statistic_name(statistic)), None)
            assert (series is not None) == bool(points), (one, metric, statistic)
            if series is not None:
                published = True
                assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(points)
        silent = CoverageState.AGENT_MISSING if metric.condition in {"agent", "add_on"} else CoverageState.NO_POINTS
        assert state[one.resource_id, metric.name] in (
            {CoverageState.COLLECTED} if published else {silent, CoverageState.NOT_OFFERED}
        )
    assert not found


EVERYTHING = [
    fleet("ec2:instance", 2, type="m6i.large", agent=True),
    fleet("rds:db", engine="postgres"),
    fleet("rds:db", engine="docdb", name="documents"),
    fleet("rds:cluster"),
    fleet("elbv2:application"),
    fleet("elbv2:network"),
    fleet("elbv2:gateway"),
    fleet("elb:classic"),
    fleet("eks:cluster", agent=True),
    fleet("ec2:nat_gateway"),
    fleet("elasticache:cluster", engine="valkey"),
    fleet("redshift:cluster"),
    fleet("dynamodb:table"),
    fleet("efs:filesystem"),
    fleet("fsx:filesystem"),
    fleet("lambda:function"),
    fleet("ecs:service"),
    fleet("opensearch:domain"),
    fleet("opensearch:domain", engine="elasticsearch", name="legacy"),
    fleet("memorydb:cluster"),
    fleet("elasticache:serverless"),
]


def test_every_metric_of_the_catalogue_is_read_in_our_units(start_lab: StartLab) -> None:
    lab = start_lab(*EVERYTHING)
    resources = inventory()

    result = read(resources)

    assert result.problems == []
    compare(lab, resources, result)
    collected = {(one.resource.kind, one.metric.name) for one in result.series}
    every = {(metric.kind, metric.name) for metric in METRICS if metric.provider == "aws" and metric.period == 300}
    assert collected == every
    assert {len(one.timestamps) for one in result.series} == {6}
    rates = [one.resource for one in result.series if one.metric.name == "request_rate"]
    assert {one.metadata["engine_version"] for one in rates if one.kind == "opensearch:domain"} == {
        "OpenSearch_2.17",
        "Elasticsearch_7.10",
    }


@st.composite
def worlds(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Fleets of any kind, engine, type and state."""
    fleets = []
    for n in range(draw(st.integers(1, 5))):
        kind = draw(st.sampled_from(sorted({one["kind"] for one in EVERYTHING} | {"ebs:volume"})))
        of_kind: dict[str, st.SearchStrategy[dict[str, Any]]] = {
            "ec2:instance": st.fixed_dictionaries({
                "type": st.sampled_from(["m6i.large", "t2.micro", "c7g.metal"]),
                "state": st.sampled_from([None, "stopped"]),
                "agent": st.sampled_from([False, True, ["InstanceId"], ["InstanceId", "AutoScalingGroupName"]]),
                "detailed": st.booleans(),
                "created": st.sampled_from([None, "2026-11-20T11:40:00Z"]),
            }),
            "eks:cluster": st.fixed_dictionaries({"agent": st.booleans()}),
            "rds:db": st.fixed_dictionaries({
                "engine": st.sampled_from(["mysql", "postgres", "aurora-mysql", "docdb", "neptune"]),
                "state": st.sampled_from([None, "stopped"]),
            }),
            "rds:cluster": st.fixed_dictionaries({"engine": st.sampled_from(["aurora-mysql", "docdb", "postgres"])}),
            "elasticache:cluster": st.fixed_dictionaries({"engine": st.sampled_from(["redis", "valkey", "memcached"])}),
        }  # fmt: skip
        more = draw(of_kind.get(kind, st.just({})))
        region = draw(st.sampled_from(["us-east-1", "eu-west-1"]))
        fleets.append(fleet(kind, draw(st.integers(1, 2)), region, name=f"{{kind}}-{n}-{{n}}", **more))
    return fleets


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(fleets=worlds(), seed=st.integers(0, 1000), minutes=st.integers(-90, 0), length=st.integers(5, 90))
def test_any_world_is_read_cell_by_cell(
    port: int, monkeypatch: pytest.MonkeyPatch, fleets: list[dict[str, Any]], seed: int, minutes: int, length: int
) -> None:
    monkeypatch.setattr(client, "_ACCOUNTS", {})
    regions = ["us-east-1", "eu-west-1"]
    world = {"seed": seed, "aws": {"accounts": [{"id": ACME, "regions": regions, "fleets": fleets}]}}
    with CloudLab(world, port, now=lambda: NOW) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        account = acme(regions=regions)
        resources = collect("acme", [account], Meter()).resources
        start = END + timedelta(minutes=minutes)
        end = start + timedelta(minutes=length)

        result = read(resources, start, end, accounts=(account,))

        assert result.problems == []
        aligned = [datetime.fromtimestamp(-(-one.timestamp() // 300) * 300, UTC) for one in (start, end)]
        compare(lab, resources, result, *aligned)


def test_percentiles_come_beside_the_average(start_lab: StartLab) -> None:
    start_lab(fleet("elbv2:application"))

    result = read(inventory())

    assert [one.statistic for one in result.series if one.metric.name == "response_time"] == [
        "average",
        "p50",
        "p95",
        "p99",
    ]


def test_a_thousand_instances_are_sixteen_calls(start_lab: StartLab) -> None:
    lab = start_lab()
    meter = Meter()

    read(instances(1000), meter=meter)

    assert meter.calls == {"AssumeRole": 1, "ListMetrics": 2, "GetMetricData": 16}
    assert meter.cost_usd == Decimal("0.08")
    assert lab.control.calls().billed_metrics == {ACME: 8000}


def test_the_price_is_told_before_with_all_agents_that_there_may_be(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab(fleet("ec2:instance", 3, agent=True, volumes=0), fleet("ec2:instance", 2, volumes=0))
    request = MetricsRequest("acme", [acme()], inventory(), START, END, memory=DayCache(tmp_path))
    before = metrics_.price(request)
    meter = Meter()

    metrics_.collect(request, meter)

    assert before == Decimal("0.0005")  # 8 + 2 metrics of 5 instances
    assert meter.cost_usd == metrics_.price(request) == Decimal("0.00046")
    assert lab.control.calls().billed_metrics == {ACME: 46}


def test_statistics_of_one_metric_are_asked_together_and_paid_once(start_lab: StartLab) -> None:
    lab = start_lab(fleet("elbv2:application", 101))  # 606 queries
    meter = Meter()

    read(inventory(), meter=meter)

    assert meter.calls["GetMetricData"] == 2
    assert lab.control.calls().billed_metrics == {ACME: 303}
    assert meter.cost_usd == Decimal("0.00303")


def test_resource_and_performance_share_one_assumed_role(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 2))

    read(inventory())
    read(inventory())

    assert lab.control.calls().count(operation="AssumeRole") == 1


def test_xen_and_bare_metal_instances_have_no_ebs_totals(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", type="t2.micro"), fleet("ec2:instance", type="m6i.metal"))
    resources = [one for one in inventory() if one.kind == "ec2:instance"]

    result = read(resources)

    assert {one.metric.name for one in result.series} == {"cpu_utilization", "network_in", "network_out", "uptime"}
    missing = [one for one in result.coverage if one.metric_name.startswith(("disk_read", "disk_write"))]
    assert {one.state for one in missing} == {CoverageState.NOT_OFFERED}
    assert all("see the metrics of the volumes" in one.reason for one in missing)


def test_a_stopped_instance_is_not_asked_about(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", state="stopped", volumes=0))
    meter = Meter()

    result = read(inventory(), meter=meter)

    assert result.series == []
    assert meter.calls["GetMetricData"] == 0
    assert states(result)["cpu_utilization"] is CoverageState.NOT_OFFERED
    assert {one.reason for one in result.coverage if one.metric_name == "cpu_utilization"} == {
        "the instance is stopped"
    }


def test_an_instance_that_was_shut_down_from_within_is_told_as_stopped_and_not_to_lack_an_agent(
    start_lab: StartLab,
) -> None:
    """AWS tells the time of a stop only where somebody asked AWS for it."""
    start_lab(fleet("ec2:instance", state="stopped", volumes=0))
    untold = [replace(one, metadata={**one.metadata, "stopped_at": None}) for one in inventory()]

    result = read(untold)

    assert {(one.state, one.reason) for one in result.coverage} == {
        (CoverageState.NOT_OFFERED, "the instance is stopped")
    }


def test_an_instance_that_stopped_in_the_window_is_asked_about(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", volumes=0))
    stopped = [
        replace(one, status=Status.STOPPED, metadata={**one.metadata, "stopped_at": "2026-11-20T11:45:00+00:00"})
        for one in inventory()
    ]

    assert len(read(stopped).series) == 8


def test_a_stopped_database_is_told_as_stopped(start_lab: StartLab) -> None:
    start_lab(fleet("rds:db", state="stopped"))

    result = read(inventory())

    assert {(one.state, one.reason) for one in result.coverage} == {(CoverageState.NOT_OFFERED, "the db is stopped")}


def test_a_loose_volume_is_told_as_not_attached(start_lab: StartLab) -> None:
    start_lab(fleet("ebs:volume"))

    (reason,) = {one.reason for one in read(inventory()).coverage}

    assert reason == "the volume is not attached to an instance"


def test_metrics_of_an_agent_that_is_not_there_are_told_so(start_lab: StartLab) -> None:
    start_lab(fleet("eks:cluster"), fleet("ec2:instance", volumes=0))

    result = read(inventory())

    missing = Counter(one.metric_name for one in result.coverage if one.state is CoverageState.AGENT_MISSING)
    assert missing == {"cpu_utilization": 1, "network_total": 1, "memory_utilization": 2, "disk_utilization": 2}


@pytest.mark.parametrize("dimensions", [True, ["InstanceId"], ["InstanceId", "AutoScalingGroupName"]])
def test_memory_is_read_where_an_agent_publishes_it_and_nowhere_else(start_lab: StartLab, dimensions: Any) -> None:
    lab = start_lab(
        fleet("ec2:instance", 2, name="with", agent=dimensions, volumes=0),
        fleet("ec2:instance", 3, name="without", volumes=0),
    )
    meter = Meter()

    result = read(inventory(), meter=meter)

    memory = [series for series in result.series if series.metric.name == "memory_utilization"]
    assert [series.resource.resource_name for series in memory] == ["with", "with"]
    for series in memory:
        points = truth(lab, series.resource, series.metric, "Average")
        assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(points)
    assert Counter(one.state for one in result.coverage if one.metric_name == "memory_utilization") == {
        CoverageState.COLLECTED: 2,
        CoverageState.AGENT_MISSING: 3,
    }
    assert lab.control.calls().billed_metrics == {ACME: 5 * 8 + 2 * 2}
    assert meter.calls["ListMetrics"] == 2


def test_of_an_agents_file_systems_the_root_is_read(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", agent=True, volumes=0))
    (one,) = inventory()

    (series,) = [one for one in read([one]).series if one.metric.name == "disk_utilization"]

    assert series.metric.filter == "path=/"
    points = truth(lab, one, series.metric, "Average")
    other = truth(lab, one, replace(series.metric, filter="path=/data"), "Average")
    assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(points) != other


def test_agents_that_may_not_be_looked_for_cost_their_metrics_only(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", agent=True, volumes=0))
    lab.control.add_faults({"action": "deny", "operation": "ListMetrics"})

    result = read(inventory())

    (problem,) = result.problems
    assert "cloudwatch:ListMetrics" in problem.message
    assert "(2 metrics are missing)" in problem.message
    assert states(result)["memory_utilization"] is CoverageState.NO_PERMISSION
    assert len(result.series) == 8


def test_kinds_without_metrics_are_passed_over(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:vpc"))
    meter = Meter()

    result = read(inventory(), meter=meter)

    assert (result.series, result.coverage, meter.calls) == ([], [], {})


def test_a_range_that_does_not_fit_one_page_is_split_between_calls(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("ec2:instance", 3, volumes=0))
    monkeypatch.setattr("optiinfra_dagster.lab.aws.cloudwatch.MAX_POINTS", 1000)
    monkeypatch.setattr("optiinfra_dagster.providers.aws.questions.POINTS_PER_PAGE", 1000)
    meter = Meter()

    result = read(inventory(), start=END - timedelta(hours=8), meter=meter)  # 96 points: 10 queries fill a page

    assert {len(series.timestamps) for series in result.series} == {96}
    assert meter.calls["GetMetricData"] == 3
    assert lab.control.calls().billed_metrics == {ACME: 24}


def test_answers_in_several_pages_are_joined(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(fleet("ec2:instance", 3, volumes=0))
    monkeypatch.setattr("optiinfra_dagster.lab.aws.cloudwatch.MAX_POINTS", 50)
    meter = Meter()

    result = read(inventory(), start=END - timedelta(hours=2), meter=meter)

    assert result.problems == []
    assert meter.calls["GetMetricData"] > 5
    assert len(result.series) == 24
    compare(lab, inventory(), result, start=END - timedelta(hours=2))
    assert {len(series.timestamps) for series in result.series} == {24}


def test_the_end_is_exclusive_and_odd_times_are_aligned(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", volumes=0))

    result = read(inventory(), start=START + timedelta(seconds=1), end=END - timedelta(seconds=1))

    times = {tuple(series.timestamps) for series in result.series}
    first, last = int(START.timestamp()) + 300, int(END.timestamp()) - 300
    assert times == {tuple(range(first, last + 1, 300))}


@pytest.mark.parametrize("mode", ["PartialData", "InternalError"])
def test_what_the_cloud_calls_unfinished_is_kept_and_told(start_lab: StartLab, mode: str) -> None:
    lab = start_lab(fleet("ec2:instance", 2, volumes=0))
    lab.control.add_faults({"action": "partial", "every": 7, "mode": mode})

    result = read(inventory())

    (problem,) = result.problems
    assert problem.cause is Cause.INCOMPLETE
    assert f"{mode} (3 metrics are incomplete)" in problem.message
    assert Counter(one.state for one in result.coverage) == {
        CoverageState.COLLECTED: 13,
        CoverageState.ERROR: 3,
        CoverageState.AGENT_MISSING: 4,
    }


def test_a_batch_that_fails_costs_its_own_metrics(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 126, volumes=0))  # 1,008 queries
    resources = inventory()
    lab.control.add_faults({"action": "deny", "operation": "GetMetricData", "times": 1})

    result = read(resources)

    (problem,) = result.problems
    assert problem.cause is Cause.PERMISSION
    assert "cloudwatch:GetMetricData" in problem.message
    counts = Counter(one.state for one in result.coverage)
    assert counts[CoverageState.NO_PERMISSION] in {8, 500}
    assert counts[CoverageState.COLLECTED] == 1008 - counts[CoverageState.NO_PERMISSION] == len(result.series)


def test_what_stays_throttled_is_told_as_throttled(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "throttle", "operation": "GetMetricData"})
    meter = Meter()

    result = read(instances(1), meter=meter)

    assert [problem.cause for problem in result.problems] == [Cause.THROTTLED]
    assert states(result)["cpu_utilization"] is CoverageState.THROTTLED
    assert meter.calls["GetMetricData"] == 4


# --- Uptime -----------------------------------------------------------------------------------------------------------


def test_uptime_is_the_share_of_the_minutes_in_which_the_checks_passed(start_lab: StartLab, tmp_path: Path) -> None:
    failed = [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1, 1, 1, 1]
    lines = [f"{START + timedelta(minutes=n):%Y-%m-%d %H:%M:%S},{value}" for n, value in enumerate(failed)]
    (checks := tmp_path / "checks.csv").write_text("\n".join(["timestamp,value", *lines]))
    replayed = {"namespace": "AWS/EC2", "metric": "StatusCheckFailed", "resource": "web", "file": str(checks)}
    start_lab(fleet("ec2:instance", name="web", volumes=0), replay=[replayed])

    (series,) = [one for one in read(inventory()).series if one.metric.name == "uptime"]

    assert series.values == pytest.approx([100, 60, 0])


# --- Budget -----------------------------------------------------------------------------------------------------------


def test_the_call_that_would_pass_the_budget_is_not_sent_and_none_after_it(start_lab: StartLab) -> None:
    lab = start_lab()
    meter = Meter(Decimal("0.0512"))  # ten calls of 500 metrics, and a bit

    result = read(instances(1000), meter=meter)

    (problem,) = result.problems
    assert (problem.account_id, problem.cause) == (ACME, Cause.BUDGET)
    assert "monthly_api_budget_usd" in problem.message
    assert problem.message.endswith("3000 metrics are missing")
    assert lab.control.calls().count(operation="GetMetricData") == meter.calls["GetMetricData"] == 10
    assert lab.control.calls().billed_metrics == {ACME: 5000}
    assert meter.cost_usd == Decimal("0.05")
    unpaid = [one for one in result.coverage if one.state is CoverageState.ERROR]
    assert len(unpaid) == 3000
    assert {one.reason.partition(":")[0] for one in unpaid} == {"budget"}


def test_a_spent_budget_is_said_once_for_all_accounts_and_regions(start_lab: StartLab) -> None:
    lab = start_lab(accounts=({"id": "222222222222"},))
    other = AwsAccount(account_id="222222222222", role_arn="arn:aws:iam::222222222222:role/reader")
    everything = [
        *instances(300),
        *instances(300, account="222222222222"),
        *instances(300, account="222222222222", region="eu-west-1"),
    ]

    result = read(everything, meter=Meter(Decimal(0)), accounts=(acme(), other))

    (problem,) = result.problems
    assert (problem.account_id, problem.cause) == (f"{ACME}, 222222222222", Cause.BUDGET)
    # Whether a region's agents were still looked for (ListMetrics is free) depends on when another's call was refused.
    unpaid = sum(one.state is CoverageState.ERROR for one in result.coverage)
    assert unpaid in (7200, 7500, 7800, 8100, 8400)
    assert problem.message.endswith(f" {unpaid} metrics are missing")
    assert lab.control.calls().count(operation="GetMetricData") == 0


def test_a_retry_that_the_budget_does_not_allow_is_not_sent(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "throttle", "operation": "GetMetricData"})
    meter = Meter(Decimal("0.0002"))  # an instance is 0.00008

    result = read(instances(1), meter=meter)

    assert [problem.cause for problem in result.problems] == [Cause.BUDGET]
    assert lab.control.calls().count(operation="GetMetricData") == meter.calls["GetMetricData"] == 2


def test_a_page_that_the_budget_does_not_allow_is_not_sent_and_the_pages_before_are_kept(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("ec2:instance", volumes=0))
    monkeypatch.setattr("optiinfra_dagster.lab.aws.cloudwatch.MAX_POINTS", 16)
    meter = Meter(Decimal("0.0002"))

    result = read(inventory(), meter=meter)  # 6 points of 8 metrics are 3 pages

    assert [problem.cause for problem in result.problems] == [Cause.BUDGET]
    assert lab.control.calls().count(operation="GetMetricData") == 2
    assert {len(series.values) for series in result.series} == {4}
    assert states(result)["cpu_utilization"] is CoverageState.ERROR


# --- Agents -----------------------------------------------------------------------------------------------------------


def test_agents_are_looked_for_once_a_day(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab(fleet("ec2:instance", 2, agent=True, volumes=0), fleet("ec2:instance", volumes=0))
    clock = [0.0]
    request = MetricsRequest("acme", [acme()], inventory(), START, END, memory=DayCache(tmp_path, lambda: clock[0]))
    found = []
    for hours in (0, 1, 23, 25):
        clock[0] = hours * 3600
        result = metrics_.collect(request, Meter())
        compare(lab, list(request.resources), result)
        found.append(lab.control.calls().count(operation="ListMetrics"))

    assert found == [2, 2, 2, 4]


def test_an_agent_that_was_installed_later_is_found_within_a_day(start_lab: StartLab, tmp_path: Path) -> None:
    start_lab(fleet("ec2:instance", name="web", volumes=0))
    resources, clock = inventory(), [0.0]
    memory = DayCache(tmp_path, lambda: clock[0])
    request = MetricsRequest("acme", [acme()], resources, START, END, memory=memory)
    metrics_.collect(request, Meter())
    start_lab(fleet("ec2:instance", name="web", volumes=0, agent=True))

    seen = []
    for hours in (1, 25):
        clock[0] = hours * 3600
        seen.append(states(metrics_.collect(request, Meter()))["memory_utilization"])

    assert seen == [CoverageState.AGENT_MISSING, CoverageState.COLLECTED]


def test_a_new_instance_is_looked_for_at_once_and_until_its_agent_had_time_to_start(
    start_lab: StartLab, tmp_path: Path
) -> None:
    lab = start_lab(fleet("ec2:instance", name="old", agent=True, volumes=0), fleet("ec2:instance", volumes=0))
    memory, (old, without) = DayCache(tmp_path), inventory()
    new = replace(without, created_at=datetime.now(UTC) - timedelta(minutes=40))  # its agent may still come

    def listings(*resources: Resource) -> int:
        before = lab.control.calls().count(operation="ListMetrics")
        metrics_.collect(MetricsRequest("acme", [acme()], resources, START, END, memory=memory), Meter())
        return lab.control.calls().count(operation="ListMetrics") - before

    assert listings(old) == 2
    assert listings(old) == 0
    assert listings(old, new) == 2
    assert listings(old, new) == 2
    assert listings(old, without) == 2
    assert listings(old, without) == 0


@pytest.mark.parametrize("odd", [["Metrics"], {"Metrics": [None]}, {"Metrics": [{"Dimensions": "InstanceId"}]}])
def test_an_odd_answer_about_agents_costs_their_metrics_only(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, odd: Any
) -> None:
    lab = start_lab(fleet("ec2:instance", volumes=0))
    resources = inventory()
    monkeypatch.setattr(lab.aws.cloudwatch, "list_metrics", lambda _call: odd)

    result = read(resources)

    assert {problem.cause for problem in result.problems} <= {Cause.BUG, Cause.UNAVAILABLE}
    assert states(result)["memory_utilization"] in {CoverageState.ERROR, CoverageState.AGENT_MISSING}
    assert len(result.series) == 8


@pytest.mark.parametrize("values", [[None] * 6, ["1"] * 5, ["NaN"] * 6, ["Infinity"] * 6])
def test_odd_values_are_no_points(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, values: list[Any]) -> None:
    lab = start_lab(fleet("ec2:instance", volumes=0))
    resources = inventory()
    told = lab.aws.cloudwatch.get_metric_data

    def odd(call: Any) -> dict[str, Any]:
        answer = told(call)
        answer["MetricDataResults"][3]["Values"] = values
        return answer

    monkeypatch.setattr(lab.aws.cloudwatch, "get_metric_data", odd)

    result = read(resources)

    assert all(math.isfinite(value) for series in result.series for value in series.values)
    assert "disk_read_ops" not in {series.metric.name for series in result.series}
    assert states(result)["disk_read_ops"] is not CoverageState.COLLECTED


# --- Trouble ----------------------------------------------------------------------------------------------------------


def test_a_region_that_hangs_ends_in_time_and_delays_no_other(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("ec2:instance", 20, region="eu-west-1", volumes=0))
    monkeypatch.setattr(client, "_SDKS", {})
    monkeypatch.setattr(client, "_ACCOUNTS", {})
    monkeypatch.setattr(sdk, "_CONFIG", sdk._CONFIG.merge(Config(read_timeout=1)))
    account = acme(regions=["eu-west-1"])
    fine = collect("acme", [account], Meter()).resources
    read([*instances(1), *fine], accounts=(account,))  # makes the clients
    lab.control.reset()
    lab.control.add_faults({"action": "delay", "operation": "GetMetricData", "region": "us-east-1", "seconds": 5})
    monkeypatch.setattr(metrics_, "SENDING_SECONDS", 2.5)

    result = read([*instances(1000), *fine], accounts=(account,))

    assert len(result.series) == 20 * 8
    assert {(problem.region, problem.cause) for problem in result.problems} == {("us-east-1", Cause.UNAVAILABLE)}
    assert any("took too long" in problem.message for problem in result.problems)
    assert sum(int(re.findall(r"(\d+) metrics are missing", one.message)[0]) for one in result.problems) == 8000
    # 8 at once and 3 attempts of each in the time; without an end there would be twice as many.
    assert lab.control.calls().count(operation="GetMetricData", region="us-east-1") <= 8 * 3
    assert Counter(one.state for one in result.coverage)[CoverageState.ERROR] == 8000


@pytest.mark.parametrize("action", ["throttle", "disconnect", "unavailable"])
def test_trouble_that_does_not_end_is_one_problem_and_bounded(start_lab: StartLab, action: str) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": action, "operation": "GetMetricData"})

    result = read(instances(1000))

    (problem,) = result.problems
    assert problem.cause is (Cause.THROTTLED if action == "throttle" else Cause.UNAVAILABLE)
    assert "8000 metrics are missing" in problem.message
    assert lab.control.calls().count(operation="GetMetricData") <= 16 * 4
    state = CoverageState.THROTTLED if action == "throttle" else CoverageState.ERROR
    assert Counter(one.state for one in result.coverage)[state] == 8000


def test_of_calls_of_which_a_third_is_throttled_nearly_all_come_through(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 30, agent=True, volumes=0))
    resources = inventory()
    lab.control.add_faults({"action": "throttle", "probability": 0.3})
    monthly = []
    for _ in range(20):
        result = read(resources)
        throttled = sum(one.state is CoverageState.THROTTLED for one in result.coverage)
        assert len(result.series) + throttled == len(result.coverage) == 300
        assert (throttled > 0) == (Cause.THROTTLED in {problem.cause for problem in result.problems})
        monthly.append(len(result.series))

    assert sum(monthly) >= 0.9 * 20 * 300


def test_points_that_come_late_are_final_after_the_next_window(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    monkeypatch.setattr(client, "_ACCOUNTS", {})
    clock = [END]
    world = {"aws": {"accounts": [{"id": ACME, "fleets": [fleet("ec2:instance", 5, agent=True, volumes=0)]}]}}
    stored: dict[tuple[str, str, int], float] = {}
    changed = 0
    with CloudLab(world, port, now=lambda: clock[0]) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        resources = inventory()
        lab.control.add_faults(
            {"action": "late", "seconds": 720, "mode": "missing"}, {"action": "late", "seconds": 720, "mode": "low"}
        )
        for quarter in range(8):
            window = END + quarter * timedelta(minutes=15)
            clock[0] = window + timedelta(minutes=20)
            result = read(resources, window - timedelta(minutes=15), window + timedelta(minutes=15))
            for one in result.series:
                key = one.resource.resource_id, one.metric.name
                points = {(*key, at): value for at, value in zip(one.timestamps, one.values, strict=True)}
                changed += sum(stored.get(point, value) != value for point, value in points.items())
                stored |= points
        for instance, metric in [(each, metric) for each in resources for metric in of_moments(each.kind)]:
            final = truth(lab, instance, metric, metric.statistics[0], END, END + 7 * timedelta(minutes=15))
            assert {at: stored[instance.resource_id, metric.name, at] for at in final} == pytest.approx(final)
            assert len(final) == 21
    assert changed > 50


def test_a_session_that_fails_is_one_problem_and_not_for_good(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "expired", "operation": "GetMetricData"})

    result = read(instances(2000))

    (problem,) = result.problems
    assert (problem.cause.permanent, problem.region) == (False, "")
    assert "(16000 metrics are missing)" in problem.message
    assert lab.control.calls().count(operation="GetMetricData") <= 8
    assert states(result)["cpu_utilization"] is CoverageState.ERROR


def test_a_role_that_cannot_be_assumed_is_one_problem(start_lab: StartLab) -> None:
    start_lab()
    stranger = AwsAccount(account_id="999999999999", role_arn="arn:aws:iam::999999999999:role/reader")
    meter = Meter()

    result = read(instances(1, account="999999999999"), meter=meter, accounts=(stranger,))

    assert [(problem.account_id, problem.cause) for problem in result.problems] == [("999999999999", Cause.AUTH)]
    assert meter.calls == {"AssumeRole": 1}


def test_resources_of_an_account_that_is_no_longer_configured_are_told(start_lab: StartLab) -> None:
    start_lab()

    result = read([*instances(1), *instances(1, account="999999999999")])

    assert [(problem.account_id, problem.cause) for problem in result.problems] == [("999999999999", Cause.CONFIG)]


def test_an_id_that_is_no_arn_costs_that_resource(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", volumes=0))

    result = read([*inventory(), *instances(1, resource_id="i-0abc")])

    assert len(result.series) == 8
    assert {one.state for one in result.coverage if one.resource_id == "i-0abc"} == {CoverageState.ERROR}


@pytest.mark.parametrize(
    ("engine", "namespace"), [("postgres", "AWS/RDS"), ("docdb", "AWS/DocDB"), ("neptune", "AWS/Neptune")]
)
def test_engines_that_rds_only_lists_are_asked_under_their_own_name(engine: str, namespace: str) -> None:
    (database,) = instances(1, kind="rds:db", metadata={"engine": engine})

    questions = questions_of(database, START)

    asked = [query["MetricStat"]["Metric"]["Namespace"] for question in questions for query in question.queries()]
    assert set(asked) == {namespace}


def test_neptune_is_not_asked_what_it_does_not_have() -> None:
    (database,) = instances(1, kind="rds:db", metadata={"engine": "neptune"})

    asked = {one.metric.name for one in questions_of(database, START) if one.state is None}

    assert asked == {"cpu_utilization", "memory_free", "network_in", "network_out"}


@pytest.mark.parametrize(
    ("start", "end"), [(END, START), (START, START), (START.replace(tzinfo=None), END.replace(tzinfo=None))]
)
def test_a_range_that_is_none_is_refused(start: datetime, end: datetime) -> None:
    with pytest.raises(ValueError, match="no time range"):
        MetricsRequest("acme", [acme()], [], start, end)


@pytest.mark.parametrize(
    ("arn", "value"),
    [
        ("arn:aws:ec2:us-east-1:111111111111:instance/i-0abc", "i-0abc"),
        ("arn:aws:ec2:us-east-1:111111111111:volume/vol-0abc", "vol-0abc"),
        ("arn:aws-cn:rds:cn-north-1:111111111111:db:orders", "orders"),
        ("arn:aws:elasticloadbalancing:us-east-1:111111111111:loadbalancer/app/web/50dc6c49", "app/web/50dc6c49"),
        ("arn:aws:elasticloadbalancing:us-east-1:111111111111:loadbalancer/intranet", "intranet"),
        ("arn:aws:eks:us-east-1:111111111111:cluster/prod", "prod"),
        ("i-0abc", ""),
        ("", ""),
    ],
)
def test_the_dimension_is_cut_from_the_arn(arn: str, value: str) -> None:
    assert dimension_value(arn) == value


@given(counts=st.lists(st.integers(1, 5), max_size=400), points=st.integers(1, 20_000))
def test_batches_hold_every_question_once_and_keep_to_the_limits(counts: list[int], points: int) -> None:
    metric = metrics_for("aws", "ec2:instance")[0]
    (one,) = instances(1)
    questions = [Question(KINDS[one.kind], one, replace(metric, statistics=("Average",) * count)) for count in counts]

    batches = list(batches_of(questions, points * metric.period))

    assert [question for batch in batches for question in batch] == questions
    for batch in batches:
        queries = sum(len(question.metric.statistics) for question in batch)
        assert queries <= 500
        assert queries * points <= 100_800 or len(batch) == 1


# --- Whole days -------------------------------------------------------------------------------------------------------


def test_what_is_told_of_whole_days_is_asked_until_the_newest_is_known(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab(fleet("s3:bucket", 2, name="logs-{n}", created="2026-01-01T00:00:00Z"))
    buckets, memory, day = inventory(), DayCache(tmp_path), 86_400
    today = int(NOW.replace(hour=0, minute=0, second=0).timestamp())

    def ask(daily: dict[str, int], present: datetime = END - timedelta(minutes=15)) -> tuple[MetricsResult, int]:
        before = lab.control.calls().billed_metrics.get(ACME, 0)
        request = MetricsRequest("acme", [acme()], buckets, START, END, present, memory=memory, daily=daily)
        return metrics_.collect(request, Meter()), lab.control.calls().billed_metrics.get(ACME, 0) - before

    first, asked = ask({})
    same, asked_same = ask({})
    again, asked_again = ask({}, END - timedelta(minutes=30))
    older, _ = ask({one.resource_id: today - 3 * day for one in buckets})
    known, asked_of_known = ask({one.resource_id: today - day for one in buckets})

    assert (asked, asked_same, asked_again, asked_of_known) == (2 * 13, 2 * 13, 0, 0)  # 12 classes, and the number
    assert len(same.series) == len(first.series)
    assert {tuple(one.timestamps) for one in older.series} == {(today - 2 * day, today - day)}
    assert {(one.metric.name, one.window) for one in first.series} == {
        ("storage_used", END - timedelta(minutes=15)),
        ("object_count", END - timedelta(minutes=15)),
    }
    for one in first.series:
        assert one.timestamps == [today - 3 * day, today - 2 * day, today - day]
        of_classes = (
            ("StandardStorage", "GlacierStorage") if one.metric.name == "storage_used" else ("AllStorageTypes",)
        )
        truth_: Counter[int] = Counter()
        for of_class in of_classes:
            part = lab.expected_points(
                ACME, "us-east-1", one.resource.resource_id, "AWS/S3", one.metric.api_metric, statistic="Average",
                period=day, start=NOW - timedelta(days=3, hours=13), end=NOW, narrowed_to=f"StorageType={of_class}",
            )  # fmt: skip
            assert part
            truth_.update({int(time.timestamp()): value for time, value in part.items()})
        assert dict(zip(one.timestamps, one.values, strict=True)) == truth_
    assert {one.state for one in first.coverage} == {CoverageState.COLLECTED}
    assert {one.state for one in again.coverage} == {CoverageState.NO_POINTS}  # none is known from other windows
    assert {one.state for one in known.coverage} == {CoverageState.COLLECTED}


def test_a_sum_of_which_a_part_is_not_known_is_not_told(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab(fleet("s3:bucket", created="2026-01-01T00:00:00Z"))
    lab.control.add_faults({"action": "partial", "every": 12})
    request = MetricsRequest(
        "acme", [acme()], inventory(), START, END, END - timedelta(minutes=15), memory=DayCache(tmp_path)
    )

    result = metrics_.collect(request, Meter())

    assert {one.cause for one in result.problems} == {Cause.INCOMPLETE}
    lacking = {name for name, state in states(result).items() if state is CoverageState.ERROR}
    assert "storage_used" in lacking
    assert "storage_used" not in {one.metric.name for one in result.series}


def test_of_a_past_range_whole_days_are_not_asked(start_lab: StartLab) -> None:
    lab = start_lab(fleet("s3:bucket"))

    result = read(inventory())

    assert set(states(result).values()) == {CoverageState.NOT_OFFERED}
    assert lab.control.calls().billed_metrics == {}
