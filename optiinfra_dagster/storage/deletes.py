"""Lightweight deletes: rows of batches that are not, or no longer, published."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.model.windows import runs_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.model.slices import SliceKey

# A delete names its slices in its SQL, for which the server's default limit is 256 KiB.
STRETCHES_PER_DELETE = 200
MAX_DELETE_BYTES = 64 * 1024 * 1024


def delete_batches(client: Client, table: str, where: str, leftovers: Sequence[tuple[SliceKey, int]]) -> None:
    """Delete the rows of a batch of a slice, for each (slice, batch) in `leftovers`, as far as `where` holds.

    A slice without customer is a whole window's, of a reader. Slices are named by stretches of windows: 26,880 of them
    one by one took 3.0 CPU-s, as 20 stretches 0.2.
    """
    of_owner: dict[tuple[str, str, int], list[datetime]] = {}
    for key, batch in leftovers:
        of_owner.setdefault((key.customer_id, key.provider, batch), []).append(key.window)
    stretches: dict[tuple[str, int, datetime, datetime], list[str]] = {}
    for (customer, provider, batch), its_windows in of_owner.items():
        for first, last in runs_of(its_windows):
            stretches.setdefault((provider, batch, first, last), []).append(customer)
    named = [
        f"(batch = {batch} "
        f"AND window_start >= fromUnixTimestamp({int(first.timestamp())}) "
        f"AND window_start <= fromUnixTimestamp({int(last.timestamp())}){_of_customers(provider, customers)})"
        for (provider, batch, first, last), customers in stretches.items()
    ]
    for i in range(0, len(named), STRETCHES_PER_DELETE):
        part = list(stretches)[i : i + STRETCHES_PER_DELETE]
        delete_where(
            client,
            table,
            f"{where} "
            f"AND window_start >= fromUnixTimestamp({int(min(first for *_, first, _ in part).timestamp())}) "
            f"AND window_start <= fromUnixTimestamp({int(max(last for *_, last in part).timestamp())}) "
            f"AND ({' OR '.join(named[i : i + STRETCHES_PER_DELETE])})",
        )


def _of_customers(provider: str, customers: Sequence[str]) -> str:
    if list(customers) == [""]:
        return ""
    names = ", ".join(quote(customer) for customer in customers)
    return f" AND provider = {quote(provider)} AND customer_id IN ({names})"


def delete_where(client: Client, table: str, where: str) -> None:
    """A lightweight delete that is done when it returns, by patch parts where the server knows them."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    size = {"max_query_size": MAX_DELETE_BYTES}
    statement = f"DELETE FROM {table} WHERE {where}"  # noqa: S608 - built from the ledger's own values, quoted
    try:
        client.command(statement, settings={"lightweight_delete_mode": "lightweight_update_force", **size})
    except DatabaseError as error:
        if "lightweight_delete_mode" not in str(error) and "lightweight_update" not in str(error):
            raise
        client.command(statement, settings={"lightweight_deletes_sync": 2, **size})


def quote(text: str) -> str:
    """A text as a literal of SQL, quoted and escaped."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
