"""The metrics of a customer's AWS resources: CloudWatch's points for the rows of the catalogue.

CloudWatch is paid by the metric asked for, by the customer: $0.01 per 1,000 in every call, whatever the range. So the
questions come from the window's inventory, 500 to a call, and what cannot have points is not asked. What only an agent
inside an instance publishes is asked where a listing of the metric shows such an agent. These listings, a few a day,
are taken as free: AWS charges $0.01 per 1,000 of them, after a million a month.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.metrics import CoverageState, MetricsRequest, MetricsResult, Series
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws import daily
from optiinfra_dagster.providers.aws.agents import Agents, Dimensions
from optiinfra_dagster.providers.aws.client import Account, forget, open_account
from optiinfra_dagster.providers.aws.errors import SessionRefusedError, UnreachableError
from optiinfra_dagster.providers.aws.kind import AGENT, pages_of
from optiinfra_dagster.providers.aws.questions import Question, batches_of, price_of, questions_of
from optiinfra_dagster.providers.metric_questions import Loss, Losses, result_of, unknown_account
from optiinfra_dagster.providers.parsing import Item, as_dicts, as_finite, as_text, dig
from optiinfra_dagster.providers.threads import side_by_side

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount

_AT_ONCE = 8  # calls to a region of an account; the quota is 50 a second
SENDING_SECONDS = 200.0  # of one collect; the last attempt may take 35 s more: 5 to connect, 30 of silence
_THREADS = "aws-performance"


def price(request: MetricsRequest[AwsAccount]) -> Decimal:
    """The most that AWS will charge the customer, in USD, for one `collect` of a request in which no call is repeated.

    Agents' metrics count for every instance that is not remembered to have no agent.
    """
    remembered: dict[tuple[str, str, str], dict[str, Dimensions]] = {}
    priced: list[Question] = []
    for question in (each for resource in request.resources for each in questions_of(resource, request.start)):
        if question.state is not None:
            continue
        if question.metric.condition == AGENT:
            place = (question.resource.account_id, question.resource.region, question.metric.api_metric)
            if place not in remembered:
                remembered[place] = Agents(request, *place[:2], question.metric).remembered()
            if remembered[place].get(question.name) == []:
                continue
        priced.append(question)
    daily.settle(request, priced)
    return price_of([question for question in priced if question.state is None])


# --- Asking ---------------------------------------------------------------------------------------------------------

# StatusCode of a result -> what it means for the metric (GetMetricData API reference: MetricDataResult).
_STATUS_CODES: dict[str, tuple[Cause, CoverageState]] = {
    "Forbidden": (Cause.PERMISSION, CoverageState.NO_PERMISSION),
    "InternalError": (Cause.INCOMPLETE, CoverageState.ERROR),
    "PartialData": (Cause.INCOMPLETE, CoverageState.ERROR),
}


_UNPAIRED, _UNREADABLE = _ODDITIES = ("times without values", "points that cannot be read")


@dataclass(slots=True)
class _Answer:
    """The answer to a query so far; pages add to it. A query that no page answers stays unfinished."""

    status: str = "no answer"
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, result: Item) -> None:
        """Take the points of a page."""
        if self.status not in _ODDITIES:  # which no later page makes good
            self.status = as_text(result.get("StatusCode")) or "Complete"  # the last page's word counts
        times, values = (part if isinstance(part, list) else [] for part in map(result.get, ("Timestamps", "Values")))
        if len(times) != len(values):
            self.status = _UNPAIRED
            return
        for moment, value in zip(times, values, strict=True):
            number = as_finite(value)
            if number is not None and isinstance(moment, datetime):
                self.times.append(int(moment.timestamp()))
                self.values.append(number)
            elif not isinstance(value, float):  # NaN is no point, and no error
                self.status = _UNREADABLE

    def points(self, start: float, end: float) -> dict[int, float]:
        """The points of [start, end), each time once."""
        return {moment: value for moment, value in zip(self.times, self.values, strict=True) if start <= moment < end}


def _series(question: Question, statistic: str, parts: Sequence[dict[int, float]]) -> Series | None:
    """The points of a statistic, those of all parts together, in the catalogue's unit; None where there are none."""
    metric = question.metric
    factor, offset = metric.factor, metric.offset
    points = parts[0]
    for part in parts[1:]:
        points = {moment: points.get(moment, 0.0) + part.get(moment, 0.0) for moment in {**points, **part}}
    if not points:
        return None
    values = [value * factor + offset for value in points.values()]
    return Series(question.resource, metric, metric.statistic_name(statistic), list(points), values)


