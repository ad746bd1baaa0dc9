"""The samples of every metric of Google Cloud, for any time, from arithmetic.

A sample is a function of the series (world's seed, project, resource, metric, labels) and its minute: a daily wave on a
level of its own, and noise. Most resources have several series of a metric, which differ in their labels, as the
real ones do; all of them are computed at once, as matrices of series x minutes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from optiinfra_dagster.lab.gcp.services import KINDS
from optiinfra_dagster.lab.series import DAY, Floats, Whole, chance
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.kind import LabAsset, Labels, LabMetric

SAMPLE = 60  # seconds; every metric here is sampled once a minute
# Bounds of the buckets of a distribution, in ms: exponential, as those of load balancers are.
BOUNDS = 1.4 ** np.arange(40)


def publishes(asset: LabAsset, metric: LabMetric) -> bool:
    """True for a resource that has series of a metric: it runs, has the agent, or is of the right family."""
    return asset.kind == metric.kind and asset.runs and KINDS[asset.kind].publishes(asset, metric)


def resource_labels(asset: LabAsset) -> dict[str, str]:
    """The labels of the monitored resource, without those that vary between its series."""
    return KINDS[asset.kind].labels(asset)


# --- Samples --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Raw:
    """The series of a metric in a project, before any alignment. `keys` are the numbers their values come from."""

    metric: LabMetric
    assets: Sequence[LabAsset]
    labels: Sequence[Labels]
    keys: Any
    recorded: Mapping[int, tuple[Whole, Floats]]  # by row: minutes and values served in place of generated ones

    @classmethod
    def of(cls, metric: LabMetric, assets: Sequence[LabAsset], recorded: Mapping[str, tuple[Whole, Floats]]) -> Raw:
        """The series of those assets that publish the metric; a recorded resource, by name, has one only."""
        owners: list[LabAsset] = []
        labels: list[Labels] = []
        rows: dict[int, tuple[Whole, Floats]] = {}
        for asset in assets:
            if not publishes(asset, metric):
                continue
            parts = metric.parts(asset)
            if asset.name in recorded:
                rows[len(owners)] = recorded[asset.name]
                parts = parts[:1]
            owners += [asset] * len(parts)
            labels += parts
        keys = np.array([asset.seed for asset in owners], np.uint64)
        salts = [digest(metric.type, part.metric, part.resource) for part in labels]
        return cls(metric, owners, labels, keys ^ np.array(salts, np.uint64), rows)

    @property
    def types(self) -> list[str]:
        """The type of the monitored resource of each series."""
        return [part.of or self.metric.resource.split()[0] for part in self.labels]

    def only(self, rows: Sequence[int]) -> Raw:
        """The series of the given rows."""
        if len(rows) == len(self.labels):
            return self
        place = {row: n for n, row in enumerate(rows)}
        kept = {place[row]: points for row, points in self.recorded.items() if row in place}
        owners, labels = [self.assets[row] for row in rows], [self.labels[row] for row in rows]
        return Raw(self.metric, owners, labels, self.keys[list(rows)], kept)

    def samples(self, minutes: Whole) -> tuple[Floats, Any]:
        """Values of the samples that begin at `minutes`, and which of them there are: matrices of series x minutes."""
        metric, keys = self.metric, self.keys[:, None]
        level, phase = chance(keys, 1), chance(keys, 2)
        wave = 0.65 + 0.35 * np.sin(2 * np.pi * ((minutes % DAY) / DAY + phase))
        height = np.clip((0.1 + 0.75 * level) * wave + 0.12 * (chance(keys, minutes, 1) - 0.5), 0.005, 0.995)
        if metric.rare:
            height = (chance(keys, minutes // 900, 3) >= 0.01).astype(np.float64)
        values = metric.low + (metric.high - metric.low) * height
        values *= np.array([part.share for part in self.labels])[:, None]
        if metric.value_type in {"INT64", "DISTRIBUTION"}:
            values = np.rint(values)
        exists = minutes >= np.array([asset.created.timestamp() for asset in self.assets])[:, None]
        ends = [asset.until.timestamp() if asset.until else np.inf for asset in self.assets]
        exists &= minutes < np.array(ends)[:, None]
        for row, (times, recorded) in self.recorded.items():
            place = np.searchsorted(times, minutes).clip(max=len(times) - 1)
            exists[row] = times[place] == minutes
            values[row] = recorded[place]
        return values, exists

    def buckets(self, counts: Floats) -> Floats:
        """The values of each sample of a distribution, by bucket: series x minutes x buckets."""
        centre = 8 + 20 * chance(self.keys, 5)
        weights = np.exp(-0.5 * ((np.arange(len(BOUNDS)) - centre[:, None]) / 2.5) ** 2)
        weights /= weights.sum(axis=1, keepdims=True)
        return np.asarray(np.floor(counts[:, :, None] * weights[:, None, :]))
