"""What requests and good answers cost: rows by hand and drawn at random, against plain Python."""

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from decimal import ROUND_DOWN, Decimal
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.sql import readers
from tests.storage.test_application_readers import (
    DAY,
    FLAWLESS,
    HOUR,
    LABELS,
    METRICS,
    Q,
    Row,
    W,
    interaction,
    publish,
)
from tests.storage.test_application_readers import sample as plain_sample
from tests.support.engines import kept_open
from tests.support.samples import select

if TYPE_CHECKING:
    from datetime import datetime

    from optiinfra_dagster.storage.clickhouse import ClickHouse

GOOD = {"coherence", "relevance", "accuracy"}
NINE = Decimal("0.000000001")


def sample(population: int, window: datetime = W, *, tokens: tuple[int, int, int], price: Any, **changes: Any) -> Row:
    """A sample's row; `tokens` are requests that tell them, of prompts, of responses; `price` per million, or None."""
    counted, given, got = tokens
    details = {
        "population": population, "requests_with_tokens": counted, "input_tokens": given, "output_tokens": got,
        "input_usd_per_million": price and price[0], "output_usd_per_million": price and price[1],
    }  # fmt: skip
    return plain_sample(population, window, **changes) | {"details": json.dumps(details)}


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    """A place for all tests, each of which has customers of its own."""
    return kept_open(tmp_path_factory.mktemp("unit_cost") / "clickhouse")


def compute(clickhouse: ClickHouse) -> list[Row]:
    reader = readers()["application", "unit_cost"]
    reader_writer.compute(clickhouse, reader, [W])
    return select(clickhouse, f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}}", at=W)  # noqa: S608


def of(clickhouse: ClickHouse, customer: str) -> dict[str, Row]:
    """The customer's rows by period."""
    return {row["period"]: row for row in compute(clickhouse) if row["customer_id"] == customer}


def test_a_cost_is_that_of_all_requests_and_a_good_answer_costs_more(clickhouse: ClickHouse) -> None:
    answers = [row for n in range(3) for row in interaction(n, customer_id="usual")]
    answers += interaction(3, {"accuracy": "fair"}, customer_id="usual")
    told = sample(1000, tokens=(800, 4_000_000, 400_000), price=("2.50", "10"), customer_id="usual")
    publish(clickhouse, [*answers, told])
    row = of(clickhouse, "usual")["window"]
    assert (row["requests"], row["requests_with_tokens"], row["judged"], row["good"]) == (1000, 800, 4, 3)
    assert row["usd"] == Decimal(14)  # 4 million at 2.50 and 0.4 million at 10
    assert row["usd_per_1000"] == Decimal("17.5")
    assert row["usd_per_1000_good"] == Decimal("23.333333333")
    assert row["usd_per_1000_good_low"] < row["usd_per_1000_good"] < row["usd_per_1000_good_high"]
    assert row["unknown_because"] == ""


def test_the_share_of_good_answers_is_that_of_all_requests(clickhouse: ClickHouse) -> None:
    """5 of 6 and 5 of 600 are judged: none good, and all; a metric of somebody else's makes no answer worse."""
    name: dict[str, Any] = {"customer_id": "unequal"}
    rows = [row for n in range(5) for row in interaction(n, {"accuracy": "poor"}, W - Q, **name)]
    rows += [row for n in range(5) for row in interaction(n, FLAWLESS, W, **name)]
    rows += [row | {"metric_type": "rubric:tone", "score": 0.0} for row in interaction(1, FLAWLESS, W, **name)[:1]]
    rows += [
        sample(population, at, tokens=(1, 1_000_000, 0), price=("1", "1"), **name)
        for at, population in ((W - Q, 6), (W, 600))
    ]
    publish(clickhouse, rows)
    day = of(clickhouse, "unequal")["day"]
    assert (day["judged"], day["good"], day["good_share"]) == (10, 5, pytest.approx(600 / 606))
    assert day["good_share_low"] < 0.9 < day["good_share_high"]
    assert float(day["usd_per_1000_good"]) == pytest.approx(1000 * 606 / 600)


