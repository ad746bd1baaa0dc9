"""Rows of Python values inserted once: an INSERT is never sent again by itself, whatever becomes of the connection."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from clickhouse_connect.driver.client import Client


def insert_rows(
    client: Client,
    table: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Any]],
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Insert rows, as one block. Times have a zone; enumerations, decimals and nulls are taken as they are.

    `Client.insert` is not used: it sends the rows again when the server closes the connection, after which they may be
    there twice. So does `raw_insert` with bytes, but not with another buffer, as `insert_arrow` hands it one.
    """
    lines = "\n".join(json.dumps(list(row), default=_plain, ensure_ascii=False, allow_nan=False) for row in rows)
    # mypy knows of no buffers there.
    client.raw_insert(
        table,
        columns,
        memoryview(lines.encode()),  # type: ignore[arg-type]
        {"date_time_input_format": "best_effort", **(settings or {})},
        fmt="JSONCompactEachRow",
    )


def _plain(value: object) -> str:
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(UTC).isoformat()
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{value!r} cannot be inserted")
