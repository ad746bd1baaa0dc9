"""The metrics of a customer's Azure resources: Azure Monitor's points for the metrics of the catalogue.

The host of metrics of each region answers for 50 resources of one subscription and type at once. Where it cannot be
reached, or does not let the customer's identity in, Azure Resource Manager is asked: for all resources of a type in a
region at once, of which it may leave out some without a word. So what came is always compared with what was asked.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.azure.client import METRICS_PRICE_USD, Principal, forget, open_principal
from optiinfra_dagster.providers.azure.errors import RefusedError, ends_all
from optiinfra_dagster.providers.azure.kind import HOUR, PERIOD
from optiinfra_dagster.providers.azure.metric_answers import Answer, by_metric, by_resource
from optiinfra_dagster.providers.azure.metric_batches import (
    Batch,
    batches_of,
    joined,
    resources_per_answer,
    resources_per_call,
)
from optiinfra_dagster.providers.azure.metric_questions import Question, Ranges, questions_about, ranges
from optiinfra_dagster.providers.azure.transport import calling
from optiinfra_dagster.providers.metric_questions import Loss, Losses, result_of, unknown_account
from optiinfra_dagster.providers.parsing import ODD

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.azure.account import AzureAccount

_INTERVALS = {PERIOD: "PT5M", HOUR: "PT1H"}  # in Azure's words
_AT_ONCE = 8  # calls
_SECONDS = 240.0  # for all calls of one collection, waits included
_HALVINGS = 40  # calls of one collection that may be halved to find out for which resource they fail


def price(request: MetricsRequest[AzureAccount]) -> Decimal:
    """The charge, in USD, for one `collect` of a request in which no call has to be repeated.

    The first million calls of a month are free; how many of them are left is not known here.
    """
    questions, times = _questions(request)
    return METRICS_PRICE_USD * sum(1 for _ in batches_of(questions, times))


def _questions(request: MetricsRequest[AzureAccount]) -> tuple[list[Question], Ranges]:
    times = ranges(request.start, request.end)
    about = (questions_about(resource, request.start, times) for resource in request.resources)
    return [question for questions in about for question in questions], times


def collect(request: MetricsRequest[AzureAccount], meter: Meter) -> MetricsResult:
    """Read the points of a request's range for every catalogue metric of its resources, several calls at a time.

    Args:
        request: the accounts are those that the resources are in; kinds without metrics are passed over.
        meter: counts every HTTP request, and what Azure charges for it at most.

    Returns:
        The series that have points, and for each catalogue metric of each resource exactly one coverage. What is not
        answered within four minutes is a problem.
    """
    questions, times = _questions(request)
    batches = list(batches_of(questions, times))
    accounts = {account.subscription_id.lower(): account for account in request.accounts}
    silent: dict[tuple[str, str], CloudError] = {}
    runs = {
        subscription: _Run(subscription, accounts.get(subscription), times, silent)
        for subscription in dict.fromkeys(batch.subscription for batch in batches)
    }
    for run in runs.values():
        run.enter()
    with calling(meter, _SECONDS), ThreadPoolExecutor(_AT_ONCE, f"azure-{request.customer_id}") as pool:

        def side_by_side(
            ask: Callable[[Batch], list[Batch]], batches: Sequence[Batch], host: Callable[[Batch], object]
        ) -> list[Batch]:
            # One call to each host goes ahead, so that one that does not answer is waited for once. Each runs in a copy
            # of this context, which says where it is counted and when it is given up.
            ahead = list({host(batch): batch for batch in reversed(batches)}.values())
            first = {id(batch) for batch in ahead}
            later = [batch for batch in batches if id(batch) not in first]
            left: list[Batch] = []
            for together in (ahead, later):
                calls = [pool.submit(copy_context().run, ask, batch) for batch in together]
                left += [batch for call in calls for batch in call.result()]
            return left

        left = side_by_side(lambda batch: runs[batch.subscription].ask(batch), batches, lambda batch: batch.region)
        side_by_side(lambda batch: runs[batch.subscription].ask_manager(batch), joined(left), lambda _batch: None)
    return result_of(questions, [problem for run in runs.values() for problem in run.problems()])


@dataclass(slots=True)
class _Run:
    """The questions to one subscription, which end where its credential turns out not to work.

    `silent` are the hosts that did not answer, by what is asked of them and by address, for all subscriptions alike;
    `closed` the regions whose host of metrics does not let this subscription's identity in.
    """

    subscription: str
    account: AzureAccount | None
    times: Ranges
    silent: dict[tuple[str, str], CloudError]
    endpoint: str | None = None
    principal: Principal | None = None
    refusal: CollectionError | None = None
    closed: dict[str, CloudError] = field(default_factory=dict)
    halvings: int = _HALVINGS
    losses: Losses = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Start the record of losses."""
        self.losses = Losses(self.subscription, _loss_in_words)

    def enter(self) -> None:
        """Enter the subscription. No call is made yet."""
        try:
            if self.account is None:
                raise unknown_account("Azure subscription", self.subscription)
            self.endpoint = self.account.metrics_endpoint()
            self.principal = open_principal(self.account)
        except CollectionError as error:
            self._give_up(error)

    def ask(self, batch: Batch) -> list[Batch]:
        """Ask the region's host of metrics; what is given back is to be asked of Resource Manager."""
        if self._shut(batch.region) is not None:
            return [batch]
        try:
            rest: Batch | None = batch
            for _ in range(2):  # what an answer leaves out is asked for once more
                if rest is not None:
                    query = self._query(rest)
                    answer = self._entered().metrics_of(list(rest.questions), query, rest.region, self.endpoint)
                    self._take(rest, "monitor.getBatch", by_resource, answer)
                    rest = rest.rest()
            self._miss(rest, "monitor.getBatch")
        except CollectionError as error:
            return self._after(batch.rest(), error)
        return []

    def _shut(self, region: str) -> CloudError | None:
        """The reason why the host of metrics of a region is not asked any more; None where it is."""
        if self.principal is None:
            return None
        host = ("getBatch", self.principal.metrics_host(region, self.endpoint))
        return self.closed.get(region) or self.silent.get(host)

    def _query(self, batch: Batch) -> dict[str, str]:
        stamps = self.times[batch.period]
        return {
            "starttime": _iso(stamps.start),
            "endtime": _iso(stamps.end),
            "interval": _INTERVALS[batch.period],
            "metricnamespace": batch.namespace,
            "metricnames": batch.names,
            "aggregation": batch.aggregations,
        }

    def _after(self, batch: Batch | None, error: CollectionError) -> list[Batch]:
        """Deal with the rest of a batch after an error; what is given back is to be asked of Resource Manager."""
        if batch is None:
            return []
        if isinstance(error, RefusedError):
            if error.status == 0:
                self.silent.setdefault(("getBatch", self._entered().metrics_host(batch.region, self.endpoint)), error)
                return [batch]
            if error.status == 501:  # the host has no metrics of this type, as of Microsoft.Cdn/profiles:
                return [batch]  # https://github.com/open-telemetry/opentelemetry-collector-contrib/issues/43648
            if error.status == 403:
                self.closed.setdefault(batch.region, error)
                return [batch]
            if error.status == 400 and (unknown := batch.unknown(str(error))):
                return self._without(batch, unknown, str(error))
            if error.status == 404 and len(batch.questions) == 1:
                for question in batch:
                    question.settle(CoverageState.NOT_OFFERED, f"Azure finds no metrics of it: {error}")
                return []
            if error.status == 404 and self._may_halve():  # one that is gone fails the call for all
                return [more for half in batch.cut(-(-len(batch.questions) // 2)) for more in self.ask(half)]
        self._lose(batch, error)
        return []

    def _without(self, batch: Batch, unknown: Batch, message: str) -> list[Batch]:
        """Ask for the metrics that Azure knows, and for the others of part of the resources at a time.

        One resource that has no such metric, as of another SKU, fails the call for all
        (https://github.com/Azure/azure-sdk-for-java/issues/33240, https://github.com/tomkerkhove/promitor/issues/2583).
        """
        known = batch.but(unknown)
        left = [] if known is None else self.ask(known)
        if len(unknown.questions) > 1 and self._may_halve():
            halves = unknown.cut(-(-len(unknown.questions) // 2))
            return left + [more for half in halves for more in self.ask(half)]
        unknown.settle_unknown(message)
        return left

    def _may_halve(self) -> bool:
        with self._lock:
            self.halvings -= 1
            return self.halvings >= 0

    def ask_manager(self, batch: Batch) -> list[Batch]:
        """Ask Resource Manager: for all at once, and for those that it leaves out by their ids. Nothing is left."""
        try:
            if silent := self.silent.get(("manager", self._entered().manager_host)):
                raise silent
            if len(batch.questions) <= resources_per_answer(batch.metrics, self.times):
                # What is not asked for takes places too: new machines, deallocated ones.
                self._list(batch, "Microsoft.ResourceId eq '*'", 2 * len(batch.questions) + 100)
            rest = batch.rest()
            for part in rest.cut(resources_per_call(rest.metrics, self.times)) if rest is not None else ():
                alternatives = (f"Microsoft.ResourceId eq '{resource_id}'" for resource_id in part.questions)
                self._list(part, " or ".join(alternatives), len(part.questions))
            self._miss(batch.rest(), "monitor.ListAtSubscriptionScope")
        except CollectionError as error:
            self._after_manager(batch.rest(), error)
        return []

    def _after_manager(self, rest: Batch | None, error: CollectionError) -> None:
        """Deal with the rest of a batch after an error of Resource Manager, the last one to ask."""
        if rest is None:
            return
        if isinstance(error, RefusedError):
            if error.status == 400 and rest.settle_unknown(str(error)):
                if (rest := rest.rest()) is not None:
                    self.ask_manager(rest)
                return
            if error.status == 0:
                self.silent.setdefault(("manager", self._entered().manager_host), error)
        if not ends_all(error) and error is not self.refusal:
            host = self._shut(rest.region) or f"it does not have those of {rest.namespace}"
            error = CloudError(error.cause, f"{error}. The host of metrics of {rest.region}: {host}")
        self._lose(rest, error)

    def _list(self, batch: Batch, resources: str, top: int) -> None:
        stamps = self.times[batch.period]
        query = {
            "timespan": f"{_iso(stamps.start)}/{_iso(stamps.end)}",
            "interval": _INTERVALS[batch.period],
            "metricNamespace": batch.namespace,
            "metricNames": batch.names,
            "aggregation": batch.aggregations,
            "filter": resources,
            "top": top,  # else the first 10
        }
        answer = self._entered().metrics_in(self.subscription, batch.region, query)
        self._take(batch, "monitor.ListAtSubscriptionScope", partial(by_metric, list(batch.questions)), answer)

    def _entered(self) -> Principal:
        if self.refusal is not None:
            raise self.refusal
        if self.principal is None:
            raise AssertionError("asked without an identity, though there is no refusal")
        return self.principal

    def _take(self, batch: Batch, operation: str, read: Callable[[Any], dict[str, list[Answer]]], answer: Any) -> None:
        """Hand an answer to the questions of a batch."""
        try:
            codes = batch.read(read(json.loads(answer) if isinstance(answer, str) else answer), self.times)
        except ODD as error:
            message = f"{operation} answered in another form than documented: {type(error).__name__}"
            raise CloudError(Cause.BUG, message) from None
        for code, questions in codes.items():
            message = f"{operation}: Azure Monitor could not read metrics: {code}"
            self._count(batch, Cause.INCOMPLETE, message, questions)

    def _miss(self, batch: Batch | None, operation: str) -> None:
        """Note what came in neither of two answers."""
        if batch is not None:
            message = f"{operation} leaves resources out of its answers, such as {next(iter(batch.questions))}"
            self._lose(batch, CloudError(Cause.INCOMPLETE, message))

    def _lose(self, batch: Batch, error: CollectionError) -> None:
        """Give up a batch, for its own reason, or with all the subscription where the credential does not work."""
        questions = list(batch)
        for question in questions:
            question.fail(error)
        if ends_all(error) or error is self.refusal:
            self._give_up(error)
        else:
            self._count(batch, error.cause, str(error), questions)

    def _count(self, batch: Batch, cause: Cause, message: str, questions: Sequence[Question]) -> None:
        self.losses.add(cause, message, questions, region=batch.region, kind=batch.kind)

    def _give_up(self, error: CollectionError) -> None:
        with self._lock:
            if self.refusal is None:
                self.refusal = error
                if self.principal is not None and ends_all(error):
                    forget(self.principal)

    def problems(self) -> Iterator[Problem]:
        """The problems of all questions, once for each reason in each region and kind."""
        if self.refusal is not None:
            yield Problem.of(self.subscription, self.refusal)
        yield from self.losses.problems()


def _loss_in_words(loss: Loss) -> str:
    lost = f"{loss.metrics} metrics are missing" if loss.metrics > 1 else "1 metric is missing"
    return f"{loss.message} ({lost})"


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
