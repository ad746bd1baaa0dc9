"""The values that world files and worlds are made of: chance that follows from a seed, and times that have a zone."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import blake2b
from typing import Annotated, Any

from pydantic import BeforeValidator


def digest(*parts: object) -> int:
    """A 64-bit number that depends on every part and on nothing else: the lab's only source of chance."""
    return int.from_bytes(blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest())


def _zoned(value: Any) -> Any:
    """Read a time without a zone as UTC, which is what YAML makes of `2026-01-01T00:00:00Z`."""
    if isinstance(value, str):
        value = datetime.fromisoformat(value)
    return value.replace(tzinfo=UTC) if isinstance(value, datetime) and value.tzinfo is None else value


Time = Annotated[datetime, BeforeValidator(_zoned)]
"""A time of a world file, zoned."""
