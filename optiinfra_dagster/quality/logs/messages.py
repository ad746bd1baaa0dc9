"""The texts of prompts and answers, from the messages of every maker of models and of every tool that logs them.

A prompt carries the roles of its messages; what a model thinks for itself is never part of a text. Pictures and files
come as `[image]`, calls of tools as `[calls find {"what": "it"}]`. What tools answered is the model's context, too.

Shapes: OpenAI's chat completions and Responses, Anthropic's Messages, Google's contents, Bedrock's Converse and the
bodies of its models, OpenTelemetry's parts, LangChain's messages, the Vercel AI SDK's.

Texts are customers' secrets: no error of this module holds one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from optiinfra_dagster.quality.interactions import Reason
from optiinfra_dagster.quality.logs.fields import BadFieldError, count_of, filled, first, parsed
from optiinfra_dagster.quality.logs.parts import (
    CALLS,
    DEPTH,
    Part,
    PartKind,
    call_of,
    is_part,
    is_tool_part,
    listed,
    parts_of,
    unwrapped_parts,
)
from optiinfra_dagster.quality.logs.streams import assembled, is_text_of_events


class _Turn(NamedTuple):
    role: str
    parts: list[Part]
    ended: str  # the reason for which the model stopped


@dataclass(slots=True)
class MessageContent:
    """A prompt or an answer. `calls` are those of tools; `context` is what tools and documents told."""

    text: str = ""
    calls: str = ""
    context: list[str] = field(default_factory=list)
    is_refusal: bool = False
    is_broken: bool = False  # by an error
    is_vector: bool = False  # the answer of an embedding
    is_cut: bool = False  # at the limit of its length


_SYSTEM = ("system", "instructions", "systemInstruction", "system_instruction", "preamble")
_REQUEST = (
    "messages", "input", "contents", "prompt", "inputText", "inputs", "message", "question", "query", "text",
    "input_messages", "user_input", "instances", "content", "parts", "prompts",
)  # fmt: skip
_RESPONSE = (
    "choices", "output", "candidates", "generations", "content", "output_text", "results", "outputs", "generation",
    "completion", "completions", "predictions", "message", "messages", "response", "answer", "text", "parts", "result",
    "data", "generated_text", "actual_output", "value", "outputText", "final_output", "output_messages",
    "aiMessage",
)  # fmt: skip
_ROLES = {
    "human": "user", "ai": "assistant", "model": "assistant", "HumanMessage": "user", "AIMessage": "assistant",
    "AIMessageChunk": "assistant", "SystemMessage": "system", "ToolMessage": "tool", "FunctionMessage": "tool",
    "ChatMessage": "assistant", "function": "tool", "USER": "user", "CHATBOT": "assistant", "SYSTEM": "system",
    "TOOL": "tool",
}  # fmt: skip
_THINKING = {"thinking", "reasoning", "thought"}  # under which OpenLLMetry and others put a model's thoughts
_ENDED = ("finish_reason", "finishReason", "stop_reason", "stopReason")
REFUSED = {
    "refusal", "content_filter", "safety", "content-filter", "guardrail_intervened", "content_filtered", "recitation",
    "blocklist", "prohibited_content", "spii", "image_safety", "error_toxic",
}  # fmt: skip
CUT = {"length", "max_tokens", "max_output_tokens", "model_length", "model_context_window_exceeded", "error_limit"}
BROKEN = {
    "error", "other", "language", "malformed_function_call", "unexpected_tool_call", "malformed_model_output",
    "malformed_tool_use", "cancelled", "aborted", "abort", "user_cancel",
}  # fmt: skip
"""Reasons for which a model stopped before its answer was whole, in small letters: of OpenAI, Anthropic, Bedrock,
Cohere, Mistral, OpenRouter, vLLM and Gemini (https://ai.google.dev/api/generate-content#FinishReason)."""


# A model's thoughts before its answer, as models write them that have no field for them; some begin within them, since
# their template has written the first tag.
_THOUGHTS = re.compile(r"\s*<(think(?:ing)?|reasoning)>.*?</\1>\s*", re.DOTALL)
_BEGUN_THOUGHTS = re.compile(r"(?:(?!<think>).)*?</think>\s*", re.DOTALL)


def without_thoughts(text: str) -> str:
    """A text without the thoughts at its beginning."""
    found = _THOUGHTS.match(text) or (_BEGUN_THOUGHTS.match(text) if "</think>" in text else None)
    return text[found.end() :] if found else text


# What loggers write in place of a text that they are told to hide: `redacted-by-litellm`, `__REDACTED__`.
_HIDDEN = re.compile(
    r"(?:(?:\w{1,20}+: )?(?:[\[<({_*]*+(?:redacted(?:[-_ ]by[-_ ]\w+)?|masked)[\]>)}_*]*+|\*{3,}+)\s*+)++",
    re.IGNORECASE,
)
_MOST_HIDDEN = 2000  # characters of a conversation of such texts


def is_hidden_text(text: str) -> bool:
    """True for a text, or the turns of a conversation, in whose place only a word for that stands."""
    return len(text) < _MOST_HIDDEN and _HIDDEN.fullmatch(text.strip()) is not None


def prompt_of(value: object) -> MessageContent:
    """A prompt: text, a message, a conversation, or the body of a request.

    Raises:
        BadFieldError: it is none.
    """
    if isinstance(value, str) and value[:1] not in _JSON_BEGINS:
        return MessageContent(value)
    turns = [turn for turn in _turns(_unwrapped(value), "", _REQUEST, 0) if turn.parts]
    texts = []
    for turn in turns:
        shown = [
            f"[answer: {part.text}]" if part.kind is PartKind.RESULT and turn.role != "tool" else part.text
            for part in turn.parts
        ]
        if turn.role == "assistant":
            shown = [without_thoughts(text) for text in shown]
        texts.append((turn.role, "\n".join(shown)))
    if len({role for role, _ in texts}) > 1 or (len(texts) > 1 and any(role for role, _ in texts)):
        text = "\n\n".join(f"{role}: {text}" if role else text for role, text in texts)
    else:
        text = "\n".join(text for _, text in texts)
    told = [part.text for turn in turns for part in turn.parts if part.kind in {PartKind.RESULT, PartKind.DOCUMENT}]
    return MessageContent(text, context=told)


def reply_of(value: object) -> MessageContent:
    """An answer; where there are several to choose from, the first that has any text.

    Raises:
        BadFieldError: it is none.
    """
    if isinstance(value, str) and value[:1] not in _JSON_BEGINS and not is_text_of_events(value):
        return MessageContent(without_thoughts(value))
    value = assembled(_unwrapped(value))
    if isinstance(value, list) and all(
        isinstance(one, dict) and count_of(one.get("index")) is not None for one in value
    ):
        value = sorted(value, key=lambda one: count_of(one["index"]) or 0)  # log records of choices come in any order
    turns = list(_turns(value, "", _RESPONSE, 0))
    told = [part.text for turn in turns for part in turn.parts if part.kind in {PartKind.RESULT, PartKind.DOCUMENT}]
    spoken = [turn for turn in turns if turn.role not in _OTHERS]
    is_conversation = len(spoken) < len(turns)  # it went on: the last that was said is the answer
    text, refused = "", False
    for turn in reversed(spoken) if is_conversation else spoken:
        texts = [part.text for part in turn.parts if part.kind is PartKind.TEXT and part.text.strip()]
        refusals = [part.text for part in turn.parts if part.kind is PartKind.REFUSAL and part.text.strip()]
        refused = refused or bool(refusals) or turn.ended.lower() in REFUSED
        text = without_thoughts("\n".join(texts or refusals))
        if text:
            break
    calls = "\n".join(part.text for turn in turns for part in turn.parts if part.kind is PartKind.CALL)
    refused = refused or _is_blocked(value)
    ends = {turn.ended.lower() for turn in spoken}
    return MessageContent(text, calls, told, refused, bool(ends & BROKEN), is_vector(value), bool(ends & CUT))


def _is_blocked(answer: object) -> bool:
    """True for an answer of Gemini to a prompt that a filter let not through."""
    told = answer.get("promptFeedback") if isinstance(answer, dict) else None
    return isinstance(told, dict) and bool(told.get("blockReason"))


def text_of(value: object) -> str:
    """The text of documents or of a known good answer.

    Raises:
        BadFieldError: it is none.
    """
    if isinstance(value, str) and value[:1] not in _JSON_BEGINS:
        return value
    parts = [part.text for turn in _turns(_unwrapped(value), "", (), 0) for part in turn.parts]
    return "\n".join(part for part in parts if part.strip())


_JSON_BEGINS = {"[", "{"}
_OTHERS = {"user", "system", "developer", "tool"}  # who speak in a conversation besides the model


def _unwrapped(value: object) -> object:
    """Messages that were written as JSON text; any other text stays as it is, JSON that a model answered, too."""
    if not isinstance(value, str):
        return value
    if value.strip() in {"{}", "[]", "null"}:
        return None
    held = parsed(value)
    return held if _is_structure(held) else value


_LISTS = ("messages", "choices", "candidates", "contents", "generations", "parts", "content", "output", "input")
_OF_A_MESSAGE = {"content", "role", "name", "index", "tool_calls", "refusal", "finish_reason"}
_OBJECTS = ("message", "kwargs", "inputBodyJson", "outputBodyJson")


def _is_structure(value: object) -> bool:
    """True for messages, their parts, and the bodies of requests and responses."""
    if isinstance(value, list):
        return bool(value) and all(_is_structure(item) or is_part(item) for item in value)
    if not isinstance(value, dict):
        return False
    return (
        (_is_message(value) and value.get("role", "user") in _KNOWN_ROLES)
        or ("content" in value and value.keys() <= _OF_A_MESSAGE)
        or any(_holds_objects(value.get(key)) for key in _LISTS)
        or any(isinstance(value.get(key), dict) for key in _OBJECTS)
        or _holds_vectors(value)
    )


def _holds_vectors(body: Mapping[str, Any]) -> bool:
    """True for the body of an embedding's answer."""
    data = body.get("data")
    held = data[0] if isinstance(data, list) and data else body
    return isinstance(held, dict) and any(isinstance(held.get(key), list | dict) for key in ("embedding", "embeddings"))


_KNOWN_ROLES = {"user", "assistant", "system", "developer", "tool", "function", "model", "human", "ai"}


def _holds_objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict | list) for item in value)


