"""How a customer's Azure resources perform: Azure Monitor's points for the metrics of the catalogue.

The host of metrics of each region answers for 50 resources of one subscription and type at once. Where it cannot be
reached, or does not let the customer's identity in, Azure Resource Manager is asked: for all resources of a type in a
region at once, of which it may leave out some without a word. So what came is always compared with what was asked.
"""

from __future__ import annotations

import json
import math
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState, Metric, MetricsRequest, MetricsResult, Series
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.azure.client import (
    METRICS_PRICE_USD,
    Principal,
    RefusedError,
    calling,
    forget,
    open_principal,
)
from optiinfra_dagster.providers.azure.services import KINDS
from optiinfra_dagster.providers.parsing import ODD, Item, as_datetime, as_dicts, as_finite, as_text, dig

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.account import AzureAccount

RESOURCES_PER_CALL = 50  # REST reference of Metrics Batch: resourceids
METRICS_PER_CALL = 20  # the same: metricnames
_PERIOD = 300  # seconds
_INTERVAL = "PT5M"  # the same in Azure's words
_POINTS_PER_CALL = 200_000  # our own limit: an answer is held in memory as a whole
_AT_ONCE = 8  # calls
_SECONDS = 240.0  # for all calls of one collection, waits included
_HALVINGS = 40  # calls of one collection that may be halved to find out for which resource they fail


# --- What can be asked ----------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Question:
    """One metric of one resource, and what became of it."""

    resource: Resource
    metric: Metric
    found: dict[str, dict[int, float]] = field(default_factory=dict)  # statistic -> time -> value, in our unit
    answered: bool = False
    state: CoverageState | None = None
    reason: str = ""

    @property
    def open(self) -> bool:
        """Whether nothing is known yet."""
        return self.state is None and not self.answered

    def settle(self, state: CoverageState, reason: str) -> None:
        self.state, self.reason = state, reason

    def read(self, points: Sequence[Item], stamps: _Stamps) -> bool:
        """Take the points in, in the catalogue's unit; False where some cannot be read.

        One without a value is no point, and never 0.
        """
        self.answered, readable = True, True
        factor, offset = self.metric.factor, self.metric.offset
        for statistic in self.metric.statistics:
            key, found = statistic.lower(), self.found.setdefault(self.metric.statistic_name(statistic), {})
            for point in points:
                value = as_finite(told := point.get(key))
                if value is None:
                    readable = readable and (told is None or isinstance(told, float))  # NaN is no point either
                    continue
                try:
                    time = stamps[point.get("timeStamp")]
                except ODD:
                    readable = False
                else:
                    if time is not None:
                        found[time] = value * factor + offset
        return readable

    @property
    def series(self) -> list[Series]:
        """A series for each statistic that has points."""
        return [
            Series(self.resource, self.metric, statistic, list(points), list(points.values()))
            for statistic, points in self.found.items()
            if points
        ]

    def coverage(self) -> Coverage:
        """What went wrong; else collected, if any statistic has points; else why there are none."""
        state, reason = self.state, self.reason
        if state is None:
            state, reason = (CoverageState.COLLECTED, "") if self.series else self._without_points()
        return Coverage(self.resource.resource_id, self.resource.resource_type, self.metric.name, state, reason)

    def _without_points(self) -> tuple[CoverageState, str]:
        """Why a question has no points, where nothing went wrong."""
        resource = self.resource
        if resource.status in {Status.STOPPED, Status.TERMINATED}:
            word = resource.cloud_status.lower() or resource.status
            return CoverageState.NOT_OFFERED, f"the {resource.kind.partition(':')[2]} is {word}"
        if reason := KINDS[resource.kind].why_no_points(resource):
            return CoverageState.NOT_OFFERED, reason
        return CoverageState.NO_POINTS, "the cloud returned no points"


_UNREADABLE = "points that cannot be read"


class _Stamps(dict[Any, int | None]):
    """Times as Azure writes them -> seconds since the epoch; None for what is no start of a period in the range.

    `timeStamp` is the start of the period (REST reference: MetricValue). The same texts come with every series.
    """

    def __init__(self, start: int, end: int) -> None:
        super().__init__()
        self.start, self.end = start, end

    def __missing__(self, written: object) -> int | None:
        moment = as_datetime(written)
        if moment is None:
            raise ValueError("not a time")
        time = int(moment.timestamp())
        self[written] = time if self.start <= time < self.end and time % _PERIOD == 0 else None
        return self[written]


