"""A slice replaced again and again while others read it: how often do they see what never was?

Each loader replaces the same slice, one window of one customer. Version i has rows that all say i, 300 or 500 of them.
So a read is right if it has all rows of one version and no others. What is wrong is told apart: `empty` (the slice
vanished), `mixed` (rows of two versions, or a part of one), `older` (a version older than the same reader saw before).

- `ours` is the slice protocol, read through `performance_metrics_current`.
- `dagster-clickhouse` is Dagster's own IO manager for ClickHouse, the code of the package of that name: its deletes and
  inserts, sent over HTTP instead of its driver, since the test server speaks HTTP only. Read is its table.
- `delete, insert` is what loaders written by hand do: a lightweight delete, then an insert.

On two replicas, the writer has one of them and the readers both; what one got comes to the other up to LAG seconds
later, each table by itself. The tables of the others are made as replicated ones for them: left to themselves, both
make tables that stay on the replica that they were made on.

`python -m tests.benchmarks.replacing [replacements]` prints the whole table, as docs/replacing.md has it.

All go through the servers of the tests, which answer one statement at a time: a reader waits for the writer's
statement and never sees the middle of one. So what is counted are gaps between statements; a server adds its own.
"""

from __future__ import annotations

import statistics
import sys
import threading
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import clickhouse_connect
import dagster as dg
from clickhouse_connect.driver.exceptions import DatabaseError

from optiinfra_dagster.assets.partitions import window_partitions
from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage import migrations
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.database import DATABASE
from optiinfra_dagster.storage.schema import DATASETS
from optiinfra_dagster.storage.writer import Writer
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.replicas import Replicas
from tests.support.samples import W, collected, points

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pandas as pd
    import pyarrow as pa
    from clickhouse_connect.driver.client import Client


READERS = 2
LAG = 0.3
_COLUMNS = ("window_start", "customer_id", "resource_id", "metric_value")


def rows_of(version: int) -> pa.Table:
    """The rows of a version, 300 or 500."""
    names = [f"i-{number}" for number in range(300 if version % 2 else 500)]
    return points("acme", [W], values=(float(version),), names=names)


class Loader(Protocol):
    """Something that replaces the slice, and the SELECT that tells what is there of it."""

    name: str
    question: str

    def prepare(self, url: str) -> None:
        """Make what it needs at a server, or at several replicas."""

    def replace(self, version: int) -> None:
        """Have the slice hold the rows of a version."""


def _question(table: str) -> str:
    return (
        f"SELECT count(), toUInt32(min(metric_value)), toUInt32(max(metric_value)) FROM {DATABASE}.{table} "  # noqa: S608 - names of this file
        f"WHERE window_start = toDateTime('{W:%Y-%m-%d %H:%M:%S}', 'UTC')"
    )


class Ours:
    """The slice protocol."""

    name = "ours"
    question = _question("performance_metrics_current")

    def prepare(self, url: str) -> None:
        """Migrate."""
        self._clickhouse = ClickHouse(url)
        with self._clickhouse.session(migrated=False) as client:
            migrations.migrate(client)

    def replace(self, version: int) -> None:
        """One flush."""
        Writer(self._clickhouse, DATASETS["performance"]).flush([collected(rows=rows_of(version))])


class DeleteInsert:
    """A lightweight delete, then an insert."""

    name = "delete, insert"
    question = _question("by_hand")

    def prepare(self, url: str) -> None:
        """A table of the same columns."""
        self._client = _with_table(url, "by_hand")

    def replace(self, version: int) -> None:
        """Both statements."""
        self._client.command(
            f"DELETE FROM by_hand WHERE customer_id = 'acme' AND window_start = '{W:%Y-%m-%d %H:%M:%S}'"  # noqa: S608
        )
        self._client.insert_arrow("by_hand", rows_of(version).select(list(_COLUMNS)))


