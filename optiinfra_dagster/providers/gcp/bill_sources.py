"""The bills that a customer's accounts have, and how often each is worth reading. No SDK is imported here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Source

if TYPE_CHECKING:
    from optiinfra_dagster.providers.gcp.account import GcpAccount


CADENCE = timedelta(hours=4)  # exports come several times a day, at no promised time


def bill_sources(accounts: Sequence[GcpAccount]) -> list[Source[GcpAccount]]:
    """One for each export, read as the first project that names it; it is the bill of all that do."""
    named: dict[str, list[GcpAccount]] = defaultdict(list)
    for account in accounts:
        if account.billing_export_table is not None:
            named[account.billing_export_table].append(account)
    return [
        Source(table, users[0], tuple(dict.fromkeys(one.project_id for one in users)), CADENCE)
        for table, users in named.items()
    ]
