"""What else is known of a row's times: gaps of coverage, restated bills, days of costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from optiinfra_dagster.model.windows import WINDOW
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from decimal import Decimal

    from clickhouse_connect.driver.client import Client

T = TypeVar("T")

MOST_SHOWN = 50  # lines of each kind; the rest is counted

LACKS = frozenset({"no_permission", "agent_missing", "throttled", "error"})
"""States of coverage in which something that there is was not collected."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Metrics that were not collected: of how many resources, since when and until when, None where it lasts.

    `resource_id` is empty where it is of several.
    """

    provider: str
    metric_name: str
    state: str
    reason: str
    resources: int
    resource_id: str
    since: datetime
    until: datetime | None


def gaps(client: Client, row: Mapping[str, Any], begin: datetime, end: datetime) -> list[Gap]:
    """The metrics of the row, or of what it is of, that were not collected in a time; most resources first."""
    resource = str(row.get("resource_id") or "")
    rows = client.query(
        read_sql("queries/explained_coverage"),
        parameters={
            **_whose(row),
            "resource": resource,
            "metric": str(row.get("metric_name") or ""),
            "type": str(row.get("resource_type") or ""),
            "begin": int(begin.timestamp()),
            "end": int(end.timestamp()),
        },
    ).result_rows
    return [
        Gap(
            provider,
            metric,
            state,
            reason,
            resources,
            one if resources == 1 else "",
            _utc(since),
            None if lasts else _utc(until),
        )
        for provider, metric, state, reason, resources, one, since, lasts, until in rows
    ]


@dataclass(frozen=True, slots=True)
class Restatement:
    """A published day that its bill changed: what a service cost before and after, None where it had no line."""

    provider: str
    charge_day: date
    sub_account_id: str
    service_name: str
    currency: str
    before: Decimal | None
    after: Decimal | None
    seen_at: datetime


def restatements(client: Client, row: Mapping[str, Any], begin: datetime, end: datetime) -> list[Restatement]:
    """The changes of bills to the days from `begin` to `end`, of the row's account and service where it is of one."""
    rows = client.query(
        read_sql("queries/explained_restatements"),
        parameters={
            **_whose(row),
            "account": str(row.get("sub_account_id") or ""),
            "service": str(row.get("service_name") or ""),
            "begin": int(begin.timestamp()),
            "end": int(end.timestamp()),
        },
    ).result_rows
    return [
        Restatement(provider, day, account, service, currency, before, after, _utc(seen))
        for provider, day, account, service, currency, before, after, seen in rows
    ]


@dataclass(frozen=True, slots=True)
class Days:
    """The days of a provider's costs, counted: billed, estimated, arriving or not known, from the first known one on.

    `lacking` are the days that are over and not known in full, with the share that is known.
    """

    provider: str
    counts: Mapping[str, int]
    lacking: Mapping[date, float]
    billed: frozenset[date]


def days(client: Client, row: Mapping[str, Any], begin: datetime, end: datetime) -> list[Days]:
    """What is known of the days from `begin` to `end`, of the row's account where it is of one."""
    last = end - WINDOW
    rows = client.query(
        read_sql("queries/explained_days"),
        parameters={
            **_whose(row),
            "account": str(row.get("sub_account_id") or ""),
            "first": begin.strftime("%Y-%m-%d"),
            "window": last.strftime("%Y-%m-%d %H:%M:%S"),
        },
    ).result_rows
    known: dict[str, dict[date, tuple[str, float]]] = {}
    for provider, day, state, share in rows:
        known.setdefault(provider, {})[date.fromisoformat(day)] = (state, share)
    found = []
    for provider, of_days in known.items():
        first = min(of_days)
        every_day = [first + timedelta(days=n) for n in range((last.date() - first).days + 1)]
        states = {day: of_days.get(day, ("unknown", 0.0)) for day in every_day}
        not_over = end.date()  # the first of them
        found.append(
            Days(
                provider,
                Counter(state for state, _ in states.values()),
                {day: share for day, (_, share) in states.items() if share < 1 and day < not_over},
                frozenset(day for day, (state, _) in states.items() if state == "billed"),
            )
        )
    return found


def first_of(items: Sequence[T]) -> tuple[list[T], int]:
    """The first of some facts, as many as are shown, and how many are left out."""
    return list(items[:MOST_SHOWN]), max(0, len(items) - MOST_SHOWN)


def _whose(row: Mapping[str, Any]) -> dict[str, str]:
    return {"customer": str(row["customer_id"]), "provider": str(row.get("provider") or "")}


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
