"""The inventory that the performance and cost families work from, read back from ClickHouse."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.ledger import inventory_windows
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from optiinfra_dagster.storage.clickhouse import ClickHouse


@dataclass(frozen=True, slots=True)
class InventorySnapshot:
    """The resources of one customer, and the window of the inventory that says how they are."""

    window: datetime
    resources: list[Resource] = field(default_factory=list)


def newest(
    clickhouse: ClickHouse, provider: str, customers: Sequence[str], window: datetime, lookback: timedelta
) -> dict[str, InventorySnapshot]:
    """Per customer, its newest published inventory; a customer without any is not in the answer.

    Newest means at or before `window`, at most `lookback` before; a window older than every inventory takes the oldest
    one after it, since clouds keep metric history but no inventory history. What a partial inventory could not list is
    taken from the complete one before it, with the status `unknown`.
    """
    parameters = {
        "provider": provider, "customers": list(customers), "window": window,
        "oldest": window - lookback,
    }  # fmt: skip
    with clickhouse.session(reads=read_sql("queries/newest_inventory")) as client:
        rows = fetch(client, read_sql("queries/newest_inventory"), parameters)
        of_customer = inventory_windows(client, provider, customers, window, since=window - lookback)
    listed = {
        customer: InventorySnapshot(inventories.at_or_before or inventories.oldest)
        for customer, inventories in of_customer.items()
    }
    columns = {name: rows[name].to_pylist() for name in rows.column_names}
    for i, customer in enumerate(columns["customer_id"]):
        as_it_is = columns["seen"][i] >= listed[customer].window
        listed[customer].resources.append(
            Resource(
                account_id=columns["account_id"][i],
                region=columns["region"][i],
                kind=columns["kind"][i],
                resource_id=columns["resource_id"][i],
                instance_uid=columns["instance_uid"][i],
                resource_name=columns["resource_name"][i],
                resource_type=ResourceType(columns["resource_type"][i]),
                status=Status(columns["status"][i]) if as_it_is else Status.UNKNOWN,
                cloud_status=columns["cloud_status"][i],
                created_at=columns["created_at"][i],
                capacity=columns["capacity"][i],
                unit=columns["unit"][i],
                tags=json.loads(columns["tags"][i]),
                metadata=json.loads(columns["metadata"][i]),
            )
        )
    return listed
