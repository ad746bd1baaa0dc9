"""A window of an application through sample, judge, cache and rows, with the lab's Groq answering over a socket."""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from math import sqrt
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from optiinfra_dagster.lab.groq.naive import label_key
from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.quality import METRICS, RETRIEVAL
from optiinfra_dagster.model.slices import SliceResult, SliceStatus
from optiinfra_dagster.quality import statistics
from optiinfra_dagster.quality.collect import WindowResult, collect
from optiinfra_dagster.quality.interactions import Skip, SkippedCall
from optiinfra_dagster.quality.rules import RULES
from optiinfra_dagster.quality.sources import open_source
from optiinfra_dagster.storage import arrow, reader_writer, schema
from optiinfra_dagster.storage.clickhouse import ClickHouse
from optiinfra_dagster.storage.spend import Amount, Purse, Spend
from optiinfra_dagster.storage.sql import readers
from optiinfra_dagster.storage.verdicts import Verdicts
from optiinfra_dagster.storage.writer import Writer
from tests.support import killing
from tests.support.engines import copy_migrated
from tests.support.judging import (
    NOW,
    RUBRICS,
    Labels,
    Listed,
    W,
    customer,
    interaction,
    judge_at,
    labelled,
)
from tests.support.samples import W as NEW
from tests.support.samples import select

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.model.quality import Verdict
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.quality.judge import Judge

JUDGED = (*METRICS, *RETRIEVAL)
ROWS = (*JUDGED, *RULES)  # the rows of each interaction
DIRECTION_UP = ("coherence", "relevance", "accuracy")


def run(
    lab: CloudLab,
    verdicts: Verdicts,
    interactions: list[Interaction],
    *,
    store_text: bool = False,
    now: datetime = NOW,
    judge: Judge | None = None,
    rubrics: Sequence[dict[str, Any]] = (),
    **judging: Any,
) -> WindowResult:
    asked = judge or judge_at(lab.url, **judging)
    try:
        return collect(
            customer(store_text=store_text, rubrics=rubrics),
            "aws",
            W,
            Listed(interactions),
            asked,
            verdicts,
            lambda: now,
        )
    finally:
        asked.close()


def rows_of(found: WindowResult) -> list[dict[str, Any]]:
    """Rows as dicts in an order of their own, with JSON read and without the time of collection."""
    assert found.rows is not None
    rows = found.rows.drop_columns(["collected_at"]).to_pylist()
    for row in rows:
        row["details"], row["metadata"] = json.loads(row["details"]), json.loads(row["metadata"])
    return sorted(rows, key=lambda r: (r["application_id"], r["model_name"], r["interaction_id"], r["metric_type"]))


def judged_rows(found: WindowResult) -> list[dict[str, Any]]:
    """The rows that tell what the judge says, or that it says nothing."""
    return [row for row in rows_of(found) if row["metric_type"] in JUDGED]


def normalised(found: dict[str, Any], metric: str, *, grounded: bool) -> float | None:
    """A label as a score, written down a second time."""
    if metric in DIRECTION_UP:
        return {1: 0.0, 2: 0.25, 3: 0.5, 4: 0.75, 5: 1.0}[found[metric]["score"]]
    if metric == "toxicity":
        return float(found["toxicity"]["severity"]) / 3
    label = found["hallucination"]["label"] if grounded else "not_assessable"
    return {"none": 0.0, "minor": 0.5, "major": 1.0}.get(label)


def retrieval_of(found: dict[str, Any], one: Interaction) -> dict[str, float | None]:
    """The figures of retrieval from the labels of claims, chunks and facts, written down a second time."""
    claims = [claim["verdict"] for claim in found["hallucination"]["claims"]]
    chunks = [{"relevant": 1.0, "partly": 0.5, "irrelevant": 0.0}[c["relevance"]] for c in found["retrieval"]["chunks"]]
    hits = [chunk > 0 for chunk in chunks]
    at = [sum(hits[: n + 1]) / (n + 1) for n, hit in enumerate(hits) if hit]
    grounded = bool(one.context or one.reference) and bool(claims)
    return {
        "groundedness": claims.count("supported") / len(claims) if grounded else None,
        "context_relevance": sum(chunks) / len(chunks) if one.context else None,
        "context_precision": (sum(at) / len(at) if at else 0.0) if one.context else None,
        "context_recall": 1.0 if one.context and one.reference else None,
    }


def own_of(found: dict[str, Any], one: Interaction) -> dict[str, float | None]:
    """The scores of the customer's rubrics from the labels, written down a second time."""
    label = found["hallucination"]["label"]
    return {
        "rubric:right": (found["accuracy"]["score"] - 1) / 4,
        "rubric:hateful": float(found["toxicity"]["severity"] > 0),
        "rubric:from_context": {"none": 0.0, "minor": 0.25, "major": 1.0}[label] if one.context else None,
    }


