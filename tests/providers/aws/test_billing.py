from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.collection.cost import estimated
from optiinfra_dagster.lab.aws.wire import AwsError
from optiinfra_dagster.model.cost import Bill, BillRequest, Category, LeftOutBecause
from optiinfra_dagster.model.errors import LATER, Cause
from optiinfra_dagster.model.inventory import ResourceType, Status
from optiinfra_dagster.model.meter import Meter
from optiinfra_dagster.providers.aws import bill_sources, billing, inventory, prices
from optiinfra_dagster.providers.aws.check import check
from optiinfra_dagster.providers.billing import service_names
from optiinfra_dagster.providers.billing.scope import keep_own
from optiinfra_dagster.providers.day_cache import DayCache
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.storage.bills import KnownPrice
from tests.providers.aws.conftest import ACME, NOW, StartLab, acme, fleet

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.providers.aws.account import AwsAccount

EC2 = service_names.EC2
FIRST, LAST = date(2026, 10, 1), date(2026, 11, 19)
MEMBER = "222222222222"
FLEETS = (fleet("ec2:instance", 2), fleet("rds:db"), fleet("elbv2:application"), fleet("eks:cluster"))


def asked(*accounts: AwsAccount, first: date = FIRST, last: date = LAST, **more: Any) -> BillRequest[AwsAccount]:
    return BillRequest("acme", bill_sources.bill_sources(accounts or (acme(),)), [], first, last, **more)


def by_service(bill: Bill) -> dict[tuple[date, str, str], Decimal]:
    found: dict[tuple[date, str, str], Decimal] = {}
    for charge in bill.charges:
        key = charge.day, charge.service_name, charge.sub_account_id
        found[key] = found.get(key, Decimal(0)) + charge.amount
    return found


def truth(
    lab: CloudLab, first: date = FIRST, last: date = LAST, but: Collection[str] = ()
) -> dict[tuple[date, str, str], Decimal]:
    """What the cloud charges by day, service and account, without some of its services."""
    found: dict[tuple[date, str, str], Decimal] = {}
    for day, cells in lab.aws.billing.expected(ACME, first, last).items():
        for (service, account), cell in cells.items():
            key = day, service_names.canonical(service), account
            if service not in but:
                found[key] = found.get(key, Decimal(0)) + cell["UnblendedCost"][0]
    return found


def sums(bill: Bill) -> dict[date, Decimal]:
    found: dict[date, Decimal] = {}
    for charge in bill.charges:
        found[charge.day] = found.get(charge.day, Decimal(0)) + charge.amount
    return found


def change_account(lab: CloudLab, **fields: object) -> None:
    accounts = lab.aws.estate.accounts
    accounts[ACME] = accounts[ACME].model_copy(update=fields)


# --- Cost Explorer --------------------------------------------------------------------------------------------------


def test_every_day_is_read_by_service_and_adds_up_to_the_clouds_own_total(start_lab: StartLab) -> None:
    lab = start_lab(*FLEETS)
    meter = Meter()

    bill = billing.read(asked(), meter)

    assert bill.problems == []
    assert bill.read == {ACME: asked().days}
    assert by_service(bill) == truth(lab)
    assert {total.day: total.amount for total in bill.totals} == sums(bill)
    assert meter.cost_usd == Decimal("0.02") == billing.price(asked())
    assert lab.control.calls().count("ce", "GetCostAndUsage") == meter.calls["GetCostAndUsage"] == 2


def test_charges_say_what_they_are_of_and_whether_they_may_change(start_lab: StartLab) -> None:
    start_lab(*FLEETS)

    charges = billing.read(asked(), Meter()).charges

    types = {(charge.service_name, charge.cost_type) for charge in charges}
    assert {(EC2, "compute"), (EC2, "other"), ("Elastic Load Balancing", "load_balancer")} <= types
    assert {charge.category for charge in charges if charge.service_name == "Tax"} == {Category.TAX}
    assert {charge.is_final for charge in charges if charge.day.month == 10} == {True}
    assert {charge.is_final for charge in charges if charge.day.month == 11} == {False}
    compute = [charge for charge in charges if charge.cost_type == ResourceType.COMPUTE]
    assert all(charge.effective_cost and charge.effective_cost < charge.amount for charge in compute)


