"""The inventory that the performance and cost families work from, read back from ClickHouse."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import datetime
from sys import intern
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.storage.clickhouse import fetch
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.ledger import inventory_scopes, inventory_windows
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import timedelta

    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.ledger import Scope


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
    taken from the complete one before it, with the status `unknown`, but for what it is known not to have looked at.
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
    facts, older = _Facts(), dict[str, set[str]]()  # the ids that an earlier inventory has, by customer
    for batch in rows.to_batches(max_chunksize=_ROWS_AT_ONCE):
        columns = {name: batch[name].to_pylist() for name in batch.schema.names}
        for i, customer in enumerate(columns["customer_id"]):
            as_it_is = columns["seen"][i] >= listed[customer].window
            if not as_it_is:
                older.setdefault(customer, set()).add(columns["resource_id"][i])
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
    _leave_out(clickhouse, provider, listed, older)
    return listed


def _leave_out(
    clickhouse: ClickHouse, provider: str, listed: Mapping[str, InventorySnapshot], older: Mapping[str, Collection[str]]
) -> None:
    """Leave out of what an earlier inventory has what the newest did not look for: nobody is to ask for it any more."""
    if not older:
        return
    with clickhouse.session(reads=LEDGER_TABLE) as client:
        scopes = inventory_scopes(client, provider, {customer: listed[customer].window for customer in older})
    for customer, scope in scopes.items():
        ids, snapshot = older[customer], listed[customer]
        snapshot.resources[:] = [
            one for one in snapshot.resources if one.resource_id not in ids or _is_within(one, scope)
        ]


def _is_within(resource: Resource, scope: Scope) -> bool:
    regions = scope.get(resource.account_id)
    return regions is not None and (not regions or resource.region in {"", *regions})


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
