"""The fields of a log's record as the parts of an interaction: times, names, counts, and the texts of messages.

Texts are customers' secrets: no error of this module holds one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from optiinfra_dagster.model.text import storable
from optiinfra_dagster.quality.interactions import Reason

MAX_ID_LENGTH = 512

# Below which a time since the epoch counts seconds, milliseconds, microseconds, nanoseconds: until the year 5138.
_UNITS = ((1e11, 1), (1e14, 10**3), (1e17, 10**6), (1e20, 10**9))

# Where the text of a message, part, choice or document is.
_TEXT_KEYS = (
    "parts", "content", "text", "message", "messages", "choices", "output_text", "page_content",
    "contents", "candidates",  # of Gemini
    "inputBodyJson", "outputBodyJson",  # of Bedrock's invocation log
)  # fmt: skip
_MESSAGE_KEYS = {"role", "parts", "message", "finish_reason", "finishReason"}


class BadFieldError(Exception):
    """A field that cannot be used."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class Raw(NamedTuple):
    """The fields of an interaction as a record holds them."""

    timestamp: object
    interaction_id: object
    application_id: object
    application_name: object
    model_name: object
    provider: object
    prompt: object
    response: object
    context: object
    reference: object
    prompt_tokens: object
    response_tokens: object


def first(record: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The first of the keys that is there with a value."""
    for key in keys:
        value = record.get(key)
        if value is not None:
            return value
    return None


def filled(record: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The first of the keys that is there with a value which is not empty."""
    for key in keys:
        value = record.get(key)
        if value or value not in (None, "", []):
            return value
    return None


def parsed(value: Any) -> Any:
    """Messages that were written as JSON text, since attributes of spans often can hold text only."""
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def moment_of(value: object) -> datetime | None:
    """A time in ISO 8601 (UTC if it has no zone), or since the epoch in s, ms, us or ns, told apart by size."""
    try:
        if isinstance(value, str) and not value.isdecimal():
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                value = value.strip().upper().removesuffix(" UTC")
                if re.fullmatch(r"\d+(\.\d+)?", value):
                    return moment_of(float(value) if "." in value else int(value))
                moment = datetime.fromisoformat(value)
            moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
        elif isinstance(value, int | float | str) and not isinstance(value, bool):
            number = value if isinstance(value, float) else int(value)
            per_second = next(unit for limit, unit in _UNITS if abs(number) < limit)
            # Whole numbers stay whole: a float has no room for nanoseconds since the epoch.
            whole = round(number * 10**6 / per_second) if isinstance(number, float) else number * 10**6 // per_second
            seconds, micros = divmod(whole, 10**6)
            moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
        else:
            return None
    except (ValueError, OverflowError, OSError, StopIteration):
        return None
    return moment if 2000 <= moment.year < 2100 else None


def name_of(value: object) -> str:
    """An identifier or a name, "" if there is none."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadFieldError(Reason.WRONG_TYPE)
    name = storable(str(value)).strip()
    if len(name) > MAX_ID_LENGTH:
        raise BadFieldError(Reason.WRONG_TYPE)
    return name


def count_of(value: object) -> int | None:
    """A number of tokens; OTLP/JSON writes whole numbers as text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 else None


def chunks_of(context: object) -> tuple[str, ...]:
    """The texts of a list of documents one by one; none where the context is one text."""
    if not isinstance(context, list):
        return ()
    return tuple(storable(text) for text in map(text_of, context) if text)


def reply_of(value: object) -> str:
    """The text of a response; where there are several choices, of the first that has any."""
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = value["choices"]
    if isinstance(value, list) and all(isinstance(item, dict) and _MESSAGE_KEYS & item.keys() for item in value):
        return next((text for text in map(text_of, value) if text), "")
    return text_of(value)


def text_of(value: object) -> str:
    """The text of a message, a conversation, a list of parts or documents, or of plain text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _text_of_part(value)
    if isinstance(value, list):
        roles = [str(item["role"]) if isinstance(item, dict) and item.get("role") else "" for item in value]
        texts = [text_of(item) for item in value]
        if len(value) > 1 and any(roles):
            texts = [f"{role}: {text}" if role and text else text for role, text in zip(roles, texts, strict=True)]
        return ("\n\n" if any(roles) else "\n").join(text for text in texts if text)
    raise BadFieldError(Reason.WRONG_TYPE)


def _text_of_part(part: Mapping[str, Any]) -> str:
    kind = part.get("type")
    if kind in {"reasoning", "thinking"}:
        return ""
    if kind in {"tool_call", "tool_use", "function_call"}:
        return f"[calls {part.get('name')} {json.dumps(first(part, ('arguments', 'input')), ensure_ascii=False)}]"
    if kind == "tool_call_response":
        answer = first(part, ("response", "result"))
        return f"[answer: {answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)}]"
    if kind in {"blob", "uri", "file", "image", "image_url", "input_audio"}:
        return f"[{part.get('modality') or kind}]"
    content = first(part, _TEXT_KEYS)
    if content is not None:
        return text_of(content)
    return text_of([{"type": "tool_call", **_function(call)} for call in part.get("tool_calls") or ()])


def _function(call: object) -> dict[str, Any]:
    held = call.get("function") if isinstance(call, dict) else None
    return held if isinstance(held, dict) else {}
