"""What the ledger's views and queries answer, beside plain Python on the same attempts, drawn at random."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import count
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.slices import SliceKey, SliceStatus
from optiinfra_dagster.storage import ledger
from tests.support.samples import W, select, windows_from

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from optiinfra_dagster.storage.clickhouse import ClickHouse

SPAN = windows_from(W, 4)
CUSTOMERS = ("acme", "globex", "initech")
DATASETS = ("resource", "performance", "cost_billed")
READERS = ("resource_summary", "cost_waste")
RUNS = ("run-1", "run-2", "run-3")
NOW = datetime.now(UTC).replace(microsecond=0)


@dataclass(frozen=True)
class Attempt:
    """A row of the ledger."""

    dataset: str
    customer_id: str
    provider: str
    window_start: datetime
    batch: int
    rows: int
    content_hash: int
    status: str
    permanent: bool
    error: str
    api_calls: int
    api_cost_usd: Decimal
    run_id: str
    published_at: datetime

    @property
    def slice(self) -> tuple[str, str, str, datetime]:
        return self.dataset, self.customer_id, self.provider, self.window_start

    @property
    def published(self) -> bool:
        return self.status in {"ok", "partial"}


def drawn(random: Random) -> list[Attempt]:
    """Attempts at some slices; batches and times grow, but not always alike: a clock may go backwards."""
    slices = [(d, c, p, w) for d in DATASETS for c in CUSTOMERS for p in ("aws", "gcp") for w in SPAN]
    slices += [(reader, "", "", w) for reader in READERS for w in SPAN]
    attempts: list[Attempt] = []
    numbers = count(1)
    for place in random.choices(slices, k=250):
        earlier = [a for a in attempts if a.slice == place and a.published]
        at = NOW - timedelta(seconds=next(numbers) + random.choice((0, 0, 0, 600)))
        if earlier and random.random() < 0.2:  # the published content again: the same batch
            newest = max(earlier, key=lambda a: (a.batch, a.published_at))
            newer = max(a.published_at for a in earlier if a.batch == newest.batch) + timedelta(seconds=0.5)
            attempts.append(replace(newest, api_calls=3, run_id=random.choice(RUNS), published_at=newer))
            continue
        status = "ok" if place[0] in READERS else random.choice([*SliceStatus]).value
        attempts.append(
            Attempt(
                *place,
                batch=random.randrange(10**6) * 1000 + next(numbers),
                rows=random.randrange(50) if status in {"ok", "partial"} else 0,
                content_hash=random.getrandbits(64),
                status=status,
                permanent=random.random() < 0.5,
                error="" if status == "ok" or random.random() < 0.2 else f"error {next(numbers)}",
                api_calls=random.randrange(9),
                api_cost_usd=Decimal(random.randrange(999)) / 1000,
                run_id=random.choice(RUNS),
                published_at=at,
            )
        )
    return attempts


def insert(clickhouse: ClickHouse, attempts: Iterable[Attempt]) -> None:
    names = list(Attempt.__dataclass_fields__)
    with clickhouse.session() as client:
        client.insert("metric_batches", [[getattr(a, n) for n in names] for a in attempts], column_names=names)


Slices = dict[tuple[str, str, str, datetime], list[Attempt]]


def by_slice(attempts: Iterable[Attempt]) -> Slices:
    slices = defaultdict(list)
    for attempt in attempts:
        slices[attempt.slice].append(attempt)
    return dict(slices)


def newest_attempt(attempts: list[Attempt]) -> Attempt:
    return max(attempts, key=lambda a: (a.published_at, a.batch))


def newest_batch(attempts: list[Attempt]) -> Attempt | None:
    return max((a for a in attempts if a.published), key=lambda a: (a.batch, a.published_at), default=None)


def answer(clickhouse: ClickHouse, ask: Callable[..., Any], *arguments: Any) -> Any:
    with clickhouse.session() as client:
        return ask(client, *arguments)


@pytest.fixture(params=range(3))
def attempts(request: pytest.FixtureRequest, chdb: ClickHouse) -> list[Attempt]:
    attempts = drawn(Random(request.param))  # noqa: S311 - data of a test
    insert(chdb, attempts)
    return attempts


@pytest.fixture
def chdb(chdb_url: str) -> Any:
    from optiinfra_dagster.storage.clickhouse import ClickHouse

    clickhouse = ClickHouse(chdb_url, lock_timeout=30)
    with clickhouse.session():
        yield clickhouse


def test_the_views_and_the_questions_are_answered_as_plain_python_does(
    chdb: ClickHouse, attempts: list[Attempt]
) -> None:
    slices = by_slice(attempts)

    columns = "dataset, customer_id, provider, window_start"
    newest = {
        (*key, a.status, a.error, a.permanent, a.rows, any(s.status == "ok" for s in tries),
         any(s.published for s in tries))
        for key, tries in slices.items() for a in [newest_attempt(tries)]
    }  # fmt: skip
    view = select(
        chdb,
        f"SELECT {columns}, toString(status), error, permanent, rows, complete, published FROM newest_attempts",  # noqa: S608
    )
    assert len(view) == len(newest)
    assert {tuple(row.values()) for row in view} == newest

    newest_batches = {key: batch for key, tries in slices.items() if (batch := newest_batch(tries))}
    published = {
        (*key, a.batch, a.status, a.rows, a.content_hash, a.error, a.permanent) for key, a in newest_batches.items()
    }
    view = select(
        chdb,
        f"SELECT {columns}, batch, toString(status), rows, content_hash, error, permanent FROM published_slices",  # noqa: S608
    )
    assert len(view) == len(published)
    assert {tuple(row.values()) for row in view} == published

    assert answer(chdb, ledger.published, "performance", SPAN[1:3], ["acme", "globex"]) == {
        SliceKey(customer, provider, window): ledger.PublishedBatch(
            a.batch, SliceStatus(a.status), a.rows, a.content_hash, a.error, a.permanent
        )
        for (dataset, customer, provider, window), a in newest_batches.items()
        if dataset == "performance" and customer != "initech" and window in SPAN[1:3]
    }

    lacking: dict[tuple[str, ...], list[Attempt]] = defaultdict(list)
    for tries in slices.values():
        a = newest_attempt(tries)
        if a.customer_id and a.status in {"failed", "partial", "budget"} and a.window_start < SPAN[3]:
            lacking[a.customer_id, a.provider, a.dataset, a.status].append(a)
    assert answer(chdb, ledger.unfinished, CUSTOMERS, SPAN[0], SPAN[2]) == [
        (*key, len(of_key), max(of_key, key=lambda a: a.window_start).error) for key, of_key in sorted(lacking.items())
    ]

    excused = (SliceStatus.NOT_DUE, SliceStatus.BUDGET)
    states: dict[str, dict[str, list[Attempt]]] = defaultdict(lambda: defaultdict(list))
    for tries in slices.values():
        a = newest_attempt(tries)
        if (a.dataset, a.provider) == ("performance", "aws"):
            state = (
                "in" if any(s.status == "ok" for s in tries) or a.status in excused
                else "partial" if any(s.status == "partial" for s in tries) else "failed"
            )  # fmt: skip
            states[a.customer_id][state].append(a)
    expected = {}
    for customer, of_state in states.items():
        errors = {a.window_start: a.error for a in of_state["partial"] + of_state["failed"] if a.error}
        helpless = sum(a.permanent for a in of_state["failed"])
        expected[customer] = ledger.SliceStates(
            len(of_state["in"]), len(of_state["partial"]), helpless, errors[max(errors)] if errors else ""
        )
    assert answer(chdb, ledger.slice_states, "performance", "aws", SPAN, excused) == expected

    stopped = sorted(
        (a.customer_id, a.window_start, a.dataset, a.error)
        for tries in slices.values()
        if (a := newest_attempt(tries)).status == "budget" and a.provider == "gcp"
    )
    assert answer(chdb, ledger.stopped_by_budget, "gcp", SPAN) == {customer: error for customer, *_, error in stopped}


def test_totals_and_windows_are_what_plain_python_adds_up(chdb: ClickHouse, attempts: list[Attempt]) -> None:
    slices = by_slice(attempts)
    first, last, runs = SPAN[0], SPAN[2], RUNS[:2]

    totals: dict[tuple[str, str], list[Any]] = defaultdict(lambda: [0, set(), set(), 0, Decimal(0)])
    for (dataset, customer, provider, window), tries in slices.items():
        if not customer or not first <= window <= last:
            continue
        total = totals[provider, dataset]
        if whole := newest_batch(tries):
            total[0] += whole.rows
            total[1].add(customer)
            total[2].add(window)
        total[3] += sum(a.api_calls for a in tries if a.run_id in runs)
        total[4] += sum(a.api_cost_usd for a in tries if a.run_id in runs)
    assert answer(chdb, ledger.run_totals, CUSTOMERS, first, last, runs) == {
        key: ledger.RunTotals(rows, len(customers), len(its_windows), calls, usd)
        for key, (rows, customers, its_windows, calls, usd) in totals.items()
    }

    bills: dict[str, list[Attempt]] = defaultdict(list)
    for a in attempts:
        if a.dataset == "cost_billed" and a.run_id in runs and a.published:
            bills[a.provider].append(a)
    assert answer(chdb, ledger.billed_days, runs) == {
        provider: (sum(a.rows for a in days), len({a.customer_id for a in days}), len({a.window_start for a in days}))
        for provider, days in bills.items()
    }

    newest_batches = {key: batch for key, tries in slices.items() if (batch := newest_batch(tries))}
    assert answer(chdb, ledger.reader_rows, SPAN[:2]) == {
        (dataset, window): a.rows
        for (dataset, customer, _, window), a in newest_batches.items()
        if not customer and window in SPAN[:2]
    }

    inventories: dict[str, set[datetime]] = defaultdict(set)
    tried: dict[tuple[str, str], set[datetime]] = defaultdict(set)
    for (dataset, customer, provider, window), tries in slices.items():
        if (dataset, provider) == ("resource", "aws") and newest_batch(tries):
            inventories[customer].add(window)
        if dataset == "resource" and window > SPAN[0] and any(a.published or a.status == "failed" for a in tries):
            tried[customer, provider].add(window)
    assert answer(chdb, ledger.inventory_windows, "aws", CUSTOMERS, SPAN[1], SPAN[0]) == {
        customer: (max((w for w in listed if w <= SPAN[1]), default=None), min(listed))
        for customer, listed in inventories.items()
    }
    assert answer(chdb, ledger.newest_tried, "resource", CUSTOMERS, SPAN[0]) == {
        owner: max(its_windows) for owner, its_windows in tried.items()
    }
