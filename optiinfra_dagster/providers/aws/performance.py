"""How a customer's AWS resources perform: CloudWatch's points for the metrics of the catalogue.

CloudWatch is paid by the metric asked for, by the customer: $0.01 per 1,000 in every call, whatever the range. So the
questions come from the window's inventory, 500 to a call, and what cannot have points is not asked. What only an agent
inside an instance publishes is asked where a listing of the metric, which is free, shows such an agent.
"""

from __future__ import annotations

import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.providers.aws.client import Account, forget, open_account
from optiinfra_dagster.providers.catalog import Metric, metrics_for
from optiinfra_dagster.providers.types import (
    Coverage,
    CoverageState,
    Meter,
    MetricsRequest,
    Performance,
    Problem,
    Resource,
    Series,
    Status,
)

if TYPE_CHECKING:
    from optiinfra_dagster.customers import AwsAccount

HISTORY = timedelta(days=63)  # CloudWatch user guide: points of 5 minutes are kept for 63 days
QUERIES_PER_CALL = 500  # GetMetricData API reference: MetricDataQueries
_POINTS_PER_PAGE = 100_800  # GetMetricData API reference: MaxDatapoints
_PRICE_USD = Decimal("0.00001")  # CloudWatch pricing: GetMetricData, per metric requested, up to five statistics of it
_AT_ONCE = 8  # calls; the quota is 50 a second per account and region


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


# Conditions of the catalogue -> why they do not hold for a resource, or "" where they do. An add-on shows itself only
# by its points, and an agent by its metric being listed.
CONDITIONS: dict[str, Callable[[Resource], str]] = {
    "": lambda _resource: "",
    "add_on": lambda _resource: "",
    "agent": lambda _resource: "",
    "nitro": _without_ebs_totals,
}

# RDS lists these engines as its own, but they publish under their own names (DocumentDB and Neptune user guides).
_ENGINE_NAMESPACES = {"docdb": "AWS/DocDB", "neptune": "AWS/Neptune"}

# The resource part of an ARN: instance/i-0abc, db:orders, loadbalancer/app/web/50dc6c495c0c9188, loadbalancer/classic
_RESOURCE_PART = re.compile(r"[^/:]+[/:](.+)")


def dimension_value(arn: str) -> str:
    """The value that CloudWatch knows a resource by, cut from its ARN; empty if that is no ARN."""
    parts = arn.split(":", 5)
    found = _RESOURCE_PART.fullmatch(parts[5]) if len(parts) == 6 else None
    return found[1] if found else ""


def _was_idle(resource: Resource, start: datetime) -> bool:
    """Whether an instance is known to have been stopped since before `start`, so that it has no points."""
    stopped_at = resource.metadata.get("stopped_at")
    if resource.status not in {Status.STOPPED, Status.TERMINATED} or not isinstance(stopped_at, str):
        return False
    return datetime.fromisoformat(stopped_at) < start


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

    def queries(self) -> Iterator[dict[str, Any]]:
        """One query for each statistic, still without an id."""
        metric = self.metric
        engine = str(self.resource.metadata.get("engine", ""))
        asked = {
            "Namespace": _ENGINE_NAMESPACES.get(engine, metric.namespace),
            "MetricName": metric.api_metric,
            "Dimensions": self.dimensions or [{"Name": metric.dimension, "Value": self.name}],
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
        return CoverageState.NOT_OFFERED, "the cloud returned no points"


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
    """What AWS will charge the customer, in USD, for one `collect` of a request; agents' metrics come on top."""
    questions = (question for resource in request.resources for question in _questions(resource, request.start))
    return _price([one for one in questions if one.state is None and one.metric.condition != "agent"])


# --- Asking ---------------------------------------------------------------------------------------------------------

# StatusCode of a result -> what it means for the metric (GetMetricData API reference: MetricDataResult).
_STATUS_CODES: dict[str, tuple[Cause, CoverageState]] = {
    "Forbidden": (Cause.PERMISSION, CoverageState.NO_PERMISSION),
    "InternalError": (Cause.INCOMPLETE, CoverageState.ERROR),
    "PartialData": (Cause.INCOMPLETE, CoverageState.ERROR),
}


@dataclass(slots=True)
class _Answer:
    """What CloudWatch said so far to one query; pages add to it. A query that no page answers stays unfinished."""

    status: str = "no answer"
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)

    def add(self, result: Any) -> None:
        times, values = result.get("Timestamps") or [], result.get("Values") or []
        self.status = result.get("StatusCode") or "Complete"  # the last page's word counts
        if len(times) != len(values):
            self.status = "times without values"
            return
        self.times += [int(moment.timestamp()) for moment in times]
        self.values += values

    def series(self, question: _Question, statistic: str) -> Series | None:
        """The points in the catalogue's unit, each time once; None where there are none."""
        if not self.times:
            return None
        metric = question.metric
        factor, offset = metric.factor, metric.offset
        times, values = self.times, [value * factor + offset for value in self.values]
        if len(set(times)) != len(times):
            points = dict(zip(times, values, strict=True))
            times, values = list(points), list(points.values())
        return Series(question.resource, metric, metric.statistic_name(statistic), times, values)


