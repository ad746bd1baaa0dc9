"""Reading as of a time: what was read then, or a refusal that names the oldest time."""
# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import csv
import re
import sys
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.cli import export, report
from optiinfra_dagster.config.retention import Retention
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import ConfigError, LostError, StorageError, UsageError
from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.model.text import ago
from optiinfra_dagster.storage import as_of_views, erasure, migrations, reader_tables, schema, superseded_batches
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.focus import VERSIONS
from optiinfra_dagster.storage.reader_writer import write_select
from optiinfra_dagster.storage.readers import columns, sources
from optiinfra_dagster.storage.reading import Query, as_records, read_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.topology import SINGLE
from optiinfra_dagster.storage.writer import Writer
from tests.conftest import LONG
from tests.storage.test_superseded_batches import only_of
from tests.support.bills import charge, publish_bill
from tests.support.engines import empty
from tests.support.samples import age, collected, failed
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from optiinfra_dagster.storage.reading import Result

CUSTOMERS = """
customers:
  - id: acme
    name: Acme
    aws: [{account_id: "111111111111", role_arn: "arn:aws:iam::111111111111:role/r"}]
"""
NEWEST = newest_window()
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


@dataclass
class World:
    """What a test has put into a place, whose past can be moved back."""

    spine: Spine
    moved: timedelta = timedelta(0)

    def read(self, family: str, reader: str, **more: Any) -> Result[list[dict[str, Any]]]:
        return read_rows(self.spine.clickhouse, self.spine.settings, Query(family, reader, "acme", **more), as_records)

    def writer(self, dataset: schema.Dataset) -> Writer:
        return Writer(self.spine.clickhouse, dataset)

    def mark(self, by: timedelta = HOUR) -> datetime:
        """Let time pass; gives a time in it, of before all that comes later, as it was moved up to now."""
        age(self.spine.clickhouse, by)
        self.moved += by
        return datetime.now(UTC) - by / 2 + self.moved

    def at(self, marked: datetime) -> str:
        return f"{marked - self.moved:%Y-%m-%dT%H:%M:%S.%fZ}"

    def default_rows(self, table: str, count: int, start: datetime) -> None:
        """A slice of a reader with so many rows of default values, of acme."""
        with self.spine.clickhouse.session() as client:
            types = columns(client, table)
        values = {
            name: f"defaultValueOfTypeName('{kind.replace(chr(39), chr(92) + chr(39))}')"
            for name, kind in types.items()
            if name not in {"window_start", "batch"}
        }
        values["customer_id"] = "'acme'"
        if "provider" in values:
            values["provider"] = "'aws'"
        listed = ", ".join(f"{value} AS `{name}`" for name, value in values.items())
        write_select(self.spine.clickhouse, table, f"SELECT {listed} FROM numbers({count})", [start])


def made(folder: Path) -> Spine:
    """A place whose tables were made a month ago: superseded batches of before that are not looked for."""
    spine = Spine.at(folder / "home")
    spine.clickhouse = ClickHouse(spine.clickhouse.place, linger=3_600)
    spine.settings.customers_path.write_text(CUSTOMERS)
    with spine.clickhouse.session() as client:
        client.command(
            "ALTER TABLE schema_migrations UPDATE applied_at = applied_at - INTERVAL 30 DAY WHERE 1 "
            "SETTINGS mutations_sync = 2"
        )
    return spine


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Spine:
    """The place of all worlds, each of which leaves it empty."""
    return made(tmp_path_factory.mktemp("as_of"))


@contextmanager
def opened(spine: Spine) -> Iterator[World]:
    """A world without rows."""
    with spine.clickhouse.session() as client:
        yield World(spine)
        empty(client)


@pytest.fixture
def world(spine: Spine) -> Iterator[World]:
    with opened(spine) as world:
        yield world


