"""The way into a customer's Azure subscriptions: credentials, Resource Graph, its quota, and what an error means.

Who enters the same way (tenant, application, secret, endpoint) is one `Principal`: one token serves all its
collections while it lasts, one query all its subscriptions, and Resource Graph counts its quota per principal too.
"""

from __future__ import annotations

import ipaddress
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core import AzureClouds
from azure.core import exceptions as sdk
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import RetryPolicy, SansIOHTTPPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from azure.identity import (
    AzureAuthorityHosts,
    ClientSecretCredential,
    CredentialUnavailableError,
    DefaultAzureCredential,
    WorkloadIdentityCredential,
)
from azure.mgmt.resourcegraph import ResourceGraphClient
from azure.mgmt.resourcegraph.models import QueryRequest, QueryRequestOptions

from optiinfra_dagster.errors import Cause, CloudError

if TYPE_CHECKING:
    from optiinfra_dagster.customers import AzureAccount
    from optiinfra_dagster.providers.types import Meter

PAGE = 1000
"""Rows of the largest page that Resource Graph gives."""

# azure-core would try 11 times and wait up to 120 s before each; a call shall not hold a slice for so long.
_PATIENCE = {"retry_total": 3, "retry_backoff_max": 20, "connection_timeout": 5, "read_timeout": 30}

# An endpoint of a sovereign cloud says which authority issues its tokens, and for which audience.
_SOVEREIGN = {
    "management.chinacloudapi.cn": (AzureClouds.AZURE_CHINA_CLOUD, AzureAuthorityHosts.AZURE_CHINA),
    "management.usgovcloudapi.net": (AzureClouds.AZURE_US_GOVERNMENT, AzureAuthorityHosts.AZURE_GOVERNMENT),
}
_PUBLIC = (AzureClouds.AZURE_PUBLIC_CLOUD, AzureAuthorityHosts.AZURE_PUBLIC_CLOUD)

# --- Whose call it is, and how long it may take ----------------------------------------------------------------------


@dataclass(slots=True)
class _Caller:
    """Where the calls of this thread are counted, and when they are given up (`time.monotonic`)."""

    meter: Meter
    deadline: float

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.monotonic()


_CALLER: ContextVar[_Caller] = ContextVar("optiinfra_azure_caller")


@contextmanager
def calling(meter: Meter, seconds: float) -> Iterator[None]:
    """Inside the block, the calls of this thread count on `meter` and end, waits included, within `seconds`."""
    token = _CALLER.set(_Caller(meter, time.monotonic() + seconds))
    try:
        yield
    finally:
        _CALLER.reset(token)


def _wait(seconds: float, cause: Cause) -> None:
    """Wait, unless the deadline comes first: then give up at once."""
    if seconds <= 0:
        return
    if seconds >= _CALLER.get().left:
        raise CloudError(
            cause, f"Azure asks to wait {seconds:.0f} s, which is longer than this collection may. {_LATER}"
        )
    time.sleep(seconds)


# --- Transport and retries --------------------------------------------------------------------------------------------


class _Transport(RequestsTransport):  # type: ignore[misc]  # azure-core hides its type behind __getattr__
    """Carries requests: counts every attempt, and sends none before the quota of the principal allows it.

    Headers: https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
    """

    def __init__(self, operation: str, **options: Any) -> None:
        super().__init__(**options)
        self._operation = operation
        self._lock = threading.Lock()
        self._free_at = 0.0

    def send(self, request: Any, **options: Any) -> Any:
        with self._lock:
            wait = self._free_at - time.monotonic()
        _wait(wait, Cause.THROTTLED)
        _CALLER.get().meter.count(self._operation)
        response: Any = super().send(request, **options)
        if response.status_code == 429 or response.headers.get("x-ms-user-quota-remaining") == "0":
            reset = _clock(response.headers.get("x-ms-user-quota-resets-after", ""))
            with self._lock:
                self._free_at = max(self._free_at, time.monotonic() + reset)
        return response