UNKNOWN: list[tuple[tuple[int, int, int], Any, Any, str, set[str]]] = [
    ((0, 0, 0), ("1", "1"), FLAWLESS, "no request tells its tokens", set()),
    ((1, 9, 9), None, FLAWLESS, "the customers file has no token_prices of this model", set()),
    ((1, 9, 9), ("1", "1"), "judge_failed", "no answer was judged", {"usd_per_1000"}),
    ((1, 9, 9), ("1", "1"), {"toxicity": "mild"}, "no judged answer was good", {"usd_per_1000"}),
    ((1, 9, 9), ("0", "0"), FLAWLESS, "", {"usd_per_1000", "usd_per_1000_good"}),
]


def test_what_is_not_known_is_null_and_says_why(clickhouse: ClickHouse) -> None:
    for number, (tokens, price, labels, _, _) in enumerate(UNKNOWN):
        name: dict[str, Any] = {"customer_id": f"unknown-{number}"}
        publish(clickhouse, [*interaction(1, labels, **name), sample(1, tokens=tokens, price=price, **name)])
    found = {row["customer_id"]: row for row in compute(clickhouse) if row["period"] == "window"}
    for number, (_, _, _, because, known) in enumerate(UNKNOWN):
        row = found[f"unknown-{number}"]
        assert row["unknown_because"] == because
        assert {name for name in ("usd_per_1000", "usd_per_1000_good") if row[name] is not None} == known, because


def test_an_answer_that_cannot_be_checked_for_hallucination_may_be_good(clickhouse: ClickHouse) -> None:
    name: dict[str, Any] = {"customer_id": "unchecked"}
    answers = interaction(1, {"hallucination": "not_assessable"}, **name)
    answers += interaction(2, {"hallucination": "minor"}, **name)
    publish(clickhouse, [*answers, sample(2, tokens=(2, 2, 2), price=("1", "1"), **name)])
    row = of(clickhouse, "unchecked")["window"]
    assert (row["judged"], row["good"]) == (2, 1)


def test_a_refusal_is_not_good_and_what_cannot_be_told_is_not_judged(clickhouse: ClickHouse) -> None:
    answers = [row for n in range(2) for row in interaction(n, customer_id="declines")]
    unscored: dict[str, float | None] = {"score": None}
    declined = [row | ({"label": "refusal"} | unscored if row["metric_type"] == "relevance" else {})
                for row in interaction(2, customer_id="declines")]  # fmt: skip
    untold = [row | ({"label": "cannot_tell"} | unscored if row["metric_type"] == "accuracy" else {})
              for row in interaction(3, customer_id="declines")]  # fmt: skip
    told = sample(4, tokens=(4, 400, 40), price=("2.50", "10"), customer_id="declines")
    publish(clickhouse, [*answers, *declined, *untold, told])
    found = of(clickhouse, "declines")["window"]
    assert (found["judged"], found["good"]) == (3, 2)


def test_a_price_that_changed_is_that_of_its_window(clickhouse: ClickHouse) -> None:
    name: dict[str, Any] = {"customer_id": "repriced"}
    earlier = sample(10, W - Q, tokens=(10, 1_000_000, 0), price=("1", "1"), **name)
    publish(clickhouse, [earlier, sample(10, W, tokens=(10, 1_000_000, 0), price=("3", "1"), **name)])
    rows = of(clickhouse, "repriced")
    assert (rows["window"]["usd"], rows["day"]["usd"], rows["day"]["usd_per_1000"]) == (3, 4, 200)


