"""The way into a customer's Azure subscriptions: Resource Graph, metrics, costs and blobs.

Who enters the same way (tenant, application, secret, endpoint) is one `Principal`: one token serves all its
collections while it lasts, one query all its subscriptions, and Resource Graph counts its quota per principal too.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from io import BufferedReader, BytesIO, RawIOBase
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar
from urllib.parse import quote, urlsplit

from azure.core import exceptions as sdk
from azure.core.pipeline.policies import SansIOHTTPPolicy
from azure.core.rest import HttpRequest
from azure.mgmt.monitor import MonitorManagementClient

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.model.hosts import is_plain_loopback
from optiinfra_dagster.model.text import shortened
from optiinfra_dagster.providers.azure.credentials import Cloud, NoCredential, cloud_of, credential_of, environment
from optiinfra_dagster.providers.azure.errors import CREDENTIAL, explained
from optiinfra_dagster.providers.azure.roles import BLOB_READER, COST_READER, MONITORING_READER, READER
from optiinfra_dagster.providers.azure.sessions import Authorization, Session
from optiinfra_dagster.providers.azure.transport import (
    CostRetries,
    CostTransport,
    RestClient,
    Retries,
    Transport,
    caller,
    timeout,
)
from optiinfra_dagster.providers.parsing import as_dict

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.pipeline import PipelineResponse
    from azure.core.rest import HttpResponse
    from azure.mgmt.monitor.operations import MetricsOperations

    from optiinfra_dagster.providers.azure.account import AzureAccount

T = TypeVar("T")

PAGE = 1000
"""Rows of the largest page that Resource Graph gives."""

METRICS_PRICE_USD = Decimal("0.00001")
"""The price of one call for metrics. https://azure.microsoft.com/pricing/details/monitor: a million a month is free."""

_STORAGE_VERSION = {"x-ms-version": "2023-11-03"}


