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

from optiinfra_dagster.definitions import build_defs
from optiinfra_dagster.settings import Settings
from tests.conftest import PROJECT

RESOURCES = ["aws/resource", "azure/resource", "gcp/resource", "vultr/resource"]
COLLECTED = sorted([*RESOURCES, "aws/performance"])
READERS = {
    "performance/latest": ["aws/performance"],
    "performance/summary": ["aws/performance"],
    "resource/by_type": RESOURCES,
    "resource/changes": RESOURCES,
    "resource/inventory": RESOURCES,
    "resource/summary": RESOURCES,
}

EXPECTED: dict[str, Any] = {
    "assets": {
        **{key: {"group": key.split("/")[0], "deps": [], "io_manager": "io_manager"} for key in RESOURCES},
        "aws/performance": {"group": "aws", "deps": ["aws/resource"], "io_manager": "io_manager"},
        **{key: {"group": "readers", "deps": deps, "io_manager": "io_manager"} for key, deps in READERS.items()},
    },
    "checks": [f"{key}:{check}" for key in COLLECTED for check in ("every_customer_published", "no_duplicates")],
    "jobs": {
        "aws_collection": ["aws/performance", "aws/resource"],
        "azure_collection": ["azure/resource"],
        "gcp_collection": ["gcp/resource"],
        "vultr_collection": ["vultr/resource"],
        "readers": sorted(READERS),
    },
    "schedules": {
        f"{provider}_every_15_minutes": ["5,20,35,50 * * * *", "UTC", "RUNNING", f"{provider}_collection"]
        for provider in ("aws", "azure", "gcp", "vultr")
    },
    "sensors": {"refresh_readers": "RUNNING", "repair": "RUNNING"},
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
        assert isinstance(partitions, dg.TimeWindowPartitionsDefinition)
        assert (partitions.cron_schedule, partitions.timezone) == ("*/15 * * * *", "UTC")
        assert partitions.fmt == "%Y-%m-%dT%H:%MZ"
        assert node.backfill_policy == dg.BackfillPolicy.single_run()
        assert node.description


def test_every_reader_has_its_sql_file(defs: dg.Definitions) -> None:
    for node in defs.get_repository_def().asset_graph.asset_nodes:
        if node.group_name == "readers":
            assert (PROJECT / node.metadata["sql"]).is_file()


def test_the_definitions_load_without_any_sdk(tmp_path: Path) -> None:
    heavy = [
        "boto3", "botocore", "pandas", "pyarrow", "clickhouse_connect", "chdb", "moto", "google.cloud", "azure", "groq",
        "numpy", "rich.table", "optiinfra_dagster.lab",
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", "import json, sys, optiinfra_dagster.definitions; print(json.dumps([*sys.modules]))"],
        env={"DAGSTER_HOME": str(tmp_path), "PATH": ""}, cwd=PROJECT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not set(heavy) & set(json.loads(done.stdout))


def test_the_workspace_names_what_can_be_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (location,) = yaml.safe_load((PROJECT / "workspace.yaml").read_text())["load_from"]
    module = importlib.import_module(location["python_module"]["module_name"])
    assert isinstance(module.defs, dg.Definitions)
    assert location["python_module"]["location_name"] == "optiinfra"
