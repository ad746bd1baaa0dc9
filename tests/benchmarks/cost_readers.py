"""The cost readers over a month of estimates and bills, with as much history before it as is asked for.

450 resources in 3 accounts, with an estimate in each of the 96 windows of a day: 1.3 million rows in 30 days. The bill
of each day that has settled has two lines for each resource. The plain side adds the raw rows up by resource and day,
without asking what is published, which a reader of 30 days did in some way before there was a rollup.
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

RESOURCES = 450
WINDOW = datetime(2026, 3, 31, 20, 0, tzinfo=UTC)  # late in a long month
NAMES = ("daily", "days", "summary", "by_service", "by_resource", "trends", "waste")

_ESTIMATES = """
INSERT INTO cost_metrics (timestamp, window_start, batch, customer_id, provider, instance_id, cost_type, cost_kind,
    estimated_by, is_final, amount, currency, list_cost, charge_period_start, charge_period_end, charge_category,
    service_name, resource_id, resource_name, matched, region_id, sub_account_id, billing_account_id, metadata,
    collected_at, first_seen, last_changed)
SELECT w, w, 1, 'acme', 'aws', id, 'compute', 'estimated', 'list price', false, toDecimal128(0.0104, 18), 'USD',
    toDecimal128(0.0104, 18), w, w + 900, 'Usage', concat('Service ', toString(r % 12)), id,
    concat('name-', toString(r)), true, 'us-east-1', account, account, '{"priced":"1 x BoxUsage:m6i.large"}', w, w, w
FROM
(
    SELECT
        toDateTime({first:UInt32} + 900 * intDiv(number, {resources:UInt32}), 'UTC') AS w,
        number % {resources:UInt32} AS r,
        concat('arn:aws:ec2:us-east-1:111122223333:instance/i-', leftPad(toString(r), 17, '0')) AS id,
        concat('11112222333', toString(r % 3)) AS account
    FROM numbers({rows:UInt64})
)
"""
_BILLS = """
INSERT INTO cost_metrics (timestamp, window_start, batch, customer_id, provider, instance_id, cost_type, cost_kind,
    is_final, amount, currency, billed_cost, effective_cost, charge_period_start, charge_period_end, charge_category,
    service_name, resource_id, resource_name, matched, region_id, sub_account_id, billing_account_id, metadata,
    collected_at, first_seen, last_changed)
SELECT w, w, 1, 'acme', 'aws', id, if(r < 3, 'reading', 'compute'), 'billed', false,
    toDecimal128(if(r < 3, 0, 0.5), 18),
    if(r < 3, '', 'USD'), toDecimal128(0.5, 18), toDecimal128(0.5, 18), w, w + 86400, 'Usage',
    concat('Service ', toString(r % 12)), if(r < 3, '', id), '', true, 'us-east-1', account, '111122223330', '{}',
    w, w, w
FROM
(
    SELECT
        toDateTime({first:UInt32} + 86400 * intDiv(number, {resources:UInt32}), 'UTC') AS w,
        number % {resources:UInt32} AS r,
        concat('arn:aws:ec2:us-east-1:111122223333:instance/i-', leftPad(toString(intDiv(r, 2)), 17, '0')) AS id,
        concat('11112222333', toString(r % 3)) AS account
    FROM numbers({rows:UInt64})
)
"""
_LEDGER = """
INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, rows, status, published_at)
SELECT {dataset:String}, 'acme', 'aws', toDateTime({first:UInt32} + {seconds:UInt32} * number, 'UTC'), 1, 1, 'ok',
    toDateTime64({first:UInt32}, 3, 'UTC')
FROM numbers({slices:UInt64})
"""


def fill(clickhouse: ClickHouse, days: int) -> int:
    """Publish `days` of estimates up to `WINDOW`, and the bills of those that are 2 days old; returns the rows."""
    first = windows.floor_to(timedelta(days=1), WINDOW) - timedelta(days=days)
    slices = int((WINDOW - first) / windows.WINDOW) + 1
    with clickhouse.session() as client:
        for table, sql, rows, dataset, seconds, count in (
            ("estimates", _ESTIMATES, slices * RESOURCES, "cost", 900, slices),
            ("bills", _BILLS, (days - 2) * 2 * RESOURCES, "cost_billed", 86400, days - 2),
        ):
            resources = RESOURCES if table == "estimates" else 2 * RESOURCES
            at = int(first.timestamp())
            client.command(sql, parameters={"first": at, "resources": resources, "rows": rows})
            client.command(_LEDGER, parameters={"dataset": dataset, "first": at, "seconds": seconds, "slices": count})
        client.command("OPTIMIZE TABLE cost_metrics FINAL")
    return slices * RESOURCES + (days - 2) * 2 * RESOURCES


def refresh(clickhouse: ClickHouse) -> dict[str, float]:
    """Compute every cost reader for the window; the CPU seconds of each, all threads."""
    spent = {}
    for name in NAMES:
        reader = readers()["cost", name]
        before = time.process_time()
        reader_writer.compute(clickhouse, reader, [windows.floor_to(reader.length, WINDOW)])
        spent[name] = time.process_time() - before
    return spent


def plain(clickhouse: ClickHouse) -> float:
    """Add the raw rows of 30 days up by resource and day; the CPU seconds."""
    before = time.process_time()
    with clickhouse.session() as client:
        client.query(
            "SELECT resource_id, toDate(window_start) AS day, sum(amount) FROM cost_metrics "
            "WHERE window_start >= fromUnixTimestamp({since:UInt32}) GROUP BY resource_id, day",
            parameters={"since": int((WINDOW - timedelta(days=30)).timestamp())},
        )
    return time.process_time() - before
