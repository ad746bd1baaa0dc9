"""A customer's role reads the rows of that customer, whatever is asked, and keeps nobody else from anything."""
# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.cli.access import grant_customer
from optiinfra_dagster.storage import access
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.sql import readers
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.engines import copy_migrated
from tests.support.spine import Spine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.settings import Settings

DATABASE = "optiinfra_metrics"
BATCH = 7
SECRET = "of-globex"  # in every text of the other customer


def administrator(server: ClickHouseHttp) -> ClickHouse:
    return ClickHouse(server.url(DATABASE))


def of(server: ClickHouseHttp, user: str) -> ClickHouse:
    """The place as a user finds it."""
    return ClickHouse(server.url(DATABASE, user, ""))


def fill(client: Client) -> None:
    """A published row of acme and one of globex in every table, in whose texts stands the customer's name."""
    columns = client.query(
        "SELECT table, name, type FROM system.columns WHERE database = currentDatabase() AND table IN "
        "(SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')"
    ).result_rows
    tables: dict[str, dict[str, str]] = {}
    for table, name, kind in columns:
        tables.setdefault(table, {})[name] = kind
    for table, kinds in tables.items():
        if table == "schema_migrations":
            continue
        texts = [name for name, kind in kinds.items() if "String" in kind and "Array" not in kind and "Map" not in kind]
        rows = []
        for customer in ("acme", "globex"):
            values = {"window_start": "toStartOfDay(now())", "batch": f"{BATCH}", "charge_day": "today()"}
            values |= dict.fromkeys(texts, f"'of-{customer}'")
            values |= {"customer_id": f"'{customer}'", "provider": "'aws'", "cost_kind": "'billed'"}
            named = [name for name in values if name in kinds]
            rows.append(f"SELECT {', '.join(values[name] for name in named)}")
        client.command(f"INSERT INTO {table} ({', '.join(named)}) {' UNION ALL '.join(rows)}")
    client.command("TRUNCATE TABLE metric_batches")
    slices = [(reader.table, "", "", BATCH, "ok", "") for reader in readers().values()]
    slices.append(("cost_summary", "", "", 1, "failed", SECRET))
    for customer in ("acme", "globex"):
        datasets = ("performance", "resource", "cost", "cost_billed", "application")
        slices += [(dataset, customer, "aws", BATCH, "ok", f"of-{customer}") for dataset in datasets]
    client.command(
        "INSERT INTO metric_batches (dataset, customer_id, provider, window_start, batch, status, error, published_at) "
        f"SELECT r.1, r.2, r.3, toStartOfDay(now()), r.4, r.5, r.6, now64(3) FROM (SELECT arrayJoin({slices!r}) AS r)"
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    spine = Spine.at(home, "http://127.0.0.1:1/nothing")
    spine.write_customers("http://127.0.0.1:1", ["acme"])
    return spine.settings


def started(folder: Path, settings: Settings, kind: Any) -> Iterator[ClickHouseHttp]:
    """A server with rows of two customers, and a user of acme's role."""
    with ClickHouseHttp(copy_migrated(folder / "engine"), access=kind) as server:
        with administrator(server).session() as client:
            fill(client)
            access.run(
                client,
                [
                    "CREATE USER people",
                    "CREATE USER both",
                    "CREATE USER bob",
                    "CREATE USER writer",
                    *access.of_process("writer", DATABASE, "writer"),
                    *access.of_process("reader", DATABASE, "bob"),
                    # Of an administrator's own making: bob may read one table's rows of nobody.
                    f"CREATE ROW POLICY theirs ON {DATABASE}.coverage USING 0 AS PERMISSIVE TO `optiinfra__reader`",
                ],
            )
        for customer, user in (("acme", "people"), ("globex", "")):
            grant_customer(settings, administrator(server), customer, user, lambda _line: None, only_print=False)
        yield server


@pytest.fixture(scope="module", params=["lenient", "strict"])
def server(
    request: pytest.FixtureRequest, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ClickHouseHttp]:
    """Such a server, by what it lets users without a policy read."""
    yield from started(tmp_path_factory.mktemp("roles"), settings, request.param)


def relations(client: Client) -> dict[str, bool]:
    """Every table and view, and whether it is a table with rows of customers."""
    rows = client.query(
        "SELECT name, engine != 'View' AND name IN (SELECT table FROM system.columns WHERE name = 'customer_id' AND "
        "database = currentDatabase()) FROM system.tables WHERE database = currentDatabase()"
    ).result_rows
    return {name: bool(has) for name, has in rows}


def test_no_table_and_no_view_shows_another_customer(server: ClickHouseHttp) -> None:
    with administrator(server).session() as client:
        names = relations(client)
    shown = []
    with of(server, "people").session() as client:
        for name in names:
            parameter = "(window = toStartOfDay(now()), metrics = ['x'])" if name in PARAMETERISED else ""
            try:
                said = client.raw_query(f"SELECT * FROM {name}{parameter}", fmt="CSV").decode()
            except Exception as error:  # noqa: BLE001
                assert "ACCESS_DENIED" in str(error) or parameter, (name, error)  # noqa: PT017
                continue
            assert "globex" not in said, name
            if "acme" in said:
                shown.append(name)
    # What is asked for in vain proves nothing: of what people read there are rows.
    of_readers = {reader.view for reader in readers().values()}
    assert of_readers - set(shown) <= EMPTY
    assert {"metric_batches", "costs", "performance_metrics_current", "coverage"} <= set(shown)


def test_others_read_as_before(server: ClickHouseHttp) -> None:
    with of(server, "writer").session() as client:
        for name, has_rows in relations(client).items():
            if has_rows and name != "coverage":
                assert client.command(f"SELECT count() FROM {name}") >= 2, name
    with of(server, "bob").session() as client:
        assert client.command("SELECT count() FROM performance_metrics") == 2
        assert client.command("SELECT count() FROM coverage") == 0  # what the administrator said before


PARAMETERISED: set[str] = set()
EMPTY: set[str] = set()
