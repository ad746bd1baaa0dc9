from __future__ import annotations

import json
from collections import Counter
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.lab.server import Response, as_json
from optiinfra_dagster.lab.service import ApiError
from optiinfra_dagster.model.cost import Bill, BillRequest, Category
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.azure import billing, transport
from optiinfra_dagster.providers.azure.bill_sources import bill_sources
from optiinfra_dagster.providers.azure.billing import months, read, rows_of
from optiinfra_dagster.providers.azure.client import Principal
from optiinfra_dagster.providers.azure.inventory import collect
from optiinfra_dagster.providers.billing import finality
from optiinfra_dagster.providers.billing.finality import is_final
from tests.providers.azure.conftest import NOW, OTHER, SUBSCRIPTION, StartLab, account

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.providers.azure.account import AzureAccount

FIRST, LAST = date(2026, 10, 1), date(2026, 11, 20)


def ask(
    lab: CloudLab, *accounts: AzureAccount, first: date = FIRST, last: date = LAST, now: datetime | None = None
) -> BillRequest[AzureAccount]:
    """A request for the bills of the lab's subscription, with its inventory to match."""
    named = accounts or (account(lab),)
    return BillRequest("acme", bill_sources(named), collect("acme", named, Meter()).resources, first, last, now=now)


def causes(bill: Bill) -> list[Cause]:
    return [problem.cause for problem in bill.problems]


def test_every_cell_equals_the_truth_and_the_totals_to_the_last_digit(start_billing: StartLab) -> None:
    lab = start_billing(cost_page=97)
    meter = Meter()

    bill = read(ask(lab), meter)

    truth = lab.azure.billing.expected(SUBSCRIPTION, FIRST, LAST)
    told = Counter[tuple[date, str, str, str]]()
    for line in truth:
        told[line.day, line.service, line.resource_id, line.currency] += line.amount  # type: ignore[assignment]
    got = {(one.day, one.service_name, one.resource_id, one.currency): one.amount for one in bill.charges}
    assert got == dict(told)
    assert len(got) == len(bill.charges)
    totals = {(one.day, one.currency): one.amount for one in bill.totals}
    assert totals == lab.azure.billing.totals(SUBSCRIPTION, FIRST, LAST)
    assert bill.read == {SUBSCRIPTION: [FIRST + timedelta(days=n) for n in range(51)]}
    assert bill.problems == []
    calls = lab.control.calls()
    assert meter.calls == {"CostManagement.Query": calls.count("costmanagement", "Query", SUBSCRIPTION, status=200)}
    assert meter.cost_usd == 0
    assert calls.count("costmanagement") == calls.count("costmanagement", status=200) > 4


def test_lines_are_matched_with_the_inventory(start_billing: StartLab) -> None:
    bill = read(ask(start_billing()), Meter())

    kinds = {(one.service_name, one.cost_type, one.region_id) for one in bill.charges}
    assert kinds == {
        ("Virtual Machines", "compute", "westeurope"),
        ("Storage", "volume", "westeurope"),
        ("Storage", "volume", "eastus"),
        ("SQL Database", "database", "westeurope"),
        ("Application Gateway", "load_balancer", "westeurope"),
        ("Bandwidth", "network", "westeurope"),
        ("Azure Monitor", "other", ""),
    }
    assert {one.sub_account_id for one in bill.charges} == {SUBSCRIPTION}


def test_a_resource_that_is_gone_keeps_its_id_and_what_its_id_tells(start_billing: StartLab) -> None:
    lab = start_billing()
    request = BillRequest("acme", bill_sources([account(lab)]), [], LAST, LAST)

    disks = [one for one in read(request, Meter()).charges if "/disks/" in one.resource_id]

    assert {(one.cost_type, one.region_id) for one in disks} == {("volume", "")}
    assert len(disks) == 3


@pytest.mark.parametrize(
    ("day", "today", "final"),
    [
        (date(2026, 10, 31), date(2026, 11, 5), False),
        (date(2026, 10, 31), date(2026, 11, 6), True),
        (date(2026, 10, 1), date(2026, 10, 31), False),
        (date(2026, 12, 2), date(2027, 1, 6), True),
        (date(2028, 2, 29), date(2028, 3, 5), False),
    ],
)
def test_a_month_is_final_after_the_fifth_of_the_next(day: date, today: date, final: bool) -> None:
    assert is_final(day, today, finality.AZURE) is final


def test_charges_say_whether_they_are_final(start_billing: StartLab) -> None:
    bill = read(ask(start_billing()), Meter())

    assert {(one.day.month, one.is_final) for one in bill.charges} == {(10, True), (11, False)}