def test_pages_are_followed_and_each_is_metered_before_it_is_sent(start_lab: StartLab, tmp_path: Path) -> None:
    lab = start_lab(*FLEETS)
    lab.aws.billing.page_groups = 37  # a day is cut by the end of a page
    meter, request = Meter(), asked(memory=DayCache(tmp_path))

    bill = billing.read(request, meter)

    assert by_service(bill) == truth(lab)
    pages = lab.control.calls().count("ce", "GetCostAndUsage")
    assert pages > 5
    assert meter.cost_usd == pages * Decimal("0.01") == billing.price(request)  # which remembers the number of pages


def test_a_budget_ends_the_reading_before_the_page_that_would_exceed_it(start_lab: StartLab) -> None:
    lab = start_lab(*FLEETS)
    lab.aws.billing.page_groups = 100
    meter = Meter(Decimal("0.025"))

    bill = billing.read(asked(), meter)

    assert (bill.charges, bill.totals, bill.read) == ([], [], {})
    assert [problem.cause for problem in bill.problems] == [Cause.BUDGET]
    assert lab.control.calls().count("ce", "GetCostAndUsage") == 2


def test_pages_that_do_not_end_are_given_up(start_lab: StartLab) -> None:
    lab = start_lab(*FLEETS)
    lab.aws.billing.endless = True

    bill = billing.read(asked(), Meter())

    (problem,) = bill.problems
    assert problem.cause is Cause.INCOMPLETE
    assert "repeats a page" in problem.message
    assert bill.read == {}
    assert lab.control.calls().count("ce", "GetCostAndUsage") == 2


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ({"action": "deny", "skip": 1}, Cause.PERMISSION),  # the totals are allowed, the groups are not
        ({"action": "throttle"}, Cause.THROTTLED),
        ({"action": "error"}, Cause.UNAVAILABLE),
        ({"action": "disconnect"}, Cause.UNAVAILABLE),
    ],
)
def test_what_fails_part_way_is_no_day_and_no_zero(start_lab: StartLab, fault: dict[str, Any], cause: Cause) -> None:
    lab = start_lab(*FLEETS)
    lab.control.add_faults({"operation": "GetCostAndUsage", **fault})
    meter = Meter()

    bill = billing.read(asked(), meter)

    assert (bill.charges, bill.totals, bill.read) == ([], [], {})
    (problem,) = bill.problems
    assert (problem.account_id, problem.cause) == (ACME, cause)
    assert meter.calls["GetCostAndUsage"] == lab.control.calls().count("ce", "GetCostAndUsage")


@pytest.mark.parametrize("state", [False, "preparing"])
def test_an_account_without_cost_explorer_is_told_how_to_enable_it(start_lab: StartLab, state: object) -> None:
    lab = start_lab(*FLEETS)
    change_account(lab, cost_explorer=state)

    bill = billing.read(asked(), Meter())

    (problem,) = bill.problems
    assert problem.cause is Cause.CONFIG
    assert "open Billing and Cost Management > Cost Explorer once" in problem.message
    assert bill.read == {}


@pytest.mark.parametrize("code", ["BillExpirationException", "LimitExceededException", "RequestChangedException"])
def test_what_cost_explorer_refuses_for_a_while_is_asked_again(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, code: str
) -> None:
    lab = start_lab(*FLEETS)

    def refuse(_call: object) -> Any:
        raise AwsError(400, code, "Update the date interval and try again.")

    monkeypatch.setattr(lab.aws.billing, "get_cost_and_usage", refuse)

    (problem,) = billing.read(asked(), Meter()).problems

    assert problem.cause in {Cause.INCOMPLETE, Cause.THROTTLED}
    assert not problem.cause.permanent
    assert LATER in problem.message
    assert "report this" not in problem.message


