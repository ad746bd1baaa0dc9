"""The parts of a message: texts, calls of tools and what they answered, documents, refusals, pictures and files.

Texts are customers' secrets: no error of this module holds one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum, auto
from itertools import groupby
from typing import Any, NamedTuple

from optiinfra_dagster.quality.interactions import Reason
from optiinfra_dagster.quality.logs.fields import BadFieldError, first, parsed

DEPTH = 24  # of messages within messages: none is deeper, and a hostile record may be


class PartKind(Enum):
    """What a part of a message is."""

    TEXT = auto()
    CALL = auto()  # of a tool
    RESULT = auto()  # of a tool
    DOCUMENT = auto()  # that the answer may be taken from
    REFUSAL = auto()


class Part(NamedTuple):
    """A part of a message, as text."""

    kind: PartKind
    text: str


_IN_A_PART = (
    "text", "content", "parts", "message", "output_text", "page_content", "pageContent", "document.content", "value",
    "outputText", "messages", "choices", "contents", "candidates", "body", "inputBodyJson", "outputBodyJson",
    "document", "data", "reference", "snippet", "guardContent", "citationsContent", "generated_text",
)  # fmt: skip
_THOUGHTS = {
    "reasoning", "thinking", "redacted_thinking", "reasoning_content", "reasoningContent", "thought", "summary_text",
    "reasoning_text", "reasoning.text", "reasoning.encrypted", "item_reference", "compaction",
}  # fmt: skip
CALLS = {
    "tool_call", "tool_use", "function_call", "tool-call", "server_tool_use", "mcp_tool_use", "custom_tool_call",
    "server_tool_call", "mcp_approval_request",
}  # fmt: skip
_RESULTS = {
    "tool_call_response", "tool_result", "tool-result", "function_call_output", "custom_tool_call_output",
    "server_tool_call_response",
}  # fmt: skip
_MEDIA = {
    "blob", "uri", "file", "image", "image_url", "input_image", "input_audio", "input_file", "audio", "video",
    "audio_url", "video_url", "media", "image-url", "image-data", "binary", "image_file", "output_audio", "url",
}  # fmt: skip
BOOKKEEPING = {"index", "finish_reason", "finishReason", "usage", "object", "logprobs", "stop_reason", "embedding",
                "embeddings", "embeddingsByType", "promptFeedback", "usageMetadata", "error", "role", "id",
                "cachePoint"}  # fmt: skip
_CONVERSE = {"toolUse", "toolResult", "image", "document", "video", "reasoningContent"}


def is_tool_part(value: Mapping[str, Any]) -> bool:
    """True for the call of a tool, its result, a picture, or a thought."""
    kind = value.get("type")
    return isinstance(kind, str) and (kind in CALLS or _is_result(kind) or kind in _MEDIA or kind in _THOUGHTS)


def _is_result(kind: str) -> bool:
    """True for the type of a tool's result; Anthropic's own tools have one each, such as `web_search_tool_result`."""
    return kind in _RESULTS or kind.endswith("_tool_result")


def is_part(value: object) -> bool:
    """True for a part of a message as its writers make it: of a known type, or under a known name."""
    if not isinstance(value, dict):
        return False
    known = value.get("type") in _SAID or is_tool_part(value) if isinstance(value.get("type"), str) else False
    return known or value.keys() == {"text"} or bool(value.keys() & _CONVERSE)


_SAID = {"text", "input_text", "output_text", "refusal", "document", "search_result"}


def unwrapped_parts(value: object) -> object:
    """The parts of a message where they were written as JSON text; JSON that somebody wrote stays text."""
    held = parsed(value)
    return held if isinstance(held, list) and held and all(map(is_part, held)) else value


def parts_of(value: object, depth: int) -> Iterator[Part]:
    """The parts of a message's content: text, a part, or a list of both.

    Raises:
        BadFieldError: it is none, or has more than `DEPTH` levels.
    """
    if depth > DEPTH or not isinstance(value, str | list | dict | None):
        raise BadFieldError(Reason.WRONG_TYPE)
    if isinstance(value, str):
        if value:
            yield Part(PartKind.TEXT, value)
    elif isinstance(value, list):
        if any(_is_run_on(item) for item in value):
            yield from _run_together(part for item in value for part in parts_of(item, depth + 1))
        elif not all(isinstance(item, int | float) for item in value):  # a vector says nothing
            for item in value:
                yield from parts_of(item, depth + 1)
    elif value is not None:
        yield from _part(value, depth)


def _is_run_on(part: object) -> bool:
    """True for a part of a text that was divided where its sources are named, in the midst of a sentence."""
    if not isinstance(part, dict):
        return False
    return isinstance(part.get("citations"), list) or part.get("type") == "reference" or "citationsContent" in part


def _run_together(parts: Iterable[Part]) -> Iterator[Part]:
    """Parts, with texts that follow each other as one."""
    for kind, run in groupby(parts, key=lambda part: part.kind):
        if kind is PartKind.TEXT:
            yield Part(kind, "".join(part.text for part in run))
        else:
            yield from run


def _part(part: Mapping[str, Any], depth: int) -> Iterator[Part]:
    kind = part.get("type")
    kind = kind if isinstance(kind, str) else ""
    if kind == "text" and (inner := _written_part(part.get("content"))) is not None:
        part, kind = inner, str(inner["type"])
    if kind in _THOUGHTS or part.get("thought") is True or "reasoningContent" in part or kind == "encrypted":
        return
    call, result = first(part, _CALLED), first(part, _ANSWERED)
    if kind in CALLS or isinstance(call, dict):
        yield call_of(call if isinstance(call, dict) else part)
    elif _is_result(kind) or isinstance(result, dict):
        yield Part(PartKind.RESULT, _told(result if isinstance(result, dict) else part, depth))
    elif kind.endswith("_call"):
        yield from _own_tool(part, kind)
    else:
        yield from _said(part, kind, depth)


# Bedrock's and Google's names of calls and their results; Google's runs code, too.
_CALLED = ("toolUse", "functionCall", "function_call", "executableCode", "executable_code")
_ANSWERED = ("toolResult", "functionResponse", "function_response", "codeExecutionResult", "code_execution_result")


def _written_part(text: object) -> Mapping[str, Any] | None:
    """A part of OpenAI or Anthropic that was written as text: OpenLLMetry does so with what LangChain gives it."""
    part = parsed(text)
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return None
    return part if part.keys() >= _WRITTEN.get(part["type"], {""}) else None


# By type, what such a part has at least.
_WRITTEN = {
    "function_call": {"name", "call_id", "arguments"}, "tool_use": {"name", "id", "input"}, "refusal": {"refusal"},
}  # fmt: skip


def _own_tool(part: Mapping[str, Any], kind: str) -> Iterator[Part]:
    """A call of one of OpenAI's own tools, with its result: file_search_call, mcp_call ..."""
    yield Part(PartKind.CALL, f"[calls {kind.removesuffix('_call')}]")
    told = first(part, ("results", "output"))
    if told:
        yield Part(PartKind.RESULT, told if isinstance(told, str) else _json(told))


def _said(part: Mapping[str, Any], kind: str, depth: int) -> Iterator[Part]:
    held = first(part, _IN_A_PART)
    if kind == "refusal" or (isinstance(part.get("refusal"), str) and held is None):
        yield Part(PartKind.REFUSAL, str(part.get("refusal") or part.get("content") or ""))
    elif kind in {"document", "search_result"} or isinstance(part.get("document"), dict):
        yield from _document(part, depth)
    elif kind in _MEDIA or part.keys() & _HELD:
        yield Part(PartKind.TEXT, f"[{_medium(part, kind)}]")
    else:
        yield from parts_of(held, depth + 1)
        for called in listed(part.get("tool_calls")):
            yield call_of(called)
        if held is None and not kind and part and not part.keys() & BOOKKEEPING:
            yield Part(PartKind.TEXT, _json(part))  # what a template was filled with, or a structured answer


_HELD = {"image", "video", "audio", "inlineData", "inline_data", "fileData", "file_data", "image_url", "file"}


def _medium(part: Mapping[str, Any], kind: str) -> str:
    if isinstance(part.get("modality"), str) and part["modality"]:
        return str(part["modality"])
    held = first(part, ("inlineData", "inline_data", "fileData", "file_data"))
    mime = first(held, ("mimeType", "mime_type")) if isinstance(held, dict) else first(part, ("mime_type", "mediaType"))
    if isinstance(mime, str) and mime.partition("/")[0] in {"image", "audio", "video"}:
        return mime.partition("/")[0]
    kind = kind or next(iter(part.keys() & _HELD), "file")
    for word in ("image", "audio", "video"):
        if word in kind:
            return word
    return "file"


def _document(part: Mapping[str, Any], depth: int) -> Iterator[Part]:
    """A document: its text is context; without any it is named only."""
    held = part.get("document") if isinstance(part.get("document"), dict) else part
    source = held.get("source") if isinstance(held, dict) else None
    told = ""
    if isinstance(source, dict):
        told = str(source.get("data") or "") if source.get("type") == "text" else ""
        told = told or _joined(first(source, ("text", "content")), depth)
    elif isinstance(held, dict):
        told = _joined(first(held, ("content", "text", "page_content")), depth)
    yield Part(PartKind.DOCUMENT, told) if told else Part(PartKind.TEXT, "[document]")


def _joined(value: object, depth: int) -> str:
    return "\n".join(part.text for part in parts_of(value, depth + 1))


def _told(result: Mapping[str, Any], depth: int) -> str:
    answer = first(result, ("response", "result", "output", "content", "server_tool_call_response"))
    if isinstance(answer, dict) and answer.get("type") in {"text", "json", "error-text", "content"}:  # Vercel's
        answer = answer.get("value")
    if isinstance(answer, list) and all(isinstance(item, dict) for item in answer):
        texts = [_json_of(item) if "json" in item else _joined(item, depth) for item in answer]
        return "\n".join(text for text in texts if text)
    return answer if isinstance(answer, str) else _json(answer)


def _json_of(item: Mapping[str, Any]) -> str:
    """The JSON that a part of a tool's result holds."""
    return _json(item["json"])


_ARGUMENTS = ("arguments", "input", "args", "parameters", "tool_args", "code", "server_tool_call")


def call_of(call: object) -> Part:
    """The call of a tool, by name and arguments."""
    held = call if isinstance(call, dict) else {}
    inner = first(held, ("function", "tool_call", "functionCall", "toolUse", "custom"))
    if isinstance(inner, dict):
        if isinstance(inner.get("function"), dict):  # OpenInference's
            inner = inner["function"]
        held = inner
    name = first(held, ("name", "toolName", "tool_name", "function_name", "language"))
    arguments = parsed(
        first(held, ("arguments", "input", "args", "parameters", "tool_args", "code", "server_tool_call"))
    )
    shown = arguments if isinstance(arguments, str) else _json(arguments)
    return Part(PartKind.CALL, f"[calls {name} {shown}]")


def listed(value: object) -> Iterable[Any]:
    """A list that may be missing.

    Raises:
        BadFieldError: it is something else.
    """
    if isinstance(value, list):
        return value
    if value is None or value == "":
        return ()
    raise BadFieldError(Reason.WRONG_TYPE)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str)
