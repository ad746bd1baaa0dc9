"""Answers that were logged as the chunks or events in which they came, put together.

Shapes: OpenAI's chat completions and completions, its Responses, Anthropic's Messages and completions, Bedrock's
Converse stream and the chunks of its models, Google's `streamGenerateContent`, Cohere's chat of both versions, Ollama,
llama.cpp, Hugging Face's text generation; as a list, as the text of server-sent events, or with one chunk a line.
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
    held = value
    if isinstance(value, str):
        held = _sent_events(value) if is_text_of_events(value) else _lines(value)
    if not isinstance(held, list) or not held:
        return value
    events = [_opened(event) for event in held]
    if not all(isinstance(event, dict) and _is_chunk(event) for event in events):
        return value if isinstance(value, str) and not is_text_of_events(value) else held
    return _put_together(event for event in events if isinstance(event, dict))


def _lines(text: str) -> list[Any] | None:
    """The objects of a text that has one on each of its lines, as Ollama's body is; None for any other text."""
    if text[:1] != "{" or "\n" not in text:
        return None
    objects = []
    for line in text.splitlines():
        if line.strip():
            objects.append(parsed(line))
            if not isinstance(objects[-1], dict):
                return None
    return objects


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


_OF_THE_WHOLE = (
    "id", "responseId", "model", "modelVersion", "created", "usageMetadata", "prompt_eval_count", "eval_count",
    "total_duration", "tokens_evaluated", "tokens_predicted", "generation_id", "error",
)  # fmt: skip
_DONE = {"response.completed", "response.incomplete", "response.failed"}
_EVENTS = {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop"}
_TYPES = (
    "message_", "content_block_", "response.", "ping", "error", "message-", "content-", "tool-call-", "tool-plan-",
    "citation-",
)  # fmt: skip
_TEXTS = {"outputText", "generation", "completion", "is_finished", "event_type"}  # of chunks that hold no more
_LATENCY = "amazon-bedrock-invocationMetrics"


def _is_chunk(event: Mapping[str, Any]) -> bool:
    if str(event.get("object") or "").endswith(".chunk") or event.keys() & _EVENTS:
        return True
    if event.keys() == {"metadata"}:  # Bedrock's last; others have such a key among more
        return True
    kind = event.get("type")
    if isinstance(kind, str) and kind.startswith(_TYPES):
        return True
    for key in ("choices", "outputs"):
        held = event.get(key)
        if isinstance(held, list):
            return all(isinstance(one, dict) and _is_piece(one) for one in held)
    if "candidates" in event or "usageMetadata" in event or isinstance(event.get("error"), dict):
        return True
    if isinstance(event.get("token"), dict) or ("done" in event and event.keys() & {"response", "message"}):
        return True  # Hugging Face's, Ollama's
    return bool(event.keys() & _TEXTS) or {"content", "stop"} <= event.keys()  # llama.cpp's


def _is_piece(choice: Mapping[str, Any]) -> bool:
    """True for a choice of a chunk; Bedrock's of Mistral name theirs as whole answers do."""
    message = choice.get("message")
    return "delta" in choice or "text" in choice or (isinstance(message, dict) and not message.get("refusal"))


class _Whole:
    """An answer as far as its pieces have come; `told` is what they tell besides of all of it."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.refusals: list[str] = []
        self.calls: dict[object, dict[str, str]] = {}
        self.told: dict[str, Any] = {}

    def add(self, piece: Mapping[str, Any]) -> None:
        """Add what one piece says."""
        if isinstance(piece.get("whole"), str):
            self.texts = [piece["whole"]]  # that was said by all that came before
        elif isinstance(piece.get("text"), str):
            self.texts.append(piece["text"])
        if isinstance(piece.get("refusal"), str):
            self.refusals.append(piece["refusal"])
        if "ended" in piece:
            self.told["finish_reason"] = piece["ended"]
        if "call" in piece:
            call = self.calls.setdefault(piece["call"], {"name": "", "arguments": ""})
            for key in call:
                call[key] += str(piece.get(key) or "")

    def answer(self) -> dict[str, Any]:
        """The answer, in the form of a chat completion."""
        text, refusal = "".join(self.texts), "".join(self.refusals)
        if self.told.get("error") and not (text or refusal or self.calls):
            return {**self.told, "status": "failed"}  # before its first word
        message = {
            "role": "assistant", "content": text or None, "refusal": refusal or None,
            "tool_calls": [{"function": call} for call in self.calls.values()],
        }  # fmt: skip
        ended = self.told.get("finish_reason")
        return {**self.told, "choices": [{"index": 0, "message": message, "finish_reason": ended}]}


def _put_together(events: Iterator[dict[str, Any]]) -> dict[str, Any]:
    whole = _Whole()
    for event in events:
        done = event.get("response")
        if isinstance(done, dict) and event.get("type") in _DONE:
            return done
        _note(event, whole.told)
        if isinstance(done, dict) and event.get("event_type") == "stream-end":  # Cohere's
            return {**whole.told, "finish_reason": event.get("finish_reason"), **done}
        for piece in _pieces(event):
            whole.add(piece)
    return whole.answer()


def _note(event: Mapping[str, Any], whole: dict[str, Any]) -> None:
    """Add what an event tells of the whole answer; its usage may be told by several, each in part."""
    for told in (event, *(event.get(key) for key in ("message", "metadata", "response", "delta", "x_groq"))):
        if isinstance(told, dict):
            names = () if told is event.get("x_groq") else _OF_THE_WHOLE  # Groq's has an id of its own
            whole |= {key: told[key] for key in names if told.get(key)}
            for key in ("usage", "metrics"):
                if isinstance(told.get(key), dict):
                    whole[key] = {**whole.get(key, {}), **told[key]}
    measured = event.get(_LATENCY)
    if isinstance(measured, dict) and "metrics" not in whole:
        whole["metrics"] = {"latencyMs": measured.get("invocationLatency")}


def _pieces(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What one chunk or event adds: text, refusal, part of a call, or the reason of the end."""
    for choice in (*(event.get("choices") or ()), *(event.get("outputs") or ())):
        if choice.get("index"):
            continue  # another answer to choose from
        yield from _pieces_of_message(choice.get("delta") or choice.get("message") or {})
        yield {"text": choice.get("text")}
        if ended := first(choice, ("finish_reason", "stop_reason")):
            yield {"ended": ended}
    for candidate in event.get("candidates") or ():
        for part in (candidate.get("content") or {}).get("parts") or ():
            if not part.get("thought"):
                yield {"text": part.get("text")}
            if isinstance(part.get("functionCall"), dict):
                called = part["functionCall"]
                yield {"call": id(part), "name": called.get("name"), "arguments": json.dumps(called.get("args"))}
        if candidate.get("finishReason"):
            yield {"ended": candidate["finishReason"]}
    yield {"text": first(event, ("outputText", "generation", "completion"))}
    yield from _pieces_of_servers(event)
    yield from _pieces_of_blocks(event)


def _pieces_of_message(delta: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What a part of a message adds; its content may be texts and thoughts in a list, as Mistral's, or one of them."""
    content = delta.get("content")
    for held in content if isinstance(content, list) else [content]:
        yield {"text": held.get("text") if isinstance(held, dict) else held}
    yield {"refusal": delta.get("refusal")}
    if isinstance(delta.get("function_call"), dict):
        yield {"call": "", **delta["function_call"]}
    calls = delta.get("tool_calls") or []
    for call in calls if isinstance(calls, list) else [calls]:  # Cohere's is one
        yield {"call": first(call, ("index", "id")), **(call.get("function") or {})}


def _pieces_of_servers(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same of servers that run models, and of Cohere's chat and completions."""
    token, message = event.get("token"), event.get("message")
    if isinstance(token, dict):
        yield {"whole": event.get("generated_text"), "text": None if token.get("special") else token.get("text")}
    elif "done" in event:
        yield {"text": event.get("response")}
        if isinstance(message, dict):
            yield from _pieces_of_message(message)
        if event.get("done_reason"):
            yield {"ended": event["done_reason"]}
    elif "stop" in event:
        yield {"text": event.get("content")}
    elif "is_finished" in event or event.get("event_type") == "text-generation":
        yield {"text": event.get("text")}
        if event.get("finish_reason"):
            yield {"ended": event["finish_reason"]}


def _pieces_of_blocks(event: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The same of Anthropic's and Bedrock's blocks, of Cohere's, and of OpenAI's Responses."""
    kind = event.get("type")
    held = first(event, ("contentBlockStart", "contentBlockDelta", "messageStop")) or event
    number = first(held, ("contentBlockIndex", "index"))
    begun = first(held, ("start", "content_block")) or {}
    tool = begun.get("toolUse") or (begun if str(begun.get("type")).endswith("tool_use") else None)
    if tool:
        yield {"call": number, "name": tool.get("name")}
    elif begun.get("text"):
        yield {"text": begun["text"]}
    if str(kind).startswith("response."):
        yield from _pieces_of_responses(event, str(kind))
        return
    delta = held.get("delta") or {}
    yield {"text": delta.get("text")}
    if isinstance(delta.get("message"), dict):  # Cohere's
        for piece in _pieces_of_message(delta["message"]):
            yield {**piece, "call": number} if "call" in piece else piece
    asked = delta.get("partial_json") or (delta.get("toolUse") or {}).get("input")
    if asked:
        yield {"call": number, "arguments": asked}
    ended = first(delta, ("stop_reason", "finish_reason")) or held.get("stopReason")
    if ended:
        yield {"ended": ended}


def _pieces_of_responses(event: Mapping[str, Any], kind: str) -> Iterator[dict[str, Any]]:
    delta, item = event.get("delta"), event.get("item")
    if kind == "response.output_text.delta":
        yield {"text": delta}
    elif kind == "response.refusal.delta":
        yield {"refusal": delta}
    elif kind == "response.output_item.done" and isinstance(item, dict) and "_call" in str(item.get("type")):
        yield {"call": id(item), "name": item.get("name"), "arguments": first(item, ("arguments", "input"))}
