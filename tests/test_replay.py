"""Recorded CloudWatch series, served by the lab as CloudWatch data, come back from `optiinfra read` value for value."""

from __future__ import annotations

import csv
import io
import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model import windows
from tests.support.spine import ACCOUNTS, LAG, REGIONS, Spine

pytestmark = pytest.mark.long

PERIOD = 300

# Part of a file's name -> kind of the resource, namespace, API metric, our metric, and what a value is divided by.
NATURAL: tuple[tuple[str, str, str, str, str, float], ...] = (
    ("rds_cpu", "rds:db", "AWS/RDS", "CPUUtilization", "cpu_utilization", 1),
    ("elb_request_count", "elb:classic", "AWS/ELB", "RequestCount", "request_rate", PERIOD),
    ("disk_write", "ec2:instance", "AWS/EC2", "EBSWriteBytes", "disk_write", PERIOD),
    ("network_?in", "ec2:instance", "AWS/EC2", "NetworkIn", "network_in", PERIOD),
    ("network_?out", "ec2:instance", "AWS/EC2", "NetworkOut", "network_out", PERIOD),
    ("", "ec2:instance", "AWS/EC2", "CPUUtilization", "cpu_utilization", 1),
)


@dataclass(frozen=True)
class Recording:
    """A file, and the metric of the resource that shows it."""

    file: Path
    resource: str
    kind: str
    namespace: str
    api_metric: str
    metric: str
    divisor: float

    @classmethod
    def of(cls, file: Path, number: int) -> Recording:
        """Find the natural metric of a file."""
        _, *natural = next(row for row in NATURAL if re.search(row[0], file.stem.lower()))
        return cls(file, f"replay-{number}", *natural)  # type: ignore[arg-type]

    def points(self, ends_at: datetime) -> dict[datetime, float]:
        """What must be read: the series moved so that it ends at `ends_at`, values of one time averaged."""
        values: dict[datetime, list[float]] = defaultdict(list)
        for row in csv.DictReader(io.StringIO(self.file.read_text())):
            values[datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)].append(float(row["value"]))
        shift = ends_at - max(values)
        return {time + shift: sum(v) / len(v) / self.divisor for time, v in values.items()}


def cli(spine: Spine, lab: CloudLab, *arguments: str, timeout: float = 500) -> subprocess.CompletedProcess[str]:
    """Run `optiinfra`, which must end well."""
    done = subprocess.run(
        [sys.executable, "-c", "from optiinfra_dagster.cli.main import main; main()", *arguments],
        env={**spine.env, **lab.env}, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.timeout(600)  # a range of about 1,350 windows is 3,000 events for Dagster, 10 ms of CPU each
def test_every_recorded_series_is_read_back_value_for_value(shared_data: Path, tmp_path: Path) -> None:
    files = sorted((shared_data / "nab/data/realAWSCloudwatch").glob("*.csv"))
    if not files:
        pytest.skip("the recorded CloudWatch series (nab/data/realAWSCloudwatch) are not in ../shared/data")
    recordings = [Recording.of(file, n) for n, file in enumerate(files)]
    ends_at = windows.newest_collectable(datetime.now(UTC), LAG) + timedelta(minutes=10)  # CloudWatch aligns periods
    expected = {r.resource: r.points(ends_at) for r in recordings}
    world: dict[str, Any] = {
        "aws": {
            "accounts": [
                {"id": ACCOUNTS["acme"], "regions": REGIONS, "roles": ["reader"], "fleets": [
                    {"kind": r.kind, "region": "us-east-1", "name": r.resource, "type": None,
                     "created": "2024-01-01T00:00:00Z", "volumes": 0}
                    for r in recordings
                ]}
            ],
            "replay": [
                {"namespace": r.namespace, "metric": r.api_metric, "resource": r.resource, "file": str(r.file),
                 "ends_at": ends_at}
                for r in recordings
            ],
        }
    }  # fmt: skip
    spine = Spine.at(tmp_path / "home")
    start = min(min(points) for points in expected.values())
    with CloudLab(world) as lab:
        spine.write_customers(lab, ["acme"])
        span = (
            "--from",
            windows.key(windows.floor(start)),
            "--to",
            f"{ends_at + timedelta(minutes=1):%Y-%m-%dT%H:%MZ}",
        )
        cli(spine, lab, "collect", *span)
        assert lab.control.calls().count("cloudwatch", "GetMetricData") < 10
    read = cli(spine, lab, "read", "performance", "metrics", "--customer", "acme", "--format", "csv", *span)
    found: dict[tuple[str, str], dict[datetime, float]] = defaultdict(dict)
    for row in csv.DictReader(io.StringIO(read.stdout)):
        found[row["resource_name"], row["metric_name"]][datetime.fromisoformat(row["timestamp"])] = float(
            row["metric_value"]
        )
    for r in recordings:
        got = found[r.resource, r.metric]
        assert got.keys() == expected[r.resource].keys(), r.file.name
        assert got == pytest.approx(expected[r.resource], rel=1e-12), r.file.name
