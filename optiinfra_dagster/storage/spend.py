"""What the clouds charged for our calls, as the ledger has it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clickhouse_connect.driver.client import Client


@dataclass(frozen=True, slots=True)
class Spent:
    """What one customer was charged on one provider this month, and whether its budget already stopped a slice."""

    usd: Decimal = Decimal(0)
    stopped: bool = False


def this_month(client: Client, provider: str, customers: Sequence[str], now: datetime) -> dict[str, Spent]:
    """By customer, what the calls of this calendar month (UTC) cost; a customer that is not there spent nothing."""
    begin = now.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    rows = client.query(
        read_sql("queries/spent_since"),
        parameters={"provider": provider, "customers": list(customers), "begin": int(begin.timestamp())},
    ).result_rows
    return {customer: Spent(Decimal(usd), bool(stopped)) for customer, usd, stopped in rows}
