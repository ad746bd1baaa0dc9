"""How far two judges agree, by the reader's SQL over rows drawn at random, against plain Python."""

# ruff: noqa: S311 - worlds are drawn, not secrets

from __future__ import annotations

import math
import random
from collections import defaultdict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.slices import SliceStatus
from optiinfra_dagster.quality.statistics import weighted_kappa, wilson
from optiinfra_dagster.storage import reader_writer
from optiinfra_dagster.storage.sql import readers
from tests.storage.test_application_readers import Row, interaction, publish, row, sample
from tests.support.engines import kept_open
from tests.support.samples import W, select

if TYPE_CHECKING:
    from collections.abc import Sequence

    from optiinfra_dagster.storage.clickhouse import ClickHouse

Q = timedelta(minutes=15)


@pytest.fixture(scope="module")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> ClickHouse:
    return kept_open(tmp_path_factory.mktemp("agreement") / "clickhouse")


def second(number: int, first: float | None, score: float | None, window: datetime = W, **changes: Any) -> Row:
    """The row of a second judge's score beside the first's."""
    facts = {
        "timestamp": window, "customer_id": "acme", "provider": "aws", "application_id": "chat",
        "application_name": "Chat", "model_name": "m-1", "judge_model": "judge-2", "judge_version": "v2",
        "metric_type": "second:coherence", "label": "judge_failed" if score is None else "", "score": score,
        "details": {"first": first, "first_model": "judge-1", "first_version": "v1"},
    }  # fmt: skip
    return row(**facts | changes, interaction_id=f"i-{number}")


def compute(clickhouse: ClickHouse, window: datetime = W) -> list[Row]:
    reader = readers()["application", "agreement"]
    reader_writer.compute(clickhouse, reader, [window])
    sql = f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL"  # noqa: S608
    return select(clickhouse, sql, at=window)


