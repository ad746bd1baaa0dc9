"""OTLP in protobuf's binary form: what it tells is what its JSON tells, in every container, cut or damaged too."""

from __future__ import annotations

import gzip
import json
import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optiinfra_dagster.quality.interactions import BadLine, Interaction, Item, Reason
from optiinfra_dagster.quality.logs.otlp_binary import form_of
from optiinfra_dagster.quality.logs.records import MAX_RECORD
from tests.quality.test_formats import EXAMPLES, read, reasons
from tests.quality.test_real_libraries import OTLP, recorded
from tests.support.otlp_proto import binary, framed

EXAMPLES_OF_OTLP = [
    example
    for example in EXAMPLES
    if all(line.startswith(('{"resourceSpans"', '{"resourceLogs"')) for line in example["lines"])
    and "\\u0000" not in "".join(example["lines"])
]


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def told(content: bytes) -> list[Item]:
    return sorted(read(content), key=repr)


def span(text: str, number: int = 1) -> dict[str, Any]:
    attributes = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.prompt": "Why?",
                  "gen_ai.completion": text}  # fmt: skip
    return {
        "traceId": "5b8efff798038103d269b633813fc60c", "spanId": f"{number:016x}", "name": "chat",
        "startTimeUnixNano": "1795860180000000000", "endTimeUnixNano": "1795860181000000000",
        "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
    }  # fmt: skip


def traces(*spans: dict[str, Any], service: str = "bot") -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]} if service else {}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "s"}, "spans": list(spans)}]}]}


CONTAINERS: dict[str, Any] = {
    "one": b"".join,
    "many": lambda messages: framed(*messages),
    "one, gzip": lambda messages: gzip.compress(b"".join(messages)),
    "many, gzip": lambda messages: gzip.compress(framed(*messages)),
    "one, zstd": lambda messages: zstd(b"".join(messages)),
    "many, zstd": lambda messages: zstd(framed(*messages)),
    "many, zstd each": lambda messages: framed(*(zstd(message) for message in messages)),
}


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_tells_what_its_json_tells(container: str) -> None:
    messages = [traces(span("A"), span("B", 2)), traces(span("C", 3), service=""), traces(span("D", 4))]
    as_json = b"\n".join(json.dumps(message).encode() for message in messages)
    found = told(CONTAINERS[container]([binary(message) for message in messages]))
    assert found == told(as_json)
    assert [item.response for item in found if isinstance(item, Interaction)] == ["A", "B", "C", "D"]


@pytest.mark.parametrize("way", OTLP, ids=lambda way: way.name)
def test_recordings_of_libraries_tell_the_same(way: Any) -> None:
    content = recorded(way)
    messages = [binary(json.loads(line)) for line in content.splitlines()]
    assert told(framed(*messages)) == told(content)


@pytest.mark.parametrize("example", EXAMPLES_OF_OTLP, ids=lambda example: example["shape"])
def test_examples_tell_the_same(example: dict[str, Any]) -> None:
    messages = [binary(json.loads(line)) for line in example["lines"]]
    assert told(framed(*messages)) == told("\n".join(example["lines"]).encode())


def test_metrics_beside_them_tell_of_no_call() -> None:
    point = {"timeUnixNano": "1795860180000000000", "asDouble": 1.5}
    metric = {"name": "gen_ai.client.to", "description": "duration", "unit": "s", "gauge": {"dataPoints": [point]}}
    metrics = {"resourceMetrics": [{"resource": {}, "scopeMetrics": [{"scope": {}, "metrics": [metric]}]}]}
    assert read(binary(metrics)) == []
    assert read(json.dumps(metrics).encode()) == []
    assert len(read(framed(binary(metrics), binary(traces(span("A")))))) == 1


def test_a_file_that_was_cut_is_read_as_far_as_it_goes() -> None:
    messages = [binary(traces(span("A"))), binary(traces(span("B", 2)))]
    noise = binary(traces(span(random.Random(1).randbytes(2**16).hex(), 3)))  # noqa: S311 - not a secret
    cut_in_noise = gzip.compress(framed(*messages, noise))[:-2000]
    for content in (b"".join(messages)[:-9], framed(*messages)[:-9], cut_in_noise):
        found = read(content)
        assert [item.response for item in found if isinstance(item, Interaction)][:1] == ["A"]
        assert [item.reason for item in found if isinstance(item, BadLine)] == [Reason.CUT_FILE]
    first = framed(zstd(messages[0]))[:-9]
    assert reasons(first) == [Reason.CUT_FILE]


def test_one_damaged_message_costs_no_other() -> None:
    good = [binary(traces(span(text, number))) for number, text in enumerate("ABC", 1)]
    odd = bytearray(good[1])
    odd[0] = 0x0F  # of no known form
    found = read(framed(good[0], bytes(odd), good[2]))
    assert [item.response for item in found if isinstance(item, Interaction)] == ["A", "C"]
    assert [item.reason for item in found if isinstance(item, BadLine)] == [Reason.WRONG_TYPE]


def test_one_span_too_large_or_no_utf8_costs_no_other() -> None:
    whole = binary(traces(span("A"), span("x" * (MAX_RECORD + 1), 2), span("B", 3), span("BAD", 4), span("C", 5)))
    found = read(whole.replace(b"BAD", b"\xff\xff\xff"))
    assert [item.response for item in found if isinstance(item, Interaction)] == ["A", "B", "C"]
    assert [item.reason for item in found if isinstance(item, BadLine)] == [Reason.TOO_LARGE, Reason.NOT_UTF8]


def test_a_span_without_time_says_so() -> None:
    timeless = {key: value for key, value in span("A").items() if "Time" not in key}
    assert reasons(binary(traces(timeless))) == [Reason.NO_TIME]


def test_values_of_every_kind_come_as_in_json() -> None:
    values = [
        {"intValue": "-5"}, {"doubleValue": 0.25}, {"boolValue": True}, {"stringValue": ""},
        {"arrayValue": {"values": [{"stringValue": "a"}, {"intValue": "7"}]}}, {"bytesValue": "AAE="},
        {"kvlistValue": {"values": [{"key": "k", "value": {"stringValue": "v"}}]}},
    ]  # fmt: skip
    one = span("A")
    one["attributes"] += [{"key": f"more.{number}", "value": value} for number, value in enumerate(values)]
    (found,) = read(binary(traces(one)))
    assert isinstance(found, Interaction)
    assert told(binary(traces(one))) == told(json.dumps(traces(one)).encode())


@given(st.text(alphabet=' \t\n\r{["a1:,]}', max_size=40))
def test_text_is_never_taken_for_it(text: str) -> None:
    assert form_of(text.encode()) == ""


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_no_damage_raises(seed: int, count: int) -> None:
    noise = random.Random(seed)  # noqa: S311 - not a secret
    a, b = binary(traces(span("A"))), binary(traces(span("B", 2)))
    for content in (a + b, framed(a, b)):
        damaged = bytearray(content)
        for _ in range(count):
            damaged[noise.randrange(len(damaged))] = noise.randrange(256)
        read(bytes(damaged[: noise.randrange(len(damaged)) + 1]))