def _clock(text: str) -> float:
    """Seconds of `00:00:05`, or 0 where there is no such time."""
    parts = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text.strip())
    return int(parts[1]) * 3600 + int(parts[2]) * 60 + float(parts[3]) if parts else 0.0


class _Retries(RetryPolicy[Any, Any]):
    """azure-core's retries, except that no wait outlives the deadline: there, any Retry-After is slept through."""

    def sleep(self, settings: dict[str, Any], transport: Any, response: Any = None) -> None:  # noqa: ARG002
        asked = self.get_retry_after(response) if response is not None else None
        throttled = response is not None and response.http_response.status_code == 429
        _wait(asked or self.get_backoff_time(settings), Cause.THROTTLED if throttled else Cause.UNAVAILABLE)


# --- Principals ------------------------------------------------------------------------------------------------------


class _Nobody:
    """The credential for a loopback endpoint, which is never shown a real one."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken("nobody", int(time.time()) + 3600)


@dataclass(eq=False, slots=True)
class Principal:
    """An identity that was entered: asks Resource Graph what it can read, and explains errors."""

    _client: ResourceGraphClient
    _secret: str = ""

    def ask(self, query: str, subscriptions: Sequence[str], skip_token: str | None = None) -> Any:
        """One page of a query over subscriptions, as the SDK's `QueryResponse`. Only inside of `calling`.

        Raises:
            CloudError: what the SDK raised, explained.
        """
        options = QueryRequestOptions(top=PAGE, skip_token=skip_token, result_format="objectArray")
        request = QueryRequest(subscriptions=list(subscriptions), query=query, options=options)
        with self._explained():
            # A query is a POST, which azure-core does not repeat by itself; this one changes nothing.
            return self._client.resources(request, timeout=max(_CALLER.get().left, 0.0), retry_on_methods=["POST"])

    def permissions(self, subscription: str) -> list[dict[str, Any]]:
        """What this principal may do on a subscription: `actions` and `notActions` of each of its roles there.

        https://learn.microsoft.com/rest/api/authorization/permissions/list-for-resource

        Raises:
            CloudError: what the SDK raised, explained; a role may forbid to ask this.
        """
        path = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/permissions"
        request = HttpRequest("GET", path, params={"api-version": "2022-04-01"})
        with self._explained():
            response = self._client._send_request(request, timeout=max(_CALLER.get().left, 0.0))
            response.raise_for_status()
            return list(response.json().get("value") or ())

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (sdk.AzureError, sdk.DeserializationError, sdk.SerializationError) as error:
            explained = explain(error)
        else:
            return
        # Not chained: the error holds the request, and with it the token.
        message = str(explained)
        raise CloudError(explained.cause, message.replace(self._secret, "***") if len(self._secret) >= 4 else message)


_PRINCIPALS: dict[bytes, Principal] = {}
_REGISTRY = threading.Lock()


def open_principal(account: AzureAccount) -> Principal:
    """Enter as the identity that an account names, or come back to it. No call is made before the first query.

    The reference to the secret is looked up now, so a rotated or corrected secret leads to a new entry.

    Raises:
        ConfigError: a reference or the endpoint leads nowhere.
        CloudError: the identity cannot be used as written.
    """
    endpoint = account.endpoint()
    secret = account.client_secret.resolve() if account.client_secret and not _is_loopback(endpoint) else ""
    # What azure-identity reads by itself.
    environment = sorted(item for item in os.environ.items() if item[0].startswith(("AZURE_", "IDENTITY_", "MSI_")))
    way_in = (endpoint, account.tenant_id, account.client_id, secret, environment)
    key = sha256(repr(way_in).encode()).digest()
    with _REGISTRY:
        if key not in _PRINCIPALS:
            try:
                _PRINCIPALS[key] = Principal(_client(account, endpoint, secret), secret)
            except ValueError as error:  # azure-identity refuses what cannot be a tenant
                raise CloudError(Cause.CONFIG, f"azure-identity: {_shorten(str(error))}. {_CREDENTIAL}") from None
        return _PRINCIPALS[key]


def forget(principal: Principal) -> None:
    """Enter anew next time, because Azure does not accept this entry any more."""
    with _REGISTRY:
        for key in [key for key, entered in _PRINCIPALS.items() if entered is principal]:
            del _PRINCIPALS[key]


def _client(account: AzureAccount, endpoint: str | None, secret: str) -> ResourceGraphClient:
    options: dict[str, Any] = {
        "retry_policy": _Retries(**_PATIENCE),
        "transport": _Transport("Resources", **_PATIENCE),
        "user_agent": "optiinfra",
    }
    if endpoint is not None and _is_loopback(endpoint):
        return ResourceGraphClient(_Nobody(), endpoint, authentication_policy=SansIOHTTPPolicy(), **options)
    cloud, authority = _SOVEREIGN.get(urlsplit(endpoint or "").hostname or "", _PUBLIC)
    credential = _credential(account, secret, authority)
    return ResourceGraphClient(credential, endpoint, cloud_setting=cloud, **options)


def _credential(account: AzureAccount, secret: str, authority: str) -> Any:
    """The identity that is asked for tokens: the customer's application, a federated one, or this host's own."""
    options: dict[str, Any] = {
        "authority": authority,
        "transport": _Transport("Token", **_PATIENCE),
        **_PATIENCE,
    }
    bounded: dict[str, Any] = {"retry_policy_class": _Retries, **options}
    if account.tenant_id and account.client_id and secret:
        return ClientSecretCredential(account.tenant_id, account.client_id, secret, **bounded)
    if os.environ.get("AZURE_FEDERATED_TOKEN_FILE"):  # set where Kubernetes projects a service account's token
        named = {"tenant_id": account.tenant_id, "client_id": account.client_id}
        return WorkloadIdentityCredential(**{name: value for name, value in named.items() if value}, **bounded)
    # No developer's own login: which account is read must not depend on who is logged in on the machine.
    return DefaultAzureCredential(
        exclude_cli_credential=True,
        exclude_developer_cli_credential=True,
        exclude_powershell_credential=True,
        exclude_visual_studio_code_credential=True,
        exclude_shared_token_cache_credential=True,
        exclude_interactive_browser_credential=True,
        exclude_broker_credential=True,
        **options,
    )


def _is_loopback(endpoint: str | None) -> bool:
    """Whether an endpoint is plain http to this machine: the customers file allows plain http for nothing else."""
    parts = urlsplit(endpoint or "")
    host = parts.hostname or ""
    try:
        return parts.scheme == "http" and ipaddress.ip_address(host).is_loopback
    except ValueError:
        return parts.scheme == "http" and host == "localhost"


# --- What an error means ---------------------------------------------------------------------------------------------

_CREDENTIAL = "Check tenant_id, client_id and client_secret in the customers file"
_HOST = (
    "Give this host a managed or workload identity or the AZURE_ variables of a service principal, "
    "or write tenant_id, client_id and client_secret in the customers file"
)
READER = "Assign the role Reader, on the subscription, to the application or identity that collects"
_SUBSCRIPTION = "Correct subscription_id in the customers file, or the tenant that it is looked for in"
_LATER = "It is asked again with the next collection"
_REPORT = "Please report this"

# Codes by which Azure Resource Manager and Resource Graph refuse -> why, and what to do.
_CODES: Mapping[str, tuple[Cause, str]] = {
    **dict.fromkeys(
        (
            "AuthenticationFailed",
            "AuthenticationFailedMissingToken",
            "ExpiredAuthenticationToken",
            "InvalidAuthenticationToken",
            "InvalidAuthenticationTokenTenant",
        ),
        (Cause.AUTH, _CREDENTIAL),
    ),
    **dict.fromkeys(
        ("AccessDenied", "AuthorizationFailed", "Forbidden", "NoValidSubscriptionsInQueryRequest"),
        (Cause.PERMISSION, READER),
    ),
    **dict.fromkeys(
        ("InvalidSubscriptionId", "SubscriptionNotFound", "SubscriptionNotRegistered", "TenantNotFound"),
        (Cause.CONFIG, _SUBSCRIPTION),
    ),
    **dict.fromkeys(
        ("RateLimiting", "ResourceRequestsThrottled", "TooManyRequests"),
        (Cause.THROTTLED, _LATER),
    ),
}
_STATUSES: Mapping[int, tuple[Cause, str]] = {
    401: (Cause.AUTH, _CREDENTIAL),
    403: (Cause.PERMISSION, READER),
    408: (Cause.UNAVAILABLE, _LATER),
    429: (Cause.THROTTLED, _LATER),
}
# https://learn.microsoft.com/entra/identity-platform/reference-error-codes
_AADSTS = {
    "7000215": "client_secret is wrong: give the secret's value, not its id",
    "7000222": "client_secret has expired: create a new one and store it where the customers file refers to",
    "700016": "client_id is no application of this tenant: correct it, or let the tenant's administrator consent",
    "700211": "the application has no federated credential for this host's identity: add one",
    "700213": "the application has no federated credential for this host's identity: add one",
    "70021": "the application has no federated credential for this host's identity: add one",
    "7000229": "the application has no service principal in this tenant: let its administrator consent",
    "7000112": "the application is disabled in its tenant: enable it",
    "90002": "there is no such tenant: correct tenant_id",
    "900023": "there is no such tenant: correct tenant_id",
    "53003": "a conditional access policy of the tenant refuses this host: except the application from it",
}


def explain(error: Exception) -> CloudError:
    """Turn what the SDK raised into its cause and a message that names the call and the remedy."""
    login = re.search(r"AADSTS(\d+)", str(error))
    if login:
        remedy = _AADSTS.get(login[1], _CREDENTIAL)
        return CloudError(Cause.AUTH, f"Entra ID refuses to issue a token: AADSTS{login[1]}: {remedy}")
    if isinstance(error, CredentialUnavailableError):
        return CloudError(Cause.AUTH, f"this host has no Azure identity. {_HOST}")
    if isinstance(error, sdk.DecodeError | sdk.DeserializationError):
        what = "the answer is not one of Azure's. Check that the endpoint is Azure and not a proxy"
        return CloudError(Cause.UNAVAILABLE, f"resourcegraph.Resources: {type(error).__name__}: {what}")
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, sdk.HttpResponseError) and status is not None:
        return _explain_refusal(error, status)
    if isinstance(error, sdk.ClientAuthenticationError):
        return CloudError(Cause.AUTH, f"no token could be obtained for this account. {_HOST}")
    if isinstance(error, sdk.ServiceRequestError):  # no connection, or a host that does not exist
        what, remedy = "Azure could not be reached", "Check that this host reaches it"
    else:
        what, remedy = f"{type(error).__name__}: {_shorten(str(error))}", _LATER
    cause = Cause.BUG if isinstance(error, sdk.SerializationError) else Cause.UNAVAILABLE
    return CloudError(cause, f"resourcegraph.Resources: {what}. {remedy}")


def _explain_refusal(error: sdk.HttpResponseError, status: int) -> CloudError:
    # Resource Graph wraps the reason: BadRequest, and in its details NoValidSubscriptionsInQueryRequest.
    layers = [error.error, *(getattr(error.error, "details", None) or ())]
    named = [(str(layer.code), str(layer.message or "")) for layer in layers if getattr(layer, "code", None)]
    known = [(code, text) for code, text in named if code in _CODES]
    code, text = (known or named[-1:] or [(f"HTTP {status}", "")])[0]
    otherwise = (Cause.UNAVAILABLE, _LATER) if status >= 500 else (Cause.BUG, _REPORT)
    cause, remedy = _CODES.get(code) or _STATUSES.get(status, otherwise)
    what = code if cause is Cause.AUTH or not text else f"{code}: {_shorten(text)}"
    return CloudError(cause, f"resourcegraph.Resources: {what}. {remedy}")


def _shorten(text: str, limit: int = 240) -> str:
    text = " ".join(text.split()).rstrip(". ")
    return text if len(text) <= limit else f"{text[:limit]}..."
