"""What a customer's own Prometheus adds, tried on all clouds alike: the demo world, and a stand-in of a Prometheus."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import pytest

from optiinfra_dagster.cli.check import _check_account as check_account
from optiinfra_dagster.config.secrets import Endpoint, Reference
from optiinfra_dagster.config.settings import DEMO_CUSTOMERS
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.lab.server import Request, Response, Server
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult
from optiinfra_dagster.providers import prometheus, prometheus_figures
from optiinfra_dagster.providers.catalog import PROMETHEUS_METRICS, metrics_for
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.providers.figures import coverage_of_what_is_not_offered
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers

if TYPE_CHECKING:
    from pathlib import Path

    from optiinfra_dagster.config.accounts import Account

CLOUDS = pytest.mark.parametrize("cloud", PROVIDERS)
EXPORTER_OF = {metric.api_metric: (metric.namespace, metric.name) for metric in PROMETHEUS_METRICS}
WINDOW = windows.newest_collectable(datetime.now(UTC), timedelta(minutes=5))
TOKEN = "planted-prometheus-token"


class StandIn:
    """A Prometheus that answers each question of an exporter with one series for each of its machines.

    `machines` are the labels that name them; `exporters` are those that write to it. Every value is `value`.
    """

    def __init__(
        self, machines: Sequence[Mapping[str, str]], *exporters: str, value: float = 42.0, token: str = ""
    ) -> None:
        self.machines, self.exporters, self.value, self.token = machines, exporters, value, token
        self.asked: list[str] = []
        self.status = 200

    def answer(self, request: Request) -> Response:
        query = {name: values[-1] for name, values in parse_qs(request.query).items()}
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return Response(401, b"Unauthorized")
        if self.status != 200:
            return Response(self.status, b"no")
        self.asked.append(query["query"])
        exporter, _ = EXPORTER_OF.get(query["query"], ("", ""))
        times = range(int(query["start"]), int(query["end"]) + 1, int(query["step"]))
        series = [
            {"metric": dict(labels), "values": [[moment, str(self.value)] for moment in times]}
            for labels in (self.machines if exporter in self.exporters else [])
        ]
        return Response(
            200, json.dumps({"status": "success", "data": {"resultType": "matrix", "result": series}}).encode()
        )


@contextmanager
def served(stand_in: StandIn) -> Iterator[str]:
    server = Server(stand_in.answer)
    server.start()
    try:
        yield server.url
    finally:
        server.stop()


@pytest.fixture(scope="module")
def lab() -> Iterator[CloudLab]:
    with CloudLab() as lab, pytest.MonkeyPatch.context() as patch:
        for name, value in {**lab.env, "PROMETHEUS_TOKEN": TOKEN}.items():
            patch.setenv(name, value)
        yield lab


@pytest.fixture(autouse=True)
def calm(lab: CloudLab, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(prometheus, "RETRY_SECONDS", 0.001)
    yield
    lab.control.reset()


_LISTED: dict[str, list[Resource]] = {}


def accounts_of(cloud: str, url: str | None = None, token: str | None = None) -> list[Account]:
    """The accounts of the demo's customer, which all name one Prometheus."""
    customer = next(one for one in load_customers(DEMO_CUSTOMERS) if one.accounts(cloud))
    fields = {
        "prometheus_url": None if url is None else Endpoint(url=url),
        "prometheus_token": None if token is None else Reference(env=token),
    }
    return [one.model_copy(update=fields) for one in customer.accounts(cloud)]


def resources_of(cloud: str) -> list[Resource]:
    if cloud not in _LISTED:
        # Azure is asked for addresses only where a Prometheus needs them; the inventory calls none.
        accounts = accounts_of(cloud, "http://127.0.0.1:9" if cloud == "azure" else None)
        found = PROVIDERS[cloud].inventory("acme", accounts, Meter())
        assert found.problems == []
        _LISTED[cloud] = found.resources
    return _LISTED[cloud]


def machines_of(cloud: str, status: Status = Status.RUNNING) -> list[Resource]:
    return [one for one in resources_of(cloud) if one.resource_type is ResourceType.COMPUTE and one.status is status]


def by_id(resource: Resource) -> dict[str, str]:
    return {"instance": "somewhere:9100", "instance_id": resource.resource_id.rpartition("/")[2], "job": "node"}


