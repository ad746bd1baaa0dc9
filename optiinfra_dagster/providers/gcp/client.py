"""The way into a customer's Google Cloud project: credentials, and pages of assets.

Cloud Asset Inventory is asked over REST with google-auth's session, and its JSON is read as it is. It is the call that
`AssetServiceClient.list_assets` of google-cloud-asset makes over REST too, but that client turns every field into a
protobuf Struct first: 5.4 to 6.1 CPU-s for 10,000 resources, where reading them here takes 1.1.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import google.auth
import requests
from google.auth import exceptions as auth
from google.auth import impersonated_credentials
from google.auth.credentials import AnonymousCredentials
from google.auth.transport.requests import AuthorizedSession, Request
from google.oauth2 import service_account
from requests.adapters import HTTPAdapter

from optiinfra_dagster.model.errors import LATER, Cause, CloudError, ConfigError
from optiinfra_dagster.model.hosts import is_plain_loopback
from optiinfra_dagster.providers.gcp import permissions
from optiinfra_dagster.providers.gcp.errors import SCOPE, Caller, explain, explain_credential, json_object
from optiinfra_dagster.providers.http import Patience, retrying
from optiinfra_dagster.providers.paging import PageGuard
from optiinfra_dagster.providers.parsing import as_text

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

Asset = Mapping[str, Any]

API = "cloudasset.googleapis.com"
PAGE_SIZE = 1000  # the largest that assets.list takes
_SCOPES = (SCOPE,)

_TIMEOUT_S = (5.0, 60.0)  # to connect; between two pieces of an answer
_TOTAL_S = 600.0  # for all pages of a project
# How long one page is tried: a spent quota of 100 calls a minute comes back within the next minute, but the other
# customers of the same credential want it too.
_PATIENCE: Mapping[Cause, Patience] = {
    Cause.THROTTLED: Patience(first_wait=5.0, total=150.0, jitter=(0.5, 1.0)),
    Cause.UNAVAILABLE: Patience(first_wait=1.0, total=45.0, jitter=(0.5, 1.0)),
}


# --- Projects -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Project:
    """An open project of a customer: pages through its assets, counts the calls, and explains their errors."""

    project_id: str
    credentials: Any
    endpoint: str
    impersonate: str | None = None
    api: str = API
    role: str = permissions.INVENTORY  # that the calls need

    @property
    def plain(self) -> bool:
        """True for an endpoint on plain http: a loopback host, to which no credential is shown."""
        return is_plain_loopback(self.endpoint)

    @property
    def caller(self) -> Caller:
        """The project as messages about errors name it."""
        return Caller(self.project_id, self.api, self.role, self.credentials)

    def pages(self, asset_types: Sequence[str], meter: Meter, page_size: int = PAGE_SIZE) -> Iterator[list[Asset]]:
        """The project's assets of some types, with their resources, a page at a time.

        Raises:
            CloudError: a page could not be had, within bounds on attempts and total time; earlier pages were yielded.
        """
        query: dict[str, Any] = {
            "assetTypes": list(asset_types),
            "contentType": "RESOURCE",
            "pageSize": page_size,
            "prettyPrint": "false",  # a third fewer bytes
        }
        path = f"v1/projects/{quote(self.project_id)}/assets"
        operation = f"assets.list of projects/{self.project_id}"
        yield from self.listing(path, query, "assets", "ListAssets", operation, meter)

    def listing(
        self, path: str, query: Mapping[str, Any], key: str, method: str, operation: str, meter: Meter
    ) -> Iterator[list[Asset]]:
        """The pages of any listing of the endpoint: what its answers hold under `key`.

        Args:
            path: what follows the endpoint's host.
            query: what is asked, but for the page.
            key: the list within an answer.
            method: what the meter calls it.
            operation: what messages call it.
            meter: counts every request.

        Raises:
            CloudError: a page could not be had, within bounds on attempts and total time; earlier pages were yielded.
        """
        url = f"{self.endpoint.rstrip('/')}/{path}"
        end = time.monotonic() + _TOTAL_S
        guard, of_page = PageGuard(operation), query
        with self._session(meter, method) as session:
            while True:
                send = partial(self._ask, session, url, of_page, operation)
                answer = retrying(_PATIENCE, end, time.sleep)(send)
                items = answer.get(key) or []
                if not isinstance(items, list):
                    raise CloudError(Cause.BUG, f"{operation} answered in a form of its own")
                yield items
                token = as_text(answer.get("nextPageToken"))
                if not token:
                    return
                guard.check(token)
                if time.monotonic() > end:
                    raise CloudError(Cause.INCOMPLETE, f"{operation} took over {_TOTAL_S:.0f} s. {LATER}")
                of_page = {**query, "pageToken": token}

    def get_token(self, meter: Meter) -> None:
        """Get an access token where there is none that is good for a while; gRPC would hide why it could not.

        Raises:
            CloudError: Google gives none.
        """
        if self.plain or self.credentials.valid:
            return
        with requests.Session() as session:
            _count(session, meter, "GetAccessToken")
            try:
                self.credentials.refresh(Request(session))
            except auth.GoogleAuthError as error:
                raise explain_credential(error, self.impersonate) from None

    @contextmanager
    def _session(self, meter: Meter, method: str) -> Iterator[AuthorizedSession]:
        with requests.Session() as for_tokens:
            _count(for_tokens, meter, "GetAccessToken")
            session = AuthorizedSession(self.credentials, auth_request=Request(for_tokens))  # type: ignore[no-untyped-call]
            _count(session, meter, method)
            session.headers["User-Agent"] = "optiinfra (gzip)"  # Google compresses for agents that say so here too
            session.trust_env = not self.plain  # no proxy, and no password of ~/.netrc, on the way to this host
            with session:
                yield session

    def _ask(self, session: AuthorizedSession, url: str, query: Mapping[str, Any], operation: str) -> dict[str, Any]:
        try:
            answer = session.get(url, params=query, timeout=_TIMEOUT_S, allow_redirects=False)
        except auth.GoogleAuthError as error:
            raise explain_credential(error, self.impersonate) from None
        except requests.RequestException as error:
            # Not its text, which holds the URL and what the connection's other end said.
            raise CloudError(Cause.UNAVAILABLE, f"{operation} got no answer: {type(error).__name__}. {LATER}") from None
        body = json_object(answer.content)
        if answer.status_code != 200:
            raise explain(answer.status_code, body, self.caller, operation)
        if body is None:
            raise CloudError(Cause.BUG, f"{operation}: {urlsplit(url).hostname} did not answer with JSON")
        return body


class _Counting(HTTPAdapter):
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


def _count(session: requests.Session, meter: Meter, operation: str) -> None:
    adapter = _Counting(meter, operation)
    session.mount("https://", adapter)
    session.mount("http://", adapter)  # loopback, and the metadata server of Compute Engine


# --- Credentials ----------------------------------------------------------------------------------------------------

_CREDENTIALS: dict[bytes, Any] = {}


def open_project(account: GcpAccount, meter: Meter) -> Project:
    """An open project: it is entered, or come back to, as an access token serves all collections for an hour.

    No credential is looked up for a plain http endpoint, which is a loopback host.

    Raises:
        ConfigError: the credentials file or the endpoint cannot be used.
        CloudError: this host has no credentials.
    """
    endpoint = account.endpoint() or f"https://{API}"
    return Project(account.project_id, credentials_of(account, endpoint, meter), endpoint, account.impersonate)


def credentials_of(account: GcpAccount, endpoint: str, meter: Meter) -> Any:
    """The credentials that a project is entered with; none are looked up for a plain http endpoint.

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
            _count(session, meter, "GetAccessToken")
            return google.auth.default(scopes=_SCOPES, request=Request(session))[0]
    except auth.GoogleAuthError as error:
        raise CloudError(
            Cause.AUTH,
            f"this host has no Google credentials ({type(error).__name__}): write credentials_file in the customers "
            "file, set GOOGLE_APPLICATION_CREDENTIALS, or run on Google Cloud with a service account",
        ) from None