def test_every_reader_shows_what_it_showed_at_the_time(world: World) -> None:
    tables = {source.reader.table: source for source in all_sources().values() if source.reader}
    starts = {table: int(windows.floor_to(source.length, NEWEST).timestamp()) for table, source in tables.items()}
    time = datetime.now(UTC) - timedelta(days=1)
    with world.spine.clickhouse.session() as client:
        for table, start in starts.items():
            client.command(
                f"INSERT INTO {table} (window_start, batch, customer_id) "
                f"SELECT fromUnixTimestamp({start}), arrayJoin([1, 2, 2]), 'acme'"
            )
        for batch, minutes in ((1, -1), (2, 1)):
            client.command(
                "INSERT INTO metric_batches (dataset, window_start, batch, rows, status, published_at) "
                f"SELECT pair.1, fromUnixTimestamp(pair.2), {batch}, {batch}, 'ok', "
                f"toDateTime64({int(time.timestamp())} + 60 * {minutes}, 3, 'UTC') "
                f"FROM (SELECT arrayJoin({list(starts.items())}) AS pair)"
            )
        counting = [f"SELECT count() FROM {as_of_views.call(source.view)}" for source in tables.values()]
        # All of them once, since the engine takes its time over so many views.
        for at, count, sqls in ((0, 1, counting), (-2, 0, counting[:1]), (2, 2, counting[:1])):
            parameters = {"as_of": as_of_views.text(time + at * MINUTE)}
            found = client.query(" UNION ALL ".join(sqls), parameters=parameters).result_rows
            assert found == [(count,)] * len(sqls)


def test_every_other_source_answers_as_of_a_time_or_says_why_not(world: World) -> None:
    for dataset in (schema.PERFORMANCE, schema.RESOURCE, schema.COST, schema.APPLICATION):
        world.writer(dataset).flush([failed(span=[NEWEST], status=SliceStatus.OK)])
    time = world.at(world.mark())
    for key in [key for key, source in all_sources().items() if not source.reader and key[1] != "timeline"]:
        assert world.read(*key, as_of=time).rows == []
    with pytest.raises(UsageError, match="resource timeline tells what is known now"):
        world.read("resource", "timeline", resource_id="i-1", as_of=time)


def all_sources() -> dict[tuple[str, str], Any]:
    return {(family, name): source for family, of_family in sources().items() for name, source in of_family.items()}


def values(world: World, time: str) -> list[float]:
    return [row["metric_value"] for row in world.read("performance", "metrics", as_of=time).rows or []]


def test_what_is_not_kept_is_refused_with_the_oldest_time(world: World) -> None:
    writer = world.writer(schema.PERFORMANCE)
    writer.flush([collected(span=[NEWEST], values=[1])])
    first = world.mark()
    writer.flush([collected(span=[NEWEST], values=[2])])
    second = world.mark()
    writer.flush([collected(span=[NEWEST], values=[3])])
    assert values(world, world.at(first)) == [1]

    with world.spine.clickhouse.session() as client:
        only_of(client, "performance")
        assert superseded_batches.clear(client, Retention(HOUR * 0.75), datetime.now(UTC)) == {"performance": 1}

    message = r"performance metrics of acme cannot be read as of .*: rows that were known then are gone, of windows "
    with pytest.raises(StorageError, match=message) as refused:
        world.read("performance", "metrics", as_of=world.at(first))
    oldest = re.search(r"The oldest time is (\S+);", str(refused.value))
    assert oldest
    for time in (oldest[1], world.at(second)):
        assert values(world, time) == [2]
    before = datetime.fromisoformat(oldest[1]) - timedelta(seconds=2)
    with pytest.raises(StorageError, match="are gone"):
        world.read("performance", "metrics", as_of=f"{before:%Y-%m-%dT%H:%M:%SZ}")


def test_a_rollup_of_a_day_is_kept_for_minutes_and_refused_before(world: World) -> None:
    day = windows.floor_to(timedelta(days=1), NEWEST)
    world.writer(schema.COST).flush([failed(span=[NEWEST], status=SliceStatus.OK)])
    marks = []
    for count in (1, 2, 3, 4):
        world.default_rows("cost_days", count, day)
        marks.append(world.mark(15 * MINUTE))

    with pytest.raises(StorageError, match=r"cost days of acme cannot be read as of .*The oldest time is "):
        world.read("cost", "days", as_of=world.at(marks[0]))
    assert len(world.read("cost", "days", as_of=world.at(marks[2])).rows or []) == 3
    assert len(world.read("cost", "days", as_of=world.at(marks[3])).rows or []) == 4


