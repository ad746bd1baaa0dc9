"""`optiinfra customers check`: every credential and permission of every customer, tried before the first run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, TypeAlias

from optiinfra_dagster.config.customers import Customer, select
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import Bill, LeftOutBecause, by_month
from optiinfra_dagster.model.errors import OptiInfraError, StorageError
from optiinfra_dagster.model.problems import describe
from optiinfra_dagster.providers import prometheus_figures
from optiinfra_dagster.providers.billing.scope import keep_own
from optiinfra_dagster.providers.registry import PROVIDERS, AnyProvider, load_customers
from optiinfra_dagster.quality.collect import START_LOGGING
from optiinfra_dagster.quality.interactions import Reason
from optiinfra_dagster.quality.sources import TableSource, open_source
from optiinfra_dagster.quality.unread import reasons, remedies
from optiinfra_dagster.storage.bills import recently_left_out

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from optiinfra_dagster.cli.output import Say
    from optiinfra_dagster.config.accounts import Account
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.model.cost import LeftOut
    from optiinfra_dagster.quality.counts import Sight
    from optiinfra_dagster.storage.clickhouse import ClickHouse

_Checked: TypeAlias = tuple[str, str, list[str], str]  # whose, of what, what is missing, what else is to be said


def check_customers(
    settings: Settings,
    clickhouse: ClickHouse,
    ids: tuple[str, ...],
    tell: Say,
    progress: Say = lambda _text: None,
) -> int:
    """Prove every account of every customer, and the place of its interactions, several side by side.

    Tells one line each, in the order of the file, and returns how many problems there are. `progress` is told how many
    are done, in the order in which they end.
    """
    attempts: list[Callable[[], _Checked | list[str]]] = []
    customers = select(load_customers(settings.customers_path), ids)
    collected = _collected(clickhouse, [customer.id for customer in customers if "cost" in customer.families])
    for customer in customers:
        attempts += [
            partial(_check_account, customer, PROVIDERS[provider], account)
            for provider in customer.providers
            for account in customer.accounts(provider)
        ]
        if "cost" in customer.families:
            attempts += [
                partial(_check_scope, customer, PROVIDERS[name], collected.get((customer.id, name), {}))
                for name in customer.providers
            ]
        if customer.application is not None and "application" in customer.families:
            attempts.append(partial(_check_interactions, settings, clickhouse, customer))
    found, done, counting = 0, count(1), Lock()

    def make(attempt: Callable[[], _Checked | list[str]]) -> _Checked | list[str]:
        checked = attempt()
        with counting:
            progress(f"Checked {next(done)} of {len(attempts)}")
        return checked

    with ThreadPoolExecutor(max(1, min(settings.concurrency, len(attempts))), thread_name_prefix="check") as pool:
        for checked in pool.map(make, attempts):
            if isinstance(checked, list):
                for line in checked:
                    tell(line)
                continue
            who, name, problems, remark = checked
            found += len(problems)
            for problem in problems:
                tell(f"{who}: {problem}")
            if not problems:
                tell(f"{who} {name}: ok{f', {remark}' if remark else ''}")
    return found


def _check_account(customer: Customer, provider: AnyProvider, account: Account) -> _Checked:
    who = f"{customer.id} {provider.name}"
    try:
        problems = provider.check(customer.id, account, customer.families)
        if "performance" in customer.families:
            problems = [*problems, *prometheus_figures.check(account)]
    except OptiInfraError as error:
        return who, account.name, [str(error)], ""
    remark = account.remark if "cost" in customer.families else ""
    return who, account.name, [str(problem) for problem in problems], remark


def _check_scope(customer: Customer, provider: AnyProvider, collected: Mapping[str, list[LeftOut]]) -> list[str]:
    """What the newest statements have besides the customer's own charges, a line for each bill: to be known, no fault.

    What was collected tells it for nothing. What was not is read where that costs nothing to speak of.
    """
    who = f"{customer.id} {provider.name}"
    sources = provider.bill_sources(customer.accounts(provider.name))
    lines = []
    for source in sources:
        if not source.is_shared:
            continue
        left_out = collected.get(source.id)
        if left_out is None:
            bill, reason = Bill(), ""
            try:
                bill = provider.newest_bill(customer.id, source)
                reason = describe(bill.problems)
            except OptiInfraError as error:
                reason = str(error)
            if source.id not in bill.read:
                lines.append(f"{who}: whether the bill has charges of others is not known: {reason}")
            left_out = by_month(keep_own(bill, sources).left_out)
        lines += [f"{who} {source.id}: {text}" for text in scope_lines(left_out, provider)]
    return lines


_MOST_NAMED = 10  # accounts


def scope_lines(left_out: Sequence[LeftOut], provider: AnyProvider) -> Iterator[str]:
    """What a bill has besides the customer's own charges, by its newest month that has any, and what there is to do."""
    for because in LeftOutBecause:
        of_reason = [part for part in left_out if part.because is because and because.is_not_theirs]
        if not of_reason:
            continue
        newest = max(part.billing_period for part in of_reason)
        parts = [part for part in of_reason if part.billing_period == newest]
        sums = [f"{part.account_id or 'no account'} ({part.amount:,.2f} {part.currency})" for part in parts]
        more = f" and {len(sums) - _MOST_NAMED:,} more" if len(sums) > _MOST_NAMED else ""
        named = f"{', '.join(sums[:_MOST_NAMED])}{more}"
        if because is LeftOutBecause.ANOTHER_ACCOUNT:
            identity = provider.account_type.identity
            yield (
                f"in {newest:%Y-%m} the bill also has charges of {named}, which are left out. Add those that are this "
                f"customer's below {provider.name}, each with its {identity}; for what is somebody else's there is "
                "nothing to do"
            )
        else:
            yield (
                f"in {newest:%Y-%m} the bill also has charges of the billing account itself, such as tax and support, "
                f"which are left out: {named}. Write account_charges: true at the one customer that bears them; "
                "nothing, where another does"
            )


