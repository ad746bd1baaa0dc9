"""Readers whose SELECT is not looked at where a table has no rows: there it would give none."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.reader_writer import _has_nothing, compute
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.storage.test_application_readers import interaction, publish, sample
from tests.support.bills import charge, estimates, publish_bill
from tests.support.engines import empty
from tests.support.samples import collected, resource
from tests.support.spine import newest_window

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.sql import Reader

QUICK = [reader for reader in readers().values() if reader.empty_without]
ROLLUPS = [("performance", "hourly"), ("performance", "daily"), ("cost", "daily"), ("cost", "days")]


@pytest.fixture
def world(open_engine: ClickHouse) -> Iterator[tuple[Client, datetime]]:
    """A customer of whom every family was collected, with the rollups of the day; and the window."""
    window = newest_window()
    day = (window - timedelta(days=20)).date()  # whose bill has settled
    rows = resource_rows("acme", "aws", window, [resource("web-1")], window)
    Writer(open_engine, schema.RESOURCE).flush([SliceResult("acme", "aws", [window], SliceStatus.OK, rows=rows)])
    Writer(open_engine, schema.PERFORMANCE).flush([collected("acme", [window], names=["web-1"])])
    Writer(open_engine, schema.COST).flush([estimates("acme", window, {"web-1": "0.25"}, account="1")])
    publish_bill(
        open_engine, [day], [charge(day, "5.10", account="1", resource_id="web-1")], customer="acme", read=["1"]
    )
    publish(
        open_engine,
        [
            *interaction(1, {"coherence": "good"}, window, application_id="chat"),
            sample(10, window, application_id="chat"),
        ],
    )
    for name in ROLLUPS:
        compute(open_engine, readers()[name], [window])
    with open_engine.session() as client:
        yield client, window
        empty(client)


def rows_of(client: Client, reader: Reader, window: datetime) -> int:
    """How many rows the SELECT gives."""
    at = {"window": windows.floor_to(reader.length, window).strftime("%Y-%m-%d %H:%M:%S")}
    ((count,),) = client.query(f"SELECT count() FROM ({reader.select})", parameters=at).result_rows  # noqa: S608
    return int(count)


def test_what_a_reader_is_empty_without_it_gives_no_rows_without(world: tuple[Client, datetime]) -> None:
    """All else has rows; of some readers the SELECT gives rows before."""
    client, window = world
    assert not [reader.file for reader in QUICK if _has_nothing(client, reader, window)]
    told = [("cost", "summary"), ("cost", "by_resource"), ("application", "summary")]
    assert all(rows_of(client, readers()[name], window) for name in told)

    for tables in {reader.empty_without for reader in QUICK}:
        for table in tables:
            client.command(f"CREATE TABLE kept_{table} AS {table}")
            client.command(f"EXCHANGE TABLES kept_{table} AND {table}")
        for reader in QUICK:
            if reader.empty_without == tables:
                assert _has_nothing(client, reader, window), reader.file
                assert rows_of(client, reader, window) == 0, reader.file
            elif not set(reader.empty_without) & set(tables):
                assert not _has_nothing(client, reader, window), reader.file
        for table in tables:
            client.command(f"EXCHANGE TABLES kept_{table} AND {table}")
            client.command(f"DROP TABLE kept_{table} SYNC")


def test_a_row_of_any_time_has_the_cost_readers_look(clickhouse: ClickHouse) -> None:
    """A bill that arrives for days of months ago counts: they compare months."""
    window, reader = newest_window(), readers()["cost", "outlook"]
    with clickhouse.session() as client:
        assert _has_nothing(client, reader, window)
        day = (window - timedelta(days=70)).date()
        publish_bill(clickhouse, [day], [charge(day, "5.10", account="1")], customer="acme", read=["1"])
        assert not _has_nothing(client, reader, window)
