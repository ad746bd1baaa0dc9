"""The cost readers' SQL over worlds drawn at random and by hand, against plain Python; computed once for all tests."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import io
import json
import random
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, localcontext
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from optiinfra_dagster.cli.printing import print_rows
from optiinfra_dagster.config.settings import Settings
from optiinfra_dagster.model import windows
from optiinfra_dagster.model.cost import Category
from optiinfra_dagster.model.errors import StorageError
from optiinfra_dagster.model.inventory import Resource, ResourceType, Status
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.providers.kind import Kind
from optiinfra_dagster.storage import migrations, reader_writer, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.reading import Query
from optiinfra_dagster.storage.rows import resource_rows
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.writer import Writer
from tests.support.bills import charge, estimates, publish_bill, publish_estimates
from tests.support.engines import kept_open
from tests.support.samples import resource, select

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from optiinfra_dagster.model.cost import Charge

Q = timedelta(minutes=15)
D = timedelta(days=1)
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
NOW = TODAY + timedelta(hours=1)  # the window that readers are computed for; nothing of it has to be over
READERS = ("daily", "days", "summary", "trends", "by_service", "by_resource", "waste")

Row = dict[str, Any]


def day_of(n: int) -> date:
    """The day that many days ago."""
    return (TODAY - n * D).date()


# --- A world drawn at random -----------------------------------------------------------------------------------------


class World:
    """Bills and estimates of two accounts in two currencies; which days were read, and have settled, is drawn too."""

    def __init__(self, seed: int) -> None:
        rng = random.Random(seed)  # noqa: S311
        self.customer = f"random-{seed}"
        self.scale = 1 if seed == 1 else 10**10  # as rials are to dollars, and more
        self.estimates: list[SliceResult] = []
        self.charges: list[Charge] = []
        self.read: dict[str, list[date]] = {"one": [], "two": []}
        self.arriving: dict[str, set[date]] = {"one": set(), "two": set()}
        self.rows: list[Row] = []  # everything that was said, counted or not
        # Few days in all worlds together: each takes a slice of every rollup.
        ago = sorted({0, 1, 2, 29, 30, 31, *rng.sample(range(3, 22), 9), 75, 140, 165})
        for n in ago:
            for account, currency in (("one", "USD"), ("two", "EUR")):
                if n and rng.random() < 0.6:
                    self.read[account].append(day_of(n))
                    if n <= 2 and rng.random() < 0.5:
                        self.arriving[account].add(day_of(n))
                    for service in rng.sample(["EC2", "S3", "Tax"], rng.randrange(4)):
                        for name in rng.sample(["i-1", "i-2", ""], rng.randrange(1, 3)):
                            amount = Decimal(rng.randrange(-(10**6), 10**8)) / 10**4 * self.scale + Decimal("1e-18")
                            category = "Tax" if service == "Tax" else rng.choice([*Category])
                            effective = rng.choice([amount, amount + 1, *([None] if account == "two" else [])])
                            self.charges.append(
                                charge(
                                    day_of(n), amount, service, account, currency=currency, resource_id=name,
                                    is_final=n > 30, category=Category(category), effective_cost=effective,
                                )
                            )  # fmt: skip
                self._estimated(rng, TODAY - n * D, account, currency)
        for one in self.charges:
            kind = "arriving" if one.day in self.arriving[one.billing_account_id] else "billed"
            self._say(
                kind, one.start, one.billing_account_id, one.currency, one.service_name, one.resource_id, one.amount,
                final=one.is_final, category=str(one.category), effective=one.effective_cost,
            )  # fmt: skip

    def _estimated(self, rng: random.Random, midnight: datetime, account: str, currency: str) -> None:
        for n in (0, 1, 3, 95):
            amounts = {name: f"{rng.randrange(10**6)}e-7" for name in rng.sample(["i-1", "i-2", "i-3"], 2)}
            window = midnight + n * Q
            if window <= NOW:
                one = estimates(self.customer, window, amounts, provider=account, account=account, currency=currency)
                self.estimates.append(one)
                for name, amount in amounts.items():
                    self._say("estimated", window, account, currency, "EC2", name, Decimal(amount))

    def _say(self, kind: str, start: datetime, account: str, currency: str, service: str, name: str,
             amount: Decimal, *, final: bool = False, category: str = "Usage",
             effective: Decimal | None = None) -> None:  # fmt: skip
        self.rows.append(
            {
                "kind": kind, "start": start, "day": start.date(), "account": account, "currency": currency,
                "service": service, "resource": name, "amount": amount, "final": final, "category": category,
                "effective": amount if kind == "estimated" else effective,
            }
        )  # fmt: skip

    def is_billed(self, account: str, day: date) -> bool:
        """True for a day whose bill was read and has settled."""
        return day in self.read[account] and day not in self.arriving[account]

    @property
    def counted(self) -> list[Row]:
        """What costs are: the bill of a day that has settled, else its estimates; and what is arriving beside them."""
        return [
            row for row in self.rows
            if row["kind"] == "arriving" or (row["kind"] == "billed") == self.is_billed(row["account"], row["day"])
        ]  # fmt: skip

    def known(self, account: str, day: date) -> float:
        """How much of a day is known."""
        starts = {r["start"] for r in self.rows if (r["account"], r["day"], r["kind"]) == (account, day, "estimated")}
        return 1 if self.is_billed(account, day) else len(starts) / 96

    def publish(self, clickhouse: ClickHouse) -> None:
        publish_estimates(clickhouse, *self.estimates)
        for account, days in self.read.items():
            its = [one for one in self.charges if one.billing_account_id == account]
            publish_bill(
                clickhouse, days, its, customer=self.customer, provider=account, read=[account],
                names={"i-1": "web", "i-2": "db"}, arriving=self.arriving[account],
            )  # fmt: skip


def periods_of(day: date) -> list[str]:
    """The periods that a reader of `NOW` counts a day in."""
    today, ago = TODAY.date(), (TODAY.date() - day).days
    return [
        name
        for name, is_in in (
            ("today", ago == 0),
            ("yesterday", ago == 1),
            ("last_30_days", 1 <= ago <= 30),
            ("month_to_date", (day.year, day.month) == (today.year, today.month)),
        )
        if is_in
    ]


def totals(rows: Sequence[Row]) -> Row:
    """Of rows that count, what a reader says."""

    def added(*kinds: str, **of: str) -> Decimal:
        its = [r["amount"] for r in rows if r["kind"] in kinds and all(r[name] == value for name, value in of.items())]
        return sum(its, Decimal(0))

    billed, estimated = added("billed"), added("estimated")
    counted = [row for row in rows if row["kind"] != "arriving"]
    effective = [row["effective"] for row in counted]
    return {
        "amount": billed + estimated if counted else None,
        "effective": sum(effective, Decimal(0)) if counted and None not in effective else None,
        "billed": billed,
        "estimated": estimated,
        "arriving": added("arriving"),
        "taxes": added("billed", category="Tax"),
        "credits": added("billed", category="Credit"),
        "purchases": added("billed", category="Purchase"),
        "estimated_share": pytest.approx(float(abs(estimated) / (abs(billed) + abs(estimated))))
        if billed or estimated
        else None,
        "provisional": sum((r["amount"] for r in rows if r["kind"] == "billed" and not r["final"]), Decimal(0)),
    }


def grouped(rows: Sequence[Row], *names: str) -> dict[tuple[Any, ...], list[Row]]:
    """Rows by the values of `names` and by each period that they are in."""
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        for period in periods_of(row["day"]):
            groups[(*(row[name] for name in names), period)].append(row)
    return groups


@pytest.fixture(autouse=True, scope="module")
def digits() -> Iterator[None]:
    """Sums of plain Python that are exact."""
    with localcontext(prec=60):
        yield


SEEDS = [1, 2]
NAMES = ("amount", "effective", "billed", "estimated", "arriving", "estimated_share", "provisional")
PARTS = (*NAMES, "taxes", "credits", "purchases")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    return kept_open(tmp_path_factory.mktemp("costs") / "clickhouse")


def compute(clickhouse: ClickHouse, *names: str, window: datetime = NOW) -> dict[str, list[Row]]:
    """What readers publish for a window, after the rollups under them."""
    found = {}
    for name in dict.fromkeys(["daily", "days", *(names or READERS)]):
        reader = readers()["cost", name]
        reader_writer.compute(clickhouse, reader, [windows.floor_to(reader.length, window)])
        sql = f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL"
        found[name] = select(clickhouse, sql, at=windows.floor_to(reader.length, window))
    return found


Case = Callable[[ClickHouse], None]
CASES: list[Case] = []


def case(publish: Case) -> Case:
    """What publishes the rows that a test is of, of a customer of its own; those of all are computed at once."""
    CASES.append(publish)
    return publish


@pytest.fixture(scope="module")
def computed(place: ClickHouse) -> dict[str, list[Row]]:
    """What the readers say of the worlds that are drawn and of those by hand."""
    with place.session():
        for world in WORLDS.values():
            world.publish(place)
        for publish in CASES:
            publish(place)
        return compute(place)


with localcontext(prec=60):
    WORLDS = {seed: World(seed) for seed in SEEDS}


@pytest.fixture(scope="module", params=SEEDS)
def drawn(request: pytest.FixtureRequest, computed: dict[str, list[Row]]) -> tuple[World, dict[str, list[Row]]]:
    """A world, and what the readers say of it."""
    world = WORLDS[request.param]
    return world, of_customer(computed, world.customer)


def of_customer(computed: dict[str, list[Row]], customer: str) -> dict[str, list[Row]]:
    """What readers say of a customer."""
    return {name: [r for r in rows if r["customer_id"] == customer] for name, rows in computed.items()}


Drawn = tuple[World, dict[str, list[Row]]]


def test_the_summary_counts_every_period_once_and_says_what_is_estimated(drawn: Drawn) -> None:
    world, found = drawn
    truth = grouped(world.counted, "account", "currency")
    currencies = {(row["account"], row["currency"]) for row in world.counted}
    known: dict[tuple[str, str, str], float] = defaultdict(float)
    over: dict[tuple[str, str, str], float] = defaultdict(float)
    for account, currency in currencies:
        for day in (day_of(n) for n in range(62)):
            for period in periods_of(day):
                known[account, currency, period] += world.known(account, day)
                over[account, currency, period] += world.known(account, day) if day < TODAY.date() else 0
    told = {key for key, days in known.items() if days} | truth.keys()
    assert {(r["provider"], r["currency"], r["period"]) for r in found["summary"]} == told
    for row in found["summary"]:
        key = row["provider"], row["currency"], row["period"]
        rows = truth.get(key, [])
        is_known = known[key] > 0 or any(r["kind"] != "arriving" for r in rows)
        expected = totals(rows)
        if is_known and not any(r["kind"] != "arriving" for r in rows):
            expected |= {"amount": Decimal(0), "effective": Decimal(0)}
        elif not is_known:
            expected |= dict.fromkeys(("taxes", "credits", "purchases"))
        assert {name: row[name] for name in PARTS} == expected
        assert row["days"] == pytest.approx(known[key])
        length = {"last_30_days": 30, "month_to_date": max(1, TODAY.day - 1)}.get(row["period"], 1)
        assert row["complete"] == (over[key] >= 0.95 * length)
        ends = {r["start"] + (Q if r["kind"] == "estimated" else D) for r in rows} or {TODAY}
        assert (row["as_of"], row["sub_account_id"]) == (max(ends), row["provider"])


def test_services_and_resources_add_up_to_the_summary(drawn: Drawn) -> None:
    world, found = drawn
    for reader, names in (("by_service", ("service",)), ("by_resource", ("resource",))):
        truth = grouped(world.counted, "account", "currency", *names)
        column = {"service": "service_name", "resource": "resource_id"}[names[0]]
        said = {(r["provider"], r["currency"], r[column], r["period"]): r for r in found[reader]}
        assert len(said) == len(found[reader])
        assert said.keys() == truth.keys()
        for key, row in said.items():
            expected = totals(truth[key])
            assert {name: row[name] for name in NAMES} == {name: expected[name] for name in NAMES}
        for row in found["summary"]:
            its = [r for key, r in said.items() if (key[0], key[-1]) == (row["provider"], row["period"])]
            for name in ("amount", "arriving"):
                assert sum(r[name] or 0 for r in its) == (row[name] or 0)


def test_resources_are_named_and_what_names_none_is_told_apart(drawn: Drawn) -> None:
    _, found = drawn
    for row in found["by_resource"]:
        if not row["resource_id"]:
            assert (row["resource_name"], row["matched"], row["cost_type"]) == ("", False, "other")
        else:
            assert row["matched"]
            assert row["resource_name"] in {row["resource_id"].upper(), "web", "db"}
        assert row["services"]


def buckets(day: date) -> list[tuple[str, date]]:
    """The day, week and month of the trends that a day is in."""
    today, first = TODAY.date(), TODAY.date().replace(day=1)
    for _ in range(5):
        first = (first - D).replace(day=1)
    week, monday = day - day.weekday() * D, first + 6 * D
    starts = [("month", day.replace(day=1))] if day >= first else []
    if week >= max(today - today.weekday() * D - 8 * 7 * D, monday - monday.weekday() * D) and day >= first:
        starts.append(("week", week))
    return starts + ([("day", day)] if (today - day).days <= 30 else [])


def test_trends_are_the_sums_of_their_days_and_compare_whole_periods_only(drawn: Drawn) -> None:
    world, found = drawn
    groups: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    known: dict[tuple[Any, ...], float] = defaultdict(float)
    for row in world.counted:
        for period, start in buckets(row["day"]):
            groups[row["account"], period, start].append(row)
    for account in world.read:
        for day in (day_of(n) for n in range(190)):
            for period, start in buckets(day):
                known[account, period, start] += world.known(account, day)
    told = {key for key, days in known.items() if days} | groups.keys()
    assert {(r["provider"], r["period"], r["period_start"]) for r in found["trends"]} == told
    said = {(r["provider"], r["period"], r["period_start"]): r for r in found["trends"]}
    for (account, period, start), row in said.items():
        its = groups[account, period, start]
        expected, days = totals(its), known[account, period, start]
        if days and all(r["kind"] == "arriving" for r in its):
            expected |= {"amount": Decimal(0), "effective": Decimal(0)}
        assert {name: row[name] for name in PARTS} == expected
        assert row["days"] == pytest.approx(days)
        end = {"day": start + D, "week": start + 7 * D, "month": (start + 32 * D).replace(day=1)}[period]
        complete = end <= TODAY.date() and days >= 0.95 * (end - start).days
        assert row["complete"] == complete
        before = said.get(
            (account, period, {"day": start - D, "week": start - 7 * D, "month": (start - D).replace(day=1)}[period])
        )
        if complete and before and before["complete"]:
            assert row["change"] == row["amount"] - before["amount"]
            percent = 100 * row["change"] / abs(before["amount"]) if before["amount"] else None
            assert row["change_percent"] == (None if percent is None else pytest.approx(float(percent)))
        else:
            assert (row["change"], row["change_percent"]) == (None, None)


# --- By hand ---------------------------------------------------------------------------------------------------------


Computed = dict[str, list[Row]]


def whole_day(customer: str, day: date, usd: str = "1.0416") -> list[SliceResult]:
    """The estimates of a day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return [estimates(customer, midnight + n * Q, {"i-1": usd}) for n in range(96)]