def interval(pairs: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """Kappa's interval by the jackknife, which knows nothing of derivatives."""
    n = len(pairs)
    whole = kappa_of(pairs)
    if whole is None or n < 10 or all(a == b for a, b in pairs):
        return None
    left_out = [kappa_of([*pairs[:i], *pairs[i + 1 :]]) for i in range(n)]
    known = [one for one in left_out if one is not None]
    mean = sum(known) / len(known)
    half = 1.96 * math.sqrt((n - 1) / n * sum((one - mean) ** 2 for one in known))
    return max(-1.0, whole - half), min(1.0, whole + half)


def kappa_of(pairs: Sequence[tuple[float, float]]) -> float | None:
    return weighted_kappa([round(4 * a) for a, _ in pairs], [round(4 * b) for _, b in pairs])


def test_agreement_is_that_of_plain_python_by_window_and_day(clickhouse: ClickHouse) -> None:
    generator = random.Random(7)
    rows: list[Row] = []
    expected: dict[tuple[str, str, str], list[tuple[float, float]]] = defaultdict(list)
    failed: dict[tuple[str, str, str], int] = defaultdict(int)
    for window, periods in ((W, ("window", "day")), (W - 3 * Q, ("day",)), (W - timedelta(days=1), ())):
        for n in range(600):
            metric, application = generator.choice(["coherence", "toxicity"]), generator.choice(["chat", "search"])
            first = generator.choice([0.0, 0.25, 0.5, 0.75, 1.0, None])
            near = [first, first, *(x for x in (0.0, 0.25, 0.5, 0.75, 1.0) if first is not None)]
            score = generator.choice([*near, None])
            changes = {"metric_type": f"second:{metric}", "application_id": application, "customer_id": "drawn"}
            rows.append(second(n, first, score, window, **changes))
            for period in periods:
                key = (period, application, metric)
                failed[key] += score is None
                if first is not None and score is not None:
                    expected[key].append((first, score))
    publish(clickhouse, rows)
    found = {(r["period"], r["application_id"], r["metric_type"]): r for r in compute(clickhouse)
             if r["customer_id"] == "drawn"}  # fmt: skip
    assert found.keys() == expected.keys()
    for key, of in found.items():
        pairs = expected[key]
        equal = sum(a == b for a, b in pairs)
        shares = wilson(equal / len(pairs), len(pairs))
        assert shares is not None
        assert (of["n"], of["failures"]) == (len(pairs), failed[key])
        assert of["kappa"] == pytest.approx(kappa_of(pairs))
        assert (of["kappa_low"], of["kappa_high"]) == pytest.approx(interval(pairs), abs=0.02)
        assert of["agreement"] == pytest.approx(equal / len(pairs))
        assert (of["agreement_low"], of["agreement_high"]) == pytest.approx((shares.low, shares.high))
        assert of["first_mean"] == pytest.approx(sum(a for a, _ in pairs) / len(pairs))
        assert of["second_mean"] == pytest.approx(sum(b for _, b in pairs) / len(pairs))
        judges = (of["judge_model"], of["judge_version"], of["second_model"], of["second_version"])
        assert judges == ("judge-1", "v1", "judge-2", "v2")


@pytest.mark.parametrize(
    ("pairs", "kappa", "agreement"),
    [
        ([(0.5, 0.5)] * 4, None, 1.0),  # nothing varies
        ([(0.0, 0.0), (1.0, 1.0)] * 5, 1.0, 1.0),
        ([(0.0, 1.0), (1.0, 0.0)] * 5, -1.0, 0.0),
        ([(0.5, None)] * 3, None, None),
        ([(None, 0.5)], None, None),
    ],
    ids=str,
)
def test_what_is_not_defined_is_null(
    clickhouse: ClickHouse,
    pairs: list[tuple[float | None, float | None]],
    kappa: float | None,
    agreement: float | None,
) -> None:
    customer = f"c{abs(hash(str(pairs)))}"
    publish(clickhouse, [second(n, a, b, customer_id=customer) for n, (a, b) in enumerate(pairs)])
    for of in (r for r in compute(clickhouse) if r["customer_id"] == customer):
        assert (of["kappa"], of["agreement"]) == (kappa if kappa is None else pytest.approx(kappa), agreement)
        assert of["n"] == sum(None not in pair for pair in pairs)
        if agreement in {1.0, None}:
            assert (of["kappa_low"], of["kappa_high"]) == (None, None)


def test_an_incomplete_window_is_said_to_be_one(clickhouse: ClickHouse) -> None:
    publish(clickhouse, [second(1, 0.5, 0.5, customer_id="torn")], SliceStatus.PARTIAL)
    assert {r["complete"] for r in compute(clickhouse) if r["customer_id"] == "torn"} == {False}


def test_kappas_interval_holds_the_truth_in_95_of_100_samples(clickhouse: ClickHouse) -> None:
    """200 samples of 60 pairs, the second one grade off in 30 %: 95 % give or take three standard errors."""
    generator = random.Random(3)
    grades = [0.0, 0.25, 0.5, 0.75, 1.0]

    def pair() -> tuple[float, float]:
        at = generator.choices(range(5), [1, 1, 2, 4, 4])[0]
        other = min(4, max(0, at + generator.choice([-1, 1]))) if generator.random() < 0.3 else at
        return grades[at], grades[other]

    truth = kappa_of([pair() for _ in range(100_000)])
    assert truth is not None
    rows = [second(n, *pair(), customer_id="covered", application_id=f"a-{group}") for group in range(200)
            for n in range(60)]  # fmt: skip
    publish(clickhouse, rows)
    found = [r for r in compute(clickhouse) if r["customer_id"] == "covered" and r["period"] == "window"]
    assert len(found) == 200
    held = sum(r["kappa_low"] <= truth <= r["kappa_high"] for r in found) / len(found)
    assert 0.90 <= held <= 1.0


def test_rows_of_a_second_judge_change_no_other_reader(clickhouse: ClickHouse) -> None:
    names = ("quality", "hallucinations", "toxicity", "summary", "unit_cost")

    def others() -> dict[str, list[Row]]:
        found = {}
        for name in names:
            reader = readers()["application", name]
            reader_writer.compute(clickhouse, reader, [W])
            sql = f"SELECT * FROM {reader.view} WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL"  # noqa: S608
            found[name] = [r for r in select(clickhouse, sql, at=W) if r["customer_id"] == "alone"]
        return found

    rows = [one for n in range(3) for one in interaction(n, window=W, customer_id="alone")]
    rows.append(sample(40, W, tokens=1000, usd="0.01", customer_id="alone"))
    publish(clickhouse, rows)
    before = others()
    assert all(before.values())
    publish(clickhouse, [*rows, *(second(n, 1.0, 0.25, customer_id="alone") for n in range(3))])
    assert others() == before
