"""Bills as they are seldom written: each is read to the last digit, or refused with a reason, and nothing crashes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from optiinfra_dagster.model.cost import Bill, BillRequest, Category, Source
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.providers.aws import billing as aws
from optiinfra_dagster.providers.aws import data_exports
from optiinfra_dagster.providers.azure import billing as azure
from optiinfra_dagster.providers.billing.matching import Matcher
from optiinfra_dagster.providers.gcp import billing as gcp
from optiinfra_dagster.providers.gcp import export_queries
from optiinfra_dagster.providers.vultr import bill_lines as vultr
from tests.providers.billing import test_exports as exports
from tests.providers.billing.test_exports import DAY, bill_of, parquet_of, sums, text_of

DAYS = date(2026, 10, 1), date(2026, 10, 31)


def request_of(source: str) -> BillRequest[Any]:
    return BillRequest("acme", [Source(source, None, (source,), timedelta(hours=1))], [], *DAYS)


# --- Exports ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("BilledCost", "1_000"),
        ("BilledCost", "\u0661"),  # a digit, but an Arabic one
        ("BilledCost", "1e-99999999999999999999"),
        ("ChargePeriodStart", "0001-01-01T00:00:00+05:00"),
        ("ChargePeriodStart", "9999-12-31T23:59:59-05:00"),
    ],
)
def test_values_that_only_some_parsers_take_are_refused_by_the_name_of_their_column(field: str, value: str) -> None:
    bill = bill_of(text_of([exports.focus(), exports.focus(**{field: value})]))
    assert (bill.charges, bill.read) == ([], {})
    assert field in bill.problems[0].message


@pytest.mark.parametrize("value", [["a"], {"a": "b"}])
@pytest.mark.parametrize("field", ["ServiceName", "BilledCost", "ResourceId"])
def test_columns_of_lists_are_refused_by_name(field: str, value: object) -> None:
    kind = pa.list_(pa.string()) if isinstance(value, list) else pa.map_(pa.string(), pa.string())
    row = exports.focus(**{field: list(value.items()) if isinstance(value, dict) else value})
    table = pa.Table.from_pylist([exports.focus()])
    table = table.set_column(table.column_names.index(field), field, pa.array([row[field]], kind))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    bill = bill_of(sink.getvalue().to_pybytes())
    assert (bill.charges, [problem.cause for problem in bill.problems]) == ([], [Cause.BUG])
    assert field in bill.problems[0].message


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("[{'name': 'FreeTrial', 'amount': -5e-06, 'full_name': None}]", "1.499995"),
        ("[{'name': \"a customer's\", 'amount': -0.5}]", "1.0"),
        ("None", "1.5"),
        ("null", "1.5"),
        ('[{"amount": null}]', ""),
        ('[{"amount": NaN}]', ""),
        ('[{"amount": true}]', ""),
        ("[" * 5000, ""),
    ],
)
def test_credits_are_read_as_python_prints_them_or_refused(text: str, left: str) -> None:
    bill = bill_of(text_of([exports.gcp(credits=text)]))
    assert sums(bill) == ({(DAY, "EUR"): Decimal(left)} if left else {})
    assert ["credits" in problem.message for problem in bill.problems] == [True] * (not left)


def test_a_column_of_credits_that_is_empty_has_none() -> None:
    assert sums(bill_of(parquet_of([exports.gcp(credits=None)]))) == {(DAY, "EUR"): Decimal("1.5")}


def test_what_costs_nothing_needs_no_currency_and_a_credit_does() -> None:
    nothing = exports.gcp(cost="0", currency="")
    bill = bill_of(text_of([nothing, exports.gcp()]))
    assert (sums(bill), bill.problems, len(bill.totals)) == ({(DAY, "EUR"): Decimal("1.5")}, [], 1)
    bill = bill_of(text_of([nothing | {"credits": '[{"amount": -1}]'}]))
    assert (bill.charges, "currency" in bill.problems[0].message) == ([], True)


def test_rows_of_an_export_without_a_cost_are_left_out_and_told() -> None:
    rows = [exports.focus(), exports.focus(BilledCost=""), exports.focus(BilledCost="NULL", ServiceName="Other")]
    bill = bill_of(text_of(rows))
    assert [charge.amount for charge in bill.charges] == [Decimal("1.5")]
    assert bill.read == {"export": [DAY]}
    (problem,) = bill.problems
    assert (problem.cause, problem.account_id) == (Cause.INCOMPLETE, "export")
    assert "2 rows have no cost" in problem.message
    assert "1 row has no cost" in bill_of(text_of(rows[:2])).problems[0].message
    of_another = exports.focus(BilledCost="", ProviderName="Oracle")
    assert bill_of(text_of([rows[0], of_another]), provider=("aws",)).problems == []


@pytest.mark.parametrize("make", [exports.focus, exports.cur])
def test_usage_by_the_month_is_refused_where_no_day_is_known(make: Any) -> None:
    start, end, service = {
        exports.focus: ("ChargePeriodStart", "ChargePeriodEnd", "ServiceName"),
        exports.cur: ("line_item_usage_start_date", "line_item_usage_end_date", "line_item_product_code"),
    }[make]
    month = {start: "2026-10-01T00:00:00Z", end: "2026-11-01T00:00:00Z"}
    hour = {start: "2026-10-05T03:00:00Z", end: "2026-10-05T04:00:00Z"}
    rows = [make(**{service: name}) | month for name in ("AmazonS3", "AmazonEC2")]
    bill = bill_of(text_of(rows))
    assert (bill.charges, bill.read, [problem.cause for problem in bill.problems]) == ([], {}, [Cause.CONFIG])
    assert "hourly or daily" in bill.problems[0].message
    assert bill_of(text_of(rows[:1])).problems == []  # a service that is charged by the month, such as a hosted zone
    assert bill_of(text_of([*rows, make() | hour])).problems == []


def test_a_row_is_of_a_provider_by_any_of_its_names() -> None:
    row = {name: value for name, value in exports.focus().items() if name != "ProviderName"}
    names = [("Snowflake", "Amazon Web Services EMEA SARL"), ("AWS", "A reseller"), ("Oracle", "Oracle")]
    rows = [row | {"ServiceProviderName": seller, "InvoiceIssuerName": issuer} for seller, issuer in names]
    assert sums(bill_of(text_of(rows), provider=("aws", "amazon"))) == {(DAY, "USD"): Decimal(3)}
    bill = bill_of(text_of(rows[2:]), provider=("aws", "amazon"))
    assert (bill.charges, "Oracle" in bill.problems[0].message) == ([], True)


def test_headers_of_other_languages_and_versions_are_known() -> None:
    row = {name: value for name, value in exports.azure().items() if name != "MeterCategory"}
    assert sums(bill_of(text_of([row | {"測定カテゴリ（MeterCategory）": "Storage"}]))) == {  # noqa: RUF001
        (DAY, "EUR"): Decimal("1.5")
    }
    preview = {name: value for name, value in exports.focus(Region="eu-west-1").items() if name != "RegionId"}
    assert [charge.region_id for charge in bill_of(text_of([preview])).charges] == ["eu-west-1"]


def test_a_file_with_two_columns_of_costs_is_refused_by_their_name() -> None:
    head, row = text_of([exports.focus()]).splitlines()
    bill = bill_of(f"billed_cost,{head}\n9,{row}\n")
    assert (bill.charges, bill.read, [problem.cause for problem in bill.problems]) == ([], {}, [Cause.CONFIG])
    assert "several columns billed_cost" in bill.problems[0].message


def test_a_file_without_lines_is_told_as_broken() -> None:
    for content in (text_of([exports.focus()]).replace("\r\n", "\r"), "x" * 200_000):
        assert [problem.cause for problem in bill_of(content).problems] == [Cause.INCOMPLETE]


# --- Answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", ["NaN", "1e30", "", "x"])
def test_cost_explorers_amounts_are_money(amount: str) -> None:
    with pytest.raises(ValueError, match="UnblendedCost"):
        aws._amount({"UnblendedCost": {"Amount": amount, "Unit": "USD"}}, "UnblendedCost")


def test_what_a_group_costs_is_not_taken_for_nothing() -> None:
    group = {"Keys": ["Amazon EC2"], "Metrics": {"BlendedCost": {"Amount": "1.5", "Unit": "USD"}}}
    result = {"TimePeriod": {"Start": "2026-10-05", "End": "2026-10-06"}, "Groups": [group]}
    with pytest.raises(ValueError, match="Amazon EC2 has no UnblendedCost"):
        list(aws._charges({"ResultsByTime": [result]}, "111111111111", {}))


@pytest.mark.parametrize("written", [" Tax", "Tax ", "\tTax\n", "Tax\u00a0"])
def test_spaces_around_the_name_of_a_service_say_nothing(written: str) -> None:
    metrics = {"UnblendedCost": {"Amount": "1.5", "Unit": "USD"}}
    result = {
        "TimePeriod": {"Start": "2026-10-05", "End": "2026-10-06"},
        "Groups": [{"Keys": [written, "111111111111"], "Metrics": metrics}],
    }
    (charge,) = aws._charges({"ResultsByTime": [result]}, "111111111111", {})
    assert (charge.service_name, charge.category) == ("Tax", Category.TAX)

    columns = [{"name": name} for name in ("Cost", "UsageDate", "Currency", *azure.GROUPS)]
    cells = [Decimal(1), 20261005, "USD", written.replace("Tax", "Virtual Machines"), " "]
    (row,) = azure.rows_of({"columns": columns, "rows": [cells]}, azure.GROUPS)
    of_azure = azure.charge_of(row, "sub", {}, final=True)
    assert (of_azure.service_name, of_azure.cost_type) == ("Virtual Machines", "compute")


def test_a_manifest_is_of_a_month() -> None:
    names = [f"cur/metadata/BILLING_PERIOD={month}/cur-Manifest.json" for month in ("2026-12", "2026-13")]
    assert [bool(data_exports._MANIFEST.fullmatch(name)) for name in names] == [True, False]


@pytest.mark.parametrize(
    "change",
    [
        {"rows": [[1, 20261005, None]]},
        {"rows": [[1, 20261005, "Mixed"]]},
        {"rows": [["1e30", 20261005, "EUR"]]},
        {"rows": [{"Cost": 1}]},
        {"columns": ["Cost", None, {"name": "Currency"}]},
        {"columns": "Cost"},
    ],
)
def test_cost_managements_odd_rows_are_told(change: dict[str, Any]) -> None:
    columns = [{"name": name} for name in ("Cost", "UsageDate", "Currency")]
    page = {"columns": columns, "rows": [[Decimal("1.5"), 20261005, "eur"]]}
    assert azure.rows_of(page) == [azure.Row(DAY, Decimal("1.5"), "EUR")]
    with pytest.raises(CloudError, match=r"costmanagement\.Query"):
        azure.rows_of(page | change)


def google_line(**changes: Any) -> dict[str, Any]:
    names = [*export_queries._TEXTS, "labels_json", "credit_type", "credit_name"]
    numbers = {
        "amount": Decimal(2), "unknown": 0, "effective": Decimal(2), "list_cost": None, "used": None, "priced": None,
    }  # fmt: skip
    return {
        **dict.fromkeys(names, ""), **numbers, "day": DAY, "currency": "EUR", "is_total": 0, "project": "p",
        "of_account": False, "own": True, "is_credit": False, "line_count": 1, **changes,
    }  # fmt: skip


def google_bill(*rows: dict[str, Any]) -> Bill:
    answers = iter([[], rows])  # which days have corrections, and what all consist of
    export = SimpleNamespace(
        columns=set(export_queries.COLUMNS), partition_since=lambda _: "", query=lambda _sql, _parameters: next(answers)
    )
    request, bill = request_of("table"), Bill()
    gcp._Reading(request.sources[0], request, export, Matcher([], gcp.names_of), bill).read()  # type: ignore[arg-type]
    return bill


def test_lines_of_google_without_a_cost_are_left_out_and_told() -> None:
    line = google_line()
    bill = google_bill(line, line | {"amount": None}, line | {"currency": None}, line | {"is_total": 1})
    assert [charge.amount for charge in bill.charges] == [total.amount for total in bill.totals] == [Decimal(2)]
    assert [problem.cause for problem in bill.problems] == [Cause.INCOMPLETE]


def test_a_line_of_google_without_a_cost_is_told_where_others_of_its_sum_have_one() -> None:
    """BigQuery's SUM passes over it."""
    bill = google_bill(google_line(unknown=1), google_line(unknown=1, is_total=1))
    assert [charge.amount for charge in bill.charges] == [Decimal(2)]
    assert ["has lines without a cost" in problem.message for problem in bill.problems] == [True]
    assert "COUNTIF(amount IS NULL) AS unknown" in export_queries.charges("`t`", "", export_queries.COLUMNS)


