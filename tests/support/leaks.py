"""Where texts that must be nowhere stand all the same: a search of everything that a home folder holds."""

from __future__ import annotations

import os
import sqlite3
import zlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.spine import Spine


def places_of(needles: Iterable[str], home: Path, spine: Spine) -> dict[str, set[str]]:
    """Where each text stands: files under `home`, values in their SQLite databases, columns of every table.

    Names of files, `<file>:<table>` of SQLite, where values may be compressed, and `<table>.<column>` of ClickHouse,
    whose files always are.
    """
    found: dict[str, set[str]] = {needle: set() for needle in needles}
    for place, value in _values(home, spine):
        for needle, places in found.items():
            if needle.encode() in value:
                places.add(place)
    return found


def _values(home: Path, spine: Spine) -> Iterator[tuple[str, bytes]]:
    for folder, folders, files in os.walk(home):
        # The engine's parts: compressed, so that no text is found there, and merged away while one looks. Their columns
        # are read below.
        folders[:] = [name for name in folders if name != "store"]
        for path in (Path(folder) / name for name in files):
            if path.is_file():
                yield path.name, path.read_bytes()
                if path.suffix == ".db":
                    yield from _sqlite_values(path)
    with spine.clickhouse.session() as client:
        columns = client.query(
            "SELECT table, name FROM system.columns WHERE database = currentDatabase() AND table IN "
            "(SELECT name FROM system.tables WHERE database = currentDatabase() AND engine != 'View')"
        ).result_rows
        for table, column in columns:
            sql = f"SELECT DISTINCT toString({column}) FROM {table}"  # noqa: S608 - the schema's own names
            for (value,) in client.query(sql).result_rows:
                yield f"{table}.{column}", str(value).encode()


def _sqlite_values(path: Path) -> Iterator[tuple[str, bytes]]:
    with closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            for row in database.execute(f"SELECT * FROM {table}"):  # noqa: S608 - Dagster's own names
                for value in row:
                    raw = value if isinstance(value, bytes) else str(value).encode()
                    try:
                        yield f"{path.name}:{table}", zlib.decompress(raw)
                    except zlib.error:
                        yield f"{path.name}:{table}", raw
