"""CloudWatch as the lab shows it: true points, real limits, real pages."""

from __future__ import annotations

import csv
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from xml.etree import ElementTree as ET

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.aws.estate import Estate
from optiinfra_dagster.lab.aws.metrics import series_of
from optiinfra_dagster.lab.world import World
from tests.lab.conftest import ACCOUNT, NOW, WORLD, connect

HOUR = timedelta(hours=1)
NOON = NOW.replace(minute=0, second=0)


def query(n: int, resource: str, metric: str = "CPUUtilization", **more: Any) -> dict[str, Any]:
    namespace, dimension = more.pop("namespace", "AWS/EC2"), more.pop("dimension", "InstanceId")
    return {
        "Id": f"q{n}",
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": dimension, "Value": resource}],
            },
            "Period": more.pop("period", 300),
            "Stat": more.pop("stat", "Average"),
        },
        **more,
    }


def ask(
    lab: CloudLab, *queries: dict[str, Any], start: datetime = NOON - HOUR, end: datetime = NOON, **more: Any
) -> Any:
    return connect(lab, "cloudwatch").get_metric_data(
        MetricDataQueries=list(queries), StartTime=start, EndTime=end, **more
    )


def points(result: dict[str, Any]) -> dict[datetime, float]:
    return dict(zip(result["Timestamps"], result["Values"], strict=True))


def id_of(lab: CloudLab, name: str | None, kind: str = "ec2:instance") -> str:
    return next(one.id for one in lab.resources(ACCOUNT, kind=kind) if one.name == name)


@pytest.mark.parametrize(
    ("kind", "namespace", "dimension", "metric", "statistic", "period", "low", "high"),
    [
        ("ec2:instance", "AWS/EC2", "InstanceId", "CPUUtilization", "Average", 300, 0.5, 97),
        ("ec2:instance", "AWS/EC2", "InstanceId", "EBSReadBytes", "Sum", 300, 0, 4e8),
        ("ec2:instance", "AWS/EC2", "InstanceId", "StatusCheckFailed", "Maximum", 60, 0, 1),
        ("rds:db", "AWS/RDS", "DBInstanceIdentifier", "ReadLatency", "p95", 300, 0, 0.02),
        ("elbv2:application", "AWS/ApplicationELB", "LoadBalancer", "TargetResponseTime", "p99", 60, 0, 0.9),
        ("elb:classic", "AWS/ELB", "LoadBalancerName", "Latency", "Average", 300, 0, 0.9),
    ],
)
def test_points_are_those_of_the_world(  # noqa: PLR0917 - a row of the table
    lab: CloudLab,
    kind: str,
    namespace: str,
    dimension: str,
    metric: str,
    statistic: str,
    period: int,
    low: float,
    high: float,
) -> None:
    [resource, *_] = lab.resources(ACCOUNT, kind=kind)
    asked = query(1, resource.id, metric, namespace=namespace, dimension=dimension, period=period, stat=statistic)
    [result] = ask(lab, asked)["MetricDataResults"]
    wanted = lab.expected_points(
        ACCOUNT, "us-east-1", resource.id, namespace, metric,
        statistic=statistic, period=period, start=NOON - HOUR, end=NOON,
    )  # fmt: skip
    assert points(result) == wanted
    assert len(wanted) == 3600 // period
    assert all(low <= value <= high for value in wanted.values())
    assert result["StatusCode"] == "Complete"


@pytest.mark.parametrize(
    ("statistic", "fold"),
    [
        ("Average", lambda values: sum(values) / len(values)),
        ("Sum", sum),
        ("Maximum", max),
        ("Minimum", min),
        ("SampleCount", sum),
    ],
)
def test_a_longer_period_folds_the_native_points(lab: CloudLab, statistic: str, fold: Any) -> None:
    one = id_of(lab, "instance-001")
    fine, coarse = (
        ask(lab, query(1, one, "NetworkIn", period=period, stat=statistic))["MetricDataResults"][0]
        for period in (300, 3600)
    )
    assert points(coarse) == {NOON - HOUR: pytest.approx(fold(fine["Values"]), rel=1e-12)}