@case
def publish_arriving(place: ClickHouse) -> None:
    publish_estimates(place, *whole_day("arriving", day_of(1)), *whole_day("arriving", day_of(2)))
    days = [day_of(n) for n in range(1, 15)]
    bills = [charge(day_of(n), "100" if n > 1 else "4") for n in range(1, 15) if n != 2]
    publish_bill(place, days, bills, customer="arriving", arriving=[day_of(1), day_of(2)])


def test_a_day_that_is_still_arriving_keeps_its_estimate_and_compares_with_nothing(computed: Computed) -> None:
    """Yesterday the bill tells 4 USD of, so far; and of the day before that nothing at all."""
    found = of_customer(computed, "arriving")
    said = {row["period"]: row for row in found["summary"]}
    assert [said["yesterday"][name] for name in ("amount", "estimated", "billed", "arriving", "days")] == [
        Decimal("99.9936"), Decimal("99.9936"), 0, 4, 1,
    ]  # fmt: skip
    assert (said["last_30_days"]["amount"], said["last_30_days"]["arriving"]) == (1200 + 2 * Decimal("99.9936"), 4)
    changes = [r["change_percent"] for r in found["trends"] if r["period"] == "day" and r["change_percent"] is not None]
    assert changes == pytest.approx([0] * 11 + [-0.0064, 0], abs=1e-9)
    services = {row["service_name"]: row for row in found["by_service"] if row["period"] == "yesterday"}
    assert {name: (row["amount"], row["arriving"]) for name, row in services.items()} == {
        "EC2": (Decimal("99.9936"), 4),
    }  # fmt: skip


