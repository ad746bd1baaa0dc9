"""The way into Cloud Monitoring: a channel to a project, pages of time series, and when to ask again.

It is reached over gRPC, the only transport of `MetricServiceClient`. Its own retry leaves out spent quotas
(RESOURCE_EXHAUSTED), so the calls are made without it. Answers are read as plain protobuf messages: the client's
wrappers of them cost several times as much.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
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
from optiinfra_dagster.providers.gcp.client import Project, credentials_of
from optiinfra_dagster.providers.gcp.errors import explain_grpc, is_unknown_metric
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
    """A project's metrics, for as long as its channel is open. `deadline` is a time of `time.monotonic()`."""

    project: Project
    client: Any
    meter: Meter
    deadline: float
    _last: CloudError | None = field(default=None, repr=False)

    def page(self, request: ListTimeSeriesRequest, usd: Decimal, price: Decimal) -> Any:
        """Request a page of time series, a protobuf message; None where the project has no such metric.

        Args:
            request: the question; its `page_token` decides which page.
            usd: what the page costs at most; if the budget does not allow it, nothing is sent.
            price: of one time series returned, which is what is billed in the end.

        Raises:
            CloudError: the page could not be had.
        """

        def ask(timeout: float) -> Any:
            self.meter.count("ListTimeSeries", usd=usd)
            returned = 0
            try:
                page = next(iter(self.client.list_time_series(request, retry=None, timeout=timeout).pages))
                answer = type(page).pb(page)
                returned = len(answer.time_series)
            finally:
                self.meter.bill("ListTimeSeries", usd=price * returned - usd)
            return answer

        try:
            return self._patiently(ask, "timeSeries.list")
        except _NoSuchMetricError:
            return None

    def descriptors(self, metric_types: list[str]) -> Iterator[Any]:
        """The descriptors of those metric types that the project has. They are free, and not worth a second attempt.

        Raises:
            CloudError: a page could not be had.
        """
        names = ", ".join(f'"{name}"' for name in metric_types)
        request = ListMetricDescriptorsRequest(
            name=f"projects/{self.project.project_id}", filter=f"metric.type = one_of({names})"
        )

        def ask(timeout: float) -> Any:
            self.meter.count("ListMetricDescriptors")
            return next(iter(self.client.list_metric_descriptors(request, retry=None, timeout=timeout).pages))

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
        self, ask: Callable[[float], AnswerT], method: str, patience: Mapping[Cause, Patience] | None = None
    ) -> AnswerT:
        """Ask with a timeout, again and again where that can help; `patience` in place of the usual."""
        operation = f"{method} of projects/{self.project.project_id}"

        def attempt() -> AnswerT:
            seconds = self.deadline - time.monotonic()
            if seconds <= 0:
                cause = self._last.cause if self._last else Cause.UNAVAILABLE
                raise CloudError(cause, f"{operation} was not answered in the time that a collection has. {LATER}")
            try:
                return ask(min(_CALL_S, seconds))
            except exceptions.GoogleAPICallError as refusal:
                if is_unknown_metric(refusal):
                    raise _NoSuchMetricError from None
                error = explain_grpc(refusal, self.project.caller, operation)
                if error.cause in policy:
                    self._last = error
                raise error from None

        policy = _PATIENCE if patience is None else patience
        return retrying(policy, self.deadline, time.sleep)(attempt)


@contextmanager
def open_monitoring(account: GcpAccount, meter: Meter, deadline: float) -> Iterator[Monitoring]:
    """A project's metrics, to be read before a time of `time.monotonic()`.

    A plain http endpoint, which is a loopback host, is shown no credential.

    Raises:
        ConfigError: the credentials file or the endpoint cannot be used.
        CloudError: there are no credentials, or Google gives no access token for them.
    """
    endpoint = account.monitoring_endpoint() or f"https://{API}"
    credentials = credentials_of(account, endpoint, meter)
    project = Project(account.project_id, credentials, endpoint, account.impersonate, API, permissions.METRICS)
    project.get_token(meter)
    host = urlsplit(endpoint).netloc
    if project.plain:
        channel = grpc.insecure_channel(host, options=_PLAIN_OPTIONS)
        client = MetricServiceClient(transport=MetricServiceGrpcTransport(channel=channel))
    else:
        client = MetricServiceClient(credentials=credentials, client_options=ClientOptions(api_endpoint=host))
    try:
        yield Monitoring(project, client, meter, deadline)
    finally:
        client.transport.close()  # type: ignore[no-untyped-call]


class _NoSuchMetricError(Exception):
    """The project has no such metric, as nothing in it ever wrote one."""
