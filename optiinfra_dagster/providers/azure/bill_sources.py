"""The bills that a customer's accounts have, and how often each is worth reading. No SDK is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Source

if TYPE_CHECKING:
    from optiinfra_dagster.providers.azure.account import AzureAccount


CADENCE = timedelta(hours=4)
"""Cost Management refreshes its figures every four hours, and asks not to be queried more often."""


def bill_sources(accounts: Sequence[AzureAccount]) -> list[Source[AzureAccount]]:
    """A bill for each subscription; one export may be the bill of several."""
    sources: dict[str, Source[AzureAccount]] = {}
    for account in accounts:
        subscription = account.subscription_id.lower()
        name = account.cost_export.removeprefix("https://").rstrip("/") if account.cost_export else subscription
        before = sources.get(name)
        covers = (*before.covers, subscription) if before else (subscription,)
        sources[name] = Source(name, before.account if before else account, covers, CADENCE, pause=CADENCE)
    return list(sources.values())
