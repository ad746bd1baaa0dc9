"""Puts the explanation of a row together, from the ledger, the reader's file and the tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.explanation import checksums, facts, narrow, recompute, statements, verdict
from optiinfra_dagster.storage.explanation import slices as of_slices
from optiinfra_dagster.storage.explanation.model import Explanation, FailedAttempts, Layer, Origin, own
from optiinfra_dagster.storage.explanation.reach import DAY, Span, spans
from optiinfra_dagster.storage.explanation.slices import BEFORE, BILLED, MISSING, NO_BILL, Beneath, Calls, Slice
from optiinfra_dagster.storage.reader_tables import shown_table
from optiinfra_dagster.storage.readers import telling
from optiinfra_dagster.storage.schema import APPLICATION, COST, DATASETS, PERFORMANCE
from optiinfra_dagster.storage.schema import BILLED as BILLS
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.readers import Source, Statement
    from optiinfra_dagster.storage.sql import Reader

_HEAD = re.compile(r"\A(?:--.*\n)+")  # of a reader's file: it describes the SELECT
_LATELY = timedelta(days=2)  # a row of so short ago is told of what failed after it
_NEWEST_ROWS = {"metrics": "what was collected, as it is published", "timeline": "all that is known of one resource"}


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


def explained(client: Client, asked: ExplanationRequest) -> Explanation:
    """The explanation of a row.

    Raises:
        StorageError: the tables cannot be read.
    """
    now = datetime.now(UTC)
    row = dict(asked.row)
    reader = _reader(asked)
    dataset, owner, length, begin = _slice_of(client, asked, reader)
    found = of_slices.of_ledger(client, dataset, owner, begin, begin + length) if dataset else {}
    mine = next((one for of in found.values() for one in of if one.start == begin), None)
    layers, beside = _layers(client, asked, reader, begin, length, mine) if reader else ([], [])
    if reader is None and dataset and mine:
        layers = [_collected(row, dataset, owner[1], mine, length)]
    until = max((layer.end for layer in layers), default=begin + length)
    since = min((layer.begin for layer in layers if not layer.is_reader), default=begin)
    days = _days(client, asked, reader, layers, until)
    layers = [_with_billed_days(layer, days) for layer in layers]
    told = [_checked(client, row, layer) for layer in layers]
    kinds = {layer.dataset for layer in layers}
    gaps = facts.gaps(client, row, since, until) if PERFORMANCE.name in kinds else []
    computed_at = _read_at(mine) if mine and mine.batch else None
    restated = facts.restatements(client, row, *_days_of(row, since, until)) if BILLS.name in kinds else []
    # The second in which a change was seen is all that is stored: one of the row's own second may have come after it.
    later = [one for one in restated if computed_at is not None and one.seen_at >= computed_at.replace(microsecond=0)]
    counted = checksums.count(client, dataset, [mine]) if mine and mine.batch and reader else None
    shown_gaps, gaps_left_out = facts.told([replace(gap, reason=asked.masked(gap.reason)) for gap in gaps])
    shown_restated, restated_left_out = facts.told(later)
    explanation = Explanation(
        customer=str(row["customer_id"]),
        family=asked.name[0],
        reader=asked.name[1],
        explained_at=now,
        as_of=None,
        row=row,
        origin=_origin(client, asked, reader, begin),
        own=own(dataset, owner[1], replace(mine, error=asked.masked(mine.error)), length, counted) if mine else None,
        beneath=[_masked(layer, asked.masked) for layer in told],
        beside=beside,
        calls=Calls.of([one for layer in layers if not layer.is_reader for one in layer.slices]),
        days=days,
        gaps=shown_gaps,
        gaps_left_out=gaps_left_out,
        restated_since=shown_restated,
        restated_left_out=restated_left_out,
        restated_before=len(restated) - len(later),
        failed_since=_failed_since(client, asked, layers, until, now),
        checksum=_checksum_of_slice(client, row, mine, dataset) if mine and reader else None,
        recomputed=recompute.row(client, reader, row, asked.statement.types)
        if asked.recompute and reader is not None
        else None,
        complete=None,
        unaltered=None,
        reasons=(),
    )
    return verdict.judged(explanation)


def _reader(asked: ExplanationRequest) -> Reader | None:
    """The reader whose slice holds the row; of a timeline's line that which the line names."""
    if asked.source.reader is not None:
        return asked.source.reader
    family, _, name = str(asked.row.get("reader", "")).partition("/")
    return readers().get((family, name))


