"""Where the .sql files are: the top-level `sql/` folder of a checkout, or its copy inside an installed wheel."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

_PACKAGE = Path(__file__).parent
SQL = next(folder for folder in (_PACKAGE / "sql", _PACKAGE.parent / "sql") if folder.is_dir())

_TABLE = re.compile(r"^CREATE TABLE (\w+)(?: AS (\w+);|\n\((.*?)^\))", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r"^ +(\w+) +(.+?) +CODEC\(.*?\)+,?(?: +-- (.*))?$", re.MULTILINE)
_CHANGE = re.compile(r"^ALTER TABLE (\w+) (?:ADD COLUMN IF NOT EXISTS|MODIFY COLUMN) (\w+) (.+?) CODEC", re.MULTILINE)


@cache
def read_sql(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return (SQL / f"{name}.sql").read_text(encoding="utf-8")


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
