"""Several replicas behind one URL: whatever lags, no slice is lost, doubled, or taken for empty.

The replicas are a model (`tests/support/replicas.py`): what one of them got reaches the others when somebody waits for
it, and otherwise never.
"""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import clickhouse_connect
import pyarrow as pa
import pytest

from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.config.retention import Retention
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.model.slices import SliceKey, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.database import DATABASE
from optiinfra_dagster.storage.ledger import LedgerRow, publish
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.replicas import tables_behind
from optiinfra_dagster.storage.spend import Amount, Purse, Spend
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.replicas import Replicas
from tests.support.samples import W, collected, ledger, points, raw, seen_values, view, windows_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READER = readers()["performance", "summary"]
TABLES = ("metric_batches", "performance_metrics", READER.table, "coverage", "judge_spend")
SLICES = windows_from(W, 2)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("replicas")) as replicas:
        yield replicas


@pytest.fixture
def replicas(running: Replicas) -> Iterator[Replicas]:
    """Two replicas without rows."""
    for server in running.servers:
        server.reset()
    yield running
    running.calm()
    running.settle()
    with ClickHouse(running.url(via=0)).session() as client:
        for table in TABLES:
            client.command(f"TRUNCATE TABLE {table}")
    running.settle()


@pytest.fixture(params=["request", *(pytest.param(how, marks=pytest.mark.long) for how in ("connection", "hosts"))])
def url(request: pytest.FixtureRequest, replicas: Replicas) -> str:
    """What a customer's URL may lead to: a balancer of either kind, or the replicas by their names."""
    if request.param == "hosts":
        return replicas.url(via=(0, 1))
    replicas.balance = request.param
    return replicas.url()


def process(replicas: Replicas, url: str) -> ClickHouse:
    """The place as a new process has it."""
    replicas.reconnect()
    return ClickHouse(url)


def flush(clickhouse: ClickHouse, *attempts: Any) -> None:
    Writer(clickhouse, schema.PERFORMANCE).flush(attempts or [collected()])


def replica_of(replicas: Replicas, clickhouse: ClickHouse) -> int:
    """Which replica a process talks to."""
    with clickhouse.session() as client:
        client.command("SELECT 'it is me'")
    return ["it is me" in server.statements()[-1].text for server in replicas.servers].index(True)


def at(replicas: Replicas, replica: int) -> ClickHouse:
    return ClickHouse(replicas.url(via=replica))


# --- One process after the other, wherever the balancer sends it ------------------------------------------------------


def test_slices_are_published_whole_whatever_the_balancer_does(replicas: Replicas, url: str) -> None:
    """A complete answer, a partial one after it that must not replace it, and a reader of what is there."""
    for window in SLICES:
        flush(process(replicas, url), collected(span=(window,), values=(1, 2, 3)))
        partial = collected(span=(window,), values=(9,), status=SliceStatus.PARTIAL, error="throttled")
        flush(process(replicas, url), partial)
        assert write_select(process(replicas, url), READER.table, READER.select, [window]) == {window: 1}

    replicas.settle()
    for replica in (0, 1):
        clickhouse = at(replicas, replica)
        assert seen_values(clickhouse) == [1, 2, 3] * len(SLICES)
        assert raw(clickhouse) == view(clickhouse)
        assert {row["rows"] for row in ledger(clickhouse) if row["status"] == "ok"} == {3, 1}
    inserts = [s for server in replicas.servers for s in server.statements() if s.text.startswith("INSERT")]
    assert {s.settings["insert_quorum"] for s in inserts} == {"2"}