def _collected(clickhouse: ClickHouse, customers: Sequence[str]) -> dict[tuple[str, str], dict[str, list[LeftOut]]]:
    """What collections left out of bills; nothing before the first, or without ClickHouse."""
    if clickhouse.is_new:
        return {}
    try:
        with clickhouse.session(migrated=False) as client:
            return recently_left_out(client, customers, datetime.now(UTC).date())
    except StorageError:
        return {}


def _check_interactions(settings: Settings, clickhouse: ClickHouse, customer: Customer) -> _Checked:
    who, place = f"{customer.id} application", customer.application.interactions if customer.application else ""
    end = windows.newest_collectable(datetime.now(UTC), timedelta(minutes=settings.lag_minutes)) + windows.WINDOW
    try:
        source = open_source(customer, clickhouse=clickhouse)
        records, sights = source.look(customer.application_providers, end - timedelta(days=1), end)
        if not sights and source.is_empty(next(iter(customer.application_providers))):
            return who, place, [f"nothing was ever logged in {source.place}. {START_LOGGING}"], ""
    except OptiInfraError as error:
        return who, place, [str(error)], ""
    what = "rows in" if isinstance(source, TableSource) else "files about"
    remark = f"{records:,} {what} the day until {windows.key(end)}"
    problems = [problem for sight in sights for problem in _unread(sight)]
    unjudged = "" if settings.has_judge else f", but nothing is judged: {settings.judge_key_variable} is not set"
    return who, place, problems, "; ".join([remark, *map(_described, sights)]) + unjudged


def _unread(sight: Sight) -> Iterator[str]:
    """What of a file or table is no use, and what to do."""
    if sight.reasons.total() == sight.records:
        yield f"no record of {_described(sight)} can be read. Remedy: {remedies(sight.reasons)}"
    if sight.without_provider:
        yield (
            f"{sight.without_provider:,} of {sight.records:,} records of {sight.place} do not say where the "
            f"application runs. Remedy: {remedies({Reason.NO_PROVIDER: 1})}"
        )


def _described(sight: Sight) -> str:
    """`logs/x.jsonl: 12 records, 10 interactions, 2 embedding, application shop, model m, 10:15Z to 10:29Z`."""
    parts = [f"{sight.records:,} records", f"{sight.interactions:,} interactions"]
    parts += [f"{number:,} {kind.value}" for kind, number in sorted(sight.skipped.items())]
    if sight.feedback:
        parts.append(f"{sight.feedback:,} feedback")
    if sight.reasons:
        parts.append(f"unreadable {reasons(sight.reasons)}")
    for what, names in (("application", sight.applications), ("model", sight.models)):
        if names:
            shown = [name for name, _ in names.most_common(_MOST_NAMED)]
            more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
            parts.append(f"{what}{'s' if len(names) > 1 else ''} {', '.join(shown)}{more}")
    if sight.first and sight.last:
        parts.append(f"{sight.first:%Y-%m-%dT%H:%MZ} to {sight.last:%Y-%m-%dT%H:%MZ}")
    return f"{sight.place}: {', '.join(parts)}"
