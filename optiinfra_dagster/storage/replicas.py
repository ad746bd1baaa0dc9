"""What a session needs where several replicas hold the tables: to see what others wrote, and to be seen by them.

A table is replicated by itself, so a ledger row may come to a replica before the rows that it publishes. Two things
keep readers from seeing that:

- Every INSERT of a session that writes is answered only when all active replicas have its rows (`insert_quorum`). A
  ledger row is sent after that, so wherever it comes, the rows are there. The quorum is the number of active replicas,
  and not 'auto', which is the majority: of two, that is both, and nothing could be written while one is down; of three,
  it is two, and the third could see the ledger row first.
- A replica that was down meanwhile has missed rows. It catches up with SYSTEM SYNC REPLICA before a session reads: the
  ledger first and the rows after it, so that the rows of each ledger row that it has then are there.

ClickHouse Cloud has one storage for all its replicas, which may lag in knowing what is in it: there
`select_sequential_consistency` asks before each SELECT.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage.database import LEDGER_TABLE
from optiinfra_dagster.storage.text_expressions import takes_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.topology import Topology

WAIT_SECONDS = 60  # for a replica to catch up with a table, and for the others to have an INSERT's rows
SHORT_WAIT_SECONDS = 2  # once a replica is down that alone has rows which are missing here

# ClickHouse's error codes.
TIMEOUT_EXCEEDED, READONLY, ACCESS_DENIED = 159, 164, 497


_ASKED = 6  # of two servers, one that chance chooses answers each time once in 32


def refuse_wandering(client: Client, replication: Replication) -> None:
    """Raise unless requests reach one and the same server: what one was told or has caught up with, another may lack.

    A balancer that keeps connections passes, since the client keeps its own for as long as it asks; so does Cloud,
    whose servers have one storage.

    Raises:
        StorageError: they reach several.
    """
    if replication is Replication.CLOUD:
        return
    database, client.database = client.database, None  # which may be missing yet
    try:
        answers = {str(client.query("SELECT toString(serverUUID())").result_rows[0][0]) for _ in range(_ASKED)}
    finally:
        client.database = database
    if len(answers) > 1:
        raise StorageError(
            "the requests of one client reach several servers, so that the lock of a migration would hold on one and "
            "not on another. Name the servers one by one in OPTIINFRA_CLICKHOUSE_URL, with commas between, or have "
            "the balancer keep each connection at one of them."
        )


class Replicas:
    """The means by which the sessions of one `ClickHouse` keep up with its replicas."""

    def __init__(self) -> None:
        self._may_sync = True
        self._wait = WAIT_SECONDS
        self._synced: set[str] = set()  # tables, in this session
        self._has_quorum = False

    def prepare(self, client: Client, replication: Replication, reads: str, writes: str) -> None:
        """See what others wrote to the tables that `reads` and `writes` name, and write to all active replicas.

        Raises:
            StorageError: the replica cannot catch up, or the user writes and has no right to make it.
        """
        if replication is Replication.CLOUD and takes_settings(client):
            client.set_client_setting("select_sequential_consistency", 1)
        if replication not in {Replication.DATABASE, Replication.PATH} or not (reads or writes):
            return
        self._sync(client, tables_behind(client, f"{reads} {writes}"), must=bool(writes))
        if writes and not self._has_quorum:
            for name, value in _quorum(client, LEDGER_TABLE).items():
                client.set_client_setting(name, value)
            self._has_quorum = True

    def end(self, client: Client) -> None:
        """End the session: what was known of the replicas counts no more."""
        self._synced.clear()
        if self._has_quorum:
            client.set_client_setting("insert_quorum", 0)
            self._has_quorum = False

    def _sync(self, client: Client, tables: Iterable[str], *, must: bool) -> None:
        from clickhouse_connect.driver.exceptions import DatabaseError

        if not must and not (self._may_sync and takes_settings(client)):
            return
        for table in tables:
            if table in self._synced:
                continue
            try:
                self._wait = _catch_up(client, table, self._wait)
            except DatabaseError as error:
                if must or error.code not in {ACCESS_DENIED, READONLY}:
                    raise
                self._may_sync = False  # a reader's user: what is written to all active replicas it sees all the same
                return
            self._synced.add(table)


def caught_up(client: Client, topology: Topology, table: str) -> Mapping[str, int]:
    """Have the replica that `client` talks to hold every row of a table that was written to any before this.

    Returns the settings with which the table is read then.

    Raises:
        StorageError: it did not get them within WAIT_SECONDS.
    """
    if topology.is_replicated:
        _catch_up(client, table, WAIT_SECONDS)
    return {"select_sequential_consistency": 1} if topology.replication is Replication.CLOUD else {}


def everywhere(client: Client, topology: Topology, table: str) -> Mapping[str, int | str]:
    """The settings of an INSERT that is answered when all active replicas of a table have its rows."""
    return _quorum(client, table) if topology.is_replicated else {}


def _catch_up(client: Client, table: str, seconds: int) -> int:
    """Wait until this replica has what the log of a table holds now; for so long where a replica may be down.

    Rows that a replica alone has which died are not waited for: nothing was published of them, since a ledger row
    comes after its rows are everywhere. The others are asked for by name then. Returns how long to wait the next time.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    statement = f"SYSTEM SYNC REPLICA {table} LIGHTWEIGHT"
    try:
        client.command(statement, settings={"receive_timeout": seconds})
    except DatabaseError as error:
        if error.code != TIMEOUT_EXCEEDED:
            raise
    else:
        return WAIT_SECONDS
    active, down = _names(client, table)
    if active and down:
        others = ", ".join(f"'{name}'" for name in active)
        try:
            client.command(f"{statement} FROM {others}", settings={"receive_timeout": WAIT_SECONDS})
        except DatabaseError as error:
            if error.code != TIMEOUT_EXCEEDED:
                raise
        else:
            return SHORT_WAIT_SECONDS
    gone = f", and of its replicas {', '.join(down)} cannot be reached" if down else ""
    raise StorageError(
        f"the replica lacks rows of {table} that others have, and did not get them within {WAIT_SECONDS} s{gone}. "
        "Run the same again; if that does not help, look into system.replication_queue on that replica."
    )