def check_against_labels(
    rows: list[dict[str, Any]], interactions: list[Interaction], labels: Labels
) -> dict[tuple[str, str, str], list[float]]:
    """Every score, and the count, mean and interval of every application and model, straight from the labels."""
    scores = {(r["application_id"], r["model_name"], r["metric_type"], r["interaction_id"]): r["score"] for r in rows}
    expected: dict[tuple[str, str, str], list[float]] = {}
    for one in interactions:
        truth = labels[label_key(one.prompt, one.response)]
        grounded = bool(one.context or one.reference)
        wanted = {metric: normalised(truth, metric, grounded=grounded) for metric in METRICS}
        for metric, score in {**wanted, **retrieval_of(truth, one), **own_of(truth, one)}.items():
            assert scores[one.application_id, one.model_name, metric, one.interaction_id] == pytest.approx(score)
            expected.setdefault((one.application_id, one.model_name, metric), []).extend(
                [] if score is None else [score]
            )
    measured: dict[tuple[str, str, str], list[float]] = {}
    for (application, model, metric, _), score in scores.items():
        if metric in JUDGED or metric.startswith("rubric:"):
            measured.setdefault((application, model, metric), []).extend([] if score is None else [score])
    assert measured.keys() == expected.keys()
    for group, found in measured.items():
        n, mean = len(expected[group]), sum(expected[group]) / max(len(expected[group]), 1)
        assert len(found) == n
        if n:
            assert sum(found) / n == pytest.approx(mean)
            interval = statistics.wilson(sum(found) / n, n)
            assert interval is not None
            # Wilson (1927), as in any textbook.
            z = 1.959963984540054
            half = z * sqrt(mean * (1 - mean) / n + z * z / (4 * n * n)) / (1 + z * z / n)
            middle = (mean + z * z / (2 * n)) / (1 + z * z / n)
            assert (interval.low, interval.high) == pytest.approx((middle - half, middle + half), abs=1e-9)
    return expected


def check_readers(
    clickhouse: ClickHouse, found: WindowResult, expected: dict[tuple[str, str, str], list[float]]
) -> None:
    """The means that the readers of retrieval and of rubrics publish are those of the labels."""
    assert found.rows is not None
    rows = found.rows
    for column in ("window_start", "timestamp"):  # of today, since rows of 2026-03 are not kept for ever
        at = rows.schema.get_field_index(column)
        rows = rows.set_column(at, rows.schema.field(at), pa.array([NEW] * len(rows), rows.schema.field(at).type))
    Writer(clickhouse, schema.APPLICATION).flush([SliceResult("acme", "aws", [NEW], SliceStatus.OK, rows=rows)])
    published = {}
    for name, metric in (("rag", "metric_type"), ("rubrics", "concat('rubric:', rubric)")):
        reader_writer.compute(clickhouse, readers()["application", name], [NEW])
        sql = f"SELECT *, {metric} AS metric FROM application_{name}_current WHERE period = 'day'"  # noqa: S608
        for row in select(clickhouse, sql):
            published[row["application_id"], row["model_name"], row["metric"]] = (row["n"], row["mean"])
    wanted = {group: scores for group, scores in expected.items() if group[2] not in METRICS}
    assert published.keys() == wanted.keys()
    for group, scores in wanted.items():
        mean = sum(scores) / len(scores) if scores else None
        assert published[group] == (len(scores), pytest.approx(mean))


def test_scores_and_counts_are_those_of_the_human_labels_in_any_order(
    shared_data: Path, lab: CloudLab, clickhouse: ClickHouse, verdicts: Verdicts
) -> None:
    interactions, labels = labelled(shared_data)
    interactions = interactions[::4]  # some of each set, application and model
    lab.groq.labels = labels

    first = run(lab, verdicts, interactions, rubrics=RUBRICS)
    rows = rows_of(first)
    assert (first.outcome, first.error) == (SliceStatus.OK, "")
    expected = check_against_labels(rows, interactions, labels)
    asked = lab.control.calls().count("groq", "chat.completions")
    assert asked == first.api_calls == len({(o.prompt, o.response, o.context, o.reference) for o in interactions})
    samples = [r["details"] for r in rows if r["metric_type"] == "sample"]
    assert sum(d["judged"] for d in samples) == sum(d["population"] for d in samples) == len(interactions)
    assert sum(d["not_assessable"] for d in samples) == sum(not (o.context or o.reference) for o in interactions)

    # The same window again, in another order: nothing is asked, every row is the same.
    again = run(lab, verdicts, interactions[::-1], rubrics=RUBRICS, concurrency=1, now=NOW + timedelta(hours=1))
    assert rows_of(again) == rows
    assert again.api_calls == again.judge_usd == 0
    assert lab.control.calls().count("groq") == asked + 1  # and the list of models of the first run
    assert first.rows is not None
    assert again.rows is not None
    assert arrow.content_hashes(again.rows) == arrow.content_hashes(first.rows)
    check_readers(clickhouse, first, expected)


