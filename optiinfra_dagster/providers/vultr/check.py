"""The check of an account before its first collection: one small call for everything that is collected."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.model.errors import Cause, CloudError, CollectionError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.vultr.account import account_name
from optiinfra_dagster.providers.vultr.client import Account, open_account
from optiinfra_dagster.providers.vultr.errors import MissingError
from optiinfra_dagster.providers.vultr.kind import BILLING, VultrKind
from optiinfra_dagster.providers.vultr.services import LISTINGS

if TYPE_CHECKING:
    from optiinfra_dagster.providers.vultr.account import VultrAccount


def check(customer_id: str, account: VultrAccount, families: Collection[str] = FAMILIES) -> list[Problem]:
    """Try the key, this host's address, and all that collections ask of an account.

    Returns:
        What is missing, each with its remedy; empty where a collection will get everything.
    """
    meter, name = Meter(), account_name(account)
    try:
        opened = open_account(account)
    except CollectionError as error:
        return [Problem.of(name, error)]
    try:
        opened.get("get-account", "account", meter)
    except CloudError as error:
        if error.cause is not Cause.PERMISSION:  # a key may well be refused its owner's name and balance
            return [Problem.of(name, error)]
    with ThreadPoolExecutor(4, thread_name_prefix=f"vultr-{customer_id}") as pool:
        outcomes = list(pool.map(lambda kind: list(_attempt(name, opened, meter, kind)), LISTINGS))
    problems = [problem for outcome in outcomes for problem in outcome]
    return [*problems, *(_uncharged(name, opened, meter) if "cost" in families else ())]


def _uncharged(name: str, account: Account, meter: Meter) -> Iterator[Problem]:
    """The problem with reading its bill, if any: one permission covers all of it, so the first refusal is enough."""
    try:
        account.get("list-pending-charges", "billing/pending-charges", meter, BILLING)
        account.get("list-invoices", "billing/invoices", meter, BILLING, per_page=1)
    except CloudError as error:
        # get-account has just accepted this key
        yield Problem(name, "", "", Cause.PERMISSION if error.cause is Cause.AUTH else error.cause, str(error))


def _attempt(name: str, account: Account, meter: Meter, kind: VultrKind) -> Iterator[Problem]:
    """The problem with reading a kind, if any: lists one resource, and reads its figures where Vultr has any."""
    try:
        answer = account.get(kind.operation, kind.path, meter, kind.permission, per_page=1)
        items = answer.get(kind.key)
        first = items[0].get("id") if items and isinstance(items, list) and isinstance(items[0], dict) else None
        if first and (call := kind.resource_call):
            account.get(call.operation, call.path.format(first), meter, kind.permission)
    except MissingError as error:
        if kind.operation in str(error):  # what is listed may well be gone, or have no figures yet
            yield Problem.of(name, error, kind=kind.name)
    except CloudError as error:
        problem = Problem.of(name, error, kind=kind.name)
        # get-account has just accepted this key
        yield replace(problem, cause=Cause.PERMISSION) if error.cause is Cause.AUTH else problem
