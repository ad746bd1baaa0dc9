"""What the cost family keeps: the last statement of every day, its history, when bills were read, and price lists."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import Category, Price
from optiinfra_dagster.storage import billed_days, bills
from optiinfra_dagster.storage.cost_rows import midnight
from tests.support.bills import charge, estimates, publish_bill, publish_estimates
from tests.support.samples import NOT_SUPERSEDED, W, resource, select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.model.cost import Charge
    from optiinfra_dagster.storage.clickhouse import ClickHouse

DAY = W.date()
NEXT = DAY + timedelta(days=1)
D = timedelta(days=1)
READ = [datetime(DAY.year, DAY.month, DAY.day, 6, tzinfo=UTC) + n * D for n in range(1, 5)]


def billed(clickhouse: ClickHouse, day: date = DAY, customer: str = "acme") -> dict[tuple[str, str], Decimal]:
    """What readers see of a day: the amounts by account and service."""
    rows = select(
        clickhouse,
        "SELECT sub_account_id, service_name, sum(amount) AS amount FROM costs "
        "WHERE customer_id = {customer:String} AND cost_kind = 'billed' AND charge_day = {day:Date} GROUP BY ALL",
        customer=customer,
        day=day,
    )
    return {(row["sub_account_id"], row["service_name"]): row["amount"] for row in rows}


def restated(clickhouse: ClickHouse) -> list[tuple[Any, ...]]:
    """Every change that readers see: day, account, service, before, after."""
    rows = select(
        clickhouse,
        "SELECT charge_day, billing_account_id, service_name, before, after FROM cost_restatements_current "
        "ORDER BY charge_day, service_name, seen_at, before",
    )
    return [tuple(row.values()) for row in rows]


def freshness(clickhouse: ClickHouse) -> dict[str, tuple[datetime, datetime]]:
    """By service, when a charge was first seen and when it last changed."""
    rows = select(clickhouse, "SELECT service_name, first_seen, last_changed FROM costs WHERE cost_kind = 'billed'")
    return {row["service_name"]: (row["first_seen"], row["last_changed"]) for row in rows}


# --- Days that are read again ----------------------------------------------------------------------------------------


def test_a_day_restated_twice_is_its_last_statement_and_the_history_has_both(clickhouse: ClickHouse) -> None:
    publish_bill(clickhouse, [DAY], [charge(DAY, "10"), charge(DAY, "3", "S3")], at=READ[0])
    assert restated(clickhouse) == []  # the first statement restates nothing
    publish_bill(clickhouse, [DAY], [charge(DAY, "12"), charge(DAY, "3", "S3")], at=READ[1])
    publish_bill(clickhouse, [DAY], [charge(DAY, "11.5"), charge(DAY, "0.25", "Tax")], at=READ[2])

    assert billed(clickhouse) == {("payer", "EC2"): Decimal("11.5"), ("payer", "Tax"): Decimal("0.25")}
    assert sorted(restated(clickhouse), key=repr) == sorted(
        [
            (DAY, "payer", "EC2", Decimal(10), Decimal(12)),
            (DAY, "payer", "EC2", Decimal(12), Decimal("11.5")),
            (DAY, "payer", "S3", Decimal(3), None),
            (DAY, "payer", "Tax", None, Decimal("0.25")),
        ],
        key=repr,
    )
    assert freshness(clickhouse) == {"EC2": (READ[0], READ[2]), "Tax": (READ[2], READ[2])}
    assert select(clickhouse, "SELECT uniqExact(batch) AS n FROM cost_metrics WHERE " + NOT_SUPERSEDED) == [{"n": 1}]  # noqa: S608


def test_reading_the_same_again_changes_nothing(clickhouse: ClickHouse) -> None:
    lines = [charge(DAY, "10"), charge(DAY, "-1.000000000000000001", "Credit", category=Category.CREDIT)]
    publish_bill(clickhouse, [DAY, NEXT], [*lines, charge(NEXT, "2")], at=READ[0])
    everything = "SELECT * FROM cost_metrics ORDER BY ALL"
    before = select(clickhouse, everything)
    for at in READ[1:3]:
        flushed = publish_bill(clickhouse, [DAY, NEXT], [*reversed(lines), charge(NEXT, "2")], at=at)
        assert (flushed.rows_written, len(flushed.unchanged)) == (0, 2)
    assert select(clickhouse, everything) == before
    assert restated(clickhouse) == []


def test_only_the_day_that_changed_is_written_again(clickhouse: ClickHouse) -> None:
    publish_bill(clickhouse, [DAY, NEXT], [charge(DAY, "10"), charge(NEXT, "20")], at=READ[0])
    flushed = publish_bill(clickhouse, [DAY, NEXT], [charge(DAY, "10"), charge(NEXT, "21")], at=READ[1])
    assert [entry.key.window.date() for entry in flushed.entries] == [NEXT]
    assert restated(clickhouse) == [(NEXT, "payer", "EC2", Decimal(20), Decimal(21))]


def test_what_becomes_final_is_a_change_of_the_row_but_no_restatement(clickhouse: ClickHouse) -> None:
    publish_bill(clickhouse, [DAY], [charge(DAY, "10")], at=READ[0])
    publish_bill(clickhouse, [DAY], [charge(DAY, "10", is_final=True)], at=READ[1])
    assert freshness(clickhouse) == {"EC2": (READ[0], READ[1])}
    assert restated(clickhouse) == []


def test_accounts_that_were_not_read_keep_their_rows(clickhouse: ClickHouse) -> None:
    both = [charge(DAY, "10", account="a"), charge(DAY, "20", account="b")]
    publish_bill(clickhouse, [DAY], both, read=["a", "b"], at=READ[0])
    publish_bill(clickhouse, [DAY], [charge(DAY, "11", account="a")], read=["a"], at=READ[1])
    assert billed(clickhouse) == {("a", "EC2"): Decimal(11), ("b", "EC2"): Decimal(20)}
    assert restated(clickhouse) == [(DAY, "a", "EC2", Decimal(10), Decimal(11))]
    sql = "SELECT sub_account_id FROM cost_metrics_current WHERE cost_type = 'reading' ORDER BY ALL"
    read = select(clickhouse, sql)
    assert [row["sub_account_id"] for row in read] == ["a", "b"]


def test_a_day_that_cost_nothing_any_more_is_empty_and_known(clickhouse: ClickHouse) -> None:
    publish_bill(clickhouse, [DAY], [charge(DAY, "10")], at=READ[0])
    publish_bill(clickhouse, [DAY], [], at=READ[1])
    assert billed(clickhouse) == {}
    assert restated(clickhouse) == [(DAY, "payer", "EC2", Decimal(10), None)]
    publish_estimates(clickhouse, estimates("acme", W, {"i-1": "5"}))
    assert select(clickhouse, "SELECT count() AS n FROM costs") == [{"n": 0}]


def test_customers_and_providers_of_the_same_day_do_not_touch_each_other(clickhouse: ClickHouse) -> None:
    for customer, provider in (("acme", "aws"), ("acme", "gcp"), ("hooli", "aws")):
        publish_bill(clickhouse, [DAY], [charge(DAY, "10")], customer=customer, provider=provider, at=READ[0])
    publish_bill(clickhouse, [DAY], [charge(DAY, "4")], customer="acme", provider="gcp", at=READ[1])
    rows = select(clickhouse, "SELECT customer_id, provider, amount FROM costs ORDER BY ALL")
    assert [tuple(row.values()) for row in rows] == [
        ("acme", "aws", Decimal(10)), ("acme", "gcp", Decimal(4)), ("hooli", "aws", Decimal(10)),
    ]  # fmt: skip
    history = select(clickhouse, "SELECT customer_id, provider FROM cost_restatements_current")
    assert [tuple(row.values()) for row in history] == [("acme", "gcp")]


def test_the_estimate_of_midnight_and_the_day_s_bill_do_not_touch_each_other(clickhouse: ClickHouse) -> None:
    """Both are slices of the same customer, provider and window_start."""
    start = midnight(DAY)
    for amount, at in (("1", READ[0]), ("2", READ[1])):
        publish_estimates(clickhouse, estimates("acme", start, {"i-1": amount}))
        publish_bill(clickhouse, [DAY], [charge(DAY, f"{amount}0")], at=at)
    publish_estimates(clickhouse, estimates("acme", start, {"i-1": "3"}))
    lines = "SELECT cost_kind, amount FROM cost_metrics WHERE cost_type != 'reading' AND "
    rows = select(clickhouse, lines + NOT_SUPERSEDED + " ORDER BY ALL")
    assert [tuple(row.values()) for row in rows] == [("billed", Decimal(20)), ("estimated", Decimal(3))]
    current = select(clickhouse, "SELECT count() AS n FROM cost_metrics_current")
    assert current == [{"n": 3}]
    assert [row["cost_kind"] for row in select(clickhouse, "SELECT cost_kind FROM costs")] == ["billed"]


@pytest.mark.parametrize("step", ["inserted", "verified", "published"])
def test_a_reading_that_is_killed_leaves_the_old_day_or_the_new_with_its_history(
    clickhouse: ClickHouse, step: str
) -> None:
    publish_bill(clickhouse, [DAY], [charge(DAY, "10")], at=READ[0])

    def stop(name: str) -> None:
        if name == step:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        publish_bill(clickhouse, [DAY], [charge(DAY, "12")], at=READ[1], steps=stop)

    change = [(DAY, "payer", "EC2", Decimal(10), Decimal(12))]
    is_new = step == "published"
    assert billed(clickhouse) == {("payer", "EC2"): Decimal(12 if is_new else 10)}
    assert restated(clickhouse) == (change if is_new else [])
    publish_bill(clickhouse, [DAY], [charge(DAY, "12")], at=READ[2])
    assert billed(clickhouse) == {("payer", "EC2"): Decimal(12)}
    assert restated(clickhouse) == change


def test_what_a_killed_reading_saw_and_the_next_did_not_is_not_history(clickhouse: ClickHouse) -> None:
    lines = [charge(DAY, "10"), charge(DAY, "3", "S3")]
    publish_bill(clickhouse, [DAY], lines, at=READ[0])

    def stop(name: str) -> None:
        if name == "inserted":
            raise InterruptedError

    with pytest.raises(InterruptedError):
        publish_bill(clickhouse, [DAY], [charge(DAY, "99"), lines[1]], at=READ[1], steps=stop)
    publish_bill(clickhouse, [DAY], [lines[0], charge(DAY, "4", "S3")], at=READ[2])
    assert restated(clickhouse) == [(DAY, "payer", "S3", Decimal(3), Decimal(4))]


def test_days_on_both_sides_of_a_months_border_are_restated_alike(clickhouse: ClickHouse) -> None:
    days = [DAY.replace(day=1) - D, DAY.replace(day=1)]
    publish_bill(clickhouse, days, [charge(day, "1") for day in days], at=READ[0])
    publish_bill(clickhouse, days, [charge(day, "2") for day in days], at=READ[1])
    assert [(day, after) for day, *_, after in restated(clickhouse)] == [(day, Decimal(2)) for day in days]


def test_amounts_keep_eighteen_digits_and_lines_that_differ_in_nothing_else_are_one(clickhouse: ClickHouse) -> None:
    tiny, long = "0.000000000000000001", "0.1000000000000000055511151231257827"
    lines = [charge(DAY, "12345678.123456789012345678"), charge(DAY, tiny), charge(DAY, long, "BQ")]
    publish_bill(clickhouse, [DAY], lines)
    assert billed(clickhouse) == {
        ("payer", "EC2"): Decimal("12345678.123456789012345679"),
        ("payer", "BQ"): Decimal("0.100000000000000006"),
    }


# --- Estimates beside bills ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sign", ["", "-"])
def test_amounts_of_any_currency_are_kept_to_the_last_digit(clickhouse: ClickHouse, sign: str) -> None:
    """Of 33 digits: so many has an amount of 10^15, the most that is read. Python's own context has 28."""
    one, two, both = (
        Decimal(f"{sign}{digits}")
        for digits in (
            "123456789012345.123456789012345678",
            "723456789012345.123456789012345678",
            "1446913578024690.246913578024691356",
        )
    )
    first = charge(DAY, one, effective_cost=one, list_cost=one, contracted_cost=one)
    publish_bill(clickhouse, [DAY], [first, charge(DAY, two, "S3"), charge(DAY, two, "S3")])
    assert billed(clickhouse) == {("payer", "EC2"): one, ("payer", "S3"): both}
    rows = select(clickhouse, "SELECT effective_cost, list_cost, contracted_cost FROM costs WHERE service_name = 'EC2'")
    assert [set(row.values()) for row in rows] == [{one}]


