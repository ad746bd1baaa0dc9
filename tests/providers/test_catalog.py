from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.providers.aws.kind import ADD_ON, AGENT
from optiinfra_dagster.providers.aws.services import KINDS
from optiinfra_dagster.providers.catalog import METRICS, PROMETHEUS_METRICS, metrics_for

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import Metric

# Of the machines of one cloud: the rows are the same on every cloud.
_WRITTEN_BY_EXPORTERS = tuple(metric for metric in PROMETHEUS_METRICS if metric.kind == "vultr:instance")
UNITS = {"percent", "bytes", "bytes/s", "ops/s", "requests/s", "units/s", "seconds", "count"}


def test_no_kind_has_a_metric_twice_from_one_source() -> None:
    keys = [(metric.provider, metric.kind, metric.name, "") for metric in METRICS]
    keys += [(metric.provider, metric.kind, metric.name, metric.namespace) for metric in PROMETHEUS_METRICS]

    assert len(set(keys)) == len(keys)


@pytest.mark.parametrize(
    "metric", [*METRICS, *_WRITTEN_BY_EXPORTERS], ids=lambda metric: f"{metric.kind}:{metric.namespace}:{metric.name}"
)
def test_every_row_is_in_our_units_and_says_where_it_comes_from(metric: Metric) -> None:
    assert metric.unit in UNITS
    assert metric.source
    assert metric.statistics
    assert not metric.per_second or metric.unit.endswith("/s")


def test_a_name_means_one_unit_on_every_kind() -> None:
    by_name = itertools.groupby(
        sorted((*METRICS, *PROMETHEUS_METRICS), key=lambda metric: metric.name), key=lambda metric: metric.name
    )

    assert {name: units for name, rows in by_name if len(units := {row.unit for row in rows}) > 1} == {}


def test_every_aws_condition_is_known() -> None:
    unknown = [
        metric
        for kind in KINDS.values()
        for metric in kind.metrics
        if metric.condition not in {"", AGENT, ADD_ON, *kind.conditions}
    ]

    assert unknown == []


def test_a_nitro_instance_costs_eight_queries() -> None:
    asked = [metric for metric in metrics_for("aws", "ec2:instance") if metric.condition != "agent"]

    assert sum(len(metric.statistics) for metric in asked) == 8


def test_statistics_of_a_metric_are_one_price() -> None:
    assert max(len(metric.statistics) for metric in METRICS if metric.provider == "aws") <= 5


def test_kinds_without_metrics_have_none() -> None:
    assert metrics_for("aws", "ec2:vpc") == ()


def test_rates_are_averages() -> None:
    rate, plain = metrics_for("aws", "ec2:instance")[6], metrics_for("aws", "elbv2:application")[0]

    assert (rate.api_metric, rate.statistic_name("Sum")) == ("NetworkOut", "average")
    assert [plain.statistic_name(one) for one in plain.statistics] == ["average", "p50", "p95", "p99"]


def test_the_aws_rows_are_those_of_the_kinds() -> None:
    rows = [metric for metric in METRICS if metric.provider == "aws"]

    assert rows == [metric for kind in KINDS.values() for metric in kind.metrics]
    assert {metric.kind for kind in KINDS.values() for metric in kind.metrics if metric.kind != kind.name} == set()