def test_a_restated_day_is_told_anew(start_billing: StartLab) -> None:
    lab = start_billing()
    before = read(ask(lab), Meter())
    lab.azure.billing.restate(SUBSCRIPTION, date(2026, 10, 7), "-1.5")

    after = read(ask(lab), Meter())

    (line,) = [one for one in after.charges if one.amount < 0]
    assert (line.day, line.amount, line.category) == (date(2026, 10, 7), Decimal("-1.5"), Category.CREDIT)
    assert sum(one.amount for one in after.totals) - sum(one.amount for one in before.totals) == Decimal("-1.5")


@pytest.mark.parametrize("share", ["0", "0.25"])
def test_days_that_have_not_settled_are_read_and_arriving(start_billing: StartLab, share: str) -> None:
    lab = start_billing(bills_arrive={"hours": 60, "share": share})

    bill = read(ask(lab, now=NOW), Meter())

    assert bill.read == {SUBSCRIPTION: [FIRST + timedelta(days=n) for n in range(51)]}
    assert bill.arriving == {SUBSCRIPTION: {date(2026, 11, day) for day in (18, 19, 20)}}
    assert {(one.day, one.currency): one.amount for one in bill.totals} == lab.azure.billing.totals(
        SUBSCRIPTION, FIRST, LAST
    )
    assert sum(one.amount for one in bill.charges) == sum(one.amount for one in bill.totals)
    assert max(one.day for one in bill.charges) == (date(2026, 11, 17) if share == "0" else LAST)


def test_a_subscription_without_any_costs_is_free_up_to_three_days_ago(start_billing: StartLab) -> None:
    bill = read(ask(start_billing(one={"fleets": []})), Meter())

    assert (bill.charges, bill.totals, bill.problems) == ([], [], [])
    assert bill.read[SUBSCRIPTION][-1] == LAST
    assert min(bill.arriving[SUBSCRIPTION]) == LAST - timedelta(days=2)


def test_two_currencies_in_a_month_are_told_and_kept(start_billing: StartLab) -> None:
    lab = start_billing(one={"currency_change": ["2026-11-11", "EUR"]})

    bill = read(ask(lab), Meter())

    (problem,) = bill.problems
    assert problem.cause is Cause.CONFIG
    assert "2026-11 is charged in EUR and USD" in problem.message
    assert {(one.day < date(2026, 11, 11), one.currency) for one in bill.charges} == {(True, "USD"), (False, "EUR")}
    assert len(bill.read[SUBSCRIPTION]) == 51


# --- Limits and faults ------------------------------------------------------------------------------------------------


def test_no_more_queries_are_sent_than_a_scope_may(start_billing: StartLab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "COST_PACE", transport.Pace(3, 0.5))
    lab = start_billing(cost_queries=3, cost_seconds=0.4)

    bill = read(ask(lab), Meter())

    assert bill.problems == []
    assert lab.control.calls().count("costmanagement", status=429) == 0
    assert lab.control.calls().count("costmanagement", status=200) == 4


def test_a_refused_query_waits_as_long_as_the_longest_limit_asks(start_billing: StartLab, waits: list[float]) -> None:
    lab = start_billing()
    lab.control.add_faults({"action": "throttle", "service": "costmanagement", "seconds": 17, "times": 2})

    bill = read(ask(lab), Meter())

    assert waits == [17.0, 17.0]
    assert bill.problems == []


def test_a_wait_that_is_too_long_ends_the_reading_and_keeps_what_came(
    start_billing: StartLab, waits: list[float]
) -> None:
    lab = start_billing()
    lab.control.add_faults({"action": "throttle", "service": "costmanagement", "seconds": 3600, "skip": 2})

    bill = read(ask(lab), Meter())

    assert causes(bill) == [Cause.THROTTLED]
    assert "2026-10-01 to 2026-10-31 are not read" in bill.problems[0].message
    assert "cost_export" in bill.problems[0].message
    assert bill.read[SUBSCRIPTION] == [date(2026, 11, n) for n in range(1, 21)]
    assert {one.day.month for one in bill.charges} == {11}
    assert waits == []


@pytest.mark.parametrize("action", ["error", "unavailable", "disconnect"])
def test_what_fails_in_one_month_costs_that_month(start_billing: StartLab, waits: list[float], action: str) -> None:
    lab = start_billing()
    lab.control.add_faults({"action": action, "service": "costmanagement", "times": 4})

    bill = read(ask(lab), Meter())

    assert causes(bill) == [Cause.UNAVAILABLE]
    assert bill.read == {SUBSCRIPTION: [date(2026, 10, n) for n in range(1, 32)]}


