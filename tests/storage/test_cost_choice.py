"""`optiinfra read cost ... --cost`: the amount is the cost that was asked for, and what follows from it does too."""

from __future__ import annotations

import io
import json
from decimal import Decimal
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.cli.printing import print_rows
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model.cost import Category
from optiinfra_dagster.model.errors import ConfigError
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.cost_choice import COSTS
from optiinfra_dagster.storage.reading import Query
from tests.storage.test_cost_readers import NOW, TODAY, compute, day_of
from tests.support.bills import charge, estimates, publish_bill, publish_estimates
from tests.support.engines import copy_migrated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

    from optiinfra_dagster.model.cost import Charge

Row = dict[str, Any]
READERS = ("summary", "by_service", "by_resource", "trends", "allocation")
DAYS = [day_of(n) for n in range(1, 4)]


def line(day: date, amount: int, service: str, effective: int | None, listed: int | None) -> Charge:
    """A charge whose three costs differ."""
    return charge(
        day, str(amount), service, resource_id=f"r-{service}", list_cost=None if listed is None else Decimal(listed),
        effective_cost=None if effective is None else Decimal(effective),
    )  # fmt: skip


BILLS = [
    *(line(day, 10 + n, "EC2", 30 - 5 * n, 100 + n * n) for n, day in enumerate(reversed(DAYS))),
    *(line(day, 20, "S3", 1, 50) for day in DAYS),
    charge(DAYS[0], "1000", "EC2", category=Category.PURCHASE, effective_cost=Decimal(0), list_cost=Decimal(0)),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    folder = tmp_path_factory.mktemp("shown") / "clickhouse"
    copy_migrated(folder)
    clickhouse = ClickHouse(f"chdb://{folder}")
    with clickhouse.session():
        publish_bill(clickhouse, DAYS, BILLS, customer="whole")
        partly = [line(DAYS[0], 7, "EC2", None, None), line(DAYS[0], 5, "S3", 4, None)]
        publish_bill(clickhouse, DAYS[:1], partly, customer="partly")
        for customer in ("whole", "partly"):
            publish_estimates(clickhouse, estimates(customer, TODAY, {"r-EC2": "3"}),
                              estimates(customer, NOW, {"r-EC2": "3"}))  # fmt: skip
        compute(clickhouse, *READERS, "waste")
        yield clickhouse


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    accounts = [
        f"  - {{id: {name}, name: T, vultr: [{{api_key: {{env: {name.upper()}}}}}]}}" for name in ("whole", "partly")
    ]
    (home / "customers.yaml").write_text("\n".join(["customers:", *accounts]))
    return Settings(dagster_home=home, customers_path=home / "customers.yaml")


def told(
    place: ClickHouse, settings: Settings, reader: str, cost: str, customer: str = "whole", **of: Any
) -> list[Row]:
    """What is printed as JSON."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    query = Query("cost", reader, customer, cost=cost, **of)
    print_rows(place, settings, query, "json", out)
    out.seek(0)
    rows: list[Row] = json.load(out)
    return rows


def cost_of(one: Charge, cost: str) -> Decimal:
    found = {"billed": one.amount, "effective": one.effective_cost, "list": one.list_cost}[cost]
    assert found is not None
    return found


@pytest.mark.parametrize("cost", COSTS)
def test_the_amount_is_the_cost_asked_for_in_every_reader(place: ClickHouse, settings: Settings, cost: str) -> None:
    whole = sum(cost_of(one, cost) for one in BILLS)
    for reader in ("summary", "by_service", "by_resource", "allocation"):
        of: dict[str, list[Decimal]] = {}
        for row in told(place, settings, reader, cost):
            if row["period"] == "last_30_days":
                of.setdefault(row.get("dimension", ""), []).append(Decimal(row["amount"]))
        assert {dimension: sum(amounts) for dimension, amounts in of.items()} == dict.fromkeys(of, whole)
        assert of
    [today] = [row for row in told(place, settings, "summary", cost) if row["period"] == "today"]
    assert Decimal(today["amount"]) == 6  # an estimate is all three


@pytest.mark.parametrize("cost", COSTS)
def test_rows_are_sorted_and_shares_are_of_that_cost(place: ClickHouse, settings: Settings, cost: str) -> None:
    rows = [
        row for row in told(place, settings, "allocation", cost)
        if (row["period"], row["dimension"]) == ("last_30_days", "service")
    ]  # fmt: skip
    amounts = [Decimal(row["amount"]) for row in rows]
    assert amounts == sorted(amounts, reverse=True)
    assert [row["share"] for row in rows] == pytest.approx([float(amount / sum(amounts)) for amount in amounts])


@pytest.mark.parametrize("cost", COSTS)
def test_changes_are_of_that_cost(place: ClickHouse, settings: Settings, cost: str) -> None:
    rows = [row for row in told(place, settings, "trends", cost) if row["period"] == "day" and row["complete"]]
    by_day = {day: sum(cost_of(one, cost) for one in BILLS if one.day == day) for day in sorted(DAYS)}
    amounts = list(by_day.values())
    assert [Decimal(row["amount"]) for row in rows] == amounts
    assert [row["change"] and Decimal(row["change"]) for row in rows] == [
        None, *(after - before for before, after in pairwise(amounts)),
    ]  # fmt: skip
    assert [row["change_percent"] for row in rows[1:]] == pytest.approx(
        [float(100 * (after - before) / before) for before, after in pairwise(amounts)]
    )


def test_a_cost_that_the_bill_does_not_tell_stays_unknown(place: ClickHouse, settings: Settings) -> None:
    said = {
        (cost, row["service_name"]): row["amount"] and Decimal(row["amount"])
        for cost in COSTS
        for row in told(place, settings, "by_service", cost, "partly")
        if row["period"] == "yesterday"
    }
    assert said == {
        ("billed", "EC2"): 7, ("billed", "S3"): 5, ("effective", "EC2"): None, ("effective", "S3"): 4,
        ("list", "EC2"): None, ("list", "S3"): None,
    }  # fmt: skip
    shares = {row["share"] for row in told(place, settings, "allocation", "effective", "partly")
              if (row["dimension"], row["period"]) == ("service", "yesterday")}  # fmt: skip
    assert shares == {None}
    [summary] = [r for r in told(place, settings, "summary", "list", "partly") if r["period"] == "yesterday"]
    assert summary["amount"] is None


def test_a_reader_without_that_cost_or_without_a_provider_says_so(place: ClickHouse, settings: Settings) -> None:
    with pytest.raises(ConfigError, match=r"cost waste does not tell the list cost of its rows: leave out --cost\."):
        told(place, settings, "waste", "list")
    with pytest.raises(ConfigError, match=r"cost allocation has no rows per provider: leave out --provider\."):
        told(place, settings, "allocation", "billed", provider="aws")
    assert told(place, settings, "allocation", "billed")
