"""The one way to ClickHouse: `with ClickHouse(url).session() as client:`, the same code for every transport.

`chdb://<path>` is the engine inside this process, `http(s)://user:password@host:port` a server, a cluster or ClickHouse
Cloud. The embedded engine lets one process at a time open a path, so its session takes an inter-process lock, opens,
works and closes: hold it for reads and writes only, never while waiting on a cloud.

A run has a hundred sessions and more: with `linger`, the engine stays open between them while no other process waits.
"""

from __future__ import annotations

import re
import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.config.retention import Retention
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import migrations
from optiinfra_dagster.storage.database import DATABASE, use_database
from optiinfra_dagster.storage.embedded import Engine, load_library
from optiinfra_dagster.storage.replicas import Replicas
from optiinfra_dagster.storage.server import ALLOWED, Server
from optiinfra_dagster.storage.topology import SINGLE, Topology, detect

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import pyarrow as pa
    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.replication import Replication
    from optiinfra_dagster.config.settings import Settings

LOCK_TIMEOUT_SECONDS = 120.0
ANSWER_SECONDS = 300
LINGER_SECONDS = 5.0  # of runs, sensors and the command line

# Server: settings of every statement. A write is acknowledged when it is in a part, never when it is only queued.
SETTINGS: Mapping[str, Any] = {"async_insert": 0, **ALLOWED}

# The folder of a part: partition, first and last block, how often it was merged, and the newest mutation, if any.
_PART = re.compile(r"(?P<partition>[^_]+)_\d+_(?P<block>\d+)_\d+(_(?P<mutation>\d+))?")

_PROFILE_LIMIT = "raise the limit that it names for the user of OPTIINFRA_CLICKHOUSE_URL, or ask for less at once"
MAY_ONLY_READ = "name a user who may write in OPTIINFRA_CLICKHOUSE_URL, this one may only read (`readonly`)"

# https://clickhouse.com/docs: error codes whose message a user can act on.
REMEDIES: Mapping[int, str] = {
    516: "check the user and password in OPTIINFRA_CLICKHOUSE_URL",
    497: "grant the user of OPTIINFRA_CLICKHOUSE_URL the right it names; `optiinfra grants` prints all of them",
    164: MAY_ONLY_READ,
    81: "run `optiinfra migrate`",
    60: "run `optiinfra migrate`",
    241: "the server is out of memory: ask for less at once, or raise its memory limit",
    243: "the disk is full: free some space",
    158: _PROFILE_LIMIT,
    159: _PROFILE_LIMIT,
    307: _PROFILE_LIMIT,
    396: _PROFILE_LIMIT,
    452: "correct the profile of the user of OPTIINFRA_CLICKHOUSE_URL, or the constraint that it has on that setting",
    704: "correct the profile of the user of OPTIINFRA_CLICKHOUSE_URL, whose answers must not come from a cache",
    242: "the replica has no connection to Keeper: look into its log",
    285: "another replica went down just now: run the same again",
    319: "another replica went down just now, and nothing was published: run the same again",
}

# ClickHouse's own refusals have a code. Of the others, 502 to 504 are of a gateway whose server is down.
_FOREIGN_ANSWER = re.compile(r"received HTTP status (?!50[234])\d{3}")


