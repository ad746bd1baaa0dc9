"""The memory of a request: answers that need not be asked for again the same day."""

from __future__ import annotations

from typing import Any, Protocol


class DayMemory(Protocol):
    """JSON values by key, each forgotten after a day at the latest; a memory that loses them only costs calls."""

    def get(self, *key: str) -> Any:
        """The value remembered under `key`; None where there is none."""
        ...

    def put(self, value: Any, *key: str) -> None:
        """Remember a JSON value under `key`, whole or not at all."""
        ...
