"""The bills that a customer's accounts have, how often each is worth reading, and what that costs at most.

No SDK is imported here: most windows ask only this, as no bill is due, and BigQuery's client takes 2 CPU-s to import.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta
from decimal import ROUND_UP, Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.model.cost import BillRequest, Source

if TYPE_CHECKING:
    from optiinfra_dagster.providers.gcp.account import GcpAccount


CADENCE = timedelta(hours=4)  # exports come several times a day, at no promised time

USD_PER_TIB = Decimal("6.25")  # on demand; the first TiB of a month is free, which is not counted on here
LEAST_BYTES = 10 * 2**20  # that a query is billed for
MOST_BYTES = 64 * 2**30  # of one reading of one export


def bill_sources(accounts: Sequence[GcpAccount]) -> list[Source[GcpAccount]]:
    """A source for each billing export, the bill of all projects that name it."""
    users: dict[str, list[GcpAccount]] = defaultdict(list)
    for account in accounts:
        if account.billing_export_table is not None:
            users[account.billing_export_table].append(account)
    # Two tables may be of one billing account: what is of no project is counted with the first whose project says so.
    claims = {
        claimed: table
        for table, projects in reversed(users.items())
        for project in projects
        if (claimed := project.claimed_billing_account)
    }
    return [
        Source(
            table,
            projects[0],
            tuple(dict.fromkeys(project.project_id for project in projects)),
            CADENCE,
            is_shared=True,
            account_charges=table in claims.values(),
        )
        for table, projects in users.items()
    ]


def usd(size: int) -> Decimal:
    """The most that a query which reads `size` bytes costs."""
    return (USD_PER_TIB * max(size, LEAST_BYTES) / 2**40).quantize(Decimal("1e-9"), ROUND_UP)


def price(request: BillRequest[GcpAccount]) -> Decimal:
    """The most, in USD, that the queries of a request cost, by the bytes that one reading of an export may read."""
    return usd(MOST_BYTES) * len(request.sources)
