"""The lab as a process, and its connections."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from http.client import HTTPConnection
from itertools import takewhile
from pathlib import Path
from urllib.parse import urlsplit

import boto3
import pytest

from optiinfra_dagster.lab import CloudLab, LabControl
from optiinfra_dagster.lab.arrival import BillsArrive
from optiinfra_dagster.lab.gcp.billing import DEFAULT_TABLE
from optiinfra_dagster.lab.server import Server
from tests.lab.conftest import WORLD, connect


def test_a_lab_is_nowhere_where_another_was() -> None:
    """What is remembered by address, such as sessions, is of that lab."""
    first = Server(lambda _request: None)
    old = first.server_address[1]
    first.server_close()
    offered = [old]

    class Reused(Server):
        """One to which the system gives the port of the first, which is free again."""

        def server_bind(self) -> None:
            self.server_address = ("127.0.0.1", offered.pop() if offered and not self.server_address[1] else 0)
            super().server_bind()

    again = Reused(lambda _request: None)
    asked = Server(lambda _request: None, old)  # free: nothing holds it any more
    assert (again.server_address[1] != old, asked.server_address[1]) == (True, old)
    for server in (again, asked):
        server.server_close()


def test_the_process_prints_its_environment_serves_and_ends_when_told(tmp_path: Path) -> None:
    world = tmp_path / "world.json"
    world.write_text(json.dumps({**WORLD, "secrets": {"A_SECRET": "it's quoted"}}))
    command = [sys.executable, "-m", "optiinfra_dagster.lab", "--world", str(world)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lab:
        assert lab.stdout is not None
        lines = list(takewhile(lambda line: not line.startswith("#"), lab.stdout))
        env = {name: value for name, _, value in (shlex.split(line)[1].partition("=") for line in lines)}
        assert env["A_SECRET"] == "it's quoted"
        assert env["AWS_ENDPOINT_URL"] == env["OPTIINFRA_LAB_AWS"]
        sts = boto3.client(
            "sts",
            endpoint_url=env["AWS_ENDPOINT_URL"],
            region_name=env["AWS_DEFAULT_REGION"],
            aws_access_key_id=env["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=env["AWS_SECRET_ACCESS_KEY"],
        )
        assert sts.get_caller_identity()["Account"] == "000000000000"
        assert LabControl(env["OPTIINFRA_LAB_AWS"]).calls().count() == 1
        lab.send_signal(signal.SIGTERM)  # with boto3's connection still open
        assert lab.wait(timeout=10) == 0


def test_one_connection_serves_many_requests(lab: CloudLab) -> None:
    connection = HTTPConnection(urlsplit(lab.url).netloc)
    connection.connect()
    socket = connection.sock
    for _ in range(3):
        connection.request("GET", "/lab/calls")
        assert connection.getresponse().read()
    assert connection.sock is socket
    connection.close()


def test_calls_from_many_threads_are_all_answered_and_counted(fresh_lab: CloudLab) -> None:
    client = connect(fresh_lab, "ec2")
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda _: len(client.describe_vpcs()["Vpcs"]), range(40)))
    assert sizes == [3] * 40
    assert fresh_lab.control.calls().count(operation="DescribeVpcs") == 40


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("POST", "/lab/nonsense")])
def test_what_no_cloud_knows_is_not_found(lab: CloudLab, method: str, path: str) -> None:
    connection = HTTPConnection(urlsplit(lab.url).netloc)
    connection.request(method, path)
    assert connection.getresponse().status == 404
    connection.close()


def test_past_days_are_restated_over_http() -> None:
    project, subscription = "acme-prod", "a0000000-0000-4000-8000-000000000001"
    accounts = {"aws": "1" * 12, "gcp": project, "azure": subscription, "vultr": "acme"}
    world = {
        "aws": {"accounts": [{"id": accounts["aws"]}]},
        "gcp": {"projects": [{"id": project}]},
        "azure": {"subscriptions": [{"id": subscription}]},
        "vultr": {"accounts": [{"name": "acme", "keys": ["key"]}]},
    }
    day = date(2026, 11, 3)
    with CloudLab(world, now=lambda: datetime(2026, 11, 20, 12, tzinfo=UTC)) as lab:
        for provider, account in accounts.items():
            lab.control.restate(provider, account, day, "-1.5")
        [of_aws] = lab.aws.billing.expected(accounts["aws"], day, day)[day].values()
        of_gcp = lab.gcp.exports.expected(f"{project}.billing.{DEFAULT_TABLE}", day, day)
        [of_azure] = lab.azure.billing.expected(subscription, day, day)
        of_vultr = lab.vultr.billing.expected("acme", [], day, day, datetime(2026, 11, 20, 12, tzinfo=UTC))
        found = [of_aws["UnblendedCost"][0], *of_gcp.values(), of_azure.amount, *of_vultr.values()]
        assert found == [Decimal("-1.5")] * 4
        for wrong in ({"provider": "gcp", "account": "unknown"}, {"provider": "oracle", "account": project}):
            with pytest.raises(ValueError, match=r"A restatement has provider, account.*(unknown|oracle)"):
                lab.control.restate(**wrong, day=day, amount="1")


def test_bills_arrive_late_over_http(lab: CloudLab) -> None:
    for provider, bills in (
        ("aws", lab.aws.billing), ("gcp", lab.gcp.exports), ("azure", lab.azure.billing), ("vultr", lab.vultr.billing)
    ):  # fmt: skip
        lab.control.let_bills_arrive(provider, 30, "0.25")
        assert (bills.arrive.hours, bills.arrive.share) == (30, Decimal("0.25"))
        lab.control.let_bills_arrive(provider, 0)
    for wrong in (("oracle", 1, "0"), ("aws", -1, "0"), ("aws", 1, "2"), ("aws", 1, "much")):
        with pytest.raises(ValueError, match="The arrival of bills has provider, hours and share"):
            lab.control.let_bills_arrive(*wrong)


@pytest.mark.parametrize(
    ("hours", "now", "so_far"),
    [
        (0, "2026-11-04T00:00", "8"),
        (30, "2026-11-05T05:59", "2"),
        (30, "2026-11-05T06:00", "8"),
        (30, "2026-11-03T12:00", "2"),
    ],
)
def test_a_share_of_a_day_is_there_at_once_and_the_rest_later(hours: float, now: str, so_far: str) -> None:
    arrive = BillsArrive(hours=hours, share=Decimal("0.25"))
    at = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert arrive.so_far(Decimal(8), date(2026, 11, 3), at) == Decimal(so_far)


def test_a_taken_port_is_told_in_one_line(lab: CloudLab) -> None:
    command = [sys.executable, "-m", "optiinfra_dagster.lab", "--port", lab.url.rpartition(":")[2]]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("The cloud lab cannot listen on port")
    assert ended.stderr.count("\n") == 1
