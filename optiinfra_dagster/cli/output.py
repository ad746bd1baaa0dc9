"""Printing of rows: a table to look at, with the columns that matter, or the JSON or CSV that the engine made.

And the check of a file that results are written to.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TextIO

from rich.cells import cell_len, set_cell_size

from optiinfra_dagster.model.errors import ConfigError, UsageError
from optiinfra_dagster.model.text import plain

if TYPE_CHECKING:
    from optiinfra_dagster.storage.readers import Page

TABLE_ROWS = 50  # a table is for looking; json and csv are complete
LONG = 44  # what text is cut to on a terminal
SHORT = 16  # what it is cut to at most where the first number has no room

# What is said above the table instead of in a column, where it is the same in every row.
CONTEXT = {
    "window_start", "provider", "as_of", "timestamp", "charge_day", "complete", "currency", "statistic",
    "previous_window", "sub_account_id", "self_preference",
}  # fmt: skip


# The kernel's, and its devices: of root, a file would take the place of /dev/null.
_NO_FILES = (Path("/dev"), Path("/proc"), Path("/sys"))


def check_file(out: Path, such_as: str) -> None:
    """Refuse, before work is spent, a file that cannot be written whole and then put in the place of what is there.

    Raises:
        UsageError: it is a folder, a device or in no folder.
        ConfigError: this user may not write there.
    """
    if out.is_dir():
        raise UsageError(f"--out {out} is a folder: name a file in it, such as {out / such_as}.")
    folder = out.absolute().parent
    if not folder.is_dir():
        raise UsageError(f"--out {out}: there is no folder {folder}. Make it first, or name another place.")
    inside = folder.resolve()
    kernels = inside == _NO_FILES[0] or any(inside.is_relative_to(place) for place in _NO_FILES[1:])
    if kernels or (out.exists() and not out.is_file()):
        raise UsageError(f"--out {out} is no file that can be replaced: name one in a folder of yours.")
    if not os.access(folder, os.W_OK):
        raise ConfigError(f"--out {out}: this user may not write to {folder}. Name another place.")


def copy(text: IO[bytes], out: TextIO) -> None:
    """Print text in UTF-8, whatever the terminal's encoding: that is what JSON and CSV are read as."""
    text.seek(0)
    shutil.copyfileobj(text, out.buffer, 1 << 20)
    out.flush()


def show(page: Page, out: TextIO, title: str = "") -> None:
    """Print a table of as many columns, from the left, as a terminal has room for; a file or a pipe has room for all.

    Numbers are never cut: part of a number is another number. Where the first of them has no room, names are cut.
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
    right = {name for name in names if _is_number(page.types[name])}
    if wide is not None:
        _make_room(wide, names, cells, widths, right)
    fitting = list(names)
    while wide is not None and len(fitting) > 1 and sum(widths[name] + 2 for name in fitting) - 2 > wide:
        fitting.pop()
    facts = ", ".join([title, *(f"{name} {cell(values[name][0])}" for name in same)]).removeprefix(", ")
    if facts:
        out.write(f"{facts}\n")
    bold = ("\x1b[1m", "\x1b[0m") if wide is not None and os.environ.get("TERM") != "dumb" else ("", "")
    out.write(f"{bold[0]}{_line(fitting, fitting, widths, right)}{bold[1]}\n")
    out.writelines(
        f"{_line(row, fitting, widths, right)}\n" for row in zip(*(cells[name] for name in fitting), strict=True)
    )
    if page.total > len(page.rows):
        out.write(f"... {page.total - len(page.rows):,} more rows; --format csv or json prints all.\n")
    if left_out := names[len(fitting) :]:
        out.write(f"No room for {', '.join(left_out)}: widen the terminal, or use --format csv or json.\n")


def _make_room(
    wide: int, names: Sequence[str], cells: dict[str, list[str]], widths: dict[str, int], right: set[str]
) -> None:
    """Cut the longest texts before the first number as far as it takes, so that a table has what it is about."""
    first = next((place for place, name in enumerate(names) if name in right), 0)
    before = list(names[:first])
    needed = names[: first + 2] if names[first + 1 : first + 2] == ["unit"] else names[: first + 1]
    while before and (lacking := sum(widths[name] + 2 for name in needed) - 2 - wide) > 0:
        longest = max(before, key=lambda name: widths[name])
        width = max(widths[longest] - lacking, SHORT, len(longest))
        if width >= widths[longest]:
            break
        cells[longest] = [_cut(longest, cell, width) for cell in cells[longest]]
        widths[longest] = width


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


def _cut(name: str, text: str, most: int = LONG) -> str:
    """A text of at most `most` cells; of an id the end is kept, which tells one from another."""
    if cell_len(text) <= most:
        return text
    if name == "resource_id":
        return f"...{text[3 - most :]}"
    return f"{set_cell_size(text, most - 3)}..."


Say = Callable[[str], None]
