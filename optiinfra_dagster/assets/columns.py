"""Metadata of an asset's table for the UI and the catalogue: its name, and its columns with types and descriptions."""

from __future__ import annotations

from typing import Any

import dagster as dg

from optiinfra_dagster.storage import descriptions
from optiinfra_dagster.storage.sql import Reader, columns, reader_types


def described(table: str, reader: Reader | None = None) -> dict[str, Any]:
    """Metadata of an asset whose rows are in `table`, by Dagster's own keys; people read the view of what is published.

    Definitions must load fast, so the columns come from the schema's text, and those of tables that no migration made
    from a file beside the readers: neither Arrow nor ClickHouse is asked. Of a reader that is not in that file yet, its
    materializations tell them: 6 kB each time, kept three times in Dagster's storage.
    """
    metadata: dict[str, Any] = {"dagster/table_name": f"{table}_current"}
    of_schema = {name: kind for name, (kind, _) in columns().get(table, {}).items()}
    types = reader_types().get(reader.table) if reader and reader.is_own else of_schema
    if types:
        metadata["dagster/column_schema"] = dg.TableSchema(
            columns=[
                dg.TableColumn(name, kind, description=descriptions.of(table, name, reader) or None)
                for name, kind in types.items()
                if name != "batch"  # the storage's own; the view leaves it out
            ]
        )
    return metadata
