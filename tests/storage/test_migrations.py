"""The schema files: applied in order, once, again after a kill, and what they make is what tables.py says."""

from __future__ import annotations

import re
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from clickhouse_connect.driver.exceptions import DatabaseError, OperationalError

from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.storage import migrations, schema, sort_keys
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.database import DATABASE
from optiinfra_dagster.storage.migrations import Migration
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.topology import SINGLE
from tests.conftest import LONG
from tests.support import killing
from tests.support.engines import copy_migrated
from tests.support.samples import select

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from clickhouse_connect.driver.client import Client

    from tests.support.clickhouse_http import ClickHouseHttp

# Applied in installations, which know them by this hash.
# Readers that no migration made a table of: their tables follow from their SELECTs.
OWN = [reader for reader in readers().values() if reader.is_own]
TABLES_OF_READERS = [reader.table for reader in sorted(OWN, key=lambda reader: len(reader.computed_from))]

FROZEN = {
    "001_ledger": "44a4d29bf39acd4410474bba05eaeb182f7904f2a235309250cd1deb38d10fe2",
    "002_metrics": "e3e9869e9c8723b001169e7a306ad50ef954eb861289204d032550a20ca8eff0",
    "003_coverage": "d4d90b1ce6cd2caaa93285e014a07a65b94a3de108367440957a3a48802483af",
    "004_readers": "19be276a77a25bd28063cb2f9eb3b1958ff1d17cf56ae869f0e1c9fa59f74242",
    "005_resource_readers": "06ca412f5fb225be4771f8e2926c03d646eb042cf1c3a28610196e1728655c52",
    "006_performance_readers": "94a8b01aebd0ff1e3421955dea792be415c34e5b41c11c337dc2f9882c5fe9fb",
    "007_verdicts": "16bd5fc84497b066f304e7ff8169171de071bf8846736a9a180702e852695e11",
    "008_application_readers": "179b4b410c88e8bfe85483ef2fe5761a0b69b7e188832d4164b98a8c73faa31d",
    "009_interactions": "e557ae9fc397e4c23645efee651b60911ab89fe173d815b68e31a05557a2524e",
    "010_costs": "67867c06dd8083a8e7b8ad451ab99e24bc1152d2d14278bad55826ed7506a694",
    "011_cost_readers": "97ebdaa479bc256b3f613c407de622b8a11ae93679549ad37ebdbe9167eac066",
    "012_costs_of_a_time": "abefee2bcae00463bfe5ab5f7ff22787efc251cb66c3074657e401baac1f85e2",
    "013_shared_selects": "40fea8a895c87028edd4b51f4321f2f1f897c7472d66059136b460e69a2bbd64",
    "014_no_points": "0360c1974727f85b94783196931f3489d8cbb82679505c5e2cb0a5a2d67283fe",
    "015_facts_of_kinds": "d5fc5fdcb64102ff8333d69cb3d419e2a0c638be84909fade352efb66e0caaf6",
    "016_ledger_views": "614fe53b48efad2fcb9d7ad18afe55f196b536acb92200865a6261982133c04f",
    "017_charges": "b8465fe568b5334b9ddf9a61d079be23b5661058adc1a778a689fb3235d1b31e",
    "018_cost_days": "231b49ffec88ebc404ed5a3aa477e40cfa61b0f42d256d903e25b4bcf5c6ec6e",
    "019_price_currency": "991826c3aa1383fd6246096a4f4d9120f97abc264a642aaa369bc8439ee95762",
    "020_focus": "c28177ed5198473e75acf9e7fcefe3d0c84b06881abbee95f90c624703d45fc9",
    "021_allocation": "d1a1588bf30f38fef517e68d1cddfbb463c39e10fb1c5405780d6f77270e7f0e",
    "022_machine_sizes": "ca5799d7e9020ef275b98c527812dfcb8a45d307d0eb5e2db498e060ab298cff",
    "023_instance_uid": "d346481399d8a5139198a4013c0696a1f85c2de05b73c2a5b2d2125db4f2113d",
    "024_instances": "757019d18db63c8fb1d947f3419ff8d7276b189cede99464af0a8372e2f73383",
    "025_rollups": "4e10e72d1f3f0fa0f779c8424147291a25e1ed02b0ec99ea1d7ff2ab18c8a81c",
    "026_fixed_shares": "e7d583f905e43ec442b1cda75273919fafbb717f915ece187a25ef08d7dfee42",
    "027_data_transfer": "a129685597797a281391de2fe3e644d03c4096299529e2f57ee82d4f167ff576",
    "028_focus_types": "60856f8057d7805cf2a47398ddda2de8936952af7301c760e59ce513500595f8",
    "029_weighted_quality": "a52baaada5b7425e111fb63b0a9cd66ac9afcae1e945216e6f2e487ece4a9f22",
    "030_application_usage": "591b49fd52ea49fb1a716bfaae3ef360c55a8a3ccd59e1a9c83d748500809bc4",
    "031_second_judge": "3d7aea3ff73f65b6aa89ac7c0593264a0dd08777f79d5424b6a9ad352da1ee14",
    "032_otel_interactions": "3ebd4197b7db63014c45822bfd74bc215e4e372eef719c3fa5dd510f52b03268",
    "033_superseded": "ef31049d542d048e346e2bba43ea309851be9b0545718ab1857d93b4b11f1022",
    "034_feedback": "bf1cf2a3b729cfe4d101aa8ac669cfd39d3f1acbf8b4060ada9c4d6d264de5a7",
    "035_ledger_first": "1d18ea8301bf714f74be7b9b89d72da727a71a54225a4dc73cf3ce20715f297f",
    "036_days_together": "342efd96562902f56b5f32b4b60110b2eda55da7336db9ede1bc1808ce71cbdf",
    "037_rates_of_rubrics": "662559b88064cdd6c66233df6558f601c40d16670d3a91010828ceda073d31c6",
    "038_inventory_scope": "032758ea63a6a723a124bd31f2baf970bd5f51c887a5394b8927ea62feec37d5",
    "039_focus_discounts": "4696053df720c30669ac9c9804bfced7a8c5e2b487676415e8f030ecf8265bed",
    "040_problems_of_bills": "150360e00c3d0bc6b0a12cf7890ddf4f29774b51daf3a8c4be435abd5791a2fa",
}

