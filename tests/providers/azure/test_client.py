from __future__ import annotations

from typing import Any

import pytest
from azure.core import exceptions as sdk
from azure.identity import (
    ClientSecretCredential,
    CredentialUnavailableError,
    DefaultAzureCredential,
    WorkloadIdentityCredential,
)

from optiinfra_dagster.lab.server import Request, Response, Server, as_json
from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure import client
from optiinfra_dagster.providers.azure.account import AzureAccount
from optiinfra_dagster.providers.azure.client import open_principal
from optiinfra_dagster.providers.azure.errors import explain
from optiinfra_dagster.providers.azure.inventory import collect
from tests.providers.azure.conftest import OTHER, SUBSCRIPTION, StartLab, account, fleet

_TENANT = "33333333-cccc-4000-8000-000000000003"
_APPLICATION: dict[str, Any] = {"tenant_id": _TENANT, "client_id": _TENANT, "client_secret": {"env": "AZ_TEST_SECRET"}}


def azure(**fields: Any) -> AzureAccount:
    return AzureAccount.model_validate({"subscription_id": SUBSCRIPTION, **fields})


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an identity of this machine, and without entries of other tests."""
    for name in ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_CLIENT_ID", "AZURE_TENANT_ID", "AZURE_TOKEN_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AZ_TEST_SECRET", "hunter2-secret")
    monkeypatch.setattr(client, "_PRINCIPALS", {})


def credential_of(account: AzureAccount) -> Any:
    session = open_principal(account).session
    assert session is not None
    return session.credential


def test_a_client_secret_enters_as_the_customers_application() -> None:
    assert isinstance(credential_of(azure(**_APPLICATION)), ClientSecretCredential)


def test_a_projected_token_enters_as_a_workload_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token")
    monkeypatch.setenv("AZURE_CLIENT_ID", _TENANT)
    monkeypatch.setenv("AZURE_TENANT_ID", _TENANT)

    assert isinstance(credential_of(azure()), WorkloadIdentityCredential)


def test_an_application_without_a_secret_is_entered_by_a_projected_token_only(monkeypatch: pytest.MonkeyPatch) -> None:
    named = {name: value for name, value in _APPLICATION.items() if name != "client_secret"}
    with pytest.raises(CloudError, match="client_id has no client_secret"):
        credential_of(azure(**named))

    monkeypatch.setenv("AZURE_FEDERATED_TOKEN_FILE", "/var/run/secrets/token")
    assert isinstance(credential_of(azure(**named)), WorkloadIdentityCredential)


def test_this_hosts_identity_is_never_a_developers_login() -> None:
    credential = credential_of(azure())

    assert isinstance(credential, DefaultAzureCredential)
    tried = {type(one).__name__ for one in credential.credentials}
    assert "ManagedIdentityCredential" in tried
    assert not [
        name for name in tried if any(word in name for word in ("Cli", "PowerShell", "Code", "Cache", "Broker"))
    ]


def test_one_entry_serves_all_who_enter_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    first = open_principal(azure(**_APPLICATION))

    assert open_principal(azure(subscription_id=OTHER, **_APPLICATION)) is first
    assert open_principal(azure()) is not first
    monkeypatch.setenv("AZ_TEST_SECRET", "rotated-secret")
    assert open_principal(azure(**_APPLICATION)) is not first


def test_connections_are_of_all_customers_and_keep_no_cookie_of_any() -> None:
    cookies: list[str] = []

    class Counting(Server):
        opened = 0

        def process_request(self, request: Any, client_address: Any) -> None:
            Counting.opened += 1
            super().process_request(request, client_address)

    def answer(request: Request) -> Response:
        cookies.append(str(request.headers.get("Cookie")))
        empty = {"totalRecords": 0, "count": 0, "data": [], "resultTruncated": "false"}
        return as_json(200, empty, {"Set-Cookie": "slice=acme; Path=/"})

    server = Counting(answer)
    server.start()
    tenants = [f"{n}3333333-cccc-4000-8000-000000000003" for n in range(3)]
    for tenant in tenants:
        entering = azure(endpoint_url=server.url, **{**_APPLICATION, "tenant_id": tenant})
        collect("acme", [entering], Meter())
    server.stop()

    assert len(client._PRINCIPALS) == 3
    assert (Counting.opened, len(cookies), set(cookies)) == (1, 6, {"None"})


def test_a_loopback_endpoint_is_never_shown_a_secret(start_lab: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AZ_TEST_SECRET")  # not even looked up
    lab = start_lab(fleet("azure:vnet"))

    inventory = collect("acme", [account(lab, **_APPLICATION)], Meter())

    assert inventory.problems == []
    assert [one.kind for one in inventory.resources] == ["azure:vnet"]


def test_a_missing_secret_is_a_problem_of_its_account_alone(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AZ_TEST_SECRET")
    lab = start_lab(fleet("azure:vnet"))
    with pytest.raises(ConfigError):
        open_principal(azure(**_APPLICATION))

    inventory = collect("acme", [azure(subscription_id=OTHER, **_APPLICATION), account(lab)], Meter())

    assert len(inventory.resources) == 1
    (problem,) = inventory.problems
    assert (problem.account_id, problem.cause) == (OTHER, Cause.CONFIG)
    assert "AZ_TEST_SECRET" in problem.message


@pytest.mark.parametrize(
    ("endpoint", "audience"),
    [
        (None, "https://management.azure.com/.default"),
        ("https://management.chinacloudapi.cn", "https://management.chinacloudapi.cn/.default"),
        ("https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net/.default"),
    ],
)
def test_the_endpoint_tells_the_cloud(endpoint: str | None, audience: str) -> None:
    principal = open_principal(azure(endpoint_url=endpoint, **_APPLICATION))

    assert principal._cloud.manager_scope == audience


def test_a_refused_login_names_the_remedy_and_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> Any:
        raise sdk.ClientAuthenticationError("AADSTS7000222: The client secret hunter2-secret of app is expired.")

    monkeypatch.setattr(ClientSecretCredential, "get_token_info", refuse)
    monkeypatch.setattr(ClientSecretCredential, "get_token", refuse)
    first = open_principal(azure(**_APPLICATION))

    (problem,) = collect("acme", [azure(**_APPLICATION)], Meter()).problems

    assert (problem.account_id, problem.kind, problem.cause) == (SUBSCRIPTION, "", Cause.AUTH)
    assert "AADSTS7000222" in problem.message
    assert "create a new one" in problem.message
    assert "hunter2" not in problem.message
    assert open_principal(azure(**_APPLICATION)) is not first  # entered anew next time


@pytest.mark.parametrize(
    ("error", "cause", "told"),
    [
        (CredentialUnavailableError("no managed identity endpoint"), Cause.AUTH, "managed or workload identity"),
        (sdk.ClientAuthenticationError("DefaultAzureCredential failed"), Cause.AUTH, "managed or workload identity"),
        (sdk.ClientAuthenticationError("AADSTS90002: Tenant not found"), Cause.AUTH, "correct tenant_id"),
        (sdk.ClientAuthenticationError("AADSTS99: unheard of"), Cause.AUTH, "Check tenant_id"),
        (sdk.ClientAuthenticationError("AADSTS700024: not within its valid time range"), Cause.AUTH, "host's clock"),
        (sdk.ClientAuthenticationError("AADSTS90055: too many requests"), Cause.UNAVAILABLE, "next collection"),
        (sdk.ClientAuthenticationError("AADSTS90033: A transient error"), Cause.UNAVAILABLE, "next collection"),
        (sdk.ServiceRequestError("Failed to resolve host"), Cause.UNAVAILABLE, "Check that this host reaches it"),
        (sdk.ServiceResponseTimeoutError("Read timed out"), Cause.UNAVAILABLE, "next collection"),
        (sdk.DeserializationError("not JSON"), Cause.UNAVAILABLE, "proxy"),
        (sdk.SerializationError("no query"), Cause.BUG, ""),
    ],
)
def test_what_the_sdk_raises_is_explained(error: Exception, cause: Cause, told: str) -> None:
    explained = explain(error)

    assert explained.cause is cause
    assert told in str(explained)


def test_a_login_service_that_is_busy_is_asked_once_and_needs_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def refuse(*_args: object, **_options: object) -> Any:
        asked.append(_args)
        raise sdk.ClientAuthenticationError("AADSTS90033: A transient error has occurred. Please try again.")

    monkeypatch.setattr(ClientSecretCredential, "get_token_info", refuse)
    monkeypatch.setattr(ClientSecretCredential, "get_token", refuse)

    (problem,) = collect("acme", [azure(**_APPLICATION)], Meter()).problems

    assert (problem.cause, problem.cause.permanent) == (Cause.UNAVAILABLE, False)
    assert "AADSTS90033" in problem.message
    assert len(asked) <= 2  # as it is, and with the secret read again


def test_a_provider_that_is_not_registered_is_named_with_its_remedy() -> None:
    text = "The subscription is not registered to use namespace 'microsoft.insights'."
    error = sdk.HttpResponseError("conflict")
    error.error = sdk.ODataV4Format({"code": "MissingSubscriptionRegistration", "message": text})
    error.response = type("Response", (), {"status_code": 409})()

    explained = explain(error, "monitor.getBatch")

    assert explained.cause is Cause.CONFIG
    assert "microsoft.insights" in str(explained)
    assert "az provider register" in str(explained)


def test_the_reason_inside_of_a_bad_request_counts() -> None:
    detail = {"code": "NoValidSubscriptionsInQueryRequest", "message": "There must be at least one subscription."}
    error = sdk.HttpResponseError("bad")
    error.error = sdk.ODataV4Format({"code": "BadRequest", "message": "correlationId = 1", "details": [detail]})
    error.response = type("Response", (), {"status_code": 400})()

    explained = explain(error)

    assert explained.cause is Cause.PERMISSION
    assert "NoValidSubscriptionsInQueryRequest: There must be" in str(explained)
    assert "Reader" in str(explained)
