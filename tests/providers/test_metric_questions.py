from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

import pytest

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.metrics import CoverageState, Metric, Series
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.kind import Kind, stopped_since
from optiinfra_dagster.providers.metric_questions import (
    Loss,
    Losses,
    Question,
    metrics_to_ask,
    result_of,
    unknown_account,
)

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
CPU, RAM = (Metric("c", "c:machine", name, name, "percent", "n", name, ("Average",), 300) for name in ("cpu", "ram"))


def machine(status: Status = Status.RUNNING, **facts: str) -> Resource:
    return Resource(
        "1", "r", "c:machine", "m-1", "m-1", ResourceType.COMPUTE, status, metadata=dict(facts), cloud_status="word"
    )


def kind(**rules: object) -> Kind:
    return Kind(name="c:machine", resource_type=ResourceType.COMPUTE, metrics=(CPU, RAM), **rules)  # type: ignore[arg-type]


def points(question: Question) -> Series:
    return Series(question.resource, question.metric, "average", [0], [1.0])


@dataclass(slots=True)
class ByStatistic(Question):
    points_outweigh_failures: ClassVar[bool] = True


@pytest.mark.parametrize(
    ("asked", "state"), [(Question, CoverageState.THROTTLED), (ByStatistic, CoverageState.COLLECTED)]
)
def test_points_outweigh_a_failure_only_where_statistics_are_calls_of_their_own(
    asked: type[Question], state: CoverageState
) -> None:
    question = asked(kind(), machine(), CPU)
    question.series.append(points(question))
    question.fail(CloudError(Cause.THROTTLED, "too many"))

    assert question.coverage().state is state
    assert question.coverage().reason == ("" if state is CoverageState.COLLECTED else "too many")


@pytest.mark.parametrize(
    ("status", "state", "reason"),
    [
        (Status.STOPPED, CoverageState.NOT_OFFERED, "the machine is stopped"),
        (Status.TERMINATED, CoverageState.NOT_OFFERED, "the machine is terminated"),
        (Status.ERROR, CoverageState.NOT_OFFERED, "nobody uses it"),
        (Status.RUNNING, CoverageState.NO_POINTS, "the cloud returned no points"),
    ],
)
def test_a_question_without_points_says_why(status: Status, state: CoverageState, reason: str) -> None:
    unused = kind(why_no_points=lambda one: "nobody uses it" if one.status is Status.ERROR else "")

    coverage = Question(unused, machine(status), CPU).coverage()

    assert (coverage.state, coverage.reason) == (state, reason)


def test_a_machine_is_not_asked_about_once_it_was_stopped_before_the_range() -> None:
    ours, stopped = kind(idle_since=stopped_since), machine(Status.STOPPED, stopped_at=NOON.isoformat())

    assert list(metrics_to_ask(ours, stopped, NOON)) == [(CPU, ""), (RAM, "")]
    reason = "the machine is stopped"
    assert list(metrics_to_ask(ours, stopped, NOON + timedelta(seconds=1))) == [(CPU, reason), (RAM, reason)]


def test_a_failure_of_many_calls_is_one_problem_that_counts_each_metric_once() -> None:
    cpu, ram = (Question(kind(), machine(), metric) for metric in (CPU, RAM))
    losses = Losses("1", lambda loss: f"{loss.message} ({loss.metrics})")
    losses.add(Cause.UNAVAILABLE, "down", [cpu], region="r")
    losses.add(Cause.UNAVAILABLE, "down", [cpu, ram], region="r")
    losses.add(Cause.UNAVAILABLE, "down", [ram])
    losses.add(Cause.BUDGET, "3 USD are left", [cpu])
    losses.add(Cause.BUDGET, "2 USD are left", [ram])

    result = result_of([cpu, ram], losses.problems())

    assert result.problems == [
        Problem("1", "r", "", Cause.UNAVAILABLE, "down (2)"),
        Problem("1", "", "", Cause.UNAVAILABLE, "down (1)"),
        Problem("1", "", "", Cause.BUDGET, "3 USD are left (2)"),
    ]
    assert [one.metric_name for one in result.coverage] == ["cpu", "ram"]


def test_an_account_that_the_customers_file_does_not_name_is_said_so() -> None:
    error = unknown_account("AWS account", "1")

    assert (error.cause, str(error)) == (
        Cause.CONFIG,
        "the customers file names no AWS account 1, though it has resources",
    )


def test_a_loss_counts_a_metric_of_several_statistics_once() -> None:
    question = Question(kind(), machine(), CPU)

    assert Loss("", "", Cause.BUG, "odd", [question, question]).metrics == 1
