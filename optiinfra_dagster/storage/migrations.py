"""Numbered .sql files in `sql/schema/`, applied once, in order, and remembered with a checksum.

After them come the tables of readers that no file made (`reader_tables`), and the views of what was known at a time
(`as_of_views`).

A kill at any statement is made good by migrating again: a file that was not recorded is run from its beginning, and
every statement may be run twice. The files from 014 on are written so; for the ones before, which are frozen, the
runner adds IF EXISTS and IF NOT EXISTS.

One migration runs at a time. An embedded engine has one process, by its file lock, which a kill frees. On a server the
lock is a row of `schema_migrations_lock` with an end, which is put off while statements run: others wait for it, after
a kill for up to LEASE_SECONDS. It holds where a row is seen by whoever looks after it was written, and for a client
that is never suspended between renewing the lock and sending the statement.

On several replicas a row is seen so, since whoever looks first has its replica catch up (SYSTEM SYNC REPLICA). An
INSERT stands in the table's log in Keeper; the replica that catches up reads that log after its own INSERT was put
there, and so everything that came before; then it fetches the rows. An INSERT is answered when all active replicas have
its row, so that it outlives the one that took it; two at once do not refuse each other, since quorums are parallel.
Their clocks may differ by less than LEASE_SECONDS - STATEMENT_SECONDS. The client must stay at one replica: where its
requests reach several in turn, a migration is refused.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
import uuid
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import as_of_views, ddl, reader_tables, sort_keys
from optiinfra_dagster.storage.database import DATABASE, use_database
from optiinfra_dagster.storage.replicas import caught_up, everywhere, refuse_wandering
from optiinfra_dagster.storage.sql import SQL, statements_of
from optiinfra_dagster.storage.topology import SINGLE, detect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.topology import Topology

UNKNOWN_DATABASE, ACCESS_DENIED = 81, 497  # ClickHouse's error codes

_CREATE_LOG = """CREATE TABLE IF NOT EXISTS schema_migrations
(
    name        String,
    checksum    String,
    applied_at  DateTime('UTC') DEFAULT now()
)
ENGINE = MergeTree ORDER BY name
"""

STATEMENT_SECONDS = 300.0  # the client waits no longer for a statement
LEASE_SECONDS = STATEMENT_SECONDS + 30.0

# A holder's newest row counts. Times are the server's.
_CREATE_LOCK = """CREATE TABLE IF NOT EXISTS schema_migrations_lock
(
    holder    String,
    sequence  UInt32,
    until     DateTime64(3, 'UTC')
)
ENGINE = MergeTree ORDER BY holder
TTL toDateTime(until) + INTERVAL 1 DAY
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """A file of `sql/schema/`: several statements, each ending with a semicolon at a line's end."""

    name: str
    text: str

    @property
    def checksum(self) -> str:
        """The SHA-256 of the file's text, the same for any line endings."""
        return hashlib.sha256(self.text.replace("\r\n", "\n").encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """The file's statements."""
        return statements_of(self.text)

    @property
    def repeatable(self) -> list[str]:
        """The statements so that they may be run again after a kill.

        A table that is made AS another one of the file is spelt out: of a replicated one, the path would be copied.
        """
        found = [_repeatable(statement) for statement in self.statements]
        for i, statement in enumerate(found):
            if like := re.fullmatch(r"CREATE TABLE IF NOT EXISTS (\w+) AS (\w+)", statement):
                other = next(s for s in found if re.match(rf"CREATE TABLE IF NOT EXISTS {like[2]}\s", s))
                found[i] = other.replace(like[2], like[1], 1)
        return found


def load(folder: Path = SQL / "schema") -> tuple[Migration, ...]:
    """Every migration, in order."""
    return tuple(Migration(path.stem, path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.sql")))


def status(
    client: Client, migrations: Sequence[Migration] | None = None, topology: Topology = SINGLE
) -> list[tuple[Migration, bool]]:
    """Each migration, and whether it was applied, as far as the replica knows that was asked.

    With a `topology` of several replicas it knows what all did.

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
    applied = _applied(client, topology)
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


def ensure(client: Client, topology: Topology = SINGLE, *, apply: bool) -> None:
    """Bring the tables up to date, or raise if they are not and `apply` is false."""
    pending = [migration.name for migration, done in status(client) if not done]
    if pending and topology != SINGLE:
        pending = [migration.name for migration, done in status(client, topology=topology) if not done]
    if not pending:
        pending = [reader.table for reader in reader_tables.missing(client)]
    if not pending:
        return
    if not apply:
        _check_is_seen(client, pending[0])
        raise StorageError(f"The tables are not up to date: {pending[0]} is missing. Run `optiinfra migrate`.")
    migrate(client, alone=True)


def _check_is_seen(client: Client, table: str) -> None:
    """Raise StorageError if the client's user may not even know whether there is such a table: it may be there."""
    from clickhouse_connect.driver.exceptions import DatabaseError

    try:
        client.command(f"EXISTS TABLE `{table}`")
    except DatabaseError as error:
        if error.code == UNKNOWN_DATABASE:  # so is every table
            return
        if error.code != ACCESS_DENIED:
            raise
        raise StorageError(
            f"The user of OPTIINFRA_CLICKHOUSE_URL may not see {table}, or it is not there. After an upgrade run "
            "`optiinfra migrate`, then have the user's rights granted again: a customer's role by `optiinfra customers "
            "grant CUSTOMER`, others as `optiinfra grants` prints them."
        ) from error


def migrate(
    client: Client,
    migrations: Sequence[Migration] | None = None,
    *,
    alone: bool = False,
    topology: Topology | None = None,
    say: Callable[[str], None] = lambda _line: None,
) -> list[str]:
    """Apply what is pending among `migrations`, by default all and the tables of readers; returns the names.

    Args:
        client: its database is made where it is missing.
        migrations: in order.
        alone: nobody else can be migrating, since the caller has the lock of an embedded engine.
        topology: what the server is; None to ask it.
        say: told when this waits for another migration, and how far one is that takes long.

    Raises:
        StorageError: an applied file was edited, the tables were made by a newer version, the lock was lost, a
            replica did not carry out a statement, requests reach several servers in turn, or the server is none that is
            supported: see `topology`.
    """
    topology = (topology or SINGLE) if alone else _of_server(client, topology)
    use_database(client, client.database or DATABASE, create=True, cluster=topology.cluster)
    ddl.run(client, topology, _CREATE_LOG)
    done = []
    lock: AbstractContextManager[Callable[[], None]] = (
        nullcontext(_nothing) if alone else _locked(client, topology, say)
    )
    with lock as renew:
        of_readers = migrations is None
        if migrations is None:
            status(client, topology=topology)
            migrations = load()
        applied = _applied(client, topology)
        pending = [migration for migration in migrations if migration.name not in applied]
        for migration in pending:
            for statement in migration.repeatable:
                renew()
                _run(client, topology, statement, renew, say)
            if migration is not pending[-1]:
                renew()
                _record(client, topology, migration)
            done.append(migration.name)
        for reader in reader_tables.missing(client) if of_readers else ():
            renew()
            reader_tables.create(client, topology, reader)
            done.append(reader.table)
        for reader in reader_tables.with_other_versions(client) if of_readers else ():
            renew()
            reader_tables.show(client, topology, reader)
        if of_readers:
            renew()
            reader_tables.renew_views(client, topology)
            as_of_views.derive(client, topology)
        if pending:  # the last one when the views that follow from the tables are there, too
            renew()
            _record(client, topology, pending[-1])
    return done


def _run(
    client: Client, topology: Topology, statement: str, renew: Callable[[], None], say: Callable[[str], None]
) -> None:
    if change := sort_keys.change_of(statement):
        sort_keys.change(client, topology, *change, renew, say)
    else:
        ddl.run(client, topology, statement)


def _of_server(client: Client, topology: Topology | None) -> Topology:
    """What the server is, after a check that it is one and the same for all that is asked."""
    topology = topology or detect(client, None)
    refuse_wandering(client, topology.replication)
    return topology


def _record(client: Client, topology: Topology, migration: Migration) -> None:
    """Note that a file was applied. Not by client.insert, which is sent again when the server closes the connection."""
    client.command(
        "INSERT INTO schema_migrations (name, checksum) SELECT {name:String}, {checksum:String}",
        parameters={"name": migration.name, "checksum": migration.checksum},
        settings=dict(everywhere(client, topology, "schema_migrations")),
    )


def lock_holder(client: Client) -> str:
    """Until when a migration holds the server's lock, as text; empty where none does."""
    if not client.command("EXISTS TABLE schema_migrations_lock"):
        return ""
    rows = client.query(
        "SELECT toString(max(ends)) FROM (SELECT argMax(until, sequence) AS ends FROM schema_migrations_lock "
        "GROUP BY holder HAVING ends > now64(3, 'UTC')) HAVING count() > 0"
    ).result_rows
    return f"{rows[0][0]} UTC" if rows else ""


def _applied(client: Client, topology: Topology) -> dict[str, str]:
    """The checksum of each applied file, by name."""
    rows = client.query(
        "SELECT name, any(checksum) FROM schema_migrations GROUP BY name",
        settings=dict(caught_up(client, topology, "schema_migrations")),
    ).result_rows
    return dict(map(tuple, rows))


def _repeatable(statement: str) -> str:
    """The statement so that it may be run again after a kill."""
    statement = re.sub(r"^(CREATE (?:TABLE|VIEW)) (?!IF NOT EXISTS )", r"\1 IF NOT EXISTS ", statement)
    return re.sub(r"^(DROP (?:TABLE|VIEW)) (?!IF EXISTS )", r"\1 IF EXISTS ", statement)


def _nothing() -> None:
    """Do nothing: there is no lock to renew."""


@contextmanager
def _locked(client: Client, topology: Topology, say: Callable[[str], None]) -> Iterator[Callable[[], None]]:
    """The server's lock; gives the function that makes sure of it for one statement more."""
    from clickhouse_connect.driver.exceptions import Error as ClickHouseError

    ddl.run(client, topology, _CREATE_LOCK)
    lock = _Lock(client, topology)
    try:
        lock.acquire(say)
        yield lock.renew
    finally:
        with suppress(ClickHouseError):  # it ends by itself; a row that did not come everywhere may hold it, too
            lock.release()


class _Lock:
    """The lock of one migration on a server.

    Who wants it writes a row and then looks for rows of others that have not ended. Of two at once, at least the one
    that looks later sees the other's row, so never do both find themselves alone; who does not withdraws and tries
    again.
    """

    def __init__(self, client: Client, topology: Topology, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._topology = topology
        self._clock = clock
        self._holder = uuid.uuid4().hex
        self._sequence = 0
        self._until = 0.0  # by this process's clock, and not after what the row says

    def acquire(self, say: Callable[[str], None]) -> None:
        """Wait until it is this migration's."""
        waits = False
        while True:
            if not self._is_taken():
                self._write(LEASE_SECONDS)
                if not self._is_taken():
                    return
                self.release()
            elif not waits:
                waits = True
                say(f"Another migration is at work: waiting for it, or after a kill for {LEASE_SECONDS:g} s at most.")
            time.sleep(0.1 + secrets.randbelow(400) / 1000)  # drawn, so that two do not meet each time

    def renew(self) -> None:
        """Make sure of the lock for one statement more.

        Raises:
            StorageError: it ended before it was renewed.
        """
        until = self._until
        if self._clock() < until - STATEMENT_SECONDS:
            return
        self._write(LEASE_SECONDS)
        if self._clock() >= until:
            raise StorageError(
                f"The migration stood still for {LEASE_SECONDS:g} s, so that another one may have begun. "
                "Run `optiinfra migrate` again."
            )

    def release(self) -> None:
        """Give it up."""
        self._write(0.0)

    def _write(self, seconds: float) -> None:
        self._sequence += 1
        begin = self._clock()
        self._client.command(
            "INSERT INTO schema_migrations_lock (holder, sequence, until) "
            "SELECT {holder:String}, {sequence:UInt32}, now64(3, 'UTC') + toIntervalMillisecond({ms:UInt32})",
            parameters={"holder": self._holder, "sequence": self._sequence, "ms": int(1000 * seconds)},
            settings=dict(everywhere(self._client, self._topology, "schema_migrations_lock")),
        )
        self._until = begin + seconds

    def _is_taken(self) -> bool:
        rows = self._client.query(
            "SELECT holder FROM schema_migrations_lock WHERE holder != {holder:String} "
            "GROUP BY holder HAVING argMax(until, sequence) > now64(3, 'UTC')",
            parameters={"holder": self._holder},
            settings=dict(caught_up(self._client, self._topology, "schema_migrations_lock")),
        ).result_rows
        return bool(rows)
