"""Who may do what: each process with the rights of its role and no more, who may only read, and a customer's own people."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.storage import access, migrations
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.engines import copy_migrated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouseHttp]:
    """A server with access control and every table of the project."""
    folder = copy_migrated(tmp_path_factory.mktemp("access") / "engine")
    with ClickHouseHttp(folder, access="lenient") as started:
        yield started


def administer(server: ClickHouseHttp, *statements: str) -> None:
    """Run statements as the administrator."""
    with ClickHouse(server.url()).session(migrated=False) as client:
        for statement in statements:
            client.command(statement)


def test_x(server):
    administer(
        server,
        "CREATE USER `r` IDENTIFIED BY 'pw' SETTINGS readonly = 1",
        *access.of_process("reader", "optiinfra_metrics", "r"),
    )
    c = ClickHouse(server.url(user="r", password="pw"))
    with c.session() as client:
        assert client.query("SELECT count() FROM metric_batches").result_rows == [(0,)]
    print(server.statements()[-5:])
