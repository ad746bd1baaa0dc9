"""How a customer's Vultr resources perform. Vultr tells little of it, so the figures have four sources.

- power: the inventory's own word on each resource is its uptime at that moment; no call.
- database_usage: what a managed database uses at the moment of asking; a call each.
- bandwidth: what a machine sent and received on each whole day; a call each, once a day, some in each window.
- node_exporter, v-agent, blackbox_exporter: what agents told a Prometheus, where the customer gives the URL of one.

The first three are Vultr's: free, and within its rate limit, which `client` keeps for all customers together. The first
two know the present only, so a past window holds none of their points.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState, Metric, MetricsRequest, MetricsResult, Series
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.parsing import as_finite, dig
from optiinfra_dagster.providers.prometheus import Told, ask, open_prometheus
from optiinfra_dagster.providers.vultr.account import account_name
from optiinfra_dagster.providers.vultr.client import Account, MissingError, open_account
from optiinfra_dagster.providers.vultr.kind import BANDWIDTH, DATABASE_USAGE, POWER, VIEW
from optiinfra_dagster.providers.vultr.services import KINDS, READS
from optiinfra_dagster.providers.vultr.traffic import date, days_back, missing_days, remember_absent

if TYPE_CHECKING:
    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount


TOTAL_SECONDS = 240.0  # all calls to Vultr of one collection, with their attempts and waits
_AT_ONCE = 8  # calls; the rate limit is kept by `client`


# What there is of one resource's metric: of several sources, the first of these counts.
_BEST_FIRST = (
    CoverageState.COLLECTED,
    CoverageState.ERROR,
    CoverageState.THROTTLED,
    CoverageState.NO_PERMISSION,
    CoverageState.AGENT_MISSING,
    CoverageState.NOT_OFFERED,
)
_RANK = {state: rank for rank, state in enumerate(_BEST_FIRST)}


# A call of one resource: what it is asked for, and the answer, or why there is none.
Answer = tuple[Resource, Sequence[Metric], "Future[Mapping[str, Any] | CloudError]"]


def price(_request: MetricsRequest[VultrAccount]) -> Decimal:
    """What Vultr will charge the customer, in USD, for one `collect` of a request: its API is free."""
    return Decimal(0)


_UP = {Status.RUNNING: 100.0, Status.STARTING: 0.0, Status.ERROR: 0.0}

_PRESENT_ONLY = "Vultr tells this of the present only"
_NOT_LISTED = "the inventory of this window, which tells it, could not be taken"
_BY_THE_DAY = "Vultr tells traffic by the whole day, which is read once a day; there is none yet"
_NO_PROMETHEUS = (
    "Vultr offers no such API; give prometheus_url in the customers file, of a Prometheus that knows the machine by "
    "node_exporter or v-agent, or the load balancer by blackbox_exporter"
)
_NO_SERIES = (
    "no exporter told it to the customer's Prometheus in a series that names this resource by its id, address or label"
)


_PROMETHEUS = "prometheus"


def _metrics_of(kind: str) -> tuple[Metric, ...]:
    return KINDS[kind].metrics if kind in KINDS else ()


@cache
def _sources(kind: str) -> dict[str, tuple[Metric, ...]]:
    """The catalogue's metrics of a kind by where they come from: every exporter is `prometheus`."""
    own = {POWER, DATABASE_USAGE, BANDWIDTH}
    found: dict[str, list[Metric]] = {}
    for metric in _metrics_of(kind):
        found.setdefault(metric.namespace if metric.namespace in own else _PROMETHEUS, []).append(metric)
    return {source: tuple(metrics) for source, metrics in found.items()}


def _noun(resource: Resource) -> str:
    return resource.kind.partition(":")[2].replace("_", " ")


def _why_idle(resource: Resource) -> str:
    word = resource.cloud_status if resource.status is Status.UNKNOWN else resource.status
    return f"the {_noun(resource)} is {word or 'in a state that Vultr does not tell'}"


def _snapshot(resource: Resource, metric: Metric, request: MetricsRequest[VultrAccount], value: float) -> Series:
    """One point: how it is now, in the present window."""
    moment = [] if request.present is None else [int(request.present.timestamp())]
    return Series(resource, metric, metric.statistic_name("snapshot"), moment, [value])


def _value(answer: Any, path: str) -> float | None:
    """The finite number at `cpu.percentage` of an answer."""
    return as_finite(dig(answer, *path.split(".")))


