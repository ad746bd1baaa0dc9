"""Metadata of an asset's table for the UI and the catalogue: its name, and its columns with types and descriptions."""

from __future__ import annotations

from typing import Any

import dagster as dg

from optiinfra_dagster.storage import descriptions
from optiinfra_dagster.storage.sql import Reader, columns


def described(table: str, reader: Reader | None = None) -> dict[str, Any]:
    """Metadata of an asset whose rows are in `table`, by Dagster's own keys; people read the view of what is published.

    Definitions must load fast, so the columns come from the schema's text: neither Arrow nor ClickHouse is asked. A
    table that no migration made has its columns from the engine; its materializations tell them.
    """
    metadata: dict[str, Any] = {"dagster/table_name": f"{table}_current"}
    if reader is None or not reader.is_own:
        metadata["dagster/column_schema"] = dg.TableSchema(
            columns=[
                dg.TableColumn(name, kind, description=descriptions.of(table, name, reader) or None)
                for name, (kind, _) in columns()[table].items()
                if name != "batch"  # the storage's own; the view leaves it out
            ]
        )
    return metadata
