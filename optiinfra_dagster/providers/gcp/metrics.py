"""The performance of a customer's Google Cloud resources: Cloud Monitoring's points for the catalogue's metrics.

Cloud Monitoring is paid by the time series that it returns, by the customer, and takes one metric type in a call. So
each call asks for all resources of a project at once, and has Google align the points to 5 minutes and reduce what
a resource has several series of (disks, classes of traffic, nodes) to one series.

Lag: the descriptors of the metrics tell how long a point may be on its way. No point of the range is left out for that:
the newest may be provisional, and are read again with the next window, which asks for this one too. An earlier start
would only bring points of windows that are not asked for. It is needed for another reason: a metric that is sampled
less often than every 5 minutes needs the sample before the range, to tell the rate of its first period.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import TYPE_CHECKING, Any, ClassVar

from google.cloud.monitoring_v3.types import Aggregation, ListTimeSeriesRequest

from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.metrics import CoverageState, Metric, MetricsRequest, MetricsResult, Series
from optiinfra_dagster.providers import metric_questions
from optiinfra_dagster.providers.gcp.kind import AGENT, is_stopped
from optiinfra_dagster.providers.gcp.monitoring import Monitoring, open_monitoring
from optiinfra_dagster.providers.gcp.services import KINDS
from optiinfra_dagster.providers.metric_questions import Loss, Losses, metrics_to_ask, result_of, unknown_account
from optiinfra_dagster.providers.paging import PageGuard
from optiinfra_dagster.providers.threads import side_by_side

if TYPE_CHECKING:
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.gcp.account import GcpAccount

# Google Cloud Observability pricing, since 2025-10-02: $0.50 per million time series returned. The first million of
# a month is free, but whether the customer has used that up is not known: it is ignored.
_PRICE_USD = Decimal("0.0000005")
_PAGE_SIZE = 100_000  # points; ListTimeSeriesRequest: the most that a page holds
_TYPES_A_CALL = 50  # metric types that one call asks the descriptors of
_TOTAL_S = 240.0  # for one collection
_AT_ONCE = 4  # calls for one project


# --- What can be asked ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Question(metric_questions.Question):
    """A metric of a resource, and its outcome.

    `published` is the metric under the names that it is asked by; `labels` are the values by which its time series
    name the resource.
    """

    points_outweigh_failures: ClassVar[bool] = True

    published: Metric = field(kw_only=True)
    labels: tuple[str, ...] = field(kw_only=True)

    @property
    def divisor(self) -> str:
        """The type of the metric that this one is divided by; "" for most."""
        kind = KINDS[self.resource.kind]
        name = kind.divisors.get(self.metric.name)
        return next((metric.api_metric for metric in kind.metrics if metric.name == name), "")

    @property
    def noun(self) -> str:
        """The kind of the resource, as messages call it: `sql instance`."""
        return self.resource.kind.partition(":")[2].replace("_", " ")

    def without_points(self) -> tuple[CoverageState, str]:
        """State and reason where points are missing without an error; metrics of the Ops Agent lack the agent."""
        if self.metric.condition == AGENT and not is_stopped(self.resource):
            return CoverageState.AGENT_MISSING, f"nothing publishes {self.metric.api_metric}: install the Ops Agent"
        return metric_questions.Question.without_points(self)


def _questions(resource: Resource, start: datetime) -> Iterator[_Question]:
    """Every catalogue metric of a resource; those that are not worth asking are settled already."""
    kind = KINDS.get(resource.kind)
    if kind is None or kind.series_labels is None:
        return
    labels = kind.series_labels(resource)
    for metric, reason in metrics_to_ask(kind, resource, start):
        question = _Question(kind, resource, metric, published=kind.published(metric, resource), labels=labels)
        if reason:
            question.settle(CoverageState.NOT_OFFERED, reason)
        elif not all(labels):
            question.settle(
                CoverageState.ERROR, f"the inventory does not tell {metric.dimension} of {resource.resource_id}"
            )
        yield question


def price(request: MetricsRequest[GcpAccount]) -> Decimal:
    """The most, in USD, that Google charges the customer for one `collect` of a request.

    That is, if every statistic of every metric is returned. What runs in the projects without being in the request,
    such as machines started since the inventory, comes on top, as does a series that a page cuts in two.
    """
    questions = (question for resource in request.resources for question in _questions(resource, request.start))
    return _PRICE_USD * sum(len(question.metric.statistics) for question in questions if question.state is None)


# --- Asking ---------------------------------------------------------------------------------------------------------

# Statistics of the catalogue -> how a series is aligned, and how the series of a resource become one. A percentile of
# several distributions is that of their union, never a mean of percentiles; a mean weighs each of their values alike.
_AGGREGATIONS: Mapping[str, tuple[str, str]] = {
    "ALIGN_MEAN": ("ALIGN_MEAN", "REDUCE_MEAN"),
    "ALIGN_MAX": ("ALIGN_MAX", "REDUCE_MAX"),
    "ALIGN_RATE": ("ALIGN_RATE", "REDUCE_SUM"),
    "ALIGN_SUM": ("ALIGN_SUM", "REDUCE_SUM"),
    "ALIGN_FRACTION_TRUE": ("ALIGN_FRACTION_TRUE", "REDUCE_MEAN"),
    "REDUCE_SUM": ("ALIGN_MEAN", "REDUCE_SUM"),
    "REDUCE_MEAN": ("ALIGN_DELTA", "REDUCE_MEAN"),
    "REDUCE_PERCENTILE_50": ("ALIGN_DELTA", "REDUCE_PERCENTILE_50"),
    "REDUCE_PERCENTILE_95": ("ALIGN_DELTA", "REDUCE_PERCENTILE_95"),
    "REDUCE_PERCENTILE_99": ("ALIGN_DELTA", "REDUCE_PERCENTILE_99"),
}


@dataclass(frozen=True, slots=True)
class _Lag:
    """The interval of a metric's samples, and the longest time that one is on its way, in seconds."""

    sample: int = 60
    delay: int = 240  # what most metrics of Google Cloud say