class DagsterClickhouse:
    """The IO manager of the package dagster-clickhouse, whose connection is one over HTTP."""

    name = "dagster-clickhouse"
    question = _question("slices")

    def prepare(self, url: str) -> None:
        """Build the IO manager of Dagster's package."""
        from dagster._core.storage.db_io_manager import DbIOManager
        from dagster_clickhouse.db_client import ClickhouseDbClient
        from dagster_clickhouse_pandas import ClickhousePandasTypeHandler

        client = _with_table(url, "slices")

        class OverHttp(ClickhouseDbClient):
            @staticmethod
            @contextmanager
            def connect(context: Any, table_slice: Any) -> Iterator[_Connection]:
                yield _Connection(client)

        self._manager = DbIOManager(
            type_handlers=[ClickhousePandasTypeHandler()],
            db_client=OverHttp(),
            database=DATABASE,
            schema=DATABASE,
            io_manager_name="ClickhouseIOManager",
        )
        self._partitions = window_partitions(W - 4 * windows.WINDOW)

    def replace(self, version: int) -> None:
        """One output of a partitioned asset."""
        context = dg.build_output_context(
            asset_key="slices",
            partition_key=windows.key(W),
            asset_partitions_def=self._partitions,
            definition_metadata={"partition_expr": "window_start"},
        )
        rows = rows_of(version).select(list(_COLUMNS))
        self._manager.handle_output(context, rows.to_pandas())


class _Connection:
    """What that package asks of clickhouse-driver's client."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def execute(self, statement: str, parameters: dict[str, Any] | None = None) -> None:
        """Run a statement, with its parameters as clickhouse-driver writes them into it."""
        from clickhouse_driver.errors import ServerException

        bound = {name: f"'{value}'" for name, value in (parameters or {}).items()}
        try:
            self._client.command(statement % bound if bound else statement)
        except DatabaseError as error:
            raise ServerException(str(error), error.code) from error

    def insert_dataframe(self, statement: str, frame: pd.DataFrame, settings: dict[str, Any]) -> None:
        """Insert a data frame into the table that the statement names."""
        table = statement.split()[2].replace("`", "")
        if frame["window_start"].dt.tz is not None:
            frame = frame.assign(window_start=frame["window_start"].dt.tz_localize(None))
        self._client.insert_df(table, frame)


def _with_table(url: str, name: str) -> Client:
    """A client of a database that has an empty table of the columns that matter, on every replica."""
    client = client_of(url)
    client.command(f"CREATE DATABASE IF NOT EXISTS {DATABASE}")
    client.database = DATABASE
    client.command(
        f"CREATE TABLE IF NOT EXISTS {name} (window_start DateTime('UTC'), customer_id String, resource_id String, "
        "metric_value Float64) ENGINE = MergeTree ORDER BY (customer_id, window_start)"
    )
    return client


def client_of(url: str, database: str = "default") -> Client:
    """A plain client of a server."""
    parts = urlsplit(url)
    return clickhouse_connect.get_client(
        host=parts.hostname or "", port=parts.port or 0, username="default", password=parts.password or "",
        database=database, autogenerate_session_id=False,
    )  # fmt: skip


@dataclass
class Seen:
    """What readers saw of the slice while it was replaced; `milliseconds` are those of each replacement."""

    reads: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    milliseconds: list[float] = field(default_factory=list)

    @property
    def share_wrong(self) -> float:
        """The share of reads that were wrong."""
        return self.wrong.total() / self.reads

    @property
    def p50(self) -> float:
        """The median time of a replacement, in ms."""
        return statistics.median(self.milliseconds)


def watch(loader: Loader, reads_from: Sequence[str], replacements: int, readers: int = READERS) -> Seen:
    """Replace the slice again and again while `readers` for each of `reads_from` ask for it without a pause."""
    seen, over, lock = Seen(), threading.Event(), threading.Lock()

    def read(url: str) -> None:
        client, newest, reads, wrong = client_of(url), 0, 0, Counter[str]()
        while not over.is_set():
            said, version = _look(client, loader, newest)
            reads += 1
            if said:
                wrong[said] += 1
            else:
                newest = version
        with lock:
            seen.reads += reads
            seen.wrong += wrong

    threads = [threading.Thread(target=read, args=(url,)) for url in reads_from for _ in range(readers)]
    for thread in threads:
        thread.start()
    try:
        for version in range(2, replacements + 2):
            begin = time.perf_counter()
            loader.replace(version)
            seen.milliseconds.append(1000 * (time.perf_counter() - begin))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return seen


def _look(client: Client, loader: Loader, newest: int) -> tuple[str, int]:
    """What is wrong with the slice, empty for nothing, and its version."""
    count, lowest, highest = client.query(loader.question).result_rows[0]
    return verdict(count, lowest, highest, newest), highest


def verdict(count: int, lowest: int, highest: int, newest: int) -> str:
    """What is wrong with a read, after one of the version `newest`; empty for nothing."""
    if count == 0:
        return "empty"
    if lowest != highest or count != (300 if highest % 2 else 500):
        return "mixed"
    return "older" if highest < newest else ""


def after_failures(loader: Loader, server: ClickHouseHttp) -> tuple[int, int]:
    """Let each statement of a replacement in turn find the connection closed.

    Returns how many failures were tried, and after how many of them the slice was no version, whole.
    """
    reader, version = client_of(server.url()), 2
    loader.replace(version)
    tried = broken = 0
    while True:
        version += 1
        server.reset()
        server.fault("drop_before", match=".", skip=tried, times=10)
        try:
            loader.replace(version)
        except Exception:  # noqa: BLE001 - of whatever client
            server.reset()
        else:
            server.reset()
            return tried, broken
        tried += 1
        broken += bool(_look(reader, loader, 0)[0])
        loader.replace(version)


LOADERS: tuple[type[Loader], ...] = (Ours, DagsterClickhouse, DeleteInsert)


@dataclass(frozen=True)
class Figures:
    """A loader's row of the table."""

    loader: str
    place: str
    seen: Seen
    failures: tuple[int, int] | None = None  # of one server: see `after_failures`


