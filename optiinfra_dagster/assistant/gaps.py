"""What an answer lacks, by the ledger: slices that are partial, failed, or were never tried.

Looked at is all that the rows rest on: the windows that they are of, and what their reader reads beside and before
these (`-- reads:` at its head), of each provider and family. Costs of days that are over are known by the day, from a
settled bill or from estimates of all of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.text import plain, shortened
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.storage import as_of_views
from optiinfra_dagster.storage.explanation.reader_inputs import spans
from optiinfra_dagster.storage.reader_tables import shown_table
from optiinfra_dagster.storage.schema import DATASETS
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.readers import Source
    from optiinfra_dagster.storage.reading import Query

NEVER = "not_collected"
EXPIRED = "expired"
NOT_COMPUTED = "not_computed"
LONGEST_REASON = 300  # characters: an error may be as long as a cloud likes
_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class MissingWindows:
    """Windows of a provider that are not whole, all for one kind of reason.

    `state` is partial, failed, budget or not_configured as the ledger has it, `not_collected` where no attempt is
    recorded, `not_computed` where the reader has none, and `expired` where rows are not kept so long. `windows` counts
    them; of bills, and of costs of days that are over, they are days.
    """

    provider: str
    family: str
    state: str
    windows: int | None
    first: datetime
    last: datetime
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """As an answer has it."""
        return {
            "provider": self.provider or None,
            "family": self.family,
            "state": self.state,
            "windows": self.windows,
            "first": windows.key(self.first),
            "last": windows.key(self.last),
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class _Request:
    """What is looked at: a customer's rows of a source up to `last`, as they were known at a time.

    Windows up to `due` must be there. `begin` is the time that was asked for, from which on each window is expected;
    without one, those count that came after the first attempt.
    """

    client: Client
    customer: Customer
    source: Source
    family: str
    begin: datetime | None
    last: datetime
    due: datetime
    now: datetime  # or the time as of which it is asked
    known_at: datetime | None

    @property
    def days_over(self) -> datetime:
        """The end of the days that are over."""
        return min(windows.floor_to(_DAY, self.now), windows.floor_to(_DAY, self.last) + _DAY)

    @property
    def at(self) -> str:
        """The time as the text of a parameter."""
        return as_of_views.text(self.known_at or as_of_views.EVER)

    def view(self, view: str) -> str:
        """The text for a FROM that gives a view's rows as of the time."""
        return as_of_views.call(view) if self.known_at else view


def missing(
    client: Client,
    customer: Customer,
    source: Source,
    query: Query,
    slices: Mapping[str, datetime],
    settings: Settings,
    kept: timedelta | None,
) -> list[MissingWindows]:
    """What an answer lacks: of `slices`, the newest ones by provider, or of the times that the query names.

    From the first of these windows to the newest that must be there, and of what is read beneath them. A window that is
    not due, since the customer is asked less often, is whole. `kept` is how long rows are kept, None where they stay.
    """
    known_at = windows.parse_time(query.as_of, "as_of") if query.as_of else None
    now = known_at or datetime.now(UTC)
    due = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    due -= timedelta(minutes=customer.poll_minutes)
    begin = windows.parse_time(query.from_, "from") if query.from_ else None
    end = windows.parse_time(query.to, "to") if query.to else None
    is_newest = begin is None and end is None
    last = now if end is None else min(now, end - timedelta(seconds=1))
    request = _Request(
        client, customer, source, query.family, windows.floor(begin) if begin else None, last,
        min(due, windows.floor(last)), now, known_at,
    )  # fmt: skip
    found: list[MissingWindows] = []
    if begin is not None and kept is not None and begin < now - kept:
        reason = f"rows are kept for {kept.days} days, and older ones are gone"
        found.append(MissingWindows("", query.family, EXPIRED, None, begin, min(now - kept, last), reason))
    for provider in PROVIDERS:
        if query.provider not in {None, provider}:
            continue
        is_of = provider in _where(customer, query.family) or provider in slices
        first = slices.get(provider, due) if is_newest else request.begin
        tried = _first_tried(request, provider)
        for dataset, from_ in _beneath(request, first).items():
            family = dataset.partition("_")[0]
            if is_of if family == query.family else (dataset in tried or customer.collects(provider, family)):
                found += _of_dataset(request, provider, dataset, from_, tried.get(dataset))
        if is_of and not is_newest:
            found += _not_computed(request, provider, max(first, now - kept) if first and kept else first)
    return found


def _where(customer: Customer, family: str) -> tuple[str, ...]:
    """The providers on which the customer has what the family is of, be it collected now or not."""
    return customer.application_providers if family == "application" else customer.providers


def _why_never(customer: Customer, provider: str, family: str) -> str:
    if customer.paused:
        return "the customer is paused, and no attempt is recorded"
    if not customer.collects(provider, family):
        return "the customers file asks for none of it now, and no attempt is recorded"
    return "no attempt is recorded"


def _first_tried(request: _Request, provider: str) -> dict[str, datetime]:
    rows = request.client.query(
        read_sql("queries/explained_begins"),
        parameters={"datasets": sorted(DATASETS), "customer": request.customer.id, "provider": provider},
    ).result_rows
    return {dataset: _utc(seconds) for dataset, _, seconds in rows}


