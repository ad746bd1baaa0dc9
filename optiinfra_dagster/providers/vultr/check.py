"""Proof, before the first collection, that an account lets itself be read: one small call for every listing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

from optiinfra_dagster.errors import Cause, CloudError, ConfigError
from optiinfra_dagster.providers.types import Meter, Problem
from optiinfra_dagster.providers.vultr.client import Account, account_name, open_account
from optiinfra_dagster.providers.vultr.kinds import LISTINGS, Listing

if TYPE_CHECKING:
    from optiinfra_dagster.customers import VultrAccount


def check(customer_id: str, account: VultrAccount) -> list[Problem]:
    """Try the key, this host's address, and every listing that the collections of an account need.

    Returns:
        What is missing, each with its remedy; empty where a collection will get everything.
    """
    meter, name = Meter(), account_name(account)
    try:
        opened = open_account(account)
        opened.get("get-account", "account", meter)
    except CloudError as error:
        if error.cause is not Cause.PERMISSION:  # a key may well be refused its owner's name and balance
            return [Problem(name, "", "", error.cause, str(error))]
    except ConfigError as error:
        return [Problem(name, "", "", Cause.CONFIG, str(error))]
    with ThreadPoolExecutor(4, thread_name_prefix=f"vultr-{customer_id}") as pool:
        outcomes = list(pool.map(lambda listing: _attempt(name, opened, meter, listing), LISTINGS))
    return [outcome for outcome in outcomes if outcome is not None]


def _attempt(name: str, account: Account, meter: Meter, listing: Listing) -> Problem | None:
    try:
        account.get(listing.operation, listing.path, meter, listing.permission, per_page=1)
    except CloudError as error:
        problem = Problem(name, "", listing.kind, error.cause, str(error))
        # get-account has just accepted this key
        return replace(problem, cause=Cause.PERMISSION) if error.cause is Cause.AUTH else problem
    return None
