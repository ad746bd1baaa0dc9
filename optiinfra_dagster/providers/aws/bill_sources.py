"""The bills that a customer's accounts have, and how often each is worth reading. No SDK is imported here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import Source

if TYPE_CHECKING:
    from optiinfra_dagster.providers.aws.account import AwsAccount


# Two readings of two pages are four calls a day. AWS itself refreshes its cost data up to three times a day.
CADENCE = timedelta(hours=12)


EXPORT_CADENCE = timedelta(hours=2)  # a look at the export costs next to nothing


def bill_sources(accounts: Sequence[AwsAccount]) -> list[Source[AwsAccount]]:
    """A bill for each account that has one; those with `billing: false` are in the first of them, their payer's."""
    paying = [account for account in accounts if account.billing]
    members = tuple(account.account_id for account in accounts if not account.billing)
    # Two accounts may name one export: what is of neither is counted with the first that says so.
    claims = {a.claimed_billing_account: a.account_id for a in reversed(paying) if a.account_charges}
    return [
        Source(
            account.account_id,
            account,
            (account.account_id, *(members if account is paying[0] else ())),
            EXPORT_CADENCE if account.cost_export else CADENCE,
            pause=EXPORT_CADENCE if account.cost_export else CADENCE,
            is_shared=True,
            account_charges=account.account_id in claims.values(),
        )
        for account in paying
    ]
