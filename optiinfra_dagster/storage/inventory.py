"""The inventory that the performance and cost families work from, read back from ClickHouse."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from sys import intern
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.ledger import inventory_windows
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from optiinfra_dagster.storage.clickhouse import ClickHouse


_ROWS_AT_ONCE = 4_096  # become Python's values together


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
    facts = _Facts()
    for batch in rows.to_batches(max_chunksize=_ROWS_AT_ONCE):
        columns = {name: batch[name].to_pylist() for name in batch.schema.names}
        for i, customer in enumerate(columns["customer_id"]):
            as_it_is = columns["seen"][i] >= listed[customer].window
            listed[customer].resources.append(
                Resource(
                    account_id=intern(columns["account_id"][i]),
                    region=intern(columns["region"][i]),
                    kind=intern(columns["kind"][i]),
                    resource_id=columns["resource_id"][i],
                    instance_uid=columns["instance_uid"][i],
                    resource_name=columns["resource_name"][i],
                    resource_type=ResourceType(columns["resource_type"][i]),
                    status=Status(columns["status"][i]) if as_it_is else Status.UNKNOWN,
                    cloud_status=intern(columns["cloud_status"][i]),
                    created_at=columns["created_at"][i],
                    capacity=columns["capacity"][i],
                    unit=intern(columns["unit"][i]),
                    tags=facts.of(columns["tags"][i]),
                    metadata=facts.of(columns["metadata"][i]),
                )
            )
    return listed


class _Facts:
    """Facts from JSON, each word in memory once: resources of a kind have the same keys, and mostly the same values.

    With words of their own, the 60,000 resources of 1,000 customers take twice the memory.
    """

    def __init__(self) -> None:
        self._words: dict[str, str] = {}

    def of(self, text: str) -> dict[str, Any]:
        """The object that a text holds."""
        word = self._words.setdefault
        return {
            word(key, key): word(value, value) if isinstance(value, str) else value
            for key, value in json.loads(text).items()
        }
