"""Another sort key: the same rows, whatever happens meanwhile, and a reader of one window reads one day."""
# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.storage import migrations, sort_keys
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.database import DATABASE
from optiinfra_dagster.storage.topology import SINGLE
from tests.storage.test_migrations import Killed, Mortal
from tests.support.replicas import Replicas

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

TABLE = """CREATE TABLE points
(
    customer_id LowCardinality(String) CODEC(ZSTD(1)), provider String, resource_id String COMMENT 'of the cloud',
    window_start DateTime('UTC'), batch UInt64 CODEC(Delta(8), ZSTD(1)), value Float64
)
ENGINE = MergeTree PARTITION BY toYYYYMM(window_start) ORDER BY (customer_id, provider, resource_id, window_start)
TTL window_start + INTERVAL 3000 DAY SETTINGS ttl_only_drop_parts = 1, non_replicated_deduplication_window = 1000"""
KEY = "customer_id, provider, toDate(window_start), resource_id"
OTHER = sort_keys.other_table("points", KEY)
CHANGED = migrations.Migration("001_points", f"ALTER TABLE points MODIFY ORDER BY ({KEY});")
SIX = "036_days_together"


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    """An embedded engine with a table of three days, in two parts and with a row deleted."""
    with ClickHouse(f"chdb://{tmp_path / 'place'}").session(migrated=False) as client:
        client.command(TABLE)
        for day in range(3):
            add(client, day=day, batch=day + 1)
        client.command("DELETE FROM points WHERE batch = 2 AND resource_id = 'r-7'")
        yield client


def add(client: Client, *, day: int, batch: int, rows: int = 100) -> None:
    """A batch of rows of one window of a day."""
    client.command(
        "INSERT INTO points SELECT 'acme', 'aws', concat('r-', toString(number)), "
        "toDateTime('2026-10-30 12:00:00', 'UTC') + toIntervalDay({day:UInt8}), {batch:UInt64}, number / 3 "
        "FROM numbers({rows:UInt32})",
        parameters={"day": day, "batch": batch, "rows": rows},
    )


def rows(client: Client) -> list[Any]:
    """What is in the table."""
    return list(client.query("SELECT * FROM points ORDER BY ALL").result_rows)


def change(client: Any, say: Callable[[str], None] = lambda _: None) -> None:
    """Sort it by day."""
    sort_keys.change(client, SINGLE, "points", KEY, lambda: None, say)


def tables(client: Client) -> list[str]:
    return [name for (name,) in client.query("SHOW TABLES").result_rows]


def test_the_rows_and_all_else_of_the_table_stay(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort_keys, "ROWS_AT_ONCE", 150)  # two stretches
    monkeypatch.setattr(sort_keys, "ROWS_TOLD", 100)
    before, made = rows(client), str(client.command("SHOW CREATE TABLE points"))
    said: list[str] = []

    change(client, said.append)

    assert rows(client) == before
    assert len(before) == 299
    old, new = (f"ORDER BY ({key})" for key in ("customer_id, provider, resource_id, window_start", KEY))
    assert str(client.command("SHOW CREATE TABLE points")) == made.replace(old, new)
    assert old in made
    assert tables(client) == ["points"]
    assert len(said) == 2


def test_it_is_done_once(client: Client) -> None:
    change(client)
    uuid = "SELECT uuid FROM system.tables WHERE name = 'points'"
    before = client.command(uuid)

    change(client)

    assert client.command(uuid) == before


def test_an_empty_table_is_sorted_anew(client: Client) -> None:
    client.command("TRUNCATE TABLE points")
    change(client)
    assert client.command("SELECT sorting_key FROM system.tables WHERE name = 'points'") == KEY


def test_a_kill_at_any_statement_loses_and_doubles_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sort_keys, "ROWS_AT_ONCE", 150)
    before = rows(client)
    lives, done = 0, False
    while not done:
        mortal = Mortal(client, lives)
        try:
            change(mortal)
            done = True
        except Killed:
            assert rows(client) == before, lives
        lives += 1
    assert lives >= 9
    assert rows(client) == before
    assert tables(client) == ["points"]

    client.command("DROP TABLE points")  # and each by itself, made good by the next
    for kill in range(lives):
        client.command(TABLE)
        for day in range(3):
            add(client, day=day, batch=day + 1)
        before = rows(client)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sort_keys, "ROWS_AT_ONCE", 150)
            mortal = Mortal(client, kill)
            try:
                change(mortal)
            except Killed:
                change(client)
        assert rows(client) == before, kill
        assert tables(client) == ["points"], kill
        client.command("DROP TABLE points")


class Meanwhile:
    """A client beside which something happens once, before a statement that begins with a text."""

    def __init__(self, client: Client, begins: str, action: Callable[[], None]) -> None:
        self._client, self._begins, self._action = client, begins, action
        self.happened = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def command(self, statement: str, *arguments: Any, **named: Any) -> Any:
        if statement.startswith(self._begins) and not self.happened:
            self.happened = True
            self._action()
        return self._client.command(statement, *arguments, **named)


