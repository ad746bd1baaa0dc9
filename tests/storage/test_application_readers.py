"""The application readers' SQL over rows by hand and drawn at random, against plain Python."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import json
import math
import random
from collections import Counter, defaultdict
from datetime import datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.model.text import to_json
from optiinfra_dagster.quality import statistics
from optiinfra_dagster.storage import arrow, migrations, reader_writer, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.sql import readers as readers_of_all
from optiinfra_dagster.storage.writer import Writer
from tests.support import samples
from tests.support.engines import copy_migrated
from tests.support.samples import BORDER, EARLY, LATE, select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


Q = timedelta(minutes=15)
D = timedelta(days=1)
W = samples.W + 2 * Q  # so that its hour has windows before it
DAY = W.replace(hour=0, minute=0)
HOUR = W.replace(minute=0)
READERS = ("quality", "hallucinations", "toxicity", "summary")
QUALITY = ("coherence", "relevance", "accuracy")
METRICS = (*QUALITY, "hallucination", "toxicity")
LABELS: dict[str, dict[str, float | None]] = {
    **{name: {"very_poor": 0.0, "poor": 0.25, "fair": 0.5, "good": 0.75, "excellent": 1.0} for name in QUALITY},
    "hallucination": {"none": 0.0, "minor": 0.5, "major": 1.0, "not_assessable": None},
    "toxicity": {"none": 0.0, "mild": 1 / 3, "moderate": 2 / 3, "severe": 1.0},
}
FLAWLESS = dict.fromkeys(QUALITY, "excellent") | dict.fromkeys(("hallucination", "toxicity"), "none")

Row = dict[str, Any]
Found = dict[str, list[Row]]  # reader -> rows


def interaction(
    number: int, labels: dict[str, str] | str = FLAWLESS, window: datetime = W, **changes: Any
) -> list[Row]:
    """The five rows of a judged interaction; `labels` is one label for all where the judge gave no verdict."""
    facts = {
        "timestamp": window, "customer_id": "acme", "provider": "aws", "application_id": "chat",
        "application_name": "Chat", "model_name": "m-1", "judge_model": "judge", "judge_version": "v1", "tokens": 1500,
    }  # fmt: skip
    details = {
        name: changes.pop(name) for name in ("category", "claims_checked", "unsupported_claims") if name in changes
    }
    own = changes.pop("self_preference", False)
    of_metric = {m: labels if isinstance(labels, str) else (FLAWLESS | labels)[m] for m in METRICS}
    return [
        row(
            **facts | changes,
            interaction_id=f"i-{number}", metric_type=metric, label=label, score=LABELS[metric].get(label),
            details={"self_preference": own, **details}, metadata={"usd": "0.000360000"},
        )
        for metric, label in of_metric.items()
    ]  # fmt: skip


def sample(population: int, window: datetime = W, *, tokens: int = 0, usd: str | None = "0", **changes: Any) -> Row:
    """The row that says how many interactions a sample was drawn from, and what judging it took."""
    facts = {
        "timestamp": window, "customer_id": "acme", "provider": "aws", "application_id": "chat",
        "application_name": "Chat", "model_name": "m-1", "judge_model": "judge", "judge_version": "v1",
        "metric_type": "sample", "details": {"population": population, "tokens": tokens, "usd": usd},
    }  # fmt: skip
    return row(**facts | changes)


def row(**values: Any) -> Row:
    """A row of the table; what is not given is empty."""
    empty: Row = {field.name: "" for field in schema.APPLICATION.schema} | {"score": None, "tokens": 0}
    found = empty | {"collected_at": EARLY, "window_start": values["timestamp"]} | values
    return found | {name: to_json(found[name] or {}) for name in ("details", "metadata")}


def publish(clickhouse: ClickHouse, rows: Iterable[Row], status: SliceStatus = SliceStatus.OK) -> None:
    """Publish rows, each in its slice."""
    of_slice: dict[tuple[str, str, datetime], list[Row]] = defaultdict(list)
    for one in rows:
        of_slice[one["customer_id"], one["provider"], one["window_start"]].append(one)
    batch = []
    for (customer, provider, window), its_rows in of_slice.items():
        table = arrow.conform(schema.APPLICATION, pa.Table.from_pylist(its_rows, schema.APPLICATION.schema))
        batch.append(SliceResult(customer, provider, [window], status, rows=table))
    Writer(clickhouse, schema.APPLICATION).flush(batch)


def compute(clickhouse: ClickHouse, *readers: str, window: datetime = W) -> Found:
    """What readers publish for a window, by default all of them."""
    found: Found = {}
    for reader in readers or READERS:
        reader_writer.compute(clickhouse, readers_of_all()["application", reader], [window])
        sql = f"SELECT * FROM application_{reader}_current WHERE window_start = {{at:DateTime('UTC')}} ORDER BY ALL"
        found[reader] = select(clickhouse, sql, at=window)
    return found


def of(found: Found, customer: str) -> Found:
    """What the readers say of one customer."""
    return {reader: [row for row in rows if row["customer_id"] == customer] for reader, rows in found.items()}


def reader_of(metric: str) -> str:
    return {"hallucination": "hallucinations", "toxicity": "toxicity"}.get(metric, "quality")


def only(rows: Sequence[Row], **wanted: Any) -> Row:
    """The one row with these values."""
    [found] = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    return found


# --- By hand ---------------------------------------------------------------------------------------------------------

WORSE = {
    "coherence": "poor", "relevance": "poor", "accuracy": "very_poor", "hallucination": "major", "toxicity": "moderate",
}  # fmt: skip
GOOD: dict[str, str] = {}


def many(count: int, labels: dict[str, str] | str, window: datetime, **changes: Any) -> list[Row]:
    return [one for i in range(count) for one in interaction(i, labels, window, **changes)]


def cases() -> dict[str, list[Row]]:
    """The rows of each customer that a test below tells of."""
    mixed = {"coherence": "poor", "hallucination": "not_assessable", "toxicity": "severe"}
    return {
        "by hand": [
            *interaction(1, {"coherence": "good", "hallucination": "minor"}, unsupported_claims=1, claims_checked=4),
            *interaction(2, mixed, category="hate"),
            *interaction(3, "judge_failed"),
            *interaction(4, "over_budget"),
            sample(1000, tokens=3200, usd="0.000820000"),
            *interaction(5, {"toxicity": "mild"}, W - Q, category="insult"),
            sample(500, W - Q, tokens=1500, usd="0.000360000"),
        ],
        "nobody judged": [*interaction(1, "judge_failed"), sample(70), sample(30, model_name="unsampled")],
        "two judges": [
            *interaction(1, {"coherence": "very_poor"}, W - Q, judge_version="v0"),
            sample(10, W - Q, judge_version="v0"),
            *interaction(2),
            sample(20),
        ],
        "price unknown": [
            *interaction(1),
            sample(1, usd="0.5"),
            *interaction(2, window=W - Q),
            sample(1, W - Q, usd=None),
        ],
        "own model": [*interaction(1, self_preference=True), *interaction(2, model_name="other"), sample(1)],
        "window failed": [*interaction(1, window=W - Q), sample(5, W - Q)],
        "incomplete": [*interaction(1), *interaction(2, window=W - Q)],
        "unequal windows": [
            *many(5, WORSE, W - Q),
            sample(6, W - Q),
            *many(5, GOOD, W),
            sample(600),
        ],
        "not assessable": [
            *many(4, {"hallucination": "not_assessable"}, W - Q),
            *many(1, {"hallucination": "major"}, W - Q),
            sample(100, W - Q),
            *many(5, GOOD, W),
            sample(100),
        ],
        "no verdicts": [
            *interaction(1, WORSE, W - Q),
            *many(3, "judge_failed", W - Q),
            *many(2, "over_budget", W - Q),
            sample(300, W - Q),
            *many(6, GOOD, W),
            sample(100),
        ],
        "hour": [
            *many(1, GOOD, HOUR - Q),
            sample(1, HOUR - Q),
            *many(1, WORSE, HOUR),
            sample(1, HOUR),
            *many(1, GOOD, W),
            sample(1),
        ],
        "last week": [
            *many(1, WORSE, DAY - 7 * D - Q),
            sample(1000, DAY - 7 * D - Q),  # the week has not begun
            *many(2, WORSE, DAY - 7 * D),
            sample(10, DAY - 7 * D),
            *many(2, GOOD, DAY - Q),
            sample(990, DAY - Q),
            *many(2, GOOD, DAY - Q, judge_version="v0"),
            *many(2, GOOD, DAY - Q, model_name="m-2"),
            *many(9, WORSE, W - Q),
            *many(9, WORSE, W),
        ],
        "second judge": [
            *many(6, GOOD, W),
            sample(600),
            *many(2, WORSE, W, judge_version="second"),
            *many(4, GOOD, W - Q, judge_version="second"),
        ],
        "golden": [
            *many(6, {"hallucination": "minor", "toxicity": "mild"}, W, judge_version="golden-1"),
            *many(4, GOOD, W, judge_version="golden-1"),
            *many(2, {"toxicity": "mild"}, W, judge_version="golden-2"),
            *many(3, {"toxicity": "mild", "hallucination": "not_assessable"}, W, judge_version="golden-3"),
        ],
    }


GOLDEN = [
    ["golden-1", "hallucination", 40, 0.9, 60, 0.8, EARLY],
    ["golden-1", "toxicity", 10, 0.1, 10, 0.2, EARLY],
    ["golden-1", "toxicity", 20, 0.75, 50, 0.5, LATE],  # the newest counts
    ["golden-2", "toxicity", 10, 0.5, 10, 0.5, LATE],  # no better than chance
    ["golden-2", "hallucination", 0, None, 10, 0.9, LATE],
    ["golden-3", "hallucination", 5, 0.8, 0, None, LATE],
    ["golden-3", "toxicity", 5, 1.0, 5, 0.9, LATE],
]


@pytest.fixture(scope="module", params=["chdb", "http"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What the readers say of every customer, on both transports; computed once, since every case is a customer."""
    if request.param == "chdb":
        folder = tmp_path_factory.mktemp("application") / "clickhouse"
        copy_migrated(folder)
        clickhouse = ClickHouse(f"chdb://{folder}")
    else:
        clickhouse = ClickHouse(request.getfixturevalue("clickhouse_http").url("application_readers"))
        with clickhouse.session(migrated=False) as client:
            migrations.migrate(client)
    with clickhouse.session() as client:
        publish(clickhouse, [*interaction(1, customer_id="newest"), sample(2, customer_id="newest")])
        rows = [one | {"customer_id": customer} for customer, its in cases().items() for one in its]
        rows += interaction(2, {"coherence": "fair"}, customer_id="newest")
        is_partial = [(one["customer_id"], one["window_start"]) == ("incomplete", W - Q) for one in rows]
        publish(clickhouse, [one for one, partial in zip(rows, is_partial, strict=True) if not partial])
        publish(
            clickhouse, [one for one, partial in zip(rows, is_partial, strict=True) if partial], SliceStatus.PARTIAL
        )
        for seed in SEEDS:
            publish(clickhouse, drawn(seed))
        columns = [
            "judge_version", "metric_type", "positives", "sensitivity", "negatives", "specificity", "scored_at",
        ]  # fmt: skip
        for values in GOLDEN:
            client.insert("application_golden", [values], column_names=columns)
        return compute(clickhouse)


