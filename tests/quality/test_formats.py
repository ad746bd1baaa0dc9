"""Logs of every format: what each says, whole files of them in every container, and what is no use.

`formats.jsonl` has an example of each shape and what must come out: the lines of a file, and in `want` the number of
interactions, what is true of the first of them, and the kinds and reasons of what is none.
"""

from __future__ import annotations

import gzip
import io
import json
import random
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from optiinfra_dagster.quality.counts import SourceCounts
from optiinfra_dagster.quality.doubles import Doubles as OfWindow
from optiinfra_dagster.quality.interactions import BadLine, Interaction, Item, Observation, Reason, SkippedCall
from optiinfra_dagster.quality.logs.calls import read_call
from optiinfra_dagster.quality.logs.doubles import HELD, Doubles
from optiinfra_dagster.quality.logs.flat import read_flat
from optiinfra_dagster.quality.logs.plain import read_plain
from optiinfra_dagster.quality.logs.reader import MAX_LINE_BYTES, read_file
from optiinfra_dagster.quality.logs.records import read_records

EXAMPLES = [json.loads(line) for line in (Path(__file__).parent / "formats.jsonl").read_text("utf-8").splitlines()]
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
NANOS = 1_795_262_400_000_000_000
FLAT = {"id": "i", "app": "shop", "timestamp": NOON.isoformat(), "prompt": "Why?", "response": "So."}


def read(content: bytes) -> list[Item]:
    return list(read_file(io.BufferedReader(io.BytesIO(content))))


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def interactions(content: bytes) -> list[Interaction]:
    return [item for item in read(content) if isinstance(item, Interaction)]


def reasons(content: bytes) -> list[Reason]:
    return [item.reason for item in read(content) if isinstance(item, BadLine)]


# --- What each format says --------------------------------------------------------------------------------------------


def check(example: dict[str, Any]) -> None:
    """What an example's lines tell is what it wants."""
    want = example["want"]
    found = read("\n".join(example["lines"]).encode() + b"\n")
    told = [item for item in found if isinstance(item, Interaction)]
    assert len(told) == want["interactions"]
    of_window = OfWindow()
    assert [item for item in told if not of_window.is_first(item)] == []
    assert {item.kind.value for item in found if isinstance(item, SkippedCall)} == {want["skipped"]} - {None}
    counts = SourceCounts()
    for item in found:
        if isinstance(item, BadLine):
            counts.add_bad(item, "")
        elif isinstance(item, Observation):
            counts.add_observation(item)
        elif isinstance(item, SkippedCall):
            of_window.is_first(item)
    counts.settle(of_window.knows)
    assert {reason.value for reason in counts.reasons} == {want["bad"]} - {None}
    for first in told[:1]:
        said = {
            "prompt": first.prompt, "response": first.response, "reference": first.reference, "model": first.model_name,
            "prompt_tokens": first.prompt_tokens, "response_tokens": first.response_tokens, "session": first.session_id,
            "application": first.application_id, "provider": first.provider, "trace": first.trace_id,
            "latency_ms": first.latency_ms, "refusal": first.is_refusal, "cost": str(first.cost_usd),
        }  # fmt: skip
        told_of = said.keys() & want.keys()
        assert {key: said[key] for key in told_of} == {key: want[key] for key in told_of}
        assert [part for part in want.get("prompt_has", ()) if part not in first.prompt] == []
        assert want.get("context_has", "") in (first.context or "")
        assert "SECRET" not in first.prompt + first.response  # what a model thought


@pytest.mark.parametrize("example", EXAMPLES, ids=[example["shape"] for example in EXAMPLES])
def test_every_format_tells_what_it_says(example: dict[str, Any]) -> None:
    check({**example, "want": {"skipped": None, "bad": None, **example["want"]}})