def _slice_of(
    client: Client, asked: ExplanationRequest, reader: Reader | None
) -> tuple[str, tuple[str, str], timedelta, datetime]:
    """The dataset, owner, length and start of the slice that a row is in; no dataset where it is in none."""
    row = asked.row
    owner = (str(row["customer_id"]), str(row.get("provider") or ""))
    if reader is not None:
        at: datetime = row.get("window_start") or row["at"]
        return shown_table(client, reader), ("", ""), reader.length, windows.floor_to(reader.length, at)
    if isinstance(row.get("charge_day"), date) and row.get("cost_kind", "billed") == "billed":
        day: date = row["charge_day"]
        return BILLS.name, owner, DAY, datetime(day.year, day.month, day.day, tzinfo=UTC)
    if "at" in row:
        return "", owner, windows.WINDOW, row["at"]
    return _dataset_of(asked.name[0]), owner, windows.WINDOW, row["window_start"]


def _dataset_of(family: str) -> str:
    return {"cost": COST.name, "application": APPLICATION.name}.get(family, family)


def _origin(client: Client, asked: ExplanationRequest, reader: Reader | None, begin: datetime) -> Origin:
    """What the row was read from, and the SELECTs."""
    source, types, row = asked.source, asked.statement.types, asked.row
    family, name = asked.name
    names = dict.fromkeys(("customer_id", "window_start", *source.key, source.time))
    keys = [column for column in names if column in types]
    read_by = _select_of(source.view, row, types, keys)
    # A key that leaves several is that of what the reader counts; all else that can be compared tells the row.
    if not source.view.startswith("(") and client.query(f"SELECT count() FROM ({read_by})").result_rows != [(1,)]:  # noqa: S608
        read_by = _select_of(source.view, row, types, [*keys, *(c for c in telling(types) if c not in keys)])
    if source.reader is None:
        described = reader.description if reader else _NEWEST_ROWS.get(name, source.if_empty)
        kind = "history" if source.is_history else "rows"
        view = source.view if not source.view.startswith("(") else "queries/resource_timeline"
        return Origin(kind, f"{family}/{name}", described, view, "", "", "", read_by, "")
    return Origin(
        kind="reader",
        name=f"{family}/{name}",
        description=source.reader.description,
        view=source.view,
        table=shown_table(client, source.reader),
        file=f"sql/readers/{source.reader.file}.sql",
        version=source.reader.version,
        read_by=read_by,
        computed_by=statements.bound(_HEAD.sub("", source.reader.select), statements.of_window(begin)),
    )


def _select_of(view: str, row: Mapping[str, Any], types: Mapping[str, str], columns: Sequence[str]) -> str:
    where = " AND ".join(statements.condition(column, types[column], row[column]) for column in columns)
    return f"SELECT * FROM {view} WHERE {where}"  # noqa: S608 - names are the code's own


# --- What lies beneath -----------------------------------------------------------------------------------------------


def _layers(
    client: Client, asked: ExplanationRequest, reader: Reader, begin: datetime, length: timedelta, mine: Slice | None
) -> tuple[list[Beneath], list[str]]:
    """The slices beneath a reader's, of the row's customer, provider and times, the nearest first."""
    row = asked.row
    all_spans, beside = spans(reader, begin, begin + length)
    computed_at = _read_at(mine) if mine and mine.batch else datetime.now(UTC)
    closed = windows.newest_collectable(computed_at, asked.lag) + windows.WINDOW
    until = min(begin + length, max(closed, begin + windows.WINDOW))
    times = narrow.times(row, begin, begin + length)
    kept = _cut(all_spans, until, times) or _cut(all_spans, until, None)
    found: list[Beneath] = []
    ledger_of: dict[str, list[Slice]] = {}
    begins = _first_tried(client, row, kept)
    for span in kept:
        for layer in _of_span(client, row, span, begins):
            found.append(layer)
            if layer.is_reader:
                ledger_of[span.what] = list(layer.slices)
    at_of = {span.what: _reading_times(span, ledger_of, computed_at) for span in all_spans}
    return [_with_changes(layer, at_of[layer.name]) for layer in found], beside


def _cut(of: Sequence[Span], until: datetime, times: tuple[datetime, datetime] | None) -> list[Span]:
    """The spans as far as they lie in the row's own times and before what was still to come."""
    kept = []
    for span in of:
        first, last = span.begin, min(span.end, until)
        if times and not span.by:
            first = max(first, windows.floor_to(_length(span.what), times[0]))
            last = min(last, times[1])
        if first < last:
            kept.append(replace(span, begin=first, end=last))
    return kept


