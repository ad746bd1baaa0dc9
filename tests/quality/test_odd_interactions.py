"""Interactions and answers of odd shapes: what can be read is, what cannot is counted, nothing is lost beside it."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import operator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from optiinfra_dagster.model.quality import Failure
from optiinfra_dagster.quality import golden
from optiinfra_dagster.quality.interactions import BadLine, Interaction, Item, Reason
from optiinfra_dagster.quality.logs.reader import read_file, read_rows
from optiinfra_dagster.quality.pace import Pace
from optiinfra_dagster.quality.replies import read_completion
from optiinfra_dagster.quality.rubric import Question
from tests.support.judging import interaction

if TYPE_CHECKING:
    from collections.abc import Iterator

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
FLAT: dict[str, Any] = {"id": "i", "app": "shop", "timestamp": NOON.isoformat(), "prompt": "Why?", "response": "So."}


def read(text: str) -> list[Item]:
    return list(read_file(io.BufferedReader(io.BytesIO(text.encode()))))


def texts(record: dict[str, Any]) -> tuple[str, str]:
    (found,) = read(json.dumps(record))
    assert isinstance(found, Interaction), found
    return found.prompt, found.response


@pytest.mark.parametrize(
    "fields",
    [
        {"prompt": "", "messages": [{"role": "user", "content": "Why?"}]},
        {"prompt": None, "response": [], "user_input": "Why?", "model_output": "So."},
        {  # Gemini
            "prompt": {"contents": [{"role": "user", "parts": [{"text": "Why?"}]}]},
            "response": {"candidates": [{"content": {"parts": [{"text": "So."}]}, "finishReason": "STOP"}]},
        },
        {  # Bedrock's invocation log
            "prompt": {
                "inputBodyJson": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Why?"}]}]}
            },
            "response": {"outputBodyJson": {"content": [{"type": "text", "text": "So."}]}},
        },
    ],
)
def test_texts_are_found_in_the_shapes_of_other_clients(fields: dict[str, Any]) -> None:
    assert texts(FLAT | fields) == ("Why?", "So.")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21 12:00:00 UTC",
        "2026-11-21t12:00:00z",
        "1795262400.0",
        " 1795262400000 ",
        "2026-11-21 12:00:00 +0000 UTC",
    ],
)
def test_times_are_known_in_the_spellings_of_other_tools(text: str) -> None:
    (found,) = read(json.dumps(FLAT | {"timestamp": text}))
    assert found.timestamp == NOON


def test_an_array_is_read_in_one_line_and_with_a_record_on_each() -> None:
    record = json.dumps(FLAT)
    other = json.dumps(FLAT | {"id": "j"})
    for text in (f"[{record}, {other}]", f"[\n{record},\n{other}\n]\n", f"{record}{other}", f"{record}\n\n{other}"):
        assert [item.interaction_id for item in read(text) if isinstance(item, Interaction)] == ["i", "j"]


@pytest.mark.parametrize(
    "attributes",
    [5, [{"key": "gen_ai.prompt", "value": {"arrayValue": None}}], {"gen_ai.operation.name": ["chat"]}],
)
def test_one_odd_span_costs_none_of_the_others(attributes: object) -> None:
    def span(number: int, attributes: object) -> dict[str, Any]:
        times = {"traceId": "a", "spanId": str(number), "startTimeUnixNano": "1795262400000000000"}
        return times | {"attributes": attributes}

    good = [
        {"key": "gen_ai.prompt", "value": {"stringValue": "Why?"}},
        {"key": "gen_ai.completion", "value": {"stringValue": "So."}},
    ]
    spans = [span(0, good), None if attributes == 5 else span(1, attributes), span(2, good)]
    found = read(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}))
    told = [item.reason if isinstance(item, BadLine) else getattr(item, "interaction_id", "") for item in found]
    assert told == ["a-0", Reason.WRONG_TYPE, "a-2"]


def test_texts_of_a_table_are_texts_though_they_look_like_messages() -> None:
    text = '[{"role": "user", "content": 5}]'
    fields = [int(NOON.timestamp()), "i", "shop", "", "m", "aws", text, "So.", "", "", None, None]
    (found,) = read_rows([[*fields, False]], has_spans=False)
    assert isinstance(found, Interaction)
    assert found.prompt == text


@pytest.mark.parametrize("tokens", [10**20, -1, 1.5, "9", None, True])
def test_tokens_that_no_answer_can_have_are_not_known(tokens: object) -> None:
    usage = {"prompt_tokens": tokens, "completion_tokens": 5}
    reply = read_completion({"usage": usage, "choices": []}, Question.about(interaction(1)))
    assert (reply.failure, reply.unanswered, reply.prompt_tokens) == (Failure.MALFORMED, True, 0)


def test_a_rate_limit_that_is_no_number_is_passed_over() -> None:
    pace = Pace()
    pace.note({"x-ratelimit-remaining-tokens": "\u00b2", "x-ratelimit-reset-tokens": "1h"})
    assert pace.wait(10**6, float("inf"))


def test_a_golden_set_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    line = {"prompt": "Why?", "response": "So.", "labels": {"coherence": 4}}
    path = tmp_path / "golden.jsonl"
    path.write_text(json.dumps(line) + "\r\n\r\n", encoding="utf-8-sig")
    assert [{scale.metric: label for scale, label in of.items()} for of in golden.load(path).labels] == [
        {"coherence": 4}
    ]


# A number that is no float, texts that are none, and values of every other type.
ODD_VALUES: tuple[Any, ...] = (
    10**400,
    "x",
    {},
    [],
    None,
    True,
    "\ud800",
    [[]],
    {"a": {}},
    -1,
    1e308,
    float("nan"),
    "1e999",
    [None],
)


def leaves(held: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Where a record holds its values, the first of each list, and the values."""
    if isinstance(held, dict) or (isinstance(held, list) and held):
        for key in held if isinstance(held, dict) else [0]:
            yield from leaves(held[key], (*place, key))
    else:
        yield place, held


def test_an_odd_value_in_any_place_of_any_format_ends_no_file() -> None:
    examples = (Path(__file__).parent / "formats.jsonl").read_text("utf-8").splitlines()
    odd = itertools.cycle(ODD_VALUES)
    tried = 0
    for line in [line for example in examples for line in json.loads(example)["lines"] if line.startswith(("{", "["))]:
        with contextlib.suppress(json.JSONDecodeError):
            for (*place, last), value in [leaf for leaf in leaves(json.loads(line)) if leaf[0]]:
                record = json.loads(line)
                is_number = isinstance(value, (int, float))
                functools.reduce(operator.getitem, place, record)[last] = 10**400 if is_number else next(odd)
                read(json.dumps(record))
                tried += 1
    assert tried > 2000


def test_what_is_no_json_names_its_line() -> None:
    good = b'{"id": "1", "ts": "2026-11-21T10:00:00Z", "prompt": "p", "response": "r"}\n'
    data = good * 3 + b"{broken\n" + good + b"\n\n" + b'{"also": \n' + good
    found = [item for item in read_file(io.BufferedReader(io.BytesIO(data))) if isinstance(item, BadLine)]
    assert [(item.reason, item.line) for item in found] == [(Reason.NOT_JSON, 4), (Reason.NOT_JSON, 8)]
