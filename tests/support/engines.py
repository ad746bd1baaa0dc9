"""What is made once for all test processes, to be copied: an embedded engine with every table and no row, and others.

Making the tables takes four CPU-seconds, copying them a twentieth of one.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from optiinfra_dagster.storage import migrations
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.support.clickhouse_http import ClickHouseHttp

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client

SHARED = "TESTS_SHARED_FOLDER"  # names the folder that all processes of a test run share


def make_shared_folder() -> Path:
    """The folder of this test run, for this process and those that it starts, until `remove_shared_folder`."""
    folder = Path(tempfile.mkdtemp(prefix="optiinfra-tests-"))
    os.environ[SHARED] = str(folder)
    return folder


def remove_shared_folder(folder: Path) -> None:
    """Remove it, at the end of the run."""
    if os.environ.get(SHARED) == str(folder):
        del os.environ[SHARED]
    shutil.rmtree(folder, ignore_errors=True)


def made_once(name: str, make: Callable[[Path], object]) -> Path:
    """The folder `name` that all processes of the test run share: `make` fills it in the first that wants it.

    It is filled beside its place, so that a process which is killed leaves nothing half made.
    """
    home = Path(os.environ.get(SHARED, "none"))
    if not home.is_dir():  # of a program that no test run has started
        home = make_shared_folder()
        atexit.register(remove_shared_folder, home)
    with FileLock(home / f"{name}.lock"):
        folder = home / name
        if not folder.exists():
            making = home / f"{name}.making"
            shutil.rmtree(making, ignore_errors=True)
            make(making)
            making.rename(folder)
    return folder


@cache
def migrated_engine() -> Path:
    """The folder of the engine; nobody opens it after it was made."""

    def make(folder: Path) -> None:
        with ClickHouse(f"chdb://{folder / 'clickhouse'}").session():
            pass

    return made_once("migrated", make) / "clickhouse"


@cache
def keeping_engine() -> Path:
    """The folder of a copy whose tables keep rows of any date; nobody opens it after it was made."""

    def make(folder: Path) -> None:
        shutil.copytree(migrated_engine(), folder / "clickhouse", symlinks=True)
        with ClickHouse(f"chdb://{folder / 'clickhouse'}").session() as client:
            keep_rows_of_any_date(client)

    return made_once("keeping", make) / "clickhouse"


def copy_migrated(folder: Path, *, expiring: bool = False) -> Path:
    """Make a new engine at `folder`, with every table and no row.

    With `expiring`, the tables drop what is older than the product keeps.
    """
    shutil.copytree(migrated_engine() if expiring else keeping_engine(), folder, symlinks=True)
    return folder


def kept_open(folder: Path) -> ClickHouse:
    """A new engine at `folder`, as `copy_migrated` makes it, that is not opened anew for each session.

    It makes way when the process opens another one. Each opening takes 0.4 CPU-s.
    """
    return ClickHouse(f"chdb://{copy_migrated(folder)}", lock_timeout=30, linger=3_600)


SERVED = "storage"  # the database of `served_engine` that has the tables


@cache
def served_engine() -> Path:
    """The folder of a test server with a database that was brought up to date as `optiinfra migrate` does."""

    def make(folder: Path) -> None:
        with ClickHouseHttp(folder) as server, ClickHouse(server.url(SERVED)).session(migrated=False) as client:
            migrations.migrate(client)
            keep_rows_of_any_date(client)

    return made_once("served", make)


def keep_rows_of_any_date(client: Client) -> None:
    """Let the tables keep what tests write under fixed dates, however long ago these are by now.

    The engine drops what is older than a table's TTL as soon as it is written, and no library moves the engine's clock.
    """
    with_ttl = client.query(
        r"SELECT name, extract(engine_full, ' TTL (.+?) \+ toIntervalDay') FROM system.tables "
        "WHERE database = currentDatabase() AND engine_full LIKE '% TTL %'"
    )
    for table, time in with_ttl.result_rows:
        client.command(f"ALTER TABLE {table} MODIFY TTL {time} + INTERVAL 20000 DAY")


def empty(client: Client) -> None:
    """Remove every row of the tables."""
    used = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 "
        "AND name != 'schema_migrations'"
    )
    for (table,) in used.result_rows:
        client.command(f"TRUNCATE TABLE {table}")


@cache
def dagster_storage() -> Path:
    """The folder of a Dagster instance that has its SQLite tables and nothing in them; making them takes 0.6 CPU-s."""

    def make(folder: Path) -> None:
        import dagster as dg

        folder.mkdir()
        with dg.DagsterInstance.local_temp(str(folder)) as instance:
            assert instance.get_run_records(limit=1) == []
            assert instance.all_instigator_state() == []
            instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1)

    return made_once("dagster", make)


def copy_dagster(folder: Path) -> str:
    """Give a folder, made where it is missing, the empty tables of a Dagster instance; returns it as text."""
    shutil.copytree(dagster_storage(), folder, symlinks=True, dirs_exist_ok=True)
    return str(folder)