def test_a_read_day_replaces_the_estimates_of_the_accounts_that_it_covers_and_of_no_others(
    clickhouse: ClickHouse,
) -> None:
    later = W + D
    for account in ("payer", "member", "stranger"):
        publish_estimates(
            clickhouse, estimates(f"{account}s", W, {"i-1": "1"}, account=account),
            estimates(f"{account}s", later, {"i-1": "1"}, account=account),
        )  # fmt: skip
        publish_bill(clickhouse, [DAY], [], customer=f"{account}s", covers=["payer", "member"])
    rows = select(clickhouse, "SELECT customer_id, charge_day FROM costs ORDER BY ALL")
    assert [tuple(row.values()) for row in rows] == [
        ("members", NEXT), ("payers", NEXT), ("strangers", DAY), ("strangers", NEXT),
    ]  # fmt: skip


def test_days_long_ago_are_not_read_for_what_newer_days_cost(clickhouse: ClickHouse) -> None:
    first = DAY.replace(day=1)
    for day in (first - 200 * D, first - 100 * D, first):
        publish_bill(clickhouse, [day], [charge(day, "1")])
        publish_estimates(clickhouse, estimates("acme", midnight(day) + windows.WINDOW, {"i-1": "1"}))
    with clickhouse.session() as client:
        plan = client.query(
            "EXPLAIN indexes = 1 SELECT cost_kind, sum(amount) FROM costs "
            "WHERE charge_day >= {day:Date} AND window_start >= {start:DateTime('UTC')} GROUP BY cost_kind",
            parameters={"day": first.isoformat(), "start": f"{first} 00:00:00"},
        ).result_rows
    lines = [line[0].strip(" │") for line in plan]
    tables_read = [line for line in lines if "ReadFromMergeTree" in line]
    parts = [line.split(" |")[0] for line in lines if line.startswith("Parts:") and "|" in line]
    assert len(tables_read) == 4  # charges and readings, and the ledger of both
    assert sorted(parts) == ["Parts: 1"] + ["Parts: 2"] * 3  # of six; the ledger of what was read, of one dataset


