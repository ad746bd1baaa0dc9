"""Samples of the lab's Azure: what a metric of a resource measures in each minute.

A resource publishes a sample each minute, by arithmetic from the world's seed, the resource, the metric and the time;
an answer aggregates the samples of each grain. All series of a call are computed at once, as matrices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optiinfra_dagster.lab.series import DAY, Floats, Whole, chance

if TYPE_CHECKING:
    from optiinfra_dagster.lab.azure.kind import LabMetric

MINUTE = 60


@dataclass(frozen=True, slots=True)
class Samples:
    """The samples of several series in each grain: matrices of series x grains."""

    times: Whole  # the start of each grain, seconds since the epoch
    total: Floats
    least: Floats
    most: Floats
    count: Floats

    def value(self, aggregation: str) -> Floats:
        """The aggregated values; without meaning where `count` is 0."""
        if aggregation == "average":
            with np.errstate(invalid="ignore", divide="ignore"):
                return self.total / self.count
        return {"total": self.total, "minimum": self.least, "maximum": self.most, "count": self.count}[aggregation]


def minutes(metrics: Sequence[LabMetric], keys: Whole, starts: Whole, times: Whole) -> tuple[Floats, Any]:
    """The sample of each series at each of `times`, and true where there is one: the resource existed.

    A series is a metric, a key that its chance depends on, and the time from which on there are samples.
    """
    keys = keys[:, None]
    low, high = (np.array([[getattr(metric, name)] for metric in metrics], np.float64) for name in ("low", "high"))
    level, phase = chance(keys, 1), chance(keys, 2)
    wave = 0.65 + 0.35 * np.sin(2 * np.pi * ((times % DAY) / DAY + phase))
    height = np.clip((0.1 + 0.75 * level) * wave + 0.12 * (chance(keys, times, 1) - 0.5), 0.005, 0.995)
    values = low + (high - low) * height
    shapes = np.array([metric.shape for metric in metrics])
    values[shapes == "count"] = np.rint(values[shapes == "count"])
    if (up := shapes == "up").any():
        fallen = chance(keys[up], times // 600, 3) < 0.01
        values[up] = np.where(fallen, low[up], high[up])
    return values, times >= starts[:, None]


def grains(times: Whole, samples: Floats, seen: Any, starts: Whole, grain: int) -> Samples:
    """Aggregate samples, in the order of their times, into the grains that begin at `starts`."""
    shape = (len(samples), len(starts))
    samples_of = Samples(starts, np.zeros(shape), np.full(shape, np.inf), np.full(shape, -np.inf), np.zeros(shape))
    # A span that holds no whole grain has no point.
    inside = (times >= starts[0]) & (times < starts[-1] + grain) if len(starts) else np.zeros(len(times), bool)
    if inside.any():
        place = np.searchsorted(starts, times[inside], side="right") - 1
        first = np.flatnonzero(np.diff(place, prepend=-1))
        at, samples, seen = place[first], samples[:, inside], seen[:, inside]
        samples_of.total[:, at] = np.add.reduceat(np.where(seen, samples, 0.0), first, axis=1)
        samples_of.least[:, at] = np.minimum.reduceat(np.where(seen, samples, np.inf), first, axis=1)
        samples_of.most[:, at] = np.maximum.reduceat(np.where(seen, samples, -np.inf), first, axis=1)
        samples_of.count[:, at] = np.add.reduceat(seen, first, axis=1, dtype=np.float64)
    return samples_of
