"""The timeline of a resource: every line of it is one of another reader, and every one of theirs is in it."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.cli.printing import print_rows
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import Estimate
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState, Series
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.cost_rows import estimate_rows
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.reading import Query, as_records, read_rows
from optiinfra_dagster.storage.rows import performance_rows, resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.engines import copy_migrated
from tests.support.samples import CPU, EARLY, resource, select

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from optiinfra_dagster.model.inventory import Resource

Q, DAY = windows.WINDOW, timedelta(days=1)
NOW = windows.floor(datetime.now(UTC)) - timedelta(hours=1)
THEN = NOW - 4 * DAY


def disk(name: str, **changes: Any) -> Resource:
    """A volume."""
    return resource(name, resource_type=ResourceType.VOLUME, kind="ebs:volume", unit="GiB", **changes)


@pytest.fixture(scope="module")
def chdb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    """Two days of two customers, which the tests only read."""
    clickhouse = ClickHouse(f"chdb://{copy_migrated(tmp_path_factory.mktemp('timeline') / 'clickhouse')}")
    with clickhouse.session():
        publish(clickhouse)
        yield clickhouse


def publish(clickhouse: ClickHouse) -> None:
    """Two days of a machine that stops and is resized, a disk that lies idle and grows, and one of another customer."""
    free = {"status": Status.AVAILABLE, "cloud_status": "available"}
    before = [resource("m", capacity=2.0, unit="vCPU"), disk("d", capacity=80.0, **free)]
    after = [
        resource("m", capacity=4.0, unit="vCPU", status=Status.STOPPED, cloud_status="stopped"),
        disk("d", capacity=100.0, **free),
    ]
    for customer in ("acme", "globex"):
        for window, found in ((THEN, before), (NOW, after)):
            rows = resource_rows(customer, "aws", window, found, EARLY)
            rows = rows.set_column(
                rows.schema.get_field_index("attachable"),
                rows.schema.field("attachable"),
                [[r.kind == "ebs:volume" for r in found]],
            )
            Writer(clickhouse, schema.RESOURCE).flush(
                [SliceResult(customer, "aws", [window], SliceStatus.OK, rows=rows)]
            )
            seconds = [int(window.timestamp()) + 300 * n for n in range(3)]
            points = performance_rows(
                customer, "aws", [Series(found[0], CPU, "average", seconds, [1.0, 2.5, 4.0])], EARLY
            )
            coverage = [
                Coverage("m", ResourceType.COMPUTE, "cpu_utilization", CoverageState.COLLECTED),
                Coverage(
                    "m",
                    ResourceType.COMPUTE,
                    "memory_utilization",
                    CoverageState.AGENT_MISSING,
                    f"no agent at {window}",
                ),
            ]
            result = SliceResult(customer, "aws", [window], SliceStatus.OK, rows=points, coverage=coverage)
            Writer(clickhouse, schema.PERFORMANCE).flush([result])
            estimates = [Estimate(one, Decimal("0.25"), "USD", "1 x box", "Amazon EC2") for one in found]
            costs = estimate_rows(customer, "aws", window, estimates, "list price", EARLY)
            Writer(clickhouse, schema.COST).flush([SliceResult(customer, "aws", [window], SliceStatus.OK, rows=costs)])
    for family, name in (
        ("resource", "changes"), ("resource", "days"), ("performance", "hourly"), ("performance", "daily"),
        ("cost", "daily"), ("cost", "days"), ("cost", "waste"),
    ):  # fmt: skip
        reader = readers()[family, name]
        compute(clickhouse, reader, sorted({windows.floor_to(reader.length, window) for window in (THEN, NOW)}))


def timeline(chdb: ClickHouse, tmp_path: Path, resource_id: str, **more: Any) -> list[dict[str, Any]]:
    (tmp_path / "customers.yaml").write_text("customers:\n  - {id: acme, name: A, vultr: [{api_key: {env: K}}]}\n")
    settings = Settings(dagster_home=tmp_path, customers_path=tmp_path / "customers.yaml")
    query = Query("resource", "timeline", "acme", resource_id=resource_id, **more)
    result = read_rows(chdb, settings, query, as_records)
    assert result.rows is not None
    return result.rows


# reader -> the time of its lines, what they are of, what they must hold, and where its rows are
LINES = {
    "resource/changes": ("window_start", "change", "before, after", "resource_changes_current"),
    "resource/days": ("window_start", "status", "toString(up), toString(known)", "resource_days_current"),
    "coverage": ("since", "metric_name", "toString(state), reason", "coverage FINAL"),
    "performance/daily": (
        "window_start", "metric_name || ', ' || statistic", "toString(maximum), toString(n)",
        "performance_daily_current",
    ),
    "cost/daily": (
        "window_start", "service_name || ', ' || charge_category", "toString(amount), cost_kind", "cost_daily_current",
    ),
    "cost/waste": ("window_start", "reason", "evidence, currency", "cost_waste_current"),
}  # fmt: skip


@pytest.mark.parametrize(
    ("resource_id", "without"), [("m", set()), ("d", {"resource/days", "coverage", "performance/daily"})]
)
def test_every_line_is_one_of_its_own_reader_and_none_is_missing(
    chdb: ClickHouse, tmp_path: Path, resource_id: str, without: set[str]
) -> None:
    lines = timeline(chdb, tmp_path, resource_id)
    assert {(line["customer_id"], line["resource_id"]) for line in lines} == {("acme", resource_id)}
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    assert {line["reader"] for line in lines} == LINES.keys() - without
    for reader, (at, what, words, place) in LINES.items():
        collected = "AND state != 'collected'" if reader == "coverage" else ""
        rows = select(
            chdb,
            f"SELECT {at} AS at, toString({what}) AS what, [{words}] AS words FROM {place} "
            f"WHERE customer_id = 'acme' AND resource_id = '{resource_id}' {collected} ORDER BY ALL",
        )
        mine = sorted((line["at"], line["what"], line["says"]) for line in lines if line["reader"] == reader)
        assert [line[:2] for line in mine] == [(row["at"], row["what"]) for row in rows]
        for (_, _, says), row in zip(mine, rows, strict=True):
            assert all(word in says for word in row["words"]), reader


def test_a_timeline_says_in_words_what_happened(chdb: ClickHouse, tmp_path: Path) -> None:
    lines = timeline(chdb, tmp_path, "m", from_=windows.key(NOW))
    changes = {line["what"]: line["says"] for line in lines if line["reader"] == "resource/changes"}
    assert changes == {"status": "running -> stopped", "resized": "2 vCPU -> 4 vCPU"}
    (gap,) = (line for line in lines if line["reader"] == "coverage")
    assert (gap["what"], gap["until"]) == ("memory_utilization", None)
    assert gap["says"] == f"agent_missing: no agent at {NOW}"
    assert {line["at"] >= NOW for line in lines} == {True}


@pytest.mark.parametrize("format_", ["table", "csv", "json"])
def test_a_timeline_is_printed_in_every_format(chdb: ClickHouse, tmp_path: Path, format_: str) -> None:
    timeline(chdb, tmp_path, "m")  # which writes the customers file
    settings = Settings(dagster_home=tmp_path, customers_path=tmp_path / "customers.yaml")
    printed = io.BytesIO()
    out = io.TextIOWrapper(printed, "utf-8", write_through=True)
    print_rows(chdb, settings, Query("resource", "timeline", "acme", resource_id="m"), format_, out)
    assert all(reader in printed.getvalue().decode() for reader in LINES)


def test_a_timeline_is_of_one_resource(chdb: ClickHouse, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="name it with --resource-id"):
        timeline(chdb, tmp_path, "")
