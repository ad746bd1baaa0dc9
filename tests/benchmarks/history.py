"""The readers of one window beside 3 and 30 days of history in a month that was merged: cost must not grow with it.

165 machines of one customer with 7 metrics every 5 minutes, 333,000 points a day, and their inventory in each window.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from optiinfra_dagster.storage.clickhouse import ClickHouse

RESOURCES, METRICS = 165, 7
# Late in the month that is over: its rows have not expired, and no merge waits for more of them.
WINDOW = datetime.now(UTC).replace(day=1, hour=20, minute=0, second=0, microsecond=0) - timedelta(days=1)
NAMES = (
    ("performance", "latest"),
    ("performance", "by_resource"),
    ("performance", "summary"),
    ("performance", "hourly"),
    ("resource", "inventory"),
    ("resource", "by_type"),
    ("resource", "changes"),
)

_POINTS = """
INSERT INTO performance_metrics (timestamp, window_start, batch, customer_id, provider, metric_type, resource_id,
    resource_name, resource_type, region, metric_name, statistic, period_seconds, metric_value, unit)
SELECT toDateTime({first:UInt32} + 300 * intDiv(number, {series:UInt32}), 'UTC') AS t, toStartOfFifteenMinutes(t), 1,
    'acme', 'aws', 'cpu',
    concat('arn:aws:ec2:us-east-1:111122223333:instance/i-', toString(s % {resources:UInt32})) AS id,
    id, 'compute', 'us-east-1', concat('metric_', toString(intDiv(s, {resources:UInt32}))), 'average', 300,
    cityHash64(number) % 9973 / 97, 'percent'
FROM (SELECT number, number % {series:UInt32} AS s FROM numbers({rows:UInt64}))
"""
_INVENTORIES = """
INSERT INTO resource_metrics (timestamp, window_start, batch, customer_id, provider, account_id, region, kind,
    resource_id, resource_name, resource_type, status, tags, metadata, spec_hash)
SELECT toDateTime({first:UInt32} + 900 * intDiv(number, {resources:UInt32}), 'UTC') AS t, t, 1, 'acme', 'aws',
    '111122223333', 'us-east-1', 'ec2:instance',
    concat('arn:aws:ec2:us-east-1:111122223333:instance/i-', toString(number % {resources:UInt32})) AS id, id,
    'compute', 'running', '{}', '{}', 7
FROM numbers({rows:UInt64})
"""
_LEDGER = """
INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, rows, status, published_at)
SELECT {dataset:String}, 'acme', 'aws', toDateTime({first:UInt32} + 900 * number, 'UTC'), 1, 1, 'ok',
    toDateTime64({first:UInt32}, 3, 'UTC')
FROM numbers({slices:UInt32})
"""


def fill(clickhouse: ClickHouse, days: int) -> int:
    """Publish `days` up to and with `WINDOW`; returns the points."""
    first = WINDOW + windows.WINDOW - timedelta(days=days)
    slices, series = 96 * days, RESOURCES * METRICS
    shared = {"first": int(first.timestamp()), "resources": RESOURCES, "series": series, "slices": slices}
    with clickhouse.session() as client:
        client.command(_POINTS, parameters={**shared, "rows": 3 * slices * series})
        client.command(_INVENTORIES, parameters={**shared, "rows": slices * RESOURCES})
        for dataset in ("performance", "resource"):
            client.command(_LEDGER, parameters={**shared, "dataset": dataset})
        for table in ("performance_metrics", "resource_metrics"):
            client.command(f"OPTIMIZE TABLE {table} FINAL")
    return 3 * slices * series


def refresh(clickhouse: ClickHouse) -> float:
    """Compute the readers for the window; the CPU seconds, all threads."""
    before = time.process_time()
    for name in NAMES:
        reader = readers()[name]
        reader_writer.compute(clickhouse, reader, [windows.floor_to(reader.length, WINDOW)])
    return time.process_time() - before
