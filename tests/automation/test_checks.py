"""The asset checks name the customers whose slices are not published, and the keys that stand twice."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from optiinfra_dagster.assembly import build_defs
from optiinfra_dagster.assets.partitions import window_partitions
from optiinfra_dagster.assets.scope import Scope
from optiinfra_dagster.automation import checks
from optiinfra_dagster.automation.jobs import collection_job
from optiinfra_dagster.automation.repair_plan import Repair
from optiinfra_dagster.automation.status import ledger_facts
from optiinfra_dagster.lab import CloudLab
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import load_customers
from optiinfra_dagster.storage.slice_report import Report
from tests.automation.conftest import Ledger, before
from tests.support.spine import fleet, newest_window, world

if TYPE_CHECKING:
    from tests.support.spine import Spine

FAMILY = "performance"
# Windows that have passed: a partition of the future does not exist.
EARLIER, WINDOW = before(13), before(12)


def evaluate(
    spine: Spine, name: str, asked: Sequence[datetime] = (WINDOW,), customers: Sequence[str] = ()
) -> dg.AssetCheckEvaluation:
    """The check of aws/performance in a run of its own, over a window or a range of windows, of some customers."""
    partitions = window_partitions(spine.settings.partitions_start)
    (check,) = (
        one
        for one in checks.build(spine.settings, partitions)
        if next(iter(one.check_keys)) == dg.AssetCheckKey(dg.AssetKey(["aws", FAMILY]), name)
    )

    @dg.asset(key=["aws", FAMILY], partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def collected() -> None: ...

    job = dg.define_asset_job("check", [collected])
    definitions = dg.Definitions(
        [collected],
        asset_checks=[check],
        jobs=[job],
        resources={"clickhouse": spine.clickhouse, "scope": Scope(customers=list(customers))},
        executor=dg.in_process_executor,
    )
    first, last = windows.key(min(asked)), windows.key(max(asked))
    result = definitions.resolve_job_def("check").execute_in_process(
        partition_key=first if first == last else None,
        tags={}
        if first == last
        else {"dagster/asset_partition_range_start": first, "dagster/asset_partition_range_end": last},
    )
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def published(spine: Spine, *asked: datetime) -> dg.AssetCheckEvaluation:
    return evaluate(spine, "every_customer_published", asked or (WINDOW,))


def test_a_window_with_every_customer_passes(spine: Spine, ledger: Ledger) -> None:
    ledger.add(FAMILY, [WINDOW])
    found = published(spine)
    assert found.passed
    assert found.description == "3 customers published."


HEAD = "| customer | outcome | since | why, and what to do |\n|---|---|---|---|"


def test_the_customers_that_are_missing_are_named_with_outcome_since_when_and_why(spine: Spine, ledger: Ledger) -> None:
    ledger.add(FAMILY, [EARLIER, WINDOW], customers=["acme"])
    ledger.add(FAMILY, [EARLIER], customers=["globex"])
    ledger.add(FAMILY, [WINDOW], "failed", customers=["globex"], permanent=True, error="AccessDenied. Check role_arn")
    found = published(spine)
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    assert found.description == (
        f"Not published: globex, initech; 3 customers were due.\n\n{HEAD}\n"
        f"| globex | failed, needs a person | {windows.key(WINDOW)} | AccessDenied. Check role_arn |\n"
        "| initech | not collected yet | unknown |  |"
    )
    assert found.metadata["customers_missing"].value == "globex, initech"
    assert found.metadata["customers_that_need_a_person"].value == "globex"
    assert found.metadata["customers_not_whole"].value == 2


def test_since_when_a_customer_fails_is_told_beyond_the_windows_of_the_run(spine: Spine, ledger: Ledger) -> None:
    ledger.add(FAMILY, [WINDOW], customers=["acme", "initech"])
    ledger.add(FAMILY, [before(14)], customers=["globex"])
    ledger.add(FAMILY, [EARLIER], "partial", customers=["globex"], error="half")
    ledger.add(FAMILY, [WINDOW], "failed", customers=["globex"], error="throttled")
    assert f"| globex | failed | {windows.key(EARLIER)} | throttled |" in str(published(spine).description)


def test_of_many_failing_customers_a_dozen_is_named_and_the_others_are_counted(spine: Spine, ledger: Ledger) -> None:
    everybody = [f"customer-{n:03d}" for n in range(200)]
    accounts = "".join(
        f"  - {{id: {name}, name: {name}, aws: [{{account_id: '{n:012d}'}}]}}\n" for n, name in enumerate(everybody)
    )
    spine.settings.customers_path.write_text(f"customers:\n{accounts}")
    ledger.add(FAMILY, [WINDOW], "failed", customers=everybody, error="no | luck <b>" * 200)
    found = published(spine)
    text = str(found.description)
    dozen = ", ".join(everybody[:12])
    assert text.startswith(f"Not published: {dozen} and 188 more; 200 customers were due.\n")
    assert text.endswith("\n\nand 188 more: `optiinfra status --details`")
    rows = [line for line in text.splitlines() if line.startswith("| customer-")]
    assert [row.split(" ")[1] for row in rows] == everybody[:12]
    assert found.metadata["customers_missing"].value == f"{dozen} and 188 more"
    assert found.metadata["customers_not_whole"].value == 200
    assert len(text) < 6000


def test_what_a_cloud_says_is_no_markup_of_the_table(spine: Spine, ledger: Ledger) -> None:
    ledger.add(FAMILY, [WINDOW], customers=["acme", "globex"])
    bad = "<img src=x> | [a](http://b) _c_ role_arn www.d.e f@g.h"
    ledger.add(FAMILY, [WINDOW], "failed", customers=["initech"], error=bad)
    text = str(published(spine).description)
    assert "\\<img src=x\\> \\| \\[a\\](http\\://b) \\_c\\_ role_arn www\\.d.e f\\@g.h |" in text


def test_an_error_that_was_overcome_is_not_told(spine: Spine, ledger: Ledger) -> None:
    ledger.add(FAMILY, [WINDOW], "failed", error="throttled")
    ledger.add(FAMILY, [WINDOW])
    assert published(spine).passed


def test_a_failure_that_left_an_older_published_slice_in_place_passes(spine: Spine, ledger: Ledger) -> None:
    ledger.add(FAMILY, [WINDOW])
    ledger.add(FAMILY, [WINDOW], "failed", error="throttled")
    assert published(spine).passed


@pytest.mark.parametrize("status", checks.EXCUSED)
def test_a_slice_that_is_not_due_or_not_configured_is_excused(spine: Spine, ledger: Ledger, status: str) -> None:
    ledger.add(FAMILY, [WINDOW], customers=["acme", "globex"])
    ledger.add(FAMILY, [WINDOW], status, customers=["initech"])
    assert published(spine).passed


def test_a_partial_slice_is_a_warning_that_says_what_is_missing(spine: Spine, ledger: Ledger) -> None:
    ledger.add(FAMILY, [WINDOW], customers=["acme", "globex"])
    ledger.add(FAMILY, [WINDOW], "partial", customers=["initech"], error="region eu-west-1 refused")
    found = published(spine)
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.WARN
    assert found.description == (
        f"Incomplete: initech; 3 customers were due.\n\n{HEAD}\n"
        f"| initech | incomplete | {windows.key(WINDOW)} | region eu-west-1 refused |"
    )
    assert found.metadata["customers_incomplete"].value == "initech"


def test_in_a_range_a_window_that_counts_twice_does_not_stand_for_one_that_is_missing(
    spine: Spine, ledger: Ledger
) -> None:
    """A poll customer's window is first not due and then published."""
    ledger.add(FAMILY, [EARLIER, WINDOW], customers=["acme", "globex"])
    ledger.add(FAMILY, [EARLIER], "not_due", customers=["initech"])
    ledger.add(FAMILY, [EARLIER], customers=["initech"])
    found = published(spine, EARLIER, WINDOW)
    assert not found.passed
    assert found.metadata["customers_missing"].value == "initech"


