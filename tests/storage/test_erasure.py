"""A customer is erased from every table there is, whole, and nobody else is touched."""
# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import signal
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import erasure, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.sql import read_sql
from optiinfra_dagster.storage.writer import Writer
from tests.conftest import LONG
from tests.support import killing
from tests.support.samples import W, collected, view, windows_from

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from clickhouse_connect.driver.client import Client

NOW = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}"  # rows of another time would expire
OTEL = """
CREATE TABLE otel_traces
(Timestamp DateTime64(9), ResourceAttributes Map(LowCardinality(String), String), SpanId String)
ENGINE = MergeTree ORDER BY Timestamp
"""


@pytest.fixture
def otel(clickhouse: ClickHouse) -> Iterator[None]:
    """The table of the OpenTelemetry Collector's exporter, which is not there by itself."""
    with clickhouse.session() as client:
        client.command(OTEL)
        yield
        client.command("DROP TABLE otel_traces SYNC")


def tables_of_engine(client: Client) -> list[str]:
    """Every table that stores rows."""
    found = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree' ORDER BY name"
    )
    return [row[0] for row in found.result_rows]


def fill(client: Client, tables: Iterable[str], customers: Sequence[str]) -> None:
    """In each table a row of each customer, of now; the other columns have their defaults."""
    rows = client.query(
        "SELECT table, name, type FROM system.columns WHERE database = currentDatabase() "
        "AND default_kind NOT IN ('MATERIALIZED', 'ALIAS')",
    ).result_rows
    of_table: dict[str, dict[str, str]] = {}
    for table, name, kind in rows:
        of_table.setdefault(table, {})[name] = kind
    for table in tables:
        times = [name for name, kind in of_table[table].items() if kind.startswith("Date")]
        if "ResourceAttributes" in of_table[table]:
            owner, value = "ResourceAttributes", "map('customer.id', one)"
        else:
            owner, value = "customer_id", "one"
        names = ", ".join([owner, *times])
        values = ", ".join([value, *(f"'{NOW}'" for _ in times)])
        client.command(
            f"INSERT INTO {table} ({names}) SETTINGS insert_deduplicate = 0 "  # the same rows may come once more
            f"SELECT {values} FROM (SELECT arrayJoin({list(customers)}) AS one)"
        )


def found_in_text(client: Client, word: str, but: str) -> dict[str, int]:
    """How many rows of each table have a word anywhere, other than in `but`, whatever the columns are called."""
    counts = {}
    for table in tables_of_engine(client):
        sql = (
            f"SELECT count() FROM {table} "
            "WHERE position(replaceAll(toString(tuple(*)), {but:String}, ''), {word:String}) > 0"
        )
        counts[table] = client.query(sql, parameters={"word": word, "but": but}).result_rows[0][0]
    return {table: count for table, count in counts.items() if count}


def of_others(client: Client, customer: str, among: Collection[str] = ()) -> dict[str, Any]:
    """A sum over all rows of every table, or of some, that are not of a customer."""
    return {
        table: client.query(
            f"SELECT count(), sum(cityHash64(toString(tuple(*)))) FROM {table} WHERE {owner} != {{customer:String}}",
            parameters={"customer": customer},
        ).result_rows
        for table, owner in erasure.owned_tables(client).items()
        if not among or table in among
    }


