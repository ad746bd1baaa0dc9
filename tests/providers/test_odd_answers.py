"""Answers that no document foresees: an odd value costs at most itself, never the resource that it is told of.

Items of every kind, as the labs and the recordings show them, are spoiled in one place at a time and read again.
"""

from __future__ import annotations

import copy
import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.aws.recordings import Recordings as AwsRecordings
from optiinfra_dagster.lab.gcp.recordings import GcpRecordings
from optiinfra_dagster.lab.vultr.recordings import Recordings as VultrRecordings
from optiinfra_dagster.lab.vultr.recordings import load_answers
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Inventory, Resource, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult
from optiinfra_dagster.providers.aws import client as aws_client
from optiinfra_dagster.providers.aws import inventory as aws
from optiinfra_dagster.providers.aws import metrics as aws_performance
from optiinfra_dagster.providers.azure import inventory as azure
from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.azure.client import Principal
from optiinfra_dagster.providers.azure.services import to_resources
from optiinfra_dagster.providers.catalog import metrics_for
from optiinfra_dagster.providers.gcp import client as gcp_client
from optiinfra_dagster.providers.gcp import inventory as gcp
from optiinfra_dagster.providers.gcp.services import BY_ASSET_TYPE
from optiinfra_dagster.providers.parsing import ODD as UNREADABLE
from optiinfra_dagster.providers.parsing import as_datetime, as_labels, as_number, network
from optiinfra_dagster.providers.vultr import client as vultr_client
from optiinfra_dagster.providers.vultr import inventory as vultr
from optiinfra_dagster.storage import rows
from tests.providers.aws import conftest as of_aws
from tests.providers.aws import test_metrics as aws_metrics
from tests.providers.azure import conftest as of_azure
from tests.providers.azure import test_metrics as azure_metrics
from tests.providers.azure.test_inventory import KINDS as AZURE_KINDS
from tests.providers.gcp import conftest as of_gcp
from tests.providers.vultr import conftest as of_vultr

DROP: Any = object()
ODD: list[Any] = [
    DROP, None, "", [], {}, "an odd word", "7", 7, 7.5, -1, True, False, math.nan, math.inf, 10**400, [None], [7],
    ["x"], {"x": None}, [{"a": 1}], [[]], {"x": {"y": {"z": [1]}}}, "\ud800", "ünïcode", "x" * 2000, "a/b",
    "https://x/y", "0001-01-01T00:00:00Z", "0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-14:00", "2024-13-45",
    1.7e9, "1e999", "10.0.0.0/8", "999.0.0.0/99", datetime(1, 1, 1, tzinfo=UTC),
]  # fmt: skip
# What an item is known by: without that, it is a problem and no resource.
NAMES = {
    "InstanceId", "VolumeId", "VpcId", "SubnetId", "NatGatewayId", "DBInstanceIdentifier", "DBClusterIdentifier",
    "LoadBalancerArn", "LoadBalancerName", "name", "nodegroupName", "clusterName", "CacheClusterId", "TableName",
    "ClusterIdentifier", "FileSystemId", "assetType", "id", "type",
}  # fmt: skip
# All that is known of an asset of Google's but its name: without that, it is a gap.
FACTS = {("resource",), ("resource", "data")}
# What a resource's id is made of, so that it changes with them.
WITHIN_IDS = NAMES | {"OwnerId"}

Read = Callable[[Any], Resource | None]
Sample = tuple[Read, Any]
Path_ = tuple[Any, ...]


@pytest.fixture(autouse=True)
def without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aws_client, "_ACCOUNTS", {})
    monkeypatch.setattr(vultr_client, "_LINES", {})


