"""`optiinfra customers policy`: what the administrator of a customer's cloud has to allow, and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.config.customers import FAMILIES, select
from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.errors import ConfigError, UsageError
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.cli.output import Say
    from optiinfra_dagster.config.accounts import Account
    from optiinfra_dagster.config.customers import Customer
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.providers.policy import Policy


def tell_policies(
    settings: Settings, cloud: str, customer_id: str | None, families: Sequence[str], tell: Say, note: Say
) -> None:
    """Tell the policy of a cloud: of any account, or of each account of a customer, equal ones once.

    The customers file is read only where a customer is named. What the cloud takes goes to `tell`, the rest to `note`.

    Raises:
        UsageError: the cloud, a family or the customer is not known.
        ConfigError: the customer has no account there, or the customers file cannot be used.
    """
    if cloud not in PROVIDERS:
        raise UsageError(
            f"There is no provider '{cloud}'{closest(cloud, PROVIDERS)}. Choose from {', '.join(PROVIDERS)}."
        )
    for family in families:
        if family not in FAMILIES:
            raise UsageError(
                f"There is no family '{family}'{closest(family, FAMILIES)}. Choose from {', '.join(FAMILIES)}."
            )
    wanted: Sequence[str] = families or FAMILIES
    if customer_id is None:
        names = {PROVIDERS[cloud].policy(None, wanted): [f"any account of {cloud}"]}
    else:
        (customer,) = select(load_customers(settings.customers_path), [customer_id])
        wanted = _wanted(customer, cloud, wanted)
        names = _of_accounts(customer, cloud, wanted)
    for made, of in names.items():
        note(f"For {', '.join(of)}:")
        if made.text:
            tell(made.text)
        else:
            note(f"Nothing has to be allowed for {', '.join(wanted)}.")
        for line in made.notes:
            note(line)


def _wanted(customer: Customer, cloud: str, families: Sequence[str]) -> Sequence[str]:
    """The families among some that a customer collects, on a cloud where it has an account."""
    if not customer.accounts(cloud):
        there = f"It has accounts on {', '.join(customer.providers)}" if customer.providers else "It has no account"
        raise ConfigError(f"{customer.id} has no account on {cloud}. {there}.")
    wanted = [family for family in customer.families if family in families]
    if not wanted:
        collected = ", ".join(customer.families) or "nothing"
        raise ConfigError(f"{customer.id} does not collect {', '.join(families)}. It collects {collected}.")
    return wanted


def _of_accounts(customer: Customer, cloud: str, families: Sequence[str]) -> dict[Policy, list[str]]:
    """The policies of a customer's accounts, each with the names of those that it is for."""
    names: dict[Policy, list[str]] = {}
    for account in customer.accounts(cloud):
        policy = PROVIDERS[cloud].policy(account, families, _interactions(customer, cloud, account, families))
        names.setdefault(policy, []).append(account.name)
    return names


def _interactions(customer: Customer, cloud: str, account: Account, families: Sequence[str]) -> str:
    """The place of the application's log, where it is read as this account: the first on the cloud that stores it."""
    application = customer.application
    if application is None or "application" not in families or application.stored_at != cloud:
        return ""
    is_reader = account is customer.accounts(cloud)[0] and application.access_key_id is None
    return application.interactions if is_reader else ""
