from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.customers import AwsAccount
from optiinfra_dagster.errors import Cause
from optiinfra_dagster.providers.aws import performance, resource
from optiinfra_dagster.providers.aws.performance import dimension_value
from optiinfra_dagster.providers.catalog import metrics_for
from optiinfra_dagster.providers.types import (
    CoverageState,
    Meter,
    MetricsRequest,
    Performance,
    Resource,
    ResourceType,
    Series,
    Status,
)
from tests.providers.aws.conftest import ACME, StartLab, acme, fleet

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab

START, END = datetime(2026, 11, 20, 11, 30, tzinfo=UTC), datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def inventory() -> list[Resource]:
    found = resource.collect("acme", [acme()], Meter())
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
) -> Performance:
    result = performance.collect(MetricsRequest("acme", accounts or (acme(),), resources, start, end), meter or Meter())
    asked = Counter((one.resource_id, metric.name) for one in resources for metric in metrics_for("aws", one.kind))
    assert Counter((one.resource_id, one.metric_name) for one in result.coverage) == asked
    return result


def states(result: Performance) -> dict[str, CoverageState]:
    return {one.metric_name: one.state for one in result.coverage}


def truth(lab: CloudLab, series: Series, start: datetime = START, end: datetime = END) -> dict[int, float]:
    """The points that a series must have, from the lab's own arithmetic and the catalogue's conversion."""
    metric = series.metric
    name = "Sum" if metric.per_second else series.statistic.capitalize()
    points = lab.aws.cloudwatch.expected_points(
        ACME,
        series.resource.region,
        dimension_value(series.resource.resource_id),
        metric.namespace,
        metric.api_metric,
        statistic=name if series.statistic[0] != "p" else series.statistic,
        period=metric.period,
        start=start,
        end=end,
    )
    seconds = metric.period if metric.per_second else 1
    return {int(time.timestamp()): value / seconds for time, value in points.items()}


@pytest.mark.parametrize(
    "kind",
    [
        "ec2:instance",
        "ebs:volume",
        "rds:db",
        "elbv2:application",
        "elbv2:network",
        "elbv2:gateway",
        "elb:classic",
        "eks:cluster",
        "ec2:natgateway",
        "elasticache:cluster",
        "redshift:cluster",
        "efs:filesystem",
    ],
)
def test_points_are_the_clouds_in_our_units(start_lab: StartLab, kind: str) -> None:
    origin = "ec2:instance" if kind == "ebs:volume" else kind
    kind = kind.replace("natgateway", "nat_gateway")
    lab = start_lab(fleet(origin, 2, type="m6i.large" if origin == "ec2:instance" else None, agent=True))
    resources = [one for one in inventory() if one.kind == kind]

    result = read(resources)

    assert result.problems == []
    metrics = metrics_for("aws", kind)
    assert len(result.series) == len(resources) * sum(len(metric.statistics) for metric in metrics)
    for series in result.series:
        points = truth(lab, series)
        assert len(points) == 6
        assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(points)
    asked = {metric.name for metric in metrics}
    assert {one.metric_name for one in result.coverage if one.state is CoverageState.COLLECTED} == asked


def test_percentiles_come_beside_the_average(start_lab: StartLab) -> None:
    start_lab(fleet("elbv2:application"))

    result = read(inventory())

    assert [one.statistic for one in result.series if one.metric.name == "response_time"] == [
        "average",
        "p50",
        "p95",
        "p99",
    ]


def test_a_thousand_instances_are_fourteen_calls(start_lab: StartLab) -> None:
    lab = start_lab()
    meter = Meter()

    read(instances(1000), meter=meter)

    assert meter.calls == {"AssumeRole": 1, "ListMetrics": 1, "GetMetricData": 14}
    assert meter.cost_usd == Decimal("0.07")
    assert performance.price(MetricsRequest("acme", [acme()], instances(1000), START, END)) == Decimal("0.07")
    assert lab.control.calls().billed_metrics == {ACME: 7000}


def test_statistics_of_one_metric_are_asked_together_and_paid_once(start_lab: StartLab) -> None:
    lab = start_lab(fleet("elbv2:application", 101))  # 505 queries
    meter = Meter()

    read(inventory(), meter=meter)

    assert meter.calls["GetMetricData"] == 2
    assert lab.control.calls().billed_metrics == {ACME: 202}
    assert meter.cost_usd == Decimal("0.00202")


def test_resource_and_performance_share_one_assumed_role(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 2))

    read(inventory())
    read(inventory())

    assert lab.control.calls().count(operation="AssumeRole") == 1


