"""The items that are told by the ledger, in words: collections, failing customers, gaps, budgets."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.assets.collection_assets import UPSTREAM
from optiinfra_dagster.automation.ledger_watch import retry_delay
from optiinfra_dagster.automation.status.items import Item, Kind, Part, Section, State, Trouble, key_of, section
from optiinfra_dagster.automation.status.ledger_facts import APPLICATION_ALARMS, COST_OUTLOOK, GAPS_LOOKBACK_TEXT, LATE
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.text import ago, counted, plain, shortened

if TYPE_CHECKING:
    from optiinfra_dagster.automation.status.ledger_facts import (
        BudgetUse,
        Facts,
        Family,
        FamilyFailure,
        Gap,
        Unusual,
        Worse,
    )
    from optiinfra_dagster.config.settings import Settings

MOST_NAMED = 5  # customers of a family that are missing
LONGEST_CAUSE = 60


def collections(facts: Facts, settings: Settings, file_changed: datetime | None, now: datetime) -> Section:
    """The item of the collections: each family's newest window and its age, and who is in, failed or missing.

    Red is what has stopped. A customer that fails is told of among the failing customers.
    """
    parts, troubles = [], []
    # A customer that was added is asked for by the next schedule, whose run takes its time.
    is_new = file_changed is not None and now - file_changed < LATE + windows.WINDOW
    all_fail = {(one.provider, one.family) for one in facts.families if one.failed and one.failed == one.expected}
    for one in facts.families:
        needs = next((family for family in UPSTREAM[one.family] if (one.provider, family) in all_fail), "")
        state, text = _family(one, facts.newest, settings, now, is_new=is_new, needs=needs)
        name = f"{one.provider} {one.family}"
        parts.append(Part(state, name, text))
        if state is State.RED:
            troubles.append(Trouble(Kind.LATE, "", one.provider, one.family, text=f"{name}: {text}."))
    if not facts.families:
        parts.append(Part(State.WARN, "", "no customer is collected: all are paused, or their families are none"))
    return section(
        Item.COLLECTIONS, parts, f"{len(parts)} in time, newest window {windows.key(facts.newest)}", troubles=troubles
    )


_TOLD_BY_READER = {COST_OUTLOOK: Kind.COST_UNUSUAL, APPLICATION_ALARMS: Kind.QUALITY_WORSE}


def without_readers(collected: Section, lost: Sequence[tuple[str, str]]) -> Section:
    """The collections, with a line of each reader that could not be read, whose troubles are undecided.

    It is a warning: nothing that is collected is lost, and the heartbeat goes on.
    """
    if not lost:
        return collected
    parts = [
        Part(
            State.WARN, reader, f"it cannot be read, so nothing is known of what it tells: {shortened(plain(why), 200)}"
        )
        for reader, why in lost
    ]
    joined = section(Item.COLLECTIONS, [*collected.parts, *parts], collected.text, troubles=collected.troubles)
    kinds = frozenset(_TOLD_BY_READER[reader] for reader, _ in lost)
    return replace(joined, more=joined.more + collected.more, undecided_kinds=kinds)


def _family(
    one: Family, newest: datetime, settings: Settings, now: datetime, *, is_new: bool, needs: str
) -> tuple[State, str]:
    """The state of a family, in words. `needs` is a family that it needs and that fails for every customer."""
    counts = [f"{one.all_there:,} of {counted(one.expected, 'customer')} in"]
    counts += [f"{n:,} {what}" for n, what in ((one.incomplete, "incomplete"), (one.failed, "failed")) if n]
    state = State.OK
    missing = len(one.missing)
    if missing:
        names = ", ".join(one.missing[:MOST_NAMED]) + (" ..." if missing > MOST_NAMED else "")
        what = "wait for the next window" if is_new and missing < one.expected else "missing"
        counts.append(f"{missing:,} {what} ({names})")
        state = State.OK if what != "missing" else State.RED
    why = f"It needs {one.provider} {needs}, which fails for every customer: mend what failing customers tell"
    waits = not missing and not one.failed  # polls are long, or budgets are used up: all is as it should be
    if one.newest is None:
        if waits and one.family == "application" and not settings.has_judge:
            return State.WARN, f"nothing is judged: {settings.judge_key_variable} is not set"
        if missing == one.expected:
            if needs:
                return State.RED, f"nothing was collected yet. {why}"
            return State.RED, "nothing was collected yet. Run `optiinfra run`, or start a Dagster daemon"
        return State.OK if waits else State.RED, f"nothing was published in a month; {', '.join(counts)}"
    if newest - one.newest > LATE and not waits:
        state = State.RED
    if missing and needs:
        counts.append(f"{why[0].lower()}{why[1:]}")
    age = now - one.newest - windows.WINDOW
    return state, f"newest window {windows.key(one.newest)}, closed {ago(age)} ago; {', '.join(counts)}"


def customers(facts: Facts, settings: Settings, now: datetime) -> Section:
    """The customers whose slices fail: since when, why, and whether the next try may help."""
    parts, troubles = [], []
    for one in facts.failing:
        name = f"{one.customer} {one.provider} {one.family}"
        if one.status == "budget":
            continue
        parts.append(Part(State.RED if one.status == "failed" else State.WARN, name, _failing(one, settings, now)))
        if one.status == "failed":
            person = " It needs a person." if one.permanent else ""
            text = f"{name} fails since window {windows.key(one.since)}: {shortened(plain(one.error), 300)}.{person}"
            troubles.append(
                Trouble(Kind.SLICE_FAILING, one.customer, one.provider, one.family, cause=cause_of(one), text=text)
            )
    undecided = [
        key_of(kind, customer, one.provider, one.family if kind is Kind.SLICE_FAILING else "")
        for one in facts.families
        for customer in one.missing
        for kind in (Kind.SLICE_FAILING, Kind.BUDGET)
    ]
    return section(Item.CUSTOMERS, parts, "none", troubles=troubles, undecided=undecided)


def cause_of(one: FamilyFailure) -> str:
    """What an incident is known by: the gist of an error that needs a person; all passing errors are one cause."""
    if not one.permanent:
        return "passing"
    gist = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}|\d[\d:.TZ/-]*", "#", plain(one.error))
    return gist[:LONGEST_CAUSE]


def _failing(one: FamilyFailure, settings: Settings, now: datetime) -> str:
    least = "at least " if one.at_least else ""
    what = "fails" if one.status == "failed" else "incomplete"
    error = shortened(plain(one.error), 220) or "it does not say why"
    if one.permanent:
        waits = one.family == "cost" and one.status == "partial"
        follow = "the bill is read again in its own time, unless it needs a person" if waits else "needs a person"
    else:
        left = max(settings.repair_max_attempts + 1 - one.attempts, 0)
        when = max(one.last + retry_delay(one.attempts), now)
        follow = (
            f"{counted(left, 'attempt')} left, the next after {when:%H:%M}Z"
            if left
            else "no attempt left for this window"
        )
    since = f"{what} since {least}{windows.key(one.since)} ({counted(one.windows, 'window')}): {error}"
    return f"{since}; {follow}"


def gaps(found: Sequence[Gap], failing: Sequence[FamilyFailure]) -> Section:
    """The windows that nothing will fetch any more: they are lost, and so told of as a warning."""
    still_failing = {(one.customer, one.provider, one.family) for one in failing if one.status == "failed"}
    parts, troubles, undecided = [], [], []
    for gap in found:
        name = f"{gap.customer} {gap.provider} {gap.family}"
        remedy = (
            "an inventory of the past cannot be taken"
            if gap.family == "resource"
            else f"run `optiinfra collect --customer {gap.customer} --provider {gap.provider} --family {gap.family} "
            f"--from {windows.key(gap.first)} --to {windows.key(gap.last + windows.WINDOW)}`"
        )
        text = f"{counted(gap.windows, 'window')} from {windows.key(gap.first)} to {windows.key(gap.last)}: {remedy}"
        parts.append(Part(State.WARN, name, text))
        trouble = Trouble(Kind.GAP, gap.customer, gap.provider, gap.family, text=f"{name} lacks {text}.")
        if (gap.customer, gap.provider, gap.family) in still_failing:  # it would grow with every window
            undecided.append(trouble.key)
        else:
            troubles.append(trouble)
    fine = f"none in the last {GAPS_LOOKBACK_TEXT}"
    return section(Item.GAPS, parts, fine, troubles=troubles, undecided=undecided)


def budgets(facts: Facts, spending: BudgetUse | None, settings: Settings) -> Section:
    """The budgets of calls this month and of the judge today: spent, left, and what they stopped."""
    parts, troubles = [], []
    spent = (
        {(customer, provider): (usd, limit) for customer, provider, usd, limit in spending.calls} if spending else {}
    )
    stopped: dict[tuple[str, str], FamilyFailure] = {}
    for one in facts.failing:
        if one.status == "budget":
            stopped.setdefault((one.customer, one.provider), one)
    for (customer, provider), one in stopped.items():
        words = f"stopped since {windows.key(one.since)}: {shortened(plain(one.error), 220)}"
        if (customer, provider) in spent:
            usd, limit = spent[customer, provider]
            words = f"{usd:.2f} of {limit:.2f} USD spent this month; {words}"
        parts.append(Part(State.WARN, f"{customer} {provider}", words))
        text = f"{customer} {provider} is {words}. Raise monthly_api_budget_usd, or wait for the next month."
        troubles.append(Trouble(Kind.BUDGET, customer, provider, text=text))
    for (customer, provider), (usd, limit) in spent.items():
        if (customer, provider) not in stopped:
            words = f"{usd:.2f} of {limit:.2f} USD spent this month, {max(limit - usd, limit * 0):.2f} left"
            parts.append(Part(State.WARN if usd >= limit else State.OK, f"{customer} {provider}", words))
    for customer, tokens, requests in spending.judged if spending else ():
        over = tokens >= settings.judge_customer_day_tokens or requests >= settings.judge_customer_day_requests
        words = (
            f"the judge used {tokens:,} of {settings.judge_customer_day_tokens:,} tokens and {requests:,} of "
            f"{settings.judge_customer_day_requests:,} requests today"
        )
        parts.append(Part(State.WARN if over else State.OK, f"{customer} judge", words))
    limited = f"{counted(spending.limited, 'customer')} with a budget for calls" if spending else "not added up"
    return section(Item.BUDGETS, parts, f"none is used up; {limited}", troubles=troubles)


def worse_quality(found: Sequence[Worse]) -> list[Trouble]:
    """The applications whose answers got worse, each metric by itself."""
    return [
        Trouble(
            Kind.QUALITY_WORSE,
            one.customer,
            one.provider,
            "application",
            ":".join(filter(None, [one.application, one.model, one.metric])),
            text=_worse(one),
        )
        for one in found
    ]


def _worse(one: Worse) -> str:
    figures = (one.now, one.before, one.low, one.high)
    now, before, low, high = (
        "unknown" if value is None else f"{100 * value:.1f} %" if one.of_shares else f"{value:.3f}" for value in figures
    )
    of = f"{one.customer} {one.provider} {plain(one.application)}{f' on {plain(one.model)}' if one.model else ''}"
    when = f"on {one.day}" if one.seen_in == 1 else f"in the three days to {one.day}"
    return (
        f"{of}: {plain(one.metric)} was {now} {when}, {before} in the same hours of the 12 weeks before (difference "
        f"{low} to {high}, {one.n:,} different texts judged on the day). See `optiinfra read application alarms "
        f"--customer {one.customer}`."
    )


def unusual_costs(found: Sequence[Unusual]) -> list[Trouble]:
    """The accounts whose newest whole day was no usual one."""
    return [
        Trouble(
            Kind.COST_UNUSUAL,
            one.customer,
            one.provider,
            "cost",
            f"{one.account} {one.currency}",
            text=f"{one.customer} {one.provider} {one.account or 'all accounts'}: {one.day} cost "
            f"{abs(one.by):,.2f} {one.currency} {'more' if one.by > 0 else 'less'} than the usual "
            f"{one.usual:,.2f}{f': {shortened(plain(one.causes), 250)}' if one.causes else ''}.",
        )
        for one in found
    ]