def test_a_window_and_its_day_by_hand(found: Found) -> None:
    rows = of(found, "by hand")
    assert len(rows["quality"]) == 9
    one = only(rows["quality"], period="window", metric_type="coherence")
    assert (one["population"], one["sampled"], one["n"], one["failures"], one["over_budget"]) == (1000, 4, 2, 1, 1)
    assert (one["mean"], one["effective_n"], one["poor"], one["good"], one["excellent"]) == (0.5, 2, 1, 1, 0)
    # Scores of 0.25 and 0.75: a quarter of what yes and no would vary, and one yes or no counted with the two.
    spread = (2 * 0.25 + 1) / 3
    assert (one["low"], one["high"]) == (close(wilson(0.5, 2 / spread)[0]), close(wilson(0.5, 2 / spread)[1]))
    assert (one["tokens"], one["usd"]) == (3200, Decimal("0.000820000"))
    assert (one["application_name"], one["judge_model"], one["judge_version"]) == ("Chat", "judge", "v1")
    day = only(rows["quality"], period="day", metric_type="coherence")
    assert (day["population"], day["n"], day["windows"], day["as_of"], day["tokens"]) == (1500, 3, 2, W, 4700)
    # 500, 500 and 500 interactions.
    assert (day["mean"], day["usd"], day["effective_n"]) == (close(2 / 3), Decimal("0.001180000"), close(3))

    [day, hour, window] = rows["hallucinations"]
    assert (window["period"], window["n"], window["not_assessable"], window["none"]) == ("window", 1, 1, 0)
    assert (window["rate"], window["mean"], window["major_rate"], window["minor"]) == (1.0, 0.5, 0.0, 1)
    assert (window["claims_checked"], window["unsupported_claims"], window["corrected_rate"]) == (4, 1, None)
    assert (day["n"], day["rate"], day["none"], day["not_assessable"]) == (2, 0.5, 1, 1)
    assert hour == day | {"period": "hour"}

    [day, _, window] = rows["toxicity"]
    assert (window["n"], window["rate"], window["severe"], window["worst_severity"]) == (2, 0.5, 1, 3)
    assert json.loads(window["categories"]) == {"hate": 1}
    assert json.loads(day["categories"]) == {"hate": 1, "insult": 1}
    assert (day["rate"], day["mean"]) == (close(2 / 3), close(4 / 9))

    [day, _, window] = rows["summary"]
    assert (window["sampled"], window["judged"], window["not_assessable"]) == (4, 2, 1)
    assert [window[metric] for metric in METRICS] == [0.5, 1, 1, 0.5, 0.5]
    assert (window["hallucination_rate"], window["toxicity_rate"], window["usd"]) == (1.0, 0.5, Decimal("0.000820000"))
    assert (day["population"], day["coherence_low"] < day["coherence"] < day["coherence_high"]) == (1500, True)
    assert (day["effective_n"], day["worse_than_last_week"], day["worse"]) == (close(3), None, "")