def test_the_end_is_exclusive_the_start_inclusive_and_both_orders_exist(lab: CloudLab) -> None:
    asked = query(1, id_of(lab, "instance-001"))
    [down] = ask(lab, asked, start=NOON - HOUR, end=NOON)["MetricDataResults"]
    [up] = ask(lab, asked, start=NOON - HOUR, end=NOON, ScanBy="TimestampAscending")["MetricDataResults"]
    assert up["Timestamps"] == [NOON - HOUR + n * timedelta(minutes=5) for n in range(12)]
    assert (down["Timestamps"], down["Values"]) == (up["Timestamps"][::-1], up["Values"][::-1])


def test_there_are_no_points_of_the_future_or_of_periods_still_running(lab: CloudLab) -> None:
    [result] = ask(lab, query(1, id_of(lab, "instance-001")), end=NOON + HOUR)["MetricDataResults"]
    assert max(result["Timestamps"]) == NOON  # it is 12:07:30, so 12:05 is not over


@pytest.mark.parametrize("name", ["off", "unknown", "old"])
def test_what_was_never_measured_is_complete_and_empty(lab: CloudLab, name: str) -> None:
    one = "i-0123456789" if name == "unknown" else id_of(lab, name)
    metric = "EBSReadBytes" if name == "old" else "CPUUtilization"  # the old one is no Nitro instance
    [result] = ask(lab, query(1, one, metric))["MetricDataResults"]
    assert (result["Values"], result["Timestamps"], result["StatusCode"]) == ([], [], "Complete")


def test_an_instance_has_no_points_from_before_its_launch(lab: CloudLab) -> None:
    [result] = ask(lab, query(1, id_of(lab, "new")), start=NOON - 5 * HOUR)["MetricDataResults"]
    assert min(result["Timestamps"]) == datetime(2026, 11, 20, 9, tzinfo=UTC)


@pytest.mark.parametrize(("period", "days"), [(60, 15), (300, 63), (3600, 455)])
def test_points_of_a_period_are_kept_only_so_long(lab: CloudLab, period: int, days: int) -> None:
    asked = query(1, id_of(lab, "fine"), period=period)
    edge = NOW - timedelta(days=days)
    kept, gone = (
        ask(lab, asked, start=start, end=start + 2 * HOUR)["MetricDataResults"][0]["Values"]
        for start in (edge + HOUR, edge - 3 * HOUR)
    )
    assert kept
    assert not gone


def test_detailed_monitoring_gives_a_point_a_minute(lab: CloudLab) -> None:
    fine, basic = (
        ask(lab, query(1, id_of(lab, name), period=60))["MetricDataResults"][0] for name in ("fine", "instance-001")
    )
    assert len(fine["Values"]) == 60
    assert len(basic["Values"]) == 12


def test_the_agents_memory_is_found_with_the_dimensions_that_list_metrics_tells(lab: CloudLab) -> None:
    client = connect(lab, "cloudwatch")
    [metric] = client.list_metrics(Namespace="CWAgent", MetricName="mem_used_percent")["Metrics"]
    asked = {"Id": "m", "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Average"}}
    [result] = ask(lab, asked)["MetricDataResults"]
    assert len(result["Values"]) == 12
    [short] = ask(lab, query(1, id_of(lab, "fine"), "mem_used_percent", namespace="CWAgent"))["MetricDataResults"]
    assert short["Values"] == []  # the instance id alone is another metric


def test_the_agents_file_systems_are_told_apart_by_their_path(lab: CloudLab) -> None:
    client = connect(lab, "cloudwatch")
    listed = client.list_metrics(Namespace="CWAgent", MetricName="disk_used_percent")["Metrics"]
    [root] = client.list_metrics(Namespace="CWAgent", Dimensions=[{"Name": "path", "Value": "/"}])["Metrics"]
    assert len(listed) == 2
    assert root in listed
    one, two = (
        ask(lab, {"Id": "m", "MetricStat": {"Metric": metric, "Period": 300, "Stat": "Average"}})["MetricDataResults"][
            0
        ]
        for metric in listed
    )
    assert len(one["Values"]) == len(two["Values"]) == 12
    assert one["Values"] != two["Values"]


