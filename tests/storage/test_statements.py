"""The statements of the schema, of the code that runs them and of readers: what can be run again, and on replicas."""

from __future__ import annotations

import ast
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import optiinfra_dagster
from optiinfra_dagster.config.replication import Replication
from optiinfra_dagster.storage import ddl, migrations, reader_tables, sort_keys
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.migrations import Migration
from optiinfra_dagster.storage.sql import made_tables, readers
from optiinfra_dagster.storage.topology import SINGLE, Topology
from tests.conftest import LONG
from tests.support import keeper
from tests.support.engines import copy_migrated

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from optiinfra_dagster.storage.sql import Reader

MODES = {
    "none": SINGLE,
    "cloud": Topology(Replication.CLOUD),
    "database": Topology(Replication.DATABASE),
    "path": Topology(Replication.PATH, "main"),
}
PATH = "'/clickhouse/tables/{shard}/{database}/{table}', '{replica}'"
ON = "ON CLUSTER 'main'"
SINCE = "033"  # files from here on may be written with several replicas in mind


def faults(statement: str) -> list[str]:
    """Why a statement of a new file cannot be run again after a kill, and how to write it."""
    code = re.sub(r"'(?:[^'\\]|\\.)*'", "''", " ".join(statement.split()))
    head = code.partition("(")[0]
    found = []
    if re.match(r"CREATE (TABLE|VIEW|OR REPLACE VIEW) ", code):
        if code.startswith("CREATE TABLE ") and re.search(r" AS ", head):
            found.append("CREATE TABLE ... AS: a replicated table's path would be that of the other one")
    elif re.match(r"DROP ", code):
        if not re.match(r"DROP (TABLE|VIEW) IF EXISTS ", code):
            found.append("DROP TABLE IF EXISTS, DROP VIEW IF EXISTS")
    elif re.match(r"ALTER TABLE \w+ UPDATE ", code):
        # A constant gives the same however often it is set.
        if not re.search(r" UPDATE \w+ = (''|\d+) WHERE .* SETTINGS mutations_sync = [12]$", code):
            found.append("ALTER TABLE t UPDATE column = constant WHERE ... SETTINGS mutations_sync = 2")
    elif re.match(r"ALTER TABLE \w+ MODIFY ORDER BY \(.*\)$", code):
        pass  # the runner's own: see `sort_keys`
    elif re.match(r"ALTER TABLE ", code):
        of_column = r"(?:ADD|DROP|CLEAR|MODIFY|RENAME|COMMENT|MATERIALIZE) (?:COLUMN|INDEX|PROJECTION|CONSTRAINT)"
        parts = re.findall(rf"\b{of_column}\b(?! IF (?:NOT )?EXISTS )", code)
        found += [f"{part} IF [NOT] EXISTS" for part in parts]
        if not re.search(rf"\b(?:{of_column}|MODIFY (?:TTL|SETTING))\b", code):
            found.append("ALTER TABLE of columns, indices, projections, constraints, TTL or settings only")
    else:
        found.append(f"{code.split()[0]}: only CREATE TABLE, CREATE VIEW, ALTER TABLE and DROP can be run again")
    return found


def test_the_statements_of_new_files_can_be_run_again() -> None:
    new = [m for m in migrations.load() if m.name >= SINCE]
    assert {f"{m.name}: {s[:60]}": faults(s) for m in new for s in m.statements if faults(s)} == {}


@pytest.mark.parametrize(
    ("statement", "good"),
    [
        ("CREATE TABLE t (a UInt8 DEFAULT 1) ENGINE = MergeTree ORDER BY a TTL toDate(a) AS x", True),
        ("CREATE TABLE IF NOT EXISTS t (a UInt8 COMMENT 'as AS') ENGINE = MergeTree ORDER BY a", True),
        ("CREATE TABLE t AS u", False),
        ("CREATE TABLE t\nENGINE = MergeTree ORDER BY a AS SELECT 1 AS a", False),
        ("CREATE VIEW v AS SELECT 1", True),
        ("DROP VIEW IF EXISTS v", True),
        ("DROP VIEW v", False),
        ("DROP TABLE t", False),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS a UInt8, DROP INDEX IF EXISTS i", True),
        ("ALTER TABLE t ADD COLUMN IF NOT EXISTS a UInt8, DROP INDEX i", False),
        ("ALTER TABLE t MODIFY COLUMN a UInt16", False),
        ("ALTER TABLE t MODIFY COLUMN IF EXISTS a UInt16", True),
        ("ALTER TABLE t MODIFY TTL a + INTERVAL 1 DAY", True),
        ("ALTER TABLE t MODIFY ORDER BY (a, toDate(b))", True),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", True),
        ("ALTER TABLE t UPDATE a = a + 1 WHERE 1 SETTINGS mutations_sync = 2", False),
        ("ALTER TABLE t UPDATE a = 'x' WHERE b = 'y'", False),
        ("ALTER TABLE t UPDATE a = 'x' WHERE b = 'y' SETTINGS mutations_sync = 2", True),
        ("RENAME TABLE t TO u", False),
        ("INSERT INTO t SELECT * FROM u", False),
        ("EXCHANGE TABLES t AND u", False),
    ],
)
def test_what_cannot_be_run_again_is_noticed(statement: str, good: bool) -> None:
    assert (faults(statement) == []) is good