def test_a_window_counts_for_as_many_interactions_as_it_has(found: Found) -> None:
    """5 of 6 and 5 of 600 are judged: all bad and all good."""
    rows = of(found, "unequal windows")
    day = only(rows["hallucinations"], period="day")
    assert (day["rate"], day["major_rate"], day["n"], day["population"]) == (close(6 / 606), close(6 / 606), 10, 606)
    assert day["effective_n"] == close(606**2 / (5 * 1.2**2 + 5 * 120**2))
    assert (day["rate_low"], day["rate_high"]) == tuple(map(close, wilson(6 / 606, day["effective_n"])))
    assert only(rows["quality"], period="day", metric_type="accuracy")["mean"] == close(600 / 606)
    assert only(rows["summary"], period="day")["toxicity"] == close(6 / 606 * 2 / 3)


def test_what_could_not_be_assessed_is_not_estimated_by_what_could(found: Found) -> None:
    """Of 100 interactions 20 can be assessed and are bad, of another 100 all can be and are good."""
    day = only(of(found, "not assessable")["hallucinations"], period="day")
    assert (day["rate"], day["n"], day["not_assessable"]) == (close(20 / 120), 6, 4)


def test_without_verdicts_the_others_of_the_window_count_for_them(found: Found) -> None:
    day = only(of(found, "no verdicts")["hallucinations"], period="day")
    assert (day["rate"], day["n"], day["failures"], day["over_budget"]) == (0.75, 7, 3, 2)