def test_a_process_stays_with_its_replica_and_processes_spread(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in (0, 1):  # two processes' draws
        monkeypatch.setattr("random.SystemRandom", partial(random.Random, seed))
        clickhouse = ClickHouse(replicas.url(via=(0, 1)))
        for _ in range(2):
            flush(clickhouse, collected())
    assert flushes(replicas) == [2, 2]


def flushes(replicas: Replicas) -> list[int]:
    return [sum("active_replicas" in s.text for s in server.statements()) for server in replicas.servers]


# --- A replica that comes back has missed things ----------------------------------------------------------------------


def returned(replicas: Replicas, *attempts: Any) -> None:
    """Replica 1 was down while something was published on replica 0, is back, and has got nothing of it yet."""
    replicas.stop(1)
    for attempt in attempts:
        flush(at(replicas, 0), attempt)
    replicas.start(1)
    assert replicas.waiting(1, "metric_batches") == len(attempts) <= replicas.waiting(1, "performance_metrics")


def test_a_replica_that_comes_back_catches_up_before_it_publishes(replicas: Replicas) -> None:
    returned(replicas, collected(values=(1, 2, 3)))
    flush(at(replicas, 1), collected(values=(9,), status=SliceStatus.PARTIAL, error="throttled"))
    assert [seen_values(at(replicas, i)) for i in (0, 1)] == [[1, 2, 3]] * 2


@pytest.mark.parametrize("first", ["metric_batches", "performance_metrics", ""])
def test_a_reader_is_not_computed_from_what_a_replica_has_missed(replicas: Replicas, first: str) -> None:
    returned(replicas, collected())
    replicas.advance(1, first)
    assert write_select(at(replicas, 1), READER.table, READER.select, [W]) == {W: 1}


def test_a_reading_session_sees_rows_with_their_ledger_row(replicas: Replicas) -> None:
    """The ledger came first: who does not wait sees a published slice without rows."""
    flush(at(replicas, 0), collected(values=(7,)))
    returned(replicas, collected(values=(1, 2)))
    replicas.advance(1, "metric_batches")
    asked = "SELECT count() FROM performance_metrics_current"
    with at(replicas, 1).session() as client:
        assert client.command(asked) == 0
    with at(replicas, 1).session(reads=asked) as client:
        assert client.command(asked) == 2


def test_the_ledger_is_waited_for_before_the_rows(replicas: Replicas) -> None:
    """What is published between the two waits, by one who waits for no replica, is not known without its rows."""

    def publish_here() -> None:
        rows = points("acme", [W]).append_column("batch", pa.array([7, 7], pa.uint64()))
        with at(replicas, 0).session() as client:
            client.insert_arrow("performance_metrics", rows)
            publish(client, "performance", [LedgerRow(SliceKey("acme", "aws", W), SliceStatus.OK, 2)], 7, "")

    again = "SYSTEM SYNC REPLICA"
    replicas.at(again, lambda: replicas.at(again, publish_here))
    with at(replicas, 1).session(reads="performance_metrics_current") as client:
        published = client.command("SELECT sum(rows) FROM metric_batches")
        assert client.command("SELECT count() FROM performance_metrics_current") == published
    assert len(ledger(at(replicas, 0))) == 1


def test_a_table_is_waited_for_once_a_session(replicas: Replicas) -> None:
    clickhouse = at(replicas, 0)
    with clickhouse.session(reads="performance_metrics_current") as client:
        flush(at(replicas, 1), collected())
        assert replicas.waiting(0, "performance_metrics") == 0  # by the quorum
        with at(replicas, 1).session() as other:
            other.command("DELETE FROM performance_metrics WHERE 1")
        with clickhouse.session(reads="performance_metrics"):
            assert client.command("SELECT count() FROM performance_metrics") == 2
    with clickhouse.session(reads="performance_metrics") as client:
        assert client.command("SELECT count() FROM performance_metrics") == 0


def test_the_tables_behind_a_select_are_found(replicas: Replicas) -> None:
    with at(replicas, 0).session() as client:
        assert tables_behind(client, READER.select) == ["metric_batches", "performance_metrics"]
        assert tables_behind(client, "coverage, judge_spend") == ["coverage", "judge_spend"]
        assert tables_behind(client, "SELECT 1") == []


def test_a_replica_that_cannot_catch_up_says_so_and_nothing_is_published(replicas: Replicas) -> None:
    returned(replicas, collected(values=(1, 2, 3)))
    with replicas.held(1, "performance_metrics"):
        with pytest.raises(StorageError, match=r"the replica lacks rows of performance_metrics .* within 60 s\. Run"):
            flush(at(replicas, 1), collected(values=(9,)))
        with pytest.raises(StorageError, match="lacks rows of performance_metrics"):
            write_select(at(replicas, 1), READER.table, READER.select, [W])
    flush(at(replicas, 1), collected(values=(9,)))
    assert seen_values(at(replicas, 0)) == [9]


def test_who_may_not_sync_reads_and_does_not_write(replicas: Replicas) -> None:
    flush(at(replicas, 0), collected())
    replicas.may_sync = False
    try:
        with at(replicas, 1).session(reads="performance_metrics_current") as client:
            assert client.command("SELECT count() FROM performance_metrics_current") == 2
        with pytest.raises(StorageError, match=r"the grant SYSTEM SYNC REPLICA ON .*Remedy: grant"):
            flush(at(replicas, 1), collected())
    finally:
        replicas.may_sync = True


# --- Replicas die -----------------------------------------------------------------------------------------------------


ROWS, CHECK, LEDGER = (
    "INSERT INTO `?performance_metrics", r"SELECT customer_id.*\n?.*FROM performance_metrics",
    "INSERT INTO `?metric_batches",
)  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "when"),
    [
        (ROWS, "before"),
        (ROWS, "after"),
        (LEDGER, "after"),
        # As after the rows: they are there, the ledger does not say so.
        *(
            pytest.param(*at, marks=pytest.mark.long)
            for at in ((CHECK, "before"), (CHECK, "after"), (LEDGER, "before"))
        ),
    ],
)
def test_a_replica_that_dies_in_the_middle_of_a_flush_loses_and_doubles_nothing(
    replicas: Replicas, statement: str, when: Any
) -> None:
    clickhouse = ClickHouse(replicas.url(via=(0, 1)))
    flush(clickhouse, collected(values=(1, 1, 1)))
    own = replica_of(replicas, clickhouse)
    replicas.at(statement, lambda: replicas.stop(own), when=when)
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:\d+,127\.0\.0\.1:\d+"):
        flush(clickhouse, collected(values=(2, 2)))
    assert seen_values(at(replicas, 1 - own)) in ([1, 1, 1], [2, 2])

    flush(clickhouse, collected(values=(3, 3)))  # on the other replica

    assert seen_values(at(replicas, 1 - own)) == [3, 3]
    replicas.start(own)
    flush(at(replicas, own), collected(values=(3, 3)))  # sweeps what the dead one had alone
    replicas.settle()
    for replica in (0, 1):
        assert seen_values(at(replicas, replica)) == [3, 3]
        assert raw(at(replicas, replica)) == view(at(replicas, replica))


