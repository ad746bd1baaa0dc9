"""Printing of rows: a table to look at, with the columns that matter, or the JSON or CSV that the engine made."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len, set_cell_size

from optiinfra_dagster.model.text import plain

if TYPE_CHECKING:
    from optiinfra_dagster.storage.readers import Page

TABLE_ROWS = 50  # a table is for looking; json and csv are complete
LONG = 44  # what text is cut to on a terminal

# What is said above the table instead of in a column, where it is the same in every row.
CONTEXT = {
    "window_start", "provider", "as_of", "timestamp", "charge_day", "complete", "currency", "statistic",
    "previous_window", "sub_account_id", "self_preference",
}  # fmt: skip


def copy(text: IO[bytes], out: TextIO) -> None:
    """Print text in UTF-8, whatever the terminal's encoding: that is what JSON and CSV are read as."""
    text.seek(0)
    shutil.copyfileobj(text, out.buffer, 1 << 20)
    out.flush()


def show(page: Page, out: TextIO, title: str = "") -> None:
    """Print a table of as many columns, from the left, as a terminal has room for; a file or a pipe has room for all.

    Numbers are never cut: part of a number is another number.
    """
    if not page.rows:
        return
    wide = shutil.get_terminal_size((120, 50)).columns if out.isatty() else None
    columns = list(page.types)
    values = dict(zip(columns, zip(*page.rows, strict=True), strict=True))
    same = [name for name in columns if name in CONTEXT and name in page.same]
    names = [name for name in columns if name not in same] or columns[:1]
    cells = {name: [cell(value) for value in values[name]] for name in names}
    names = [name for name in names if any(cells[name])] or names[:1]
    if wide is not None:
        cells = {name: [_cut(name, cell) for cell in cells[name]] for name in names}
    widths = {name: max(len(name), *map(cell_len, cells[name])) for name in names}
    fitting = list(names)
    while wide is not None and len(fitting) > 1 and sum(widths[name] + 2 for name in fitting) - 2 > wide:
        fitting.pop()
    facts = ", ".join([title, *(f"{name} {cell(values[name][0])}" for name in same)]).removeprefix(", ")
    if facts:
        out.write(f"{facts}\n")
    right = {name for name in names if _is_number(page.types[name])}
    bold = ("\x1b[1m", "\x1b[0m") if wide is not None and os.environ.get("TERM") != "dumb" else ("", "")
    out.write(f"{bold[0]}{_line(fitting, fitting, widths, right)}{bold[1]}\n")
    out.writelines(
        f"{_line(row, fitting, widths, right)}\n" for row in zip(*(cells[name] for name in fitting), strict=True)
    )
    if page.total > len(page.rows):
        out.write(f"... {page.total - len(page.rows):,} more rows; --format csv or json prints all.\n")
    if left_out := names[len(fitting) :]:
        out.write(f"No room for {', '.join(left_out)}: widen the terminal, or use --format csv or json.\n")


def _line(texts: Sequence[str], names: Sequence[str], widths: dict[str, int], right: set[str]) -> str:
    parts = (
        " " * (widths[name] - cell_len(text)) + text if name in right else set_cell_size(text, widths[name])
        for name, text in zip(names, texts, strict=True)
    )
    return "  ".join(parts).rstrip()


def _is_number(kind: str) -> bool:
    return kind.removeprefix("Nullable(").startswith(("Float", "Int", "UInt", "Decimal"))


def cell(value: Any) -> str:
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
    return plain(str(value))


def _cut(name: str, text: str) -> str:
    """A text of at most `LONG` cells; of an id the end is kept, which tells one from another."""
    if cell_len(text) <= LONG:
        return text
    if name == "resource_id":
        return f"...{text[3 - LONG :]}"
    return f"{set_cell_size(text, LONG - 3)}..."


Say = Callable[[str], None]