def _beneath(request: _Request, first: datetime | None) -> dict[str, datetime | None]:
    """The datasets that the rows of the windows from `first` on rest on, and from when; None is since ever.

    Of what a row names the one slice of, its own window alone counts.
    """
    found = {request.family: first}
    if request.family == "cost":
        found["cost_billed"] = windows.floor_to(_DAY, first) if first else None
    reader = request.source.reader
    if reader is None:
        return found
    length = reader.length
    begin = windows.floor_to(length, first) if first else datetime.fromtimestamp(0, UTC) + 1000 * _DAY
    for span in spans(reader, begin, max(windows.floor_to(length, request.last), begin) + length)[0]:
        if span.what in DATASETS:
            from_ = (first if span.by else span.begin) if first else None
            earlier = found.get(span.what, from_)
            found[span.what] = min(earlier, from_) if earlier and from_ else None
    return found


def _of_dataset(
    request: _Request, provider: str, dataset: str, first: datetime | None, tried: datetime | None
) -> Iterator[MissingWindows]:
    """Of a dataset's windows from `first` on: those since the first attempt, and all that were asked for."""
    family = dataset.partition("_")[0]
    days = _costs_by_day(request, provider, first) if dataset == "cost" else None
    begins = [one for one in (request.begin, max(first, tried) if first and tried else tried) if one]
    first = min(begins) if begins else first or request.due
    if days is not None:
        yield from days
        first = max(first, request.days_over)
    rows = request.client.query(
        read_sql("queries/slices_as_shown"),
        parameters={
            "customer": request.customer.id,
            "dataset": dataset,
            "provider": provider,
            "first": int(first.timestamp()),
            "last": int(request.last.timestamp()),
            "due": int(request.due.timestamp()),
            "known_at": request.at,
        },
    ).result_rows
    of = "of bills: " if dataset != family else ""
    for state, count, _, begin, end, why in rows:
        if state != "whole":
            reason = shortened(plain(why), LONGEST_REASON) or "it does not say why"
            yield MissingWindows(provider, family, state, count, _utc(begin), _utc(end), of + reason)
    if dataset == family and first <= request.due:
        never = (request.due - first) // windows.WINDOW + 1 - sum(row[2] for row in rows)
        if never > 0:
            why_never = _why_never(request.customer, provider, family)
            yield MissingWindows(provider, family, NEVER, never, first, request.due, why_never)


def _costs_by_day(request: _Request, provider: str, first: datetime | None) -> list[MissingWindows] | None:
    """The days of costs that are over and not known in full; None where nothing tells of days.

    A day whose bill has settled is known, whatever became of its estimates. Before the first that is told, nothing was
    collected.
    """
    begin, end = windows.floor_to(_DAY, first) if first else datetime.fromtimestamp(0, UTC), request.days_over
    rows = request.client.query(
        "SELECT toUnixTimestamp(window_start) AS day, min(known) "  # noqa: S608 - the code's own names
        f"FROM {request.view('cost_days_current')} "
        "WHERE customer_id = {customer:String} AND provider = {provider:String} "
        "AND window_start >= fromUnixTimestamp({first:UInt32}) AND window_start < fromUnixTimestamp({end:UInt32}) "
        "GROUP BY window_start ORDER BY window_start",
        parameters={
            "customer": request.customer.id, "provider": provider, "as_of": request.at,
            "first": int(begin.timestamp()), "end": int(end.timestamp()),
        },
    ).result_rows  # fmt: skip
    if not rows:
        return None
    known = {_utc(seconds): share for seconds, share in rows}
    since = min(known) if request.begin is None else min(windows.floor_to(_DAY, request.begin), *known)
    shares = {since + n * _DAY: known.get(since + n * _DAY, 0.0) for n in range((end - since) // _DAY)}
    found = []
    for state, days in (
        ("partial", [day for day, share in shares.items() if 0 < share < 1]),
        (NEVER, [day for day, share in shares.items() if share == 0]),
    ):
        if days:
            why = "neither a settled bill nor estimates tell all of these days"
            found.append(MissingWindows(provider, "cost", state, len(days), days[0], days[-1], why))
    return found


def _not_computed(request: _Request, provider: str, first: datetime | None) -> Iterator[MissingWindows]:
    """Windows of the times asked for that were collected, and that the reader has nothing of."""
    reader = request.source.reader
    if reader is None:
        return
    ((count, begin, end),) = request.client.query(
        read_sql("queries/collected_not_computed"),
        parameters={
            "customer": request.customer.id,
            "family": request.family,
            "provider": provider,
            "dataset": shown_table(request.client, reader),
            "length": int(reader.length.total_seconds()),
            "first": int(windows.floor_to(reader.length, first).timestamp()) if first else 0,
            "last": int(request.due.timestamp()),
            "known_at": request.at,
        },
    ).result_rows
    if count:
        reason = "these windows were collected, and the reader was not computed for them"
        yield MissingWindows(provider, request.family, NOT_COMPUTED, count, _utc(begin), _utc(end), reason)


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