# --- Days that are arriving, and statements --------------------------------------------------------------------------


def test_the_estimate_stands_while_the_bill_of_its_day_is_still_arriving(clickhouse: ClickHouse) -> None:
    publish_estimates(clickhouse, estimates("acme", W, {"i-1": "1"}), estimates("acme", W + D, {"i-1": "1"}))
    publish_bill(clickhouse, [DAY, NEXT], [charge(DAY, "24"), charge(NEXT, "4")], arriving=[NEXT])
    question = "SELECT charge_day, cost_kind, amount FROM costs ORDER BY ALL"
    arrived = "SELECT amount FROM cost_metrics_current WHERE NOT is_settled AND cost_type != 'reading'"
    assert [tuple(row.values()) for row in select(clickhouse, question)] == [
        (DAY, "billed", 24), (NEXT, "estimated", 1),
    ]  # fmt: skip
    assert select(clickhouse, arrived) == [{"amount": 4}]

    publish_bill(clickhouse, [DAY, NEXT], [charge(DAY, "24"), charge(NEXT, "23")])
    assert [tuple(row.values()) for row in select(clickhouse, question)] == [(DAY, "billed", 24), (NEXT, "billed", 23)]
    assert select(clickhouse, arrived) == []


def test_a_statement_replaces_its_own_rows_and_no_others(clickhouse: ClickHouse) -> None:
    """November's bill has a refund of October; October's own statement is written anew, then November's without it."""
    october, november = DAY.replace(day=1) - D, DAY.replace(day=1)
    first, question = october.replace(day=1), "SELECT charge_day, billing_period, amount FROM costs ORDER BY ALL"

    def stated(period: date, *charges: Charge, days: Sequence[date], outside: Sequence[date] = ()) -> None:
        publish_bill(clickhouse, days, charges, statements=[period], outside=outside)

    stated(first, charge(october, "100"), days=[october])
    stated(november, charge(november, "50"), charge(october, "-30", period=november), days=[november])
    assert [tuple(row.values()) for row in select(clickhouse, question)] == [
        (october, first, 100), (october, november, -30), (november, november, 50),
    ]  # fmt: skip

    stated(first, charge(october, "101"), days=[october])
    assert [row["amount"] for row in select(clickhouse, question)] == [101, -30, 50]

    with clickhouse.session() as client:
        outside = billed_days.outside(client, "acme", "aws", {"payer": {first, november}})
    assert outside == {"payer": {october}}
    stated(november, charge(november, "50"), days=[november], outside=[october])
    assert [row["amount"] for row in select(clickhouse, question)] == [101, 50]


