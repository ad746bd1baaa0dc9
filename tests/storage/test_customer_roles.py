"""A customer's role reads the rows of that customer, whatever is asked, and keeps nobody else from anything."""
# ruff: noqa: S608 - the statements are the tests' own

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from optiinfra_dagster.cli import main
from optiinfra_dagster.cli.grants import grant_customer, revoke_customer
from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.model.errors import ConfigError, LostError, StorageError
from optiinfra_dagster.storage import grants
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reading import Query, as_records, read_rows
from optiinfra_dagster.storage.sql import readers
from tests.conftest import LONG
from tests.storage.test_as_of import all_sources
from tests.support.clickhouse_http import ClickHouseHttp
from tests.support.engines import copy_migrated
from tests.support.replicas import Replicas
from tests.support.spine import Spine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.config.settings import Settings

DATABASE = "optiinfra_metrics"
BATCH = 7
FEW = ("performance_metrics", "cost_metrics", "coverage", "metric_batches")
SECRET = "of-globex"  # in every text of the other customer


def fill(client: Client, only: Sequence[str]) -> None:
    """A published row of acme and one of globex in the tables, by default all, their texts with the customer's name."""
    columns = client.query(
        "SELECT table, name, type FROM system.columns WHERE database = currentDatabase() AND table IN "
        "(SELECT name FROM system.tables WHERE database = currentDatabase() AND engine LIKE '%MergeTree')"
    ).result_rows
    tables: dict[str, dict[str, str]] = {}
    for table, name, kind in columns:
        tables.setdefault(table, {})[name] = kind
    for table, kinds in tables.items():
        if table == "schema_migrations" or (only and table not in only):
            continue
        texts = [name for name, kind in kinds.items() if "String" in kind and "Array" not in kind and "Map" not in kind]
        rows, named = list[str](), list[str]()
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


