"""Collection by slices: what is published, skipped, corrected, and what one customer's trouble costs the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.assets.scope import Scope
from optiinfra_dagster.collection import inventory, metrics, plan, pool, run
from optiinfra_dagster.collection.plan import Context
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.catalog import METRICS
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from tests.support.spine import ACCOUNTS, FLEETS, Spine, fleet, newest_window, world

if TYPE_CHECKING:
    from collections.abc import Callable

    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.model.slices import SliceResult
    from tests.collection.conftest import StartLab

W = windows.WINDOW
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
VIEWS = ["resource_metrics", "performance_metrics"]


def collect_both(spine: Spine, window: datetime, **options: Any) -> None:
    """Collect inventory and performance of one window."""
    spine.collect("resource", [window], **options)
    spine.collect("performance", [window], **options)


def at(moment: datetime) -> Callable[[], datetime]:
    """A clock that stands still."""
    return lambda: moment


def truth(lab: CloudLab, customer: str, first: datetime, last: datetime) -> dict[tuple[str, str, str, datetime], float]:
    """What the lab's CloudWatch must give for an account, in our units, by resource, metric, statistic and time."""
    found = {}
    for resource in lab.resources(ACCOUNTS[customer]):
        for metric in METRICS:
            if metric.kind != resource.kind or metric.condition == "agent":
                continue
            for statistic in metric.statistics:
                points = lab.expected_points(
                    resource.account, resource.region, resource.arn, metric.namespace, metric.api_metric,
                    statistic=statistic, period=metric.period, start=first, end=last + W,
                )  # fmt: skip
                for time, value in points.items():
                    found[resource.arn, metric.name, metric.statistic_name(statistic), time] = metric.convert(value)
    return found


def points(spine: Spine, customer: str) -> dict[tuple[str, str, str, datetime], float]:
    """What readers see of a customer's performance, in the same form."""
    return {
        (row["resource_id"], row["metric_name"], row["statistic"], row["timestamp"]): row["metric_value"]
        for row in spine.view("performance_metrics")
        if row["customer_id"] == customer
    }


# --- What is published -----------------------------------------------------------------------------------------------


def test_what_is_published_is_what_the_clouds_say(
    start_lab: StartLab, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, window = start_lab(), newest_window()
    two = ["acme", "globex"]
    monkeypatch.setattr(plan, "CUSTOMERS_READ", 1)  # their inventories are read one after the other
    spine.write_customers(lab, two)
    collect_both(spine, window)
    for customer in two:
        account = ACCOUNTS[customer]
        mine = [row for row in spine.view("resource_metrics") if row["customer_id"] == customer]
        known = {row["kind"] for row in mine}
        assert {row["resource_id"] for row in mine} == {r.arn for r in lab.resources(account) if r.kind in known}
        assert known >= {"ec2:instance", "ebs:volume", "rds:db"}
        assert points(spine, customer) == pytest.approx(truth(lab, customer, window, window))


def test_a_second_collection_skips_what_is_there_and_calls_nobody(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, ["acme", "globex"])
    collect_both(spine, window)
    before = {view: spine.view(view) for view in VIEWS}
    lab.control.reset()
    report = spine.collect("performance", [window])
    spine.collect("resource", [window])
    assert lab.control.calls().count() == 0
    assert report.outcomes == {"already published": 2}
    assert {view: spine.view(view) for view in VIEWS} == before


def test_a_refresh_of_the_same_content_changes_nothing_that_readers_see(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab, ["acme"])
    collect_both(spine, window)
    before = {view: spine.view(view) for view in VIEWS}
    lab.control.reset()
    collect_both(spine, window, refresh=True, now=lambda: datetime.now(UTC) + timedelta(seconds=90))
    assert lab.control.calls().count("cloudwatch", "GetMetricData") > 0
    assert {view: spine.view(view) for view in VIEWS} == before  # collected_at too


def test_what_vanished_from_the_cloud_is_gone(start_lab: StartLab, spine: Spine) -> None:
    window, two = newest_window(), ["acme", "globex"]
    spine.write_customers(start_lab(), two)
    collect_both(spine, window)
    smaller = start_lab(world(acme=[fleet("ec2:instance", 1, name="web-{n}")]))
    spine.write_customers(smaller, two)
    collect_both(spine, window, refresh=True)
    left = {r.arn for r in smaller.resources(ACCOUNTS["acme"])}
    for table in VIEWS:
        rows = spine.view(table)
        assert {row["resource_id"] for row in rows if row["customer_id"] == "acme"} <= left
        assert {row["customer_id"] for row in rows} == set(two)


def test_a_customer_without_resources_is_published_as_empty(start_lab: StartLab, spine: Spine) -> None:
    window = newest_window()
    spine.write_customers(start_lab(world(acme=[])), ["acme"])
    collect_both(spine, window)
    for family in ("resource", "performance"):
        row = spine.last(family, "acme", window)
        assert (row["outcome"], row["rows"]) == ("ok", 0)


# --- Which customers -------------------------------------------------------------------------------------------------


def test_only_the_named_customers_are_collected(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab)
    chosen = Scope(customers=["globex"]).select(load_customers(spine.settings.customers_path))
    spine.collect("resource", [window], customers=[c.id for c in chosen])
    assert spine.ledger("resource").keys() == {"globex"}
    assert lab.control.calls().count(account=ACCOUNTS["acme"]) == 0


@pytest.mark.parametrize("shards", [1, 2, 3, 7])
def test_every_customer_is_in_exactly_one_shard(spine: Spine, shards: int) -> None:
    spine.settings.customers_path.write_text(
        "customers:\n" + "".join(f"  - {{id: c{n}, name: C, vultr: [{{api_key: {{env: K{n}}}}}]}}\n" for n in range(40))
    )
    customers = load_customers(spine.settings.customers_path)
    parts = [[c.id for c in Scope(shard=f"{i}/{shards}").select(customers)] for i in range(1, shards + 1)]
    assert sorted(one for part in parts for one in part) == sorted(c.id for c in customers)
    assert all(len(part) < len(customers) for part in parts) or shards == 1


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "-1/2", "1/0", ""])
def test_a_shard_that_makes_no_sense_is_refused(shard: str) -> None:
    with pytest.raises(ValueError, match="is not i/n"):
        Scope(shard=shard)