ARROW_TYPES = {
    "DateTime('UTC')": schema.TIME,
    "LowCardinality(String)": schema.NAME,
    "String": pa.string(),
    "Float64": pa.float64(),
    "UInt32": pa.uint32(),
    "UInt64": pa.uint64(),
    "Bool": pa.bool_(),
    "Decimal(18, 9)": schema.MONEY,
    "Decimal(38, 18)": schema.AMOUNT,
    "Date": pa.date32(),
}


@pytest.mark.parametrize("dataset", schema.DATASETS.values(), ids=lambda dataset: dataset.name)
def test_the_arrow_schema_is_that_of_the_table(clickhouse: ClickHouse, dataset: schema.Dataset) -> None:
    with clickhouse.session() as client:
        rows = client.query(f"DESCRIBE TABLE {dataset.table}").result_rows
        described = {row[0]: row[1] for row in rows if row[2] != "MATERIALIZED"}  # the engine makes it of the others
        seen = [row[0] for row in client.query(f"DESCRIBE TABLE {dataset.table}_current").result_rows]

    assert sorted(seen) == sorted(described.keys() - {"batch"})
    assert described.pop("batch") == "UInt64"
    plain = {name: re.sub(r"^Nullable\((.*)\)$", r"\1", kind) for name, kind in described.items()}
    assert {field.name: field.type for field in dataset.schema} == {n: ARROW_TYPES[kind] for n, kind in plain.items()}
    assert set(dataset.key) <= plain.keys()


def test_every_expiring_table_is_outlived_by_the_ledger(tmp_path: Path) -> None:
    """Without its ledger row a slice is not seen."""
    rows = select(
        ClickHouse(f"chdb://{copy_migrated(tmp_path / 'place', expiring=True)}"),
        "SELECT name, toUInt32OrZero(extract(engine_full, 'toIntervalDay\\((\\d+)\\)')) AS days FROM system.tables "
        "WHERE database = currentDatabase() AND engine_full LIKE '%TTL%'",
    )
    days = {row["name"]: row["days"] for row in rows}
    assert days.keys() >= {dataset.table for dataset in schema.DATASETS.values()}
    assert days.pop("metric_batches") > max(days.values())


