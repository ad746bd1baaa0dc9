"""Questions for metrics: one for each catalogue metric of each resource, and its answer in our unit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.metrics import CoverageState, Series
from optiinfra_dagster.providers import metric_questions
from optiinfra_dagster.providers.azure.kind import HOUR, PERIOD
from optiinfra_dagster.providers.azure.services import KINDS
from optiinfra_dagster.providers.metric_questions import metrics_to_ask
from optiinfra_dagster.providers.parsing import ODD, Item, as_datetime, as_finite

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.metrics import Metric


_SETTLING = 900  # seconds after the end of an hour in which its value may still change
_NO_PERIOD = f"the range holds no period of {PERIOD} s"
_NO_HOUR = "it is published once an hour, and the window that begins a quarter past holds it"


@dataclass(slots=True)
class Question(metric_questions.Question):
    """A metric of a resource, and its outcome.

    Points from before the resource was made are those of another one that had its id, and are left out.
    """

    answered: bool = False

    @property
    def is_open(self) -> bool:
        """True while nothing is known of it."""
        return self.state is None and not self.answered

    @property
    def status_word(self) -> str:
        """Azure's own word for the status of the resource: `deallocated`."""
        return self.resource.cloud_status.lower() or self.resource.status

    def read(self, points: Sequence[Item], stamps: Stamps) -> bool:
        """Take the points in, in the catalogue's unit; False where some cannot be read.

        A point without a value is no point, and never 0.
        """
        self.answered, readable = True, True
        factor, offset, begun = self.metric.factor, self.metric.offset, _made(self.resource)
        known = {series.statistic: dict(zip(series.timestamps, series.values, strict=True)) for series in self.series}
        self.series = []
        for statistic in self.metric.statistics:
            key, name = statistic.lower(), self.metric.statistic_name(statistic)
            values = known.get(name, {})
            for point in points:
                written = point.get(key)
                # Asked of every point: a number as it should be is not looked at twice.
                value = written if type(written) is float and math.isfinite(written) else as_finite(written)
                if value is None:
                    readable = readable and (written is None or isinstance(written, float))  # NaN is no point either
                    continue
                try:
                    time = stamps[point.get("timeStamp")]
                except ODD:
                    readable = False
                else:
                    if time is not None and time >= begun:
                        values[time] = value * factor + offset
            if values:
                self.series += stamps.series(self.resource, self.metric, name, values)
        return readable


def _made(resource: Resource) -> float:
    """The second in which a resource was made; the beginning of time where that is not known."""
    return 0.0 if resource.created_at is None else resource.created_at.timestamp()


class Stamps(dict[Any, int | None]):
    """Times as Azure writes them -> seconds since the epoch; None for what is no start of a period in the range.

    `timeStamp` is the start of the period (REST reference: MetricValue). The same texts come with every series.
    `start` and `end` bound the whole periods of a range. An hour is read in one window only, the one that begins a
    quarter past its end, so that its periods are those whose window is in the range.
    """

    def __init__(self, start: datetime, end: datetime, period: int = PERIOD) -> None:
        super().__init__()
        self.period, self._later = period, 0 if period == PERIOD else period + _SETTLING
        self.start, self.end = (
            -(-math.ceil(moment.timestamp() - self._later) // period) * period for moment in (start, end)
        )

    def __missing__(self, written: object) -> int | None:
        moment = as_datetime(written)
        if moment is None:
            raise ValueError("not a time")
        time = int(moment.timestamp())
        self[written] = time if self.start <= time < self.end and time % self.period == 0 else None
        return self[written]

    def series(self, resource: Resource, metric: Metric, statistic: str, values: dict[int, float]) -> Iterator[Series]:
        """The series of a statistic, one for each window that holds points of it from before itself."""
        if not self._later:
            yield Series(resource, metric, statistic, list(values), list(values.values()))
            return
        for time, value in values.items():
            window = datetime.fromtimestamp(time + self._later, UTC)
            yield Series(resource, metric, statistic, [time], [value], window)


Ranges = Mapping[int, Stamps]
"""The times of a range, by the seconds between the points of a metric."""


def ranges(start: datetime, end: datetime) -> Ranges:
    """The times of the range [start, end)."""
    return {period: Stamps(start, end, period) for period in (PERIOD, HOUR)}


def questions_about(resource: Resource, start: datetime, times: Ranges) -> Iterator[Question]:
    """Every catalogue metric of a resource; those that are not worth asking are settled already."""
    kind = KINDS.get(resource.kind)
    if kind is None:
        return
    for metric, reason in metrics_to_ask(kind, resource, start):
        question, stamps = Question(kind, resource, metric), times[metric.period]
        if reason:
            question.settle(CoverageState.NOT_OFFERED, reason)
        elif stamps.start >= stamps.end:
            question.settle(CoverageState.NOT_OFFERED, _NO_HOUR if metric.period == HOUR else _NO_PERIOD)
        elif stamps.end <= _made(resource):
            question.settle(CoverageState.NOT_OFFERED, f"the {question.noun} was made later")
        elif len(resource.resource_id.split("/")) < 9:
            question.settle(CoverageState.ERROR, f"{resource.resource_id} is not the ARM id of a resource")
        yield question
