"""Runs of the real jobs on a real Dagster instance, and of the real process that is killed in the middle of one."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest
import yaml
from dagster_shared.serdes import serialize_value

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.assets.collection_assets import MOST_LOGGED
from optiinfra_dagster.automation.run_tags import range_tags
from optiinfra_dagster.cli.dagster_runs import prepare_home
from optiinfra_dagster.model import windows
from tests.support.engines import copy_dagster
from tests.support.spine import ACCOUNTS, Spine, newest_window

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import datetime
    from pathlib import Path

    from optiinfra_dagster.lab import CloudLab
    from tests.collection.conftest import StartLab

METRICS = ["resource", "performance"]  # the bill of three accounts takes half of a run's time
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
CLI = "from optiinfra_dagster.cli.main import main; main()"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance with its SQLite storage in the test's folder."""
    with dg.DagsterInstance.local_temp(copy_dagster(tmp_path)) as instance:
        yield instance


@pytest.fixture
def spine(free_spine: Spine) -> Spine:
    """Whole collection jobs run here, costs among them."""
    return free_spine


@pytest.fixture
def job(spine: Spine) -> dg.JobDefinition:
    """The AWS job over the spine's engine."""
    defs = build_defs(spine.settings, {"clickhouse": spine.clickhouse, "io_manager": _io_manager(spine)})
    return defs.resolve_job_def("aws_collection")


def materialize(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    first: datetime,
    last: datetime | None = None,
    *,
    of: Sequence[str] = METRICS,
    **scope: Any,
) -> dg.ExecuteInProcessResult:
    """Run the job, or of it what collects the named families, for a window or a range."""
    return job.execute_in_process(
        instance=instance,
        partition_key=windows.key(first) if last is None else None,
        tags=None if last is None else range_tags(first, last),
        asset_selection=[dg.AssetKey(["aws", family]) for family in of] or None,
        run_config={**QUIET, "resources": {"scope": {"config": scope}}},
        raise_on_error=False,
    )


def _io_manager(spine: Spine) -> dg.IOManager:
    from optiinfra_dagster.storage.io_manager import ClickHouseIOManager

    return ClickHouseIOManager(spine.clickhouse)


def metadata(result: dg.ExecuteInProcessResult, family: str) -> dict[str, Any]:
    """The metadata of an asset's only materialization, as plain values."""
    events = [e for e in result.get_asset_materialization_events() if e.asset_key == dg.AssetKey(["aws", family])]
    return {name: value.value for name, value in events[0].materialization.metadata.items()}


def failure_of(result: dg.ExecuteInProcessResult) -> str:
    """What the first failed step says."""
    failure = next(e for e in result.all_events if e.event_type is dg.DagsterEventType.STEP_FAILURE)
    told = failure.step_failure_data.user_failure_data
    return str(told.description) if told else ""


@pytest.mark.parametrize(
    "customer", ["application: {interactions: LOGS, provider: aws}", "vultr: [{api_key: {env: KEY}}]"]
)
def test_a_run_succeeds_where_nobody_has_an_account(
    customer: str, spine: Spine, job: dg.JobDefinition, instance: dg.DagsterInstance, tmp_path: Path
) -> None:
    """A customer may have logs alone, or another cloud."""
    logs = tmp_path / "logs"
    logs.mkdir()
    customer = customer.replace("LOGS", f"{logs}/")
    spine.settings.customers_path.write_text(f"customers: [{{id: acme, name: Acme, {customer}}}]\n")
    result = materialize(job, instance, newest_window(), of=())
    assert result.success, failure_of(result)
    assert {check.check_name for check in result.get_asset_check_evaluations()} >= {"within_budget", "totals_match"}


