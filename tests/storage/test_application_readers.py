"""The application readers' SQL over rows by hand and drawn at random, against plain Python."""
# ruff: noqa: S608 - the statements are the test's own

from __future__ import annotations

import json
import math
import random
import shutil
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
from tests.support.samples import BORDER, EARLY, LATE, W, select

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


Q = timedelta(minutes=15)
D = timedelta(days=1)
DAY = W.replace(hour=0)
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


def many(count: int, labels: dict[str, str], window: datetime, **changes: Any) -> list[Row]:
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
        **{
            f"worse {metric}": [
                *many(10, GOOD, DAY - Q),
                *many(10, GOOD, DAY - 7 * D),
                *many(6, {metric: WORSE[metric]}, W - Q),
                *many(6, {metric: WORSE[metric]}, W),
            ]
            for metric in METRICS
        },
        "too few": [*many(5, GOOD, DAY - Q), *many(1, WORSE, W - Q), *many(1, WORSE, W)],
        "one window": [*many(20, GOOD, DAY - Q), *many(20, WORSE, W)],
        "other judge": [*many(20, GOOD, DAY - Q, judge_version="v0"), *many(9, WORSE, W - Q), *many(9, WORSE, W)],
        "other model": [*many(20, GOOD, DAY - Q, model_name="m-2"), *many(9, WORSE, W - Q), *many(9, WORSE, W)],
        "more than a week ago": [*many(20, GOOD, DAY - 7 * D - Q), *many(9, WORSE, W - Q), *many(9, WORSE, W)],
        "better": [*many(20, WORSE, DAY - Q), *many(9, GOOD, W - Q), *many(9, GOOD, W)],
        "golden": [
            *many(6, {"hallucination": "minor", "toxicity": "mild"}, W, judge_version="golden-1"),
            *many(4, GOOD, W, judge_version="golden-1"),
            *many(2, {"toxicity": "mild"}, W, judge_version="golden-2"),
        ],
    }


GOLDEN = [
    ["golden-1", "hallucination", 0.9, 0.8, EARLY],
    ["golden-1", "toxicity", 0.1, 0.2, EARLY],
    ["golden-1", "toxicity", 0.75, 0.5, LATE],  # the newest counts
    ["golden-2", "toxicity", 0.5, 0.5, LATE],  # no better than chance
]


@pytest.fixture(scope="module", params=["chdb", "http"])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Found:
    """What the readers say of every customer, on both transports; computed once, since every case is a customer."""
    if request.param == "chdb":
        folder = tmp_path_factory.mktemp("application") / "clickhouse"
        shutil.copytree(request.getfixturevalue("migrated_folder"), folder, symlinks=True)
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
        columns = ["judge_version", "metric_type", "sensitivity", "specificity", "scored_at"]
        for values in GOLDEN:
            client.insert("application_golden", [values], column_names=columns)
        return compute(clickhouse)


def test_a_window_and_its_day_by_hand(found: Found) -> None:
    rows = of(found, "by hand")
    assert len(rows["quality"]) == 6
    one = only(rows["quality"], period="window", metric_type="coherence")
    assert (one["population"], one["sampled"], one["n"], one["failures"], one["over_budget"]) == (1000, 4, 2, 1, 1)
    assert (one["mean"], one["poor"], one["good"], one["excellent"]) == (0.5, 1, 1, 0)
    assert (one["low"], one["high"]) == (pytest.approx(0.0945312), pytest.approx(0.9054688))
    assert (one["tokens"], one["usd"]) == (3200, Decimal("0.000820000"))
    assert (one["application_name"], one["judge_model"], one["judge_version"]) == ("Chat", "judge", "v1")
    day = only(rows["quality"], period="day", metric_type="coherence")
    assert (day["population"], day["n"], day["windows"], day["as_of"], day["tokens"]) == (1500, 3, 2, W, 4700)
    assert (day["mean"], day["usd"]) == (pytest.approx(2 / 3), Decimal("0.001180000"))

    [day, window] = rows["hallucinations"]
    assert (window["period"], window["n"], window["not_assessable"], window["none"]) == ("window", 1, 1, 0)
    assert (window["rate"], window["mean"], window["major_rate"], window["minor"]) == (1.0, 0.5, 0.0, 1)
    assert (window["claims_checked"], window["unsupported_claims"], window["corrected_rate"]) == (4, 1, None)
    assert (day["n"], day["rate"], day["none"], day["not_assessable"]) == (2, 0.5, 1, 1)

    [day, window] = rows["toxicity"]
    assert (window["n"], window["rate"], window["severe"], window["worst_severity"]) == (2, 0.5, 1, 3)
    assert json.loads(window["categories"]) == {"hate": 1}
    assert json.loads(day["categories"]) == {"hate": 1, "insult": 1}
    assert (day["rate"], day["mean"]) == (pytest.approx(2 / 3), pytest.approx(4 / 9))

    [day, window] = rows["summary"]
    assert (window["sampled"], window["judged"], window["not_assessable"]) == (4, 2, 1)
    assert [window[metric] for metric in METRICS] == [0.5, 1, 1, 0.5, 0.5]
    assert (window["hallucination_rate"], window["toxicity_rate"], window["usd"]) == (1.0, 0.5, Decimal("0.000820000"))
    assert (day["population"], day["coherence_low"] < day["coherence"] < day["coherence_high"]) == (1500, True)


