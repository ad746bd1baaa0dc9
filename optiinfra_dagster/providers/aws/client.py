"""The way into a customer's AWS account: its credentials and sessions, and the calls that are made with them."""

from __future__ import annotations

import math
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from botocore import exceptions as sdk
from botocore.credentials import Credentials, RefreshableCredentials
from botocore.parsers import ResponseParserError

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.aws.errors import Refusal, SessionRefusedError, explain
from optiinfra_dagster.providers.aws.sdk import CALLER, ODD_ANSWERS, Caller, Sdk

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount

_JUDGED_SECONDS = 60.0  # what STS says of an access key is believed for so long
# A session that an administrator revoked is denied everything; so is, by a policy, one that nothing will heal. As both
# are told in the same words, a denied one is opened anew only after so long.
_DENIED_SECONDS = 900.0

_PARTITIONS = {
    "cn-": "aws-cn",
    "us-gov-": "aws-us-gov",
    "us-isob-": "aws-iso-b",
    "us-isof-": "aws-iso-f",
    "eu-isoe-": "aws-iso-e",
    "us-iso-": "aws-iso",
    "eusc-": "aws-eusc",
}
_HOME_REGIONS = {
    "aws": "us-east-1",
    "aws-cn": "cn-north-1",
    "aws-us-gov": "us-gov-west-1",
    "aws-iso": "us-iso-east-1",
    "aws-iso-b": "us-isob-east-1",
    "aws-iso-e": "eu-isoe-west-1",
    "aws-iso-f": "us-isof-south-1",
    "aws-eusc": "eusc-de-east-1",
}


def partition_of(region: str) -> str:
    """The partition that a region belongs to, which ARNs begin with: `aws`, `aws-cn`, `aws-us-gov`."""
    return next((partition for prefix, partition in _PARTITIONS.items() if region.startswith(prefix)), "aws")