def test_an_hour_is_the_windows_of_the_clocks_hour_so_far(found: Found) -> None:
    rows = {row["period"]: row for row in of(found, "hour")["hallucinations"]}
    assert {period: (row["n"], row["rate"]) for period, row in rows.items()} == {
        "window": (1, 0), "hour": (2, 0.5), "day": (3, close(1 / 3)),
    }  # fmt: skip


def test_last_weeks_figures_stand_beside_todays_for_who_looks_and_no_verdict_is_made_of_them(found: Found) -> None:
    rows = of(found, "last week")
    for row in rows["hallucinations"]:
        assert (row["last_week_n"], row["last_week_rate"]) == (4, close(0.01))
        tells = 1000**2 / (2 * 5**2 + 2 * 495**2)
        assert (row["last_week_low"], row["last_week_high"]) == tuple(map(close, wilson(0.01, tells)))
    for row in rows["quality"]:
        mean = {"coherence": 0.9925, "relevance": 0.9925, "accuracy": 0.99}[row["metric_type"]]
        assert (row["last_week_n"], row["last_week_mean"]) == (4, close(mean))
    assert {row["worse_than_last_week"] for its in rows.values() for row in its} == {None}


def test_a_second_judges_verdicts_stand_for_the_window_whose_sample_they_are_of(found: Found) -> None:
    rows = of(found, "second judge")["hallucinations"]
    day = only(rows, period="day", judge_version="second")
    # 2 of 600 in the window; of the one before it is not known how many interactions it had.
    assert (day["population"], day["n"], day["rate"]) == (600, 6, close(600 / 604))
    assert only(rows, period="day", judge_version="v1")["rate"] == 0


def test_rubrics_of_customers_have_figures_of_the_same_kind_and_change_none_of_the_others(
    clickhouse: ClickHouse,
) -> None:
    rubric = {"metric_type": "rubric:tone", "judge_version": "v1-r1", "details": "{}"}
    low, high = interaction(1, window=W - Q)[0], interaction(2)[0]
    publish(
        clickhouse,
        [
            *interaction(1, window=W - Q), sample(100, W - Q), low | rubric | {"score": 0.25, "label": "poor"},
            *interaction(2), sample(300), high | rubric | {"score": 0.75, "label": "good"},
        ],
    )  # fmt: skip
    of_rubrics = select(
        clickhouse,
        "SELECT * FROM application_figures(window = {at:DateTime('UTC')}, metrics = ['rubric:']) ORDER BY period",
        at=W,
    )
    assert [(r["period"], r["metric_type"], r["judge_version"], r["mean"], r["population"]) for r in of_rubrics] == [
        ("day", "rubric:tone", "v1-r1", close(0.625), 400), ("hour", "rubric:tone", "v1-r1", close(0.625), 400),
        ("window", "rubric:tone", "v1-r1", 0.75, 300),
    ]  # fmt: skip
    assert {row["coherence"] for row in compute(clickhouse, "summary")["summary"]} == {1}


