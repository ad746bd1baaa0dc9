"""The IO manager: how an asset's output becomes slices in ClickHouse, and how a partition is read back.

What needs numpy or pyarrow is imported in the functions that use it: the two cost every process that loads the
definitions 0.25 CPU-s (1.35 against 1.10), and of those only runs write.
"""

from __future__ import annotations

import resource
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import dagster as dg

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import PublishedWindows, SliceResult, SliceStatus
from optiinfra_dagster.storage import descriptions, readers
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.slice_report import Report
from optiinfra_dagster.storage.sql import reader_types

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.sql import Reader

# More partitions than this in one run: the table of customers is left out, since Dagster stores it once per partition.
MAX_PARTITIONS_WITH_DETAIL = 8

CPU_SECONDS = "cpu_seconds"  # in every output's metadata: what the process spent since the output before, or its start


@dataclass(frozen=True)
class SliceStream:
    """The output of a collection asset: its slices as they finish, in batches that are each worth a flush."""

    batches: Iterable[Sequence[SliceResult | PublishedWindows]]


@dataclass(frozen=True)
class Select:
    """The output of a reader asset: the reader whose SELECT fills its table.

    Materializing a window of an hour or a day computes the whole of it. `preview` gives what the materialization shows
    of the newest one, as Markdown.
    """

    reader: Reader
    preview: Callable[[Client, datetime], str] | None = None


class _Cpu:
    """The CPU seconds, user and system, of this process and of its children that have ended, one part at a time."""

    def __init__(self) -> None:
        self._told = 0.0

    def since_the_last(self) -> float:
        """The CPU seconds since this was asked before; the first time, since the process started."""
        used = [resource.getrusage(of) for of in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        now = sum(one.ru_utime + one.ru_stime for one in used)
        part, self._told = now - self._told, now
        return part


_CPU = _Cpu()  # of the process: a run has one of its own


class ClickHouseIOManager(dg.IOManager):
    """Writes `SliceStream`, `Select`, Arrow and pandas outputs by the slice protocol; loads Arrow or pandas.

    An asset names where its rows live in its metadata: `dataset` (one of `schema.DATASETS`) or `table` (a reader's),
    and `provider` where it holds one provider's part of a dataset.
    """

    def __init__(self, clickhouse: ClickHouse, progress: Callable[[str], None] = lambda _line: None) -> None:
        self._clickhouse = clickhouse
        self._progress = progress

    def handle_output(self, context: dg.OutputContext, obj: object) -> None:
        """Write the partitions of this run."""
        windows_of_run = _windows(context)
        if isinstance(obj, Select):
            self._write_select(context, obj, windows_of_run)
        elif isinstance(obj, SliceStream):
            self._write_stream(context, obj, windows_of_run)
        else:
            self._write_rows(context, obj, windows_of_run)
        context.add_output_metadata({CPU_SECONDS: round(_CPU.since_the_last(), 3)})

    def load_input(self, context: dg.InputContext) -> Any:
        """The published rows of the partition or range, as the type the asset asks for: pandas (default) or Arrow.

        They are those that are published now; of an earlier time, see `MetricsTables.session`.
        """
        import pyarrow as pa

        upstream = context.upstream_output
        metadata = (upstream.definition_metadata if upstream else None) or context.definition_metadata or {}
        table, where = _source(metadata)
        partitions = [windows.from_key(key) for key in context.asset_partition_keys]
        with self._clickhouse.session(reads=f"{table}_current") as client:
            rows = fetch(
                client,
                f"SELECT * FROM {table}_current "  # noqa: S608 - names are the code's own
                "WHERE window_start >= {first:DateTime('UTC')} AND window_start <= {last:DateTime('UTC')}" + where,
                {"first": min(partitions), "last": max(partitions), "provider": metadata.get("provider", "")},
            )
        return rows if context.dagster_type.typing_type is pa.Table else rows.to_pandas()

    def _write_select(self, context: dg.OutputContext, select: Select, windows_of_run: Sequence[datetime]) -> None:
        starts = sorted({windows.floor_to(select.reader.length, window) for window in windows_of_run})
        counts = compute(self._clickhouse, select.reader, starts, run_id=context.run_id)
        metadata: dict[str, Any] = {"dagster/row_count": sum(counts.values()), "slices": len(counts)}
        reader = select.reader
        with self._clickhouse.session() as client:
            if select.preview:
                metadata["preview"] = dg.MetadataValue.md(select.preview(client, starts[-1]))
            if reader.is_own and reader.table not in reader_types():  # its columns are not known before
                metadata["dagster/column_schema"] = dg.TableSchema(
                    columns=[
                        dg.TableColumn(name, kind, description=descriptions.of(reader.file, name, reader) or None)
                        for name, kind in readers.columns(client, reader.view).items()
                    ]
                )
        context.add_output_metadata(metadata)

    def _write_stream(self, context: dg.OutputContext, stream: SliceStream, windows_of_run: Sequence[datetime]) -> None:
        from optiinfra_dagster.storage.schema import DATASETS
        from optiinfra_dagster.storage.writer import Writer, by_dataset

        metadata = context.definition_metadata or {}
        report = Report()
        try:
            for batch in stream.batches:
                for name, part in by_dataset(batch, metadata["dataset"]).items():
                    writer = Writer(self._clickhouse, DATASETS[name], run_id=context.run_id)
                    report.add(part, writer.flush(part))
                context.log.info(str(report))
                self._progress(f"{context.asset_key.to_user_string()}: {report}")
        finally:
            if isinstance(
                stream.batches, Generator
            ):  # its threads ask clouds, and keep the process, until it is closed
                stream.batches.close()
        context.add_output_metadata(report.metadata(detailed=len(windows_of_run) <= MAX_PARTITIONS_WITH_DETAIL))
        report.raise_if_all_failed()

    def _write_rows(self, context: dg.OutputContext, obj: object, windows_of_run: Sequence[datetime]) -> None:
        """A whole table at once: every (customer, provider) in it gets its slices of the windows of this run."""
        import pyarrow as pa

        from optiinfra_dagster.storage import arrow, schema
        from optiinfra_dagster.storage.writer import Writer

        dataset = schema.DATASETS[(context.definition_metadata or {})["dataset"]]
        table = obj if isinstance(obj, pa.Table) else pa.Table.from_pandas(obj, preserve_index=False)
        rows = arrow.conform(dataset, table)
        batch = [
            SliceResult(customer, provider, windows_of_run, SliceStatus.OK, arrow.of_slice(rows, customer, provider))
            for customer, provider in arrow.owners(rows)
        ]
        flushed = Writer(self._clickhouse, dataset, run_id=context.run_id).flush(batch)
        context.add_output_metadata({"dagster/row_count": rows.num_rows, "rows_written": flushed.rows_written})


def _windows(context: dg.OutputContext) -> list[datetime]:
    return [windows.from_key(key) for key in context.asset_partition_keys]


def _source(metadata: Any) -> tuple[str, str]:
    from optiinfra_dagster.storage.schema import DATASETS

    table = metadata["table"] if "table" in metadata else DATASETS[metadata["dataset"]].table
    return table, " AND provider = {provider:String}" if "provider" in metadata else ""
