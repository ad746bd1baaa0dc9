"""A migrated place of each transport, with empty tables, cheap enough for every test to have its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.support.engines import SERVED, copy_migrated, empty

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.clickhouse_http import ClickHouseHttp


@pytest.fixture
def chdb_url(tmp_path: Path) -> str:
    """An embedded place of the test's own."""
    return f"chdb://{copy_migrated(tmp_path / 'clickhouse')}"


@pytest.fixture
def http_url(clickhouse_http: ClickHouseHttp) -> Iterator[str]:
    """A database on the test server, without rows and faults."""
    url = clickhouse_http.url(SERVED)
    clickhouse_http.reset()
    yield url
    clickhouse_http.reset()
    with ClickHouse(url).session() as client:
        empty(client)


@pytest.fixture(params=["chdb", "http"])
def url(request: pytest.FixtureRequest) -> str:
    """A migrated place of each transport in turn."""
    found: str = request.getfixturevalue(f"{request.param}_url")
    return found


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
        empty(client)