def collect(
    cloud: str, accounts: list[Account], tmp_path: Path, resources: list[Resource] | None = None, **more: Any
) -> MetricsResult:
    """What a collection of the newest window has: the cloud's own, and what the Prometheus adds."""
    provider = PROVIDERS[cloud]
    found = resources_of(cloud) if resources is None else resources
    asked = {"present": WINDOW, "listed": WINDOW, "memory": DayCache(tmp_path), **more}
    request = MetricsRequest("acme", accounts, found, WINDOW, WINDOW + windows.WINDOW, **asked)
    answer = provider.metrics(request, Meter())
    prometheus_figures.add_figures(cloud, provider.kinds, request, answer, Meter())
    answer.coverage += coverage_of_what_is_not_offered(provider.kinds, found, answer.coverage)
    counted = Counter((one.resource_id, one.metric_name) for one in answer.coverage)
    assert max(counted.values()) == 1
    return answer


def points(answer: MetricsResult) -> set[tuple[tuple[str, str, str, int], float]]:
    return {
        ((one.resource.resource_id, one.metric.name, one.statistic, moment), value)
        for one in answer.series
        for moment, value in zip(one.timestamps, one.values, strict=True)
    }


def states(answer: MetricsResult, resource: Resource) -> dict[str, tuple[CoverageState, str]]:
    return {
        one.metric_name: (one.state, one.reason) for one in answer.coverage if one.resource_id == resource.resource_id
    }


@CLOUDS
def test_a_machine_of_every_cloud_gets_what_its_cloud_does_not_measure(cloud: str, tmp_path: Path) -> None:
    machines = machines_of(cloud)
    assert machines
    stand_in = StandIn([by_id(one) for one in machines], "node_exporter", "blackbox_exporter")
    with served(stand_in) as url:
        answer = collect(cloud, accounts_of(cloud, url), tmp_path)

    assert answer.problems == []
    for machine in machines:
        told = states(answer, machine)
        kinds_own = {one.name for one in metrics_for(cloud, machine.kind) if one.period <= 900}
        for name in ("cpu_utilization", "memory_utilization", "disk_read", "network_in", "uptime", "disk_utilization"):
            assert told[name][0] is CoverageState.COLLECTED, (machine.resource_name, name, told[name])
            assert name in kinds_own or "by node_exporter" in told[name][1] or "by blackbox_exporter" in told[name][1]
        assert told["response_time"] == (
            CoverageState.COLLECTED,
            "from the customer's Prometheus, by blackbox_exporter",
        )
    keys = Counter(key for key, _ in points(answer))
    assert max(keys.values()) == 1


@CLOUDS
def test_a_clouds_own_figure_wins(cloud: str, tmp_path: Path) -> None:
    machines = machines_of(cloud)
    stand_in = StandIn([by_id(one) for one in machines], "node_exporter", "opentelemetry", "blackbox_exporter")
    plain = collect(cloud, accounts_of(cloud), tmp_path)
    own = {(one.resource_id, one.metric_name) for one in plain.coverage if one.state is CoverageState.COLLECTED}
    with served(stand_in) as url:
        answer = collect(cloud, accounts_of(cloud, url), tmp_path)

    names = {metric.namespace for metric in PROMETHEUS_METRICS}
    added = {(one.resource.resource_id, one.metric.name): one for one in answer.series if one.metric.namespace in names}
    assert added
    by_the_day = {
        (one.resource.resource_id, one.metric.name) for one in plain.series if one.statistic == "daily_average"
    }
    assert added.keys() & own <= by_the_day
    assert {one.metric.namespace for one in added.values()} == {"node_exporter", "blackbox_exporter"}
    assert points(plain) == points(answer) - points(MetricsResult(list(added.values())))


@CLOUDS
def test_what_no_exporter_knows_is_told_with_a_way_to_get_it(cloud: str, tmp_path: Path) -> None:
    with served(StandIn([{"instance": "another:9100", "job": "node"}], "node_exporter")) as url:
        answer = collect(cloud, accounts_of(cloud, url), tmp_path)

    for machine in machines_of(cloud):
        state, reason = states(answer, machine)["response_time"]
        assert (state, reason) == (CoverageState.AGENT_MISSING, prometheus_figures.NO_SERIES)
        assert all(reason for state, reason in states(answer, machine).values() if state != "collected")


