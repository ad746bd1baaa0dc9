"""A spine whose ledger a test writes row by row, and a Dagster instance of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.test_utils import create_run_for_test

from optiinfra_dagster.automation.readers_sensor import READER_TABLES, TRENDS_TABLE
from optiinfra_dagster.model import windows
from optiinfra_dagster.storage.sql import readers
from tests.support import postgres
from tests.support.spine import ACCOUNTS, LAG, Spine

COLUMNS = [
    "dataset", "customer_id", "provider", "window_start", "batch", "rows", "content_hash", "status", "permanent",
    "error", "api_calls", "api_cost_usd", "run_id", "published_at",
]  # fmt: skip

# A moment after the schedule's turn for `W0`, the newest window. Runs are created at the real time: about two hours
# before, so that the delays after their failures are over.
NOW = windows.floor(datetime.now(UTC)) + timedelta(hours=2) + LAG + timedelta(minutes=1)
W0 = windows.newest_collectable(NOW, LAG)


def before(count: int) -> datetime:
    """The window that many before the newest."""
    return W0 - count * windows.WINDOW


class Ledger:
    """Writes what attempts would have written; each is of a run of its own, at `NOW` unless `at` says otherwise."""

    def __init__(self, spine: Spine) -> None:
        self._spine = spine
        self._attempts = 0
        self._held: list[list[Any]] | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Write what is added meanwhile in one go: an INSERT takes 25 ms."""
        if self._held is not None:
            yield
            return
        self._held = []
        yield
        rows, self._held = self._held, None
        self._write(rows)

    def _write(self, rows: list[list[Any]]) -> None:
        if self._held is not None:
            self._held += rows
        elif rows:
            with self._spine.clickhouse.session() as client:
                client.insert("metric_batches", rows, column_names=COLUMNS)

    def add(
        self,
        family: str,
        asked: Sequence[datetime],
        status: str = "ok",
        *,
        customers: Sequence[str] = tuple(ACCOUNTS),
        at: datetime = NOW,
        error: str = "",
        permanent: bool = False,
        run_id: str | None = None,
        batch: int | None = None,
        provider: str = "aws",
    ) -> int:
        """One attempt at the windows for the customers; returns its batch."""
        self._attempts += 1
        batch = batch or int(at.timestamp()) * 10**9 + self._attempts
        if family in {f"{family}_{name}" for family, name in readers()}:
            customers, provider = ("",), ""
        rows: list[list[Any]] = [
            [
                family, customer, provider, window, batch, 1, 1, status, permanent, error, 1, 0,
                run_id or str(self._attempts), at,
            ]
            for customer in customers
            for window in asked
        ]  # fmt: skip
        self._write(rows)
        return batch

    def collected(self, *asked: datetime) -> None:
        """Both families of every customer, published."""
        with self.together():
            self.add("resource", asked)
            self.add("performance", asked)

    def readers(self, *asked: datetime) -> None:
        """Every reader, computed now."""
        with self.together():
            for table in READER_TABLES:
                self.add(table, asked)
            self.rollups(*asked)

    def rollups(self, *asked: datetime, trends: bool = True, at: datetime = NOW) -> None:
        """The rollups of the windows' hours and days, and the trends of those hours."""
        hours = sorted({windows.floor_to(timedelta(hours=1), w) for w in asked})
        days = sorted({windows.floor_to(timedelta(days=1), w) for w in asked})
        with self.together():
            self.add("performance_hourly", hours, at=at)
            self.add("performance_daily", days, at=at)
            if trends:
                self.add(TRENDS_TABLE, hours, at=at)


@pytest.fixture(scope="module")
def shared_spine(tmp_path_factory: pytest.TempPathFactory) -> Spine:
    """A spine with its tables, which take a second to make, for the tests of one file."""
    return Spine.at(tmp_path_factory.mktemp("automation") / "home")


@pytest.fixture
def spine(shared_spine: Spine) -> Spine:
    """A spine with an empty ledger and the three customers; nothing listens at their endpoint."""
    made = replace(shared_spine, extra={})
    made.write_customers("http://127.0.0.1:9", families=["resource", "performance"])
    with shared_spine.clickhouse.session() as client:
        client.command("TRUNCATE TABLE metric_batches")
    return made


@pytest.fixture
def ledger(spine: Spine) -> Ledger:
    """The ledger of the spine, empty."""
    return Ledger(spine)


@pytest.fixture(scope="session")
def server() -> Iterator[postgres.PostgreSQL]:
    """A PostgreSQL for the tests of this process."""
    if not postgres.programs():
        pytest.skip(postgres.REASON)
    with postgres.running() as started:
        yield started


@pytest.fixture(params=["memory", "postgres"])
def instance(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance of the test's own: in memory, and as in production in PostgreSQL."""
    if request.param == "memory":
        with dg.DagsterInstance.ephemeral() as made:
            yield made
    else:
        url = request.getfixturevalue("server").new_database()
        storage = {"storage": {"postgres": {"postgres_url": url}}}
        home = tmp_path / "dagster"
        home.mkdir()
        with dg.DagsterInstance.local_temp(str(home), overrides=storage) as made:
            yield made


def start_run(instance: dg.DagsterInstance, job: str, **fields: Any) -> dg.DagsterRun:
    """A run of `job` in the storage that nobody executes, started unless `status` says otherwise."""
    fields.setdefault("status", dg.DagsterRunStatus.STARTED)
    run: dg.DagsterRun = create_run_for_test(instance, job_name=job, **fields)
    if run.status is dg.DagsterRunStatus.STARTED:
        instance.report_engine_event("It works.", run)
    return run


def queue_run(instance: dg.DagsterInstance, job: str, tags: dict[str, str]) -> dg.DagsterRun:
    """A run of `job` that waits in the queue."""
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("optiinfra"), "__repository__")
    run: dg.DagsterRun = create_run_for_test(
        instance,
        job_name=job,
        tags=tags,
        status=dg.DagsterRunStatus.QUEUED,
        remote_job_origin=RemoteJobOrigin(origin, job),
    )
    return run
