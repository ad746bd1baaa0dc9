"""The series that resources publish, and their points for any time, from arithmetic alone.

A point is a function of the series (world's seed, account, region, metric, resource) and its time: a daily wave on a
level of its own, and noise. All series of a question are computed at once, as matrices of series x points.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from optiinfra_dagster.lab.aws.kind import runs
from optiinfra_dagster.lab.series import DAY, Floats, RecordedPoints, Whole, chance
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.aws.estate import LabResource
    from optiinfra_dagster.lab.aws.kind import Dimensions, LabMetric


@dataclass(frozen=True, slots=True, eq=False)
class Series:
    """A metric of a resource. `key` is the number that all its values come from."""

    resource: LabResource
    metric: LabMetric
    dimensions: Dimensions
    key: int
    start: int  # seconds since the epoch; before it the resource did not exist
    end: int = 2**40  # from then on the metric has other dimensions
    recorded: RecordedPoints | None = None  # times and values served in place of generated ones


def series_of(resource: LabResource) -> Iterator[Series]:
    """Every series that a resource publishes; none where it is stopped, detached, or lacks the agent it needs."""
    if not runs(resource):
        return
    kind = resource.definition
    for metric in kind.metrics:
        if (own := kind.as_published(resource, metric)) is not None:
            key = digest(resource.seed, own.namespace, own.name, *own.dimensions)
            dimensions = tuple(sorted(kind.dimensions_of(resource, own) + own.dimensions))
            start = int(resource.created.timestamp())
            if (before := kind.dimensions_before(resource, own)) is not None:
                yield Series(resource, own, tuple(sorted(before[0] + own.dimensions)), key, start, before[1])
                start = before[1]
            yield Series(resource, own, dimensions, key, start)


# --- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Points:
    """The samples of several series in each of several periods: matrices of series x periods."""

    times: Whole  # the start of each period, seconds since the epoch
    total: Floats
    least: Floats
    most: Floats
    count: Floats

    def folded(self, period: int) -> Points:
        """The same samples in periods of `period` seconds, which start at multiples of it."""
        starts = self.times // period * period
        if not len(starts) or np.array_equal(starts, self.times):
            return self
        first = np.flatnonzero(np.diff(starts, prepend=starts[0] - 1))
        return Points(
            starts[first],
            np.add.reduceat(self.total, first, axis=1),
            np.minimum.reduceat(self.least, first, axis=1),
            np.maximum.reduceat(self.most, first, axis=1),
            np.add.reduceat(self.count, first, axis=1),
        )

    def only(self, seen: npt.NDArray[np.bool_]) -> Points:
        """Without the samples of the periods that are not `seen` (series x periods)."""
        if seen.all():
            return self
        return Points(
            self.times,
            np.where(seen, self.total, 0.0),
            np.where(seen, self.least, np.inf),
            np.where(seen, self.most, -np.inf),
            np.where(seen, self.count, 0.0),
        )

    def scaled(self, final: npt.NDArray[np.bool_], factor: float) -> Points:
        """The points with provisional values, `factor` times the final ones, in the periods that are not `final`."""
        low = np.where(final, 1.0, factor)
        return Points(self.times, self.total * low, self.least * low, self.most * low, self.count)

    def statistic(self, name: str) -> Floats:
        """`Average`, `Sum`, `Minimum`, `Maximum`, `SampleCount` or a percentile such as `p95`."""
        if name == "Sum":
            return self.total
        if name == "Minimum":
            return self.least
        if name == "Maximum":
            return self.most
        if name == "SampleCount":
            return self.count
        with np.errstate(invalid="ignore", divide="ignore"):
            average = self.total / self.count
        if name == "Average":
            return average
        share = float(name[1:]) / 100  # percentiles lie on straight lines from least over average (p50) to most
        if share >= 0.5:
            return average + (self.most - average) * (share - 0.5) * 2
        return self.least + (average - self.least) * share * 2


def generate(series: Sequence[Series], times: Whole) -> Points:
    """The native points of `series`, which share one native period, at `times` (multiples of that period).

    Periods before a resource was created have a `count` of 0.
    """
    metrics = [each.metric for each in series]
    keys = np.array([each.key for each in series], np.uint64)[:, None]
    low, high, samples = (
        np.array([[getattr(metric, name)] for metric in metrics], np.float64) for name in ("low", "high", "samples")
    )
    level, phase = chance(keys, 1), chance(keys, 2)
    wave = 0.65 + 0.35 * np.sin(2 * np.pi * ((times % DAY) / DAY + phase))
    height = np.clip((0.1 + 0.75 * level) * wave + 0.12 * (chance(keys, times, 1) - 0.5), 0.005, 0.995)
    average = low + (high - low) * height
    spread = chance(keys, times, 2)
    least = average - (average - low) * 0.3 * spread
    most = average + (high - average) * 0.5 * spread
    shapes = np.array([[metric.shape] for metric in metrics])
    total = average * samples
    if (whole := shapes[:, 0] == "count").any():
        total[whole] = np.rint(total[whole])
        least[whole], most[whole] = np.floor(least[whole]), np.ceil(most[whole])
    if (flat := shapes[:, 0] == "level").any():
        steady = np.rint(low + (high - low) * level)[flat]
        total[flat], least[flat], most[flat] = steady * samples[flat], steady, steady
    if (rare := shapes[:, 0] == "rare").any():
        struck = (chance(keys[rare], times // 900, 3) < 0.001).astype(np.float64)
        total[rare], least[rare], most[rare] = struck * samples[rare], struck, struck
    alive = (times >= np.array([[each.start] for each in series])) & (times < np.array([[each.end] for each in series]))
    return Points(times, total, least, most, np.broadcast_to(samples, total.shape)).only(alive)
