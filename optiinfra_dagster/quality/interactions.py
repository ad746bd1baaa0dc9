"""One exchange with an LLM, and how a line of a log becomes one.

Two shapes are read, both as JSON lines, or as an array that is in one line or has a record on each. *Flat records* name
the fields themselves, in any of the spellings below. *OpenTelemetry spans* carry them as `gen_ai.` attributes or
events: one span per line, as an SDK's console exporter writes them, or OTLP/JSON (`resourceSpans`, `resourceLogs`), as
a collector's file and S3 exporters do.

Semantic conventions: https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai (messages and their
parts, `gen_ai.client.inference.operation.details`); before v1.37 message texts were span events such as
`gen_ai.user.message` and `gen_ai.choice`, before v1.28 `gen_ai.content.prompt`; OpenLLMetry numbers its attributes
(`gen_ai.prompt.0.content`).

Texts are customers' secrets: no repr and no error of this module holds one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple

from optiinfra_dagster.model.text import storable

MAX_LINE_BYTES = 4 * 2**20  # of one line, and so of one interaction
MAX_ID_LENGTH = 512
UNKNOWN = "unknown"  # the application or model that a record does not name

# OpenTelemetry's `cloud.provider` knows the first three of them.
_PROVIDERS = {"aws", "gcp", "azure", "vultr"}

# Spellings of flat records, the first one present counts.
_TIME = ("timestamp", "time", "ts", "created_at", "@timestamp", "datetime", "created")
_ID = ("interaction_id", "id", "request_id", "requestId", "message_id", "event_id", "uuid")
_APPLICATION = ("application_id", "app_id", "application", "app", "service", "service_name", "service.name")
_APPLICATION_NAME = ("application_name", "app_name")
_MODEL = ("model", "model_name", "model_id", "modelId", "llm", "llm_model")
_PROVIDER = ("provider", "cloud_provider", "cloud.provider", "cloud")
_PROMPT = ("prompt", "input", "question", "query", "request", "messages", "contents", "user_input", "prompt_text")
_RESPONSE = ("response", "output", "completion", "answer", "choices", "candidates", "model_output", "response_text")
_CONTEXT = ("context", "contexts", "retrieved_context", "documents", "sources", "knowledge")
_REFERENCE = ("reference", "reference_answer", "expected", "expected_output", "ground_truth")
_PROMPT_TOKENS = ("prompt_tokens", "input_tokens", "promptTokens", "inputTokens")
_RESPONSE_TOKENS = ("response_tokens", "completion_tokens", "output_tokens", "completionTokens", "outputTokens")

# Spellings of spans and log records: OTLP/JSON, SDKs, and the columns of ClickHouse's exporter.
_SPAN_TIME = (
    "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime", "timeUnixNano", "observedTimeUnixNano",
    "timestamp", "Timestamp",
)  # fmt: skip
_TRACE_ID = ("traceId", "trace_id", "TraceId")
_SPAN_ID = ("spanId", "span_id", "SpanId")
_ATTRIBUTES = ("attributes", "SpanAttributes", "span_attributes")
_RESOURCE_ATTRIBUTES = ("ResourceAttributes", "resource_attributes")

_ANSWERS = {None, "", "chat", "text_completion", "generate_content"}  # operations that answer a prompt
_DETAILS = "gen_ai.client.inference.operation.details"

# Below which a time since the epoch counts seconds, milliseconds, microseconds, nanoseconds: until the year 5138.
_UNITS = ((1e11, 1), (1e14, 10**3), (1e17, 10**6), (1e20, 10**9))

# Where the text of a message, part, choice or document is.
_TEXT_KEYS = (
    "parts", "content", "text", "message", "messages", "choices", "output_text", "page_content",
    "contents", "candidates",  # of Gemini
    "inputBodyJson", "outputBodyJson",  # of Bedrock's invocation log
)  # fmt: skip
_MESSAGE_KEYS = {"role", "parts", "message", "finish_reason", "finishReason"}

_ODD = (AttributeError, TypeError, ValueError, RecursionError)  # what values of other types than they should be raise


class Reason(StrEnum):
    """Why a line of a log cannot be used."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    WRONG_TYPE = "wrong_type"  # a field holds something else than it should
    NO_TIME = "no_time"
    NO_ID = "no_id"
    NO_TEXTS = "no_texts"  # prompt or response is missing or empty
    NO_PROVIDER = "no_provider"  # neither the record nor the customers file says where the application runs
    CUT_FILE = "cut_file"  # a compressed file ends early or is damaged; what was before it was read