def test_a_poll_that_failed_after_its_windows_were_not_due_is_missing(spine: Spine, ledger: Ledger) -> None:
    ledger.add(FAMILY, [WINDOW], customers=["acme", "globex"])
    ledger.add(FAMILY, [WINDOW], "not_due", customers=["initech"])
    ledger.add(FAMILY, [WINDOW], "failed", customers=["initech"], error="throttled")
    found = published(spine)
    assert found.metadata["customers_missing"].value == "initech"
    assert "| throttled |" in str(found.description)


def test_a_run_of_some_customers_is_not_judged_by_the_others(spine: Spine, ledger: Ledger) -> None:
    ledger.add(FAMILY, [WINDOW], customers=["acme"])
    assert evaluate(spine, "every_customer_published", customers=["acme"]).passed
    found = evaluate(spine, "every_customer_published", customers=["acme", "globex"])
    assert found.metadata["customers_missing"].value == "globex"


def collect(spine: Spine, repair: Repair) -> dg.ExecuteInProcessResult:
    """A repair's run with its checks, as the sensor asks for it."""
    job = build_defs(spine.settings, {"clickhouse": spine.clickhouse}).resolve_job_def(collection_job("aws"))
    return job.execute_in_process(
        partition_key=repair.partition,
        tags=repair.tags,
        run_config={"resources": {"scope": {"config": {"customers": list(repair.customers)}}}},
        asset_selection=[dg.AssetKey(["aws", family]) for family in repair.families],
        raise_on_error=False,
    )


