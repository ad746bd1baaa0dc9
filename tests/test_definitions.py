"""The assembled definitions: what there is, and that loading them stays cheap."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.storage.schema import DATASETS
from optiinfra_dagster.storage.sql import SQL, readers
from tests.conftest import PROJECT
from tests.support.spine import Spine

CLOUDS = ["aws", "azure", "gcp", "vultr"]
RESOURCES, PERFORMANCES, COSTS, APPLICATIONS = (
    [f"{cloud}/{family}" for cloud in CLOUDS] for family in ("resource", "performance", "cost", "application")
)
COLLECTED = sorted([*RESOURCES, *PERFORMANCES, *COSTS, *APPLICATIONS])
OF_FAMILY = {"resource": RESOURCES, "performance": PERFORMANCES, "cost": COSTS, "application": APPLICATIONS}
READERS = {  # each file, and what it is computed from
    f"{reader.family}/{reader.name}": sorted("/".join(key) for key in reader.computed_from) or OF_FAMILY[reader.family]
    for reader in readers().values()
}
GOLDEN = "application/golden"  # of a judge's version, not of a window
STATUS = "operations/status"  # of a moment
WITHOUT_WINDOWS = {GOLDEN, STATUS}

EXPECTED: dict[str, Any] = {
    "assets": {
        **{
            key: {"group": cloud, "deps": deps, "io_manager": "io_manager"}
            for cloud in CLOUDS
            for key, deps in (
                (f"{cloud}/resource", []),
                (f"{cloud}/performance", [f"{cloud}/resource"]),
                (f"{cloud}/cost", [f"{cloud}/resource"]),
                (f"{cloud}/application", []),
            )
        },
        **{key: {"group": "readers", "deps": deps, "io_manager": "io_manager"} for key, deps in READERS.items()},
        GOLDEN: {"group": "quality", "deps": [], "io_manager": "io_manager"},
        STATUS: {"group": "operations", "deps": [], "io_manager": "io_manager"},
    },
    "checks": sorted(
        [f"{key}:{check}" for key in COLLECTED for check in ("every_customer_published", "no_duplicates")]
        + [f"{key}:within_budget" for key in PERFORMANCES]
        + [f"{key}:totals_match" for key in COSTS]
        + [f"{STATUS}:nothing_is_red"]
    ),
    "jobs": {
        **{
            f"{cloud}_collection": [
                f"{cloud}/{family}" for family in ("application", "cost", "performance", "resource")
            ]
            for cloud in CLOUDS
        },
        "readers": sorted(READERS),
        "housekeeping": [],
    },
    "schedules": {
        f"{provider}_every_15_minutes": ["5,20,35,50 * * * *", "UTC", "RUNNING", f"{provider}_collection"]
        for provider in CLOUDS
    }
    | {"nightly_housekeeping": ["10 3 * * *", "UTC", "RUNNING", "housekeeping"]}
    | {"golden_daily": ["40 2 * * *", "UTC", "RUNNING", "__anonymous_asset_job_golden_daily"]},
    "sensors": {
        "refresh_readers": "RUNNING",
        "repair": "RUNNING",
        "alert": "RUNNING",
        "end_dead_runs": "RUNNING",
    },
}


@pytest.fixture(scope="module")
def defs(tmp_path_factory: pytest.TempPathFactory) -> dg.Definitions:
    home = tmp_path_factory.mktemp("home")
    return build_defs(Settings(dagster_home=home, customers_path=home / "customers.yaml"))


def test_what_there_is(defs: dg.Definitions) -> None:
    repository = defs.get_repository_def()
    graph = repository.asset_graph
    found = {
        "assets": {
            node.key.to_user_string(): {
                "group": node.group_name,
                "deps": sorted(key.to_user_string() for key in node.parent_keys),
                "io_manager": node.assets_def.get_io_manager_key_for_asset_key(node.key),
            }
            for node in sorted(graph.asset_nodes, key=lambda node: node.key)
        },
        "checks": sorted(f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys),
        "jobs": {
            job.name: sorted(key.to_user_string() for key in job.asset_layer.selected_asset_keys)
            for job in repository.get_all_jobs()
            if not job.name.startswith("__")
        },
        "schedules": {
            one.name: [one.cron_schedule, one.execution_timezone, one.default_status.value, one.job_name]
            for one in repository.schedule_defs
        },
        "sensors": {one.name: one.default_status.value for one in repository.sensor_defs},
    }
    assert found == EXPECTED


def test_every_asset_and_check_has_the_same_15_minute_windows_and_one_run_for_a_range(defs: dg.Definitions) -> None:
    graph = defs.get_repository_def().asset_graph
    for node in graph.asset_nodes:
        partitions = node.partitions_def
        if node.key.to_user_string() in WITHOUT_WINDOWS:
            assert partitions is None
            continue
        assert isinstance(partitions, dg.TimeWindowPartitionsDefinition)
        assert (partitions.cron_schedule, partitions.timezone) == ("*/15 * * * *", "UTC")
        assert partitions.fmt == "%Y-%m-%dT%H:%MZ"
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
        assert node.description


def test_every_reader_has_its_sql_file(defs: dg.Definitions) -> None:
    files = {path.stem.replace("_", "/", 1) for path in (SQL / "readers").glob("*.sql")}
    assert files == READERS.keys() >= {"performance/summary", "performance/trends", "cost/waste"}
    assert READERS["performance/trends"] == ["performance/daily", "performance/hourly"]
    for node in defs.get_repository_def().asset_graph.asset_nodes:
        if node.group_name == "readers":
            sql = (PROJECT / node.metadata["sql"]).read_text()
            assert node.metadata["query"] == dg.MarkdownMetadataValue(f"```sql\n{sql}```")


def test_every_asset_says_whose_it_is_where_its_code_is_and_of_what_version(defs: dg.Definitions) -> None:
    versions: dict[str, set[str | None]] = {}
    for node in defs.get_repository_def().asset_graph.asset_nodes:
        key = node.key.to_user_string()
        assert node.owners == ["team:optiinfra"]
        references = node.metadata["dagster/code_references"].code_references
        assert references
        for one in references:
            assert Path(one.file_path).is_file(), key
            assert 0 < one.line_number <= len(Path(one.file_path).read_text().splitlines())
        versions.setdefault(node.group_name, set()).add(node.code_version)
        if key in WITHOUT_WINDOWS:  # of a judge's version: it is materialized when that changes
            assert node.freshness_policy is None
        else:
            assert isinstance(node.code_version, str)
            assert node.freshness_policy is not None
    assert {group: len(of_group) for group, of_group in versions.items()} == {
        **dict.fromkeys(CLOUDS, 1), "operations": 1, "quality": 1, "readers": len(READERS),
    }  # fmt: skip
    assert len(set().union(*(versions[cloud] for cloud in CLOUDS))) == len(CLOUDS)


def test_the_columns_of_every_asset_are_those_of_its_view(defs: dg.Definitions, tmp_path: Path) -> None:
    with Spine.at(tmp_path).clickhouse.session() as client:
        found = client.query("SELECT table, name, type FROM system.columns WHERE database = currentDatabase()")
    real: dict[str, dict[str, str]] = {}
    for table, column, kind in found.result_rows:
        real.setdefault(table, {})[column] = kind
    of_own = {reader.file: reader.is_own for reader in readers().values()}
    for node in defs.get_repository_def().asset_graph.asset_nodes:
        if node.key.to_user_string() == STATUS:  # it has no table
            continue
        columns = node.metadata["dagster/column_schema"].columns
        assert {one.name: one.type for one in columns} == real[node.metadata["dagster/table_name"]]
        name = DATASETS[node.metadata["dataset"]].table if "dataset" in node.metadata else node.metadata["table"]
        assert node.metadata["dagster/table_name"] == f"{name}_current"
        if not of_own.get(name):
            assert [one.name for one in columns if not one.description] == [], name
        if name == "performance_trends":  # a comment of the schema describes its column
            assert {one.name: one.description for one in columns}["days"] == "1, 7 or 30"


LOAD = """
import gc, json, sys, optiinfra_dagster.definitions
print(json.dumps([[*sys.modules], gc.isenabled(), gc.get_freeze_count(), len(gc.get_objects())]))
"""


def test_the_definitions_load_without_sdk_and_kinds_and_are_never_looked_through_for_garbage(tmp_path: Path) -> None:
    heavy = [
        "boto3", "botocore", "pandas", "pyarrow", "clickhouse_connect", "chdb", "moto", "google.cloud", "azure", "groq",
        "numpy", "rich.table", "sqlalchemy", "alembic", "mcp", "uvicorn", "optiinfra_dagster.lab",
        *(f"optiinfra_dagster.providers.{cloud}.services" for cloud in ("aws", "azure", "gcp", "vultr")),
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        env={"DAGSTER_HOME": str(tmp_path), "PATH": ""}, cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    loaded, enabled, frozen, looked_through = json.loads(done.stdout)
    assert not set(heavy) & set(loaded)
    assert enabled
    assert frozen > 100_000
    assert looked_through < 1_000


def test_the_command_line_does_not_build_what_it_builds_later() -> None:
    """`definitions` builds everything when it is imported, 1 CPU-s; a command does so for its own settings."""
    code = "import json, sys, optiinfra_dagster.cli.dagster_runs; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    assert "optiinfra_dagster.assembly" in loaded
    assert "optiinfra_dagster.definitions" not in loaded


def test_the_workspace_names_what_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (location,) = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
    module = importlib.import_module(location["python_module"]["module_name"])
    assert isinstance(module.defs, dg.Definitions)
    assert location["python_module"]["location_name"] == "optiinfra"
