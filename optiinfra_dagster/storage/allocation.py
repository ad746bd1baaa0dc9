"""Tells ClickHouse how the customers have their costs allocated: cost/allocation is computed there."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.customers import Customer

_COLUMNS = ("customer_id", "allocate_by", "shared_services", "shared_categories", "shared_by")
_NOTHING: tuple[list[str], list[str], list[str], str] = ([], [], [], "")  # what counts where nothing was recorded


def record(client: Client, customers: Sequence[Customer]) -> list[str]:
    """Record what the customers file says of allocation, of customers where it changed; returns their ids."""
    known = {
        customer: (list(keys), list(services), list(categories), by)
        for customer, keys, services, categories, by in client.query(
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
        client.insert("allocation_rules", changed, column_names=[*_COLUMNS, "recorded_at"])
    return [str(row[0]) for row in changed]


def _rules(customer: Customer) -> tuple[list[str], list[str], list[str], str]:
    shared = customer.shared_costs
    if shared is None:
        return list(customer.allocate_by), [], [], ""
    return list(customer.allocate_by), list(shared.services), list(map(str, shared.categories)), shared.by