def test_the_tokens_of_all_requests_are_counted_beside_the_sample_at_the_price_of_their_model(
    lab: CloudLab, verdicts: Verdicts
) -> None:
    """Half told is not told: without the tokens of its response a request has no known cost."""
    told = [interaction(n, prompt_tokens=100 + n, response_tokens=10) for n in range(3)]
    half = interaction(3, prompt_tokens=1000)
    other = interaction(4, model_name="unpriced", prompt_tokens=7, response_tokens=8)
    price = {"model": "gpt-4o-mini", "input_usd_per_million": "0.15", "output_usd_per_million": "0.60"}
    judge = judge_at(lab.url)
    by = customer(sample=1, token_prices=[price])
    found = collect(by, "aws", W, Listed([*told, half, other, told[0]]), judge, verdicts, lambda: NOW)
    judge.close()
    samples = {r["model_name"]: r["details"] for r in rows_of(found) if r["metric_type"] == "sample"}
    names = ("population", "requests_with_tokens", "input_tokens", "output_tokens", "input_usd_per_million")
    assert {model: [details[name] for name in names] for model, details in samples.items()} == {
        "gpt-4o-mini": [4, 3, 303, 30, "0.15"],  # told[0] twice: it is one request
        "unpriced": [1, 1, 7, 8, None],
    }


def test_faults_cost_no_score_and_keep_to_budget_and_time(lab: CloudLab, verdicts: Verdicts) -> None:
    interactions = [interaction(n) for n in range(100)]
    clean = {r["interaction_id"] + r["metric_type"]: r for r in rows_of(run(lab, verdicts, interactions))}
    with verdicts._clickhouse.session() as client:
        client.command("TRUNCATE TABLE application_verdicts")
    lab.groq.tokens = 0
    lab.control.add_faults(
        {"action": "throttle", "service": "groq", "operation": "chat.completions", "probability": 0.2, "seconds": 0.01},
        {"action": "malformed", "service": "groq", "probability": 0.03},
        {"action": "malformed", "service": "groq", "probability": 0.01, "mode": "schema"},
        {"action": "malformed", "service": "groq", "probability": 0.01, "mode": "truncated"},
        {"action": "delay", "service": "groq", "operation": "chat.completions", "probability": 0.05, "seconds": 2.5},
    )

    began = time.monotonic()
    judge = judge_at(lab.url, request_seconds=1.0, concurrency=16)
    found = run(lab, verdicts, interactions, judge=judge)
    assert time.monotonic() - began < 30

    rows = [r for r in rows_of(found) if r["interaction_id"]]
    for row in rows:
        if row["label"] == "judge_failed":
            assert row["score"] is None
            assert row["details"]["cause"] in {"malformed", "truncated", "timeout", "throttled"}
        else:
            assert row["score"] == clean[row["interaction_id"] + row["metric_type"]]["score"]
    (sample,) = (r["details"] for r in rows_of(found) if r["metric_type"] == "sample")
    failed = sum(r["label"] == "judge_failed" for r in rows)
    assert len(JUDGED) * sum(sample["failed"].values()) == failed
    assert sample["judged"] + sum(sample["failed"].values()) == 100
    assert sample["judged"] > 90
    # Timed out requests count with the most they may have taken, so what Groq counts is never more.
    assert lab.groq.tokens <= judge.run_budget.used_tokens
    assert judge.run_budget.used_requests >= lab.control.calls().count("groq", "chat.completions") - 100
    assert (judge.run_budget.held_tokens, judge.run_budget.held_requests) == (0, 0)


@pytest.mark.parametrize("concurrency", [1, 7])
def test_a_budget_is_never_exceeded_and_ends_at_the_same_interaction(
    lab: CloudLab, verdicts: Verdicts, concurrency: int
) -> None:
    interactions = [interaction(n) for n in range(30)]
    found = run(lab, verdicts, interactions, run_tokens=40_000, concurrency=concurrency)

    assert 30_000 < lab.groq.tokens <= 40_000
    assert (found.outcome, found.permanent) == (SliceStatus.PARTIAL, True)
    assert "over_budget" in found.error
    assert "OPTIINFRA_JUDGE_RUN_TOKENS=40000" in found.error
    (sample,) = (r["details"] for r in rows_of(found) if r["metric_type"] == "sample")
    assert sample["judged"] + sample["over_budget"] == 30
    over = {r["interaction_id"] for r in rows_of(found) if r["label"] == "over_budget"}
    assert len(over) == sample["over_budget"] > 0
    assert {(r["score"], r["tokens"]) for r in judged_rows(found) if r["interaction_id"] in over} == {(None, 0)}
    # They are asked in the order of their hashes, so who is left does not depend on how many are asked at a time.
    assert over == _over_with_one_at_a_time(lab, verdicts, interactions)