def every_statement(types: Mapping[str, Mapping[str, str]], among: Iterable[Reader] | None = None) -> list[str]:
    """Each one that the runner sends: of the files, its own, and those of readers' tables with columns of `types`."""
    found = [statement for migration in migrations.load() for statement in migration.repeatable]
    found = [statement for statement in found if not sort_keys.change_of(statement)]
    found += [migrations._CREATE_LOG.strip(), migrations._CREATE_LOCK.strip()]
    for reader in readers().values() if among is None else among:
        found.append(
            reader_tables._table(
                reader, types.get(reader.file) or dict.fromkeys(reader.key, "String"), datetime.now(UTC)
            )
        )
        found += [reader_tables._view(reader, verb) for verb in ("CREATE VIEW IF NOT EXISTS", "CREATE OR REPLACE VIEW")]
    return [*found, "DROP TABLE IF EXISTS cost_waste_v01234567"]


ENGINES = {
    "none": r"(Replacing)?MergeTree(\(\w+\))?",
    "cloud": r"(Replacing)?MergeTree(\(\w+\))?",
    "database": r"Replicated(Replacing)?MergeTree(\(\w+\))?",
    "path": r"Replicated(Replacing)?MergeTree\('/clickhouse/tables/\{shard\}/\{database\}/\{table\}', '\{replica\}'"
    r"(, \w+)?\)",
}


@pytest.mark.parametrize("mode", MODES)
def test_every_statement_is_sent_as_the_replicas_want_it(mode: str) -> None:
    for statement in every_statement({}):
        sent = ddl.rendered(statement, MODES[mode])
        head = " ".join(sent.partition("(")[0].split())
        assert re.match(
            r"(CREATE (TABLE|VIEW) IF NOT EXISTS|CREATE OR REPLACE VIEW|DROP (TABLE|VIEW) IF EXISTS|ALTER TABLE) \w+",
            head,
        ), head
        assert (" ON CLUSTER 'main'" in head) == (mode == "path"), head
        assert not re.match(r"CREATE TABLE .* AS ", head), head
        if head.startswith("CREATE TABLE"):
            assert re.search(rf"\bENGINE = {ENGINES[mode]}[ \n]", sent), sent
            windows = dict(re.findall(r"\b(replicated|non_replicated)_deduplication_window = (\d+)", sent))
            if windows and mode in {"database", "path"}:
                assert windows["replicated"] == windows["non_replicated"], sent
        if mode in {"none", "cloud"}:
            assert sent == statement


@pytest.mark.parametrize(
    ("statement", "database", "path"),
    [
        (
            "CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = MergeTree\nORDER BY a",
            "CREATE TABLE IF NOT EXISTS t\n(a UInt8)\nENGINE = ReplicatedMergeTree\nORDER BY a",
            f"CREATE TABLE IF NOT EXISTS t {ON}\n(a UInt8)\nENGINE = ReplicatedMergeTree({PATH})\nORDER BY a",
        ),
        (
            "CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = ReplacingMergeTree(a) ORDER BY a",
            "CREATE TABLE IF NOT EXISTS t (a UInt8) ENGINE = ReplicatedReplacingMergeTree(a) ORDER BY a",
            f"CREATE TABLE IF NOT EXISTS t {ON} (a UInt8) ENGINE = ReplicatedReplacingMergeTree({PATH}, a) ORDER BY a",
        ),
        ("DROP TABLE IF EXISTS t", None, "DROP TABLE IF EXISTS t ON CLUSTER 'main' SYNC"),
        ("DROP VIEW IF EXISTS v", None, "DROP VIEW IF EXISTS v ON CLUSTER 'main'"),
        ("EXCHANGE TABLES t AND u", None, "EXCHANGE TABLES t AND u ON CLUSTER 'main'"),
        ("ALTER TABLE t DROP INDEX i", None, "ALTER TABLE t ON CLUSTER 'main' DROP INDEX i"),
        ("CREATE OR REPLACE VIEW v AS SELECT 1", None, "CREATE OR REPLACE VIEW v ON CLUSTER 'main' AS SELECT 1"),
        (
            "CREATE VIEW IF NOT EXISTS v (a UInt8) AS SELECT 'ENGINE = MergeTree' AS a",
            None,
            "CREATE VIEW IF NOT EXISTS v ON CLUSTER 'main' (a UInt8) AS SELECT 'ENGINE = MergeTree' AS a",
        ),
    ],
)
def test_how_a_statement_is_sent(statement: str, database: str | None, path: str) -> None:
    assert ddl.rendered(statement, MODES["database"]) == (database or statement)
    assert ddl.rendered(statement, MODES["path"]) == path


