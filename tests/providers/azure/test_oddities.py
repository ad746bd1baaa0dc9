"""What clouds do that no document leads one to expect: a function for each oddity, of the same name on every cloud."""

from __future__ import annotations

import json
import re
import socket
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.transport import RequestsTransport

from optiinfra_dagster.collection.outcome import all_permanent
from optiinfra_dagster.lab.azure.services import FLEET_KINDS
from optiinfra_dagster.lab.server import Request, Response, Server, as_json
from optiinfra_dagster.model.errors import Cause
from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult
from optiinfra_dagster.providers.azure import client, metrics
from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.azure.inventory import collect
from optiinfra_dagster.providers.azure.services import KINDS
from tests.providers.azure.conftest import OTHER, SUBSCRIPTION, StartLab, account, fleet

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.model.inventory import Inventory, Resource

DOES_NOT_APPLY: dict[str, str] = {
    "agent_dimensions_change": (
        "Azure's hosts measure the memory and the disks of machines themselves, so that no agent is asked for anything."
    ),
}
"""Oddities that there cannot be on Azure, and why."""

START, END = datetime(2026, 11, 20, 11, 30, tzinfo=UTC), datetime(2026, 11, 20, 12, 0, tzinfo=UTC)


def listed(lab: CloudLab) -> Inventory:
    return collect("acme", [account(lab)], Meter())


def read(resources: list[Resource], *accounts: AzureAccount, meter: Meter | None = None) -> MetricsResult:
    return metrics.collect(MetricsRequest("acme", accounts, resources, START, END), meter or Meter())


# --- Replaced, and gone -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["azure:vm", "azure:vmss", "azure:disk", "azure:sql_pool", "azure:load_balancer"])
def test_replaced_machine(start_lab: StartLab, kind: str) -> None:
    """The id is the same, the own id another; what was measured under the name before it is not its own."""
    made, again = START - timedelta(days=9), START + timedelta(minutes=12)
    before = start_lab(fleet(kind, name="web", created=made.isoformat(), disks=0, state="running"))
    after = start_lab(
        fleet(kind, name="web", created=again.isoformat(), replaces=made.isoformat(), disks=0, state="running")
    )

    (old,), (new,), (same,) = (listed(lab).resources for lab in (before, after, after))

    assert (old.resource_id, old.resource_name) == (new.resource_id, new.resource_name)
    assert old.instance_uid
    assert new.instance_uid == same.instance_uid != old.instance_uid

    if kind in {"azure:vm", "azure:vmss"}:
        published = after.azure.metrics.expected(new.resource_id, "Percentage CPU", "Average", START, END)
        (own,) = [one for one in read([new], account(after)).series if one.metric.name == "cpu_utilization"]
        assert min(published) == START.timestamp()
        assert min(own.timestamps) == START.timestamp() + 900  # the first whole period of its own
        assert dict(zip(own.timestamps, own.values, strict=True)) == pytest.approx(
            {at: value for at, value in published.items() if at >= again.timestamp()}
        )


def test_terminated_machine(start_lab: StartLab) -> None:
    """Resource Graph lists none; one that went since it was listed costs itself only, and is no problem."""
    there, gone = start_lab(fleet("azure:vm", 3, disks=0)), start_lab(fleet("azure:vm", 2, disks=0))
    resources = listed(there).resources

    assert {one.status for one in resources} == {Status.RUNNING}
    assert len(listed(gone).resources) == 2
    result = read(resources, account(gone))

    assert result.problems == []
    assert {one.resource.resource_name for one in result.series} == {"vm-001", "vm-002"}
    assert {one.state for one in result.coverage if one.resource_id == resources[2].resource_id} == {
        CoverageState.NOT_OFFERED
    }


# --- Hosts and sessions -----------------------------------------------------------------------------------------------


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port


def many_kinds(start_lab: StartLab) -> tuple[CloudLab, list[Resource]]:
    """Two subscriptions with eight calls each, of several kinds and of metrics of whole hours, in one region."""
    kinds = ("azure:vm", "azure:redis", "azure:postgresql", "azure:load_balancer", "azure:storage_account")
    fleets = [fleet(kind, 60 if kind == "azure:vm" else 2, disks=0) for kind in kinds]
    lab = start_lab(*fleets, others=({"id": OTHER, "fleets": fleets},))
    return lab, collect("acme", [account(lab), account(lab, OTHER)], Meter()).resources


@pytest.mark.parametrize("silence", ["nobody listens", "it hangs up"])
def test_unreachable_host(start_lab: StartLab, waits: list[float], silence: str) -> None:
    """It is given up once, not once for each kind, group of metrics and subscription, and gone round."""
    lab, resources = many_kinds(start_lab)
    mute = Server(lambda _request: None)
    mute.start()
    url = mute.url if silence == "it hangs up" else f"http://127.0.0.1:{closed_port()}"
    meter = Meter()

    result = read(
        resources, *(account(lab, one, metrics_endpoint_url=url) for one in (SUBSCRIPTION, OTHER)), meter=meter
    )
    mute.stop()

    assert result.problems == []
    assert {one.state for one in result.coverage} == {CoverageState.COLLECTED, CoverageState.NOT_OFFERED}
    assert meter.calls["getBatch"] == (3 if silence == "it hangs up" else 2)  # the attempts of one call
    assert meter.calls["ListAtSubscriptionScope"] == 2 * 5
    assert sum(waits) < 10


