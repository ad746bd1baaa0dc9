"""The ids by which a window's interactions are known, for feedback that names one of them days later."""

from __future__ import annotations

import hashlib
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime


class Ids:
    """The ids of a window's interactions, 28 bytes for each id."""

    def __init__(self) -> None:
        self.hashes, self.interactions, self.moments, self.applications = array("Q"), array("Q"), array("q"), array("I")
        self.names: dict[tuple[str, str], int] = {}

    def add(
        self, interaction_id: str, ids: Sequence[str], trace_id: str, timestamp: datetime, application: tuple[str, str]
    ) -> None:
        """Note an interaction: its own id, further ones, that of its trace, and its application's id and name."""
        own = hash_of("id", interaction_id)
        hashes = {own, *(hash_of("id", one) for one in ids if one)} if ids else {own}
        if trace_id:
            hashes.add(hash_of("trace", trace_id))
        number = self.names.setdefault(application, len(self.names))
        moment = round(timestamp.timestamp() * 1e6)
        for hashed in hashes:
            self.hashes.append(hashed)
            self.interactions.append(own)
            self.moments.append(moment)
            self.applications.append(number)


def hash_of(kind: str, name: str) -> int:
    """The number under which an id is kept, as ClickHouse's `halfMD5(concat(kind, ' ', name))`."""
    text = f"{kind} {name}".encode("utf-8", "replace")
    return int.from_bytes(hashlib.md5(text, usedforsecurity=False).digest()[:8])
