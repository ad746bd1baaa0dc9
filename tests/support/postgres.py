"""A PostgreSQL of the tests' own: Debian's server in a folder of its own, asked by a socket there."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from sqlalchemy import create_engine, text

REASON = "needs Debian's postgresql; .ci/run installs it"
_TEMPLATE = "dagster_tables"


@cache
def programs() -> Path | None:
    """The folder of the server's programs; None where it is not installed, or where root may not become its user."""
    if on_path := shutil.which("initdb"):
        found = Path(on_path).parent
    else:
        versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
        if not versions:
            return None
        found = versions[-1].parent
    return found if os.getuid() or (_user() and shutil.which("setpriv")) else None


def _user() -> pwd.struct_passwd | None:
    """The server's user, which root becomes: the server refuses to run as root."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return None


class PostgreSQL:
    """A running server, whose databases are named by number."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0

    def url(self, database: str) -> str:
        """The URL of a database, for SQLAlchemy."""
        return f"postgresql+psycopg2://postgres@/{database}?host={self._folder}"

    def new_database(self) -> str:
        """The URL of a new database that holds Dagster's empty tables."""
        if self._count == 0:
            self._execute(f"CREATE DATABASE {_TEMPLATE}")
            _make_tables(self.url(_TEMPLATE))
        self._count += 1
        name = f"dagster_{self._count}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        return self.url(name)

    def cpu_seconds(self) -> float:
        """CPU time, user and system, of the server and of its processes, those that have ended too."""
        server = (self._folder / "data" / "postmaster.pid").read_text().split()[0]
        total = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with suppress(OSError):  # it has ended
                fields = stat.read_text().rpartition(")")[2].split()
                if stat.parent.name == server:
                    total += sum(int(ticks) for ticks in fields[11:15])
                elif fields[1] == server:
                    total += sum(int(ticks) for ticks in fields[11:13])
        return total / os.sysconf("SC_CLK_TCK")

    def _execute(self, statement: str) -> None:
        engine = create_engine(self.url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))
        engine.dispose()


def _make_tables(url: str) -> None:
    import dagster as dg

    with tempfile.TemporaryDirectory() as home:
        overrides = {"storage": {"postgres": {"postgres_url": url}}}
        with dg.DagsterInstance.local_temp(home, overrides=overrides) as instance:
            assert instance.get_run_records(limit=1) == []
            assert instance.all_instigator_state() == []
            instance.fetch_run_status_changes(dg.DagsterEventType.RUN_FAILURE, limit=1)


@contextmanager
def running() -> Iterator[PostgreSQL]:
    """A server in a folder of its own; gone, with all its data, at the end."""
    programs_folder, user = programs(), _user()
    assert programs_folder
    folder = Path(tempfile.mkdtemp(prefix="optiinfra-postgres-"))
    become: list[str] = []
    if os.getuid() == 0:
        assert user
        os.chown(folder, user.pw_uid, user.pw_gid)
        become = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    data = folder / "data"

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [*become, str(programs_folder / program), *arguments],
            check=True, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
        )  # fmt: skip

    try:
        run("initdb", "--pgdata", str(data), "--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-sync")
        # Nothing here outlives a power cut, so nothing waits for the disk.
        options = f"-c fsync=off -c full_page_writes=off -c listen_addresses='' -k {folder} -c max_connections=200"
        run("pg_ctl", "start", "--pgdata", str(data), "--wait", "--silent", "--log", str(folder / "log"), "-o", options)
        try:
            yield PostgreSQL(folder)
        finally:
            run("pg_ctl", "stop", "--pgdata", str(data), "--mode=immediate", "--silent")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
