"""How a customer's AWS resources perform: CloudWatch's points for the metrics of the catalogue.

CloudWatch is paid by the metric asked for, by the customer: $0.01 per 1,000 in every call, whatever the range. So the
questions come from the window's inventory, 500 to a call, and what cannot have points is not asked. What only an agent
inside an instance publishes is asked where a listing of the metric shows such an agent. These listings, a few a day,
are taken as free: AWS charges $0.01 per 1,000 of them, after a million a month.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState, Metric, MetricsRequest, MetricsResult, Series
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.aws.client import Account, forget, open_account
from optiinfra_dagster.providers.aws.kinds import grows_by_itself
from optiinfra_dagster.providers.catalog import metrics_for
from optiinfra_dagster.providers.parsing import Item, as_datetime, as_dicts, as_finite, as_text, dig

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.aws.account import AwsAccount

QUERIES_PER_CALL = 500  # GetMetricData API reference: MetricDataQueries
_POINTS_PER_PAGE = 100_800  # GetMetricData API reference: MaxDatapoints
_PRICE_USD = Decimal("0.00001")  # CloudWatch pricing: GetMetricData, per metric requested, up to five statistics of it
_AT_ONCE = 8  # calls to a region of an account; the quota is 50 a second
SENDING_SECONDS = 200.0  # of one collect; the last attempt may take 35 s more: 5 to connect, 30 of silence

Thing = TypeVar("Thing")


# --- What can be asked ----------------------------------------------------------------------------------------------

# Instance families before Nitro (EC2 user guide: "Instances built on the Nitro System" lists what came after).
# The API answers `hypervisor: xen` for Nitro too, so the family decides; a family that is not here is a new one.
_XEN_FAMILIES = "c1 c3 c4 cc1 cc2 cg1 cr1 d2 f1 g2 g3 g3s h1 hi1 hs1 i2 i3 m1 m2 m3 m4 p2 p3 r3 r4 t1 t2 x1 x1e"
_XEN = frozenset(_XEN_FAMILIES.split())


def _without_ebs_totals(resource: Resource) -> str:
    """Why EC2 tells no EBS totals of an instance; empty for Nitro, except bare metal (EC2 user guide: EBS metrics)."""
    family, _, size = str(resource.metadata.get("instance_type", "")).partition(".")
    if size.startswith("metal"):
        return "bare metal instances have no EBS totals: see the metrics of the volumes"
    return "Xen instances have no EBS totals: see the metrics of the volumes" if family in _XEN else ""


def _engine(resource: Resource) -> str:
    return str(resource.metadata.get("engine") or "")


def _without_cluster_volume(resource: Resource) -> str:
    return "" if grows_by_itself(_engine(resource)) else "its instances have storage of their own: see their metrics"


def _without_own_storage(resource: Resource) -> str:
    return "its storage is the cluster's: see the metrics of the cluster" if grows_by_itself(_engine(resource)) else ""


def _only(*engines: str) -> Callable[[Resource], str]:
    return lambda resource: "" if _engine(resource) in engines else f"only {' and '.join(engines)} have this metric"


# Conditions of the catalogue -> why they do not hold for a resource, or "" where they do. An add-on shows itself only
# by its points, and an agent by its metric being listed.
CONDITIONS: dict[str, Callable[[Resource], str]] = {
    "": lambda _resource: "",
    "add_on": lambda _resource: "",
    "agent": lambda _resource: "",
    "cluster_volume": _without_cluster_volume,
    "nitro": _without_ebs_totals,
    "own_storage": _without_own_storage,
    "redis": _only("redis", "valkey"),
    "valkey": _only("valkey"),
}

# RDS lists these engines as its own, but they publish under their own names (DocumentDB and Neptune user guides).
_ENGINE_NAMESPACES = {"docdb": "AWS/DocDB", "neptune": "AWS/Neptune"}

# The resource part of an ARN: instance/i-0abc, db:orders, loadbalancer/app/web/50dc6c495c0c9188, loadbalancer/classic
_RESOURCE_PART = re.compile(r"[^/:]+[/:](.+)")


def dimension_value(arn: str) -> str:
    """The value that CloudWatch knows a resource by, cut from its ARN; empty if that is no ARN."""
    fields = arn.split(":", 5)
    found = _RESOURCE_PART.fullmatch(fields[5]) if len(fields) == 6 else None
    return found[1] if found else ""


def _was_idle(resource: Resource, start: datetime) -> bool:
    """Whether an instance is known to have been stopped since before `start`, so that it has no points."""
    stopped_at = as_datetime(resource.metadata.get("stopped_at"))
    return resource.status in {Status.STOPPED, Status.TERMINATED} and stopped_at is not None and stopped_at < start


_UNPAID = "budget: what is left of monthly_api_budget_usd does not cover the call"  # no figures: it stays the same


def _narrowed_to(metric: Metric) -> list[dict[str, str]]:
    """The dimension that a metric has beside that of the resource: `Operation=GetItem`, `path=/`."""
    name, _, value = metric.filter.partition("=")
    return [{"Name": name, "Value": value}] if name else []


@dataclass(slots=True)
class _Question:
    """One metric of one resource, and what became of it."""

    resource: Resource
    metric: Metric
    dimensions: list[dict[str, str]] = field(default_factory=list)
    series: list[Series] = field(default_factory=list)
    state: CoverageState | None = None
    reason: str = ""

    @property
    def name(self) -> str:
        """What CloudWatch calls the resource."""
        return dimension_value(self.resource.resource_id)

    def settle(self, state: CoverageState, reason: str) -> None:
        self.state, self.reason = state, reason

    def fail(self, error: CloudError) -> None:
        """Settle by the error of the call that should have answered."""
        self.settle(CoverageState.of(error.cause), _UNPAID if error.cause is Cause.BUDGET else str(error))

    def queries(self) -> Iterator[dict[str, Any]]:
        """One query for each statistic, still without an id."""
        metric = self.metric
        asked = {
            "Namespace": _ENGINE_NAMESPACES.get(_engine(self.resource), metric.namespace),
            "MetricName": metric.api_metric,
            "Dimensions": self.dimensions or [{"Name": metric.dimension, "Value": self.name}, *_narrowed_to(metric)],
        }
        for statistic in metric.statistics:
            yield {"MetricStat": {"Metric": asked, "Period": metric.period, "Stat": statistic}}

    def coverage(self) -> Coverage:
        """What went wrong; else collected, if any statistic has points; else why there are none."""
        state, reason = self.state, self.reason
        if state is None:
            state, reason = (CoverageState.COLLECTED, "") if self.series else self.without_points()
        return Coverage(self.resource.resource_id, self.resource.resource_type, self.metric.name, state, reason)

    def without_points(self) -> tuple[CoverageState, str]:
        """Why a question has no points, where nothing went wrong."""
        resource, metric = self.resource, self.metric
        if metric.condition in {"add_on", "agent"}:
            return CoverageState.AGENT_MISSING, f"nothing publishes {metric.namespace} {metric.api_metric}"
        if resource.status in {Status.STOPPED, Status.TERMINATED}:
            return CoverageState.NOT_OFFERED, f"the {resource.kind.partition(':')[2]} is {resource.status}"
        if resource.kind == "ebs:volume" and resource.status is Status.AVAILABLE:
            return CoverageState.NOT_OFFERED, "the volume is not attached to an instance"
        return CoverageState.NO_POINTS, "the cloud returned no points"


def _questions(resource: Resource, start: datetime) -> Iterator[_Question]:
    """Every catalogue metric of a resource; those that are not worth asking are settled already."""
    for metric in metrics_for("aws", resource.kind):
        question = _Question(resource, metric)
        if reason := CONDITIONS[metric.condition](resource):
            question.settle(CoverageState.NOT_OFFERED, reason)
        elif _was_idle(resource, start):
            question.settle(CoverageState.NOT_OFFERED, f"the instance is {resource.status}")
        elif not question.name:
            question.settle(CoverageState.ERROR, f"{resource.resource_id} is not the ARN of a resource")
        yield question


def _batches(questions: Iterable[_Question], seconds: float) -> Iterator[list[_Question]]:
    """Fill calls with as many whole questions as are answered on one page.

    A second page asks for, and may be charged for, all metrics of the call once more. The statistics of a metric stay
    together, because they are one price only within one call.
    """
    batch: list[_Question] = []
    queries = points = 0
    for question in questions:
        more = len(question.metric.statistics)
        more_points = more * math.ceil(seconds / question.metric.period)
        if batch and (queries + more > QUERIES_PER_CALL or points + more_points > _POINTS_PER_PAGE):
            yield batch
            batch, queries, points = [], 0, 0
        batch.append(question)
        queries += more
        points += more_points
    if batch:
        yield batch


def _price(batch: Sequence[_Question]) -> Decimal:
    return _PRICE_USD * sum(-(-len(question.metric.statistics) // 5) for question in batch)


def price(request: MetricsRequest[AwsAccount]) -> Decimal:
    """What AWS will charge the customer at most, in USD, for one `collect` of a request in which no call is repeated.

    Agents' metrics count for every instance that is not remembered to have no agent.
    """
    questions = (question for resource in request.resources for question in _questions(resource, request.start))
    remembered: dict[tuple[str, str, str], dict[str, Any]] = {}
    asked = []
    for question in (one for one in questions if one.state is None):
        if question.metric.condition == "agent":
            place = (question.resource.account_id, question.resource.region, question.metric.name)
            if place not in remembered:
                remembered[place] = _Agents(request, *place[:2], question.metric).remembered()
            if remembered[place].get(question.name) == []:
                continue
        asked.append(question)
    return _price(asked)


# --- Agents ---------------------------------------------------------------------------------------------------------

# An agent publishes minutes after its instance started, and a new metric is listed up to 15 minutes after that
# (ListMetrics API reference). Until an instance is as old as this, that it has no agent is not remembered.
_SETTLED = timedelta(hours=1)
_RECENTLY = timedelta(hours=3)  # ListMetrics API reference: RecentlyActive


@dataclass(frozen=True, slots=True)
class _Agents:
    """Which instances of a region an agent publishes a metric for, and under which dimensions.

    Known by listing the metric, and remembered for a day: an agent that was installed on an old instance is seen a day
    later at most. An instance that is new, or was started again, has the metric listed anew.
    """

    request: MetricsRequest[AwsAccount]
    account_id: str
    region: str
    metric: Metric

    @property
    def _recent(self) -> bool:
        return datetime.now(UTC) - self.request.start < _RECENTLY

    @property
    def _key(self) -> tuple[str, ...]:
        place = (self.request.customer_id, self.account_id, self.region)
        return ("aws", "agents", *place, self.metric.name, "recent" if self._recent else "past")

    def remembered(self) -> dict[str, list[dict[str, str]]]:
        """The dimensions by instance, [] for one without an agent; what was not looked for yet is not in it."""
        memory = self.request.memory
        known = memory.get(*self._key) if memory is not None else None
        return known if isinstance(known, dict) else {}

    def of(
        self, instances: Sequence[_Question], look: Callable[[_Agents], dict[str, list[dict[str, str]]]]
    ) -> dict[str, list[dict[str, str]]]:
        """The dimensions by instance for all of `instances`; `look` asks CloudWatch for what is published."""
        known = self.remembered()
        if all(one.name in known for one in instances):
            return known
        found = look(self)
        if self.request.memory is not None:
            looked_for = [one.name for one in instances if one.name in found or not _is_new(one.resource)]
            self.request.memory.put({name: found.get(name, []) for name in looked_for}, *self._key)
        return found

    def read(self, pages: Iterable[Any]) -> dict[str, list[dict[str, str]]]:
        """The dimensions by instance in an answer; the fewest, where an instance has the metric several times."""
        found: dict[str, list[dict[str, str]]] = {}
        for one in (one for page in pages for one in as_dicts(dig(page, "Metrics"))):
            told = as_dicts(one.get("Dimensions"))
            dimensions = [{"Name": as_text(each.get("Name")), "Value": as_text(each.get("Value"))} for each in told]
            name = next((each["Value"] for each in dimensions if each["Name"] == self.metric.dimension), "")
            if name and (name not in found or len(dimensions) < len(found[name])):
                found[name] = dimensions
        return found

    def listing(self) -> dict[str, Any]:
        """What ListMetrics is asked."""
        active = {"RecentlyActive": "PT3H"} if self._recent else {}
        narrowed = {"Dimensions": _narrowed_to(self.metric)} if self.metric.filter else {}
        return {"Namespace": self.metric.namespace, "MetricName": self.metric.api_metric, **narrowed, **active}


def _is_new(resource: Resource) -> bool:
    return resource.created_at is not None and datetime.now(UTC) - resource.created_at < _SETTLED


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
    """What CloudWatch said so far to one query; pages add to it. A query that no page answers stays unfinished."""

    status: str = "no answer"
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, result: Item) -> None:
        if self.status not in _ODDITIES:  # which no later page makes good
            self.status = as_text(result.get("StatusCode")) or "Complete"  # the last page's word counts
        times, values = (one if isinstance(one, list) else [] for one in map(result.get, ("Timestamps", "Values")))
        if len(times) != len(values):
            self.status = _UNPAIRED
            return
        for moment, value in zip(times, values, strict=True):
            known = as_finite(value)
            if known is not None and isinstance(moment, datetime):
                self.times.append(int(moment.timestamp()))
                self.values.append(known)
            elif not isinstance(value, float):  # NaN is no point, and no error
                self.status = _UNREADABLE

    def series(self, question: _Question, statistic: str, start: float, end: float) -> Series | None:
        """The points of [start, end) in the catalogue's unit, each time once; None where there are none."""
        metric = question.metric
        factor, offset = metric.factor, metric.offset
        points = {
            moment: value * factor + offset
            for moment, value in zip(self.times, self.values, strict=True)
            if start <= moment < end
        }
        if not points:
            return None
        return Series(question.resource, metric, metric.statistic_name(statistic), list(points), list(points.values()))