@pytest.mark.parametrize("operation", ["GetItem", "PutItem"])
def test_the_latency_of_a_table_is_told_by_operation_only(lab: CloudLab, operation: str) -> None:
    [table, *_] = lab.resources(ACCOUNT, kind="dynamodb:table")
    asked = query(1, table.id, "SuccessfulRequestLatency", namespace="AWS/DynamoDB", dimension="TableName")
    [plain] = ask(lab, asked)["MetricDataResults"]
    asked["MetricStat"]["Metric"]["Dimensions"].append({"Name": "Operation", "Value": operation})
    [told] = ask(lab, asked)["MetricDataResults"]
    assert plain["Values"] == []
    assert points(told) == lab.expected_points(
        ACCOUNT, "us-east-1", table.id, "AWS/DynamoDB", "SuccessfulRequestLatency",
        statistic="Average", period=300, start=NOON - HOUR, end=NOON, narrowed_to=f"Operation={operation}",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "engine", "metric", "namespaces"),
    [
        ("rds:db", "postgres", "FreeStorageSpace", {"AWS/RDS"}),
        ("rds:db", "aurora-mysql", "FreeStorageSpace", set()),
        ("rds:db", "docdb", "CPUUtilization", {"AWS/DocDB"}),
        ("rds:cluster", "aurora-postgresql", "VolumeBytesUsed", {"AWS/RDS"}),
        ("rds:cluster", "neptune", "VolumeBytesUsed", {"AWS/Neptune"}),
        ("rds:cluster", "mysql", "VolumeBytesUsed", set()),
        ("elasticache:cluster", "memcached", "DatabaseMemoryUsagePercentage", set()),
        ("elasticache:cluster", "redis", "SuccessfulReadRequestLatency", set()),
        ("elasticache:cluster", "valkey", "SuccessfulReadRequestLatency", {"AWS/ElastiCache"}),
        ("eks:cluster", None, "apiserver_request_total", {"AWS/EKS"}),
        ("eks:cluster", None, "node_cpu_utilization", set()),
    ],
)
def test_what_a_database_or_cluster_publishes_follows_from_its_engine(
    kind: str, engine: str | None, metric: str, namespaces: set[str]
) -> None:
    fleet = {"kind": kind, "region": "us-east-1", "engine": engine}
    world = World.load({"aws": {"accounts": [{"id": ACCOUNT, "fleets": [fleet]}]}})
    [resource] = Estate(world).resources(kind=kind)
    assert {one.metric.namespace for one in series_of(resource) if one.metric.name == metric} == namespaces


def test_list_metrics_shows_500_a_page() -> None:
    fleets = [{"kind": "ec2:instance", "region": "us-east-1", "count": 70}]
    world = {"aws": {"accounts": [{"id": ACCOUNT, "access_keys": ["KEY1"], "fleets": fleets}]}}
    with CloudLab(world) as lab:
        pages = connect(lab, "cloudwatch").get_paginator("list_metrics").paginate(Namespace="AWS/EC2")
        sizes = [len(page["Metrics"]) for page in pages]
    assert sizes == [500, 70 * 8 - 500]


def test_the_older_call_gives_the_same_points(lab: CloudLab) -> None:
    one = id_of(lab, "instance-001")
    asked = [query(n, one, stat=statistic) for n, statistic in enumerate(["Average", "Maximum", "p90"])]
    wanted = [points(result) for result in ask(lab, *asked)["MetricDataResults"]]
    answer = connect(lab, "cloudwatch").get_metric_statistics(
        Namespace="AWS/EC2", MetricName="CPUUtilization", Dimensions=[{"Name": "InstanceId", "Value": one}],
        StartTime=NOON - HOUR, EndTime=NOON, Period=300, Statistics=["Average", "Maximum"], ExtendedStatistics=["p90"],
    )  # fmt: skip
    got = {point["Timestamp"]: point for point in answer["Datapoints"]}
    assert [{time: point[name] for time, point in got.items()} for name in ("Average", "Maximum")] == wanted[:2]
    assert {time: point["ExtendedStatistics"]["p90"] for time, point in got.items()} == wanted[2]


@pytest.mark.parametrize(
    ("queries", "more", "message"),
    [
        ([query(n, "i-1") for n in range(501)], {}, "must not have a size greater than 500"),
        ([query(1, "i-1"), query(1, "i-2")], {}, "not unique"),
        ([query(1, "i-1", period=90)], {}, "multiple of 60"),
        ([query(1, "i-1", stat="Median")], {}, "not supported"),
        ([{**query(1, "i-1"), "Id": "Upper"}], {}, "expected pattern"),
        ([query(1, "i-1")], {"start": NOON, "end": NOON}, "must be less than"),
        ([query(1, "i-1")], {"MaxDatapoints": 100_801}, "between 1 and 100800"),
    ],
)
def test_what_aws_refuses_is_refused(
    lab: CloudLab, queries: list[dict[str, Any]], more: dict[str, Any], message: str
) -> None:
    with pytest.raises(ClientError, match=message) as error:
        ask(lab, *queries, **more)
    assert error.value.response["Error"]["Code"] == "ValidationError"


