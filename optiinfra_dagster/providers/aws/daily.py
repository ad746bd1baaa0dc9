"""What AWS tells of whole days, such as the size of a bucket: asked until the newest day is known, a few times a day.

A day's figure comes some hours after the day, and none at all of an empty bucket. So what was asked in vain is asked
again after hours, and not in each window. A window that is collected again asks what it asked before, because what it
stored itself is not in `request.daily`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model.metrics import CoverageState
from optiinfra_dagster.providers.aws.kind import DAY_SECONDS

if TYPE_CHECKING:
    from optiinfra_dagster.model.metrics import MetricsRequest
    from optiinfra_dagster.providers.aws.account import AwsAccount
    from optiinfra_dagster.providers.aws.questions import Question

_DAYS_BACK = 3  # where the days before yesterday are missing too
_HOURS = 6  # until what was asked in vain is asked again
_OF_PRESENT = "it is told of whole days, with the window in which it becomes known"


def is_daily(question: Question) -> bool:
    """True for a metric of whole days."""
    return question.metric.period == DAY_SECONDS


def span_of(request: MetricsRequest[AwsAccount]) -> tuple[datetime, datetime]:
    """The days that are asked for: those before the day of the present window."""
    now = request.present or request.end
    today = datetime(now.year, now.month, now.day, tzinfo=UTC)
    return today - timedelta(days=_DAYS_BACK), today


def first_of(request: MetricsRequest[AwsAccount], question: Question) -> float:
    """The start of the first day that is wanted: what other windows have is not told twice."""
    start, _ = span_of(request)
    known = request.daily.get(question.resource.resource_id)
    return start.timestamp() if known is None else max(start.timestamp(), known + DAY_SECONDS)


def settle(request: MetricsRequest[AwsAccount], questions: Iterable[Question]) -> None:
    """Settle the questions of whole days that need not be asked in this window."""
    _, today = span_of(request)
    asked_before: dict[tuple[str, str], dict[str, str]] = {}
    for question in filter(is_daily, questions):
        if question.state is not None:
            continue
        resource = question.resource
        place = (resource.account_id, resource.region)
        if place not in asked_before:
            asked_before[place] = _asked(request, place)
        known = request.daily.get(resource.resource_id)
        if request.present is None:
            question.settle(CoverageState.NOT_OFFERED, _OF_PRESENT)
        elif known is not None and known >= today.timestamp() - DAY_SECONDS:
            question.settle(CoverageState.COLLECTED, "")
        elif asked_before[place].get(resource.resource_id, _name(request)) != _name(request):
            question.settle(*_in_vain(known))


def after(request: MetricsRequest[AwsAccount], questions: Sequence[Question]) -> None:
    """Remember what was asked, and settle what has no new day by what is known of it from before."""
    places: dict[tuple[str, str], dict[str, str]] = {}
    for question in questions:
        resource = question.resource
        if question.state is None:
            places.setdefault((resource.account_id, resource.region), {})[resource.resource_id] = _name(request)
        if question.is_open:
            question.settle(*_in_vain(request.daily.get(resource.resource_id)))
    if request.memory is not None:
        for place, names in places.items():
            request.memory.put({**names, **_asked(request, place)}, *_key(request, place))


def _in_vain(known: int | None) -> tuple[CoverageState, str]:
    if known is None:
        return CoverageState.NO_POINTS, "the cloud returned no points"
    return CoverageState.COLLECTED, ""


def _asked(request: MetricsRequest[AwsAccount], place: tuple[str, str]) -> dict[str, str]:
    """The window in which each resource was asked about, by the resource's id."""
    found = request.memory.get(*_key(request, place)) if request.memory is not None else None
    return found if isinstance(found, dict) else {}


def _name(request: MetricsRequest[AwsAccount]) -> str:
    """The window's name in the memory."""
    return str(request.present)


def _key(request: MetricsRequest[AwsAccount], place: tuple[str, str]) -> tuple[str, ...]:
    now = request.present or request.end
    return ("aws", "daily", request.customer_id, *place, f"{now:%Y-%m-%d} {now.hour // _HOURS}")
