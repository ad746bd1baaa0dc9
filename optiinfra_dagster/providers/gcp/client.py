"""The way into a customer's Google Cloud project: pages of assets, and of any other listing.

Cloud Asset Inventory is asked over REST with google-auth's session, and its JSON is read as it is. It is the call that
`AssetServiceClient.list_assets` of google-cloud-asset makes over REST too, but that client turns every field into a
protobuf Struct first: 5.4 to 6.1 CPU-s for 10,000 resources, where reading them here takes 1.1.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import requests
from google.auth import exceptions as auth
from google.auth.transport.requests import AuthorizedSession, Request

from optiinfra_dagster.model.errors import LATER, Cause, CloudError
from optiinfra_dagster.model.hosts import is_plain_loopback
from optiinfra_dagster.providers.gcp import permissions
from optiinfra_dagster.providers.gcp.credentials import Credential, count_requests
from optiinfra_dagster.providers.gcp.errors import Caller, explain, explain_credential, final, json_object
from optiinfra_dagster.providers.http import Patience, retrying
from optiinfra_dagster.providers.paging import PageGuard
from optiinfra_dagster.providers.parsing import as_text

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

Asset = Mapping[str, Any]

API = "cloudasset.googleapis.com"
PAGE_SIZE = 1000  # the largest that assets.list takes

_TIMEOUT_S = (5.0, 60.0)  # to connect; between two pieces of an answer
_TOTAL_S = 600.0  # for all pages of a project
# How long one page is tried: a spent quota of 100 calls a minute comes back within the next minute, but the other
# customers of the same credential want it too.
_PATIENCE: Mapping[Cause, Patience] = {
    Cause.THROTTLED: Patience(first_wait=5.0, total=150.0, jitter=(0.5, 1.0)),
    Cause.UNAVAILABLE: Patience(first_wait=1.0, total=45.0, jitter=(0.5, 1.0)),
}


@dataclass(frozen=True, slots=True)
class Project:
    """An open project of a customer: pages through its assets, counts the calls, and explains their errors."""

    project_id: str
    credential: Credential
    endpoint: str
    impersonate: str | None = None
    api: str = API
    role: str = permissions.INVENTORY  # that the calls need

    @property
    def plain(self) -> bool:
        """True for an endpoint on plain http: a loopback host, to which no credential is shown."""
        return is_plain_loopback(self.endpoint)

    @property
    def credentials(self) -> Any:
        """The credentials of google-auth, as they are now."""
        return self.credential.value

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
                send = partial(self._enter, session, url, of_page, operation, meter)
                try:
                    answer = retrying(_PATIENCE, end, time.sleep)(send)
                except CloudError as error:
                    raise final(error) from None
                items = answer.get(key) or []
                if not isinstance(items, list):
                    raise CloudError(Cause.BUG, f"{operation} answered in another form than documented")
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

        def refresh(credentials: Any) -> None:
            if self.plain or credentials.valid:
                return
            with requests.Session() as session:
                count_requests(session, meter, "GetAccessToken")
                try:
                    credentials.refresh(Request(session))
                except auth.GoogleAuthError as error:
                    raise explain_credential(error, self.impersonate) from None

        self.credential.enter(refresh, meter)

    @contextmanager
    def _session(self, meter: Meter, method: str) -> Iterator[AuthorizedSession]:
        with requests.Session() as for_tokens:
            count_requests(for_tokens, meter, "GetAccessToken")
            session = AuthorizedSession(  # type: ignore[no-untyped-call]
                self.credentials,
                refresh_status_codes=(),  # a refusal is answered here, by looking the credential up again
                auth_request=Request(for_tokens),
            )
            count_requests(session, meter, method)
            session.headers["User-Agent"] = "optiinfra (gzip)"  # Google compresses for agents that say so here too
            session.trust_env = not self.plain  # no proxy, and no password of ~/.netrc, on the way to this host
            with session:
                yield session

    def _enter(
        self, session: AuthorizedSession, url: str, query: Mapping[str, Any], operation: str, meter: Meter
    ) -> dict[str, Any]:
        def ask(credentials: Any) -> dict[str, Any]:
            session.credentials = credentials
            return self._ask(session, url, query, operation)

        return self.credential.enter(ask, meter)

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
            raise explain(answer.status_code, body, self.caller, operation, answer.headers.get("Date"))
        if body is None:
            raise CloudError(Cause.BUG, f"{operation}: {urlsplit(url).hostname} did not answer with JSON")
        return body


def open_project(account: GcpAccount, meter: Meter) -> Project:
    """An open project: it is entered, or come back to, as an access token serves all collections for an hour.

    No credential is looked up for a plain http endpoint, which is a loopback host.

    Raises:
        ConfigError: the credentials file or the endpoint cannot be used.
        CloudError: this host has no credentials.
    """
    endpoint = account.endpoint() or f"https://{API}"
    return Project(account.project_id, Credential.of(account, endpoint, meter), endpoint, account.impersonate)