def is_of_another_kind(value: object) -> bool:
    """True for what a model answers that was not asked for a text: an order of documents, pictures, a moderation."""
    body = parsed(value)
    if not isinstance(body, dict):
        return False
    made = first(body, ("images", "artifacts"))
    if isinstance(made, list) and made and not any(key in body for key in ("choices", "content", "message", "text")):
        return True
    told = first(body, ("results", "data"))
    signs = {"relevance_score", "flagged", "b64_json", "revised_prompt"}
    return isinstance(told, list) and bool(told) and all(isinstance(one, dict) and signs & one.keys() for one in told)


_VECTORS = ("embedding", "embeddings", "embeddingsByType", "data", "content", "message", "predictions", "values")


def is_vector(value: object) -> bool:
    """True for what an embedding gives."""
    for _ in range(6):
        if isinstance(value, dict):
            value = first(value, _VECTORS)
        elif isinstance(value, list) and value:
            if all(isinstance(item, int | float) for item in value):
                return True
            value = value[0]
    return False


# --- Turns of a conversation ------------------------------------------------------------------------------------------


def _turns(value: object, role: str, bodies: tuple[str, ...], depth: int) -> Iterator[_Turn]:
    """The turns of a conversation, or of the body of a request or response."""
    if depth > DEPTH:
        raise BadFieldError(Reason.WRONG_TYPE)
    if value is None:
        return
    if isinstance(value, list):
        yield from _turns_of_list(value, role, bodies, depth)
    elif not isinstance(value, dict):
        yield _Turn(role, list(parts_of(value, depth)), "")
    elif _is_message(value):
        yield from _message(value, role, depth)
    else:
        yield from _body(value, role, bodies, depth)


