"""The IO manager under real Dagster runs: what an asset returns becomes slices, and partitions are read back."""
# No `from __future__ import annotations`: Dagster reads the assets' annotations.

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import dagster as dg
import pandas as pd
import pyarrow as pa
import pytest

from optiinfra_dagster.assets import partitions
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import PublishedWindows, SliceResult, SliceStatus
from optiinfra_dagster.storage import arrow, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.io_manager import ClickHouseIOManager, Select, SliceStream
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.storage.test_rows import cost_rows
from tests.support.samples import W, collected, failed, points, raw, seen_values, select, view, windows_from

PARTITIONS = partitions.window_partitions(windows.floor(W).replace(day=1, hour=0))
SPAN = windows_from(W, 3)


def asset(compute: Callable[[Sequence[datetime]], Any], **changes: Any) -> dg.AssetsDefinition:
    """An asset of the performance table that returns what `compute` gives for the run's windows."""
    options: dict[str, Any] = {"key": ["aws", "performance"], "metadata": {"dataset": "performance", "provider": "aws"}}

    @dg.asset(  # type: ignore[untyped-decorator]
        partitions_def=PARTITIONS,
        backfill_policy=dg.BackfillPolicy.single_run(),
        io_manager_key="io_manager",
        **options | changes,
    )
    def collect(context: dg.AssetExecutionContext) -> Any:
        return compute([windows.from_key(key) for key in context.partition_keys])

    return collect  # type: ignore[no-any-return]


def materialize(
    clickhouse: ClickHouse, *assets: dg.AssetsDefinition, span: Sequence[datetime] = SPAN[:1], select: Any = None
) -> dg.ExecuteInProcessResult:
    """One run of the windows: of one partition, or of a range."""
    first, last = windows.key(span[0]), windows.key(span[-1])
    of_range = {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last}
    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize(
            list(assets),
            instance=instance,
            selection=select,
            resources={"io_manager": ClickHouseIOManager(clickhouse)},
            partition_key=first if len(span) == 1 else None,
            tags={} if len(span) == 1 else of_range,
            raise_on_error=False,
        )