@pytest.mark.parametrize("named", [[{"Attributes": {"description": "prod"}}], [{"Value": ACME, "Attributes": None}]])
def test_a_name_that_cannot_be_read_costs_itself(
    start_lab: StartLab, monkeypatch: pytest.MonkeyPatch, named: list[dict[str, Any]]
) -> None:
    lab = start_lab(*FLEETS)
    true = lab.aws.billing.get_cost_and_usage
    answer = lambda call: {**true(call), "DimensionValueAttributes": named}  # noqa: E731
    monkeypatch.setattr(lab.aws.billing, "get_cost_and_usage", answer)

    bill = billing.read(asked(), Meter())

    assert bill.problems == []
    assert by_service(bill) == truth(lab)
    assert {charge.sub_account_name for charge in bill.charges} == {""}


@pytest.mark.parametrize("share", ["0", "0.25"])
def test_days_that_have_not_settled_are_read_and_arriving(start_lab: StartLab, share: str) -> None:
    lab = start_lab(*FLEETS)
    lab.control.let_bills_arrive("aws", 30, share)

    bill = billing.read(asked(now=NOW), Meter())

    assert bill.problems == []
    assert bill.read == {ACME: asked().days}
    assert bill.arriving == {ACME: {LAST - timedelta(days=1), LAST}}
    assert by_service(bill) == truth(lab)
    assert (sums(bill).get(LAST, 0) > 0) is (share != "0")
    assert {total.day: total.amount for total in bill.totals if total.amount} == sums(bill)


@pytest.mark.parametrize(
    ("told_to", "arriving", "missing"),
    [(LAST, 2, ""), (date(2026, 11, 17), 2, ""), (date(2026, 11, 15), 2, "nothing of 2026-11-16 to 2026-11-17")],
)
def test_a_day_without_an_answer_is_arriving_first_and_missing_then(
    start_lab: StartLab, tmp_path: Path, told_to: date, arriving: int, missing: str
) -> None:
    def day(of: date) -> dict[str, Any]:
        metrics = {"UnblendedCost": {"Amount": "1.5", "Unit": "USD"}}
        period = {"Start": of.isoformat(), "End": (of + timedelta(days=1)).isoformat()}
        return {"TimePeriod": period, "Estimated": True, "Groups": [{"Keys": ["Tax"], "Metrics": metrics}]}

    first = date(2026, 11, 10)
    file = tmp_path / "recorded.json"
    days = [day(first + timedelta(days=n)) for n in range((told_to - first).days + 1)]
    file.write_text(json.dumps({"ResultsByTime": days}))
    lab = start_lab()
    change_account(lab, cost_recording=file)
    lab.aws.billing.tells_to = told_to

    bill = billing.read(asked(first=first, now=NOW), Meter())

    assert bill.arriving[ACME] == {LAST - timedelta(days=n) for n in range(arriving)}
    assert (
        {one.day for one in bill.charges}
        == {one.day for one in bill.totals}
        == {first + timedelta(days=n) for n in range(len(days))}
    )
    assert [missing in problem.message for problem in bill.problems] == ([True] if missing else [])
    assert (date(2026, 11, 16) in bill.read[ACME]) is not bool(missing)


def test_what_the_answer_tells_of_accounts_and_credits_is_kept(start_lab: StartLab) -> None:
    member = {"id": MEMBER, "payer": ACME, "name": "Acme Labs", "fleets": [fleet("ec2:instance", 3)]}
    lab = start_lab(*FLEETS, accounts=(member,))
    alone = billing.read(asked(acme(account_id=MEMBER, role_arn=f"arn:aws:iam::{MEMBER}:role/reader")), Meter())
    lab.aws.billing.restate(ACME, LAST - timedelta(days=5), "-1.5", "Amazon Simple Storage Service")

    bill = billing.read(asked(), Meter())

    assert {(c.sub_account_id, c.sub_account_name, c.payer_account_id) for c in bill.charges} == {
        (ACME, "", ACME), (MEMBER, "Acme Labs", ACME)
    }  # fmt: skip
    assert {c.payer_account_id for c in alone.charges} == {""}
    assert [(c.service_name, c.amount) for c in bill.charges if c.category is Category.CREDIT] == [
        ("Amazon Simple Storage Service", Decimal("-1.5"))
    ]
    assert {total.day: total.amount for total in bill.totals} == sums(bill)