def tables_behind(client: Client, text: str) -> list[str]:
    """The tables that a text names, such as a SELECT or a list of names, or that views which it names read from.

    The ledger comes first.
    """
    tables: set[str] = set()
    seen: set[str] = set()
    texts = [re.sub(r"--.*", "", text)]
    while texts:
        words = set(re.findall(r"\w+", " ".join(texts))) - seen
        seen |= words
        rows = client.query(
            "SELECT name, startsWith(engine, 'Replicated'), as_select FROM system.tables "
            "WHERE database = currentDatabase() AND name IN {names:Array(String)}",
            parameters={"names": sorted(words)},
        ).result_rows
        tables |= {name for name, is_table, _ in rows if is_table}
        texts = [select for _, _, select in rows if select]
    return sorted(tables, key=lambda name: (name != LEDGER_TABLE, name))


def _quorum(client: Client, table: str) -> dict[str, int | str]:
    """The settings by which an INSERT waits for all replicas of a table that are up.

    The quorum is their number: 0 where this one is alone, 'auto' where the user may not ask for it.
    """
    from clickhouse_connect.driver.exceptions import DatabaseError

    quorum: int | str = "auto"
    try:
        rows = client.query(
            "SELECT active_replicas FROM system.replicas WHERE database = currentDatabase() AND table = {table:String}",
            parameters={"table": table},
        ).result_rows
    except DatabaseError as error:
        if error.code != ACCESS_DENIED:
            raise
        rows = []
    if rows:
        quorum = int(rows[0][0]) if rows[0][0] > 1 else 0
    return {"insert_quorum": quorum, "insert_quorum_timeout": 1000 * WAIT_SECONDS}


def _names(client: Client, table: str) -> tuple[list[str], list[str]]:
    """The names of a table's replicas that are up, and of those that are down."""
    rows = client.query(
        "SELECT replica_is_active FROM system.replicas WHERE database = currentDatabase() AND table = {table:String}",
        parameters={"table": table},
    ).result_rows
    is_active = dict(rows[0][0]) if rows else {}
    return sorted(n for n, up in is_active.items() if up), sorted(n for n, up in is_active.items() if not up)