def _turns_of_list(value: list[Any], role: str, bodies: tuple[str, ...], depth: int) -> Iterator[_Turn]:
    """Messages, or the parts of one, which stay together."""
    loose: list[Part] = []
    for item in value:
        if isinstance(item, dict) and (_is_message(item) or (bodies and _has_message(item))) and not is_tool_part(item):
            turns = _turns(item, role, bodies, depth + 1)
        elif isinstance(item, list) and len(item) == 2 and item[0] in _PAIRED:  # LangChain's ("human", "Hi")
            turns = iter([_Turn(_ROLES.get(item[0]) or str(item[0]), list(parts_of(item[1], depth + 1)), "")])
        elif isinstance(item, list) and any(isinstance(inner, dict | list) for inner in item):
            turns = _turns(item, role, bodies, depth + 1)
        else:
            loose += parts_of(item, depth + 1)
            continue
        if loose:
            yield _Turn(role, loose, "")
            loose = []
        yield from turns
    if loose and not is_vector(value):
        yield _Turn(role, loose, "")


_PAIRED = ("human", "user", "ai", "assistant", "system", "tool")


def _is_message(value: Mapping[str, Any]) -> bool:
    if isinstance(value.get("role"), str) or isinstance(value.get("kwargs"), dict):
        return True
    kind = value.get("type")
    return isinstance(kind, str) and (kind in _ROLES or (kind == "system" and "content" in value))


