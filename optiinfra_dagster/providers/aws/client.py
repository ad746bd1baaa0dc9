"""The way into a customer's AWS account: credentials, clients, and what a call costs.

Clients are shared by all customers and ask at every signature whose call it is. Clients of their own would cost each
customer about 70 ms CPU, 3.7 MB and 11 TLS handshakes in every region: for 200 customers 14 CPU-s and 740 MB per window
before the first call. What an account has for itself is its credentials.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import botocore.session
from botocore import exceptions as sdk
from botocore.config import Config
from botocore.credentials import Credentials, ReadOnlyCredentials, RefreshableCredentials
from botocore.parsers import ResponseParserError
from botocore.utils import parse_timestamp

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.model.hosts import is_loopback
from optiinfra_dagster.providers.aws.errors import explain
from optiinfra_dagster.providers.parsing import ODD, as_datetime

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount

# What AWS charges for one request of an operation; everything else here is free of charge.
PRICES_USD: Mapping[str, Decimal] = {
    "GetCostAndUsage": Decimal("0.01"),  # AWS Cost Explorer pricing: per request, so per page
}

# At worst 4 x (5 + 30) s and 22 s between attempts, then the call is given up.
_CONFIG = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=5,
    read_timeout=30,
    max_pool_connections=64,  # shared by the threads of all customers
    account_id_endpoint_mode="disabled",  # a shared client has one host name for all accounts
    parameter_validation=False,  # requests are built here; checking 500 metric queries takes 30 ms CPU
    user_agent_extra="optiinfra",
)

# What reading an answer of another form than expected raises, and botocore for credentials that expire at once.
_ODD = (*ODD, RuntimeError)

_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-isob-": "aws-iso-b",
    "us-iso-": "aws-iso",
    "eusc-": "aws-eusc",
}
_HOME_REGIONS = {
    "aws": "us-east-1",
    "aws-cn": "cn-north-1",
    "aws-us-gov": "us-gov-west-1",
    "aws-iso": "us-iso-east-1",
    "aws-iso-b": "us-isob-east-1",
    "aws-eusc": "eusc-de-east-1",
}


def partition_of(region: str) -> str:
    """The partition that a region belongs to, which ARNs begin with: `aws`, `aws-cn`, `aws-us-gov`."""
    return next((partition for prefix, partition in _PARTITIONS.items() if region.startswith(prefix)), "aws")


# --- Whose call it is -----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Caller:
    """The account that this thread calls AWS for: its credentials, its meter, its deadline, and its last operation."""

    credentials: Credentials | RefreshableCredentials
    meter: Meter
    usd: Mapping[str, Decimal]
    until: float | None = None
    operation: str = ""


_CALLER: ContextVar[_Caller] = ContextVar("optiinfra_aws_caller")


class _CallersCredentials(Credentials):  # type: ignore[misc]  # botocore is untyped
    """The credentials that every client signs with: those of the account that is calling in this thread.

    Outside of `Account.call` there are none, so a call that forgot whose it is fails instead of using another's.
    """

    def __init__(self) -> None:
        super().__init__("per-call", "per-call", method="optiinfra-per-call")

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        return _CALLER.get().credentials.get_frozen_credentials()


def _count(event_name: str, **_event: object) -> None:
    """Count one HTTP attempt (`before-send.ec2.DescribeInstances`) before it is sent; a retry is another one.

    AWS does not say whether a throttled attempt is charged: counting it makes the meter an upper bound. What is raised
    here ends the call, further attempts and pages included: botocore does not know these errors as passing ones.
    """
    caller = _CALLER.get()
    caller.operation = operation = event_name.rpartition(".")[2]
    if caller.until is not None and time.monotonic() >= caller.until:
        raise CloudError(Cause.UNAVAILABLE, f"{operation} was not called: AWS took too long to answer. {LATER}")
    caller.meter.count(operation, usd=caller.usd.get(operation) or PRICES_USD.get(operation) or Decimal(0))


# --- Clients --------------------------------------------------------------------------------------------------------

_MODELS: list[Any] = []  # the one loader of service descriptions: reading EC2's again would cost 0.2 CPU-s


def _utc(value: str | float) -> datetime | None:
    """Read a time of an answer, as UTC; None for what is none, which must not cost the rest of the answer.

    botocore's own way costs 50 us and was 60 % of reading a metric's points.
    """
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else datetime.fromtimestamp(value, UTC)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (*ODD, OSError):
        with suppress(*ODD, OSError):
            return as_datetime(parse_timestamp(value))
    return None


class _Sdk:
    """The botocore session and the clients of one environment. A session is not thread-safe; clients are."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._clients: dict[tuple[str, str, str | None], Any] = {}
        self._session = self._new_session()
        self._session.register("before-send", _count)
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

    def host_credentials(self) -> Any:
        """The credentials of this host: environment, profile, container or instance role.

        Raises:
            NoCredentialsError: there are none.
        """
        with self._lock:
            self._host_session = self._host_session or self._new_session()
            credentials = self._host_session.get_credentials()
        if credentials is None:
            raise sdk.NoCredentialsError
        return credentials

    def host_region(self) -> str | None:
        """The region that this host is set to, if it is."""
        with self._lock:
            region: str | None = self._session.get_config_variable("region")
        return region

    def client(self, service: str, region: str, endpoint: str | None) -> Any:
        key = (service, region, endpoint)
        with self._lock:
            if key not in self._clients:
                client = self._session.create_client(service, region_name=region, endpoint_url=endpoint, config=_CONFIG)
                _refuse_plain_http(client.meta.endpoint_url, service)
                self._clients[key] = client
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


