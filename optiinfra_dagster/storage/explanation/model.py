"""The explanation of a row, as values and as plain data for JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.text import plain

if TYPE_CHECKING:
    from optiinfra_dagster.storage.explanation.checksums import ChecksumResult, OfRows
    from optiinfra_dagster.storage.explanation.facts import Days, Gap, Restatement
    from optiinfra_dagster.storage.explanation.slices import Beneath, Calls, Range, Slice

MOST_RANGES = 40  # stretches of slices that are told of each dataset

_TOO_LONG_FOR_JSON = frozenset({"batch", "first_batch", "last_batch", "content_hash", "value"})  # beyond 2^53


@dataclass(frozen=True, slots=True)
class Origin:
    """What a row was read from, and the SELECTs of the row and of what made its slice.

    `kind` is reader, rows (of a family, as they were collected) or history. `file`, `version` and `computed_by` are of
    readers, and empty elsewhere.
    """

    kind: str
    name: str
    description: str
    view: str
    table: str
    file: str
    version: str
    read_by: str
    computed_by: str


@dataclass(frozen=True, slots=True)
class Own:
    """The slice that a row is in: a reader's, which holds all customers, or one that was collected.

    `counted` says whether as many rows of a reader's are stored as were published; None of one that was collected,
    whose rows are hashed.
    """

    dataset: str
    provider: str
    begin: datetime
    end: datetime
    status: str
    batch: int
    rows: int
    content_hash: int
    published_at: datetime | None
    run_id: str
    error: str
    counted: str | None


@dataclass(frozen=True, slots=True)
class Layer:
    """What lies beneath a row, of one dataset or reader and one provider, with what its checksums say."""

    of: Beneath
    checked: ChecksumResult | None  # of readers the rows are counted: the ledger does not hash their content
    checksum: OfRows | None


@dataclass(frozen=True, slots=True)
class FailedAttempts:
    """Attempts that did not end well after what was read: at the same slices, or at newer ones."""

    dataset: str
    provider: str
    slices: int
    first: datetime
    last: datetime
    status: str
    error: str
    newer: bool


@dataclass(frozen=True, slots=True)
class Recomputation:
    """The row as the reader's SELECT gives it now: whether it is there, and the columns that differ, stored and now."""

    found: bool
    differs: Mapping[str, tuple[Any, Any]]


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a row comes from, whether it may be trusted, and how to check it.

    `complete` is true where all that is known is in it, false where `reasons` say what is not, and None where that
    cannot be told. `unaltered` is true where all rows beneath it that were hashed again match the ledger.
    """

    customer: str
    family: str
    reader: str
    explained_at: datetime
    as_of: datetime | None
    row: Mapping[str, Any]
    origin: Origin
    own: Own | None
    beneath: Sequence[Layer]
    beside: Sequence[str]
    calls: Calls
    days: Sequence[Days]
    gaps: Sequence[Gap]
    gaps_left_out: int
    restated_since: Sequence[Restatement]
    restated_left_out: int
    restated_before: int
    failed_since: Sequence[FailedAttempts]
    checksum: OfRows | None
    recomputed: Recomputation | None
    complete: bool | None
    unaltered: bool | None
    reasons: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data: times ISO 8601 with Z, money as text with all its digits, numbers beyond 2^53 as text."""
        plain: dict[str, Any] = _plain(self)
        return plain


def _plain(value: Any, name: str = "") -> Any:
    if isinstance(value, Layer):
        return _layer(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {of.name: _plain(getattr(value, of.name), of.name) for of in fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (frozenset, set)):
        return sorted(map(_plain, value))
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return [_plain(one) for one in value]
    return _scalar(value, name)


def _scalar(value: Any, name: str) -> Any:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, datetime):
        return time(value)
    if isinstance(value, int) and name in _TOO_LONG_FOR_JSON:
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for what is no number
    return value if isinstance(value, (str, int, float)) or value is None else str(value)


def _layer(layer: Layer) -> dict[str, Any]:
    of = layer.of
    shown, left_out = of_interest(of.ranges)
    return {
        "depth": of.depth,
        "name": of.name,
        "dataset": of.dataset,
        "table": of.table,
        "is_reader": of.is_reader,
        "provider": of.provider,
        "begin": time(of.begin),
        "end": time(of.end),
        "slices": len(of.slices),
        "counts": dict(of.counts),
        "rows": sum(one.rows for one in of.published),
        "changed_since": sum(one.changed_since for one in of.slices),
        "ranges": _plain(shown),
        "ranges_left_out": left_out,
        "calls": _plain(of.calls),
        "checked": _plain(layer.checked),
        "checksum": _plain(layer.checksum),
    }


def of_interest(ranges: Sequence[Range]) -> tuple[list[Range], int]:
    """At most `MOST_RANGES` stretches, in order of time, above all those that lack something; how many are left out."""
    ranked = sorted(ranges, key=lambda one: (one.state == "complete" and not one.changed_since, -one.begin.timestamp()))
    chosen = set(map(id, ranked[:MOST_RANGES]))
    return [one for one in ranges if id(one) in chosen], max(0, len(ranges) - MOST_RANGES)


def own(dataset: str, provider: str, of: Slice, length: timedelta, counted: ChecksumResult | None) -> Own:
    """The slice that a row is in."""
    status = {"complete": "ok"}.get(of.state, of.state)
    return Own(
        dataset,
        provider,
        of.start,
        of.start + length,
        status,
        of.batch,
        of.rows,
        of.content_hash,
        of.published_at,
        of.run_id,
        of.error,
        next(iter(counted.verdicts), None) if counted else None,
    )


def time(value: datetime) -> str:
    """A time as in JSON: `2026-11-21T10:15:00Z`, with milliseconds where it has any."""
    text = value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{text}.{value.microsecond // 1000:03d}Z" if value.microsecond else f"{text}Z"


def _key(value: Any) -> str:
    if isinstance(value, datetime):
        return time(value)
    return value.isoformat() if isinstance(value, date) else str(value)


def shown(value: Any) -> str:
    """A value in a line of text: money without zeros at its end, empty where it is not known."""
    if isinstance(value, datetime):
        return time(value)
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text
    return "" if value is None else plain(str(value))