def on_one_server(loader: Loader, replacements: int) -> Figures:
    """The figures of a server."""
    with ClickHouseHttp() as server:
        loader.prepare(server.url(DATABASE))
        loader.replace(1)
        seen = watch(loader, [server.url()], replacements)
        return Figures(loader.name, "one server", seen, after_failures(loader, server))


def on_two_replicas(loader: Loader, replacements: int) -> Figures:
    """The figures of two replicas."""
    with TemporaryDirectory() as folder, Replicas(Path(folder)) as replicas, _catching_up(replicas):
        with replicas.as_if(Replication.CLOUD):  # whatever table is made, is made as a replicated one
            loader.prepare(replicas.url(via=0))
        loader.replace(1)
        replicas.settle()
        seen = watch(loader, [replicas.url(via=0, database=""), replicas.url(via=1, database="")], replacements)
        return Figures(loader.name, f"two replicas, up to {LAG:g} s apart", seen)


@contextmanager
def _catching_up(replicas: Replicas) -> Iterator[None]:
    """Meanwhile each replica takes over what it lacks, every LAG seconds."""
    over = threading.Event()

    def settle() -> None:
        while not over.wait(LAG):
            replicas.settle()

    thread = threading.Thread(target=settle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def measure(replacements: int) -> list[Figures]:
    """The figures of every loader."""
    return [of(loader(), replacements) for of in (on_one_server, on_two_replicas) for loader in LOADERS]


def main() -> None:
    """Print the table."""
    replacements = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    print("| place | loader | reads | empty | mixed | older | wrong | p50 of a replacement | broken after a failure |")
    print("|---|---|---|---|---|---|---|---|---|")
    for of in measure(replacements):
        wrong, seen = of.seen.wrong, of.seen
        counts = " | ".join(str(wrong[kind]) for kind in ("empty", "mixed", "older"))
        broken = f"{of.failures[1]} of {of.failures[0]}" if of.failures else ""
        print(
            f"| {of.place} | {of.loader} | {seen.reads:,} | {counts} | {seen.share_wrong:.2%} | {seen.p50:.0f} ms "
            f"| {broken} |"
        )


if __name__ == "__main__":
    main()