@dataclass(slots=True)
class _Run:
    """The questions to one account, which end where its credential turns out not to work."""

    account_id: str
    config: AwsAccount | None
    request: MetricsRequest[AwsAccount]
    meter: Meter
    questions: dict[str, list[_Question]] = field(default_factory=dict)  # by region
    problems: list[Problem] = field(default_factory=list)
    account: Account | None = None
    refusal: CloudError | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self) -> None:
        """Enter the account; without questions there is no reason to."""
        if not self.questions:
            return
        if self.config is None:
            message = f"the customers file names no AWS account {self.account_id}, though it has resources"
            self._give_up(CloudError(Cause.CONFIG, message))
            return
        try:
            self.account = open_account(self.request.customer_id, self.config, self.meter)
        except CloudError as error:
            self._give_up(error)
        except ConfigError as error:
            self._give_up(CloudError(Cause.CONFIG, str(error)))

    def find_agents(self, region: str) -> None:
        """Learn the dimensions of the metrics that agents publish; where there is no agent, nothing is asked."""
        unknown = [question for question in self.questions[region] if question.metric.condition == "agent"]
        failure = self.refusal
        found: dict[str, list[dict[str, str]]] = {}
        if unknown and failure is None:
            try:
                found = self._published(region, unknown[0].metric)
            except CloudError as error:
                failure = error
                self._tell(region, error)
        for question in unknown:
            question.dimensions = found.get(question.name, [])
            if failure is not None:
                question.settle(CoverageState.of(failure.cause), str(failure))
            elif not question.dimensions:
                question.settle(*question.without_points())
        self.questions[region] = [question for question in self.questions[region] if question.state is None]

    def _published(self, region: str, metric: Metric) -> dict[str, list[dict[str, str]]]:
        """The dimensions under which a metric is published for each resource; the fewest, where there are several."""
        found: dict[str, list[dict[str, str]]] = {}
        active = {"RecentlyActive": "PT3H"} if datetime.now(UTC) - self.request.start < timedelta(hours=3) else {}
        with self._entered().call("cloudwatch", region, self.meter) as cloudwatch:
            pages = cloudwatch.get_paginator("list_metrics").paginate(
                Namespace=metric.namespace, MetricName=metric.api_metric, **active
            )
            for listed in (one for page in pages for one in page.get("Metrics") or ()):
                dimensions = listed.get("Dimensions") or []
                name = next((one.get("Value") for one in dimensions if one.get("Name") == metric.dimension), "")
                if name and (name not in found or len(dimensions) < len(found[name])):
                    found[name] = dimensions
        return found

    def _entered(self) -> Account:
        if self.account is None:
            raise AssertionError("asked without an account, though there is no refusal")
        return self.account

    def ask(self, region: str, batch: Sequence[_Question]) -> None:
        """Send one batch and hand every question its answer; a batch that fails costs its own questions only."""
        queries = [(question, statistic) for question in batch for statistic in question.metric.statistics]
        answers = [_Answer() for _ in queries]
        failure = self.refusal
        if failure is None:
            try:
                self._read(region, batch, answers)
            except CloudError as error:
                failure = error
                self._tell(region, error, f" ({len(batch)} metrics are missing)")
        for (question, statistic), answer in zip(queries, answers, strict=True):
            series = answer.series(question, statistic)
            if series is not None:
                question.series.append(series)
        if failure is None:
            self._judge(region, queries, answers)
        else:
            for question in batch:
                question.settle(CoverageState.of(failure.cause), str(failure))

    def _read(self, region: str, batch: Sequence[_Question], answers: Sequence[_Answer]) -> None:
        queries = [query for question in batch for query in question.queries()]
        ids = {f"m{n}": n for n in range(len(queries))}
        for name, query in zip(ids, queries, strict=True):
            query["Id"] = name
        # Aligned times are answered faster (GetMetricData API reference: StartTime); the points are the same.
        period = max(question.metric.period for question in batch)
        with self._entered().call("cloudwatch", region, self.meter, {"GetMetricData": _price(batch)}) as cloudwatch:
            pages = cloudwatch.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries,
                StartTime=_aligned(self.request.start, period),
                EndTime=_aligned(self.request.end, period),
                ScanBy="TimestampAscending",
            )
            for page in pages:
                for result in page.get("MetricDataResults") or ():
                    if (n := ids.get(result.get("Id"))) is not None:
                        answers[n].add(result)

    def _judge(self, region: str, queries: Sequence[tuple[_Question, str]], answers: Sequence[_Answer]) -> None:
        """Settle the questions that CloudWatch itself calls unfinished, and say so once for each code."""
        unfinished: dict[str, list[_Question]] = {}
        for (question, _), answer in zip(queries, answers, strict=True):
            if answer.status != "Complete":
                unfinished.setdefault(answer.status, []).append(question)
        for code, questions in unfinished.items():
            cause, state = _STATUS_CODES.get(code, (Cause.INCOMPLETE, CoverageState.ERROR))
            for question in questions:
                question.settle(state, f"CloudWatch: {code}")
            first = questions[0]
            self._note(
                region,
                cause,
                f"cloudwatch.GetMetricData in {region}: {code} for {len(questions)} of {len(queries)} queries, such as "
                f"{first.metric.name} of {first.resource.resource_id}",
            )

    def _tell(self, region: str, error: CloudError, loss: str = "") -> None:
        if error.cause is Cause.AUTH:
            self._give_up(error)
        else:
            self._note(region, error.cause, f"{error}{loss}")

    def _note(self, region: str, cause: Cause, message: str) -> None:
        with self._lock:
            self.problems.append(Problem(self.account_id, region, "", cause, message))

    def _give_up(self, error: CloudError) -> None:
        with self._lock:
            if self.refusal is None:
                self.refusal = error
                self.problems.append(Problem(self.account_id, "", "", error.cause, str(error)))
                if self.account is not None:
                    forget(self.account)


