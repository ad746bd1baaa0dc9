"""Batches of questions: what one call to Azure Monitor asks for, and how its answer is handed out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.model.metrics import CoverageState, Metric
from optiinfra_dagster.providers.azure.errors import is_unknown_metric, state_of_code

if TYPE_CHECKING:
    from optiinfra_dagster.providers.azure.metric_answers import Answer
    from optiinfra_dagster.providers.azure.metric_questions import Question, Ranges

RESOURCES_PER_CALL = 50  # REST reference of Metrics Batch: resourceids
METRICS_PER_CALL = 20  # the same: metricnames
POINTS_PER_CALL = 200_000  # our own limit: an answer is held in memory as a whole
_UNREADABLE = "points that cannot be read"


@dataclass(slots=True)
class Batch:
    """The questions of one call: metrics of one period, the same of resources of one subscription, region and kind.

    `questions` are by resource id and by Azure's name of the metric, both in lower case.
    """

    subscription: str
    region: str
    metrics: tuple[Metric, ...]
    questions: dict[str, dict[str, Question]]

    @property
    def kind(self) -> str:
        """The kind of all its resources."""
        return self.metrics[0].kind

    @property
    def aggregations(self) -> str:
        """The aggregations that any of the metrics needs; Azure passes over those that a metric does not have."""
        return ",".join(dict.fromkeys(statistic for metric in self.metrics for statistic in metric.statistics))

    @property
    def names(self) -> str:
        """Azure's names of the metrics."""
        return ",".join(metric.api_metric for metric in self.metrics)

    @property
    def period(self) -> int:
        """The seconds between the points of each of the metrics."""
        return self.metrics[0].period

    @property
    def namespace(self) -> str:
        """Azure's namespace of the metrics."""
        return self.metrics[0].namespace

    def __iter__(self) -> Iterator[Question]:
        return (question for of_resource in self.questions.values() for question in of_resource.values())

    def cut(self, size: int) -> Iterator[Batch]:
        """This batch cut into batches of up to `size` resources."""
        ids = list(self.questions)
        for n in range(0, len(ids), size):
            part = {resource_id: self.questions[resource_id] for resource_id in ids[n : n + size]}
            yield Batch(self.subscription, self.region, self.metrics, part)

    def rest(self) -> Batch | None:
        """The resources and metrics of which nothing is known yet."""
        rest = {
            resource_id: unanswered
            for resource_id, of_resource in self.questions.items()
            if (unanswered := {name: question for name, question in of_resource.items() if question.is_open})
        }
        names = {name for unanswered in rest.values() for name in unanswered}
        metrics = tuple(metric for metric in self.metrics if metric.api_metric.lower() in names)
        return Batch(self.subscription, self.region, metrics, rest) if rest else None

    def unknown(self, message: str) -> Batch | None:
        """The questions for the metrics that a refusal says Azure does not know here; None where it says so of none."""
        return self._part([one for one in self.metrics if is_unknown_metric(message, one.api_metric)])

    def but(self, other: Batch) -> Batch | None:
        """The questions for the metrics that another batch does not have."""
        return self._part([metric for metric in self.metrics if metric not in other.metrics])

    def _part(self, metrics: Sequence[Metric]) -> Batch | None:
        names = {metric.api_metric.lower() for metric in metrics}
        parts = {
            resource_id: part
            for resource_id, of_resource in self.questions.items()
            if (part := {name: question for name, question in of_resource.items() if name in names})
        }
        return Batch(self.subscription, self.region, tuple(metrics), parts) if parts else None

    def settle_unknown(self, message: str) -> bool:
        """Settle the metrics that a refusal says Azure does not know here; False where it says so of none."""
        unknown = [metric.api_metric for metric in self.metrics if is_unknown_metric(message, metric.api_metric)]
        for api_metric in unknown:
            for of_resource in self.questions.values():
                if question := of_resource.get(api_metric.lower()):
                    question.settle(CoverageState.NOT_OFFERED, f"Azure does not know {api_metric} here")
        return bool(unknown)

    def read(self, answers: Mapping[str, list[Answer]], times: Ranges) -> dict[str, list[Question]]:
        """Hand out what came; gives the codes of what Azure says it could not read, and the questions of each."""
        codes: dict[str, list[Question]] = {}
        for resource_id, answer in answers.items():
            of_resource = self.questions.get(resource_id)
            if of_resource is None:
                continue
            for name, points, code in answer:
                question = of_resource.get(name)
                if question is None:
                    continue
                if not question.read(points, times[self.period]):
                    question.settle(CoverageState.ERROR, f"Azure Monitor: {_UNREADABLE}")
                    codes.setdefault(_UNREADABLE, []).append(question)
                elif code.lower() != "success":
                    question.settle(state_of_code(code), f"Azure Monitor: {code}")
                    codes.setdefault(code, []).append(question)
            if any(name for name, _, _ in answer):  # else it answers nothing
                for question in of_resource.values():
                    question.answered = True  # a metric that is not there has no points
        return codes


def batches_of(questions: Sequence[Question], times: Ranges) -> Iterator[Batch]:
    """Fill calls with the questions that nothing is known of yet."""
    alike: dict[tuple[str, str, str, tuple[Metric, ...]], list[list[Question]]] = {}
    by_resource: dict[tuple[int, int], list[Question]] = {}
    for question in questions:
        if question.is_open:
            by_resource.setdefault((id(question.resource), question.metric.period), []).append(question)
    for of_resource in by_resource.values():
        resource = of_resource[0].resource
        for n in range(0, len(of_resource), METRICS_PER_CALL):
            part = of_resource[n : n + METRICS_PER_CALL]
            metrics = tuple(question.metric for question in part)
            # A region becomes part of a host's name, so it must look like one.
            region = resource.region if re.fullmatch("[a-z0-9]+", resource.region) else "global"
            alike.setdefault((resource.account_id, region, resource.kind, metrics), []).append(part)
    for (subscription, region, _, metrics), parts in alike.items():
        whole = {
            part[0].resource.resource_id: {question.metric.api_metric.lower(): question for question in part}
            for part in parts
        }
        yield from Batch(subscription, region, metrics, whole).cut(resources_per_call(metrics, times))


def joined(batches: Sequence[Batch]) -> list[Batch]:
    """Batches that ask for the same metrics in the same place, as one."""
    together: dict[tuple[str, str, tuple[Metric, ...]], dict[str, dict[str, Question]]] = {}
    for batch in batches:
        together.setdefault((batch.subscription, batch.region, batch.metrics), {}).update(batch.questions)
    return [Batch(*place, questions) for place, questions in together.items()]


def resources_per_answer(metrics: Sequence[Metric], times: Ranges) -> int:
    """The number of resources that fit into one answer."""
    stamps = times[metrics[0].period]
    return POINTS_PER_CALL // (len(metrics) * (stamps.end - stamps.start) // stamps.period)


def resources_per_call(metrics: Sequence[Metric], times: Ranges) -> int:
    """The number of resources that one call names."""
    return max(1, min(RESOURCES_PER_CALL, resources_per_answer(metrics, times)))
