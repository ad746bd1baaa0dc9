"""What `optiinfra run` says at its end: what failed, the rows of every reader, and where to look next."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from optiinfra_dagster.cli.collect import MOST_TOLD, RunReport, add_troubles, summary
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage.sql import readers
from tests.support.spine import Spine, newest_window

if TYPE_CHECKING:
    from pathlib import Path

WINDOW = newest_window()
ROWS = {("application", "summary"): 3, ("cost", "by_service"): 2, ("resource", "inventory"): 0}


@pytest.fixture(scope="module")
def spine(tmp_path_factory: pytest.TempPathFactory) -> Spine:
    """A place where three readers have published a window, one of them without rows."""
    home: Path = tmp_path_factory.mktemp("ended") / "home"
    spine = Spine.at(home)
    published = [
        [readers()[key].table, "", "", windows.floor_to(readers()[key].length, WINDOW), 1, count, "ok"]
        for key, count in ROWS.items()
    ]
    names = ["dataset", "customer_id", "provider", "window_start", "batch", "rows", "status"]
    with spine.clickhouse.session() as client:
        client.insert("metric_batches", published, column_names=names)
    return spine


@pytest.mark.parametrize(
    ("of_first", "worth_reading"),
    [
        ({"application": {"interactions": "s3://logs/", "provider": "aws"}}, ["application summary --customer first"]),
        ({"aws": [{"account_id": "1" * 12}]}, ["cost by_service --customer first --limit 10"]),
        ({"vultr": [{"api_key": {"env": "KEY"}}], "families": ["resource"]}, []),
    ],
)
def test_a_run_ends_with_readers_that_have_rows_and_that_the_first_customer_has(
    spine: Spine, of_first: dict[str, Any], worth_reading: list[str]
) -> None:
    other = {"id": "other", "name": "Other", "aws": [{"account_id": "2" * 12}]}
    customers = [{"id": "first", "name": "First", **of_first}, other]
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}))
    lines = summary(spine.settings, spine.clickhouse, WINDOW, load_customers(spine.settings.customers_path)[0])

    at = next(number for number, line in enumerate(lines) if line.startswith("Next:"))
    *commands, last = lines[at:]
    assert [line.partition(" read ")[2] for line in commands] == worth_reading
    assert last.endswith("make dev, for the Dagster UI and the schedule")


@pytest.mark.parametrize(
    ("called", "command"),
    [("sub/optiinfra", "sub/optiinfra"), ("/x/cli/__main__.py", "PYTHON -m optiinfra_dagster.cli")],
)
def test_what_a_run_proposes_can_be_typed_where_it_was_started(
    spine: Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, called: str, command: str
) -> None:
    """As a module, it proposed a path that is no program, and in a folder without a Makefile `make dev`."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [called])
    monkeypatch.setenv("PATH", "")
    spine.settings.customers_path.write_text(
        yaml.safe_dump({"customers": [{"id": "first", "name": "First", "aws": [{"account_id": "1" * 12}]}]})
    )
    lines = summary(spine.settings, spine.clickhouse, WINDOW, load_customers(spine.settings.customers_path)[0])
    command = command.replace("PYTHON", os.path.relpath(sys.executable))
    assert [line.removeprefix("Next:").strip() for line in lines[-2:]] == [
        f"{command} read cost by_service --customer first --limit 10",
        f"{command} dev, for the Dagster UI and the schedule",
    ]


def test_of_many_customers_that_a_cloud_refuses_a_dozen_is_told_and_the_others_are_counted(tmp_path: Path) -> None:
    spine = Spine.at(tmp_path / "home")
    names = [f"customer-{n:03d}" for n in range(200)]
    customers = [{"id": name, "name": name, "aws": [{"account_id": f"{n:012d}"}]} for n, name in enumerate(names)]
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": customers}))
    statuses = {"resource": "failed", "performance": "partial"}
    rows = [
        [family, name, "aws", WINDOW, 1, 0, status, f"{name} is refused"]
        for family, status in statuses.items()
        for name in names[: 200 if family == "resource" else MOST_TOLD + 1]
    ]
    columns = ["dataset", "customer_id", "provider", "window_start", "batch", "rows", "status", "error"]
    with spine.clickhouse.session() as client:
        client.insert("metric_batches", rows, column_names=columns)
    report = RunReport()
    add_troubles(report, spine.clickhouse, load_customers(spine.settings.customers_path), WINDOW, WINDOW)
    assert report.errors == [
        *(f"{name} aws/resource: 1 window failed: {name} is refused" for name in names[:MOST_TOLD]),
        "aws/resource: 188 more customers failed, told by metric_batches.error",
    ]
    assert len(report.warnings) == MOST_TOLD + 1
    assert report.warnings[-1] == "aws/performance: 1 more customer is incomplete, told by metric_batches.error"
