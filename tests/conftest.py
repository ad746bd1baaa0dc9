"""Fixtures that every test may use."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clickhouse_http import ClickHouseHttp

PROJECT = Path(__file__).resolve().parents[1]


def pytest_xdist_auto_num_workers() -> int:
    """Two test processes per core: much of what a test does is wait for sockets and for other processes."""
    return min(2 * (os.cpu_count() or 1), 16)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded cloud answers and public data sets beside the project; a test of them skips without it."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recorded data (../shared/data) is not on this machine")
    return folder


@pytest.fixture(scope="session")
def clickhouse_http() -> Iterator[ClickHouseHttp]:
    """A ClickHouse server, one per test process; take `clickhouse_url` too for a database of the test's own."""
    with ClickHouseHttp() as server:
        yield server


@pytest.fixture
def clickhouse_url(clickhouse_http: ClickHouseHttp) -> Iterator[str]:
    """The URL of a new, empty database on that server, without faults; both are gone after the test."""
    import clickhouse_connect

    database = f"test_{uuid.uuid4().hex[:12]}"
    with clickhouse_connect.get_client(dsn=clickhouse_http.url()) as client:
        client.command(f"CREATE DATABASE {database}")
        clickhouse_http.reset()
        yield clickhouse_http.url(database)
        clickhouse_http.reset()
        client.command(f"DROP DATABASE IF EXISTS {database} SYNC")