def test_shares_of_bad_answers_by_rubrics_and_of_retrieval_are_corrected_with_the_golden_set(
    clickhouse: ClickHouse,
) -> None:
    """Of ten answers six are on the bad side of the middle: below it, or above it where higher is worse."""
    series = {
        "groundedness": ("v1", 0.25, 0.5, "higher_is_better"),
        "context_relevance": ("v2", 0.0, 1.0, "higher_is_better"),  # whose version has no golden set
        "rubric:tone": ("v1-r1", 0.25, 0.75, "higher_is_better"),
        "rubric:sells": ("v1-r2", 0.75, 0.5, "higher_is_worse"),
    }
    rows: list[Row] = []
    for metric, (version, bad, good, direction) in series.items():
        facts = {"metric_type": metric, "judge_version": version, "details": to_json({"direction": direction})}
        for number in range(10):
            of_answer = {"score": bad if number < 6 else good, "label": "part"}
            rows.append(interaction(number)[0] | facts | of_answer)
    publish(clickhouse, [*rows, sample(10)])
    columns = ["judge_version", "metric_type", "positives", "sensitivity", "negatives", "specificity", "scored_at"]
    scored = [[version, metric, 40, 0.9, 60, 0.8, EARLY] for metric, (version, *_) in series.items() if version != "v2"]
    with clickhouse.session() as client:
        client.insert("application_golden", scored, column_names=columns)
    of_readers = compute(clickhouse, "rag", "rubrics")
    told = {
        row.get("metric_type") or f"rubric:{row['rubric']}": row
        for row in (*of_readers["rag"], *of_readers["rubrics"]) if row["period"] == "window" and row["n"]
    }  # fmt: skip
    assert told.keys() == series.keys()
    for metric, row in told.items():
        assert (row["rate"], row["rate_low"], row["rate_high"]) == (close(0.6), *map(close, wilson(0.6, 10)))
        corrected = (row["corrected_rate"], row["corrected_low"], row["corrected_high"], row["not_corrected_because"])
        if metric == "context_relevance":
            assert corrected == (None, None, None, "this version of the judge was not scored on a golden set")
        else:
            assert corrected == (close(0.4 / 0.7), *map(close, lang_reiczigel(6, 10, 36, 40, 48, 60)), "")


def test_nobody_judged_is_said_with_the_population_and_without_a_score(found: Found) -> None:
    rows = of(found, "nobody judged")
    for row in (row for its in rows.values() for row in its):
        assert {row[name] for name in ("mean", "low", "high", "rate", *METRICS) if name in row} == {None}
        assert (row["population"], row["sampled"]) == ((70, 1) if row["model_name"] == "m-1" else (30, 0))
        assert row["worse_than_last_week"] is None
    assert [len(rows[reader]) for reader in READERS] == [18, 6, 6, 6]


def test_two_versions_of_the_judge_are_two_rows(found: Found) -> None:
    days = [row for row in of(found, "two judges")["summary"] if row["period"] == "day"]
    assert [(d["judge_version"], d["coherence"], d["population"]) for d in days] == [("v0", 0, 10), ("v1", 1, 20)]


def test_a_price_that_is_not_known_makes_the_sum_unknown(found: Found) -> None:
    for rows in of(found, "price unknown").values():
        assert {(row["period"], row["usd"]) for row in rows} == {
            ("window", Decimal("0.500000000")), ("hour", None), ("day", None),
        }  # fmt: skip


def test_self_preference_is_flagged(found: Found) -> None:
    for rows in of(found, "own model").values():
        assert {(r["model_name"], r["self_preference"]) for r in rows} == {("m-1", True), ("other", False)}


def test_a_day_that_holds_an_incomplete_window_is_incomplete(found: Found) -> None:
    for rows in of(found, "incomplete").values():
        assert {(row["period"], row["complete"]) for row in rows} == {("day", False), ("hour", False), ("window", True)}


def test_a_day_goes_on_where_the_windows_collection_failed(found: Found) -> None:
    for rows in of(found, "window failed").values():
        assert {(row["period"], row["as_of"]) for row in rows} == {("day", W - Q), ("hour", W - Q)}


def test_only_the_newest_published_batch_counts(found: Found) -> None:
    one = only(of(found, "newest")["quality"], period="day", metric_type="coherence")
    assert (one["n"], one["mean"], one["population"]) == (1, 0.5, 0)