@CLOUDS
def test_without_a_prometheus_what_is_not_measured_is_told_with_the_document(cloud: str, tmp_path: Path) -> None:
    answer = collect(cloud, accounts_of(cloud), tmp_path)

    for machine in machines_of(cloud):
        told = states(answer, machine)
        for figure, document in PROVIDERS[cloud].kinds[machine.kind].not_offered.items():
            state, reason = told[figure]
            assert state is CoverageState.NOT_OFFERED
            assert document in reason
            assert "give prometheus_url" in reason


@CLOUDS
def test_a_prometheus_that_refuses_costs_only_what_it_alone_could_tell(cloud: str, tmp_path: Path) -> None:
    plain = collect(cloud, accounts_of(cloud), tmp_path)
    with served(StandIn([], token="another")) as url:
        answer = collect(cloud, accounts_of(cloud, url, "PROMETHEUS_TOKEN"), tmp_path)

    (problem,) = answer.problems
    assert (problem.cause, problem.account_id) == (Cause.PERMISSION, machines_of(cloud)[0].account_id)
    assert "Check prometheus_token" in problem.message
    assert TOKEN not in problem.message
    for machine in machines_of(cloud):
        assert states(answer, machine)["response_time"][0] is CoverageState.NO_PERMISSION
    assert points(answer) == points(plain)


@CLOUDS
def test_a_machine_that_somebody_stopped_is_not_down(cloud: str, tmp_path: Path) -> None:
    (machine, *_) = machines_of(cloud)
    stopped = replace(machine, status=Status.STOPPED, cloud_status="stopped")
    with served(StandIn([by_id(machine)], "blackbox_exporter", value=0.0)) as url:
        answer = collect(cloud, accounts_of(cloud, url), tmp_path, [stopped])

    assert not [one for one in answer.series if one.metric.namespace == "blackbox_exporter"]


def test_what_the_cloud_failed_to_tell_is_not_taken_from_elsewhere(tmp_path: Path, lab: CloudLab) -> None:
    """The next attempt brings the cloud's own points: a series is not now of one source and now of the other."""
    machines = machines_of("azure")
    lab.control.add_faults({"action": "deny"})
    with served(StandIn([by_id(one) for one in machines], "node_exporter", "blackbox_exporter")) as url:
        answer = collect("azure", accounts_of("azure", url), tmp_path)

    assert answer.problems
    for machine in machines:
        told = states(answer, machine)
        assert told["cpu_utilization"][0] in {CoverageState.NO_PERMISSION, CoverageState.ERROR}
        assert told["response_time"][0] is CoverageState.COLLECTED


def test_accounts_that_name_one_prometheus_ask_it_once_and_others_are_kept_apart(tmp_path: Path) -> None:
    """Private networks use the same addresses again: a Prometheus knows the machines of its own accounts only."""
    (machine, *_) = machines_of("vultr")
    (account, *_) = accounts_of("vultr")
    names = ("A_KEY", "B_KEY", "C_KEY")
    found = [
        replace(
            machine,
            account_id=name,
            resource_id=f"id-{name}",
            resource_name=f"web-{name}",
            metadata={"internal_ip": f"10.0.0.{n}"},
        )
        for n, name in ((1, "A_KEY"), (2, "B_KEY"), (1, "C_KEY"))
    ]
    at = [{"instance": f"10.0.0.{n}:9100", "job": "node"} for n in (1, 2)]
    first, second = StandIn(at, "node_exporter", value=1.0), StandIn(at, "node_exporter", value=2.0)
    with served(first) as one, served(second) as other, pytest.MonkeyPatch.context() as patch:
        for name in names:
            patch.setenv(name, "acme-vultr-key")
        accounts = [
            account.model_copy(update={"api_key": Reference(env=name), "prometheus_url": Endpoint(url=url)})
            for name, url in zip(names, (one, one, other), strict=True)
        ]
        answer = collect("vultr", accounts, tmp_path, found, present=None, listed=None)

    values = {(one.resource.account_id, value) for one in answer.series for value in one.values}
    assert values == {("A_KEY", 1.0), ("B_KEY", 1.0), ("C_KEY", 2.0)}
    assert max(Counter(first.asked).values()) == 1
    assert len(first.asked) == 12  # of node_exporter, which knows both machines, and of a probe


