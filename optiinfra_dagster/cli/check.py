"""`optiinfra customers check`: every credential and permission of every customer, tried before the first run."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from optiinfra_dagster.config.customers import Customer, select
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import OptiInfraError
from optiinfra_dagster.providers.registry import PROVIDERS, AnyProvider, load_customers
from optiinfra_dagster.quality.sources import TableSource, open_source

if TYPE_CHECKING:
    from optiinfra_dagster.cli.output import Say
    from optiinfra_dagster.config.accounts import Account
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

_Checked: TypeAlias = tuple[str, str, list[str], str]  # whose, of what, what is missing, what else is to be said


def check_customers(settings: Settings, clickhouse: ClickHouse, ids: tuple[str, ...], tell: Say) -> int:
    """Prove every account of every customer, and the place of its interactions, several side by side.

    Tells one line each, in the order of the file, and returns how many problems there are.
    """
    attempts: list[Callable[[], _Checked]] = []
    for customer in select(load_customers(settings.customers_path), ids):
        attempts += [
            partial(_check_account, customer, PROVIDERS[provider], account)
            for provider in customer.providers
            for account in customer.accounts(provider)
        ]
        if customer.application is not None and "application" in customer.families:
            attempts.append(partial(_check_interactions, settings, clickhouse, customer))
    found = 0
    with ThreadPoolExecutor(min(settings.concurrency, len(attempts)), thread_name_prefix="check") as pool:
        for who, name, problems, remark in pool.map(lambda attempt: attempt(), attempts):
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
    except OptiInfraError as error:
        return who, account.name, [str(error)], ""
    remark = account.remark if "cost" in customer.families else ""
    return who, account.name, [str(problem) for problem in problems], remark


def _check_interactions(settings: Settings, clickhouse: ClickHouse, customer: Customer) -> _Checked:
    who, place = f"{customer.id} application", customer.application.interactions if customer.application else ""
    window = windows.newest_collectable(datetime.now(UTC), timedelta(minutes=settings.lag_minutes))
    try:
        source = open_source(customer, clickhouse=clickhouse)
        count = source.probe(customer.providers, window, window + windows.WINDOW)
    except OptiInfraError as error:
        return who, place, [str(error)], ""
    what = "rows in" if isinstance(source, TableSource) else "files around"
    remark = f"{count:,} {what} window {windows.key(window)}"
    unjudged = "" if settings.groq_api_key else ", but nothing is judged: GROQ_API_KEY is not set"
    return who, place, [], f"{remark}{unjudged}"