def test_nothing_was_known_before_the_first_collection(world: World) -> None:
    before = f"{datetime.now(UTC) - HOUR:%Y-%m-%dT%H:%M:%SZ}"
    world.writer(schema.PERFORMANCE).flush([collected(span=[NEWEST])])

    found = world.read("performance", "metrics", as_of=before)
    assert found.rows is None
    assert found.note == (
        f"No performance was collected yet for acme by {before}: nothing was tried by then. Leave out --as-of, or name "
        "a later time."
    )
    with pytest.raises(UsageError, match=r"--as-of 2100-01-01T00:00Z is in the future; it is "):
        world.read("performance", "metrics", as_of="2100-01-01T00:00Z")


def test_lateness_is_that_of_the_time(world: World) -> None:
    writer = world.writer(schema.PERFORMANCE)
    writer.flush([collected(span=[NEWEST - 5 * HOUR])])
    late = world.mark(MINUTE)
    writer.flush([collected(span=[NEWEST])])
    writer.flush([failed(span=[NEWEST + windows.WINDOW])])

    time = world.at(late)
    old = NEWEST - 5 * HOUR
    assert world.read("performance", "metrics", as_of=time).warnings == [
        f"As of {time}, aws: its newest window is {windows.key(old)}, {ago(datetime.fromisoformat(time) - old)} ago."
    ]


def test_bills_are_those_of_the_time(world: World) -> None:
    day = (NEWEST - timedelta(days=20)).date()
    world.writer(schema.COST).flush([failed(span=[NEWEST], status=SliceStatus.OK)])
    range_ = {"from_": f"{day}T00:00Z", "to": f"{day + timedelta(days=1)}T00:00Z"}
    publish_bill(world.spine.clickhouse, [day], [charge(day, "5")])
    first = world.mark()
    publish_bill(world.spine.clickhouse, [day], [charge(day, "7")])
    second = world.mark()

    for marked, amount, restated in ((first, 5, 0), (second, 7, 1)):
        [row] = world.read("cost", "metrics", as_of=world.at(marked), **range_).rows or []
        assert row["amount"] == amount
        assert len(world.read("cost", "restatements", as_of=world.at(marked)).rows or []) == restated


def test_an_export_of_bills_is_of_what_was_known_at_the_time(world: World, tmp_path: Path) -> None:
    day = (NEWEST - timedelta(days=20)).date()
    out = tmp_path / "costs.csv"

    def exported(time: str | None, version: str = "1.2") -> list[str]:
        request = export.Request(
            "acme", f"{day}", f"{day + timedelta(days=1)}", version, "csv", out, provider="aws", as_of=time
        )
        said = export.export_focus(world.spine.clickhouse, world.spine.settings, request).said
        assert (f", as of {time}, in " in said) == (time is not None)
        with out.open(newline="") as lines:
            return sorted(row["BilledCost"] for row in csv.DictReader(lines))

    before = world.mark()
    publish_bill(world.spine.clickhouse, [day], [charge(day, "5")], read=["payer"])
    first = world.mark()
    publish_bill(world.spine.clickhouse, [day], [charge(day, "7"), charge(day, "1", "EBS")], read=["payer"])
    second = world.mark()
    for version in VERSIONS:
        assert exported(world.at(first), version) == ["5"]
        assert exported(world.at(second), version) == exported(None, version) == ["1", "7"]
    with pytest.raises(ConfigError, match=r"No bill of acme on aws had settled by .* ask for a later time\.$"):
        exported(world.at(before))
    with pytest.raises(UsageError, match=r"--as-of 2100-01-01T00:00Z is in the future"):
        exported("2100-01-01T00:00Z")

    with world.spine.clickhouse.session() as client:
        only_of(client, "cost_billed")
        assert superseded_batches.clear(client, Retention(HOUR * 0.5, {}), datetime.now(UTC)) == {"cost_billed": 1}
    with pytest.raises(LostError, match=r"^What was billed of acme cannot be read as of .* The oldest time is "):
        exported(world.at(first))
    assert [path.name for path in tmp_path.iterdir()] == ["costs.csv"]
    assert '"7' in out.read_text() or ",7," in out.read_text()  # what was there before, as it was
    assert exported(world.at(second)) == ["1", "7"]


