"""What is published of customers: the first and the last window of each provider and dataset."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.storage.clickhouse import ClickHouse


@dataclass(frozen=True, slots=True)
class StoredWindows:
    """The published slices of a customer's dataset on a provider; of bills, `first` and `last` are days."""

    provider: str
    dataset: str
    first: datetime
    last: datetime
    count: int


def stored_windows(clickhouse: ClickHouse, customers: Sequence[str]) -> dict[str, list[StoredWindows]]:
    """The published slices by customer, sorted; a customer of whom nothing is published is not in the answer.

    Before the first collection there is nothing, and nothing is made.

    Raises:
        StorageError: ClickHouse does not answer.
    """
    if clickhouse.path is not None and not clickhouse.path.exists():
        return {}
    with clickhouse.session(reads=LEDGER_TABLE) as client:
        rows = client.query(read_sql("queries/stored_windows"), parameters={"customers": list(customers)}).result_rows
    found: dict[str, list[StoredWindows]] = {}
    for customer, provider, dataset, first, last, count in rows:
        of = StoredWindows(
            provider, dataset, datetime.fromtimestamp(first, UTC), datetime.fromtimestamp(last, UTC), count
        )
        found.setdefault(customer, []).append(of)
    return found
