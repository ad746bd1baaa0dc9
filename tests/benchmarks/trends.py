"""Rollups of 60 days, what they take on disk, and what it costs to compute them and the trends of an hour.

Run as `python -m tests.benchmarks.trends` it compares 1 M with 10 M points.
"""

from __future__ import annotations

import resource
import tempfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

METRICS = 7
DAYS = 60
BOUNDS = (0, 1, 2, 7, 14, 30, 60)  # days before the end: within the days that they fall on, trends are read by the hour

# One rollup of each series: percentages with two decimals and a daily shape, every five minutes.
ROLLUP = """
INSERT INTO {table} ({columns})
WITH arrayMap(
    i -> round(
        50 + 30 * sin((toUnixTimestamp(start) + 300 * i) / 13750 + number) + cityHash64(i, start, number) % 900 / 100,
        2),
    range({points})) AS points
SELECT
    toDateTime({start}, 'UTC') AS start, 1, 'bench', 'aws',
    format('arn:aws:ec2:us-east-1:123456789012:instance/i-{{}}', leftPad(toString(intDiv(number, {metrics})), 17, '0')),
    format('web-{{}}', toString(intDiv(number, {metrics}))), 'compute', 'us-east-1', 'cpu',
    format('metric_{{}}', toString(number % {metrics})), 'average', 'percent', 300, {points}, {points},
    arraySum(points), arrayMin(points), arrayMax(points), start,
    arraySort(arrayMap(
        v -> reinterpretAsFloat32(bitAnd(reinterpretAsUInt32(toFloat32(v)) + 0x8000, 0xFFFF0000)), points))
FROM numbers({series})
"""
COLUMNS = (
    "window_start, batch, customer_id, provider, resource_id, resource_name, resource_type, region, metric_type, "
    "metric_name, statistic, unit, period_seconds, n, expected, total, minimum, maximum, first_at, values"
)

# The points themselves, of all windows of some hours.
POINTS = """
INSERT INTO performance_metrics (timestamp, window_start, batch, customer_id, provider, metric_type, resource_id,
    resource_name, resource_type, region, metric_name, statistic, period_seconds, metric_value, unit)
WITH
    intDiv(number, {steps}) AS series,
    toDateTime({start} + 300 * (number % {steps}), 'UTC') AS at
SELECT
    at, toStartOfInterval(at, INTERVAL 15 MINUTE, 'UTC'), 1, 'bench', 'aws', 'cpu',
    format('arn:aws:ec2:us-east-1:123456789012:instance/i-{{}}', leftPad(toString(intDiv(series, {metrics})), 17, '0')),
    format('web-{{}}', toString(intDiv(series, {metrics}))), 'compute', 'us-east-1',
    format('metric_{{}}', toString(series % {metrics})), 'average', 300,
    round(50 + 30 * sin(toUnixTimestamp(at) / 13750 + series) + cityHash64(at, series) % 900 / 100, 2), 'percent'
FROM numbers({steps} * {series})
"""
LEDGER = (
    "INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, rows, status, published_at) "
    "SELECT '{dataset}', '{customer}', '{provider}', toDateTime({start} + {step} * number, 'UTC'), 1, {rows}, 'ok', "
    "now64(3) FROM numbers({count})"
)


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
            client.command(
                ROLLUP.format(table=table, columns=COLUMNS, start=second, points=points, metrics=METRICS, series=series)
            )
            client.command(
                LEDGER.format(dataset=table, customer="", provider="", start=second, step=1, rows=series, count=1)
            )
            if start >= end - timedelta(days=DAYS) and (points == 12) == (day in by_the_hour):
                read += series
    return read


def bytes_of_day(client: Client) -> dict[str, float]:
    """The bytes on disk of a series and day, by table: 24 hours, and a day."""
    found = client.query(
        "SELECT table, sum(bytes_on_disk) / sum(rows) FROM system.parts WHERE active AND database = currentDatabase() "
        "AND table IN ('performance_hourly', 'performance_daily') GROUP BY table"
    ).result_rows
    return {table: size * (24 if table == "performance_hourly" else 1) for table, size in found}


def refresh(clickhouse: ClickHouse, hour: datetime) -> int:
    """Compute the trends of `hour`, as the asset does; gives the rows."""
    return compute(clickhouse, readers()["performance", "trends"], [hour])[hour]


def _cpu(clickhouse: ClickHouse, name: str, window: datetime) -> float:
    """The CPU-s, of all threads, of a reader's slice: the least of three times."""
    reader = readers()["performance", name]
    costs = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_SELF)
        compute(clickhouse, reader, [windows.floor_to(reader.length, window)])
        after = resource.getrusage(resource.RUSAGE_SELF)
        costs.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(costs)


def main() -> None:
    """Print what each reader of performance takes with 1 M and 10 M points, of 500 series."""
    window = windows.floor_to(timedelta(days=1), datetime.now(UTC)) - timedelta(hours=3)
    for days in (7, 70):
        with tempfile.TemporaryDirectory() as folder:
            clickhouse = ClickHouse(f"chdb://{folder}/clickhouse")
            with clickhouse.session() as client:
                start = int((window - timedelta(days=days)).timestamp())
                steps = days * 288 + 3
                client.command(POINTS.format(start=start, steps=steps, metrics=METRICS, series=500))
                client.command(
                    LEDGER.format(
                        dataset="performance", customer="bench", provider="aws", start=start, step=900, rows=1500,
                        count=days * 96 + 1,
                    )
                )  # fmt: skip
                client.command("OPTIMIZE TABLE performance_metrics FINAL")
                hour = windows.floor_to(timedelta(hours=1), window)
                compute(clickhouse, readers()["performance", "hourly"], [hour])
                names = ("hourly", "daily", "latest", "by_resource", "summary")
                said = {name: _cpu(clickhouse, name, window) for name in names}
            print(f"{steps * 500:,} points:", {name: round(cost, 3) for name, cost in said.items()}, flush=True)


if __name__ == "__main__":
    main()
