"""The way into a customer's Google Cloud project: credentials, pages of assets, and what an error means.

Cloud Asset Inventory is asked over REST with google-auth's session, and its JSON is read as it is. It is the call that
`AssetServiceClient.list_assets` of google-cloud-asset makes over REST too, but that client turns every field into a
protobuf Struct first: 5.4 to 6.1 CPU-s for 10,000 resources, where reading them here takes 1.1.
"""

from __future__ import annotations

import json
import os
import random
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from optiinfra_dagster.providers.parsing import as_text

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

Asset = Mapping[str, Any]

API = "cloudasset.googleapis.com"
ROLE = "roles/cloudasset.viewer"
MONITORING_ROLE = "roles/monitoring.viewer"
PAGE_SIZE = 1000  # the largest that assets.list takes
_SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)  # the only one that the API takes

_TIMEOUT_S = (5.0, 60.0)  # to connect; between two pieces of an answer
_TOTAL_S = 600.0  # for all pages of a project
# First wait, and how long one page is tried: a spent quota of 100 calls a minute comes back within the next minute,
# but the other customers of the same credential want it too.
_PATIENCE_S: Mapping[Cause, tuple[float, float]] = {Cause.THROTTLED: (5.0, 150.0), Cause.UNAVAILABLE: (1.0, 45.0)}
_LONGEST_WAIT_S = 30.0


# --- Projects -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Project:
    """A customer's project that was entered: pages through its assets, counts the calls, and explains their errors."""

    project_id: str
    credentials: Any
    endpoint: str
    impersonate: str | None = None
    api: str = API
    role: str = ROLE  # that the calls need

    @property
    def plain(self) -> bool:
        """Whether the endpoint is plain http: a loopback host, to which no credential is shown."""
        return urlsplit(self.endpoint).scheme == "http"

    def pages(self, asset_types: Sequence[str], meter: Meter, page_size: int = PAGE_SIZE) -> Iterator[list[Asset]]:
        """List the project's assets of some types, with their resources, a page at a time.

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
        yield from self.listing(path, query, "assets", "ListAssets", self._operation, meter)

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
        tokens: list[str] = []
        with self._session(meter, method) as session:
            while True:
                asked = {**query, "pageToken": tokens[-1]} if tokens else query
                answer = self._page(session, url, asked, end, operation)
                items = answer.get(key) or []
                if not isinstance(items, list):
                    raise CloudError(Cause.BUG, f"{operation} answered in a form of its own")
                yield items
                following = as_text(answer.get("nextPageToken"))
                if not following:
                    return
                if following in tokens:
                    raise CloudError(Cause.INCOMPLETE, f"{operation}: the cloud repeats a page. {LATER}")
                if time.monotonic() > end:
                    raise CloudError(Cause.INCOMPLETE, f"{operation} took over {_TOTAL_S:.0f} s. {LATER}")
                tokens.append(following)

    def get_token(self, meter: Meter) -> None:
        """Get an access token where there is none that is good for a while, as gRPC hides why it could not.

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

    @property
    def _operation(self) -> str:
        return f"assets.list of projects/{self.project_id}"

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

    def _page(
        self, session: AuthorizedSession, url: str, query: Mapping[str, Any], end: float, operation: str
    ) -> dict[str, Any]:
        started, attempt = time.monotonic(), 0
        while True:
            try:
                return self._ask(session, url, query, operation)
            except CloudError as error:
                if error.cause not in _PATIENCE_S:
                    raise
                first, patience = _PATIENCE_S[error.cause]
                wait = min(_LONGEST_WAIT_S, first * 2**attempt) * random.uniform(0.5, 1.0)  # noqa: S311 - not a secret
                if time.monotonic() + wait > min(end, started + patience):
                    raise
                attempt += 1
                time.sleep(wait)

    def _ask(self, session: AuthorizedSession, url: str, query: Mapping[str, Any], operation: str) -> dict[str, Any]:
        try:
            answer = session.get(url, params=query, timeout=_TIMEOUT_S, allow_redirects=False)
        except auth.GoogleAuthError as error:
            raise explain_credential(error, self.impersonate) from None
        except requests.RequestException as error:
            # Not its text, which holds the URL and what the connection's other end said.
            raise CloudError(Cause.UNAVAILABLE, f"{operation} got no answer: {type(error).__name__}. {LATER}") from None
        body = _json_object(answer.content)
        if answer.status_code != 200:
            raise explain(answer.status_code, body, self, operation)
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


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        body = json.loads(content)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


# --- Credentials ----------------------------------------------------------------------------------------------------

_CREDENTIALS: dict[bytes, Any] = {}