def test_a_total_that_fails_leaves_the_charges(start_billing: StartLab, waits: list[float]) -> None:
    lab = start_billing()
    lab.control.add_faults({"action": "unavailable", "service": "costmanagement", "skip": 1, "times": 4})

    bill = read(ask(lab), Meter())

    assert "not compared" in bill.problems[0].message
    assert len(bill.read[SUBSCRIPTION]) == 51
    assert {one.day.month for one in bill.totals} == {10}


@pytest.mark.parametrize(
    ("azure", "fault", "cause", "remedy"),
    [
        ({"one": {"actions": ["Microsoft.Compute/*/read"]}}, None, Cause.PERMISSION, "role Cost Management Reader"),
        ({}, "optin_required", Cause.PERMISSION, "allow them to view charges"),
        ({}, "unknown_key", Cause.AUTH, "client_secret"),
    ],
)
def test_a_refusal_names_the_remedy_and_gives_no_rows(
    start_billing: StartLab, azure: dict[str, Any], fault: str | None, cause: Cause, remedy: str
) -> None:
    lab = start_billing(**azure)
    if fault:
        lab.control.add_faults({"action": fault, "service": "costmanagement"})

    bill = read(ask(lab), Meter())

    assert causes(bill) == [cause]
    assert remedy in bill.problems[0].message
    assert (bill.charges, bill.totals, bill.read) == ([], [], {})
    assert lab.control.calls().count("costmanagement") == 1


@pytest.mark.parametrize(
    ("status", "code", "text"),
    [
        (404, "NotFound", "GtmDimensionDataProvider.GetAzureSubscriptionsById returns null or empty list for id: 1"),
        (404, "NotFound", "Given subscription 1 doesn't have valid WebDirect/AIRS offer type."),
        (404, "NotFound", 'Cost management data is not supported for subscription(s) "1" in the provided api-version.'),
        (400, "400", "Cost Management supports only Web direct offer types. offerId: 36P has offerType: None"),
    ],
)
def test_a_subscription_that_cost_management_does_not_know_is_told_what_to_do(
    start_billing: StartLab, monkeypatch: pytest.MonkeyPatch, status: int, code: str, text: str
) -> None:
    lab = start_billing()

    def refuse(*_: object) -> Response:
        raise ApiError(status, code, text)

    monkeypatch.setattr(lab.azure.billing, "_query", refuse)

    bill = read(ask(lab), Meter())

    assert causes(bill) == [Cause.CONFIG]
    assert "write cost_export in the customers file" in bill.problems[0].message
    assert "report this" not in bill.problems[0].message
    assert (bill.charges, bill.totals, bill.read) == ([], [], {})