def test_rates_are_corrected_once_the_judge_was_scored_on_a_golden_set(found: Found) -> None:
    names = ("sensitivity", "specificity", "corrected_rate", "corrected_low", "corrected_high", "not_corrected_because")
    rows = of(found, "golden")
    hallucinations = {row["judge_version"]: tuple(row[name] for name in names) for row in rows["hallucinations"]}
    toxicity = {row["judge_version"]: tuple(row[name] for name in names) for row in rows["toxicity"]}
    assert hallucinations == {
        "golden-1": (0.9, 0.8, close(0.4 / 0.7), *map(close, lang_reiczigel(6, 10, 36, 40, 48, 60)), ""),
        "golden-2": (None, 0.9, None, None, None, "the golden set has no positives"),
        "golden-3": (0.8, None, None, None, None, "the golden set has no negatives that were scored"),
    }
    assert toxicity == {
        "golden-1": (0.75, 0.5, close(0.1 / 0.25), *map(close, lang_reiczigel(6, 10, 15, 20, 25, 50)), ""),
        "golden-2": (0.5, 0.5, None, None, None, "the judge did no better than chance on the golden set"),
        "golden-3": (1, 0.9, 1, *map(close, lang_reiczigel(3, 3, 5, 5, 4.5, 5)), ""),
    }
    [never] = {row["not_corrected_because"] for row in of(found, "by hand")["toxicity"]}
    assert never == "this version of the judge was not scored on a golden set"


def lang_reiczigel(hits: float, n: float, found: float, positives: int, left: float, negatives: int) -> Sequence[float]:
    """Preventive Veterinary Medicine 113 (2014), 13-22, formulas of section 2: the ends, within 0 and 1."""
    z = 1.959963984540054
    shown, n_shown = (hits + z**2 / 2) / (n + z**2), n + z**2
    se, n_se = (found + 1) / (positives + 2), positives + 2
    sp, n_sp = (left + 1) / (negatives + 2), negatives + 2
    truth = (shown + sp - 1) / (se + sp - 1)
    shift = 2 * z**2 * (truth * se * (1 - se) / n_se - (1 - truth) * sp * (1 - sp) / n_sp)
    variance = (
        shown * (1 - shown) / n_shown + truth**2 * se * (1 - se) / n_se + (1 - truth) ** 2 * sp * (1 - sp) / n_sp
    ) / (se + sp - 1) ** 2
    return max(0.0, truth + shift - z * math.sqrt(variance)), min(1.0, truth + shift + z * math.sqrt(variance))


# --- At random -------------------------------------------------------------------------------------------------------

# Every window that is told apart: before the week, its ends, the day and its first window, the hour, the window, and
# after it.
SPAN = [DAY - 7 * D - Q, DAY - 7 * D, DAY - 3 * D, DAY - Q, DAY, HOUR - Q, HOUR, W - Q, W, W + Q]
SEEDS = [1, 2, 3]
NO_VERDICT = ["judge_failed", "over_budget"]


def drawn(seed: int) -> list[Row]:
    """Interactions and samples of every owner and window."""
    rng = random.Random(seed)  # noqa: S311
    rows: list[Row] = []
    for customer, provider in ((f"random {seed}", "aws"), (f"random {seed}", "gcp")):
        for window in SPAN:
            for application in ("chat", "search"):
                for model in ("m-1", "m-2"):
                    whose = {
                        "customer_id": customer, "provider": provider, "application_id": application,
                        "application_name": application.title(), "model_name": model,
                        "judge_version": rng.choice(["v1", "v1", "v2"]),
                    }  # fmt: skip
                    count = rng.choice([0, 0, 1, 2, 9])
                    if rng.random() > 0.3:
                        usd = rng.choice([*["0.000123456"] * 9, None])
                        rows.append(sample(rng.randrange(99), window, tokens=rng.randrange(99), usd=usd, **whose))
                    for number in range(count):
                        labels = {metric: rng.choice([*LABELS[metric]]) for metric in METRICS}
                        none = rng.choice(NO_VERDICT)
                        rows += interaction(
                            number if application == "chat" else 100 + number,
                            none if rng.random() < 0.2 else labels,
                            window,
                            **whose,
                            category=rng.choice(["", "hate", "insult"]),
                            claims_checked=rng.randrange(5),
                            unsupported_claims=rng.randrange(3),
                            self_preference=model == "m-2",
                        )
    return rows


def wilson(mean: float | None, n: float | None) -> tuple[float | None, float | None]:
    """By bisection of what defines it: the shares p that lie 1.96 of their own standard errors from the mean."""
    if mean is None or n is None:
        return None, None
    z = 1.959963984540054

    def bound(inside: float, outside: float) -> float:
        for _ in range(100):
            middle = (inside + outside) / 2
            if abs(mean - middle) <= z * math.sqrt(middle * (1 - middle) / n):
                inside = middle
            else:
                outside = middle
        return inside

    return bound(mean, 0.0), bound(mean, 1.0)


def average(values: Sequence[float], weights: Sequence[float]) -> float | None:
    return math.fsum(w * v for v, w in zip(values, weights, strict=True)) / math.fsum(weights) if values else None


