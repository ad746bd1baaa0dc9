"""Explanations of rows over 90 days of history: of a point, of a trend, and of costs.

A customer's windows of 90 days are published on one cloud: an inventory, points, estimates and, by day, a bill; of
readers there is the newest slice, and of the rollups all. `python -m tests.benchmarks.explaining` prints CPU-s.
"""

from __future__ import annotations

import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr

from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.clickhouse import LINGER_SECONDS, ClickHouse
from optiinfra_dagster.storage.explanation.explain import explain_row
from optiinfra_dagster.storage.reading import Query
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from clickhouse_connect.driver.client import Client

CUSTOMERS = "customers:\n  - {id: acme, name: Acme, vultr: [{api_key: {env: K}}]}\n"
ROWS = 20  # points of a window
EXPLAINED = (
    ("performance", "metrics"), ("performance", "trends"), ("cost", "summary"), ("cost", "trends"), ("cost", "outlook"),
)  # fmt: skip


def fill(home: Path, days: int) -> None:
    """The history, written as a collection leaves it, but without hashes: every slice is compared all the same."""
    (home / "customers.yaml").write_text(CUSTOMERS)
    last = windows.newest_collectable(datetime.now(UTC), timedelta(minutes=5))
    count = 96 * days
    first = last - (count - 1) * windows.WINDOW
    with ClickHouse(f"chdb://{home}/clickhouse").session() as client:
        client.command(
            "INSERT INTO performance_metrics (timestamp, window_start, batch, customer_id, provider, resource_id, "
            "resource_type, metric_name, statistic, period_seconds, metric_value) "
            "SELECT fromUnixTimestamp({first:UInt32}) + toIntervalMinute(15 * intDiv(number, {rows:UInt32})) AS time, "
            "time, 1, 'acme', 'vultr', concat('i-', toString(number % {rows:UInt32})), 'compute', 'cpu_utilization', "
            "'average', 900, number % 97 FROM numbers({count:UInt64})",
            parameters={"first": int(first.timestamp()), "rows": ROWS, "count": ROWS * count},
        )
        for dataset in ("resource", "performance", "cost"):
            _publish(client, dataset, "acme", "vultr", first, count, 900, ROWS if dataset == "performance" else 0)
        midnight = first.replace(hour=0, minute=0)
        _publish(client, "cost_billed", "acme", "vultr", midnight, days, 86400)
        for (family, name), reader in readers().items():
            if name in {"daily", "days", "hourly"}:
                seconds = int(reader.length.total_seconds())
                _publish(client, reader.table, "", "", midnight, days * 86400 // seconds, seconds)
            elif (family, name) in EXPLAINED:
                at = windows.floor_to(reader.length, last)
                days_of_row = (", days", ", 30") if (family, name) == ("performance", "trends") else ("", "")
                client.command(
                    f"INSERT INTO {reader.table} (window_start, batch, customer_id, provider{days_of_row[0]}) "
                    f"SELECT fromUnixTimestamp({int(at.timestamp())}), 1, 'acme', 'vultr'{days_of_row[1]}"
                )
                _publish(client, reader.table, "", "", at, 1, 900, 1)


def _publish(
    client: Client, dataset: str, customer: str, provider: str, first: datetime, count: int, seconds: int, rows: int = 0
) -> None:
    client.command(
        "INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, rows, status, published_at, "
        "api_calls) SELECT {dataset:String}, {customer:String}, {provider:String}, fromUnixTimestamp({first:UInt32}) + "
        "toIntervalSecond({seconds:UInt32} * number), 1, {rows:UInt32}, 'ok', now64(3), 1 FROM numbers({count:UInt32})",
        parameters={
            "dataset": dataset,
            "customer": customer,
            "provider": provider,
            "first": int(first.timestamp()),
            "seconds": seconds,
            "rows": rows,
            "count": count,
        },
    )


def measure(home: Path) -> Iterator[tuple[str, float]]:
    """The CPU-s of an explanation, by reader; each is the second of two."""
    settings = Settings(
        dagster_home=home,
        clickhouse_url=SecretStr(f"chdb://{home}/clickhouse"),
        customers_path=home / "customers.yaml",
    )
    clickhouse = ClickHouse.of(settings, linger=LINGER_SECONDS)
    with clickhouse.session():
        for family, name in EXPLAINED:
            query = Query(family, name, "acme")
            explain_row(clickhouse, settings, query, row=1)
            begun = time.process_time()
            explanation = explain_row(clickhouse, settings, query, row=1)
            spent = time.process_time() - begun
            slices = sum(len(one.of.slices) for one in explanation.beneath)
            yield f"{family}/{name}, {slices:,} slices", spent


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        fill(place, int(sys.argv[1]) if len(sys.argv) > 1 else 90)
        for what, cpu in measure(place):
            print(f"{what}: {cpu:.2f} CPU-s", flush=True)
