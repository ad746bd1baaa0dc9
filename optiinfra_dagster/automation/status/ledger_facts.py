"""Facts from the ledger: collections, gaps and budgets; and from readers: unusual costs and answers that got worse.

Whatever is well is only counted inside ClickHouse, so that a tick costs the same with 1,000 customers and after a year.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from optiinfra_dagster.automation.repair_plan import repair_lookback
from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.months import start_of_month
from optiinfra_dagster.providers.registry import COLLECTED_FAMILIES, FAMILIES_OF
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings

LATE = 2 * windows.WINDOW  # a customer whose newest attempt is older than the newest window by more was left out
LOOKBACK = timedelta(hours=6)  # in which an attempt is looked for, beyond the longest poll of a customer
SINCE_LOOKBACK = timedelta(days=7)  # in which it is looked for since when a customer fails
MANY_FAILING = 50  # customers; of more, it is looked for in the last day only
GAPS_LOOKBACK = timedelta(days=7)
GAPS_LOOKBACK_TEXT = "7 days"

COST_OUTLOOK, APPLICATION_ALARMS = "cost outlook", "application alarms"  # the readers that tell of troubles
LACKING = ("failed", "partial", "budget")  # outcomes of an attempt

Owner = tuple[str, str, str]  # dataset, customer, provider
ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Family:
    """The state of a provider's family at the newest window."""

    provider: str
    family: str
    expected: int  # customers
    newest: datetime | None  # window that is published, None if none was in a month
    incomplete: int
    failed: int
    missing: tuple[str, ...]  # customers without an attempt of late

    @property
    def all_there(self) -> int:
        """The number of customers whose newest slice that was due is whole, or needs none."""
        return self.expected - self.incomplete - self.failed - len(self.missing)


@dataclass(frozen=True, slots=True)
class FamilyFailure:
    """A customer's family that is not whole: since which window, and how its newest attempt ended."""

    customer: str
    provider: str
    family: str
    status: str  # failed, partial or budget
    since: datetime
    at_least: bool  # it may be longer ago
    windows: int
    error: str
    permanent: bool
    attempts: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Gap:
    """Windows of a customer's family that are not there, and that nothing will fetch."""

    customer: str
    provider: str
    family: str
    windows: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class Unusual:
    """An account whose newest whole day cost something else than such days usually do."""

    customer: str
    provider: str
    account: str
    currency: str
    day: str
    by: Decimal
    usual: Decimal
    causes: str


@dataclass(frozen=True, slots=True)
class Worse:
    """A metric of an application, or of one model of it, that got worse by its newest verdict.

    The figures are shares of answers, or mean scores from 0 to 1; `low` and `high` bound their difference.
    """

    customer: str
    provider: str
    application: str
    model: str  # empty: all traffic
    metric: str
    day: str
    of_shares: bool
    seen_in: int | None  # days: 1, or 3 that end with `day`
    now: float | None  # this and what follows: None where the verdict does not say
    before: float | None
    low: float | None
    high: float | None
    n: int  # different texts that were judged on the day
    q: float | None
    days: int  # in a row that it has been told; 1: it is new


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of the ledger for the newest window."""

    newest: datetime
    families: tuple[Family, ...]
    failing: tuple[FamilyFailure, ...]
    unusual: tuple[Unusual, ...] = ()
    worse: tuple[Worse, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()  # the readers that could not be read, and why


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """The customers that used four fifths of a budget: (customer, provider, spent, limit), and of the judge's day."""

    calls: tuple[tuple[str, str, Decimal, Decimal], ...]
    judged: tuple[tuple[str, int, int], ...]  # customer, tokens, requests
    limited: int  # customers that have a budget for calls


