"""What files of logs hold (`application_log_files`), and what the slices of applications were made of.

Both say which windows have records that came late. What is here of a file can be lost: it is read again then.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from optiinfra_dagster.storage.inserts import insert_rows
from optiinfra_dagster.storage.sql import read_sql

if TYPE_CHECKING:
    from optiinfra_dagster.storage.clickhouse import ClickHouse


class ReadFile(NamedTuple):
    """A file that was read to its end: its key, what tells it from others under that key, digests by window."""

    key: str
    version: str
    modified: datetime
    contents: Mapping[int, int]


def load_files(
    clickhouse: ClickHouse, customer_id: str, location: str, since: datetime
) -> dict[tuple[str, str], dict[int, int]]:
    """The contents of the files of a location that were changed since a moment, by key and version.

    Raises:
        StorageError: they could not be read.
    """
    with clickhouse.session(reads=read_sql("queries/log_files")) as client:
        rows = client.query(
            read_sql("queries/log_files"),
            parameters={"customer": customer_id, "location": location, "since": int(since.timestamp())},
        ).result_rows
    return {(key, version): dict(zip(windows, digests, strict=True)) for key, version, windows, digests in rows}


def keep_files(
    clickhouse: ClickHouse, customer_id: str, location: str, files: Iterable[ReadFile], read_at: datetime
) -> None:
    """Keep what files hold.

    Raises:
        StorageError: it could not be kept.
    """
    rows = [
        [customer_id, location, key, version, modified, list(held), list(held.values()), read_at]
        for key, version, modified, held in files
    ]  # fmt: skip
    columns = ["customer_id", "location", "file", "version", "modified", "windows", "digests", "read_at"]
    if rows:
        with clickhouse.session(writes="application_log_files") as client:
            insert_rows(client, "application_log_files", columns, rows)


def collected_contents(
    clickhouse: ClickHouse, customer_id: str, provider: str, first: datetime, last: datetime
) -> dict[datetime, str]:
    """The digest of what each published slice from `first` to `last` was made of; those that tell none are left out.

    Raises:
        StorageError: they could not be read.
    """
    with clickhouse.session(reads=read_sql("queries/collected_contents")) as client:
        rows = client.query(
            read_sql("queries/collected_contents"),
            parameters={
                "customer": customer_id,
                "provider": provider,
                "first": int(first.timestamp()),
                "last": int(last.timestamp()),
            },
        ).result_rows
    return {datetime.fromtimestamp(seconds, UTC): content for seconds, content in rows}


_LOG_TABLES: Mapping[str, Mapping[str, str]] = {
    "llm_interactions": {"customer_id": "customer_id", "time": "timestamp", "id": "interaction_id"},
    "llm_feedback": {
        "customer_id": "customer_id",
        "time": "timestamp",
        "id": "concat(interaction_id, trace_id, name, value)",
    },
    "otel_traces": {"customer_id": "ResourceAttributes['customer.id']", "time": "Timestamp", "id": "SpanId"},
    "otel_logs": {"customer_id": "ResourceAttributes['customer.id']", "time": "Timestamp", "id": "SpanId"},
}


def logged_contents(clickhouse: ClickHouse, customer_id: str, start: datetime, end: datetime) -> dict[datetime, str]:
    """The digest of each window of [start, end) that has rows of the customer in the log tables.

    Raises:
        StorageError: they could not be read.
    """
    totals: dict[int, list[int]] = {}
    parameters = {
        "customer": customer_id,
        "start": int(start.timestamp() * 10**6),
        "end": int(end.timestamp() * 10**6),
    }
    with clickhouse.session() as client:
        for table, names in _LOG_TABLES.items():
            if client.command(f"EXISTS TABLE {table}"):
                sql = read_sql("queries/llm_interactions_by_window").replace("{table}", table)
                for name, column in names.items():
                    sql = sql.replace(f"{{{name}}}", column)
                for seconds, count, digest in client.query(sql, parameters=parameters).result_rows:
                    total = totals.setdefault(seconds, [0, 0])
                    total[0] += count
                    total[1] += digest
    return {
        datetime.fromtimestamp(seconds, UTC): f"{count}-{digest % 2**64:016x}"
        for seconds, (count, digest) in totals.items()
    }


def has_logged(clickhouse: ClickHouse, customer_id: str) -> bool:
    """True if the log tables have any row of the customer.

    Raises:
        StorageError: they could not be read.
    """
    with clickhouse.session() as client:
        for table, names in _LOG_TABLES.items():
            if client.command(f"EXISTS TABLE {table}"):
                sql = f"SELECT 1 FROM {table} WHERE {names['customer_id']} = {{customer:String}} LIMIT 1"  # noqa: S608
                if client.query(sql, parameters={"customer": customer_id}).result_rows:
                    return True
    return False
