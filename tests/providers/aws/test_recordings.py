"""Answers that the real AWS once gave, read item by item: none is lost, doubled, or too odd to bear."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import zip_longest
from pathlib import Path
from typing import Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.aws.recordings import Recordings
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Inventory, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest
from optiinfra_dagster.providers.aws import metrics
from optiinfra_dagster.providers.aws.inventory import collect
from optiinfra_dagster.providers.catalog import metrics_for
from tests.providers.aws.conftest import ACME, NOW, acme

Replay = Callable[..., Inventory]

# operation -> kind, and the items of one answer with the id that must come out
_ITEMS: dict[str, tuple[str, Any]] = {
    "ec2.DescribeInstances": (
        "ec2:instance",
        lambda data: [one["InstanceId"] for some in data["Reservations"] for one in some["Instances"]],
    ),
    "ec2.DescribeVolumes": ("ebs:volume", lambda data: [one["VolumeId"] for one in data["Volumes"]]),
    "ec2.DescribeVpcs": ("ec2:vpc", lambda data: [one["VpcId"] for one in data["Vpcs"]]),
    "ec2.DescribeSubnets": ("ec2:subnet", lambda data: [one["SubnetId"] for one in data["Subnets"]]),
    "rds.DescribeDBInstances": ("rds:db", lambda data: [one["DBInstanceIdentifier"] for one in data["DBInstances"]]),
    "rds.DescribeDBClusters": ("rds:cluster", lambda data: [one["DBClusterIdentifier"] for one in data["DBClusters"]]),
    "ec2.DescribeNatGateways": ("ec2:nat_gateway", lambda data: [one["NatGatewayId"] for one in data["NatGateways"]]),
    "elasticache.DescribeCacheClusters": (
        "elasticache:cluster",
        lambda data: [one["CacheClusterId"] for one in data["CacheClusters"]],
    ),
    "redshift.DescribeClusters": (
        "redshift:cluster",
        lambda data: [one["ClusterIdentifier"] for one in data["Clusters"]],
    ),
    "elasticloadbalancing.DescribeLoadBalancers": (
        "elb",
        lambda data: [
            one["LoadBalancerName"] for one in data.get("LoadBalancers") or data.get("LoadBalancerDescriptions") or ()
        ],
    ),
}


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    """One lab whose recordings are exchanged, because a lab of its own for each of 170 answers would take a minute."""
    with CloudLab(recordings=[], now=lambda: NOW) as lab:
        yield lab


@pytest.fixture
def replayed(lab: CloudLab, monkeypatch: pytest.MonkeyPatch) -> Replay:
    for name, value in lab.env.items():
        monkeypatch.setenv(name, value)

    def replay(*files: Path) -> Inventory:
        lab.aws.recordings = Recordings(files)
        return collect("acme", [acme()], Meter())

    return replay


def _short_id(arn: str) -> str:
    """What the API calls the resource: `i-0abc`, `orders`, or the name within `loadbalancer/app/name/hash`."""
    rest = arn.split(":", 5)[5]
    parts = rest.split("/") if "/" in rest else rest.split(":")
    return parts[2] if len(parts) == 4 else parts[1]


def _check(operation: str, file: Path, inventory: Inventory) -> None:
    kind, items = _ITEMS[operation]
    recording = json.loads(file.read_text())
    problems = [problem for problem in inventory.problems if problem.kind == kind]
    if recording["status_code"] >= 400:
        assert [recording["data"]["Error"]["Code"] in problem.message for problem in problems] == [True], file
        return
    mine = [one for one in inventory.resources if one.kind.startswith(kind)]
    assert problems == [], file
    assert Counter(_short_id(one.resource_id) for one in mine) == Counter(items(recording["data"])), file
    for one in mine:
        assert one.region == "us-east-1"
        assert one.status is not Status.UNKNOWN or not one.cloud_status, (file, one)
        assert "master" not in repr(one).lower()


def test_every_recorded_item_comes_out_once(shared_data: Path, replayed: Replay) -> None:
    files = {operation: sorted(shared_data.glob(f"aws_recordings/*/{operation}_*.json")) for operation in _ITEMS}
    assert all(files.values())
    for answers in zip_longest(*files.values()):  # one answer of every operation at a time
        chosen = {operation: file for operation, file in zip(files, answers, strict=True) if file is not None}

        inventory = replayed(*chosen.values())

        for operation, file in chosen.items():
            _check(operation, file, inventory)


def test_every_recorded_kubernetes_cluster_comes_out(shared_data: Path, replayed: Replay, tmp_path: Path) -> None:
    files = sorted(shared_data.glob("aws_recordings/*/eks.DescribeCluster_*.json"))
    assert files
    for file in files:
        name = json.loads(file.read_text())["data"]["cluster"]["name"]
        listing = _write(tmp_path / "eks.ListClusters_1.json", {"clusters": [name, "deleted-meanwhile"]})

        inventory = replayed(file, listing)

        assert inventory.problems == []
        (cluster,) = [one for one in inventory.resources if one.kind == "eks:cluster"]
        assert (cluster.resource_name, cluster.status) == (name, Status.RUNNING)
        assert "certificate" not in repr(cluster).lower()


def test_every_recorded_table_comes_out(shared_data: Path, replayed: Replay, tmp_path: Path) -> None:
    files = sorted(shared_data.glob("aws_recordings/*/dynamodb.DescribeTable_*.json"))
    assert files
    for file in files:
        name = json.loads(file.read_text())["data"]["Table"]["TableName"]
        listing = _write(tmp_path / "dynamodb.ListTables_1.json", {"TableNames": [name]})

        inventory = replayed(file, listing)

        assert inventory.problems == []
        (table,) = [one for one in inventory.resources if one.kind == "dynamodb:table"]
        assert table.resource_name == name
        assert table.status is not Status.UNKNOWN


def _write(file: Path, data: dict[str, Any], status: int = 200) -> Path:
    file.write_text(json.dumps({"status_code": status, "data": data}))
    return file


def test_one_odd_item_costs_that_item(replayed: Replay, tmp_path: Path) -> None:
    sound = {"VolumeId": "vol-1", "State": "available", "Size": 8}
    nameless = {"State": "available", "Size": 8}
    loose = {"SubnetId": "subnet-1", "CidrBlock": "not a network", "AvailableIpAddressCount": 3}
    volumes = _write(tmp_path / "ec2.DescribeVolumes_1.json", {"Volumes": [nameless, sound]})
    subnets = _write(tmp_path / "ec2.DescribeSubnets_1.json", {"Subnets": [loose]})

    inventory = replayed(volumes, subnets)

    assert [(one.resource_name, one.capacity) for one in inventory.resources] == [("vol-1", 8.0), ("subnet-1", None)]
    assert [(problem.kind, problem.cause) for problem in inventory.problems] == [("ebs:volume", Cause.BUG)]
    assert "an item without id was skipped" in inventory.problems[0].message


def test_items_with_nothing_but_an_id_are_kept(replayed: Replay, tmp_path: Path) -> None:
    arn = f"arn:aws:elasticloadbalancing:us-east-1:{ACME}:loadbalancer/app/lb/1"
    bare: dict[str, dict[str, Any]] = {
        "ec2.DescribeInstances_1.json": {"Reservations": [{"Instances": [{"InstanceId": "i-1"}]}, {}]},
        "ec2.DescribeVolumes_1.json": {"Volumes": [{"VolumeId": "vol-1"}]},
        "ec2.DescribeVpcs_1.json": {"Vpcs": [{"VpcId": "vpc-1"}]},
        "ec2.DescribeSubnets_1.json": {"Subnets": [{"SubnetId": "subnet-1"}]},
        "rds.DescribeDBInstances_1.json": {"DBInstances": [{"DBInstanceIdentifier": "db-1"}]},
        "rds.DescribeDBClusters_1.json": {"DBClusters": [{"DBClusterIdentifier": "cluster-1"}]},
        "elasticloadbalancing.DescribeLoadBalancers_1.json": {"LoadBalancers": [{"LoadBalancerArn": arn}]},
        "eks.ListClusters_1.json": {"clusters": ["k-1"]},
        "eks.DescribeCluster_1.json": {"cluster": {"name": "k-1"}},
    }

    inventory = replayed(*(_write(tmp_path / name, data) for name, data in bare.items()))

    assert inventory.problems == []
    assert {_short_id(one.resource_id) for one in inventory.resources} == {
        "i-1", "vol-1", "vpc-1", "subnet-1", "db-1", "cluster-1", "lb", "k-1"
    }  # fmt: skip
    assert {one.status for one in inventory.resources} == {Status.UNKNOWN}


def test_an_item_that_two_pages_show_is_one_resource(replayed: Replay, tmp_path: Path) -> None:
    first = {"Volumes": [{"VolumeId": "vol-1", "State": "in-use"}], "NextToken": "more"}
    second = {"Volumes": [{"VolumeId": "vol-1", "State": "available"}, {"VolumeId": "vol-2", "State": "creating"}]}

    inventory = replayed(
        _write(tmp_path / "ec2.DescribeVolumes_1.json", first), _write(tmp_path / "ec2.DescribeVolumes_2.json", second)
    )

    assert [(one.resource_name, one.status) for one in inventory.resources] == [
        ("vol-1", Status.AVAILABLE),
        ("vol-2", Status.STARTING),
    ]


def test_a_listing_that_repeats_its_page_token_ends_as_incomplete(replayed: Replay, tmp_path: Path) -> None:
    page = {"Volumes": [{"VolumeId": "vol-1", "State": "in-use"}], "NextToken": "again"}

    inventory = replayed(_write(tmp_path / "ec2.DescribeVolumes_1.json", page))

    assert [one.resource_name for one in inventory.resources] == ["vol-1"]
    assert [(problem.kind, problem.cause) for problem in inventory.problems] == [("ebs:volume", Cause.INCOMPLETE)]


def test_a_listing_without_the_expected_keys_is_a_problem_not_a_crash(replayed: Replay, tmp_path: Path) -> None:
    cluster = _write(tmp_path / "eks.DescribeCluster_1.json", {"cluster": {"name": "k-1"}})
    clusters = _write(tmp_path / "eks.ListClusters_1.json", {"clusters": ["k-1"]})
    instances = _write(tmp_path / "ec2.DescribeInstances_1.json", {"Reservations": [{"Instances": [{"State": {}}]}]})

    inventory = replayed(cluster, clusters, instances)

    assert [one.kind for one in inventory.resources] == ["eks:cluster"]
    assert [(problem.kind, problem.cause) for problem in inventory.problems] == [("ec2:instance", Cause.BUG)]


def test_metric_answers_in_another_form_are_told(replayed: Replay, tmp_path: Path) -> None:
    instances = {"Reservations": [{"Instances": [{"InstanceId": "i-1", "InstanceType": "t2.micro"}]}]}
    moment = {"__class__": "datetime", "year": 2026, "month": 11, "day": 20, "hour": 11}
    answers = [
        {"Id": "m0", "Timestamps": [moment], "Values": [1.5], "StatusCode": "Complete"},
        {"Id": "m1", "Timestamps": [moment], "Values": [], "StatusCode": "Complete"},
        {"Id": "unasked", "Timestamps": [moment], "Values": [2.0], "StatusCode": "Complete"},
    ]
    inventory = replayed(
        _write(tmp_path / "ec2.DescribeInstances_1.json", instances),
        _write(tmp_path / "monitoring.GetMetricData_1.json", {"MetricDataResults": answers}),
    )
    start = datetime(2026, 11, 20, 11, tzinfo=UTC)

    result = metrics.collect(
        MetricsRequest("acme", [acme()], inventory.resources, start, start + timedelta(minutes=15)), Meter()
    )

    assert [(series.metric.name, series.values) for series in result.series] == [("cpu_utilization", [1.5])]
    states = {one.metric_name: (one.state, one.reason) for one in result.coverage}
    assert states["network_in"] == (CoverageState.ERROR, "CloudWatch: times without values")
    assert states["network_out"] == (CoverageState.ERROR, "CloudWatch: no answer")
    assert {problem.cause for problem in result.problems} == {Cause.INCOMPLETE}


def test_recorded_metric_answers_do_not_disturb_a_collection(
    shared_data: Path, replayed: Replay, tmp_path: Path
) -> None:
    instances = {"Reservations": [{"Instances": [{"InstanceId": "i-1"}]}]}
    listing = _write(tmp_path / "ec2.DescribeInstances_1.json", instances)
    files = sorted(shared_data.glob("aws_recordings/*/monitoring.GetMetricData_*.json"))
    assert files
    for file in files:
        inventory = replayed(listing, file)
        end = datetime(2026, 11, 20, 12, tzinfo=UTC)

        result = metrics.collect(
            MetricsRequest("acme", [acme()], inventory.resources, end - timedelta(hours=1), end), Meter()
        )

        assert len(result.coverage) == len(metrics_for("aws", "ec2:instance"))