def test_a_charge_keeps_the_tags_that_its_resource_had_when_it_was_first_billed(clickhouse: ClickHouse) -> None:
    def told(tags: dict[str, str] | None, own: str = "") -> list[dict[str, object]]:
        known = {"i-1": resource("i-1", tags=tags)} if tags is not None else {}
        publish_bill(clickhouse, [DAY], [charge(DAY, "1", resource_id="i-1", tags=own)], resources=known)
        return select(clickhouse, "SELECT tags, tags_from FROM costs")

    assert told(None) == [{"tags": "", "tags_from": ""}]
    assert told({"team": "a"}) == [{"tags": '{"team":"a"}', "tags_from": "inventory"}]
    assert told({"team": "b"}) == [{"tags": '{"team":"a"}', "tags_from": "inventory"}]
    assert told(None) == [{"tags": '{"team":"a"}', "tags_from": "inventory"}]
    assert told({"team": "b"}, '{"team":"c"}') == [{"tags": '{"team":"c"}', "tags_from": "line"}]


# --- When bills are read ---------------------------------------------------------------------------------------------

NOON = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=2)
H = timedelta(hours=1)


@pytest.mark.parametrize(
    ("done", "attempted", "cadence", "due"),
    [
        (None, None, 6 * H, True),
        (6 * H, 6 * H, 6 * H, True),
        (5.9 * H, 5.9 * H, 6 * H, False),
        (7 * H, 0.5 * H, 6 * H, False),  # the last attempt failed, or is at work
        (7 * H, 1 * H, 6 * H, True),
        (None, 0.5 * H, 6 * H, False),
        (None, 1 * H, 6 * H, True),
        (None, 0.5 * H, 0.5 * H, True),
    ],
)
def test_when_a_bill_is_due(done: timedelta | None, attempted: timedelta | None, cadence: timedelta, due: bool) -> None:
    """By how long ago it was read, and asked for."""
    times = [None if ago is None else NOON - ago for ago in (done, attempted)]
    known = bills.BillImports(times[0], times[1])
    assert known.due(NOON, cadence, H) is due


