"""The protocol of object storage: list the files between two keys, a page per call, and open one for reading.

A store raises errors that name its place and the remedy. It knows no customer and no account: who opens it lends it a
client that calls as somebody.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from optiinfra_dagster.model.errors import LATER, Cause, CloudError

BUFFER_BYTES = 256 * 1024
TRIES = 4  # to read on where a connection broke


@dataclass(frozen=True, slots=True)
class File:
    """A file as it was listed. `size` is in bytes as stored; `version` tells it from another under the same key."""

    key: str
    size: int
    modified: datetime
    version: str = ""


class Page(NamedTuple):
    """Files in the order of their keys. `more` is True if there are further files after them."""

    files: list[File]
    more: bool


class Store(Protocol):
    """A bucket, a container or a folder. `place` is its address, for messages."""

    place: str

    def pages(self, prefix: str, after: str = "", before: str = "") -> Iterator[Page]:
        """List the files whose keys begin with `prefix` and sort after `after` and before `before`.

        There is always a first page, and no page but the last is empty.

        Raises:
            CloudError, ConfigError: there is no such place, or it may not be listed.
        """

    def open(self, file: File) -> io.BufferedReader:
        """Open a file as a stream of its bytes as they are stored, which goes on where a connection broke.

        Raises:
            GoneError: it was removed or replaced since it was listed; reading raises this too.
            CloudError, ConfigError: it cannot be read; reading raises these too.
        """

    def close(self) -> None:
        """End the connections that only this store has; the next call makes new ones."""


class GoneError(CloudError):
    """A file was removed or replaced since it was listed."""

    def __init__(self, place: str) -> None:
        super().__init__(Cause.INCOMPLETE, f"a file of {place} was replaced or removed while it was read. {LATER}")


class Body(Protocol):
    """The content of a file from some position on, as a cloud's SDK gives it."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, at most `size`; none at the end."""

    def close(self) -> None:
        """Give the connection back."""


class Stream(io.RawIOBase):
    """`size` bytes that `read_at(position, count)` gives piece by piece; `end` is called when it is closed."""

    def __init__(self, size: int, read_at: Callable[[int, int], bytes], end: Callable[[], None] = lambda: None) -> None:
        self._size, self._read_at, self._end, self._position = size, read_at, end, 0

    def readable(self) -> bool:
        """Say that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` as far as one piece goes."""
        wanted = min(len(buffer), self._size - self._position)
        if wanted <= 0:
            return 0
        data = self._read_at(self._position, wanted)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close what it was read from."""
        if not self.closed:
            self._end()
        super().close()


def resuming(
    size: int, open_at: Callable[[int], Body], what: str, broken: tuple[type[Exception], ...]
) -> io.BufferedReader:
    """A stream of a file of `size` bytes, read from `open_at(position)`, which is called again where it breaks off.

    Args:
        size: of the file, in bytes.
        open_at: opens the file at a position; what it raises stands, since the cloud's client has tried again.
        what: names the call and the place, for messages.
        broken: what reading raises where the connection broke.
    """
    body: Body | None = None
    failures = 0

    def leave() -> None:
        nonlocal body
        if body is not None:
            body.close()
        body = None

    def read_at(position: int, count: int) -> bytes:
        nonlocal body, failures
        while True:
            if body is None:
                body = open_at(position)
            try:
                data = body.read(count)
            except broken as error:
                why = type(error).__name__  # not its text, which may quote what was read
            else:
                if data:
                    return data
                why = "it ends early"
            leave()
            failures += 1
            if failures >= TRIES:
                raise CloudError(Cause.UNAVAILABLE, f"{what} broke off {failures} times ({why}). {LATER}")

    return io.BufferedReader(Stream(size, read_at, leave), BUFFER_BYTES)