@case
def publish_begun(place: ClickHouse) -> None:
    bills = [charge(day_of(1), "4"), charge(day_of(2), "100")]
    publish_bill(place, [day_of(1), day_of(2)], bills, customer="begun", arriving=[day_of(1)])


def test_a_day_of_which_nothing_but_the_beginning_of_a_bill_is_known_is_unknown(
    place: ClickHouse, computed: Computed
) -> None:
    found = of_customer(computed, "begun")
    [yesterday] = [row for row in found["summary"] if row["period"] == "yesterday"]
    assert [yesterday[n] for n in ("amount", "effective", "taxes", "arriving", "days", "complete")] == [
        None, None, None, 4, 0, False,
    ]  # fmt: skip
    [trend] = [row for row in found["trends"] if row["period_start"] == day_of(1) and row["period"] == "day"]
    assert [trend[n] for n in ("amount", "arriving", "days", "complete", "change")] == [None, 4, 0, False, None]
    states = select(
        place, "SELECT toDate(window_start) AS day, state, known FROM cost_days_current WHERE customer_id = 'begun'"
    )
    assert {row["day"]: (row["state"], row["known"]) for row in states} == {
        day_of(1): ("arriving", 0), day_of(2): ("billed", 1),
    }  # fmt: skip


@pytest.mark.long
def test_months_of_an_account_that_is_charged_on_the_first_only_are_complete(place: ClickHouse) -> None:
    firsts = [TODAY.replace(day=1)]
    for _ in range(4):
        firsts.append((firsts[-1] - D).replace(day=1))
    days = [(firsts[-1] + n * D).date() for n in range((TODAY - firsts[-1]).days)]
    with place.session():
        publish_bill(place, days, [charge(m.date(), "50") for m in firsts if m.date() in days], customer="sparse")
        found = of_customer(compute(place, "summary", "trends"), "sparse")
    whole = [
        row
        for row in found["trends"]
        if row["period"] == "month" and row["period_start"] in {m.date() for m in firsts[1:]}
    ]
    assert [(row["amount"], row["complete"]) for row in whole] == [(50, True)] * 4
    assert [row["change"] for row in whole[1:]] == [0] * 3
    yesterday = next(row for row in found["summary"] if row["period"] == "yesterday")
    # Read, and nothing was charged; unless yesterday was the first itself.
    assert (yesterday["amount"], yesterday["days"]) == (50 if day_of(1).day == 1 else 0, 1)


