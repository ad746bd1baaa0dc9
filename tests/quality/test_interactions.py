"""Lines of logs as interactions: every spelling and shape, and lines that are no use."""

from __future__ import annotations

import dataclasses
import io
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optiinfra_dagster.quality.interactions import BadLine, Interaction, Item, Reason
from optiinfra_dagster.quality.logs.reader import MAX_LINE_BYTES, read_file

NOON = datetime(2026, 11, 21, 12, 0, 0, 250_000, tzinfo=UTC)
NANOS = 1_795_262_400_250_000_000
FLAT: dict[str, Any] = {
    "interaction_id": "i1",
    "application_id": "shop",
    "model": "gpt-4o",
    "timestamp": "2026-11-21T12:00:00.25Z",
    "prompt": "Why?",
    "response": "Because.",
}
USER = [{"role": "user", "parts": [{"type": "text", "content": "Why?"}]}]
ASSISTANT = [{"role": "assistant", "parts": [{"type": "text", "content": "Because."}], "finish_reason": "stop"}]


def read_bytes(content: bytes) -> list[Item]:
    return list(read_file(io.BufferedReader(io.BytesIO(content))))


def read(record: object) -> list[Item]:
    return read_bytes(json.dumps(record).encode())


def one(record: object) -> Interaction:
    (found,) = read(record)
    assert isinstance(found, Interaction), found
    return found


def reason(line: bytes) -> Reason:
    (found,) = read_bytes(line)
    assert isinstance(found, BadLine)
    return found.reason


def without(*keys: str, **more: Any) -> dict[str, Any]:
    return {**{key: value for key, value in FLAT.items() if key not in keys}, **more}


# --- Flat records -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "record",
    [
        FLAT,
        without("interaction_id", id="i1"),
        without("application_id", app={"id": "shop", "name": "shop"}),
        without("model", model_name="gpt-4o"),
        without("prompt", "response", input=[{"role": "user", "content": "Why?"}], output={"content": "Because."}),
        without("prompt", "response", messages=[{"role": "user", "content": "Why?"}],
                choices=[{"index": 0, "message": {"role": "assistant", "content": "Because."}}]),
        without("prompt", "response", messages=[{"role": "user", "content": "Why?"},
                                                {"role": "assistant", "content": "Because."}]),
        without("prompt", "response", question="Why?", answer=[{"type": "text", "text": "Because."}]),
        without("timestamp", ts=NANOS // 10**6),
    ],
)  # fmt: skip
def test_every_spelling_is_the_same_interaction(record: dict[str, Any]) -> None:
    assert one(record) == Interaction("i1", "shop", "shop", "gpt-4o", NOON, "", "Why?", "Because.")


@pytest.mark.parametrize(
    "time",
    [
        "2026-11-21T12:00:00.25Z", "2026-11-21T13:00:00.250+01:00", "2026-11-21 12:00:00.250000", NANOS / 1e9,
        NANOS // 10**6, NANOS // 1000, NANOS, pytest.param(str(NANOS), id="text"), "2026-11-21T12:00:00.250000999Z",
    ],
)  # fmt: skip
def test_time_is_read_in_iso_or_since_the_epoch_in_any_unit(time: object) -> None:
    assert one(without(timestamp=time)).timestamp == NOON


def test_everything_that_a_record_may_say_is_kept() -> None:
    found = one(
        {
            **FLAT,
            "application_name": "The shop",
            "provider": " AWS ",
            "documents": [{"page_content": "First."}, "Second."],
            "ground_truth": "Because of it.",
            "usage": {"prompt_tokens": 7, "completion_tokens": "9"},
        }
    )
    assert (found.application_name, found.provider) == ("The shop", "aws")
    assert (found.context, found.reference) == ("First.\nSecond.", "Because of it.")
    assert (found.prompt_tokens, found.response_tokens) == (7, 9)


def test_makers_of_models_are_not_taken_for_the_cloud() -> None:
    assert one({**FLAT, "provider": "openai"}).provider == ""
    assert one({**FLAT, "provider": "alibaba_cloud"}).provider == "alibaba_cloud"


