"""The reader cost/commitments over bills drawn at random and by hand, against plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.cost import Category
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.sql import readers
from tests.storage.test_cost_readers import NOW, TODAY, day_of
from tests.support.bills import charge, publish_bill
from tests.support.engines import copy_migrated
from tests.support.samples import select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import date

    from optiinfra_dagster.model.cost import Charge

Row = dict[str, Any]
ZERO = Decimal(0)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    folder = tmp_path_factory.mktemp("commitments") / "clickhouse"
    copy_migrated(folder)
    clickhouse = ClickHouse(f"chdb://{folder}")
    with clickhouse.session():
        yield clickhouse


def computed(place: ClickHouse) -> list[Row]:
    reader = readers()["cost", "commitments"]
    reader_writer.compute(place, reader, [NOW])
    return select(place, f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}}", at=NOW)  # noqa: S608


# --- Bills drawn at random -------------------------------------------------------------------------------------------


def drawn(seed: int) -> tuple[list[date], list[Charge], set[date]]:
    """Days, their charges, and those of the days that have not settled."""
    rng = random.Random(seed)  # noqa: S311
    days = [day_of(n) for n in sorted(rng.sample(range(1, 200), 40))]
    unknown = rng.random() < 0.5  # some bills lack costs
    charges = []
    for day in days:
        for _ in range(rng.randrange(6)):
            commitment = rng.choice(["", "", "ri-1", "sp-1", "cud-1"])
            status = rng.choice(["Used", "Used", "Unused", ""]) if commitment not in {"", "cud-1"} else ""
            amount = Decimal(rng.randrange(10**6)) / 10**3
            lacking = unknown and rng.random() < 0.05
            charges.append(
                charge(
                    day, amount, rng.choice(["EC2", "RDS", "S3"]), "payer", sub_account_id=rng.choice(["one", "two"]),
                    category=rng.choice([Category.USAGE, Category.USAGE, Category.PURCHASE, Category.TAX]),
                    currency=rng.choice(["USD", "USD", "EUR"]), commitment_id=commitment, commitment_status=status,
                    commitment_type=rng.choice(["", "T"]), pricing_category=rng.choice(["", "Standard", "Dynamic"]),
                    effective_cost=None if lacking else amount / 2, list_cost=None if lacking else amount * 2,
                    is_final=rng.random() < 0.9, description=str(rng.random()),
                )
            )  # fmt: skip
    return days, charges, {day for day in days if day >= day_of(2) and rng.random() < 0.5}


def first_of_all() -> date:
    first = TODAY.date().replace(day=1)
    for _ in range(5):
        first = day_before(first).replace(day=1)
    return first


def day_before(day: date) -> date:
    return day.fromordinal(day.toordinal() - 1)


def expected(charges: Sequence[Charge], arriving: set[date]) -> dict[tuple[Any, ...], Row]:
    """What the reader is to say, by account, commitment, currency and month."""
    settled = [c for c in charges if c.day not in arriving and c.day >= first_of_all()]
    groups: dict[tuple[Any, ...], list[Charge]] = defaultdict(list)
    for one in settled:
        if one.commitment_id:
            groups[one.sub_account_id, one.commitment_id, one.currency, one.day.replace(day=1)].append(one)
    found = {}
    for key, its in groups.items():
        account, commitment, currency, month = key
        of_month = [c for c in settled if (c.currency, c.day.replace(day=1)) == (currency, month)]
        whole = [c for c in of_month if c.commitment_id == commitment and c.commitment_status]
        in_account = [c for c in of_month if c.sub_account_id == account]
        services = {c.service_name for c in in_account if c.commitment_status == "Used"}
        could_be = [
            c for c in in_account
            if c.service_name in services and (
                c.commitment_status == "Used"
                or (not c.commitment_id and c.category == "Usage" and c.pricing_category != "Dynamic")
            )
        ]  # fmt: skip
        used_here = [c for c in its if c.commitment_status == "Used"]
        is_told = bool(whole) and None not in [c.effective_cost for c in whole]
        covered = added([c.list_cost for c in used_here]) if any(c.commitment_status for c in its) else None
        eligible = added([c.list_cost for c in could_be])
        used = added([c.effective_cost for c in used_here]) if is_told else None
        unused = added([c.effective_cost for c in its if c.commitment_status == "Unused"]) if is_told else None
        paid = added([c.effective_cost for c in whole]) if is_told else None
        all_used = added([c.effective_cost for c in whole if c.commitment_status == "Used"]) if is_told else None
        found[key] = {
            "commitment_type": max(c.commitment_type for c in its),
            "used": used,
            "unused": unused,
            "utilisation": pytest.approx(float(all_used / paid)) if paid and all_used is not None else None,
            "covered": covered,
            "saved": None if covered is None or used is None or unused is None else covered - used - unused,
            "purchased": added([c.amount for c in its if c.category == "Purchase"]),
            "eligible": eligible,
            "coverage": pytest.approx(float(covered / eligible)) if covered is not None and eligible else None,
            "is_final": all(c.is_final for c in its),
        }
    return found


def added(amounts: Sequence[Decimal | None]) -> Decimal | None:
    """A sum, unknown where a part is."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known, ZERO) if len(known) == len(amounts) else None


