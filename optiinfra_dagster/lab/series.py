"""Numbers for the series of every cloud: chance by key and time, and recorded series read from CSV files."""

from __future__ import annotations

import csv
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]
RecordedPoints = tuple[Whole, Floats]
"""The times, in seconds since the epoch and in order, and the values of a recorded series."""

DAY = 86_400


def chance(keys: Any, times: Any, salt: int = 0) -> Floats:
    """Numbers in [0, 1), the same for the same keys and times (splitmix64 of both)."""
    with np.errstate(over="ignore"):
        moments = np.asarray(times, np.uint64) + np.uint64(salt * 1_000_003)
        x = np.asarray(keys, np.uint64) + np.uint64(0x9E3779B97F4A7C15) * moments
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((x ^ (x >> np.uint64(31))) >> np.uint64(11), np.float64) / float(1 << 53)


def recorded_points(file: Path, shift_seconds: int = 0, ends_at: datetime | None = None) -> RecordedPoints:
    """Read a CSV of `timestamp,value` (naive UTC): seconds since the epoch in order, each once, and their values."""
    with file.open(encoding="utf-8", newline="") as lines:
        rows = [(datetime.fromisoformat(row["timestamp"]), float(row["value"])) for row in csv.DictReader(lines)]
    raw = np.array([int(time.replace(tzinfo=UTC).timestamp()) for time, _ in rows], np.int64)
    times, place = np.unique(raw, return_inverse=True)
    values = np.bincount(place, weights=[value for _, value in rows]) / np.bincount(place)
    if ends_at is not None:
        shift_seconds = int(ends_at.timestamp()) - int(times[-1])
    return times + shift_seconds, values
