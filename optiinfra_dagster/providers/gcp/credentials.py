"""The credentials that projects are entered with: kept between collections, and looked up again where they are refused.

An access token serves all collections for an hour, and is kept with its credentials. It may be refused before its time:
revoked, or made with a key that was rotated meanwhile. So a refusal is answered once by looking everything up anew (the
environment, the file, this host) and asking again, before it counts as a failure.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import google.auth
import requests
from google.auth import exceptions as auth
from google.auth import impersonated_credentials
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import Request
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.hosts import is_plain_loopback
from optiinfra_dagster.providers.gcp.errors import SCOPE

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

_SCOPES = (SCOPE,)
_CREDENTIALS: dict[bytes, Any] = {}

AnswerT = TypeVar("AnswerT")


class Credential:
    """The credential of one account, as long as a collection takes. Safe to use from threads."""

    def __init__(self, account: GcpAccount, endpoint: str, value: Any) -> None:
        self._account, self._endpoint = account, endpoint
        self._lock, self._renewed = threading.Lock(), False
        self.value = value

    @classmethod
    def of(cls, account: GcpAccount, endpoint: str, meter: Meter) -> Credential:
        """The credential that an endpoint is entered with; none is looked up for a plain http one.

        Raises:
            ConfigError: the credentials file cannot be used.
            CloudError: this host has no credentials.
        """
        return cls(account, endpoint, credentials_of(account, endpoint, meter))

    def enter(self, ask: Callable[[Any], AnswerT], meter: Meter) -> AnswerT:
        """What `ask` answers with the credentials of google-auth; asked again, once, with new ones if they are refused.

        Raises:
            CloudError: as `ask` does.
        """
        used = self.value
        try:
            return ask(used)
        except CloudError as error:
            if error.cause is not Cause.AUTH or not self._renew(used, meter):
                raise
        return ask(self.value)

    def _renew(self, refused: Any, meter: Meter) -> bool:
        """Look up what takes the place of refused credentials, once; False where that was done before."""
        with self._lock:
            if self.value is refused and not self._renewed:
                self._renewed = True
                self.value = credentials_of(self._account, self._endpoint, meter, refused=refused)
            return self.value is not refused


def credentials_of(account: GcpAccount, endpoint: str, meter: Meter, *, refused: Any = None) -> Any:
    """The credentials that a project is entered with; none are looked up for a plain http endpoint.

    Those that were `refused` are forgotten.

    Raises:
        ConfigError: the credentials file cannot be used.
        CloudError: this host has no credentials.
    """
    if is_plain_loopback(endpoint):
        return AnonymousCredentials()  # type: ignore[no-untyped-call]
    path = account.credentials_file.resolve() if account.credentials_file else None
    environment = sorted(
        item for item in os.environ.items() if item[0].startswith(("GOOGLE_", "CLOUDSDK_", "GCE_", "NO_GCE_"))
    )
    way_in = (environment, str(path), _version(path), account.impersonate, account.quota_project_id)
    key = sha256(repr(way_in).encode()).digest()
    credentials = _CREDENTIALS.get(key)
    if credentials is refused:
        _CREDENTIALS.pop(key, None)
        credentials = None
    if credentials is None:  # without a lock: to look for the host's own may take seconds, and twice does no harm
        loaded = _load(path, account.impersonate, account.quota_project_id, meter)
        credentials = _CREDENTIALS.setdefault(key, loaded)
    return credentials


def _version(path: Path | None) -> tuple[int, int] | None:
    """The time and size of a file, by which a rotated key is known from the one before."""
    try:
        state = path.stat() if path else None
    except OSError:  # gone meanwhile; reading it will say so
        state = None
    return (state.st_mtime_ns, state.st_size) if state else None


def _load(path: Path | None, impersonate: str | None, payer: str | None, meter: Meter) -> Any:
    credentials = _of_host(meter) if path is None else _of_file(path)
    if impersonate is not None:
        return impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
            credentials, target_principal=impersonate, target_scopes=list(_SCOPES), quota_project_id=payer
        )
    if isinstance(credentials, service_account.Credentials):
        # Signs its own tokens, as Google's clients do: no call to the token endpoint.
        credentials = credentials.with_always_use_jwt_access(True)  # type: ignore[no-untyped-call]  # noqa: FBT003
    return credentials.with_quota_project(payer) if payer else credentials


def _of_file(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # The warning is about files from strangers; this one is named in the customers file.
            warnings.simplefilter("ignore", DeprecationWarning)
            return google.auth.load_credentials_from_file(str(path), scopes=_SCOPES)[0]  # type: ignore[no-untyped-call]
    except (auth.GoogleAuthError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        # Not its text: it may quote the file.
        raise ConfigError(
            f"{path} is not a credentials file of Google ({type(error).__name__}). "
            "Write the path of the JSON key of a service account, or of a workload identity configuration."
        ) from None


def _of_host(meter: Meter) -> Any:
    try:
        with requests.Session() as session:
            count_requests(session, meter, "GetAccessToken")
            return google.auth.default(scopes=_SCOPES, request=Request(session))[0]
    except auth.GoogleAuthError as error:
        raise CloudError(
            Cause.AUTH,
            f"this host has no Google credentials ({type(error).__name__}): write credentials_file in the customers "
            "file, set GOOGLE_APPLICATION_CREDENTIALS, or run on Google Cloud with a service account",
        ) from None


# --- Requests for tokens --------------------------------------------------------------------------------------------


class _CountingAdapter(HTTPAdapter):
    """Sends requests, and counts each attempt.

    google-auth copies a session for look-ups in the background (of regional access boundaries), which nobody would
    count. A meter cannot be copied, so it goes without: they are optional.
    """

    __attrs__ = [*HTTPAdapter.__attrs__, "_meter", "_operation"]  # noqa: RUF012 - a list in the base class too

    def __init__(self, meter: Meter, operation: str) -> None:
        super().__init__()
        self._meter, self._operation = meter, operation

    def send(self, *args: Any, **kwargs: Any) -> requests.Response:
        """Send one request."""
        self._meter.count(self._operation)
        return super().send(*args, **kwargs)


def count_requests(session: requests.Session, meter: Meter, operation: str) -> None:
    """Have a meter count every request of a session, under a name."""
    adapter = _CountingAdapter(meter, operation)
    session.mount("https://", adapter)
    session.mount("http://", adapter)  # loopback, and the metadata server of Compute Engine
