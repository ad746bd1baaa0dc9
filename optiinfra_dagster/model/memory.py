"""The interface of a memory of clouds' answers, so that what changes once a day is asked for once a day."""

from __future__ import annotations

from typing import Any, Protocol


class DayMemory(Protocol):
    """A memory of JSON values by key, each forgotten after a day at the latest; to lose one costs a call."""

    def get(self, *key: str) -> Any:
        """The value remembered under `key`; None where there is none."""
        ...

    def put(self, value: Any, *key: str) -> None:
        """Remember a JSON value under `key`, whole or not at all."""
        ...