@dataclass(eq=False, slots=True)
class Principal:
    """An identity that was entered, and what it can ask of Azure.

    Its methods that ask are for the inside of `calling`, and raise `CloudError`: what the SDK raised, explained.
    `session` is None where there is only an endpoint on this machine, which stands for all of Azure and is never shown
    a real credential; `_endpoint` is that of Resource Manager, None for the cloud's own. `_secrets` are those that were
    read for it, which no message may hold.
    """

    _cloud: Cloud
    session: Session | None
    _endpoint: str | None = None
    _secrets: Sequence[str] = ()
    _clients: dict[tuple[str, str], RestClient] = field(default_factory=dict)  # by operation and address
    _monitors: dict[str, MonitorManagementClient] = field(default_factory=dict)  # by subscription
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ask(self, query: str, subscriptions: Sequence[str], skip_token: str | None = None) -> Any:
        """Request a page of a Resource Graph query over subscriptions, in the API's own JSON.

        https://learn.microsoft.com/rest/api/azureresourcegraph/resourcegraph/resources/resources tells it. The SDK for
        this call walks through every value, which costs as much as all the rest.
        """
        options: dict[str, Any] = {"$top": PAGE, "resultFormat": "objectArray"}
        if skip_token is not None:
            options["$skipToken"] = skip_token
        request = HttpRequest(
            "POST",
            "/providers/Microsoft.ResourceGraph/resources",
            params={"api-version": "2021-03-01"},
            json={"subscriptions": list(subscriptions), "query": query, "options": options},
        )
        client = self._client("Resources", self.manager_host, self._cloud.manager_scope, _plain)
        return self._read(client.send, request, "resourcegraph.Resources", READER)

    def permissions(self, subscription: str) -> list[dict[str, Any]]:
        """The roles of this principal on a subscription: the `actions` and `notActions` of each.

        https://learn.microsoft.com/rest/api/authorization/permissions/list-for-resource

        Raises:
            CloudError: as for the other calls; a role may forbid to ask this.
        """
        path = f"/subscriptions/{subscription}/providers/Microsoft.Authorization/permissions"
        request = HttpRequest("GET", path, params={"api-version": "2022-04-01"})
        client = self._client("Permissions", self.manager_host, self._cloud.manager_scope, _plain)
        answer = self._read(client.send, request, "authorization.Permissions", READER)
        return list(answer.get("value") or ())

    # --- Metrics ------------------------------------------------------------------------------------------------------

    def metrics_of(
        self, resource_ids: Sequence[str], query: Mapping[str, str], region: str, endpoint: str | None = None
    ) -> Any:
        """The metrics of up to 50 resources of one subscription, region and type, in the API's own JSON.

        The SDK for this call makes objects of every point, which costs more than all the rest.

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
        client = self._client("getBatch", self.metrics_host(region, endpoint), self._cloud.metrics_scope, _metrics)
        return self._read(client.send, request, "monitor.getBatch", MONITORING_READER)

    def metrics_host(self, region: str, endpoint: str | None) -> str:
        """The address of the host of metrics of a region, or of an endpoint in place of all such hosts."""
        if self.session is None:
            endpoint = endpoint or self._endpoint
        return endpoint or f"https://{region}.{self._cloud.metrics}"

    @property
    def manager_host(self) -> str:
        """The address of Resource Manager."""
        return self._endpoint or self._cloud.manager

    def metrics_in(self, subscription: str, region: str, query: Mapping[str, Any]) -> Any:
        """The metrics of one type of resource in a region, from Resource Manager, in the API's own JSON.

        https://learn.microsoft.com/rest/api/monitor/metrics/list-at-subscription-scope-post tells `query`.
        """
        body = json.dumps(dict(query)).encode()

        def send(operation: MetricsOperations) -> HttpResponse:
            answer: Any = operation.list_at_subscription_scope_post(
                region=region, body=BytesIO(body), cls=_as_it_came, timeout=timeout(), retry_on_methods=["POST"]
            )
            response: HttpResponse = answer
            return response

        monitor = self._monitor_of(subscription)
        return self._read(send, monitor.metrics, "monitor.ListAtSubscriptionScope", MONITORING_READER)

    def _monitor_of(self, subscription: str) -> MonitorManagementClient:
        """The SDK's client for the metrics of a subscription in Resource Manager."""
        with self._lock:
            if subscription not in self._monitors:
                transport, retries = _metrics("ListAtSubscriptionScope")
                self._monitors[subscription] = MonitorManagementClient(
                    self.session or NoCredential(),
                    subscription,
                    self._endpoint,
                    cloud_setting=self._cloud.settings,
                    authentication_policy=self._authorization(self.manager_host, self._cloud.manager_scope)
                    or SansIOHTTPPolicy(),
                    transport=transport,
                    retry_policy=retries,
                    user_agent="optiinfra",
                )
            return self._monitors[subscription]

    # --- Costs --------------------------------------------------------------------------------------------------------

    def costs(self, subscription: str, query: Mapping[str, Any], link: str = "") -> dict[str, Any]:
        """Request a page of a cost query: its `properties`, with every amount a Decimal as it was written.

        https://learn.microsoft.com/rest/api/cost-management/query/usage tells `query`. `rows` is a list, and empty
        where there is no content.

        Args:
            subscription: the scope that is asked about.
            query: the body, the same for every page.
            link: the `nextLink` of the page before.

        Raises:
            CloudError: it was refused, or the answer has no rows: what tells nothing must not count as no costs.
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
        client = self._client("CostManagement.Query", self.manager_host, self._cloud.manager_scope, _costs)
        operation = "costmanagement.Query"
        answer = self._read(client.send, request, operation, COST_READER, exact)
        if answer is None:
            return {"rows": []}
        properties = as_dict(answer, "properties")
        if not isinstance(properties.get("rows"), list):
            raise CloudError(Cause.BUG, f"{operation}: the answer has no rows. Please report this")
        return dict(properties)

    def list_blobs(self, host: str, container: str, prefix: str, marker: str) -> str:
        """Request a page of the XML that lists the objects of a container in blob storage."""
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

    def _storage_client(self, host: str) -> RestClient:
        url = f"{self._endpoint}/{host}" if self.session is None else f"https://{host}"
        return self._client("Storage", url, "https://storage.azure.com/.default", _plain)

    def _client(
        self, operation: str, url: str, scope: str, carrier: Callable[[str], tuple[Transport, Retries]]
    ) -> RestClient:
        """The client for a host that counts its calls as `operation`; `scope` is that of the tokens it is shown."""
        with self._lock:
            if (operation, url) not in self._clients:
                transport, retries = carrier(operation)
                self._clients[operation, url] = RestClient(url, transport, self._authorization(url, scope), retries)
            return self._clients[operation, url]

    def _authorization(self, url: str, scope: str) -> Authorization | None:
        """What shows a host the session's token; None for a host that is shown none."""
        return None if self.session is None or is_plain_loopback(url) else Authorization(self.session, scope)

    # --- Answers ------------------------------------------------------------------------------------------------------

    def _read(
        self,
        send: Callable[[T], HttpResponse],
        request: T,
        operation: str,
        remedy: str,
        parse: Callable[[str], Any] = json.loads,
    ) -> Any:
        with self._explained(operation, remedy):
            response = send(request)
            try:
                return parse(response.text()) if response.status_code != 204 else None
            except ValueError as error:
                raise sdk.DecodeError("no JSON", response=response) from error

    def _explained(self, operation: str, remedy: str) -> AbstractContextManager[None]:
        return explained(operation, remedy, self._secrets, session=self.session is not None)