@dataclass(slots=True)
class _Run:
    """What is asked of one account, and what became of it. Its calls end where its key turns out not to work."""

    account_id: str
    config: VultrAccount | None
    request: MetricsRequest[VultrAccount]
    meter: Meter
    by_kind: dict[str, list[Resource]] = field(default_factory=dict)
    series: list[Series] = field(default_factory=list)
    collected: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # resources, by metric name
    lacking: dict[tuple[str, str], tuple[CoverageState, str]] = field(default_factory=dict)  # by resource, metric name
    problems: list[Problem] = field(default_factory=list)
    account: Account | None = None
    refusal: CloudError | None = None
    accepted: bool | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked(self, source: str) -> list[tuple[Sequence[Metric], list[Resource]]]:
        """What one source is asked for: some metrics, and the resources to tell them of, a pair for each kind."""
        found = [(_sources(kind).get(source, ()), resources) for kind, resources in self.by_kind.items()]
        return [(metrics, resources) for metrics, resources in found if metrics]

    def keep(self, series: Series) -> None:
        """Take points."""
        self.series.append(series)
        self.collected[series.metric.name].add(series.resource.resource_id)

    def settle(
        self, metrics: Sequence[Metric], resources: Iterable[Resource], state: CoverageState, reason: str
    ) -> None:
        """Note why a source tells nothing of some metrics, unless another one has told something better."""
        ids = [one.resource_id for one in resources]
        for name in {metric.name: None for metric in metrics}:
            for key in [(one, name) for one in ids if one not in self.collected[name]]:
                if key not in self.lacking or _RANK[state] < _RANK[self.lacking[key][0]]:
                    self.lacking[key] = state, reason

    def coverage(self) -> Iterator[Coverage]:
        """What there is of every metric of every resource, each once."""
        for kind, resources in self.by_kind.items():
            for name in {metric.name: None for metric in _metrics_of(kind)}:
                for one in resources:
                    if one.resource_id in self.collected[name]:
                        yield Coverage(one.resource_id, one.resource_type, name, CoverageState.COLLECTED)
                    else:
                        yield Coverage(one.resource_id, one.resource_type, name, *self.lacking[one.resource_id, name])

    def note(self, cause: Cause, message: str) -> None:
        self.problems.append(Problem(self.account_id, "", "", cause, message))

    # --- Power ------------------------------------------------------------------------------------------------------

    def take_power(self) -> None:
        """Tell uptime from the inventory: 100 or 0 percent, as sampled once in the window.

        Who stops a machine does not make it less reliable: stopped, it has no uptime.
        """
        for metrics, resources in self.asked(POWER):
            for resource in resources:
                up = _UP.get(resource.status)
                if up is None:
                    self.settle(metrics, [resource], CoverageState.NOT_OFFERED, _why_idle(resource))
                elif self.request.present is None:
                    self.settle(metrics, [resource], CoverageState.NOT_OFFERED, _PRESENT_ONLY)
                elif self.request.listed not in {None, self.request.present}:
                    self.settle(metrics, [resource], CoverageState.ERROR, _NOT_LISTED)
                else:
                    for metric in metrics:
                        self.keep(_snapshot(resource, metric, self.request, up))

    # --- Vultr's calls ----------------------------------------------------------------------------------------------

    def ask_usage(self, pool: ThreadPoolExecutor) -> list[Answer]:
        """Begin the calls that tell what databases use now; none where the present is not asked for."""
        asked = self.asked(DATABASE_USAGE) if self.request.present else ()
        return [self._begin(pool, resource, metrics) for metrics, resources in asked for resource in resources]

    def ask_traffic(self, pool: ThreadPoolExecutor, days: Mapping[str, range]) -> list[Answer]:
        """Begin the calls that tell of the days of each machine in `days`."""
        return [
            self._begin(pool, resource, metrics, date_range=days_back(days[resource.resource_id]))
            if READS[resource.kind].has_date_range
            else self._begin(pool, resource, metrics)
            for metrics, resources in self.asked(BANDWIDTH)
            for resource in resources
            if resource.resource_id in days
        ]

    def _begin(self, pool: ThreadPoolExecutor, resource: Resource, metrics: Sequence[Metric], **query: int) -> Answer:
        if self.account is None and self.refusal is None and self.config is not None:
            try:
                self.account = open_account(self.config, TOTAL_SECONDS)
            except CloudError as error:
                self.give_up(error)
            except ConfigError as error:
                self.give_up(CloudError(Cause.CONFIG, str(error)))
        call = READS[resource.kind]
        return resource, metrics, pool.submit(self._get, call.operation, call.path.format(resource.resource_id), query)

    def _get(self, operation: str, path: str, query: Mapping[str, int]) -> Mapping[str, Any] | CloudError:
        """The answer of one call, or why there is none."""
        if self.refusal is not None or self.account is None:
            return self.refusal or CloudError(Cause.BUG, f"{operation}: the account was not opened")
        try:
            return self.account.get(operation, path, self.meter, VIEW, **query)
        except CloudError as error:
            return self._understood(error) if error.cause is Cause.AUTH else error

    def _understood(self, error: CloudError) -> CloudError:
        """Tell a call that is not allowed from a bad key, which is told once, for the account."""
        with self._lock:
            if self.accepted is None and self.account is not None:
                self.accepted = self.account.is_accepted(self.meter)
                if not self.accepted:
                    self.give_up(error)
        if not self.accepted:
            return self.refusal or error
        return CloudError(Cause.PERMISSION, f"{error}; other calls accept the key: allow {VIEW}")

    def give_up(self, error: CloudError) -> None:
        """Make no further call, and say why."""
        self.refusal = error
        self.note(error.cause, str(error))

    def take_usage(self, answers: Sequence[Answer]) -> None:
        """Take what databases use now."""
        for resource, metrics, answer in self._whole(answers):
            for metric in metrics:
                value = _value(answer.get("usage"), metric.api_metric)
                if value is None:
                    self.settle([metric], [resource], CoverageState.NOT_OFFERED, "Vultr tells no such figure of it")
                else:
                    self.keep(_snapshot(resource, metric, self.request, metric.convert(value)))
        for metrics, resources in () if self.request.present else self.asked(DATABASE_USAGE):
            self.settle(metrics, resources, CoverageState.NOT_OFFERED, _PRESENT_ONLY)

    def take_traffic(self, answers: Sequence[Answer], days: Mapping[str, range]) -> list[str]:
        """Take the traffic of whole days; gives the machines of which none of the days was told."""
        absent: list[str] = []
        for resource, metrics, answer in self._whole(answers):
            known, one = len(self.series), resource.resource_id
            for metric in metrics:
                told = {day: _value(answer, f"bandwidth.{date(day)}.{metric.api_metric}") for day in days[one]}
                points = {day: metric.convert(value) for day, value in told.items() if value is not None}
                if points:
                    name, window = metric.statistic_name("day"), self.request.present
                    self.keep(Series(resource, metric, name, list(points), list(points.values()), window))
            if len(self.series) == known:
                absent.append(one)
        for metrics, resources in self.asked(BANDWIDTH):
            for metric in metrics:
                stored = (one.resource_id for one in resources if one.resource_id in self.request.daily)
                self.collected[metric.name].update(stored)
            self.settle(metrics, resources, CoverageState.NOT_OFFERED, _BY_THE_DAY)
        return absent

    def _whole(self, answers: Sequence[Answer]) -> Iterator[tuple[Resource, Sequence[Metric], Mapping[str, Any]]]:
        """The calls that were answered; of the others, settles the metrics."""
        failed: list[tuple[Resource, Sequence[Metric], CloudError]] = []
        for resource, metrics, future in answers:
            answer = future.result()
            if isinstance(answer, CloudError):
                failed.append((resource, metrics, answer))
            else:
                yield resource, metrics, answer
        self._tell(failed)

    def _tell(self, failed: Sequence[tuple[Resource, Sequence[Metric], CloudError]]) -> None:
        """Settle what failed, and say so once for all calls that failed alike."""
        alike: dict[Cause, list[tuple[Resource, Sequence[Metric], CloudError]]] = {}
        for resource, metrics, error in failed:
            gone = isinstance(error, MissingError)
            state = CoverageState.NOT_OFFERED if gone else CoverageState.of(error.cause)
            reason = f"Vultr does not know the {_noun(resource)} any more, or nothing of it" if gone else str(error)
            self.settle(metrics, [resource], state, reason)
            if not gone and error is not self.refusal:
                alike.setdefault(error.cause, []).append((resource, metrics, error))
        for cause, ones in alike.items():
            resource, _, error = ones[0]
            count = sum(len(metrics) for _, metrics, _ in ones)
            self.note(cause, f"{error} ({count} metrics are missing, such as those of {resource.resource_id})")

    # --- Prometheus -------------------------------------------------------------------------------------------------

    def ask_agents(self) -> Told | CloudError | None:
        """What the customer's Prometheus tells; None where there is none. Touches nothing of the run."""
        if self.config is None:
            return self.refusal
        try:
            prometheus = open_prometheus(self.config)
        except CloudError as error:
            return error
        except ConfigError as error:
            return CloudError(Cause.CONFIG, str(error))
        if prometheus is None:
            return None
        with prometheus:
            return ask(prometheus, self.asked(_PROMETHEUS), self.request, self.meter)

    def take_agents(self, told: Told | CloudError | None) -> None:
        """Take what the customer's Prometheus told."""
        asked = self.asked(_PROMETHEUS)
        failures: Mapping[str, CloudError] = {}
        state, reason = CoverageState.NOT_OFFERED, _NO_PROMETHEUS
        if isinstance(told, CloudError):
            state, reason = CoverageState.of(told.cause), str(told)
            if told is not self.refusal:
                count = sum(len(metrics) * len(resources) for metrics, resources in asked)
                self.note(told.cause, f"{told} ({count} metrics are missing)")
        elif told is not None:
            state, reason, failures = CoverageState.AGENT_MISSING, _NO_SERIES, told.failures
            self.series.extend(told.series)
            for name, found in told.found.items():
                self.collected[name] |= found
            for text, error in {str(error): error for error in failures.values()}.items():
                lost = sum(str(failure) == text for failure in failures.values())
                self.note(error.cause, f"{error} ({lost} of {told.questions} questions are not answered in full)")
        idle = {Status.STOPPED, Status.TERMINATED} if told is not None else frozenset()
        for metrics, resources in asked:
            for metric in metrics:
                if (failure := failures.get(metric.api_metric)) is not None:
                    self.settle([metric], resources, CoverageState.of(failure.cause), str(failure))
            answered = [metric for metric in metrics if metric.api_metric not in failures]
            self.settle(answered, [one for one in resources if one.status not in idle], state, reason)
            for resource in (one for one in resources if one.status in idle):
                self.settle(answered, [resource], CoverageState.NOT_OFFERED, _why_idle(resource))


