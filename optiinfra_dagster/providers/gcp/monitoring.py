"""The way into Cloud Monitoring: a channel to a project, pages of time series, and when to ask again.

It is reached over gRPC, the only transport of `MetricServiceClient`. Its own retry leaves out spent quotas
(RESOURCE_EXHAUSTED), so the calls are made without it. Answers are read as plain protobuf messages: the client's
wrappers of them cost several times as much.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import grpc
from google.api_core import exceptions
from google.api_core.client_options import ClientOptions
from google.cloud.monitoring_v3 import MetricServiceClient
from google.cloud.monitoring_v3.services.metric_service.transports import MetricServiceGrpcTransport
from google.cloud.monitoring_v3.types import ListMetricDescriptorsRequest, ListTimeSeriesRequest

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.providers.gcp import permissions
from optiinfra_dagster.providers.gcp.client import Project
from optiinfra_dagster.providers.gcp.credentials import Credential
from optiinfra_dagster.providers.gcp.errors import explain_grpc, final, is_unknown_metric
from optiinfra_dagster.providers.http import Patience, retrying
from optiinfra_dagster.providers.paging import PageGuard

if TYPE_CHECKING:
    from collections.abc import Callable

    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

API = "monitoring.googleapis.com"

_CALL_S = 60.0  # for one page
# How long one page is asked for; the caller's deadline may be sooner. A quota is one of a minute, which an answer may
# ask to wait for.
_PATIENCE: Mapping[Cause, Patience] = {
    Cause.THROTTLED: Patience(first_wait=2.0, longest_wait=60.0, total=120.0, jitter=(0.5, 1.0)),
    Cause.UNAVAILABLE: Patience(first_wait=1.0, total=45.0, jitter=(0.5, 1.0)),
}
# The server alone decides how much it sends, and a proxy of the environment has no business on the way to this host.
_PLAIN_OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.enable_http_proxy", 0)]

AnswerT = TypeVar("AnswerT")


@dataclass(slots=True)
class Monitoring:
    """A project's metrics, for as long as its channels are open. `deadline` is a time of `time.monotonic()`.

    A host that answers nobody for as long as one call is tried is given up, as is a session that is refused when it was
    opened anew: the other calls, for other metrics of the same project, would wait for the same.
    """

    project: Project
    clients: Clients
    meter: Meter
    deadline: float
    _last: CloudError | None = field(default=None, repr=False)
    _answered: float = field(default=float("-inf"), repr=False)
    _given_up: CloudError | None = field(default=None, repr=False)

    def page(self, request: ListTimeSeriesRequest, usd: Decimal, price: Decimal) -> Any:
        """Request a page of time series, a protobuf message; None where the project has no such metric.

        Args:
            request: the question; its `page_token` decides which page.
            usd: what the page costs at most; if the budget does not allow it, nothing is sent.
            price: of one time series returned, which is what is billed in the end.

        Raises:
            CloudError: the page could not be had.
        """

        def ask(client: Any, timeout: float) -> Any:
            self.meter.count("ListTimeSeries", usd=usd)
            returned = 0
            try:
                page = next(iter(client.list_time_series(request, retry=None, timeout=timeout).pages))
                answer = type(page).pb(page)
                returned = len(answer.time_series)
            finally:
                self.meter.bill("ListTimeSeries", usd=price * returned - usd)
            return answer

        try:
            return self._patiently(ask, "timeSeries.list")
        except _NoSuchMetricError:
            return None

    def descriptors(self, metric_types: Sequence[str]) -> Iterator[Any]:
        """The descriptors of those metric types that the project has. They are free, and not worth a second attempt.

        Raises:
            CloudError: a page could not be had.
        """
        names = ", ".join(f'"{name}"' for name in metric_types)
        request = ListMetricDescriptorsRequest(
            name=f"projects/{self.project.project_id}", filter=f"metric.type = one_of({names})"
        )

        def ask(client: Any, timeout: float) -> Any:
            self.meter.count("ListMetricDescriptors")
            return next(iter(client.list_metric_descriptors(request, retry=None, timeout=timeout).pages))

        guard = PageGuard(f"metricDescriptors.list of projects/{self.project.project_id}")
        while True:
            page = self._patiently(ask, "metricDescriptors.list", patience={})
            yield from page.metric_descriptors
            if not page.next_page_token:
                return
            guard.check(page.next_page_token)
            request.page_token = page.next_page_token

    def probe(self) -> None:
        """Read one time series of the last minute, without its points: the least that proves the permission.

        Raises:
            CloudError: it is not allowed, or the API is not enabled.
        """
        now = int(datetime.now(UTC).timestamp())
        request = ListTimeSeriesRequest(
            name=f"projects/{self.project.project_id}",
            filter='metric.type = "compute.googleapis.com/instance/cpu/utilization"',
            interval={"start_time": {"seconds": now - 60}, "end_time": {"seconds": now}},
            view=ListTimeSeriesRequest.TimeSeriesView.HEADERS,
            page_size=1,
        )
        self.page(request, Decimal(0), Decimal(0))

    def _patiently(
        self, ask: Callable[[Any, float], AnswerT], method: str, patience: Mapping[Cause, Patience] | None = None
    ) -> AnswerT:
        """Ask a client with a timeout, again and again where that can help; `patience` in place of the usual."""
        operation = f"{method} of projects/{self.project.project_id}"
        policy, began = _PATIENCE if patience is None else patience, time.monotonic()

        def attempt() -> AnswerT:
            return self.project.credential.enter(lambda known: self._once(ask, known, operation), self.meter)

        try:
            return retrying(policy, self.deadline, time.sleep)(attempt)
        except _GivenUpError as given_up:
            raise given_up.reason from None
        except CloudError as error:
            refused = final(error)
            unanswered = error.cause is Cause.UNAVAILABLE and patience is None and self._answered < began
            if unanswered or refused is not error:
                self._given_up = self._given_up or refused
            raise refused from None

    def _once(self, ask: Callable[[Any, float], AnswerT], credentials: Any, operation: str) -> AnswerT:
        """Ask a client once, as long as the project is not given up and there is time left."""
        if self._given_up is not None:
            raise _GivenUpError(self._given_up)
        seconds = self.deadline - time.monotonic()
        if seconds <= 0:
            cause = self._last.cause if self._last else Cause.UNAVAILABLE
            raise CloudError(cause, f"{operation} was not answered in the time that a collection has. {LATER}")
        try:
            answer = ask(self.clients.of(credentials), min(_CALL_S, seconds))
        except exceptions.GoogleAPICallError as refusal:
            error = explain_grpc(refusal, self.project.caller, operation)
            if error.cause is not Cause.UNAVAILABLE:
                self._answered = time.monotonic()
            if is_unknown_metric(refusal):
                raise _NoSuchMetricError from None
            if error.cause in _PATIENCE:
                self._last = error
            raise error from None
        self._answered = time.monotonic()
        return answer


class Clients:
    """The clients of one endpoint, one for each credential that it is entered with. Safe to use from threads."""

    def __init__(self, endpoint: str, *, plain: bool) -> None:
        self._host, self._plain = urlsplit(endpoint).netloc, plain
        self._open: list[tuple[Any, Any]] = []
        self._lock = threading.Lock()

    def of(self, credentials: Any) -> Any:
        """The client that calls with these credentials."""
        with self._lock:
            for known, client in self._open:
                if known is credentials:
                    return client
            client = self._made(credentials)
            self._open.append((credentials, client))
            return client

    def _made(self, credentials: Any) -> Any:
        if not self._plain:
            return MetricServiceClient(credentials=credentials, client_options=ClientOptions(api_endpoint=self._host))
        channel = grpc.insecure_channel(self._host, options=_PLAIN_OPTIONS)
        return MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))

    def close(self) -> None:
        """Close all channels."""
        for _, client in self._open:
            client.transport.close()


@contextmanager
def open_monitoring(account: GcpAccount, meter: Meter, deadline: float) -> Iterator[Monitoring]:
    """A project's metrics, to be read before a time of `time.monotonic()`.

    A plain http endpoint, which is a loopback host, is shown no credential.

    Raises:
        ConfigError: the credentials file or the endpoint cannot be used.
        CloudError: there are no credentials, or Google gives no access token for them.
    """
    endpoint = account.monitoring_endpoint() or f"https://{API}"
    credential = Credential.of(account, endpoint, meter)
    project = Project(account.project_id, credential, endpoint, account.impersonate, API, permissions.METRICS)
    project.get_token(meter)
    clients = Clients(endpoint, plain=project.plain)
    try:
        yield Monitoring(project, clients, meter, deadline)
    finally:
        clients.close()


class _NoSuchMetricError(Exception):
    """The project has no such metric, as nothing in it ever wrote one."""


class _GivenUpError(Exception):
    """Nothing more is asked of this project now, for a reason that is no ground to try again."""

    def __init__(self, reason: CloudError) -> None:
        super().__init__()
        self.reason = reason
