"""A Prometheus that knows machines of any cloud: nothing here is of Vultr."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from optiinfra_dagster.config.secrets import Endpoint, Reference
from optiinfra_dagster.lab.server import Request, Response, Server
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.prometheus import (
    Machines,
    Prometheus,
    PrometheusConfig,
    PrometheusResult,
    read_metrics,
)
from optiinfra_dagster.providers.prometheus_exporters import BLACKBOX_EXPORTER, NODE_EXPORTER, OPEN_TELEMETRY

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
ARN = "arn:aws:ec2:us-east-1:123456789012:instance/i-0abc"


def machine(resource_id: str, **facts: str) -> Resource:
    return Resource(
        account_id="123456789012",
        region="us-east-1",
        kind="ec2:instance",
        resource_id=resource_id,
        resource_name="web",
        resource_type=ResourceType.COMPUTE,
        status=Status.RUNNING,
        cloud_status="running",
        metadata=dict(facts),
    )


@pytest.mark.parametrize(
    "labels",
    [
        {"instance_id": "i-0abc"},
        {"instance_id": "I-0ABC"},
        {"instance": "10.1.2.3:9100"},
        {"instance": "https://web:9100/metrics"},
        {"hostname": "WEB"},
        {"host_name": "ip-10-1-2-3"},  # as EC2 names its machines, by their address or their id
        {"instance": "ip-10-1-2-3.ec2.internal:9100"},
        {"host_name": "ip-10-1-2-3.eu-west-1.compute.internal"},
        {"host_name": "i-0abc.eu-west-1.compute.internal"},
        {"instance": "web.europe-west1-b.c.acme-prod.internal:9100"},  # as Compute Engine does
        {"host_name": "web.c.acme-prod.internal"},
    ],
)
def test_a_machine_is_known_by_its_id_its_address_or_its_name(labels: dict[str, str]) -> None:
    owner = Machines([machine(ARN, private_ip="10.1.2.3")]).owner(labels)

    assert owner is not None
    assert owner[1].resource_id == ARN


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("orders.c9akciq32rny.eu-west-1.rds.amazonaws.com:5432", "orders"),
        ("orders.cluster-c9akciq32rny.eu-west-1.rds.amazonaws.com:5432", "orders"),
        ("papers.cluster-c9akciq32rny.eu-west-1.docdb.amazonaws.com:27017", "papers"),
        ("acme-pg.postgres.database.azure.com:5432", "acme-pg"),
        ("acme-sql.database.windows.net:1433", "acme-sql"),
        ("acme-cache.redis.cache.windows.net:6380", "acme-cache"),
        (
            "vultr-prod-43b4c774-5dff-4ac0-a01f-78a23c2205b5-vultr-prod-3d5a.vultrdb.com:16751",
            "43b4c774-5dff-4ac0-a01f-78a23c2205b5",
        ),
    ],
)
def test_a_database_is_known_by_the_host_that_its_clients_connect_to(target: str, name: str) -> None:
    database = replace(machine(f"x:db/{name}"), resource_name=name, resource_type=ResourceType.DATABASE)

    owner = Machines([database, machine(ARN)]).owner({"instance": target, "job": "blackbox"})

    assert owner is not None
    assert owner[1] is database


@pytest.mark.parametrize(
    "name",
    ["web.acme.example", "ip-10-1-2-3.acme.example", "ip-10-1-2-999", "web.internal", "web.c.internal", "10-1-2-3"],
)
def test_a_name_of_somebody_elses_is_no_machine_of_ours(name: str) -> None:
    assert (
        Machines([machine(ARN, private_ip="10.1.2.3")]).owner({"instance": f"{name}:9100", "host_name": name}) is None
    )


def test_labels_of_a_cloud_of_its_own_may_be_added() -> None:
    machines = Machines([machine("m-1")], labels=("my_cloud_id",))

    assert machines.owner({"my_cloud_id": "m-1"}) is not None
    assert machines.owner({"instance_id": "m-1"}) is None


def test_the_rows_of_an_exporter_are_for_any_kind_and_keep_the_labels_that_name_a_machine() -> None:
    row, _uptime = BLACKBOX_EXPORTER.metrics("aws", "elbv2:application")

    assert (row.provider, row.kind, row.namespace) == ("aws", "elbv2:application", "blackbox_exporter")
    assert row.api_metric == (
        "avg by (instance_id, host_id, instance, hostname, host_name, job)"
        " (avg_over_time((probe_duration_seconds and probe_success == 1)[5m:1m]))"
    )
    for exporter in (NODE_EXPORTER, OPEN_TELEMETRY):
        for metric in exporter.metrics("aws", "ec2:instance"):
            assert "disks}" not in metric.api_metric
            assert "nics}" not in metric.api_metric


def test_points_of_a_machine_are_read_with_the_token_of_the_config() -> None:
    requests: list[Request] = []
    first = int(START.timestamp()) + 300
    series = {"metric": {"instance_id": "i-0abc"}, "values": [[first, "1.5"], [first + 300, "2.5"]]}

    def answer(request: Request) -> Response:
        requests.append(request)
        return Response(
            200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": [series]}}).encode()
        )

    server = Server(answer)
    server.start()
    try:
        config = PrometheusConfig(f"{server.url}/api/v1/", "planted-token")
        cpu = NODE_EXPORTER.metrics("aws", "ec2:instance")[:1]
        with Prometheus(config) as prometheus:
            asked = [(cpu, [machine(ARN)])]
            end = START + timedelta(minutes=10)
            result = read_metrics(prometheus, Machines([machine(ARN)]), asked, START, end, Meter())
    finally:
        server.stop()

    assert "planted-token" not in repr(config)
    assert [request.path for request in requests] == ["/api/v1/query_range"]
    assert requests[0].headers.get("Authorization") == "Bearer planted-token"
    assert result.failures == {}
    assert result.known == {"cpu_utilization": {ARN}}
    assert [one.values for one in result.series] == [[1.5, 2.5]]


def answered_with(body: object) -> PrometheusResult:
    """What becomes of an answer to the question for the CPU of one machine."""
    server = Server(lambda _request: Response(200, json.dumps(body).encode()))
    server.start()
    try:
        cpu = NODE_EXPORTER.metrics("aws", "ec2:instance")[:1]
        with Prometheus(PrometheusConfig(server.url)) as prometheus:
            asked = [(cpu, [machine(ARN)])]
            return read_metrics(prometheus, Machines([machine(ARN)]), asked, START, START + PERIOD, Meter())
    finally:
        server.stop()


PERIOD = timedelta(minutes=5)
SERIES = {"metric": {"instance_id": "i-0abc"}, "values": [[int((START + PERIOD).timestamp()), "1.5"]]}


@pytest.mark.parametrize(
    "remark",
    [
        {"isPartial": True},  # VictoriaMetrics, where a part of its storage does not answer
        {"warnings": ["fetch series for {} failed: store 2 is not reachable"]},  # Thanos
    ],
)
def test_an_answer_that_is_not_whole_says_so(remark: dict[str, object]) -> None:
    data = {"resultType": "matrix", "result": [SERIES]}

    result = answered_with({"status": "success", "data": data, **remark})

    (failure,) = result.failures.values()
    assert failure.cause is Cause.INCOMPLETE
    assert [one.values for one in result.series] == [[1.5]]


@pytest.mark.parametrize(
    "more", [{}, {"isPartial": False}, {"warnings": []}, {"warnings": None}, {"infos": ["PromQL info: x"]}]
)
def test_an_answer_that_is_whole_has_no_failure(more: dict[str, object]) -> None:
    data = {"resultType": "matrix", "result": [SERIES]}

    assert answered_with({"status": "success", "data": data, **more}).failures == {}


def test_no_series_at_all_may_be_null() -> None:
    result = answered_with({"status": "success", "data": {"resultType": "matrix", "result": None}})

    assert (result.series, result.failures) == ([], {})


def test_a_config_is_looked_up_in_the_fields_of_an_account(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", " abc \n")
    url = Endpoint(url="https://metrics.example")

    assert PrometheusConfig.look_up(url, None) == PrometheusConfig("https://metrics.example")
    assert PrometheusConfig.look_up(url, Reference(env="TOKEN")) == PrometheusConfig("https://metrics.example", "abc")
    monkeypatch.setenv("TOKEN", "not a token")
    with pytest.raises(CloudError) as error:
        PrometheusConfig.look_up(url, Reference(env="TOKEN"))
    assert error.value.cause is Cause.PERMISSION


def test_the_module_loads_nothing_of_vultr() -> None:
    code = (
        "import sys, optiinfra_dagster.providers.prometheus;"
        "assert not [name for name in sys.modules if name.startswith('optiinfra_dagster.providers.vultr')]"
    )

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
