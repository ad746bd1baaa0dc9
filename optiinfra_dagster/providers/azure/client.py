"""The way into a customer's Azure subscriptions: credentials, Resource Graph, metrics, and what an error means.

Who enters the same way (tenant, application, secret, endpoint) is one `Principal`: one token serves all its
collections while it lasts, one query all its subscriptions, and Resource Graph counts its quota per principal too.
"""

from __future__ import annotations

import ipaddress
import json
import os
import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from io import BufferedReader, RawIOBase
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, urlsplit

from azure.core import AzureClouds, PipelineClient
from azure.core import exceptions as sdk
from azure.core.credentials import AccessToken
from azure.core.pipeline.policies import BearerTokenCredentialPolicy, RetryPolicy, SansIOHTTPPolicy, UserAgentPolicy
from azure.core.pipeline.transport import RequestsTransport
from azure.core.rest import HttpRequest
from azure.identity import (
    AzureAuthorityHosts,
    ClientSecretCredential,
    CredentialUnavailableError,
    DefaultAzureCredential,
    WorkloadIdentityCredential,
)
from azure.mgmt.monitor import MonitorManagementClient
from azure.mgmt.resourcegraph import ResourceGraphClient
from azure.mgmt.resourcegraph.models import QueryRequest, QueryRequestOptions
from azure.monitor.querymetrics import MetricsClient

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.model.text import shortened

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.account import AzureAccount

PAGE = 1000
"""Rows of the largest page that Resource Graph gives."""

METRICS_PRICE_USD = Decimal("0.00001")
"""Of one call for metrics. https://azure.microsoft.com/pricing/details/monitor: the first million a month is free."""

# azure-core would try 11 times and wait up to 120 s before each; a call shall not hold a slice for so long.
_PATIENCE: dict[str, Any] = {"retry_total": 3, "retry_backoff_max": 20, "connection_timeout": 5, "read_timeout": 30}

_THROTTLED = {429, 529}  # the hosts of metrics also say 529: the service itself has too much to do


@dataclass(frozen=True, slots=True)
class _Cloud:
    """One of Azure's clouds: where its tokens come from, and below which domain its hosts of metrics are."""

    settings: AzureClouds
    authority: str
    metrics: str


# An endpoint of a sovereign cloud says which one it is.
_SOVEREIGN = {
    "management.chinacloudapi.cn": _Cloud(
        AzureClouds.AZURE_CHINA_CLOUD, AzureAuthorityHosts.AZURE_CHINA, "metrics.monitor.azure.cn"
    ),
    "management.usgovcloudapi.net": _Cloud(
        AzureClouds.AZURE_US_GOVERNMENT, AzureAuthorityHosts.AZURE_GOVERNMENT, "metrics.monitor.azure.us"
    ),
}
_PUBLIC = _Cloud(AzureClouds.AZURE_PUBLIC_CLOUD, AzureAuthorityHosts.AZURE_PUBLIC_CLOUD, "metrics.monitor.azure.com")

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
        why = f"asks to wait {seconds:.0f} s, which is longer than this collection may"
        if cause is not Cause.THROTTLED:
            why = "did not answer in the time that this collection has"
        raise CloudError(cause, f"Azure {why}. {LATER}")
    time.sleep(seconds)


# --- Transport and retries --------------------------------------------------------------------------------------------


class _Transport(RequestsTransport):  # type: ignore[misc]  # azure-core hides its type behind __getattr__
    """Carries requests: counts every attempt, and sends none before the quota of the principal allows it.

    Headers: https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
    """

    def __init__(self, operation: str, usd: Decimal = Decimal(0), **options: Any) -> None:
        super().__init__(**options)
        self._operation, self._usd = operation, usd
        self._lock = threading.Lock()
        self._free_at = 0.0

    def send(self, request: Any, **options: Any) -> Any:
        with self._lock:
            wait = self._free_at - time.monotonic()
        _wait(wait, Cause.THROTTLED)
        caller = _CALLER.get()
        caller.meter.count(self._operation, usd=self._usd)
        options.setdefault("read_timeout", min(_PATIENCE["read_timeout"], max(caller.left, 0.1)))
        response: Any = super().send(request, **options)
        if response.status_code == 429 or response.headers.get("x-ms-user-quota-remaining") == "0":
            reset = _clock(response.headers.get("x-ms-user-quota-resets-after", ""))
            with self._lock:
                self._free_at = max(self._free_at, time.monotonic() + reset)
        return response