def test_a_share_next_to_nothing_bounds_the_cost_by_any_amount(clickhouse: ClickHouse) -> None:
    """One good answer in a window of one, and none of 5 judged in one of a million: a share of a millionth."""
    name: dict[str, Any] = {"customer_id": "rare"}
    rows = interaction(0, FLAWLESS, W - Q, **name)
    rows += [row for n in range(1, 6) for row in interaction(n, {"accuracy": "poor"}, W, **name)]
    rows += [
        sample(population, at, tokens=(population, 1000 * population, 0), price=("2.50", "10"), **name)
        for at, population in ((W - Q, 1), (W, 10**6))
    ]
    publish(clickhouse, rows)
    row = of(clickhouse, "rare")["day"]
    assert row["good_share"] == pytest.approx(1e-6, rel=1e-5)
    assert float(row["usd_per_1000_good"]) == pytest.approx(2.5e6, rel=1e-5)
    assert float(row["usd_per_1000_good_high"]) == pytest.approx(2.5 / row["good_share_low"])
    assert row["usd_per_1000_good_high"] > 10**9


def random_rows(seed: int) -> tuple[list[Row], list[Row]]:
    """Rows of four windows of two customers: those of whole slices, and of a partial one."""
    chance = random.Random(seed)  # noqa: S311
    windows = [DAY, HOUR - Q, HOUR, W]
    prices = [None, ("0.15", "0.6"), ("0.0375", "0"), ("0.000000001", "75")]
    rows: list[Row] = []
    partial: list[Row] = []
    number = 0
    for customer in (f"whole-{seed}", f"partial-{seed}"):
        for window in windows:
            its: list[Row] = []
            for model in ("m-1", "m-2"):
                if chance.random() < 0.2:
                    continue
                names: dict[str, Any] = {"customer_id": customer, "model_name": model}
                names["judge_version"] = chance.choice(("v1", "v2"))
                for _ in range(chance.randrange(6)):
                    number += 1
                    labels: Any = {m: chance.choice(list(LABELS[m])) for m in METRICS}
                    if chance.random() < 0.5:
                        labels = FLAWLESS
                    elif chance.random() < 0.2:
                        labels = chance.choice(("judge_failed", "over_budget"))
                    its += interaction(number, labels, window, **names)
                tokens = (chance.randrange(3) * 7, chance.randrange(10**9), chance.randrange(10**6))
                price = chance.choice(prices)
                its.append(sample(chance.randrange(10**6), window, tokens=tokens, price=price, **names))
            (partial if customer.startswith("partial") and window == DAY else rows).extend(its)
    return rows, partial


@pytest.mark.parametrize("seed", range(2))
def test_every_column_is_what_plain_python_says(clickhouse: ClickHouse, seed: int) -> None:
    rows, partial = random_rows(seed)
    publish(clickhouse, rows)
    publish(clickhouse, partial, SliceStatus.PARTIAL)
    found = {
        (r["period"], r["customer_id"], r["model_name"], r["judge_version"]): r
        for r in compute(clickhouse)
        if r["customer_id"].endswith(f"-{seed}") and "unknown" not in r["customer_id"]
    }
    expected = plain([*rows, *partial])
    assert found.keys() == expected.keys()
    for key, wanted in expected.items():
        row = found[key]
        assert {name: row[name] for name in wanted if not isinstance(wanted[name], float)} == {
            name: value for name, value in wanted.items() if not isinstance(value, float)
        }
        for name, value in wanted.items():
            if isinstance(value, float):
                assert float(row[name]) == pytest.approx(value, rel=1e-9, abs=2e-9), name


def plain(rows: list[Row]) -> dict[tuple[str, str, str, str], dict[str, Any]]:
    """The reader in plain Python."""
    groups: dict[tuple[str, str, str, str], list[Row]] = defaultdict(list)
    for row in rows:
        at = row["window_start"]
        for period in ("window",) * (at == W) + ("hour",) * (at >= HOUR) + ("day",):
            groups[period, row["customer_id"], row["model_name"], row["judge_version"]].append(row)
    return {key: _figures(group) for key, group in groups.items()}


