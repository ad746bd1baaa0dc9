"""The transport of requests to Azure: each is counted, paced and tried again, and ends with its collection's time."""

from __future__ import annotations

import re
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from azure.core import PipelineClient
from azure.core.pipeline.policies import RetryPolicy, UserAgentPolicy
from azure.core.pipeline.transport import RequestsTransport
from requests import Session
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from urllib3.util import Retry

from optiinfra_dagster.model.errors import LATER, Cause, CloudError

if TYPE_CHECKING:
    from azure.core.rest import HttpRequest, HttpResponse

    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.sessions import Authorization

PATIENCE: dict[str, Any] = {"retry_total": 3, "retry_backoff_max": 20, "connection_timeout": 5, "read_timeout": 30}
"""The options of every client. azure-core would try 11 times and wait up to 120 s before each: no call shall hold a
slice for so long."""

THROTTLED = frozenset({429, 529})
"""Statuses of throttling: the hosts of metrics also say 529, the service itself has too much to do."""

# --- The caller -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Caller:
    """The collection that this thread calls for: its meter, and when its calls are given up (`time.monotonic`)."""

    meter: Meter
    deadline: float

    @property
    def seconds_left(self) -> float:
        """Seconds until the deadline, negative after it."""
        return self.deadline - time.monotonic()


_CALLER: ContextVar[Caller] = ContextVar("optiinfra_azure_caller")


@contextmanager
def calling(meter: Meter, seconds: float) -> Iterator[None]:
    """Inside the block, the calls of this thread count on `meter` and end, waits included, within `seconds`."""
    token = _CALLER.set(Caller(meter, time.monotonic() + seconds))
    try:
        yield
    finally:
        _CALLER.reset(token)


def caller() -> Caller:
    """The caller of this thread. Only inside of `calling`."""
    return _CALLER.get()


def timeout() -> float:
    """Seconds that a call with all its attempts may take. Only inside of `calling`."""
    return max(caller().seconds_left, 0.0)


def _wait(seconds: float, cause: Cause) -> None:
    """Wait, unless the deadline comes first: then give up at once."""
    if seconds <= 0:
        return
    if seconds >= caller().seconds_left:
        why = f"asks to wait {seconds:.0f} s, which is longer than this collection may"
        if cause is not Cause.THROTTLED:
            why = "did not answer in the time that this collection has"
        raise CloudError(cause, f"Azure {why}. {LATER}")
    time.sleep(seconds)


# --- Connections -----------------------------------------------------------------------------------------------------


class _Adapter(HTTPAdapter):
    """Connections of requests that are read in larger pieces, as azure-core's own are; azure-core tries again."""

    def __init__(self) -> None:
        # Hosts: Resource Manager, Entra ID, the price list, and one for metrics in each region.
        super().__init__(pool_connections=128, pool_maxsize=256, max_retries=Retry(total=False, redirect=False))

    def init_poolmanager(self, *sizes: Any, **options: Any) -> None:
        """Make the pools."""
        super().init_poolmanager(*sizes, **options, blocksize=32 * 1024)


@cache
def connections() -> Session:
    """The connections of all clients, which are those of all customers too.

    A pool of connections to one host reads the certificates that are trusted, at 0.7 MB and 18 ms CPU: with pools of
    their own, a thousand customers would take 2 GB. Nothing of a customer stays here: no cookie is kept.
    """
    session = Session()
    session.cookies = RequestsCookieJar(policy=DefaultCookiePolicy(allowed_domains=[]))
    for protocol in ("http://", "https://"):
        session.mount(protocol, _Adapter())
    return session


# --- Transports -------------------------------------------------------------------------------------------------------


class Transport(RequestsTransport):  # type: ignore[misc]  # azure-core hides its type behind __getattr__
    """Carries requests: counts every attempt, and sends none before the quota of the principal allows it.

    `operation` names the attempts on the meter, of which each costs `usd`. Headers of the quota:
    https://learn.microsoft.com/azure/governance/resource-graph/concepts/guidance-for-throttled-requests
    """

    def __init__(self, operation: str, usd: Decimal = Decimal(0)) -> None:
        super().__init__(session=connections(), session_owner=False, **PATIENCE)
        self._operation, self._usd = operation, usd
        self._lock = threading.Lock()
        self._free_at = 0.0

    def send(self, request: Any, **options: Any) -> Any:
        """Send one attempt."""
        with self._lock:
            wait = self._free_at - time.monotonic()
        _wait(wait, Cause.THROTTLED)
        caller().meter.count(self._operation, usd=self._usd)
        options.setdefault("read_timeout", min(PATIENCE["read_timeout"], max(caller().seconds_left, 0.1)))
        response: Any = super().send(request, **options)
        if response.status_code == 429 or response.headers.get("x-ms-user-quota-remaining") == "0":
            reset = _seconds(response.headers.get("x-ms-user-quota-resets-after", ""))
            with self._lock:
                self._free_at = max(self._free_at, time.monotonic() + reset)
        return response


