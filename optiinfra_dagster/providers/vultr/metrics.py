"""The metrics of a customer's Vultr resources. Vultr has few of them, from three sources.

- power: the power status of an instance, which the inventory has, is its uptime at that moment; no call. Other listings
  tell the state of a subscription, which is no measurement.
- database_usage: what a managed database uses at the moment of the call; a call each.
- bandwidth: the bytes that a machine sent and received on each whole day; a call each, once a day, some in each window.

All are free, and within the rate limit that `client` keeps for all customers together. The first two know the present
only, so a past window holds none of their points. What else is known of machines is in the customer's own Prometheus:
`prometheus_figures`.
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

from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState, Metric, MetricsRequest, MetricsResult, Series
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.metric_questions import unknown_account
from optiinfra_dagster.providers.parsing import as_finite, dig
from optiinfra_dagster.providers.vultr.account import account_name
from optiinfra_dagster.providers.vultr.client import Account, open_account
from optiinfra_dagster.providers.vultr.errors import MissingError, SilentHostError
from optiinfra_dagster.providers.vultr.kind import BANDWIDTH, DATABASE_USAGE, POWER, VIEW
from optiinfra_dagster.providers.vultr.services import KINDS, READS
from optiinfra_dagster.providers.vultr.traffic import date, days_back, missing_days, remember_absent

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.model.meter import Meter
    from optiinfra_dagster.providers.vultr.account import VultrAccount


TOTAL_SECONDS = 240.0  # all calls to Vultr of one collection, with their attempts and waits
_AT_ONCE = 8  # calls; the rate limit is kept by `client`

# A call of one resource: its metrics, and the answer, or why there is none.
Answer = tuple[Resource, Sequence[Metric], "Future[Mapping[str, Any] | CloudError]"]


def price(_request: MetricsRequest[VultrAccount]) -> Decimal:
    """The most that Vultr charges the customer, in USD, for one `collect` of a request: its API is free."""
    return Decimal(0)


_UP = {Status.RUNNING: 100.0, Status.STARTING: 0.0, Status.ERROR: 0.0}

_PRESENT_ONLY = "Vultr tells this of the present only"
_NOT_LISTED = "the inventory of this window, which tells it, could not be taken"
_BY_THE_DAY = "Vultr tells traffic by the whole day, which is read once a day; there is none yet"


def _metrics_of(kind: str) -> tuple[Metric, ...]:
    return KINDS[kind].metrics if kind in KINDS else ()


@cache
def _sources(kind: str) -> dict[str, tuple[Metric, ...]]:
    """The metrics of a kind by their source."""
    sources: dict[str, list[Metric]] = {}
    for metric in _metrics_of(kind):
        sources.setdefault(metric.namespace, []).append(metric)
    return {source: tuple(metrics) for source, metrics in sources.items()}


def _noun(resource: Resource) -> str:
    return resource.kind.partition(":")[2].replace("_", " ")


def _why_idle(resource: Resource) -> str:
    word = resource.cloud_status if resource.status is Status.UNKNOWN else resource.status
    return f"the {_noun(resource)} is {word or 'in a state that Vultr does not tell'}"


def _snapshot(resource: Resource, metric: Metric, window: datetime, value: float) -> Series:
    """The series of one point, of what was there in a window."""
    return Series(resource, metric, metric.statistic_name("snapshot"), [int(window.timestamp())], [value])


def _value(answer: Any, path: str) -> float | None:
    """The finite number at `cpu.percentage` of an answer."""
    return as_finite(dig(answer, *path.split(".")))


@dataclass(slots=True)
class _Run:
    """The collection of one account. Its calls end where its key turns out not to work, or its host not to answer."""

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

    def questions(self, source: str) -> list[tuple[Sequence[Metric], list[Resource]]]:
        """The metrics of one source, and the resources to read them of: a pair for each kind that has any."""
        pairs = [(_sources(kind).get(source, ()), resources) for kind, resources in self.by_kind.items()]
        return [(metrics, resources) for metrics, resources in pairs if metrics]

    def keep(self, series: Series) -> None:
        """Take points."""
        self.series.append(series)
        self.collected[series.metric.name].add(series.resource.resource_id)

    def settle(
        self, metrics: Sequence[Metric], resources: Iterable[Resource], state: CoverageState, reason: str
    ) -> None:
        """Note why there is nothing of some metrics, unless that is known already."""
        ids = [resource.resource_id for resource in resources]
        for name in {metric.name: None for metric in metrics}:
            for key in [(resource_id, name) for resource_id in ids if resource_id not in self.collected[name]]:
                self.lacking.setdefault(key, (state, reason))

    def coverage(self) -> Iterator[Coverage]:
        """The state of every metric of every resource, each once."""
        for kind, resources in self.by_kind.items():
            for name in {metric.name: None for metric in _metrics_of(kind)}:
                for resource in resources:
                    key = resource.resource_id, name
                    collected = resource.resource_id in self.collected[name]
                    state, reason = (CoverageState.COLLECTED, "") if collected else self.lacking[key]
                    yield Coverage(resource.resource_id, resource.resource_type, name, state, reason)

    def note(self, cause: Cause, message: str) -> None:
        self.problems.append(Problem(self.account_id, "", "", cause, message))

    # --- Power ------------------------------------------------------------------------------------------------------

    def take_power(self) -> None:
        """Read uptime from the inventory: 100 or 0 percent, as sampled once in the window.

        Who stops a machine does not make it less reliable: stopped, it has no uptime. A window that is past has the
        uptime that its own inventory tells.
        """
        present, listed = self.request.present, self.request.listed
        window = present
        if present is None and listed is not None and self.request.start <= listed < self.request.end:
            window = listed
        for metrics, resources in self.questions(POWER):
            for resource in resources:
                up = _UP.get(resource.status)
                if up is None:
                    self.settle(metrics, [resource], CoverageState.NOT_OFFERED, _why_idle(resource))
                elif window is None:
                    self.settle(metrics, [resource], CoverageState.NOT_OFFERED, _PRESENT_ONLY)
                elif listed not in {None, window}:
                    self.settle(metrics, [resource], CoverageState.ERROR, _NOT_LISTED)
                else:
                    for metric in metrics:
                        self.keep(_snapshot(resource, metric, window, up))

    # --- Vultr's calls ----------------------------------------------------------------------------------------------

    def begin_usage(self, pool: ThreadPoolExecutor) -> list[Answer]:
        """Begin the calls for what databases use now; none where the range is past."""
        questions = self.questions(DATABASE_USAGE) if self.request.present else ()
        return [self._begin(pool, resource, metrics) for metrics, resources in questions for resource in resources]

    def begin_traffic(self, pool: ThreadPoolExecutor, days: Mapping[str, range]) -> list[Answer]:
        """Begin the calls for the days of each machine in `days`."""
        return [
            self._begin(pool, resource, metrics, date_range=days_back(days[resource.resource_id]))
            if READS[resource.kind].has_date_range
            else self._begin(pool, resource, metrics)
            for metrics, resources in self.questions(BANDWIDTH)
            for resource in resources
            if resource.resource_id in days
        ]

    def _begin(self, pool: ThreadPoolExecutor, resource: Resource, metrics: Sequence[Metric], **query: int) -> Answer:
        if self.account is None and self.refusal is None and self.config is not None:
            try:
                self.account = open_account(self.config, TOTAL_SECONDS)
            except CollectionError as error:
                self.give_up(_cloud_error(error))
        call = READS[resource.kind]
        return resource, metrics, pool.submit(self._get, call.operation, call.path.format(resource.resource_id), query)

    def _get(self, operation: str, path: str, query: Mapping[str, int]) -> Mapping[str, Any] | CloudError:
        """The answer of one call, or why there is none."""
        if self.refusal is not None or self.account is None:
            return self.refusal or CloudError(Cause.BUG, f"{operation}: the account was not opened")
        try:
            return self.account.get(operation, path, self.meter, VIEW, **query)
        except SilentHostError as error:
            return self._silent(error)
        except CloudError as error:
            return self._understood(error) if error.cause is Cause.AUTH else error

    def _silent(self, error: CloudError) -> CloudError:
        """The refusal of an account whose host does not answer, which is noted once for the calls under way."""
        with self._lock:
            return self.refusal or self.give_up(error)

    def _understood(self, error: CloudError) -> CloudError:
        """The refusal of a call that is not allowed, told from that of a bad key, which is noted once."""
        with self._lock:
            if self.accepted is None and self.account is not None:
                self.accepted = self.account.is_accepted(self.meter)
                if not self.accepted:
                    self.give_up(error)
        if not self.accepted:
            return self.refusal or error
        return CloudError(Cause.PERMISSION, f"{error}; other calls accept the key: allow {VIEW}")

    def give_up(self, error: CloudError) -> CloudError:
        """Make no further call, and say why."""
        self.refusal = error
        self.note(error.cause, str(error))
        return error

    def take_usage(self, answers: Sequence[Answer]) -> None:
        """Take what databases use now."""
        present = self.request.present
        if present is None:
            for metrics, resources in self.questions(DATABASE_USAGE):
                self.settle(metrics, resources, CoverageState.NOT_OFFERED, _PRESENT_ONLY)
            return
        for resource, metrics, answer in self._answered(answers):
            for metric in metrics:
                value = _value(answer.get("usage"), metric.api_metric)
                if value is None:
                    self.settle([metric], [resource], CoverageState.NOT_OFFERED, "Vultr tells no such figure of it")
                else:
                    self.keep(_snapshot(resource, metric, present, metric.convert(value)))

    def take_traffic(self, answers: Sequence[Answer], days: Mapping[str, range]) -> list[str]:
        """Take the traffic of whole days; gives the machines whose answers had none of the days."""
        absent: list[str] = []
        for resource, metrics, answer in self._answered(answers):
            before, resource_id = len(self.series), resource.resource_id
            for metric in metrics:
                path = f"bandwidth.{{}}.{metric.api_metric}"
                values = {day: _value(answer, path.format(date(day))) for day in days[resource_id]}
                points = {day: metric.convert(value) for day, value in values.items() if value is not None}
                if points:
                    name, window = metric.statistic_name("day"), self.request.present
                    self.keep(Series(resource, metric, name, list(points), list(points.values()), window))
            if len(self.series) == before:
                absent.append(resource_id)
        for metrics, resources in self.questions(BANDWIDTH):
            ids = [resource.resource_id for resource in resources]
            for metric in metrics:
                self.collected[metric.name].update(known for known in ids if known in self.request.daily)
            self.settle(metrics, resources, CoverageState.NOT_OFFERED, _BY_THE_DAY)
        return absent

    def _answered(self, answers: Sequence[Answer]) -> Iterator[tuple[Resource, Sequence[Metric], Mapping[str, Any]]]:
        """The calls that were answered; of the others, settles the metrics."""
        failed: list[tuple[Resource, Sequence[Metric], CloudError]] = []
        for resource, metrics, future in answers:
            answer = future.result()
            if isinstance(answer, CloudError):
                failed.append((resource, metrics, answer))
            else:
                yield resource, metrics, answer
        self._settle_failed(failed)

    def _settle_failed(self, failed: Sequence[tuple[Resource, Sequence[Metric], CloudError]]) -> None:
        """Settle the metrics of failed calls, with one problem for all calls that failed alike."""
        alike: dict[Cause, list[tuple[Resource, Sequence[Metric], CloudError]]] = {}
        for resource, metrics, error in failed:
            gone = isinstance(error, MissingError)
            state = CoverageState.NOT_OFFERED if gone else CoverageState.of(error.cause)
            reason = f"Vultr does not know the {_noun(resource)} any more, or nothing of it" if gone else str(error)
            self.settle(metrics, [resource], state, reason)
            if not gone and error is not self.refusal:
                alike.setdefault(error.cause, []).append((resource, metrics, error))
        for cause, calls in alike.items():
            resource, _, error = calls[0]
            count = sum(len(metrics) for _, metrics, _ in calls)
            self.note(cause, f"{error} ({count} metrics are missing, such as those of {resource.resource_id})")


def _cloud_error(error: CollectionError) -> CloudError:
    """The error of an account that could not be opened, as one of the cloud."""
    if isinstance(error, CloudError):
        return error
    return CloudError(error.cause, str(error))


# --- All sources ------------------------------------------------------------------------------------------------------


def collect(request: MetricsRequest[VultrAccount], meter: Meter) -> MetricsResult:
    """Read the metrics of the resources from the three sources, several calls at a time.

    Args:
        request: `present` is the window of snapshots and daily traffic; None is for past ranges, of which Vultr knows
            nothing. Kinds without metrics are passed over.
        meter: counts every HTTP request.

    Returns:
        The series that have points, and for each catalogue name of each resource exactly one coverage. Points of daily
        traffic lie before the range, in series of the present window.
    """
    runs = {account_name(account): _Run(account_name(account), account, request, meter) for account in request.accounts}
    for resource in request.resources:
        run = runs.get(resource.account_id)
        if run is None:
            run = runs[resource.account_id] = _Run(resource.account_id, None, request, meter)
            run.give_up(_cloud_error(unknown_account("Vultr account", run.account_id)))
        run.by_kind.setdefault(resource.kind, []).append(resource)
    every = list(runs.values())
    machines = [machine for run in every for _, resources in run.questions(BANDWIDTH) for machine in resources]
    days = missing_days(request, machines)
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"vultr-{request.customer_id}") as pool:
        usage = [run.begin_usage(pool) for run in every]
        traffic = [run.begin_traffic(pool, days) for run in every]
        absent: list[str] = []
        for run, used, sent in zip(every, usage, traffic, strict=True):
            run.take_usage(used)
            absent += run.take_traffic(sent, days)
    remember_absent(request, absent)
    for run in every:
        run.take_power()
    return MetricsResult(
        series=[series for run in every for series in run.series],
        coverage=[state for run in every for state in run.coverage()],
        problems=[problem for run in every for problem in run.problems],
    )