class _Pace:
    """Lets `calls` through in any `seconds` for each scope, and has the next one wait. Thread-safe."""

    def __init__(self, calls: int, seconds: float) -> None:
        self.calls, self.seconds = calls, seconds
        self._lock = threading.Lock()
        self._sent: defaultdict[str, deque[float]] = defaultdict(deque)  # when, by scope

    def keep(self, scope: str) -> None:
        """Wait until one more call may be sent; CloudError where the deadline comes first."""
        while True:
            with self._lock:
                now, sent = time.monotonic(), self._sent[scope]
                while sent and sent[0] + self.seconds <= now:
                    sent.popleft()
                if len(sent) < self.calls:
                    sent.append(now)
                    return
                wait = sent[0] + self.seconds - now
            _wait(wait, Cause.THROTTLED)


COST_PACE = _Pace(4, 60.0)
"""Cost Management refuses what goes beyond about four queries a minute for a subscription."""


class _CostTransport(_Transport):
    """Carries cost queries, no faster than `COST_PACE`."""

    def send(self, request: Any, **options: Any) -> Any:
        parts = urlsplit(request.url)
        COST_PACE.keep(f"{parts.netloc}{parts.path}".lower())
        return super().send(request, **options)


def _clock(text: str) -> float:
    """Seconds of `00:00:05`, or 0 where there is no such time."""
    parts = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text.strip())
    return int(parts[1]) * 3600 + int(parts[2]) * 60 + float(parts[3]) if parts else 0.0


class _Retries(RetryPolicy[Any, Any]):
    """azure-core's retries, except that no wait outlives the deadline: there, any Retry-After is slept through."""

    def sleep(self, settings: dict[str, Any], transport: Any, response: Any = None) -> None:  # noqa: ARG002
        asked = self.get_retry_after(response) if response is not None else None
        throttled = response is not None and response.http_response.status_code in _THROTTLED
        _wait(asked or self.get_backoff_time(settings), Cause.THROTTLED if throttled else Cause.UNAVAILABLE)


class _CostRetries(_Retries):
    """Retries that wait as long as Cost Management asks for.

    It counts processing units, calls of a scope, of a tenant and of a kind of client, and tells a wait for each in a
    header of its own, such as x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after: the longest one counts.
    """

    def get_retry_after(self, response: Any) -> float | None:
        asked = [super().get_retry_after(response) or 0.0]
        for name, value in response.http_response.headers.items():
            if name.lower().startswith(_COST_LIMITS) and name.lower().endswith("-retry-after"):
                with suppress(ValueError):
                    asked.append(float(value))
        return max(asked) or None


_COST_LIMITS = "x-ms-ratelimit-microsoft.costmanagement-"

# --- Principals ------------------------------------------------------------------------------------------------------


class _Nobody:
    """The credential for a loopback endpoint, which is never shown a real one."""

    def get_token(self, *_scopes: str, **_options: Any) -> AccessToken:
        return AccessToken("nobody", int(time.time()) + 3600)