@dataclass(slots=True)
class _Collection:
    """The state that the accounts of one `collect` share: request, meter, and the ends of its time and budget."""

    request: MetricsRequest[AwsAccount]
    meter: Meter
    until: float  # time.monotonic
    overspent: CollectionError | None = None
    unpaid: Counter[str] = field(default_factory=Counter)  # metrics by account
    lock: threading.Lock = field(default_factory=threading.Lock)

    def span_of(self, questions: Sequence[Question]) -> tuple[datetime, datetime]:
        """The range that questions are asked for: the request's, or the last days."""
        return (
            daily.span_of(self.request)
            if any(map(daily.is_daily, questions))
            else (self.request.start, self.request.end)
        )

    def overspend(self, error: CollectionError, account_id: str, metrics: int) -> None:
        """After a call that the budget does not allow, no account makes any more: a smaller one would be luck."""
        with self.lock:
            self.overspent = self.overspent or error
            self.unpaid[account_id] += metrics

    def problems(self) -> Iterator[Problem]:
        """A single problem for all accounts if the budget is used up."""
        if self.overspent is not None:
            message = f"{self.overspent} {self.unpaid.total()} metrics are missing"
            yield Problem(", ".join(sorted(self.unpaid)), "", "", Cause.BUDGET, message)


@dataclass(slots=True)
class _Run:
    """The questions to one account, which end where its credential turns out not to work."""

    account_id: str
    config: AwsAccount | None
    common: _Collection
    questions: dict[str, list[Question]] = field(default_factory=dict)  # by region
    account: Account | None = None
    refusal: CollectionError | None = None
    losses: Losses = field(init=False)
    silent: dict[str, UnreachableError] = field(default_factory=dict)  # by region: hosts that did not answer
    listed: set[tuple[str, str]] = field(default_factory=set)  # region and name of agents' metrics
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Start the record of losses."""
        self.losses = Losses(self.account_id, _loss_in_words)

    def collect(self) -> None:
        """Ask everything, all regions side by side, so that one that does not answer delays no other."""
        self._open()
        side_by_side(self._collect_region, list(self.questions), most=len(self.questions), name=_THREADS)

    def _open(self) -> None:
        """Enter the account; without questions there is no reason to."""
        if not self.questions:
            return
        if self.config is None:
            self.refusal = unknown_account("AWS account", self.account_id)
            return
        try:
            self.account = open_account(self.common.request.customer_id, self.config, self.common.meter)
        except CollectionError as error:
            self.refusal = error

    def _collect_region(self, region: str) -> None:
        of_agents = [question for question in self.questions[region] if question.metric.condition == AGENT]
        self._find_agents(region, of_agents)
        self._ask_all(region, [question for question in self.questions[region] if not daily.is_daily(question)])
        before = {id(question): question.dimensions for question in of_agents}
        self._find_agents(region, of_agents, anew=True)
        self._ask_all(region, [question for question in of_agents if question.dimensions != before[id(question)]])
        of_days = [question for question in self.questions[region] if daily.is_daily(question)]
        self._ask_all(region, of_days)
        daily.after(self.common.request, of_days)

    def _ask_all(self, region: str, questions: Sequence[Question]) -> None:
        """Ask those of the questions that are open, in as few calls as they fit; all are of days, or none is."""
        start, end = self.common.span_of(questions)
        seconds = (end - start).total_seconds()
        batches = list(batches_of([question for question in questions if question.is_open], seconds))
        side_by_side(lambda batch: self._ask(region, batch), batches, most=_AT_ONCE, name=_THREADS)

    def _find_agents(self, region: str, questions: Sequence[Question], *, anew: bool = False) -> None:
        """Learn the dimensions of metrics that agents publish; where there is no agent, nothing is asked.

        With `anew`, those are listed of which remembered ones gave no points: an instance has another type or image
        now, or its agent another configuration.
        """
        alike: dict[str, list[Question]] = {}
        for question in questions:
            alike.setdefault(question.metric.api_metric, []).append(question)
        for api_metric, same in alike.items():
            silent = [question for question in same if question.is_open]
            if not silent or (anew and (region, api_metric) in self.listed):
                continue
            if (stopped := self._stopped(region)) is not None:
                self._fail(region, silent, stopped)
                continue
            agents = Agents(self.common.request, self.account_id, region, same[0].metric)
            try:
                dimensions = agents.of(same, partial(self._look, region), anew=anew)
            except CloudError as error:
                self._fail(region, silent, error)
                continue
            for question in silent:
                question.dimensions = dimensions.get(question.name, [])
                if not question.dimensions:
                    question.settle(*question.without_points())

    def _look(self, region: str, agents: Agents) -> dict[str, list[Dimensions]]:
        self.listed.add((region, agents.metric.api_metric))
        with self._calling(region) as cloudwatch:
            return agents.read(pages_of(cloudwatch, "list_metrics", **agents.listing()))

    def _calling(self, region: str, usd: Decimal = Decimal(0)) -> AbstractContextManager[Any]:
        """Lend CloudWatch's client of a region, each of whose GetMetricData costs `usd`."""
        if self.account is None:
            raise AssertionError("asked without an account, though there is no refusal")
        common = self.common
        return self.account.call("cloudwatch", region, common.meter, {"GetMetricData": usd}, common.until)

    def _stopped(self, region: str) -> CollectionError | None:
        """The error for which no more calls are made to a region; None while calls are made."""
        return self.refusal or self.common.overspent or self.silent.get(region)

    def _ask(self, region: str, batch: Sequence[Question]) -> None:
        """Send one batch and hand every question its answer; a batch that fails costs its own questions only."""
        queries = [(question, query) for question in batch for query in question.queries()]
        answers = [_Answer() for _ in queries]
        failure = self._stopped(region)
        if failure is None:
            try:
                self._read(region, batch, [query for _, query in queries], answers)
            except CloudError as error:
                failure = error
        parts_of: dict[tuple[int, str], list[_Answer]] = {}
        for (question, query), answer in zip(queries, answers, strict=True):
            parts_of.setdefault((id(question), query["MetricStat"]["Stat"]), []).append(answer)
        for question in batch:
            for statistic in question.metric.statistics:
                self._keep(question, statistic, parts_of[id(question), statistic])
        if failure is None:
            self._judge(region, [question for question, _ in queries], answers)
        else:
            self._fail(region, batch, failure)

    def _keep(self, question: Question, statistic: str, parts: Sequence[_Answer]) -> None:
        """Hand a question the points of a statistic; a sum of which a part is not known is none."""
        common = self.common
        if len(parts) > 1 and any(part.status != "Complete" for part in parts):
            return
        start, end = (moment.timestamp() for moment in common.span_of([question]))
        of_days = daily.is_daily(question)
        first = daily.first_of(common.request, question) if of_days else start
        series = _series(question, statistic, [part.points(first, end) for part in parts])
        if series is not None:
            series.window = common.request.present if of_days else None
            question.series.append(series)

    def _read(
        self, region: str, batch: Sequence[Question], queries: Sequence[dict[str, Any]], answers: Sequence[_Answer]
    ) -> None:
        ids = {f"m{n}": n for n in range(len(queries))}
        for name, query in zip(ids, queries, strict=True):
            query["Id"] = name
        # Aligned times are answered faster (GetMetricData API reference: StartTime); the points are the same.
        period = max(question.metric.period for question in batch)
        start, end = self.common.span_of(batch)
        with self._calling(region, price_of(batch)) as cloudwatch:
            pages = pages_of(  # every one is paid for
                cloudwatch,
                "get_metric_data",
                MetricDataQueries=queries,
                StartTime=_aligned(start, period),
                EndTime=_aligned(end, period),
                ScanBy="TimestampAscending",
            )
            for page in pages:
                for result in as_dicts(dig(page, "MetricDataResults")):
                    if (n := ids.get(as_text(result.get("Id")))) is not None:
                        answers[n].add(result)

    def _judge(self, region: str, questions: Sequence[Question], answers: Sequence[_Answer]) -> None:
        """Settle the questions that CloudWatch itself calls unfinished, and say so once for each code."""
        for question, answer in zip(questions, answers, strict=True):
            if answer.status != "Complete" and question.state is None:
                cause, state = _STATUS_CODES.get(answer.status, (Cause.INCOMPLETE, CoverageState.ERROR))
                question.settle(state, f"CloudWatch: {answer.status}")
                message = f"cloudwatch.GetMetricData in {region}: {answer.status}"
                self.losses.add(cause, message, [question], region=region)

    def _fail(self, region: str, questions: Sequence[Question], error: CollectionError) -> None:
        """Settle the questions of a call that failed, or was not made, and count them to its problem."""
        if isinstance(error, UnreachableError):
            self.silent[region] = error
        if error is self.refusal or error.cause is Cause.AUTH:
            error = self._give_up(error)
        for question in questions:
            question.fail(error)
        if error is self.refusal:
            self.losses.add(error.cause, str(error), questions)
        elif error.cause is Cause.BUDGET:
            self.common.overspend(error, self.account_id, len(questions))
        else:
            self.losses.add(error.cause, str(error), questions, region=region)

    def _give_up(self, error: CollectionError) -> CollectionError:
        """Ask nothing more of the account; gives the first error for which that is so."""
        with self._lock:
            if self.refusal is None:
                self.refusal = error.given_up() if isinstance(error, SessionRefusedError) else error
                if self.account is not None:
                    forget(self.account)
            return self.refusal