def test_conversation_keeps_who_said_what() -> None:
    turns = [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello"), ("user", "Why?")]
    found = one(without("prompt", messages=[{"role": role, "content": text} for role, text in turns]))
    assert found.prompt == "system: Be brief.\n\nuser: Hi\n\nassistant: Hello\n\nuser: Why?"


# --- OpenTelemetry ----------------------------------------------------------------------------------------------------

MODEL = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o"}
NEW = {**MODEL, "gen_ai.input.messages": USER, "gen_ai.output.messages": ASSISTANT}


def event(name: str, **attributes: Any) -> dict[str, Any]:
    return {"name": name, "timestamp": "2026-11-21T12:00:01Z", "attributes": attributes}


def span(attributes: dict[str, Any], *events: dict[str, Any]) -> dict[str, Any]:
    return {
        "name": "chat gpt-4o",
        "context": {"trace_id": "0xAB12", "span_id": "0xCD34", "trace_state": "[]"},
        "start_time": "2026-11-21T12:00:00.250000Z",
        "end_time": "2026-11-21T12:00:02Z",
        "attributes": attributes,
        "events": list(events),
        "resource": {"attributes": {"service.name": "shop", "cloud.provider": "gcp"}, "schema_url": ""},
    }


def key_values(attributes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": any_value(value)} for key, value in attributes.items()]


def any_value(value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return {"kvlistValue": {"values": key_values(value)}}
    if isinstance(value, list):
        return {"arrayValue": {"values": [any_value(item) for item in value]}}
    return {"intValue": str(value)} if isinstance(value, int) else {"stringValue": value}


RESOURCE = {"attributes": key_values({"service.name": "shop", "cloud.provider": "gcp"})}
OTLP = {"traceId": "ab12", "spanId": "cd34"}
LOG = {**OTLP, "timeUnixNano": str(NANOS), "eventName": "gen_ai.client.inference.operation.details"}


@pytest.mark.parametrize(
    "record",
    [
        span(NEW),
        span({key: json.dumps(value) if isinstance(value, list) else value for key, value in NEW.items()}),
        span({**MODEL, "gen_ai.prompt": "Why?", "gen_ai.completion": "Because."}),
        span({**MODEL, "gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "Why?",
              "gen_ai.completion.0.content": "Because.", "gen_ai.completion.0.role": "assistant"}),
        span(MODEL, event("gen_ai.content.prompt", **{"gen_ai.prompt": json.dumps(USER)}),
             event("gen_ai.content.completion", **{"gen_ai.completion": json.dumps(ASSISTANT)})),
        span(MODEL, event("gen_ai.user.message", content="Why?"),
             event("gen_ai.choice", message=json.dumps({"role": "assistant", "content": "Because."}))),
        span(MODEL, event("gen_ai.user.message", **{"gen_ai.event.content": '{"content": "Why?"}'}),
             event("gen_ai.choice", **{"gen_ai.event.content": '{"message": {"content": "Because."}}'})),
        span(MODEL, event("gen_ai.client.inference.operation.details", **NEW)),
        {"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [{"spans": [
            {**OTLP, "startTimeUnixNano": str(NANOS), "attributes": key_values(NEW)}]}]}]},
        {"resourceLogs": [{"resource": RESOURCE, "scopeLogs": [{"logRecords": [
            {**LOG, "attributes": key_values(NEW)}]}]}]},
    ],
)  # fmt: skip
def test_every_form_of_gen_ai_telemetry_is_the_same_interaction(record: dict[str, Any]) -> None:
    expected = Interaction("ab12-cd34", "shop", "shop", "gpt-4o", NOON, "gcp", "Why?", "Because.", trace_id="ab12")
    assert dataclasses.replace(one(record), latency_ms=None) == expected


def test_one_line_of_otlp_may_hold_many_spans() -> None:
    spans = [
        {"traceId": "t", "spanId": f"s{n}", "startTimeUnixNano": str(NANOS + n), "attributes": key_values(NEW)}
        for n in range(3)
    ]
    spans.append({"traceId": "t", "spanId": "s9", "startTimeUnixNano": str(NANOS), "attributes": key_values(MODEL)})
    found = read({"resourceSpans": [{"resource": RESOURCE, "scopeSpans": [{"spans": spans}]}]})
    assert [item.interaction_id for item in found if isinstance(item, Interaction)] == ["t-s0", "t-s1", "t-s2"]
    # Contents are not captured unless asked for.
    assert found[3] == BadLine(Reason.TEXTS_NOT_LOGGED, NOON, ids=("t-s9",))


