"""The monthly budget for API calls: what it forbids is not called, is recorded, and is said once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

from optiinfra_dagster.collection.plan import Context
from optiinfra_dagster.collection.run import collect_slices
from optiinfra_dagster.model import windows
from optiinfra_dagster.providers.registry import PROVIDERS, load_customers
from optiinfra_dagster.storage.schema import DATASETS
from optiinfra_dagster.storage.writer import Writer
from tests.collection.test_faults import check_of
from tests.support.spine import ACCOUNTS, Spine, newest_window

if TYPE_CHECKING:
    from tests.collection.conftest import StartLab

W = windows.WINDOW
METRIC_USD = Decimal("0.00001")


def collect(spine: Spine, asked: list[datetime], now: datetime | None = None) -> list[str]:
    """Collect metrics like the asset does; gives what was logged."""
    said: list[str] = []
    lots = collect_slices(
        Context(PROVIDERS["aws"], spine.clickhouse, spine.settings, lambda: now or datetime.now(UTC)),
        "performance",
        load_customers(spine.settings.customers_path),
        asked,
        log=said.append,
    )
    writer = Writer(spine.clickhouse, DATASETS["performance"], run_id="test")
    for lot in lots:
        writer.flush(lot)
    return said


def outcomes(spine: Spine, window: datetime) -> dict[str, str]:
    return {customer: str(spine.last("performance", customer, window)["outcome"]) for customer in ACCOUNTS}


def test_the_budget_of_one_customer_stops_its_calls_and_no_others(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window()
    spine.extra["globex"] = {"monthly_api_budget_usd": 0}
    spine.write_customers(lab)
    spine.collect("resource", [window])

    (said,) = collect(spine, [window])

    assert outcomes(spine, window) == {"acme": "ok", "globex": "budget", "initech": "ok"}
    row = spine.last("performance", "globex", window)
    assert (row["api_calls"], row["rows"]) == (0, 0)
    for part in ("globex", "0 USD are left", "monthly_api_budget_usd", "poll_minutes"):
        assert part in said
    assert ACCOUNTS["globex"] not in lab.control.calls().billed_metrics

    every, within = check_of(spine, "performance", window), check_of(spine, "performance", window, "within_budget")
    assert every.passed
    assert not within.passed
    assert within.metadata["customers_over_budget"].value == "globex"
    assert "globex" in within.description


def test_what_is_spent_in_the_month_is_what_the_lab_billed_and_ends_at_the_limit(
    start_lab: StartLab, spine: Spine
) -> None:
    lab, window = start_lab(), newest_window() - 3 * W
    spine.write_customers(lab, ["acme"])
    spine.collect("resource", [window + 3 * W], customers=["acme"])
    collect(spine, [window])
    price = Decimal(spine.last("performance", "acme", window)["api_cost_usd"])
    assert price == lab.control.calls().billed_metrics[ACCOUNTS["acme"]] * METRIC_USD
    listing = Decimal(spine.last("resource", "acme", window + 3 * W)["api_cost_usd"])  # of buckets

    # Enough for one more window, not for two.
    spine.write_customers(lab, ["acme"], monthly_api_budget_usd=str(2 * price + listing))
    said = [collect(spine, [window + n * W]) for n in (1, 2, 3)]

    kinds = [spine.last("performance", "acme", window + n * W)["outcome"] for n in (1, 2, 3)]
    assert kinds == ["ok", "budget", "budget"]
    assert [len(lines) for lines in said] == [0, 1, 0]  # once a month is enough
    assert lab.control.calls().billed_metrics[ACCOUNTS["acme"]] * METRIC_USD == 2 * price
    spent = spine.query("SELECT sum(api_cost_usd) AS usd FROM metric_batches WHERE dataset = 'performance'")
    assert spent[0]["usd"] == 2 * price


def test_a_new_month_has_its_whole_budget(start_lab: StartLab, spine: Spine) -> None:
    lab, window = start_lab(), newest_window() - W
    spine.write_customers(lab, ["acme"])
    spine.collect("resource", [window + W], customers=["acme"])
    collect(spine, [window])
    spine.write_customers(
        lab, ["acme"], monthly_api_budget_usd=str(spine.last("performance", "acme", window)["api_cost_usd"])
    )
    later = window + timedelta(days=31)

    collect(spine, [window + W])
    at = later + W + timedelta(minutes=6)
    spine.collect("resource", [later], customers=["acme"], now=lambda: at)
    collect(spine, [later], now=at)

    assert spine.last("performance", "acme", window + W)["outcome"] == "budget"
    assert spine.last("performance", "acme", later)["outcome"] == "ok"
