"""The rows that Resource Graph holds of each subscription of a world, as complete as the real ones.

In every field where a real resource may keep something secret stands `PLANTED`: it must never come out of a collector.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING

from optiinfra_dagster.lab.azure.kind import PLANTED, Row, bare_row
from optiinfra_dagster.lab.azure.services import KINDS
from optiinfra_dagster.lab.azure.services.virtual_machines import INTERFACE
from optiinfra_dagster.lab.values import digest

if TYPE_CHECKING:
    from optiinfra_dagster.lab.azure.world import AzureFleet, AzureSubscription
    from optiinfra_dagster.lab.world import World


def subscription_row(subscription: str, name: str = "lab") -> Row:
    """The row of a subscription itself, in the table ResourceContainers."""
    properties = {"state": "Enabled", "subscriptionPolicies": {"quotaId": PLANTED}}
    resource_id = f"/subscriptions/{subscription}"
    return bare_row(resource_id, "microsoft.resources/subscriptions", name=name, properties=properties)


class Estate:
    """The rows of a world, by subscription; worked out when first asked for."""

    def __init__(self, world: World) -> None:
        self._seed, self._epoch = world.seed, world.epoch
        self.subscriptions: dict[str, AzureSubscription] = {
            subscription.id: subscription for subscription in world.azure.subscriptions
        }
        self.rows = cache(self._rows)

    def _rows(self, subscription: str) -> list[Row]:
        """The rows of one subscription, its own first, system databases among them."""
        known = self.subscriptions.get(subscription)
        if known is None:
            return []
        rows = {row["id"]: row for fleet in known.fleets for row in self._fleet(subscription, fleet)}
        return [subscription_row(subscription, known.name), *(rows[resource_id] for resource_id in sorted(rows))]

    def readable(self, subscription: str) -> list[Row]:
        """The rows of a subscription that the role of the collector shows."""
        known = self.subscriptions.get(subscription)
        actions = [action.lower() for action in known.actions] if known else []
        return [
            row
            for row in self.rows(subscription)
            if any(fnmatchcase(f"{row['type']}/read", action) for action in actions)
        ]

    def resources(self, subscription: str | None = None) -> list[Row]:
        """The rows that a collector must find: everything but subscriptions, interfaces and system databases."""
        return [
            row
            for known in self.subscriptions
            if subscription in {None, known}
            for row in self.rows(known)[1:]
            if not row["id"].endswith("/databases/master") and row["type"] != INTERFACE.lower()
        ]

    def _fleet(self, subscription: str, fleet: AzureFleet) -> Iterator[Row]:
        for n in range(1, fleet.count + 1):
            name = fleet.name.format(kind=fleet.kind.partition(":")[2].replace("_", "-"), n=n)
            seed = digest(self._seed, subscription, fleet.kind, fleet.group, name)
            created = fleet.created or self._epoch - timedelta(seconds=seed % (400 * 86400))
            kind = KINDS[fleet.kind]
            if kind.properties is None:
                raise ValueError(f"a world has no fleets of {fleet.kind}")
            provider, _, parts = kind.azure_type.partition("/")
            # What stands in another resource, stands in one of this name: .../servers/lab-sql/elasticPools/<name>
            path = f"{parts}/{name}" if "/" not in parts else parts.replace("/", "/lab-sql/") + f"/{name}"
            base = f"/subscriptions/{subscription}/resourceGroups/{fleet.group}/providers"
            row = bare_row(f"{base}/{provider}/{path}", kind.azure_type, location=fleet.region, tags=fleet.tags or None)
            properties = {"provisioningState": "Succeeded"} | kind.properties(row, fleet, created)
            row["replaces"] = fleet.replaces
            row["unmeasured"] = fleet.unmeasured
            row["properties"] = {key: value for key, value in properties.items() if key not in fleet.omit}
            yield row
            yield from kind.children(row, fleet, created)
