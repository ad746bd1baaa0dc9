"""The bills that a customer's accounts have, and how often each is worth reading. No SDK is imported here."""

from __future__ import annotations

from collections import defaultdict
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
    users: dict[str, list[AzureAccount]] = defaultdict(list)
    for account in accounts:
        users[account.export_place or account.subscription_id.lower()].append(account)
    return [
        Source(
            name,
            of_bill[0],
            tuple(account.subscription_id.lower() for account in of_bill),
            CADENCE,
            pause=CADENCE,
            is_shared=of_bill[0].cost_export is not None,
            account_charges=any(account.account_charges for account in of_bill),
        )
        for name, of_bill in users.items()
    ]