@dataclass(eq=False, slots=True)
class Principal:
    """An identity that was entered: asks Resource Graph and for metrics what it can read, and explains errors.

    Its methods that ask are for the inside of `calling`, and raise `CloudError`: what the SDK raised, explained.
    """

    _client: ResourceGraphClient
    _cloud: _Cloud
    _credential: Any  # None: there is only an endpoint on this machine, which is never shown a real one
    _endpoint: str | None = None  # of Resource Manager; None: the cloud's own
    _secret: str = ""
    _metrics: dict[str, MetricsClient] = field(default_factory=dict)  # by endpoint
    _monitors: dict[str, MonitorManagementClient] = field(default_factory=dict)  # by subscription
    _costs: list[ResourceGraphClient] = field(default_factory=list)  # the one that asks Cost Management
    _storage: dict[str, PlainClient] = field(default_factory=dict)  # by host
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, query: str, subscriptions: Sequence[str], skip_token: str | None = None) -> Any:
        """One page of a query over subscriptions, as the SDK's `QueryResponse`."""
        options = QueryRequestOptions(top=PAGE, skip_token=skip_token, result_format="objectArray")
        request = QueryRequest(subscriptions=list(subscriptions), query=query, options=options)
        with self._explained("resourcegraph.Resources", READER):
            # A query is a POST, which azure-core does not repeat by itself; this one changes nothing.
            return self._client.resources(request, timeout=max(_CALLER.get().left, 0.0), retry_on_methods=["POST"])

    def permissions(self, subscription: str) -> list[dict[str, Any]]:
        """What this principal may do on a subscription: `actions` and `notActions` of each of its roles there.

        https://learn.microsoft.com/rest/api/authorization/permissions/list-for-resource

        Raises:
            CloudError: as for the other calls; a role may forbid to ask this.
        """
        path = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/permissions"
        request = HttpRequest("GET", path, params={"api-version": "2022-04-01"})
        answer = self._read(self._client._send_request, request, "resourcegraph.Resources", READER)
        return list(answer.get("value") or ())

    def metrics_of(
        self, resource_ids: Sequence[str], query: Mapping[str, str], region: str, endpoint: str | None = None
    ) -> Any:
        """The metrics of up to 50 resources of one subscription, region and type, in the API's own JSON.

        Args:
            resource_ids: ARM ids.
            query: the parameters of https://learn.microsoft.com/rest/api/monitor/metrics-batch/batch, without version.
            region: names the host that is asked.
            endpoint: is asked in place of that host.
        """
        subscription = resource_ids[0].split("/")[2]
        request = HttpRequest(
            "POST",
            f"/subscriptions/{subscription}/metrics:getBatch",
            params={"api-version": "2024-02-01", **query},
            json={"resourceids": list(resource_ids)},
        )
        # `query_resources` asks the same, and makes objects of every point, which costs more than all the rest.
        client = self._metrics_client(region, endpoint)
        return self._read(client.send_request, request, "monitor.getBatch", MONITORING_READER)

    def metrics_in(self, subscription: str, region: str, query: Mapping[str, Any]) -> Any:
        """The metrics of one type of resource in a region, from Resource Manager, in the API's own JSON.

        https://learn.microsoft.com/rest/api/monitor/metrics/list-at-subscription-scope-post tells `query`.
        """
        request = HttpRequest(
            "POST",
            f"/subscriptions/{subscription}/providers/Microsoft.Insights/metrics",
            params={"api-version": "2024-02-01", "region": region},
            json=dict(query),
        )
        client = self._monitor_client(subscription)
        return self._read(client._send_request, request, "monitor.ListAtSubscriptionScope", MONITORING_READER)

    def costs(self, subscription: str, query: Mapping[str, Any], link: str = "") -> dict[str, Any]:
        """One page of a cost query: its `properties`, with every amount a Decimal as it was written.

        https://learn.microsoft.com/rest/api/cost-management/query/usage tells `query`. Empty where there is no content.

        Args:
            subscription: the scope that is asked about.
            query: the body, the same for every page.
            link: the `nextLink` of the page before.
        """
        page = urlsplit(link)
        request = HttpRequest(
            "POST",
            # Only what follows the host is taken from a link: nobody but Azure is to see the token.
            f"{page.path}?{page.query}"
            if link
            else f"/subscriptions/{subscription}/providers/Microsoft.CostManagement/query"
            "?api-version=2025-03-01&$top=5000",
            # Callers that do not say who they are share one quota of their tenant.
            headers={"ClientType": "optiinfra"},
            json=dict(query),
        )
        send = self._cost_client()._send_request
        answer = self._read(send, request, "costmanagement.Query", COST_READER, exact) or {}
        return dict(answer.get("properties") or {})

    def _cost_client(self) -> ResourceGraphClient:
        with self._lock:
            if not self._costs:
                # Any client of Resource Manager carries the query; that of Cost Management would make floats of sums.
                options = _options(_CostTransport("CostManagement.Query", **_PATIENCE))
                options["retry_policy"] = _CostRetries(**_PATIENCE)
                if self._credential is None:
                    options["authentication_policy"] = SansIOHTTPPolicy()
                self._costs.append(
                    ResourceGraphClient(
                        self._credential or _Nobody(), self._endpoint, cloud_setting=self._cloud.settings, **options
                    )
                )
            return self._costs[0]

    def list_blobs(self, host: str, container: str, prefix: str, marker: str) -> str:
        """One page of the XML that lists the objects of a container in blob storage."""
        request = HttpRequest(
            "GET",
            f"/{container}",
            params={
                "restype": "container",
                "comp": "list",
                "prefix": prefix,
                **({"marker": marker} if marker else {}),
            },
            headers=_STORAGE_VERSION,
        )
        answer: str = self._read(self._storage_client(host).send, request, "storage.ListBlobs", BLOB_READER, str)
        return answer

    def blob(self, host: str, container: str, name: str, headers: Mapping[str, str] | None = None) -> BinaryIO:
        """The content of an object as it is stored, while it comes; what fails on the way raises CloudError too."""
        request = HttpRequest("GET", f"/{container}/{quote(name)}", headers={**_STORAGE_VERSION, **(headers or {})})
        with self._explained("storage.GetBlob", BLOB_READER):
            response = self._storage_client(host).send(request, stream=True)
        return BufferedReader(_Content(response.iter_raw(), self), 1 << 20)

    def _storage_client(self, host: str) -> PlainClient:
        with self._lock:
            if host not in self._storage:
                # What is on this machine stands for all of Azure.
                url = f"{self._endpoint}/{host}" if self._credential is None else f"https://{host}"
                self._storage[host] = PlainClient(
                    url, "Storage", self._credential, "https://storage.azure.com/.default"
                )
            return self._storage[host]

    def _metrics_client(self, region: str, endpoint: str | None) -> MetricsClient:
        if self._credential is None:  # what is on this machine stands for all of Azure
            endpoint = endpoint or self._endpoint
        endpoint = endpoint or f"https://{region}.{self._cloud.metrics}"
        with self._lock:
            if endpoint not in self._metrics:
                options = _options(_Transport("getBatch", METRICS_PRICE_USD, **_PATIENCE))
                if self._credential is None or is_loopback(endpoint):
                    client = MetricsClient(endpoint, _Nobody(), authentication_policy=SansIOHTTPPolicy(), **options)
                else:
                    audience = f"https://{self._cloud.metrics}"
                    client = MetricsClient(endpoint, self._credential, audience=audience, **options)
                self._metrics[endpoint] = client
            return self._metrics[endpoint]

    def _monitor_client(self, subscription: str) -> MonitorManagementClient:
        with self._lock:
            if subscription not in self._monitors:
                options = _options(_Transport("ListAtSubscriptionScope", METRICS_PRICE_USD, **_PATIENCE))
                if self._credential is None:
                    options["authentication_policy"] = SansIOHTTPPolicy()
                self._monitors[subscription] = MonitorManagementClient(
                    self._credential or _Nobody(),
                    subscription,
                    self._endpoint,
                    cloud_setting=self._cloud.settings,
                    **options,
                )
            return self._monitors[subscription]

    def _read(
        self,
        send: Callable[..., Any],
        request: HttpRequest,
        operation: str,
        remedy: str,
        parse: Callable[[str], Any] = json.loads,
    ) -> Any:
        with self._explained(operation, remedy):
            response = send(request, timeout=max(_CALLER.get().left, 0.0), retry_on_methods=["GET", "POST"])
            response.raise_for_status()
            try:
                return parse(response.text()) if response.status_code != 204 else None
            except ValueError as error:
                raise sdk.DecodeError("no JSON", response=response) from error

    def _explained(self, operation: str, remedy: str) -> AbstractContextManager[None]:
        return explained(operation, remedy, self._secret)