@case
def publish_barely(place: ClickHouse) -> None:
    days = [day_of(n) for n in range(1, 10)]
    publish_bill(place, days, [charge(day, "10") for day in days], customer="barely")
    publish_bill(place, days[2:], [charge(day, "5", account="other") for day in days[2:]], customer="barely",
                 read=["other"])  # fmt: skip
    publish_estimates(place, estimates("barely", TODAY - D, {"i-1": "0.1"}, account="other"))
    publish_bill(place, [day_of(40)], [charge(day_of(40), "1", account="ended")], customer="barely", read=["ended"])


def test_a_day_is_complete_if_every_account_s_is(computed: Computed) -> None:
    """One account is billed, of the other a quarter of an hour is known; and a third one ended a month ago."""
    found = of_customer(computed, "barely")
    said = {row["period_start"]: row for row in found["trends"] if row["period"] == "day"}
    assert [(said[day_of(n)]["days"], said[day_of(n)]["complete"]) for n in (1, 2, 3, 4)] == [
        (pytest.approx(1 / 96), False), (0, False), (1, True), (1, True),
    ]  # fmt: skip


@case
def publish_upfront(place: ClickHouse) -> None:
    days = [day_of(n) for n in range(1, 22)]
    bills = [charge(day, "0", effective_cost=Decimal(24)) for day in days]
    bills.append(charge(day_of(20), "8760", category=Category.PURCHASE, effective_cost=Decimal(0)))
    publish_bill(place, days, bills, customer="upfront")


def test_an_upfront_fee_is_billed_on_a_day_and_effective_over_its_term(computed: Computed) -> None:
    found = of_customer(computed, "upfront")
    for name in ("summary", "by_service"):
        [row] = [row for row in found[name] if row["period"] == "last_30_days"]
        assert [row[n] for n in ("amount", "effective", "purchases", "usage", "taxes")] == [8760, 21 * 24, 8760, 0, 0]
    [day] = [row for row in found["trends"] if row["period"] == "day" and row["period_start"] == day_of(20)]
    assert (day["amount"], day["effective"], day["purchases"]) == (8760, 24, 8760)


@case
def publish_mixed(place: ClickHouse) -> None:
    days = [day_of(n) for n in range(1, 10)]
    publish_bill(place, days, [charge(day, "100", currency="EUR") for day in days], customer="mixed")
    publish_estimates(place, estimates("mixed", TODAY, {"i-1": "1"}))


