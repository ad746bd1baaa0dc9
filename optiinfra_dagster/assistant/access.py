"""Who asks, and about which customers: by a token of the tokens file, or as the one who starts the server says."""

from __future__ import annotations

import hmac
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.config.access_tokens import digest_of, load_grants
from optiinfra_dagster.model.errors import OptiInfraError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from optiinfra_dagster.config.access_tokens import Grant


@dataclass(frozen=True, slots=True)
class Access:
    """Whose questions these are, and the customers that they may be about."""

    name: str
    customers: tuple[str, ...]


class Tokens:
    """The tokens of a file, read again when it changes: a token that was taken out is refused at once.

    Thread-safe. While the file is wrong nobody is let in, and `say` is told why, once for each change.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        """Read the file.

        Raises:
            ConfigError: it is wrong.
        """
        self._path = path
        self._say = say
        self._lock = threading.Lock()
        self._state = self._now()
        self._grants = load_grants(path)

    @property
    def grants(self) -> tuple[Grant, ...]:
        """What the file says now; nothing where it is wrong."""
        with self._lock:
            if (state := self._now()) != self._state:
                self._state = state
                try:
                    self._grants = load_grants(self._path)
                except OptiInfraError as error:
                    self._grants = ()
                    self._say(f"error: nobody is let in: {error}")
            return self._grants

    def who(self, token: str) -> Access | None:
        """Whose token it is; None where it is nobody's. Every token is compared, each in constant time."""
        digest = digest_of(token)
        found = None
        for grant in self.grants:
            if hmac.compare_digest(grant.digest, digest):
                found = Access(grant.name, grant.customers)
        return found

    def _now(self) -> tuple[int, int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino
