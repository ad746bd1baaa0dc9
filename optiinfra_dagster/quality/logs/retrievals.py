"""Joins the documents that a trace retrieved with the calls to a model that were given them, as their context.

A retriever has a record of its own, anywhere in the trace: beside the call, or below another step of the chain. That a
document reached the model shows in the call's prompt, which has its text then. What no prompt has was not given to any
model, and is no context to judge an answer by.

Who writes them: OpenInference's retrievers and rerankers, OpenTelemetry's `retrieval` (whose documents need not have
texts), vector stores under OpenLLMetry (`db.query.result`), MLflow, Langfuse and LangSmith.

Texts are customers' secrets: no repr of this module holds one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.text import storable
from optiinfra_dagster.quality.logs.calls import ODD
from optiinfra_dagster.quality.logs.envelopes import numbered, told_json
from optiinfra_dagster.quality.logs.fields import first, parsed

if TYPE_CHECKING:
    from optiinfra_dagster.quality.interactions import Interaction
    from optiinfra_dagster.quality.logs.envelopes import Span

MOST_CHARACTERS = 2**22  # of texts that are kept for calls to come, a few MB; the oldest traces go first
_DEPTH = 6  # levels of objects around a document

_TEXTS = ("content", "page_content", "pageContent", "text", "document.content")
_AROUND_ONE = ("document", "node", "kwargs", "payload")
_AROUND_MANY = ("documents", "output", "outputs", "result", "results", "nodes", "source_nodes", "matches", "chunks")
_OUTPUTS = ("mlflow.spanOutputs", "mlflow.span.outputs")
_STORES = ("db.query.result", "db.query.result.document")  # the event, and its attribute


@dataclass(frozen=True, slots=True, repr=False)
class Retrieval:
    """The texts of the documents that one step of a trace found, the best first."""

    trace_id: str
    texts: tuple[str, ...]


def of_span(span: Span) -> Retrieval | None:
    """What a span that is no call retrieved; None where it is no retriever's, or tells of no texts."""
    try:
        texts = tuple(_found_by(span))
        trace = span.call().trace_id if texts else ""
    except ODD:  # no call is lost by it
        return None
    return Retrieval(trace, texts) if trace else None


def _found_by(span: Span) -> Iterator[str]:
    attributes = span.attributes
    for prefix in ("retrieval.documents", "reranker.output_documents"):
        yield from _texts_in(numbered(attributes, prefix))
    yield from _texts_in(attributes.get("gen_ai.retrieval.documents"))
    if str(attributes.get("langfuse.observation.type")).lower() == "retriever":
        yield from _texts_in(attributes.get("langfuse.observation.output"))
    if told_json(attributes.get("mlflow.spanType")) == "RETRIEVER":
        yield from _texts_in(first(attributes, _OUTPUTS))
    event, name = _STORES
    yield from _texts_in([held.get(name) for told, held in span.events if told == event])


def of_record(record: Mapping[str, Any]) -> Iterator[Retrieval]:
    """What an observation of Langfuse or a run of LangSmith retrieved, and those within it."""
    for key in ("observations", "child_runs"):
        held = record.get(key)
        for inner in held if isinstance(held, list) else ():
            if isinstance(inner, dict):
                yield from of_record(inner)
    if record.get("type") == "RETRIEVER":
        found = record.get("output")
    elif record.get("run_type") == "retriever":
        found = record.get("outputs")
    else:
        return
    trace = first(record, ("trace_id", "traceId"))
    try:
        texts = tuple(_texts_in(found))
    except ODD:
        return
    if trace and texts:
        yield Retrieval(str(trace), texts)


def _texts_in(value: Any, depth: int = 0) -> Iterator[str]:
    """The texts of the documents that a value is or holds."""
    value = parsed(value)
    if isinstance(value, str):
        if value.strip():
            yield storable(value)
    elif isinstance(value, list) and depth < _DEPTH:
        for item in value:
            yield from _texts_in(item, depth + 1)
    elif isinstance(value, dict) and depth < _DEPTH:
        text = first(value, _TEXTS)
        if isinstance(text, str):
            yield from _texts_in([text], depth + 1)
            return
        inner = first(value, _AROUND_ONE)
        yield from _texts_in(inner if isinstance(inner, dict) else first(value, _AROUND_MANY), depth + 1)


class Retrievals:
    """The texts that were retrieved in a file, by trace, for its calls."""

    def __init__(self) -> None:
        self._texts: dict[str, dict[str, str]] = {}  # trace -> text -> the same with single spaces
        self._characters = 0

    def add(self, retrieval: Retrieval) -> None:
        """Keep what was retrieved; lets go of the oldest traces where it is too much."""
        known = self._texts.setdefault(retrieval.trace_id, {})
        for text in retrieval.texts:
            if text not in known:
                known[text] = _single_spaced(text)
                self._characters += 2 * len(text)
        while self._characters > MOST_CHARACTERS and len(self._texts) > 1:
            oldest = self._texts.pop(next(iter(self._texts)))
            self._characters -= 2 * sum(map(len, oldest))

    def given_to(self, call: Interaction) -> Interaction:
        """The call with what its trace retrieved and its prompt has as its context, unless it tells of its own."""
        texts = self._texts.get(call.trace_id)
        if not texts or call.context:
            return call
        prompt = _single_spaced(call.prompt)
        chunks = tuple(text for text, spaced in texts.items() if spaced in prompt)
        if not chunks:
            return call
        return replace(call, context="\n".join(chunks), chunks=chunks if len(chunks) > 1 else ())


def _single_spaced(text: str) -> str:
    """What templates of prompts may do to a text is to break its lines elsewhere."""
    return " ".join(text.split())
