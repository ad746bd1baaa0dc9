"""What clouds do that no manual leads one to expect, on AWS: one function for each, the same names on every cloud."""

from __future__ import annotations

import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.lab.aws import cloud
from optiinfra_dagster.lab.aws.kind import describe
from optiinfra_dagster.lab.aws.services import OPERATIONS
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult
from optiinfra_dagster.providers.aws import client, inventory, metrics
from optiinfra_dagster.providers.aws.services import KINDS
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.providers.registry import PROVIDERS
from tests.providers.aws.conftest import ACME, StartLab, acme, fleet

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.model.inventory import Inventory, Resource
    from optiinfra_dagster.providers.aws.account import AwsAccount

DOES_NOT_APPLY: dict[str, str] = {}

START, END = datetime(2026, 11, 20, 11, 30, tzinfo=UTC), datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def gather(account: AwsAccount | None = None, meter: Meter | None = None) -> Inventory:
    return inventory.collect("acme", [account or acme()], meter or Meter())


def points(resources: list[Resource], account: AwsAccount | None = None, meter: Meter | None = None) -> MetricsResult:
    request = MetricsRequest("acme", [account or acme()], resources, START, END)
    return metrics.collect(request, meter or Meter())


# --- Sessions ---------------------------------------------------------------------------------------------------------


def by_keys() -> AwsAccount:
    return acme(role_arn=None, access_key_id={"env": "KEY"}, secret_access_key={"env": "SECRET"})


def expired(lab: CloudLab, _patch: pytest.MonkeyPatch) -> None:
    lab.control.expire_sessions()


def revoked(lab: CloudLab, patch: pytest.MonkeyPatch) -> None:
    lab.aws.sts.revoke()
    patch.setattr(client, "_DENIED_SECONDS", 0.0)  # as if the session were old


@pytest.mark.parametrize("refuse", [expired, revoked])
def test_session_refused(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, refuse: Any) -> None:
    lab = start_lab(fleet("ec2:instance", 2, volumes=0))
    resources = gather().resources
    refuse(lab, monkeypatch)
    meter = Meter()

    healed = gather(meter=meter)
    refuse(lab, monkeypatch)
    read = points(resources, meter=meter)

    assert healed.problems == read.problems == []
    assert len(healed.resources) == 2
    assert len(read.series) == 2 * 8
    assert meter.calls["AssumeRole"] == 2  # one for each time that the session was refused, whoever noticed first


def test_session_refused_within_a_listing(start_lab: StartLab) -> None:
    lab = start_lab(fleet("rds:db", 150))
    lab.control.add_faults({"action": "expired", "operation": "DescribeDBInstances", "page": 2, "times": 1})
    lab.control.add_faults({"action": "expired", "operation": "GetCallerIdentity", "times": 1})

    found = gather()

    assert found.problems == []
    assert len(found.resources) == 150


