"""Stores the customers' rules of cost allocation in ClickHouse, where the reader cost/allocation is computed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.config.allocation import FixedShares
from optiinfra_dagster.storage.inserts import insert_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.customers import Customer

_COLUMNS = (
    "customer_id", "allocate_by", "shared_services", "shared_categories", "shared_usage", "shared_by",
    "shared_dimension", "shared_values", "shared_parts",
)  # fmt: skip
_Rules = tuple[list[str], list[str], list[str], list[str], str, str, list[str], list[Decimal]]
_NOTHING: _Rules = ([], [], [], [], "", "", [], [])  # what counts where nothing was recorded


def record(client: Client, customers: Sequence[Customer]) -> list[str]:
    """Record what the customers file says of allocation, of customers where it changed; returns their ids."""
    known = {
        customer: (list(keys), list(services), list(categories), list(usage), by, dimension, list(values), list(parts))
        for customer, keys, services, categories, usage, by, dimension, values, parts in client.query(
            f"SELECT {', '.join(_COLUMNS)} FROM allocation_rules_current "  # noqa: S608 - the code's own names
            "WHERE customer_id IN {customers:Array(String)}",
            parameters={"customers": [customer.id for customer in customers]},
        ).result_rows
    }
    now = datetime.now(UTC)
    changed = [
        [customer.id, *rules, now]
        for customer in customers
        if (rules := _rules(customer)) != known.get(customer.id, _NOTHING)
    ]
    if changed:
        insert_rows(client, "allocation_rules", [*_COLUMNS, "recorded_at"], changed)
    return [str(row[0]) for row in changed]


def _rules(customer: Customer) -> _Rules:
    shared, keys = customer.shared_costs, list(customer.allocate_by)
    if shared is None:
        return keys, *_NOTHING[1:]
    charges = list(shared.services), list(map(str, shared.categories)), list(map(str, shared.usage))
    if not isinstance(shared.by, FixedShares):
        return keys, *charges, shared.by, "", [], []
    # A tag may be called as one of the other dimensions: it is the one that the customer named.
    dimension = f"tag:{shared.by.key}" if shared.by.key in keys else shared.by.key
    values, parts = [value for value, _ in shared.by.parts], [part for _, part in shared.by.parts]
    return keys, *charges, "fixed", dimension, values, parts