@pytest.mark.parametrize(
    ("cost_type", "category"),
    [
        ("", "Usage"), ("regular", "Usage"), ("tax", "Tax"), ("adjustment", "Adjustment"),
        ("rounding_error", "Adjustment"), ("rounding error", "Adjustment"),  # the second is Google's document's
    ],
)  # fmt: skip
def test_googles_types_of_cost_are_categories(cost_type: str, category: str) -> None:
    assert [charge.category for charge in google_bill(google_line(cost_type=cost_type)).charges] == [category]


@pytest.mark.parametrize("unit", [Decimal(10) ** 18, Decimal("-1e30")])
def test_a_quantity_of_google_that_has_no_place_is_not_known(unit: Decimal) -> None:
    assert (gcp._quantity(unit), gcp._quantity(Decimal("1e17"))) == (None, Decimal("1e17"))


@pytest.mark.parametrize("day", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+09:00", "9999-12-31T23:59:59", "", None])
@pytest.mark.parametrize("which", ["start_date", "end_date"])
def test_a_line_of_vultr_with_no_real_date_has_the_period_of_its_bill(which: str, day: str | None) -> None:
    period = datetime(2026, 10, 5, tzinfo=UTC), datetime(2026, 10, 7, tzinfo=UTC)
    item = {"start_date": "2026-10-01T00:00:00Z", "end_date": "2026-10-02T00:00:00Z", "total": "3.6", which: day}
    (line,) = vultr.lines_of([item], "list-pending-charges", period)
    assert (line.start, line.end, line.dated) == (*period, False)
    with pytest.raises(CloudError, match="total"):
        vultr.lines_of([item | {"total": "1e30"}], "list-pending-charges", period)