def test_a_restated_day_is_what_it_says_now(start_lab: StartLab) -> None:
    lab = start_lab(*FLEETS)
    before = sums(billing.read(asked(), Meter()))
    day = LAST - timedelta(days=5)
    lab.aws.billing.restate(ACME, day, "-1.5")

    after = billing.read(asked(), Meter())

    assert sums(after) == before | {day: before[day] - Decimal("1.5")}
    assert {total.day: total.amount for total in after.totals} == sums(after)


def test_a_payers_bill_is_that_of_its_members_too(start_lab: StartLab) -> None:
    member = {"id": MEMBER, "payer": ACME, "fleets": [fleet("ec2:instance", 3)]}
    start_lab(*FLEETS, accounts=(member,))
    child = acme(account_id=MEMBER, role_arn=None, billing=False)
    request = asked(acme(), child)

    bill = billing.read(request, Meter())

    (source,) = request.sources
    assert source.covers == (ACME, MEMBER)
    assert {charge.sub_account_id for charge in bill.charges} == {ACME, MEMBER}
    assert {total.day: total.amount for total in bill.totals} == sums(bill)


def test_a_member_with_a_bill_of_its_own_is_counted_once(start_lab: StartLab) -> None:
    member = {"id": MEMBER, "payer": ACME, "fleets": [fleet("ec2:instance", 3)]}
    lab = start_lab(*FLEETS, accounts=(member,))
    child = acme(account_id=MEMBER, role_arn=f"arn:aws:iam::{MEMBER}:role/reader")
    request = asked(acme(), child)

    bill = keep_own(billing.read(request, Meter()), request.sources)

    assert by_service(bill) == truth(lab)
    told = sum(charge.amount for charge in bill.charges) + sum(part.amount for part in bill.left_out)
    assert told == sum(total.amount for total in bill.totals)
    assert {(part.account_id, part.because) for part in bill.left_out} == {(MEMBER, LeftOutBecause.ANOTHER_BILL)}


def test_a_customer_whose_accounts_have_no_bill_is_not_asked(start_lab: StartLab) -> None:
    start_lab()

    assert bill_sources.bill_sources([acme(billing=False)]) == []


def test_the_recorded_february_is_read_to_the_last_digit(start_lab: StartLab, shared_data: Path) -> None:
    file = shared_data / "aws_ce" / "get_cost_and_usage_daily_by_service.json"
    recorded = json.loads(file.read_text())["ResultsByTime"]
    lab = start_lab()
    change_account(lab, cost_recording=file)
    lab.aws.billing._now = lambda: datetime(2024, 3, 1, 1, tzinfo=UTC)
    request = asked(first=date(2024, 2, 1), last=date(2024, 2, 29))

    bill = billing.read(request, Meter())

    assert bill.problems == []
    assert bill.read == {ACME: request.days}
    cells = {
        (date.fromisoformat(day["TimePeriod"]["Start"]), group["Keys"][0]): group["Metrics"]["UnblendedCost"]
        for day in recorded
        for group in day["Groups"]
    }
    assert Counter((c.day, c.service_name, c.amount, c.currency) for c in bill.charges) == Counter(
        (day, service_names.canonical(service), Decimal(value["Amount"]), value["Unit"])
        for (day, service), value in cells.items()
    )
    assert sum(c.amount for c in bill.charges) == sum(total.amount for total in bill.totals) == Decimal("16.4910808573")
    estimated_days = {date.fromisoformat(day["TimePeriod"]["Start"]) for day in recorded if day["Estimated"]}
    assert {c.day for c in bill.charges if not c.is_final} == estimated_days


def test_days_that_are_estimates_and_a_change_of_currency_are_told(start_lab: StartLab, tmp_path: Path) -> None:
    def day(number: int, unit: str, *, estimated: bool) -> dict[str, Any]:
        metrics = {"UnblendedCost": {"Amount": "1.0000000001", "Unit": unit}}
        period = {"Start": f"2026-11-{number:02}", "End": f"2026-11-{number + 1:02}"}
        return {"TimePeriod": period, "Estimated": estimated, "Groups": [{"Keys": ["Tax"], "Metrics": metrics}]}

    file = tmp_path / "recorded.json"
    days = [day(1, "USD", estimated=False), day(2, "EUR", estimated=True)]
    file.write_text(json.dumps({"ResultsByTime": days}))
    lab = start_lab()
    change_account(lab, cost_recording=file)

    bill = billing.read(asked(first=date(2026, 11, 1), last=date(2026, 11, 2)), Meter())

    assert [(c.currency, c.is_final, c.amount) for c in bill.charges] == [
        ("USD", True, Decimal("1.0000000001")), ("EUR", False, Decimal("1.0000000001"))
    ]  # fmt: skip
    (problem,) = bill.problems
    assert "2026-11 is charged in EUR and USD" in problem.message