@contextmanager
def explained(operation: str, remedy: str, secret: str = "") -> Iterator[None]:
    """Inside the block, what the SDK raises becomes a `CloudError`, without the secret."""
    try:
        yield
    except (sdk.AzureError, sdk.DeserializationError, sdk.SerializationError) as error:
        known = explain(error, operation, remedy)
    else:
        return
    # Not chained: the error holds the request, and with it the token.
    message = str(known)
    message = message.replace(secret, "***") if len(secret) >= 4 else message
    raise RefusedError(known.cause, message, known.status)


class _Content(RawIOBase):
    """A response that is read while it comes."""

    def __init__(self, chunks: Iterator[bytes], principal: Principal) -> None:
        super().__init__()
        self._chunks, self._principal, self._left = chunks, principal, b""
        self._caller = _CALLER.get()  # who reads may do so in another thread

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            if self._caller.left <= 0:
                raise CloudError(Cause.UNAVAILABLE, f"storage.GetBlob: it takes longer than allowed. {LATER}")
            with self._principal._explained("storage.GetBlob", BLOB_READER):
                self._left = next(self._chunks, b"")
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


class PlainClient:
    """Carries requests to a service that has no SDK here: counted, retried and bounded as all others are."""

    def __init__(self, url: str, operation: str, credential: Any = None, scope: str = "") -> None:
        policies: list[Any] = [UserAgentPolicy("optiinfra"), _Retries(**_PATIENCE)]
        if credential is not None:
            policies.append(BearerTokenCredentialPolicy(credential, scope))
        transport = _Transport(operation, **_PATIENCE)
        self._client = PipelineClient[Any, Any](url, policies=policies, transport=transport)

    def send(self, request: HttpRequest, **options: Any) -> Any:
        """The answer to a request whose address has no host; what the SDK raises is for `explained`."""
        request.url = self._client.format_url(request.url)
        response = self._client.send_request(request, **{"timeout": max(_CALLER.get().left, 0.0), **options})
        if response.status_code >= 400:
            response.read()  # of a streamed answer, for what it says is wrong
        response.raise_for_status()
        return response


