"""Coverage of metrics, stored as states with a begin and an end: only what changed since the last time is written."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from optiinfra_dagster.storage.deletes import MAX_DELETE_BYTES, quote
from optiinfra_dagster.storage.ledger import newest_tried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.model.metrics import Coverage

_KEYS_PER_DELETE = 5_000


@dataclass(frozen=True, slots=True)
class WindowCoverage:
    """The coverage of one customer and provider in a window: each catalogue metric of each resource, once."""

    customer_id: str
    provider: str
    window: datetime
    coverage: Sequence[Coverage]


@dataclass(frozen=True, slots=True)
class _OpenState:
    """A state that lasts, as the table has it; `since` in epoch seconds."""

    resource_id: str
    resource_type: str
    metric_name: str
    state: str
    reason: str
    since: int
    version: int


def record(client: Client, dataset: str, covered: Sequence[WindowCoverage], version: int) -> int:
    """Close the states that ended and open those that began; returns how many rows that took.

    A window older than one that was collected, or tried, says nothing of the present: it changes nothing. What is not
    mentioned any more is over: the resource is gone.
    """
    # Housekeeping loads this module with the definitions, which pyarrow would cost 0.25 CPU-s.
    import pyarrow as pa

    from optiinfra_dagster.storage.schema import COVERAGE

    newest: dict[tuple[str, str], WindowCoverage] = {}
    for window_coverage in covered:
        owner = (window_coverage.customer_id, window_coverage.provider)
        if owner not in newest or newest[owner].window < window_coverage.window:
            newest[owner] = window_coverage
    if not newest:
        return 0
    customers = sorted({customer for customer, _ in newest})
    tried = newest_tried(client, dataset, customers, min(c.window for c in newest.values()))
    newest = {owner: c for owner, c in newest.items() if owner not in tried or tried[owner] <= c.window}
    if not newest:
        return 0
    states = client.query(
        """
        SELECT customer_id, provider, resource_id, toString(resource_type), metric_name, toString(state), reason,
            toUnixTimestamp(since), version
        FROM coverage FINAL
        WHERE customer_id IN {customers:Array(String)} AND provider IN {providers:Array(String)} AND until IS NULL
        """,
        parameters={
            "customers": sorted({customer for customer, _ in newest}),
            "providers": sorted({provider for _, provider in newest}),
        },
    ).result_rows
    lasting: dict[tuple[str, str], list[_OpenState]] = {}
    for customer, provider, *state in states:
        if (customer, provider) in newest:
            lasting.setdefault((customer, provider), []).append(_OpenState(*state))
    # The highest version of a key wins: a clock that went backwards must not make a change lose.
    version = max([version, *(state.version + 1 for of_owner in lasting.values() for state in of_owner)])
    rows = [row for owner, c in newest.items() for row in _changes(c, lasting.get(owner, []), version)]
    if rows:
        columns = zip(*rows, strict=True)
        arrays = [pa.array(column, kind.type) for column, kind in zip(columns, COVERAGE, strict=True)]
        client.insert_arrow("coverage", pa.table(arrays, schema=COVERAGE))
    return len(rows)


def forget(client: Client, before: datetime) -> None:
    """Delete the states that were over before a time; with each machine that comes and goes, reading would take longer.

    By key, and so with the row from when the state lasted, which would be back without the one that closed it. That is
    also why the table has no TTL.
    """
    keys = client.query(
        """
        SELECT customer_id, provider, resource_id, metric_name, toUnixTimestamp(since)
        FROM coverage FINAL
        WHERE until < fromUnixTimestamp({before:UInt32})
        """,
        parameters={"before": int(before.timestamp())},
    ).result_rows
    # Named one by one: a replicated table refuses a DELETE with a SELECT in it, which replicas might answer otherwise.
    for i in range(0, len(keys), _KEYS_PER_DELETE):
        named = ", ".join(
            f"({', '.join(quote(part) for part in key)}, {since})" for *key, since in keys[i : i + _KEYS_PER_DELETE]
        )
        client.command(
            "DELETE FROM coverage WHERE (customer_id, provider, resource_id, metric_name, toUnixTimestamp(since)) "  # noqa: S608 - quoted
            f"IN ({named})",
            settings={"lightweight_deletes_sync": 2, "max_query_size": MAX_DELETE_BYTES},
        )


def _changes(current: WindowCoverage, lasting: Sequence[_OpenState], version: int) -> list[list[object]]:
    """The rows that close what ended with a window and open what began with it."""
    now = {(c.resource_id, c.metric_name): (str(c.resource_type), c.state.value, c.reason) for c in current.coverage}
    owner = [current.customer_id, current.provider]
    rows: list[list[object]] = []
    for old in lasting:
        key = (old.resource_id, old.metric_name)
        began = datetime.fromtimestamp(old.since, UTC)
        if now.get(key, ("",))[1:] == (old.state, old.reason):
            resource_type, *state = now.pop(key)
            if resource_type != old.resource_type:  # it is called otherwise since: the state lasts
                rows.append([*owner, key[0], resource_type, key[1], *state, began, None, version])
            continue
        if began >= current.window and key in now:
            continue  # the same window again: the new row below has the same key and a higher version
        rows.append(
            [
                *owner,
                old.resource_id,
                old.resource_type,
                old.metric_name,
                old.state,
                old.reason,
                began,
                current.window,
                version,
            ]
        )
    rows += [
        [*owner, resource_id, resource_type, metric, state, reason, current.window, None, version]
        for (resource_id, metric), (resource_type, state, reason) in now.items()
    ]
    return rows