def test_rows_that_do_not_reach_the_others_are_not_published(replicas: Replicas) -> None:
    flush(at(replicas, 0), collected(values=(1,)))
    with replicas.held(1, "performance_metrics"), pytest.raises(StorageError, match="went down just now, and nothing"):
        flush(at(replicas, 0), collected(values=(2, 2)))
    assert [seen_values(at(replicas, i)) for i in (0, 1)] == [[1], [1]]
    flush(at(replicas, 1), collected(values=(3,)))
    assert [seen_values(at(replicas, i)) for i in (0, 1)] == [[3], [3]]
    replicas.settle()
    for replica in (0, 1):
        assert raw(at(replicas, replica)) == view(at(replicas, replica))


def test_no_replica_that_can_be_reached(replicas: Replicas) -> None:
    clickhouse = ClickHouse(replicas.url(via=(0, 1)))
    flush(clickhouse)
    replicas.stop(0)
    flush(clickhouse)
    replicas.stop(1)
    with pytest.raises(StorageError, match=r"http://127\.0\.0\.1:\d+,127\.0\.0\.1:\d+: .*refused"):
        flush(clickhouse)
    replicas.start(0)
    replicas.start(1)
    flush(clickhouse)


# --- People who query a replica by SQL of their own, without a session ------------------------------------------------


def asks(replicas: Replicas, replica: int) -> Callable[[], list[float]]:
    """What a reader sees who has nothing to do with this project: the values of the performance table."""
    client = clickhouse_connect.get_client(dsn=replicas.servers[replica].url(DATABASE))
    asked = "SELECT metric_value FROM performance_metrics_current ORDER BY 1"
    return lambda: [value for (value,) in client.query(asked).result_rows]


