"""Write modes: the slices of an attempt combined with what is published of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from optiinfra_dagster.model.slices import MergeBilledAccounts, MergeLatePoints, Replace, ReplaceMetrics, SliceStatus
from optiinfra_dagster.storage import arrow, bills
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.ledger import LedgerRow

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.model.slices import SliceKey, SliceResult
    from optiinfra_dagster.storage.ledger import PublishedBatch
    from optiinfra_dagster.storage.schema import Dataset

Content = Mapping[tuple[str, str, int], tuple[int, int]]
"""The number of rows of a slice, and their hash, by customer, provider and window (epoch seconds)."""

_EMPTY = (0, 0)


@dataclass(slots=True)
class CombinedSlices:
    """The rows and ledger rows to be written of an attempt's slices.

    `entries` are the ledger rows and `rows` the rows of those that get a new batch, None for none. `unchanged` are
    the slices whose content is published already. `reread` rows of published windows were collected a second time;
    `corrected` of them differ or are new. `kept` are the resources and metrics of which the newest window keeps rows.
    """

    entries: list[LedgerRow] = field(default_factory=list)
    rows: pa.Table | None = None
    unchanged: list[LedgerRow] = field(default_factory=list)
    reread: int = 0
    corrected: int = 0
    kept: set[tuple[str, str]] = field(default_factory=set)


def combine(
    client: Client, dataset: Dataset, slices: SliceResult, content: Content, before: Mapping[SliceKey, PublishedBatch]
) -> CombinedSlices:
    """Combine slices, with the `content` of their rows, by their write mode with what is published, `before`."""
    match slices.mode:
        case Replace():
            return _replaced(slices, slices.rows, content, before)
        case ReplaceMetrics() as mode:
            return _with_past_points(client, dataset, slices, content, before, mode)
        case MergeLatePoints():
            return _with_late_points(client, dataset, slices, content, before)
        case MergeBilledAccounts() as mode:
            return _with_billed_accounts(client, dataset, slices, content, before, mode)


def record_import(client: Client, slices: SliceResult) -> None:
    """Record that an import has ended well, if it ends with these slices; to be called once they are published."""
    if isinstance(slices.mode, MergeBilledAccounts) and (ended := slices.mode.completes) is not None:
        bills.record_imports(client, slices.customer_id, slices.provider, ended.accounts, ended.at, done=True)


def read_current(
    client: Client, dataset: Dataset, windows: Collection[datetime], *, where: str = "1", **parameters: Any
) -> pa.Table:
    """The published rows from the first to the last of `windows`, as ClickHouse gives them."""
    return fetch(
        client,
        f"SELECT * FROM {dataset.table}_current "  # noqa: S608 - the table name is the code's own
        "WHERE window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')} "
        f"AND {dataset.where} AND {where}",
        {"first": min(windows), "last": max(windows), **parameters},
    )


# --- Replace ---------------------------------------------------------------------------------------------------------


def _replaced(
    slices: SliceResult, rows: pa.Table | None, content: Content, before: Mapping[SliceKey, PublishedBatch]
) -> CombinedSlices:
    """The slices with `rows`; none is written whose content is published, or more complete."""
    combined = CombinedSlices()
    for index, key in enumerate(slices.keys):
        count, content_hash = content.get(key.content_key, _EMPTY)
        entry = LedgerRow(key, slices.status, count, content_hash, slices.error, slices.permanent, scope=slices.scope)
        if index == 0:
            entry.api_calls, entry.api_cost_usd = slices.api_calls, slices.api_cost_usd
        old = before.get(key)
        if old and slices.status is SliceStatus.PARTIAL and (old.status is SliceStatus.OK or old.rows > count):
            # What is published is whole, or less incomplete: a partial answer must not take rows away from it.
            entry.status, entry.rows, entry.content_hash = SliceStatus.FAILED, 0, 0
        elif old and (old.status, old.rows, old.content_hash) == (slices.status, count, content_hash):
            combined.unchanged.append(entry)
            if not entry.api_calls:
                continue
            entry.batch = old.batch
        combined.entries.append(entry)
    combined.rows = _to_write(rows, combined.entries, content)
    return combined


def _with_past_points(
    client: Client,
    dataset: Dataset,
    slices: SliceResult,
    content: Content,
    before: Mapping[SliceKey, PublishedBatch],
    mode: ReplaceMetrics,
) -> CombinedSlices:
    """The slices with their rows and, of windows that are past, with the published ones that they do not have."""
    published_before = (key for key in slices.keys if key in before and before[key].rows)
    past = [key.window for key in published_before if key.window != mode.present]
    if not (past and slices.status.published):
        return _replaced(slices, slices.rows, content, before)
    rows = _rows(slices, dataset)
    past_points = arrow.conform(
        dataset, _kept(dataset, rows, _of_windows(_published(client, dataset, slices, past), past))
    )
    if not past_points.num_rows:
        return _replaced(slices, slices.rows, content, before)
    rows = arrow.concat(dataset, [rows, past_points])
    combined = _replaced(slices, rows, arrow.content_hashes(rows), before)
    of_newest = _of_windows(past_points, [max(slices.windows)])
    combined.kept = set(zip(*(of_newest[name].to_pylist() for name in ("resource_id", "metric_name")), strict=True))
    return combined


def _to_write(rows: pa.Table | None, entries: Collection[LedgerRow], content: Content) -> pa.Table | None:
    """The rows of the slices that are published with a new batch; None where there are none."""
    windows = [entry.key.window for entry in entries if entry.status.published and entry.rows and entry.batch is None]
    return _of_windows(rows, windows, of=len(content)) if windows and rows is not None else None


def _of_windows(rows: pa.Table, windows: Collection[datetime], *, of: int | None = None) -> pa.Table:
    """The rows of some windows; nothing is copied where these are all `of` windows that `rows` has."""
    if len(windows) == of:
        return rows
    seconds = [int(window.timestamp()) for window in windows]
    return rows.filter(pc.is_in(rows["window_start"].cast(pa.int64()), pa.array(seconds, pa.int64())))


# --- Late data corrections -------------------------------------------------------------------------------------------


def _with_late_points(
    client: Client, dataset: Dataset, slices: SliceResult, content: Content, before: Mapping[SliceKey, PublishedBatch]
) -> CombinedSlices:
    """The published windows among the slices, with the points that differ from the published ones or are new.

    The points of a resource that is gone, and not asked for again, stay.
    """
    combined = CombinedSlices()
    changed = []
    for key in slices.keys:
        old, new = before.get(key), content.get(key.content_key, _EMPTY)
        if old is None:
            continue
        combined.reread += new[0]
        if (old.rows, old.content_hash) != new:
            changed.append(key)
    if not changed:
        return combined
    windows = [key.window for key in changed]
    new_rows = _of_windows(_rows(slices, dataset), windows, of=len(content))
    rows, combined.corrected = merge_late_points(dataset, new_rows, _published(client, dataset, slices, windows))
    merged = arrow.content_hashes(rows)
    for key in changed:
        count, content_hash = merged.get(key.content_key, _EMPTY)
        old = before[key]
        if (old.rows, old.content_hash) != (count, content_hash):
            combined.entries.append(LedgerRow(key, old.status, count, content_hash, slices.error, slices.permanent))
    if combined.entries:
        combined.entries[0].api_calls, combined.entries[0].api_cost_usd = slices.api_calls, slices.api_cost_usd
    combined.rows = _to_write(rows, combined.entries, merged)
    return combined


def merge_late_points(dataset: Dataset, new: pa.Table, published: pa.Table) -> tuple[pa.Table, int]:
    """The `new` rows and the `published` ones whose keys are not among them; and how many rows are new or different."""
    kept = _kept(dataset, new, published)
    known = np.isin(arrow.row_hashes(new), arrow.row_hashes(arrow.conform(dataset, published)))
    return arrow.concat(dataset, [new, arrow.conform(dataset, kept)]), int(np.count_nonzero(~known))


def _kept(dataset: Dataset, new: pa.Table, published: pa.Table) -> pa.Table:
    """The `published` rows whose keys are not among those of the `new` ones.

    A row without its `unnamed` column is the same as a row of the other table that has the rest of its key.
    """
    remaining = _without(published, new, dataset.key)
    if dataset.unnamed:
        rest = dataset.rest_of_key
        of_new, of_kept = (pc.equal(arrow.plain(rows[dataset.unnamed]), "") for rows in (new, remaining))
        named = _without(remaining.filter(pc.invert(of_kept)), new.filter(of_new), rest)
        remaining = pa.concat_tables([named, _without(remaining.filter(of_kept), new, rest)])
    return remaining.select(dataset.schema.names)


def _without(rows: pa.Table, others: pa.Table, keys: Sequence[str]) -> pa.Table:
    """The rows whose keys are not those of any of the others."""
    plain = pa.table({name: arrow.plain(others[name]) for name in keys})
    return rows.join(plain, keys=list(keys), join_type="left anti")


# --- Bills -----------------------------------------------------------------------------------------------------------


def _with_billed_accounts(
    client: Client,
    dataset: Dataset,
    slices: SliceResult,
    content: Content,
    before: Mapping[SliceKey, PublishedBatch],
    mode: MergeBilledAccounts,
) -> CombinedSlices:
    """Billed days completed with what is published of them; the restatements among them are noted."""
    if not any(key in before for key in slices.keys):
        return _replaced(slices, slices.rows, content, before)
    published = _of_windows(arrow.conform(dataset, _published(client, dataset, slices, slices.windows)), slices.windows)
    rows = bills.merge_accounts(_rows(slices, dataset), published, mode)
    bills.note_restatements(client, rows, published, before, datetime.now(UTC))
    return _replaced(slices, rows, arrow.content_hashes(rows), before)


def _rows(slices: SliceResult, dataset: Dataset) -> pa.Table:
    return dataset.schema.empty_table() if slices.rows is None else slices.rows


def _published(client: Client, dataset: Dataset, slices: SliceResult, windows: Collection[datetime]) -> pa.Table:
    """The published rows of the slices' customer and provider, from the first to the last of `windows`."""
    return read_current(
        client,
        dataset,
        windows,
        where="customer_id = {customer:String} AND provider = {provider:String}",
        customer=slices.customer_id,
        provider=slices.provider,
    )