def test_the_recorded_examples_are_among_ours(shared_data: Path) -> None:
    recorded = shared_data.parent / "cases/llm/llm_logs.jsonl"
    if not recorded.is_file():
        pytest.skip("the recorded examples are not beside the clone")
    for line in recorded.read_text("utf-8").splitlines():
        example = json.loads(line)
        skipped = {"tool_call": "step"}.get(example["want"].get("skipped"), example["want"].get("skipped"))
        check({**example, "want": {**example["want"], "skipped": skipped, "bad": None}})


def test_formats_may_follow_each_other_in_one_file() -> None:
    whole = "\n".join("\n".join(example["lines"]) for example in EXAMPLES if example["shape"] != "broken_line_between")
    assert len(interactions(whole.encode())) > 30  # many examples have the same ids
    assert Reason.NOT_JSON not in reasons(whole.encode())


@pytest.mark.parametrize("value", [3, "x", True, None, [1], {"a": 1}, {}], ids=repr)
@pytest.mark.parametrize(
    "key",
    ["observations", "child_runs", "type", "run_type", "scores", "feedback", "annotations", "feedback_stats", "spans",
     "events", "attributes", "results", "data", "traces", "records", "runs", "batch", "logs", "metadata", "tags",
     "scope", "references", "status", "outputs", "output", "inputs", "extra", "body", "resource"],
)  # fmt: skip
def test_a_field_of_ones_own_that_a_tool_names_alike_makes_no_record_of_that_tool(key: str, value: object) -> None:
    assert [type(item) for item in read(lines({**FLAT, key: value}))] == [Interaction]