def exact(text: str) -> Any:
    """JSON, with every number that has a point as the Decimal that was written."""
    return json.loads(text, parse_float=Decimal)


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
    secret = account.client_secret.resolve() if account.client_secret and not is_loopback(endpoint) else ""
    # What azure-identity reads by itself.
    environment = sorted(item for item in os.environ.items() if item[0].startswith(("AZURE_", "IDENTITY_", "MSI_")))
    way_in = (endpoint, account.tenant_id, account.client_id, secret, environment)
    key = sha256(repr(way_in).encode()).digest()
    with _REGISTRY:
        if key not in _PRINCIPALS:
            try:
                _PRINCIPALS[key] = _enter(account, endpoint, secret)
            except ValueError as error:  # azure-identity refuses what cannot be a tenant
                raise CloudError(Cause.CONFIG, f"azure-identity: {shortened(str(error))}. {_CREDENTIAL}") from None
        return _PRINCIPALS[key]


def forget(principal: Principal) -> None:
    """Enter anew next time, because Azure does not accept this entry any more."""
    with _REGISTRY:
        for key in [key for key, entered in _PRINCIPALS.items() if entered is principal]:
            del _PRINCIPALS[key]


def _enter(account: AzureAccount, endpoint: str | None, secret: str) -> Principal:
    options = _options(_Transport("Resources", **_PATIENCE))
    if endpoint is not None and is_loopback(endpoint):
        client = ResourceGraphClient(_Nobody(), endpoint, authentication_policy=SansIOHTTPPolicy(), **options)
        return Principal(client, _PUBLIC, None, endpoint)
    cloud = _SOVEREIGN.get(urlsplit(endpoint or "").hostname or "", _PUBLIC)
    credential = _credential(account, secret, cloud.authority)
    client = ResourceGraphClient(credential, endpoint, cloud_setting=cloud.settings, **options)
    return Principal(client, cloud, credential, endpoint, secret)


def _options(transport: _Transport) -> dict[str, Any]:
    return {"retry_policy": _Retries(**_PATIENCE), "transport": transport, "user_agent": "optiinfra"}


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
    if account.client_id:
        # Another identity than the one that is named must not be used in its place.
        raise CloudError(
            Cause.CONFIG,
            "azure-identity: client_id has no client_secret, and this host has no federated token "
            "(AZURE_FEDERATED_TOKEN_FILE) to enter it with. Add client_secret to the customers file, or run where "
            "Kubernetes projects a token",
        )
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


