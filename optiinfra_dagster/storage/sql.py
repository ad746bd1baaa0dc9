"""Access to the .sql files: those of `sql/` at the top of a checkout, or of its copy inside an installed wheel."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
SQL = next(folder for folder in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if folder.is_dir())

_TABLE = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)(?: AS (\w+);|\n\((.*?)^\))", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r"^ +(\w+) +(.+?) +CODEC\(.*?\)+,?(?: +-- (.*))?$", re.MULTILINE)
_DROP = re.compile(r"^ALTER TABLE (\w+) (DROP COLUMN (?:.|\n)*?);", re.MULTILINE)
_CHANGE = re.compile(
    r"^ALTER TABLE (\w+) (?:ADD COLUMN IF NOT EXISTS|MODIFY COLUMN(?: IF EXISTS)?) (\w+) (.+?) CODEC", re.MULTILINE
)
_KEPT = re.compile(
    r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)\n\((?:(?!^CREATE).)*?^TTL \D+(\d+) DAY", re.MULTILINE | re.DOTALL
)


@cache
def read_sql(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


def statements_of(text: str) -> list[str]:
    """The statements of a file's text, without their semicolons and its comments, which may hold semicolons."""
    code = "\n".join(line.partition("--")[0].rstrip() for line in text.splitlines())
    return [statement.strip() for statement in code.split(";") if statement.strip()]