def test_nobody_judged_is_said_with_the_population_and_without_a_score(found: Found) -> None:
    rows = of(found, "nobody judged")
    for row in (row for its in rows.values() for row in its):
        assert {row[name] for name in ("mean", "low", "high", "rate", *METRICS) if name in row} == {None}
        assert (row["population"], row["sampled"]) == ((70, 1) if row["model_name"] == "m-1" else (30, 0))
        assert row["worse_than_last_week"] is None
    assert [len(rows[reader]) for reader in READERS] == [12, 4, 4, 4]


def test_two_versions_of_the_judge_are_two_rows(found: Found) -> None:
    days = [row for row in of(found, "two judges")["summary"] if row["period"] == "day"]
    assert [(d["judge_version"], d["coherence"], d["population"]) for d in days] == [("v0", 0, 10), ("v1", 1, 20)]


def test_a_price_that_is_not_known_makes_the_sum_unknown(found: Found) -> None:
    for rows in of(found, "price unknown").values():
        assert {(row["period"], row["usd"]) for row in rows} == {("window", Decimal("0.500000000")), ("day", None)}


def test_self_preference_is_flagged(found: Found) -> None:
    for rows in of(found, "own model").values():
        assert {(r["model_name"], r["self_preference"]) for r in rows} == {("m-1", True), ("other", False)}


def test_a_day_that_holds_an_incomplete_window_is_incomplete(found: Found) -> None:
    for rows in of(found, "incomplete").values():
        assert {(row["period"], row["complete"]) for row in rows} == {("day", False), ("window", True)}


def test_a_day_goes_on_where_the_windows_collection_failed(found: Found) -> None:
    for rows in of(found, "window failed").values():
        assert {(row["period"], row["as_of"]) for row in rows} == {("day", W - Q)}


def test_only_the_newest_published_batch_counts(found: Found) -> None:
    one = only(of(found, "newest")["quality"], period="day", metric_type="coherence")
    assert (one["n"], one["mean"], one["population"]) == (1, 0.5, 0)


@pytest.mark.parametrize("metric", METRICS)
def test_worse_than_last_week_is_told_of_the_day_and_of_the_metric_that_is(found: Found, metric: str) -> None:
    rows = of(found, f"worse {metric}")
    assert {(r["period"], r["worse_than_last_week"], r["worse"]) for r in rows["summary"]} == {
        ("day", True, metric), ("window", None, ""),
    }  # fmt: skip
    for other in METRICS:
        [day] = [r for r in rows[reader_of(other)] if r["period"] == "day" and r.get("metric_type", other) == other]
        assert (day["last_week_n"], day["worse_than_last_week"]) == (20, other == metric)


@pytest.mark.parametrize(
    ("case", "worse"),
    [
        ("too few", False), ("better", False), ("one window", None), ("other judge", None), ("other model", None),
        ("more than a week ago", None),
    ],
)  # fmt: skip
def test_what_is_no_reason_for_an_alert(found: Found, case: str, worse: bool | None) -> None:
    for rows in of(found, case).values():
        assert {row["worse_than_last_week"] for row in rows if row["period"] == "day"} == {worse}


def test_rates_are_corrected_once_the_judge_was_scored_on_a_golden_set(found: Found) -> None:
    rows = of(found, "golden")
    for row in rows["hallucinations"]:
        corrected = (0.9, 0.8, pytest.approx((0.6 + 0.8 - 1) / 0.7))
        expected_of = {"golden-1": corrected, "golden-2": (None, None, None)}
        assert (row["sensitivity"], row["specificity"], row["corrected_rate"]) == expected_of[row["judge_version"]]
    for row in rows["toxicity"]:
        corrected = (0.75, 0.5, pytest.approx((0.6 + 0.5 - 1) / 0.25))
        expected_of = {"golden-1": corrected, "golden-2": (0.5, 0.5, None)}
        assert (row["sensitivity"], row["specificity"], row["corrected_rate"]) == expected_of[row["judge_version"]]


# --- At random -------------------------------------------------------------------------------------------------------

