"""The custom role of a subscription, and the commands that assign it. No SDK is imported here."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.azure import interfaces
from optiinfra_dagster.providers.azure.roles import BLOB_READER_ROLE, METRICS_ACTION, built_in
from optiinfra_dagster.providers.azure.services import KINDS
from optiinfra_dagster.providers.policy import Policy, fixed_prefix, needed

if TYPE_CHECKING:
    from optiinfra_dagster.providers.azure.account import AzureAccount

ROLE_NAME = "OptiInfra reader"
VISIBLE_ACTION = "microsoft.resources/subscriptions/read"  # without it, Resource Graph hides the whole subscription
LOOKUP_ACTION = "microsoft.authorization/permissions/read"  # `customers check` looks up what the role allows
QUERY_ACTION = "microsoft.resourcegraph/resources/read"
COST_ACTION = "microsoft.costmanagement/query/read"  # the built-in role Cost Management Reader has only */read
_SUBSCRIPTION = "SUBSCRIPTION_ID"
_APPLICATION = "APPLICATION_ID"


def actions(families: Collection[str]) -> tuple[str, ...]:
    """The actions that the families take on a subscription, sorted; the kinds name those of the inventory."""
    wanted, found = needed(families), set[str]()
    if "resource" in wanted:
        found |= {VISIBLE_ACTION, LOOKUP_ACTION, QUERY_ACTION}
        found |= {kind.read_action for kind in KINDS.values() if kind.listed}
    if "performance" in wanted:
        found.add(METRICS_ACTION)
    if "cost" in wanted:
        found.add(COST_ACTION)
    return tuple(sorted(found))


def policy(account: AzureAccount | None, families: Collection[str], interactions: str = "") -> Policy:
    """The custom role as `az role definition create` takes it; the notes assign it, or the built-in roles instead.

    `interactions` is the place in blob storage of the log that is read as this account, "" for none.
    """
    scope = f"/subscriptions/{account.subscription_id if account else _SUBSCRIPTION}"
    allowed = actions(families)
    if account and account.cost_export:
        allowed = tuple(action for action in allowed if action != COST_ACTION)
    if account and account.prometheus_url and "resource" in needed(families):
        allowed = tuple(sorted({*allowed, interfaces.ACTION}))
    role = {
        "Name": ROLE_NAME,
        "Description": "Reads what OptiInfra collects.",
        "Actions": list(allowed),
        "NotActions": [],
        "AssignableScopes": [scope],
    }
    places = [account.cost_export] if account and account.cost_export and "cost" in families else []
    places += [fixed_prefix(interactions)] if interactions else []
    notes = tuple(_notes(account, families, scope if allowed else "", places))
    return Policy(json.dumps(role, indent=2) if allowed else "", notes)


def _notes(account: AzureAccount | None, families: Collection[str], scope: str, places: list[str]) -> Iterator[str]:
    principal = (account and account.client_id) or _APPLICATION

    def assign(role: str, where: str) -> str:
        return f"az role assignment create --assignee {principal} --role {shlex.quote(role)} --scope {where}"

    if scope:
        yield f"Make the role with: az role definition create --role-definition @FILE; then: {assign(ROLE_NAME, scope)}"
        roles = [role for role in built_in(needed(families)) if role != BLOB_READER_ROLE]
        yield f"Or assign built-in roles, which allow more: {'; '.join(assign(role, scope) for role in roles)}"
    for place in places:
        host, container, *_ = [*place.removeprefix("https://").split("/"), ""]
        yield (
            f"For {place}: "
            + assign(
                BLOB_READER_ROLE,
                "/subscriptions/ITS_SUBSCRIPTION/resourceGroups/ITS_GROUP/providers/Microsoft.Storage/storageAccounts/"
                f"{host.partition('.')[0]}/blobServices/default/containers/{container}",
            )
        )
    if principal == _APPLICATION:
        yield f"Put the id of the application or identity that collects in place of {_APPLICATION}."
    if account is None:
        yield (
            f"Put the subscription in place of {_SUBSCRIPTION}. One with a cost_export takes {BLOB_READER_ROLE} on its "
            "container: name the customer with --customer."
        )