_FACT = re.compile(
    r"^(shows|ordered by|if empty|empty without|covers|computed from|also computes|days of|reads|kept|key|types|table)"
    r": (.+(?:\n  .+)*)",
    re.MULTILINE,
)
_DESCRIBED = re.compile(r"^    (?:(?:(?!--).)*?\W)??([a-z_]\w*),?(?: +-- (.*))?$", re.MULTILINE)
_LENGTHS = {"": timedelta(minutes=15), "1 hour": timedelta(hours=1), "1 day": timedelta(days=1)}


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader, as the comment at the head of `sql/readers/<family>_<name>.sql` describes it.

    After its prose stand `shows`, `kept` and `key` and, where they apply, `types`, `ordered by`, `if empty`, `empty
    without`, `covers`, `computed from`, `also computes`, `days of`, `reads` (`explanation/reader_inputs.py`) and
    `table`; what is longer goes on in lines that are indented:

        -- shows: window_start provider resource_name change
        -- kept: 90 days
        -- key: customer_id provider resource_id
        -- types: resource_id String

    `-- empty without: cost_metrics cost_daily of any time` says that the SELECT gives no rows while neither table has
    one, so that it need not be looked at; without `of any time`, one since the start of the window's day.

    `-- days of: known_days` says that the SELECT is all of one day of that view, which takes `first`, `last` and
    `until` and tells the `charge_day`: several days that are computed again are then written together.

    Its table follows from the SELECT (`reader_tables`) and is named by it, so that a changed SELECT has a table of its
    own. `-- table: cost_waste` says that a migration made the table, which stays whatever the SELECT is;
    `-- table: cost_waste 0123abcd` that it stays while the SELECT's `version` is that one. Where an edit leaves the
    rows as they are, writing the new version there keeps the table.
    """

    family: str
    name: str
    description: str  # the comment's first sentence
    kept: int  # days
    key: tuple[str, ...]  # what its rows are sorted by within a window, in the table and for people
    types: Mapping[str, str]  # of columns that go by no rule
    version: str  # changes with whatever the table follows from
    made_as: tuple[str, ...]  # a migration's table, and the version that it is of; empty: no migration made it
    columns: Mapping[str, str]  # of the SELECT, as far as each has a line there, and what the comment behind it says
    shows: tuple[str, ...]  # columns for a person, the most telling first
    ordered_by: str  # what comes first where a person reads it; empty for the order of all readers
    if_empty: str  # what it means that there are no rows
    length: timedelta  # what a slice of it covers
    computed_from: tuple[tuple[str, str], ...]  # readers; none where it is computed from what was collected
    empty_without: tuple[str, ...] = ()  # tables; where none of them has a row, the SELECT gives none
    empty_without_ever: bool = False  # a row of any time counts, not only one since the start of the window's day
    also_computes: str = ""  # the query of `sql/queries` that finds the slices to be computed with each of its windows
    days_of: str = ""  # the view of a stretch of days that it selects one day of
    reads: str = ""  # which slices it reads, for `reach.py`; empty where its file does not say

    @property
    def file(self) -> str:
        """The name of its file, which is that of its view but for the end."""
        return f"{self.family}_{self.name}"

    @property
    def view(self) -> str:
        """The view that people read: the published rows of its table."""
        return f"{self.file}_current"

    @property
    def is_own(self) -> bool:
        """True if its table follows from the SELECT, false if a migration made it."""
        return not self.made_as or self.made_as[1:] not in {(), (self.version,)}

    @property
    def table(self) -> str:
        """The name of its table, which is also its name in the ledger."""
        return f"{self.file}_v{self.version}" if self.is_own else self.made_as[0]

    @property
    def select(self) -> str:
        """Its SELECT, which takes the parameter `window`."""
        return read_sql(f"readers/{self.file}")


@cache
def readers() -> dict[tuple[str, str], Reader]:
    """Every reader by family and name."""
    found = {}
    for path in sorted((SQL / "readers").glob("*.sql")):
        reader = _reader(path)
        found[reader.family, reader.name] = reader
    return found


def _reader(path: Path) -> Reader:
    """The reader of a file.

    Raises:
        ValueError: the head lacks a fact, or has one that cannot be read.
    """
    family, _, name = path.stem.partition("_")
    text = read_sql(f"readers/{path.stem}")
    head = re.match(r"(?:--.*\n)*", text)
    comment = re.sub(r"^-- ?", "", head[0], flags=re.MULTILINE) if head else ""
    facts = {key: " ".join(value.split()) for key, value in _FACT.findall(comment)}
    kept = re.fullmatch(r"(\d+) days", facts.get("kept", ""))
    key = facts.get("key", "").split()
    if "shows" not in facts or kept is None or key[:1] != ["customer_id"] or facts.get("covers", "") not in _LENGTHS:
        raise ValueError(
            f"{path}: its first lines need `-- shows: <columns>`, `-- kept: <n> days` and `-- key: customer_id "
            "<columns>`, and may say `-- covers: 1 hour` or `1 day`"
        )
    types = dict(part.split(" ", 1) for part in re.split(r", (?=\w+ [A-Z])", facts.get("types", "")) if part)
    code = " ".join(re.sub(r"--.*", "", text).split())
    of = (code, kept[1], *key, *(f"{column} {kind}" for column, kind in types.items()))
    without, ever, _ = facts.get("empty without", "").partition(" of any time")
    _, _, last_select = text.rpartition("\nSELECT\n")
    return Reader(
        family=family,
        name=name,
        description=re.split(r"(?<=\.)\s", comment, maxsplit=1)[0].replace("\n", " "),
        kept=int(kept[1]),
        key=tuple(key),
        types=types,
        version=hashlib.blake2b("\0".join(of).encode(), digest_size=4).hexdigest(),
        made_as=tuple(facts.get("table", "").split()),
        columns={
            column: comment_behind or ""
            for column, comment_behind in _DESCRIBED.findall(re.split(r"\nFROM ", last_select)[0])
        },
        shows=tuple(facts["shows"].split()),
        ordered_by=facts.get("ordered by", ""),
        if_empty=facts.get("if empty", "nothing is there"),
        length=_LENGTHS[facts.get("covers", "")],
        computed_from=tuple(tuple(key.split("/", 1)) for key in facts.get("computed from", "").split()),  # type: ignore[misc]
        empty_without=tuple(without.split()),
        empty_without_ever=bool(ever),
        also_computes=facts.get("also computes", ""),
        days_of=facts.get("days of", ""),
        reads=facts.get("reads", ""),
    )


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
            found[table][name] = (kind.partition(" DEFAULT ")[0], comment)
        for table, dropped in _DROP.findall(text):
            for name in re.findall(r"DROP COLUMN IF EXISTS (\w+)", dropped):
                found[table].pop(name, None)
    return found


@cache
def reader_types() -> dict[str, dict[str, str]]:
    """The columns and types of the tables that follow from readers' SELECTs, as `make docs` found them in the engine.

    A table is named by its SELECT: one that has changed, or that somebody has added, is not there until then.
    """
    path = SQL / "readers" / "columns.json"
    found: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found


@cache
def kept_days() -> dict[str, int]:
    """The days for which rows are kept, by table of `sql/schema/`; a table without a TTL is not there."""
    found = {}
    for path in sorted((SQL / "schema").glob("*.sql")):
        found.update({table: int(days) for table, days in _KEPT.findall(path.read_text(encoding="utf-8"))})
    return found


@cache
def made_tables() -> frozenset[str]:
    """The names of the tables of the project: those of `sql/schema/`, of migrations, and of readers by this version."""
    migrated = {
        name
        for path in (SQL / "schema").glob("*.sql")
        for name in re.findall(
            r"^CREATE TABLE (?:IF NOT EXISTS )?(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    }
    return frozenset(
        {*migrated, "schema_migrations", "schema_migrations_lock", *(reader.table for reader in readers().values())}
    )
