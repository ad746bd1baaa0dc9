"""A ClickHouse of several replicas for tests: engines of their own behind ports of their own and a balancer.

Each replica is a `ClickHouseHttp`; what stands before it, in the test's own process, does what Keeper and the replicas
do among each other. It shows what an order of statements leads to, at any lag, and not how fast a cluster is:

    with Replicas(tmp_path) as replicas:
        Writer(ClickHouse(replicas.url(via=0)), schema.PERFORMANCE).flush([...])
        replicas.advance(1, "metric_batches")  # of what reached replica 0, the ledger has come to replica 1

A write is done on the replica that got it and queued for each of the others, for every table by itself, as
ReplicatedMergeTree does. There it stays until somebody waits for it: SYSTEM SYNC REPLICA, an INSERT with
`insert_quorum`, a SELECT with `select_sequential_consistency` on cloud; or until the test says `advance` or `settle`.
So the lag is without end unless the code does something about it, and no test waits for a clock. What a replica that is
down alone has reaches nobody. INSERT ... SELECT sends the rows, not the statement. DDL is done everywhere before it is
answered, as a Replicated database does; by paths only what says ON CLUSTER, and so users, roles and policies always.

The engines have no Keeper: Replicated engines become plain ones, and what system tables say of engines, clusters and
replicas is made up to fit.
"""
# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import http.client
import json
import random
import re
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import urlencode

from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.storage.database import DATABASE
from tests.support.clickhouse_http import ClickHouseHttp, ServerError
from tests.support.engines import copy_migrated
from tests.support.replica_ports import Balance, Gone, Port, Request, Response

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

LONGEST_URL = 60_000  # bytes that http.server reads are 65,536

_FLAGS = re.IGNORECASE | re.DOTALL
_COMMENTS = rb"\A(?:\s|--[^\n]*\n|/\*.*?\*/)*"
_NAME = rb"(?:`?(?P<database>\w+)`?\.)?`?(?P<table>\w+)`?"
_SYNC = re.compile(_COMMENTS + rb"SYSTEM\s+SYNC\s+REPLICA\s+" + _NAME + rb"(?P<how>.*)", _FLAGS)
_WRITE = re.compile(_COMMENTS + rb"(?:INSERT\s+INTO|DELETE\s+FROM|TRUNCATE)\s+(?:TABLE\s+)?" + _NAME, _FLAGS)
_INSERT_SELECT = re.compile(
    _COMMENTS + rb"(?P<into>INSERT\s+INTO\s+(?:TABLE\s+)?[\w`.]+\s*(?:\([^()]*\))?)\s*(?P<select>(?:SELECT|WITH)\b.*)",
    _FLAGS,
)
_DDL = re.compile(_COMMENTS + rb"(?:CREATE|DROP|ALTER|RENAME|EXCHANGE|GRANT|REVOKE)\b", _FLAGS)
_OF_ACCESS = re.compile(_COMMENTS + rb"(?:(?:CREATE|DROP|ALTER)\s+(?:USER|ROLE|ROW\s+POLICY)|GRANT|REVOKE)\b", _FLAGS)
_OF_DATABASE = re.compile(_COMMENTS + rb"(?:CREATE|DROP)\s+DATABASE\b", _FLAGS)
_OF_TABLE = re.compile(_COMMENTS + rb"(?:CREATE|ALTER|DROP)\s+TABLE\s+(?:IF\s+(?:NOT\s+)?EXISTS\s+)?" + _NAME, _FLAGS)
_EXCHANGE = re.compile(_COMMENTS + rb"EXCHANGE\s+TABLES\s+(?P<one>\w+)\s+AND\s+(?P<other>\w+)", _FLAGS)
_ON_CLUSTER = re.compile(rb"\s+ON\s+CLUSTER\s+(?:'[^']*'|`[^`]*`|\{?\w+\}?)", re.IGNORECASE)
_ENGINE = re.compile(
    rb"(ENGINE\s*=\s*)(?:Replicated|Shared)(\w*MergeTree)(?:\(\s*'[^']*'\s*,\s*'[^']*'\s*(?:,\s*([^)]*))?\))?",
    re.IGNORECASE,
)
_DATABASE_ENGINE = re.compile(rb"\s+ENGINE\s*=\s*Replicated\s*\([^)]*\)", re.IGNORECASE)
_SYSTEM = re.compile(rb"\bsystem\.(clusters|databases|macros|replicas|settings|tables)\b")

