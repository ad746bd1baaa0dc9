"""What a page is made of: sections with figures, plots and tables, all of them texts already."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.reports import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Row = dict[str, Any]
Column = tuple[str, str, Callable[[Any], str]]  # heading, name, and how a value is written


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a reader, and what is to be said where there are none."""

    rows: Sequence[Row] = ()
    note: str = ""
    at: datetime | None = None  # the window that they are of
    is_lost: bool = False  # there were rows at the time that is asked for, which are not kept


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure that matters, with how sure it is."""

    label: str
    value: str
    facts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Plot:
    """A plot, as SVG, and what it shows in words."""

    title: str
    svg: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of texts; the columns of `figures` are set to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    figures: frozenset[int] = frozenset()
    left_out: int = 0  # rows that there are beside


@dataclass(slots=True)
class Section:
    """A part of the page. Without plots and tables, `note` says why."""

    id: str
    title: str
    says: str = ""
    facts: str = ""  # as of when, whether complete
    note: str = ""
    figures: list[Figure] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


def by(rows: Iterable[Row], column: str) -> dict[Any, list[Row]]:
    """The rows by what a column has; sorted, so that a page is the same each time."""
    found: dict[Any, list[Row]] = {}
    for row in rows:
        found.setdefault(row[column], []).append(row)
    return dict(sorted(found.items()))


AS_OF: Sequence[Column] = (("complete", "complete", words.yes), ("as of", "as_of", words.time))

MOST_ROWS = 30  # of a table: the page is for looking, `optiinfra read` has all
MOST_BARS = 12


def facts(rows: Sequence[Row]) -> str:
    """As of when rows are, whether they are complete, and how much of their amounts is estimated."""
    parts = []
    if any("as_of" in row for row in rows):
        parts.append(f"as of {words.span(row.get('as_of') for row in rows)}")
    if any("complete" in row for row in rows):
        incomplete = sum(not row.get("complete") for row in rows)
        parts.append("complete" if not incomplete else f"not complete: {incomplete} of {len(rows)} rows")
    if any("estimated" in row and "billed" in row for row in rows):
        estimated, billed = (sum(abs(row[kind]) for row in rows) for kind in ("estimated", "billed"))
        share = float(estimated / (estimated + billed)) if estimated + billed else None
        parts.append(f"estimated: {words.percent(share)}")
    return ", ".join(parts)


def table(title: str, rows: Sequence[Row], columns: Sequence[Column], most: int = MOST_ROWS) -> Table:
    """The first `most` rows, of the columns that they have."""
    there = [column for column in columns if rows and column[1] in rows[0]]
    return Table(
        title,
        [heading for heading, _, _ in there],
        [[written(row[column]) for _, column, written in there] for row in rows[:most]],
        frozenset(
            n for n, (_, _, written) in enumerate(there) if written in {words.money, words.number, words.percent}
        ),
        max(0, len(rows) - most),
    )
