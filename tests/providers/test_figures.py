"""The six figures of every kind: each is collected, or not offered by a document, or stands in a list that shrinks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState
from optiinfra_dagster.providers import figures
from optiinfra_dagster.providers.catalog import METRICS
from optiinfra_dagster.providers.figures import FIGURE_OF, Figure, coverage_of_what_is_not_offered
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.providers.registry import PROVIDERS

CLOUDS = pytest.mark.parametrize("cloud", PROVIDERS)

# What is neither collected nor said to be not offered, by kind. It may only lose words, and has none any more.
NOT_COLLECTED: dict[str, set[Figure]] = {}

# Metrics that answer none of the six.
BESIDE = {
    *("disk_utilization", "storage_used", "storage_free", "request_rate", "connections"),
    *("read_capacity", "write_capacity", "error_rate", "object_count", "stored"),
    *("throughput_utilization", "backend_health"),
}


@CLOUDS
def test_every_figure_of_a_kind_is_collected_or_not_offered(cloud: str) -> None:
    missing = []
    for kind in PROVIDERS[cloud].kinds.values():
        for figure in Figure:
            known = figures.collected(kind, figure) or figures.not_offered(kind, figure)
            listed = figure in NOT_COLLECTED.get(kind.name, set())
            if not known and not listed:
                missing.append(
                    f"{kind.name}: add a metric of {figure}, or name in not_offered the document that lists what "
                    f"{cloud} measures of it"
                )
            if known and listed:
                missing.append(f"{kind.name}: {figure} is known: take it out of NOT_COLLECTED")
    assert missing == []


@CLOUDS
def test_what_is_not_offered_is_a_figure_that_is_not_collected(cloud: str) -> None:
    wrong = []
    for kind in PROVIDERS[cloud].kinds.values():
        for key, document in kind.not_offered.items():
            if key not in set(Figure):
                wrong.append(f"{kind.name}: {key} is no figure: write one of {[str(figure) for figure in Figure]}")
            elif names := figures.collected(kind, Figure(key)):
                wrong.append(f"{kind.name}: {key} is not offered, and yet collected as {names}")
            elif not document.strip():
                wrong.append(f"{kind.name}: {key} names no document")
    assert wrong == []


def test_every_metric_answers_a_figure_or_is_known_to_answer_none() -> None:
    new = {metric.name for metric in METRICS} - FIGURE_OF.keys() - BESIDE
    assert not new, f"{', '.join(sorted(new))}: name it in METRICS_OF (providers/figures.py) or in BESIDE in this file"
    assert FIGURE_OF.keys() & BESIDE == set()


KIND = Kind(
    name="vultr:instance",
    resource_type=ResourceType.COMPUTE,
    not_offered={"response_time": "Vultr OpenAPI", "uptime": "Vultr OpenAPI"},
)
MACHINE = Resource(
    account_id="acme",
    region="ewr",
    kind=KIND.name,
    resource_id="web-1",
    resource_name="web",
    resource_type=ResourceType.COMPUTE,
    status=Status.RUNNING,
    cloud_status="running",
)


def test_what_is_not_offered_is_told_of_each_resource_with_the_document() -> None:
    other = replace(MACHINE, resource_id="web-2")
    known = [Coverage("web-2", ResourceType.COMPUTE, "uptime", CoverageState.COLLECTED)]

    told = list(coverage_of_what_is_not_offered({KIND.name: KIND}, [MACHINE, other], known))

    assert {(one.resource_id, one.metric_name) for one in told} == {
        ("web-1", "response_time"),
        ("web-1", "uptime"),
        ("web-2", "response_time"),
    }
    assert {one.state for one in told} == {CoverageState.NOT_OFFERED}
    assert all("Vultr OpenAPI" in one.reason for one in told)


def test_a_kind_that_says_nothing_adds_nothing() -> None:
    silent = replace(KIND, not_offered={})
    assert list(coverage_of_what_is_not_offered({KIND.name: silent}, [MACHINE], [])) == []
