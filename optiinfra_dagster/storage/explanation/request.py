"""What is asked of an explanation: a row, what it takes to explain it, and which slice it is in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime, timedelta

    from optiinfra_dagster.storage.readers import Source, Statement


@dataclass(frozen=True, slots=True)
class ExplanationRequest:
    """A row, and what it takes to explain it. `name` is family and reader, `lag` how long a window is waited for.

    `masked` takes secrets out of a text. `recompute` asks whether the reader's SELECT gives the same row now.
    """

    name: tuple[str, str]
    source: Source
    statement: Statement
    row: Mapping[str, Any]
    lag: timedelta
    masked: Callable[[str], str]
    recompute: bool = False


@dataclass(frozen=True, slots=True)
class SliceAddress:
    """The slice that a row is in. `dataset` is empty where it is in none; `owner` is a customer and a provider."""

    dataset: str
    owner: tuple[str, str]
    begin: datetime
    length: timedelta

    @property
    def end(self) -> datetime:
        """The end of the slice, not included."""
        return self.begin + self.length
