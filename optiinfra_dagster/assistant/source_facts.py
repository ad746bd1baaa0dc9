"""What a reader or a table is to an assistant: its sentence, its columns, and the table that describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optiinfra_dagster.storage.sql import columns

if TYPE_CHECKING:
    from optiinfra_dagster.storage.readers import Source

# What the tables of rows themselves are called where the view has another name.
_TABLES = {"costs": "cost_metrics"}
_OF_ROWS = {
    "performance metrics": "The points of a window themselves, as the cloud measured them.",
    "resource timeline": "All that readers say of one resource, in the order of time.",
    "cost metrics": "The charges themselves: what bills say of a day, and the estimates of days that have not settled.",
    "cost restatements": "Days whose published cost a bill changed since: what they were before, and after.",
    "application metrics": "The judged answers of LLM applications themselves, score by score.",
}


def sentence_of(family: str, name: str, source: Source) -> str:
    """What the rows of a source tell, in a sentence."""
    return source.reader.description if source.reader else _OF_ROWS[f"{family} {name}"]


def source_columns(source: Source) -> set[str]:
    """The columns of a source, as far as the code knows them without asking ClickHouse."""
    own = source.reader.columns if source.reader else ()
    of_one = ("resource_id",) if source.of_one_resource else ()
    return {*source.shows, *columns().get(table_of(source), ()), *own, *of_one}


def table_of(source: Source) -> str:
    """The table of a source's rows, by which its columns are described."""
    table = source.reader.table if source.reader else source.view.removesuffix("_current")
    return _TABLES.get(table, table)