class Samples:
    """Notes what a collection reads: each item, and how it is read again. So many of a kind at most."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
        self.found: list[Sample] = []
        self._most, self._counts = most, Counter[str]()
        for module in (aws, vultr):
            listings = [replace(one, to_resource=self._noting(one.to_resource)) for one in module.LISTINGS]
            monkeypatch.setattr(module, "LISTINGS", tuple(listings))

        def read_row(row: Any) -> Resource | None:
            found = to_resources(row)
            for part in found[1:]:
                check(part)
            return found[0] if found else None

        def note_row(row: Any) -> list[Resource]:
            return [one for one in [self._noting(read_row)(row)] if one]

        monkeypatch.setattr(azure, "to_resources", note_row)
        read_asset = gcp._read

        def read(asset: Any, project: str) -> Resource | None:
            inventory = Inventory()
            read_asset(asset, project, inventory)
            assert (
                len(inventory.problems) + len(inventory.resources) == 1 or asset.get("assetType") not in BY_ASSET_TYPE
            )
            return next(iter(inventory.resources), None)

        def note(asset: Any, project: str, found: Inventory) -> None:
            found.resources += [one for one in [self._noting(read)(asset, project)] if one]

        monkeypatch.setattr(gcp, "_read", note)

    def _noting(self, read: Callable[..., Resource | None]) -> Callable[..., Resource | None]:
        def noting(item: Any, *more: Any) -> Resource | None:
            resource = read(item, *more)
            if resource is not None and self._counts[resource.kind] < self._most:
                self._counts[resource.kind] += 1
                self.found.append((lambda one: read(one, *more), copy.deepcopy(item)))
            return resource

        return noting


def of_labs(monkeypatch: pytest.MonkeyPatch) -> list[Sample]:
    """Two items of every kind that the labs know."""
    samples = Samples(monkeypatch, most=2)
    kinds = ("ec2:instance", "rds:db", "rds:cluster", "eks:cluster", "elbv2:application", "elb:classic", "ec2:vpc",
             "ec2:nat_gateway", "elasticache:cluster", "redshift:cluster", "dynamodb:table",
             "efs:filesystem")  # fmt: skip
    tags: dict[str, Any] = {"tags": {"env": "prod"}}
    account = {"id": of_aws.ACME, "access_keys": ["K"], "fleets": [of_aws.fleet(kind, **tags) for kind in kinds]}
    keys = {"name": "acme", "keys": [of_vultr.KEY], "prometheus_token": of_vultr.TOKEN}
    world: dict[str, Any] = {
        "aws": {"accounts": [{**account, "regions": ["us-east-1"]}]},
        "gcp": {"projects": [{"id": of_gcp.PROJECT, "fleets": [of_gcp.fleet(kind) for kind in of_gcp.ALL_KINDS]}]},
        "azure": {
            "subscriptions": [
                {"id": of_azure.SUBSCRIPTION, "fleets": [of_azure.fleet(kind, **tags) for kind in AZURE_KINDS]}
            ]
        },
        "vultr": {"accounts": [{**keys, "fleets": [of_vultr.fleet(kind) for kind in of_vultr.KINDS]}], "limit": 10**6},
    }
    with CloudLab(world, now=lambda: of_aws.NOW) as lab:
        for name, value in {**lab.env, "ACME_VULTR_KEY": of_vultr.KEY}.items():
            monkeypatch.setenv(name, value)
        collected = [
            aws.collect("acme", [of_aws.acme()], Meter()),
            gcp.collect("acme", [of_gcp.account(lab)], Meter()),
            azure.collect("acme", [of_azure.account(lab)], Meter()),
            vultr.collect("acme", [of_vultr.acme()], Meter()),
        ]
    assert [one.problems for one in collected] == [[], [], [], []]
    return samples.found


def of_recordings(monkeypatch: pytest.MonkeyPatch, data: Path, chosen: random.Random) -> list[Sample]:
    """Some items of every kind that the recordings show."""
    samples = Samples(monkeypatch, most=2)
    listings = [*data.glob("aws_recordings/*/*.Describe[IVDSNLC]*.json")]
    chosen.shuffle(listings := sorted(listings))
    one_of_each = {file.name.rpartition("_")[0]: file for file in listings}
    files = [*sorted((data / "azure_recordings").glob("*.json")), *sorted((data / "azure_examples").rglob("*.json"))]
    answers = [file for file in sorted((data / "vultr").rglob("*.json")) if any(True for _ in load_answers(file))]
    with CloudLab({"vultr": {"limit": 10**6}}, recordings=[], now=lambda: of_aws.NOW) as lab:
        for name, value in {**lab.env, "ACME_VULTR_KEY": of_vultr.KEY}.items():
            monkeypatch.setenv(name, value)
        lab.aws.recordings = AwsRecordings(one_of_each.values())
        lab.gcp.recordings = GcpRecordings(data / "gcp_recordings")
        lab.gcp.refill()
        lab.azure.replay(files)
        lab.vultr.recordings = VultrRecordings(answers)
        aws.collect("acme", [of_aws.acme()], Meter())
        gcp.collect("acme", [of_gcp.account(lab, "cloud-custodian")], Meter())
        azure.collect("acme", [of_azure.account(lab)], Meter())
        vultr.collect("acme", [of_vultr.acme()], Meter())
    return samples.found


def chance(seed: int) -> random.Random:
    """The same choices in every run."""
    return random.Random(seed)  # noqa: S311 - not for secrecy


def places(part: Any, at: Path_ = ()) -> Iterator[Path_]:
    """Where something stands in an item; of a list, its first member."""
    if isinstance(part, dict):
        for key, value in part.items():
            yield (*at, key)
            yield from places(value, (*at, key))
    elif isinstance(part, list) and part:
        yield (*at, 0)
        yield from places(part[0], (*at, 0))


def spoiled(part: Any, place: Path_, value: Any) -> Any:
    """The same with something else in one place."""
    whole = copy.copy(part)
    if len(place) > 1:
        whole[place[0]] = spoiled(whole[place[0]], place[1:], value)
    elif value is DROP:
        del whole[place[0]]
    else:
        whole[place[0]] = value
    return whole


def check(one: Resource) -> None:
    """What always holds of a resource."""
    named = (one.account_id, one.region, one.kind, one.resource_id, one.resource_name, one.cloud_status, one.unit)
    for text in (*named, *one.tags, *one.tags.values()):
        assert isinstance(text, str)
        text.encode()  # Arrow and ClickHouse take UTF-8 only
    assert one.resource_id
    assert one.resource_name
    assert one.capacity is None or (math.isfinite(one.capacity) and one.capacity >= 0)
    assert one.utilization is None or 0 <= one.utilization <= 100
    assert one.created_at is None or 1970 < one.created_at.year < 2106  # ClickHouse's DateTime
    assert all(isinstance(fact, str | int | float | bool) for fact in one.metadata.values())
    json.dumps(one.metadata, allow_nan=False)
    json.dumps(one.metadata, ensure_ascii=False).encode()


def bear(samples: list[Sample], chosen: random.Random, values: int) -> int:
    """Spoil each place of each item with some odd values; how many items were read."""
    came: list[Resource] = []
    for read, item in samples:
        whole = read(item)
        assert whole is not None
        check(whole)
        for place in places(item):
            for value in chosen.sample(ODD, values):
                odd = spoiled(item, place, value)
                try:
                    one = read(odd)
                except UNREADABLE:
                    one = None
                if one is None:
                    assert place[0] in NAMES or place in FACTS, f"{whole.kind} is lost by {place} being {value!r}"
                    continue
                check(one)
                if not WITHIN_IDS.intersection(place) and "arn" not in str(place[-1]).lower():
                    assert one.resource_id == whole.resource_id
                came.append(one)
    some = chosen.sample(came, 500)
    now = datetime(2026, 11, 20, tzinfo=UTC)
    assert rows.resource_rows("acme", "aws", now, some, now).num_rows == 500
    return len(came)


def test_an_odd_value_costs_itself_and_never_its_resource(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bear(of_labs(monkeypatch), chance(1), values=2) > 3000


def test_an_odd_value_in_what_a_cloud_once_answered_costs_itself(
    shared_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = of_recordings(monkeypatch, shared_data, chance(2))

    assert bear(samples, chance(3), values=2) > 3000


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("2024-05-06T07:08:09Z", "2024-05-06T07:08:09+00:00"),
        ("2024-05-06T07:08:09z", "2024-05-06T07:08:09+00:00"),
        ("2024-05-06T07:08:09.1234567+00:00", "2024-05-06T07:08:09.123456+00:00"),
        ("2024-05-06 07:08:09", "2024-05-06T07:08:09+00:00"),
        ("2024-05-06T00:08:09-07:00", "2024-05-06T07:08:09+00:00"),
        (1714979289, "2024-05-06T07:08:09+00:00"),
        ("1714979289.0", "2024-05-06T07:08:09+00:00"),
        (1714979289000, "2024-05-06T07:08:09+00:00"),
        ("0001-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+05:00", None),
        ("yesterday", None),
        (0, None),
        (None, None),
        ([], None),
    ],
)
def test_times_of_all_forms_are_read(written: object, read: str | None) -> None:
    assert as_datetime(written) == (datetime.fromisoformat(read) if read else None)


@pytest.mark.parametrize(
    ("told", "read"),
    [
        ({"env": "prod", "n": 7, "on": True, "none": None}, {"env": "prod", "n": "7", "on": "true", "none": ""}),
        ([{"Key": "env", "Value": "a"}, {"Key": "env", "Value": "b"}, {"Key": "k"}, {}], {"env": "b", "k": ""}),
        ([{"key": "env", "value": "prod"}, "word", None, ""], {"env": "prod", "word": ""}),
        ("word", {}),
        (None, {}),
    ],
)  # fmt: skip
def test_tags_of_all_shapes_are_read(told: object, read: dict[str, str]) -> None:
    assert as_labels(told) == read


def test_what_is_no_number_is_unknown_and_not_zero() -> None:
    assert [as_number(one) for one in (3, "3", 3.5, 0)] == [3.0, 3.0, 3.5, 0.0]
    assert [as_number(one) for one in (None, "", "much", -1, True, math.nan, 10**400, [3])] == [None] * 8
    assert [network(one) for one in ("10.0.0.0/8", "10.0.0.0/99", None)] == ["10.0.0.0/8", "", ""]


# --- Metrics --------------------------------------------------------------------------------------------------------


def spoil_somewhere(answer: Any, chosen: random.Random) -> Any:
    """An answer with an odd value in one place."""
    return spoiled(answer, chosen.choice([*places(answer)]), chosen.choice(ODD[:-1]))


def bears(result: MetricsResult, whole: MetricsResult, resources: list[Resource]) -> None:
    """Nothing is there that was not there before, and what was lost is told."""
    asked = Counter((one.resource_id, metric.name) for one in resources for metric in metrics_for(*_kind(one)))
    assert Counter((one.resource_id, one.metric_name) for one in result.coverage) == asked
    points = {
        (one.resource.resource_id, one.metric.name, one.statistic, at): value
        for one in whole.series
        for at, value in zip(one.timestamps, one.values, strict=True)
    }
    keys = [(one.resource.resource_id, one.metric.name, one.statistic) for one in result.series]
    assert len(keys) == len(set(keys))
    assert all(math.isfinite(value) for one in result.series for value in one.values)
    came = {(*key, at) for key, one in zip(keys, result.series, strict=True) for at in one.timestamps}
    lost = {key[:2] for key in points.keys() - came}
    assert len(lost) <= 1 or result.problems
    broken = {(one.resource_id, one.metric_name) for one in result.coverage if one.state is CoverageState.ERROR}
    assert not broken or result.problems


def _kind(one: Resource) -> tuple[str, str]:
    return ("azure" if one.kind.startswith("azure") else "aws", one.kind)


def test_an_odd_point_of_cloudwatch_costs_its_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    account = {"id": of_aws.ACME, "regions": ["us-east-1"], "fleets": [of_aws.fleet("rds:db", 2)]}
    with CloudLab({"aws": {"accounts": [account]}}, now=lambda: of_aws.NOW) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        resources, told = aws_metrics.inventory(), lab.aws.cloudwatch.get_metric_data
        whole = aws_metrics.read(resources)
        for seed in range(25):
            chosen = chance(seed)

            def odd(call: Any, chosen: random.Random = chosen) -> dict[str, Any]:
                answer = told(call)
                results = answer["MetricDataResults"]
                n = chosen.randrange(len(results))
                results[n] = spoil_somewhere(results[n], chosen)
                return answer

            monkeypatch.setattr(lab.aws.cloudwatch, "get_metric_data", odd)

            bears(aws_metrics.read(resources), whole, resources)


def test_pages_of_metrics_that_go_in_a_circle_end(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {None: "a", "a": "b", "b": "a"}
    account = {"id": of_aws.ACME, "regions": ["us-east-1"], "fleets": [of_aws.fleet("rds:db")]}
    with CloudLab({"aws": {"accounts": [account]}}, now=lambda: of_aws.NOW) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        resources, meter = aws_metrics.inventory(), Meter()
        monkeypatch.setattr(
            lab.aws.cloudwatch,
            "get_metric_data",
            lambda call: {"MetricDataResults": [], "NextToken": tokens[call.params.get("NextToken")]},
        )

        result = aws_metrics.read(resources, meter=meter)

    assert {problem.cause for problem in result.problems} == {Cause.INCOMPLETE}
    assert meter.calls["GetMetricData"] == 3


def test_pages_of_assets_that_go_in_a_circle_end(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = {"": "a", "a": "b", "b": "a"}

    def ask(_self: object, _session: object, _url: str, query: dict[str, Any], *_more: object) -> dict[str, Any]:
        disk: dict[str, Any] = {
            "assetType": "compute.googleapis.com/Disk",
            "name": "//compute.googleapis.com/projects/p/disks/d",
        }
        disk |= {"resource": {"data": {"name": "d"}}}
        return {"assets": [None, disk], "nextPageToken": tokens[query.get("pageToken", "")]}

    monkeypatch.setattr(gcp_client.Project, "_ask", ask)
    with CloudLab({}) as lab:
        inventory = gcp.collect("acme", [of_gcp.account(lab)], Meter())

    assert [one.resource_name for one in inventory.resources] == ["d"]
    assert {problem.cause for problem in inventory.problems} == {Cause.BUG, Cause.INCOMPLETE}


def test_an_odd_point_of_azure_costs_its_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    resources = azure_metrics.machines(3)
    times = [azure_metrics.START.isoformat().replace("+00:00", f"{fraction}Z") for fraction in ("", ".0000000")]
    answer = {
        "values": [
            {
                "resourceid": one.resource_id,
                "value": [
                    {
                        "id": f"{one.resource_id}/providers/Microsoft.Insights/metrics/{metric.api_metric}",
                        "name": {"value": metric.api_metric, "localizedValue": metric.api_metric},
                        "errorCode": "Success",
                        "timeseries": [
                            {"data": [{"timeStamp": at, "average": 5.0, "total": 9.0, "maximum": 7} for at in times]}
                        ],
                    }
                    for metric in metrics_for("azure", "azure:vm")
                ],
            }
            for one in resources
        ]
    }
    bodies: list[Any] = [answer]
    account = AzureAccount.model_validate(
        {"subscription_id": of_azure.SUBSCRIPTION, "endpoint_url": "http://127.0.0.1:9"}
    )
    monkeypatch.setattr(Principal, "metrics_of", lambda *_asked: bodies[0])
    whole = azure_metrics.read(resources, account)
    assert len(whole.series) >= len(resources) * len(metrics_for("azure", "azure:vm"))
    for seed in range(200):
        bodies[0] = spoil_somewhere(answer, chance(seed))

        bears(azure_metrics.read(resources, account), whole, resources)


def test_what_stopped_at_a_time_that_is_none_is_asked_about() -> None:
    (one,) = aws_metrics.instances(1, status=Status.STOPPED)
    odd = replace(one, metadata={"stopped_at": "0000-00-00T00:00:00+00:00"})
    request: Any = MetricsRequest("acme", [], [odd], aws_metrics.START, aws_metrics.END)

    assert aws_performance.price(request) > 0