def _seconds(text: str) -> float:
    """Seconds of `00:00:05`, or 0 where there is no such time."""
    parts = re.fullmatch(r"(\d+):(\d+):(\d+(?:\.\d+)?)", text.strip())
    return int(parts[1]) * 3600 + int(parts[2]) * 60 + float(parts[3]) if parts else 0.0


class Pace:
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


COST_PACE = Pace(4, 60.0)
"""Cost Management refuses what goes beyond about four queries a minute for a subscription."""


class CostTransport(Transport):
    """Carries cost queries, no faster than `COST_PACE`."""

    def send(self, request: Any, **options: Any) -> Any:
        """Send one attempt, when the scope's turn has come."""
        parts = urlsplit(request.url)
        COST_PACE.keep(f"{parts.netloc}{parts.path}".lower())
        return super().send(request, **options)


# --- Retries ----------------------------------------------------------------------------------------------------------


class Retries(RetryPolicy[Any, Any]):
    """azure-core's retries, except that no wait outlives the deadline: there, any Retry-After is slept through."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{**PATIENCE, **options})

    def get_retry_after(self, response: Any) -> float | None:
        """The seconds that the answer asks to wait; None where it names none, or none that can be read."""
        with suppress(ValueError):
            return super().get_retry_after(response)
        return None

    def sleep(self, settings: dict[str, Any], transport: Any, response: Any = None) -> None:  # noqa: ARG002
        """Wait before the next attempt."""
        wait = self.get_retry_after(response) if response is not None else None
        throttled = response is not None and response.http_response.status_code in THROTTLED
        _wait(wait or self.get_backoff_time(settings), Cause.THROTTLED if throttled else Cause.UNAVAILABLE)


_COST_LIMITS = "x-ms-ratelimit-microsoft.costmanagement-"


class CostRetries(Retries):
    """Retries that wait as long as Cost Management asks for.

    It counts processing units, calls of a scope, of a tenant and of a kind of client, and tells a wait for each in a
    header of its own, such as x-ms-ratelimit-microsoft.costmanagement-qpu-retry-after: the longest wait counts.
    """

    def get_retry_after(self, response: Any) -> float | None:
        """The seconds of the longest wait that the answer asks for."""
        waits = [super().get_retry_after(response) or 0.0]
        for name, value in response.http_response.headers.items():
            if name.lower().startswith(_COST_LIMITS) and name.lower().endswith("-retry-after"):
                with suppress(ValueError):
                    waits.append(float(value))
        return max(waits) or None


# --- The client for raw answers ---------------------------------------------------------------------------------------


class RestClient:
    """Sends requests to one host and gives the answers as they are, without objects of an SDK.

    Without an authorization none is shown, as on this machine.
    """

    def __init__(
        self,
        url: str,
        transport: Transport,
        authorization: Authorization | None = None,
        retries: Retries | None = None,
    ) -> None:
        self.url = url
        policies: list[Any] = [UserAgentPolicy("optiinfra"), retries or Retries()]
        if authorization is not None:
            policies.append(authorization)
        self._client = PipelineClient[Any, Any](url, policies=policies, transport=transport)

    def send(self, request: HttpRequest, **options: Any) -> HttpResponse:
        """Get the answer to a request whose address has no host. Only inside of `calling`.

        POST is tried again too: none of the calls here changes anything.

        Raises:
            AzureError: there is no answer, or it is a refusal; for `errors.explained`.
        """
        request.url = self._client.format_url(request.url)
        options = {"timeout": timeout(), "retry_on_methods": ["GET", "POST"], **options}
        response: HttpResponse = self._client.send_request(request, **options)
        if response.status_code >= 400:
            response.read()  # of a streamed answer, for its words
        response.raise_for_status()
        return response