def test_a_bill_and_an_estimate_in_two_currencies_are_never_added(computed: Computed) -> None:
    found = of_customer(computed, "mixed")
    said = {(row["period"], row["currency"]): row["amount"] for row in found["summary"]}
    assert (said["today", "USD"], said["yesterday", "EUR"], said["last_30_days", "EUR"]) == (1, 100, 900)
    assert said["last_30_days", "USD"] == 0


@case
def publish_earlier(place: ClickHouse) -> None:
    publish_estimates(place, *(estimates("earlier", TODAY + n * Q, {"i-1": "1"}) for n in range(3)))


def test_a_window_of_before_is_computed_as_it_was_then(place: ClickHouse, computed: Computed) -> None:
    """What later windows of the same day add is no part of it."""
    with place.session():
        before = compute(place, "summary", window=TODAY)["summary"]
    amounts = [[r["amount"] for r in rows if (r["customer_id"], r["period"]) == ("earlier", "today")]
               for rows in (computed["summary"], before)]  # fmt: skip
    assert amounts == [[3], [1]]


@case
def publish_changed(place: ClickHouse) -> None:
    publish_bill(place, [day_of(40), day_of(41)], [charge(day_of(40), "1")], customer="changed")


@pytest.mark.usefixtures("computed")
def test_a_day_whose_bill_changes_is_computed_again_and_no_other(place: ClickHouse) -> None:
    with place.session() as client:
        before = client.query(
            "SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_daily'"
        ).result_rows
        publish_bill(place, [day_of(40), day_of(41)], [charge(day_of(40), "2")], customer="changed")
        compute(place, "daily")
        after = client.query(
            "SELECT window_start, batch FROM published_batches WHERE dataset = 'cost_daily'"
        ).result_rows
    assert {at.date() for at, _ in set(map(tuple, after)) - set(map(tuple, before))} == {day_of(40), TODAY.date()}
    rows = select(place, "SELECT amount FROM cost_daily_current WHERE customer_id = 'changed'")
    assert rows == [{"amount": 2}]


