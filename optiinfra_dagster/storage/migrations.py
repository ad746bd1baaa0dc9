"""Numbered .sql files in `sql/schema/`, applied once, in order, and remembered with a checksum."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage.database import DATABASE, use_database
from optiinfra_dagster.storage.sql import SQL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

UNKNOWN_DATABASE = 81  # ClickHouse's error code

_CREATE_LOG = """
CREATE TABLE IF NOT EXISTS schema_migrations
(
    name        String,
    checksum    String,
    applied_at  DateTime('UTC') DEFAULT now()
)
ENGINE = MergeTree ORDER BY name
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of `sql/schema/`: several statements, each ending with a semicolon at a line's end."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """Of the file's text, whatever its line endings."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The file's statements without its comments, which may hold semicolons."""
        code = "\n".join(line.partition("--")[0].rstrip() for line in self.text.splitlines())
        return [statement.strip() for statement in code.split(";") if statement.strip()]


def load(folder: Path = SQL / "schema") -> tuple[Migration, ...]:
    """Every migration, in order."""
    return tuple(Migration(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql")))


def status(client: Client, migrations: Sequence[Migration] | None = None) -> list[tuple[Migration, bool]]:
    """Each migration, and whether it was applied.

    Raises:
        StorageError: an applied file was edited, or the tables were made by a newer version.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    known = load() if migrations is None else migrations
    try:
        exists = client.command("EXISTS TABLE schema_migrations")
    except DatabaseError as error:
        if error.code != UNKNOWN_DATABASE:
            raise
        exists = 0
    if not exists:
        return [(migration, False) for migration in known]
    found = client.query("SELECT name, any(checksum) FROM schema_migrations GROUP BY name").result_rows
    applied: dict[str, str] = dict(map(tuple, found))
    for migration in known:
        if migration.name in applied and applied[migration.name] != migration.checksum:
            raise StorageError(
                f"sql/schema/{migration.name}.sql was changed after it was applied. "
                "Put the file back as it was and write the change as a new, higher-numbered file."
            )
    if unknown := sorted(applied.keys() - {migration.name for migration in known}):
        raise StorageError(
            f"The tables were made by a newer version: it applied {', '.join(unknown)}. Upgrade this installation."
        )
    return [(migration, migration.name in applied) for migration in known]


def ensure(client: Client, *, apply: bool) -> None:
    """Bring the tables up to date, or raise if they are not and `apply` is false."""
    pending = [migration for migration, done in status(client) if not done]
    if not pending:
        return
    if not apply:
        raise StorageError(f"The tables are not up to date: {pending[0].name} is missing. Run `optiinfra migrate`.")
    migrate(client, pending)


def migrate(client: Client, pending: Sequence[Migration] | None = None) -> list[str]:
    """Apply what is pending; returns the names.

    A kill between a file's statements leaves some of its tables there, so statements are run as IF NOT EXISTS.
    """
    use_database(client, client.database or DATABASE, create=True)
    client.command(_CREATE_LOG)
    if pending is None:
        pending = [migration for migration, done in status(client) if not done]
    for migration in pending:
        for statement in migration.statements:
            client.command(_repeatable(statement))
        client.insert("schema_migrations", [[migration.name, migration.checksum]], ["name", "checksum"])
    return [migration.name for migration in pending]


def _repeatable(statement: str) -> str:
    for what in ("CREATE TABLE ", "CREATE VIEW "):
        if statement.startswith(what):
            return f"{what}IF NOT EXISTS {statement.removeprefix(what)}"
    return statement