def test_a_report_is_of_what_was_known_at_the_time_and_names_what_is_not_kept(world: World, tmp_path: Path) -> None:
    out = tmp_path / "report.html"

    def written(time: str | None) -> str:
        report.write_report(world.spine.clickhouse, world.spine.settings, "acme", out, time)
        return out.read_text()

    before = world.mark()
    for dataset in (schema.COST, schema.RESOURCE):
        world.writer(dataset).flush([failed(span=[NEWEST], status=SliceStatus.OK)])
    publish = [("resource_changes", 1), ("cost_commitments", 0), ("cost_waste", 0)]
    for table, count in publish:
        world.default_rows(readers()[tuple(table.split("_", 1))].table, count, NEWEST)  # type: ignore[index]
    first = world.mark()
    world.default_rows("resource_changes", 3, NEWEST)
    world.writer(schema.COST).flush([failed(span=[NEWEST])])
    second = world.mark()

    for time, changes, stand in ((world.at(first), 1, "2 of 2"), (world.at(second), 3, "1 of 2"), (None, 3, "1 of 2")):
        html = written(time)
        assert (f"What was known at {time}" in html) == (time is not None)
        assert ("What was known of metrics at that time is not kept" in html) == (time is not None)
        section = html.partition('<section id="changes">')[2].partition("</section>")[0]
        assert section.count("<tr>") == changes + 1  # with the headings
        assert f"collections that stand<b>{stand}</b>" in html
    with pytest.raises(StorageError, match=r"Nothing was collected yet for acme by 20.*: nothing was tried by then"):
        written(world.at(before))

    with world.spine.clickhouse.session() as client:
        only_of(client, "resource_changes")
        assert superseded_batches.clear(client, Retention(HOUR * 0.5), datetime.now(UTC)) == {"resource_changes": 1}
    assert "resource changes of acme cannot be read as of" in written(world.at(first))


def test_an_erased_customer_takes_no_other_customers_past_along(world: World) -> None:
    writer = world.writer(schema.RESOURCE)
    writer.flush([failed("acme", [NEWEST], status=SliceStatus.OK), failed("hooli", [NEWEST], status=SliceStatus.OK)])
    select = """
    SELECT id AS customer_id, 'aws' AS provider, 'compute' AS resource_type, '' AS kind, 1 AS resources, 1 AS running,
        0 AS stopped, 0 AS other, 1 AS regions, NULL AS capacity, '' AS unit, {window:DateTime('UTC')} AS as_of,
        true AS complete
    FROM values('id String', 'acme', 'hooli')
    """
    write_select(world.spine.clickhouse, "resource_by_type", select, [NEWEST])
    marked = world.mark()
    nothing = f"SELECT * FROM ({select}) WHERE customer_id = ''"
    write_select(world.spine.clickhouse, "resource_by_type", nothing, [NEWEST])
    with world.spine.clickhouse.session() as client:
        erasure.erase(client, "hooli")

    assert len(world.read("resource", "by_type", as_of=world.at(marked)).rows or []) == 1


def test_before_an_upgrade_that_changed_a_reader_is_refused(tmp_path: Path) -> None:
    world = World(made(tmp_path))
    reader = readers()["cost", "summary"]
    before = replace(reader, version="0123abcd")
    world.writer(schema.COST).flush([failed(span=[NEWEST], status=SliceStatus.OK)])
    with world.spine.clickhouse.session() as client:
        client.command(f"CREATE TABLE {before.table} AS {reader.table}")
        client.command(
            f"CREATE OR REPLACE VIEW {reader.view} AS SELECT t.* EXCEPT (batch) FROM {before.table} AS t "
            f"LEFT SEMI JOIN (SELECT window_start, batch FROM published_batches "
            f"WHERE dataset = '{before.table}') AS b USING (window_start, batch)"
        )
        as_of_views.derive(client, SINGLE)
    world.default_rows(before.table, 2, NEWEST)
    old = world.mark()
    assert len(world.read("cost", "summary", as_of=world.at(old)).rows or []) == 2
    world.default_rows(reader.table, 3, NEWEST)
    with world.spine.clickhouse.session() as client:
        client.command(f"DROP TABLE {before.table}")
        client.command(f"CREATE TABLE {before.table} AS {reader.table}")  # made before, by the clock of its metadata
        client.command(reader_tables._view(reader, "CREATE OR REPLACE VIEW"))
        as_of_views.derive(client, SINGLE)
    new = world.mark()

    with pytest.raises(StorageError, match=r"computed otherwise at .*, by an earlier version, .*; the oldest time is "):
        world.read("cost", "summary", as_of=world.at(old))
    assert len(world.read("cost", "summary", as_of=world.at(new)).rows or []) == 3


