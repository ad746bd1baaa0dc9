"""The readers of retrieval, of answers by rules and of customers' own rubrics, against plain Python."""

from __future__ import annotations

import json
import random
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.quality import statistics
from optiinfra_dagster.storage.clickhouse import ClickHouse
from tests.storage.test_application_readers import W, compute, only, publish, row, sample
from tests.support.engines import copy_migrated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

Q = timedelta(minutes=15)
READERS = ("rag", "answers", "rubrics")
Row = dict[str, Any]


@pytest.fixture
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    clickhouse = ClickHouse(f"chdb://{copy_migrated(tmp_path_factory.mktemp('readers') / 'clickhouse')}")
    with clickhouse.session():
        yield clickhouse


def one(n: int, metric: str, score: float | None, label: str, window: datetime = W, **changes: Any) -> Row:
    """A row of an interaction of the chat application."""
    facts = {
        "timestamp": window, "customer_id": "acme", "provider": "aws", "application_id": "chat",
        "application_name": "Chat", "model_name": "m-1", "judge_model": "judge", "judge_version": "v1",
        "interaction_id": f"i-{n}", "metric_type": metric, "score": score, "label": label, "details": {},
    }  # fmt: skip
    return row(**{**facts, **changes})


def test_retrieval_has_a_mean_of_what_has_a_score_and_counts_of_the_rest(clickhouse: ClickHouse) -> None:
    claims = {"claims_checked": 4, "unsupported_claims": 3}
    rows = [
        one(0, "groundedness", 0.25, "part", details=claims),
        one(1, "groundedness", 1.0, "all", details={"claims_checked": 2, "unsupported_claims": 0}),
        one(2, "groundedness", None, "not_assessable"),
        one(3, "groundedness", None, "judge_failed"),
        one(0, "context_precision", None, "cannot_tell"),
        one(1, "context_precision", 0.0, "none"),
        sample(4),
    ]
    publish(clickhouse, rows)
    found = compute(clickhouse, "rag")["rag"]
    grounded = only(found, metric_type="groundedness", period="window")
    assert (grounded["n"], grounded["sampled"], grounded["population"], grounded["mean"]) == (2, 4, 4, 0.625)
    assert (grounded["perfect"], grounded["nothing"], grounded["not_assessable"], grounded["failures"]) == (1, 0, 1, 1)
    assert (grounded["claims_checked"], grounded["unsupported_claims"]) == (6, 3)
    assert grounded["low"] < 0.625 < grounded["high"]
    precision = only(found, metric_type="context_precision", period="day")
    assert (precision["n"], precision["mean"], precision["nothing"], precision["cannot_tell"]) == (1, 0.0, 1, 1)
    recall = only(found, metric_type="context_recall", period="window")
    assert (recall["n"], recall["mean"], recall["low"], recall["high"]) == (0, None, None, None)


def test_rules_have_rates_with_intervals_and_what_was_switched_off_has_none(clickhouse: ClickHouse) -> None:
    rows: list[Row] = [sample(10)]
    for n in range(10):
        kinds = {"category": "email" if n else "card+email"} if n < 2 else {}
        rows += [
            one(n, "refusal", float(n < 3), "refusal" if n < 3 else "none"),
            one(n, "pii", float(n < 2), "found" if n < 2 else "none", details=kinds),
            one(n, "empty", 0.0, "none"),
            one(n, "language", float(n == 0) if n < 8 else None, "de" if n == 0 else "en" if n < 8 else "unknown"),
            one(n, "relevance", None if n < 4 else 1.0, "refusal" if n < 4 else "excellent"),
            one(n, "accuracy", None if n < 5 else 1.0, "cannot_tell" if n < 5 else "excellent"),
        ]
    publish(clickhouse, rows)
    found = only(compute(clickhouse, "answers")["answers"], period="window")
    assert (found["n"], found["population"], found["refusal_rate"], found["pii_rate"]) == (10, 10, 0.3, 0.2)
    assert found["other_language_rate"] == pytest.approx(1 / 8)
    assert (found["empty_rate"], found["too_long_rate"]) == (0.0, None)
    assert json.loads(found["pii_kinds"]) == {"card+email": 1, "email": 1}
    assert json.loads(found["languages"]) == {"de": 1, "en": 7, "unknown": 2}
    assert (found["judged_refusals"], found["cannot_tell"]) == (4, 5)
    interval = statistics.wilson(0.3, 10)
    assert interval is not None
    assert (found["refusal_low"], found["refusal_high"]) == pytest.approx((interval.low, interval.high))


def test_rubrics_stand_for_all_interactions_each_version_for_itself(clickhouse: ClickHouse) -> None:
    """Windows drawn at random, whose figures are computed a second time here."""
    rng = random.Random(4)  # noqa: S311 - a world
    rows: list[Row] = []
    windows = [W - Q * n for n in range(3)]
    kept: dict[str, list[tuple[datetime, float | None, str]]] = {"v1-aaaa": [], "v1-bbbb": []}
    populations = {}
    for window in windows:
        populations[window] = rng.randrange(20, 400)
        rows.append(sample(populations[window], window))
        for version, scores in kept.items():
            for n in range(rng.randrange(4, 9)):
                label = rng.choice(["1", "3", "5", "5", "cannot_tell", "judge_failed"])
                score = (int(label) - 1) / 4 if label.isdecimal() else None
                scores.append((window, score, label))
                changes = {"judge_version": version, "details": {"direction": "higher_is_worse"}}
                rows.append(one(n, "rubric:tone", score, label, window, **changes))
    publish(clickhouse, rows)
    found = compute(clickhouse, "rubrics")["rubrics"]
    for version, scores in kept.items():
        for period, since in (("window", W), ("day", windows[-1])):
            some = [one for one in scores if one[0] >= since]
            answered = Counter(window for window, _, label in some if label != "judge_failed")
            weights = [(populations[w] / answered[w], score) for w, score, _ in some if score is not None]
            total = sum(weight for weight, _ in weights)
            mean = sum(weight * score for weight, score in weights) / total
            effective = total**2 / sum(weight**2 for weight, _ in weights)
            of = only(found, judge_version=version, period=period)
            assert (of["rubric"], of["direction"]) == ("tone", "higher_is_worse")
            assert (of["n"], of["sampled"]) == (len(weights), len(some))
            assert of["population"] == sum(populations[w] for w in windows if w >= since)
            assert (of["mean"], of["effective_n"]) == pytest.approx((mean, effective))
            assert 0 <= of["low"] < mean < of["high"] <= 1
            assert json.loads(of["labels"]) == Counter(label for _, _, label in some)
            assert of["cannot_tell"] == sum(label == "cannot_tell" for _, _, label in some)


def test_a_rubric_without_a_score_has_no_mean(clickhouse: ClickHouse) -> None:
    rows = [
        one(n, "rubric:tone", None, label, judge_version="v1-a")
        for n, label in enumerate(("judge_failed", "cannot_tell"))
    ]
    publish(clickhouse, [sample(40), *rows])
    found = only(compute(clickhouse, "rubrics")["rubrics"], period="window")
    assert (found["n"], found["population"], found["failures"], found["cannot_tell"]) == (0, 40, 1, 1)
    assert (found["mean"], found["low"], found["high"], found["effective_n"]) == (None, None, None, None)


def test_without_rows_there_is_nothing(clickhouse: ClickHouse) -> None:
    assert compute(clickhouse, *READERS) == {"rag": [], "answers": [], "rubrics": []}
