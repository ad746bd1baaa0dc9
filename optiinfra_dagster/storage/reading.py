"""What `optiinfra read` reads: one customer's rows of a reader or of the metrics themselves, or why there are none."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from optiinfra_dagster.config.customers import FAMILIES, select
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import UsageError
from optiinfra_dagster.model.text import ago
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage import as_of, cost_choice, readers
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.readers import RowFilter, sources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.readers import Source, Standing, Statement

_FOREVER = datetime(2100, 1, 1, tzinfo=UTC)  # ClickHouse's DateTime ends in 2106

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Query:
    """What a person asked `optiinfra read` for, as it was typed."""

    family: str
    reader: str
    customer: str
    provider: str | None = None
    from_: str | None = None
    to: str | None = None
    resource_id: str | None = None
    limit: int | None = None
    cost: str = "billed"
    as_of: str | None = None


@dataclass(frozen=True, slots=True)
class Result(Generic[T]):
    """The answer of `read_rows`: the rows in the form that its caller wanted; None where none was ever published.

    `note` says why there are none, `warnings` which providers are late or failed. `title` is what stands above a table.
    `slices` are the windows that were read by provider, the newest of each; none where a range of times was asked for.
    """

    rows: T | None
    note: str = ""
    warnings: Sequence[str] = ()
    title: str = ""
    slices: Mapping[str, datetime] = field(default_factory=dict)


FoundRows = tuple[T, bool]  # rows in some form, and whether there are any


def source_of(family: str, reader: str) -> Source:
    """The source of a reader, or of a family's own rows.

    Raises:
        UsageError: there is no such family or reader.
    """
    if family not in FAMILIES:
        choice = ", ".join(sources())
        raise UsageError(f"There is no family '{family}'{closest(family, FAMILIES)}. Choose from {choice}.")
    of_family = sources()[family]
    if reader not in of_family:
        choice = ", ".join(of_family)
        raise UsageError(
            f"There is no reader '{reader}' of {family}{closest(reader, of_family)}. Choose from {choice}."
        )
    return of_family[reader]


def read_rows(
    clickhouse: ClickHouse,
    settings: Settings,
    query: Query,
    take: Callable[[Client, Statement], FoundRows[T]],
    *,
    now: datetime | None = None,
) -> Result[T]:
    """The customer's rows: of each provider's newest published window, or of the times asked for.

    `metrics` go by the points' own timestamps, readers by the windows they were computed for. `take` executes the
    statement in whatever form the caller wants the rows, and says whether there are any. With `as_of`, the rows are
    those that were known then. `now` decides who is late; None is the time of the clock.

    Raises:
        UsageError: the query names what is not there, or a reader of one resource without naming it.
        StorageError: the tables cannot be read, or what was known at the time is not there any more.
    """
    source = source_of(query.family, query.reader)
    _refuse_without_resource(source, query)
    (customer,) = select(load_customers(settings.customers_path), [query.customer])
    wanted = _checked(query)
    _refuse_as_of(source, query)
    now = wanted.as_of or now or datetime.now(UTC)
    expected = [
        provider
        for provider in PROVIDERS
        if customer.collects(provider, query.family) and query.provider in {None, provider}
    ]
    with clickhouse.session(reads=f"{LEDGER_TABLE} {source.view}") as client:
        standings = readers.standings(client, wanted, expected)
        chosen = _chosen(standings, expected, now)
        if not chosen:
            by_then = f" by {query.as_of}" if query.as_of else ""
            why = _why_never(query, customer, standings, expected)
            return Result(None, f"No {query.family} was collected yet for {_whom(query)}{by_then}: {why}.")
        if wanted.as_of and source.reader:
            as_of.refuse_other_table(client, source.reader, wanted.as_of)
        slices = _slices(client, source, chosen, wanted.as_of)
        if not slices:
            remedy = f" by {query.as_of}." if query.as_of else ": run `optiinfra run`."
            return Result(None, f"The reader {query.family} {query.reader} was not computed yet{remedy}")
        is_newest = wanted.begin is None and wanted.end is None
        if is_newest and not source.is_history:
            wanted = replace(wanted, slices=slices)
        elif wanted.begin and source.time == "window_start":
            # The slice that holds the time begins before it.
            wanted = replace(wanted, begin=windows.floor_to(source.length, wanted.begin))
        statement = _statement(client, source, query, wanted)
        rows, are_there = take(client, statement)
        as_of.refuse_lost(client, source, wanted, f"{query.family} {query.reader}")
        note = _why_empty(client, query, wanted, source.if_empty) if not are_there else ""
    late = _late({**dict.fromkeys(expected), **chosen}, standings, customer, settings, now) if is_newest else []
    title = f"{_whom(query)}: {query.family} {query.reader}"
    if query.as_of:
        title += f", as of {query.as_of}"
        late = [f"As of {query.as_of}, {sentence}" for sentence in late]
    return Result(rows, note, late, title, {name: at for name, at in slices.items() if name} if is_newest else {})


def _refuse_without_resource(source: Source, query: Query) -> None:
    if source.of_one_resource and not query.resource_id:
        raise UsageError(
            f"{query.family} {query.reader} tells of one resource: name it with --resource-id, in full as "
            "`optiinfra read resource inventory` does."
        )


def _refuse_as_of(source: Source, query: Query) -> None:
    if query.as_of is not None and source.view.startswith("("):
        raise UsageError(
            f"{query.family} {query.reader} tells what is known now: what was known of the coverage of metrics before "
            "is not kept. Leave out --as-of, or read resource changes, resource days or cost waste with it."
        )


def as_records(client: Client, statement: Statement) -> FoundRows[list[dict[str, Any]]]:
    """All rows with all columns, as values."""
    rows = readers.records(client, statement)
    return rows, bool(rows)


def _chosen(standings: Mapping[str, Standing], expected: Sequence[str], now: datetime) -> dict[str, datetime]:
    """The newest window of each provider that is expected or has one of the last day; of all where none has."""
    collected = {provider: standing.collected for provider, standing in standings.items() if standing.collected}
    chosen = {
        provider: window
        for provider, window in collected.items()
        if provider in expected or window > now - timedelta(days=1)
    }
    return chosen or collected


def _slices(
    client: Client, source: Source, chosen: Mapping[str, datetime], known_at: datetime | None
) -> dict[str, datetime]:
    """The window to read of each provider, and the newest of them for whatever belongs to none."""
    computed = {window: window for window in chosen.values()}
    if source.reader is not None:
        computed = readers.computed(client, source.reader, set(chosen.values()), known_at)
    slices = {provider: computed[window] for provider, window in chosen.items() if window in computed}
    return {"": max(slices.values()), **slices} if slices else {}


def _statement(client: Client, source: Source, query: Query, wanted: RowFilter) -> Statement:
    """What is wanted as a SELECT, after a check that the source can tell it."""
    columns = readers.columns(client, source.view)
    name = f"{query.family} {query.reader}"
    if query.resource_id and "resource_id" not in columns:
        raise UsageError(f"{name} has no rows per resource: leave out --resource-id.")
    if query.provider and "provider" not in columns:
        raise UsageError(f"{name} has no rows per provider: leave out --provider.")
    if not cost_choice.has(query.cost, columns):
        raise UsageError(f"{name} does not tell the {query.cost} cost of its rows: leave out --cost.")
    if "provider" not in columns:
        wanted = replace(wanted, slices={"": wanted.slices[""]} if wanted.slices else {})
    return readers.statement(source, wanted, columns)


def _late(
    newest: Mapping[str, datetime | None],
    standings: Mapping[str, Standing],
    customer: Customer,
    settings: Settings,
    now: datetime,
) -> list[str]:
    """A sentence for each provider whose newest window is older than it should be, or after which attempts failed.

    `newest` has the window of each provider, None where it has none. One poll is allowed for what is being collected.
    """
    due = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    due -= timedelta(minutes=customer.poll_minutes)
    sentences = []
    for provider, window in newest.items():
        standing = standings.get(provider)
        failed = standing is not None and (window is None or standing.tried > window)
        if window is not None and window >= due and not failed:
            continue
        newest_is = "nothing was collected yet" if window is None else f"its newest window is {windows.key(window)}"
        age = f", {ago(now - window)} ago" if window else ""
        attempt = f"; {_attempt(standing)}" if standing is not None and failed else ""
        sentences.append(f"{provider}: {newest_is}{age}{attempt}.")
    return sentences


def _attempt(standing: Standing) -> str:
    """The outcome of the last attempt at a provider, in words."""
    attempt = f"the last attempt, at {windows.key(standing.tried)}, is recorded as {standing.status}"
    return f"{attempt}: {standing.error.rstrip('.')}" if standing.error else attempt


def _whom(query: Query) -> str:
    return f"{query.customer} on {query.provider}" if query.provider else query.customer


def _why_never(query: Query, customer: Customer, standings: Mapping[str, Standing], expected: Sequence[str]) -> str:
    """The status and error of the newest attempt; where there was none, how to collect, or why nothing is collected."""
    if not standings and query.as_of:
        return "nothing was tried by then. Leave out --as-of, or name a later time"
    if not standings and customer.paused:
        return f"{query.customer} is paused in the customers file"
    if not standings and not expected:
        return f"the customers file has none to be collected for {_whom(query)}. Add it there, or read another family"
    if not standings:
        return f"run `optiinfra collect --customer {query.customer}`"
    newest = max(standings.values(), key=lambda standing: standing.tried)
    attempt = f"the last attempt ({newest.provider}) is recorded as {newest.status}"
    return f"{attempt}: {newest.error.rstrip('.')}" if newest.error else attempt


def _checked(query: Query) -> RowFilter:
    """Resolve a query, after a check that its provider exists and that its times make a range."""
    if query.provider and query.provider not in PROVIDERS:
        raise UsageError(
            f"There is no provider '{query.provider}'{closest(query.provider, PROVIDERS)}. "
            f"Choose from {', '.join(PROVIDERS)}."
        )
    begin = windows.parse_time(query.from_, "--from") if query.from_ is not None else None
    end = windows.parse_time(query.to, "--to") if query.to is not None else None
    if begin and begin > (now := datetime.now(UTC)):
        raise UsageError(f"--from {query.from_} is in the future; it is {now:%Y-%m-%dT%H:%MZ} now.")
    if begin and end and begin >= end:
        raise UsageError(f"--from {query.from_} is not before --to {query.to}: swap them, or widen the range.")
    return RowFilter(
        query.family,
        query.customer,
        query.provider or "",
        begin,
        min(end, _FOREVER) if end else None,
        query.resource_id or "",
        query.limit,
        query.cost,
        as_of=as_of.checked_time(query.as_of, datetime.now(UTC)) if query.as_of is not None else None,
    )


def _why_empty(client: Client, query: Query, wanted: RowFilter, nothing: str) -> str:
    """A note on an empty result: nothing was collected, or nothing was found in what was collected."""
    if not readers.is_collected(client, wanted):
        return f"No rows: no {query.family} of {_whom(query)} was collected in that time."
    if query.resource_id:
        return f"No rows: collected, and nothing is known of {query.resource_id}. Ids are as in resource_id, in full."
    return f"No rows: collected, and {nothing}."
