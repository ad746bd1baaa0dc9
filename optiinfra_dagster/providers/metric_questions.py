"""Questions for metrics: a catalogue metric of a resource, and its outcome. Every cloud's collector asks these.

`providers/<cloud>/metrics.py` of a further cloud begins with them:

1. The kinds say in `services/<service>.py` why a metric does not exist for a resource (`conditions`), why a resource
   has had no points since a time (`idle_since`; `stopped_since` for machines whose `stopped_at` is known), and why one
   that was asked about may have none (`why_no_points`).
2. A function of the cloud makes the `Question`s of a resource, one for each metric of `metrics_to_ask`. It settles
   those with a reason as `NOT_OFFERED`, and those of a resource that the API cannot be asked about as `ERROR`. What is
   open after that (`state` None) is asked, and priced by `price`.
3. The open questions go to the account, project or subscription that their resource is in; one that the customers file
   does not name fails them with `unknown_account`. The calls run in `threads.side_by_side`.
4. A call's answer adds `Series` to its questions. A call that fails makes its questions `fail`, and they are added to
   the account's `Losses`, so that the same failure of many calls becomes one problem. After `Cause.AUTH` the account is
   asked nothing more.
5. `result_of` puts series, coverage and problems together.

A cloud subclasses `Question` for what its API needs beside a metric's name (dimensions, labels), and for the reasons of
silence that it alone has, such as an agent that is not installed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from optiinfra_dagster.model.errors import Cause, CollectionError, ConfigError
from optiinfra_dagster.model.inventory import Status
from optiinfra_dagster.model.metrics import Coverage, CoverageState, MetricsResult
from optiinfra_dagster.model.problems import Problem

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.model.inventory import Resource
    from optiinfra_dagster.model.metrics import Metric, Series
    from optiinfra_dagster.providers.kind import Kind


@dataclass(slots=True)
class Question:
    """A metric of a resource, and its outcome: the series, or a state with a reason once it is settled.

    `points_outweigh_failures` is true where each statistic of a metric is a call of its own, so that the points of one
    outweigh the failure of another.
    """

    points_outweigh_failures: ClassVar[bool] = False

    kind: Kind
    resource: Resource
    metric: Metric
    series: list[Series] = field(default_factory=list)
    state: CoverageState | None = None
    reason: str = ""

    @property
    def noun(self) -> str:
        """The kind of the resource, as messages call it: `instance`."""
        return self.resource.kind.partition(":")[2]

    @property
    def status_word(self) -> str:
        """The status of the resource, as messages call it: `stopped`."""
        return self.resource.status

    def settle(self, state: CoverageState, reason: str) -> None:
        """Decide the coverage, whatever series there are, unless points outweigh failures."""
        self.state, self.reason = state, reason

    def fail(self, error: CollectionError) -> None:
        """Settle by the error of the call that should have answered."""
        self.settle(CoverageState.of(error.cause), str(error))

    def coverage(self) -> Coverage:
        """The state that it was settled with; else collected, if any statistic has points; else why it has none."""
        state, reason = self.state, self.reason
        if state is None or (self.series and self.points_outweigh_failures):
            state, reason = (CoverageState.COLLECTED, "") if self.series else self.without_points()
        return Coverage(self.resource.resource_id, self.resource.resource_type, self.metric.name, state, reason)

    def without_points(self) -> tuple[CoverageState, str]:
        """State and reason where points are missing without an error: the resource is off or idle, or none is known."""
        if self.resource.status in {Status.STOPPED, Status.TERMINATED}:
            return CoverageState.NOT_OFFERED, f"the {self.noun} is {self.status_word}"
        if reason := self.kind.why_no_points(self.resource):
            return CoverageState.NOT_OFFERED, reason
        return CoverageState.NO_POINTS, "the cloud returned no points"


def metrics_to_ask(kind: Kind, resource: Resource, start: datetime) -> Iterator[tuple[Metric, str]]:
    """Every metric of a resource's kind, with the reason why it is not offered since `start`; "" where it is asked."""
    idle = kind.idle_since(resource, start)
    for metric in kind.metrics:
        yield metric, kind.why_not_offered(metric, resource) or idle


def unknown_account(noun: str, account_id: str) -> ConfigError:
    """The error of resources in an account that the customers file does not name; `noun` is as in `AWS account`."""
    return ConfigError(f"the customers file names no {noun} {account_id}, though it has resources")


# --- What is missing ------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Loss:
    """The questions that one failure cost, in a region and of a kind; both are "" where it meets the whole account.

    A question may be in it several times, once for each statistic.
    """

    region: str
    kind: str
    cause: Cause
    message: str
    questions: list[Question] = field(default_factory=list)

    @property
    def metrics(self) -> int:
        """The number of metrics that are missing."""
        return len({id(question) for question in self.questions})


class Losses:
    """The losses of an account, each once however many calls fail alike. Safe to use from several threads.

    `words` makes the message of a loss's problem, as in `rate limit reached (12 metrics are missing)`.
    """

    def __init__(self, account_id: str, words: Callable[[Loss], str]) -> None:
        self._account_id, self._words = account_id, words
        self._losses: dict[tuple[str, str, Cause, str], Loss] = {}
        self._lock = threading.Lock()

    def add(
        self, cause: Cause, message: str, questions: Sequence[Question], *, region: str = "", kind: str = ""
    ) -> None:
        """Count questions to the loss with this place, cause and message.

        The amounts in the message of a spent budget change from call to call: in one place they are one loss.
        """
        key = (region, kind, cause, "" if cause is Cause.BUDGET else message)
        with self._lock:
            loss = self._losses.get(key)
            if loss is None:
                loss = self._losses[key] = Loss(region, kind, cause, message)
            loss.questions.extend(questions)

    def problems(self) -> list[Problem]:
        """A problem for each loss, in the order of their first questions."""
        return [
            Problem(self._account_id, loss.region, loss.kind, loss.cause, self._words(loss))
            for loss in self._losses.values()
        ]


def result_of(questions: Sequence[Question], problems: Iterable[Problem]) -> MetricsResult:
    """The series that have points, one coverage for each question, and the problems."""
    return MetricsResult(
        series=[series for question in questions for series in question.series],
        coverage=[question.coverage() for question in questions],
        problems=list(problems),
    )