def _aligned(moment: datetime, period: int) -> datetime:
    """The next whole period, so that start is inclusive and end exclusive for points at whole periods."""
    return datetime.fromtimestamp(-(-moment.timestamp() // period) * period, UTC)


def collect(request: MetricsRequest[AwsAccount], meter: Meter) -> Performance:
    """Read the points of a request's range for every catalogue metric of its resources, several calls at a time.

    Args:
        request: the accounts are those that the resources are in; kinds without metrics are passed over.
        meter: counts every HTTP request, and what CloudWatch charges for it.

    Returns:
        The series that have points, and for each catalogue metric of each resource exactly one coverage.
    """
    runs = {account.account_id: _Run(account.account_id, account, request, meter) for account in request.accounts}
    questions: list[_Question] = []
    for resource in request.resources:
        run = runs.get(resource.account_id)
        if run is None:
            run = runs[resource.account_id] = _Run(resource.account_id, None, request, meter)
        for question in _questions(resource, request.start):
            questions.append(question)
            if question.state is None:
                run.questions.setdefault(resource.region, []).append(question)
    seconds = (request.end - request.start).total_seconds()
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"aws-{request.customer_id}") as pool:
        list(pool.map(_Run.open, runs.values()))
        places = [(run, region) for run in runs.values() for region in run.questions]
        list(pool.map(lambda place: place[0].find_agents(place[1]), places))
        calls = [
            pool.submit(run.ask, region, batch)
            for run, region in places
            for batch in _batches(run.questions[region], seconds)
        ]
        for call in calls:
            call.result()
    return Performance(
        series=[series for question in questions for series in question.series],
        coverage=[question.coverage() for question in questions],
        problems=[problem for run in runs.values() for problem in run.problems],
    )
