"""A generated Cost and Usage Report in Parquet: how fast it is read, and how much memory that takes.

`python -m tests.benchmarks.exports [megabytes]`, 20 by default. Each side runs in a process of its own, so that
its peak memory is its own. The plain side scans the same columns with pyarrow, and adds up the costs as doubles.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

MEGABYTES = 20
RESOURCES = 5000
GROUP_ROWS = 500_000
FIRST, LAST = date(2026, 10, 1), date(2026, 10, 31)
SERVICES = ("AmazonEC2", "AmazonRDS", "AmazonS3", "AWSLambda", "AmazonDynamoDB", "AmazonEKS", "AWSELB", "AmazonVPC")
TYPES = (
    "Usage",
    "Usage",
    "Usage",
    "DiscountedUsage",
    "SavingsPlanCoveredUsage",
    "SavingsPlanNegation",
    "Tax",
    "Credit",
)


def write(path: Path, megabytes: int) -> int:
    """An export of about that size, hours in order as AWS writes them; gives its rows."""
    draw = np.random.default_rng(5)
    rows, writer = 0, None
    while not path.exists() or path.stat().st_size < megabytes << 20:
        table = _rows(draw, GROUP_ROWS if megabytes > MEGABYTES else GROUP_ROWS // 5)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table)
        rows += table.num_rows
    assert writer is not None
    writer.close()
    return rows


def _rows(draw: Any, count: int) -> pa.Table:
    def words(values: Any) -> pa.Array:
        codes = draw.integers(0, len(values), count, np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values)).dictionary_decode()

    start = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) * 1000
    hours = pa.array(start + draw.integers(0, 31 * 24, count) * 3_600_000, pa.timestamp("ms"))
    cost = np.round(draw.gamma(0.3, 0.2, count), 10)
    number = draw.integers(0, RESOURCES, count)

    def of_resource(values: Any) -> pa.Array:
        return pa.array(np.array(values)[number % len(values)])

    identity = draw.integers(1 << 40, 1 << 62, count)
    return pa.table(
        {
            "identity_line_item_id": pc.binary_join_element_wise("l", pa.array(identity).cast(pa.string()), ""),
            "bill_invoice_id": words(["1234567890"]),
            "bill_payer_account_id": words(["100000000000"]),
            "line_item_usage_account_id": of_resource([f"{n:012d}" for n in range(21)]),
            "line_item_usage_start_date": hours,
            "line_item_line_item_type": of_resource(TYPES),
            "line_item_product_code": of_resource(SERVICES),
            "line_item_resource_id": pc.binary_join_element_wise(
                "i-", pc.utf8_lpad(pa.array(number).cast(pa.string()), 17, "0"), ""
            ),
            "line_item_currency_code": words(["USD"]),
            "line_item_usage_type": words([f"USE1-Type:{n}" for n in range(300)]),
            "line_item_line_item_description": words(
                [f"${n / 1000} per hour of something or other" for n in range(400)]
            ),
            "line_item_usage_amount": draw.random(count),
            "line_item_unblended_cost": cost,
            "line_item_unblended_rate": words([str(n / 1000) for n in range(500)]),
            "pricing_public_on_demand_cost": np.round(cost * 1.25, 10),
            "product_product_family": of_resource(["Compute Instance", "Storage", "Data Transfer"]),
            "product_region_code": of_resource(["us-east-1", "eu-west-1", "ap-south-1"]),
            "reservation_effective_cost": np.round(cost * 0.6, 10),
            "savings_plan_savings_plan_effective_cost": np.round(cost * 0.7, 10),
            "resource_tags": words([json.dumps({"team": f"team-{n}", "env": "prod"}) for n in range(200)]),
        }
    )


def side(path: str, which: str) -> None:
    """Read the export in this process, and print what it took as JSON."""
    before, began = time.process_time(), time.perf_counter()
    if which == "ours":
        from optiinfra_dagster.providers.exports import ExportFile, read_export

        bill = read_export([ExportFile.local(Path(path))], source_id="x", first=FIRST, last=LAST, resources=[])
        assert not bill.problems, bill.problems
        found = len(bill.charges)
    elif which == "plain":
        from optiinfra_dagster.providers.export_formats import recognised

        file = pq.ParquetFile(path)
        _, held = recognised(file.schema_arrow.names)
        wanted = sorted({file.schema_arrow.names[place] for places in held.values() for place in places})
        found = 0
        for batch in file.iter_batches(131_072, columns=wanted):
            found += int(pc.sum(batch["line_item_unblended_cost"]).as_py())
    else:
        found = 0
    # Not ru_maxrss: on Linux, a process that was started by a large one begins with its peak.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    seconds, cpu = time.perf_counter() - began, time.process_time() - before
    print(json.dumps({"cpu": cpu, "seconds": seconds, "peak": peak, "found": found}))


def main(megabytes: int) -> None:
    """Write an export, read it in both ways, and print a line for each."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "cur.snappy.parquet"
        rows = write(path, megabytes)
        print(f"{path.stat().st_size / 1e6:,.0f} MB of Parquet, {rows:,} rows")
        for which in ("plain", "ours"):
            command = [sys.executable, "-m", "tests.benchmarks.exports", str(path), which]
            told = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
            print(
                f"{which:<6}{rows / told['seconds']:>12,.0f} rows/s {rows / told['cpu']:>12,.0f} rows/CPU-s "
                f"{told['peak'] / 1e6:>8,.0f} MB peak {told['found']:>10,} found"
            )


if __name__ == "__main__":
    if len(sys.argv) > 2:
        side(sys.argv[1], sys.argv[2])
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else MEGABYTES)
