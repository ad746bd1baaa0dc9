"""Plans repairs: from attempts to the slices to ask for again now. Pure: no Dagster instance, no ledger."""

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.assets.scope import WHOLE, shard_of
from optiinfra_dagster.automation.ledger_watch import retry_delay
from optiinfra_dagster.automation.run_tags import (
    CATCH_UP_TAG,
    REPAIR_TAG,
    REPAIR_TAGS,
    RUN_TAGS,
    SHARD_TAG,
    range_tags,
)
from optiinfra_dagster.collection.plan import poll_end
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import FAMILIES_OF

if TYPE_CHECKING:
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.config.shards import Shards


@dataclass(frozen=True, slots=True)
class Attempts:
    """The attempts at a slice: how the last one ended, how many failed, when the last was."""

    status: str
    permanent: bool
    count: int
    last: datetime


# The family, customer, provider and window of a slice; the customer and provider of many.
Slice = tuple[str, str, str, datetime]


Owner = tuple[str, str]


FAILING = {"failed", "partial"}


@dataclass(frozen=True, slots=True)
class Repair:
    """A run that asks for slices again: windows in a row, the same families and customers, of one shard, throughout."""

    provider: str
    families: tuple[str, ...]
    customers: tuple[str, ...]
    first: datetime
    last: datetime
    attempt: int = 0  # the most that one of its slices was attempted before
    shard: str = WHOLE

    @property
    def key(self) -> str:
        """The identity of this request: it changes when an attempt failed."""
        customers = hashlib.blake2b(",".join(self.customers).encode(), digest_size=6).hexdigest()
        span = f"{windows.key(self.first)}:{windows.key(self.last)}"
        return f"{self.provider}:{'+'.join(self.families)}:{span}:{customers}:{self.attempt}"

    @property
    def partition(self) -> str | None:
        """The partition of its run, if it is one: only of a run with a partition Dagster knows whose check it was."""
        return windows.key(self.first) if self.first == self.last else None

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its run: its windows, what it asks for, and its place in the queue."""
        return {
            **(range_tags(self.first, self.last) if self.partition is None else {}),
            **RUN_TAGS,
            **REPAIR_TAGS,
            REPAIR_TAG: f"{self.provider}:{'+'.join(self.families)}",
            **({} if "resource" in self.families else {CATCH_UP_TAG: self.provider}),
            **({} if self.shard == WHOLE else {SHARD_TAG: self.shard}),
        }

    @property
    def slices(self) -> Iterator[Slice]:
        """Every slice that it asks for."""
        for window in windows.span(self.first, self.last):
            for customer in self.customers:
                for family in self.families:
                    yield family, customer, self.provider, window


def repair_lookback(settings: "Settings") -> timedelta:
    """The time back from the newest window in which failed and missing slices are asked for again."""
    return timedelta(hours=settings.repair_lookback_hours)


def with_crashes(
    attempts: Mapping[Slice, Attempts], failed: Iterable[tuple[Repair, datetime]], lacking: Collection[Owner]
) -> dict[Slice, Attempts]:
    """Add crashed runs to the ledger's attempts: slices of `failed` repairs count as attempted as often as those ran.

    Only of owners that lack something.
    """
    merged = dict(attempts)
    crashes: dict[Slice, int] = defaultdict(int)
    for repair, ended in failed:
        for asked in repair.slices:
            if asked[1:3] not in lacking:
                continue
            crashes[asked] += 1
            known = merged.get(asked, Attempts("missing", permanent=False, count=0, last=ended))
            merged[asked] = replace(known, count=max(known.count, crashes[asked]), last=max(known.last, ended))
    return merged


def plan_repairs(
    customers: "Iterable[Customer]",
    attempts: Mapping[Slice, Attempts],
    settings: "Settings",
    now: datetime,
    before: Iterable[Owner] = (),
) -> list[Repair]:
    """Plan the repairs to ask for now, the newest windows first.

    A slice is missing if it was never attempted although an earlier one of its customer and provider was, within the
    lookback or `before` it: windows from before a customer came are not asked for. Slices whose last error only a
    person can remedy are left alone until a later attempt at another window is whole: somebody has remedied it.
    """
    newest = windows.newest_collectable(now, timedelta(minutes=settings.lag_minutes))
    oldest = max(newest - repair_lookback(settings), settings.partitions_start)
    began = dict.fromkeys(before, oldest)
    for _, customer_id, provider, window in attempts:
        began[customer_id, provider] = min(window, began.get((customer_id, provider), window))
    without_inventory = _without_inventory(attempts)
    wanted: dict[tuple[str, str, datetime], dict[str, int]] = defaultdict(dict)
    for customer in customers:
        for provider, families in FAMILIES_OF.items():
            if (customer.id, provider) not in began:
                continue
            span = windows.span(max(oldest, began[customer.id, provider]), newest)
            for family in families:
                if not customer.collects(provider, family):
                    continue
                known = {
                    w: attempts[family, customer.id, provider, w]
                    for w in span
                    if (family, customer.id, provider, w) in attempts
                }
                if family != "resource" and (customer.id, provider) in without_inventory:
                    span_of_family = [w for w in span if w not in known]
                else:
                    span_of_family = span
                for window in _due(family, customer, span_of_family, known, settings, now):
                    wanted[provider, customer.id, window][family] = known[window].count if window in known else 0
    return _grouped(wanted, attempts, settings.shards)


def _due(
    family: str,
    customer: "Customer",
    span: Sequence[datetime],
    known: Mapping[datetime, Attempts],
    settings: "Settings",
    now: datetime,
) -> list[datetime]:
    """The windows of one customer's family to ask for now.

    While the newest attempted window fails, what is older would fail too: only the newest is tried, as a probe. Once it
    is well, the first window that is due takes all the others that failed along, so that they share a run.
    """
    remedied = max((of_window.last for of_window in known.values() if of_window.status == "ok"), default=None)
    due = [w for w in span if _is_due(family, customer, w, known.get(w), remedied, settings, now)]
    attempted = [w for w, of_window in known.items() if of_window.status not in {"missing", "not_due"}]
    latest = max(attempted, default=None)
    if not due or latest is None:
        return due
    if _may_help(known[latest], remedied):
        return [w for w in due if w >= latest]
    return [
        w
        for w in span
        if w in due
        or (
            (of_window := known.get(w))
            and _may_help(of_window, remedied)
            and of_window.count <= settings.repair_max_attempts
            and in_time(family, w, settings, now)
        )
    ]


def _may_help(known: Attempts, remedied: datetime | None) -> bool:
    """True if a slice fails, and trying again may help: what needed a person was `remedied` since."""
    return known.status in FAILING and (not known.permanent or (remedied is not None and known.last < remedied))


def _without_inventory(attempts: Mapping[Slice, Attempts]) -> set[tuple[str, str]]:
    """The (customer, provider) whose inventory waits for a person: what needs it would only fail again."""
    newest: dict[tuple[str, str], tuple[datetime, Attempts]] = {}
    published = set()
    for (family, customer, provider, window), known in attempts.items():
        if family != "resource":
            continue
        if known.status in {"ok", "partial"}:
            published.add((customer, provider))
        elif (customer, provider) not in newest or newest[customer, provider][0] < window:
            newest[customer, provider] = (window, known)
    return {owner for owner, (_, known) in newest.items() if known.permanent} - published


def _is_due(
    family: str,
    customer: "Customer",
    window: datetime,
    known: Attempts | None,
    remedied: datetime | None,
    settings: "Settings",
    now: datetime,
) -> bool:
    if not in_time(family, window, settings, now):
        return False
    if (
        known
        and known.count
        and (known.count > settings.repair_max_attempts or known.last + retry_delay(known.count) > now)
    ):
        return False
    if known is None or known.status in {"missing", "not_due"}:
        if not settings.repair_max_attempts:
            return False
        # The schedule has its turn first.
        over = poll_end(window, customer.poll_minutes if family == "performance" else 15)
        return now > over + timedelta(minutes=settings.lag_minutes) + windows.WINDOW
    return _may_help(known, remedied)


def in_time(family: str, window: datetime, settings: "Settings", now: datetime) -> bool:
    """True while a window can still be collected: an inventory has no history."""
    return family != "resource" or now <= window + windows.WINDOW + timedelta(minutes=settings.snapshot_grace_minutes)


def _grouped(
    wanted: Mapping[tuple[str, str, datetime], Mapping[str, int]], attempts: Mapping[Slice, Attempts], shards: "Shards"
) -> list[Repair]:
    """Group into as few runs as possible: stretches of windows, customers with the same stretch and families together.

    Customers of different shards are in different runs, as when they were collected: one of all would take as many
    times longer.

    A stretch goes on over windows that are whole, which a run skips at no cost.
    """
    by_customer: dict[tuple[str, str, tuple[str, ...]], list[datetime]] = defaultdict(list)
    for (provider, customer_id, window), families in wanted.items():
        by_customer[provider, customer_id, tuple(sorted(families, reverse=True))].append(window)
    together: dict[tuple[str, tuple[str, ...], datetime, datetime, str], list[str]] = defaultdict(list)
    for (provider, customer_id, names), its_windows in by_customer.items():
        for first, last in _stretches(provider, customer_id, names, its_windows, attempts):
            shard = shard_of(customer_id, shards.of(provider))
            together[provider, names, first, last, shard].append(customer_id)
    repairs = []
    for (provider, names, first, last, shard), customers in together.items():
        attempt = max(
            max(wanted[provider, customer, window].values())
            for customer in customers
            for window in windows.span(first, last)
            if (provider, customer, window) in wanted
        )
        repairs.append(Repair(provider, names, tuple(sorted(customers)), first, last, attempt, shard))
    return sorted(repairs, key=lambda r: (r.last, r.provider), reverse=True)


def _stretches(
    provider: str,
    customer_id: str,
    families: Sequence[str],
    its_windows: Sequence[datetime],
    attempts: Mapping[Slice, Attempts],
) -> list[tuple[datetime, datetime]]:
    """The stretches of a customer's windows, joined over those whose every family is whole."""

    def whole(window: datetime) -> bool:
        known = (attempts.get((family, customer_id, provider, window)) for family in families)
        return all(one is not None and one.status == "ok" for one in known)

    joined: list[tuple[datetime, datetime]] = []
    for first, last in windows.runs_of(its_windows):
        if joined and all(whole(w) for w in windows.span(joined[-1][1] + windows.WINDOW, first - windows.WINDOW)):
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    return joined