def _has_message(value: Mapping[str, Any]) -> bool:
    """True for a choice, a candidate, a generation, a response: what holds a message and is no part of one."""
    holds = any(isinstance(value.get(key), dict) for key in ("message", "content", "delta"))
    holds = holds or value.get("object") == "response"
    return holds or any(key in value for key in _ENDED) or (isinstance(value.get("text"), str) and "message" in value)


def _message(value: Mapping[str, Any], role: str, depth: int) -> Iterator[_Turn]:
    kwargs = value.get("kwargs")
    if isinstance(kwargs, dict):  # LangChain's, as it dumps its objects
        names = value.get("id")
        named = {"type": names[-1]} if isinstance(names, list) and names else {}
        value = {**kwargs, **named}
    elif isinstance(value.get("data"), dict) and value.get("type") in _ROLES:  # ... and its messages
        value = {**value["data"], "type": value["type"]}
    told = value.get("role") or value.get("type")
    said = _ROLES.get(told) or told if isinstance(told, str) else role
    if said in _THINKING:
        return
    parts = list(_parts_of_message(value, depth + 1))
    if said == "tool":
        parts = [Part(PartKind.RESULT, text) if kind is PartKind.TEXT else Part(kind, text) for kind, text in parts]
    yield _Turn(said, parts, str(first(value, _ENDED) or ""))


def _parts_of_message(message: Mapping[str, Any], depth: int) -> Iterator[Part]:
    told = filled(message, ("content", "parts", "contents", "blocks", "text", "message", "tool_results"))
    if told is not None:
        yield from parts_of(unwrapped_parts(told), depth)
    spoken = message.get("audio")
    if told is None and isinstance(spoken, dict) and isinstance(spoken.get("transcript"), str):
        yield Part(PartKind.TEXT, spoken["transcript"])
    refusal = message.get("refusal")
    if isinstance(refusal, str) and refusal:
        yield Part(PartKind.REFUSAL, refusal)
    held = [part for key in ("content", "parts") if isinstance(message.get(key), list) for part in message[key]]
    if any(isinstance(part, dict) and part.get("type") in CALLS for part in held):
        return  # LangChain tells of them twice
    extra = message.get("additional_kwargs")
    calls = filled(message, ("tool_calls", "toolCalls", "toolExecutionRequests"))
    for call in listed(calls or (extra.get("tool_calls") if isinstance(extra, dict) else None)):
        yield call_of(call)
    if isinstance(message.get("function_call"), dict):
        yield call_of(message["function_call"])


def _body(value: Mapping[str, Any], role: str, bodies: tuple[str, ...], depth: int) -> Iterator[_Turn]:
    """What the body of a request or response says; a choice or candidate is one, too."""
    if bodies is _REQUEST:
        yield from _before(value, depth)
        role = role or ("user" if filled(value, _SYSTEM) is not None else "")
    ended = str(first(value, _ENDED) or "")
    held = _unwrapped(filled(value, bodies)) if not is_tool_part(value) else None
    if held is None and value.keys() & _BESIDE:
        delta = value.get("delta")
        turns = list(_message({**value, **delta} if isinstance(delta, dict) else value, role, depth))
    elif held is None:
        turns = [_Turn(role, list(parts_of(value, depth)), ended)]
    else:
        turns = list(_turns(held, role, bodies, depth + 1))
        if not any(turn.parts for turn in turns):  # a choice whose calls stand beside its message
            turns += _message({key: value[key] for key in value.keys() & _BESIDE}, role, depth)
    for turn in turns:
        yield turn if turn.ended else turn._replace(ended=ended)


def _before(request: Mapping[str, Any], depth: int) -> Iterator[_Turn]:
    """What a request says beside its messages: instructions, and Cohere's turns before."""
    system = filled(request, _SYSTEM)
    if system is not None:
        yield from _turns(_as_role(_unwrapped(system), "system"), "system", (), depth + 1)
    for told in listed(request.get("chat_history")):
        yield from _turns(told, "", _REQUEST, depth + 1)


_BESIDE = {"tool_calls", "toolCalls", "toolExecutionRequests", "function_call", "refusal", "delta"}


def _as_role(value: object, role: str) -> object:
    if isinstance(value, dict) and not value.get("role"):
        return {**value, "role": role}
    return value if isinstance(value, dict) else [{"role": role, "content": value}]
