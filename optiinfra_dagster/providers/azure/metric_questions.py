"""Questions for metrics: one for each catalogue metric of each resource, and its answer in our unit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.metrics import CoverageState, Series
from optiinfra_dagster.providers import metric_questions
from optiinfra_dagster.providers.azure.kind import PERIOD
from optiinfra_dagster.providers.azure.services import KINDS
from optiinfra_dagster.providers.metric_questions import metrics_to_ask
from optiinfra_dagster.providers.parsing import ODD, Item, as_datetime, as_finite

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource


@dataclass(slots=True)
class Question(metric_questions.Question):
    """A metric of a resource, and its outcome.

    `points` has, by our name of a statistic, the values in the catalogue's unit by time (epoch seconds), of which
    `series` is made.
    """

    points: dict[str, dict[int, float]] = field(default_factory=dict)
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
        factor, offset = self.metric.factor, self.metric.offset
        for statistic in self.metric.statistics:
            key, values = statistic.lower(), self.points.setdefault(self.metric.statistic_name(statistic), {})
            for point in points:
                value = as_finite(written := point.get(key))
                if value is None:
                    readable = readable and (written is None or isinstance(written, float))  # NaN is no point either
                    continue
                try:
                    time = stamps[point.get("timeStamp")]
                except ODD:
                    readable = False
                else:
                    if time is not None:
                        values[time] = value * factor + offset
        self.series = [
            Series(self.resource, self.metric, statistic, list(values), list(values.values()))
            for statistic, values in self.points.items()
            if values
        ]
        return readable


class Stamps(dict[Any, int | None]):
    """Times as Azure writes them -> seconds since the epoch; None for what is no start of a period in the range.

    `timeStamp` is the start of the period (REST reference: MetricValue). The same texts come with every series.
    `start` and `end` bound the whole periods of a range.
    """

    def __init__(self, start: datetime, end: datetime) -> None:
        super().__init__()
        self.start, self.end = (-(-math.ceil(moment.timestamp()) // PERIOD) * PERIOD for moment in (start, end))

    def __missing__(self, written: object) -> int | None:
        moment = as_datetime(written)
        if moment is None:
            raise ValueError("not a time")
        time = int(moment.timestamp())
        self[written] = time if self.start <= time < self.end and time % PERIOD == 0 else None
        return self[written]


def questions_about(resource: Resource, start: datetime, stamps: Stamps) -> Iterator[Question]:
    """Every catalogue metric of a resource; those that are not worth asking are settled already."""
    kind = KINDS.get(resource.kind)
    if kind is None:
        return
    for metric, reason in metrics_to_ask(kind, resource, start):
        question = Question(kind, resource, metric)
        if reason:
            question.settle(CoverageState.NOT_OFFERED, reason)
        elif stamps.start >= stamps.end:
            question.settle(CoverageState.NOT_OFFERED, f"the range holds no period of {PERIOD} s")
        elif len(resource.resource_id.split("/")) < 9:
            question.settle(CoverageState.ERROR, f"{resource.resource_id} is not the ARM id of a resource")
        yield question
