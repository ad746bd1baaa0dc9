"""Statements of months: charges of any day are in them, and what is no charge of the customer is told."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import Any

import pytest

from optiinfra_dagster.model.cost import Bill, LeftOut, LeftOutBecause
from optiinfra_dagster.providers.billing.exports.decimals import EXACT
from optiinfra_dagster.providers.billing.exports.reader import read_export
from tests.providers.billing.test_exports import Row, azure, cur, file_of, focus, gcp, parquet_of, text_of

NOVEMBER = date(2026, 11, 1)
LAST = date(2026, 11, 20)
COVERS = NOVEMBER, date(2026, 11, 30)
SUBSCRIPTION, ANOTHER = "aaaaaaaa-0000-0000-0000-000000000001", "bbbbbbbb-0000-0000-0000-000000000002"

_ROWS = {"focus": focus, "cur": cur, "azure": azure, "gcp": gcp}
_DAY = {
    "focus": "ChargePeriodStart", "cur": "line_item_usage_start_date", "azure": "Date", "gcp": "usage_start_time",
}  # fmt: skip
_COST = {"focus": "BilledCost", "cur": "line_item_unblended_cost", "azure": "CostInBillingCurrency", "gcp": "cost"}
_PERIOD = {
    "focus": ("BillingPeriodStart", "2026-11-01T00:00:00Z"),
    "cur": ("bill_billing_period_start_date", "2026-11-01T00:00:00.000Z"),
    "azure": ("BillingPeriodStartDate", "11/01/2026"),
    "gcp": ("invoice.month", "202611"),
}
_ACCOUNT = {
    "focus": ("SubAccountId", "BillingAccountId"),
    "cur": ("line_item_usage_account_id", "bill_payer_account_id"),
    "azure": ("SubscriptionId", "BillingAccountId"),
    "gcp": ("project.id", "billing_account_id"),
}
LAYOUTS = list(_ROWS)


def row(layout: str, cost: str, day: str = "2026-11-02", **more: Any) -> Row:
    """A row of November's statement."""
    when = f"{day[5:7]}/{day[8:]}/{day[:4]}" if layout == "azure" else f"{day}T03:00:00Z"
    return _ROWS[layout](**{_COST[layout]: cost, _DAY[layout]: when}, **dict([_PERIOD[layout]]), **more)


def of(layout: str, cost: str, account: str, day: str = "2026-11-02", payer: str = "payer") -> Row:
    """A row of an account."""
    own, billing = _ACCOUNT[layout]
    return row(layout, cost, day, **{own: account, billing: payer})


def read(*rows: Row, last: date = LAST, **more: Any) -> Bill:
    bill = read_export(
        [file_of(text_of(rows))], source_id="x", first=date(2026, 10, 1), last=last, resources=[], **more
    )
    assert bill.problems == []
    return bill


def amounts(bill: Bill) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for charge in bill.charges:
        key = charge.day.isoformat()
        found[key] = found.get(key, Decimal(0)) + charge.amount
    return found


def left_out(bill: Bill, *fields: str) -> list[tuple[object, ...]]:
    """What was left out, by some of its fields."""
    return [tuple(getattr(part, field) for field in fields) for part in bill.left_out]


# --- Months -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [NOVEMBER, None])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_corrections_of_earlier_months_are_charges_of_the_statement_that_has_them(
    layout: str, given: date | None
) -> None:
    rows = [row(layout, "150"), row(layout, "-30", "2026-10-05"), row(layout, "-7", "2026-08-31")]
    bill = read(*rows, period=given)
    assert amounts(bill) == {"2026-11-02": 150, "2026-10-05": -30, "2026-08-31": -7}
    assert {charge.period for charge in bill.charges} == {NOVEMBER}
    assert (bill.periods, bill.left_out) == ({"x": {NOVEMBER}}, [])
    assert [(total.day, total.amount) for total in bill.totals] == [(NOVEMBER, Decimal(113))]
    assert bill.read == {"x": [date(2026, 11, 2)]}  # the others are days of other statements


@pytest.mark.parametrize("layout", LAYOUTS)
def test_without_a_period_of_their_own_rows_are_of_the_month_of_their_day(layout: str) -> None:
    rows = [row(layout, "1"), row(layout, "2", "2026-10-31")]
    for one in rows:
        del one[_PERIOD[layout][0]]
    bill = read(*rows)
    assert {charge.day.month: charge.period for charge in bill.charges} == {11: NOVEMBER, 10: date(2026, 10, 1)}
    assert bill.periods == {"x": {NOVEMBER, date(2026, 10, 1)}}