def _figures(group: list[Row]) -> dict[str, Any]:
    samples = [json.loads(r["details"]) for r in group if r["metric_type"] == "sample"]
    by_interaction: dict[str, list[Row]] = defaultdict(list)
    for row in group:
        if row["metric_type"] != "sample":
            by_interaction[row["interaction_id"]].append(row)
    judged = [a for a in by_interaction.values() if all(r["score"] is not None or _of(r, "hallucination") for r in a)]
    good = [a for a in judged if all(_is_good(r) for r in a)]
    counted = [s for s in samples if s["requests_with_tokens"]]
    n, k, with_tokens = len(judged), len(good), sum(s["requests_with_tokens"] for s in samples)
    usd = of_1000 = None
    if counted and all(s["input_usd_per_million"] is not None for s in counted):
        usd = sum((_cost(s) for s in counted), Decimal(0))
        of_1000 = (usd * 1000 / with_tokens).quantize(NINE, ROUND_DOWN)
    z = 1.959963984540054
    share = low = high = effective_n = None
    if judged:
        population = {
            r["window_start"]: json.loads(r["details"])["population"] for r in group if not r["interaction_id"]
        }
        judged_of = Counter(a[0]["window_start"] for a in judged)
        weights = [max(population[a[0]["window_start"]] / judged_of[a[0]["window_start"]], 1) for a in judged]
        share = math.fsum(w for w, a in zip(weights, judged, strict=True) if a in good) / math.fsum(weights)
        effective_n = math.fsum(weights) ** 2 / math.fsum(w * w for w in weights)
        root = z * math.sqrt(share * (1 - share) * effective_n + z * z / 4)
        low = max(0.0, (share * effective_n + z * z / 2 - root) / (effective_n + z * z))
        high = min(1.0, (share * effective_n + z * z / 2 + root) / (effective_n + z * z))
    exact = None if usd is None else float(usd) * 1000 / with_tokens
    because = ""
    if not with_tokens:
        because = "no request tells its tokens"
    elif usd is None:
        because = "the customers file has no token_prices of this model"
    elif not n:
        because = "no answer was judged"
    elif not k:
        because = "no judged answer was good"
    return {
        "application_name": max((r["application_name"] for r in group), default=""),
        "requests": sum(s["population"] for s in samples),
        "requests_with_tokens": with_tokens,
        "input_tokens": sum(s["input_tokens"] for s in samples) if with_tokens else None,
        "output_tokens": sum(s["output_tokens"] for s in samples) if with_tokens else None,
        "usd": usd, "usd_per_1000": of_1000, "judged": n, "good": k,
        "effective_n": effective_n, "good_share": share, "good_share_low": low, "good_share_high": high,
        "usd_per_1000_good": exact / share if exact is not None and share else None,
        "usd_per_1000_good_low": exact / high if exact is not None and high else None,
        "usd_per_1000_good_high": exact / low if exact is not None and low else None,
        "unknown_because": because,
        "as_of": max(r["window_start"] for r in group),
        "complete": not any(r["customer_id"].startswith("partial") and r["window_start"] == DAY for r in group),
    }  # fmt: skip


def _cost(details: dict[str, Any]) -> Decimal:
    given = details["input_tokens"] * Decimal(details["input_usd_per_million"])
    got = details["output_tokens"] * Decimal(details["output_usd_per_million"])
    cost: Decimal = (given + got) / 1_000_000
    return cost.quantize(Decimal("1e-15"), ROUND_DOWN)


def _of(row: Row, metric: str) -> bool:
    return bool(row["metric_type"] == metric and row["label"] == "not_assessable")


def _is_good(row: Row) -> bool:
    if row["metric_type"] in GOOD:
        return bool(row["label"] in {"good", "excellent"})
    return bool(row["label"] in {"none", "not_assessable"})
