"""An embedded engine with every table and no row, made once for all test processes, to be copied.

Making the tables takes two to three CPU-seconds, copying them a twentieth of one.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from filelock import FileLock

from optiinfra_dagster.storage.clickhouse import ClickHouse

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


@cache
def migrated_engine() -> Path:
    """The folder of the engine; nobody opens it after it was made."""
    home = Path(os.environ.get(SHARED, "none"))
    if not home.is_dir():  # of a program that no test run has started
        home = make_shared_folder()
        atexit.register(remove_shared_folder, home)
    with FileLock(home / "lock"):
        folder = home / "clickhouse"
        if not folder.exists():
            making = home / "making"
            shutil.rmtree(making, ignore_errors=True)  # of a process that was killed
            with ClickHouse(f"chdb://{making / 'clickhouse'}").session():
                pass
            (making / "clickhouse").rename(folder)
    return folder


def copy_migrated(folder: Path) -> Path:
    """Make a new engine at `folder`, with every table and no row."""
    shutil.copytree(migrated_engine(), folder, symlinks=True)
    return folder