def test_readings_are_remembered_by_customer_provider_and_account(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:
        bills.record_imports(client, "acme", "aws", ["a", "b"], NOON - 8 * H, done=False)
        bills.record_imports(client, "acme", "aws", ["a"], NOON - 8 * H, done=True)
        bills.record_imports(client, "acme", "aws", ["a"], NOON, done=False)
        bills.record_imports(client, "acme", "gcp", ["a"], NOON - H, done=True)
        bills.record_imports(client, "hooli", "aws", ["a"], NOON - H, done=True)
        bills.record_imports(client, "acme", "aws", ["old"], NOON - timedelta(days=91), done=True)
        bills.record_imports(client, "acme", "aws", [], NOON, done=True)
        assert bills.bill_imports(client, "aws", ["acme"], NOON) == {
            ("acme", "a"): bills.BillImports(NOON - 8 * H, NOON),
            ("acme", "b"): bills.BillImports(None, NOON - 8 * H),
        }


def test_the_problems_of_a_reading_are_known_until_another_one_has_ended(clickhouse: ClickHouse) -> None:
    """One that was killed has not ended; of one that is done, what it told beside is known."""

    def problems(account: str) -> tuple[str, ...]:
        return bills.bill_imports(client, "aws", ["acme"], NOON)["acme", account].problems

    with clickhouse.session() as client:
        for account in ("a", "b"):
            bills.record_imports(client, "acme", "aws", [account], NOON - 8 * H, done=False)
            bills.record_problems(client, "acme", "aws", {account: ["no answer", "nor another"]}, NOON - 8 * H)
        bills.record_imports(client, "acme", "aws", ["a"], NOON - 7 * H, done=False)
        assert (problems("a"), problems("b")) == (("no answer", "nor another"),) * 2
        bills.record_imports(client, "acme", "aws", ["a"], NOON - 6 * H, done=False)
        bills.record_imports(client, "acme", "aws", ["a"], NOON - 6 * H, done=True)
        bills.record_imports(client, "acme", "aws", ["b"], NOON - 6 * H, done=True)
        bills.record_problems(client, "acme", "aws", {"b": ["two currencies"]}, NOON - 6 * H)
        assert (problems("a"), problems("b")) == ((), ("two currencies",))


# --- Price lists -----------------------------------------------------------------------------------------------------


def price(hourly: str, key: str = "m6i.large linux", region: str = "us-east-1", currency: str = "USD") -> Price:
    return Price(region, key, Decimal(hourly), currency, "by hand")


def test_a_price_holds_from_when_it_was_seen_until_the_next(clickhouse: ClickHouse) -> None:
    steps = [(0, "0.1"), (1, "0.1"), (2, "0.2"), (3, "0.2"), (4, "0.1")]
    with clickhouse.session() as client:
        for n, hourly in steps:
            bills.keep_prices(client, "aws", [price(hourly)], NOON + n * H)
        bills.keep_prices(client, "gcp", [price("9")], NOON)

        def known(at: datetime) -> tuple[Decimal, datetime, datetime]:
            [(key, one)] = bills.prices(client, "aws", at).items()
            assert key == ("us-east-1", "m6i.large linux")
            assert one.price.description == "by hand"
            return one.price.hourly, one.valid_from, one.checked_at

        checked = NOON + 4 * H  # the key, whatever its price was then
        assert known(NOON - 9 * H) == (Decimal("0.1"), NOON, checked)  # the oldest, before all that is known
        assert known(NOON + 1.5 * H) == (Decimal("0.1"), NOON, checked)
        assert known(NOON + 2 * H) == (Decimal("0.2"), NOON + 2 * H, checked)
        assert known(NOON + 3.9 * H) == (Decimal("0.2"), NOON + 2 * H, checked)
        assert known(NOON + 99 * H) == (Decimal("0.1"), NOON + 4 * H, checked)


def test_a_price_in_another_currency_is_another_price(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:
        bills.keep_prices(client, "aws", [price("0.1"), price("0.1", region="")], NOON)
        bills.keep_prices(client, "aws", [price("0.1", currency="CNY")], NOON + H)
        found = bills.prices(client, "aws", NOON + H)
        assert {region: (one.price.currency, one.valid_from) for (region, _), one in found.items()} == {
            "us-east-1": ("CNY", NOON + H),
            "": ("USD", NOON),
        }


def test_prices_in_two_currencies_stand_beside_each_other(clickhouse: ClickHouse) -> None:
    """Customers who share a list, billed in different currencies, ask in the same second."""
    with clickhouse.session() as client:
        bills.keep_prices(client, "azure", [price("0.1"), price("0.2", "only in dollars")], NOON)
        bills.keep_prices(client, "azure", [price("0.09", currency="EUR")], NOON)
        bills.keep_prices(client, "azure", [price("0.11")], NOON + H)
        bills.keep_prices(client, "azure", [price("8", "only in yuan", currency="CNY")], NOON)
        client.command("OPTIMIZE TABLE prices FINAL")

        def known(currency: str) -> dict[str, tuple[Decimal, str, datetime, datetime]]:
            found = bills.prices(client, "azure", NOON + 2 * H, currency)
            return {
                key: (one.price.hourly, one.price.currency, one.valid_from, one.checked_at)
                for (_, key), one in found.items()
            }

        alike = {
            "only in dollars": (Decimal("0.2"), "USD", NOON, NOON),
            "only in yuan": (Decimal(8), "CNY", NOON, NOON),
        }
        assert known("EUR") == {"m6i.large linux": (Decimal("0.09"), "EUR", NOON, NOON), **alike}
        assert known("USD") == {"m6i.large linux": (Decimal("0.11"), "USD", NOON + H, NOON + H), **alike}
        assert known("GBP") == known("USD")


def test_prices_of_before_the_currency_was_part_of_the_key_are_known(clickhouse: ClickHouse) -> None:
    with clickhouse.session() as client:
        client.command(
            "INSERT INTO prices (provider, region, key, valid_from, hourly, currency, checked_at) "
            "SELECT 'aws', '', 'box', fromUnixTimestamp({at:UInt32}), 0.5, 'USD', fromUnixTimestamp({at:UInt32})",
            parameters={"at": int(NOON.timestamp())},
        )
        bills.keep_prices(client, "aws", [price("0.5", "box", "")], NOON + H)
        assert bills.prices(client, "aws", NOON + H, "USD")["", "box"] == bills.KnownPrice(
            price("0.5", "box", ""), NOON, NOON + H
        )
