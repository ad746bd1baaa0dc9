"""What was retrieved within a trace is the context of those calls whose prompt has it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from optiinfra_dagster.quality.interactions import Interaction, SkippedCall
from optiinfra_dagster.quality.logs import retrievals
from optiinfra_dagster.quality.logs.reader import read_rows
from tests.quality.test_formats import interactions, lines, read

TRACE, OTHER = "5b8efff798038103d269b633813fc60c", "6b8efff798038103d269b633813fc60c"
BEGIN = 1_795_860_180_000_000_000
WARRANTY, SHIPPING, UNUSED = "The warranty is two years.", "Shipping takes\nfour  days.", "We sell chairs."
PROMPT = f"Answer from this:\n{WARRANTY}\n\nShipping takes four days.\n\nHow long is the warranty?"


def span(attributes: Mapping[str, Any], *, number: int = 1, trace: str = TRACE, **more: Any) -> dict[str, Any]:
    """A message of OTLP with one span."""
    held = [
        {"key": key, "value": {"intValue" if isinstance(value, int) else "stringValue": value}}
        for key, value in attributes.items()
    ]
    one = {
        "traceId": trace, "spanId": f"{number:016x}", "name": "x", "startTimeUnixNano": str(BEGIN + number),
        "endTimeUnixNano": str(BEGIN + number + 10), "attributes": held, **more,
    }  # fmt: skip
    return {"resourceSpans": [{"resource": {"attributes": []}, "scopeSpans": [{"spans": [one]}]}]}


def documents(*texts: str, prefix: str = "retrieval.documents") -> dict[str, Any]:
    return {
        f"{prefix}.{number}.document.{name}": value
        for number, text in enumerate(texts)
        for name, value in (("content", text), ("id", f"d{number}"), ("score", number))
    }


def call(prompt: str = PROMPT, **more: Any) -> dict[str, Any]:
    """A span of a call, by OpenInference."""
    told = {
        "openinference.span.kind": "LLM", "llm.model_name": "m",
        "llm.input_messages.0.message.role": "user", "llm.input_messages.0.message.content": prompt,
        "llm.output_messages.0.message.role": "assistant", "llm.output_messages.0.message.content": "Two years.",
    }  # fmt: skip
    return span({**told, **more.pop("attributes", {})}, number=more.pop("number", 9), **more)


def openinference(*texts: str) -> dict[str, Any]:
    return span({"openinference.span.kind": "RETRIEVER", "input.value": "warranty?", **documents(*texts)})


def reranker(*texts: str) -> dict[str, Any]:
    inputs = documents(UNUSED, *texts, prefix="reranker.input_documents")
    return span(
        {"openinference.span.kind": "RERANKER", **inputs, **documents(*texts, prefix="reranker.output_documents")}
    )


def conventions(*texts: str) -> dict[str, Any]:
    told = [{"id": f"d{number}", "score": 0.5, "content": text} for number, text in enumerate(texts)]
    return span({"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": json.dumps(told)})


def vector_store(*texts: str) -> dict[str, Any]:
    events = [
        {"name": "db.query.result", "attributes": [
            {"key": "db.query.result.id", "value": {"stringValue": "d"}},
            {"key": "db.query.result.document", "value": {"stringValue": text}}]}
        for text in texts
    ]  # fmt: skip
    return span({"db.system": "chroma"}, events=events)


def langfuse_sdk(*texts: str) -> dict[str, Any]:
    told = [{"page_content": text, "metadata": {"source": "faq"}, "type": "Document"} for text in texts]
    return span({"langfuse.observation.type": "retriever", "langfuse.observation.output": json.dumps(told)})


def mlflow(*texts: str) -> dict[str, Any]:
    told = [{"page_content": text, "metadata": {"doc_uri": "faq"}, "id": None} for text in texts]
    return span({"mlflow.spanType": '"RETRIEVER"', "mlflow.spanOutputs": json.dumps(told)})


def llama_index(*texts: str) -> dict[str, Any]:
    told = [{"node": {"id_": "n", "text": text, "metadata": {}}, "score": 0.5} for text in texts]
    return span({"langfuse.observation.type": "retriever", "langfuse.observation.output": json.dumps(told)})


def chunks(*records: Any) -> tuple[str, ...]:
    """Those of the only interaction of these records."""
    (found,) = interactions(lines(*records))
    assert found.context == ("\n".join(found.chunks) if found.chunks else found.context)
    return found.chunks or ((found.context,) if found.context else ())


@pytest.mark.parametrize(
    "retriever", [openinference, reranker, conventions, vector_store, langfuse_sdk, mlflow, llama_index]
)
@pytest.mark.parametrize("is_last", [False, True], ids=["written before the call", "written after it"])
def test_what_a_retriever_found_is_context_if_the_prompt_has_it(
    retriever: Callable[..., dict[str, Any]], is_last: bool
) -> None:
    records = [retriever(WARRANTY, UNUSED, SHIPPING), call()]
    assert chunks(*(reversed(records) if is_last else records)) == (WARRANTY, SHIPPING)


def test_a_call_of_another_trace_was_given_nothing_of_it() -> None:
    assert chunks(openinference(WARRANTY), call(trace=OTHER)) == ()


def test_a_call_whose_prompt_has_none_of_it_was_given_none() -> None:
    assert chunks(openinference(WARRANTY, SHIPPING), call("Which words would find the warranty?")) == ()


def test_several_retrievals_of_a_trace_each_count_once() -> None:
    again = span({"openinference.span.kind": "RETRIEVER", **documents(SHIPPING, WARRANTY)}, number=2)
    assert chunks(openinference(WARRANTY), again, call()) == (WARRANTY, SHIPPING)


def test_each_call_of_a_trace_has_what_it_was_given() -> None:
    first, second = interactions(
        lines(openinference(WARRANTY, SHIPPING), call(f"Sum up: {WARRANTY}"), call(f"Now this: {SHIPPING}", number=12))
    )
    assert (first.context, second.context) == (WARRANTY, SHIPPING)


def test_what_the_call_tells_itself_stands() -> None:
    own = documents("Its own document.")
    assert chunks(openinference(WARRANTY), call(attributes=own)) == ("Its own document.",)


@pytest.mark.parametrize(
    "odd",
    [
        {"openinference.span.kind": "RETRIEVER"},
        {"openinference.span.kind": "RETRIEVER", "retrieval.documents.0.document.id": "d"},
        {"openinference.span.kind": "RETRIEVER", "retrieval.documents.0.document.content": 7},
        {"openinference.span.kind": "RETRIEVER", "retrieval.documents.0.document.content": " \n"},
        {"openinference.span.kind": "RETRIEVER", "retrieval.documents": "[[[1, {}], null]]"},
        {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": '[{"id": "d", "score": 0.5}]'},
        {"gen_ai.operation.name": "retrieval", "gen_ai.retrieval.documents": "7"},
        {"mlflow.spanType": '"RETRIEVER"', "mlflow.spanOutputs": '{"a": null}'},
        {"langfuse.observation.type": "retriever", "langfuse.observation.output": "[" * 5000},
    ],
)
def test_a_retriever_that_tells_of_no_texts_gives_none_and_is_no_bad_line(odd: dict[str, Any]) -> None:
    found = read(lines(span(odd), call()))
    assert [type(item) for item in found] == [Interaction]
    assert chunks(span(odd), call()) == ()


def test_a_step_and_a_failed_call_have_no_context() -> None:
    failed = call(status={"code": 2}, attributes={"llm.output_messages.0.message.content": ""})
    assert [type(item) for item in read(lines(openinference(WARRANTY), failed))] == [SkippedCall]


# --- Exports ----------------------------------------------------------------------------------------------------------


def langfuse(*, trace: str = "tr-1") -> list[dict[str, Any]]:
    common = {
        "trace_id": trace,
        "project_id": "p",
        "start_time": "2026-11-28 10:03:00",
        "end_time": "2026-11-28 10:03:01",
    }
    return [
        {**common, "id": "o1", "type": "GENERATION", "provided_model_name": "m", "input": PROMPT, "output": '"So."'},
        {**common, "id": "o0", "type": "RETRIEVER", "input": '"?"',
         "output": json.dumps([{"pageContent": text} for text in (WARRANTY, UNUSED)])},
    ]  # fmt: skip


def langsmith() -> list[dict[str, Any]]:
    common = {
        "trace_id": "t1",
        "session_name": "bot",
        "start_time": "2026-11-28T10:03:00",
        "end_time": "2026-11-28T10:03:01",
    }
    found = [{"page_content": text, "type": "Document", "metadata": {}} for text in (WARRANTY, UNUSED)]
    return [
        {**common, "id": "r1", "run_type": "llm", "inputs": {"messages": [{"role": "user", "content": PROMPT}]},
         "outputs": {"choices": [{"message": {"role": "assistant", "content": "So."}}]}},
        {**common, "id": "r0", "run_type": "retriever", "inputs": {"query": "?"}, "outputs": {"documents": found}},
    ]  # fmt: skip


def test_observations_of_langfuse() -> None:
    generation, retriever = langfuse()
    assert chunks(retriever, generation) == (WARRANTY,)
    assert chunks({"id": "tr-1", "observations": [generation, retriever]}) == (WARRANTY,)  # whatever their order
    assert chunks(langfuse(trace="tr-2")[1], generation) == ()


def test_runs_of_langsmith() -> None:
    run, retriever = langsmith()
    assert chunks(retriever, run) == (WARRANTY,)
    assert chunks({**run, "id": "r9", "run_type": "chain", "child_runs": [run, retriever]}) == (WARRANTY,)


def test_rows_of_a_table_of_spans() -> None:
    found = [
        item
        for item in read_rows([(openinference(WARRANTY), False), (call(), False)], has_spans=True)
        if isinstance(item, Interaction)
    ]
    assert [item.context for item in found] == [WARRANTY]


# --- Bounds -----------------------------------------------------------------------------------------------------------


def test_texts_of_old_traces_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrievals, "MOST_CHARACTERS", 100)
    many = [
        span(
            {"openinference.span.kind": "RETRIEVER", **documents(f"Another text, {number:02d}.")},
            trace=f"{number:032x}",
        )
        for number in range(1, 40)
    ]
    assert chunks(openinference(WARRANTY), *many, call()) == ()
    assert chunks(*many, openinference(WARRANTY), call()) == (WARRANTY,)
