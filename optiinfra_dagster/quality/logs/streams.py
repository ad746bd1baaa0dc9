"""Answers that were logged as the chunks or events in which they came, put together.

Shapes: OpenAI's chat completions and completions, its Responses, Anthropic's Messages, Bedrock's Converse stream,
Google's `streamGenerateContent`; as a list, or as the text of server-sent events.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from optiinfra_dagster.quality.logs.fields import first, parsed


def assembled(value: object) -> object:
    """A response of which `value` is the stream, in the form of a chat completion; anything else as it is."""
    if isinstance(value, str) and is_text_of_events(value):
        value = _sent_events(value)
    if not isinstance(value, list) or not value:
        return value
    events = [_opened(event) for event in value]
    if not all(isinstance(event, dict) and _is_chunk(event) for event in events):
        return value
    return _put_together(event for event in events if isinstance(event, dict))


def is_text_of_events(text: str) -> bool:
    """True for the text of server-sent events, which may begin with comments."""
    return _BEGIN_OF_EVENTS.match(text) is not None


_BEGIN_OF_EVENTS = re.compile(r"\s*(?::[^\n]*\n\s*)*(?:data|event|id|retry):")


def _sent_events(text: str) -> list[Any]:
    """The data of server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""
    data = (line.removeprefix("data:").strip() for line in text.splitlines() if line.startswith("data:"))
    return [parsed(line) for line in data if line and line != "[DONE]"]


def _opened(event: object) -> object:
    """A chunk as Bedrock logs it: the event is base64 in it."""
    chunk = event.get("chunk") if isinstance(event, dict) else None
    if isinstance(chunk, dict) and isinstance(chunk.get("bytes"), str):
        try:
            return json.loads(base64.b64decode(chunk["bytes"]))
        except (binascii.Error, ValueError):
            return event
    return event


_OF_THE_WHOLE = ("id", "responseId", "model", "modelVersion", "created", "usageMetadata")
_DONE = {"response.completed", "response.incomplete", "response.failed"}
_EVENTS = {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop"}
_TYPES = ("message_", "content_block_", "response.", "ping", "error")


def _is_chunk(event: Mapping[str, Any]) -> bool:
    if str(event.get("object") or "").endswith(".chunk") or event.keys() & _EVENTS:
        return True
    if event.keys() == {"metadata"}:  # Bedrock's last; others have such a key among more
        return True
    kind = event.get("type")
    if isinstance(kind, str) and kind.startswith(_TYPES):
        return True
    choices = event.get("choices")
    if isinstance(choices, list):
        return all(isinstance(choice, dict) and "delta" in choice for choice in choices)
    return "candidates" in event or "usageMetadata" in event or "outputText" in event or "generation" in event


def _put_together(events: Iterator[dict[str, Any]]) -> dict[str, Any]:
    texts: list[str] = []
    refusals: list[str] = []
    calls: dict[object, dict[str, str]] = {}
    whole: dict[str, Any] = {}
    for event in events:
        done = event.get("response")
        if isinstance(done, dict) and str(event.get("type")) in _DONE:
            return done
        _note(event, whole)
        for piece in _pieces(event):
            if isinstance(piece.get("text"), str):
                texts.append(piece["text"])
            if isinstance(piece.get("refusal"), str):
                refusals.append(piece["refusal"])
            if "ended" in piece:
                whole["finish_reason"] = piece["ended"]
            if "call" in piece:
                call = calls.setdefault(piece["call"], {"name": "", "arguments": ""})
                for key in call:
                    call[key] += str(piece.get(key) or "")
    message = {
        "role": "assistant", "content": "".join(texts) or None, "refusal": "".join(refusals) or None,
        "tool_calls": [{"function": call} for call in calls.values()],
    }  # fmt: skip
    return {**whole, "choices": [{"index": 0, "message": message, "finish_reason": whole.pop("finish_reason", None)}]}


def _note(event: Mapping[str, Any], whole: dict[str, Any]) -> None:
    """Add what an event tells of the whole answer; its usage may be told by several, each in part."""
    for told in (event, event.get("message"), event.get("metadata")):
        if isinstance(told, dict):
            whole |= {key: told[key] for key in _OF_THE_WHOLE if told.get(key)}
            for key in ("usage", "metrics"):
                if isinstance(told.get(key), dict):
                    whole[key] = {**whole.get(key, {}), **told[key]}


def _pieces(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What one chunk or event adds: text, refusal, part of a call, or the reason of the end."""
    for choice in event.get("choices") or ():
        if choice.get("index"):
            continue  # another answer to choose from
        delta = choice.get("delta") or {}
        yield {"text": delta.get("content") or choice.get("text"), "refusal": delta.get("refusal")}
        for call in delta.get("tool_calls") or ():
            yield {"call": call.get("index"), **(call.get("function") or {})}
        if choice.get("finish_reason"):
            yield {"ended": choice["finish_reason"]}
    for candidate in event.get("candidates") or ():
        for part in (candidate.get("content") or {}).get("parts") or ():
            if not part.get("thought"):
                yield {"text": part.get("text")}
            if isinstance(part.get("functionCall"), dict):
                called = part["functionCall"]
                yield {"call": id(part), "name": called.get("name"), "arguments": json.dumps(called.get("args"))}
        if candidate.get("finishReason"):
            yield {"ended": candidate["finishReason"]}
    yield {"text": first(event, ("outputText", "generation"))}
    yield from _pieces_of_blocks(event)


def _pieces_of_blocks(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same of Anthropic's and Bedrock's blocks, and of OpenAI's Responses."""
    kind = event.get("type")
    held = first(event, ("contentBlockStart", "contentBlockDelta", "messageStop")) or event
    number = first(held, ("contentBlockIndex", "index"))
    begun = first(held, ("start", "content_block")) or {}
    tool = begun.get("toolUse") or (begun if begun.get("type") == "tool_use" else None)
    if tool:
        yield {"call": number, "name": tool.get("name")}
    elif begun.get("text"):
        yield {"text": begun["text"]}
    delta = held.get("delta")
    if isinstance(delta, str):
        if kind == "response.output_text.delta":
            yield {"text": delta}
        elif kind == "response.refusal.delta":
            yield {"refusal": delta}
        return
    delta = delta or {}
    yield {"text": delta.get("text")}
    asked = delta.get("partial_json") or (delta.get("toolUse") or {}).get("input")
    if asked:
        yield {"call": number, "arguments": asked}
    ended = first(delta, ("stop_reason",)) or held.get("stopReason")
    if ended:
        yield {"ended": ended}
