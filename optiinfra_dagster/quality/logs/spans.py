"""OpenTelemetry spans and log records of a log, which carry an interaction as `gen_ai.` attributes or events.

One span per line, as an SDK's console exporter writes them, or OTLP/JSON (`resourceSpans`, `resourceLogs`), as a
collector's file and S3 exporters do.

Semantic conventions: https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai (messages and their
parts, `gen_ai.client.inference.operation.details`); before v1.37 message texts were span events such as
`gen_ai.user.message` and `gen_ai.choice`, before v1.28 `gen_ai.content.prompt`; OpenLLMetry numbers its attributes
(`gen_ai.prompt.0.content`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from optiinfra_dagster.quality.logs.fields import Raw, first, parsed

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


def spans_of(record: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]] | None:
    """The spans that a record is or has, each with the attributes of its resource; None for another kind of record."""
    if "resourceSpans" in record or "resourceLogs" in record:
        return _otlp(record)
    if first(record, _ATTRIBUTES) is not None and (_trace_id_of(record) or _has_gen_ai(_attributes_of(record))):
        return iter([(record, _resource_of(record))])
    if _has_gen_ai(record):  # a span whose attributes were lifted to the top
        return iter([({**record, "attributes": record}, _resource_of(record))])
    return None


def _otlp(record: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The spans and log records of one OTLP/JSON message, each with the attributes of its resource.

    https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
    """
    for group in record.get("resourceSpans") or ():
        resource = _attributes((group.get("resource") or {}).get("attributes"))
        for scope in first(group, ("scopeSpans", "instrumentationLibrarySpans")) or ():
            for span in scope.get("spans") or ():
                yield span, resource
    for group in record.get("resourceLogs") or ():
        resource = _attributes((group.get("resource") or {}).get("attributes"))
        for scope in group.get("scopeLogs") or ():
            for log in scope.get("logRecords") or ():
                if _DETAILS in {log.get("eventName"), _attributes_of(log).get("event.name")}:
                    yield log, resource


def _resource_of(span: Mapping[str, Any]) -> Mapping[str, Any]:
    resource = span.get("resource")
    if isinstance(resource, dict):
        return _attributes(resource.get("attributes", resource))
    return _attributes(first(span, _RESOURCE_ATTRIBUTES))


def _attributes_of(span: Mapping[str, Any]) -> dict[str, Any]:
    return _attributes(first(span, _ATTRIBUTES))


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


def _trace_id_of(span: Mapping[str, Any]) -> object:
    context = span.get("context")
    return first(span, _TRACE_ID) or (first(context, _TRACE_ID) if isinstance(context, dict) else None)


def read_span(span: Mapping[str, Any], resource: Mapping[str, Any]) -> Raw | None:
    """The fields of a span that answers a prompt; None for any other span (HTTP, tools, agents around such spans)."""
    attributes = _attributes_of(span)
    events = [event for event in span.get("events") or () if isinstance(event, dict)]
    texts = _texts_of_events(events)
    attributes = {**texts.pop("attributes"), **attributes}
    if not _has_gen_ai(attributes) and not any(texts.values()):
        return None
    if attributes.get("gen_ai.operation.name") not in _ANSWERS:
        return None
    system = parsed(attributes.get("gen_ai.system_instructions"))
    prompt = parsed(first(attributes, ("gen_ai.input.messages", "gen_ai.prompt")))
    prompt = prompt or _numbered(attributes, "gen_ai.prompt.") or texts["prompt"]
    if system:
        before = [{"role": "system", "parts": system}]
        prompt = [*before, *prompt] if isinstance(prompt, list) else [*before, {"role": "user", "content": prompt}]
    response = parsed(first(attributes, ("gen_ai.output.messages", "gen_ai.completion")))
    trace_id, span_id = _hex(_trace_id_of(span)), _hex(first(span, _SPAN_ID))
    context = span.get("context")
    if isinstance(context, dict):
        span_id = span_id or _hex(first(context, _SPAN_ID))
    return Raw(
        first(span, _SPAN_TIME),
        f"{trace_id}-{span_id}" if trace_id and span_id else attributes.get("gen_ai.response.id"),
        resource.get("service.name") or attributes.get("service.name") or span.get("ServiceName"),
        None,
        first(attributes, ("gen_ai.response.model", "gen_ai.request.model")),
        resource.get("cloud.provider") or attributes.get("cloud.provider"),
        prompt,
        response or _numbered(attributes, "gen_ai.completion.") or texts["response"],
        parsed(first(attributes, ("gen_ai.retrieval.documents", "context"))),
        attributes.get("reference"),
        first(attributes, ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens")),
        first(attributes, ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens")),
    )


def _texts_of_events(events: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Prompt and response where they are events of the span, and the attributes of an event with all details."""
    messages: list[Any] = []
    choices: list[Any] = []
    details: dict[str, Any] = {}
    for event in events:
        name, held = str(event.get("name") or ""), _attributes(event.get("attributes"))
        content = parsed(first(held, ("gen_ai.event.content", "content", "message")))
        if name == _DETAILS:
            details = held
        elif name == "gen_ai.content.prompt":
            messages.append(parsed(held.get("gen_ai.prompt")))
        elif name == "gen_ai.content.completion":
            choices.append(parsed(held.get("gen_ai.completion")))
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
            messages.setdefault(int(number), {})[member] = parsed(value)
    return [messages[number] for number in sorted(messages)]


def _hex(value: object) -> str:
    return value.lower().removeprefix("0x") if isinstance(value, str) else ""