def open_project(account: GcpAccount, meter: Meter) -> Project:
    """Enter a project, or come back to it: one access token serves all collections of this process for an hour.

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
    if urlsplit(endpoint).scheme == "http":
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
    """What tells a rotated key file from the one before."""
    try:
        state = path.stat() if path else None
    except OSError:  # gone since it was found; reading it will say so
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


# --- What an error means --------------------------------------------------------------------------------------------

_GRANT = "Grant {role} on the project {project} to {principal}, or correct project_id"
_ENABLE = "Enable {api} in the project {payer} (gcloud services enable {api} --project {payer})"
_CREDENTIAL = "Check the credentials file, or renew the credentials of this host"

# Reasons of google.rpc.ErrorInfo, which say more than the status (google/api/error_reason.proto).
_REASONS: Mapping[str, tuple[Cause, str]] = {
    "SERVICE_DISABLED": (Cause.CONFIG, _ENABLE),
    "accessNotConfigured": (Cause.CONFIG, _ENABLE),
    "BILLING_DISABLED": (Cause.CONFIG, "Enable billing in the project {payer}"),
    "CONSUMER_INVALID": (Cause.CONFIG, "Correct quota_project_id or project_id: there is no project {payer}"),
    "CONSUMER_SUSPENDED": (Cause.CONFIG, "The project {payer} is suspended: ask Google's support"),
    "USER_PROJECT_DENIED": (
        Cause.PERMISSION,
        "Grant roles/serviceusage.serviceUsageConsumer on {payer} to {principal}, or correct quota_project_id",
    ),
    "SECURITY_POLICY_VIOLATED": (
        Cause.PERMISSION,
        "Let {principal} through the VPC Service Controls perimeter for {api}",
    ),
    "IAM_PERMISSION_DENIED": (Cause.PERMISSION, _GRANT),
    "ACCOUNT_STATE_INVALID": (Cause.AUTH, "The service account {principal} is disabled or deleted: enable it"),
    "ACCESS_TOKEN_EXPIRED": (Cause.AUTH, _CREDENTIAL),
    "ACCESS_TOKEN_SCOPE_INSUFFICIENT": (Cause.AUTH, f"Give this host's service account the scope {_SCOPES[0]}"),
    "RATE_LIMIT_EXCEEDED": (Cause.THROTTLED, LATER),
}
# Statuses of google.rpc.Code, then of HTTP, for answers of something in between.
_STATUSES: Mapping[str | int, tuple[Cause, str]] = {
    "UNAUTHENTICATED": (Cause.AUTH, _CREDENTIAL),
    "PERMISSION_DENIED": (Cause.PERMISSION, _GRANT),
    "NOT_FOUND": (Cause.CONFIG, "Correct project_id: there is no project {project}"),
    "RESOURCE_EXHAUSTED": (Cause.THROTTLED, LATER),
    401: (Cause.AUTH, _CREDENTIAL),
    403: (Cause.PERMISSION, _GRANT),
    404: (Cause.CONFIG, "Correct project_id or endpoint_url"),
    408: (Cause.UNAVAILABLE, LATER),
    429: (Cause.THROTTLED, LATER),
}


def explain(status: int, body: Mapping[str, Any] | None, project: Project, operation: str = "") -> CloudError:
    """Turn an answer other than 200 into an error that names the remedy.

    `body` is Google's error object (AIP-193), or None where something else answered; `operation` is what was asked,
    if not for assets.
    """
    error = (body or {}).get("error")
    error = error if isinstance(error, dict) else {}
    word = str(error.get("status") or f"HTTP {status}")
    info = _error_info(error)
    reason = str(info.get("reason") or "")
    facts = info.get("metadata")
    consumer = str(facts.get("consumer") or "") if isinstance(facts, dict) else ""
    if reason in _REASONS:
        cause, remedy = _REASONS[reason]
    elif "has not been used in project" in str(error.get("message")):  # without an ErrorInfo, as older APIs put it
        cause, remedy = Cause.CONFIG, _ENABLE
    elif word == "INVALID_ARGUMENT" and "token" in str(error.get("message")).lower():
        cause, remedy = Cause.INCOMPLETE, LATER
    elif status >= 500:
        cause, remedy = Cause.UNAVAILABLE, LATER
    else:
        cause, remedy = _STATUSES.get(word) or _STATUSES.get(status) or (Cause.BUG, "")
    principal = getattr(project.credentials, "service_account_email", None)
    remedy = remedy.format(
        api=project.api,
        role=project.role,
        project=project.project_id,
        principal=principal if principal and principal != "default" else "the account that collects",
        payer=consumer.removeprefix("projects/")
        or getattr(project.credentials, "quota_project_id", None)
        or project.project_id,
    )
    said = " ".join(str(error.get("message") or "").split())[:300].rstrip(". ")
    what = f"{word} {reason}".strip() + (f": {said}" if said else "")
    return CloudError(cause, f"{operation or project._operation}: {what}. {remedy}".rstrip(". "))


def _error_info(error: Mapping[str, Any]) -> Mapping[str, Any]:
    for key in ("details", "errors"):  # new and old form
        for detail in error.get(key) or ():
            if isinstance(detail, dict) and detail.get("reason"):
                return detail
    return {}


def explain_credential(error: auth.GoogleAuthError, impersonate: str | None) -> CloudError:
    """Turn a failure to get an access token into an error; Google's answer is cut to its code."""
    if isinstance(error, auth.TransportError) or error.retryable or _says_later(error):
        return CloudError(Cause.UNAVAILABLE, f"Google's token service did not answer: {type(error).__name__}. {LATER}")
    if impersonate is not None and "impersonate" in str(error.args[:1]):
        return CloudError(
            Cause.AUTH,
            f"{impersonate} cannot be impersonated. Grant roles/iam.serviceAccountTokenCreator on it to the "
            "credentials in use, and enable iamcredentials.googleapis.com in its project",
        )
    code = str(error.args[0]).partition(":")[0] if error.args else ""
    known = code if code.replace("_", "").isalpha() and len(code) <= 40 else type(error).__name__
    return CloudError(Cause.AUTH, f"Google refuses the credential ({known}). {_CREDENTIAL}")


def _says_later(error: auth.GoogleAuthError) -> bool:
    """Whether the answer that the error holds is one of a busy or broken service; impersonation does not tell."""
    answer = error.args[1] if len(error.args) > 1 else None
    body = _json_object(answer.encode()) if isinstance(answer, str) else None
    told = (body or {}).get("error")
    code = told.get("code") if isinstance(told, dict) else None
    return isinstance(code, int) and (code == 429 or code >= 500)
