"""The slice protocol: insert a batch, verify it, publish it, clean up. Readers always see one whole batch.

A slice is replaced as a whole by an attempt: the rows of one (dataset, customer, provider, window). Each attempt
gets a new, higher batch number; its rows become visible when a row of the ledger (`metric_batches`) names that
batch, and not before; rows of older batches are deleted some time afterwards (`superseded`), so that a reader that
began before loses none. A kill between any two steps leaves the old slice or the new one, never a mixture, and the next
attempt clears away what the kill left.

Slices are written in flushes: one INSERT per table and month, one verifying query, one INSERT of all their ledger
rows (one block, so atomic), one delete.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.model.metrics import CoverageState
from optiinfra_dagster.model.slices import PublishedWindows, SliceKey, SliceResult
from optiinfra_dagster.storage import arrow, coverage, merge, superseded_batches
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.deletes import delete_batches
from optiinfra_dagster.storage.ledger import LedgerRow, PublishedBatch, next_batch, publish, published
from optiinfra_dagster.storage.schema import BILLED

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.model.metrics import Coverage
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.schema import Dataset


@dataclass(slots=True)
class FlushResult:
    """The outcome of a flush. `entries` are its ledger rows, `unchanged` the slices whose content was published.

    `reread` rows of published windows were collected a second time; `corrected` of them differ or are new.
    """

    entries: list[LedgerRow] = field(default_factory=list)
    unchanged: list[LedgerRow] = field(default_factory=list)
    reread: int = 0
    corrected: int = 0
    rows_written: int = 0


@dataclass(slots=True)
class _Leftovers:
    """The batches of slices that have rows and are not the published ones.

    `rubbish` is published by nobody and may be deleted. `old` are batches below the published one, `orphans` the
    highest one above it, which may be another writer's.
    """

    rubbish: list[tuple[SliceKey, int]] = field(default_factory=list)
    old: dict[SliceKey, list[int]] = field(default_factory=dict)
    orphans: dict[SliceKey, int] = field(default_factory=dict)


class Writer:
    """Writes flushes of one dataset's slices. `steps` is called with the name of each step done: tests kill there."""

    def __init__(
        self,
        clickhouse: ClickHouse,
        dataset: Dataset,
        *,
        run_id: str = "",
        steps: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._clickhouse = clickhouse
        self._dataset = dataset
        self._run_id = run_id
        self._step = steps

    def flush(self, batch: Sequence[SliceResult | PublishedWindows]) -> FlushResult:
        """Write, verify, publish and clean up a batch's slices together; of those published already, only clean up.

        Raises:
            StorageError: ClickHouse failed, or did not take every row; nothing of this flush is visible then.
            ValueError: a slice is there twice, or rows belong to none of the slices; nothing was written.
        """
        batch = [item for item in batch if item.windows]
        if not batch:
            return FlushResult()
        attempts = [item for item in batch if isinstance(item, SliceResult)]
        contents = [arrow.content_hashes(a.rows) if a.rows is not None else {} for a in attempts]
        _refuse_duplicates(batch)
        for attempt, content in zip(attempts, contents, strict=True):
            _refuse_foreign_rows(attempt, content)
        keys = [key for item in batch for key in item.keys]
        result = FlushResult()
        to_write: list[pa.Table] = []
        covered: list[coverage.WindowCoverage] = []
        with self._clickhouse.session(writes=self._tables()) as client:
            before = published(
                client, self._dataset.name, [key.window for key in keys], sorted({item.customer_id for item in batch})
            )
            for attempt, content in zip(attempts, contents, strict=True):
                combined = merge.combine(client, self._dataset, attempt, content, before)
                result.entries += combined.entries
                result.unchanged += combined.unchanged
                result.reread += combined.reread
                result.corrected += combined.corrected
                if combined.rows is not None:
                    to_write.append(combined.rows)
                if attempt.coverage is not None:
                    covered.append(_coverage(attempt, attempt.coverage, combined.kept))
            rows = arrow.concat(self._dataset, to_write) if to_write else None
            result.rows_written = 0 if rows is None else rows.num_rows
            orphans = self._write(client, rows, result.entries, before, keys, covered)
            if orphans:
                self._supersede(client, orphans)
            for attempt in attempts:
                merge.record_import(client, attempt)
        return result

    def _tables(self) -> str:
        """The tables that a flush writes."""
        of_bills = ("cost_readings", "cost_restated") if self._dataset.name == BILLED.name else ()
        return " ".join((LEDGER_TABLE, self._dataset.table, "coverage", *of_bills))

    def _write(
        self,
        client: Client,
        rows: pa.Table | None,
        entries: Sequence[LedgerRow],
        before: Mapping[SliceKey, PublishedBatch],
        keys: Sequence[SliceKey],
        covered: Sequence[coverage.WindowCoverage] = (),
        above: int = 0,
    ) -> dict[SliceKey, int]:
        """The protocol's steps, with a batch number higher than `above`.

        Returns the slices among `keys` that hold rows of a batch above their published one, and that batch.
        """
        batch = max(next_batch(before.values()), above + 1)
        if rows is not None:
            self._insert(client, rows, batch)
        self._step("inserted")
        found = self._verify(client, entries, before, batch, keys)
        self._step("verified")
        coverage.record(client, self._dataset.name, covered, version=batch)
        if entries:
            publish(client, self._dataset.name, entries, batch, self._run_id)
        self._step("published")
        now, keeping = datetime.now(UTC), self._clickhouse.keeping
        leftovers = found.rubbish + superseded_batches.due(client, self._dataset.name, found.old, keeping, now)
        delete_batches(client, self._dataset.table, self._dataset.where, leftovers)
        self._step("cleaned")
        return found.orphans

    def _supersede(self, client: Client, orphans: Mapping[SliceKey, int]) -> None:
        """Publish what is published once more, above the rows that an attempt at the same slices left unpublished.

        On a server those rows may be those of a writer at work elsewhere: deleting them would take them from under its
        verified batch. Below a published batch they are rubbish whoever wrote them, so the published content goes
        there.
        """
        windows = [key.window for key in orphans]
        customers = sorted({key.customer_id for key in orphans})
        before = published(client, self._dataset.name, windows, customers)
        current = merge.read_current(
            client, self._dataset, windows, where="customer_id IN {customers:Array(String)}", customers=customers
        )
        rows = arrow.conform(self._dataset, current)
        wanted = {key.content_key for key in orphans}
        identity = zip(
            arrow.plain(rows["customer_id"]).to_pylist(),
            arrow.plain(rows["provider"]).to_pylist(),
            rows["window_start"].cast(pa.int64()).to_pylist(),
            strict=True,
        )
        rows = rows.filter(pa.array([key in wanted for key in identity], pa.bool_()))
        entries = []
        for key in orphans:
            old = before[key]
            entries.append(LedgerRow(key, old.status, old.rows, old.content_hash, old.error, old.permanent))
        self._write(client, rows, entries, before, list(orphans), above=max(orphans.values()))

    def _insert(self, client: Client, rows: pa.Table, batch: int) -> None:
        """Insert one block per month partition, each with a deduplication token that holds the batch."""
        rows = rows.append_column("batch", pa.repeat(pa.scalar(batch, pa.uint64()), rows.num_rows))
        for month, of_month in _by_month(rows):
            block = of_month.combine_chunks()
            client.insert_arrow(
                self._dataset.table,
                block,
                settings={
                    "insert_deduplication_token": f"{self._dataset.name}-{batch}-{month}",
                    # A block that is cut in two would leave its first half behind when the second fails.
                    "max_insert_block_size": block.num_rows + 1,
                    "min_insert_block_size_rows": block.num_rows + 1,
                    "min_insert_block_size_bytes": 0,
                },
            )

    def _verify(
        self,
        client: Client,
        entries: Sequence[LedgerRow],
        before: Mapping[SliceKey, PublishedBatch],
        batch: int,
        keys: Sequence[SliceKey],
    ) -> _Leftovers:
        """Raise unless every row is there; returns what else is there of the slices."""
        counts = self._counts(client, keys)
        current = {key: old.batch for key, old in before.items()}
        lost = []
        for entry in entries:
            if entry.status.published and entry.batch is None:
                current[entry.key] = batch
                if counts.get(entry.key, {}).get(batch, 0) != entry.rows:
                    lost.append(entry)
        if lost:
            self._raise_if_lost(client, lost, counts, batch)
        found = _Leftovers()
        for key, batches in counts.items():
            newest_batch = current.get(key, 0)
            for row_batch in batches:
                # The lock of an embedded place says that nobody else is writing; on a server nothing does.
                if row_batch > newest_batch and self._clickhouse.embedded:
                    found.rubbish.append((key, row_batch))
                elif row_batch > newest_batch and newest_batch:
                    found.orphans[key] = max(row_batch, found.orphans.get(key, 0))
                # The batch that this flush supersedes is not due yet: to ask the ledger of it would be in vain.
                elif row_batch < newest_batch and not (key in before and row_batch == before[key].batch):
                    found.old.setdefault(key, []).append(row_batch)
        return found

    def _raise_if_lost(
        self, client: Client, lost: Sequence[LedgerRow], counts: Mapping[SliceKey, Mapping[int, int]], batch: int
    ) -> None:
        """Raise for the first slice whose rows did not arrive, unless they were rightly deleted.

        Somebody else who published a higher batch meanwhile was right to delete them.
        """
        newest = published(client, self._dataset.name, [e.key.window for e in lost], [e.key.customer_id for e in lost])
        for entry in lost:
            if entry.key not in newest or newest[entry.key].batch < batch:
                arrived = counts.get(entry.key, {}).get(batch, 0)
                raise StorageError(
                    f"{self._dataset.table}: {entry.rows} rows were sent for {entry.key.customer_id} "
                    f"{entry.key.provider} {entry.key.window:%Y-%m-%dT%H:%MZ}, {arrived} arrived. Nothing was "
                    "published; run the collection again."
                )

    def _counts(self, client: Client, keys: Sequence[SliceKey]) -> dict[SliceKey, dict[int, int]]:
        """The number of rows of each batch, published or not, for each slice among `keys` that has rows."""
        rows = client.query(
            f"""
            SELECT customer_id, provider, toUnixTimestamp(window_start), batch, count()
            FROM {self._dataset.table}
            WHERE window_start >= fromUnixTimestamp({{first:UInt32}})
                AND window_start <= fromUnixTimestamp({{last:UInt32}})
                AND customer_id IN {{customers:Array(String)}} AND {self._dataset.where}
            GROUP BY customer_id, provider, window_start, batch
            """,  # noqa: S608 - the table name is the code's own
            parameters={
                "first": int(min(k.window for k in keys).timestamp()),
                "last": int(max(k.window for k in keys).timestamp()),
                "customers": sorted({k.customer_id for k in keys}),
            },
        ).result_rows
        counts: dict[SliceKey, dict[int, int]] = {}
        wanted = set(keys)
        for customer, provider, seconds, batch, count in rows:
            key = SliceKey(customer, provider, datetime.fromtimestamp(seconds, UTC))
            if key in wanted:
                counts.setdefault(key, {})[batch] = count
        return counts


def by_dataset(
    batch: Sequence[SliceResult | PublishedWindows], own: str
) -> dict[str, list[SliceResult | PublishedWindows]]:
    """The slices of a flush batch by the dataset that they belong to, which is `own` where they name none."""
    parts: dict[str, list[SliceResult | PublishedWindows]] = {}
    for item in batch:
        name = item.dataset if isinstance(item, SliceResult) else ""
        parts.setdefault(name or own, []).append(item)
    return parts


def _refuse_duplicates(batch: Sequence[SliceResult | PublishedWindows]) -> None:
    seen: set[SliceKey] = set()
    for item in batch:
        keys = item.keys
        if len(keys) != len(set(keys)) or not seen.isdisjoint(keys):
            raise ValueError(f"{item.customer_id} {item.provider}: a window is there twice in one flush.")
        seen.update(keys)


def _refuse_foreign_rows(attempt: SliceResult, content: merge.Content) -> None:
    """Refuse rows that would be lost in silence."""
    for customer_id, provider, seconds in content.keys() - {key.content_key for key in attempt.keys}:
        raise ValueError(
            f"{attempt.customer_id} {attempt.provider}: a row of {customer_id} {provider} in window "
            f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%MZ}, which is none of the windows to be written."
        )


def _coverage(
    attempt: SliceResult, states: Sequence[Coverage], kept: Collection[tuple[str, str]]
) -> coverage.WindowCoverage:
    """The coverage of an attempt's newest window: what it tells, but `kept` resources and metrics are collected."""
    if kept:
        states = [
            replace(one, state=CoverageState.COLLECTED, reason="")
            if (one.resource_id, one.metric_name) in kept
            else one
            for one in states
        ]
    return coverage.WindowCoverage(attempt.customer_id, attempt.provider, max(attempt.windows), states)


def _by_month(rows: pa.Table) -> Iterator[tuple[str, pa.Table]]:
    """The rows of each month partition; nearly always there is one, and then nothing is copied."""
    months = rows["window_start"].to_numpy().astype("datetime64[M]")
    if months.min() == months.max():
        yield str(months[0]), rows
        return
    for month in sorted(set(months.tolist())):
        yield str(month), rows.filter(pa.array(months == np.datetime64(month, "M")))
