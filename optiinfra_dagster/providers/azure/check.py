"""Proof, before the first collection, that a subscription lets itself be read: all of it, and not just a part."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.errors import Cause, CloudError
from optiinfra_dagster.providers.azure.client import Principal, calling
from optiinfra_dagster.providers.azure.kinds import KINDS, QUERY, VISIBLE, subscription_of
from optiinfra_dagster.providers.azure.resource import UNREADABLE, group
from optiinfra_dagster.providers.types import Meter, Problem

if TYPE_CHECKING:
    from optiinfra_dagster.customers import AzureAccount

_SECONDS = 60.0


def check(customer_id: str, account: AzureAccount) -> list[Problem]:  # noqa: ARG001 - as on every provider
    """Try the credential and the query that the inventory is made of, and look up which kinds it may show.

    Returns:
        What is missing, with its remedy; empty where a collection will get everything.
    """
    groups, problems = group([account])
    for principal, subscriptions in groups.items():
        for subscription in subscriptions:
            try:
                with calling(Meter(), _SECONDS):
                    problems += _missing(principal, subscription)
            except CloudError as error:
                problems.append(Problem(subscription, "", "", error.cause, str(error)))
    return problems


def _missing(principal: Principal, subscription: str) -> Iterator[Problem]:
    principal.ask(QUERY, [subscription])
    if subscription not in {subscription_of(row) for row in principal.ask(VISIBLE, [subscription]).data or ()}:
        yield Problem(subscription, "", "", Cause.PERMISSION, UNREADABLE)
        return
    try:
        roles = principal.permissions(subscription)
    except CloudError as error:
        if error.cause is Cause.PERMISSION:
            return  # a role of the customer's own that reads, but does not let itself be looked up
        raise
    # Resource Graph leaves out what may not be read, without an error: a collection cannot tell that from deleted.
    for kind in KINDS:
        action = f"{kind.azure_type}/read"
        if not any(_allows(role, action) for role in roles):
            message = f"the role does not show these resources. Allow {action}, or assign the role Reader"
            yield Problem(subscription, "", kind.kind, Cause.PERMISSION, message)


def _allows(role: Mapping[str, Any], action: str) -> bool:
    def named(patterns: Iterable[str] | None) -> bool:
        return any(fnmatchcase(action, str(pattern).lower()) for pattern in patterns or ())

    return named(role.get("actions")) and not named(role.get("notActions"))
