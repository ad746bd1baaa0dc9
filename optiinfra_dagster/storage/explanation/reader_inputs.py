"""Which slices a reader reads, as `-- reads:` at the head of its file says, and those beneath them.

The line names datasets of the ledger, other readers as `family/name`, and other tables, with commas between. Without
more, the slices read are those of the reader's own window, hour or day. Otherwise:

    -- reads: cost/daily since day - 30 days, performance last 7 days, resource last 1 day by as_of,
    --   resource/days since day - 90 days to day, prices

`last 7 days` end with the reader's slice; `since day - 30 days` begins so long before the start of its day (or
`month`); `to day` ends there. `by as_of` says that of these it is the one slice that the row's column `as_of` names, or
the newest that is published where the row has no such column.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.months import first_of_month
from optiinfra_dagster.storage.schema import BILLED, DATASETS
from optiinfra_dagster.storage.sql import readers

if TYPE_CHECKING:
    from optiinfra_dagster.storage.sql import Reader

DAY = timedelta(days=1)

_PART = re.compile(
    r"(?P<what>\w+(?:/\w+)?)(?: last (?P<last>\d+) days?"
    r"| since (?P<anchor>day|month)(?: - (?P<back>\d+) (?P<unit>days?|months?))?)?"
    r"(?P<to_day> to day)?(?: by (?P<by>\w+))?"
)


@dataclass(frozen=True, slots=True)
class Reads:
    """One part of the line: what is read, and of which times."""

    what: str
    last: int | None = None  # days
    anchor: str = ""  # day or month; empty: the reader's own slice
    back: int = 0
    unit: str = "day"
    to_day: bool = False
    by: str = ""

    @property
    def reader(self) -> Reader | None:
        """The reader that is read, if it is one."""
        family, _, name = self.what.partition("/")
        return readers()[family, name] if name else None

    @property
    def is_beside_the_ledger(self) -> bool:
        """True of a table that is not made of slices."""
        return "/" not in self.what and self.what not in DATASETS

    def span(self, begin: datetime, end: datetime) -> tuple[datetime, datetime]:
        """The times read by slices of the reader from `begin` to `end`, the end not included."""
        first = begin
        if self.last is not None:
            first = end - self.last * DAY
        elif self.anchor:
            first = begin.replace(hour=0, minute=0)
            if self.anchor == "month":
                first = first_of_month(first)
            if self.unit == "month":
                months = first.year * 12 + first.month - 1 - self.back
                first = first.replace(year=months // 12, month=months % 12 + 1)
            else:
                first -= self.back * DAY
        last = (end - windows.WINDOW).replace(hour=0, minute=0) if self.to_day else end
        length = self.length
        if (last - windows.floor_to(length, last)) > timedelta(0):
            last = windows.floor_to(length, last) + length  # the slice that is going on is read, too
        return windows.floor_to(length, first), last

    @property
    def length(self) -> timedelta:
        """What one of the slices covers."""
        if self.reader is not None:
            return self.reader.length
        return DAY if self.what == BILLED.name else windows.WINDOW


@cache
def reads(family: str, name: str) -> tuple[Reads, ...]:
    """What a reader reads; nothing where its file does not say.

    Raises:
        ValueError: the line cannot be read.
    """
    reader = readers()[family, name]
    return tuple(_part(reader, text.strip()) for text in reader.reads.split(",") if text.strip())


def _part(reader: Reader, text: str) -> Reads:
    found = _PART.fullmatch(text)
    if found is None:
        raise ValueError(f"sql/readers/{reader.file}.sql: `-- reads:` has {text!r}, see explanation/reader_inputs.py")
    return Reads(
        what=found["what"],
        last=int(found["last"]) if found["last"] else None,
        anchor=found["anchor"] or "",
        back=int(found["back"] or 0),
        unit=(found["unit"] or "day").rstrip("s"),
        to_day=bool(found["to_day"]),
        by=found["by"] or "",
    )


@dataclass(frozen=True, slots=True)
class Span:
    """Slices of a dataset or reader that were read, from `begin` to `end`, the end not included.

    `depth` is 1 for what the row's own reader reads, 2 for what is beneath that. `by` is the column of the row that
    names the one slice of them. `readings` are the times that each reader reads of them; its name is empty for the
    row's own.
    """

    what: str
    by: str
    begin: datetime
    end: datetime
    depth: int
    readings: tuple[tuple[str, datetime, datetime], ...]


def spans(reader: Reader, begin: datetime, end: datetime) -> tuple[list[Span], list[str]]:
    """The slices beneath those of a reader from `begin` to `end`, the nearest first; and the tables beside the ledger.

    What several readers read of one dataset is one span.
    """
    found: dict[tuple[str, str], Span] = {}
    beside: dict[str, None] = {}
    going: list[tuple[Reader, str, datetime, datetime, int]] = [(reader, "", begin, end, 1)]
    while going:
        of, name, first, last, depth = going.pop(0)
        for part in reads(of.family, of.name):
            if part.is_beside_the_ledger:
                beside[part.what] = None
                continue
            read_from, read_to = part.span(first, last)
            if read_from >= read_to:
                continue
            by = part.by if depth == 1 else ""
            reading = (name, read_from, read_to)
            known = found.get((part.what, by))
            found[part.what, by] = (
                Span(part.what, by, read_from, read_to, depth, (reading,))
                if known is None
                else Span(
                    part.what,
                    by,
                    min(known.begin, read_from),
                    max(known.end, read_to),
                    known.depth,
                    tuple(dict.fromkeys((*known.readings, reading))),
                )
            )
            if part.reader is not None:
                going.append((part.reader, part.what, read_from, read_to, depth + 1))
    return sorted(found.values(), key=lambda span: span.depth), list(beside)
