"""What clouds do that no manual leads one to expect, on AWS: one function for each, the same names on every cloud."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import MetricsRequest, MetricsResult
from optiinfra_dagster.providers.aws import client, inventory, metrics
from tests.providers.aws.conftest import StartLab, acme, fleet

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