def test_shards_together_use_no_more_of_the_judge_than_one_run(spine: Spine) -> None:
    whole = spine.settings
    parts = [Scope(shard=f"{i}/3").share(whole) for i in (1, 2, 3)]
    for limit in ("judge_run_tokens", "judge_run_requests"):
        assert 0 <= getattr(whole, limit) - sum(getattr(part, limit) for part in parts) < 3
    assert Scope().share(whole) is whole


# --- When ------------------------------------------------------------------------------------------------------------


def test_a_wider_poll_asks_once_for_all_its_windows(start_lab: StartLab, spine: Spine) -> None:
    lab = start_lab(now=lambda: NOON + timedelta(hours=2))
    spine.write_customers(lab, ["acme"], poll_minutes=60)
    clock = NOON + W + timedelta(minutes=6)
    spine.collect("resource", [NOON], now=at(clock))
    lab.control.reset()
    for n in range(3):
        report = spine.collect("performance", [NOON + n * W], now=at(clock + n * W))
        assert report.outcomes == {"not_due": 1}
    assert lab.control.calls().count() == 0
    assert [row["outcome"] for row in spine.ledger("performance")["acme"]] == ["not_due"] * 3
    report = spine.collect("performance", [NOON + 3 * W], now=at(clock + 3 * W))
    assert report.outcomes == {"ok": 4}
    assert points(spine, "acme") == pytest.approx(truth(lab, "acme", NOON, NOON + 3 * W))
    assert lab.control.calls().count("cloudwatch", "GetMetricData") == 2  # one a region


def test_late_points_of_the_window_before_are_corrected(start_lab: StartLab, spine: Spine) -> None:
    clock = {"now": NOON + W + timedelta(minutes=6)}
    lab = start_lab(now=lambda: clock["now"])
    spine.write_customers(lab, ["acme"])
    lab.control.add_faults({"action": "late", "seconds": 1200.0})
    spine.collect("resource", [NOON], now=lambda: clock["now"])
    spine.collect("performance", [NOON], now=lambda: clock["now"])
    early = points(spine, "acme")
    expected = truth(lab, "acme", NOON, NOON)
    assert len(early) < len(expected)
    clock["now"] += W
    report = spine.collect("performance", [NOON + W], now=lambda: clock["now"])
    assert {k: v for k, v in points(spine, "acme").items() if k[3] < NOON + W} == pytest.approx(expected)
    metadata = report.metadata(detailed=True)
    changed = sum(early.get(key) != pytest.approx(value) for key, value in expected.items())
    assert metadata["corrected_points"] == changed > len(expected) - len(early)
    assert metadata["corrected_share"] == changed / len(expected)