@dataclass(frozen=True, slots=True, repr=False)
class Interaction:
    """One prompt and its response. `timestamp` is when it began (zoned UTC); `provider` is "" where not said.

    `context` is what the application gave the model to answer from, `reference` a known good answer.
    """

    interaction_id: str
    application_id: str
    application_name: str
    model_name: str
    timestamp: datetime
    provider: str
    prompt: str
    response: str
    context: str | None = None
    reference: str | None = None
    prompt_tokens: int | None = None
    response_tokens: int | None = None

    def __repr__(self) -> str:
        """Which one it is, without its texts: they must never reach a log."""
        return (
            f"Interaction({self.interaction_id!r}, {self.application_id!r}, {self.model_name!r}, "
            f"{self.timestamp.isoformat()}, {len(self.prompt)} + {len(self.response)} characters)"
        )


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line, or one span of it, that is no use; `timestamp` where it could still be read."""

    reason: Reason
    timestamp: datetime | None = None


class _BadError(Exception):
    """A field that cannot be used."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class _Raw(NamedTuple):
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


def read_line(line: bytes) -> Iterator[Interaction | BadLine]:
    """What one line of a log holds: mostly one interaction, several in OTLP, none in a blank line or other spans."""
    if len(line) > MAX_LINE_BYTES:
        yield BadLine(Reason.TOO_LARGE)
        return
    try:
        text = line.decode("utf-8-sig").strip().removesuffix(",")
        if text in {"", "[", "]"}:  # nothing, or the brackets around an array with a record on each line
            return
        found = json.loads(text)
    except UnicodeDecodeError:
        yield BadLine(Reason.NOT_UTF8)
    except (ValueError, RecursionError):
        yield BadLine(Reason.NOT_JSON)
    else:
        if isinstance(found, dict):
            yield from read_record(found)
        elif isinstance(found, list) and found and all(isinstance(record, dict) for record in found):
            for record in found:
                yield from read_record(record)
        else:
            yield BadLine(Reason.WRONG_TYPE)


def read_record(record: Mapping[str, Any]) -> Iterator[Interaction | BadLine]:
    """What one parsed record holds."""
    try:
        for raw in _raws(record):
            yield _finish(raw) if raw else BadLine(Reason.WRONG_TYPE)
    except _ODD:
        yield BadLine(Reason.WRONG_TYPE)  # an OTLP envelope of another form


def read_fields(fields: Sequence[Any], *, structured: bool) -> Interaction | BadLine:
    """An interaction from the fields of `Interaction` in the order of the queries, times since the epoch.

    With `structured`, texts that are messages in JSON are read as such.
    """
    raw = _Raw(*fields)
    if structured:
        raw = raw._replace(
            prompt=_structured(raw.prompt), response=_structured(raw.response), context=_structured(raw.context)
        )
    return _finish(raw)


def _raws(record: Mapping[str, Any]) -> Iterator[_Raw | None]:
    """The fields of each interaction; None for a span that is no span."""
    if "resourceSpans" in record or "resourceLogs" in record:
        spans = _otlp(record)
    elif _first(record, _ATTRIBUTES) is not None and (_trace_id(record) or _has_gen_ai(_attributes_of(record))):
        spans = iter([(record, _resource(record))])
    elif _has_gen_ai(record):  # a span whose attributes were lifted to the top
        spans = iter([({**record, "attributes": record}, _resource(record))])
    else:
        yield _flat(record)
        return
    for span, resource in spans:
        try:
            raw = _span(span, resource)
        except _ODD:
            yield None
            continue
        if raw is not None:
            yield raw