def test_session_refused_by_a_lab_at_the_same_port(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    start_lab(fleet("ec2:vpc", subnets=0))
    gather()
    sessions = dict(client._ACCOUNTS)
    start_lab(fleet("ec2:vpc", 2, subnets=0))
    monkeypatch.setattr(client, "_ACCOUNTS", sessions)

    found = gather()

    assert (found.problems, len(found.resources)) == ([], 2)


def test_session_refused_because_the_host_has_another_key(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lab = start_lab(fleet("ec2:vpc", subnets=0))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    file = tmp_path / "credentials"
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    file.write_text("[default]\naws_access_key_id = lab\naws_secret_access_key = lab\n")
    assert gather().problems == []
    file.write_text("[default]\naws_access_key_id = AKIANEW\naws_secret_access_key = new\n")
    lab.aws.sts.rotate_collector("AKIANEW")
    lab.control.expire_sessions()

    found = gather()

    assert (found.problems, len(found.resources)) == ([], 1)


def test_session_refused_because_a_key_was_rotated_between_two_calls(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = {"id": "222222222222", "access_keys": ["NEWKEY"], "fleets": [fleet("ec2:vpc", 3, subnets=0)]}
    start_lab(accounts=(second,))
    config = by_keys().model_copy(update={"account_id": "222222222222"})
    monkeypatch.setenv("SECRET", "s")
    monkeypatch.setenv("KEY", "OLDKEY")
    account = client.open_account("globex", config, Meter())
    monkeypatch.setenv("KEY", "NEWKEY")

    with account.call("ec2", "us-east-1", Meter()) as ec2:
        assert len(ec2.describe_vpcs()["Vpcs"]) == 3


def test_session_refused_for_good_is_asked_again_and_a_wrong_key_is_not(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("ec2:vpc", subnets=0))
    operations = ("GetCallerIdentity", "DescribeInstances")  # whatever session asks
    lab.control.add_faults(*({"action": "expired", "operation": operation} for operation in operations))
    monkeypatch.setenv("KEY", "NOBODYSKEY")
    monkeypatch.setenv("SECRET", "nobodys-secret")

    (ended,) = gather().problems
    (wrong,) = gather(by_keys()).problems

    assert (ended.cause, ended.kind) == (Cause.UNAVAILABLE, "")
    assert wrong.cause is Cause.AUTH


# --- Hosts ------------------------------------------------------------------------------------------------------------


def test_unreachable_host(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    start_lab(fleet("ec2:instance", 700))
    resources = gather().resources
    monkeypatch.setenv("KEY", "ACMEKEY")
    monkeypatch.setenv("SECRET", "s")
    with socket.create_server(("127.0.0.1", 0)) as server:
        nowhere = f"http://127.0.0.1:{server.getsockname()[1]}"
    silent = by_keys().model_copy(update={"endpoint_url": acme(endpoint_url=nowhere).endpoint_url})
    meter = Meter()

    listed = gather(silent, meter)
    read = points(resources, silent, meter)

    assert {problem.cause for problem in listed.problems} == {Cause.UNAVAILABLE}
    of_ec2 = [name for name in meter.calls if name.startswith("Describe") and name in EC2_LISTINGS]
    assert of_ec2 == ["DescribeInstances"]  # its four attempts; the host is the same for the others
    assert {problem.cause for problem in read.problems} == {Cause.UNAVAILABLE}
    assert (meter.calls["ListMetrics"], meter.calls["GetMetricData"]) == (4, 0)


EC2_LISTINGS = {
    "DescribeInstances", "DescribeVolumes", "DescribeVpcs", "DescribeSubnets", "DescribeNatGateways",
    "DescribeAddresses", "DescribeSnapshots",
}  # fmt: skip


# --- Agents -----------------------------------------------------------------------------------------------------------

RESIZED = datetime(2026, 11, 20, 11, 45, tzinfo=UTC)


def memory_of(result: MetricsResult) -> dict[str, list[int]]:
    """The times of the points of memory, by the name of the instance."""
    series = (one for one in result.series if one.metric.name == "memory_utilization")
    return {one.resource.resource_name: sorted(one.timestamps) for one in series}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            {"type": "m6i.large", "agent": True},
            {"type": "m6i.xlarge", "agent": True, "type_before": "m6i.large", "resized": RESIZED},
            id="another type",
        ),
        pytest.param({"agent": ["InstanceId"]}, {"agent": ["InstanceId", "AutoScalingGroupName"]}, id="configuration"),
    ],
)
def test_agent_dimensions_change(
    start_lab: StartLab, tmp_path: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    memory, meter = DayCache(tmp_path), Meter()

    def read(*resources: Resource, end: datetime = END) -> MetricsResult:
        request = MetricsRequest("acme", [acme()], resources, end - timedelta(minutes=30), end, memory=memory)
        return metrics.collect(request, meter)

    start_lab(fleet("ec2:instance", name="web", volumes=0, **before))
    assert memory_of(read(*gather().resources, end=RESIZED)).keys() == {"web"}
    start_lab(fleet("ec2:instance", name="web", volumes=0, **after))
    (changed,) = gather().resources
    listings = meter.calls["ListMetrics"]

    first, second = read(changed), read(changed)

    since = int((RESIZED if "resized" in after else START).timestamp())
    assert memory_of(first) == memory_of(second) == {"web": list(range(since, int(END.timestamp()), 300))}
    assert first.problems == second.problems == []
    assert meter.calls["ListMetrics"] - listings == 2  # memory and disk, once


def test_agent_dimensions_change_where_the_listing_has_both(start_lab: StartLab) -> None:
    both: dict[str, Any] = {"type": "m6i.xlarge", "agent": True, "type_before": "m6i.large", "resized": RESIZED}
    start_lab(fleet("ec2:instance", name="web", volumes=0, **both))
    (machine,) = gather().resources
    before = replace(machine, metadata={**machine.metadata, "instance_type": "m6i.large"})

    assert memory_of(points([before]))["web"][-1] < RESIZED.timestamp()
    assert memory_of(points([machine]))["web"][0] == RESIZED.timestamp()


def test_agent_dimensions_change_names_on_windows(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", name="win", volumes=0, agent=True, engine="windows"))
    (machine,) = gather().resources

    found = {one.metric.name: one for one in points([machine]).series if one.metric.namespace == "CWAgent"}

    assert found.keys() == {"memory_utilization", "disk_utilization"}
    name = machine.resource_id.rpartition("/")[2]

    def truth(metric: str, narrowed: str = "") -> dict[int, float]:
        told = lab.expected_points(
            ACME, "us-east-1", name, "CWAgent", metric,
            statistic="Average", period=300, start=START, end=END, narrowed_to=narrowed,
        )  # fmt: skip
        return {int(moment.timestamp()): value for moment, value in told.items()}

    def told(name: str) -> dict[int, float]:
        return dict(zip(found[name].timestamps, found[name].values, strict=True))

    free = truth("LogicalDisk % Free Space", "instance=C:")
    assert told("memory_utilization") == pytest.approx(truth("Memory % Committed Bytes In Use"))
    assert told("disk_utilization") == pytest.approx({moment: 100 - value for moment, value in free.items()})


# --- Names and states -------------------------------------------------------------------------------------------------

NAMED = [
    "rds:db",
    "rds:cluster",
    "elasticache:cluster",
    "redshift:cluster",
    "dynamodb:table",
    "eks:cluster",
    "elb:classic",
    "ecs:service",
    "elasticache:serverless",
]


@pytest.mark.parametrize("kind", NAMED)
def test_replaced_machine(start_lab: StartLab, kind: str) -> None:
    def found(created: str, seed: int) -> Resource:
        start_lab(fleet(kind, name="orders", created=created), seed=seed)
        return next(one for one in gather().resources if one.kind == kind)

    first, same, other = (
        found("2026-01-01T00:00:00Z", 0),
        found("2026-01-01T00:00:00Z", 0),
        found("2026-11-01T00:00:00Z", 1),
    )

    assert first.resource_id == same.resource_id == other.resource_id
    assert first.instance_uid == same.instance_uid != other.instance_uid
    assert "" not in {first.instance_uid, other.instance_uid}
    assert (first.created_at, other.created_at) == (
        datetime(2026, 1, 1, tzinfo=UTC),
        datetime(2026, 11, 1, tzinfo=UTC),
    )


def test_replaced_machine_of_ec2_has_another_id_and_a_restart_is_no_creation(start_lab: StartLab) -> None:
    times: dict[str, Any] = {"created": "2026-01-01T00:00:00Z", "restarted": "2026-11-19T08:00:00Z"}
    start_lab(fleet("ec2:instance", volumes=0, **times))

    (machine,) = gather().resources

    assert machine.created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert machine.metadata["launched_at"] == "2026-11-19T08:00:00+00:00"
    assert machine.instance_uid == ""


def test_terminated_machine(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 2, volumes=0, state="terminated"), fleet("ec2:instance", volumes=0))
    found = gather()
    gone = [one for one in found.resources if one.status is Status.TERMINATED]

    read = points(gone)

    assert (found.problems, len(gone)) == ([], 2)
    assert {one.created_at for one in gone} == {None}  # its interface went with it
    assert all(PROVIDERS["aws"].components(one) == [] for one in gone)
    assert (read.series, read.problems) == ([], [])
    assert {one.state for one in read.coverage} == {CoverageState.NOT_OFFERED}
    assert lab.control.calls().billed_metrics == {}


@pytest.mark.parametrize(
    ("kind", "word"), [("ec2:instance", "hovering"), ("rds:db", "pondering"), ("eks:cluster", "ODD")]
)
def test_unknown_state(start_lab: StartLab, kind: str, word: str) -> None:
    start_lab(fleet(kind, state=word, volumes=0, nodegroups=0))

    found = gather()
    read = points(found.resources)

    assert [(one.status, one.cloud_status) for one in found.resources] == [(Status.UNKNOWN, word)]
    assert found.problems == read.problems == []
    assert CoverageState.COLLECTED in {one.state for one in read.coverage}  # it is asked like any other


# --- Listings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", sorted(kind.name for kind in KINDS.values() if kind.tagged_as))
def test_tags_not_in_listing(start_lab: StartLab, kind: str) -> None:
    lab = start_lab(fleet(kind, 120, name="tagged-{n}", tags={"env": "prod"}), fleet(kind, name="plain"))
    meter = Meter()

    found = gather(meter=meter)

    assert found.problems == []
    assert [one.tags for one in found.resources if one.resource_name.startswith("plain")] == [{}]
    assert [one.tags for one in found.resources if one.resource_name.startswith("tagged")] == [{"env": "prod"}] * 120
    assert meter.calls["GetResources"] == 2
    lab.control.add_faults({"action": "deny", "operation": "GetResources"})
    (problem,) = gather().problems
    assert (problem.cause, "tag:GetResources" in problem.message) == (Cause.PERMISSION, True)


def test_tags_not_in_listing_are_not_asked_of_an_account_without_such_kinds(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance"))
    meter = Meter()

    gather(meter=meter)

    assert meter.calls["GetResources"] == 0


def test_doubled_page(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = start_lab(fleet("rds:db", 150))
    listing = OPERATIONS["rds", "DescribeDBInstances"]

    def shifted(estate: Any, call: Any, region: Any) -> dict[str, Any]:
        """A page that begins with what the page before ended with: something was made in between."""
        answer = listing(estate, call, region)
        if call.page > 1:
            last = region.of("rds:db")[95:100]
            answer["DBInstances"] = [describe(one, region) for one in last] + answer["DBInstances"]
        return answer

    monkeypatch.setattr(cloud, "OPERATIONS", {**OPERATIONS, ("rds", "DescribeDBInstances"): shifted})

    found = gather()

    assert found.problems == []
    assert len(found.resources) == len({one.resource_id for one in found.resources}) == 150
    assert lab.control.calls().count(operation="DescribeDBInstances") == 2


@pytest.mark.parametrize(
    ("service", "operation", "asked_by", "told_as", "page"),
    [
        ("rds", "DescribeDBInstances", "Marker", "Marker", {"DBInstances": []}),
        ("elb", "DescribeLoadBalancers", "Marker", "NextMarker", {"LoadBalancerDescriptions": []}),
        ("dynamodb", "ListTables", "ExclusiveStartTableName", "LastEvaluatedTableName", {"TableNames": []}),
        ("ec2", "DescribeSnapshots", "NextToken", "NextToken", {"Snapshots": []}),
        ("resourcegroupstaggingapi", "GetResources", "PaginationToken", "PaginationToken",
         {"ResourceTagMappingList": []}),
    ],
)  # fmt: skip
def test_doubled_page_in_a_circle_ends_the_listing(
    start_lab: StartLab,
    monkeypatch: pytest.MonkeyPatch,
    service: str,
    operation: str,
    asked_by: str,
    told_as: str,
    page: dict[str, Any],
) -> None:
    """The SDK sees that a page token comes twice in a row, and not that tokens go round."""
    lab = start_lab(fleet("s3:bucket"))
    circle = {"": "a", "a": "b", "b": "a"}

    def around(_estate: Any, call: Any, _region: Any) -> dict[str, Any]:
        return {**page, told_as: circle[str(call.params.get(asked_by) or "")]}

    monkeypatch.setattr(cloud, "OPERATIONS", {**OPERATIONS, (service, operation): around})

    (problem,) = gather().problems

    assert problem.cause is Cause.INCOMPLETE
    assert f"{service}.{operation} in us-east-1: the cloud repeats a page" in problem.message
    assert lab.control.calls().count(operation=operation, service=service) == 3