@dataclass
class Place:
    """A server with rows of two customers, and users: `people` has acme's role, `both` those of both."""

    server: ClickHouseHttp
    settings: Settings
    before: dict[str, int]  # the rows of some tables before anything was granted

    def of(self, user: str = "default") -> ClickHouse:
        """The place as a user finds it."""
        return ClickHouse(self.server.url(DATABASE, user, "secret" if user == "default" else ""))

    def grant(self, customer: str, user: str = "", by: str = "default") -> None:
        """What `optiinfra customers grant` does."""
        grant_customer(self.settings, self.of(by), customer, user, lambda _line: None, only_print=False)

    def revoke(self, customer: str) -> None:
        """What `optiinfra customers revoke` does."""
        revoke_customer(self.settings, self.of(), customer, lambda _line: None, only_print=False)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of an installation with one customer."""
    spine = Spine.at(tmp_path_factory.mktemp("home"), "http://127.0.0.1:1/nothing")
    spine.write_customers("http://127.0.0.1:1", ["acme"])
    return spine.settings


def started(folder: Path, settings: Settings, kind: Literal["lenient", "strict"]) -> Iterator[Place]:
    """Such a place, by what it lets users without a policy read."""
    with ClickHouseHttp(copy_migrated(folder / "engine"), access=kind) as server:
        place = Place(server, settings, {})
        with place.of().session() as client:
            fill(client, FEW if kind == "strict" else ())
            place.before.update({name: int(str(client.command(f"SELECT count() FROM {name}"))) for name in FEW})
            # Of an administrator's own making: bob may read one table's rows of nobody.
            own = f"CREATE ROW POLICY theirs ON {DATABASE}.coverage USING 0 AS PERMISSIVE TO `optiinfra__reader`"
            users = [f"CREATE USER {user}" for user in ("people", "both", "bob", "writer")]
            for process, user in (("writer", "writer"), ("reader", "bob")):
                users += grants.of_process(process, DATABASE, user)
            grants.run(client, [*users, own])
        place.grant("acme", "people")
        yield place


@pytest.fixture(scope="module")
def lenient(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """Users without a policy read a table that has some, as they do by default."""
    yield from started(tmp_path_factory.mktemp("lenient"), settings, "lenient")


@pytest.fixture(scope="module")
def strict(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """They do not: `users_without_row_policies_can_read_rows` is false."""
    yield from started(tmp_path_factory.mktemp("strict"), settings, "strict")


def said(client: Client, statement: str) -> str:
    """The answer as text, "" where it is refused for a lack of rights."""
    try:
        return client.raw_query(statement, fmt="CSV").decode()
    except DatabaseError as error:
        if error.code != 497:
            raise
        return ""


def relations(client: Client) -> dict[str, bool]:
    """Every table and view, and whether it is a table with rows of customers."""
    rows = client.query(
        "SELECT name, engine != 'View' AND name IN (SELECT table FROM system.columns WHERE name = 'customer_id' AND "
        "database = currentDatabase()) FROM system.tables WHERE database = currentDatabase()"
    ).result_rows
    return {name: bool(has) for name, has in rows}


def test_no_table_and_no_view_shows_another_customer(lenient: Place) -> None:
    with lenient.of().session() as client:
        names = relations(client)
    # A view of another kind is in each few; all of them take seconds.
    views = sorted(name for name, has_rows in names.items() if not has_rows)
    asked = {*names} - {*views} | {*(views if LONG else [*views[::10], *SHOWN])}
    shown = set()
    with lenient.of("people").session() as client:
        for name in sorted(asked):
            try:
                text = said(client, f"SELECT * FROM {name}")
            except DatabaseError:  # a parameter is missing
                if name.endswith("_as_of"):
                    text = said(client, f"SELECT * FROM {name}(as_of = '2100-01-01 00:00:00')")
                else:  # such a view is not granted at all
                    text = said(client, f"EXISTS TABLE {name}")
                    assert not text, name
            assert "globex" not in text, name
            if "acme" in text:
                shown.add(name)
    # What is asked for in vain proves nothing: of what people read there are rows.
    assert {reader.view for reader in readers().values()} & asked <= shown
    assert shown >= SHOWN
    # Prompts, spending and what the judge was told are nobody's to read.
    assert not shown & {"llm_interactions", "judge_spend", "application_verdicts", "application_log_files"}


SHOWN = {
    "metric_batches", "costs", "performance_metrics_current", "coverage", "coverage_current", "published_versions",
    "costs_as_of", "performance_metrics_as_of", "cost_summary_as_of", "published_batches_as_of", "focus", "focus_as_of",
}  # fmt: skip


# What a query may say besides naming a table; {t} is one with rows of customers.
SHAPES = (
    "SELECT * FROM {t}", "SELECT count() FROM {t}", "SELECT customer_id, count() FROM {t} GROUP BY customer_id",
    "SELECT DISTINCT customer_id FROM {t} PREWHERE customer_id != 'acme'",
    "SELECT * FROM {t} WHERE customer_id = 'globex' OR 1", "SELECT max(customer_id), min(customer_id) FROM {t}",
    "SELECT * FROM (SELECT * FROM {t}) AS a CROSS JOIN (SELECT DISTINCT customer_id AS other FROM {u}) AS b",
    "SELECT * FROM {t} UNION ALL SELECT * FROM {t}", "WITH x AS (SELECT * FROM {t}) SELECT * FROM x",
    "SELECT groupUniqArray(customer_id) FROM {t}", "SELECT (SELECT groupArray(customer_id) FROM {u}) FROM {t}",
    "SELECT 1 FROM {t} WHERE 'globex' IN (SELECT customer_id FROM {u})",
    "SELECT * FROM merge(currentDatabase(), '^cost_')", "SELECT * FROM view(SELECT * FROM {t})",
    "SELECT * FROM mergeTreeIndex(currentDatabase(), '{t}')",
    "SELECT * FROM remote('localhost', currentDatabase(), '{t}')",
    "SELECT * FROM {t} ORDER BY ALL DESC LIMIT 1 WITH TIES", "SELECT * FROM {t} SETTINGS enable_analyzer = 0",
    "SELECT customer_id FROM {t} SETTINGS optimize_move_to_prewhere = 0, allow_experimental_analyzer = 0",
    "SELECT * FROM system.parts_columns", "SELECT * FROM system.parts", "EXPLAIN indexes = 1 SELECT * FROM {t}",
    "SHOW CREATE TABLE {t}", "SELECT uniqExact(customer_id) FROM {t} HAVING uniqExact(customer_id) > 1",
)  # fmt: skip


def test_no_shape_of_a_query_shows_another_customer(lenient: Place) -> None:
    """Drawn from shapes and tables. Errors are allowed, rows and counts of globex are not."""
    chance = random.Random(0)  # noqa: S311
    with lenient.of().session() as client:
        tables = [name for name, has_rows in relations(client).items() if has_rows]
    tables = ["metric_batches", "performance_metrics", "coverage", "costs", "cost_summary_current", *tables]
    answered = 0
    with lenient.of("people").session(migrated=False) as client:
        for shape in [*SHAPES, *chance.choices(SHAPES, k=2000 if LONG else 0)]:
            t, u = (chance.choice(tables if LONG else tables[:3]) for _ in range(2))
            statement = shape.replace("{t}", t).replace("{u}", u)
            try:
                text = client.raw_query(statement, fmt="TabSeparatedRaw").decode()
            except DatabaseError:
                continue
            answered += 1
            assert "globex" not in text, statement
    assert answered > len(SHAPES) / 2


def test_a_customers_own_people_read_as_of_a_time(lenient: Place) -> None:
    """Rows of others in a slice are no rows of theirs that are gone."""
    table = readers()["resource", "by_type"].table
    sources = all_sources()
    with lenient.of().session() as client:
        client.command("ALTER TABLE metric_batches UPDATE rows = 1 WHERE customer_id = '' SETTINGS mutations_sync = 2")
        client.command(f"DELETE FROM {table} WHERE customer_id = 'acme'")
    answers = {}
    for family, name in [*[*sources][:: 1 if LONG else 4], ("resource", "by_type")]:
        if sources[family, name].view.startswith("("):
            continue
        now = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"
        query = Query(family, name, "acme", from_=f"{datetime.now(UTC):%Y-%m-%dT00:00Z}", as_of=now)
        answers[family, name] = read_rows(lenient.of("people"), lenient.settings, query, as_records).rows
    assert answers.pop(("resource", "by_type")) == []
    assert any(answers.values())
    assert "globex" not in str(answers)

    with lenient.of().session() as client:  # of what was replaced, they cannot know
        client.command(
            "INSERT INTO metric_batches (dataset, window_start, batch, rows, status, published_at) "
            f"SELECT '{table}', toStartOfDay(now()), {BATCH + 1}, 0, 'ok', now64(3)"
        )
    query = replace(query, family="resource", reader="by_type")
    with pytest.raises(LostError, match=r"^Whether rows of acme that .* are gone is not known to the role"):
        read_rows(lenient.of("people"), lenient.settings, query, as_records)
    with lenient.of().session() as client:
        client.command(f"DELETE FROM metric_batches WHERE batch = {BATCH + 1}")


@pytest.mark.parametrize("asked", [Replication.PATH, None])
def test_it_is_done_on_every_replica_of_a_cluster(
    settings: Settings, tmp_path_factory: pytest.TempPathFactory, asked: Replication | None
) -> None:
    """Where tables are made ON CLUSTER by itself, in a Replicated database when the cluster is named."""
    folder, replication = tmp_path_factory.mktemp("cluster"), asked or Replication.DATABASE
    with Replicas(folder, replication=replication, access="lenient") as replicas:
        clickhouse = ClickHouse(replicas.url(via=0), replication=asked)
        with clickhouse.session(migrated=False) as client:
            grants.run(client, ["CREATE USER people ON CLUSTER `default`"])

        def roles() -> list[list[str]]:
            found = []
            for server in replicas.servers:
                with ClickHouse(server.url(DATABASE)).session(migrated=False) as client:
                    found.append(grants.granted_customers(client))
            return found

        if asked is None:
            told: list[str] = []
            grant_customer(settings, clickhouse, "acme", "people", told.append, only_print=False)
            assert any("on this replica" in line and "--cluster" in line for line in told)
            assert roles() == [["acme"], []]
        more = {} if asked else {"cluster": "default"}
        told = []
        grant_customer(settings, clickhouse, "acme", "people", told.append, only_print=False, **more)
        assert not any("on this replica" in line for line in told)
        assert roles() == [["acme"], ["acme"]]
        for server in replicas.servers:
            with ClickHouse(server.url(DATABASE, "people", "")).session(migrated=False) as client:
                assert client.command("SELECT count() FROM costs_as_of(as_of = '2100-01-01 00:00:00')") == 0
        revoke_customer(settings, clickhouse, "acme", lambda _line: None, only_print=False, **more)
        assert roles() == [[], []]


def test_others_read_as_before(lenient: Place, strict: Place) -> None:
    for place in (lenient, strict):
        with place.of("writer").session() as client:
            for name in FEW:
                if name != "coverage":  # of which an administrator has said who may read it
                    assert client.command(f"SELECT count() FROM {name}") == place.before[name] > 1, name
        with place.of("bob").session() as client:
            assert client.command("SELECT count() FROM performance_metrics") == 2
            assert client.command("SELECT count() FROM coverage") == 0
        with place.of("people").session() as client:
            for name in FEW[:3]:
                assert client.query(f"SELECT customer_id FROM {name}").result_rows == [("acme",)]


def test_what_is_made_later_is_not_readable_until_it_is_granted(strict: Place) -> None:
    with strict.of().session() as client:
        client.command("CREATE TABLE later AS coverage")
        client.command("INSERT INTO later (customer_id) VALUES ('acme'), ('globex')")
        client.command("CREATE VIEW later_current AS SELECT * FROM later")
        client.command("CREATE VIEW as_somebody_else SQL SECURITY DEFINER AS SELECT customer_id FROM later")
    with strict.of("people").session() as client:
        assert said(client, "SELECT customer_id FROM later_current") == ""
    strict.grant("acme", "people")  # as was done before these were there
    with strict.of("people").session() as client:
        assert said(client, "SELECT customer_id FROM later_current") == '"acme"\n'
        assert said(client, "SELECT customer_id FROM as_somebody_else") == ""


def test_a_user_of_two_customers_reads_neither_and_what_is_revoked_is_gone(lenient: Place) -> None:
    lenient.grant("acme", "both")
    lenient.grant("globex", "both")
    with lenient.of("both").session() as client:
        assert said(client, "SELECT * FROM coverage") == ""
    lenient.revoke("acme")
    with lenient.of("both").session() as client:
        assert client.query("SELECT customer_id FROM coverage").result_rows == [("globex",)]
        assert client.query("SELECT DISTINCT customer_id FROM metric_batches WHERE customer_id != ''").result_rows == [
            ("globex",)
        ]
    with lenient.of("people").session(migrated=False) as client:
        assert said(client, "SELECT * FROM coverage") == ""
    lenient.revoke("globex")
    with lenient.of().session() as client:
        left = client.query("SELECT short_name, table FROM system.row_policies").result_rows
        assert left == [("theirs", "coverage")]


def test_what_cannot_be_granted_is_said(lenient: Place, settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"There is no customer 'acne' .did you mean 'acme'"):
        lenient.grant("acne")
    with pytest.raises(ConfigError, match="There is no customer 'a`; DROP"):
        lenient.grant("a`; DROP")
    with pytest.raises(StorageError, match=r"There is no user `nobody`.*CREATE USER first"):
        lenient.grant("acme", "nobody")
    with pytest.raises(StorageError, match="grant"):
        lenient.grant("acme", by="writer")
    with lenient.of().session() as client:
        grants.run(client, ["GRANT SHOW ROW POLICIES ON *.* TO `optiinfra__writer`"])
    with pytest.raises(
        StorageError, match=r"may not manage access: .*or hand an administrator what --print prints"
    ) as refused:
        lenient.grant("acme", by="writer")
    assert "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="embedded engine, which one process opens and which has no users"):
        grant_customer(settings, ClickHouse(f"chdb://{tmp_path / 'none'}"), "acme", "", print, only_print=True)
    printed: list[str] = []
    grant_customer(settings, lenient.of("writer"), "acme", "people", printed.append, only_print=True)
    assert printed[0] == "CREATE ROLE IF NOT EXISTS `optiinfra_acme`;"
    assert printed[-1] == "GRANT `optiinfra_acme` TO `people`;"


def test_the_command_grants_prints_revokes_and_says_what_it_may_not(
    lenient: Place, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def run(*arguments: str, url: str = lenient.server.url(DATABASE)) -> tuple[int, str, str]:
        monkeypatch.setenv("OPTIINFRA_CLICKHOUSE_URL", url)
        monkeypatch.setattr(sys, "argv", ["optiinfra", "customers", *arguments])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.setenv("OPTIINFRA_CUSTOMERS", str(lenient.settings.customers_path))
    code, out, err = run("grant", "acme", url=lenient.server.url(DATABASE, "bob", ""))  # ClickHouse's error 497
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "Not enough privileges" in err
    code, out, err = run("grant", "acme", "--user", "people", "--print")
    assert (code, err, out.splitlines()[-1]) == (0, "", "GRANT `optiinfra_acme` TO `people`;")
    code, out, err = run("revoke", "acne")
    assert (code, out) == (1, "")
    assert err.startswith("error: There is no customer 'acne' (did you mean 'acme'?)")
