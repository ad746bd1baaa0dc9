"""Access to the server: who asks, about which customers, by a token of the tokens file or by who starts the server."""

from __future__ import annotations

import hmac
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.config.access_tokens import digest_of, load_grants
from optiinfra_dagster.model.errors import OptiInfraError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from optiinfra_dagster.config.access_tokens import Grant


_AGAIN_SECONDS = 1.0  # while a file is wrong; a secret may be looked up for it


@dataclass(frozen=True, slots=True)
class Access:
    """Whose questions these are, and the customers that they may be about."""

    name: str
    customers: tuple[str, ...]


class Tokens:
    """The tokens of a file, read again when it changes, or a file that it names: what was taken out is refused at once.

    Thread-safe. While one of them is wrong nobody is let in, and `say` is told why, once for each reason.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        """Read the file.

        Raises:
            ConfigError: it is wrong.
        """
        self._path = path
        self._say = say
        self._lock = threading.Lock()
        self._files = {path}
        self._state = self._now()
        self._grants: tuple[Grant, ...] = ()
        self._fault, self._next_try = "", 0.0
        self._load()

    @property
    def grants(self) -> tuple[Grant, ...]:
        """What the file says now; nothing where it is wrong."""
        with self._lock:
            is_due = time.monotonic() >= self._next_try if self._fault else self._now() != self._state
            if is_due:
                self._next_try = time.monotonic() + _AGAIN_SECONDS
                try:
                    self._load()
                except OptiInfraError as error:
                    if self._fault != str(error):
                        self._say(f"error: nobody is let in: {error}")
                    self._grants, self._fault = (), str(error)
            return self._grants

    def _load(self) -> None:
        """Read the file; once more where it names files whose state was not looked at before."""
        while True:
            state = self._now()  # of before: what changes while it is read is read again the next time
            grants = load_grants(self._path)
            files = {self._path, *(grant.file for grant in grants if grant.file)}
            known, self._files = self._files, files
            if files <= known:
                break
        self._grants, self._state, self._fault = grants, state, ""

    def who(self, token: str) -> Access | None:
        """Whose token it is; None where it is nobody's. Every token is compared, each in constant time."""
        digest = digest_of(token)
        found = None
        for grant in self.grants:
            if hmac.compare_digest(grant.digest, digest):
                found = Access(grant.name, grant.customers)
        return found

    def _now(self) -> list[tuple[int, int, int] | None]:
        return [_state_of(path) for path in sorted(self._files)]


def _state_of(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
