"""Printing of rows: a table to look at, with the columns that matter, or JSON or CSV with all columns."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len, set_cell_size

from optiinfra_dagster.model.text import plain

if TYPE_CHECKING:
    import pyarrow as pa

MANY_ROWS = 10_000
TABLE_ROWS = 50  # a table is for looking; json and csv are complete
LONG = 44  # what text is cut to on a terminal

JSON_COLUMNS = {"metadata", "tags", "details", "categories"}

# What is said above the table instead of in a column, where it is the same in every row.
CONTEXT = {
    "window_start", "provider", "as_of", "timestamp", "charge_day", "complete", "currency", "statistic",
    "previous_window", "sub_account_id", "self_preference",
}  # fmt: skip


def show(
    rows: pa.Table | None, format_: str, out: TextIO, columns: Sequence[str] | None = None, title: str = ""
) -> None:
    """Print rows as `table` (its first ones, those `columns` that fit), `json` (one array) or `csv` (complete).

    None is what was never collected: an empty array, or nothing.
    """
    if format_ == "json":
        _write_json(rows, out)
    elif rows is None:
        return
    elif format_ == "csv":
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(rows.column_names)
        writer.writerows([_text(value) for value in row.values()] for row in _rows(rows))
    elif rows.num_rows:
        _write_table(rows, out, columns or rows.column_names, title)


def _write_json(rows: pa.Table | None, out: TextIO) -> None:
    out.write("[")
    for i, row in enumerate(_rows(rows) if rows is not None else ()):
        out.write(",\n " if i else "\n ")
        json.dump({name: _json(name, value) for name, value in row.items()}, out, ensure_ascii=False)
    out.write("\n]\n" if rows is not None and rows.num_rows else "]\n")


# --- Tables ----------------------------------------------------------------------------------------------------------


def _write_table(rows: pa.Table, out: TextIO, columns: Sequence[str], title: str) -> None:
    """Write as many columns, from the left, as a terminal has room for; a file or a pipe has room for all.

    Numbers are never cut: part of a number is another number.
    """
    wide = shutil.get_terminal_size((120, 50)).columns if out.isatty() else None
    same = [name for name in columns if name in CONTEXT and _is_one_value(rows[name])]
    names = [name for name in columns if name not in same] or list(columns[:1])
    cells = {name: [_cell(value) for value in _values(rows[name].slice(0, TABLE_ROWS))] for name in names}
    names = [name for name in names if any(cells[name])] or names[:1]
    if wide is not None:
        cells = {name: [_cut(name, cell) for cell in cells[name]] for name in names}
    widths = {name: max(len(name), *map(cell_len, cells[name])) for name in names}
    fitting = list(names)
    while wide is not None and len(fitting) > 1 and sum(widths[name] + 2 for name in fitting) - 2 > wide:
        fitting.pop()
    first = {name: _cell(_values(rows[name].slice(0, 1))[0]) for name in same}
    facts = ", ".join([title, *(f"{name} {cell}" for name, cell in first.items())]).removeprefix(", ")
    if facts:
        out.write(f"{facts}\n")
    right = {name for name in names if _is_number(rows.schema.field(name).type)}
    bold = ("\x1b[1m", "\x1b[0m") if wide is not None and os.environ.get("TERM") != "dumb" else ("", "")
    out.write(f"{bold[0]}{_line(fitting, fitting, widths, right)}{bold[1]}\n")
    out.writelines(
        f"{_line(row, fitting, widths, right)}\n" for row in zip(*(cells[name] for name in fitting), strict=True)
    )
    if rows.num_rows > TABLE_ROWS:
        out.write(f"... {rows.num_rows - TABLE_ROWS:,} more rows; --format csv or json prints all.\n")
    if left_out := names[len(fitting) :]:
        out.write(f"No room for {', '.join(left_out)}: widen the terminal, or use --format csv or json.\n")


def _line(texts: Sequence[str], names: Sequence[str], widths: dict[str, int], right: set[str]) -> str:
    parts = (
        " " * (widths[name] - cell_len(text)) + text if name in right else set_cell_size(text, widths[name])
        for name, text in zip(names, texts, strict=True)
    )
    return "  ".join(parts).rstrip()


def _is_number(kind: Any) -> bool:
    name = str(kind)
    return name.startswith(("double", "float", "int", "uint", "decimal"))


def _cell(value: Any) -> str:
    """A value in a table: no line break and no control character of a name found in a cloud reaches the terminal."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, Decimal):
        return f"{value:,.4f}" if not value or abs(value) >= Decimal("0.01") else f"{float(value):.3g}"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%dT%H:%M{':%S' if value.second else ''}Z}"
    return plain(str(_text(value)))


def _cut(name: str, text: str) -> str:
    """A text of at most `LONG` cells; of an id the end is kept, which tells one from another."""
    if cell_len(text) <= LONG:
        return text
    if name == "resource_id":
        return f"...{text[3 - LONG :]}"
    return f"{set_cell_size(text, LONG - 3)}..."


# --- Values ----------------------------------------------------------------------------------------------------------


def _rows(rows: pa.Table) -> Iterator[dict[str, Any]]:
    """Row by row, without holding all of them as Python objects."""
    for batch in rows.to_batches(max_chunksize=10_000):
        for values in zip(*map(_values, batch.columns), strict=True):
            yield dict(zip(rows.column_names, values, strict=True))


def _values(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """A column's values. Arrow makes a time by importing pandas, which takes 0.7 CPU-s; so it is made here."""
    if str(column.type) != "timestamp[s, tz=UTC]":
        values: list[Any] = column.to_pylist()
        return values
    chunks = column.chunks if hasattr(column, "chunks") else [column]
    seconds = (second for chunk in chunks for second in chunk.view("int64").to_pylist())
    return [None if second is None else datetime.fromtimestamp(second, UTC) for second in seconds]


def _is_one_value(column: pa.ChunkedArray) -> bool:
    """True if all rows have the same. What is needed of pyarrow.compute for it, 0.1 CPU-s, is left to long tables."""
    if len(column) > MANY_ROWS:
        return len(column.unique()) == 1
    return len(set(_values(column))) == 1


def _json(name: str, value: Any) -> Any:
    """A value as JSON has it: times ISO 8601 with Z, money as text, JSON columns as the objects they hold."""
    if isinstance(value, (date, Decimal)):
        return _text(value)
    if name in JSON_COLUMNS and isinstance(value, str):
        return json.loads(value or "{}")
    return value


def _text(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, Decimal):
        return f"{value:f}"  # never 0E-18
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else value


Say = Callable[[str], None]