# --- All sources ------------------------------------------------------------------------------------------------------


def collect(request: MetricsRequest[VultrAccount], meter: Meter) -> MetricsResult:
    """Read what the four sources tell of the resources, several calls at a time.

    Args:
        request: `present` is the window that snapshots and daily traffic are told in; None is for past ranges, of which
            only a Prometheus knows. Kinds without metrics are passed over.
        meter: counts every HTTP request.

    Returns:
        The series that have points, and for each catalogue name of each resource exactly one coverage, the best that
        any source of that name has. Points of daily traffic lie before the range, in series of the present window.
    """
    runs = {account_name(account): _Run(account_name(account), account, request, meter) for account in request.accounts}
    for resource in request.resources:
        run = runs.get(resource.account_id)
        if run is None:
            run = runs[resource.account_id] = _Run(resource.account_id, None, request, meter)
            message = f"the customers file names no Vultr account {run.account_id}, though it has resources"
            run.give_up(CloudError(Cause.CONFIG, message))
        run.by_kind.setdefault(resource.kind, []).append(resource)
    every = list(runs.values())
    machines = [one for run in every for _, resources in run.asked(BANDWIDTH) for one in resources]
    days = missing_days(request, machines)
    # A Prometheus that does not answer must not hold up Vultr's calls.
    with (
        ThreadPoolExecutor(4, thread_name_prefix=f"prometheus-{request.customer_id}") as apart,
        ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"vultr-{request.customer_id}") as pool,
    ):
        told = [(run, apart.submit(run.ask_agents)) for run in every if run.asked(_PROMETHEUS)]
        usage = [run.ask_usage(pool) for run in every]
        traffic = [run.ask_traffic(pool, days) for run in every]
        absent: list[str] = []
        for run, used, sent in zip(every, usage, traffic, strict=True):
            run.take_usage(used)
            absent += run.take_traffic(sent, days)
        for run, answer in told:
            run.take_agents(answer.result())
    remember_absent(request, absent)
    for run in every:
        run.take_power()
    return MetricsResult(
        series=[series for run in every for series in run.series],
        coverage=[one for run in every for one in run.coverage()],
        problems=[problem for run in every for problem in run.problems],
    )
