"""The check that a bill's charges add up to what the cloud itself says of the day, to its last digit."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import TYPE_CHECKING

import dagster as dg
import pytest

from optiinfra_dagster.assets.partitions import window_partitions
from optiinfra_dagster.assets.scope import Scope
from optiinfra_dagster.automation import checks
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import LeftOut, LeftOutBecause
from tests.automation.conftest import before
from tests.support.bills import charge, publish_bill

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.spine import Spine

WINDOW = before(12)
DAY = WINDOW.date() - timedelta(days=1)
EARLIER = DAY - timedelta(days=1)
LONG_AGO = DAY - timedelta(days=70)


def evaluate(spine: Spine, provider: str) -> dg.AssetCheckEvaluation:
    """The check in a run of its own; each test has a provider of its own, so that its bills are not another's."""
    partitions = window_partitions(spine.settings.partitions_start)
    check = checks._definition(checks._totals_match(provider), partitions)

    @dg.asset(key=[provider, "cost"], partitions_def=partitions, backfill_policy=dg.BackfillPolicy.single_run())
    def collected() -> None: ...

    definitions = dg.Definitions(
        [collected],
        asset_checks=[check],
        jobs=[dg.define_asset_job("check", [collected])],
        resources={"clickhouse": spine.clickhouse, "scope": Scope()},
        executor=dg.in_process_executor,
    )
    result = definitions.resolve_job_def("check").execute_in_process(partition_key=windows.key(WINDOW))
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def bill(spine: Spine, provider: str, charges: Sequence[str], totals: dict[str, str]) -> None:
    """A day's charges of each account in USD, and the totals that the cloud told."""
    lines = [charge(DAY, amount, f"service {n}") for n, amount in enumerate(charges)]
    of_day = {(DAY, account): total for account, total in totals.items()}
    publish_bill(spine.clickhouse, [DAY], lines, provider=provider, totals=of_day)


def test_charges_that_add_up_to_the_last_digit_pass(spine: Spine) -> None:
    bill(spine, "p1", ["0.1000000001", "0.2000000002", "-0.05"], {"payer": "0.2500000003"})
    found = evaluate(spine, "p1")
    assert found.passed, found.description
    assert found.metadata["days_compared"].value == 1


@pytest.mark.parametrize(("total", "passes"), [("0.31", True), ("0.30", True), ("0.29", False), ("0.305", True)])
def test_a_total_that_is_rounded_is_compared_as_far_as_it_goes(spine: Spine, total: str, passes: bool) -> None:
    bill(spine, "p2", ["0.104", "0.201"], {"payer": total})
    assert evaluate(spine, "p2").passed is passes


@pytest.mark.parametrize("total", ["0.3000000004", "1e-10"])
def test_a_difference_in_the_last_digit_fails_and_both_figures_are_told(spine: Spine, total: str) -> None:
    bill(spine, "p3", ["0.1000000001", "0.2000000002"], {"payer": total})
    found = evaluate(spine, "p3")
    assert not found.passed
    assert found.severity is dg.AssetCheckSeverity.ERROR
    for part in ("acme", "payer", str(DAY), "0.3000000003 USD", f"{Decimal(total):f}"):
        assert part in (found.description or "")
    assert found.metadata["days_or_statements_that_differ"].value == 1


def test_a_day_without_charges_must_have_a_total_of_nothing(spine: Spine) -> None:
    bill(spine, "p4", [], {"payer": "0"})
    assert evaluate(spine, "p4").passed
    bill(spine, "p4", [], {"payer": "12.5"})
    found = evaluate(spine, "p4")
    assert not found.passed
    assert "the charges are 0 USD, the cloud's total is 12.5" in (found.description or "")


def test_charges_in_a_currency_that_the_total_does_not_know_fail(spine: Spine) -> None:
    lines = [charge(DAY, "1"), charge(DAY, "2", currency="EUR")]
    publish_bill(spine.clickhouse, [DAY], lines, provider="p5", totals={(DAY, "payer"): "1"})
    found = evaluate(spine, "p5")
    assert not found.passed
    assert "2 EUR, the cloud's total has none in this currency" in (found.description or "")