def test_what_cost_management_could_not_ask_itself_is_asked_again(
    start_billing: StartLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = start_billing()

    def refuse(*_: object) -> Response:
        raise ApiError(424, "424", "Failed dependency (Request ID: 1)")

    monkeypatch.setattr(lab.azure.billing, "_query", refuse)

    bill = read(ask(lab), Meter())

    assert set(causes(bill)) == {Cause.UNAVAILABLE}
    assert "report this" not in bill.problems[0].message
    assert (bill.charges, bill.totals, bill.read) == ([], [], {})


def test_one_subscription_that_fails_costs_no_other(start_billing: StartLab) -> None:
    lab = start_billing()

    bill = read(ask(lab, account(lab), account(lab, OTHER)), Meter())

    assert [(one.account_id, one.cause) for one in bill.problems] == [(OTHER, Cause.CONFIG)]
    assert list(bill.read) == [SUBSCRIPTION]


def test_a_page_that_leads_to_itself_ends(start_billing: StartLab, monkeypatch: Any) -> None:
    page = {"columns": [], "rows": [], "nextLink": "https://management.azure.com/again?$skiptoken=x"}
    monkeypatch.setattr(Principal, "costs", lambda *_: page)

    bill = read(ask(start_billing()), Meter())

    assert causes(bill) == [Cause.INCOMPLETE, Cause.INCOMPLETE]
    assert bill.read == {}


@pytest.mark.parametrize(
    "body", ["{}", "[]", "[1]", '"OK"', '{"properties": null}', '{"properties": []}', '{"properties": {"columns": []}}']
)
def test_an_answer_without_rows_is_not_taken_for_no_costs(
    start_billing: StartLab, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    lab = start_billing()
    monkeypatch.setattr(lab.azure.billing, "_query", lambda *_: as_json(200, json.loads(body)))

    bill = read(ask(lab, account(lab), account(lab, OTHER)), Meter())

    assert {one.account_id for one in bill.problems} == {SUBSCRIPTION, OTHER}
    assert set(causes(bill)) == {Cause.BUG}
    assert "the answer has no rows" in bill.problems[0].message
    assert (bill.charges, bill.totals, bill.read) == ([], [], {})


@pytest.mark.parametrize(
    "answer", [Response(204, b"", {}), as_json(200, {"properties": {"nextLink": "", "columns": [], "rows": []}})]
)
def test_no_content_and_no_rows_are_no_costs(
    start_billing: StartLab, monkeypatch: pytest.MonkeyPatch, answer: Response
) -> None:
    lab = start_billing()
    monkeypatch.setattr(lab.azure.billing, "_query", lambda *_: answer)

    bill = read(ask(lab), Meter())

    assert (bill.problems, bill.charges) == ([], [])
    assert bill.read == {SUBSCRIPTION: [FIRST + timedelta(days=n) for n in range(51)]}


def test_a_link_to_another_host_is_followed_at_azure_only(start_billing: StartLab) -> None:
    lab = start_billing(cost_page=10)  # the lab's links lead to management.azure.com

    assert read(ask(lab, first=LAST), Meter()).problems == []


@pytest.mark.parametrize(
    ("columns", "rows", "said"),
    [
        ("Cost UsageDate", [[1, 20261101]], "no column Currency"),
        ("UsageDate Currency", [[20261101, "USD"]], "no column Cost"),
        ("Cost UsageDate Currency", [["much", 20261101, "USD"]], "not as documented"),
        ("Cost UsageDate Currency", [[None, 20261101, "USD"]], "not as documented"),
        ("Cost UsageDate Currency", [[1, 20261301, "USD"]], "not as documented"),
        ("Cost UsageDate Currency", [[1, 20261101]], "not as documented"),
    ],
)
def test_an_odd_answer_is_told_and_is_no_zero(columns: str, rows: list[list[Any]], said: str) -> None:
    with pytest.raises(CloudError, match=said) as raised:
        rows_of({"columns": [{"name": name} for name in columns.split()], "rows": rows})

    assert raised.value.cause is Cause.BUG


def test_columns_are_known_by_their_names_in_any_order() -> None:
    columns = [{"name": name} for name in ("Currency", "ResourceId", "UsageDate", "PreTaxCost", "ServiceName")]
    rows = [["usd", "/R", "2026-11-02T00:00:00", Decimal("1.000000000000000001"), None]]

    (row,) = rows_of({"columns": columns, "rows": rows}, billing.GROUPS)

    assert row == billing.Row(date(2026, 11, 2), Decimal("1.000000000000000001"), "USD", "", "/R")


def test_what_costs_nothing_needs_no_currency() -> None:
    columns = [{"name": name} for name in ("Cost", "UsageDate", "Currency")]
    rows: list[list[Any]] = [[0, 20261102, ""], [Decimal("0.0"), 20261102, None], [2, 20261103, "EUR"]]

    assert rows_of({"columns": columns, "rows": rows}) == [billing.Row(date(2026, 11, 3), Decimal(2), "EUR")]
    with pytest.raises(CloudError, match="not as documented"):
        rows_of({"columns": columns, "rows": [[1, 20261102, ""]]})


def test_documented_answers_are_read(shared_data: Path) -> None:
    read_rows = 0
    for file in sorted((shared_data / "azure_examples" / "cost-management").rglob("*Query*.json")):
        for answer in json.loads(file.read_text(), parse_float=Decimal)["responses"].values():
            properties = (answer.get("body") or {}).get("properties") or {}
            names = [column["name"] for column in properties.get("columns") or ()]
            if {"PreTaxCost", "UsageDate", "Currency"} <= set(names):
                rows = rows_of(properties)
                assert sum(row.amount for row in rows) == sum(
                    one[names.index("PreTaxCost")] for one in properties["rows"]
                )
                read_rows += len(rows)
    assert read_rows > 10


def test_months_are_cut_to_the_range() -> None:
    assert list(months(date(2026, 12, 30), date(2027, 2, 3))) == [
        (date(2027, 2, 1), date(2027, 2, 3)),
        (date(2027, 1, 1), date(2027, 1, 31)),
        (date(2026, 12, 30), date(2026, 12, 31)),
    ]
