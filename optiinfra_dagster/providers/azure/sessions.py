"""Sessions: the credential that a principal is entered with, which is made anew where Azure refuses what it had.

A token is refused before its time where it was revoked, where a secret was rotated, and where a host's clock stood
wrong. So whatever was remembered is dropped once, the secret and the environment are read again, and the call is made
once more, before anything counts as failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from azure.core.exceptions import ClientAuthenticationError
from azure.core.pipeline.policies import BearerTokenCredentialPolicy

from optiinfra_dagster.model.errors import CollectionError

if TYPE_CHECKING:
    from azure.core.credentials import AccessToken, TokenCredential


class Session:
    """A credential for azure-core, and the way to make it anew. Thread-safe.

    `opened` counts how often it was made. `enter` reads whatever it is made of each time.
    """

    def __init__(self, enter: Callable[[], TokenCredential]) -> None:
        self._enter = enter
        self._lock = threading.Lock()
        self.credential, self.opened = enter(), 1

    def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """A token; where a login is refused, that of a second one."""
        opened = self.opened
        try:
            return self.credential.get_token(*scopes, **options)
        except ClientAuthenticationError:
            if not self.open_anew(opened):
                raise
            return self.credential.get_token(*scopes, **options)

    def open_anew(self, refused: int) -> bool:
        """Make the credential anew, unless another thread did so since the one that was refused; False if it fails."""
        with self._lock:
            if self.opened == refused:
                try:
                    self.credential = self._enter()
                except (CollectionError, ValueError):
                    return False  # what refused the first says more than that there is no second
                self.opened += 1
            return True


class Authorization(BearerTokenCredentialPolicy[Any, Any]):
    """Shows the session's token with each request; one that is refused is sent once more, with another session's."""

    def __init__(self, session: Session, scope: str) -> None:
        super().__init__(session, scope)
        self._session, self._shown = session, session.opened

    def send(self, request: Any) -> Any:
        """Send a request."""
        opened = self._session.opened
        self.on_request(request)
        if self._shown != opened:
            self._authorize(request, opened)
        response = self.next.send(request)
        if response.http_response.status_code == 401 and self._session.open_anew(opened):
            self._authorize(request, self._session.opened)
            response = self.next.send(request)
        return response

    def _authorize(self, request: Any, opened: int) -> None:
        self.authorize_request(request, *self._scopes)
        self._shown = opened