def test_the_check_makes_no_page_that_is_charged(start_lab: StartLab) -> None:
    lab = start_lab()

    assert check("acme", acme()) == []
    assert lab.control.calls().count("ce", status=200) == 0
    assert lab.control.calls().count("ce", status=400) == 1


# --- Price list -----------------------------------------------------------------------------------------------------


def test_every_kind_is_priced_by_the_list_with_one_call_for_each_key(start_lab: StartLab) -> None:
    kinds = ("ec2:nat_gateway", "rds:db", "elb:classic", "elbv2:application", "elbv2:network", "eks:cluster")
    fleets = [fleet(kind) for kind in (*kinds, "elasticache:cluster", "redshift:cluster")]
    lab = start_lab(*fleets, fleet("ec2:instance", 2), fleet("ebs:volume", type="io1", size=100))
    found = inventory.collect("acme", [acme()], Meter()).resources
    wanted = {(one.region, part.key) for one in found for part in prices.components(one)}
    meter = Meter()

    given = prices.fetch("acme", [acme()], wanted, meter)

    assert given.problems == []
    assert {(price.region, price.key) for price in given.prices} == wanted
    assert {"m6i.large linux", "gp3 GiB", "io1 IOPS", "eks cluster", "nat gateway"} <= {key for _, key in wanted}
    assert meter.calls["GetProducts"] == len(wanted) == lab.control.calls().count("pricing")
    assert meter.cost_usd == 0


def test_an_estimate_of_what_is_always_on_is_what_the_bill_says(start_lab: StartLab) -> None:
    lab = start_lab(fleet("ec2:instance", 3, volumes=0), fleet("redshift:cluster"), fleet("eks:cluster", nodegroups=0))
    found = inventory.collect("acme", [acme()], Meter()).resources
    wanted = {(one.region, part.key) for one in found for part in prices.components(one)}
    listed = {
        (p.region, p.key): KnownPrice(p, NOW, NOW) for p in prices.fetch("acme", [acme()], wanted, Meter()).prices
    }

    windows = [estimated(one, PROVIDERS["aws"], listed) for one in found]

    sums: dict[str, Decimal] = {}
    for one in windows:
        if one is not None:
            sums[one.service_name] = sums.get(one.service_name, Decimal(0)) + one.amount * 96
    by_use = {"EC2 - Other", "Tax"}
    assert sums == {name: usd for (_, name, _), usd in truth(lab, LAST, LAST, by_use).items()}


def test_what_is_stopped_spot_or_without_a_price_has_no_parts(start_lab: StartLab) -> None:
    start_lab(fleet("ec2:instance", state="stopped"), fleet("ec2:vpc"), fleet("rds:db", state="stopped"))
    found = {one.kind: one for one in inventory.collect("acme", [acme()], Meter()).resources}

    assert found["ec2:instance"].status is Status.STOPPED
    assert [part.key for part in prices.components(found["rds:db"])] == [
        f"rds gp3 GiB postgres {'multi-az' if found['rds:db'].metadata['multi_az'] else 'single-az'}"
    ]
    for kind in ("ec2:instance", "ec2:vpc", "ec2:subnet"):
        assert prices.components(found[kind]) == []


def test_prices_that_may_not_be_read_are_one_problem_and_one_call(start_lab: StartLab) -> None:
    lab = start_lab()
    lab.control.add_faults({"action": "deny", "operation": "GetProducts"})

    given = prices.fetch("acme", [acme()], {("us-east-1", f"m6i.{n}xlarge linux") for n in range(2, 9)}, Meter())

    assert given.prices == []
    (problem,) = given.problems
    assert problem.cause is Cause.PERMISSION
    assert lab.control.calls().count("pricing") == 1