def _first_tried(client: Client, row: Mapping[str, Any], kept: Sequence[Span]) -> dict[tuple[str, str], datetime]:
    """The first window that was tried of each dataset and provider, and of each reader."""
    collected = {span.what for span in kept if "/" not in span.what}
    computed = {_ledger_name(client, span.what) for span in kept if "/" in span.what}
    owner = (str(row["customer_id"]), str(row.get("provider") or ""))
    found = of_slices.first_tried(client, collected, owner) if collected else {}
    return found | (of_slices.first_tried(client, computed, ("", "")) if computed else {})


def _of_span(
    client: Client, row: Mapping[str, Any], span: Span, begins: Mapping[tuple[str, str], datetime]
) -> list[Beneath]:
    is_reader = "/" in span.what
    dataset = _ledger_name(client, span.what)
    owner = ("", "") if is_reader else (str(row["customer_id"]), str(row.get("provider") or ""))
    length = _length(span.what)
    first, last = span.begin, span.end
    if span.by and isinstance(named := row.get(span.by), datetime):
        first = windows.floor_to(length, named)
        last = first + length
    tried = of_slices.of_ledger(client, dataset, owner, first, last)
    if span.by and not isinstance(row.get(span.by), datetime):
        tried = {provider: [one for one in of if one.batch][-1:] for provider, of in tried.items()}
    providers = {provider for name, provider in begins if name == dataset} or {owner[1]}
    layers = []
    for provider in sorted(providers):
        known = tried.get(provider, [])
        begun = begins.get((dataset, provider))
        gap = _gap(span.what, begun)
        every = known if span.by and len(known) <= 1 and known else of_slices.with_gaps(known, first, last, length, gap)
        if begun is None:
            every = []
        layers.append(
            Beneath(
                depth=span.depth,
                name=span.what,
                dataset=dataset,
                table=dataset if is_reader else DATASETS[dataset].table,
                is_reader=is_reader,
                provider=provider,
                begin=first,
                end=last,
                length=length,
                slices=every,
                calls=None if is_reader else Calls.of(every),
            )
        )
    return layers


def _gap(what: str, begun: datetime | None) -> Callable[[datetime], str]:
    """How a slice stands that nobody tried."""

    def stands(start: datetime) -> str:
        if begun is None or start < begun:
            return BEFORE
        return NO_BILL if what == BILLS.name else MISSING

    return stands


def _reading_times(
    span: Span, ledger_of: Mapping[str, Sequence[Slice]], computed_at: datetime
) -> Callable[[datetime], datetime | None]:
    """When the slices of a span were read last: by the row's own reader, or by slices of readers in between."""
    of_readers = {
        name: {one.start: _read_at(one) for one in ledger_of.get(name, ()) if one.batch}
        for name, _, _ in span.readings
        if name
    }

    def at(start: datetime) -> datetime | None:
        times = []
        for name, begin, end in span.readings:
            if not begin <= start < end:
                continue
            read_at = of_readers[name].get(windows.floor_to(_length(name), start)) if name else computed_at
            if read_at is not None:
                times.append(read_at)
        return max(times, default=None)

    return at


def _with_changes(layer: Beneath, read_at: Callable[[datetime], datetime | None]) -> Beneath:
    """The layer, with the slices marked that were published after they were read."""

    def changed(one: Slice) -> bool:
        at = read_at(one.start)
        if at is None or one.published_at is None or (layer.is_reader and one.start + layer.length > layer.end):
            return False  # a day that goes on is computed again all the time
        return one.published_at > at

    return replace(layer, slices=[replace(one, changed_since=True) if changed(one) else one for one in layer.slices])


def _read_at(one: Slice) -> datetime:
    """When a reader's slice began to be computed: its batch is that time in ns, unless a clock went backwards."""
    assert one.published_at is not None  # noqa: S101 - it has a batch
    begun = datetime.fromtimestamp(one.batch / 1e9, UTC) if one.batch < 4e18 else one.published_at
    return begun if timedelta(0) <= one.published_at - begun < DAY else one.published_at


def _length(what: str) -> timedelta:
    family, _, name = what.partition("/")
    if name:
        return readers()[family, name].length
    return DAY if what == BILLS.name else windows.WINDOW


def _ledger_name(client: Client, what: str) -> str:
    family, _, name = what.partition("/")
    return shown_table(client, readers()[family, name]) if name else what


