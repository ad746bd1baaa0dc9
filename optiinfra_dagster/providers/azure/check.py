"""Proof, before the first collection, that a subscription lets itself be read: all of it, and not just a part."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.config.customers import FAMILIES
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.inventory import Resource, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.model.metrics import MetricsRequest
from optiinfra_dagster.model.problems import Problem
from optiinfra_dagster.providers.azure import interfaces
from optiinfra_dagster.providers.azure.bill_sources import bill_sources
from optiinfra_dagster.providers.azure.billing import probe, read
from optiinfra_dagster.providers.azure.inventory import UNREADABLE, VISIBLE, group
from optiinfra_dagster.providers.azure.kind import subscription_of
from optiinfra_dagster.providers.azure.metrics import collect
from optiinfra_dagster.providers.azure.roles import METRICS_ACTION, MONITORING_READER
from optiinfra_dagster.providers.azure.services import KINDS, QUERY, to_resources
from optiinfra_dagster.providers.azure.transport import calling
from optiinfra_dagster.providers.billing.scope import newest_statement
from optiinfra_dagster.providers.parsing import ODD, as_dicts, dig

if TYPE_CHECKING:
    from optiinfra_dagster.model.cost import Bill, Source
    from optiinfra_dagster.providers.azure.account import AzureAccount
    from optiinfra_dagster.providers.azure.client import Principal

_SECONDS = 60.0


def check(customer_id: str, account: AzureAccount, families: Collection[str] = FAMILIES) -> list[Problem]:
    """Try the credential and a call for inventory, metrics and costs each; look up what roles allow.

    Returns:
        What is missing, with its remedy; empty where a collection will get everything.
    """
    groups, problems = group([account])
    for principal, subscriptions in groups.items():
        for subscription in subscriptions:
            try:
                with calling(Meter(), _SECONDS):
                    measured = _measured(dig(principal.ask(QUERY, [subscription]), "data"))
                    shown = [(kind.name, kind.read_action) for kind in KINDS.values() if kind.listed]
                    if account.prometheus_url is not None:  # which names machines by the addresses of these
                        shown.append(("azure:vm", interfaces.ACTION))
                    unmeasured = measured is None and "performance" in families
                    problems += _missing(principal, subscription, shown, unmeasured)
                if "cost" in families and not any(problem.message == UNREADABLE for problem in problems):
                    problems += _uncharged(principal, account)
                if measured is not None and "performance" in families:
                    losses = collect(_latest(customer_id, account, measured), Meter()).problems
                    problems += [replace(loss, kind="") for loss in losses]  # true of all kinds, not just of this
            except CloudError as error:
                problems.append(Problem.of(subscription, error))
    return problems


def _missing(
    principal: Principal, subscription: str, shown: Iterable[tuple[str, str]], unmeasured: bool
) -> Iterator[Problem]:
    """The problems with the roles: `shown` are the actions that show the resources of kinds, with their names."""
    if subscription not in {
        subscription_of(row) for row in as_dicts(dig(principal.ask(VISIBLE, [subscription]), "data"))
    }:
        yield Problem(subscription, "", "", Cause.PERMISSION, UNREADABLE)
        return
    try:
        roles = principal.permissions(subscription)
    except CloudError as error:
        if error.cause is Cause.PERMISSION:
            return  # a role of the customer's own that reads, but does not let itself be looked up
        raise
    # Resource Graph leaves out what may not be read, without an error: a collection cannot tell that from deleted.
    for kind, action in shown:
        if not any(_allows(role, action) for role in roles):
            message = f"the role does not show these resources. Allow {action}, or assign the role Reader"
            yield Problem(subscription, "", kind, Cause.PERMISSION, message)
    if unmeasured and not any(_allows(role, METRICS_ACTION) for role in roles):
        message = f"the role does not let metrics be read. {MONITORING_READER}"
        yield Problem(subscription, "", "", Cause.PERMISSION, message)


def _uncharged(principal: Principal, account: AzureAccount) -> list[Problem]:
    """The problem with reading costs, if any."""
    (source,) = bill_sources([account])
    try:
        with calling(Meter(), _SECONDS):
            probe(principal, source, datetime.now(UTC).date() - timedelta(days=1))
    except CloudError as error:
        if error.cause is not Cause.THROTTLED:  # somebody else asks too, which says nothing of what is allowed
            return [Problem.of(source.id, error)]
    return []


def newest_bill(customer_id: str, source: Source[AzureAccount]) -> Bill:
    """The newest statement of an export."""
    return read(newest_statement(customer_id, source), Meter())


def _measured(rows: Any) -> Resource | None:
    """The first resource that should have metrics now; None if there is none."""
    for row in rows if isinstance(rows, list) else ():
        with suppress(*ODD):
            for resource in to_resources(row):
                if resource.status is not Status.STOPPED and KINDS[resource.kind].metrics:
                    return resource
    return None


def _latest(customer_id: str, account: AzureAccount, resource: Resource) -> MetricsRequest[AzureAccount]:
    """The request of a collection for one resource: one call, for which Azure takes a thousandth of a cent."""
    end = datetime.now(UTC) - timedelta(minutes=10)
    return MetricsRequest(customer_id, [account], [resource], end - timedelta(minutes=15), end)


def _allows(role: Mapping[str, Any], action: str) -> bool:
    def covers(patterns: Iterable[str] | None) -> bool:
        return any(fnmatchcase(action, str(pattern).lower()) for pattern in patterns or ())

    return covers(role.get("actions")) and not covers(role.get("notActions"))
