"""The questions to CloudWatch: the catalogue's metrics of a window's resources, and the calls that they fill."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CollectionError
from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.model.metrics import CoverageState, Metric
from optiinfra_dagster.providers import metric_questions
from optiinfra_dagster.providers.aws.kind import ADD_ON, AGENT, AwsKind
from optiinfra_dagster.providers.aws.services import KINDS
from optiinfra_dagster.providers.metric_questions import metrics_to_ask

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource

QUERIES_PER_CALL = 500  # GetMetricData API reference: MetricDataQueries
POINTS_PER_PAGE = 100_800  # GetMetricData API reference: MaxDatapoints
_PRICE_USD = Decimal("0.00001")  # CloudWatch pricing: GetMetricData, per metric requested, up to five statistics of it

# The resource part of an ARN: instance/i-0abc, db:orders, loadbalancer/app/web/50dc6c495c0c9188, loadbalancer/classic
_RESOURCE_PART = re.compile(r"[^/:]+[/:](.+)")


@lru_cache(maxsize=4096)  # each ARN is asked about for some ten metrics, one after the other
def dimension_value(arn: str) -> str:
    """The value that CloudWatch knows a resource by, cut from its ARN; empty if that is no ARN."""
    fields = arn.split(":", 5)
    if fields[2:3] == ["s3"]:  # a bucket's ARN has no type before its name
        return fields[-1]
    match = _RESOURCE_PART.fullmatch(fields[5]) if len(fields) == 6 else None
    return match[1] if match else ""


_UNPAID = "budget: what is left of monthly_api_budget_usd does not cover the call"  # no figures: it stays the same


def further_dimensions(metric: Metric) -> list[list[dict[str, str]]]:
    """The dimensions that a metric has beside that of the resource, for each of the parts that it is the sum of.

    Nearly all have one part: `Operation=GetItem`, `path=/`. Of several, `StorageType=StandardStorage|GlacierStorage`,
    those of which there is nothing have no points.
    """
    name, _, values = metric.filter.partition("=")
    return [[{"Name": name, "Value": value}] if name else [] for value in values.split("|")]


@dataclass(slots=True)
class Question(metric_questions.Question):
    """A metric of a resource; `dimensions` are those that an agent publishes it under."""

    kind: AwsKind
    dimensions: list[dict[str, str]] = field(default_factory=list)

    @property
    def is_open(self) -> bool:
        """True while it has neither points nor a state."""
        return self.state is None and not self.series

    @property
    def name(self) -> str:
        """The value of the dimension that names the resource."""
        return dimension_value(self.resource.resource_id)

    def fail(self, error: CollectionError) -> None:
        """Settle by the error of the call that should have answered."""
        self.settle(CoverageState.of(error.cause), _UNPAID if error.cause is Cause.BUDGET else str(error))

    def queries(self) -> Iterator[dict[str, Any]]:
        """A query for each statistic, still without an id; of a metric of several parts, for each of each part."""
        metric = self.metric
        for dimensions in self._parts():
            named = {"Namespace": metric.namespace, "MetricName": metric.api_metric, "Dimensions": dimensions}
            for statistic in metric.statistics:
                yield {"MetricStat": {"Metric": named, "Period": metric.period, "Stat": statistic}}

    def _parts(self) -> list[list[dict[str, str]]]:
        """The dimensions of each part of the metric."""
        if self.dimensions:
            return [self.dimensions]
        own = self.kind.dimensions_of(self.resource, self.metric, self.name)
        return [[*own, *further] for further in further_dimensions(self.metric)]

    def without_points(self) -> tuple[CoverageState, str]:
        """State and reason where points are missing without an error; metrics of an agent or add-on lack it."""
        metric = self.metric
        if metric.condition in {ADD_ON, AGENT} and self.resource.status not in {Status.STOPPED, Status.TERMINATED}:
            return CoverageState.AGENT_MISSING, f"nothing publishes {metric.namespace} {metric.api_metric}"
        return metric_questions.Question.without_points(self)


def questions_of(resource: Resource, start: datetime) -> Iterator[Question]:
    """Every catalogue metric of a resource; those that are not worth asking are settled already."""
    kind = KINDS.get(resource.kind)
    if kind is None:
        return
    for metric, reason in metrics_to_ask(kind, resource, start):
        question = Question(kind, resource, kind.published_as(resource, metric))
        if reason:
            question.settle(CoverageState.NOT_OFFERED, reason)
        elif not resource.region:
            question.settle(CoverageState.ERROR, "its listing does not tell the region, in which its metrics are")
        elif not question.name:
            question.settle(CoverageState.ERROR, f"{resource.resource_id} is not the ARN of a resource")
        yield question


def batches_of(questions: Iterable[Question], seconds: float) -> Iterator[list[Question]]:
    """Fill calls with as many whole questions as are answered on one page.

    A second page asks for, and may be charged for, all metrics of the call once more. The statistics of a metric stay
    together, because they are one price only within one call.
    """
    batch: list[Question] = []
    queries = points = 0
    for question in questions:
        more = len(question.metric.statistics) * _parts(question)
        more_points = more * math.ceil(seconds / question.metric.period)
        if batch and (queries + more > QUERIES_PER_CALL or points + more_points > POINTS_PER_PAGE):
            yield batch
            batch, queries, points = [], 0, 0
        batch.append(question)
        queries += more
        points += more_points
    if batch:
        yield batch


def price_of(batch: Sequence[Question]) -> Decimal:
    """The price of a call with these questions, in USD."""
    return _PRICE_USD * sum(-(-len(question.metric.statistics) // 5) * _parts(question) for question in batch)


def _parts(question: Question) -> int:
    return 1 if question.dimensions else len(further_dimensions(question.metric))
