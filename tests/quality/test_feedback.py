"""Feedback in logs: each tool's own records, what they say, whose newest counts, and what must not be kept of it."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import ValidationError

from optiinfra_dagster.config.application import Application
from optiinfra_dagster.model.interaction_ids import Ids, hash_of
from optiinfra_dagster.quality.feedback import WindowFeedback, note_ids
from optiinfra_dagster.quality.interactions import BadLine, Feedback, Interaction, Item, Origin, Reason
from optiinfra_dagster.quality.logs.reader import read_file
from optiinfra_dagster.quality.opinions import opinion_of, shown_value
from optiinfra_dagster.storage.known_interactions import KnownInteractions
from tests.quality.test_collect import rows_of, run
from tests.support.judging import W, interaction
from tests.support.samples import W as RECENT
from tests.support.samples import select

if TYPE_CHECKING:
    from optiinfra_dagster.lab import CloudLab
    from optiinfra_dagster.model.quality import ApplicationRow
    from optiinfra_dagster.storage.clickhouse import ClickHouse
    from optiinfra_dagster.storage.verdicts import Verdicts

EXAMPLES = [json.loads(line) for line in (Path(__file__).parent / "feedback.jsonl").read_text("utf-8").splitlines()]
SECRETS = ("jane@example.com", "my card is 4111", "rather rude, Jane")


def read(*records: object) -> list[Item]:
    text = "".join(json.dumps(record) + "\n" for record in records)
    return list(read_file(io.BufferedReader(io.BytesIO(text.encode()))))


def application(**fields: Any) -> Application:
    return Application.model_validate({"interactions": "clickhouse", **fields})


def given(*feedback: Feedback, **fields: Any) -> list[ApplicationRow]:
    held = WindowFeedback("acme", application(**fields))
    for one in feedback:
        held.add(one)
    return list(held.rows())


def said(**changes: Any) -> Feedback:
    return replace(Feedback(W, ids=("i-1",), name="thumbs", word="up"), **changes)


# --- What is read -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("example", EXAMPLES, ids=[example["name"] for example in EXAMPLES])
def test_records_of_each_tool(example: dict[str, Any]) -> None:
    """Nothing of it is a call to a model or a bad line; what was said, of what, by whom, and when."""
    found = read(*example["lines"])
    feedback = [item for item in found if isinstance(item, Feedback)]
    assert len(found) - len(feedback) == example["want"].get("interactions", 0)
    assert all(isinstance(item, Feedback | Interaction) for item in found)
    for got, want in zip(feedback, example["want"]["feedback"], strict=True):
        told: dict[str, Any] = {
            "ids": list(got.ids), "trace_id": got.trace_id, "name": got.name, "origin": got.origin.value,
            "label": opinion_of(got).label, "rule": opinion_of(got).rule, "by": got.given_by, "comment": got.comment,
            "at": got.timestamp.isoformat(), "app": got.application_id, "about": got.about,
        }  # fmt: skip
        assert {key: told[key] for key in want} == want


def test_every_way_of_saying_it_has_an_example() -> None:
    names = {example["name"].split()[0] for example in EXAMPLES}
    assert names >= {"langfuse", "langsmith", "phoenix", "opentelemetry", "plain"}


@pytest.mark.parametrize("value", [None, [], {}, "x" * 600, 1e400, -1, True, {"a": 1}, "2026", float("nan")])
@pytest.mark.parametrize("example", EXAMPLES[::3], ids=[example["name"] for example in EXAMPLES[::3]])
def test_odd_values_are_no_error(example: dict[str, Any], value: object) -> None:
    """Each field in turn has a value that it should not have."""
    for line in example["lines"]:
        for key in line:
            found = read({**line, key: value})
            assert all(
                opinion_of(item).label in {"good", "bad", "unknown"} for item in found if isinstance(item, Feedback)
            )
            if isinstance(line[key], dict):
                for inner in line[key]:
                    read({**line, key: {**line[key], inner: value}})


def test_feedback_without_a_time_is_a_bad_line() -> None:
    found = read({"feedback": {"interaction_id": "i", "thumb": "up"}})
    assert found == [BadLine(Reason.NO_TIME)]


def test_what_is_called_feedback_and_is_none_changes_nothing() -> None:
    call = {"timestamp": W.isoformat(), "id": "i", "prompt": "p", "response": "r"}
    assert [type(item) for item in read({**call, "feedback": {"id": 5}})] == [Interaction]
    assert [type(item) for item in read({**call, "feedback": "good"})] == [Interaction]
    assert read({**call, "timestamp": None, "feedback": {"thumb": "up"}}) == [BadLine(Reason.NO_TIME, line=0)]


def test_no_repr_tells_what_was_said_or_by_whom() -> None:
    assert not any(secret in repr(said(given_by=SECRETS[0], comment=SECRETS[1], word=SECRETS[2])) for secret in SECRETS)


# --- What it says -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "said_", "scale", "label", "rule"),
    [
        ("thumbs", 1, "", "good", "thumbs"),
        ("thumbs", 0, "", "bad", "thumbs"),
        ("user-thumbs", -1, "", "bad", "thumbs"),
        ("thumbs", 5, "", "unknown", "thumbs"),
        ("x", True, "", "unknown", ""),
        ("helpful", True, "", "good", "yes_or_no"),
        ("is_helpful", "no", "", "bad", "yes_or_no"),
        ("not_helpful", True, "", "unknown", ""),
        ("was_harmful", "yes", "", "unknown", ""),
        ("x", "👎", "", "bad", "word"),
        ("x", "Thumbs up", "", "good", "word"),
        ("x", "Not helpful", "", "bad", "word"),
        ("x", "meh", "", "unknown", ""),
        ("stars", 1, "", "bad", "1..5"),
        ("stars", "4", "", "good", "1..5"),
        ("starRating", 3, "", "unknown", "1..5"),
        ("stars", 8, "", "unknown", "1..5"),
        ("rating", 1, "", "unknown", ""),
        ("rating", 0.8, "", "unknown", ""),
        ("rating", -1, "", "unknown", ""),
        ("rating", 1, "0..1", "good", "0..1"),
        ("rating", 0.4, "0..1", "bad", "0..1"),
        ("rating", 0.5, "0..1", "unknown", "0..1"),
        ("rating", 0, "-1..1", "unknown", "-1..1"),
        ("rating", -1, "-1..1", "bad", "-1..1"),
        ("rating", 1, "1..5", "bad", "1..5"),
        ("harm", 1, "5..1", "good", "5..1"),
        ("harm", 5, "5..1", "bad", "5..1"),
        ("harm", "yes", "1..0", "bad", "1..0"),
        ("rating", 3, "1..1", "unknown", "1..1"),
        ("rating", 3, "often", "unknown", "often"),
        ("likelihood", 1, "", "unknown", ""),
        ("", None, "", "unknown", ""),
    ],
)
def test_what_is_said_goes_by_a_scale_that_is_told(name: str, said_: object, scale: str, label: str, rule: str) -> None:
    is_word = isinstance(said_, str)
    one = said(name=name, number=None if is_word else said_, word=said_ if is_word else "", scale=scale)
    assert opinion_of(one) == (label, rule)


def test_customers_file_says_what_numbers_mean_and_what_is_feedback() -> None:
    score = said(name="user_score", word="", number=1.0, origin=Origin.UNSAID)
    assert [row.label for row in given(score)] == ["unknown"]
    assert [row.label for row in given(score, feedback=[{"name": "user_score", "scale": "0..1"}])] == ["good"]
    of_machine = replace(score, name="helpfulness", origin=Origin.MACHINE)
    assert given(of_machine, replace(of_machine, origin=Origin.UNSAID)) == []
    assert [row.label for row in given(of_machine, feedback=[{"name": "helpfulness", "scale": "5..1"}])] == ["good"]


@pytest.mark.parametrize(
    ("scales", "message"),
    [
        ([{"name": "a", "scale": "1-5"}], "is no scale"),
        ([{"name": "a", "scale": "1..1"}], "is no scale"),
        ([{"name": "a", "scale": "0..1"}, {"name": "a", "scale": "thumbs"}], "names 'a' twice"),
    ],
)
def test_mistakes_in_scales(scales: list[dict[str, str]], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        application(feedback=scales)


# --- Whose counts -----------------------------------------------------------------------------------------------------


def test_newest_of_each_user_on_each_thing_counts_whatever_the_order() -> None:
    late = W + timedelta(minutes=5)
    spoken = [
        said(given_by="a"), said(given_by="a", timestamp=late, word="down"), said(given_by="b"),
        said(given_by="a", name="helpful", word="good"), said(ids=("i-2",), word="down"), said(ids=("i-2",)),
        said(ids=(), trace_id="t"), said(ids=(), about="session"),
    ]  # fmt: skip
    rows = given(*spoken)
    assert rows == given(*reversed(spoken)) == given(*spoken, *spoken)
    assert sorted((row.details["ids"], row.details["trace_id"], row.details["name"], row.label) for row in rows) == [
        ((), "", "thumbs", "good"), ((), "t", "thumbs", "good"), (("i-1",), "", "helpful", "good"),
        (("i-1",), "", "thumbs", "bad"), (("i-1",), "", "thumbs", "good"), (("i-2",), "", "thumbs", "good"),
    ]  # fmt: skip
    assert len({row.interaction_id for row in rows}) == len(rows)


@pytest.mark.parametrize("store_text", [False, True])
def test_words_of_users_are_kept_only_where_texts_are(store_text: bool) -> None:
    user, comment, category = SECRETS
    rows = given(
        said(given_by=user, comment=comment), said(given_by=user, word=category, name="b", comment=""),
        store_text=store_text,
    )  # fmt: skip
    told = repr([(row, row.details) for row in rows])
    assert user not in told
    assert ((comment in told) and (category in told)) is store_text
    assert [shown_value(said(word=word)) for word in ("up", "4.5", category)] == ["up", 4.5, None]


def test_hash_of_a_user_differs_from_answer_to_answer() -> None:
    ends = {
        row.interaction_id.partition("-")[2] for n in range(20) for row in given(said(ids=(f"i-{n}",), given_by="a"))
    }
    assert len(ends) > 15
    assert all(len(end) == 4 for end in ends)


# --- The window -------------------------------------------------------------------------------------------------------


def test_window_has_rows_of_feedback_beside_its_scores(
    lab: CloudLab, verdicts: Verdicts, clickhouse: ClickHouse
) -> None:
    """Which change no score, are of no judge, and say what was left out."""
    one = interaction(1, trace_id="t", other_ids=("t-s", "r-1"))
    without = [row for row in rows_of(run(lab, verdicts, [one])) if row["metric_type"] not in {"source", "feedback"}]
    spoken: list[Any] = [
        one, said(given_by=SECRETS[0], comment=SECRETS[1]), said(name="helpfulness", origin=Origin.MACHINE),
    ]  # fmt: skip
    found = run(lab, verdicts, spoken)
    rows = rows_of(found)
    assert [row for row in rows if row["metric_type"] not in {"source", "feedback"}] == without
    (feedback,) = [row for row in rows if row["metric_type"] == "feedback"]
    assert (feedback["score"], feedback["label"], feedback["judge_model"], feedback["judge_version"]) == (
        1.0,
        "good",
        "",
        "",
    )
    (source,) = [row["details"] for row in rows if row["metric_type"] == "source"]
    assert (source["interactions"], source["feedback"], source["evaluations"]) == (1, 2, 1)
    assert not any(secret in str(rows) for secret in SECRETS)
    for _ in range(2):
        KnownInteractions(clickhouse).keep("acme", "aws", RECENT, found.ids)
    known = select(clickhouse, "SELECT * FROM application_interactions FINAL WHERE customer_id = 'acme'")
    assert {row["id_hash"] for row in known} == {
        hash_of("id", "i-1"), hash_of("id", "t-s"), hash_of("id", "s"), hash_of("id", "r-1"), hash_of("trace", "t"),
    }  # fmt: skip
    names = ("interaction_hash", "provider", "application_id", "application_name", "window_start", "timestamp")
    assert {tuple(row[name] for name in names) for row in known} == {
        (hash_of("id", "i-1"), "aws", "bot", "Support bot", RECENT, one.timestamp)
    }


def test_window_with_feedback_only_is_no_failure(lab: CloudLab, verdicts: Verdicts) -> None:
    found = run(lab, verdicts, [said()])  # type: ignore[list-item]
    assert (found.outcome.value, found.error) == ("ok", "")


def test_ids_of_many_interactions_are_small() -> None:
    ids = Ids()
    for n in range(1000):
        note_ids(ids, interaction(n, trace_id=f"t-{n}"))
    assert len(ids.hashes) == 2000
    assert len(ids.names) == 1


def test_time_is_that_of_the_last_change() -> None:
    (found,) = read({
        "id": "f", "run_id": "r", "key": "thumbs", "score": 1, "created_at": "2026-11-21T12:00:00Z",
        "modified_at": "2026-11-23T12:00:00Z",
    })  # fmt: skip
    assert found.timestamp == datetime(2026, 11, 23, 12, tzinfo=UTC)