# --- Accounts -------------------------------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Account:
    """A customer's AWS account that was entered: makes its calls, counts them, and explains their errors.

    Where AWS refuses its session, that is opened anew, references looked up again, and the call is made once more.
    """

    customer_id: str
    account_id: str
    partition: str
    home_region: str
    _sdk: Sdk
    _config: AwsAccount
    _endpoint: str | None
    _secrets: list[str]
    _credentials: Any = None
    _opening: threading.Lock = field(default_factory=threading.Lock)
    _judged: dict[str, tuple[float, bool]] = field(default_factory=dict)  # access key: when, whether STS accepted it
    _opened_at: float = field(default_factory=time.monotonic)

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
                exceed the meter's limit, or comes too late. `SessionRefusedError` is one that another session may heal.
        """
        caller = Caller(self._credentials, meter, usd or {}, until, reopen=self._reopened)
        with self._explaining(service, region, caller):
            yield self._sdk.client(service, region, self._endpoint)

    @contextmanager
    def _explaining(self, service: str, region: str, caller: Caller) -> Iterator[None]:
        token = CALLER.set(caller)
        try:
            yield
        except (sdk.ClientError, sdk.BotoCoreError, ResponseParserError) as error:
            explained = explain(error, service, region, caller.operation)
            entered = getattr(error, "operation_name", "") != "AssumeRole"
            if explained.cause is Cause.AUTH and entered and self._by_session():
                explained = SessionRefusedError(explained.cause, str(explained))
            # Not chained: the cloud's own text may quote the request, keys and token included.
            raise self._hide(explained) from None
        except ODD_ANSWERS as error:
            message = f"{service}.{caller.operation} in {region} was answered in a form that this code does not expect"
            raise self._hide(CloudError(Cause.BUG, f"{message}: {type(error).__name__}: {error}")) from error
        finally:
            CALLER.reset(token)

    def is_accepted(self, meter: Meter) -> bool:
        """True if STS, which needs no permission and is on in every account, accepts the credential.

        A region that is not enabled refuses good credentials with the same words as it refuses bad ones.
        """
        return self._is_accepted(Caller(self._credentials, meter, {}))

    def _is_accepted(self, caller: Caller) -> bool:
        """The same, asked once a minute for each access key."""
        key = caller.credentials.get_frozen_credentials().access_key
        at, accepted = self._judged.get(key, (-math.inf, False))
        if time.monotonic() - at < _JUDGED_SECONDS:
            return accepted
        try:
            with self._explaining("sts", self.home_region, caller):
                self._sdk.client("sts", self.home_region, self._endpoint).get_caller_identity()
        except CloudError as error:
            if error.cause is not Cause.AUTH:
                return True
        else:
            accepted = True
        self._judged[key] = (time.monotonic(), accepted)
        return accepted

    def offers(self, service: str, region: str) -> bool:
        """False for a service that a region does not have, as not each has MemoryDB; asked where a host is silent."""
        return self._sdk.offers(service, region, self.partition)

    def identity(self, meter: Meter) -> str:
        """The number of the account that the credential belongs to.

        Raises:
            CloudError: the credential was refused, or STS could not be asked.
        """
        with self.call("sts", self.home_region, meter) as sts:
            return str(sts.get_caller_identity()["Account"])

    def _by_session(self) -> bool:
        """True where the credentials are a session, which ends: of a role, or of this host."""
        if self._config.role_arn or isinstance(self._credentials, RefreshableCredentials):
            return True
        return self._config.access_key_id is None and bool(self._credentials.token)

    def _hide(self, error: CloudError) -> CloudError:
        """Take the customer's own secrets out of a message, should the cloud have quoted them."""
        message = str(error)
        secrets = list(self._secrets)
        if isinstance(self._credentials, RefreshableCredentials):
            secrets += [self._credentials._access_key, self._credentials._secret_key, self._credentials._token]
        for secret in secrets:
            if secret and len(secret) >= 4:
                message = message.replace(secret, "***")
        return type(error)(error.cause, message)

    # --- The way in -------------------------------------------------------------------------------------------------

    def enter(self, meter: Meter) -> None:
        """Enter the account for the first time."""
        self._credentials = self._entered(Caller(None, meter, {}), "")

    def _reopened(self, caller: Caller, refusal: Refusal) -> Any:
        """Credentials in place of those that AWS refused; None where they are good, or there are no others.

        Another thread may have them already. That a region which is not enabled refuses a good session is no reason to
        open another, and neither is a denial again and again.
        """
        with self._opening:
            known = self._credentials.get_frozen_credentials().access_key
            if known != caller.access_key:
                return self._credentials
            if refusal is Refusal.DENIED:
                if not self._config.role_arn or time.monotonic() - self._opened_at < _DENIED_SECONDS:
                    return None
            elif self._is_accepted(Caller(self._credentials, caller.meter, {}, caller.until)):
                return None
            fresh = self._entered(caller, caller.access_key)
            if fresh.get_frozen_credentials().access_key == known:
                return None
            self._credentials, self._opened_at = fresh, time.monotonic()
            return fresh

    def _entered(self, caller: Caller, refused: str) -> Any:
        """Credentials of the account by the way that the customers file names; `refused` is a key that is none."""
        config = self._config
        external_id, access_key, secret_key = _secrets_of(config)
        self._secrets += [secret for secret in (external_id, access_key, secret_key) if secret]
        if config.role_arn:
            return self._assumed(config.role_arn, external_id, caller)
        if access_key and secret_key:
            return Credentials(access_key, secret_key)
        return self._host_credentials(refused)

    def _host_credentials(self, refused: str = "") -> Any:
        try:
            return self._sdk.host_credentials(refused)
        except sdk.BotoCoreError as error:
            raise explain(error, "sts", self.home_region) from None

    def _assumed(self, role_arn: str, external_id: str | None, caller: Caller) -> Any:
        request = {"RoleArn": role_arn, "RoleSessionName": session_name(self.customer_id), "DurationSeconds": 3600}
        if external_id is not None:
            request["ExternalId"] = external_id

        def other_host(host: Caller, refusal: Refusal) -> Any:
            fresh = self._host_credentials(host.access_key) if refusal is Refusal.SESSION else None
            return None if fresh is None or fresh.get_frozen_credentials().access_key == host.access_key else fresh

        def assume() -> dict[str, str]:
            # A refresh happens inside somebody's call, and is counted there.
            user = CALLER.get(caller)
            host = Caller(self._host_credentials(), user.meter, {}, user.until, reopen=other_host)
            token = CALLER.set(host)
            try:
                answer = self._sdk.client("sts", self.home_region, self._endpoint).assume_role(**request)
            finally:
                CALLER.reset(token)
            granted = answer["Credentials"]
            return {
                "access_key": granted["AccessKeyId"],
                "secret_key": granted["SecretAccessKey"],
                "token": granted["SessionToken"],
                "expiry_time": granted["Expiration"].isoformat(),
            }

        with self._explaining("sts", self.home_region, Caller(None, caller.meter, {}, caller.until)):
            return RefreshableCredentials.create_from_metadata(assume(), assume, "sts-assume-role")


def session_name(customer_id: str) -> str:
    """The name under which the customer's CloudTrail shows our sessions; STS takes 64 characters at most."""
    return re.sub(r"[^\w+=,.@-]", "-", f"optiinfra-{customer_id}", flags=re.ASCII)[:64]


_SDKS: dict[bytes, Sdk] = {}
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
    # What botocore reads by itself: endpoint, region, profile and the host's own keys.
    environment = _fingerprint(sorted(item for item in os.environ.items() if item[0].startswith("AWS_")))
    way_in = (environment, account.role_arn, account.regions, endpoint, *_secrets_of(account))
    key = (customer_id, account.account_id, _fingerprint(*way_in))
    with _REGISTRY:
        clients = _SDKS.get(environment) or _SDKS.setdefault(environment, Sdk())
        opening = _OPENING.setdefault(key, threading.Lock())
    with opening:
        entered = _ACCOUNTS.get(key)
        if entered is None:
            partition, home_region = _home(account, clients.host_region())
            entered = Account(customer_id, account.account_id, partition, home_region, clients, account, endpoint, [])
            entered.enter(meter)
            _ACCOUNTS[key] = entered
        return entered


def _secrets_of(account: AwsAccount) -> list[str | None]:
    """The external id, access key and secret key of an account, looked up now."""
    references = (account.external_id, account.access_key_id, account.secret_access_key)
    return [reference.resolve() if reference else None for reference in references]


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