Table = tuple[str, str]  # database and name


@dataclass
class Write:
    """A write of a table on its way to the replicas that do not hold it yet."""

    request: Request
    origin: int
    holders: set[int]


class Replicas:
    """Several replicas as a test sees them: a context manager that starts them and ends them.

    Args:
        folder: of the engines.
        count: how many.
        replication: who replicates. With none, each server is by itself.
        migrated: whether the project's tables are there. They are taken for replicated ones.
        balance: whether the balancer chooses a replica for each request or for each connection.
        access: whether there are users with rights, as `ClickHouseHttp` says.

    Attributes:
        servers: the engines, whose `statements` and `fault` may be used; a fault of a write is not replicated.
        ports: of the replicas.
        may_sync: false for a user without the right SYSTEM SYNC REPLICA.
    """

    def __init__(
        self,
        folder: Path,
        count: int = 2,
        *,
        replication: Replication = Replication.DATABASE,
        migrated: bool = True,
        balance: Balance = "request",
        access: Literal["", "lenient", "strict"] = "",
    ) -> None:
        self.replication = replication
        self.balance = balance
        self.may_sync = True
        self._migrated = migrated
        folders = [folder / f"replica-{i}" for i in range(count)]
        self.servers = [ClickHouseHttp(copy_migrated(path) if migrated else path, access=access) for path in folders]
        self._lock = threading.RLock()  # one write at a time
        self._queues: defaultdict[int, defaultdict[Table, deque[Write]]] = defaultdict(lambda: defaultdict(deque))
        self._missed_ddl: defaultdict[int, deque[Request]] = defaultdict(deque)
        self._tokens: set[tuple[Table, str]] = set()  # of INSERTs that are done
        self._plain: set[Table] = set()  # tables whose engine does not replicate
        self._held: set[tuple[int, str]] = set()
        self._down: set[int] = set()
        self._actions: list[tuple[re.Pattern[bytes], Literal["before", "after"], Callable[[], None]]] = []
        self._draw = random.Random(3)  # noqa: S311 - the same draws every time
        self.ports = [Port(self, i) for i in range(count)]
        self._balancer = Port(self, None)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            for front in (*self.ports, self._balancer):
                stack.callback(front.close)
                front.open()
            self._stack = stack.pop_all()
        if not self._migrated:
            for i in range(len(self.servers)):
                create = Request(f"CREATE DATABASE IF NOT EXISTS {DATABASE}".encode(), {}, "")
                self._forward(i, create)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    # --- What a test asks and does -----------------------------------------------------------------------------------

    def url(self, *, via: int | tuple[int, ...] | None = None, database: str = DATABASE) -> str:
        """What OPTIINFRA_CLICKHOUSE_URL takes: of one replica, of several by their hosts, or else of the balancer."""
        chosen = (via,) if isinstance(via, int) else via
        fronts = [self._balancer] if chosen is None else [self.ports[i] for i in chosen]
        hosts = ",".join(f"127.0.0.1:{front.port}" for front in fronts)
        return f"http://default:{self.servers[0].password}@{hosts}/{database}"

    def hang_up(self) -> None:
        """Close the balancer's connections: the next ones are balanced as `balance` says now."""
        self._balancer.hang_up()

    def advance(self, replica: int, table: str, writes: int | None = None) -> None:
        """Let a replica take over what is queued for a table, or as many writes of it."""
        with self._lock:
            for name in [name for name in self._queues[replica] if name[1] == table]:
                self._take_over(replica, name, writes)

    def settle(self) -> None:
        """Let every replica take over everything."""
        with self._lock:
            for replica in range(len(self.servers)):
                for table in list(self._queues[replica]):
                    self._take_over(replica, table)

    def waiting(self, replica: int, table: str) -> int:
        """How many writes of a table a replica has not taken over."""
        return sum(len(queue) for name, queue in self._queues[replica].items() if name[1] == table)

    @contextmanager
    def as_if(self, replication: Replication) -> Iterator[None]:
        """Another replicates meanwhile."""
        before, self.replication = self.replication, replication
        try:
            yield
        finally:
            self.replication = before

    @contextmanager
    def held(self, replica: int, table: str) -> Iterator[None]:
        """Meanwhile a replica takes over nothing of a table, whoever waits for it."""
        self._held.add((replica, table))
        try:
            yield
        finally:
            self._held.discard((replica, table))

    def reconnect(self) -> None:
        """Close every connection: the next ones are those of a new process."""
        for port in (*self.ports, self._balancer):
            port.hang_up()

    def stop(self, replica: int) -> None:
        """Let a replica die: its connections close, new ones are refused. It keeps what it has."""
        self._down.add(replica)
        self.ports[replica].close()
        self._balancer.hang_up(replica)

    def start(self, replica: int) -> None:
        """Bring it back; it has missed what was written meanwhile."""
        with self._lock:
            while self._missed_ddl[replica]:
                self._forward(replica, self._missed_ddl[replica].popleft())
            self._down.discard(replica)
            self.ports[replica].open()

    def calm(self) -> None:
        """Bring back those that are down, and forget what `at` was told."""
        self._actions.clear()
        for replica in sorted(self._down):
            self.start(replica)

    def at(self, match: str, action: Callable[[], None], *, when: Literal["before", "after"] = "before") -> None:
        """Do something once, when a statement comes that `match` finds: before it is done, or before it is answered."""
        self._actions.append((re.compile(match.encode(), re.IGNORECASE), when, action))

    # --- What the replicas do ----------------------------------------------------------------------------------------

    def choose(self) -> int:
        """A replica that is up, drawn: what the balancer does."""
        return self._draw.choice(sorted(set(range(len(self.servers))) - self._down))

    def answer(self, replica: int, request: Request) -> Response:
        """Run a request on a replica.

        Raises:
            Gone: the replica is down, or died meanwhile.
            ServerError: as ClickHouse says.
        """
        if replica in self._down:
            raise Gone
        self._act(request, "before")
        response = self._run(replica, request)
        self._act(request, "after")
        if replica in self._down:
            raise Gone
        return response

    def _act(self, request: Request, when: str) -> None:
        for item in list(self._actions):
            if item[1] == when and item[0].search(request.statement[:10_000]):
                self._actions.remove(item)
                item[2]()

    def _run(self, replica: int, request: Request) -> Response:
        if replica in self._down:
            raise Gone
        text, database = request.statement, request.parameters.get("database", "default")
        if found := _SYNC.match(text):
            return self._sync(replica, _table(found, database), found["how"].decode())
        if self.replication is not Replication.NONE and _DDL.match(text):
            return self._run_ddl(replica, request)
        if (found := _WRITE.match(text)) and self._replicates(table := _table(found, database)):
            return self._write(replica, table, request)
        if request.parameters.get("select_sequential_consistency") == "1" and self.replication is Replication.CLOUD:
            with self._lock:
                for of_table in list(self._queues[replica]):
                    self._take_over(replica, of_table)
        return self._forward(replica, request.of(self._made_up(replica, text)))

    def _replicates(self, table: Table) -> bool:
        return self.replication is not Replication.NONE and table not in self._plain

    def _sync(self, replica: int, table: Table, how: str) -> Response:
        """SYSTEM SYNC REPLICA: with LIGHTWEIGHT, too, it takes over everything, and deletes in particular.

        With FROM it waits for nothing that others than the named replicas have written.
        """
        name = ".".join(table)
        if not self.may_sync:
            raise ServerError(
                497,
                "default: Not enough privileges. To execute this query, it's necessary to have the grant SYSTEM SYNC "
                f"REPLICA ON {name}. (ACCESS_DENIED)",
            )
        if not self._replicates(table) or self.replication is Replication.CLOUD:
            raise ServerError(36, f"Table {name} is not replicated. (BAD_ARGUMENTS)")
        with self._lock:
            self._take_over(replica, table)
            named = {i for i in range(len(self.servers)) if _replica_name(i) in how.partition("FROM")[2]}
            if any(not named or write.origin in named for write in self._queues[replica][table]):
                raise ServerError(
                    159,
                    f"SYNC REPLICA {name}: command timed out. See the 'receive_timeout' setting. (TIMEOUT_EXCEEDED)",
                )
        return Response(200, [], b"")

    def _take_over(self, replica: int, table: Table, writes: int | None = None) -> None:
        """Do what is queued, as far as a replica that holds it is up."""
        queue = self._queues[replica][table]
        if replica in self._down or (replica, table[1]) in self._held:
            return
        for write in list(queue)[:writes]:
            if write.holders <= self._down:
                continue
            response = self._forward(replica, write.request)
            assert response.status == 200, f"replica {replica}, {table}: {response.body[:500]!r}"
            write.holders.add(replica)
            queue.remove(write)

    def _write(self, replica: int, table: Table, request: Request) -> Response:
        token = request.parameters.get("insert_deduplication_token", "")
        with self._lock:
            wanted = self._quorum(request)
            if token and (table, token) in self._tokens:
                return Response(200, [("X-ClickHouse-Summary", json.dumps({"written_rows": "0"}))], b"")
            if found := _INSERT_SELECT.match(request.statement):
                rows = self._forward(replica, request.of(found["select"] + b"\nFORMAT TabSeparated"))
                if rows.status != 200:
                    return rows
                request = request.of(found["into"] + b" FORMAT TabSeparated\n" + rows.body)
            response = self._forward(replica, request)
            if response.status == 200:
                self._tokens |= {(table, token)} if token else set()
                self._pass_on(replica, table, request, wanted)
        return response

    def _pass_on(self, replica: int, table: Table, request: Request, wanted: int) -> None:
        """Queue a write for the other replicas, and wait until `wanted` have it."""
        others = [other for other in range(len(self.servers)) if other != replica]
        write = Write(request, replica, {replica})
        for other in others:
            self._queues[other][table].append(write)
        self._act(request, "after")  # before it is anywhere else
        for other in others if wanted > 1 else ():
            self._take_over(other, table)
        if len(write.holders) < wanted:
            raise ServerError(
                319,
                "Unknown quorum status. The data was inserted in the local replica but we could not verify quorum. "
                "(UNKNOWN_STATUS_OF_INSERT)",
            )

    def _quorum(self, request: Request) -> int:
        """How many replicas an INSERT asks for.

        Raises:
            ServerError: fewer are up.
        """
        asked = request.parameters.get("insert_quorum", "0")
        if not re.match(_COMMENTS + rb"INSERT\b", request.statement, _FLAGS) or self.replication is Replication.CLOUD:
            return 0
        count = len(self.servers)
        wanted = count // 2 + 1 if asked == "auto" else int(asked)
        active = count - len(self._down)
        if wanted > 1 and active < wanted:
            raise ServerError(
                285,
                f"Number of alive replicas ({active}) is less than requested quorum ({wanted}/{count}). "
                "(TOO_FEW_LIVE_REPLICAS)",
            )
        return wanted

    def _run_ddl(self, replica: int, request: Request) -> Response:
        text = request.statement
        everywhere = bool(_ON_CLUSTER.search(text))
        if self.replication is not Replication.PATH and not _OF_ACCESS.match(text):
            everywhere = not _OF_DATABASE.match(text)
        database = request.parameters.get("database", "default")
        found = _OF_TABLE.match(text)
        replicated = request.of(_rendered(text))
        with self._lock:
            if found:
                table = _table(found, database)
                if re.search(rb"ENGINE\s*=\s*\w*MergeTree", text, _FLAGS):
                    plain = not _ENGINE.search(text) and self.replication is not Replication.CLOUD
                    (self._plain.add if plain else self._plain.discard)(table)
                everywhere = everywhere or (self.replication is Replication.PATH and b"ALTER" in text[:20].upper())
                for other in range(len(self.servers)):  # an ALTER is in the queue behind the rows
                    if b"DROP" in text[:20].upper():
                        self._queues[other].pop(table, None)
                    else:
                        self._take_over(other, table)
            response = self._forward(replica, replicated)
            if (exchanged := _EXCHANGE.match(text)) and response.status == 200:
                self._exchange((database, exchanged["one"].decode()), (database, exchanged["other"].decode()))
            for other in range(len(self.servers)) if everywhere and response.status == 200 else ():
                if other in self._down:
                    self._missed_ddl[other].append(replicated)
                elif other != replica:
                    self._forward(other, replicated)
        return response

    def _exchange(self, one: Table, two: Table) -> None:
        """What is queued for two tables that changed names goes with them."""
        writes: dict[int, tuple[Write, Table]] = {}
        for queues in self._queues.values():
            for table, other in ((one, two), (two, one)):
                writes |= {id(write): (write, other) for write in queues[table]}
            queues[one], queues[two] = queues[two], queues[one]
        for write, table in writes.values():
            text = write.request.statement
            if found := _WRITE.match(text):
                begin, end = found.span("table")
                write.request = write.request.of(text[:begin] + table[1].encode() + text[end:])

    def _made_up(self, replica: int, text: bytes) -> bytes:
        """The statement with system tables that say what those of a cluster would."""
        text = text.replace(b"serverUUID()", f"'{_replica_name(replica)}'".encode())
        if not _SYSTEM.search(text):
            return text
        count, up = len(self.servers), len(self.servers) - len(self._down)
        prefix = {Replication.NONE: "", Replication.CLOUD: "Shared"}.get(self.replication, "Replicated")
        plain = ", ".join(f"'{name}'" for _, name in self._plain) or "''"
        replicates = (
            f"endsWith(engine, 'MergeTree') AND name NOT IN ({plain}) AND database NOT IN ('system', 'default')"
        )
        engine = f"if({replicates}, concat('{prefix}', engine), engine) AS engine"
        of_database = {Replication.DATABASE: "Replicated", Replication.CLOUD: "Shared"}.get(self.replication, "")
        active = ", ".join(f"'{_replica_name(i)}', {int(i not in self._down)}" for i in range(count))
        hosts = ", ".join(
            f"({i + 1}, '10.0.0.{i + 1}', {self.ports[i].port}, {int(i == replica)}, '{_replica_name(i)}')"
            for i in range(count)
        )
        cloud = int(self.replication is Replication.CLOUD)
        cluster = DATABASE if self.replication is Replication.DATABASE else "default"
        views = {
            "databases": f"(SELECT * REPLACE (if('{of_database}' != '' AND name = '{DATABASE}', '{of_database}', "
            "engine) AS engine) FROM system.databases)",
            "tables": f"(SELECT * REPLACE ({engine}) FROM system.tables)",
            "settings": f"(SELECT * REPLACE (if(name = 'cloud_mode', '{cloud}', value) AS value) FROM system.settings)",
            "macros": "(SELECT t.1 AS macro, t.2 AS substitution FROM (SELECT arrayJoin([('shard', 'shard1'), "
            f"('replica', '{_replica_name(replica)}'), ('cluster', 'default')]) AS t))",
            "replicas": f"(SELECT database, name AS table, concat('Replicated', engine) AS engine, 0 AS is_readonly, "
            f"'{_replica_name(replica)}' AS replica_name, {count} AS total_replicas, {up} AS active_replicas, "
            f"map({active}) AS replica_is_active FROM system.tables WHERE {replicates} "
            f"AND '{prefix}' = 'Replicated')",
            "clusters": f"(SELECT '{cluster}' AS cluster, 1 AS shard_num, t.1 AS replica_num, t.2 AS host_name, "
            "t.2 AS host_address, t.3 AS port, t.4 AS is_local, t.5 AS database_replica_name, 'shard1' AS "
            f"database_shard_name FROM (SELECT arrayJoin([{hosts}]) AS t))",
        }
        return _SYSTEM.sub(lambda found: views[found[1].decode()].encode(), text)

    def _forward(self, replica: int, request: Request) -> Response:
        """Send a request to the engine of a replica."""
        server = self.servers[replica]
        parameters = {name: value for name, value in request.parameters.items() if name != "query"}
        headers = {"Authorization": request.authorization}
        if not request.authorization:
            headers = {"X-ClickHouse-User": "default", "X-ClickHouse-Key": server.password}
        body = request.statement
        if len(query := urlencode(parameters)) > LONGEST_URL:
            from urllib3 import encode_multipart_formdata

            body, headers["Content-Type"] = encode_multipart_formdata({**parameters, "query": body.decode()})
            query = ""
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=300)
        try:
            connection.request("POST", f"/?{query}", body, headers)
            response = connection.getresponse()
            return Response(response.status, response.getheaders(), response.read())
        except (http.client.HTTPException, ConnectionError):
            raise Gone from None
        finally:
            connection.close()


def _replica_name(replica: int) -> str:
    return f"r{replica + 1}"


def _table(found: re.Match[bytes], database: str) -> Table:
    return (found["database"] or database.encode()).decode(), found["table"].decode()


def _rendered(text: bytes) -> bytes:
    """DDL as an engine without Keeper takes it."""
    text = _DATABASE_ENGINE.sub(b"", _ON_CLUSTER.sub(b"", text))
    return _ENGINE.sub(lambda m: m[1] + m[2] + (b"(" + m[3] + b")" if m[3] else b""), text)