class ClickHouse:
    """A place that holds the metrics tables, named by a URL whose password is never shown.

    Thread-safe. Sessions of one embedded place wait for each other, within the process and between processes, for at
    most `lock_timeout` seconds. After a session it stays open for `linger` seconds, or until another process waits.
    A server's answer is waited for `answer_seconds`. Its `replication` is found out where None is given.
    `keeping` says how long superseded batches stay.
    """

    def __init__(
        self,
        url: str,
        *,
        lock_timeout: float = LOCK_TIMEOUT_SECONDS,
        linger: float = 0.0,
        answer_seconds: int = ANSWER_SECONDS,
        replication: Replication | None = None,
        keeping: Retention | None = None,
    ) -> None:
        self._replication_asked = replication
        self.keeping = keeping or Retention()
        self._lock = threading.RLock()
        self._client: Client | None = None  # of a session
        self._schema_checked = False
        self._topology: Topology | None = None
        self._to_be_read = False
        self.embedded = url.startswith("chdb:")
        self.path = Path(url.removeprefix("chdb://")).absolute() if self.embedded else None
        self._engine = (
            Engine(self.path, self._connect_embedded, lock_timeout=lock_timeout, linger=linger) if self.path else None
        )
        self._server = None if self.embedded else Server(url, answer_seconds=answer_seconds, settings=SETTINGS)
        self._replicas = Replicas()
        self.place = self._server.place if self._server else f"chdb://{self.path}"

    @classmethod
    def of(
        cls,
        settings: Settings,
        *,
        lock_timeout: float = LOCK_TIMEOUT_SECONDS,
        linger: float = 0.0,
        answer_seconds: int = ANSWER_SECONDS,
    ) -> ClickHouse:
        """The place that the settings name."""
        return cls(
            settings.clickhouse_url.get_secret_value(),
            lock_timeout=lock_timeout,
            linger=linger,
            answer_seconds=answer_seconds,
            replication=settings.clickhouse_replication,
            keeping=settings.keep_superseded,
        )

    @property
    def is_new(self) -> bool:
        """True for an embedded place that does not exist yet; looking does not make it.

        Where it is not to be seen, for a file in its way or a right that is missing, opening it tells why.
        """
        if self.path is None:
            return False
        try:
            self.path.stat()
        except OSError as error:
            return isinstance(error, FileNotFoundError)
        return False

    def existing(self) -> ClickHouse:
        """This place, to be read only: where it is new its sessions fail, and would else make it and find it empty."""
        self._to_be_read = True
        return self

    def check_exists(self) -> None:
        """Check that there is something to read.

        Raises:
            StorageError: the place is new.
        """
        if self.is_new:
            raise StorageError(
                f"Nothing was ever collected here: {self.place} does not exist. Go to the folder where you "
                "collect, or name its home in DAGSTER_HOME or its place in OPTIINFRA_CLICKHOUSE_URL; `optiinfra run` "
                "makes a new one."
            )

    def __repr__(self) -> str:
        """Without user or password."""
        return f"ClickHouse({self.place})"

    @contextmanager
    def session(self, *, migrated: bool = True, reads: str = "", writes: str = "") -> Iterator[Client]:
        """A client whose default database holds the project's tables.

        With `migrated`, the first session of a process makes sure that the schema is the one of this version: an
        embedded place is brought up to date, a server must have been (`optiinfra migrate`).

        `reads` and `writes` name the tables and views of which the session is to see all that was written before, on
        whichever of several replicas (see `replicas`): names, or a SELECT. One that writes has its rows on all active
        replicas after each INSERT.

        Raises:
            StorageError: cannot be opened or reached, is locked by another process, or a statement failed.
        """
        from clickhouse_connect.driver.exceptions import Error as ClickHouseError
        from urllib3.exceptions import HTTPError

        with self._lock:
            try:
                with self._open() as client:
                    if migrated and not self._schema_checked:
                        migrations.ensure(client, self.topology(client), apply=self.embedded)
                        self._schema_checked = True
                    if migrated and not self.embedded:
                        self._prepare(client, reads, writes)
                    yield client
            except ClickHouseError as error:
                self._schema_checked, self._topology = False, None
                raise StorageError(self._explain(error)) from error
            except HTTPError as error:  # of a stream: what comes before it is the client's to explain
                raise StorageError(
                    f"ClickHouse at {self.place}: the answer broke off: {_first_line(error)} Run the same again; if it "
                    "keeps breaking off, look into the server's log and that of a proxy before it."
                ) from error

    def _prepare(self, client: Client, reads: str, writes: str) -> None:
        replication = self.replication(client)
        try:
            self._replicas.prepare(client, replication, reads, writes)
        except StorageError as error:
            raise StorageError(f"ClickHouse at {self.place}: {error}") from error

    def replication(self, client: Client) -> Replication:
        """The topology: what replicates the tables, which is nothing for an embedded engine.

        Raises:
            StorageError: see `topology`.
        """
        return self.topology(client).replication

    def topology(self, client: Client) -> Topology:
        """What the server is, which is asked once, by `client` of one of this place's sessions.

        Raises:
            StorageError: it is too old, is not what the settings say, or would work by half.
        """
        if self._topology is None:
            try:
                self._topology = SINGLE if self.embedded else detect(client, self._replication_asked)
            except StorageError as error:
                raise StorageError(f"ClickHouse at {self.place}: {error}") from error
        return self._topology

    def newest_writes(self, table: str) -> Mapping[str, tuple[int, int]] | None:
        """The newest block and mutation of each partition of a table of an embedded place, which stays closed.

        They are the same as long as nobody writes: the names of parts have them, and neither merges nor the engine's
        cleaning, which comes half a minute later, change them. None where they are not known.
        """
        if self.path is None:
            return None
        try:
            names = [folder.name for folder in (self.path / "data" / DATABASE / table).iterdir()]
        except OSError:
            return None
        newest: dict[str, tuple[int, int]] = {}
        for part in filter(None, map(_PART.fullmatch, names)):
            write = int(part["block"]), int(part["mutation"] or 0)
            newest[part["partition"]] = max(write, newest.get(part["partition"], write))
        return newest

    @contextmanager
    def _open(self) -> Iterator[Client]:
        """The client, which sessions within a session share."""
        if self._engine:
            if self._to_be_read:
                self.check_exists()
            with self._engine.session() as client:
                yield client
        elif self._client:
            yield self._client
        elif self._server:
            client = self._server.client()
            self._client = client
            try:
                yield client
            finally:
                self._client = None
                self._replicas.end(client)

    def _connect_embedded(self) -> Client:
        import clickhouse_connect
        from clickhouse_connect.driver.exceptions import Error as ClickHouseError

        load_library()
        try:
            client = clickhouse_connect.get_client(interface="chdb", path=str(self.path), settings=dict(SETTINGS))
            use_database(client, DATABASE, create=True)
        except (ClickHouseError, RuntimeError) as error:
            raise StorageError(
                f"{self.place} cannot be opened: {_first_line(error)} "
                "If its files are damaged, move the folder away and collect again, or restore a backup."
            ) from error
        return client

    def _explain(self, error: Exception) -> str:
        code = getattr(error, "code", None)
        remedy = REMEDIES.get(code) if isinstance(code, int) else None
        text = _first_line(error)
        if code is None and re.fullmatch(r"Setting \w+ is readonly", text):  # the client's own refusal to send it
            text, remedy = f"{text}.", MAY_ONLY_READ
        if remedy is None and not self.embedded and code is None:
            # `... (Caused by NewConnectionError("HTTPConnection(...): Failed to establish a new connection: ..."))`
            reason = re.search(r"Caused by \w+\(.*?\): (.*?)[\"']\)\)", text)
            if "SSLError" in text:
                untrusted = re.search(r"certificate verify failed: ([\w' -]*\w)", text)
                text = f"its certificate is not trusted ({untrusted[1]})." if untrusted else "TLS failed."
                remedy = (
                    "give the server a certificate of a known authority, or name the file of its own authority in "
                    "SSL_CERT_FILE; write http:// if it has no TLS on this port"
                )
            elif refused := re.search(r"Caused by ProxyError\('.*?', \w+\(['\"](.*?)['\"]\)", text):
                text = f"the proxy that the environment names does not let it through: {refused[1]}."
                remedy = "add the server's host to NO_PROXY, or have the proxy allow it"
            elif text.startswith("Unexpected response to server version query") or _FOREIGN_ANSWER.search(text):
                text = "what answers there is not ClickHouse."
                remedy = (
                    "name the host and the HTTP port of ClickHouse (8123, with TLS 8443) in OPTIINFRA_CLICKHOUSE_URL"
                )
            elif "BadStatusLine(" in text:
                text = "what answers there does not speak HTTP."
                remedy = (
                    "name the HTTP port of ClickHouse (8123) in OPTIINFRA_CLICKHOUSE_URL, and write https:// where it "
                    "has TLS (8443)"
                )
            else:
                remedy = "check that the server runs and that OPTIINFRA_CLICKHOUSE_URL names its host and port"
                text = f"{reason[1]}." if reason else text
        message = f"ClickHouse at {self.place}: {text}"
        return f"{message} Remedy: {remedy}." if remedy else message


