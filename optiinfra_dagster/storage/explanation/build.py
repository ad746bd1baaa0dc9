"""Puts the explanation of a row together, from the ledger, the reader's file and the tables."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.explanation import checksums, facts, recompute, statements, verdict
from optiinfra_dagster.storage.explanation.layers import began_at, layers_of
from optiinfra_dagster.storage.explanation.model import Explanation, FailedAttempts, Layer, Origin, Own, own
from optiinfra_dagster.storage.explanation.reader_inputs import DAY
from optiinfra_dagster.storage.explanation.request import SliceAddress
from optiinfra_dagster.storage.explanation.slices import BILLED, Beneath, Calls, Slice, slices_tried
from optiinfra_dagster.storage.reader_tables import shown_table
from optiinfra_dagster.storage.readers import telling
from optiinfra_dagster.storage.schema import APPLICATION, COST, DATASETS, PERFORMANCE
from optiinfra_dagster.storage.schema import BILLED as BILLS
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.explanation.request import ExplanationRequest
    from optiinfra_dagster.storage.sql import Reader

_HEAD = re.compile(r"\A(?:--.*\n)+")  # of a reader's file: it describes the SELECT
_LATELY = timedelta(days=2)  # a row of so short ago is told of what failed after it
_NEWEST_ROWS = {"metrics": "what was collected, as it is published", "timeline": "all that is known of one resource"}


def build_explanation(client: Client, request: ExplanationRequest) -> Explanation:
    """The explanation of a row.

    Raises:
        StorageError: the tables cannot be read.
    """
    now = datetime.now(UTC)
    row = dict(request.row)
    reader = _reader(request)
    address = _address(client, request, reader)
    own_slice = _slice_at(client, address)
    layers, beside = layers_of(client, request, reader, address, own_slice)
    since = min((layer.begin for layer in layers if not layer.is_reader), default=address.begin)
    until = max((layer.end for layer in layers), default=address.end)
    days = _days(client, request, reader, layers, until)
    layers = [_with_billed_days(layer, days) for layer in layers]
    datasets = {layer.dataset for layer in layers}
    gaps = facts.gaps(client, row, since, until) if PERFORMANCE.name in datasets else []
    shown_gaps, gaps_left_out = facts.first_of([replace(gap, reason=request.masked(gap.reason)) for gap in gaps])
    restated = facts.restatements(client, row, *_days_of(row, since, until)) if BILLS.name in datasets else []
    restated_since = _seen_since_computed(restated, own_slice)
    shown_restated, restated_left_out = facts.first_of(restated_since)
    return verdict.judged(
        Explanation(
            customer=str(row["customer_id"]),
            family=request.name[0],
            reader=request.name[1],
            explained_at=now,
            as_of=None,
            row=row,
            origin=_origin(client, request, reader, address.begin),
            own=_own(client, request, reader, address, own_slice),
            beneath=[_masked(_checked(client, row, layer), request.masked) for layer in layers],
            beside=beside,
            calls=Calls.of([one for layer in layers if not layer.is_reader for one in layer.slices]),
            days=days,
            gaps=shown_gaps,
            gaps_left_out=gaps_left_out,
            restated_since=shown_restated,
            restated_left_out=restated_left_out,
            restated_before=len(restated) - len(restated_since),
            failed_since=_failed_since(client, request, layers, until, now),
            checksum=_checksum_of_slice(client, row, own_slice, address.dataset) if own_slice and reader else None,
            recomputed=recompute.row(client, reader, row, request.statement.types)
            if request.recompute and reader is not None
            else None,
            complete=None,
            unaltered=None,
            reasons=(),
        )
    )


def _reader(request: ExplanationRequest) -> Reader | None:
    """The reader whose slice holds the row; of a timeline's line that which the line names."""
    if request.source.reader is not None:
        return request.source.reader
    family, _, name = str(request.row.get("reader", "")).partition("/")
    return readers().get((family, name))


def _address(client: Client, request: ExplanationRequest, reader: Reader | None) -> SliceAddress:
    row = request.row
    owner = (str(row["customer_id"]), str(row.get("provider") or ""))
    if reader is not None:
        at: datetime = row.get("window_start") or row["at"]
        return SliceAddress(shown_table(client, reader), ("", ""), windows.floor_to(reader.length, at), reader.length)
    if isinstance(row.get("charge_day"), date) and row.get("cost_kind", "billed") == "billed":
        day: date = row["charge_day"]
        return SliceAddress(BILLS.name, owner, datetime(day.year, day.month, day.day, tzinfo=UTC), DAY)
    if "at" in row:
        return SliceAddress("", owner, row["at"], windows.WINDOW)
    return SliceAddress(_dataset_of(request.name[0]), owner, row["window_start"], windows.WINDOW)