def read_facts(client: Client, customers: Sequence[Customer], settings: Settings, now: datetime) -> Facts:
    """The state of the newest windows: what is well is only counted, all else is named with its error.

    A reader's view that is broken hides only what that reader tells.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

    facts = read_collections(client, customers, settings, now)
    ids = sorted(customer.id for customer in customers if not customer.paused)
    unread: list[tuple[str, str]] = []

    def read(reader: str, query: Callable[[Client, Sequence[str], datetime], list[ResultT]]) -> tuple[ResultT, ...]:
        try:
            return tuple(query(client, ids, facts.newest))
        except OperationalError:  # the server is gone
            raise
        except DatabaseError as error:
            unread.append((reader, str(error)))
            return ()

    return replace(
        facts,
        unusual=read(COST_OUTLOOK, unusual_costs),
        worse=read(APPLICATION_ALARMS, quality_worse),
        unread=tuple(unread),
    )


def read_collections(client: Client, customers: Sequence[Customer], settings: Settings, now: datetime) -> Facts:
    """The state of the newest windows by the ledger alone, without what readers tell."""
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    collecting = [customer for customer in customers if not customer.paused]
    ids = sorted(customer.id for customer in collecting)
    longest_poll = max((timedelta(minutes=customer.poll_minutes) for customer in collecting), default=windows.WINDOW)
    first = newest - LOOKBACK - longest_poll
    bounds = {"datasets": COLLECTED_FAMILIES, "customers": ids, "first": _text(first), "last": _text(newest)}
    rows = client.query(
        read_sql("queries/status_owners"), parameters={**bounds, "late": _text(newest - LATE)}
    ).result_rows
    attempts = {(provider, dataset): _Attempts(*facts) for dataset, provider, *facts in rows}
    outcomes = _newest_outcomes(client, attempts.values(), bounds)
    expected = {
        (provider, family): {customer.id for customer in collecting if customer.collects(provider, family)}
        for provider, names in FAMILIES_OF.items()
        for family in names
    }
    newest_ever: Mapping[tuple[str, str], int] = {}
    if any(wanted and not attempts.get(key, _Attempts()).published for key, wanted in expected.items()):
        rows = client.query(read_sql("queries/status_newest"), parameters=bounds).result_rows
        newest_ever = {(provider, dataset): seconds for dataset, provider, seconds in rows}
    families: list[Family] = []
    failing: list[tuple[Owner, str]] = []
    for (provider, family), wanted in expected.items():
        if not wanted:
            continue
        of_family = attempts.get((provider, family), _Attempts())
        missing = {customer for customer, _, tried in of_family.others if tried < (newest - LATE).timestamp()}
        if len(wanted) != of_family.customers:
            seen = client.query(
                read_sql("queries/status_seen"), parameters={"dataset": family, "provider": provider, **bounds}
            ).result_rows
            missing |= wanted - {customer for (customer,) in seen}
        missing &= wanted
        lacking = {
            customer: status
            for customer, _, _ in of_family.others
            if customer in wanted and (status := outcomes.get((family, customer, provider), "")) in LACKING
        }
        counts = Counter(status for customer, status in lacking.items() if customer not in missing)
        published = of_family.published or newest_ever.get((provider, family), 0)
        families.append(
            Family(
                provider, family, len(wanted), _utc(published) if published else None, counts["partial"],
                counts["failed"], tuple(sorted(missing)),
            )
        )  # fmt: skip
        failing += [((family, customer, provider), status) for customer, status in lacking.items()]
    return Facts(
        newest,
        tuple(families),
        tuple(_read_failing(client, failing, newest)),
    )


class _Attempts(NamedTuple):
    """The newest attempts at a family, of all its customers.

    `published` is the newest published window in epoch seconds, 0 for none. `others` are the customers whose newest
    attempt is late or lacks something: id, whether it lacks something, and the window that was tried.
    """

    customers: int = 0
    published: int = 0
    others: Sequence[tuple[str, bool, int]] = ()


def _newest_outcomes(client: Client, attempts: Iterable[_Attempts], bounds: Mapping[str, object]) -> dict[Owner, str]:
    """The outcome of the newest attempt that was due, of the customers of which one lacks something."""
    lacking = {customer for of_family in attempts for customer, lacks, _ in of_family.others if lacks}
    if not lacking:
        return {}
    rows = client.query(
        read_sql("queries/status_newest_due"), parameters={**bounds, "customers": sorted(lacking)}
    ).result_rows
    return {(dataset, customer, provider): status for dataset, customer, provider, status in rows}


def _read_failing(client: Client, failing: Sequence[tuple[Owner, str]], newest: datetime) -> list[FamilyFailure]:
    if not failing:
        return []
    names = sorted({customer for (_, customer, _), _ in failing})
    first = newest - (SINCE_LOOKBACK if len(names) <= MANY_FAILING else timedelta(days=1))
    rows = client.query(
        read_sql("queries/status_failing"),
        parameters={
            "datasets": COLLECTED_FAMILIES,
            "customers": names,
            "first": _text(first),
            "last": _text(newest),
        },
    ).result_rows
    facts = {(dataset, customer, provider): rest for dataset, customer, provider, *rest in rows}
    found = []
    for (family, customer, provider), status in failing:
        if (family, customer, provider) not in facts:  # it was published meanwhile, and its rows are older
            continue
        whole_until, first_seen, count, (_, permanent, error, attempts, last) = facts[family, customer, provider]
        since = _utc(whole_until) + windows.WINDOW if whole_until else _utc(first_seen)
        found.append(
            FamilyFailure(
                customer, provider, family, status, since, not whole_until and since <= first + windows.WINDOW, count,
                error, permanent, attempts, _utc(last),
            )
        )  # fmt: skip
    return sorted(
        found, key=lambda one: (one.status != "failed", one.customer, one.provider, FAMILIES.index(one.family))
    )


def unusual_costs(client: Client, ids: Sequence[str], newest: datetime) -> list[Unusual]:
    """The accounts of these customers whose newest whole day was no usual one, by the outlook at a window."""
    rows = client.query(
        read_sql("queries/cost_unusual"), parameters={"customers": list(ids), "last": _text(newest)}
    ).result_rows
    return [Unusual(*row) for row in rows]


def quality_worse(client: Client, ids: Sequence[str], newest: datetime) -> list[Worse]:
    """What of these customers' LLM applications got worse, by the newest verdicts at a window."""
    rows = client.query(
        read_sql("queries/quality_alarms"), parameters={"customers": list(ids), "last": _text(newest)}
    ).result_rows
    return [Worse(*row) for row in rows]


