"""Fixtures that every test may use."""

from __future__ import annotations

import gc
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.engines import kept_open, make_shared_folder, remove_shared_folder, served_engine

if TYPE_CHECKING:
    from optiinfra_dagster.storage.clickhouse import ClickHouse

PROJECT = Path(__file__).resolve().parents[1]

LONG = bool(os.environ.get("OPTIINFRA_LONG_TESTS"))

# The same examples every time, so that a failure is of the change; new ones are drawn on request. No deadline: how long
# an example takes tells of the machine's load.
hypothesis.settings.register_profile("optiinfra", deadline=None, derandomize=not LONG)
hypothesis.settings.load_profile("optiinfra")


def pytest_configure(config: pytest.Config) -> None:
    """Make the folder that the test processes share; it is gone when the run ends."""
    if not hasattr(config, "workerinput"):  # xdist's: a test process of a run that has made it
        folder = make_shared_folder()
        config.add_cleanup(lambda: remove_shared_folder(folder))


def pytest_collection(session: pytest.Session) -> None:
    """Collect no garbage while tests are found: of hundreds of thousands of objects hardly one is."""
    gc.disable()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Collect it again, but leave out what was made by now, which lives as long as the process."""
    gc.freeze()
    gc.enable()


def pytest_xdist_auto_num_workers() -> int:
    """Two test processes per core: much of what a test does is wait for sockets and for other processes."""
    return min(2 * (os.cpu_count() or 1), 16)


# What is computed inside ClickHouse is the same whatever carries the statements: these are tried over HTTP on request.
ENGINE_ONLY = {
    "test_application_readers", "test_bills", "test_cost_readers", "test_coverage", "test_erasure", "test_history",
    "test_focus", "test_instances", "test_kill", "test_performance_readers", "test_readers", "test_slices",
    "test_superseded_batches",
}  # fmt: skip
# Of test_bills, how a bill is written, step by step; of test_slices, where the code asks for the transport, or a server
# takes what is sent in another way.
OVER_HTTP_TOO = (
    "test_a_reading_that_is_killed_", "test_published_rows_are_seen_", "test_a_flush_is_one_insert_",
    "test_many_slices_are_replaced_", "test_customers_named_like_sql_", "test_identical_rows_are_written_again_",
    "test_windows_of_any_zone_", "test_rows_that_did_not_arrive_", "test_rows_of_a_reader_that_got_lost_",
    "test_a_slice_of_a_reader_", "test_a_reader_whose_table_feeds_", "test_a_failed_attempt_sweeps_",
)  # fmt: skip


# Alerts keep a few values in Dagster's storage; what is looked up there by time and tag is tried on PostgreSQL always.
NOT_BY_STORAGE = {"test_alerts"}

SLOWEST = {"test_cli", "test_run"}  # files; begun first, so that the others do not wait for them in the end


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless OPTIINFRA_LONG_TESTS is set: tests marked `long`, and repeats elsewhere."""
    items.sort(key=lambda item: item.path.stem not in SLOWEST)
    if LONG:
        return
    skip = pytest.mark.skip(reason="takes long: OPTIINFRA_LONG_TESTS=1 make test runs it")
    for item in items:
        over_http = isinstance(item, pytest.Function) and "[http" in item.name
        over_http = over_http and not item.name.startswith(OVER_HTTP_TOO)
        on_postgres = isinstance(item, pytest.Function) and "[postgres" in item.name
        repeated = (over_http and item.path.stem in ENGINE_ONLY) or (on_postgres and item.path.stem in NOT_BY_STORAGE)
        if item.get_closest_marker("long") or repeated:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of recorded cloud answers and public data sets beside the project; a test of them skips without it."""
    folder = PROJECT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the recorded data (../shared/data) is not on this machine")
    return folder


@pytest.fixture(scope="session")
def open_engine(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    """An embedded engine that stays open from test to test; who wrote to it empties it."""
    return kept_open(tmp_path_factory.mktemp("open") / "clickhouse")


@pytest.fixture(scope="session")
def clickhouse_http(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHttp]:
    """A ClickHouse server, one per test process; take `clickhouse_url` too for a database of the test's own."""
    folder = tmp_path_factory.mktemp("server") / "engine"
    shutil.copytree(served_engine(), folder, symlinks=True)
    with ClickHouseHttp(folder) as server:
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
