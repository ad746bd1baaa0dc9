"""Metadata of an asset's table for the UI and the catalogue: its name, and its columns with types and descriptions."""

from __future__ import annotations

from typing import Any

import dagster as dg

from optiinfra_dagster.storage.sql import columns


def described(table: str) -> dict[str, Any]:
    """Metadata of an asset whose rows are in `table`, by Dagster's own keys; people read the view of what is published.

    Definitions must load fast, so the columns come from the schema's text: neither Arrow nor ClickHouse is asked.
    """
    return {
        "dagster/table_name": f"{table}_current",
        "dagster/column_schema": dg.TableSchema(
            columns=[
                dg.TableColumn(name, kind, description=comment or None)
                for name, (kind, comment) in columns()[table].items()
                if name != "batch"  # the storage's own; the view leaves it out
            ]
        ),
    }