def test_the_window_before_is_not_rewritten_where_nothing_was_late(start_lab: StartLab, spine: Spine) -> None:
    lab = start_lab(now=lambda: NOON + timedelta(hours=2))
    spine.write_customers(lab, ["acme"])
    clock = NOON + W + timedelta(minutes=6)
    reports = []
    for n in range(2):
        spine.collect("resource", [NOON + n * W], now=at(clock + n * W))
        reports.append(spine.collect("performance", [NOON + n * W], now=at(clock + n * W)))
    assert reports[-1].metadata(detailed=False)["corrected_share"] == 0.0
    assert len(spine.ledger("performance", NOON)["acme"]) == 1


def test_a_resource_that_is_gone_keeps_its_last_points(start_lab: StartLab, spine: Spine) -> None:
    clock = {"now": NOON + W + timedelta(minutes=6)}
    lab = start_lab(now=lambda: clock["now"])
    spine.write_customers(lab, ["acme"])
    lab.control.add_faults({"action": "late", "seconds": 600.0})
    spine.collect("resource", [NOON], now=lambda: clock["now"])
    spine.collect("performance", [NOON], now=lambda: clock["now"])
    before = points(spine, "acme")
    gone = next(r.arn for r in lab.resources(ACCOUNTS["acme"], kind="rds:db"))
    assert any(key[0] == gone for key in before)
    clock["now"] += W
    smaller = start_lab(world([f for f in FLEETS if f["kind"] != "rds:db"]), now=lambda: clock["now"])
    spine.write_customers(smaller, ["acme"])
    spine.collect("resource", [NOON + W], now=lambda: clock["now"])
    spine.collect("performance", [NOON + W], now=lambda: clock["now"])
    assert before.items() <= points(spine, "acme").items()


def test_an_inventory_of_the_past_is_a_gap_and_leaves_what_is_there(start_lab: StartLab, spine: Spine) -> None:
    lab = start_lab()
    spine.write_customers(lab, ["acme"])
    spine.collect("resource", [NOON], now=at(NOON + W + timedelta(minutes=6)))
    before, tried, said = spine.view("resource_metrics"), spine.ledger("resource"), list[str]()
    late = at(NOON + timedelta(hours=3))
    report = spine.collect("resource", [NOON, NOON - W], refresh=True, now=late, log=said.append)
    report.raise_if_all_failed()
    assert spine.ledger("resource") == tried
    assert spine.view("resource_metrics") == before
    (told,) = said
    assert told == (
        f"aws: no inventory of {windows.key(NOON - W)} is taken for acme. It tells what exists now, and can be taken "
        "until 30 minutes after its window. Nothing can fill that gap."
    )
    said.clear()
    spine.collect("resource", [NOON - 2 * W, NOON - W], now=late, log=said.append)
    assert f"no inventory of {windows.key(NOON - 2 * W)} to {windows.key(NOON - W)} is taken for acme." in said[0]


def test_a_customer_whose_turn_comes_too_late_has_a_gap_and_no_failure(start_lab: StartLab, spine: Spine) -> None:
    lab = start_lab()
    spine.write_customers(lab, ["acme", "globex"])
    spine.settings = spine.settings.model_copy(update={"concurrency": 1})
    end = NOON + W + timedelta(minutes=30)
    moments = iter([end, end])  # the plan, and the first of the two
    said: list[str] = []
    report = spine.collect("resource", [NOON], now=lambda: next(moments, end + timedelta(seconds=1)), log=said.append)
    assert report.outcomes == {"ok": 1}
    (told,) = said
    assert "no inventory of" in told
    assert len(spine.ledger("resource")) == 1
    assert {row["permanent"] for rows in spine.ledger("resource").values() for row in rows} == {False}


def test_points_that_the_cloud_has_dropped_do_not_stand_as_collected(start_lab: StartLab, spine: Spine) -> None:
    lab = start_lab(now=lambda: NOON + timedelta(hours=1))
    spine.write_customers(lab, ["acme"])
    clock = at(NOON + W + timedelta(minutes=6))
    spine.collect("resource", [NOON], now=clock)
    old = NOON - timedelta(days=64)
    report = spine.collect("performance", [old, NOON], now=clock)
    assert report.outcomes == {"failed": 1, "ok": 1}
    row = spine.last("performance", "acme", old)
    assert row["permanent"]
    assert "for 63 days" in row["error"]