def test_slices_are_seen_whole_beside_re_publishing_on_either_replica(
    replicas: Replicas, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before and after each write, between the replicas too, and with what was superseded twice deleted meanwhile."""
    monkeypatch.setattr("optiinfra_dagster.config.retention.LEAST", timedelta(0))  # the ten minutes are over
    keeping = Retention(timedelta(0), {})
    flush(at(replicas, 0), collected(values=(1, 1)))
    readers = [asks(replicas, replica) for replica in (0, 1)]
    seen: list[list[float]] = []

    def look(when: Literal["before", "after"]) -> None:
        seen.extend(ask() for ask in readers)
        replicas.at("INSERT|DELETE", lambda: look(when), when=when)

    for when in ("before", "after"):
        look(when)
    for value in (2, 3, 4):
        flush(ClickHouse(replicas.url(via=value % 2), keeping=keeping), collected(values=(value, value)))
    replicas.calm()
    replicas.settle()
    seen.extend(ask() for ask in readers)

    assert [values for values in seen if len(values) != 2 or len(set(values)) != 1] == []
    assert {values[0] for values in seen} == {1, 2, 3, 4}
    deletes = [s for server in replicas.servers for s in server.statements() if s.text.startswith("DELETE")]
    assert len(deletes) >= 2


def test_a_returned_replica_shows_nothing_only_while_its_ledger_is_ahead_of_its_rows(replicas: Replicas) -> None:
    """However far two publishes have come to each table: what decision 12 leaves open, and no more than that.

    What is seen follows from how far that is: the three orders come to each of the nine cases.
    """
    flush(at(replicas, 0), collected(values=(0, 0)))
    for number, order in enumerate(("rrll", "llrr", "rlrl")):  # rows and ledger
        before = 2 * number
        returned(replicas, *[collected(values=(value, value)) for value in (before + 1, before + 2)])
        ask, come = asks(replicas, 1), {"r": 0, "l": 0}
        assert ask() == [before] * 2
        for one in order:
            replicas.advance(1, {"r": "performance_metrics", "l": "metric_batches"}[one], writes=1)
            come[one] += 1
            assert ask() == ([before + come["l"]] * 2 if come["r"] >= come["l"] else []), order
        replicas.settle()


# --- Two at once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", ["inserted", pytest.param("verified", marks=pytest.mark.long), "published"])
def test_two_writers_on_two_replicas_leave_one_of_them_whole(replicas: Replicas, step: str) -> None:
    between = {step: lambda: flush(at(replicas, 1), collected(values=(7, 8, 9)))}

    def steps(name: str) -> None:
        between.pop(name, lambda: None)()

    Writer(at(replicas, 0), schema.PERFORMANCE, steps=steps).flush([collected(values=(1, 2))])

    assert [seen_values(at(replicas, i)) for i in (0, 1)] == [[7, 8, 9]] * 2
    flush(at(replicas, 1), collected(values=(7, 8, 9)))
    replicas.settle()
    for replica in (0, 1):
        assert raw(at(replicas, replica)) == view(at(replicas, replica))


def test_the_last_of_a_days_budget_is_not_granted_on_both_replicas(replicas: Replicas) -> None:
    purse = Purse("acme", datetime.now(UTC), late=False, provider="aws")

    def reserve(replica: int) -> Amount:
        return Spend(at(replicas, replica)).reserve(purse, Amount(60, 6), purse.at, _left_of_100)

    assert [reserve(0), reserve(1)] == [Amount(60, 6), Amount(40, 4)]


def _left_of_100(today: Any, _since: Any) -> Amount:
    return Amount(100 - sum(a.tokens for a in today.values()), 10 - sum(a.requests for a in today.values()))


def test_a_reader_whose_table_feeds_views_is_verified(replicas: Replicas) -> None:
    flush(at(replicas, 0), collected())
    with at(replicas, 0).session() as client:
        client.command(
            "CREATE MATERIALIZED VIEW fed ENGINE = ReplicatedMergeTree ORDER BY n "
            "AS SELECT 1 AS n FROM performance_summary"
        )
    try:
        assert write_select(at(replicas, 1), READER.table, READER.select, [W]) == {W: 1}
    finally:
        with at(replicas, 0).session() as client:
            client.command("DROP VIEW fed SYNC")


# --- Others who replicate ---------------------------------------------------------------------------------------------


def test_on_cloud_every_select_asks(replicas: Replicas) -> None:
    with replicas.as_if(Replication.CLOUD):
        for window in SLICES:
            flush(ClickHouse(replicas.url()), collected(span=(window,), values=(1, 2, 3)))
            flush(ClickHouse(replicas.url()), collected(span=(window,), values=(9,), status=SliceStatus.PARTIAL))
            assert write_select(ClickHouse(replicas.url()), READER.table, READER.select, [window]) == {window: 1}
        assert seen_values(at(replicas, 0)) == [1, 2, 3] * 2
    inserts = [s for server in replicas.servers for s in server.statements() if s.text.startswith("INSERT")]
    assert not any("insert_quorum" in s.settings for s in inserts)