def test_every_migration_is_applied_in_order_and_once(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:
        applied = client.query("SELECT name FROM schema_migrations ORDER BY applied_at, name").result_rows
        assert [name for (name,) in applied] == [m.name for m in migrations.load()]
        assert all(done for _, done in migrations.status(client))
        assert migrations.migrate(client) == []


def test_files_are_numbered_and_no_number_is_twice() -> None:
    names = [migration.name for migration in migrations.load()]
    assert names == sorted(names)
    assert [int(name[:3]) for name in names] == list(range(1, len(names) + 1))


def test_files_that_installations_have_applied_stay_as_they_are() -> None:
    assert {m.name: m.checksum for m in migrations.load() if m.name in FROZEN} == FROZEN


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A schema folder of the test's own."""
    folder = tmp_path / "schema"
    folder.mkdir()
    (folder / "002_second.sql").write_text(
        "CREATE VIEW v AS\nSELECT a FROM t; -- a comment; with a semicolon\nCREATE VIEW w AS SELECT a FROM v;\n"
    )
    (folder / "001_first.sql").write_text("-- why; and how\nCREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY a;\n")
    return folder


@pytest.fixture
def fresh(clickhouse_http: ClickHouseHttp, clickhouse_url: str) -> ClickHouse:
    """An empty database on a server."""
    return ClickHouse(clickhouse_url)


def test_an_edited_file_is_an_error(fresh: ClickHouse, folder: Path) -> None:
    with fresh.session(migrated=False) as client:
        assert migrations.migrate(client, migrations.load(folder)) == ["001_first", "002_second"]
        text = (folder / "001_first.sql").read_text()
        (folder / "001_first.sql").write_bytes(text.replace("\n", "\r\n").encode())
        assert all(done for _, done in migrations.status(client, migrations.load(folder)))
        (folder / "001_first.sql").write_text(text.replace("UInt8", "UInt16"))
        with pytest.raises(StorageError, match=r"001_first\.sql was changed after it was applied\. Put the file back"):
            migrations.status(client, migrations.load(folder))


def test_tables_of_a_newer_version_are_an_error(fresh: ClickHouse, folder: Path) -> None:
    with fresh.session(migrated=False) as client:
        migrations.migrate(client, migrations.load(folder))
        (folder / "002_second.sql").unlink()
        with pytest.raises(StorageError, match=r"newer version: it applied 002_second\. Upgrade"):
            migrations.status(client, migrations.load(folder))


def test_a_new_file_is_pending_and_then_applied(fresh: ClickHouse, folder: Path) -> None:
    with fresh.session(migrated=False) as client:
        migrations.migrate(client, migrations.load(folder))
        known = [*migrations.load(folder), Migration("003_third", "ALTER TABLE t ADD COLUMN IF NOT EXISTS b UInt8;")]
        pending = [migration for migration, done in migrations.status(client, known) if not done]
        assert [migration.name for migration in pending] == ["003_third"]
        migrations.migrate(client, pending)
        assert all(done for _, done in migrations.status(client, known))


class Killed(BaseException):
    """The end of a migration that is killed."""


class Mortal:
    """A client that dies before its next statement, once so many were done. Dead, it cannot do anything more."""

    def __init__(self, client: Client, lives: int) -> None:
        self._client, self._lives, self.dead = client, lives, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    @property
    def database(self) -> str | None:
        """As the client's: what is set here must be set there."""
        return self._client.database

    @database.setter
    def database(self, name: str | None) -> None:
        self._client.database = name

    def command(self, *arguments: Any, **named: Any) -> Any:
        """The statement, or the end."""
        if self._lives <= 0:
            self.dead = True
            raise Killed
        self._lives -= 1
        return self._client.command(*arguments, **named)


def migrated_or_killed(client: Client, lives: int) -> bool:
    """Migrate by a process that lives for so many statements; whether it was enough."""
    mortal: Any = Mortal(client, lives)
    try:
        migrations.migrate(mortal, alone=True)
    except Killed:
        return False
    return True


def made(client: Client, database: str) -> dict[str, str]:
    """The tables and views of a database, and how each is made, whenever that was."""
    client.database = database
    rows = client.query(
        "SELECT name, replaceAll(replaceRegexpOne(create_table_query, 'COMMENT \\'made at .*\\'', ''), "
        "concat(currentDatabase(), '.'), '') FROM system.tables WHERE database = currentDatabase()"
    ).result_rows
    return dict(map(tuple, rows))


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Client]:
    """An embedded engine whose own database was migrated without a kill."""
    folder = copy_migrated(tmp_path / "place", expiring=True)
    with ClickHouse(f"chdb://{folder}").session(migrated=False) as client:
        yield client


def sent(migration: Migration, *, again: bool = False) -> int:
    """How many statements a file sends, or what is sent where it was done and is run again."""
    of_sort_key = 2 if again else 8
    return sum(of_sort_key if sort_keys.change_of(statement) else 1 for statement in migration.statements)