def read_gaps(client: Client, customers: Sequence[Customer], settings: Settings, now: datetime) -> list[Gap]:
    """The windows of the last 7 days that are not there and will not be asked for again, by customer and family."""
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    first = max(windows.floor(now - GAPS_LOOKBACK), settings.partitions_start)
    ends = newest - repair_lookback(settings) - windows.WINDOW
    grace = timedelta(minutes=settings.snapshot_grace_minutes)
    resource_ends = min(windows.floor(now - grace - windows.WINDOW), newest - LATE)
    collecting = [customer for customer in customers if not customer.paused]
    bounds: dict[str, Any] = {
        "datasets": COLLECTED_FAMILIES,
        "customers": sorted(customer.id for customer in collecting),
        "first": _text(first),
        "last": _text(newest - LATE),
    }
    suspects = client.query(read_sql("queries/status_lacking"), parameters=bounds).result_rows
    late_comers = sorted({customer for _, customer, _, began, _ in suspects if began > first.timestamp()})
    before: set[Owner] = set()
    if late_comers:  # or customers that were there already, and whose first windows are a hole
        known = client.query(
            read_sql("queries/status_known_before"), parameters={**bounds, "customers": late_comers}
        ).result_rows
        before = {(dataset, customer, provider) for dataset, customer, provider in known}
    lacking = {
        customer
        for dataset, customer, provider, _, lacks in suspects
        if lacks or (dataset, customer, provider) in before
    }
    if not lacking:
        return []
    rows = client.query(
        read_sql("queries/status_gaps"),
        parameters={
            **bounds,
            "customers": sorted(lacking),
            "last": _text(newest),
            "ends": _text(max(ends, first - windows.WINDOW)),
            "resource_ends": _text(max(resource_ends, first - windows.WINDOW)),
            "most": settings.repair_max_attempts,
        },
    ).result_rows
    by_id = {customer.id: customer for customer in collecting}
    gaps = []
    for family, customer, provider, began, filled, given_up in rows:
        if not by_id[customer].collects(provider, family):
            continue
        end = resource_ends if family == "resource" else ends
        begin = first if (family, customer, provider) in before else max(_utc(began), first)
        wanted = windows.span(begin, end) if begin <= end else []
        holes = sorted({w for w in wanted if int(w.timestamp()) not in set(filled)} | {_utc(one) for one in given_up})
        if holes:
            gaps.append(Gap(customer, provider, family, len(holes), holes[0], holes[-1]))
    return sorted(gaps, key=lambda gap: (gap.customer, gap.provider, gap.family))


def read_spending(client: Client, customers: Sequence[Customer], settings: Settings, now: datetime) -> BudgetUse:
    """What of this month's budgets for calls, and of today's for the judge, is nearly used up or gone."""
    limits = {
        customer.id: customer.monthly_api_budget_usd
        for customer in customers
        if customer.monthly_api_budget_usd is not None and not customer.paused
    }
    month = start_of_month(now.astimezone(UTC))
    rows = (
        client.query(
            read_sql("queries/status_spent"),
            parameters={
                "customers": list(limits),
                "limits": [int(limit * 1_000_000) for limit in limits.values()],
                "begin": int(month.timestamp()),
            },
        ).result_rows
        if limits
        else []
    )
    midnight = datetime.combine(now.astimezone(UTC).date(), time(), UTC)
    judged = client.query(
        read_sql("queries/status_judged"),
        parameters={
            "begin": 1000 * int(midnight.timestamp()),
            "end": 1000 * int((midnight + timedelta(days=1)).timestamp()),
            "tokens": settings.judge_customer_day_tokens,
            "requests": settings.judge_customer_day_requests,
        },
    ).result_rows
    names = {customer.id for customer in customers}
    return BudgetUse(
        tuple((customer, provider, Decimal(usd), limits[customer]) for customer, provider, usd in rows),
        tuple((customer, int(tokens), int(count)) for customer, tokens, count in judged if customer in names),
        len(limits),
    )


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _utc(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