def is_loopback(endpoint: str | None) -> bool:
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
MONITORING_READER = (
    "Assign the role Monitoring Reader, on the subscription, to the application or identity that collects"
)
COST_READER = (
    "Assign the role Cost Management Reader, on the subscription, to the application or identity that collects"
)
_VIEW_CHARGES = (
    "Costs are hidden from this subscription's users: have the billing account's administrator allow them to view "
    "charges, or write cost_export in the customers file"
)
BLOB_READER = (
    "Assign the role Storage Blob Data Reader, on the storage account of cost_export, to the application or identity "
    "that collects"
)
_STORAGE_VERSION = {"x-ms-version": "2023-11-03"}
_SUBSCRIPTION = "Correct subscription_id in the customers file, or the tenant that it is looked for in"
_REPORT = "Please report this"
_ROLE = ""  # the one that the call needs

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
        ("AccessDenied", "AuthorizationFailed", "Forbidden", "NoValidSubscriptionsInQueryRequest", "RBACAccessDenied"),
        (Cause.PERMISSION, _ROLE),
    ),
    **dict.fromkeys(
        ("AccountCostDisabled", "DepartmentCostDisabled", "IndirectCostDisabled"), (Cause.PERMISSION, _VIEW_CHARGES)
    ),
    **dict.fromkeys(
        ("InvalidSubscriptionId", "SubscriptionNotFound", "SubscriptionNotRegistered", "TenantNotFound"),
        (Cause.CONFIG, _SUBSCRIPTION),
    ),
    **dict.fromkeys(
        ("RateLimiting", "ResourceRequestsThrottled", "TooManyRequests"),
        (Cause.THROTTLED, LATER),
    ),
}
_STATUSES: Mapping[int, tuple[Cause, str]] = {
    401: (Cause.AUTH, _CREDENTIAL),
    403: (Cause.PERMISSION, _ROLE),
    408: (Cause.UNAVAILABLE, LATER),
    **dict.fromkeys(_THROTTLED, (Cause.THROTTLED, LATER)),
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


class RefusedError(CloudError):
    """What went wrong with a call. `status` is that of HTTP; 0 where the host could not be reached at all."""

    def __init__(self, cause: Cause, message: str, status: int | None = None) -> None:
        super().__init__(cause, message)
        self.status = status


def explain(error: Exception, operation: str = "resourcegraph.Resources", role: str = READER) -> RefusedError:
    """Turn what the SDK raised into its cause and a message that names the call and the remedy."""
    login = re.search(r"AADSTS(\d+)", str(error))
    if login:
        remedy = _AADSTS.get(login[1], _CREDENTIAL)
        return RefusedError(Cause.AUTH, f"Entra ID refuses to issue a token: AADSTS{login[1]}: {remedy}")
    if isinstance(error, CredentialUnavailableError):
        return RefusedError(Cause.AUTH, f"this host has no Azure identity. {_HOST}")
    if isinstance(error, sdk.DecodeError | sdk.DeserializationError):
        what = "the answer is not one of Azure's. Check that the endpoint is Azure and not a proxy"
        return RefusedError(Cause.UNAVAILABLE, f"{operation}: {type(error).__name__}: {what}")
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if isinstance(error, sdk.HttpResponseError) and status is not None:
        return _explain_refusal(error, status, operation, role)
    if isinstance(error, sdk.ClientAuthenticationError):
        return RefusedError(Cause.AUTH, f"no token could be obtained for this account. {_HOST}")
    if isinstance(error, sdk.ServiceRequestError):  # no connection, or a host that does not exist
        what = "Azure could not be reached. Check that this host reaches it"
        return RefusedError(Cause.UNAVAILABLE, f"{operation}: {what}", 0)
    cause = Cause.BUG if isinstance(error, sdk.SerializationError) else Cause.UNAVAILABLE
    return RefusedError(cause, f"{operation}: {type(error).__name__}: {shortened(str(error))}. {LATER}")


def _explain_refusal(error: sdk.HttpResponseError, status: int, operation: str, role: str) -> RefusedError:
    # Resource Graph wraps the reason: BadRequest, and in its details NoValidSubscriptionsInQueryRequest.
    layers = [error.error, *(getattr(error.error, "details", None) or ())]
    named = [(str(layer.code), str(layer.message or "")) for layer in layers if getattr(layer, "code", None)]
    known = [(code, text) for code, text in named if code in _CODES]
    code, text = (known or named[-1:] or [_bare_reason(error) or (f"HTTP {status}", "")])[0]
    otherwise = (Cause.UNAVAILABLE, LATER) if status >= 500 else (Cause.BUG, _REPORT)
    cause, remedy = _CODES.get(code) or _STATUSES.get(status, otherwise)
    what = code if cause is Cause.AUTH or not text else f"{code}: {shortened(text)}"
    return RefusedError(cause, f"{operation}: {what}. {remedy or role}", status)


def _bare_reason(error: sdk.HttpResponseError) -> tuple[str, str] | None:
    """The reason where it stands in no envelope, as Azure Monitor writes it: `{"code": "BadRequest", "message": …}`."""
    try:
        body = json.loads(error.response.text())  # type: ignore[union-attr]
        return str(body["code"]), str(body.get("message") or "")
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
