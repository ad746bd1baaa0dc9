"""Counts of the records of a log as they are read: how many there are of each kind, and what is in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from optiinfra_dagster.quality.interactions import (
    BadLine,
    Feedback,
    Item,
    LogRecord,
    Observation,
    Reason,
    Skip,
    SkippedCall,
)

LOOKED_AT = 10_000  # records of a file or table, to say what is in it


class _WithoutTexts(NamedTuple):
    """A line without texts: why, where it is, and hashes of the ids of its call or trace."""

    reason: Reason
    place: str
    ids: tuple[int, ...]


@dataclass(slots=True)
class SourceCounts:
    """Counts of one fetch. `files` hold lines of the window; `bytes` were read, as stored.

    `content` is the digest of the window's records, `first_bad` the place of the first line that could not be used.
    `without_texts` are the lines among these that lack what another file may have: a call's texts, a trace's
    observations.
    """

    interactions: int = 0
    other_provider: int = 0
    feedback: int = 0
    files: int = 0
    bytes: int = 0
    reasons: Counter[Reason] = field(default_factory=Counter)
    skipped: Counter[Skip] = field(default_factory=Counter)
    content: str = ""
    first_bad: str = ""
    without_texts: list[_WithoutTexts] = field(default_factory=list, repr=False)
    observed: set[int] = field(default_factory=set, repr=False)  # hashes of the traces that have observations

    def add_bad(self, line: BadLine, place: str) -> None:
        """Count a line that could not be used."""
        self.reasons[line.reason] += 1
        if line.ids:
            self.without_texts.append(_WithoutTexts(line.reason, place, tuple(map(hash, line.ids))))
        elif not self.first_bad:
            self.first_bad = place

    def add_observation(self, one: Observation) -> None:
        """Note that a trace has observations."""
        self.observed.add(hash(one.trace_id))

    def settle(self, is_known: Callable[[int], bool], has_failed: Callable[[int], bool] = lambda _: False) -> None:
        """Leave out lines whose call was found elsewhere in the window, by hashes of its ids; count the others once.

        A question that was logged under the span around its call has no answer where a call `has_failed` within that.
        """
        unsettled: list[_WithoutTexts] = []
        counted_ids: set[int] = set()
        for line in self.without_texts:
            is_settled = has_failed(line.ids[0]) or any(is_known(key) or key in self.observed for key in line.ids)
            if not is_settled and line.ids[0] not in counted_ids:
                unsettled.append(line)
                counted_ids.update(line.ids)
        self.reasons -= Counter(line.reason for line in self.without_texts)
        self.reasons += Counter(line.reason for line in unsettled)
        self.first_bad = self.first_bad or (unsettled[0].place if unsettled else "")
        self.without_texts = []

    @property
    def bad_lines(self) -> int:
        """The number of lines that could not be used, for any reason."""
        return self.reasons.total()

    @property
    def records(self) -> int:
        """The number of records of the window, of every provider and use."""
        return self.interactions + self.feedback + self.other_provider + self.skipped.total() + self.bad_lines


@dataclass(slots=True)
class Sight:
    """What a look at a source found: in one file, or in some rows."""

    place: str
    records: int = 0
    interactions: int = 0
    feedback: int = 0
    without_provider: int = 0
    skipped: Counter[Skip] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    applications: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    first: datetime | None = None
    last: datetime | None = None

    def add(self, item: Item, default_provider: str) -> None:
        """Count a record."""
        if isinstance(item, Observation):
            return
        self.records += 1
        if item.timestamp is not None:
            self.first = min(self.first or item.timestamp, item.timestamp)
            self.last = max(self.last or item.timestamp, item.timestamp)
        if isinstance(item, BadLine):
            self.reasons[item.reason] += 1
            return
        if isinstance(item, Feedback):
            self.feedback += 1
            return
        self.applications[item.application_id] += 1
        self.models[item.model_name] += 1
        self.without_provider += not (item.provider or default_provider)
        if isinstance(item, SkippedCall):
            self.skipped[item.kind] += 1
        else:
            self.interactions += 1


class Filter:
    """Decides which records are of the window [start, end) and of a provider, and counts them.

    `default` is the provider of records that name none.
    """

    def __init__(self, provider: str, start: datetime, end: datetime, default: str, counts: SourceCounts) -> None:
        self._provider, self._start, self._end = provider, start, end
        self._default, self._counts = default, counts

    def holds(self, moment: datetime) -> bool:
        """True for a time of the window."""
        return self._start <= moment < self._end

    def wants(self, item: LogRecord) -> bool:
        """Count a record of the window; True if it is of the provider.

        Feedback that names no provider, where there is no default, is wanted of each: its interaction tells.
        """
        provider = item.provider or self._default
        if isinstance(item, Feedback) and provider in {"", self._provider}:
            self._counts.feedback += 1
            return True
        if not provider:
            self._counts.reasons[Reason.NO_PROVIDER] += 1
        elif provider != self._provider:
            self._counts.other_provider += 1
        elif isinstance(item, SkippedCall):
            self._counts.skipped[item.kind] += 1
        else:
            self._counts.interactions += 1
        return provider == self._provider