@pytest.mark.usefixtures("computed")
@pytest.mark.parametrize("name", ["daily", "days"])
def test_days_in_a_row_are_written_at_once_and_say_what_each_by_itself_says(
    place: ClickHouse, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = readers()["cost", name]
    days = [TODAY - n * D for n in (31, 30, 29, 2, 1)]
    inserts, insert = [], reader_writer._insert_select

    def noting(client: Any, statement: str, *rest: Any, **more: Any) -> int | None:
        inserts.append(statement)
        return insert(client, statement, *rest, **more)

    monkeypatch.setattr(reader_writer, "_insert_select", noting)
    said = []
    for days_of in ("", reader.days_of):
        counts = reader_writer.write_select(place, reader.table, reader.select, days, days_of=days_of)
        rows = select(place, f"SELECT * EXCEPT batch FROM {reader.view} WHERE window_start < today() ORDER BY ALL")
        said.append((counts, rows))
    assert said[0] == said[1]
    assert min(said[1][0].values()) > 0
    assert len(inserts) == len(days) + 2

    def lose(step: str) -> None:
        if step == "inserted":
            with place.session() as client:
                newest = f"(SELECT max(batch) FROM {reader.table})"
                client.command(
                    f"DELETE FROM {reader.table} WHERE window_start = toDateTime('{days[1]:%F %T}', 'UTC') "
                    f"AND batch = {client.query(f'SELECT {newest}').result_rows[0][0]}"
                )

    with pytest.raises(StorageError, match=rf"rows were written for {days[1]:%F}.*, 0 arrived"):
        reader_writer.write_select(place, reader.table, reader.select, days, days_of=reader.days_of, steps=lose)


@case
def publish_tagged(place: ClickHouse) -> None:
    gone = estimates("tagged", TODAY - D, {"i-gone": "1"}, tags={"team": "a"})
    publish_estimates(place, gone, estimates("tagged", TODAY - D + Q, {"i-gone": "1"}, tags={"team": "b"}))
    bills = [
        charge(day_of(1), "1", resource_id="i-gone"),
        charge(day_of(1), "2", resource_id="i-own", tags='{"team":"c"}'),
        charge(day_of(1), "3", "Tax"),
    ]
    publish_bill(place, [day_of(1)], bills, customer="tagged")


@pytest.mark.usefixtures("computed")
def test_the_tags_of_a_line_are_its_own_else_the_inventory_s(place: ClickHouse) -> None:
    rows = select(
        place, "SELECT resource_id, tags, tags_from, amount FROM cost_daily_current WHERE customer_id = 'tagged'"
    )
    assert sorted(tuple(row.values()) for row in rows) == [
        ("", "", "", 3), ("i-gone", '{"team":"b"}', "inventory", 1), ("i-own", '{"team":"c"}', "line", 2),
    ]  # fmt: skip


@case
def publish_moved(place: ClickHouse) -> None:
    bills = [
        charge(day_of(2), "9", resource_id="i-1", region_id="old", cost_type="volume"),
        charge(day_of(1), "1", "A", resource_id="i-1", region_id="dear", cost_type="other"),
        charge(day_of(1), "3", "B", resource_id="i-1", region_id="new", cost_type="compute"),
        charge(day_of(1), "3", "C", resource_id="i-1", region_id="", cost_type="compute"),
    ]
    publish_bill(place, [day_of(1), day_of(2)], bills, customer="moved", names={"i-1": "web"})


def test_region_type_and_name_are_of_a_resource_s_newest_day_whatever_the_order(computed: Computed) -> None:
    found = of_customer(computed, "moved")
    [row] = [row for row in found["by_resource"] if row["period"] == "last_30_days"]
    assert (row["region_id"], row["cost_type"], row["resource_name"]) == ("new", "compute", "web")


MONDAY = (TODAY - TODAY.weekday() * D).date()  # of this week


@case
def publish_weeks(place: ClickHouse) -> None:
    days = [MONDAY - n * D for n in range(1, 15)]
    bills = [charge(day, "2" if day >= MONDAY - 7 * D else "1") for day in days]
    publish_bill(place, days, bills, customer="weeks")


def test_whole_weeks_are_compared(computed: Computed) -> None:
    weeks = [r for r in of_customer(computed, "weeks")["trends"] if r["period"] == "week"]
    assert [(r["period_start"], r["amount"], r["complete"], r["change"]) for r in weeks] == [
        (MONDAY - 14 * D, 7, True, None), (MONDAY - 7 * D, 14, True, 7),
    ]  # fmt: skip


@pytest.mark.long
def test_whole_months_are_compared(place: ClickHouse) -> None:
    last = (TODAY.replace(day=1) - D).date()
    first = (last.replace(day=1) - D).replace(day=1)
    days = [first + n * D for n in range((last - first).days + 1)]
    with place.session():
        bills = [charge(day, "2" if day.month == last.month else "1") for day in days]
        publish_bill(place, days, bills, customer="months")
        rows = of_customer(compute(place, "trends"), "months")["trends"]
    newest = next(r for r in rows if (r["period"], r["period_start"]) == ("month", last.replace(day=1)))
    assert newest["complete"]
    assert newest["amount"] == 2 * last.day
    before = next(r for r in rows if (r["period"], r["period_start"]) == ("month", first))
    assert newest["change"] == newest["amount"] - before["amount"]


def inventoried(clickhouse: ClickHouse, found: Sequence[Resource], window: datetime = NOW, **changes: Any) -> None:
    rows = resource_rows("wasteful", "aws", window, found, window, KINDS)
    status = changes.pop("status", SliceStatus.OK)
    Writer(clickhouse, schema.RESOURCE).flush([SliceResult("wasteful", "aws", [window], status, rows=rows, **changes)])


KINDS = {
    kind.name: kind
    for kind in (
        Kind(name="ebs:volume", resource_type=ResourceType.VOLUME, attachable=True),
        Kind(name="elbv2:application", resource_type=ResourceType.LOAD_BALANCER, silent_when_idle=True),
    )
}


def volume(name: str, attached_to: str = "", **changes: Any) -> Resource:
    status = Status.IN_USE if attached_to else Status.AVAILABLE
    facts: dict[str, Any] = {
        "kind": "ebs:volume", "resource_type": ResourceType.VOLUME, "status": status, "capacity": 100.0, "unit": "GiB",
        "metadata": {"attached_to": attached_to},
    }  # fmt: skip
    return resource(f"arn:aws:ec2:us-east-1:1:volume/{name}", **facts | changes)


def machine(name: str, status: Status = Status.RUNNING, **changes: Any) -> Resource:
    return resource(f"arn:aws:ec2:us-east-1:1:instance/{name}", resource_name=name, status=status, **changes)


def balancer(name: str, kind: str = "elbv2:application") -> Resource:
    return resource(f"lb/{name}", kind=kind, resource_type=ResourceType.LOAD_BALANCER)


RESOURCES = [
    volume("v-loose"),
    volume("v-free-of-charge"),
    volume("v-parked", "i-stopped"),
    volume("v-shared", "i-stopped,i-idle"),
    volume("v-used", "i-busy"),
    volume("v-elsewhere", "i-stopped", region="eu-west-1"),
    volume("fs-1", kind="efs:filesystem", metadata={}),
    machine("i-stopped", Status.STOPPED),
    machine("i-stopped-billed", Status.STOPPED),
    machine("i-idle"),
    machine("i-busy"),
    machine("i-spiky"),
    machine("i-young"),
    machine("i-unknown"),
    *map(machine, ("i-serves", "i-writes", "i-no-network", "i-half-known", "i-quiet")),
    balancer("quiet"),
    balancer("used"),
    balancer("silent"),
    balancer("told-late"),
    balancer("unknown"),
    balancer("gap", kind="azure:load_balancer"),
]


def daily(name: str, metric: str, mean: float, highest: float, days: Sequence[int] = range(1, 8)) -> list[Row]:
    """The rollups of whole days, that many days ago."""
    kind = "load_balancer" if name.startswith("lb/") else "compute"
    return [
        {
            "window_start": TODAY - n * D, "batch": 1, "customer_id": "wasteful", "provider": "aws",
            "resource_id": name, "resource_type": kind, "metric_name": metric, "statistic": "average", "n": 288,
            "expected": 288, "total": 288 * mean, "maximum": highest,
        }
        for n in days
    ]  # fmt: skip


ARN = "arn:aws:ec2:us-east-1:1:instance/"


def traffic(name: str, total: float) -> list[Row]:
    """The rollups of a machine's network: so many bytes a second in and out together."""
    return [
        row
        for metric, share in (("network_in", 0.7), ("network_out", 0.3))
        for row in daily(f"{ARN}{name}", metric, share * total, 50 * total)
    ]


PERFORMANCE = [
    *daily(f"{ARN}i-idle", "cpu_utilization", 1.5, 19.9),
    *daily(f"{ARN}i-busy", "cpu_utilization", 40, 90),
    *daily(f"{ARN}i-spiky", "cpu_utilization", 2, 20),
    *daily(f"{ARN}i-young", "cpu_utilization", 1, 2, range(1, 7)),
    *(row for name in ("i-idle", "i-busy", "i-spiky", "i-young", "i-writes") for row in traffic(name, 2900)),
    *daily(f"{ARN}i-serves", "cpu_utilization", 1, 2),
    *traffic("i-serves", 3100),
    *daily(f"{ARN}i-writes", "cpu_utilization", 1, 2),
    *daily(f"{ARN}i-writes", "disk_write", 99_000, 10**6),
    *daily(f"{ARN}i-writes", "disk_read", 2000, 10**6),
    *daily(f"{ARN}i-no-network", "cpu_utilization", 1, 2),
    *daily(f"{ARN}i-half-known", "cpu_utilization", 1, 2),
    *daily(f"{ARN}i-half-known", "network_out", 5, 9),
    *daily(f"{ARN}i-quiet", "cpu_utilization", 1, 2),
    *daily(f"{ARN}i-quiet", "network_total", 1200, 9000),
    *daily(f"{ARN}i-quiet", "disk_write", 20_000, 10**6),
    *daily(f"{ARN}i-quiet", "disk_read", 0, 0),
    *daily("lb/quiet", "request_rate", 0, 0),
    *daily("lb/used", "request_rate", 0, 0),
    *daily("lb/used", "network_total", 0.1, 1),
    *daily("lb/told-late", "request_rate", 0.1, 5, [3]),  # points that came after their window was collected
]


STOPPED = [
    {
        "window_start": TODAY - n * D, "batch": 1, "customer_id": "wasteful", "provider": "aws",
        "resource_id": f"{ARN}i-stopped-billed", "resource_type": "compute", "known": 96, "up": 0, "stopped": 96,
    }
    for n in range(1, 4)
]  # fmt: skip


@case
def publish_wasteful(place: ClickHouse) -> None:
    week = [NOW - n * Q for n in range(7 * 96)]
    with place.session() as client:
        inventoried(place, [machine("i-gone", Status.STOPPED)], NOW - Q)
        inventoried(place, RESOURCES)
        client.insert_arrow("performance_daily", pa.Table.from_pylist(PERFORMANCE))
        days_of = readers()["resource", "days"].table
        client.insert_arrow(days_of, pa.Table.from_pylist(STOPPED))
        ledger = [[of, "", "", TODAY - n * D, 1, "ok"] for of in ("performance_daily", days_of) for n in range(8)]
        ledger += [["performance", "wasteful", "aws", window, 1, "ok"] for window in week]
        names = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
        client.insert("metric_batches", ledger, column_names=names)
        coverage = [
            ["wasteful", "aws", "lb/silent", "load_balancer", "request_rate", "no_points",
             "the cloud returned no points", NOW - 8 * D, 1],
            ["wasteful", "aws", "lb/gap", "load_balancer", "request_rate", "no_points",
             "the cloud returned no points", NOW - 8 * D, 1],
            ["wasteful", "aws", "lb/told-late", "load_balancer", "request_rate", "no_points",
             "the cloud returned no points", NOW - 8 * D, 1],
            ["wasteful", "aws", "lb/unknown", "load_balancer", "request_rate", "no_permission", "", NOW - 8 * D, 1],
        ]  # fmt: skip
        names = ["customer_id", "provider", "resource_id", "resource_type", "metric_name", "state", "reason", "since",
                 "version"]  # fmt: skip
        client.insert("coverage", coverage, column_names=names)
        unpriced = {f"{ARN}i-stopped", f"{ARN}i-stopped-billed", "arn:aws:ec2:us-east-1:1:volume/v-free-of-charge"}
        prices = {r.resource_id: "0.25" for r in RESOURCES if r.resource_id not in unpriced}
        publish_estimates(place, estimates("wasteful", NOW, prices, account="123456789012"))
        days = [day_of(n) for n in range(1, 4)]
        bills = [charge(day, amount, account="123456789012", resource_id=name)
                 for name in (f"{ARN}i-stopped-billed", f"{ARN}i-idle")
                 for day, amount in zip(days, ("24", "48", "30"), strict=True)]  # fmt: skip
        publish_bill(place, days, bills, customer="wasteful", read=["123456789012"])


@pytest.fixture(scope="module")
def waste(computed: Computed) -> dict[str, Row]:
    """What the reader says of `RESOURCES`, by the end of their ids."""
    rows = of_customer(computed, "wasteful")["waste"]
    assert len({r["resource_id"] for r in rows}) == len(rows)
    return {r["resource_id"].rsplit("/", 1)[-1]: r for r in rows}


def test_what_is_of_no_use_is_told_and_nothing_else(waste: dict[str, Row]) -> None:
    assert {name: row["reason"] for name, row in waste.items()} == {
        "v-loose": "unattached",
        "v-free-of-charge": "unattached",
        "v-parked": "machine_stopped",
        "i-stopped-billed": "stopped",
        "i-idle": "idle",
        "i-quiet": "idle",
        "quiet": "idle",
        "silent": "idle",
    }


@pytest.mark.parametrize(
    ("name", "amount", "from_"),
    [
        ("v-loose", "730", "estimated"),  # 0.25 a window
        ("v-free-of-charge", None, "unknown"),
        ("i-stopped-billed", "730", "billed"),  # the cheapest day, 24
        ("i-idle", "1034.166666666666666666", "billed"),  # the mean of three days, 34
    ],
)
def test_waste_is_told_with_what_it_costs_in_730_hours(
    waste: dict[str, Row], name: str, amount: str | None, from_: str
) -> None:
    row = waste[name]
    assert (row["monthly_amount"], row["amount_from"]) == (None if amount is None else Decimal(amount), from_)
    assert row["currency"] == ("" if amount is None else "USD")


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("v-loose", ["attached to nothing", "100 GiB", "list price of 1 x"]),
        ("v-parked", ["attached to i-stopped, stopped"]),
        ("v-free-of-charge", ["neither bill nor price list"]),
        ("i-idle", ["CPU 1.5 % on average", "19.9 %", "7 days", "100 %", f"billed on 3 days to {day_of(1)}"]),
        ("i-idle", ["network 2.90 KB/s, disks not known"]),
        ("i-quiet", ["network 1.20 KB/s, disks 20.00 KB/s"]),
        ("quiet", ["no request and no byte", "100 % are known"]),
        ("silent", ["no request and no byte in 7 days", "no points"]),
    ],
)
def test_waste_is_told_with_its_evidence(waste: dict[str, Row], name: str, parts: list[str]) -> None:
    for part in parts:
        assert part in waste[name]["evidence"]
    assert (waste[name]["as_of"], waste[name]["complete"]) == (NOW, True)


