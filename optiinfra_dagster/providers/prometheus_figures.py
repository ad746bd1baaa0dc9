"""What a customer's own Prometheus adds to the figures of a cloud: the same for every cloud, in one place.

A cloud's own figures win. Of a resource, the Prometheus is asked for what the cloud does not measure (response time of
a machine), and for what it measures only through an agent of its own that is not there (memory on AWS). Whether that is
so is known by the coverage that the cloud's collection gives, and does not change with a call that fails, so that no
series is now of one source and now of the other. Totals of a day, as Vultr has them of traffic, stand beside the
averages of five minutes under a statistic of their own.

The coverage of what a Prometheus told names the exporter that wrote it.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import CloudError, CollectionError
from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import Coverage, CoverageState
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.model.windows import WINDOW
from optiinfra_dagster.providers.prometheus_exporters import BLACKBOX_EXPORTER, labels_of, metrics_of

if TYPE_CHECKING:
    from optiinfra_dagster.config.accounts import Account
    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.metrics import Metric, MetricsRequest, MetricsResult
    from optiinfra_dagster.providers.kind import Kind
    from optiinfra_dagster.providers.prometheus import PrometheusConfig, PrometheusResult
    from optiinfra_dagster.providers.protocol import AccountT

NO_SERIES = (
    "no exporter told it to the customer's Prometheus in a series that names this resource by its id, address or name"
)
_OFF = frozenset({Status.STOPPED, Status.TERMINATED})
_PROBED = frozenset(name for name, *_ in BLACKBOX_EXPORTER.rows)
"""What a probe tells of a machine that somebody stopped is not about the machine: it is not read."""

FILLED = frozenset({CoverageState.NOT_OFFERED, CoverageState.AGENT_MISSING})
"""The states in which a figure that a cloud has is read from the Prometheus all the same."""


def add_figures(
    provider: str, kinds: Mapping[str, Kind], request: MetricsRequest[AccountT], answer: MetricsResult, meter: Meter
) -> None:
    """Add to a cloud's answer what the Prometheus servers of the request's accounts know, each asked once.

    Nothing is asked where no account names one. A server that cannot be asked is a problem, and costs only what it
    alone could have told.
    """
    servers: dict[PrometheusConfig | CloudError, list[str]] = defaultdict(list)  # the accounts that name each
    for account in request.accounts:
        config = _config(account)
        if config is not None:
            servers[config].append(account.id_in_rows)
    for server, accounts in servers.items():
        resources = [resource for resource in request.resources if resource.account_id in accounts]
        wishes = _Wishes.of(provider, kinds, resources, answer.coverage)
        if wishes.questions:
            if isinstance(server, CloudError):
                wishes.settle(server, answer, accounts[0])
            else:
                wishes.settle(_read(server, kinds, resources, wishes, request, meter), answer, accounts[0])


def check(account: Account) -> Iterator[Problem]:
    """The problem with an account's Prometheus, if it names one: reads one point."""
    config = _config(account)
    if isinstance(config, CloudError):
        yield Problem.of(account.id_in_rows, config)
    elif config is not None:
        from optiinfra_dagster.providers.prometheus import Prometheus

        now = int(time.time())
        try:
            with Prometheus(config) as prometheus:
                prometheus.query_range("vector(1)", now, now, 300, Meter())
        except CollectionError as error:
            yield Problem.of(account.id_in_rows, error)


def _config(account: Account) -> PrometheusConfig | CloudError | None:
    """The way to an account's Prometheus, or why it leads nowhere; None for an account that names none."""
    if account.prometheus_url is None:
        return None
    # httpx takes 0.2 CPU-s to import, which most customers need not pay.
    from optiinfra_dagster.providers.prometheus import PrometheusConfig

    try:
        return PrometheusConfig.look_up(account.prometheus_url, account.prometheus_token)
    except CollectionError as error:
        return error if isinstance(error, CloudError) else CloudError(error.cause, str(error))


def _read(
    config: PrometheusConfig,
    kinds: Mapping[str, Kind],
    resources: Sequence[Resource],
    wishes: _Wishes,
    request: MetricsRequest[AccountT],
    meter: Meter,
) -> PrometheusResult:
    from optiinfra_dagster.providers.prometheus import Machines, Prometheus, read_metrics

    known = [resource for resource in resources if resource.kind in wishes.kinds]
    labels = list(dict.fromkeys(label for kind in sorted(wishes.kinds) for label in labels_of(kinds[kind])))
    with Prometheus(config) as prometheus:
        machines = Machines(known, labels)
        return read_metrics(prometheus, machines, wishes.questions, request.start, request.end, meter)