def kill_points(migration: Migration) -> list[int]:
    """After how many statements of a file it is killed: after what drops, before it is recorded, a new one half-way.

    Within a change of a sort key `test_sort_keys` kills.
    """
    statements = migration.statements
    dropped = [i for i, statement in enumerate(statements, start=1) if statement.startswith("DROP")]
    goes_on = any(map(sort_keys.change_of, statements))  # and does not begin again
    halves = {(len(statements) + 1) // 2} if (LONG or migration.name not in FROZEN) and not goes_on else set[int]()
    return sorted({*dropped, sent(migration), *halves})


def test_a_migration_that_is_killed_in_every_file_ends_well(engine: Client) -> None:
    """Every statement is run twice at least, and each attempt comes further than the one before."""
    engine.database = "killed"
    again = 0
    for migration in migrations.load():
        for statements in kill_points(migration):
            # CREATE DATABASE, CREATE TABLE schema_migrations and EXISTS TABLE schema_migrations come first.
            assert not migrated_or_killed(engine, 3 + again + statements)
            again = 0
        again = sent(migration, again=True) + 1
    engine.database = "killed"
    assert [migration.name for migration, done in migrations.status(engine) if not done] == [migration.name]
    assert migrated_or_killed(engine, 1_000)
    assert made(engine, "killed") == made(engine, DATABASE)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_migration_that_is_killed_at_any_one_statement_ends_well(engine: Client) -> None:
    """Each kill point by itself, made good by the next attempt."""
    whole = made(engine, DATABASE)
    lives, done = 0, False
    while not done:
        engine.database = f"killed_{lives}"
        done = migrated_or_killed(engine, lives)
        engine.database = f"killed_{lives}"
        assert migrated_or_killed(engine, 1_000), lives
        assert made(engine, f"killed_{lives}") == whole, lives
        engine.command(f"DROP DATABASE killed_{lives}")
        lives += 1
    assert lives > sum(sent(migration) + 1 for migration in migrations.load())


def lapse(client: Client) -> None:
    """Let the locks of killed migrations end, as time does."""
    client.command("TRUNCATE TABLE IF EXISTS schema_migrations_lock")


@pytest.mark.parametrize("kills", [(4, 25), *(pytest.param((n,), marks=pytest.mark.long) for n in (2, 4, 9, 25))])
def test_a_kill_between_statements_is_made_good_by_the_next_migration(
    clickhouse_url: str, kills: tuple[int, ...]
) -> None:
    """One after the other, the second in a later file than the first."""
    clickhouse = ClickHouse(clickhouse_url)
    for statements in kills:
        assert killing.run(killing.migrate, clickhouse_url, statements) == -signal.SIGKILL
        with pytest.raises(StorageError, match="optiinfra migrate"), clickhouse.session():
            pass
        with clickhouse.session(migrated=False) as client:
            lapse(client)

    with clickhouse.session(migrated=False) as client:
        pending = [migration.name for migration, done in migrations.status(client) if not done]
        assert migrations.migrate(client) == [*pending, *TABLES_OF_READERS]
        assert all(done for _, done in migrations.status(client))
    with clickhouse.session() as client:
        assert client.query("SELECT count() FROM performance_metrics_current").first_item == {"count()": 0}


def test_two_migrations_at_once_apply_each_file_once(clickhouse_url: str, folder: Path) -> None:
    files = migrations.load(folder)
    together = threading.Barrier(2)

    def migrate(_: int) -> list[str]:
        with ClickHouse(clickhouse_url).session(migrated=False) as client:
            together.wait(30)
            return migrations.migrate(client, files)

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(migrate, range(2))

    names = [m.name for m in files]
    assert sorted([first, second]) == [[], names]
    with ClickHouse(clickhouse_url).session(migrated=False) as client:
        assert [row[0] for row in client.query("SELECT name FROM schema_migrations ORDER BY name").result_rows] == names


def test_a_migration_waits_for_another_one_and_says_so(clickhouse_url: str, folder: Path) -> None:
    """The second begins in the middle of a file of the first."""
    files = migrations.load(folder)
    said: list[str] = []
    waits = threading.Event()

    def wait(line: str) -> None:
        said.append(line)
        waits.set()

    def second() -> list[str]:
        with ClickHouse(clickhouse_url).session(migrated=False) as client:
            return migrations.migrate(client, files, say=wait)

    with ThreadPoolExecutor(1) as threads, ClickHouse(clickhouse_url).session(migrated=False) as client:
        command, later = client.command, []

        def hooked(statement: str, **named: Any) -> Any:
            if statement.startswith("CREATE VIEW IF NOT EXISTS w") and not waits.is_set():
                later.append(threads.submit(second))
                assert waits.wait(30)
            return command(statement, **named)

        client.command = hooked  # type: ignore[assignment, method-assign]
        first = migrations.migrate(client, files)
        assert (first, [later[0].result(60)]) == ([m.name for m in files], [[]])
    assert said == ["Another migration is at work: waiting for it, or after a kill for 330 s at most."]


def test_the_lock_of_a_migration_that_failed_is_free_at_once(fresh: ClickHouse) -> None:
    with fresh.session(migrated=False) as client:
        broken = [Migration("001_broken", "CREATE TABLE t (a UInt8) ENGINE = MergeTree ORDER BY b;")]
        for _ in range(2):
            with pytest.raises(DatabaseError, match="b"):
                migrations.migrate(client, broken, say=pytest.fail)


def test_the_lock_of_a_killed_migration_ends(fresh: ClickHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    with fresh.session(migrated=False) as client:
        client.command(migrations._CREATE_LOCK)
        monkeypatch.setattr(migrations, "LEASE_SECONDS", 1.5)
        migrations._Lock(client, SINGLE).acquire(pytest.fail)
        monkeypatch.undo()
        assert migrations.migrate(client, [Migration("001_first", "CREATE VIEW v AS SELECT 1;")], say=said.append)
    assert len(said) == 1


def test_a_migration_that_lost_its_lock_stops(fresh: ClickHouse) -> None:
    now = [1000.0]
    with fresh.session(migrated=False) as client:
        client.command(migrations._CREATE_LOCK)
        lock = migrations._Lock(client, SINGLE, clock=lambda: now[0])
        lock.acquire(pytest.fail)
        for seconds in (300, 329):
            now[0] += seconds
            lock.renew()
        now[0] += 330
        with pytest.raises(StorageError, match=r"stood still for 330 s.*Run `optiinfra migrate` again"):
            lock.renew()


def test_a_migration_whose_last_answer_got_lost_ends_well_when_it_is_run_again(
    fresh: ClickHouse, clickhouse_http: ClickHouseHttp, folder: Path
) -> None:
    clickhouse_http.fault("drop_after", match="INSERT INTO schema_migrations ")
    with fresh.session(migrated=False) as client:
        with pytest.raises(OperationalError):
            migrations.migrate(client, migrations.load(folder))
        assert migrations.migrate(client, migrations.load(folder)) == ["002_second"]
        assert client.query("SELECT name FROM schema_migrations ORDER BY name").result_rows == [
            ("001_first",),
            ("002_second",),
        ]


INTERRUPTED = 1  # the exit code after a KeyboardInterrupt


@pytest.mark.parametrize(
    "ends",
    [
        ((1, signal.SIGINT), (5, signal.SIGKILL), (20, signal.SIGINT)),
        *(pytest.param(((n, signal.SIGINT),), marks=pytest.mark.long) for n in (1, 3, 20, 60)),
        pytest.param(((5, signal.SIGKILL),), marks=pytest.mark.long),
    ],
    ids=str,
)
def test_ctrl_c_or_a_kill_in_the_first_openings_of_an_embedded_place_is_made_good(
    tmp_path: Path, ends: tuple[tuple[int, signal.Signals], ...]
) -> None:
    """The place comes up to date by itself; each opening comes further than the one before."""
    url = f"chdb://{tmp_path / 'place'}"
    for statements, by in ends:
        ended = killing.run(killing.migrate, url, statements, by)
        assert ended == (INTERRUPTED if by == signal.SIGINT else -signal.SIGKILL)

    with ClickHouse(url).session() as client:
        assert all(done for _, done in migrations.status(client))
        assert client.query("SELECT count() FROM costs").first_item == {"count()": 0}


def test_a_server_that_was_not_migrated_says_what_to_do(fresh: ClickHouse) -> None:
    with pytest.raises(StorageError, match=r"001_ledger is missing\. Run `optiinfra migrate`"), fresh.session():
        pass


def test_a_server_without_the_database_says_what_to_do_and_is_given_one(
    clickhouse_http: ClickHouseHttp, folder: Path
) -> None:
    files = migrations.load(folder)
    clickhouse = ClickHouse(clickhouse_http.url("no-such_database"))
    with pytest.raises(StorageError, match=r"001_ledger is missing\. Run `optiinfra migrate`"), clickhouse.session():
        pass
    with clickhouse.session(migrated=False) as client:
        assert not any(done for _, done in migrations.status(client))
        migrations.migrate(client, files)
        assert all(done for _, done in migrations.status(client, files))
        client.command("DROP DATABASE `no-such_database` SYNC")
    with (
        pytest.raises(StorageError, match="Run `optiinfra migrate`"),
        ClickHouse(clickhouse_http.url("no-such_database")).session(),
    ):
        pass
