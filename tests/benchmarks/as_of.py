"""What superseded versions of a day cost: its bytes on disk, and the CPU time of readers."""

from __future__ import annotations

import resource
import tempfile
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage import as_of_views
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reader_writer import compute
from optiinfra_dagster.storage.sql import readers
from tests.benchmarks.trends import METRICS, POINTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client

SERIES = 500
ROUNDS = 3
LEDGER = """
INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, rows, status, published_at)
SELECT 'performance', 'bench', 'aws', toDateTime({start} + 900 * number, 'UTC'), {batch}, {rows}, 'ok',
    now64(3) - {ago}
FROM numbers(96)
"""


def fill(client: Client, day: datetime, versions: int) -> None:
    """Publish a day of points so many times, in parts that are merged then, as they are after some hours."""
    start = int(day.timestamp())
    for batch in range(1, versions + 1):
        client.command(
            POINTS.format(start=start, steps=288, metrics=METRICS, series=SERIES).replace(
                "'UTC'), 1, 'bench'", f"'UTC'), {batch}, 'bench'"
            )
        )
        client.command(LEDGER.format(start=start, batch=batch, rows=3 * SERIES, ago=(versions - batch) * 60))
    client.command("OPTIMIZE TABLE performance_metrics FINAL")
    client.command("OPTIMIZE TABLE metric_batches FINAL")


def bytes_on_disk(client: Client) -> int:
    """The bytes of the points."""
    found = client.query(
        "SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = currentDatabase() "
        "AND table = 'performance_metrics'"
    )
    return int(found.result_rows[0][0])


def measures(clickhouse: ClickHouse, client: Client, day: datetime) -> dict[str, Callable[[], object]]:
    """What is measured, by name: readers of the day's last window, and SELECTs of the window and of the day."""
    window = day + timedelta(days=1) - windows.WINDOW
    made: dict[str, Callable[[], object]] = {}
    for name in ("hourly", "latest", "by_resource", "summary"):
        reader = readers()["performance", name]
        made[name] = partial(compute, clickhouse, reader, [windows.floor_to(reader.length, window)])
    total = "SELECT count(), sum(metric_value) FROM {} WHERE customer_id = 'bench' AND window_start {} {}"
    for name, view in (
        ("", "performance_metrics_current"),
        (" as of", as_of_views.call("performance_metrics_current")),
    ):
        for of, comparison, first in (("window", "=", window), ("day", ">=", day)):
            sql = total.format(view, comparison, f"fromUnixTimestamp({int(first.timestamp())})")
            time = as_of_views.text(datetime.now(UTC))
            made[f"a {of}{name}"] = partial(client.query, sql, parameters={"as_of": time})
    return made


def cpu(call: Callable[[], object]) -> float:
    """The CPU-s, of all threads, of a call: the least of some."""
    costs = []
    for _ in range(ROUNDS + 1):
        before = resource.getrusage(resource.RUSAGE_SELF)
        call()
        after = resource.getrusage(resource.RUSAGE_SELF)
        costs.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    return min(costs[1:])


def measured(superseded: int) -> tuple[int, dict[str, float]]:
    """The bytes of a day with so many superseded versions of each slice, and the CPU-s by name."""
    day = windows.floor_to(timedelta(days=1), datetime.now(UTC)) - timedelta(days=1)
    with tempfile.TemporaryDirectory() as folder:
        clickhouse = ClickHouse(f"chdb://{folder}/clickhouse")
        with clickhouse.session() as client:
            fill(client, day, superseded + 1)
            found = {name: cpu(call) for name, call in measures(clickhouse, client, day).items()}
            return bytes_on_disk(client), found
