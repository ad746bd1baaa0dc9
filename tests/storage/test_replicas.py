"""Several replicas behind one URL: whatever lags, no slice is lost, doubled, or taken for empty.

The replicas are a model (`tests/support/replicas.py`): what one of them got reaches the others when somebody waits for
it, and otherwise never.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.storage import schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.writer import Writer
from tests.support.replicas import Replicas
from tests.support.samples import collected, ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

QUARTER = timedelta(minutes=15)
READER = "performance_summary"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    with Replicas(tmp_path_factory.mktemp("replicas")) as replicas:
        yield replicas


@pytest.fixture
def replicas(running: Replicas) -> Iterator[Replicas]:
    yield running
    running.settle()
    with ClickHouse(running.url(via=0)).session() as client:
        for table in ("metric_batches", "performance_metrics", READER):
            client.command(f"TRUNCATE TABLE {table}")
    running.settle()


def test_first(replicas: Replicas) -> None:
    Writer(ClickHouse(replicas.url()), schema.PERFORMANCE).flush([collected()])
    assert [len(ledger(ClickHouse(replicas.url(via=i)))) for i in (0, 1)] == [1, 1]