def _stamps(start: datetime, end: datetime) -> _Stamps:
    """The whole periods of a range."""
    return _Stamps(*(-(-math.ceil(moment.timestamp()) // _PERIOD) * _PERIOD for moment in (start, end)))


def _questions(resource: Resource, stamps: _Stamps) -> Iterator[_Question]:
    """Every catalogue metric of a resource; those that are not worth asking are settled already."""
    kind = KINDS.get(resource.kind)
    if kind is None:
        return
    for metric in kind.metrics:
        question = _Question(resource, metric)
        if reason := kind.why_not_measured(resource) or kind.why_not_offered(metric, resource):
            question.settle(CoverageState.NOT_OFFERED, reason)
        elif stamps.start >= stamps.end:
            question.settle(CoverageState.NOT_OFFERED, f"the range holds no period of {_PERIOD} s")
        elif len(resource.resource_id.split("/")) < 9:
            question.settle(CoverageState.ERROR, f"{resource.resource_id} is not the ARM id of a resource")
        yield question


@dataclass(slots=True)
class _Batch:
    """What one call asks for: the same metrics of resources of one subscription, region and kind."""

    subscription: str
    region: str
    metrics: tuple[Metric, ...]
    questions: dict[str, dict[str, _Question]]  # resource id -> name of the API's metric, both in lower case

    @property
    def kind(self) -> str:
        return self.metrics[0].kind

    @property
    def aggregations(self) -> str:
        """All that any of the metrics needs; those that a metric does not have are passed over."""
        return ",".join(dict.fromkeys(one for metric in self.metrics for one in metric.statistics))

    @property
    def names(self) -> str:
        return ",".join(metric.api_metric for metric in self.metrics)

    @property
    def namespace(self) -> str:
        return self.metrics[0].namespace

    def __iter__(self) -> Iterator[_Question]:
        return (question for one in self.questions.values() for question in one.values())

    def cut(self, size: int) -> Iterator[_Batch]:
        """The same in batches of up to `size` resources."""
        ids = list(self.questions)
        for n in range(0, len(ids), size):
            part = {one: self.questions[one] for one in ids[n : n + size]}
            yield _Batch(self.subscription, self.region, self.metrics, part)

    def rest(self) -> _Batch | None:
        """The resources and metrics of which nothing is known yet."""
        left = {
            one: still
            for one, asked in self.questions.items()
            if (still := {name: question for name, question in asked.items() if question.open})
        }
        names = {name for asked in left.values() for name in asked}
        metrics = tuple(metric for metric in self.metrics if metric.api_metric.lower() in names)
        return _Batch(self.subscription, self.region, metrics, left) if left else None

    def settle_unknown(self, message: str) -> bool:
        """Settle metrics that a message says Azure does not know here; one such fails a whole call."""
        found = False
        for metric in self.metrics:
            if f"metric: {metric.api_metric.lower()}," in message.lower():
                found = True
                for asked in self.questions.values():
                    if question := asked.get(metric.api_metric.lower()):
                        question.settle(CoverageState.NOT_OFFERED, f"Azure does not know {metric.api_metric} here")
        return found

    def read(self, answers: Mapping[str, list[_Answer]], stamps: _Stamps) -> Counter[str]:
        """Hand out what came; the codes of what Azure says it could not read, and for how many questions."""
        codes: Counter[str] = Counter()
        for resource_id, answer in answers.items():
            asked = self.questions.get(resource_id)
            if asked is None:
                continue
            for name, points, code in answer:
                question = asked.get(name)
                if question is None:
                    continue
                if not question.read(points, stamps):
                    question.settle(CoverageState.ERROR, f"Azure Monitor: {_UNREADABLE}")
                    codes[_UNREADABLE] += 1
                elif code.lower() != "success":
                    question.settle(_state_of(code), f"Azure Monitor: {code}")
                    codes[code] += 1
            if any(name for name, _, _ in answer):  # else it answers nothing
                for question in asked.values():
                    question.answered = True  # a metric that is not there has no points
        return codes


def _state_of(code: str) -> CoverageState:
    """What the errorCode of one metric in an answer means."""
    words = code.lower()
    if "throttl" in words or "toomany" in words:
        return CoverageState.THROTTLED
    return CoverageState.NO_PERMISSION if "forbidden" in words or "authoriz" in words else CoverageState.ERROR


def _batches(questions: Sequence[_Question], stamps: _Stamps) -> Iterator[_Batch]:
    """Fill calls with the questions that nothing is known of yet."""
    alike: dict[tuple[str, str, str, tuple[Metric, ...]], list[list[_Question]]] = {}
    by_resource: dict[int, list[_Question]] = {}
    for question in questions:
        if question.open:
            by_resource.setdefault(id(question.resource), []).append(question)
    for asked in by_resource.values():
        resource = asked[0].resource
        for n in range(0, len(asked), METRICS_PER_CALL):
            part = asked[n : n + METRICS_PER_CALL]
            metrics = tuple(question.metric for question in part)
            # A region becomes part of a host's name, so it must look like one.
            region = resource.region if re.fullmatch("[a-z0-9]+", resource.region) else "global"
            key = (resource.account_id, region, resource.kind, metrics)
            alike.setdefault(key, []).append(part)
    for (subscription, region, _, metrics), some in alike.items():
        whole = {part[0].resource.resource_id: {one.metric.api_metric.lower(): one for one in part} for part in some}
        yield from _Batch(subscription, region, metrics, whole).cut(_size(metrics, stamps))


def _room(metrics: Sequence[Metric], stamps: _Stamps) -> int:
    """How many resources fit into one answer."""
    return _POINTS_PER_CALL // (len(metrics) * (stamps.end - stamps.start) // _PERIOD)


def _size(metrics: Sequence[Metric], stamps: _Stamps) -> int:
    """How many resources go into one call that names them."""
    return max(1, min(RESOURCES_PER_CALL, _room(metrics, stamps)))


def price(request: MetricsRequest[AzureAccount]) -> Decimal:
    """What Azure will charge the customer, in USD, for one `collect` of a request in which no call has to be repeated.

    The first million calls of a month are free; how many of them are left is not known here.
    """
    stamps = _stamps(request.start, request.end)
    questions = [question for resource in request.resources for question in _questions(resource, stamps)]
    return METRICS_PRICE_USD * sum(1 for _ in _batches(questions, stamps))


# --- What is answered -----------------------------------------------------------------------------------------------

_Answer = tuple[str, Sequence[Item], str]  # name of the metric in lower case, points, errorCode


def _named(metric: Item) -> str:
    """The name of a metric of an answer; some answers have it in the id only."""
    return (as_text(dig(metric, "name", "value")) or as_text(metric.get("id")).rpartition("/")[2]).lower()


def _code(metric: Item) -> str:
    return as_text(metric.get("errorCode")) or "Success"


def _points(metric: Item) -> list[Item]:
    return [point for series in as_dicts(metric.get("timeseries")) for point in as_dicts(series.get("data"))]


def _by_resource(answer: object) -> dict[str, list[_Answer]]:
    """Read an answer of a host of metrics: by resource, its metrics."""
    found: dict[str, list[_Answer]] = {}
    for one in as_dicts(dig(answer, "values")):
        metrics = as_dicts(one.get("value"))
        named = (as_text(metric.get("id")).lower().partition("/providers/microsoft.insights/")[0] for metric in metrics)
        resource_id = as_text(one.get("resourceid")).lower() or next(filter(None, named), "")
        found.setdefault(resource_id, []).extend((_named(metric), _points(metric), _code(metric)) for metric in metrics)
    return found


def _by_metric(asked: Sequence[str], answer: object) -> dict[str, list[_Answer]]:
    """Read an answer of Resource Manager: by metric, a series for each resource."""
    found: dict[str, list[_Answer]] = {}
    for metric in as_dicts(dig(answer, "value")):
        name, code = _named(metric), _code(metric)
        if code.lower() != "success":
            for resource_id in asked:
                found.setdefault(resource_id, []).append((name, (), code))
        for series in as_dicts(metric.get("timeseries")):
            for label in as_dicts(series.get("metadatavalues")):
                if as_text(dig(label, "name", "value")).lower() == "microsoft.resourceid":
                    points = as_dicts(series.get("data"))
                    found.setdefault(as_text(label.get("value")).lower(), []).append((name, points, code))
    return found


# --- Asking ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Run:
    """The questions to one subscription, which end where its credential turns out not to work."""

    subscription: str
    config: AzureAccount | None
    stamps: _Stamps
    endpoint: str | None = None
    principal: Principal | None = None
    refusal: CloudError | None = None
    closed: dict[str, CloudError] = field(default_factory=dict)  # regions whose host of metrics cannot be used
    halvings: int = _HALVINGS
    problems: list[Problem] = field(default_factory=list)
    losses: Counter[tuple[str, str, Cause, str]] = field(default_factory=Counter)  # region, kind, cause, message
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self) -> None:
        """Enter the subscription. No call is made yet."""
        try:
            if self.config is None:
                message = f"the customers file names no Azure subscription {self.subscription}, though it has resources"
                raise CloudError(Cause.CONFIG, message)
            self.endpoint = self.config.metrics_endpoint()
            self.principal = open_principal(self.config)
        except CloudError as error:
            self._give_up(error)
        except ConfigError as error:
            self._give_up(CloudError(Cause.CONFIG, str(error)))

    def ask(self, batch: _Batch) -> list[_Batch]:
        """Ask the region's host of metrics; what is given back is to be asked of Resource Manager."""
        if batch.region in self.closed:
            return [batch]
        try:
            left: _Batch | None = batch
            for _ in range(2):  # what an answer leaves out is asked for once more
                if left is not None:
                    query = self._query(left)
                    answer = self._entered().metrics_of(list(left.questions), query, left.region, self.endpoint)
                    self._take(left, "monitor.getBatch", _by_resource, answer)
                    left = batch.rest()
            self._miss(left, "monitor.getBatch")
        except CloudError as error:
            return self._after(batch.rest(), error)
        return []

    def _query(self, batch: _Batch) -> dict[str, str]:
        return {
            "starttime": _iso(self.stamps.start),
            "endtime": _iso(self.stamps.end),
            "interval": _INTERVAL,
            "metricnamespace": batch.namespace,
            "metricnames": batch.names,
            "aggregation": batch.aggregations,
        }

    def _after(self, batch: _Batch | None, error: CloudError) -> list[_Batch]:
        """What is to be done about the rest of a batch, after an error."""
        if batch is None:
            return []
        status = error.status if isinstance(error, RefusedError) else None
        if status in {0, 403}:
            with self._lock:
                self.closed.setdefault(batch.region, error)
            return [batch]
        if status == 400 and batch.settle_unknown(str(error)):
            rest = batch.rest()
            return [] if rest is None else self.ask(rest)
        if status == 404 and len(batch.questions) == 1:
            for question in batch:
                question.settle(CoverageState.NOT_OFFERED, f"Azure finds no metrics of it: {error}")
            return []
        if status == 404 and self._may_halve():  # one that is gone fails the call for all
            return [more for half in batch.cut(-(-len(batch.questions) // 2)) for more in self.ask(half)]
        self._lose(batch, error)
        return []

    def _may_halve(self) -> bool:
        with self._lock:
            self.halvings -= 1
            return self.halvings >= 0

    def ask_manager(self, batch: _Batch) -> None:
        """Ask Resource Manager: for all at once, and for those that it leaves out by their ids."""
        try:
            if len(batch.questions) <= _room(batch.metrics, self.stamps):
                # What is not asked for takes places too: new machines, deallocated ones.
                self._list(batch, "Microsoft.ResourceId eq '*'", 2 * len(batch.questions) + 100)
            left = batch.rest()
            for part in left.cut(_size(left.metrics, self.stamps)) if left is not None else ():
                named = " or ".join(f"Microsoft.ResourceId eq '{one}'" for one in part.questions)
                self._list(part, named, len(part.questions))
            self._miss(batch.rest(), "monitor.ListAtSubscriptionScope")
        except CloudError as error:
            rest = batch.rest()
            if rest is None:
                return
            if isinstance(error, RefusedError) and error.status == 400 and rest.settle_unknown(str(error)):
                if (rest := rest.rest()) is not None:
                    self.ask_manager(rest)
                return
            message = f"{error}. The host of metrics of {batch.region}: {self.closed[batch.region]}"
            self._lose(rest, CloudError(error.cause, message))

    def _list(self, batch: _Batch, resources: str, top: int) -> None:
        query = {
            "timespan": f"{_iso(self.stamps.start)}/{_iso(self.stamps.end)}",
            "interval": _INTERVAL,
            "metricNamespace": batch.namespace,
            "metricNames": batch.names,
            "aggregation": batch.aggregations,
            "filter": resources,
            "top": top,  # else the first 10
        }
        answer = self._entered().metrics_in(self.subscription, batch.region, query)
        self._take(batch, "monitor.ListAtSubscriptionScope", partial(_by_metric, list(batch.questions)), answer)

    def _entered(self) -> Principal:
        if self.refusal is not None:
            raise self.refusal
        if self.principal is None:
            raise AssertionError("asked without an identity, though there is no refusal")
        return self.principal

    def _take(
        self, batch: _Batch, operation: str, read: Callable[[Any], dict[str, list[_Answer]]], answer: Any
    ) -> None:
        """Hand an answer to the questions of a batch."""
        try:
            codes = batch.read(read(json.loads(answer) if isinstance(answer, str) else answer), self.stamps)
        except ODD as error:
            message = f"{operation} answered in a form of its own: {type(error).__name__}"
            raise CloudError(Cause.BUG, message) from None
        for code, count in codes.items():
            self._count(batch, Cause.INCOMPLETE, f"{operation}: Azure Monitor could not read metrics: {code}", count)

    def _miss(self, batch: _Batch | None, operation: str) -> None:
        """Note what came in neither of two answers."""
        if batch is not None:
            message = f"{operation} leaves resources out of its answers, such as {next(iter(batch.questions))}"
            self._lose(batch, CloudError(Cause.INCOMPLETE, message))

    def _lose(self, batch: _Batch, error: CloudError) -> None:
        """Give up a batch, for its own reason, or with all the subscription where the credential does not work."""
        questions = list(batch)
        for question in questions:
            question.settle(CoverageState.of(error.cause), str(error))
        if error.cause is Cause.AUTH or error is self.refusal:
            self._give_up(error)
        else:
            self._count(batch, error.cause, str(error), len(questions))

    def _count(self, batch: _Batch, cause: Cause, message: str, metrics: int) -> None:
        with self._lock:
            self.losses[batch.region, batch.kind, cause, message] += metrics

    def _give_up(self, error: CloudError) -> None:
        with self._lock:
            if self.refusal is None:
                self.refusal = error
                self.problems.append(Problem(self.subscription, "", "", error.cause, str(error)))
                if self.principal is not None and error.cause is Cause.AUTH:
                    forget(self.principal)

    def told(self) -> Iterator[Problem]:
        """What went wrong, once for each reason in each region and kind."""
        yield from self.problems
        for (region, kind, cause, message), metrics in self.losses.items():
            lost = f"{metrics} metrics are missing" if metrics > 1 else "1 metric is missing"
            yield Problem(self.subscription, region, kind, cause, f"{message} ({lost})")


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def collect(request: MetricsRequest[AzureAccount], meter: Meter) -> MetricsResult:
    """Read the points of a request's range for every catalogue metric of its resources, several calls at a time.

    Args:
        request: the accounts are those that the resources are in; kinds without metrics are passed over.
        meter: counts every HTTP request, and what Azure charges for it at most.

    Returns:
        The series that have points, and for each catalogue metric of each resource exactly one coverage. What is not
        answered within four minutes is a problem.
    """
    stamps = _stamps(request.start, request.end)
    questions = [question for resource in request.resources for question in _questions(resource, stamps)]
    batches = list(_batches(questions, stamps))
    configured = {account.subscription_id.lower(): account for account in request.accounts}
    runs = {
        one: _Run(one, configured.get(one), stamps) for one in dict.fromkeys(batch.subscription for batch in batches)
    }
    for run in runs.values():
        run.enter()
    with calling(meter, _SECONDS), ThreadPoolExecutor(_AT_ONCE, f"azure-{request.customer_id}") as pool:
        # Each call runs in a copy of this context, which says where it is counted and when it is given up.
        asked = [pool.submit(copy_context().run, runs[batch.subscription].ask, batch) for batch in batches]
        again = _joined([batch for call in asked for batch in call.result()])
        calls = [pool.submit(copy_context().run, runs[batch.subscription].ask_manager, batch) for batch in again]
        for call in calls:
            call.result()
    return MetricsResult(
        series=[series for question in questions for series in question.series],
        coverage=[question.coverage() for question in questions],
        problems=[problem for run in runs.values() for problem in run.told()],
    )


def _joined(batches: Sequence[_Batch]) -> list[_Batch]:
    """Batches that ask for the same metrics in the same place, as one."""
    joined: dict[tuple[str, str, tuple[Metric, ...]], dict[str, dict[str, _Question]]] = {}
    for batch in batches:
        joined.setdefault((batch.subscription, batch.region, batch.metrics), {}).update(batch.questions)
    return [_Batch(*place, questions) for place, questions in joined.items()]
