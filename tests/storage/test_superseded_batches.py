"""Superseded batches stay until they are due, and are then deleted by a flush or at night."""
# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.config.retention import Retention, read_keeping
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import PublishedWindows, SliceResult
from optiinfra_dagster.storage import reader_tables, schema, superseded_batches
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.writer import Writer
from tests.support.samples import W, age, batches, collected, failed, raw, seen_values, select, view, windows_from

if TYPE_CHECKING:
    from collections.abc import Callable

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.clickhouse import ClickHouse

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
NOW = windows.floor(datetime.now(UTC))  # the rows of readers expire after days
BY_TYPE = """
SELECT 'acme' AS customer_id, 'aws' AS provider, 'compute' AS resource_type, toString(number) AS kind, 1 AS resources,
    1 AS running, 0 AS stopped, 0 AS other, 1 AS regions, NULL AS capacity, '' AS unit,
    {window:DateTime('UTC')} AS as_of, true AS complete
FROM numbers(3)
"""
OF_A_DAY = """
SELECT 'acme' AS customer_id, 'aws' AS provider, '1' AS sub_account_id, 'billed' AS state, 1. AS known, 0 AS windows,
    false AS is_arriving, true AS is_final
FROM numbers(3)
"""


@pytest.fixture
def writer(clickhouse: ClickHouse) -> Writer:
    return Writer(clickhouse, schema.PERFORMANCE)


def rows_of(clickhouse: ClickHouse, table: str) -> int:
    [row] = select(clickhouse, f"SELECT count() AS n FROM {table}")
    return int(row["n"])


def values_of(clickhouse: ClickHouse, customer: str) -> set[float]:
    rows = select(clickhouse, f"SELECT metric_value FROM performance_metrics WHERE customer_id = '{customer}'")
    return {row["metric_value"] for row in rows}


def only_of(client: Client, *datasets: str) -> None:
    """Have everything else been cleared away up to a time to come, so that it is not looked at each time."""
    others = {*schema.DATASETS, *reader_tables.existing(client)}.difference(datasets)
    client.command(
        "INSERT INTO superseded_cleared SELECT arrayJoin({others:Array(String)}), now64(3) + INTERVAL 30 DAY",
        parameters={"others": sorted(others)},
    )


def clear(clickhouse: ClickHouse, keeping: Retention | None = None) -> dict[str, int]:
    with clickhouse.session() as client:
        return superseded_batches.clear(client, keeping or Retention(), datetime.now(UTC))


def test_a_reader_that_began_before_a_publish_finds_its_rows(clickhouse: ClickHouse, writer: Writer) -> None:
    writer.flush([collected(values=[1, 2])])
    [chosen] = batches(clickhouse)  # by a SELECT that has read the ledger, and not the rows yet
    for values in ([3], [4], [5]):
        writer.flush([collected(values=values)])

    assert seen_values(clickhouse) == [5]
    found = select(clickhouse, f"SELECT metric_value FROM performance_metrics WHERE batch = {chosen} ORDER BY ALL")
    assert [row["metric_value"] for row in found] == [1, 2]


@pytest.mark.parametrize(
    "later",
    [collected(values=[4]), collected(values=[3]), PublishedWindows("acme", "aws", [W]), failed()],
    ids=["changed", "unchanged", "already published", "failed"],
)
def test_the_next_flush_of_a_slice_deletes_what_is_due(
    clickhouse: ClickHouse, writer: Writer, later: SliceResult | PublishedWindows
) -> None:
    writer.flush([collected(values=[1]), collected("other", values=[1])])
    age(clickhouse, DAY)
    writer.flush([collected(values=[2]), collected("other", values=[2])])
    age(clickhouse, DAY - MINUTE)
    writer.flush([collected(values=[3]), collected("other", values=[3])])

    writer.flush([later])
    assert values_of(clickhouse, "acme") >= {1, 2, 3}  # superseded a day ago, but for a minute
    age(clickhouse, 2 * MINUTE)
    writer.flush([later])

    kept = values_of(clickhouse, "acme")
    assert 1 not in kept
    assert kept >= {2, 3}
    assert values_of(clickhouse, "other") == {1, 2, 3}
    assert raw(clickhouse) == view(clickhouse)


def test_costs_are_kept_longer_than_others(clickhouse: ClickHouse) -> None:
    assert superseded_batches.kept_for(clickhouse.keeping, "cost_billed") == 7 * DAY
    assert superseded_batches.kept_for(clickhouse.keeping, "cost_summary_v0123abcd") == 7 * DAY
    assert superseded_batches.kept_for(clickhouse.keeping, "performance_latest") == DAY
    for rollup in ("cost_daily", "cost_days", "performance_hourly", "resource_days_v0123abcd"):
        assert superseded_batches.kept_for(clickhouse.keeping, rollup) == 10 * MINUTE


@pytest.mark.parametrize(
    ("table", "statement", "kept"), [("resource_by_type", BY_TYPE, DAY), ("cost_days", OF_A_DAY, 10 * MINUTE)]
)
def test_a_reader_keeps_what_it_computed_before_as_long_as_the_setting_says(
    clickhouse: ClickHouse, table: str, statement: str, kept: timedelta
) -> None:
    def compute() -> None:
        write_select(clickhouse, table, statement, [NOW])

    compute()
    age(clickhouse, MINUTE)
    compute()
    age(clickhouse, kept - MINUTE)
    compute()
    assert rows_of(clickhouse, table) == 9
    assert rows_of(clickhouse, f"{table}_current") == 3

    age(clickhouse, 2 * MINUTE)
    compute()

    assert rows_of(clickhouse, table) == 9  # the first is gone
    assert rows_of(clickhouse, f"{table}_current") == 3