def test_hidden_queries_are_not_returned(lab: CloudLab) -> None:
    one = id_of(lab, "instance-001")
    results = ask(lab, query(1, one, ReturnData=False), query(2, one, Label="mine"))["MetricDataResults"]
    assert [(result["Id"], result["Label"]) for result in results] == [("q2", "mine")]


@given(st.data())
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_of_any_size_add_up_to_the_same_points(lab: CloudLab, data: st.DataObject) -> None:
    names = ["instance-001", "instance-002", "new", "off", "fine"]
    questions = data.draw(
        st.lists(
            st.tuples(st.sampled_from(names), st.sampled_from([60, 300, 420, 3600]), st.sampled_from(["Sum", "p90"])),
            min_size=1,
            max_size=6,
        )
    )
    queries = [query(n, id_of(lab, name), period=period, stat=stat) for n, (name, period, stat) in enumerate(questions)]
    limit = data.draw(st.integers(5, 200))
    order = data.draw(st.sampled_from(["TimestampAscending", "TimestampDescending"]))
    start = NOON - data.draw(st.integers(1, 3)) * HOUR
    whole = ask(lab, *queries, start=start, ScanBy=order)["MetricDataResults"]
    pages = connect(lab, "cloudwatch").get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=start, EndTime=NOON, ScanBy=order, MaxDatapoints=limit
    )  # fmt: skip
    joined: dict[str, list[tuple[datetime, float]]] = {one["Id"]: [] for one in queries}
    seen = []
    for page in pages:
        seen.append(page)
        for result in page["MetricDataResults"]:
            joined[result["Id"]] += points(result).items()
    assert joined == {result["Id"]: list(points(result).items()) for result in whole}
    sizes = [sum(len(result["Values"]) for result in page["MetricDataResults"]) for page in seen]
    assert sizes[:-1] == [limit] * (len(sizes) - 1)
    assert sizes[-1] <= limit
    states = [{result["StatusCode"] for result in page["MetricDataResults"]} for page in seen]
    assert states == [{"PartialData"}] * (len(seen) - 1) + [{"Complete"}]


def test_a_token_serves_its_own_question_only(lab: CloudLab) -> None:
    asked = query(1, id_of(lab, "instance-001"))
    token = ask(lab, asked, MaxDatapoints=2)["NextToken"]
    with pytest.raises(ClientError) as error:
        ask(lab, asked, MaxDatapoints=3, NextToken=token)
    assert error.value.response["Error"]["Code"] == "InvalidNextToken"


def test_statistics_of_one_metric_are_billed_by_fives(fresh_lab: CloudLab) -> None:
    one, two = id_of(fresh_lab, "instance-001"), id_of(fresh_lab, "instance-002")
    statistics = ["Average", "Maximum", "Minimum", "Sum", "p50", "p90"]
    ask(fresh_lab, *(query(n, one, stat=statistic) for n, statistic in enumerate(statistics)), query(9, two))
    assert fresh_lab.control.calls().billed_metrics == {ACCOUNT: 3}


def test_late_points_are_missing_or_low_until_they_are_final(fresh_lab: CloudLab) -> None:
    asked = query(1, id_of(fresh_lab, "instance-001"), "NetworkIn", stat="Sum")
    final = points(ask(fresh_lab, asked)["MetricDataResults"][0])
    seen = {}
    for mode in ("missing", "low"):
        fresh_lab.control.clear_faults()
        fresh_lab.control.add_faults({"action": "late", "seconds": 7200, "mode": mode})
        seen[mode] = points(ask(fresh_lab, asked)["MetricDataResults"][0])
    assert 0 < len(seen["missing"]) < len(final)
    assert seen["missing"].items() < final.items()
    assert seen["low"] == {time: final[time] / (1 if time in seen["missing"] else 2) for time in final}


