"""The IO manager: how an asset's output becomes slices in ClickHouse, and how a partition is read back."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.model.text import counted
from optiinfra_dagster.storage import descriptions, readers
from optiinfra_dagster.storage.clickhouse import fetch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.slices import FlushResult
    from optiinfra_dagster.storage.sql import Reader

# More partitions than this in one run: the table of customers is left out, since Dagster stores it once per partition.
MAX_PARTITIONS_WITH_DETAIL = 8


@dataclass(frozen=True)
class SliceStream:
    """What a collection asset returns: its slices as they finish, in lots that are each worth a flush."""

    lots: Iterable[list[SliceResult]]


@dataclass(frozen=True)
class Select:
    """What a reader asset returns: the reader whose SELECT fills its table.

    Materializing a window of an hour or a day computes the whole of it.
    """

    reader: Reader


class ClickHouseIOManager(dg.IOManager):
    """Writes `SliceStream`, `Select`, Arrow and pandas outputs by the slice protocol; loads Arrow or pandas.

    An asset names where its rows live in its metadata: `dataset` (one of `tables.DATASETS`) or `table` (a reader's),
    and `provider` where it holds one provider's part of a dataset.
    """

    def __init__(self, clickhouse: ClickHouse, progress: Callable[[str], None] = lambda _line: None) -> None:
        self._clickhouse = clickhouse
        self._progress = progress

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Write the partitions of this run."""
        asked = _windows(context)
        if isinstance(obj, Select):
            self._write_select(context, obj, asked)
        elif isinstance(obj, SliceStream):
            self._write_stream(context, obj, asked)
        else:
            self._write_rows(context, obj, asked)

    def load_input(self, context: dg.InputContext) -> Any:
        """The published rows of the partition or range, as the type the asset asks for: pandas (default) or Arrow."""
        import pyarrow as pa

        upstream = context.upstream_output
        metadata = (upstream.definition_metadata if upstream else None) or context.definition_metadata or {}
        table, where = _source(metadata)
        asked = [windows.from_key(key) for key in context.asset_partition_keys]
        with self._clickhouse.session() as client:
            rows = fetch(
                client,
                f"SELECT * FROM {table}_current "  # noqa: S608 - names are the code's own
                "WHERE window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}" + where,
                {"first": min(asked), "last": max(asked), "provider": metadata.get("provider", "")},
            )
        return rows if context.dagster_type.typing_type is pa.Table else rows.to_pandas()

    def _write_select(self, context: dg.OutputContext, select: Select, asked: Sequence[datetime]) -> None:
        from optiinfra_dagster.storage.reader_writer import compute

        starts = sorted({windows.floor_to(select.reader.length, window) for window in asked})
        counts = compute(self._clickhouse, select.reader, starts, run_id=context.run_id)
        metadata: dict[str, Any] = {"dagster/row_count": sum(counts.values()), "slices": len(counts)}
        if (reader := select.reader).is_own:  # its columns are not known before
            with self._clickhouse.session() as client:
                columns = readers.columns(client, reader.view)
            metadata["dagster/column_schema"] = dg.TableSchema(
                columns=[
                    dg.TableColumn(name, kind, description=descriptions.of(reader.file, name, reader) or None)
                    for name, kind in columns.items()
                ]
            )
        context.add_output_metadata(metadata)

    def _write_stream(self, context: dg.OutputContext, stream: SliceStream, asked: Sequence[datetime]) -> None:
        from optiinfra_dagster.storage.schema import DATASETS
        from optiinfra_dagster.storage.slices import Writer

        metadata = context.definition_metadata or {}
        report = Report()
        try:
            for lot in stream.lots:
                for name in dict.fromkeys(slices.dataset for slices in lot):
                    part = [slices for slices in lot if slices.dataset == name]
                    dataset = DATASETS[name or metadata["dataset"]]
                    report.add(part, Writer(self._clickhouse, dataset, run_id=context.run_id).flush(part))
                context.log.info(str(report))
                self._progress(f"{context.asset_key.to_user_string()}: {report}")
        finally:
            if isinstance(stream.lots, Generator):  # its threads ask clouds, and keep the process, until it is closed
                stream.lots.close()
        context.add_output_metadata(report.metadata(detailed=len(asked) <= MAX_PARTITIONS_WITH_DETAIL))
        report.raise_if_all_failed()

    def _write_rows(self, context: dg.OutputContext, obj: object, asked: Sequence[datetime]) -> None:
        """A whole table at once: every (customer, provider) in it gets its slices of the windows of this run."""
        import pyarrow as pa

        from optiinfra_dagster.storage import arrow, schema
        from optiinfra_dagster.storage.slices import Writer

        dataset = schema.DATASETS[(context.definition_metadata or {})["dataset"]]
        given = obj if isinstance(obj, pa.Table) else pa.Table.from_pandas(obj, preserve_index=False)
        rows = arrow.conform(dataset, given)
        lot = [
            SliceResult(customer, provider, asked, SliceStatus.OK, arrow.of_slice(rows, customer, provider))
            for customer, provider in arrow.owners(rows)
        ]
        flushed = Writer(self._clickhouse, dataset, run_id=context.run_id).flush(lot)
        context.add_output_metadata({"dagster/row_count": rows.num_rows, "rows_written": flushed.rows_written})


# What an outcome is called where a person reads of it.
WORDS = {
    "ok": "published",
    "partial": "published with gaps",
    "budget": "left out for the budget",
    "not_due": "not due",
    "not_configured": "not configured",
}
ALL_FAILED = "Every slice of this asset failed."
MOST_OF_ERROR = 200  # characters, in a line of the log


class Report:
    """What came of a stream of slices: for the run's log, the partition's page, and the verdict."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.bill_days = 0
        self.rows_written = 0
        self.api_calls = 0
        self.api_cost_usd = Decimal(0)
        self.reread = 0
        self.corrected = 0
        self.customers: dict[str, dict[str, Any]] = defaultdict(
            lambda: {"outcome": "", "slices": 0, "rows": 0, "api_calls": 0, "error": ""}
        )
        self._permanent = True

    def add(self, lot: Sequence[SliceResult], flushed: FlushResult) -> None:
        """Count a flush."""
        for slices in lot:
            self.api_calls += slices.api_calls
            self.api_cost_usd += slices.api_cost_usd
            if slices.correction or slices.dataset:
                self.bill_days += 0 if slices.correction else len(slices.windows)
                continue  # not what was asked for, but what else the answer told
            outcome = "already published" if slices.skipped else slices.status.value
            self.outcomes[outcome] += len(slices.windows)
            customer = self.customers[slices.customer_id]
            customer["slices"] += len(slices.windows)
            customer["api_calls"] += slices.api_calls
            customer["rows"] += slices.rows.num_rows if slices.rows is not None else slices.skipped_rows
            customer["error"] = customer["error"] or slices.error
            customer["outcome"] = ", ".join(sorted({*filter(None, customer["outcome"].split(", ")), outcome}))
            if slices.status.value == "failed" and not slices.permanent:
                self._permanent = False
        self.rows_written += flushed.rows_written
        self.corrected += flushed.corrected
        self.reread += flushed.reread

    def __str__(self) -> str:
        """For the log: `3 customers: 2 published, 1 failed (acme: ...); 840 rows written, 36 API calls`."""
        total = sum(self.outcomes.values())
        parts = [f"{n:,} {WORDS.get(name, name)}" for name, n in sorted(self.outcomes.items())]
        some = parts[0].partition(" ")[2] if len(parts) == 1 else ""
        found = f"{counted(len(self.customers), 'customer')}" if total else ""
        if total != len(self.customers):
            found = f"{total:,} windows of {found}"
        found += f" {some}" if some else f": {', '.join(parts)}" if parts else ""
        if failed := next(((name, row["error"]) for name, row in self.customers.items() if row["error"]), None):
            text = f"{failed[0]}: {failed[1]}"
            found += f" ({text[:MOST_OF_ERROR]}{'...' if len(text) > MOST_OF_ERROR else ''})"
        bills = f"{counted(self.bill_days, 'day')} of bills" if self.bill_days else ""
        done = ", ".join(filter(None, (found, bills))) or "nothing to do"
        return f"{done}; {counted(self.rows_written, 'row')} written, {counted(self.api_calls, 'API call')}"

    def metadata(self, *, detailed: bool) -> dict[str, Any]:
        """For the partition's page in the UI."""
        metadata: dict[str, Any] = {
            "dagster/row_count": sum(c["rows"] for c in self.customers.values()),
            "rows_written": self.rows_written,
            "api_calls": self.api_calls,
            "api_cost_usd": str(self.api_cost_usd),
            "slices": dict(self.outcomes),
        }
        if self.reread:
            metadata["corrected_points"] = self.corrected
            metadata["corrected_share"] = self.corrected / self.reread
        if detailed and self.customers:
            metadata["customers"] = dg.MetadataValue.table(
                [dg.TableRecord({"customer": name, **row}) for name, row in sorted(self.customers.items())]
            )
        return metadata

    def raise_if_all_failed(self) -> None:
        """Fail the asset where nothing came of it, and only there: one customer's failure is that customer's.

        Raises:
            dagster.Failure: every slice failed; retried only where asking again can help.
        """
        if self.outcomes["failed"] and self.outcomes["failed"] == sum(self.outcomes.values()):
            reasons = "\n".join(f"{name}: {row['error']}" for name, row in sorted(self.customers.items()))
            raise dg.Failure(
                f"{ALL_FAILED}\n{reasons}",
                metadata=self.metadata(detailed=True),
                allow_retries=not self._permanent,
            )


def _windows(context: dg.OutputContext) -> list[datetime]:
    return [windows.from_key(key) for key in context.asset_partition_keys]


def _source(metadata: Any) -> tuple[str, str]:
    from optiinfra_dagster.storage.schema import DATASETS

    table = metadata["table"] if "table" in metadata else DATASETS[metadata["dataset"]].table
    return table, " AND provider = {provider:String}" if "provider" in metadata else ""