def _finish(raw: _Raw) -> Interaction | BadLine:
    timestamp = _moment(raw.timestamp)
    if timestamp is None:
        return BadLine(Reason.NO_TIME)
    try:
        interaction_id = _name(raw.interaction_id)
        if not interaction_id:
            return BadLine(Reason.NO_ID, timestamp)
        application_id = _name(raw.application_id) or _name(raw.application_name) or UNKNOWN
        prompt, response = storable(_text(raw.prompt)), storable(_reply(raw.response))
        if not prompt.strip() or not response.strip():
            return BadLine(Reason.NO_TEXTS, timestamp)
        return Interaction(
            interaction_id,
            application_id,
            _name(raw.application_name) or application_id,
            _name(raw.model_name) or UNKNOWN,
            timestamp,
            _provider(raw.provider),
            prompt,
            response,
            storable(_text(raw.context)) or None,
            storable(_text(raw.reference)) or None,
            _count(raw.prompt_tokens),
            _count(raw.response_tokens),
        )
    except _BadError as error:
        return BadLine(error.reason, timestamp)
    except _ODD:
        return BadLine(Reason.WRONG_TYPE, timestamp)


# --- Flat records ---------------------------------------------------------------------------------------------------


def _flat(record: Mapping[str, Any]) -> _Raw:
    application = told = _filled(record, _APPLICATION)
    name = _filled(record, _APPLICATION_NAME)
    if isinstance(told, dict):
        application, name = told.get("id"), name or told.get("name")
    prompt, response = _filled(record, _PROMPT), _filled(record, _RESPONSE)
    if response is None and isinstance(prompt, list) and prompt:  # a conversation with its answer at the end
        *before, last = prompt
        if isinstance(last, dict) and last.get("role") == "assistant":
            prompt, response = before, last
    usage = record.get("usage")
    usage = {**usage, **record} if isinstance(usage, dict) else record
    return _Raw(
        _filled(record, _TIME),
        _filled(record, _ID),
        application,
        name,
        _filled(record, _MODEL),
        _filled(record, _PROVIDER),
        prompt,
        response,
        _filled(record, _CONTEXT),
        _filled(record, _REFERENCE),
        _first(usage, _PROMPT_TOKENS),
        _first(usage, _RESPONSE_TOKENS),
    )


