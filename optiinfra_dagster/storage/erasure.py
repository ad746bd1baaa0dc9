"""Everything that is stored of a customer: where it stands, and how it is erased.

The tables are those that the engine itself names: every one with a column `customer_id`, and those of OpenTelemetry,
which have the id among the attributes of a resource. A table that comes later is among them without a list.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.model.text import counted
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from clickhouse_connect.driver.client import Client

_OTEL_CUSTOMER = "ResourceAttributes['customer.id']"
_POLL_SECONDS = (0.01, 1.0)  # at first, and at most
_ROUNDS = 3  # of deleting what a run has written meanwhile


def owned_tables(client: Client) -> dict[str, str]:
    """The tables that hold rows of customers, each with the expression of the customer's id; the ledger first.

    With the ledger go all its slices out of every view at once, so that no half of them is ever seen.
    """
    rows = client.query(read_sql("queries/tables_of_customers")).result_rows
    found = {table: "customer_id" if has_column else _OTEL_CUSTOMER for table, has_column in rows}
    return dict(sorted(found.items(), key=lambda item: (item[0] != LEDGER_TABLE, item[0])))


def stored_rows(client: Client, customer_id: str) -> dict[str, int]:
    """The number of a customer's rows in each table; tables without any are left out."""
    tables = owned_tables(client)
    counting = " UNION ALL ".join(
        f"(SELECT '{table}', count() FROM `{table}` WHERE {owner} = {{customer:String}})"  # noqa: S608 - the engine's own names
        for table, owner in tables.items()
    )
    counts = dict(map(tuple, client.query(counting, parameters={"customer": customer_id}).result_rows))
    return {table: counts[table] for table in tables if counts[table]}


def stored_customers(client: Client) -> list[str]:
    """The customers of whom the ledger has anything, sorted."""
    rows = client.query(f"SELECT DISTINCT customer_id FROM {LEDGER_TABLE} WHERE customer_id != ''").result_rows  # noqa: S608
    return sorted(row[0] for row in rows)


def erase(client: Client, customer_id: str, tell: Callable[[str], None] = lambda _text: None) -> Mapping[str, int]:
    """Delete every row of a customer from every table, and wait until the parts on disk are written without them.

    Killed at any point, it is finished by running it again. Returns the rows that were deleted, by table.

    Raises:
        ValueError: no customer is named.
        StorageError: a table could not be rewritten, or somebody goes on writing rows of the customer.
    """
    if not customer_id:
        raise ValueError("a customer's id is empty")
    deleted: dict[str, int] = {}
    for _ in range(_ROUNDS):
        left = stored_rows(client, customer_id)
        if not left:
            return deleted
        tables = owned_tables(client)
        for number, (table, rows) in enumerate(left.items(), start=1):
            tell(f"Deleting {counted(rows, 'row')} of {customer_id} from {table} ({number} of {len(left)})")
            client.command(
                f"ALTER TABLE `{table}` DELETE WHERE {tables[table]} = {{customer:String}}",
                parameters={"customer": customer_id},
                settings={"mutations_sync": 0},  # a table of a year takes longer than a server's answer is waited for
            )
            deleted[table] = deleted.get(table, 0) + rows
            if table == LEDGER_TABLE:
                _wait(client, [table])
        _wait(client, list(left))
    if left := stored_rows(client, customer_id):
        raise StorageError(
            f"Rows of {customer_id} are still being written to {', '.join(left)}. Stop what writes them, an agent or a "
            "run, and run the same command again."
        )
    return deleted


def _wait(client: Client, tables: Sequence[str]) -> None:
    """Wait for every mutation of some tables; StorageError where one fails."""
    pause, longest = _POLL_SECONDS
    while True:
        rows = client.query(read_sql("queries/unfinished_mutations"), parameters={"tables": tables}).result_rows
        if not rows:
            return
        if failed := next(((table, reason) for table, reason in rows if reason), None):
            table, reason = failed
            raise StorageError(
                f"ClickHouse could not rewrite {table} without the customer: {reason.splitlines()[0][:300]}. It goes "
                "on trying; mend that, and run the same command again."
            )
        time.sleep(pause)
        pause = min(pause * 2, longest)