def test_a_table_made_as_another_one_is_spelt_out_and_the_checksum_stays_that_of_the_file() -> None:
    text = "CREATE TABLE a\n(x UInt8)\nENGINE = MergeTree ORDER BY x;\nCREATE TABLE b AS a;\n"
    migration = Migration("001_first", text)
    assert migration.repeatable == [
        f"CREATE TABLE IF NOT EXISTS {name}\n(x UInt8)\nENGINE = MergeTree ORDER BY x" for name in "ab"
    ]
    assert migration.statements[1] == "CREATE TABLE b AS a"
    assert migration.checksum == Migration("001_first", text.replace("\n", "\r\n")).checksum


def literals(folder: Path) -> list[tuple[str, str]]:
    """The texts of the package's code, with the file of each; what is put into them is left out."""
    found = []
    for path in sorted(folder.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append(
                    (path.name, "".join(str(n.value) if isinstance(n, ast.Constant) else "_" for n in node.values))
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append((path.name, node.value))
    return found


OTHERWISE = r"\b(SELECT|now|now64|today|rand\w*|hostName)\b"  # on another replica, which a replicated table refuses
REFUSED = (
    rf"DELETE FROM .*{OTHERWISE}",  # noqa: S608 - a pattern
    rf"ALTER TABLE .* (DELETE|UPDATE) .*{OTHERWISE}",
    r"(TRUNCATE|RENAME|OPTIMIZE|ATTACH|DETACH) (TABLE|PARTITION)\b",
)
# DDL goes through `ddl.run`, which knows of replicas: these modules give it what it runs. `topology` has a sentence.
DDL = r"((CREATE|DROP) (TABLE|VIEW)|EXCHANGE TABLES)\b"
OF_DDL = {"migrations.py", "reader_tables.py", "ddl.py", "topology.py", "sort_keys.py"}


def test_the_code_has_no_statement_that_replicas_refuse() -> None:
    said = literals(Path(optiinfra_dagster.__file__).parent / "storage")
    found = [
        (name, text[:80])
        for name, text in said
        for pattern in (*REFUSED, *([] if name in OF_DDL else [DDL]))
        if re.match(pattern, text.strip(), re.DOTALL)
    ]
    assert found == []
    assert any(re.match("DELETE FROM", text) for _, text in said)


@pytest.mark.skipif(bool(keeper.lacking()), reason=keeper.lacking())
def test_replicated_tables_are_made_by_zookeeper(tmp_path: Path) -> None:
    """The engine takes each CREATE TABLE as replicas get it, by its own path and by the server's default one."""
    # Readers' tables are of one form: some always, all on request.
    own = [reader for reader in readers().values() if reader.is_own][:: 1 if LONG else 6]
    with ClickHouse(f"chdb://{copy_migrated(tmp_path / 'plain')}").session() as client:
        types = {reader.file: reader_tables.column_types(client, reader) for reader in own}
        before = sort_keys._sort_key(client, "performance_metrics")
        other = sort_keys._new_table(client, "performance_metrics", "other", before, "customer_id")
    statements = [*every_statement(types, own), other, "EXCHANGE TABLES performance_metrics AND other"]
    tables = {name for s in statements for name in re.findall(r"^CREATE TABLE IF NOT EXISTS (\w+)", s)}
    assert tables >= made_tables() - {reader.table for reader in readers().values() if reader not in own}
    by_default = {"metric_batches", "coverage", "judge_dialects"}  # a table of each form: the others differ in columns
    sent = [("path", ddl.rendered(statement, MODES["path"])) for statement in statements]
    sent += [
        ("database", ddl.rendered(s, MODES["database"])) for s in statements if by_default.intersection(s.split()[5:6])
    ]
    with keeper.ZooKeeper() as zookeeper:
        against, paths = keeper.refused(zookeeper.port, sent, tmp_path)
    assert against == []
    assert sorted(paths) == sorted(
        [f"/clickhouse/tables/01/path/{table}" for table in tables]
        + [f"/clickhouse/bare/01/database/{table}" for table in by_default]
    )
