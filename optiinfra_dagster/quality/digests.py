"""Digests of what files of a log hold of each window, by which one that was read need not be read again.

The digest of a window is the sum of the digests of its records, whichever files they are in. So a window whose digest
is another one than when it was collected has records that came late; a file that was renamed, or that grew by records
of other windows, changes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from hashlib import blake2b
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.quality.interactions import BadLine, Feedback, Interaction, Observation

if TYPE_CHECKING:
    from optiinfra_dagster.providers.object_storage.store import File
    from optiinfra_dagster.quality.interactions import Item

KEPT = timedelta(days=8)
"""What a file holds of windows longer before its last change is not remembered: a log of years would take years."""

_WINDOW_S = int(windows.WINDOW.total_seconds())
_WHOLE = 2**64

Contents = Mapping[int, int]
"""The digest of each window that a file holds records of, by the window's start in epoch seconds."""


class Reading:
    """The contents of a file while it is read."""

    def __init__(self) -> None:
        self._sums: Counter[int] = Counter()

    def add(self, item: Item, moment: datetime, times: int = 1) -> None:
        """Count a record in the window of `moment`, which is its own time, if it has one."""
        seconds = moment.timestamp()
        self._sums[int(seconds) // _WINDOW_S * _WINDOW_S] += times * _digest(item, seconds)

    def contents(self) -> dict[int, int]:
        """The digests of what was added."""
        return {window: digest % _WHOLE for window, digest in self._sums.items()}


def _digest(item: Item, seconds: float) -> int:
    """A number that another record does not have; texts go in by their lengths, as they are not to be kept."""
    if isinstance(item, BadLine):
        identity = f"{item.reason}"
    elif isinstance(item, Observation):
        identity = f"observation\0{item.trace_id}\0{item.timestamp}"
    elif isinstance(item, Feedback):
        identity = f"feedback\0{item.ids}\0{item.trace_id}\0{item.name}\0{item.timestamp.timestamp()}\0{item.number}"
        identity += f"\0{item.word}\0{len(item.comment)}"
    else:
        identity = f"{item.interaction_id}\0{item.application_id}\0{item.model_name}\0{seconds}"
        if isinstance(item, Interaction):
            identity += f"\0{len(item.prompt)}\0{len(item.response)}\0{len(item.context or '')}\0{item.response_tokens}"
    return int.from_bytes(blake2b(identity.encode("utf-8", "surrogatepass"), digest_size=8).digest())


def version_of(file: File) -> str:
    """What tells a file from an earlier one under the same key."""
    return f"{file.version}:{file.size}:{file.modified.timestamp()}"


def is_remembered(file: File, start: datetime) -> bool:
    """True if the contents of `file` that are remembered tell of the window that begins at `start`."""
    return start >= file.modified - KEPT


def remembered(file: File, contents: Contents) -> dict[int, int]:
    """The part of a file's contents that is worth remembering."""
    first = int((file.modified - KEPT).timestamp())
    last = int((file.modified + timedelta(days=1)).timestamp())  # clocks are wrong by less
    return {window: digest for window, digest in contents.items() if first <= window <= last}


def digest_of(contents: Iterable[Contents], start: datetime, end: datetime) -> str:
    """The digest of [start, end) over some files, as it is stored beside what was collected of them."""
    first, last = int(start.timestamp()), int(end.timestamp())
    total = sum(digest for one in contents for window, digest in one.items() if first <= window < last)
    return f"{total % _WHOLE:016x}"