@pytest.mark.parametrize(
    "attributes",
    [
        {"http.response.status_code": 200},
        {**NEW, "gen_ai.operation.name": "execute_tool"},
        {**NEW, "gen_ai.operation.name": "chain"},
        {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "helper"},
    ],
)
def test_spans_that_answer_no_prompt_are_passed_over(attributes: dict[str, Any]) -> None:
    assert read(span(attributes)) == []


def test_instructions_tools_and_pictures_of_a_prompt_are_told() -> None:
    parts = [{"type": "uri", "modality": "image", "uri": "gs://x/y"}, {"type": "text", "content": "Where?"}]
    found = one(
        span(
            {
                **NEW,
                "gen_ai.response.model": "gpt-4o-2024-08-06",
                "gen_ai.system_instructions": [{"type": "text", "content": "Be brief."}],
                "gen_ai.input.messages": [{"role": "user", "parts": parts}],
                "gen_ai.output.messages": [
                    {
                        "role": "assistant",
                        "parts": [
                            {"type": "text", "content": "I look."},
                            {"type": "tool_call", "name": "find", "arguments": {"what": "it"}},
                        ],
                    }
                ],
                "gen_ai.usage.input_tokens": 4,
            }
        )
    )
    assert found.prompt == "system: Be brief.\n\nuser: [image]\nWhere?"
    assert found.response == 'I look.\n[calls find {"what": "it"}]'
    assert (found.model_name, found.prompt_tokens) == ("gpt-4o-2024-08-06", 4)


# --- Lines that are no use --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (without("timestamp"), Reason.NO_TIME),
        (without(timestamp="yesterday"), Reason.NO_TIME),
        (without(timestamp=True), Reason.NO_TIME),
        (without(timestamp=10**30), Reason.NO_TIME),
        (without(timestamp=-5), Reason.NO_TIME),
        (without(interaction_id={}), Reason.WRONG_TYPE),
        (without(interaction_id="x" * 600), Reason.WRONG_TYPE),
        (without("prompt"), Reason.NO_TEXTS),
        (without(response=""), Reason.NO_TEXTS),
        (without(response=[]), Reason.NO_TEXTS),
        (without(prompt=5), Reason.WRONG_TYPE),
        (without(model=["gpt"]), Reason.WRONG_TYPE),
        ({"resourceSpans": 5}, Reason.WRONG_TYPE),
        ([5], Reason.WRONG_TYPE),
    ],
)  # fmt: skip
def test_unusable_record_names_its_reason(record: object, expected: Reason) -> None:
    assert reason(json.dumps(record).encode()) is expected


def test_unusable_line_names_its_reason() -> None:
    good = json.dumps(FLAT).encode()
    assert reason(good[:-3]) is Reason.NOT_JSON
    assert reason(b'{"a":' * 100_000) is Reason.NOT_JSON
    assert reason(good.replace(b"Why?", b"\xff")) is Reason.NOT_UTF8
    assert reason(good.replace(b"Why?", b"y" * MAX_LINE_BYTES)) is Reason.TOO_LARGE
    assert read_bytes(b"  \n") == []
    assert [one(FLAT)] == read_bytes(b"\xef\xbb\xbf" + good)  # with a byte order mark


def test_half_a_surrogate_pair_does_not_reach_what_cannot_write_it() -> None:
    found = one(without(prompt="W\ud800y"))
    assert found.prompt.encode() == b"W?y"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            ["id", "ts", "prompt", "response", "messages", "role", "parts", "type", "content", "resourceSpans", "spans",
             "resource", "attributes", "scopeSpans", "events", "context", "usage", "gen_ai.prompt", "key", "value",
             "arrayValue", "tool_calls", "choices", "resourceLogs", "scopeLogs", "logRecords", "kvlistValue"]
        ),
        inner, max_size=6,
    ),
    max_leaves=25,
)  # fmt: skip


@given(JSON)
def test_no_record_of_any_form_raises(record: Any) -> None:
    read(record)


@given(st.binary(max_size=60))
def test_no_line_of_any_bytes_raises(line: bytes) -> None:
    read_bytes(line)


def test_texts_are_not_shown() -> None:
    found = one({**FLAT, "prompt": "SECRET-1", "response": "SECRET-2", "context": "SECRET-3", "reference": "SECRET-4"})
    assert "SECRET" not in repr(found)
    assert "i1" in repr(found)
    assert "SECRET" not in repr(read({**FLAT, "prompt": "SECRET", "response": None}))