def test_a_period_that_is_empty_in_a_row_is_the_month_of_its_day() -> None:
    rows = [row("focus", "1"), row("focus", "2", "2026-10-31") | {"BillingPeriodStart": "NULL"}]
    assert {c.day.month: c.period for c in read(*rows).charges} == {11: NOVEMBER, 10: date(2026, 10, 1)}


def test_a_charge_of_an_old_day_is_as_final_as_the_statement_that_has_it() -> None:
    bill = read(row("focus", "1", "2026-08-02"), period=NOVEMBER)
    assert [charge.is_final for charge in bill.charges] == [False]


def test_the_period_of_a_fee_is_kept_where_it_is_not_one_day() -> None:
    fee = row("focus", "9", "2026-11-01") | {"ChargePeriodEnd": "2026-12-01T00:00:00Z"}
    hour = row("focus", "1", "2026-11-01") | {"ChargePeriodEnd": "2026-11-01T04:00:00Z"}
    day = row("focus", "2", "2026-11-01") | {"ChargePeriodEnd": "2026-11-02T00:00:00Z"}
    found = {charge.amount: (charge.charge_start, charge.charge_end) for charge in read(fee, hour, day).charges}
    assert found == {
        Decimal(9): (datetime(2026, 11, 1, 3, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)),
        Decimal(3): (None, None),
    }


# --- Days -------------------------------------------------------------------------------------------------------------


def test_a_statement_tells_of_its_quiet_days_too() -> None:
    bill = read(row("focus", "1", "2026-11-05"), period=NOVEMBER, covers=COVERS)
    assert bill.read["x"] == [date(2026, 11, day) for day in range(1, 21)]
    assert bill.arriving == {}


def test_a_statement_without_rows_was_read() -> None:
    empty = file_of(text_of([focus()]).partition("\r\n")[0] + "\r\n")
    bill = read_export([empty], source_id="x", first=NOVEMBER, last=LAST, resources=[], period=NOVEMBER, covers=COVERS)
    assert (len(bill.read["x"]), bill.periods, bill.charges) == (20, {"x": {NOVEMBER}}, [])


def test_what_was_written_on_a_day_has_not_all_of_it() -> None:
    rows = [row("cur", "100", f"2026-11-{day}") for day in (17, 18)] + [row("cur", "4", "2026-11-19")]
    bill = read(
        *rows, period=NOVEMBER, covers=COVERS, written=datetime(2026, 11, 19, 2, 10, tzinfo=UTC),
        settles=timedelta(hours=48),
    )  # fmt: skip
    assert bill.read["x"][-1] == date(2026, 11, 18)
    assert bill.arriving == {"x": {date(2026, 11, 17), date(2026, 11, 18)}}
    assert sum(charge.amount for charge in bill.charges) == 200
    assert bill.left_out == [
        LeftOut(NOVEMBER, "x", "111", LeftOutBecause.NOT_OVER, Decimal(4), "USD", 1, NOVEMBER)
    ]  # fmt: skip


def test_a_settled_statement_has_no_day_that_is_arriving() -> None:
    bill = read(row("cur", "1"), covers=COVERS, written=datetime(2026, 12, 9, tzinfo=UTC), settles=timedelta(days=2))
    assert (bill.read["x"][-1], bill.arriving) == (LAST, {"x": set()})


# --- Whose charges they are -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_charges_of_other_accounts_are_left_out_and_told(layout: str) -> None:
    rows = [of(layout, "10", SUBSCRIPTION), of(layout, "700", ANOTHER), of(layout, "1", ANOTHER), of(layout, "3", "")]
    bill = read(*rows, period=NOVEMBER, accounts={SUBSCRIPTION})
    assert {charge.sub_account_id: charge.amount for charge in bill.charges} == {SUBSCRIPTION: 10, "payer": 3}
    assert left_out(bill, "account_id", "because", "amount", "rows", "day") == [
        (ANOTHER, LeftOutBecause.ANOTHER_ACCOUNT, 701, 2, NOVEMBER)
    ]
    bill = read(*rows, period=NOVEMBER, accounts=[SUBSCRIPTION], account_charges=False)
    assert [charge.amount for charge in bill.charges] == [10]
    assert left_out(bill, "account_id", "because", "amount") == [
        (ANOTHER, LeftOutBecause.ANOTHER_ACCOUNT, 701),
        ("payer", LeftOutBecause.BILLING_ACCOUNT, 3),
    ]