def test_unreachable_host_and_resource_manager(start_lab: StartLab, waits: list[float]) -> None:
    """Nor is Resource Manager asked again and again."""
    lab, resources = many_kinds(start_lab)
    meter = Meter()
    nobody = f"http://127.0.0.1:{closed_port()}"

    result = read(resources, *(account(lab, one, endpoint_url=nobody) for one in (SUBSCRIPTION, OTHER)), meter=meter)

    assert {problem.cause for problem in result.problems} == {Cause.UNAVAILABLE}
    assert meter.calls == {"getBatch": 2, "ListAtSubscriptionScope": 2}
    assert sum(waits) < 10


class Login:
    """Stands for azure-identity, which would not speak to a lab: each login remembers its first token, as there."""

    secrets: ClassVar[list[str]] = []
    refused: ClassVar[set[str]] = set()
    count: ClassVar[int] = 0

    def __init__(self, secret: str) -> None:
        Login.secrets.append(secret)
        self._secret, self._token = secret, ""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        if self._secret in Login.refused:
            raise ClientAuthenticationError(f"AADSTS7000222: The client secret {self._secret} has expired.")
        if not self._token:
            Login.count += 1
            self._token = f"token-{Login.count}"
        return AccessToken(self._token, 2**40)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Callable[[CloudLab, Callable[[int, str], bool]], AzureAccount]:
    """Puts a guard before a lab that lets a request pass by its number and its token; gives the account that enters."""
    monkeypatch.setattr(Login, "secrets", [])
    monkeypatch.setattr(Login, "refused", set())
    monkeypatch.setattr(Login, "count", 0)
    monkeypatch.setattr(client, "_PRINCIPALS", {})
    monkeypatch.setattr(client, "credential_of", lambda _account, secret, _authority: Login(secret))
    monkeypatch.setenv("AZ_TEST_SECRET", "hunter2-secret")
    sent = RequestsTransport.send

    def guarded(lab: CloudLab, lets_pass: Callable[[int, str], bool]) -> AzureAccount:
        def to_lab(self: Any, request: Any, **options: Any) -> Any:
            request.url = re.sub(r"https://[a-z.]+\.azure\.com", lab.url, request.url)
            return sent(self, request, **options)

        answer, seen = lab.azure.answer, Counter[str]()

        def answer_some(request: Request) -> Response | None:
            headers = {name.lower(): value for name, value in request.headers.items()}
            token = headers.get("authorization", "").removeprefix("Bearer ")
            seen["requests"] += 1
            if token and lets_pass(seen["requests"], token):
                return answer(request)
            return as_json(401, {"error": {"code": "ExpiredAuthenticationToken", "message": "It has expired."}})

        monkeypatch.setattr(RequestsTransport, "send", to_lab)
        monkeypatch.setattr(lab.azure, "answer", answer_some)
        way_in = {"tenant_id": OTHER, "client_id": OTHER, "client_secret": {"env": "AZ_TEST_SECRET"}}
        return AzureAccount.model_validate({"subscription_id": SUBSCRIPTION, **way_in})

    return guarded


@pytest.mark.parametrize("revoked_at", [1, 2, 3])
def test_session_refused(start_lab: StartLab, gate: Any, revoked_at: int) -> None:
    """A token that is revoked before its time, at any page: another login, and the call is made once more."""
    lab = start_lab(fleet("azure:disk", 2500))
    entering = gate(lab, lambda number, token: token != "token-1" or number < revoked_at)

    inventory = collect("acme", [entering], Meter())

    assert inventory.problems == []
    assert len(inventory.resources) == 2500
    assert Login.count == 2


def test_session_refused_to_many_calls_at_once(start_lab: StartLab, gate: Any) -> None:
    lab = start_lab(fleet("azure:vm", 500, disks=0))
    resources = listed(lab).resources
    entering = gate(lab, lambda number, token: token != "token-1" or number < 4)

    result = read(resources, entering)

    assert result.problems == []
    assert {one.state for one in result.coverage} == {CoverageState.COLLECTED}
    assert Login.count == 2  # one login more, however many calls were refused


