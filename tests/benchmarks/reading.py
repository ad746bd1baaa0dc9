"""Rows read on the command line: all of a day as CSV and JSON, and the first of them as a table.

Each side runs in a process of its own (`python -m tests.benchmarks.reading <home> ours|plain csv|json|table`), so that
its peak memory is its own. The plain side has the engine send the same table in its own format, unsorted and unjoined;
beside a table of the first rows it opens the engine and no more.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.clickhouse import ClickHouse

CUSTOMERS = "customers:\n  - {id: acme, name: Acme, vultr: [{api_key: {env: K}}]}\n"
RESOURCES = 500


@dataclass(frozen=True)
class Side:
    """What one process says of itself; bytes are the peak of its resident memory."""

    cpu: float
    peak: int


def fill(home: Path, rows: int) -> None:
    """A customer's points of a day, as collections publish them."""
    (home / "customers.yaml").write_text(CUSTOMERS)
    last = windows.newest_collectable(datetime.now(UTC), timedelta(minutes=5))
    parameters = {"first": int((last - 95 * windows.WINDOW).timestamp()), "rows": rows, "resources": RESOURCES}
    with ClickHouse(_url(home)).session() as client:
        client.command(
            "INSERT INTO performance_metrics (timestamp, window_start, batch, customer_id, provider, metric_type, "
            "resource_id, resource_name, resource_type, region, metric_name, statistic, period_seconds, metric_value, "
            "unit, metadata) SELECT fromUnixTimestamp({first:UInt32}) + toIntervalMinute(5 * (number % 288)) AS time, "
            "toStartOfFifteenMinutes(time), 1, 'acme', 'vultr', 'cpu', "
            "concat('arn:aws:ec2:us-east-1:123456789012:instance/i-', intDiv(number, 288) % {resources:UInt32}) AS id, "
            "id, 'compute', 'us-east-1', concat('metric_', intDiv(number, 288 * {resources:UInt32})), 'average', 300, "
            'number % 9973 / 97, \'percent\', \'{"namespace":"AWS/EC2","account_id":"123456789012"}\' '
            "FROM numbers({rows:UInt64})",
            parameters=parameters,
        )
        client.command(
            "INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, status) "
            "SELECT 'performance', 'acme', 'vultr', fromUnixTimestamp({first:UInt32}) + toIntervalMinute(15 * number), "
            "1, 'ok' FROM numbers(96)",
            parameters=parameters,
        )
        client.command("OPTIMIZE TABLE performance_metrics FINAL")  # what the merges of a few hours do


def measure(home: Path, side: str, format_: str) -> Side:
    """Run one side in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.reading", str(home), side, format_]
    done = subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    return Side(**json.loads(done.stderr.splitlines()[-1]))


def _url(home: Path) -> str:
    return f"chdb://{home}/clickhouse"


def _ours(home: Path, format_: str) -> None:
    from optiinfra_dagster.cli.main import main

    os.environ["DAGSTER_HOME"], os.environ["OPTIINFRA_CLICKHOUSE_URL"] = str(home), _url(home)
    os.environ["OPTIINFRA_CUSTOMERS"] = str(home / "customers.yaml")
    times = [] if format_ == "table" else ["--from", f"{datetime.now(UTC) - timedelta(days=2):%Y-%m-%dT%H:%MZ}"]
    sys.argv = ["optiinfra", "read", "performance", "metrics", "--customer", "acme", "--format", format_, *times]
    with suppress(SystemExit):
        main()


def _plain(home: Path, format_: str) -> None:
    import clickhouse_connect

    client = clickhouse_connect.get_client(interface="chdb", path=str(home / "clickhouse"))
    if format_ != "table":
        with client.raw_stream(
            "SELECT * FROM optiinfra_metrics.performance_metrics SETTINGS max_threads = 1, max_block_size = 512",
            fmt={"csv": "CSV", "json": "JSONEachRow"}[format_],
        ) as stream:
            while chunk := stream.read(1 << 18):
                sys.stdout.buffer.write(chunk)
    client.close()


def main() -> None:
    """Be one side, and print what it took."""
    home, side, format_ = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    {"ours": _ours, "plain": _plain}[side](home, format_)
    # Not ru_maxrss: on Linux, a process that was started by a large one begins with its peak.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    print(json.dumps({"cpu": time.process_time(), "peak": peak}), file=sys.stderr)


if __name__ == "__main__":
    main()