# --- Accounts -------------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Account:
    """A customer's AWS account that was entered: makes its calls, counts them, and explains their errors."""

    customer_id: str
    account_id: str
    partition: str
    home_region: str
    _sdk: _Sdk
    _endpoint: str | None
    _secrets: tuple[str, ...]
    _credentials: Any = None

    @contextmanager
    def call(
        self,
        service: str,
        region: str,
        meter: Meter,
        usd: Mapping[str, Decimal] | None = None,
        until: float | None = None,
    ) -> Iterator[Any]:
        """Lend the client of a service in a region; inside the block, this thread calls as this account.

        `usd` prices operations by what is in the request; from `until` on (`time.monotonic`), nothing is sent. Do not
        hand the client to another thread.

        Raises:
            CloudError: what botocore or the reading of an answer raised in the block, explained; or the call would
                exceed the meter's limit, or comes too late.
        """
        caller = _Caller(self._credentials, meter, usd or {}, until)
        token = _CALLER.set(caller)
        try:
            yield self._sdk.client(service, region, self._endpoint)
        except (sdk.ClientError, sdk.BotoCoreError, ResponseParserError) as error:
            # Not chained: the cloud's own text may quote the request, keys and token included.
            raise self._hide(explain(error, service, region, caller.operation)) from None
        except _ODD as error:
            message = f"{service}.{caller.operation} in {region} was answered in a form that this code does not expect"
            raise self._hide(CloudError(Cause.BUG, f"{message}: {type(error).__name__}: {error}")) from error
        finally:
            _CALLER.reset(token)

    def is_accepted(self, meter: Meter) -> bool:
        """True if STS, which needs no permission and is on in every account, accepts the credential.

        A region that is not enabled refuses good credentials with the same words as it refuses bad ones.
        """
        try:
            self.identity(meter)
        except CloudError as error:
            return error.cause is not Cause.AUTH
        return True

    def identity(self, meter: Meter) -> str:
        """The number of the account that the credential belongs to.

        Raises:
            CloudError: the credential was refused, or STS could not be asked.
        """
        with self.call("sts", self.home_region, meter) as sts:
            return str(sts.get_caller_identity()["Account"])

    def _hide(self, error: CloudError) -> CloudError:
        """Take the customer's own secrets out of a message, should the cloud have quoted them."""
        message = str(error)
        secrets = list(self._secrets)
        if isinstance(self._credentials, RefreshableCredentials):
            secrets += [self._credentials._access_key, self._credentials._secret_key, self._credentials._token]
        for secret in secrets:
            if secret and len(secret) >= 4:
                message = message.replace(secret, "***")
        return CloudError(error.cause, message)

    def _enter_as_host(self) -> None:
        try:
            self._credentials = self._sdk.host_credentials()
        except sdk.BotoCoreError as error:
            raise explain(error, "sts", self.home_region) from None

    def _enter_by_keys(self, access_key: str, secret_key: str) -> None:
        self._credentials = Credentials(access_key, secret_key)

    def _enter_by_role(self, role_arn: str, external_id: str | None, meter: Meter) -> None:
        self._enter_as_host()
        host = self._credentials
        request = {"RoleArn": role_arn, "RoleSessionName": session_name(self.customer_id), "DurationSeconds": 3600}
        if external_id is not None:
            request["ExternalId"] = external_id

        def assume() -> dict[str, str]:
            # A refresh happens inside somebody's call, and is counted there.
            caller = _CALLER.get()
            token = _CALLER.set(_Caller(host, caller.meter, {}, caller.until))
            try:
                answer = self._sdk.client("sts", self.home_region, self._endpoint).assume_role(**request)
            finally:
                _CALLER.reset(token)
            granted = answer["Credentials"]
            return {
                "access_key": granted["AccessKeyId"],
                "secret_key": granted["SecretAccessKey"],
                "token": granted["SessionToken"],
                "expiry_time": granted["Expiration"].isoformat(),
            }

        with self.call("sts", self.home_region, meter):
            self._credentials = RefreshableCredentials.create_from_metadata(assume(), assume, "sts-assume-role")