@dataclass(slots=True)
class _Collection:
    """What the accounts of one `collect` share: the request, the meter, and the ends of its time and of its budget."""

    request: MetricsRequest[AwsAccount]
    meter: Meter
    until: float  # time.monotonic
    overspent: CloudError | None = None
    unpaid: Counter[str] = field(default_factory=Counter)  # metrics by account
    lock: threading.Lock = field(default_factory=threading.Lock)

    def overspend(self, error: CloudError, account_id: str, metrics: int) -> None:
        """After a call that the budget does not allow, no account makes any more: a smaller one would be luck."""
        with self.lock:
            self.overspent = self.overspent or error
            self.unpaid[account_id] += metrics

    def problems(self) -> Iterator[Problem]:
        """That the budget is used up, said once for all accounts."""
        if self.overspent is not None:
            message = f"{self.overspent} {self.unpaid.total()} metrics are missing"
            yield Problem(", ".join(sorted(self.unpaid)), "", "", Cause.BUDGET, message)


@dataclass(slots=True)
class _Run:
    """The questions to one account, which end where its credential turns out not to work."""

    account_id: str
    config: AwsAccount | None
    common: _Collection
    questions: dict[str, list[_Question]] = field(default_factory=dict)  # by region
    missing: Counter[tuple[str, Cause, str]] = field(default_factory=Counter)  # metrics by region, cause and message
    account: Account | None = None
    refusal: CloudError | None = None
    refused: int = 0  # metrics that the refusal cost
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def collect(self) -> None:
        """Ask everything, all regions side by side, so that one that does not answer delays no other."""
        self._open()
        _side_by_side(self._collect_region, list(self.questions), most=len(self.questions))

    def problems(self) -> Iterator[Problem]:
        """What is missing and why: the same trouble of several calls is one problem."""
        if self.refusal is not None:
            message = f"{self.refusal} ({self.refused} metrics are missing)"
            yield Problem(self.account_id, "", "", self.refusal.cause, message)
        for (region, cause, message), count in self.missing.items():
            loss = "incomplete" if cause is Cause.INCOMPLETE else "missing"
            yield Problem(self.account_id, region, "", cause, f"{message} ({count} metrics are {loss})")

    def _open(self) -> None:
        """Enter the account; without questions there is no reason to."""
        if not self.questions:
            return
        if self.config is None:
            message = f"the customers file names no AWS account {self.account_id}, though it has resources"
            self.refusal = CloudError(Cause.CONFIG, message)
            return
        try:
            self.account = open_account(self.common.request.customer_id, self.config, self.common.meter)
        except CloudError as error:
            self.refusal = error
        except ConfigError as error:
            self.refusal = CloudError(Cause.CONFIG, str(error))

    def _collect_region(self, region: str) -> None:
        self._find_agents(region)
        request = self.common.request
        seconds = (request.end - request.start).total_seconds()
        asked = [question for question in self.questions[region] if question.state is None]
        _side_by_side(lambda batch: self._ask(region, batch), list(_batches(asked, seconds)), most=_AT_ONCE)

    def _find_agents(self, region: str) -> None:
        """Learn the dimensions of the metrics that agents publish; where there is no agent, nothing is asked."""
        unknown: dict[str, list[_Question]] = {}
        for question in self.questions[region]:
            if question.metric.condition == "agent":
                unknown.setdefault(question.metric.name, []).append(question)
        for questions in unknown.values():
            if (stopped := self._stopped()) is not None:
                self._fail(region, questions, stopped)
                continue
            agents = _Agents(self.common.request, self.account_id, region, questions[0].metric)
            try:
                found = agents.of(questions, partial(self._look, region))
            except CloudError as error:
                self._fail(region, questions, error)
                continue
            for question in questions:
                question.dimensions = found.get(question.name, [])
                if not question.dimensions:
                    question.settle(*question.without_points())

    def _look(self, region: str, agents: _Agents) -> dict[str, list[dict[str, str]]]:
        with self._calling(region) as cloudwatch:
            return agents.read(cloudwatch.get_paginator("list_metrics").paginate(**agents.listing()))

    def _calling(self, region: str, usd: Decimal = Decimal(0)) -> AbstractContextManager[Any]:
        """Lend CloudWatch's client of a region, each of whose GetMetricData costs `usd`."""
        if self.account is None:
            raise AssertionError("asked without an account, though there is no refusal")
        common = self.common
        return self.account.call("cloudwatch", region, common.meter, {"GetMetricData": usd}, common.until)

    def _stopped(self) -> CloudError | None:
        """Why nothing is asked any more, if so."""
        return self.refusal or self.common.overspent

    def _ask(self, region: str, batch: Sequence[_Question]) -> None:
        """Send one batch and hand every question its answer; a batch that fails costs its own questions only."""
        queries = [(question, statistic) for question in batch for statistic in question.metric.statistics]
        answers = [_Answer() for _ in queries]
        failure = self._stopped()
        if failure is None:
            try:
                self._read(region, batch, answers)
            except CloudError as error:
                failure = error
        start, end = (moment.timestamp() for moment in (self.common.request.start, self.common.request.end))
        for (question, statistic), answer in zip(queries, answers, strict=True):
            series = answer.series(question, statistic, start, end)
            if series is not None:
                question.series.append(series)
        if failure is None:
            self._judge(region, queries, answers)
        else:
            self._fail(region, batch, failure)

    def _read(self, region: str, batch: Sequence[_Question], answers: Sequence[_Answer]) -> None:
        queries = [query for question in batch for query in question.queries()]
        ids = {f"m{n}": n for n in range(len(queries))}
        for name, query in zip(ids, queries, strict=True):
            query["Id"] = name
        # Aligned times are answered faster (GetMetricData API reference: StartTime); the points are the same.
        period = max(question.metric.period for question in batch)
        with self._calling(region, _price(batch)) as cloudwatch:
            pages = cloudwatch.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries,
                StartTime=_aligned(self.common.request.start, period),
                EndTime=_aligned(self.common.request.end, period),
                ScanBy="TimestampAscending",
            )
            tokens = set()
            for page in pages:
                for result in as_dicts(dig(page, "MetricDataResults")):
                    if (n := ids.get(as_text(result.get("Id")))) is not None:
                        answers[n].add(result)
                if (token := as_text(dig(page, "NextToken"))) and token in tokens:  # every page is paid for
                    raise CloudError(Cause.INCOMPLETE, f"cloudwatch.GetMetricData in {region}: pages go in a circle")
                tokens.add(token)

    def _judge(self, region: str, queries: Sequence[tuple[_Question, str]], answers: Sequence[_Answer]) -> None:
        """Settle the questions that CloudWatch itself calls unfinished, and say so once for each code."""
        for (question, _), answer in zip(queries, answers, strict=True):
            if answer.status != "Complete" and question.state is None:
                cause, state = _STATUS_CODES.get(answer.status, (Cause.INCOMPLETE, CoverageState.ERROR))
                question.settle(state, f"CloudWatch: {answer.status}")
                self._note(region, cause, f"cloudwatch.GetMetricData in {region}: {answer.status}", 1)

    def _fail(self, region: str, questions: Sequence[_Question], error: CloudError) -> None:
        """Settle the questions of a call that failed, or was not made, and count them to its problem."""
        for question in questions:
            question.fail(error)
        if error is self.refusal or error.cause is Cause.AUTH:
            self._give_up(error, len(questions))
        elif error.cause is Cause.BUDGET:
            self.common.overspend(error, self.account_id, len(questions))
        else:
            self._note(region, error.cause, str(error), len(questions))

    def _note(self, region: str, cause: Cause, message: str, metrics: int) -> None:
        with self._lock:
            self.missing[region, cause, message] += metrics

    def _give_up(self, error: CloudError, metrics: int) -> None:
        with self._lock:
            self.refused += metrics
            if self.refusal is None:
                self.refusal = error
                if self.account is not None:
                    forget(self.account)


def _aligned(moment: datetime, period: int) -> datetime:
    """The next whole period, so that start is inclusive and end exclusive for points at whole periods."""
    return datetime.fromtimestamp(-(-moment.timestamp() // period) * period, UTC)


def _side_by_side(work: Callable[[Thing], None], items: Sequence[Thing], most: int) -> None:
    """Do the work for all items, `most` at a time; for a single one without a further thread."""
    if len(items) <= 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(min(most, len(items)), thread_name_prefix="aws-performance") as pool:
        list(pool.map(work, items))


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
    questions: list[_Question] = []
    for resource in request.resources:
        run = runs.get(resource.account_id)
        if run is None:
            run = runs[resource.account_id] = _Run(resource.account_id, None, common)
        for question in _questions(resource, request.start):
            questions.append(question)
            if question.state is None:
                run.questions.setdefault(resource.region, []).append(question)
    _side_by_side(_Run.collect, list(runs.values()), most=len(runs))
    return MetricsResult(
        series=[series for question in questions for series in question.series],
        coverage=[question.coverage() for question in questions],
        problems=[*common.problems(), *(problem for run in runs.values() for problem in run.problems())],
    )