@pytest.mark.parametrize("mode", ["PartialData", "InternalError"])
def test_some_ids_can_be_cut_short_for_good(fresh_lab: CloudLab, mode: str) -> None:
    fresh_lab.control.add_faults({"action": "partial", "mode": mode, "every": 2})
    one = id_of(fresh_lab, "instance-001")
    answer = ask(fresh_lab, *(query(n, one) for n in range(3)))
    assert [result["StatusCode"] for result in answer["MetricDataResults"]] == [mode, "Complete", mode]
    assert [len(result["Values"]) for result in answer["MetricDataResults"]] == [6, 12, 6]
    assert "NextToken" not in answer


def test_the_older_protocol_is_understood_too(lab: CloudLab) -> None:
    form = (
        "Action=GetMetricData&Version=2010-08-01&StartTime=2026-11-20T11:00:00Z&EndTime=2026-11-20T12:00:00Z"
        "&MetricDataQueries.member.1.Id=a&MetricDataQueries.member.1.MetricStat.Period=300"
        "&MetricDataQueries.member.1.MetricStat.Stat=Average"
        "&MetricDataQueries.member.1.MetricStat.Metric.Namespace=AWS%2FEC2"
        "&MetricDataQueries.member.1.MetricStat.Metric.MetricName=CPUUtilization"
        "&MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Name=InstanceId"
        f"&MetricDataQueries.member.1.MetricStat.Metric.Dimensions.member.1.Value={id_of(lab, 'instance-001')}"
    )
    signed = "AWS4-HMAC-SHA256 Credential=KEY1/20261120/us-east-1/monitoring/aws4_request"
    with urlopen(Request(lab.url, form.encode(), {"Authorization": signed})) as answer:  # noqa: S310 - the lab
        root = ET.fromstring(answer.read())  # noqa: S314 - the lab's own
    values = [float(str(one.text)) for one in root.iterfind(".//{*}Values/{*}member")]
    [result] = ask(lab, query(1, id_of(lab, "instance-001")))["MetricDataResults"]
    assert values == result["Values"]


# --- recorded series --------------------------------------------------------------------------------------------------


def replay_world(file: Path, ends_at: datetime) -> dict[str, Any]:
    replay = {"namespace": "AWS/EC2", "metric": "CPUUtilization", "resource": "instance-001", "file": str(file)}
    return {"aws": {**WORLD["aws"], "replay": [{**replay, "ends_at": ends_at.isoformat()}]}}


def test_a_recorded_series_is_served_at_its_own_times_with_equal_times_averaged(tmp_path: Path) -> None:
    file = tmp_path / "series.csv"
    file.write_text(
        "timestamp,value\n2014-02-14 14:27:00,1\n2014-02-14 14:32:00,2\n2014-02-14 14:32:00,4\n2014-02-14 14:41:00,8\n"
    )
    with CloudLab(replay_world(file, NOON), now=lambda: NOW) as lab:
        [result] = ask(lab, query(1, id_of(lab, "instance-001")), end=NOON + HOUR)["MetricDataResults"]
        [hourly] = ask(lab, query(1, id_of(lab, "instance-001"), period=3600), end=NOON)["MetricDataResults"]
    minutes = {time - NOON: value for time, value in points(result).items()}
    assert minutes == {timedelta(minutes=-14): 1, timedelta(minutes=-9): 3, timedelta(0): 8}
    assert points(hourly) == {NOON - HOUR: 2}


def test_a_real_recorded_series_comes_through_whole(shared_data: Path) -> None:
    file = shared_data / "nab" / "data" / "realAWSCloudwatch" / "ec2_cpu_utilization_24ae8d.csv"
    with file.open(encoding="utf-8") as lines:
        recorded = {row["timestamp"]: float(row["value"]) for row in csv.DictReader(lines)}
    with CloudLab(replay_world(file, NOON), now=lambda: NOW) as lab:
        pages = connect(lab, "cloudwatch").get_paginator("get_metric_data").paginate(
            MetricDataQueries=[query(1, id_of(lab, "instance-001"))],
            StartTime=NOON - timedelta(days=30),
            EndTime=NOW,
            ScanBy="TimestampAscending",
            MaxDatapoints=1000,
        )  # fmt: skip
        values = [value for page in pages for value in page["MetricDataResults"][0]["Values"]]
    assert values == list(recorded.values())