def _first_line(error: Exception) -> str:
    """The message of an error, without the stack and the statement that ClickHouse may add."""
    return str(error).strip().split("\n", 1)[0][:500]


def fetch(client: Client, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
    """The result of a SELECT as Arrow, with times as times.

    ClickHouse exports DateTime as a bare uint32; the engine says which columns are times, since a uint32 alone
    does not.
    """
    import pyarrow as pa

    params = {k: _bindable(v) for k, v in (parameters or {}).items()}
    table = client.query_arrow(sql, parameters=params, use_strings=True)
    if pa.uint32() not in table.schema.types:
        return table
    times = {
        row[0]
        for row in client.query(f"DESCRIBE TABLE ({sql})", parameters=params).result_rows
        if "DateTime(" in row[1] and "DateTime64" not in row[1]
    }
    for index, field in enumerate(table.schema):
        if field.name in times:
            seconds = table.column(index).cast(pa.int64()).cast(pa.timestamp("s", "UTC"))
            table = table.set_column(index, field.name, seconds)
    return table


def _bindable(value: Any) -> Any:
    """Times as the text that {name:DateTime('UTC')} parses: a zoned value must not pass through the host's zone."""
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError("a time without time zone")
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, (list, tuple)):
        return [_bindable(v) for v in value]
    return value