def test_a_run_publishes_checks_and_tells(
    start_lab: StartLab, spine: Spine, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    lab, window, customers = start_lab(), newest_window(), ["acme", "globex"]
    spine.write_customers(lab, customers)
    began = os.times()
    result = materialize(job, instance, window, of=())
    ended = os.times()
    assert result.success
    assert all(check.passed for check in result.get_asset_check_evaluations())
    calls = lab.control.calls()
    told = [metadata(result, family) for family in ("resource", "performance", "cost")]
    assert [t["dagster/row_count"] for t in told[:2]] == [
        len(spine.view(f"{f}_metrics")) for f in ("resource", "performance")
    ]
    # A customer enters its account once, for all families.
    assert sum(t["api_calls"] for t in told) == calls.count()
    assert told[1]["api_calls"] == calls.count("cloudwatch")
    of_the_run = ended.user + ended.system - began.user - began.system  # the first output tells what was before, too
    assert 0 < sum(t["cpu_seconds"] for t in told[1:]) < of_the_run
    table = told[1]["customers"].records
    assert [(r.data["customer"], r.data["outcome"]) for r in table] == [(c, "ok") for c in customers]


def test_a_second_run_calls_nobody(
    start_lab: StartLab, spine: Spine, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, ["acme", "globex"], families=METRICS)
    first = materialize(job, instance, window)
    assert first.success
    before = spine.view("performance_metrics")
    lab.control.reset()
    spine.settings.customers_path.write_text(f"# edited\n{spine.settings.customers_path.read_text()}")
    again = materialize(job, instance, window)
    assert again.success
    # An edit is used by the next run, without a restart, and the materialization says which state of the file it was.
    versions = [metadata(result, "performance")["customers_file"] for result in (first, again)]
    assert all(re.fullmatch(r"of 20\d\d-\d\d-\d\dT\d\d:\d\dZ, version [0-9a-f]{8}", version) for version in versions)
    assert versions[0].split()[-1] != versions[1].split()[-1]
    assert lab.control.calls().count() == 0
    told = metadata(again, "performance")
    assert (told["slices"], told["dagster/row_count"]) == ({"already published": 2}, len(before))
    assert spine.view("performance_metrics") == before


def test_run_config_limits_a_range_to_a_customer(
    start_lab: StartLab, spine: Spine, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, families=METRICS)
    result = materialize(job, instance, window - windows.WINDOW, window, customers=["globex"])
    assert result.success
    assert {row["customer_id"] for row in spine.view("performance_metrics")} == {"globex"}
    assert {row["window_start"] for row in spine.view("performance_metrics")} == {window - windows.WINDOW, window}
    failed = {check.asset_key.path[-1] for check in result.get_asset_check_evaluations() if not check.passed}
    # Nobody else was asked for. Whether the earlier window's inventory can still be had depends on the minute.
    assert failed <= {"resource"}


def test_an_unknown_customer_fails_the_run_at_once(
    start_lab: StartLab, spine: Spine, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab)
    result = materialize(job, instance, window, customers=["globxe"])
    assert not result.success
    assert "globex" in failure_of(result)
    assert lab.control.calls().count() == 0


def test_the_asset_fails_only_where_every_customer_failed(
    start_lab: StartLab, spine: Spine, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, ["acme", "globex"])
    lab.control.add_faults({"action": "deny", "account": ACCOUNTS["globex"]})
    result = materialize(job, instance, window)
    assert result.success
    failed = {c.description for c in result.get_asset_check_evaluations() if not c.passed}
    assert failed
    assert not [text for text in failed if not str(text).startswith("Not published: globex; ")]
    lab.control.add_faults({"action": "deny"})
    result = materialize(job, instance, window, refresh=True)
    assert not result.success
    assert failure_of(result).startswith("Every slice of this asset failed.")


def test_the_checks_of_an_asset_that_failed_name_its_customers(
    start_lab: StartLab, spine: Spine, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    """Dagster runs no check after an asset that failed, nor after one that was left out: "Execution failed"."""
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, ["acme", "globex"])

    def told(family: str, name: str, partition: str | None = windows.key(window)) -> tuple[str, str]:
        key = dg.AssetCheckKey(dg.AssetKey(["aws", family]), name)
        newest = instance.event_log_storage.get_latest_asset_check_execution_by_key([key])[key]
        assert newest.event
        event = newest.event.dagster_event
        assert event
        found = event.event_specific_data
        assert isinstance(found, dg.AssetCheckEvaluation), found
        assert found.partition == partition
        records = instance.fetch_materializations(key.asset_key, limit=1).records
        target = found.target_materialization_data
        assert (target and target.storage_id) == (records[0].storage_id if records else None)
        return newest.status.value, str(found.description)

    def published(family: str, partition: str | None = windows.key(window)) -> tuple[str, str]:
        return told(family, "every_customer_published", partition)

    assert materialize(job, instance, window).success
    lab.control.add_faults({"action": "deny", "operation": "GetMetricData"})
    assert not materialize(job, instance, window, refresh=True).success
    assert published("resource") == ("SUCCEEDED", "2 customers published.")
    status, text = published("performance")
    assert (status, text.splitlines()[0]) == ("SUCCEEDED", "2 customers published.")  # what was published before stays
    before = window - windows.WINDOW
    assert not materialize(job, instance, before, of=["performance"]).success
    status, text = published("performance", windows.key(before))
    assert (status, text.splitlines()[0]) == ("FAILED", "Not published: acme, globex; 2 customers were due.")
    assert f"| globex | failed, needs a person | {windows.key(before)} | " in text
    assert "GetMetricData" in text
    assert told("performance", "no_duplicates", windows.key(before)) == ("SUCCEEDED", "No key stands twice.")

    lab.control.add_faults({"action": "deny"})
    spine.write_customers(lab, ["initech"])
    assert not materialize(job, instance, window).success
    status, text = published("resource")
    assert (status, text.splitlines()[0]) == ("FAILED", "Not published: initech; 1 customer was due.")
    status, text = published("performance")
    assert (status, text.splitlines()[0]) == ("FAILED", "Not published: initech; 1 customer was due.")
    why = "aws/resource failed, which it needs: the check there says why"
    assert f"| initech | not collected yet | unknown | {why} |" in text
    assert told("performance", "within_budget")[0] == "SUCCEEDED"

    assert not materialize(job, instance, before, window, of=["performance"]).success  # a range, as Dagster stores it
    assert published("performance", None)[0] == "FAILED"

    spine.settings.customers_path.write_text("customers: [{id: acme}]\n")
    assert not materialize(job, instance, window, of=["resource"]).success
    status, text = published("resource")
    assert status == "FAILED"
    assert text.startswith("Nothing was collected. ")
    assert "customers.yaml" in text


def test_what_a_run_of_200_failing_customers_leaves_behind_is_bounded(
    start_lab: StartLab, spine: Spine, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, ["acme"])
    (one,) = yaml.safe_load(spine.settings.customers_path.read_text())["customers"]
    (account,) = one["aws"]
    many = []
    for n in range(200):
        own = {"account_id": f"{n:012d}", "role_arn": f"arn:aws:iam::{n:012d}:role/reader"}
        many.append({**one, "id": f"customer-{n:03d}", "aws": [{**account, **own}]})
    spine.settings.customers_path.write_text(yaml.safe_dump({"customers": many}))
    lab.control.add_faults({"action": "deny"})
    result = materialize(job, instance, window, of=["resource"])
    told = failure_of(result)
    assert told.startswith("Every slice of this asset failed.\ncustomer-000: ")
    assert told.endswith("\nand 188 customers more: `optiinfra status --details`")
    events = instance.all_logs(result.run_id)
    warnings = [one for one in events if one.level == logging.WARNING and "customer-" in one.user_message]
    assert len(warnings) == MOST_LOGGED
    sizes = {one.get_dagster_event().event_type_value if one.is_dagster_event else "log": 0 for one in events}
    for one in events:
        sizes[one.get_dagster_event().event_type_value if one.is_dagster_event else "log"] += len(serialize_value(one))
    assert sum(sizes.values()) < 150_000, sizes
    assert spine.query("SELECT count() AS n FROM metric_batches WHERE status = 'failed'") == [{"n": 200}]


@pytest.mark.timeout(240)  # two processes of 15 s on a machine with other work
def test_a_kill_in_the_middle_costs_what_was_not_flushed(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab()
    spine, window = Spine.at(tmp_path / "killed"), newest_window()
    span = ["--from", windows.key(window), "--to", windows.key(window + windows.WINDOW)]
    spine.write_customers(lab)
    spine.collect("resource", [window])
    lab.control.add_faults(
        {"action": "delay", "seconds": 60.0, "account": ACCOUNTS["initech"], "operation": "GetMetricData"}
    )
    process = subprocess.Popen(
        [sys.executable, "-c", CLI, "collect", "--family", "performance", *span],
        env={**spine.env, **lab.env}, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        next(line for line in process.stderr if line.startswith("aws/performance: 2 customers published"))  # a flush
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert {row["customer_id"] for row in spine.view("performance_metrics")} == {"acme", "globex"}
    lab.control.reset()
    spine.collect("performance", [window])
    assert lab.control.calls().count(account=ACCOUNTS["acme"]) == 0
    assert lab.control.calls().count("cloudwatch", account=ACCOUNTS["initech"]) > 0
    clean = Spine.at(tmp_path / "clean")
    clean.write_customers(lab)
    for family in METRICS:
        clean.collect(family, [window])
    for table in ("resource_metrics", "performance_metrics"):
        assert content(spine, table) == content(clean, table)


@contextlib.contextmanager
def two_shards(spine: Spine, lab: CloudLab, folder: Path) -> Iterator[tuple[dg.DagsterInstance, Callable[[], None]]]:
    """A home, and what runs the newest window of AWS there, in two processes at once, a shard each."""
    prepare_home(spine.settings)
    tags = json.dumps({"dagster/partition": windows.key(newest_window())})

    def run() -> None:
        started = []
        for shard in ("1/2", "2/2"):
            file = folder / f"shard{shard[0]}.yaml"
            file.write_text(json.dumps({**QUIET, "resources": {"scope": {"config": {"shard": shard}}}}))
            command = [
                sys.executable, "-m", "dagster", "job", "execute", "-m", "optiinfra_dagster.definitions",
                "-j", "aws_collection", "--tags", tags, "--config", str(file),
            ]  # fmt: skip
            started.append(subprocess.Popen(command, env={**spine.env, **lab.env}, stderr=subprocess.PIPE, text=True))
        for process in started:
            _, err = process.communicate()
            assert process.returncode == 0, err

    with dg.DagsterInstance.from_config(str(spine.home)) as instance:
        assert instance.get_run_records(limit=1) == []  # two that make SQLite's tables at once collide
        yield instance, run


@pytest.mark.long
@pytest.mark.timeout(300)  # two processes beside each other, each 10 CPU-s
def test_shards_as_two_processes_at_once_collect_every_slice_once(
    start_lab: StartLab, spine: Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")  # set by what makes the home, and put back after the test
    lab = start_lab()
    spine.write_customers(lab, families=["resource", "performance"])
    with two_shards(spine, lab, tmp_path) as (_, run):
        run()
    for family in ("resource", "performance"):
        attempts = {customer: [row["outcome"] for row in rows] for customer, rows in spine.ledger(family).items()}
        assert attempts == {customer: ["ok"] for customer in ACCOUNTS}
    by_run = spine.query("SELECT run_id, groupUniqArray(customer_id) AS of FROM metric_batches GROUP BY run_id")
    assert sorted(sorted(row["of"]) for row in by_run) == [["acme"], ["globex", "initech"]]


@pytest.mark.long
@pytest.mark.timeout(300)  # two processes, for most of the time one after the other
@pytest.mark.parametrize("limit", [1, None])
def test_the_limit_of_a_providers_pool_holds_across_runs(
    start_lab: StartLab, spine: Spine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", "")
    lab = start_lab()
    lab.control.add_faults({"action": "delay", "seconds": 3})  # for a time in which the two would be seen together
    spine.write_customers(lab, families=["resource"])
    with two_shards(spine, lab, tmp_path) as (instance, run):
        if limit:
            instance.event_log_storage.set_concurrency_slots("aws", limit)
        run()
        of_runs = []
        for of_run in instance.get_runs():
            moments = {
                entry.get_dagster_event().event_type: entry.timestamp
                for entry in instance.all_logs(of_run.run_id)
                if entry.is_dagster_event and entry.get_dagster_event().step_key == "aws__resource"
            }
            of_runs.append((moments[dg.DagsterEventType.STEP_START], moments[dg.DagsterEventType.STEP_SUCCESS]))
        first, second = sorted(of_runs)
        assert (first[1] <= second[0]) is (limit == 1)


def test_the_check_of_a_shard_does_not_hide_what_failed_in_another(
    start_lab: StartLab, spine: Spine, job: dg.JobDefinition, instance: dg.DagsterInstance
) -> None:
    """Acme is in the second shard, the two others in the first."""
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, families=METRICS)
    lab.control.add_faults({"action": "deny", "account": ACCOUNTS["globex"]})

    def check(shard: str, at: datetime) -> dg.AssetCheckEvaluation:
        evaluations = materialize(job, instance, at, of=["resource"], shard=shard).get_asset_check_evaluations()
        name = ("every_customer_published", dg.AssetKey(["aws", "resource"]))
        (found,) = [one for one in evaluations if (one.check_name, one.asset_key) == name]
        return found

    first = check("2/2", window)
    assert (first.passed, first.metadata["customers_due"].value) == (True, 1)  # nothing is known of the others yet
    assert check("1/2", window).metadata["customers_missing"].value == "globex"
    last = check("2/2", window)
    assert (last.passed, last.metadata["customers_due"].value) == (False, 3)
    assert last.metadata["customers_missing"].value == "globex"


def content(spine: Spine, table: str) -> list[dict[str, Any]]:
    """The rows of the table itself, without what depends on when they were collected."""
    rows = spine.query(f"SELECT * EXCEPT (batch, collected_at) FROM {table}")  # noqa: S608
    return sorted(rows, key=repr)
