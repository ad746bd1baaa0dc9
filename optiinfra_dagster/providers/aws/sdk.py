"""The clients of AWS, and whose call it is. They are shared by all customers, and ask at every signature who calls.

Clients of their own would cost each customer about 70 ms CPU, 3.7 MB and 11 TLS handshakes in every region: for 200
customers 14 CPU-s and 740 MB per window before the first call.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.session
from botocore import exceptions
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials
from botocore.utils import parse_timestamp

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.model.hosts import is_loopback
from optiinfra_dagster.providers.aws.errors import Refusal, refusal_of
from optiinfra_dagster.providers.parsing import ODD, as_datetime

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter

# What AWS charges for one request of an operation; everything else here is free of charge.
PRICES_USD: Mapping[str, Decimal] = {
    "GetCostAndUsage": Decimal("0.01"),  # AWS Cost Explorer pricing: per request, so per page
    "ListBuckets": Decimal("0.000005"),  # S3 pricing: LIST requests
}

# At worst 4 x (5 + 30) s and 22 s between attempts, then the call is given up.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=5,
    read_timeout=30,
    max_pool_connections=64,  # shared by the threads of all customers
    account_id_endpoint_mode="disabled",  # a shared client has one host name for all accounts
    parameter_validation=False,  # requests are built here; checking 500 metric queries takes 30 ms CPU
    user_agent=f"Botocore/{botocore.__version__} optiinfra",  # else it is put together anew for each request
)

# What reading an answer of another form than expected raises, and botocore for credentials that expire at once.
ODD_ANSWERS = (*ODD, RuntimeError)

# --- Whose call it is -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Caller:
    """The account that this thread calls AWS for: its credentials, its meter, its deadline, and its last operation.

    `reopen` gives other credentials in place of those that AWS refused, None where there are none; `access_key` is the
    one that the last request was signed with.
    """

    credentials: Any  # of botocore
    meter: Meter
    usd: Mapping[str, Decimal]
    until: float | None = None
    operation: str = ""
    access_key: str = ""
    reopen: Callable[[Caller, Refusal], Any] | None = None


CALLER: ContextVar[Caller] = ContextVar("optiinfra_aws_caller")


class _CallersCredentials(Credentials):  # type: ignore[misc]  # botocore is untyped
    """The credentials that every client signs with: those of the account that is calling in this thread.

    Outside of `Account.call` there are none, so a call that forgot whose it is fails instead of using another's.
    """

    def __init__(self) -> None:
        super().__init__("per-call", "per-call", method="optiinfra-per-call")

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        caller = CALLER.get()
        frozen = caller.credentials.get_frozen_credentials()
        caller.access_key = frozen.access_key
        return frozen


def _count(event_name: str, **_event: object) -> None:
    """Count one HTTP attempt (`before-send.ec2.DescribeInstances`) before it is sent; a retry is another one.

    AWS does not say whether a throttled attempt is charged: counting it makes the meter an upper bound. What is raised
    here ends the call, further attempts and pages included: botocore does not know these errors as passing ones.
    """
    caller = CALLER.get()
    caller.operation = operation = event_name.rpartition(".")[2]
    if caller.until is not None and time.monotonic() >= caller.until:
        raise CloudError(Cause.UNAVAILABLE, f"{operation} was not called: AWS took too long to answer. {LATER}")
    caller.meter.count(operation, usd=caller.usd.get(operation) or PRICES_USD.get(operation) or Decimal(0))


def _reopen(response: Any = None, **_event: object) -> int | None:
    """Have a request sent once more (`needs-retry`) where AWS refused its session, and there is another one now."""
    caller = CALLER.get()
    if response is None or caller.reopen is None:
        return None
    refusal = refusal_of(response[1])
    fresh = caller.reopen(caller, refusal) if refusal is not Refusal.OTHER else None
    if fresh is None:
        return None
    caller.credentials, caller.reopen = fresh, None  # once: a new session that is refused too heals nothing
    return 0  # seconds to wait


# --- Clients --------------------------------------------------------------------------------------------------------

_MODELS: list[Any] = []  # the one loader of service descriptions: reading EC2's again would cost 0.2 CPU-s


def _utc(value: str | float) -> datetime | None:
    """Read a time of an answer, as UTC; None for what is none, which must not cost the rest of the answer.

    botocore's own way costs 50 us and was 60 % of reading a metric's points.
    """
    try:
        if not isinstance(value, str):
            return datetime.fromtimestamp(value, UTC)
        moment = datetime.fromisoformat(value)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (*ODD, OSError):
        with suppress(*ODD, OSError):
            return as_datetime(parse_timestamp(value))
    return None


class Sdk:
    """The botocore session and the clients of one environment. A session is not thread-safe; clients are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str, str | None], Any] = {}
        self._session = self._new_session()
        self._session.register("before-send", _count)
        self._session.register("needs-retry", _reopen)
        self._session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=_utc)
        self._session._credentials = _CallersCredentials()
        self._host_session: Any = None

    @staticmethod
    def _new_session() -> Any:
        session = botocore.session.Session()
        if _MODELS:
            session.register_component("data_loader", _MODELS[0])
        else:
            _MODELS.append(session.get_component("data_loader"))
        return session

    def host_credentials(self, refused: str = "") -> Any:
        """The credentials of this host: environment, profile, container or instance role.

        They are looked up anew where those that are known have the access key `refused`.

        Raises:
            NoCredentialsError: there are none.
        """
        with self._lock:
            self._host_session = self._host_session or self._new_session()
            credentials = self._host_session.get_credentials()
            if credentials is not None and refused == credentials.get_frozen_credentials().access_key:
                self._host_session = self._new_session()
                credentials = self._host_session.get_credentials()
        if credentials is None:
            raise exceptions.NoCredentialsError
        return credentials

    def host_region(self) -> str | None:
        """The region that this host is set to, if it is."""
        with self._lock:
            region: str | None = self._session.get_config_variable("region")
        return region

    def offers(self, service: str, region: str, partition: str) -> bool:
        """False for a service that has no host in a region, by the list that came with the SDK.

        The list may be older than the host: it says why a host cannot be reached, and not which to ask. Of a region
        that is not in it, and of a service that it has nowhere, it tells nothing.
        """
        with self._lock:
            regions, known = (self._session.get_available_regions(name, partition) for name in ("ec2", service))
            listed = bool(known or self._session.get_available_regions(service))
        return region in known or region not in regions or not listed

    def client(self, service: str, region: str, endpoint: str | None) -> Any:
        """The client of a service in a region, made when it is first asked for."""
        key = (service, region, endpoint)
        if key in self._clients:  # it waits for none that is being made: 4 ms each, 200 in a first run
            return self._clients[key]
        with self._lock:
            if key not in self._clients:
                client = self._session.create_client(service, region_name=region, endpoint_url=endpoint, config=_CONFIG)
                _refuse_plain_http(client.meta.endpoint_url, service)
                self._clients[key] = client
                # A client and the descriptions that it was made of stay for the life of the process. To walk them over
                # and over was a sixth of the CPU time of an inventory.
                gc.freeze()
            return self._clients[key]


def _refuse_plain_http(url: str, service: str) -> None:
    """Refuse to send signed requests in the clear, wherever the endpoint was configured."""
    parts = urlsplit(url)
    if parts.scheme != "https" and not is_loopback(parts.hostname):
        raise CloudError(
            Cause.CONFIG,
            f"the endpoint of {service} is {parts.scheme}://{parts.hostname or ''}: only a loopback host may be plain "
            "http. Use https, or correct endpoint_url or AWS_ENDPOINT_URL",
        )
