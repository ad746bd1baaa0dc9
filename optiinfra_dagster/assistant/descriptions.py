"""What the readers tell, in words: each with its sentence, and one of them column by column."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from optiinfra_dagster.assistant.source_facts import sentence_of, table_of
from optiinfra_dagster.storage import descriptions, readers

if TYPE_CHECKING:
    from optiinfra_dagster.storage.clickhouse import ClickHouse


def described(clickhouse: ClickHouse, only: str | None) -> dict[str, Any]:
    """Every reader with what it tells; of the one that is asked for, as a tool's name, also its columns with types.

    Raises:
        StorageError: the tables cannot be read.
    """
    found = []
    for family, of_family in readers.sources().items():
        for name, source in of_family.items():
            tool = f"{family}_{name}"
            if only not in {None, tool}:
                continue
            one: dict[str, Any] = {"reader": tool, "tells": sentence_of(family, name, source)}
            if source.reader is not None:
                one["kept_days"] = source.reader.kept
            if only is not None:
                with clickhouse.session() as client:
                    types = readers.columns(client, source.view)
                one["columns"] = [
                    {"column": column, "type": kind, "what": descriptions.of(table_of(source), column, source.reader)}
                    for column, kind in types.items()
                ]
            found.append(one)
    return {"readers": found}