def _over_with_one_at_a_time(lab: CloudLab, verdicts: Verdicts, interactions: list[Interaction]) -> set[str]:
    with verdicts._clickhouse.session() as client:
        client.command("TRUNCATE TABLE application_verdicts")
    found = run(lab, verdicts, interactions, run_tokens=40_000, concurrency=1)
    return {r["interaction_id"] for r in rows_of(found) if r["label"] == "over_budget"}


def test_a_customers_day_is_a_budget_across_runs_and_ends_at_midnight(lab: CloudLab, verdicts: Verdicts) -> None:
    """At 10:35 ten of its requests may be used: 43 quarters of an hour of 24, the other six being of the past."""
    first = run(lab, verdicts, [interaction(n) for n in range(6)], day_requests=30)
    second = run(lab, verdicts, [interaction(n) for n in range(6, 12)], day_requests=30)
    tomorrow = run(lab, verdicts, [interaction(n) for n in range(6, 12)], day_requests=30, now=NOW + timedelta(days=1))
    assert (first.outcome, second.outcome, tomorrow.outcome) == (SliceStatus.OK, SliceStatus.PARTIAL, SliceStatus.OK)
    assert (first.api_calls, second.api_calls, tomorrow.api_calls) == (6, 4, 2)
    assert "2 over_budget (until 10:45 UTC the customer's day allows" in second.error
    assert (second.permanent, first.error) == (True, "")


def test_a_backfill_takes_nothing_from_the_windows_of_now(lab: CloudLab, verdicts: Verdicts) -> None:
    """Of 30 requests the past has six, all day; whether it or the present comes first changes nothing."""
    later = NOW + timedelta(hours=8)
    past = run(lab, verdicts, [interaction(n) for n in range(20)], day_requests=30, now=later)
    again = run(lab, verdicts, [interaction(n) for n in range(20, 40)], day_requests=30, now=later)
    judge = judge_at(lab.url, day_requests=30)
    live = Listed([interaction(n) for n in range(40, 45)])
    now = collect(customer(), "aws", W + timedelta(hours=8), live, judge, verdicts, lambda: later)
    judge.close()
    assert (past.api_calls, again.api_calls, now.api_calls) == (6, 0, 5)
    assert "windows of the past may use" in past.error
    assert "more come at 00:00 UTC" in again.error
    assert now.outcome is SliceStatus.OK


def test_one_customers_bad_questions_cost_another_no_verdict(lab: CloudLab) -> None:
    """Questions beyond what the server takes are the business of who asks them."""
    judge = judge_at(lab.url, concurrency=4, seconds=60)
    huge = [interaction(n, prompt="x " * 70_000 + str(n), response="y " * 70_000, context=None) for n in range(12)]
    with ThreadPoolExecutor(2) as pool:
        sources = {"stormy": Listed(huge), "calm": Listed([interaction(n) for n in range(12)])}
        kept = InMemory()
        done = {
            name: pool.submit(collect, customer(name), "aws", W, source, judge, kept, lambda: NOW)
            for name, source in sources.items()
        }
        calm = done["calm"].result()
        done["stormy"].result()
    judge.close()
    judged = [r for r in rows_of(calm) if r["metric_type"] == "coherence" and r["score"] is not None]
    assert len(judged) == 12


class InMemorySpend(Spend):
    """What is spent, where the test holds the engine."""

    def __init__(self) -> None:
        self.spent: dict[str, Amount] = {}

    def reserve(
        self,
        purse: Purse,
        wanted: Amount,
        since: datetime,
        left: Callable[[Mapping[str, Amount], Mapping[str, Amount]], Amount],
    ) -> Amount:
        spent = {purse.provider: self.spent.get(purse.customer_id, Amount(0, 0))}
        granted = Amount(*(max(0, min(*pair)) for pair in zip(wanted, left(spent, {}), strict=True)))
        self.give_back(purse, Amount(-granted.tokens, -granted.requests))
        return granted

    def give_back(self, purse: Purse, amount: Amount) -> None:
        spent = self.spent.get(purse.customer_id, Amount(0, 0))
        self.spent[purse.customer_id] = Amount(spent.tokens - amount.tokens, spent.requests - amount.requests)


