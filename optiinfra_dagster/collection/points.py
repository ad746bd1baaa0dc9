"""Decides, for every cloud in the same way, which points of an answer count, and the coverage of the windows asked for.

An answer also covers the window before, whose late points are merged into its slice. The coverage of the windows asked
for must not rest on those: a metric that stopped would be `collected` for one window longer.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState
from optiinfra_dagster.providers.figures import (
    NOTHING_TO_MEASURE,
    Figure,
    coverage_of_what_is_not_offered,
)
from optiinfra_dagster.providers.parsing import as_datetime

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.metrics import MetricsResult, Series
    from optiinfra_dagster.providers.kind import Kind

ALL_METRICS = "(all)"  # the metric's name in the coverage of a resource of which no metric is collected

_NOT_FINITE = "the cloud's values are NaN or infinity"
_NONE_OF_THE_TIME = "the cloud returned no points of this time"


def to_ask(resources: Sequence[Resource], start: datetime) -> list[Resource]:
    """The resources that may have points since `start`: what is terminated only if it is known to have ended later."""
    return [r for r in resources if r.status is not Status.TERMINATED or _ended_since(r, start)]


def _ended_since(resource: Resource, start: datetime) -> bool:
    stopped_at = as_datetime(resource.metadata.get("stopped_at"))
    return stopped_at is not None and stopped_at >= start


def keep_what_counts(answer: MetricsResult) -> set[tuple[str, str]]:
    """Remove the points of an answer that are NaN or infinite, or older than their resource.

    A cloud that finds metrics by name also returns those of an earlier resource of that name. Returns the resources
    and metrics that had a value which is not finite.
    """
    kept, not_finite = [], set()
    for series in answer.series:
        finite = all(map(isfinite, series.values))
        if not finite:
            not_finite.add((series.resource.resource_id, series.metric.name))
        created_at = series.resource.created_at if series.resource.instance_uid else None
        born = created_at.timestamp() if created_at else 0.0
        if not finite or (born and min(series.timestamps, default=born) + series.metric.period <= born):
            points = [
                (time, value)
                for time, value in zip(series.timestamps, series.values, strict=True)
                if isfinite(value) and time + series.metric.period > born
            ]
            counting = replace(series, timestamps=[time for time, _ in points], values=[value for _, value in points])
        else:
            counting = series
        if counting.timestamps:
            kept.append(counting)
    answer.series = kept
    return not_finite


def settle_coverage(
    answer: MetricsResult,
    begin: datetime,
    resources: Sequence[Resource],
    kinds: Mapping[str, Kind],
    daily: Collection[str] = (),
) -> None:
    """Remove what does not count from an answer, and limit its coverage to the windows from `begin` on.

    Each of the `resources`, which were asked about, then has some coverage. Other slices have the daily totals of those
    in `daily`, so a metric of theirs may be collected without a point in this answer.
    """
    answered = {(series.resource.resource_id, series.metric.name) for series in answer.series}
    not_finite = keep_what_counts(answer)
    for resource in resources if daily else ():
        if resource.resource_id in daily and (kind := kinds.get(resource.kind)):
            answered -= {(resource.resource_id, m.name) for m in kind.metrics if "day" in m.statistics}
    lacking = answered - {(s.resource.resource_id, s.metric.name) for s in answer.series if _reaches(s, begin)}
    for index, coverage in enumerate(answer.coverage):
        key = coverage.resource_id, coverage.metric_name
        if coverage.state is CoverageState.COLLECTED and key in lacking:
            state, reason = CoverageState.NO_POINTS, _NONE_OF_THE_TIME
            if key in not_finite:
                state, reason = CoverageState.ERROR, _NOT_FINITE
            answer.coverage[index] = replace(coverage, state=state, reason=reason)
    answer.coverage += coverage_of_what_is_not_offered(kinds, resources, answer.coverage)
    answer.coverage += _of_the_rest(resources, answer.coverage)


def _reaches(series: Series, begin: datetime) -> bool:
    """True if a series has a point whose period reaches beyond a time, or that belongs to a window from there on."""
    if series.window is not None:
        return series.window >= begin
    return max(series.timestamps) + series.metric.period > begin.timestamp()


def _of_the_rest(resources: Sequence[Resource], known: Collection[Coverage]) -> Iterator[Coverage]:
    """A row for each resource that has none yet: nothing is collected of its kind, or there is nothing to measure."""
    covered = {one.resource_id for one in known}
    for resource in resources:
        if resource.resource_id in covered:
            continue
        nothing = NOTHING_TO_MEASURE.get(resource.resource_type, {})
        state, reason = CoverageState.NOT_COLLECTED, f"no metric of {resource.kind} is collected"
        if nothing.keys() >= set(Figure):
            state, reason = CoverageState.NOT_OFFERED, next(iter(nothing.values()))
        yield Coverage(resource.resource_id, resource.resource_type, ALL_METRICS, state, reason)