def _first(record: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The first of the keys that is there with a value."""
    for key in keys:
        value = record.get(key)
        if value is not None:
            return value
    return None


def _filled(record: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The first of the keys that is there with a value which is not empty."""
    for key in keys:
        value = record.get(key)
        if value or value not in (None, "", []):
            return value
    return None


# --- OpenTelemetry --------------------------------------------------------------------------------------------------


def _otlp(record: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The spans and log records of one OTLP/JSON message, each with the attributes of its resource.

    https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
    """
    for group in record.get("resourceSpans") or ():
        resource = _attributes((group.get("resource") or {}).get("attributes"))
        for scope in _first(group, ("scopeSpans", "instrumentationLibrarySpans")) or ():
            for span in scope.get("spans") or ():
                yield span, resource
    for group in record.get("resourceLogs") or ():
        resource = _attributes((group.get("resource") or {}).get("attributes"))
        for scope in group.get("scopeLogs") or ():
            for log in scope.get("logRecords") or ():
                if _DETAILS in {log.get("eventName"), _attributes_of(log).get("event.name")}:
                    yield log, resource


def _resource(span: Mapping[str, Any]) -> Mapping[str, Any]:
    resource = span.get("resource")
    if isinstance(resource, dict):
        return _attributes(resource.get("attributes", resource))
    return _attributes(_first(span, _RESOURCE_ATTRIBUTES))


def _attributes_of(span: Mapping[str, Any]) -> dict[str, Any]:
    return _attributes(_first(span, _ATTRIBUTES))


def _attributes(value: object) -> dict[str, Any]:
    """Attributes as a dict, from a dict or OTLP's list of key and value."""
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        return {str(item.get("key")): _any_value(item.get("value")) for item in value if isinstance(item, dict)}
    return {}


def _any_value(value: object) -> Any:
    """OTLP's AnyValue as what it holds."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((kind, held),) = value.items()
    if kind == "arrayValue":
        return [_any_value(item) for item in held.get("values") or ()]
    if kind == "kvlistValue":
        return _attributes(held.get("values"))
    return held


def _has_gen_ai(attributes: Mapping[str, Any]) -> bool:
    return any(key.startswith("gen_ai.") for key in attributes)


def _trace_id(span: Mapping[str, Any]) -> object:
    context = span.get("context")
    return _first(span, _TRACE_ID) or (_first(context, _TRACE_ID) if isinstance(context, dict) else None)


def _span(span: Mapping[str, Any], resource: Mapping[str, Any]) -> _Raw | None:
    """The fields of a span that answers a prompt; None for any other span (HTTP, tools, agents around such spans)."""
    attributes = _attributes_of(span)
    events = [event for event in span.get("events") or () if isinstance(event, dict)]
    texts = _texts_of_events(events)
    attributes = {**texts.pop("attributes"), **attributes}
    if not _has_gen_ai(attributes) and not any(texts.values()):
        return None
    if attributes.get("gen_ai.operation.name") not in _ANSWERS:
        return None
    system = _structured(attributes.get("gen_ai.system_instructions"))
    prompt = _structured(_first(attributes, ("gen_ai.input.messages", "gen_ai.prompt")))
    prompt = prompt or _numbered(attributes, "gen_ai.prompt.") or texts["prompt"]
    if system:
        before = [{"role": "system", "parts": system}]
        prompt = [*before, *prompt] if isinstance(prompt, list) else [*before, {"role": "user", "content": prompt}]
    response = _structured(_first(attributes, ("gen_ai.output.messages", "gen_ai.completion")))
    trace_id, span_id = _hex(_trace_id(span)), _hex(_first(span, _SPAN_ID))
    context = span.get("context")
    if isinstance(context, dict):
        span_id = span_id or _hex(_first(context, _SPAN_ID))
    return _Raw(
        _first(span, _SPAN_TIME),
        f"{trace_id}-{span_id}" if trace_id and span_id else attributes.get("gen_ai.response.id"),
        resource.get("service.name") or attributes.get("service.name") or span.get("ServiceName"),
        None,
        _first(attributes, ("gen_ai.response.model", "gen_ai.request.model")),
        resource.get("cloud.provider") or attributes.get("cloud.provider"),
        prompt,
        response or _numbered(attributes, "gen_ai.completion.") or texts["response"],
        _structured(_first(attributes, ("gen_ai.retrieval.documents", "context"))),
        attributes.get("reference"),
        _first(attributes, ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
        _first(attributes, ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
    )


def _texts_of_events(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Prompt and response where they are events of the span, and the attributes of an event with all details."""
    messages: list[Any] = []
    choices: list[Any] = []
    details: dict[str, Any] = {}
    for event in events:
        name, held = str(event.get("name") or ""), _attributes(event.get("attributes"))
        content = _structured(_first(held, ("gen_ai.event.content", "content", "message")))
        if name == _DETAILS:
            details = held
        elif name == "gen_ai.content.prompt":
            messages.append(_structured(held.get("gen_ai.prompt")))
        elif name == "gen_ai.content.completion":
            choices.append(_structured(held.get("gen_ai.completion")))
        elif name == "gen_ai.choice":
            choices.append(content)
        elif name.startswith("gen_ai.") and name.endswith(".message"):
            messages.append({"role": name.split(".")[1], "content": content})
    prompt = messages[0] if len(messages) == 1 else messages
    return {"prompt": prompt, "response": choices[0] if choices else None, "attributes": details}


def _numbered(attributes: Mapping[str, Any], prefix: str) -> list[dict[str, Any]]:
    """`gen_ai.prompt.0.content`, `gen_ai.prompt.0.role` ... as a list of messages."""
    messages: dict[int, dict[str, Any]] = {}
    for key, value in attributes.items():
        number, _, member = key.removeprefix(prefix).partition(".")
        if key.startswith(prefix) and number.isdecimal() and member in {"role", "content"}:
            messages.setdefault(int(number), {})[member] = _structured(value)
    return [messages[number] for number in sorted(messages)]


def _structured(value: Any) -> Any:
    """Messages that were written as JSON text, since attributes of spans often can hold text only."""
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def _hex(value: object) -> str:
    return value.lower().removeprefix("0x") if isinstance(value, str) else ""


# --- Fields ---------------------------------------------------------------------------------------------------------


def _moment(value: object) -> datetime | None:
    """A time in ISO 8601 (UTC if it has no zone), or since the epoch in s, ms, us or ns, told apart by size."""
    try:
        if isinstance(value, str) and not value.isdecimal():
            try:
                moment = datetime.fromisoformat(value)
            except ValueError:
                value = value.strip().upper().removesuffix(" UTC")
                if re.fullmatch(r"\d+(\.\d+)?", value):
                    return _moment(float(value) if "." in value else int(value))
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


def _name(value: object) -> str:
    """An identifier or a name, "" if there is none."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise _BadError(Reason.WRONG_TYPE)
    name = storable(str(value)).strip()
    if len(name) > MAX_ID_LENGTH:
        raise _BadError(Reason.WRONG_TYPE)
    return name


def _provider(value: object) -> str:
    """Where the application runs; "" where the record does not say.

    Other clouds that OpenTelemetry knows (`alibaba_cloud`) come as they are. Any other word does not say: `provider` is
    also what some logs call the maker of the model.
    """
    word = value.strip().lower() if isinstance(value, str) else ""
    return word if word in _PROVIDERS or word.endswith("_cloud") else ""


def _count(value: object) -> int | None:
    """A number of tokens; OTLP/JSON writes whole numbers as text."""
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 else None


def _reply(value: object) -> str:
    """The text of a response; where there are several choices, of the first that has any."""
    if isinstance(value, dict) and isinstance(value.get("choices"), list):
        value = value["choices"]
    if isinstance(value, list) and all(isinstance(item, dict) and _MESSAGE_KEYS & item.keys() for item in value):
        return next((text for text in map(_text, value) if text), "")
    return _text(value)


def _text(value: object) -> str:
    """The text of a message, a conversation, a list of parts or documents, or of plain text."""
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, dict):
        return _text_of_part(value)
    if isinstance(value, list):
        roles = [str(item["role"]) if isinstance(item, dict) and item.get("role") else "" for item in value]
        texts = [_text(item) for item in value]
        if len(value) > 1 and any(roles):
            texts = [f"{role}: {text}" if role and text else text for role, text in zip(roles, texts, strict=True)]
        return ("\n\n" if any(roles) else "\n").join(text for text in texts if text)
    raise _BadError(Reason.WRONG_TYPE)


def _text_of_part(part: Mapping[str, Any]) -> str:
    kind = part.get("type")
    if kind in {"reasoning", "thinking"}:
        return ""
    if kind in {"tool_call", "tool_use", "function_call"}:
        return f"[calls {part.get('name')} {json.dumps(_first(part, ('arguments', 'input')), ensure_ascii=False)}]"
    if kind == "tool_call_response":
        answer = _first(part, ("response", "result"))
        return f"[answer: {answer if isinstance(answer, str) else json.dumps(answer, ensure_ascii=False)}]"
    if kind in {"blob", "uri", "file", "image", "image_url", "input_audio"}:
        return f"[{part.get('modality') or kind}]"
    found = _first(part, _TEXT_KEYS)
    if found is not None:
        return _text(found)
    return _text([{"type": "tool_call", **_function(call)} for call in part.get("tool_calls") or ()])


def _function(call: object) -> dict[str, Any]:
    held = call.get("function") if isinstance(call, dict) else None
    return held if isinstance(held, dict) else {}