def _collected(row: Mapping[str, Any], dataset: str, provider: str, mine: Slice, length: timedelta) -> Beneath:
    """The one slice that a collected row is in."""
    return Beneath(
        depth=1,
        name=dataset,
        dataset=dataset,
        table=DATASETS[dataset].table,
        is_reader=False,
        provider=provider or str(row.get("provider") or ""),
        begin=mine.start,
        end=mine.start + length,
        length=length,
        slices=[mine],
        calls=Calls.of([mine]),
    )


# --- What else is known ----------------------------------------------------------------------------------------------


def _days(
    client: Client, asked: ExplanationRequest, reader: Reader | None, layers: Sequence[Beneath], until: datetime
) -> list[facts.Days]:
    """The days of costs, where the row is of costs that are known by day."""
    of_bills = [layer.begin for layer in layers if layer.dataset == BILLS.name]
    if not of_bills or (reader.family if reader else asked.name[0]) != "cost":
        return []
    return facts.days(client, asked.row, min(of_bills), until)


def _days_of(row: Mapping[str, Any], since: datetime, until: datetime) -> tuple[datetime, datetime]:
    return since.replace(hour=0, minute=0), until + DAY - windows.WINDOW if "charge_day" not in row else until


def _with_billed_days(layer: Beneath, days: Sequence[facts.Days]) -> Beneath:
    """The layer of estimates, with those that no bill needs any more marked so."""
    billed = next((one.billed for one in days if one.provider == layer.provider), frozenset())
    if layer.dataset != COST.name or not billed:
        return layer
    return replace(
        layer,
        slices=[
            replace(one, state=BILLED) if one.start.date() in billed and one.state != "complete" else one
            for one in layer.slices
        ],
    )


def _checked(client: Client, row: Mapping[str, Any], layer: Beneath) -> Layer:
    """The layer with its rows hashed again, those of readers counted, as far as they are not too many."""
    published = layer.published
    if not published:
        return Layer(layer, None, None)
    if layer.is_reader:
        return Layer(layer, checksums.count(client, layer.table, published), None)
    dataset = DATASETS[layer.dataset]
    owner = (str(row["customer_id"]), layer.provider)
    checked = checksums.check(client, dataset, owner, published)
    first, last = published[-checked.slices].start, published[-1].start
    hashed = checksums.of_rows(
        client,
        f"SELECT * FROM {dataset.table}_current WHERE customer_id = {{customer:String}} "  # noqa: S608 - names are the code's own
        f"AND provider = {{provider:String}} AND {dataset.where} "
        "AND window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}",
        {"customer": owner[0], "provider": owner[1], "first": _text(first), "last": _text(last)},
    )
    return Layer(layer, checked, hashed)


def _checksum_of_slice(client: Client, row: Mapping[str, Any], mine: Slice, dataset: str) -> checksums.OfRows:
    """The hash of the customer's rows of the reader's slice."""
    return checksums.of_rows(
        client,
        f"SELECT * EXCEPT (batch) FROM {dataset} WHERE window_start = {{window:DateTime('UTC')}} "  # noqa: S608 - names are the code's own
        f"AND batch = {mine.batch} AND customer_id = {{customer:String}}",
        {"window": _text(mine.start), "customer": str(row["customer_id"])},
    )


def _failed_since(
    client: Client, asked: ExplanationRequest, layers: Sequence[Beneath], until: datetime, now: datetime
) -> list[FailedAttempts]:
    """The attempts that did not end well after what was read: at its own slices, and of a newest row at newer ones."""
    found: list[FailedAttempts] = []
    owner_id = str(asked.row["customer_id"])
    for layer in (one for one in layers if not one.is_reader):
        groups = [([one for one in layer.slices if one.failed_since], False)]
        if until > now - _LATELY and layer.depth == 1:
            newer = of_slices.of_ledger(client, layer.dataset, (owner_id, layer.provider), layer.end, now)
            groups.append(
                ([one for one in newer.get(layer.provider, []) if one.last_status in {"failed", "budget"}], True)
            )
        for slices, is_newer in groups:
            if slices:
                newest = max(slices, key=lambda one: one.start)
                found.append(
                    FailedAttempts(
                        layer.dataset,
                        layer.provider,
                        len(slices),
                        slices[0].start,
                        newest.start,
                        newest.last_status,
                        asked.masked(newest.last_error),
                        is_newer,
                    )
                )
    return found


def _masked(layer: Layer, masked: Callable[[str], str]) -> Layer:
    slices = [
        replace(one, error=masked(one.error), last_error=masked(one.last_error)) if one.error or one.last_error else one
        for one in layer.of.slices
    ]
    return replace(layer, of=replace(layer.of, slices=slices))


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