@pytest.mark.usefixtures("otel")
def test_every_table_with_a_customer_is_known_and_the_ledger_goes_first(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:
        owned = erasure.owned_tables(client)
        assert next(iter(owned)) == "metric_batches"
        assert owned["otel_traces"] == "ResourceAttributes['customer.id']"
        assert {
            "application_verdicts",
            "coverage",
            "judge_spend",
            "llm_interactions",
            "performance_hourly",
        } <= owned.keys()
        # What is left has nothing of a customer: figures of the judge, list prices, which migrations were applied.
        left = set(tables_of_engine(client)) - owned.keys()
        for table in left:
            names = [row[0] for row in client.query(f"DESCRIBE TABLE {table}").result_rows]
            assert not [name for name in names if "customer" in name or name in {"resource_id", "account_id"}], table


@pytest.mark.usefixtures("otel")
def test_nothing_of_the_customer_is_left_in_any_table(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:
        tables = erasure.owned_tables(client)
        fill(client, tables, ["acme", "acme-2", "acm"])
        others = of_others(client, "acme")
        assert erasure.stored_rows(client, "acme") == dict.fromkeys(tables, 1)

        assert erasure.erase(client, "acme") == dict.fromkeys(tables, 1)

        assert erasure.stored_rows(client, "acme") == {}
        assert of_others(client, "acme") == others
        assert found_in_text(client, "acme", but="acme-2") == {}
        assert found_in_text(client, "acme", but="no such name").keys() == tables.keys()
        assert erasure.erase(client, "acme") == {}  # again


def test_the_tables_are_waited_for_together(clickhouse: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def read(name: str) -> str:
        asked.append(name)
        return read_sql(name)

    monkeypatch.setattr(erasure, "read_sql", read)
    monkeypatch.setattr(erasure, "_POLL_SECONDS", (1.0, 1.0))  # longer than the mutations of a few rows take
    with clickhouse.session() as client:
        fill(client, list(erasure.owned_tables(client)), ["acme"])
        erasure.erase(client, "acme")
    assert asked.count("queries/unfinished_mutations") <= 6  # not one by one: there are more than 50 tables


NAMES = ["a", "a-", "aa", "b", "a_", "%"]
IDS = st.sampled_from(NAMES)
OF_EVERYBODY = [(number, name) for number in (1, 4) for name in NAMES]


@settings(max_examples=20 if LONG else 2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(st.integers(0, 6), IDS), min_size=4, max_size=12), erased=IDS)
@example(rows=OF_EVERYBODY, erased="a")
@example(rows=OF_EVERYBODY, erased="%")
def test_rows_of_others_stay_as_they_are(clickhouse: ClickHouse, rows: list[tuple[int, str]], erased: str) -> None:
    with clickhouse.session() as client:
        owned = list(erasure.owned_tables(client))
        tables = [owned[number * 7 % len(owned)] for number in range(7)]
        for number in sorted({number for number, _ in rows}):
            fill(client, [tables[number]], [customer for of, customer in rows if of == number])
        before = of_others(client, erased, tables)
        erasure.erase(client, erased)
        assert erasure.stored_rows(client, erased) == {}
        assert of_others(client, erased, tables) == before


def test_without_a_customer_nothing_is_erased(clickhouse: ClickHouse) -> None:
    """Rows of readers in the ledger have an empty customer."""
    with clickhouse.session() as client:
        fill(client, ["metric_batches"], [""])
        with pytest.raises(ValueError, match="empty"):
            erasure.erase(client, "")
        assert client.query("SELECT count() FROM metric_batches").result_rows == [(1,)]


def kill_at(url: str, step: int) -> None:
    """Erase Acme, and die before the table of number `step`."""
    seen: list[str] = []

    def tell(text: str) -> None:
        seen.append(text)
        if len(seen) > step:
            killing.die()

    with ClickHouse(url).session() as client:
        erasure.erase(client, "acme", tell)


@pytest.mark.parametrize("steps", [(0, 1), (2,), *(pytest.param((step,), marks=pytest.mark.long) for step in (0, 1))])
def test_a_kill_shows_no_half_and_is_healed_by_running_it_again(url: str, steps: tuple[int, ...]) -> None:
    clickhouse = ClickHouse(url, lock_timeout=30, linger=30)
    writer = Writer(clickhouse, schema.PERFORMANCE)
    for customer in ("acme", "globex"):
        writer.flush([collected(customer, windows_from(W, 2))])
    with clickhouse.session() as client:
        fill(client, ["llm_interactions"], ["acme", "globex"])
        others, every = of_others(client, "acme"), view(clickhouse)
        seen = [row for row in every if "globex" in row]

    for step in steps:
        assert killing.run(kill_at, url, step) == -signal.SIGKILL
        # The ledger is the first: what has no ledger row is seen by nobody.
        assert view(clickhouse) == (seen if step else every)

    with clickhouse.session() as client:
        erasure.erase(client, "acme")
        assert erasure.stored_rows(client, "acme") == {}
        assert of_others(client, "acme") == others


def test_a_customer_who_comes_back_is_collected_as_if_new(clickhouse: ClickHouse) -> None:
    batch = [collected("acme", windows_from(W, 2))]
    Writer(clickhouse, schema.PERFORMANCE).flush(batch)
    before = view(clickhouse)
    with clickhouse.session() as client:
        erasure.erase(client, "acme")
    assert view(clickhouse) == []
    Writer(clickhouse, schema.PERFORMANCE).flush(batch)
    assert view(clickhouse) == before


def test_who_goes_on_writing_is_told(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:

        def write(_text: str) -> None:
            fill(client, ["coverage", "llm_interactions"], ["acme"])  # deleted in this order

        write("")
        with pytest.raises(StorageError, match="still being written to coverage"):
            erasure.erase(client, "acme", write)
