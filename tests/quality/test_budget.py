"""A customer's day of judging: spread over the day, shared by clouds, kept within under kills and side by side."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optiinfra_dagster.model.windows import WINDOW
from optiinfra_dagster.quality.budget import LATE_AFTER, TICKS, Admission, Allowance, Budgets, Wallet
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.spend import Amount, Purse, Spend
from tests.support.engines import SERVED, empty, kept_open

if TYPE_CHECKING:
    from tests.support.clickhouse_http import ClickHouseHttp

DAY = datetime(2026, 3, 4, tzinfo=UTC)
NONE = Amount(0, 0)


class Ledger(Spend):
    """What is spent, in memory: by purse and time."""

    def __init__(self) -> None:
        self.rows: list[tuple[Purse, Amount]] = []

    def reserve(
        self,
        purse: Purse,
        wanted: Amount,
        since: datetime,
        left: Callable[[Mapping[str, Amount], Mapping[str, Amount]], Amount],
    ) -> Amount:
        spent = self.by_cloud(purse, DAY), self.by_cloud(purse, since)
        granted = Amount(*(max(0, min(pair)) for pair in zip(wanted, left(*spent), strict=True)))
        if not all(granted):
            return NONE
        self.rows.append((purse, granted))
        return granted

    def give_back(self, purse: Purse, amount: Amount) -> None:
        self.rows.append((purse, Amount(-amount.tokens, -amount.requests)))

    def by_cloud(self, of: Purse, since: datetime) -> dict[str, Amount]:
        found: dict[str, Amount] = {}
        for purse, amount in self.rows:
            if purse.late == of.late and purse.at >= since and purse.at.date() == of.at.date():
                before = found.get(purse.provider, NONE)
                found[purse.provider] = Amount(before.tokens + amount.tokens, before.requests + amount.requests)
        return found

    def total(self, *, late: bool | None = None, since: datetime = DAY) -> int:
        return sum(a.tokens for purse, a in self.rows if late in {None, purse.late} and purse.at >= since)


def judge_window(
    ledger: Ledger, allowance: Allowance, questions: int, most: int, used: int, *, killed_after: int | None = None
) -> int:
    """Put questions as the judge does, one after the other; the tokens that were really used."""
    budgets = Budgets()
    wallet = Wallet(ledger, "acme", allowance, budgets)
    wallet.fill(6 * questions * most, 6 * questions)
    really = 0
    for number in range(questions):
        if killed_after is not None and number >= killed_after:
            return really  # and nothing is given back
        if budgets.hold([wallet.budget], most) is not Admission.GRANTED:
            break
        really += used
        budgets.settle([wallet.budget], most, used)
    wallet.close()
    return really


windows_of_a_day = st.lists(
    st.tuples(
        st.integers(0, TICKS - 1),  # when, in quarters of an hour
        st.integers(0, 30),  # questions
        st.booleans(),  # of the past
        st.sampled_from(["aws", "gcp"]),
        st.none() | st.integers(0, 5),  # killed after so many
    ),
    max_size=150,
)


@given(day=windows_of_a_day, tokens=st.integers(0, 400_000), share=st.floats(0, 0.9), most=st.integers(200, 9_000))
@settings(max_examples=60, deadline=None)
def test_no_day_takes_more_than_its_budget_whatever_is_killed(
    day: list[tuple[int, int, bool, str, int | None]], tokens: int, share: float, most: int
) -> None:
    ledger, really = Ledger(), 0
    for tick, questions, late, provider, killed in sorted(day, key=lambda window: window[0]):
        now = DAY + tick * WINDOW + timedelta(minutes=5)
        window = now - (3 * LATE_AFTER if late else timedelta(minutes=20))
        allowance = Allowance.of_window(Amount(tokens, 10_000), share, window, now, provider, ("aws", "gcp"))
        assert allowance.late is late
        really += judge_window(ledger, allowance, questions, most, most // 4, killed_after=killed)
        assert really <= ledger.total() <= tokens
        # What is not of the past never runs ahead of the clock.
        part = tokens - int(tokens * share)
        assert ledger.total(late=False) <= part * (tick + 1) // TICKS
        assert ledger.total(late=True) <= int(tokens * share)


@given(tokens=st.integers(100_000, 10_000_000), hungry=st.integers(50, 500))
@settings(max_examples=15, deadline=None)
def test_the_evening_has_its_part_however_hungry_the_morning_is(tokens: int, hungry: int) -> None:
    ledger, most = Ledger(), 500
    for tick in range(TICKS):
        now = DAY + tick * WINDOW + timedelta(minutes=5)
        allowance = Allowance.of_window(Amount(tokens, 10**9), 0.2, now - WINDOW, now, "aws", ("aws",))
        judge_window(ledger, allowance, hungry, most, most // 5)
    evening = ledger.total(since=DAY + timedelta(hours=18))
    wanted = min(24 * hungry * (most // 5), (tokens - int(tokens * 0.2)) // 4)
    assert evening >= wanted - 2 * most


def test_what_a_quiet_night_leaves_is_there_in_the_morning() -> None:
    noon = DAY + timedelta(hours=12)
    allowance = Allowance.of_window(Amount(960_000, 960), 0.0, noon - WINDOW, noon, "aws", ("aws",))
    assert allowance.limit == Amount(490_000, 490)
    assert allowance.left({}, {}) == Amount(490_000, 490)


def test_each_cloud_keeps_its_part_of_a_quarter_of_an_hour_and_what_it_leaves_is_anybodys() -> None:
    now, clouds = DAY + timedelta(minutes=5), ("aws", "gcp", "azure")
    day = Amount(96 * 300, 96 * 30)
    first = Allowance.of_window(day, 0.0, now - WINDOW, now, "aws", clouds)
    assert first.left({}, {}) == Amount(100, 10)
    spent = {"aws": Amount(100, 10)}
    second = Allowance.of_window(day, 0.0, now - WINDOW, now, "gcp", clouds)
    assert second.left(spent, spent) == Amount(100, 10)
    later = now + WINDOW
    third = Allowance.of_window(day, 0.0, later - WINDOW, later, "gcp", clouds)
    assert third.left(spent, {}) == Amount(600 - 100 - 200, 60 - 10 - 20)


@pytest.mark.parametrize(
    ("hours", "minutes", "late", "words"),
    [
        (10, 35, False, "until 10:45 UTC the customer's day allows"),
        (23, 50, False, "more come at 00:00 UTC"),
        (10, 35, True, "windows of the past may use 100 tokens"),
    ],
)
def test_it_is_told_what_was_allowed_and_when_more_comes(hours: int, minutes: int, late: bool, words: str) -> None:
    now = DAY + timedelta(hours=hours, minutes=minutes)
    window = now - (timedelta(hours=5) if late else WINDOW)
    assert words in Allowance.of_window(Amount(1000, 10), 0.1, window, now, "aws", ("aws",)).told()


def test_the_golden_set_has_the_whole_day_at_once() -> None:
    assert Allowance(Amount(1000, 10), DAY).left({}, {}) == Amount(1000, 10)


# --- In ClickHouse --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    return kept_open(tmp_path_factory.mktemp("spend") / "clickhouse")


@pytest.fixture
def spend(clickhouse: ClickHouse) -> Iterator[Spend]:
    yield Spend(clickhouse)
    with clickhouse.session() as client:
        client.command("TRUNCATE TABLE judge_spend")


def purse(hours: float = 1, *, customer: str = "acme", late: bool = False, provider: str = "aws") -> Purse:
    return Purse(customer, DAY + timedelta(hours=hours), late, provider)


def of_100(spent: Mapping[str, Amount], _lately: Mapping[str, Amount]) -> Amount:
    return Amount(100 - sum(a.tokens for a in spent.values()), 10 - sum(a.requests for a in spent.values()))


def test_what_is_reserved_is_spent_until_it_is_given_back(spend: Spend) -> None:
    assert spend.reserve(purse(), Amount(80, 4), DAY, of_100) == Amount(80, 4)
    assert spend.reserve(purse(2, provider="gcp"), Amount(80, 4), DAY, of_100) == Amount(20, 4)
    assert spend.reserve(purse(3), Amount(1, 1), DAY, of_100) == NONE
    spend.give_back(purse(3), Amount(70, 3))
    spend.give_back(purse(3), NONE)
    assert spend.of_day(purse()) == Amount(30, 5)
    assert spend.reserve(purse(4), Amount(80, 4), DAY, of_100) == Amount(70, 4)


def test_other_customers_days_and_parts_are_apart(spend: Spend) -> None:
    spend.reserve(purse(), Amount(100, 10), DAY, of_100)
    for other in (purse(customer="globex"), purse(24), purse(-1), purse(late=True)):
        assert spend.reserve(other, Amount(100, 10), DAY, of_100) == Amount(100, 10)
    assert spend.of_day(purse(23.99)) == Amount(100, 10)


def test_the_quarter_of_an_hour_is_told_apart_by_cloud(spend: Spend) -> None:
    seen: list[tuple[Mapping[str, Amount], Mapping[str, Amount]]] = []

    def look(spent: Mapping[str, Amount], lately: Mapping[str, Amount]) -> Amount:
        seen.append((spent, lately))
        return NONE

    spend.reserve(purse(1, provider="aws"), Amount(10, 1), DAY, of_100)
    spend.reserve(purse(2, provider="aws"), Amount(20, 2), DAY, of_100)
    spend.reserve(purse(2, provider="gcp"), Amount(5, 1), DAY, of_100)
    spend.reserve(purse(2), Amount(1, 1), DAY + timedelta(hours=2), look)
    assert seen[0][0] == {"aws": Amount(30, 3), "gcp": Amount(5, 1)}
    assert seen[0][1] == {"aws": Amount(20, 2), "gcp": Amount(5, 1)}


def test_runs_side_by_side_on_a_server_never_take_more_than_there_is(clickhouse_http: ClickHouseHttp) -> None:
    server = ClickHouse(clickhouse_http.url(SERVED))
    with server.session() as client:
        empty(client)
    granted: list[Amount] = []

    def take() -> None:
        granted.extend(Spend(server).reserve(purse(), Amount(30, 2), DAY, of_100) for _ in range(5))

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    taken = sum(amount.tokens for amount in granted)
    assert taken <= 100
    assert Spend(server).of_day(purse()).tokens == taken
    with server.session() as client:
        empty(client)