def test_accounts_and_days_are_compared_each_for_itself(spine: Spine) -> None:
    lines = [charge(DAY, "1", account="a"), charge(DAY, "2", account="b"), charge(EARLIER, "3", account="a")]
    totals = {(DAY, "a"): "2", (DAY, "b"): "1", (EARLIER, "a"): "3"}
    publish_bill(spine.clickhouse, [EARLIER, DAY], lines, provider="p6", read=["a", "b"], totals=totals)
    found = evaluate(spine, "p6")
    assert found.metadata["days_or_statements_that_differ"].value == 2
    assert found.metadata["days_compared"].value == 3


def test_bills_without_totals_are_not_compared(spine: Spine) -> None:
    bill(spine, "p7", ["1"], {})
    found = evaluate(spine, "p7")
    assert found.passed
    assert (found.description or "").startswith("No total to compare with")


def test_a_day_of_long_ago_that_was_corrected_is_compared(spine: Spine) -> None:
    lines, totals = [charge(LONG_AGO, "1")], {(LONG_AGO, "payer"): "9"}
    publish_bill(spine.clickhouse, [LONG_AGO], lines, provider="p11", totals=totals)
    assert f"{LONG_AGO}: the charges are 1 USD, the cloud's total is 9" in (evaluate(spine, "p11").description or "")


def test_the_last_statement_is_what_is_compared(spine: Spine) -> None:
    bill(spine, "p8", ["1"], {"payer": "2"})
    bill(spine, "p8", ["2"], {"payer": "2"})
    assert evaluate(spine, "p8").passed


def test_what_was_left_out_counts_and_the_kind_of_total_is_told(spine: Spine) -> None:
    other = LeftOut(DAY, "payer", "stranger", LeftOutBecause.ANOTHER_ACCOUNT, Decimal("0.25"), "USD", 3)
    lines, totals = [charge(DAY, "1")], {(DAY, "payer"): "1.25"}
    publish_bill(spine.clickhouse, [DAY], lines, provider="p9", totals=totals, apart=False, left_out=[other])
    found = evaluate(spine, "p9")
    assert found.passed, found.description
    assert "1 times the statement's sum" in (found.description or "")
    kinds = ("compared_with_totals_of_the_cloud", "compared_with_sums_of_the_statement")
    assert [found.metadata[name].value for name in kinds] == [0, 1]
    publish_bill(spine.clickhouse, [DAY], lines, provider="p9", totals=totals, apart=False)
    assert "the charges are 1 USD, the statement's sum is 1.25" in (evaluate(spine, "p9").description or "")


def test_a_statement_is_compared_whole_with_its_charges_of_other_days(spine: Spine) -> None:
    month = DAY.replace(day=1)
    correction = charge(LONG_AGO, "-0.5", period=month)
    not_over = LeftOut(month, "payer", "payer", LeftOutBecause.NOT_OVER, Decimal("0.125"), "USD", 1, month)
    lines = [charge(DAY, "1", period=month), correction]

    def publish(total: str) -> dg.AssetCheckEvaluation:
        publish_bill(
            spine.clickhouse,
            sorted({month, DAY}),
            lines,
            provider="p10",
            totals={(month, "payer"): total},
            left_out=[not_over],
            statements=[month],
        )
        return evaluate(spine, "p10")

    publish_bill(
        spine.clickhouse, [LONG_AGO], [charge(LONG_AGO, "7")], provider="p10", totals={(LONG_AGO, "payer"): "7"}
    )
    found = publish("0.625")
    assert found.passed, found.description
    assert found.metadata["statements_compared"].value == 1
    found = publish("0.626")
    assert not found.passed
    told = f"the statement of {month:%Y-%m}: the charges are 0.625 USD, the cloud's total is 0.626"
    assert told in (found.description or "")
