"""A generated Cost and Usage Report in Parquet: how fast it is read, and how much memory that takes.

Each side runs in a process of its own (`python -m tests.benchmarks.exports <file> ours|plain`), so that its peak memory
is its own. The plain side scans the same columns with pyarrow, and adds up the costs as doubles.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from optiinfra_dagster.providers.billing.exports.files import ExportFile
from optiinfra_dagster.providers.billing.exports.formats import recognised
from optiinfra_dagster.providers.billing.exports.reader import read_export

MEGABYTES = 20
RESOURCES = 5  # for each megabyte: a charge adds up about a hundred rows, whatever the size
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
        table = _rows(draw, GROUP_ROWS if megabytes > MEGABYTES else GROUP_ROWS // 5, RESOURCES * megabytes)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table)
        rows += table.num_rows
    assert writer is not None
    writer.close()
    return rows


def _rows(draw: Any, count: int, resources: int) -> pa.Table:
    def words(values: Any) -> pa.Array:
        codes = draw.integers(0, len(values), count, np.int32)
        return pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(values)).dictionary_decode()

    start = int(datetime(2026, 10, 1, tzinfo=UTC).timestamp()) * 1000
    hours = pa.array(start + draw.integers(0, 31 * 24, count) * 3_600_000, pa.timestamp("ms"))
    cost = np.round(draw.gamma(0.3, 0.2, count), 10)
    number = draw.integers(0, resources, count)

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
            "resource_tags": of_resource([json.dumps({"team": f"team-{n}", "env": "prod"}) for n in range(200)]),
        }
    )


@dataclass(frozen=True)
class Side:
    """What one process says of itself; bytes are the peak of its resident memory."""

    cpu: float
    seconds: float
    peak: int
    found: int


def measure(path: Path, side: str) -> Side:
    """Run one side in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.exports", str(path), side]
    return Side(**json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout))


def _ours(path: Path) -> int:
    bill = read_export([ExportFile.local(path)], source_id="x", first=FIRST, last=LAST, resources=[])
    assert not bill.problems, bill.problems
    return len(bill.charges)


def _plain(path: Path) -> int:
    file = pq.ParquetFile(path)
    _, held = recognised(file.schema_arrow.names)
    wanted = sorted({file.schema_arrow.names[place] for places in held.values() for place in places})
    return sum(
        int(pc.sum(batch["line_item_unblended_cost"]).as_py()) for batch in file.iter_batches(131_072, columns=wanted)
    )


def main() -> None:
    """Be one side, and print what it took."""
    path, side = Path(sys.argv[1]), sys.argv[2]
    cpu, began = time.process_time(), time.perf_counter()
    found = {"ours": _ours, "plain": _plain}[side](path)
    # Not ru_maxrss: on Linux, a process that was started by a large one begins with its peak.
    status = Path("/proc/self/status").read_text(encoding="ascii")
    peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    seconds, spent = time.perf_counter() - began, time.process_time() - cpu
    print(json.dumps({"cpu": spent, "seconds": seconds, "peak": peak, "found": found}))


if __name__ == "__main__":
    main()