def _slice_at(client: Client, address: SliceAddress) -> Slice | None:
    """The slice as the ledger has it; None where nobody tried it, or the row is in none."""
    if not address.dataset:
        return None
    by_provider = slices_tried(client, address.dataset, address.owner, address.begin, address.end)
    return next((one for slices in by_provider.values() for one in slices if one.start == address.begin), None)


def _own(
    client: Client, request: ExplanationRequest, reader: Reader | None, address: SliceAddress, own_slice: Slice | None
) -> Own | None:
    """The row's own slice, its error masked, with a reader's rows counted again."""
    if own_slice is None:
        return None
    counted = checksums.count(client, address.dataset, [own_slice]) if own_slice.batch and reader else None
    masked = replace(own_slice, error=request.masked(own_slice.error))
    return own(address.dataset, address.owner[1], masked, address.length, counted)


def _dataset_of(family: str) -> str:
    return {"cost": COST.name, "application": APPLICATION.name}.get(family, family)


def _origin(client: Client, request: ExplanationRequest, reader: Reader | None, begin: datetime) -> Origin:
    """What the row was read from, and the SELECTs."""
    source, types, row = request.source, request.statement.types, request.row
    family, name = request.name
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


# --- What else is known ----------------------------------------------------------------------------------------------


def _days(
    client: Client, request: ExplanationRequest, reader: Reader | None, layers: Sequence[Beneath], until: datetime
) -> list[facts.Days]:
    """The days of costs, where the row is of costs that are known by day."""
    of_bills = [layer.begin for layer in layers if layer.dataset == BILLS.name]
    if not of_bills or (reader.family if reader else request.name[0]) != "cost":
        return []
    return facts.days(client, request.row, min(of_bills), until)


def _seen_since_computed(restated: Sequence[facts.Restatement], own_slice: Slice | None) -> list[facts.Restatement]:
    """The restatements that the row may not hold; none where its slice was never published."""
    if own_slice is None or not own_slice.batch:
        return []
    # The second in which a change was seen is all that is stored: one of the row's own second may have come after it.
    computed_at = began_at(own_slice).replace(microsecond=0)
    return [one for one in restated if one.seen_at >= computed_at]


def _days_of(row: Mapping[str, Any], since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The times of the days whose restatements count: of a row that is of one day, that one."""
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


def _checksum_of_slice(client: Client, row: Mapping[str, Any], own_slice: Slice, dataset: str) -> checksums.OfRows:
    """The hash of the customer's rows of the reader's slice."""
    return checksums.of_rows(
        client,
        f"SELECT * EXCEPT (batch) FROM {dataset} WHERE window_start = {{window:DateTime('UTC')}} "  # noqa: S608 - names are the code's own
        f"AND batch = {own_slice.batch} AND customer_id = {{customer:String}}",
        {"window": _text(own_slice.start), "customer": str(row["customer_id"])},
    )


def _failed_since(
    client: Client, request: ExplanationRequest, layers: Sequence[Beneath], until: datetime, now: datetime
) -> list[FailedAttempts]:
    """The attempts that did not end well after what was read: at its own slices, and of a newest row at newer ones."""
    failed: list[FailedAttempts] = []
    owner_id = str(request.row["customer_id"])
    for layer in (one for one in layers if not one.is_reader):
        groups = [([one for one in layer.slices if one.failed_since], False)]
        if until > now - _LATELY and layer.depth == 1:
            newer = slices_tried(client, layer.dataset, (owner_id, layer.provider), layer.end, now)
            groups.append(
                ([one for one in newer.get(layer.provider, []) if one.last_status in {"failed", "budget"}], True)
            )
        for slices, is_newer in groups:
            if slices:
                newest = max(slices, key=lambda one: one.start)
                failed.append(
                    FailedAttempts(
                        layer.dataset,
                        layer.provider,
                        len(slices),
                        slices[0].start,
                        newest.start,
                        newest.last_status,
                        request.masked(newest.last_error),
                        is_newer,
                    )
                )
    return failed


def _masked(layer: Layer, masked: Callable[[str], str]) -> Layer:
    slices = [
        replace(one, error=masked(one.error), last_error=masked(one.last_error)) if one.error or one.last_error else one
        for one in layer.of.slices
    ]
    return replace(layer, of=replace(layer.of, slices=slices))


def _text(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
