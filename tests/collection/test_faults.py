"""What clouds do wrong: each fault is a ledger row that says so, loses nothing, and costs no other customer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import dagster as dg
import pytest

from optiinfra_dagster.assets.partitions import window_partitions
from optiinfra_dagster.assets.scope import Scope
from optiinfra_dagster.automation import checks
from optiinfra_dagster.model import windows
from tests.support.spine import ACCOUNTS, FLEETS, Spine, fleet, newest_window, world

if TYPE_CHECKING:
    from datetime import datetime

    from tests.collection.conftest import StartLab

GLOBEX = ACCOUNTS["globex"]
BOTH = ("globex", "initech")  # who has the fault, and a healthy customer


def check_of(spine: Spine, family: str, window: datetime, name: str = "every_customer_published") -> Any:
    """The result of an asset check of a window."""
    partitions = window_partitions(spine.settings.partitions_start)
    wanted = [
        check
        for check in checks.build(spine.settings, partitions)
        for key in check.check_keys
        if (key.asset_key.path, key.name) == (["aws", family], name)
    ]

    @dg.asset(key=["aws", family], partitions_def=partitions)
    def collected() -> None:
        """Stand in for the asset: the slices are there already."""

    with dg.DagsterInstance.ephemeral() as instance:
        result = dg.materialize(
            [collected, *wanted],
            instance=instance,
            resources={"clickhouse": spine.clickhouse, "scope": Scope()},
            partition_key=windows.key(window),
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    return result.get_asset_check_evaluations()[0]


def others_are_published(spine: Spine, family: str, window: datetime) -> bool:
    """Whether the healthy customer has its slice, with rows; a failure shows all attempts."""
    rows = [spine.last(family, customer, window) for customer in BOTH[1:]]
    told = [(row["customer_id"], row["outcome"], row["rows"], row["error"]) for row in rows]
    assert [(outcome, count > 0, error) for _, outcome, count, error in told] == [("ok", True, "")], (
        told,
        spine.ledger(family, window),
    )
    return True


def test_a_denied_listing_is_named_with_the_right_that_is_missing(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    lab.control.add_faults(
        {
            "action": "deny",
            "account": GLOBEX,
            "service": "rds",
            "operation": "DescribeDBInstances",
            "region": "us-east-1",
        }
    )
    spine.collect("resource", [window])
    row = spine.last("resource", "globex", window)
    assert (row["outcome"], row["permanent"]) == ("partial", True)
    for part in (GLOBEX, "us-east-1", "rds:db", "rds:DescribeDBInstances"):
        assert part in row["error"]
    assert others_are_published(spine, "resource", window)
    check = check_of(spine, "resource", window)
    assert not check.passed
    assert check.metadata["customers_incomplete"].value == "globex"
    assert "rds:DescribeDBInstances" in check.description


def test_a_listing_that_is_denied_later_keeps_the_resources_it_showed(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    spine.collect("resource", [window])
    before = spine.view("resource_metrics")
    lab.control.add_faults({"action": "deny", "account": GLOBEX, "service": "rds"})
    spine.collect("resource", [window], refresh=True)
    assert spine.last("resource", "globex", window)["outcome"] == "failed"
    assert spine.view("resource_metrics") == before


def test_everything_denied_to_one_of_two_customers(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    lab.control.add_faults({"action": "deny", "account": GLOBEX})
    spine.collect("resource", [window])
    spine.collect("performance", [window])
    row = spine.last("resource", "globex", window)
    assert (row["outcome"], row["permanent"], row["rows"]) == ("failed", True, 0)
    assert GLOBEX in row["error"]
    assert others_are_published(spine, "resource", window)
    assert others_are_published(spine, "performance", window)
    assert "globex" not in {r["customer_id"] for r in spine.view("resource_metrics")}


def test_metrics_denied_to_one_customer(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    spine.collect("resource", [window])
    lab.control.add_faults({"action": "deny", "account": GLOBEX, "service": "cloudwatch"})
    spine.collect("performance", [window])
    row = spine.last("performance", "globex", window)
    assert (row["outcome"], row["permanent"], row["rows"]) == ("failed", True, 0)
    assert GLOBEX in row["error"]
    assert "cloudwatch:GetMetricData" in row["error"]
    assert others_are_published(spine, "performance", window)
    check = check_of(spine, "performance", window)
    assert check.metadata["customers_missing"].value == "globex"


@pytest.mark.parametrize("family", ["resource", "performance"])
def test_a_role_that_expired_costs_its_customer_only(start_lab: StartLab, spine: Spine, family: str) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    if family == "performance":
        spine.collect("resource", [window])
    lab.control.add_faults({"action": "expired", "account": GLOBEX})
    spine.collect(family, [window])
    row = spine.last(family, "globex", window)
    assert row["outcome"] == "failed"
    assert GLOBEX in row["error"]
    assert others_are_published(spine, family, window)


def test_a_throttled_api_is_asked_again_and_then_told_as_passing(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    spine.collect("resource", [window])
    lab.control.reset()
    lab.control.add_faults({"action": "throttle", "account": GLOBEX, "service": "cloudwatch"})
    spine.collect("performance", [window])
    row = spine.last("performance", "globex", window)
    assert (row["outcome"], row["permanent"]) == ("failed", False)
    assert "Throttl" in row["error"] or "throttl" in row["error"]
    calls = lab.control.calls()
    assert row["api_calls"] == calls.count(account=GLOBEX)  # refused calls are counted too
    assert 4 <= calls.count("cloudwatch", account=GLOBEX) <= 24  # two regions, three questions, four attempts
    assert others_are_published(spine, "performance", window)
    lab.control.clear_faults()
    spine.collect("performance", [window])
    assert spine.last("performance", "globex", window)["outcome"] == "ok"


def test_a_listing_that_is_cut_at_page_2_is_partial_and_then_completed(start_lab: StartLab, spine: Spine) -> None:
    many = [*FLEETS, fleet("ec2:instance", 1020, name="many-{n}", volumes=0)]
    lab, window = start_lab(world(globex=many)), newest_window()
    spine.write_customers(lab, BOTH)
    lab.control.add_faults({"action": "unavailable", "account": GLOBEX, "operation": "DescribeInstances", "page": 2})
    spine.collect("resource", [window])
    row = spine.last("resource", "globex", window)
    assert (row["outcome"], row["permanent"]) == ("partial", False)
    assert "listed before" in row["error"]
    first = {r["resource_id"] for r in spine.view("resource_metrics") if r["customer_id"] == "globex"}
    assert first
    lab.control.clear_faults()
    spine.collect("resource", [window])
    assert spine.last("resource", "globex", window)["outcome"] == "ok"
    now = {r["resource_id"] for r in spine.view("resource_metrics") if r["customer_id"] == "globex"}
    assert first < now
    assert len([one for one in now if ":instance/" in one]) == 1023


def test_a_cut_listing_takes_nothing_from_the_inventory_that_metrics_are_asked_of(
    start_lab: StartLab, spine: Spine
) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    spine.collect("resource", [window - windows.WINDOW], now=lambda: window + windows.WINDOW)
    lab.control.add_faults({"action": "unavailable", "account": GLOBEX, "service": "rds"})
    spine.collect("resource", [window])
    assert spine.last("resource", "globex", window)["outcome"] == "partial"
    spine.collect("performance", [window])
    asked = {r["resource_type"] for r in spine.view("performance_metrics") if r["customer_id"] == "globex"}
    assert "database" in asked


def test_partial_data_is_published_as_partial_and_completed_later(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    spine.collect("resource", [window])
    lab.control.add_faults({"action": "partial", "account": GLOBEX})
    spine.collect("performance", [window])
    row = spine.last("performance", "globex", window)
    assert (row["outcome"], row["permanent"]) == ("partial", False)
    assert "PartialData" in row["error"]
    assert 0.0 not in {
        r["metric_value"] for r in spine.view("performance_metrics") if r["metric_name"] == "cpu_utilization"
    }
    lab.control.clear_faults()
    spine.collect("performance", [window])
    spine.collect("performance", [window], refresh=True)
    whole = spine.last("performance", "globex", window)
    assert whole["outcome"] == "ok"
    assert whole["rows"] > row["rows"]


def test_partial_data_takes_nothing_from_a_whole_slice(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    spine.collect("resource", [window])
    spine.collect("performance", [window])
    before = spine.view("performance_metrics")
    lab.control.add_faults({"action": "partial", "account": GLOBEX})
    spine.collect("performance", [window], refresh=True)
    assert spine.view("performance_metrics") == before
    assert spine.last("performance", "globex", window)["outcome"] == "failed"


def test_a_region_that_refuses_costs_that_region(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    lab.control.add_faults({"action": "optin_required", "account": GLOBEX, "region": "eu-west-1"})
    spine.collect("resource", [window])
    row = spine.last("resource", "globex", window)
    assert (row["outcome"], row["permanent"]) == ("partial", True)
    assert f"{GLOBEX}/eu-west-1" in row["error"]
    assert {r["region"] for r in spine.view("resource_metrics") if r["customer_id"] == "globex"} == {"us-east-1"}
    assert others_are_published(spine, "resource", window)


def test_an_instance_with_nothing_to_it_is_collected_all_the_same(start_lab: StartLab, spine: Spine) -> None:
    bare = [fleet("ec2:instance", 2, name=None, omit=["Tags", "CpuOptions"], volumes=0)]
    lab, window = start_lab(world(globex=bare)), newest_window()
    spine.write_customers(lab, BOTH)
    spine.collect("resource", [window])
    spine.collect("performance", [window])
    assert spine.last("resource", "globex", window)["outcome"] == "ok"
    mine = [r for r in spine.view("resource_metrics") if r["customer_id"] == "globex" and r["kind"] == "ec2:instance"]
    assert {r["resource_id"] for r in mine} == {r.arn for r in lab.resources(GLOBEX, kind="ec2:instance")}
    assert {r["tags"] for r in mine} == {"{}"}
    assert spine.last("performance", "globex", window)["rows"] > 0


def test_a_secret_that_is_not_there_costs_its_customer_only(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    path = spine.settings.customers_path
    role = f"role_arn: arn:aws:iam::{GLOBEX}:role/reader"
    path.write_text(path.read_text().replace(role, f"{role}\n    external_id: {{env: NO_SUCH_VARIABLE}}"))
    spine.collect("resource", [window])
    row = spine.last("resource", "globex", window)
    assert (row["outcome"], row["permanent"]) == ("failed", True)
    assert "NO_SUCH_VARIABLE" in row["error"]
    assert others_are_published(spine, "resource", window)


def test_the_check_of_a_healthy_window_passes(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, BOTH)
    spine.collect("resource", [window])
    assert check_of(spine, "resource", window).passed
