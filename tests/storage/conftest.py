"""A migrated place of each transport, with empty tables, cheap enough for every test to have its own."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.storage import migrations
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.support.engines import copy_migrated, kept_open, migrated_engine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from tests.support.clickhouse_http import ClickHouseHttp


@pytest.fixture(scope="session")
def migrated_folder() -> Path:
    """The folder of an embedded engine whose tables are up to date, to be copied."""
    return migrated_engine()


@pytest.fixture(scope="session")
def migrated_database(clickhouse_http: ClickHouseHttp) -> str:
    """The URL of a database on the test server, brought up to date as `optiinfra migrate` does."""
    url = clickhouse_http.url(f"storage_{uuid.uuid4().hex[:12]}")
    with ClickHouse(url).session(migrated=False) as client:
        migrations.migrate(client)
    return url


@pytest.fixture
def chdb_url(tmp_path: Path) -> str:
    """An embedded place of the test's own."""
    return f"chdb://{copy_migrated(tmp_path / 'clickhouse')}"


@pytest.fixture
def http_url(migrated_database: str, clickhouse_http: ClickHouseHttp) -> Iterator[str]:
    """A database on the test server, without rows and faults."""
    clickhouse_http.reset()
    yield migrated_database
    clickhouse_http.reset()
    with ClickHouse(migrated_database).session() as client:
        _empty(client)


def _empty(client: Client) -> None:
    """Remove every row of the tables."""
    used = client.query(
        "SELECT name FROM system.tables WHERE database = currentDatabase() AND total_rows > 0 "
        "AND name != 'schema_migrations'"
    )
    for (table,) in used.result_rows:
        client.command(f"TRUNCATE TABLE {table}")


@pytest.fixture(params=["chdb", "http"])
def url(request: pytest.FixtureRequest) -> str:
    """A migrated place of each transport in turn."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


@pytest.fixture(scope="session")
def open_engine(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    """An embedded engine that stays open from test to test, and makes way when a test opens one of its own."""
    return kept_open(tmp_path_factory.mktemp("open") / "clickhouse")


@pytest.fixture(params=["chdb", "http"])
def clickhouse(request: pytest.FixtureRequest) -> Iterator[ClickHouse]:
    """The same without rows, as what the package takes; not opened anew for each test, which takes half a CPU-s."""
    if request.param == "http":
        with (clickhouse := ClickHouse(request.getfixturevalue("http_url"))).session():
            yield clickhouse
        return
    clickhouse = request.getfixturevalue("open_engine")
    with clickhouse.session() as client:
        yield clickhouse
        _empty(client)
