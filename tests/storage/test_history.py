"""Reading one window costs the same however much history there is."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model import windows
from tests.support.engines import kept_open
from tests.support.samples import BORDER

if TYPE_CHECKING:
    from optiinfra_dagster.storage.clickhouse import ClickHouse

DAYS = 28  # of one month, so that the partition key alone does not skip anything
LAST = BORDER + DAYS * 96 * windows.WINDOW - windows.WINDOW


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    """Four weeks, a part per day as collections and merges leave them, and the newest window in a part of its own."""
    clickhouse = kept_open(tmp_path_factory.mktemp("history") / "clickhouse")
    with clickhouse.session() as client:
        client.command("SYSTEM STOP MERGES")
        for day in range(DAYS):
            first = int(BORDER.timestamp()) + day * 86_400
            fill(client, first, 95 if day == DAYS - 1 else 96)
        fill(client, int(LAST.timestamp()), 1)
    return clickhouse


def fill(client: Any, first: int, count: int) -> None:
    """So many windows of 20 customers, published: 5 points, 5 resources and 5 scores each."""
    client.command(
        f"INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, rows, status) "
        f"SELECT arrayJoin(['performance', 'resource', 'application']), concat('c', toString(number % 20)), 'aws', "
        f"{first} + 900 * intDiv(number, 20), 1, 5, 'ok' "
        f"FROM numbers({20 * count})"
    )
    for table, columns, values in (
        ("performance_metrics", "resource_id, metric_value", "toString(number % 5), 1"),
        ("resource_metrics", "resource_id, resource_type", "toString(number % 5), 'compute'"),
        ("application_metrics", "metric_type, score", "'coherence', 1"),
    ):
        client.command(
            f"INSERT INTO {table} (timestamp, window_start, batch, customer_id, provider, {columns}) "
            f"SELECT {first} + 900 * intDiv(number, 100) AS w, w, 1, concat('c', toString(number % 20)), 'aws', "
            f"{values} FROM numbers({100 * count})"
        )


def parts_read(client: Any, sql: str) -> dict[str, tuple[int, int]]:
    """Per table: of how many parts the indexes leave how many to be read, where it is read the most."""
    [(plan,)] = client.query(f"EXPLAIN PLAN json = 1, indexes = 1 {sql}").result_rows
    found: dict[str, tuple[int, int]] = {}

    def walk(node: Any) -> None:
        if isinstance(node, list):
            for child in node:
                walk(child)
        elif isinstance(node, dict):
            if indexes := node.get("Indexes"):
                table = str(node["Description"]).split(" ")[0].rsplit(".", 1)[-1]
                whole, left = indexes[0]["Initial Parts"], indexes[-1]["Selected Parts"]
                found[table] = max(found.get(table, (0, 0)), (whole, left))
            for child in node.values():
                walk(child)

    walk(json.loads(plan))
    return found


def test_one_window_is_read_from_its_own_parts(history: ClickHouse) -> None:
    last = int(LAST.timestamp())
    of_one = f"SELECT count() FROM performance_metrics_current WHERE window_start = fromUnixTimestamp({last})"
    with history.session() as client:
        assert client.command(of_one) == 100
        parts = parts_read(client, of_one)
    assert parts["performance_metrics"] == (DAYS + 1, 1)
    assert parts["metric_batches"][1] == 1


def test_an_old_window_is_read_from_the_part_that_holds_it(history: ClickHouse) -> None:
    old = int((BORDER + 5 * 96 * windows.WINDOW).timestamp())
    of_one = f"SELECT count() FROM performance_metrics_current WHERE window_start = fromUnixTimestamp({old})"
    with history.session() as client:
        assert client.command(of_one) == 100
        assert {left for _, left in parts_read(client, of_one).values()} == {1}


# A day before the last window reaches over three parts, the day of it and the seven before over nine.
@pytest.mark.parametrize(
    ("reader", "table", "most"),
    [
        ("performance_latest", "performance_metrics", 3),
        ("performance_summary", "performance_metrics", 1),
        ("resource_summary", "resource_metrics", 3),
        ("application_quality", "application_metrics", 9),
    ],
)
def test_a_reader_reads_no_more_than_its_time(history: ClickHouse, reader: str, table: str, most: int) -> None:
    from optiinfra_dagster.storage.sql import read_sql

    window = f"toDateTime({int(LAST.timestamp())}, 'UTC')"
    sql = read_sql(f"readers/{reader}").replace("{window:DateTime('UTC')}", window)
    with history.session() as client:
        assert client.query(f"SELECT count() FROM ({sql})").result_rows != [(0,)]
        parts = parts_read(client, sql)
    assert {name: left <= most for name, (_, left) in parts.items()} == {table: True, "metric_batches": True}


MONTHS = 13  # a part of each, by the partition key


@pytest.fixture(scope="module")
def bills(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    """More than a year of days, each with a bill, an estimate and the rollup of both."""
    clickhouse = kept_open(tmp_path_factory.mktemp("bills") / "clickhouse")
    days = f"SELECT toStartOfDay(fromUnixTimestamp({int(LAST.timestamp())})) - toIntervalDay(number) AS day"
    with clickhouse.session() as client:
        client.command("SYSTEM STOP MERGES")
        for n, (dataset, kind) in enumerate((("cost", "estimated"), ("cost_billed", "billed"))):
            client.command(
                "INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, rows, status) "
                f"SELECT '{dataset}', 'acme', 'aws', day, {n}, 1, 'ok' FROM ({days} FROM numbers({30 * MONTHS}))"
            )
            client.command(
                "INSERT INTO cost_metrics (window_start, batch, customer_id, provider, cost_kind, cost_type, amount) "
                f"SELECT day, {n}, 'acme', 'aws', '{kind}', 'compute', 1 FROM ({days} FROM numbers({30 * MONTHS}))"
            )
        client.command(
            "INSERT INTO metric_batches (dataset, window_start, batch, rows, status) "
            f"SELECT 'cost_daily', day, 1, 1, 'ok' FROM ({days} FROM numbers({30 * MONTHS}))"
        )
        client.command(
            "INSERT INTO cost_daily (window_start, batch, customer_id, provider, cost_kind, cost_type, amount, billed) "
            f"SELECT day, 1, 'acme', 'aws', 'billed', 'compute', 1, 1 FROM ({days} FROM numbers({30 * MONTHS}))"
        )
    return clickhouse


@pytest.mark.parametrize(("reader", "months"), [("summary", 2), ("by_service", 2), ("trends", 6), ("waste", 2)])
def test_a_reader_of_costs_reads_no_more_than_its_months(bills: ClickHouse, reader: str, months: int) -> None:
    from optiinfra_dagster.storage.sql import read_sql

    sql = read_sql(f"readers/cost_{reader}").replace(
        "{window:DateTime('UTC')}", f"toDateTime({int(LAST.timestamp())}, 'UTC')"
    )
    with bills.session() as client:
        parts = parts_read(client, sql)
    # Of days that are over the rollup is read, of today its own rows, where there are any; the ledger is read before.
    assert parts["cost_daily"][0] >= MONTHS - 1
    assert all(left <= 2 * months for _, left in parts.values())
    assert all(whole >= MONTHS - 1 for whole, _ in parts.values())