@pytest.mark.long
def test_what_was_listed_before_an_upgrade_does_not_lose_its_waste(tmp_path: Path) -> None:
    """Rows of before the facts were written have those of the kinds that were known then."""
    files = migrations.load()
    clickhouse = ClickHouse(f"chdb://{tmp_path / 'clickhouse'}")
    resources = [volume("v-loose"), volume("fs-1", kind="efs:filesystem", metadata={}), balancer("silent"),
             balancer("gap", kind="azure:load_balancer")]  # fmt: skip
    unknown = ["attachable", "silent_when_idle", "instance_uid"]
    rows = resource_rows("wasteful", "aws", NOW, resources, NOW).drop_columns(unknown)
    with clickhouse.session(migrated=False) as client:
        migrations.migrate(client, files[:14], alone=True)
        client.insert_arrow("resource_metrics", rows.append_column("batch", pa.array([1] * len(rows), pa.uint64())))
        names = ["dataset", "customer_id", "provider", "window_start", "batch", "status"]
        ledger = [["performance", "wasteful", "aws", NOW - n * Q, 1, "ok"] for n in range(7 * 96)]
        client.insert("metric_batches", [["resource", "wasteful", "aws", NOW, 1, "ok"], *ledger], column_names=names)
        silent = [["wasteful", "aws", f"lb/{name}", "load_balancer", "request_rate", "no_points",
                   "the cloud returned no points", NOW - 8 * D, 1] for name in ("silent", "gap")]  # fmt: skip
        names = ["customer_id", "provider", "resource_id", "resource_type", "metric_name", "state", "reason", "since",
                 "version"]  # fmt: skip
        client.insert("coverage", silent, column_names=names)
    with clickhouse.session():
        wasted = {row["resource_name"]: row["reason"] for row in compute(clickhouse, "waste")["waste"]}
        assert select(clickhouse, "SELECT count() AS n FROM resource_metrics_current WHERE attachable") == [{"n": 1}]
    assert {name.rsplit("/", 1)[-1].lower(): reason for name, reason in wasted.items()} == {
        "v-loose": "unattached", "silent": "idle",
    }  # fmt: skip


