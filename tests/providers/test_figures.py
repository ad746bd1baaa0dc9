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

# What is neither collected nor said to be not offered. A line may only lose words; a new kind has none.
NOT_COLLECTED = {
    "gcp:instance": "response_time",
    "gcp:disk": "disk_io response_time uptime",
    "gcp:snapshot": "disk_io response_time uptime",
    "gcp:filestore_instance": "response_time uptime",
    "gcp:sql_instance": "response_time",
    "gcp:redis_instance": "disk_io response_time uptime",
    "gcp:redis_cluster": "disk_io network_io response_time uptime",
    "gcp:valkey_instance": "cpu memory disk_io network_io response_time uptime",
    "gcp:memcache_instance": "cpu memory disk_io network_io response_time uptime",
    "gcp:bigtable_cluster": "cpu memory disk_io network_io response_time uptime",
    "gcp:spanner_instance": "cpu memory disk_io network_io response_time uptime",
    "gcp:alloydb_cluster": "cpu memory disk_io network_io response_time uptime",
    "gcp:alloydb_instance": "disk_io network_io response_time uptime",
    "gcp:forwarding_rule": "cpu memory uptime",
    "gcp:network": "network_io response_time uptime",
    "gcp:subnetwork": "network_io response_time uptime",
    "gcp:router": "response_time uptime",
    "gcp:address": "network_io response_time uptime",
    "gcp:gke_cluster": "disk_io response_time uptime",
    "gcp:gke_node_pool": "cpu memory disk_io network_io response_time uptime",
}

# Metrics that answer none of the six.
BESIDE = {
    *("disk_utilization", "storage_used", "storage_free", "request_rate", "connections"),
    *("read_capacity", "write_capacity", "error_rate", "object_count"),
    *("throughput_utilization", "backend_health"),
}


@CLOUDS
def test_every_figure_of_a_kind_is_collected_or_not_offered(cloud: str) -> None:
    missing = []
    for kind in PROVIDERS[cloud].kinds.values():
        for figure in Figure:
            known = figures.collected(kind, figure) or figures.not_offered(kind, figure)
            if not known and figure not in NOT_COLLECTED.get(kind.name, "").split():
                missing.append(
                    f"{kind.name}: add a metric of {figure}, or name in not_offered the document that lists what "
                    f"{cloud} measures of it"
                )
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


def test_the_list_of_what_is_not_collected_names_kinds_and_figures() -> None:
    kinds = {name for provider in PROVIDERS.values() for name in provider.kinds}
    assert NOT_COLLECTED.keys() - kinds == set()
    assert {word for words in NOT_COLLECTED.values() for word in words.split()} - set(Figure) == set()


def test_every_metric_answers_a_figure_or_is_known_to_answer_none() -> None:
    assert {metric.name for metric in METRICS} - FIGURE_OF.keys() - BESIDE == set()
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
