"""Prints what `optiinfra read` reads, as a table, CSV or JSON."""

from __future__ import annotations

import tempfile
from typing import IO, TYPE_CHECKING, Any, TextIO

from optiinfra_dagster.cli import output
from optiinfra_dagster.storage import readers, text
from optiinfra_dagster.storage.reading import read_rows

if TYPE_CHECKING:
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.readers import Page, Statement
    from optiinfra_dagster.storage.reading import FoundRows, Query, Result

_IN_MEMORY = 1 << 20  # of text; what is longer is kept in a file


def print_rows(clickhouse: ClickHouse, settings: Settings, query: Query, format_: str, out: TextIO) -> Result[Any]:
    """Print them as a `table` of the first ones, or all as `csv` or `json`.

    Text is kept in a file until all of it is there. So whoever reads it gets the whole or nothing, however the engine
    ends, and may take their time, while other processes have the engine again.
    """
    if format_ == "table":
        of_table = read_rows(clickhouse, settings, query, _page)
        if of_table.rows is not None:
            output.show(of_table.rows, out, of_table.title)
        return of_table
    write = text.write_json if format_ == "json" else text.write_csv
    with tempfile.SpooledTemporaryFile(_IN_MEMORY) as file:

        def take(client: Client, statement: Statement) -> FoundRows[IO[bytes]]:
            return file, write(client, statement, file, embedded=clickhouse.embedded)

        of_text = read_rows(clickhouse, settings, query, take)
        if of_text.rows is not None:
            output.copy(of_text.rows, out)
        elif format_ == "json":
            out.write("[]\n")
    return of_text


def _page(client: Client, statement: Statement) -> FoundRows[Page]:
    page = readers.page(client, statement, output.TABLE_ROWS)
    return page, bool(page.rows)