# --- `optiinfra read cost ...` ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    (home / "customers.yaml").write_text("customers:\n  - {id: told, name: T, vultr: [{api_key: {env: K}}]}\n")
    return Settings(dagster_home=home, customers_path=home / "customers.yaml")


def told(place: ClickHouse, settings: Settings, reader: str, **options: Any) -> list[Row]:
    """What is printed as JSON."""
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    query = Query("cost", reader, "told", **options)
    print_rows(place, settings, query, "json", out)
    out.seek(0)
    rows: list[Row] = json.load(out)
    return rows


@case
def publish_told(place: ClickHouse) -> None:
    for window in (TODAY - D, NOW):
        publish_estimates(place, estimates("told", window, {"i-1": "0.5"}, provider="vultr"))
    for amount in ("1e-9", "12.5"):
        publish_bill(place, [day_of(1)], [charge(day_of(1), amount)], customer="told", provider="vultr")


@pytest.mark.usefixtures("computed")
def test_bills_estimates_and_restatements_are_read_with_money_as_text(place: ClickHouse, settings: Settings) -> None:
    yesterday = day_of(1)
    with place.session():
        [now] = told(place, settings, "metrics")
        since = told(place, settings, "metrics", from_=(TODAY - D).isoformat(), to=(NOW + Q).isoformat())
        [change] = told(place, settings, "restatements")
        summary = told(place, settings, "summary")
        day = [row for row in told(place, settings, "trends") if row["period_start"] == str(yesterday)]
    assert (now["cost_kind"], now["amount"]) == ("estimated", "0.500000000000000000")
    assert sorted((row["cost_kind"], row["amount"]) for row in since) == [
        ("billed", "12.500000000000000000"), ("estimated", "0.500000000000000000"),
    ]  # fmt: skip
    assert (change["charge_day"], change["before"], change["after"]) == (
        str(yesterday), "0.000000001000000000", "12.500000000000000000",
    )  # fmt: skip
    assert {row["period"]: row["amount"] for row in summary}["yesterday"] == "12.500000000000000000"
    assert "day" in {row["period"] for row in day}