@pytest.mark.parametrize(
    "text", [SUBSCRIPTION.upper(), f"/subscriptions/{SUBSCRIPTION}", f"/Subscriptions/{SUBSCRIPTION}"]
)
def test_an_account_is_known_however_it_is_spelled(text: str) -> None:
    bill = read(of("focus", "10", text), accounts={SUBSCRIPTION}, account_charges=False)
    assert ([charge.sub_account_id for charge in bill.charges], bill.left_out) == ([SUBSCRIPTION], [])


@pytest.mark.parametrize("text", ["001234567890", "1234567890", pytest.param(1234567890, id="a number")])
def test_a_number_of_aws_has_the_zeros_that_it_begins_with(text: str | int) -> None:
    """Tools take a column of account numbers for one of numbers, and AWS' have twelve digits."""
    rows = [of("cur", "10", "") | {"line_item_usage_account_id": text}]
    for content in (text_of(rows), parquet_of(rows)):
        bill = read_export(
            [file_of(content)], source_id="x", first=NOVEMBER, last=LAST, resources=[], accounts={"001234567890"}
        )
        assert ([charge.sub_account_id for charge in bill.charges], bill.left_out) == (["001234567890"], [])


def test_azures_subscription_of_zeros_is_none() -> None:
    bill = read(of("azure", "10", "00000000-0000-0000-0000-000000000000"), accounts=["x"], account_charges=False)
    assert [(part.account_id, part.because) for part in bill.left_out] == [("payer", LeftOutBecause.BILLING_ACCOUNT)]


def test_credits_are_of_the_account_of_their_row() -> None:
    rows = [
        of("gcp", "10", "acme") | {"credits": '[{"amount": -4}]'},
        of("gcp", "7", "b") | {"credits": '[{"amount": -2}]'},
    ]
    bill = read(*rows, accounts={"acme"})
    assert sum(charge.amount for charge in bill.charges) == 6
    assert [(part.amount, part.rows) for part in bill.left_out] == [(Decimal(5), 1)]


def test_other_providers_are_told_by_name() -> None:
    rows = [row("focus", "1"), row("focus", "5", ProviderName="Oracle"), row("focus", "2", ProviderName="")]
    bill = read(*rows, provider_names=("aws", "amazon"))
    assert sum(charge.amount for charge in bill.charges) == 3  # AWS leaves its name out of some rows
    assert left_out(bill, "account_id", "because", "amount") == [("Oracle", LeftOutBecause.ANOTHER_PROVIDER, 5)]


@pytest.mark.parametrize(
    ("seller", "issuer", "host", "ours"),
    [
        ("Snowflake", "Amazon Web Services EMEA SARL", "AWS", True),
        ("Snowflake", "", "AWS", True),  # of AWS' own conformance gaps: an issuer may be missing
        ("", "", "", True),
        ("AWS", "Snowflake", "AWS", True),  # a private offer that the seller invoices
        ("Databricks", "Databricks", "AWS", False),  # on AWS, and charged by another
        ("Snowflake", "", "Azure", False),
    ],
)
def test_a_row_is_of_a_cloud_by_who_sells_invoices_or_runs_it(seller: str, issuer: str, host: str, ours: bool) -> None:
    told = {"ServiceProviderName": seller, "InvoiceIssuerName": issuer, "HostProviderName": host}
    rows = [{name: value for name, value in one.items() if name != "ProviderName"} | told for one in (focus(), focus())]
    bill = read(rows[0], rows[1] | dict.fromkeys(told, "AWS"), provider_names=("aws", "amazon"))
    assert sum(charge.amount for charge in bill.charges) == (3 if ours else Decimal("1.5"))
    assert left_out(bill, "account_id") == ([] if ours else [(seller,)])


