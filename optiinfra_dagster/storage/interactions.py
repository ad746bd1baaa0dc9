"""Interactions that customers log into ClickHouse: the table llm_interactions, and OpenTelemetry's otel_traces."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.clickhouse import ClickHouse

ROWS_AT_ONCE = 2000  # about as many are asked for at a time: the embedded engine holds a whole result in memory

_OWN, _OTEL = "llm_interactions", "llm_interactions_otel"


@dataclass(frozen=True, slots=True)
class LoggedTable:
    """The interactions of one table: how many may be of the provider, how many ran elsewhere, and those of the former.

    A row has the columns of `sql/queries/llm_interactions.sql`. With `has_spans`, texts may be messages in JSON.
    """

    count: int
    elsewhere: int
    rows: Iterator[Sequence[Any]]
    has_spans: bool


def logged_interactions(
    clickhouse: ClickHouse, customer_id: str, provider: str, start: datetime, end: datetime, longest: int
) -> Iterator[LoggedTable]:
    """Read a customer's interactions in [start, end), table by table; ClickHouse is held until the last is read.

    Args:
        clickhouse: where the tables are; otel_traces need not be there.
        customer_id: whose interactions they are.
        provider: interactions that ran on it, or do not say where, are read.
        start: the first moment.
        end: the first moment after.
        longest: how many bytes of text a row may have before it comes without them.

    Raises:
        StorageError: ClickHouse does not answer.
    """
    parameters = {
        "customer": customer_id,
        "provider": provider,
        "start": int(start.timestamp() * 10**6),
        "end": int(end.timestamp() * 10**6),
        "longest": longest,
    }
    with clickhouse.session() as client:
        for table in (_OWN, _OTEL) if client.command("EXISTS TABLE otel_traces") else (_OWN,):
            sql = read_sql("queries/llm_interactions_count").replace("{table}", table)
            ((count, elsewhere),) = client.query(sql, parameters=parameters).result_rows
            yield LoggedTable(count, elsewhere, _rows(client, table, parameters, count), has_spans=table == _OTEL)


def _rows(client: Client, table: str, parameters: dict[str, Any], count: int) -> Iterator[Sequence[Any]]:
    sql = read_sql("queries/llm_interactions").replace("{table}", table)
    for start, end in _parts(parameters["start"], parameters["end"], count):
        yield from client.query(sql, parameters={**parameters, "start": start, "end": end}).result_rows


def _parts(start: int, end: int, rows: int) -> Iterator[tuple[int, int]]:
    """A span of time in equal parts that hold about `ROWS_AT_ONCE` each; none if there are no rows."""
    parts = -(-rows // ROWS_AT_ONCE)
    for part in range(parts):
        yield start + (end - start) * part // parts, start + (end - start) * (part + 1) // parts
