"""Rollups of 60 days, and what it costs to compute the trends of an hour from them."""
# ruff: noqa: S608 - the statements are the benchmark's own

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.clickhouse import ClickHouse

METRICS = 7
DAYS = 60
BOUNDS = (0, 1, 2, 7, 14, 30, 60)  # days before the end: within the days that they fall on, trends are read by the hour

# One rollup of each series: percentages with two decimals and a daily shape, every five minutes.
ROLLUP = """
INSERT INTO {table}
WITH arraySort(arrayMap(
    i -> round(
        50 + 30 * sin((toUnixTimestamp(start) + 300 * i) / 13750 + number) + cityHash64(i, start, number) % 900 / 100,
        2),
    range({points}))) AS points
SELECT
    toDateTime({start}, 'UTC') AS start, 1 AS batch, 'bench' AS customer_id, 'aws' AS provider,
    format('arn:aws:ec2:us-east-1:123456789012:instance/i-{{}}', leftPad(toString(intDiv(number, {metrics})), 17, '0')),
    format('web-{{}}', toString(intDiv(number, {metrics}))), 'compute', 'us-east-1', 'cpu',
    format('metric_{{}}', toString(number % {metrics})), 'average', 'percent', 300, {points}, {points},
    arraySum(points), points[1], points[-1], start, {points} * 150 - 150, 7500 * {points} * ({points} * {points} - 1),
    arraySum(v -> v * v, points) - pow(arraySum(points), 2) / {points}, {points} * (number % 10), points
FROM numbers({series})
"""


def fill(client: Client, resources: int, hour: datetime) -> int:
    """Publish the hours and days that the trends of `hour` may read; gives the rows that they do read."""
    end, series, read = hour + timedelta(hours=1), resources * METRICS, 0
    by_the_hour = {windows.floor_to(timedelta(days=1), end - timedelta(days=back)) for back in BOUNDS}
    first = min(by_the_hour)
    for day in (first + timedelta(days=n) for n in range(DAYS + 1)):
        hours = [day + timedelta(hours=n) for n in range(24)] if day in by_the_hour else []
        parts = [("performance_daily", day, 288), *(("performance_hourly", start, 12) for start in hours)]
        for table, start, points in parts:
            second = int(start.timestamp())
            if start >= end:
                continue
            client.command(ROLLUP.format(table=table, start=second, points=points, metrics=METRICS, series=series))
            client.command(
                "INSERT INTO metric_batches (dataset, window_start, batch, rows, status, published_at) "
                f"VALUES ('{table}', {second}, 1, {series}, 'ok', now64(3))"
            )
            if start >= end - timedelta(days=DAYS) and (points == 12) == (day in by_the_hour):
                read += series
    return read


def refresh(clickhouse: ClickHouse, hour: datetime) -> int:
    """Compute the trends of `hour`, as the asset does; gives the rows."""
    return write_select(clickhouse, "performance_trends", read_sql("readers/performance_trends"), [hour])[hour]
