"""The slices that the ledger knows of a stretch of time, how each stands, and stretches of those that stand alike."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

# How a slice stands: the ledger's own words for an attempt, and
COMPLETE = "complete"  # published, and nothing is missing
PARTIAL = "partial"  # published, and its error names what is missing
MISSING = "missing"  # nobody tried it
BILLED = "billed"  # an estimate that was not made, of a day whose bill has settled: the bill counts
NO_BILL = "no bill yet"  # a day of which no bill was read
BEFORE = "before the first"  # older than the first attempt at this dataset

FINE = frozenset({COMPLETE, BILLED, NO_BILL, BEFORE, "not_due", "not_configured"})
"""What takes nothing from an answer: all that is known is in it."""

_WRAP = 1 << 64


@dataclass(frozen=True, slots=True)
class Slice:
    """A slice: how it stands, and what the ledger says of its published batch and of its newest attempt.

    `batch` is 0 where nothing is published. `changed_since` is true where what is published now is newer than what was
    read.
    """

    start: datetime
    state: str
    batch: int = 0
    rows: int = 0
    content_hash: int = 0
    error: str = ""
    run_id: str = ""
    published_at: datetime | None = None
    last_status: str = ""
    last_error: str = ""
    calls: int = 0
    usd: Decimal = Decimal(0)
    changed_since: bool = False

    @property
    def failed_since(self) -> bool:
        """True where an attempt after the published one did not end well."""
        return bool(self.batch) and self.last_status in {"failed", "budget"}


def slices_tried(
    client: Client, dataset: str, owner: tuple[str, str], begin: datetime, end: datetime
) -> dict[str, list[Slice]]:
    """The slices that were tried, by provider, in order; `owner` is a customer and a provider, empty for each of them.

    Those of readers belong to no customer: their owner is two empty texts.
    """
    rows = client.query(
        read_sql("queries/explained_slices"),
        parameters={
            "dataset": dataset,
            "customer": owner[0],
            "provider": owner[1],
            "first": int(begin.timestamp()),
            "end": int(end.timestamp()),
        },
    ).result_rows
    found: dict[str, list[Slice]] = {}
    for (
        provider,
        seconds,
        batch,
        status,
        count,
        content,
        error,
        run,
        published,
        last,
        last_error,
        calls,
        usd,
    ) in rows:
        state = {"ok": COMPLETE, "partial": PARTIAL}[status] if batch else last
        found.setdefault(provider, []).append(
            Slice(
                start=datetime.fromtimestamp(seconds, UTC),
                state=state,
                batch=batch,
                rows=count,
                content_hash=content,
                error=error if batch else last_error,
                run_id=run,
                published_at=_of_ms(published) if batch else None,
                last_status=last,
                last_error=last_error,
                calls=calls,
                usd=Decimal(usd),
            )
        )
    return found


def first_tried(client: Client, datasets: Collection[str], owner: tuple[str, str]) -> dict[tuple[str, str], datetime]:
    """The first window that was ever tried, by dataset and provider."""
    rows = client.query(
        read_sql("queries/explained_begins"),
        parameters={"datasets": sorted(datasets), "customer": owner[0], "provider": owner[1]},
    ).result_rows
    return {(dataset, provider): datetime.fromtimestamp(seconds, UTC) for dataset, provider, seconds in rows}


def with_gaps(
    tried: Sequence[Slice], begin: datetime, end: datetime, length: timedelta, gap: Callable[[datetime], str]
) -> list[Slice]:
    """Every slice from `begin` to `end`, the end not included; `gap` says how one stands that was not tried."""
    known = {one.start: one for one in tried}
    count = max(0, -((begin - end) // length))
    starts = (begin + n * length for n in range(count))
    return [known.get(start) or Slice(start, gap(start)) for start in starts]


@dataclass(frozen=True, slots=True)
class Range:
    """Slices side by side that stand alike, from `begin` to `end`, the end not included.

    `content_hash` is the sum of theirs modulo 2^64, which is the hash of all their rows; 0 for readers, whose content
    is not hashed in the ledger.
    """

    begin: datetime
    end: datetime
    state: str
    slices: int
    rows: int
    content_hash: int
    first_batch: int
    last_batch: int
    first_published: datetime | None
    last_published: datetime | None
    changed_since: bool
    failed_since: bool
    error: str


def ranges(slices: Sequence[Slice], length: timedelta) -> list[Range]:
    """The slices as stretches, in order."""
    return [_range(of, length) for of in _alike(slices, length)]


def _alike(slices: Sequence[Slice], length: timedelta) -> Iterator[list[Slice]]:
    group: list[Slice] = []
    for one in slices:
        if group and (_mark(one) != _mark(group[-1]) or one.start - group[-1].start != length):
            yield group
            group = []
        group.append(one)
    if group:
        yield group


def _mark(one: Slice) -> tuple[str, bool, bool, str]:
    error = one.last_error if one.failed_since else one.error
    return one.state, one.changed_since, one.failed_since, error


def _range(of: Sequence[Slice], length: timedelta) -> Range:
    published = [one for one in of if one.batch]
    times = [one.published_at for one in published if one.published_at]
    state, changed, failed, error = _mark(of[0])
    return Range(
        begin=of[0].start,
        end=of[-1].start + length,
        state=state,
        slices=len(of),
        rows=sum(one.rows for one in published),
        content_hash=sum(one.content_hash for one in published) % _WRAP,
        first_batch=min((one.batch for one in published), default=0),
        last_batch=max((one.batch for one in published), default=0),
        first_published=min(times, default=None),
        last_published=max(times, default=None),
        changed_since=changed,
        failed_since=failed,
        error=error,
    )


@dataclass(frozen=True, slots=True)
class Calls:
    """The API calls of slices, all attempts counted, and what they cost; None where the ledger has no call of any."""

    calls: int | None
    usd: Decimal | None

    @classmethod
    def of(cls, slices: Sequence[Slice]) -> Calls:
        """The sum."""
        calls = sum(one.calls for one in slices)
        return cls(calls, sum((one.usd for one in slices), Decimal(0))) if calls else cls(None, None)


@dataclass(frozen=True, slots=True)
class Beneath:
    """What a row was computed from, of one dataset or reader and one provider.

    `depth` is 1 for what the row's own reader reads. `name` is what people call it, `dataset` its name in the ledger
    and `table` where its rows are. `counts` says how many slices stand in which way.
    """

    depth: int
    name: str
    dataset: str
    table: str
    is_reader: bool
    provider: str
    begin: datetime
    end: datetime
    length: timedelta
    slices: Sequence[Slice] = field(repr=False)
    calls: Calls | None  # None for readers, which call nobody

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of slices by state."""
        return Counter(one.state for one in self.slices)

    @property
    def ranges(self) -> list[Range]:
        """The slices as stretches."""
        return ranges(self.slices, self.length)

    @property
    def published(self) -> list[Slice]:
        """The slices that have a published batch."""
        return [one for one in self.slices if one.batch]


def _of_ms(milliseconds: Any) -> datetime:
    return datetime.fromtimestamp(int(milliseconds) / 1000, UTC)
