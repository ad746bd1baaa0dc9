"""The bills that a customer's accounts have, and how often each is worth reading. No SDK is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Source
from optiinfra_dagster.providers.vultr.account import account_name

if TYPE_CHECKING:
    from optiinfra_dagster.providers.vultr.account import VultrAccount


CADENCE = timedelta(hours=1)  # calls are free, and lines grow by the hour


def bill_sources(accounts: Sequence[VultrAccount]) -> list[Source[VultrAccount]]:
    """The sources of bills: every account has a bill of its own."""
    named = {account_name(account): account for account in accounts}
    return [Source(name, account, (name,), CADENCE) for name, account in named.items()]