@pytest.mark.parametrize(
    ("cloud", "kind", "fact", "target"),
    [
        ("aws", "ec2:instance", "private_ip", "{}:9115"),
        ("aws", "elbv2:application", "dns_name", "https://{}/health"),
        ("aws", "rds:db", "", "{}:5432"),
        ("gcp", "gcp:instance", "private_ip", "{}:22"),
        ("gcp", "gcp:instance", "instance_id", "{}"),
        ("azure", "azure:vm", "", "{}:22"),
        ("azure", "azure:vm", "private_ip", "{}:9115"),
        ("vultr", "vultr:load_balancer", "main_ip", "http://{}"),
    ],
)
def test_a_probe_is_known_by_its_target(cloud: str, kind: str, fact: str, target: str, tmp_path: Path) -> None:
    """As each cloud's service discovery of Prometheus names machines: mostly by the address in their network."""
    one = next(one for one in resources_of(cloud) if one.kind == kind and one.status is not Status.STOPPED)
    named = target.format(one.metadata[fact] if fact else one.resource_name)
    with served(StandIn([{"instance": named, "job": "blackbox"}], "blackbox_exporter")) as url:
        answer = collect(cloud, accounts_of(cloud, url), tmp_path)

    told = {series.resource.resource_id for series in answer.series if series.metric.namespace == "blackbox_exporter"}
    assert told == {one.resource_id}


def test_a_subscription_that_is_written_in_capitals_has_its_prometheus(tmp_path: Path) -> None:
    """Azure writes ids in any case, and so do people."""
    (machine, *_) = machines_of("azure")
    with served(StandIn([by_id(machine)], "blackbox_exporter")) as url:
        accounts = [one.model_copy(update={"subscription_id": one.name.upper()}) for one in accounts_of("azure", url)]
        answer = collect("azure", accounts, tmp_path, [machine])

    assert states(answer, machine)["response_time"][0] is CoverageState.COLLECTED


def test_a_window_of_the_past_is_read_too(tmp_path: Path) -> None:
    (machine, *_) = machines_of("vultr")
    with served(StandIn([by_id(machine)], "node_exporter")) as url:
        answer = collect("vultr", accounts_of("vultr", url), tmp_path, [machine], present=None)

    assert states(answer, machine)["cpu_utilization"][0] is CoverageState.COLLECTED


# --- The check of an account ------------------------------------------------------------------------------------------


@CLOUDS
def test_a_check_reads_a_point(cloud: str) -> None:
    stand_in = StandIn([], token=TOKEN)
    with served(stand_in) as url:
        assert list(prometheus_figures.check(accounts_of(cloud, url, "PROMETHEUS_TOKEN")[0])) == []
        (problem,) = prometheus_figures.check(accounts_of(cloud, url)[0])
    assert stand_in.asked == ["vector(1)"]
    assert problem.cause is Cause.PERMISSION
    assert "Check prometheus_token" in problem.message


@CLOUDS
def test_a_prometheus_that_does_not_answer_is_a_problem(cloud: str) -> None:
    began = time.monotonic()
    (problem,) = prometheus_figures.check(accounts_of(cloud, "http://127.0.0.1:9")[0])

    assert problem.cause is Cause.UNAVAILABLE
    assert "Prometheus at 127.0.0.1" in problem.message
    assert time.monotonic() - began < 5


@CLOUDS
def test_checking_customers_checks_their_prometheus_too(cloud: str) -> None:
    customer = next(one for one in load_customers(DEMO_CUSTOMERS) if one.accounts(cloud))
    (account, *_) = accounts_of(cloud, "http://127.0.0.1:9")

    _, _, problems, _ = check_account(customer, PROVIDERS[cloud], account)
    without = customer.model_copy(update={"families": ("resource",)})
    _, _, nothing, _ = check_account(without, PROVIDERS[cloud], account)

    assert ["Prometheus at 127.0.0.1" in problem for problem in problems] == [True]
    assert nothing == []


def test_an_account_without_a_prometheus_is_not_checked() -> None:
    assert list(prometheus_figures.check(accounts_of("aws")[0])) == []