def test_session_refused_after_a_secret_was_rotated(
    start_lab: StartLab, gate: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_lab(fleet("azure:disk", 1500))

    def lets_pass(number: int, token: str) -> bool:
        if number == 2 and token == "token-1":  # while the second page is asked for
            monkeypatch.setenv("AZ_TEST_SECRET", "rotated-secret")
            Login.refused.add("hunter2-secret")
            return False
        return True

    inventory = collect("acme", [gate(lab, lets_pass)], Meter())

    assert inventory.problems == []
    assert len(inventory.resources) == 1500
    assert Login.secrets == ["hunter2-secret", "rotated-secret"]


def test_session_refused_again_is_not_permanent(start_lab: StartLab, gate: Any) -> None:
    lab = start_lab(fleet("azure:vm", disks=0))
    resources = listed(lab).resources
    entering = gate(lab, lambda _number, _token: False)

    of_listing = collect("acme", [entering], Meter()).problems
    of_metrics = read(resources, entering).problems

    for problems in (of_listing, of_metrics):
        (problem,) = problems
        assert (problem.account_id, problem.cause) == (SUBSCRIPTION, Cause.UNAVAILABLE)
        assert "refuses the session, and the one that was opened in its place" in problem.message
        assert "hunter2" not in problem.message
        assert not all_permanent(problems)


def test_session_refused_for_a_wrong_secret_is_permanent(start_lab: StartLab, gate: Any) -> None:
    entering = gate(start_lab(fleet("azure:vm")), lambda _number, _token: True)
    Login.refused.add("hunter2-secret")

    problems = collect("acme", [entering], Meter()).problems

    assert [(problem.cause, "create a new one" in problem.message) for problem in problems] == [(Cause.AUTH, True)]
    assert "hunter2" not in problems[0].message
    assert all_permanent(problems)
    assert len(Login.secrets) == 2  # the secret was read again


# --- Listings ---------------------------------------------------------------------------------------------------------


def test_tags_not_in_listing(start_lab: StartLab) -> None:
    """There is no such kind: the listing shows the tags of each."""
    lab = start_lab(*(fleet(kind, tags={"env": "prod", "Owner": "web"}) for kind in FLEET_KINDS))

    resources = listed(lab).resources

    assert {one.kind for one in resources} == set(KINDS)
    assert {json.dumps(one.tags) for one in resources} == {json.dumps({"env": "prod", "Owner": "web"})}


TELLING = [kind for kind in FLEET_KINDS if kind not in {
    # They tell no state, only that their last change came through.
    "azure:vmss", "azure:load_balancer", "azure:vnet", "azure:nat_gateway", "azure:vnet_gateway", "azure:firewall",
    "azure:public_ip", "azure:snapshot", "azure:image", "azure:redis", "azure:cosmosdb",
    "azure:netapp_volume", "azure:openshift", "azure:openshift_v3", "azure:front_door_classic",
}]  # fmt: skip


@pytest.mark.parametrize("kind", TELLING)
def test_unknown_state(start_lab: StartLab, kind: str) -> None:
    """A word that nobody has heard of is neither running nor stopped, and is kept as it is."""
    lab = start_lab(fleet(kind, state="Hovering", disks=0))

    inventory = listed(lab)

    assert inventory.problems == []
    assert {(one.status, one.cloud_status) for one in inventory.resources} == {(Status.UNKNOWN, "Hovering")}


def rows(*names: str) -> list[dict[str, Any]]:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/RG/providers/Microsoft.Compute/disks"
    return [{"id": f"{group}/{name}", "name": name, "type": "microsoft.compute/disks"} for name in names]


@pytest.mark.parametrize("repeated", [1, 99])
def test_doubled_page(repeated: int) -> None:
    """A page that comes twice costs nothing but a call; one that comes for ever ends as an incomplete listing."""
    asked = SimpleNamespace(pages=0)

    def answer(_request: Request) -> Response:
        asked.pages += 1
        again = asked.pages - 1 <= repeated
        names = ("a", "b") if again else ("b", "c")
        token = {"$skipToken": "next" if repeated > 1 else f"token-{asked.pages}"} if again else {}
        body = {"totalRecords": 3, "count": 2, "data": rows(*names), "resultTruncated": "false", **token}
        return as_json(200, body)

    server = Server(answer)
    server.start()
    there = AzureAccount.model_validate({"subscription_id": SUBSCRIPTION, "endpoint_url": server.url})

    inventory = collect("acme", [there], Meter())
    server.stop()

    names = [one.resource_name for one in inventory.resources]
    if repeated == 1:
        assert (names, inventory.problems) == (["a", "b", "c"], [])
    else:
        assert (names, [problem.cause for problem in inventory.problems]) == (["a", "b"], [Cause.INCOMPLETE])
        assert asked.pages < 5


def test_doubled_page_in_place_of_another_is_no_whole_listing() -> None:
    """As many rows as there are, and half of them twice: what did not come must not pass for deleted."""
    pages = iter([{"$skipToken": "next"}, {}])

    def answer(_request: Request) -> Response:
        return as_json(200, {"totalRecords": 4, "count": 2, "data": rows("a", "b"), **next(pages)})

    server = Server(answer)
    server.start()
    there = AzureAccount.model_validate({"subscription_id": SUBSCRIPTION, "endpoint_url": server.url})

    inventory = collect("acme", [there], Meter())
    server.stop()

    assert [one.resource_name for one in inventory.resources] == ["a", "b"]
    (problem,) = inventory.problems
    assert problem.cause is Cause.INCOMPLETE
    assert "2 of 4 rows" in problem.message