# Every window that is told apart: before the week, its ends, the day and its first window, the window, and after it.
SPAN = [DAY - 7 * D - Q, DAY - 7 * D, DAY - 3 * D, DAY - Q, DAY, W - Q, W, W + Q]
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


def wilson(mean: float | None, n: int) -> tuple[float | None, float | None]:
    """By bisection of what defines it: the shares p that lie 1.96 of their own standard errors from the mean."""
    if mean is None:
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


def average(values: Sequence[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def expected(rows: Sequence[Row], metric: str) -> dict[tuple[str, ...], Row]:
    """What a reader must say of a metric, by period, owner, application, model and version of the judge."""
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for one in rows:
        if one["metric_type"] in {metric, "sample"}:
            at = one["window_start"]
            periods = ["week"] if DAY - 7 * D <= at < DAY else ["day"] if DAY <= at <= W else []
            periods += ["window"] if at == W else []
            for period in periods:
                names = ("customer_id", "provider", "application_id", "model_name", "judge_version")
                groups[period, *(one[name] for name in names)].append(one)
    found = {key: figures([r for r in its if r["metric_type"] == metric], its, metric) for key, its in groups.items()}
    for (period, *rest), one in found.items():
        week = found.get(("week", *rest)) if period == "day" else None
        one["worse"] = None
        if week and week["n"] and one["n"] and one["windows"] > 1:
            if metric in QUALITY:
                one["worse"] = one["bounds"][1] < week["bounds"][0]
            else:
                one["worse"] = one["bounds"][0] > week["bounds"][1]
    return {key: one for key, one in found.items() if key[0] != "week"}


def figures(rows: Sequence[Row], with_samples: Sequence[Row], metric: str) -> Row:
    scores = [r["score"] for r in rows if r["score"] is not None]
    rate = average([float(score > 0) for score in scores])
    details = [json.loads(r["details"]) for r in rows]
    samples = [json.loads(r["details"]) for r in with_samples if r["metric_type"] == "sample"]
    usd = [s["usd"] for s in samples]
    return {
        "n": len(scores),
        "windows": len({r["window_start"] for r in rows if r["score"] is not None}),
        "sampled": len(rows),
        "mean": average(scores),
        "interval": wilson(average(scores), len(scores)),
        "rate": rate,
        "bounds": wilson(average(scores) if metric in QUALITY else rate, len(scores)),
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
            assert row["windows"] == want["windows"]
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
            assert row["worse_than_last_week"] == want["worse"]
            if metric not in QUALITY:
                assert (row["rate"], row["rate_low"], row["rate_high"]) == (
                    close(want["rate"]),
                    *map(close, want["bounds"]),
                )
            if metric == "hallucination":
                assert (row["claims_checked"], row["unsupported_claims"]) == (
                    want["claims_checked"], want["unsupported_claims"],
                )  # fmt: skip
            if metric == "toxicity":
                assert json.loads(row["categories"]) == want["categories"]
                assert row["worst_severity"] == want["worst"]
            one = summary[key_of(row)]
            assert (one[metric], one[f"{metric}_low"], one[f"{metric}_high"]) == (row["mean"], row["low"], row["high"])
            assert (one["population"], one["sampled"]) == (row["population"], row["sampled"])
            assert (metric in one["worse"].split(", ")) is bool(want["worse"])
    assert summary.keys() == truth["coherence"].keys()


def test_the_intervals_are_those_of_the_statistics_module(found: Found) -> None:
    for row in found["quality"]:
        bounds = statistics.wilson(row["mean"] or 0.0, row["n"])
        assert (row["low"], row["high"]) == ((close(bounds.low), close(bounds.high)) if bounds else (None, None))


def test_windows_on_both_sides_of_a_months_border_are_pooled(clickhouse: ClickHouse) -> None:
    publish(clickhouse, many(20, GOOD, BORDER - Q) + many(10, WORSE, BORDER) + many(10, WORSE, BORDER + Q))
    [day] = [row for row in compute(clickhouse, window=BORDER + Q)["summary"] if row["period"] == "day"]
    assert (day["judged"], day["worse"]) == (20, "accuracy, coherence, hallucination, relevance, toxicity")


def test_a_window_that_is_computed_again_is_replaced(clickhouse: ClickHouse) -> None:
    publish(clickhouse, [*interaction(1), *interaction(2, application_id="gone")])
    assert len(compute(clickhouse)["summary"]) == 4
    publish(clickhouse, interaction(3))
    assert {row["application_id"] for rows in compute(clickhouse).values() for row in rows} == {"chat"}


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
    assert compute(clickhouse)["summary"] == []
    publish(clickhouse, interaction(1))
    assert len(compute(clickhouse)["summary"]) == 2
