"""Reading one window costs the same however much history there is."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import json
from typing import Any

import pytest

from optiinfra_dagster import windows
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.storage.samples import BORDER

DAYS = 28  # of one month, so that the partition key alone does not skip anything
LAST = BORDER + DAYS * 96 * windows.WINDOW - windows.WINDOW


@pytest.fixture
def history(chdb_url: str) -> ClickHouse:
    """Four weeks, a part per day as collections and merges leave them, and the newest window in a part of its own."""
    clickhouse = ClickHouse(chdb_url)
    with clickhouse.session() as client:
        client.command("SYSTEM STOP MERGES")
        for day in range(DAYS):
            first = int(BORDER.timestamp()) + day * 86_400
            fill(client, first, 95 if day == DAYS - 1 else 96)
        fill(client, int(LAST.timestamp()), 1)
    return clickhouse


def fill(client: Any, first: int, count: int) -> None:
    """So many windows of 20 customers, 5 rows each, published."""
    client.command(
        f"INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, rows, status) "
        f"SELECT 'performance', concat('c', toString(number % 20)), 'aws', "
        f"{first} + 900 * intDiv(number, 20), 1, 5, 'ok' "
        f"FROM numbers({20 * count})"
    )
    client.command(
        "INSERT INTO performance_metrics "
        "(timestamp, window_start, batch, customer_id, provider, resource_id, metric_value) "
        f"SELECT {first} + 900 * intDiv(number, 100) AS w, w, 1, concat('c', toString(number % 20)), 'aws', "
        f"toString(number % 5), 1 FROM numbers({100 * count})"
    )


def parts_read(client: Any, sql: str) -> dict[str, tuple[int, int]]:
    """Per table: of how many parts the indexes leave how many to be read."""
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
                found[table] = (whole, left)
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


@pytest.mark.parametrize("reader", ["performance_latest", "performance_summary"])
def test_a_reader_reads_no_more_than_its_time(history: ClickHouse, reader: str) -> None:
    from optiinfra_dagster.sqlfiles import read_sql

    window = f"toDateTime({int(LAST.timestamp())}, 'UTC')"
    sql = read_sql(f"readers/{reader}").replace("{window:DateTime('UTC')}", window)
    with history.session() as client:
        parts = parts_read(client, sql)
    most = 1 if reader.endswith("summary") else 3  # a day reaches over three parts
    assert {table: left <= most for table, (_, left) in parts.items()} == {
        "performance_metrics": True,
        "metric_batches": True,
    }