PERIODS: dict[str, Callable[[datetime], bool]] = {
    "window": lambda at: at == W, "hour": lambda at: HOUR <= at <= W, "day": lambda at: DAY <= at <= W,
    "week": lambda at: DAY - 7 * D <= at < DAY,
}  # fmt: skip


def expected(rows: Sequence[Row], metric: str) -> dict[tuple[str, ...], Row]:
    """What a reader must say of a metric, by period, owner, application, model and version of the judge."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for one in rows:
        if one["metric_type"] in {metric, "sample"}:
            for period in (name for name, holds in PERIODS.items() if holds(one["window_start"])):
                names = ("customer_id", "provider", "application_id", "model_name", "judge_version")
                groups[period, *(one[name] for name in names)].append(one)
    found = {key: figures([r for r in its if r["metric_type"] == metric], its, metric) for key, its in groups.items()}
    nothing = figures([], [], metric)
    return {
        key: one | {"week": found.get(("week", *key[1:]), nothing)} for key, one in found.items() if key[0] != "week"
    }


def figures(rows: Sequence[Row], with_samples: Sequence[Row], metric: str) -> Row:
    weight_of = {}
    for window in {r["window_start"] for r in rows}:
        answered = sum(r["window_start"] == window and r["label"] not in NO_VERDICT for r in rows)
        population = sum(
            json.loads(r["details"])["population"]
            for r in with_samples if r["window_start"] == window and r["metric_type"] == "sample"
        )  # fmt: skip
        weight_of[window] = max(population, answered) / answered if answered else 0
    scored = [r for r in rows if r["score"] is not None]
    scores, weights = [r["score"] for r in scored], [weight_of[r["window_start"]] for r in scored]
    mean, rate = average(scores, weights), average([float(score > 0) for score in scores], weights)
    effective_n = sum(weights) ** 2 / sum(w * w for w in weights) if scores else None
    spread = 1.0
    if mean is not None and 1e-9 < mean < 1 - 1e-9:
        variance = average([(score - mean) ** 2 for score in scores], weights) or 0.0
        spread = min(1.0, (len(scores) * variance / (mean * (1 - mean)) + 1) / (len(scores) + 1))
    details = [json.loads(r["details"]) for r in rows]
    samples = [json.loads(r["details"]) for r in with_samples if r["metric_type"] == "sample"]
    usd = [s["usd"] for s in samples]
    interval = wilson(mean, effective_n / spread if effective_n else None)
    return {
        "n": len(scores),
        "effective_n": effective_n,
        "windows": len({r["window_start"] for r in rows if r["score"] is not None}),
        "sampled": len(rows),
        "mean": mean,
        "interval": interval,
        "rate": rate,
        "top_rate": average([float(score == 1) for score in scores], weights),
        "bounds": wilson(rate, effective_n),
        "compared": interval if metric in QUALITY else wilson(rate, effective_n),
        "labels": Counter(r["label"] for r in rows),
        "population": sum(s["population"] for s in samples),
        "tokens": sum(s["tokens"] for s in samples),
        "usd": None if None in usd else sum((Decimal(x) for x in usd), Decimal(0)),
        "self_preference": any(d["self_preference"] for d in details),
        "claims_checked": sum(d["claims_checked"] for d in details),
        "unsupported_claims": sum(d["unsupported_claims"] for d in details),
        "categories": Counter(
            d["category"] or "unspecified" for r, d in zip(rows, details, strict=True) if (r["score"] or 0) > 0
        ),
        "worst": max((round(3 * s) for s in scores), default=None),
    }


def close(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, abs=1e-9)


def key_of(row: Row) -> tuple[str, ...]:
    names = ("period", "customer_id", "provider", "application_id", "model_name", "judge_version")
    return tuple(row[name] for name in names)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_figure_is_that_of_plain_python(found: Found, seed: int) -> None:
    rows, computed = drawn(seed), of(found, f"random {seed}")
    summary = {key_of(row): row for row in computed["summary"]}
    truth = {metric: expected(rows, metric) for metric in METRICS}

    for metric in METRICS:
        its_rows = [r for r in computed[reader_of(metric)] if r.get("metric_type", metric) == metric]
        assert Counter(map(key_of, its_rows)) == Counter(truth[metric].keys())
        for row in its_rows:
            want = truth[metric][key_of(row)]
            assert (row["n"], row["sampled"], row["population"]) == (want["n"], want["sampled"], want["population"])
            assert (row["windows"], row["effective_n"]) == (want["windows"], close(want["effective_n"]))
            assert (row["mean"], row["low"], row["high"]) == (close(want["mean"]), *map(close, want["interval"]))
            assert {label: row[label] for label in [*LABELS[metric], "not_assessable"]} == {
                label: want["labels"][label] for label in [*LABELS[metric], "not_assessable"]
            }
            assert (row["failures"], row["over_budget"]) == tuple(want["labels"][label] for label in NO_VERDICT)
            assert (row["tokens"], row["usd"], row["self_preference"]) == (
                want["tokens"],
                want["usd"],
                want["self_preference"],
            )
            week, ends = want["week"], (row["last_week_low"], row["last_week_high"])
            assert (row["last_week_n"], *ends) == (week["n"], *map(close, week["compared"]))
            last = "last_week_mean" if metric in QUALITY else "last_week_rate"
            assert row[last] == close(week["mean"] if metric in QUALITY else week["rate"])
            if metric not in QUALITY:
                assert (row["rate"], row["rate_low"], row["rate_high"]) == (
                    close(want["rate"]),
                    *map(close, want["bounds"]),
                )
            if metric == "hallucination":
                assert (row["claims_checked"], row["unsupported_claims"], row["major_rate"]) == (
                    want["claims_checked"], want["unsupported_claims"], close(want["top_rate"]),
                )  # fmt: skip
            if metric == "toxicity":
                assert json.loads(row["categories"]) == want["categories"]
                assert row["worst_severity"] == want["worst"]
            one = summary[key_of(row)]
            ends = (one[f"{metric}_low"], one[f"{metric}_high"])
            assert (one[metric], *ends) == (close(row["mean"]), close(row["low"]), close(row["high"]))
            assert (one["population"], one["sampled"]) == (row["population"], row["sampled"])
    assert summary.keys() == truth["coherence"].keys()


def test_the_intervals_of_rates_are_those_of_the_statistics_module(found: Found) -> None:
    for row in found["hallucinations"] + found["toxicity"]:
        bounds = None if row["rate"] is None else statistics.wilson(row["rate"], row["effective_n"])
        ends = (close(bounds.low), close(bounds.high)) if bounds else (None, None)
        assert (row["rate_low"], row["rate_high"]) == ends


def test_windows_on_both_sides_of_a_months_border_are_pooled(clickhouse: ClickHouse) -> None:
    publish(clickhouse, many(20, GOOD, BORDER - Q) + many(10, WORSE, BORDER) + many(10, WORSE, BORDER + Q))
    [day] = [row for row in compute(clickhouse, "summary", window=BORDER + Q)["summary"] if row["period"] == "day"]
    assert (day["judged"], day["accuracy"]) == (20, 0)


def test_a_window_that_is_computed_again_is_replaced(clickhouse: ClickHouse) -> None:
    publish(clickhouse, [*interaction(1), *interaction(2, application_id="gone")])
    names = ("quality", "summary")
    assert len(compute(clickhouse, *names)["summary"]) == 6
    publish(clickhouse, interaction(3))
    assert {row["application_id"] for rows in compute(clickhouse, *names).values() for row in rows} == {"chat"}


@pytest.mark.long
def test_without_interactions_of_the_day_a_window_is_published_without_a_look(clickhouse: ClickHouse) -> None:
    """What is not run would give nothing: the figures are of the window and of its day so far."""
    publish(clickhouse, [*interaction(1, window=DAY - Q), *interaction(2, window=DAY + 4 * Q)])
    asked = [DAY - 2 * Q, DAY - Q, DAY, DAY + 3 * Q, DAY + 4 * Q, DAY + 5 * Q, DAY + D - Q, DAY + D]
    with_rows = [DAY - Q, DAY + 4 * Q, DAY + 5 * Q, DAY + D - Q]
    for name in READERS:
        reader = readers_of_all()["application", name]
        counts = {window: reader_writer.compute(clickhouse, reader, [window])[window] for window in asked}
        assert [window for window, count in counts.items() if count] == with_rows
        again = {window: reader_writer.compute(clickhouse, reader, [window])[window] for window in asked}
        assert again == counts
        published = select(
            clickhouse,
            "SELECT window_start, rows FROM published_slices WHERE dataset = {table:String} ORDER BY window_start",
            table=reader.table,
        )
        assert {row["window_start"]: row["rows"] for row in published} == counts
        with clickhouse.session() as client:
            said = {
                window: client.query(
                    f"SELECT count() FROM ({reader.select})", parameters={"window": f"{window:%Y-%m-%d %H:%M:%S}"}
                ).result_rows[0][0]
                for window in asked
            }
        assert said == counts


def test_interactions_that_arrive_late_fill_a_window_that_had_none(clickhouse: ClickHouse) -> None:
    assert compute(clickhouse, "summary")["summary"] == []
    publish(clickhouse, interaction(1))
    assert len(compute(clickhouse, "summary")["summary"]) == 3