@dataclass(slots=True)
class _Wishes:
    """What is asked of one Prometheus: metrics of kinds, and the resources that the cloud tells none of them of.

    `told` is the place of each such figure in the cloud's coverage, where it has one.
    """

    kinds: set[str] = field(default_factory=set)
    questions: list[tuple[Sequence[Metric], list[Resource]]] = field(default_factory=list)
    told: dict[tuple[str, str], int] = field(default_factory=dict)

    @classmethod
    def of(
        cls, provider: str, kinds: Mapping[str, Kind], resources: Sequence[Resource], coverage: Sequence[Coverage]
    ) -> _Wishes:
        wishes = cls()
        by_kind: dict[str, list[Resource]] = defaultdict(list)
        for resource in resources:
            by_kind[resource.kind].append(resource)
        metrics = {name: metrics_of(provider, kinds[name]) for name in by_kind if name in kinds}
        names = {metric.name for rows in metrics.values() for metric in rows}
        ids = {resource.resource_id for name, rows in metrics.items() if rows for resource in by_kind[name]}
        wishes.told = {
            (one.resource_id, one.metric_name): place
            for place, one in enumerate(coverage)
            if one.metric_name in names and one.resource_id in ids
        }
        for name, rows in metrics.items():
            own = {metric.name for metric in kinds[name].metrics if metric.period <= WINDOW.total_seconds()}
            for metric_name in dict.fromkeys(metric.name for metric in rows):
                wanted = by_kind[name]
                if metric_name in _PROBED:
                    wanted = [resource for resource in wanted if resource.status not in _OFF]
                if metric_name in own:
                    places = [wishes.told.get((resource.resource_id, metric_name)) for resource in wanted]
                    untold = [place is None or coverage[place].state in FILLED for place in places]
                    wanted = list(compress(wanted, untold))
                if wanted:
                    wishes.questions.append(([metric for metric in rows if metric.name == metric_name], wanted))
                    wishes.kinds.add(name)
        return wishes

    def settle(self, result: PrometheusResult | CloudError, answer: MetricsResult, account_id: str) -> None:
        """Take the series, and say of each figure that was asked for what is known of it now."""
        exporters: dict[str, dict[str, str]] = defaultdict(dict)  # by the name of a metric, and resource
        failures: Mapping[str, CloudError] = {}
        if isinstance(result, CloudError):
            answer.problems.append(Problem.of(account_id, result))
        else:
            answer.series += result.series
            for one in result.series:
                exporters[one.metric.name][one.resource.resource_id] = one.metric.namespace
            failures = result.failures
            for text, error in {str(error): error for error in failures.values()}.items():
                lost = sum(str(failure) == text for failure in failures.values())
                message = f"{error} ({lost} of {result.questions} questions are not answered in full)"
                answer.problems.append(Problem(account_id, "", "", error.cause, message))
        for metrics, resources in self.questions:
            failure = result if isinstance(result, CloudError) else None
            failure = failure or next((failures[one.api_metric] for one in metrics if one.api_metric in failures), None)
            name = metrics[0].name
            known, sources = exporters[name], {one.namespace: _from(one.namespace) for one in metrics}
            for resource in resources:
                exporter = known.get(resource.resource_id)
                found = (CoverageState.COLLECTED, sources[exporter]) if exporter else None
                self._note(answer, resource, name, found, failure)

    def _note(
        self,
        answer: MetricsResult,
        resource: Resource,
        name: str,
        found: tuple[CoverageState, str] | None,
        failure: CloudError | None,
    ) -> None:
        place = self.told.get((resource.resource_id, name)) if self.told else None
        if found is not None:
            state, reason = found
        elif place is not None and answer.coverage[place].state not in FILLED:
            return  # the cloud's totals of the day
        elif failure is not None:
            state, reason = CoverageState.of(failure.cause), str(failure)
        elif place is not None:
            return  # the cloud's words on its own figure, such as how to get its agent
        elif resource.status in _OFF:
            state, reason = CoverageState.NOT_OFFERED, f"the {_noun(resource)} is {resource.status}"
        else:
            state, reason = CoverageState.AGENT_MISSING, NO_SERIES
        coverage = Coverage(resource.resource_id, resource.resource_type, name, state, reason)
        if place is None:
            answer.coverage.append(coverage)
        else:
            answer.coverage[place] = coverage


def _from(exporter: str) -> str:
    return f"from the customer's Prometheus, by {exporter}"


def _noun(resource: Resource) -> str:
    return resource.kind.partition(":")[2].replace("_", " ")