def _as_it_came(answer: PipelineResponse[Any, HttpResponse], _objects: object, _headers: object) -> HttpResponse:
    return answer.http_response


def _plain(operation: str) -> tuple[Transport, Retries]:
    return Transport(operation), Retries()


def _metrics(operation: str) -> tuple[Transport, Retries]:
    # There is another way to metrics: who is not reached, or is silent for 90 s, is left for it.
    return Transport(operation, METRICS_PRICE_USD), Retries(retry_connect=1, retry_read=2)


def _costs(operation: str) -> tuple[Transport, Retries]:
    return CostTransport(operation), CostRetries()


class _Content(RawIOBase):
    """A response that is read while it comes."""

    def __init__(self, chunks: Iterator[bytes], principal: Principal) -> None:
        super().__init__()
        self._chunks, self._principal, self._rest = chunks, principal, b""
        self._caller = caller()  # who reads may do so in another thread

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._rest:
            if self._caller.seconds_left <= 0:
                raise CloudError(Cause.UNAVAILABLE, f"storage.GetBlob: it takes longer than allowed. {LATER}")
            with self._principal._explained("storage.GetBlob", BLOB_READER):
                self._rest = next(self._chunks, b"")
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def exact(text: str) -> Any:
    """JSON, with every number that has a point as the Decimal that was written."""
    return json.loads(text, parse_float=Decimal)


# --- Entering ---------------------------------------------------------------------------------------------------------

_PRINCIPALS: dict[bytes, Principal] = {}
_REGISTRY = threading.Lock()


def open_principal(account: AzureAccount) -> Principal:
    """Enter as the identity that an account names, or come back to it. No call is made before the first query.

    The reference to the secret is looked up now, so a rotated or corrected secret leads to a new entry; one that is
    rotated later is looked up when Azure refuses the old one.

    Raises:
        ConfigError: a reference or the endpoint leads nowhere.
        CloudError: the identity cannot be used as written.
    """
    endpoint = account.endpoint()
    secret = "" if is_plain_loopback(endpoint) else _secret_of(account)
    way_in = (endpoint, account.tenant_id, account.client_id, secret, environment())
    key = sha256(repr(way_in).encode()).digest()
    with _REGISTRY:
        if key not in _PRINCIPALS:
            try:
                _PRINCIPALS[key] = _enter(account, endpoint)
            except ValueError as error:  # azure-identity refuses what cannot be a tenant
                raise CloudError(Cause.CONFIG, f"azure-identity: {shortened(str(error))}. {CREDENTIAL}") from None
        return _PRINCIPALS[key]


def forget(principal: Principal) -> None:
    """Enter anew next time, because Azure does not accept this entry any more."""
    with _REGISTRY:
        for key in [key for key, entered in _PRINCIPALS.items() if entered is principal]:
            del _PRINCIPALS[key]


def _enter(account: AzureAccount, endpoint: str | None) -> Principal:
    cloud = cloud_of(endpoint)
    if is_plain_loopback(endpoint):
        return Principal(cloud, None, endpoint)
    secrets: list[str] = []

    def credential() -> TokenCredential:
        secrets.append(_secret_of(account))
        return credential_of(account, secrets[-1], cloud.authority)

    return Principal(cloud, Session(credential), endpoint, secrets)


def _secret_of(account: AzureAccount) -> str:
    return account.client_secret.resolve() if account.client_secret else ""
