"""The reader cost/invoices over statements drawn at random and by hand, against plain Python."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.cost import Bill, Category, LeftOut, LeftOutBecause
from optiinfra_dagster.model.slices import MergeBilledAccounts, SliceResult, SliceStatus
from optiinfra_dagster.storage import reader_writer, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.cost_rows import ImportedDay, charge_rows, midnight
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.conftest import LONG
from tests.storage.test_cost_readers import NOW, TODAY, day_of
from tests.support.bills import charge, estimates, publish_estimates
from tests.support.engines import copy_migrated
from tests.support.samples import select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from optiinfra_dagster.model.cost import Charge

Row = dict[str, Any]
ZERO = Decimal(0)
READ_AT = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
CATEGORIES = {
    "Usage": "usage",
    "Purchase": "purchases",
    "Tax": "taxes",
    "Credit": "credits",
    "Adjustment": "adjustments",
}


def month(n: int) -> date:
    """The first day of the month that many months ago."""
    whole = TODAY.year * 12 + TODAY.month - 1 - n
    return date(whole // 12, whole % 12 + 1, 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    folder = tmp_path_factory.mktemp("invoices") / "clickhouse"
    copy_migrated(folder)
    clickhouse = ClickHouse(f"chdb://{folder}")
    with clickhouse.session():
        yield clickhouse


def publish(
    place: ClickHouse,
    customer: str,
    charges: Sequence[Charge],
    left_out: Sequence[LeftOut] = (),
    *,
    arriving: Sequence[date] = (),
    provider: str = "aws",
) -> None:
    """Publish what statements say, as the collection of costs does."""
    every: list[Charge | LeftOut] = [*charges, *left_out]
    sources = {one.billing_account_id for one in every}
    days = sorted({one.day for one in every})
    bill = Bill(list(charges), arriving={s: set(arriving) for s in sources}, left_out=list(left_out))
    readings = [ImportedDay(day, source, source) for day in days for source in sources]
    part = SliceResult(
        customer, provider, [midnight(day) for day in days], SliceStatus.OK,
        rows=charge_rows(customer, provider, bill, readings, {}, READ_AT), dataset=schema.BILLED.name,
        mode=MergeBilledAccounts(
            [], statements={(one.billing_account_id, one.billing_period) for one in every}
        ),
    )  # fmt: skip
    Writer(place, schema.BILLED).flush([part])


def computed(place: ClickHouse, window: datetime = NOW) -> list[Row]:
    reader = readers()["cost", "invoices"]
    reader_writer.compute(place, reader, [window])
    return select(place, f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}}", at=window)  # noqa: S608


# --- Statements drawn at random --------------------------------------------------------------------------------------


def drawn(seed: int) -> tuple[list[Charge], list[LeftOut], set[date]]:
    """Charges of three bills' statements of 15 months, on days in the month and around it, and what was left out."""
    rng = random.Random(seed)  # noqa: S311
    charges, left_out = [], []
    for source in ("one", "two", "three"):
        for n in rng.sample(range(15), 9):
            first = month(n)
            invoices = rng.choice([[""], ["I"], ["", "I"], ["I", "J"]])
            for _ in range(rng.randrange(6)):
                day = min(first + timedelta(days=rng.choice([-300, -40, -3, 0, 1, 9, 20, 27, 31])), day_of(1))
                charges.append(
                    charge(
                        day, Decimal(rng.randrange(-(10**6), 10**7)) / 10**4 + Decimal("1e-18"), "S", source,
                        category=rng.choice([*Category]), currency=rng.choice(["USD", "USD", "EUR"]), period=first,
                        invoice_id=rng.choice(invoices), payer_account_id=rng.choice(["", "p-1", "p-2"]),
                        is_final=rng.random() < 0.8, description=str(rng.random()),
                    )
                )  # fmt: skip
            left_out += [
                LeftOut(first, source, rng.choice(["a", "b"]), rng.choice([*LeftOutBecause]),
                        Decimal(rng.randrange(-100, 1000)) / 8, rng.choice(["USD", "EUR"]), 3, first)
                for _ in range(rng.randrange(3))
            ]  # fmt: skip
    return charges, left_out, {day_of(n) for n in range(1, 40) if rng.random() < 0.5}


def expected(charges: list[Charge], left_out: list[LeftOut], arriving: set[date]) -> dict[tuple[Any, ...], Row]:
    """What the reader is to say, by bill, month, invoice and currency."""
    statements: dict[tuple[str, date, str], tuple[list[Charge], list[LeftOut]]] = defaultdict(lambda: ([], []))
    for one in charges:
        statements[one.billing_account_id, one.billing_period, one.currency][0].append(one)
    for part in left_out:
        statements[part.billing_account_id, part.billing_period, part.currency][1].append(part)
    found = {}
    for (source, first, currency), (of, out) in statements.items():
        if first < month(12):
            continue
        ids = {one.invoice_id for one in of}
        by_days = added(
            [
                c for c in charges
                if (c.billing_account_id, c.currency, c.day.replace(day=1)) == (source, currency, first)
            ]
        )  # fmt: skip
        elsewhere = by_days - added([c for c in of if c.day.replace(day=1) == first])
        pieces = [
            (added(out), "left out"),
            (added([c for c in of if c.day < first]), "of days of earlier months"),
            (added([c for c in of if c.day >= first and c.day.replace(day=1) != first]), "of days of later months"),
            (-elsewhere, "of its days, on other months' bills"),
        ]
        for invoice in ids | ({""} if out and len(ids) != 1 else set()):
            its = [c for c in of if c.invoice_id == invoice]
            its_out = out if ids == {invoice} or (len(ids) != 1 and not invoice) else []
            reasons = sorted({str(part.because) for part in its_out})
            found[source, first, invoice, currency] = {
                "payer_account_id": max((c.payer_account_id for c in its), default=""),
                "total": added(its) + added(its_out),
                "charges": added(its),
                **{name: added([c for c in its if c.category == word]) for word, name in CATEGORIES.items()},
                "of_earlier_months": added([c for c in its if c.day < first]),
                "of_later_months": added([c for c in its if c.day >= first and c.day.replace(day=1) != first]),
                "left_out": added(its_out),
                "left_out_because": ", ".join(
                    f"{text(added([p for p in its_out if p.because == reason]))} {reason}" for reason in reasons
                ),
                "arriving": added([c for c in its if c.day in arriving]),
                "is_final": bool(its) and all(c.is_final for c in its),
                "statement": added(of) + added(out),
                "by_days": by_days,
                "differs": added(of) + added(out) - by_days,
                "because": ", ".join(f"{text(amount)} {why}" for amount, why in pieces if amount),
                "as_of": READ_AT,
            }
    return found


