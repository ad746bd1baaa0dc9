"""A window of interactions in one compressed file: how long it takes to draw a sample, and how much memory.

The sampling runs in a process of its own (`python -m tests.benchmarks.interactions <folder> ours|plain`), so that its
peak memory is its own. The plain side decompresses and parses the lines, and does nothing else.
"""

from __future__ import annotations

import gzip
import json
import random
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

COUNT = 20_000
TEXT_BYTES = 1700  # of randomness in each interaction: 2 kB compressed
START = datetime(2026, 11, 21, 12, tzinfo=UTC)
END = START + timedelta(minutes=15)


@dataclass(frozen=True)
class Side:
    """What one process says of itself; bytes are the peak of its resident memory."""

    cpu: float
    seconds: float
    peak: int
    found: int


def write(folder: Path, count: int) -> Path:
    """A log of three applications whose texts hardly compress."""
    path = folder / "window.jsonl.gz"
    noise = random.Random(1)  # noqa: S311 - not a secret
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        for number in range(count):
            moment = START + (END - START) * number / count
            text = noise.randbytes(TEXT_BYTES).hex()
            record = {
                "id": f"i{number}", "application_id": f"app-{number % 3}", "model": "m", "ts": moment.isoformat(),
                "prompt": text[: len(text) // 3], "response": text[len(text) // 3 :],
            }  # fmt: skip
            file.write(json.dumps(record) + "\n")
    return path


def measure(folder: Path, side: str) -> Side:
    """Run one side in a process of its own."""
    command = [sys.executable, "-m", "tests.benchmarks.interactions", str(folder), side]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Side(**json.loads(done.stdout))


def _ours(folder: Path) -> int:
    from optiinfra_dagster.config.application import Application
    from optiinfra_dagster.providers.object_storage.folder import Folder
    from optiinfra_dagster.quality.files import FileSource
    from optiinfra_dagster.quality.window_calls import draw

    source = FileSource(Folder(folder, "interactions"), str(folder), "aws")
    application = Application(interactions="clickhouse", sample_per_window=5)
    sample = draw("bench", application, "aws", START, source).sample
    assert [len(sample.chosen(application)) for application in sample.applications] == [5, 5, 5]
    return sum(sample.populations.values())


def _plain(folder: Path) -> int:
    with gzip.open(folder / "window.jsonl.gz", "rb") as file:
        return sum(1 for line in file if json.loads(line))


def main() -> None:
    """Be one side, and print what it took."""
    folder, side = Path(sys.argv[1]), sys.argv[2]
    cpu, began = time.process_time(), time.monotonic()
    found = {"ours": _ours, "plain": _plain}[side](folder)
    # Not ru_maxrss: on Linux, a process that was started by a large one begins with its peak.
    peak = int(Path("/proc/self/status").read_text(encoding="ascii").partition("VmHWM:")[2].split()[0]) << 10
    print(json.dumps({
        "cpu": time.process_time() - cpu, "seconds": time.monotonic() - began, "peak": peak, "found": found,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