@pytest.mark.parametrize("begins", [f"INSERT INTO {OTHER}", "EXCHANGE"])
@pytest.mark.parametrize("kill", [False, True])
def test_what_is_written_meanwhile_is_there_once(client: Client, begins: str, kill: bool) -> None:
    """A batch of a day that is being copied or was, and further rows of a batch that was copied in part."""

    def write() -> None:
        add(client, day=1, batch=9)
        client.command("INSERT INTO points SELECT * REPLACE ('globex' AS customer_id) FROM points WHERE batch = 3")

    both = Meanwhile(client, begins, write)
    if kill:  # after the two changed names, and before the rest is copied
        last = Meanwhile(both, "INSERT INTO points SELECT", partial(pytest.fail, "killed"))  # type: ignore[arg-type]
        with pytest.raises(pytest.fail.Exception):
            change(last)
        change(client)
    else:
        change(both)

    assert both.happened
    assert client.query(
        "SELECT customer_id, batch, count(), uniqExact(resource_id) FROM points GROUP BY ALL ORDER BY ALL"
    ).result_rows == [("acme", 1, 100, 100), ("acme", 2, 99, 99), ("acme", 3, 100, 100), ("acme", 9, 100, 100),
                      ("globex", 3, 100, 100)]  # fmt: skip
    assert tables(client) == ["points"]


@pytest.mark.parametrize("dataset", ["performance_metrics", "resource_metrics", "cost_metrics", "application_metrics"])
def test_a_window_of_a_merged_month_is_found_without_reading_the_month(clickhouse: ClickHouse, dataset: str) -> None:
    """28 days of 20,000 rows, of which the window has 209."""
    window = "toDateTime('2026-10-14 12:00:00', 'UTC')"
    with clickhouse.session() as client:
        name = "application_id" if dataset == "application_metrics" else "resource_id"
        client.command(
            f"INSERT INTO {dataset} (customer_id, provider, {name}, window_start, batch) "
            "SELECT 'acme', 'aws', concat('r-', toString(number % 200)), "
            "toDateTime('2026-10-01 00:00:00', 'UTC') + toIntervalMinute(15 * intDiv(number, 208)), 7 "
            "FROM numbers(28 * 96 * 208)"
        )
        client.command(f"OPTIMIZE TABLE {dataset} FINAL")
        read = client.query(f"EXPLAIN ESTIMATE SELECT * FROM {dataset} WHERE window_start = {window}").result_rows
        there = client.command(f"SELECT count() FROM {dataset} WHERE window_start = {window}")
        client.command(f"TRUNCATE TABLE {dataset}")
    assert there == 208
    assert read[0][3] <= 5 * 8192  # of 559,104: what a day has, and the ends of the granules beside it


def test_the_sort_keys_are_those_of_the_file(clickhouse: ClickHouse) -> None:
    """`toDate` stands behind what a reader names first, so that one customer's rows are found, too."""
    (file,) = (migration for migration in migrations.load() if migration.name == SIX)
    wanted = dict(filter(None, map(sort_keys.change_of, file.statements)))
    with clickhouse.session() as client:
        sql = "SELECT name, sorting_key FROM system.tables WHERE database = currentDatabase()"
        there: dict[str, str] = dict(map(tuple, client.query(sql).result_rows))
    assert len(wanted) == 4
    assert {table: there[table] for table in wanted} == wanted


def test_on_replicas_the_rows_are_everywhere(tmp_path: Path) -> None:
    """Rows that only the other replica has yet come with it, and the old table's queue does not come after it."""
    with Replicas(tmp_path, migrated=False) as replicas:
        with ClickHouse(replicas.url(via=0)).session(migrated=False) as client:
            client.command(TABLE.replace("= MergeTree", "= ReplicatedMergeTree"))
        with ClickHouse(replicas.url(via=1)).session(migrated=False) as other:
            for day in range(3):
                add(other, day=day, batch=day + 1)
        replicas.at("EXCHANGE TABLES", lambda: _write(replicas))
        clickhouse = ClickHouse(replicas.url(via=0))
        with clickhouse.session(migrated=False) as client:
            migrations.migrate(client, [CHANGED], topology=clickhouse.topology(client))
        for replica in (0, 1):
            with ClickHouse(replicas.servers[replica].url(DATABASE)).session(migrated=False) as client:
                assert client.query("SELECT batch, count() FROM points GROUP BY batch ORDER BY batch").result_rows == [
                    (1, 100), (2, 100), (3, 100), (9, 100)
                ]  # fmt: skip
                assert client.command("SELECT sorting_key FROM system.tables WHERE name = 'points'") == KEY
                assert OTHER not in tables(client)


def _write(replicas: Replicas) -> None:
    with ClickHouse(replicas.url(via=1)).session(migrated=False) as other:
        add(other, day=1, batch=9)