def added(parts: Sequence[Charge | LeftOut]) -> Decimal:
    return sum((part.amount for part in parts), ZERO)


def text(amount: Decimal) -> str:
    """A decimal as ClickHouse writes it."""
    return f"{amount.normalize():f}" if amount else "0"


SEEDS = range(8 if LONG else 3)


@pytest.fixture(scope="module")
def found(place: ClickHouse) -> list[Row]:
    for seed in SEEDS:
        charges, left_out, arriving = drawn(seed)
        publish(place, f"random-{seed}", charges, left_out, arriving=sorted(arriving))
    publish_estimates(place, estimates("random-0", NOW, {"i-1": "5"}, account="one"))
    return computed(place)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_column_is_what_plain_python_says(found: list[Row], seed: int) -> None:
    names = ("billing_account_id", "billing_period", "invoice_id", "currency")
    rows = [row for row in found if row["customer_id"] == f"random-{seed}"]
    said = {tuple(row[name] for name in names): row for row in rows}
    assert len(said) == len(rows)
    truth = expected(*drawn(seed))
    assert said.keys() == truth.keys()
    for key, row in said.items():
        others = {name: v for name, v in row.items() if name not in {"window_start", "customer_id", "provider", *names}}
        assert others == truth[key], key
        assert row["charges"] + row["left_out"] == row["total"]


# --- By hand ---------------------------------------------------------------------------------------------------------


def rows_of(place: ClickHouse, customer: str) -> list[Row]:
    return sorted(
        (row for row in computed(place) if row["customer_id"] == customer),
        key=lambda row: (row["billing_period"], row["invoice_id"]),
    )


def test_a_month_of_google_ends_with_the_day_in_california(place: ClickHouse) -> None:
    """Its invoice has charges of the first of the next month by UTC, and lacks those of its own first."""
    before, first, after = month(3), month(2), month(1)
    charges = [
        charge(first, "3", period=before, invoice_id="202601"),
        charge(first, "10", period=first, invoice_id="202602"),
        charge(first + timedelta(days=5), "100", period=first, invoice_id="202602"),
        charge(after, "7", period=first, invoice_id="202602"),
    ]
    publish(place, "pacific", charges, provider="gcp")
    _, row = rows_of(place, "pacific")
    assert [row[n] for n in ("total", "by_days", "differs", "of_later_months")] == [117, 113, 4, 7]
    assert row["because"] == "7 of days of later months, -3 of its days, on other months' bills"


def test_what_was_left_out_makes_the_statement_whole(place: ClickHouse) -> None:
    left_out = [
        LeftOut(month(1), "payer", "222", LeftOutBecause.ANOTHER_ACCOUNT, Decimal("40.5"), "USD", 12, month(1)),
        LeftOut(month(1), "payer", "333", LeftOutBecause.ANOTHER_ACCOUNT, Decimal("0.25"), "USD", 1, month(1)),
        LeftOut(month(1), "payer", "payer", LeftOutBecause.BILLING_ACCOUNT, Decimal(-3), "USD", 1, month(1)),
    ]
    publish(place, "partly", [charge(month(1), "100", invoice_id="E1", is_final=True)], left_out)
    [row] = rows_of(place, "partly")
    assert (row["invoice_id"], row["total"], row["charges"], row["is_final"]) == ("E1", Decimal("137.75"), 100, True)
    assert row["left_out_because"] == (
        "40.75 of an account that the customer does not have, -3 of the billing account itself"
    )
    assert (row["differs"], row["because"]) == (Decimal("37.75"), "37.75 left out")


def test_of_a_statement_that_was_read_again_only_the_newest_counts(place: ClickHouse) -> None:
    for amount in ("10", "12"):
        publish(place, "again", [charge(month(1), amount, invoice_id="E1")])
    [row] = rows_of(place, "again")
    assert (row["total"], row["because"]) == (12, "")


def test_two_currencies_are_two_statements_and_old_ones_are_not_shown(place: ClickHouse) -> None:
    charges = [charge(month(n), "5", currency=c, period=month(n)) for n in (12, 13) for c in ("USD", "EUR")]
    publish(place, "two-currencies", charges)
    rows = rows_of(place, "two-currencies")
    assert [(row["billing_period"], row["total"]) for row in rows] == [(month(12), 5)] * 2
    assert {row["currency"] for row in rows} == {"USD", "EUR"}
