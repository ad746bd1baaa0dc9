"""Rows of Python values inserted once, whatever becomes of the connection."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from clickhouse_connect.driver.client import Client


def insert_rows(
    client: Client,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    *,
    token: str = "",
) -> None:
    """Insert rows, as one block. Times have a zone; enumerations, decimals and nulls are taken as they are.

    `Client.insert` is not used: it sends the rows again when the server closes the connection, after which they may be
    there twice. So does `raw_insert` with bytes, but not with another buffer, as `insert_arrow` hands it one. With a
    deduplication token, another for each call, of a table with a deduplication window, they are sent again once: the
    table knows a block that it has.
    """
    from clickhouse_connect.driver.exceptions import Error as ClickHouseError

    lines = "\n".join(json.dumps(list(row), default=_plain, ensure_ascii=False, allow_nan=False) for row in rows)
    settings = {"date_time_input_format": "best_effort"}
    if token:
        settings["insert_deduplication_token"] = token

    def send() -> None:
        # mypy knows of no buffers there.
        client.raw_insert(table, columns, memoryview(lines.encode()), settings, fmt="JSONCompactEachRow")  # type: ignore[arg-type]

    try:
        send()
    except ClickHouseError as error:
        if not token or getattr(error, "code", None) is not None:  # ClickHouse has answered
            raise
        send()


def _plain(value: object) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{value!r} cannot be inserted")