SEEDS = range(8)


@pytest.fixture(scope="module")
def found(place: ClickHouse) -> list[Row]:
    for seed in SEEDS:
        days, charges, arriving = drawn(seed)
        publish_bill(place, days, charges, customer=f"random-{seed}", arriving=arriving, covers=["one", "two"])
    return computed(place)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_column_is_what_plain_python_says(found: list[Row], seed: int) -> None:
    names = ("sub_account_id", "commitment_id", "currency", "month")
    rows = [row for row in found if row["customer_id"] == f"random-{seed}"]
    said = {tuple(row[name] for name in names): row for row in rows}
    assert len(said) == len(rows)
    _, charges, arriving = drawn(seed)
    truth = expected(charges, arriving)
    assert said.keys() == truth.keys()
    for key, row in said.items():
        others = {name: v for name, v in row.items() if name not in {"window_start", "customer_id", "provider", *names}}
        assert others == truth[key], key


# --- By hand ---------------------------------------------------------------------------------------------------------


def rows_of(place: ClickHouse, customer: str) -> dict[tuple[str, str], Row]:
    return {
        (row["sub_account_id"], row["commitment_id"]): row
        for row in computed(place)
        if row["customer_id"] == customer
    }  # fmt: skip


def test_a_reservation_that_another_account_uses_half_of_is_half_used(place: ClickHouse) -> None:
    day = day_of(3)
    ri = {"commitment_id": "ri", "commitment_type": "Reserved Instance"}
    bills = [
        charge(day, "0", sub_account_id="user", effective_cost=Decimal(12), list_cost=Decimal(20),
               commitment_status="Used", **ri),
        charge(day, "24", sub_account_id="buyer", category=Category.PURCHASE, effective_cost=Decimal(12),
               list_cost=Decimal(0), commitment_status="Unused", **ri),
        charge(day, "60", sub_account_id="user", effective_cost=Decimal(60), list_cost=Decimal(60)),
        charge(day, "7", sub_account_id="user", pricing_category="Dynamic", list_cost=Decimal(30)),
        charge(day, "9", "S3", sub_account_id="user", list_cost=Decimal(9)),
    ]  # fmt: skip
    publish_bill(place, [day], bills, customer="half", covers=["user", "buyer"])
    said = rows_of(place, "half")
    names = ("used", "unused", "utilisation", "covered", "saved", "eligible", "coverage", "purchased")
    assert {key: tuple(row[name] for name in names) for key, row in said.items()} == {
        ("user", "ri"): (12, 0, 0.5, 20, 8, 80, 0.25, 0),
        ("buyer", "ri"): (0, 12, 0.5, 0, -12, 0, None, 24),
    }


def test_where_the_bill_does_not_tell_what_was_used_nothing_is_said_to_be_unused(place: ClickHouse) -> None:
    bills = [charge(day_of(3), "50", category=Category.PURCHASE, commitment_id="cud", effective_cost=Decimal(50))]
    publish_bill(place, [day_of(3)], bills, customer="untold", provider="gcp")
    [row] = rows_of(place, "untold").values()
    assert [row[name] for name in ("used", "unused", "utilisation", "coverage", "saved", "purchased")] == [
        None, None, None, None, None, 50,
    ]  # fmt: skip


def test_a_customer_without_commitments_has_no_row(place: ClickHouse) -> None:
    publish_bill(place, [day_of(3)], [charge(day_of(3), "50")], customer="none")
    assert rows_of(place, "none") == {}