@pytest.mark.parametrize("day", ["2026-12-01", "2027-01-05", "1969-01-01", "2024-02-02"])
def test_a_row_of_an_odd_day_does_not_tell_of_a_month_that_was_not_read(day: str) -> None:
    rows = [focus(), focus(ChargePeriodStart=f"{day}T00:00:00Z", BilledCost="4")]
    bill = read(*rows)
    assert bill.periods == {"x": {date(2026, 10, 1)}}
    assert left_out(bill, "day", "period", "amount") == [(date(2026, 10, 1), date(2026, 10, 1), 4)]


def test_an_end_that_is_no_time_leaves_the_cost_as_it_is() -> None:
    for end in ("9999-12-31T00:00:00Z", "never", "2150-01-01"):
        charge = read(focus(ChargePeriodEnd=end)).charges[0]
        assert (charge.amount, charge.charge_end) == (Decimal("1.5"), None)


def test_what_is_older_than_costs_are_kept_is_told() -> None:
    bill = read(row("focus", "-40", "2024-09-01"), row("focus", "-2", "2024-11-01"), period=NOVEMBER)
    assert [charge.amount for charge in bill.charges] == [-2]
    assert left_out(bill, "because", "amount", "day") == [(LeftOutBecause.TOO_OLD, -40, NOVEMBER)]


def test_left_out_sums_are_by_currency() -> None:
    rows = [of("focus", cost, ANOTHER) | {"BillingCurrency": unit} for cost, unit in (("1", "USD"), ("2", "EUR"))]
    assert left_out(read(*rows, accounts=[]), "currency", "amount") == [("EUR", 2), ("USD", 1)]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_more_digits_than_are_stored_leave_the_sum_of_a_statement_as_it_is(layout: str) -> None:
    """As Azure divides prices: what rounding leaves of a day or an account goes to the next part of the statement."""
    costs = [f"0.{n}{'7' * 24}" for n in range(1, 10)]
    rows = [of(layout, cost, SUBSCRIPTION, f"2026-11-{n:02}") for n, cost in enumerate(costs, start=1)]
    rows += [of(layout, cost, ANOTHER) for cost in costs] + [of(layout, costs[0], "")]
    bill = read(*rows, period=NOVEMBER, covers=COVERS, accounts={SUBSCRIPTION}, account_charges=False)
    assert (len(bill.charges), len(bill.left_out)) == (9, 2)
    with localcontext(EXACT):
        parts = [*(charge.amount for charge in bill.charges), *(part.amount for part in bill.left_out)]
        statement = (2 * sum(map(Decimal, costs)) + Decimal(costs[0])).quantize(Decimal("1e-18"))
        assert [total.amount for total in bill.totals] == [statement] == [sum(parts)]
        lost = [charge.amount - Decimal(cost) for charge, cost in zip(bill.charges, costs, strict=True)]
        assert max(map(abs, lost)) < Decimal("1e-18")


# --- Parts of other charges -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lambda rows: text_of(rows).encode(), parquet_of])
def test_containers_are_not_charged_beside_the_instance_that_they_ran_on(make: Any) -> None:
    node = cur(line_item_resource_id="i-1", line_item_unblended_cost="10")
    split = dict.fromkeys(
        ("split_line_item_parent_resource_id", "split_line_item_split_cost", "split_line_item_unused_cost"), ""
    )
    pods = [
        cur(line_item_resource_id=f"arn:aws:eks:us-east-1:111:pod/c/n/{name}", line_item_unblended_cost="0")
        | {
            "split_line_item_parent_resource_id": "i-1",
            "split_line_item_split_cost": "4",
            "split_line_item_unused_cost": "1",
        }
        for name in "ab"
    ]
    fargate = cur(line_item_resource_id="task", line_item_unblended_cost="3") | split
    bill = read_export(
        [file_of(make([node | split, *pods, fargate]))], source_id="x", first=NOVEMBER, last=LAST, resources=[]
    )
    assert {charge.resource_id: charge.amount for charge in bill.charges} == {"i-1": 10, "task": 3}
    assert bill.left_out == []

    told = [node | split, *(pod | {"line_item_unblended_cost": "5"} for pod in pods)]
    bill = read_export([file_of(make(told))], source_id="x", first=NOVEMBER, last=LAST, resources=[])
    assert [charge.amount for charge in bill.charges] == [10]
    assert left_out(bill, "because", "amount") == [(LeftOutBecause.PART_OF_ANOTHER, 10)]
