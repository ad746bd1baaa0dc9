"""Time series as Cloud Monitoring answers with them: aligned to periods, reduced by labels, written page by page.

Each step is done on matrices of series x periods, so that an answer about 10,000 machines takes half a second.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from google.api.metric_pb2 import MetricDescriptor  # type: ignore[import-untyped]

from optiinfra_dagster.lab.gcp.metrics import BOUNDS, Raw, resource_labels

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.kind import LabMetric
    from optiinfra_dagster.lab.series import Floats, Whole

PERCENTILES = {"REDUCE_PERCENTILE_50": 0.5, "REDUCE_PERCENTILE_95": 0.95, "REDUCE_PERCENTILE_99": 0.99}


def label_of(raw: Raw, row: int, selector: str) -> str:
    """The value of a label such as `resource.labels.instance_id`; empty where the series has none."""
    place, _, name = selector.rpartition(".")
    if place.startswith("metric."):
        return raw.labels[row].metric.get(name, "")
    return raw.labels[row].resource.get(name) or resource_labels(raw.assets[row]).get(name, "")


@dataclass(frozen=True, slots=True)
class AlignedSeries:
    """Aligned samples: a value per series and period, where there is one; for distributions, counts per bucket."""

    ends: Whole
    values: Floats
    there: Any
    buckets: Floats | None

    @classmethod
    def of(
        cls, raw: Raw, aligner: str, period: int, ends: Whole, starts: Any, values: Floats, there: Any
    ) -> AlignedSeries:
        """Align samples, of which those of a period begin at the columns `starts`."""
        if not len(ends) or not len(raw.labels):
            empty = np.empty((len(raw.labels), len(ends)))
            return cls(ends, empty, empty.astype(bool), None)
        counts = np.add.reduceat(there.astype(np.float64), starts, axis=1)
        totals = np.add.reduceat(np.where(there, values, 0.0), starts, axis=1)
        if raw.metric.value_type == "DISTRIBUTION":
            each = raw.buckets(np.where(there, values, 0.0))
            return cls(ends, totals, counts > 0, np.add.reduceat(each, starts, axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            match aligner:
                case "ALIGN_RATE":
                    totals = totals / period
                case "ALIGN_MEAN" | "ALIGN_FRACTION_TRUE":
                    totals = totals / counts
                case "ALIGN_MAX":
                    totals = np.maximum.reduceat(np.where(there, values, -np.inf), starts, axis=1)
        return cls(ends, totals, counts > 0, None)


def percentile(buckets: Floats, share: float) -> Floats:
    """The percentile of each row of bucket counts, on a straight line within its bucket; NaN without values."""
    sums = np.cumsum(buckets, axis=-1)
    wanted = sums[..., -1:] * share
    place = np.argmax(sums >= wanted, axis=-1)
    upper = BOUNDS[place]
    lower = np.where(place > 0, BOUNDS[place - 1], 0.0)
    count = np.take_along_axis(buckets, place[..., None], -1)[..., 0]
    before = np.take_along_axis(sums, place[..., None], -1)[..., 0] - count
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(lower + (wanted[..., 0] - before) / count * (upper - lower))


def mean(buckets: Floats) -> Floats:
    """The mean of the values that each row of bucket counts holds, as if each were in the middle of its bucket."""
    middle = (BOUNDS + np.concatenate(([0.0], BOUNDS[:-1]))) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((buckets * middle).sum(axis=-1) / buckets.sum(axis=-1))


@dataclass(frozen=True, slots=True)
class ReducedSeries:
    """The series of an answer: their labels and types, and for each a value per period, where there is one."""

    resources: list[dict[str, str]]
    metrics: list[dict[str, str]]
    aligned: AlignedSeries
    types: list[str]  # of the monitored resource

    @classmethod
    def of(cls, raw: Raw, aligned: AlignedSeries, reducer: str, fields: list[str]) -> ReducedSeries:
        """Reduce aligned series to one for each type of monitored resource and value of `fields`.

        Without a reducer they stay as they are.
        """
        if reducer == "REDUCE_NONE":
            resources = [
                resource_labels(asset) | dict(part.resource) for asset, part in zip(raw.assets, raw.labels, strict=True)
            ]
            return cls(resources, [dict(part.metric) for part in raw.labels], aligned, raw.types)
        groups: dict[tuple[str, ...], int] = {}
        place = np.array(
            [
                groups.setdefault((of, *(label_of(raw, row, name) for name in fields)), len(groups))
                for row, of in enumerate(raw.types)
            ],
            np.int64,
        )
        order = np.argsort(place, kind="stable")
        first = np.flatnonzero(np.diff(place[order], prepend=-1))
        there = aligned.there[order]
        values = np.where(there, aligned.values[order], 0.0)
        counts = np.add.reduceat(there.astype(np.float64), first, axis=0) if len(first) else there.astype(np.float64)
        if not len(first):
            result = values
        elif aligned.buckets is not None:
            union = np.add.reduceat(aligned.buckets[order], first, axis=0)
            result = mean(union) if reducer == "REDUCE_MEAN" else percentile(union, PERCENTILES[reducer])
            result = result * raw.metric.value_unit
            counts = np.where(np.isnan(result), 0.0, counts)
        elif reducer == "REDUCE_MAX":
            result = np.maximum.reduceat(np.where(there, values, -np.inf), first, axis=0)
        else:
            result = np.add.reduceat(values, first, axis=0)
            if reducer == "REDUCE_MEAN":
                with np.errstate(invalid="ignore", divide="ignore"):
                    result = result / counts
        named = [dict(zip((name.rpartition(".") for name in fields), key[1:], strict=True)) for key in groups]
        resources, metrics = (
            [{name: value for (where, _, name), value in labels.items() if where.startswith(kind)} for labels in named]
            for kind in ("resource", "metric")
        )
        types = [key[0] for key in groups]
        return cls(resources, metrics, AlignedSeries(aligned.ends, result, counts > 0, None), types)

    def write(self, answer: Any, metric: LabMetric, offset: int, size: int, *, headers: bool) -> bool:
        """Add the series of a page: `size` points from the `offset`-th on, newest first. True if there are more.

        Without points (`headers`), the offset and the size count series.
        """
        counts = self.aligned.there.sum(axis=1)
        with_points = np.flatnonzero(counts)
        if headers:
            for row in with_points[offset : offset + size]:
                self._head(answer, metric, int(row))
            return len(with_points) > offset + size
        before = 0
        ends, there, values = self.aligned.ends.tolist(), self.aligned.there.tolist(), self.aligned.values.tolist()
        for row in with_points.tolist():
            count = int(counts[row])
            low, high = max(offset - before, 0), min(offset + size - before, count)
            before += count
            if low >= high:
                continue
            points = self._head(answer, metric, row).points
            columns = [n for n in range(len(ends) - 1, -1, -1) if there[row][n]][low:high]
            for n in columns:
                point = points.add()
                # A rate or a mean is a gauge: a point in time, the end of its period.
                point.interval.end_time.seconds = point.interval.start_time.seconds = ends[n]
                self._set(point.value, row, n, values[row][n], metric.value_unit)
        return int(counts.sum()) > offset + size

    def _head(self, answer: Any, metric: LabMetric, row: int) -> Any:
        series = answer.time_series.add()
        series.metric.type, series.resource.type = metric.type, self.types[row]
        series.metric.labels.update(self.metrics[row])
        series.resource.labels.update(self.resources[row])
        series.metric_kind = MetricDescriptor.GAUGE
        series.value_type = (
            MetricDescriptor.DISTRIBUTION if self.aligned.buckets is not None else MetricDescriptor.DOUBLE
        )
        return series

    def _set(self, typed: Any, row: int, column: int, value: float, unit: float) -> None:
        if self.aligned.buckets is None:
            typed.double_value = value
            return
        counts = self.aligned.buckets[row, column]
        total = float(counts.sum())
        typed.distribution_value.count = int(total)
        typed.distribution_value.mean = float(mean(counts) * unit) if total else 0.0
        typed.distribution_value.bucket_options.explicit_buckets.bounds.extend((BOUNDS * unit).tolist())
        typed.distribution_value.bucket_counts.extend(map(int, counts))
