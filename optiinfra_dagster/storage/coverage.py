"""Coverage as states: what changed since the last time is written, what did not is not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.providers.types import Coverage

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

_COLUMNS = [
    "customer_id", "provider", "resource_id", "resource_type", "metric_name", "state", "reason", "since", "until", "version",
]  # fmt: skip


def record(
    client: Client, seen: Sequence[tuple[str, str, datetime, Sequence[Coverage]]], version: int
) -> int:
    """Close the states that ended and open those that began; returns how many rows that took.

    `seen` holds what was found of each (customer, provider) in a window. A window older than the newest known state says
    nothing of the present: it changes nothing.
    """
    if not seen:
        return 0
    found = client.query(
        """
        SELECT customer_id, provider, resource_id, toString(resource_type), metric_name, toString(state), reason,
            toUnixTimestamp(since)
        FROM coverage FINAL
        WHERE customer_id IN {customers:Array(String)} AND until IS NULL
        """,
        parameters={"customers": sorted({customer for customer, *_ in seen})},
    ).result_rows
    open_states: dict[tuple[str, str], list[tuple[str, str, str, str, str, int]]] = {}
    for customer, provider, *state in found:
        open_states.setdefault((customer, provider), []).append(tuple(state))
    rows: list[list[object]] = []
    for customer, provider, window, coverage in seen:
        rows += _changes(customer, provider, window, coverage, open_states.get((customer, provider), []), version)
    if rows:
        client.insert("coverage", rows, column_names=_COLUMNS)
    return len(rows)


def _changes(
    customer: str,
    provider: str,
    window: datetime,
    coverage: Sequence[Coverage],
    open_states: Sequence[tuple[str, str, str, str, str, int]],
    version: int,
) -> list[list[object]]:
    if open_states and int(window.timestamp()) < max(since for *_, since in open_states):
        return []
    now = {(c.resource_id, c.metric_name): (str(c.resource_type), c.state.value, c.reason) for c in coverage}
    rows: list[list[object]] = []
    for resource_id, resource_type, metric, state, reason, since in open_states:
        if now.get((resource_id, metric)) == (resource_type, state, reason):
            del now[resource_id, metric]
            continue
        began = datetime.fromtimestamp(since, UTC)
        if began == window and (resource_id, metric) in now:
            continue  # the same window again: the new row below has the same key and a higher version
        rows.append([customer, provider, resource_id, resource_type, metric, state, reason, began, window, version])
    rows += [
        [customer, provider, resource_id, resource_type, metric, state, reason, window, None, version]
        for (resource_id, metric), (resource_type, state, reason) in now.items()
    ]
    return rows