def metadata(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    [event] = result.get_asset_materialization_events()[:1]
    return {name: value.value for name, value in event.step_materialization_data.materialization.metadata.items()}


def test_a_stream_is_closed_when_a_batch_cannot_be_written(clickhouse: ClickHouse) -> None:
    """Its threads would go on asking clouds, and keep the process from ending."""
    closed, streams = [], []

    def batches(asked: Sequence[datetime]) -> Iterator[list[SliceResult]]:
        try:
            yield [collected("acme", asked), collected("acme", asked)]  # the same slice twice
        finally:
            closed.append(True)

    def compute(asked: Sequence[datetime]) -> SliceStream:
        streams.append(batches(asked))  # as a traceback would hold it
        return SliceStream(streams[0])

    assert not materialize(clickhouse, asset(compute)).success
    assert closed


@pytest.mark.parametrize("span", [SPAN[:1], SPAN], ids=["one", "range"])
def test_a_stream_of_slices_is_written_batch_by_batch(clickhouse: ClickHouse, span: list[datetime]) -> None:
    def batches(asked: Sequence[datetime]) -> SliceStream:
        assert list(asked) == span
        return SliceStream(
            iter([[collected("acme", asked, api_calls=3, api_cost_usd=Decimal("0.5"))], [failed("hooli", asked)]])
        )

    result = materialize(clickhouse, asset(batches), span=span)

    assert result.success
    assert seen_values(clickhouse) == [1, 2] * len(span)
    found = metadata(result)
    assert (found["dagster/row_count"], found["rows_written"]) == (2 * len(span), 2 * len(span))
    assert (found["api_calls"], found["api_cost_usd"]) == (3, "0.5")
    assert found["slices"] == {"ok": len(span), "failed": len(span)}
    customers = {record.data["customer"]: record.data for record in found["customers"].records}
    assert customers["hooli"]["error"] == "no answer"
    assert {row["run_id"] for row in select(clickhouse, "SELECT run_id FROM metric_batches")} == {result.run_id}


def test_only_an_asset_of_which_everything_failed_fails(clickhouse: ClickHouse) -> None:
    attempts = []

    def all_fail(asked: Sequence[datetime]) -> SliceStream:
        attempts.append(asked)
        return SliceStream([[failed("acme", asked), failed("hooli", asked, permanent=True)]])

    result = materialize(clickhouse, asset(all_fail, retry_policy=dg.RetryPolicy(max_retries=2, delay=0)))

    assert not result.success
    assert len(attempts) == 3
    data = result.get_step_failure_events()[0].step_failure_data
    assert data.user_failure_data
    assert "acme: no answer\nhooli: no answer" in (data.user_failure_data.description or "")


def test_what_only_a_person_can_remedy_is_not_tried_again(clickhouse: ClickHouse) -> None:
    attempts = []

    def denied(asked: Sequence[datetime]) -> SliceStream:
        attempts.append(asked)
        return SliceStream([[failed("acme", asked, permanent=True), failed("hooli", asked, permanent=True)]])

    result = materialize(clickhouse, asset(denied, retry_policy=dg.RetryPolicy(max_retries=2, delay=0)))

    assert (result.success, len(attempts)) == (False, 1)


def test_what_is_not_due_or_there_already_is_no_failure(clickhouse: ClickHouse) -> None:
    def mixed(asked: Sequence[datetime]) -> SliceStream:
        not_due = SliceResult("hooli", "aws", list(asked), SliceStatus.NOT_DUE)
        return SliceStream([[PublishedWindows("acme", "aws", asked)], [not_due, failed("initech", asked)]])

    result = materialize(clickhouse, asset(mixed))
    assert result.success
    assert metadata(result)["slices"] == {"already published": 1, "not_due": 1, "failed": 1}


@pytest.mark.parametrize("kind", ["arrow", "pandas"])
def test_a_table_is_cut_into_slices(clickhouse: ClickHouse, kind: str) -> None:
    rows = arrow.concat(schema.PERFORMANCE, [points("acme", SPAN), points("hooli", SPAN[1:], values=[7])])
    given = rows if kind == "arrow" else rows.to_pandas()

    result = materialize(clickhouse, asset(lambda _: given), span=SPAN)

    assert result.success
    assert seen_values(clickhouse) == [1, 2] * 3
    assert seen_values(clickhouse, "hooli") == [7, 7]
    assert (metadata(result)["dagster/row_count"], metadata(result)["rows_written"]) == (8, 8)
    again = materialize(clickhouse, asset(lambda _: given), span=SPAN)
    assert metadata(again)["rows_written"] == 0
    assert raw(clickhouse) == view(clickhouse)


def test_a_table_of_other_windows_fails_and_writes_nothing(clickhouse: ClickHouse) -> None:
    result = materialize(clickhouse, asset(lambda _: points("acme", SPAN)), span=SPAN[:1])
    assert not result.success
    assert raw(clickhouse) == []


def test_a_reader_is_computed_inside_clickhouse(clickhouse: ClickHouse) -> None:
    Writer(clickhouse, schema.PERFORMANCE).flush([collected(span=SPAN)])
    reader = asset(
        lambda _: Select(readers()["performance", "summary"]),
        key=["performance", "summary"],
        metadata={"table": "performance_summary"},
    )
    result = materialize(clickhouse, reader, span=SPAN)

    assert result.success
    told = metadata(result)
    assert told.pop("cpu_seconds") > 0
    assert told == {"dagster/row_count": 3, "slices": 3}
    rows = select(clickhouse, "SELECT window_start, points FROM performance_summary_current ORDER BY ALL")
    assert [tuple(row.values()) for row in rows] == [(w, 2) for w in SPAN]


@pytest.mark.parametrize("span", [SPAN[:1], SPAN[:2]], ids=["one", "range"])
def test_a_partition_is_loaded_as_the_type_that_the_asset_asks_for(
    clickhouse: ClickHouse, span: list[datetime]
) -> None:
    Writer(clickhouse, schema.PERFORMANCE).flush(
        [collected(span=SPAN), collected(span=SPAN, provider="gcp", values=[9])]
    )
    Writer(clickhouse, schema.COST).flush(
        [SliceResult("acme", "aws", [W], SliceStatus.OK, rows=cost_rows(provider="aws"))]
    )
    loaded: dict[str, Any] = {}
    common: dict[str, Any] = {"partitions_def": PARTITIONS, "backfill_policy": dg.BackfillPolicy.single_run()}

    @dg.asset(**common, ins={"rows": dg.AssetIn(["aws", "performance"])})  # type: ignore[untyped-decorator]
    def as_pandas(rows: pd.DataFrame) -> None:
        loaded["pandas"] = rows

    @dg.asset(**common, ins={"rows": dg.AssetIn(["aws", "performance"]), "cost": dg.AssetIn(["aws", "cost"])})  # type: ignore[untyped-decorator]
    def as_arrow(rows: pa.Table, cost: pa.Table) -> None:
        loaded["arrow"], loaded["cost"] = rows, cost

    upstream = asset(lambda _: SliceStream([]))
    cost = asset(lambda _: SliceStream([]), key=["aws", "cost"], metadata={"dataset": "cost", "provider": "aws"})
    result = materialize(clickhouse, upstream, cost, as_pandas, as_arrow, span=span, select=[as_pandas, as_arrow])

    assert result.success
    frame, rows = loaded["pandas"], loaded["arrow"]
    assert isinstance(frame, pd.DataFrame)
    assert isinstance(rows, pa.Table)
    assert sorted(frame["metric_value"]) == sorted(rows["metric_value"].to_pylist()) == sorted([1.0, 2.0] * len(span))
    assert str(frame["timestamp"].dtype.tz) == "UTC"
    assert set(rows["window_start"].to_pylist()) == set(span)
    assert rows.schema.field("timestamp").type == schema.TIME
    assert loaded["cost"]["amount"].to_pylist() == [Decimal("1.000000001")]
    assert loaded["cost"]["effective_cost"].to_pylist() == [None]