def test_a_line_that_is_no_json_counts_within_what_a_shipper_wrote_too() -> None:
    events = [{"id": "1", "timestamp": NANOS // 10**6, "message": message} for message in (json.dumps(FLAT), "START")]
    content = lines({"messageType": "DATA_MESSAGE", "logGroup": "g", "logEvents": events})
    assert [item.interaction_id for item in interactions(content)] == ["i"]
    assert reasons(content) == [Reason.NOT_JSON]


def test_times_of_a_data_frame_are_times_to_the_microsecond() -> None:
    texts = {"id": ["i"], "prompt": ["Why?"], "response": ["So."]}
    for kind in (pa.timestamp("ns", "UTC"), pa.timestamp("ns"), pa.timestamp("us", "Europe/Berlin")):
        buffer = io.BytesIO()
        unit = 1 if kind.unit == "ns" else 1000
        parquet.write_table(pa.table({**texts, "timestamp": pa.array([(NANOS + 1789) // unit], kind)}), buffer)
        (found,) = interactions(buffer.getvalue())
        assert (type(found.timestamp), found.timestamp) == (datetime, NOON + timedelta(microseconds=1))


def test_messages_that_the_collector_compresses_one_by_one_are_read() -> None:
    frames = [pa.compress(json.dumps({**FLAT, "id": n}).encode(), codec="zstd", asbytes=True) for n in ("a", "b")]
    content = b"".join(len(frame).to_bytes(4) + frame for frame in frames)
    assert [item.interaction_id for item in interactions(content)] == ["a", "b"]
    assert [item.interaction_id for item in interactions(content[:-5])] == ["a"]
    assert reasons(content[:-5]) == [Reason.CUT_FILE]
    assert reasons(content[:20] + b"\xff" * 20) == [Reason.CUT_FILE]


def test_what_was_compressed_twice_is_read() -> None:
    events = [gzip.compress(lines({"logGroup": "g", "logEvents": [{"message": json.dumps({**FLAT, "id": n})}]}))
              for n in ("a", "b")]  # fmt: skip
    assert [item.interaction_id for item in interactions(gzip.compress(b"".join(events)))] == ["a", "b"]
    assert Reason.CUT_FILE in reasons(gzip.compress(b"".join(events))[:-20])


def test_ids_may_be_numbers_and_uuids_of_a_data_frame() -> None:
    ids = {
        "i1": pa.array([Decimal(123456789012345678901234567890)]),  # NUMERIC of BigQuery, as Vertex AI's request_id
        "i2": pa.array([7.0]),
        "i3": pa.array([bytes(range(16))], pa.binary(16)),
    }
    texts = {"timestamp": [NOON.isoformat()], "prompt": ["Why?"], "response": ["So."]}
    for held, told in zip(ids.values(), ("123456789012345678901234567890", "7", bytes(range(16)).hex()), strict=True):
        buffer = io.BytesIO()
        parquet.write_table(pa.table({**texts, "id": held}), buffer)
        assert [item.interaction_id for item in interactions(buffer.getvalue())] == [told]


def test_a_file_that_is_read_again_has_the_same_ids() -> None:
    for example in EXAMPLES:
        content = "\n".join(example["lines"]).encode()
        assert read(content) == read(content)
    without = {key: value for key, value in FLAT.items() if key != "id"}
    other = {**without, "prompt": "How?"}
    assert len({item.interaction_id for item in interactions(lines(without, other, without))}) == 2


# --- Containers -------------------------------------------------------------------------------------------------------

ROWS = [{**FLAT, "id": f"i{number}"} for number in range(300)]


def zstd(content: bytes) -> bytes:
    return bytes(pa.compress(content, codec="zstd", asbytes=True))


def as_parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


@pytest.mark.parametrize(
    "content",
    [lines(*ROWS), gzip.compress(lines(*ROWS)), zstd(lines(*ROWS)), zstd(lines(*ROWS[:9])) + zstd(lines(*ROWS[9:])),
     json.dumps(ROWS).encode(), json.dumps(ROWS, indent=2).encode(), as_parquet(ROWS),
     as_parquet([{**row, "timestamp": NOON} for row in ROWS]), b"\xef\xbb\xbf" + lines(*ROWS),
     lines(*ROWS).replace(b"\n", b"\r\n"), b"\x1e" + lines(*ROWS).replace(b"\n", b"\n\x1e")],
    ids=["lines", "gzip", "zstd", "zstd in frames", "array", "indented", "parquet", "its times", "mark", "crlf", "seq"],
)  # fmt: skip
def test_every_container_holds_the_same(content: bytes) -> None:
    assert [item.interaction_id for item in interactions(content)] == [row["id"] for row in ROWS]
    assert reasons(content) == []


def test_columns_of_parquet_may_be_messages_and_maps() -> None:
    row = {
        "TraceId": "ab", "SpanId": "cd", "ServiceName": "shop", "Timestamp": NOON, "Duration": 1_500_000_000,
        "SpanAttributes": [("gen_ai.request.model", "m"), ("gen_ai.prompt", "Why?"), ("gen_ai.completion", "So.")],
        "ResourceAttributes": [("cloud.provider", "aws")],
    }  # fmt: skip
    pairs = pa.map_(pa.string(), pa.string())
    fields = [pa.field("Timestamp", pa.timestamp("ns", "UTC")), pa.field("Duration", pa.int64())]
    fields += [pa.field(name, pairs) for name in ("SpanAttributes", "ResourceAttributes")]
    fields += [pa.field(name, pa.string()) for name in ("TraceId", "SpanId", "ServiceName")]
    sink = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist([row], pa.schema(fields)), sink)
    (found,) = interactions(sink.getvalue())
    assert (found.interaction_id, found.provider, found.prompt, found.response) == ("ab-cd", "aws", "Why?", "So.")
    assert (found.timestamp, found.latency_ms) == (NOON, 1500)


@pytest.mark.parametrize("compressed", [gzip.compress, zstd], ids=["gzip", "zstd"])
def test_a_file_that_was_cut_is_read_as_far_as_it_goes(compressed: Any) -> None:
    noise = random.Random(1)  # noqa: S311 - not a secret
    rows = [{**FLAT, "id": f"i{number}", "prompt": noise.randbytes(500).hex()} for number in range(3000)]
    whole = compressed(lines(*rows))
    found = read(whole[: len(whole) // 2])
    told = [item for item in found if isinstance(item, Interaction)]
    assert [item.interaction_id for item in told] == [row["id"] for row in rows[: len(told)]]
    assert [item.reason for item in found if isinstance(item, BadLine)] == [Reason.CUT_FILE]
    assert 1000 < len(told) == len(found) - 1


def test_a_parquet_file_that_was_cut_says_so() -> None:
    assert reasons(as_parquet(ROWS)[:-20]) == [Reason.CUT_FILE]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_refused_once(encoding: str) -> None:
    assert reasons(lines(*ROWS).decode().encode(encoding)) == [Reason.NOT_UTF8]


def test_one_bad_byte_costs_its_record_only() -> None:
    bad = lines(FLAT).replace(b"Why?", b"\xff\xfe")
    content = lines(ROWS[0]) + bad + lines(ROWS[1]) + b"\xc3"
    assert [item.interaction_id for item in interactions(content)] == ["i0", "i1"]
    assert reasons(content) == [Reason.NOT_UTF8, Reason.NOT_UTF8]


# --- Large files ------------------------------------------------------------------------------------------------------


def otlp(count: int, size: int, **more: Any) -> bytes:
    """One line of OTLP with so many spans of so many characters."""
    spans = []
    for number in range(count):
        texts = {"gen_ai.prompt": f"{number} " + "y" * size, "gen_ai.completion": "So.", "gen_ai.request.model": "m"}
        spans.append(
            {"traceId": f"{number + 1:032x}", "spanId": f"{number + 1:016x}", "startTimeUnixNano": str(NANOS + number),
             "attributes": [{"key": key, "value": {"stringValue": text}} for key, text in texts.items()], **more}
        )  # fmt: skip
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]}
    return lines({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": {"name": "x"}, "spans": spans}]}]})


def test_spans_of_one_large_line_are_read_one_by_one() -> None:
    content = otlp(2000, 10_000)
    assert len(content) > 4 * MAX_LINE_BYTES
    tracemalloc.start()
    try:
        found = []
        for item in read_file(io.BufferedReader(io.BytesIO(content))):
            assert isinstance(item, Interaction), item
            found.append((item.interaction_id[-4:], item.application_id))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == [(f"{number:04x}", "shop") for number in range(1, 2001)]
    assert peak < 48 * 2**20  # of which up to 8 are held for doubles


def test_one_bad_span_of_a_large_line_does_not_cost_the_others() -> None:
    content = otlp(1000, 9_000)
    content = content.replace(b'"spanId": "%016x"' % 500, b'"spanId": oops', 1)
    content = content.replace(b"900 y", b"y" * (MAX_LINE_BYTES + 9), 1)
    found = read(content)
    assert len([item for item in found if isinstance(item, Interaction)]) == 998
    assert [item.reason for item in found if isinstance(item, BadLine)] == [Reason.NOT_JSON, Reason.TOO_LARGE]


def test_an_array_in_one_line_may_be_of_any_size() -> None:
    rows = [{**row, "prompt": "y" * 20_000} for row in ROWS]
    assert len(interactions(json.dumps(rows).encode())) == 300
    assert len(interactions(json.dumps({"data": rows}).encode())) == 300


def test_a_record_too_large_counts_once() -> None:
    huge = {**FLAT, "prompt": "y" * (MAX_LINE_BYTES + 1), "response": "z" * (MAX_LINE_BYTES + 1)}
    found = read(lines(ROWS[0], huge, ROWS[1]))
    assert [item.interaction_id for item in found if isinstance(item, Interaction)] == ["i0", "i1"]
    assert {item.reason for item in found if isinstance(item, BadLine)} == {Reason.TOO_LARGE}


def test_what_is_held_for_doubles_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    held = []
    add = Doubles.add

    def counted(self: Doubles, *arguments: Any) -> Iterator[Any]:
        yield from add(self, *arguments)
        held.append(len(self._queue))

    monkeypatch.setattr(Doubles, "add", counted)
    content = b"".join(otlp(10, 10, traceId="a" * 32, spanId=f"{n + 1:016x}") for n in range(300))
    assert len(interactions(content)) == 300
    assert max(held) <= HELD + 1


# --- Any content ------------------------------------------------------------------------------------------------------


def names_of(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, held in value.items():
            yield key
            yield from names_of(held)
    elif isinstance(value, list):
        for held in value:
            yield from names_of(held)


def parsed_lines(example: dict[str, Any]) -> Iterator[Any]:
    for line in example["lines"]:
        try:
            yield json.loads(line)
        except ValueError:
            continue


KNOWN = sorted({name for example in EXAMPLES for record in parsed_lines(example) for name in names_of(record)})
MARK = "s3cr3t"
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([MARK, NOON.isoformat(), "[", '{"a":', "llm"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KNOWN), inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(st.sampled_from(KNOWN), VALUES, max_size=8))
@settings(max_examples=80)
def test_no_record_of_known_names_raises_or_shows_its_texts(record: dict[str, Any]) -> None:
    for item in read(lines(record)):
        assert MARK not in repr(item) or isinstance(item, SkippedCall | Interaction)
        if isinstance(item, Interaction):
            shown = repr(item)
            for text in (item.prompt, item.response, item.context or ""):
                assert len(text) < 12 or text not in shown


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=80)
def test_no_example_with_a_value_of_another_kind_raises(example: dict[str, Any], data: st.DataObject) -> None:
    records = list(parsed_lines(example))
    for record in records:
        place, key = data.draw(st.sampled_from(list(places(record)) or [(record, None)]))
        if key is not None:
            place[key] = data.draw(VALUES)
    read(lines(*records))


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Where a value stands within others: what holds it, and its key or index."""
    for key, held in list(value.items() if isinstance(value, dict) else enumerate(value)):
        yield value, key
        if isinstance(held, dict | list):
            yield from places(held)


class Drop:
    """A stream that gives its bytes in pieces of given sizes."""

    def __init__(self, content: bytes, sizes: list[int]) -> None:
        self._stream, self._sizes = io.BytesIO(content), sizes

    def read(self, size: int) -> bytes:
        return self._stream.read(self._sizes.pop() if self._sizes else size)


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=3), st.text(max_size=9) | st.floats(allow_nan=False) | st.integers(), max_size=4
        ),
        max_size=5,
    ),
    st.sampled_from(["\n", "", "\r\n", ", ", "\n\x1e"]),
    st.sampled_from([None, 2]),
    st.lists(st.integers(1, 40), max_size=60),
    st.booleans(),
)
def test_records_are_the_same_however_the_stream_is_cut(
    records: list[dict[str, Any]], between: str, indent: int | None, sizes: list[int], escaped: bool
) -> None:
    content = between.join(json.dumps(record, indent=indent, ensure_ascii=escaped) for record in records)
    encoded = content.encode("utf-8", "surrogatepass")
    expected = list(read_records(io.BytesIO(encoded)))
    assert list(read_records(Drop(encoded, sizes))) == expected
    if max(content, default=" ") < "\ud800":
        assert expected == records


TEXTS = (
    st.sampled_from(["Why?", "", " Why? ", "[1]", '{"a": 1}', "data: x", "W\ud800y", "Größe"])
    | st.none()
    | st.integers(0, 3)
)


@given(
    st.dictionaries(
        st.sampled_from(["id", "request_id", "app", "app_name", "model", "provider", "ts", "timestamp", "prompt",
                         "question", "response", "answer", "context", "reference", "prompt_tokens", "completion_tokens",
                         "usage", "session_id", "cost", "latency_ms", "user"]),
        TEXTS | st.sampled_from(["aws", NOON.isoformat(), 1.5, True, [], {}, {"prompt_tokens": 3}, "0.1"]),
        max_size=14,
    )
)  # fmt: skip
@settings(max_examples=150)
def test_what_is_read_in_one_go_is_what_is_read_in_full(more: dict[str, Any]) -> None:
    record = {**FLAT, **more}
    plain = read_plain(record)
    if plain is not None:
        (call,) = read_flat(record)
        assert read_call(call) == plain