@dataclass(slots=True)
class _Run:
    """The questions to a project, which end where its credential turns out not to work. Safe to use from threads."""

    project_id: str
    account: GcpAccount | None
    request: MetricsRequest[GcpAccount]
    meter: Meter
    deadline: float
    questions: list[_Question] = field(default_factory=list)
    refusal: CollectionError | None = None
    losses: Losses = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Start the record of losses."""
        self.losses = Losses(self.project_id, _loss_in_words)

    def collect(self) -> None:
        """Ask everything; never raises for what a cloud may answer."""
        if not self.questions:
            return
        try:
            if self.account is None:
                raise unknown_account("Google Cloud project", self.project_id)
            with open_monitoring(self.account, self.meter, self.deadline) as monitoring:
                self._ask_all(monitoring)
        except CollectionError as error:
            self._lose(error, self.questions)

    def _ask_all(self, monitoring: Monitoring) -> None:
        groups: dict[tuple[str, str, str, str], list[_Question]] = {}
        for question in self.questions:
            metric = question.published
            for statistic in metric.statistics:
                key = (metric.namespace, metric.api_metric, metric.filter, statistic)
                groups.setdefault(key, []).append(question)
        self._tell_apart(groups.values())
        lags = _lags(monitoring, self.request, sorted({metric_type for _, metric_type, _, _ in groups}))
        calls = []
        for key, group in groups.items():
            by = groups.get((key[0], group[0].divisor, key[2], key[3]), []) if group else []
            calls.append((group, key[-1], lags.get(key[1], _Lag()), by))
        asked_along = {id(by) for *_, by in calls}
        side_by_side(
            lambda call: self._ask(monitoring, *call),
            [call for call in calls if call[0] and id(call[0]) not in asked_along],
            most=_AT_ONCE,
            name=f"gcp-{self.request.customer_id}",
        )

    def _tell_apart(self, groups: Iterable[list[_Question]]) -> None:
        """Settle the questions of resources that time series name alike: their points would be mixed up."""
        for group in groups:
            named = Counter(question.labels for question in group)
            alike = [question for question in group if named[question.labels] > 1]
            for question in alike:
                label = f"{question.published.dimension} {', '.join(question.labels)}"
                question.settle(CoverageState.ERROR, f"Cloud Monitoring names several resources alike: {label}")
            group[:] = [question for question in group if question.state is None]

    def _ask(
        self, monitoring: Monitoring, group: list[_Question], statistic: str, lag: _Lag, by: list[_Question]
    ) -> None:
        """Ask one statistic of one metric of all resources, with the metric that it is divided by, if any."""
        answer, failure = self._answer(monitoring, group, statistic, lag)
        if by:
            divisor, failed = self._answer(monitoring, by, statistic, lag)
            self._conclude(by, divisor, failed, statistic, lag)
            answer.divide(divisor)
            failure = failure or failed
        self._conclude(group, answer, failure, statistic, lag)

    def _answer(
        self, monitoring: Monitoring, group: list[_Question], statistic: str, lag: _Lag
    ) -> tuple[_Answer, CollectionError | None]:
        """The points of one statistic of one metric; what came before a failure is kept."""
        answer = _Answer(self.request, group)
        failure = self.refusal
        if failure is None:
            try:
                self._read(monitoring, answer, statistic, lag)
            except CloudError as error:
                failure = error
        if failure is None and answer.errors:
            errors = "; ".join(dict.fromkeys(answer.errors))[:300]
            failure = CloudError(
                Cause.INCOMPLETE, f"timeSeries.list of projects/{self.project_id}: the answer is partial: {errors}"
            )
            self.losses.add(failure.cause, str(failure), [])
        return answer, failure

    def _conclude(
        self, group: list[_Question], answer: _Answer, failure: CollectionError | None, statistic: str, lag: _Lag
    ) -> None:
        self._hand_out(answer, statistic)
        if failure is not None:
            self._lose(failure, [question for question in group if not answer.has(question)])
        else:
            self._explain_silence(group, lag)

    def _read(self, monitoring: Monitoring, answer: _Answer, statistic: str, lag: _Lag) -> None:
        request = _request_for(self.request, answer.metric, self.project_id, statistic, lag)
        guard = PageGuard(f"timeSeries.list of projects/{self.project_id}")  # every page is paid for
        while True:
            expected = max(len(answer.by_labels) - len(answer.by_type), 1)
            page = monitoring.page(request, expected * _PRICE_USD, _PRICE_USD)
            if page is None:
                return
            answer.add(page)
            if not page.next_page_token:
                return
            guard.check(page.next_page_token)
            request.page_token = page.next_page_token

    def _hand_out(self, answer: _Answer, statistic: str) -> None:
        for labels in answer.by_type:
            if points := answer.points(labels):
                question = answer.by_labels[labels]
                with self._lock:
                    question.series.append(_series(question, statistic, points))

    def _explain_silence(self, group: list[_Question], lag: _Lag) -> None:
        """Tell of metrics whose points may all be on their way."""
        late = timedelta(seconds=lag.sample + lag.delay)
        if self.request.start + late > datetime.now(UTC):
            for question in group:
                minutes = math.ceil(late.total_seconds() / 60)
                question.settle(CoverageState.NOT_OFFERED, f"its points arrive up to {minutes} minutes late")

    def _lose(self, error: CollectionError, lost: Sequence[_Question]) -> None:
        with self._lock:
            if error.cause is Cause.AUTH and self.refusal is None:
                self.refusal = error
            for question in lost:  # by one thread at a time: a question is asked in several calls
                question.fail(error)
        self.losses.add(error.cause, str(error), lost)


def _loss_in_words(loss: Loss) -> str:
    names = ", ".join(sorted({question.metric.name for question in loss.questions}))
    lost = f"{loss.metrics} metrics are missing: {names}" if loss.questions else "points may be missing"
    return f"{loss.message.rstrip('.')} ({lost})"


def _request_for(
    request: MetricsRequest[GcpAccount], metric: Metric, project_id: str, statistic: str, lag: _Lag
) -> ListTimeSeriesRequest:
    """The question for one statistic of a metric, of all resources that a project has."""
    # A project may see the metrics of others (its metrics scope): they are not asked for, and not paid.
    terms = [f'metric.type = "{metric.api_metric}"', _is_one_of("resource.type", metric.namespace.split())]
    terms += [f'project = "{project_id}"', metric.filter]
    aligner, reducer = _AGGREGATIONS[statistic]
    start = _aligned(request.start, metric.period)
    if lag.sample > metric.period:
        start -= _whole(lag.sample, metric.period)
    return ListTimeSeriesRequest(
        name=f"projects/{project_id}",
        filter=" AND ".join(term for term in terms if term),
        # The interval excludes its start and includes its end, and the points carry the ends of their periods.
        interval={"start_time": {"seconds": start}, "end_time": {"seconds": _aligned(request.end, metric.period)}},
        aggregation=Aggregation(
            alignment_period={"seconds": metric.period},
            per_series_aligner=aligner,
            cross_series_reducer=reducer,
            group_by_fields=[f"resource.labels.{label}" for label in metric.dimension.split()],
        ),
        page_size=_PAGE_SIZE,
    )


def _is_one_of(selector: str, values: Sequence[str]) -> str:
    """A term of a filter, for one value or for several."""
    named = ", ".join(f'"{value}"' for value in values)
    return f"{selector} = {named}" if len(values) == 1 else f"{selector} = one_of({named})"


def _lags(monitoring: Monitoring, request: MetricsRequest[GcpAccount], metric_types: Sequence[str]) -> dict[str, _Lag]:
    """The lags of metrics, asked once a day. Without them, the usual ones hold: a failure here costs nothing."""
    of_metrics = sha256(" ".join(metric_types).encode()).hexdigest()
    key = ("gcp", "metric_descriptors", monitoring.project.endpoint, monitoring.project.project_id, of_metrics)
    known = request.memory.get(*key) if request.memory is not None else None
    if not isinstance(known, dict):
        try:
            known = {
                descriptor.type: [
                    descriptor.metadata.sample_period.seconds,
                    descriptor.metadata.ingest_delay.seconds,
                ]
                for first in range(0, len(metric_types), _TYPES_A_CALL)
                for descriptor in monitoring.descriptors(metric_types[first : first + _TYPES_A_CALL])
            }
        except CloudError as error:
            if error.cause is Cause.AUTH:
                raise
            return {}
        if request.memory is not None:
            request.memory.put(known, *key)
    return {name: _Lag(*times) for name, times in known.items()}


# --- Answers --------------------------------------------------------------------------------------------------------


class _Answer:
    """The points that Cloud Monitoring has for a metric of many resources; pages add to it.

    Google reduces no series of several types of monitored resource to one (Aggregation.group_by_fields), such as TCP's
    and UDP's of one load balancer: they are added up here. A series that comes twice counts once
    (https://github.com/prometheus-community/stackdriver_exporter/pull/433).
    """

    def __init__(self, request: MetricsRequest[GcpAccount], group: Sequence[_Question]) -> None:
        self.metric = group[0].published
        self.by_labels = {question.labels: question for question in group}
        self.by_type: dict[tuple[str, ...], dict[str, dict[int, float]]] = {}  # by labels
        self.errors: list[str] = []
        self._names = self.metric.dimension.split()
        self._start, self._end = int(request.start.timestamp()), int(request.end.timestamp())

    def has(self, question: _Question) -> bool:
        """True for a resource that has points."""
        return bool(self.points(question.labels))

    def points(self, labels: tuple[str, ...]) -> dict[int, float]:
        """The points of a resource, by the starts of their periods."""
        whole, *others = self.by_type.get(labels, {"": {}}).values()
        for other in others:
            whole = {moment: whole.get(moment, 0.0) + other.get(moment, 0.0) for moment in {**whole, **other}}
        return whole

    def divide(self, by: _Answer) -> None:
        """Divide each point by that of another answer; where that one is 0 or missing, there is no quotient."""
        for labels in self.by_type:
            points, divisors = self.points(labels), by.points(labels)
            quotients = {moment: value / divisors[moment] for moment, value in points.items() if divisors.get(moment)}
            self.by_type[labels] = {"": quotients}

    def add(self, page: Any) -> None:
        """Take the points of the resources that were asked for, within the range, at the starts of their periods."""
        self.errors += [error.message or f"code {error.code}" for error in page.execution_errors]
        period, start, end = self.metric.period, self._start, self._end
        for series in page.time_series:
            known = series.resource.labels
            labels = tuple(known.get(name, "") for name in self._names)
            if labels not in self.by_labels:
                continue
            points = self.by_type.setdefault(labels, {}).setdefault(series.resource.type, {})
            for point in series.points:
                moment = point.interval.end_time.seconds - period
                value = _value(point.value)
                if value is not None and start <= moment < end and moment % period == 0:
                    points[moment] = value


def _value(typed: Any) -> float | None:
    """A number, whatever its type; None for one that is none. A distribution stands for its mean."""
    kind = typed.WhichOneof("value")
    if kind == "double_value":
        return _finite(typed.double_value)
    if kind in {"int64_value", "bool_value"}:
        return float(getattr(typed, kind))
    if kind == "distribution_value" and typed.distribution_value.count:
        return _finite(typed.distribution_value.mean)
    return None


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _series(question: _Question, statistic: str, points: Mapping[int, float]) -> Series:
    """The points in the catalogue's unit."""
    metric, factor, offset = question.metric, question.metric.factor, question.metric.offset
    values = [value * factor + offset for value in points.values()]
    return Series(question.resource, metric, metric.statistic_name(statistic), list(points), values)


def _aligned(moment: datetime, period: int) -> int:
    """The next whole period, in seconds since the epoch."""
    return _whole(moment.timestamp(), period)


def _whole(seconds: float, period: int) -> int:
    return math.ceil(seconds / period) * period


def collect(request: MetricsRequest[GcpAccount], meter: Meter) -> MetricsResult:
    """The points of a request's range for every catalogue metric of its resources, of several projects at once.

    Args:
        request: the accounts are those that the resources are in; kinds without metrics are passed over.
        meter: counts every call, and what Google charges for the time series that it returns.

    Returns:
        The series that have points, and for each catalogue metric of each resource exactly one coverage.
    """
    deadline = time.monotonic() + _TOTAL_S
    runs = {
        account.project_id: _Run(account.project_id, account, request, meter, deadline) for account in request.accounts
    }
    questions: list[_Question] = []
    for resource in request.resources:
        run = runs.get(resource.account_id)
        if run is None:
            run = runs[resource.account_id] = _Run(resource.account_id, None, request, meter, deadline)
        about = list(_questions(resource, request.start))
        questions += about
        run.questions += [question for question in about if question.state is None]
    side_by_side(_Run.collect, list(runs.values()), most=_AT_ONCE, name=f"gcp-{request.customer_id}")
    return result_of(questions, [problem for run in runs.values() for problem in run.losses.problems()])