def session_name(customer_id: str) -> str:
    """The name under which the customer's CloudTrail shows our sessions; STS takes 64 characters at most."""
    return re.sub(r"[^\w+=,.@-]", "-", f"optiinfra-{customer_id}", flags=re.ASCII)[:64]


_SDKS: dict[bytes, _Sdk] = {}
_ACCOUNTS: dict[tuple[str, str, bytes], Account] = {}
_OPENING: dict[tuple[str, str, bytes], threading.Lock] = {}
_REGISTRY = threading.Lock()


def open_account(customer_id: str, account: AwsAccount, meter: Meter) -> Account:
    """Enter an account, or come back to it: one AssumeRole serves all collections of this process for an hour.

    References are looked up now, so a rotated or corrected secret leads to a new entry.

    Raises:
        ConfigError: a reference or the endpoint leads nowhere.
        CloudError: the role cannot be assumed, or this host has no credentials.
    """
    endpoint = account.endpoint()
    references = (account.external_id, account.access_key_id, account.secret_access_key)
    external_id, access_key, secret_key = (reference.resolve() if reference else None for reference in references)
    # What botocore reads by itself: endpoint, region, profile and the host's own keys.
    environment = _fingerprint(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    way_in = (environment, account.role_arn, account.regions, endpoint, external_id, access_key, secret_key)
    key = (customer_id, account.account_id, _fingerprint(*way_in))
    with _REGISTRY:
        clients = _SDKS.get(environment) or _SDKS.setdefault(environment, _Sdk())
        opening = _OPENING.setdefault(key, threading.Lock())
    with opening:
        entered = _ACCOUNTS.get(key)
        if entered is None:
            partition, home_region = _home(account, clients.host_region())
            secrets = tuple(secret for secret in (external_id, access_key, secret_key) if secret)
            entered = Account(customer_id, account.account_id, partition, home_region, clients, endpoint, secrets)
            if account.role_arn:
                entered._enter_by_role(account.role_arn, external_id, meter)
            elif access_key and secret_key:
                entered._enter_by_keys(access_key, secret_key)
            else:
                entered._enter_as_host()
            _ACCOUNTS[key] = entered
        return entered


def _home(account: AwsAccount, host_region: str | None) -> tuple[str, str]:
    """The partition of an account, and the region of it where STS is asked: this host's own, which it surely reaches.

    Not the first of `regions`: that one may turn out not to be enabled.
    """
    if account.role_arn:
        partition = account.role_arn.split(":")[1]
    else:
        partition = partition_of(account.regions[0] if account.regions else host_region or "")
    if host_region and partition_of(host_region) == partition:
        return partition, host_region
    return partition, _HOME_REGIONS.get(partition, "us-east-1")


def _fingerprint(*parts: object) -> bytes:
    return sha256(repr(parts).encode()).digest()


def forget(account: Account) -> None:
    """Enter anew next time, because AWS does not accept this entry any more."""
    with _REGISTRY:
        for key in [key for key, entered in list(_ACCOUNTS.items()) if entered is account]:
            del _ACCOUNTS[key]
