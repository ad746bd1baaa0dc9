"""The layers beneath a row: the slices that it rests on, and which of them changed after they were read."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.explanation import row_times
from optiinfra_dagster.storage.explanation.reader_inputs import DAY, spans
from optiinfra_dagster.storage.explanation.slices import (
    BEFORE,
    MISSING,
    NO_BILL,
    Beneath,
    Calls,
    Slice,
    first_tried,
    slices_tried,
    with_gaps,
)
from optiinfra_dagster.storage.reader_tables import shown_table
from optiinfra_dagster.storage.schema import BILLED, DATASETS
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.explanation.reader_inputs import Span
    from optiinfra_dagster.storage.explanation.request import ExplanationRequest, SliceAddress
    from optiinfra_dagster.storage.sql import Reader


def layers_of(
    client: Client, request: ExplanationRequest, reader: Reader | None, address: SliceAddress, own_slice: Slice | None
) -> tuple[list[Beneath], list[str]]:
    """The slices that the row rests on, the nearest first, and the tables beside the ledger that were read, too.

    A collected row rests on its own slice alone.
    """
    if reader is not None:
        return _layers_of_reader(client, request, reader, address, own_slice)
    return ([_collected(request.row, address, own_slice)] if own_slice else []), []


def _layers_of_reader(
    client: Client, request: ExplanationRequest, reader: Reader, address: SliceAddress, own_slice: Slice | None
) -> tuple[list[Beneath], list[str]]:
    """The slices beneath a reader's, of the row's customer, provider and times."""
    row = request.row
    all_spans, beside = spans(reader, address.begin, address.end)
    computed_at = began_at(own_slice) if own_slice and own_slice.batch else datetime.now(UTC)
    closed = windows.newest_collectable(computed_at, request.lag) + windows.WINDOW
    until = min(address.end, max(closed, address.begin + windows.WINDOW))
    times = row_times.times(row, address.begin, address.end)
    row_spans = _cut(all_spans, until, times) or _cut(all_spans, until, None)
    layers: list[Beneath] = []
    slices_of_readers: dict[str, Sequence[Slice]] = {}
    begins = _first_tried(client, row, row_spans)
    for span in row_spans:
        for layer in _of_span(client, row, span, begins):
            layers.append(layer)
            if layer.is_reader:
                slices_of_readers[span.what] = layer.slices
    read_at = {span.what: _reading_times(span, slices_of_readers, computed_at) for span in all_spans}
    return [_with_changes(layer, read_at[layer.name]) for layer in layers], beside


def _cut(spans_read: Sequence[Span], until: datetime, times: tuple[datetime, datetime] | None) -> list[Span]:
    """The spans as far as they lie in the row's own times and before what was still to come."""
    cut = []
    for span in spans_read:
        first, last = span.begin, min(span.end, until)
        if times and not span.by:
            first = max(first, windows.floor_to(_length(span.what), times[0]))
            last = min(last, times[1])
        if first < last:
            cut.append(replace(span, begin=first, end=last))
    return cut


def _first_tried(client: Client, row: Mapping[str, Any], row_spans: Sequence[Span]) -> dict[tuple[str, str], datetime]:
    """The first window that was tried of each dataset and provider, and of each reader."""
    collected = {span.what for span in row_spans if "/" not in span.what}
    computed = {_ledger_name(client, span.what) for span in row_spans if "/" in span.what}
    owner = (str(row["customer_id"]), str(row.get("provider") or ""))
    of_datasets = first_tried(client, collected, owner) if collected else {}
    of_readers = first_tried(client, computed, ("", "")) if computed else {}
    return of_datasets | of_readers


def _of_span(
    client: Client, row: Mapping[str, Any], span: Span, begins: Mapping[tuple[str, str], datetime]
) -> list[Beneath]:
    """A layer for each provider whose slices lie in the span."""
    is_reader = "/" in span.what
    dataset = _ledger_name(client, span.what)
    owner = ("", "") if is_reader else (str(row["customer_id"]), str(row.get("provider") or ""))
    length = _length(span.what)
    first, last = span.begin, span.end
    if span.by and isinstance(named := row.get(span.by), datetime):
        first = windows.floor_to(length, named)
        last = first + length
    tried = slices_tried(client, dataset, owner, first, last)
    if span.by and not isinstance(row.get(span.by), datetime):
        tried = {provider: [one for one in slices if one.batch][-1:] for provider, slices in tried.items()}
    providers = {provider for name, provider in begins if name == dataset} or {owner[1]}
    layers = []
    for provider in sorted(providers):
        slices = tried.get(provider, [])
        begun = begins.get((dataset, provider))
        if begun is None:
            slices = []
        elif not (span.by and len(slices) == 1):
            slices = with_gaps(slices, first, last, length, _state_of_gap(span.what, begun))
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
                slices=slices,
                calls=None if is_reader else Calls.of(slices),
            )
        )
    return layers


def _state_of_gap(what: str, begun: datetime) -> Callable[[datetime], str]:
    """The state of a slice that nobody tried, by its start; `begun` is the start of the first that was tried."""

    def state(start: datetime) -> str:
        if start < begun:
            return BEFORE
        return NO_BILL if what == BILLED.name else MISSING

    return state


def _reading_times(
    span: Span, slices_of_readers: Mapping[str, Sequence[Slice]], computed_at: datetime
) -> Callable[[datetime], datetime | None]:
    """When the slices of a span were read last: by the row's own reader, or by slices of readers in between."""
    of_readers = {
        name: {one.start: began_at(one) for one in slices_of_readers.get(name, ()) if one.batch}
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


def began_at(one: Slice) -> datetime:
    """When a reader's slice began to be computed: its batch is that time in ns, unless a clock went backwards."""
    assert one.published_at is not None  # noqa: S101 - it has a batch
    begun = datetime.fromtimestamp(one.batch / 1e9, UTC) if one.batch < 4e18 else one.published_at
    return begun if timedelta(0) <= one.published_at - begun < DAY else one.published_at


def _length(what: str) -> timedelta:
    family, _, name = what.partition("/")
    if name:
        return readers()[family, name].length
    return DAY if what == BILLED.name else windows.WINDOW


def _ledger_name(client: Client, what: str) -> str:
    family, _, name = what.partition("/")
    return shown_table(client, readers()[family, name]) if name else what


def _collected(row: Mapping[str, Any], address: SliceAddress, own_slice: Slice) -> Beneath:
    """The one slice that a collected row is in."""
    return Beneath(
        depth=1,
        name=address.dataset,
        dataset=address.dataset,
        table=DATASETS[address.dataset].table,
        is_reader=False,
        provider=address.owner[1] or str(row.get("provider") or ""),
        begin=address.begin,
        end=address.end,
        length=address.length,
        slices=[own_slice],
        calls=Calls.of([own_slice]),
    )
