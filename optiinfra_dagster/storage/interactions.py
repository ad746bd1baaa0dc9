"""Interactions that customers log into ClickHouse: the tables llm_interactions and llm_feedback, and OpenTelemetry's.

These are otel_traces and otel_logs, as the OpenTelemetry Collector's ClickHouse exporter creates them where it
writes to this database. The customer is the resource attribute `customer.id`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.clickhouse import ClickHouse

ROWS_AT_ONCE = 2000  # about as many are asked for at a time: the embedded engine holds a whole result in memory
# What tells of one call may be logged on both sides of a window's end, an answer minutes after its prompt.
AROUND_S = 300

_SPAN = (
    "Timestamp", "TraceId", "SpanId", "ParentSpanId", "name", "ServiceName", "ScopeName", "StatusCode", "Duration",
    "ResourceAttributes", "SpanAttributes", "Events.Name", "Events.Attributes",
)  # fmt: skip
_LOG = (
    "Timestamp", "TraceId", "SpanId", "ServiceName", "ScopeName", "EventName", "ResourceAttributes", "LogAttributes",
    "Body",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class LoggedTable:
    """The interactions of one table: how many may be of the provider, how many ran elsewhere, and those of the former.

    A row has the columns of `sql/queries/llm_interactions.sql`, or with `has_feedback` of `llm_feedback.sql`. With
    `has_spans`, it is a record with the columns of the exporter, and whether it is too large; rows are of the minutes
    around the time, too.
    """

    count: int
    elsewhere: int
    rows: Iterator[Sequence[Any]]
    has_spans: bool
    has_feedback: bool = False


def logged_interactions(
    clickhouse: ClickHouse, customer_id: str, provider: str, start: datetime, end: datetime, longest: int
) -> Iterator[LoggedTable]:
    """Read a customer's interactions in [start, end), table by table; ClickHouse is held until the last is read.

    Args:
        clickhouse: where the tables are; those of OpenTelemetry need not be there.
        customer_id: whose interactions they are.
        provider: interactions that ran on it, or do not say where, are read.
        start: the first moment.
        end: the first moment after.
        longest: how many bytes of text a row may have before it comes without them.

    Raises:
        ConfigError: OpenTelemetry's tables have columns of another form.
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
        ((count, elsewhere),) = client.query(
            read_sql("queries/llm_interactions_count"), parameters=parameters
        ).result_rows
        yield LoggedTable(count, elsewhere, _rows(client, parameters, count), has_spans=False)
        rows = client.query(read_sql("queries/llm_feedback"), parameters=parameters).result_rows
        yield LoggedTable(len(rows), 0, iter(rows), has_spans=False, has_feedback=True)
        if counting := _otel_count(client):
            ((count, elsewhere),) = client.query(counting, parameters=parameters).result_rows
            yield LoggedTable(count, elsewhere, _otel_rows(client, parameters, count), has_spans=True)


def _rows(client: Client, parameters: dict[str, Any], count: int) -> Iterator[Sequence[Any]]:
    sql = read_sql("queries/llm_interactions")
    for start, end in _parts(parameters["start"], parameters["end"], count):
        yield from client.query(sql, parameters={**parameters, "start": start, "end": end}).result_rows


def _otel_count(client: Client) -> str:
    """The query that counts what OpenTelemetry's tables tell of, "" where there are none; log records may be alone."""
    if _columns(client, "otel_traces"):
        return read_sql("queries/otel_count")
    return _logs_query(client, "otel_logs_count")


def _otel_rows(client: Client, parameters: dict[str, Any], count: int) -> Iterator[Sequence[Any]]:
    """Log records and spans by time, so that what tells of one call comes together."""
    logs = _logs_query(client, "otel_logs")
    spans = read_sql("queries/otel_spans") if client.command("EXISTS TABLE otel_traces") else ""
    begin, until = (parameters["start"] - AROUND_S * 10**6, parameters["end"] + AROUND_S * 10**6)
    for start, end in _parts(begin, until, max(count, 1)):
        part = {**parameters, "start": start, "end": end}
        for sql, names in ((logs, _LOG), (spans, _SPAN)):
            for *fields, too_large in client.query(sql, parameters=part).result_rows if sql else ():
                yield dict(zip(names, fields, strict=True)), too_large


def _logs_query(client: Client, query: str) -> str:
    """A query of log records, "" where none are logged; exporters before 2025 have no column for an event's name."""
    columns = _columns(client, "otel_logs")
    if not columns:
        return ""
    name = "EventName" if "EventName" in columns else "LogAttributes['event.name']"
    return read_sql(f"queries/{query}").replace("{event_name}", name)


def _columns(client: Client, table: str) -> Mapping[str, str]:
    """The types of a table's columns by their names; none where there is no such table.

    Raises:
        ConfigError: its attributes are JSON.
    """
    if not client.command(f"EXISTS TABLE {table}"):
        return {}
    columns = {row[0]: row[1] for row in client.query(f"DESCRIBE TABLE {table}").result_rows}
    if columns.get("ResourceAttributes", "").startswith("JSON"):
        raise ConfigError(
            f"{table} has attributes of the type JSON, which are not read: let the collector make the table with maps, "
            "that is without its feature gate clickhouse.json."
        )
    return columns


def _parts(start: int, end: int, rows: int) -> Iterator[tuple[int, int]]:
    """A span of time in equal parts that hold about `ROWS_AT_ONCE` each; none if there are no rows."""
    parts = -(-rows // ROWS_AT_ONCE)
    for part in range(parts):
        yield start + (end - start) * part // parts, start + (end - start) * (part + 1) // parts