class InMemory(Verdicts):
    """A cache that may be used by several threads while the test holds the engine."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Verdict] = {}
        self.spend = InMemorySpend()

    def load(self, customer_id: str, keys: Sequence[str]) -> dict[str, Verdict]:
        return {key: self.kept[customer_id, key] for key in keys if (customer_id, key) in self.kept}

    def store(self, customer_id: str, verdicts: Mapping[str, Verdict], asked_at: datetime, *, store_text: bool) -> None:
        self.kept.update({(customer_id, key): verdict for key, verdict in verdicts.items()})


def test_customers_side_by_side_share_the_budget_of_a_run(lab: CloudLab) -> None:
    judge = judge_at(lab.url, run_tokens=40_000, concurrency=4)
    kept = InMemory()

    def one(name: str) -> WindowResult:
        source = Listed([interaction(n, prompt=f"{name} {n}?") for n in range(10)])
        return collect(customer(name), "aws", W, source, judge, kept, lambda: NOW)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(one, ["acme", "globex", "initech", "hooli"]))
    judge.close()
    samples = [r["details"] for f in found for r in rows_of(f) if r["metric_type"] == "sample"]
    assert sum(d["judged"] + d["over_budget"] for d in samples) == 40
    assert 30_000 < lab.groq.tokens == judge.run_budget.used_tokens <= 40_000
    assert sum(f.api_calls for f in found) == len(kept.kept) == sum(d["judged"] for d in samples)


def test_rows_say_what_the_contract_says(lab: CloudLab, verdicts: Verdicts) -> None:
    grounded = interaction(1, model_name="openai/gpt-oss-20b")
    bare = interaction(2, context=None, model_name="claude-sonnet-4")
    found = run(lab, verdicts, [grounded, bare])
    assert found.rows is not None
    assert found.rows.schema == schema.APPLICATION.schema

    rows = rows_of(found)
    by = {(r["interaction_id"], r["metric_type"]): r for r in rows}
    assert Counter(r["metric_type"] for r in rows) == {**dict.fromkeys(ROWS, 2), "sample": 2, "usage": 2, "source": 1}
    assert by["", "source"]["details"] == {
        "interactions": 2, "bad_lines": 0, "other_provider": 0, "files": 1, "skipped": {}, "reasons": {}, "content": "",
    }  # fmt: skip
    assert by["i-2", "hallucination"]["label"] == "not_assessable"
    assert by["i-2", "hallucination"]["score"] is None
    assert by["i-1", "hallucination"]["details"]["claims_checked"] == 1
    accuracy = by["i-1", "accuracy"]
    assert accuracy["timestamp"] == grounded.timestamp
    assert accuracy["window_start"] == W
    assert accuracy["label"] in {"very_poor", "poor", "fair", "good", "excellent"}
    assert accuracy["details"]["direction"] == "higher_is_better"
    assert accuracy["details"]["prompt_length"] == len(grounded.prompt)
    assert accuracy["tokens"] > 500
    assert len({(r["tokens"], r["metadata"]["usd"]) for r in judged_rows(found) if r["interaction_id"] == "i-1"}) == 1
    assert by["i-1", "toxicity"]["details"]["direction"] == "higher_is_worse"
    assert by["i-1", "toxicity"]["details"]["self_preference"] is True
    assert by["i-2", "toxicity"]["details"]["self_preference"] is False
    assert {r["judge_model"] for r in rows} == {"openai/gpt-oss-120b"}
    assert len({r["judge_version"] for r in rows}) == 1


def test_a_window_without_interactions_is_collected(lab: CloudLab, verdicts: Verdicts) -> None:
    found = run(lab, verdicts, [])
    assert (found.outcome, [r["metric_type"] for r in rows_of(found)]) == (SliceStatus.OK, ["source"])
    assert lab.control.calls().count("groq") == 0


def test_without_a_key_nothing_is_read_and_the_error_says_what_to_set(verdicts: Verdicts) -> None:
    class Unread(Listed):
        def fetch(self, provider: str, start: datetime, end: datetime) -> Iterator[Interaction]:
            raise AssertionError("read without a judge")

    found = collect(customer(), "aws", W, Unread([]), None, verdicts, lambda: NOW)
    assert (found.outcome, found.rows) == (SliceStatus.NOT_CONFIGURED, None)
    assert "GROQ_API_KEY" in found.error


@pytest.mark.parametrize(
    ("judging", "cause", "words"),
    [
        ({"api_key": "gsk_secret"}, Cause.AUTH, "GROQ_API_KEY"),
        ({"model": "llama-guess"}, Cause.CONFIG, "OPTIINFRA_JUDGE_MODEL.*openai/gpt-oss-120b"),
    ],
)
def test_a_judge_that_cannot_be_used_is_an_error_before_any_question(
    lab: CloudLab, verdicts: Verdicts, judging: dict[str, Any], cause: Cause, words: str
) -> None:
    with pytest.raises(CloudError, match=words) as caught:
        run(lab, verdicts, [interaction(1)], **judging)
    assert caught.value.cause is cause
    assert "gsk_secret" not in str(caught.value)
    assert lab.control.calls().count("groq", "chat.completions") == 0


def test_a_key_that_ends_in_the_middle_keeps_what_was_answered(lab: CloudLab, verdicts: Verdicts) -> None:
    lab.control.add_faults({"action": "expired", "service": "groq", "operation": "chat.completions", "skip": 5})
    interactions = [interaction(n) for n in range(20)]
    with pytest.raises(CloudError, match="GROQ_API_KEY"):
        run(lab, verdicts, interactions, concurrency=2)
    refused = lab.control.calls().count("groq", "chat.completions", status=401)
    assert refused <= 2

    lab.control.clear_faults()
    assert run(lab, verdicts, interactions).api_calls == 15


def test_a_malformed_answer_is_asked_for_again_in_three_collections_and_then_no_more(
    lab: CloudLab, verdicts: Verdicts
) -> None:
    lab.control.add_faults({"action": "malformed", "service": "groq"})
    found = [run(lab, verdicts, [interaction(1)], now=NOW + timedelta(days=n)) for n in range(4)]
    assert [one.api_calls for one in found] == [2, 2, 2, 0]
    assert {one.outcome for one in found} == {SliceStatus.PARTIAL}
    assert [one.permanent for one in found] == [False, False, True, True]
    assert "1 malformed (1 asked 3 times and not again)" in found[3].error
    assert "OPTIINFRA_JUDGE_MODEL" in found[3].error
    assert {(r["label"], r["score"], r["details"]["cause"]) for r in judged_rows(found[3])} == {
        ("judge_failed", None, "malformed")
    }
    assert rows_of(found[3]) == rows_of(found[2])


def test_a_malformed_answer_gives_way_to_one_that_can_be_read(lab: CloudLab, verdicts: Verdicts) -> None:
    chat = {"service": "groq", "operation": "chat.completions"}
    lab.control.add_faults({"action": "malformed", **chat, "times": 2})
    assert run(lab, verdicts, [interaction(1)]).outcome is SliceStatus.PARTIAL
    again = run(lab, verdicts, [interaction(1)])
    assert (again.outcome, again.api_calls) == (SliceStatus.OK, 1)
    assert (run(lab, verdicts, [interaction(1)]).api_calls, again.error) == (0, "")


@pytest.mark.parametrize("action", ["throttle", "capacity", "error", "unavailable", "disconnect"])
def test_a_judge_that_is_away_leaves_a_partial_window_that_the_next_try_completes(
    lab: CloudLab, verdicts: Verdicts, action: str
) -> None:
    clean = rows_of(run(lab, verdicts, [interaction(1)]))
    with verdicts._clickhouse.session() as client:
        client.command("TRUNCATE TABLE application_verdicts")
    lab.control.add_faults({"action": action, "service": "groq", "operation": "chat.completions"})
    found = run(lab, verdicts, [interaction(1)])
    assert (found.outcome, found.permanent, found.api_calls) == (SliceStatus.PARTIAL, False, 6)
    assert "1 of 1 sampled interactions have no verdict" in found.error
    assert all(r["score"] is None for r in rows_of(found) if r["metric_type"] not in RULES)
    lab.control.clear_faults()
    assert rows_of(run(lab, verdicts, [interaction(1)])) == clean


def test_hours_of_refusals_end_in_the_time_that_is_set(lab: CloudLab, verdicts: Verdicts) -> None:
    lab.control.add_faults({"action": "throttle", "service": "groq", "operation": "chat.completions", "seconds": 3600})
    began = time.monotonic()
    found = run(lab, verdicts, [interaction(n) for n in range(50)], seconds=1.0, concurrency=4)
    assert time.monotonic() - began < 5
    assert found.outcome is SliceStatus.PARTIAL
    assert lab.control.calls().count("groq", "chat.completions") <= 4
    (sample,) = (r["details"] for r in rows_of(found) if r["metric_type"] == "sample")
    assert sum(sample["failed"].values()) == 50


SECRET = "PLANTED-7f3a"  # in every text, and never to be seen where texts are not kept


@pytest.mark.parametrize("action", [None, "malformed", "error", "deny", "unknown_key", "disconnect"])
def test_without_store_text_no_text_is_anywhere(
    lab: CloudLab,
    clickhouse: ClickHouse,
    verdicts: Verdicts,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    action: str | None,
) -> None:
    caplog.set_level(0)
    one = interaction(1, prompt=f"{SECRET} p?", response=f"{SECRET} r.", context=f"{SECRET} c", reference=f"{SECRET} d")
    lab.groq.labels = {label_key(one.prompt, one.response): _quoting(SECRET)}
    if action:
        lab.control.add_faults({"action": action, "service": "groq", "operation": "chat.completions"})
    try:
        found = run(lab, verdicts, [one])
    except CloudError as error:
        seen = repr(error) + str(error.__context__) + str(error.__cause__)
    else:
        assert found.rows is not None
        seen = repr(found.rows.to_pylist()) + repr(found)
    with clickhouse.session() as client:
        seen += repr(client.query("SELECT * FROM application_verdicts").result_rows)
    assert SECRET not in seen
    assert SECRET not in caplog.text
    assert SECRET not in "".join(capfd.readouterr())
    assert SECRET not in repr(one)


def _quoting(text: str) -> dict[str, Any]:
    found = {name: {"evidence": f"It says {text}.", "score": 4} for name in DIRECTION_UP}
    return {
        **found,
        "hallucination": {"claims": [{"claim": text, "verdict": "contradicted"}], "label": "minor"},
        "retrieval": {"chunks": [{"chunk": 1, "relevance": "relevant"}]},
        "recall": {"facts": [{"fact": text, "in_context": "yes"}]},
        "toxicity": {"evidence": text, "category": "none", "severity": 0},
    }


def test_with_store_text_texts_and_evidence_are_kept_also_in_the_cache(lab: CloudLab, verdicts: Verdicts) -> None:
    one = interaction(1)
    lab.groq.labels = {label_key(one.prompt, one.response): _quoting("two years")}
    for _ in range(2):
        found = rows_of(run(lab, verdicts, [one], store_text=True))
        scored = [r for r in found if r["interaction_id"]]
        assert {(r["prompt_text"], r["response_text"]) for r in scored} == {(one.prompt, one.response)}
        told = {r["metric_type"]: json.dumps(r["details"]) for r in scored}
        assert {name for name, details in told.items() if "two years" in details} == set(METRICS)
    # The customer takes the permission back: the cache still holds evidence, the rows must not.
    assert "two years" not in repr(rows_of(run(lab, verdicts, [one], store_text=False)))


def test_equal_texts_are_asked_about_once(lab: CloudLab, verdicts: Verdicts) -> None:
    same = [replace(interaction(1), interaction_id=f"i-{n}") for n in range(4)]
    found = run(lab, verdicts, same)
    assert (found.api_calls, len([r for r in rows_of(found) if r["interaction_id"]])) == (1, 4 * len(ROWS))
    (sample,) = (r for r in rows_of(found) if r["metric_type"] == "sample")
    assert sample["details"]["tokens"] == next(r["tokens"] for r in rows_of(found) if r["interaction_id"])


# --- kill -9 --------------------------------------------------------------------------------------------------------

MANY = 15
AT_A_TIME = 3


def killed_run(path: str, url: str, stores: int, where: str) -> None:
    """Collect, and die before or after the n-th store of verdicts."""
    verdicts = Verdicts(ClickHouse(path))
    store, left = verdicts.store, [stores]

    def counted(*arguments: Any, **named: Any) -> None:
        left[0] -= 1
        if not left[0] and where == "before":
            killing.die()
        store(*arguments, **named)
        if not left[0]:
            killing.die()

    verdicts.store = counted  # type: ignore[method-assign]
    _collect_many(verdicts, url)


def next_run(path: str, url: str, told: str) -> None:
    """Collect what is left; write down which interactions were stored already, and the rows."""
    from optiinfra_dagster.quality.rubric import key_of

    verdicts = Verdicts(ClickHouse(path))
    version = judge_at(url).version
    keys = {key_of("acme", version, one): one for one in map(interaction, range(MANY))}
    stored = verdicts.load("acme", list(keys))
    found = _collect_many(verdicts, url)
    known = [label_key(keys[key].prompt, keys[key].response) for key in stored]
    Path(told).write_text(json.dumps({"stored": known, "outcome": found.outcome.value, "calls": found.api_calls}))


def _collect_many(verdicts: Verdicts, url: str) -> WindowResult:
    judge = judge_at(url, concurrency=AT_A_TIME)
    interactions = [interaction(n) for n in range(MANY)]
    return collect(customer(), "aws", W, Listed(interactions), judge, verdicts, lambda: NOW)


@pytest.mark.parametrize("where", ["before", pytest.param("after", marks=pytest.mark.long)])  # the cheaper of the two
def test_a_kill_loses_at_most_what_was_under_way(lab: CloudLab, tmp_path: Path, where: str) -> None:
    path, told = f"chdb://{copy_migrated(tmp_path / 'clickhouse')}", tmp_path / "told.json"
    assert killing.run(killed_run, path, lab.url, 2, where) == -signal.SIGKILL
    assert killing.run(next_run, path, lab.url, str(told)) == 0

    after = json.loads(told.read_text())
    assert after["outcome"] == "ok"
    assert 1 <= len(after["stored"]) < MANY
    assert after["calls"] == MANY - len(after["stored"])
    assert {lab.groq.answered[key] for key in after["stored"]} == {1}
    assert len(lab.groq.answered) == MANY
    assert lab.groq.answered.total() <= MANY + (AT_A_TIME if where == "before" else 0)


# --- What could not be read -------------------------------------------------------------------------------------------


def of_file(tmp_path: Path, lab: CloudLab, verdicts: Verdicts, *lines: bytes, **application: Any) -> WindowResult:
    """The window of a customer whose log is a file with these lines, or an empty folder."""
    folder = tmp_path / "logs"
    folder.mkdir()
    if lines:
        (folder / "x.jsonl").write_bytes(b"\n".join(lines))
        os.utime(folder / "x.jsonl", (NOW.timestamp(), NOW.timestamp()))
    mine = customer(interactions=str(folder), **application)
    judge = judge_at(lab.url)
    try:
        return collect(mine, "aws", W, open_source(mine), judge, verdicts, lambda: NOW)
    finally:
        judge.close()


def line_of(n: int, **more: Any) -> bytes:
    told = {"id": f"i{n}", "ts": W.isoformat(), "prompt": f"{SECRET} {n}?", "response": f"{SECRET} {n}.", **more}
    return json.dumps(told).encode()


def test_what_could_not_be_read_makes_a_window_partial_and_is_told_without_texts(
    lab: CloudLab, verdicts: Verdicts, tmp_path: Path
) -> None:
    bad = [line_of(7)[:-9], line_of(8, ts=f"{SECRET}"), line_of(9)[:-9]]
    found = of_file(tmp_path, lab, verdicts, line_of(1), *bad, line_of(2))
    assert (found.outcome, found.permanent) == (SliceStatus.PARTIAL, True)
    assert found.error.startswith("3 of 5 records of 1 file could not be read: 2 not_json, 1 no_time (first in ")
    assert "Remedy: write whole JSON records, one a line; give each record its time." in found.error
    assert "x.jsonl" in found.error
    assert SECRET not in found.error
    (source,) = (r["details"] for r in rows_of(found) if r["metric_type"] == "source")
    assert source["reasons"] == {"no_time": 1, "not_json": 2}
    assert sum(r["metric_type"] == "toxicity" for r in rows_of(found)) == 2


def test_a_log_that_nobody_can_read_is_not_a_quiet_one(lab: CloudLab, verdicts: Verdicts, tmp_path: Path) -> None:
    found = of_file(tmp_path, lab, verdicts, *[json.dumps({"ts": W.isoformat(), "what": n}).encode() for n in range(9)])
    assert found.outcome is SliceStatus.PARTIAL
    assert found.error.startswith("9 of 9 records of 1 file could not be read: ")
    assert not [r for r in rows_of(found) if r["metric_type"] == "sample"]


def test_records_that_do_not_say_where_they_ran_name_the_field_to_write(
    lab: CloudLab, verdicts: Verdicts, tmp_path: Path
) -> None:
    azure = [{"subscription_id": "a0000000-0000-4000-8000-000000000001"}]
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "x.jsonl").write_bytes(line_of(1))
    mine = customer(interactions=str(folder)).model_copy(update={"azure": azure})
    judge = judge_at(lab.url)
    found = collect(mine, "aws", W, open_source(mine), judge, verdicts, lambda: NOW)
    judge.close()
    assert found.outcome is SliceStatus.PARTIAL
    assert "1 no_provider" in found.error
    assert "write `provider` below `application` in the customers file" in found.error


def test_a_place_without_any_file_fails_and_says_what_to_do(lab: CloudLab, verdicts: Verdicts, tmp_path: Path) -> None:
    found = of_file(tmp_path, lab, verdicts)
    assert (found.outcome, found.rows, found.permanent) == (SliceStatus.FAILED, None, False)
    assert found.error.startswith(f"nothing was ever logged in {tmp_path}/logs. Correct `interactions`")


def test_a_quiet_window_of_a_place_with_files_is_ok(lab: CloudLab, verdicts: Verdicts, tmp_path: Path) -> None:
    found = of_file(tmp_path, lab, verdicts, line_of(1, ts=(W - timedelta(hours=1)).isoformat()))
    assert (found.outcome, found.error) == (SliceStatus.OK, "")
    (source,) = (r["details"] for r in rows_of(found))
    assert (source["interactions"], source["content"]) == (0, "0" * 16)


def test_a_table_without_a_row_of_the_customer_fails_and_says_what_to_do(lab: CloudLab, verdicts: Verdicts) -> None:
    mine = customer("nobody")
    source = open_source(mine, clickhouse=verdicts._clickhouse)
    judge = judge_at(lab.url)
    found = collect(mine, "aws", W, source, judge, verdicts, lambda: NOW)
    judge.close()
    assert found.outcome is SliceStatus.FAILED
    assert "customer's id in customer_id" in found.error


def test_a_step_or_a_failed_call_is_counted_apart(lab: CloudLab, verdicts: Verdicts) -> None:
    step = SkippedCall(Skip.STEP, "s1", "bot", "gpt-4o-mini", W)
    judge = judge_at(lab.url)
    found = collect(customer(), "aws", W, Listed([interaction(1), step, step]), judge, verdicts, lambda: NOW)
    judge.close()
    assert found.outcome is SliceStatus.OK
    (sample,) = (r["details"] for r in rows_of(found) if r["metric_type"] == "sample")
    assert sample["population"] == 1