STEPS = st.one_of(
    st.tuples(
        st.just("collect"),
        st.integers(0, 3),
        st.sampled_from([SliceStatus.OK, SliceStatus.PARTIAL, SliceStatus.FAILED]),
        st.integers(0, 1),
    ),
    st.tuples(st.just("compute"), st.integers(0, 2)),
    st.tuples(st.just("rollup"), st.integers(1, 2)),
    st.tuples(st.just("clear"), st.integers(0, 40)),
)
SOURCES = [("performance", "metrics"), ("performance", "latest"), ("performance", "hourly")]


# Each step, and how many hours pass after it. What the last one clears away was superseded 25 hours before it.
HISTORY: list[tuple[Any, int]] = [
    (("collect", 2, SliceStatus.OK, 0), 2),
    (("compute", 1), 1),
    (("rollup", 1), 1),
    (("collect", 3, SliceStatus.OK, 0), 25),
    (("clear", 20), 1),
]


def test_as_of_any_time_is_what_was_read_then_or_a_refusal(spine: Spine) -> None:
    """Of one history, in which three readings must be refused."""
    assert _refused_of_history(spine, HISTORY) == 3  # `metrics` before the second collection


@settings(max_examples=100 if LONG else 4, deadline=None)
@given(steps=st.lists(st.tuples(STEPS, st.integers(1, 30)), min_size=3, max_size=14 if LONG else 5))
def test_as_of_any_time_of_drawn_histories(spine: Spine, steps: list[tuple[Any, int]]) -> None:
    _refused_of_history(spine, steps)


def _refused_of_history(spine: Spine, steps: list[tuple[Any, int]]) -> int:
    """Have a history, and read all sources as of each time in it; how many of these readings were refused."""
    refusals = 0
    hour = windows.floor_to(HOUR, NEWEST)
    answers: list[tuple[datetime, dict[tuple[str, str], Any]]] = []
    with opened(spine) as world, world.spine.clickhouse.session() as client:
        only_of(client, "performance", *(readers()[source].table for source in SOURCES[1:]))
        for step, hours in steps:
            match step:
                case "collect", count, status, back:
                    points = {"values": range(count)} if count else {"rows": None}
                    attempt = collected(span=[NEWEST - back * windows.WINDOW], status=status, **points)
                    if status is SliceStatus.FAILED:
                        attempt = failed(span=[NEWEST - back * windows.WINDOW])
                    world.writer(schema.PERFORMANCE).flush([attempt])
                case "compute", count:
                    world.default_rows("performance_latest", count, NEWEST)
                case "rollup", count:
                    world.default_rows("performance_hourly", count, hour)
                case "clear", keep:
                    superseded_batches.clear(client, Retention(timedelta(hours=keep)), datetime.now(UTC))
            told = {key: world.read(*key).rows for key in SOURCES}
            answers.append((world.mark(timedelta(hours=hours)), told))
        for marked, told in answers:
            for key, rows in told.items():
                try:
                    assert world.read(*key, as_of=world.at(marked)).rows == rows
                except StorageError as refused:
                    oldest = re.search(r"The oldest time is (\S+);", str(refused))
                    assert oldest
                    assert datetime.fromisoformat(oldest[1]) > marked - world.moved
                    world.read(*key, as_of=oldest[1])
                    refusals += 1
    return refusals


def test_a_kill_before_the_views_of_a_time_are_made_is_made_good(
    chdb_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last migration is recorded when they are there, so the next session goes on with it."""
    last = migrations.load()[-1].name
    with ClickHouse(chdb_url).session() as client:
        client.command(f"DELETE FROM schema_migrations WHERE name = '{last}'")
        client.command("DROP VIEW costs_as_of")
    with monkeypatch.context() as patched:
        patched.setattr(as_of_views, "derive", lambda *_: sys.exit("killed"))
        with pytest.raises(SystemExit), ClickHouse(chdb_url).session():
            pass
    with ClickHouse(chdb_url).session() as client:
        assert client.command("EXISTS VIEW costs_as_of")
        assert dict(migrations.status(client))[migrations.load()[-1]]