def test_what_no_flush_comes_to_is_deleted_at_night(clickhouse: ClickHouse, writer: Writer) -> None:
    span = windows_from(W, 3)
    for value in (1, 2):
        writer.flush([collected(span=span, values=[value]), collected("other", span[:1], values=[value])])
        write_select(clickhouse, "resource_by_type", BY_TYPE, [NOW])
    write_select(clickhouse, "cost_days", OF_A_DAY, [NOW])
    assert clear(clickhouse) == {}
    assert rows_of(clickhouse, "performance_metrics") == 8

    age(clickhouse, DAY + MINUTE)
    writer.flush([collected(span=span[:1], values=[3])])
    with clickhouse.session() as client:
        client.command("TRUNCATE TABLE superseded_cleared")
        client.command(
            "ALTER TABLE schema_migrations UPDATE applied_at = applied_at - 259200 WHERE 1 SETTINGS mutations_sync = 2"
        )

    assert clear(clickhouse) == {"performance": 3, "resource_by_type": 1}
    assert sorted(row[5] for row in view(clickhouse)) == [2, 2, 2, 3]
    assert rows_of(clickhouse, "performance_metrics") == 5  # the one that was superseded just now stays
    assert (rows_of(clickhouse, "resource_by_type"), rows_of(clickhouse, "resource_by_type_current")) == (3, 3)
    assert clear(clickhouse) == {}


def test_a_night_looks_at_what_was_published_since_the_last_one(clickhouse: ClickHouse, writer: Writer) -> None:
    for value in (1, 2):
        writer.flush([collected(values=[value])])
    with clickhouse.session() as client:
        only_of(client, "performance")
        begin = int((datetime.now(UTC) + timedelta(hours=2)).timestamp() * 1000)
        client.command(
            "INSERT INTO superseded_cleared SELECT 'performance', fromUnixTimestamp64Milli({at:Int64}, 'UTC')",
            parameters={"at": begin},
        )
        assert superseded_batches.clear(client, Retention(), datetime.now(UTC) + 2 * DAY) == {}
    assert rows_of(clickhouse, "performance_metrics") == 2


def test_a_night_without_anything_superseded_is_a_few_statements(
    clickhouse: ClickHouse, writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer.flush([collected(values=[1])])
    with clickhouse.session() as client:
        told: list[str] = []

        def noting(asks: Callable[..., Any]) -> Callable[..., Any]:
            def ask(sql: str, **more: Any) -> Any:
                told.append(sql)
                return asks(sql, **more)

            return ask

        for name in ("query", "command"):
            monkeypatch.setattr(client, name, noting(getattr(client, name)))
        later = datetime.now(UTC) + 20 * DAY  # every dataset is kept for less
        assert superseded_batches.clear(client, Retention(), later) == {}
        assert len(told) <= 5  # and not two of each dataset and reader, which are more than 50
        assert superseded_batches.clear(client, Retention(), later) == {}
        assert not [sql for sql in told[5:] if "published_versions" in sql]  # all is cleared up to then


def test_a_shorter_time_clears_away_what_a_longer_one_had_kept(clickhouse: ClickHouse, writer: Writer) -> None:
    for value in (1, 2):
        writer.flush([collected(values=[value])])
    age(clickhouse, -timedelta(minutes=1))  # after the tables were made
    with clickhouse.session() as client:
        only_of(client, "performance")
        later = datetime.now(UTC) + timedelta(hours=3)
        assert superseded_batches.clear(client, Retention(timedelta(hours=5)), later) == {}
        assert superseded_batches.clear(client, Retention(timedelta(hours=2)), later) == {"performance": 1}
    assert seen_values(clickhouse) == [2]
    assert rows_of(clickhouse, "performance_metrics") == 1


def test_a_killed_night_is_done_again(clickhouse: ClickHouse, writer: Writer) -> None:
    for value in (1, 2):
        writer.flush([collected(values=[value])])
    later = datetime.now(UTC) + 2 * DAY
    with clickhouse.session() as client:
        only_of(client, "performance")
        assert superseded_batches.clear(client, Retention(), later) == {"performance": 1}
        client.command("DELETE FROM superseded_cleared WHERE dataset = 'performance'")  # as if it had not come to that
        assert superseded_batches.clear(client, Retention(), later) == {}
    assert rows_of(clickhouse, "performance_metrics") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("48", {"cost": 48, "cost_billed": 48, "application": 48, "cost_daily": 1 / 6}),
        ("cost=168,24", {"cost": 168, "cost_summary": 168, "application": 24, "cost_daily": 1 / 6}),
        ("cost_billed=720", {"cost": 168, "cost_billed": 720, "resource": 24}),
        ("rollups=24, cost_daily=0.5", {"cost_days": 24, "cost_daily": 0.5, "performance_hourly": 24}),
        ("0", {"cost": 1 / 6, "resource": 1 / 6}),
    ],
)
def test_the_setting_is_read(text: str, expected: dict[str, float]) -> None:
    keeping = read_keeping(text)
    assert isinstance(keeping, Retention)
    hours = {name: superseded_batches.kept_for(keeping, name) / timedelta(hours=1) for name in expected}
    assert hours == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is not a number of hours"),
        ("-1", "is not a number of hours"),
        ("2161", "is not a number of hours from 0 to 2160"),
        ("cost=x", "'x' is not a number of hours"),
        ("1,2", "two numbers"),
        ("cost=1,cost=2", "cost is named twice"),
        ("costs=1", "'costs' is none of"),
        ("=1", "'' is none of"),
    ],
)
def test_what_cannot_be_kept_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_keeping(text)