def _loss_in_words(loss: Loss) -> str:
    lost = "incomplete" if loss.cause is Cause.INCOMPLETE else "missing"
    return f"{loss.message} ({loss.metrics} metrics are {lost})"


def _aligned(moment: datetime, period: int) -> datetime:
    """The next whole period, so that start is inclusive and end exclusive for points at whole periods."""
    return datetime.fromtimestamp(-(-moment.timestamp() // period) * period, UTC)


def collect(request: MetricsRequest[AwsAccount], meter: Meter) -> MetricsResult:
    """Read the points of a request's range for every catalogue metric of its resources, several calls at a time.

    It ends after about four minutes at most, whatever AWS does, and asks nothing more once the meter refuses a call.

    Args:
        request: the accounts are those that the resources are in; kinds without metrics are passed over.
        meter: counts every HTTP request, and what CloudWatch charges for it.

    Returns:
        The series that have points, and for each catalogue metric of each resource exactly one coverage.
    """
    common = _Collection(request, meter, time.monotonic() + SENDING_SECONDS)
    runs = {account.account_id: _Run(account.account_id, account, common) for account in request.accounts}
    questions: list[Question] = []
    for resource in request.resources:
        run = runs.get(resource.account_id)
        if run is None:
            run = runs[resource.account_id] = _Run(resource.account_id, None, common)
        for question in questions_of(resource, request.start):
            questions.append(question)
            if question.state is None:
                run.questions.setdefault(resource.region, []).append(question)
    daily.settle(request, questions)
    side_by_side(_Run.collect, list(runs.values()), most=len(runs), name=_THREADS)
    losses = (problem for run in runs.values() for problem in run.losses.problems())
    return result_of(questions, [*common.problems(), *losses])