def test_a_day_is_asked_for_in_one_go(start_lab: StartLab, spine: Spine) -> None:
    lab = start_lab(now=lambda: NOON + timedelta(hours=1))
    spine.write_customers(lab, ["acme"])
    clock = at(NOON + W + timedelta(minutes=6))
    spine.collect("resource", [NOON], now=clock)
    lab.control.reset()
    day = windows.span(NOON - 95 * W, NOON)
    assert spine.collect("performance", day, now=clock).outcomes == {"ok": 96}
    assert lab.control.calls().count("cloudwatch", "GetMetricData") == 2  # one a region
    assert points(spine, "acme") == pytest.approx(truth(lab, "acme", day[0], NOON))


def test_a_range_that_does_not_fit_in_memory_is_asked_for_in_parts(
    start_lab: StartLab, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "CHUNK_POINTS", 1)
    lab = start_lab(now=lambda: NOON + timedelta(hours=1))
    spine.write_customers(lab, ["acme"])
    clock = at(NOON + W + timedelta(minutes=6))
    spine.collect("resource", [NOON], now=clock)
    asked = windows.span(NOON - 3 * W, NOON)
    assert spine.collect("performance", asked, now=clock).outcomes == {"ok": 4}
    assert points(spine, "acme") == pytest.approx(truth(lab, "acme", asked[0], NOON))


# --- Side by side ----------------------------------------------------------------------------------------------------


def test_a_slow_customer_does_not_hold_up_the_publishing_of_the_others(
    start_lab: StartLab, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool, "FLUSH_SECONDS", 0.2)
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab)
    spine.collect("resource", [window])
    lab.control.add_faults(
        {"action": "delay", "seconds": 3.0, "account": ACCOUNTS["globex"], "operation": "GetMetricData", "times": 1}
    )
    context = Context(PROVIDERS["aws"], spine.clickhouse, spine.settings, lambda: datetime.now(UTC))
    lots = run.collect_slices(context, "performance", load_customers(spine.settings.customers_path), [window])
    owners = [{s.customer_id for s in lot} for lot in lots]
    assert owners[-1] == {"globex"}
    assert set.union(*owners[:-1]) == {"acme", "initech"}


def test_an_error_of_this_program_costs_one_customer_only(
    start_lab: StartLab, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    from optiinfra_dagster.providers.aws import inventory as aws_inventory

    real = aws_inventory.collect

    def odd(customer_id: str, *rest: Any) -> Any:
        if customer_id == "globex":
            raise KeyError("secret-token")
        return real(customer_id, *rest)

    monkeypatch.setattr(aws_inventory, "collect", odd)
    window = newest_window()
    spine.write_customers(start_lab())
    assert spine.collect("resource", [window]).outcomes == {"ok": 2, "failed": 1}
    row = spine.last("resource", "globex", window)
    assert row["error"].startswith("KeyError at ")
    assert "secret-token" not in row["error"]
    assert not row["permanent"]


def test_what_goes_wrong_after_the_last_slice_is_not_another_attempt(
    start_lab: StartLab, spine: Spine, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = inventory.collect_inventory

    def odd(*arguments: Any, **named: Any) -> Iterator[SliceResult]:
        yield from real(*arguments, **named)
        raise CloudError(Cause.BUG, "too late")

    monkeypatch.setattr(run, "collect_inventory", odd)
    window = newest_window()
    spine.write_customers(start_lab())
    assert spine.collect("resource", [window]).outcomes == {"ok": 3}
    assert len(spine.ledger("resource")["acme"]) == 1


def test_performance_without_any_inventory_says_what_is_missing(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.write_customers(lab)
    assert spine.collect("performance", [window]).outcomes == {"failed": 3}
    row = spine.last("performance", "acme", window)
    assert "Collect aws/resource first" in row["error"]
    assert not row["permanent"]
    assert lab.control.calls().count() == 0


# --- What a window costs ---------------------------------------------------------------------------------------------


def test_a_thousand_instances_take_16_metric_calls_and_one_listing(start_lab: StartLab, spine: Spine) -> None:
    many = [fleet("ec2:instance", 1000, name="node-{n}", type="m6i.large", volumes=0)]
    lab, window = start_lab(world([], acme=many)), newest_window()
    spine.write_customers(lab, ["acme"])
    text = spine.settings.customers_path.read_text().replace("- eu-west-1\n", "")
    spine.settings.customers_path.write_text(text)
    collect_both(spine, window)
    calls = lab.control.calls()
    assert calls.count("ec2", "DescribeInstances") == 1
    assert calls.count("cloudwatch", "GetMetricData") == 16
    assert spine.last("performance", "acme", window)["rows"] == 1000 * 8 * 3