def test_the_check_of_a_repaired_window_is_of_its_partition_and_passes(
    spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = newest_window()
    with CloudLab(world([fleet("ec2:instance")])) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        spine.write_customers(lab, families=["resource"])
        result = collect(spine, Repair("aws", ("resource",), ("acme",), newest, newest))
    found = {e.check_name: e for e in result.get_asset_check_evaluations()}["every_customer_published"]
    assert (found.partition, found.passed) == (windows.key(newest), True)
    assert found.metadata["customers_due"].value == 1


def test_a_run_that_begins_too_late_for_an_inventory_leaves_a_gap_and_fails_nobody(
    spine: Spine, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = newest_window()
    late = newest - 4 * windows.WINDOW
    ledger.add("resource", [late - windows.WINDOW, *windows.span(late + windows.WINDOW, newest)], customers=["acme"])
    tried = spine.ledger("resource")
    with CloudLab(world([fleet("ec2:instance")])) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        spine.write_customers(lab, ["acme"], families=["resource"])
        result = collect(spine, Repair("aws", ("resource",), ("acme",), late, late))
    assert result.success
    assert spine.ledger("resource") == tried
    found = {e.check_name: e for e in result.get_asset_check_evaluations()}["every_customer_published"]
    assert (found.passed, found.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert str(found.description).startswith("Not taken in time: acme; 1 customer was due.\n")
    assert "| acme | no inventory was taken in time | " in str(found.description)
    assert (found.metadata["customers_missing"].value, found.metadata["customers_with_a_gap"].value) == ("none", "acme")
    customers, now = load_customers(spine.settings.customers_path), datetime.now(UTC)
    with spine.clickhouse.session() as client:
        facts = ledger_facts.read_facts(client, customers, spine.settings, now)
        (gap,) = ledger_facts.read_gaps(client, customers, spine.settings, now)
    assert not facts.failing
    assert gap == ledger_facts.Gap("acme", "aws", "resource", 1, late, late)


def test_a_customer_that_was_added_while_a_window_was_collected_is_not_missing(
    spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = newest_window()
    with CloudLab(world([fleet("ec2:instance")])) as lab:
        for name, value in lab.env.items():
            monkeypatch.setenv(name, value)
        spine.write_customers(lab, ["acme"], families=["resource"])

        def add(*_: object) -> None:
            spine.write_customers(lab, families=["resource"])

        monkeypatch.setattr(Report, "raise_if_all_failed", add)  # at the end of the asset, before its checks
        result = collect(spine, Repair("aws", ("resource",), (), newest, newest))
    found = {e.check_name: e for e in result.get_asset_check_evaluations()}["every_customer_published"]
    assert found.passed, found.description
    assert found.metadata["customers_due"].value == 1


def test_duplicate_keys_are_counted_for_each_customer(spine: Spine, ledger: Ledger) -> None:
    assert evaluate(spine, "no_duplicates").passed
    batch = ledger.add(FAMILY, [WINDOW])
    columns = {
        "window_start": WINDOW, "batch": batch, "customer_id": "acme", "provider": "aws", "resource_id": "i-1",
        "metric_name": "cpu", "statistic": "average", "timestamp": WINDOW, "metric_value": 1.0,
    }  # fmt: skip
    with spine.clickhouse.session() as client:
        client.insert("performance_metrics", [list(columns.values())] * 2, column_names=list(columns))
    try:
        found = evaluate(spine, "no_duplicates")
    finally:
        with spine.clickhouse.session() as client:
            client.command("TRUNCATE TABLE performance_metrics")
    assert not found.passed
    assert found.description == "acme: 1 keys stand twice"
    assert found.metadata["duplicate_keys"].value == 1


def test_of_many_budgets_that_stopped_a_slice_a_dozen_is_told_and_those_are_listed_first(
    spine: Spine, ledger: Ledger
) -> None:
    everybody = [f"customer-{n:03d}" for n in range(120)]
    accounts = "".join(
        f"  - {{id: {name}, name: {name}, aws: [{{account_id: '{n:012d}'}}]}}\n" for n, name in enumerate(everybody)
    )
    spine.settings.customers_path.write_text(f"customers:\n{accounts}")
    stopped = everybody[-14:]
    ledger.add(FAMILY, [WINDOW], "budget", customers=stopped, error="25 USD are spent")
    found = evaluate(spine, "within_budget")
    assert not found.passed
    text = str(found.description)
    assert text.startswith("customer-106: 25 USD are spent; customer-107: ")
    assert text.endswith("customer-117: 25 USD are spent; and 2 more")
    assert found.metadata["customers_over_budget"].value == f"{', '.join(stopped[:12])} and 2 more"
    table = found.metadata["spent_this_month"]
    assert isinstance(table, dg.TableMetadataValue)
    listed = [str(one.data["customer"]) for one in table.records]
    assert (len(listed), listed[:15]) == (100, [*stopped, "customer-000"])
