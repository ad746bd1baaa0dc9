"""What the .sql files say: those of `sql/` at the top of a checkout, or of its copy inside an installed wheel."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
SQL = next(folder for folder in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if folder.is_dir())

_TABLE = re.compile(r"^CREATE TABLE (\w+)(?: AS (\w+);|\n\((.*?)^\))", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r"^ +(\w+) +(.+?) +CODEC\(.*?\)+,?(?: +-- (.*))?$", re.MULTILINE)
_CHANGE = re.compile(r"^ALTER TABLE (\w+) (?:ADD COLUMN IF NOT EXISTS|MODIFY COLUMN) (\w+) (.+?) CODEC", re.MULTILINE)


@cache
def read_sql(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


_FACT = re.compile(r"^(shows|ordered by|if empty|covers|computed from): (.+(?:\n  .+)*)", re.MULTILINE)
_LENGTHS = {"": timedelta(minutes=15), "1 hour": timedelta(hours=1), "1 day": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader, as the comment at the head of `sql/readers/<family>_<name>.sql` describes it.

    After its prose stand `-- shows: window_start provider ...` and, where they apply, `ordered by`, `if empty`,
    `covers` and `computed from`; what is longer goes on in lines that are indented.
    """

    family: str
    name: str
    description: str  # the comment's first sentence
    shows: tuple[str, ...]  # columns for a person, the most telling first
    ordered_by: str  # what comes first where a person reads it; empty for the order of all readers
    if_empty: str  # what it means that there are no rows
    length: timedelta  # what a slice of it covers
    computed_from: tuple[tuple[str, str], ...]  # readers; none where it is computed from what was collected

    @property
    def table(self) -> str:
        """Its table, which people read as `<table>_current`."""
        return f"{self.family}_{self.name}"


@cache
def readers() -> dict[tuple[str, str], Reader]:
    """Every reader by family and name."""
    found = {}
    for path in sorted((SQL / "readers").glob("*.sql")):
        family, _, name = path.stem.partition("_")
        head = re.match(r"(?:--.*\n)*", read_sql(f"readers/{path.stem}"))
        comment = re.sub(r"^-- ?", "", head[0], flags=re.MULTILINE) if head else ""
        facts = {key: " ".join(text.split()) for key, text in _FACT.findall(comment)}
        if "shows" not in facts or facts.get("covers", "") not in _LENGTHS:
            raise ValueError(f"{path}: its first lines need `-- shows: <columns>`, and cover 1 hour, 1 day or a window")
        found[family, name] = Reader(
            family,
            name,
            re.split(r"(?<=\.)\s", comment, maxsplit=1)[0].replace("\n", " "),
            tuple(facts["shows"].split()),
            facts.get("ordered by", ""),
            facts.get("if empty", "nothing is there"),
            _LENGTHS[facts.get("covers", "")],
            tuple(tuple(key.split("/", 1)) for key in facts.get("computed from", "").split()),  # type: ignore[misc]
        )
    return found


@cache
def columns() -> dict[str, dict[str, tuple[str, str]]]:
    """The columns of every table as `sql/schema/` has them: table -> column -> (ClickHouse type, comment or "")."""
    found: dict[str, dict[str, tuple[str, str]]] = {}
    for path in sorted((SQL / "schema").glob("*.sql")):
        text = path.read_text(encoding="utf-8")
        for table, like, body in _TABLE.findall(text):
            own = {name: (kind, comment) for name, kind, comment in _COLUMN.findall(body)}
            found[table] = dict(found[like]) if like else own
        for table, name, kind in _CHANGE.findall(text):
            _, comment = found[table].get(name, ("", ""))
            found[table][name] = (kind, comment)
    return found