def test_xen_and_bare_metal_instances_have_no_ebs_totals(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", type="t2.micro"), fleet("ec2:instance", type="m6i.metal"))
    resources = [one for one in inventory() if one.kind == "ec2:instance"]

    result = read(resources)

    assert {one.metric.name for one in result.series} == {"cpu_utilization", "network_in", "network_out"}
    missing = [one for one in result.coverage if one.metric_name.startswith("disk_")]
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


def test_an_instance_that_stopped_in_the_window_is_asked_about(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", volumes=0))
    stopped = [
        replace(one, status=Status.STOPPED, metadata={**one.metadata, "stopped_at": "2026-11-20T11:45:00+00:00"})
        for one in inventory()
    ]

    assert len(read(stopped).series) == 7


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
    assert missing == {"cpu_utilization": 1, "memory_utilization": 2}


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
        assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(truth(lab, series))
    assert Counter(one.state for one in result.coverage if one.metric_name == "memory_utilization") == {
        CoverageState.COLLECTED: 2,
        CoverageState.AGENT_MISSING: 3,
    }
    assert lab.control.calls().billed_metrics == {ACME: 5 * 7 + 2}
    assert meter.calls["ListMetrics"] == 1


def test_agents_that_may_not_be_looked_for_cost_memory_only(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", agent=True, volumes=0))
    lab.control.add_faults({"action": "deny", "operation": "ListMetrics"})

    result = read(inventory())

    (problem,) = result.problems
    assert "cloudwatch:ListMetrics" in problem.message
    assert states(result)["memory_utilization"] is CoverageState.NO_PERMISSION
    assert len(result.series) == 7


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
    monkeypatch.setattr("optiinfra_dagster.providers.aws.performance._POINTS_PER_PAGE", 1000)
    meter = Meter()

    result = read(inventory(), start=END - timedelta(hours=8), meter=meter)  # 96 points: 10 queries fill a page

    assert {len(series.timestamps) for series in result.series} == {96}
    assert meter.calls["GetMetricData"] == 3
    assert lab.control.calls().billed_metrics == {ACME: 21}


def test_answers_in_several_pages_are_joined(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(fleet("ec2:instance", 3, volumes=0))
    monkeypatch.setattr("optiinfra_dagster.lab.aws.cloudwatch.MAX_POINTS", 50)
    meter = Meter()

    result = read(inventory(), start=END - timedelta(hours=2), meter=meter)

    assert result.problems == []
    assert meter.calls["GetMetricData"] > 5
    assert len(result.series) == 21
    for series in result.series:
        points = truth(lab, series, start=END - timedelta(hours=2))
        assert dict(zip(series.timestamps, series.values, strict=True)) == pytest.approx(points)
        assert len(set(series.timestamps)) == len(series.timestamps) == 24


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
    assert f"{mode} for 2 of 14 queries" in problem.message
    assert Counter(one.state for one in result.coverage) == {
        CoverageState.COLLECTED: 12,
        CoverageState.ERROR: 2,
        CoverageState.AGENT_MISSING: 2,
    }


def test_a_batch_that_fails_costs_its_own_metrics(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 143, volumes=0))  # 1,001 queries
    resources = inventory()
    lab.control.add_faults({"action": "deny", "operation": "GetMetricData", "times": 1})

    result = read(resources)

    (problem,) = result.problems
    assert problem.cause is Cause.PERMISSION
    assert "cloudwatch:GetMetricData" in problem.message
    counts = Counter(one.state for one in result.coverage if one.metric_name != "memory_utilization")
    assert counts[CoverageState.NO_PERMISSION] in {1, 500}
    assert counts[CoverageState.COLLECTED] == 1001 - counts[CoverageState.NO_PERMISSION] == len(result.series)


def test_what_stays_throttled_is_told_as_throttled(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "throttle", "operation": "GetMetricData"})
    meter = Meter()

    result = read(instances(1), meter=meter)

    assert [problem.cause for problem in result.problems] == [Cause.THROTTLED]
    assert states(result)["cpu_utilization"] is CoverageState.THROTTLED
    assert meter.calls["GetMetricData"] == 4


def test_a_credential_that_fails_is_one_problem(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "expired", "operation": "GetMetricData"})

    result = read(instances(2000))

    assert [(problem.cause, problem.region) for problem in result.problems] == [(Cause.AUTH, "")]
    assert lab.control.calls().count(operation="GetMetricData") <= 8
    assert states(result)["cpu_utilization"] is CoverageState.NO_PERMISSION


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

    assert len(result.series) == 7
    assert {one.state for one in result.coverage if one.resource_id == "i-0abc"} == {CoverageState.ERROR}


@pytest.mark.parametrize(
    ("engine", "namespace"), [("postgres", "AWS/RDS"), ("docdb", "AWS/DocDB"), ("neptune", "AWS/Neptune")]
)
def test_engines_that_rds_only_lists_are_asked_under_their_own_name(engine: str, namespace: str) -> None:
    (database,) = instances(1, kind="rds:db", metadata={"engine": engine})

    questions = [performance._Question(database, metric) for metric in metrics_for("aws", "rds:db")]

    asked = [query["MetricStat"]["Metric"]["Namespace"] for question in questions for query in question.queries()]
    assert set(asked) == {namespace}


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


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 5), max_size=400), points=st.integers(1, 20_000))
def test_batches_hold_every_question_once_and_keep_to_the_limits(counts: list[int], points: int) -> None:
    metric = metrics_for("aws", "ec2:instance")[0]
    (one,) = instances(1)
    questions = [performance._Question(one, replace(metric, statistics=("Average",) * count)) for count in counts]

    batches = list(performance._batches(questions, points * metric.period))

    assert [question for batch in batches for question in batch] == questions
    for batch in batches:
        queries = sum(len(question.metric.statistics) for question in batch)
        assert queries <= 500
        assert queries * points <= 100_800 or len(batch) == 1
