"""Spans and log records of OpenTelemetry, in every form in which they are stored.

OTLP/JSON (`resourceSpans`, `resourceLogs`: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding), as a
collector's file and S3 exporters write it, or with the names and base64 ids that protobuf gives its JSON; an SDK's
console exporter; the columns of the collector's ClickHouse exporter; Phoenix's spans, of its API and its data frames;
MLflow's traces; the tables of Azure's Application Insights, as its diagnostic settings and its workspace export them.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from optiinfra_dagster.quality.logs.calls import Call
from optiinfra_dagster.quality.logs.fields import first, milliseconds_of, moment_of, parsed
from optiinfra_dagster.quality.logs.flat import is_call

_START = (
    "startTimeUnixNano", "start_time_unix_nano", "start_time", "startTime", "start_timestamp", "timeUnixNano",
    "observedTimeUnixNano", "timestamp", "Timestamp", "time_unix_nano", "observed_timestamp", "start_time_ns",
    "timestamp_ns", "@timestamp",
)  # fmt: skip
_END = ("endTimeUnixNano", "end_time_unix_nano", "end_time", "endTime", "end_timestamp", "end_time_ns")
_TRACE_ID = ("traceId", "trace_id", "TraceId", "traceID", "context.trace_id")
_SPAN_ID = ("spanId", "span_id", "SpanId", "spanID", "context.span_id")
_PARENT_ID = ("parentSpanId", "parent_span_id", "ParentSpanId", "parent_id", "parentId")
_ATTRIBUTES = ("attributes", "SpanAttributes", "LogAttributes", "span_attributes")
_INSIGHTS = ("Properties", "customDimensions")
_RESOURCE = ("ResourceAttributes", "resource_attributes", "otel_resource_attributes")
_SPANS, _LOGS = ("resourceSpans", "resource_spans"), ("resourceLogs", "resource_logs")
OTLP = {*_SPANS, *_LOGS}
SCOPES_OF_SPANS = ("scopeSpans", "scope_spans", "instrumentationLibrarySpans", "instrumentation_library_spans")
SCOPES_OF_LOGS = ("scopeLogs", "scope_logs", "instrumentationLibraryLogs", "instrumentation_library_logs")
_SCOPE = ("scope", "instrumentationLibrary", "instrumentation_library")
_BYTES_OF_AN_ID = {24: 16, 12: 8}  # in base64, as protobuf writes what OTLP writes in hexadecimal digits
_ERRORS = {2, "2", "ERROR", "Error", "STATUS_CODE_ERROR", "error"}
# Roots of attributes, where they come as objects within objects.
_ROOTS = {
    "llm", "openinference", "input", "output", "session", "embedding", "retrieval", "gen_ai", "ai", "langfuse", "user",
    "tool", "reranker", "exception", "metadata", "message", "mlflow",
}  # fmt: skip


@dataclass(slots=True, repr=False)
class Span:
    """A span or a log record. `events` are names and attributes; `body` is a log record's."""

    record: Mapping[str, Any]
    attributes: dict[str, Any]
    resource: Mapping[str, Any] = field(default_factory=dict)
    scope: str = ""
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    event_name: str = ""
    body: Any = None

    def call(self) -> Call:
        """A call with all that does not depend on who wrote the span."""
        record, resource, attributes = self.record, self.resource, self.attributes
        context = record.get("context")
        context = context if isinstance(context, dict) else {}
        started, ended = _time(record, _START), _time(record, _END)
        ended = _end(record, started) if ended is None else ended
        name = resource.get("service.name") or attributes.get("service.name") or record.get("ServiceName")
        name = name or record.get("service_name") or resource.get("openinference.project.name")
        return Call(
            started=started,
            ended=ended,
            trace_id=_hex(first(record, _TRACE_ID) or first(context, _TRACE_ID)),
            span_id=_hex(first(record, _SPAN_ID) or first(context, _SPAN_ID)),
            parent_id=_hex(first(record, _PARENT_ID)),
            application_id=name if not str(name or "").startswith("unknown_service") else None,
            provider=resource.get("cloud.provider") or attributes.get("cloud.provider"),
            failed=self._failed(),
            is_span=True,
            scope=self.scope or str(record.get("name") or ""),
        )

    def _failed(self) -> bool:
        status = self.record.get("status")
        code = first(status, ("code", "status_code")) if isinstance(status, dict) else status
        if code is None:
            code = first(self.record, ("StatusCode", "status_code", "otel_status_code"))
        code = code.removeprefix("StatusCode.") if isinstance(code, str) else code
        return (isinstance(code, str | int) and code in _ERRORS) or bool(self.attributes.get("error.type"))


def _time(record: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    """The first of the times that is told; OTLP's 0 is no time."""
    return next((value for name in names if (value := record.get(name)) not in _NO_TIME), None)


_NO_TIME = (None, 0, "0")


def _end(record: Mapping[str, Any], started: object) -> datetime | None:
    """The end of a span that tells how long it took: ClickHouse's and Elasticsearch's exporters in ns, Jaeger in us."""
    took = milliseconds_of(record.get("duration" if "@timestamp" in record else "Duration"), 1e-6)
    if took is None and "traceID" in record:
        took = milliseconds_of(record.get("duration"), 1e-3)
    begun = moment_of(started)
    return None if took is None or begun is None else begun + timedelta(milliseconds=took)


def spans_of(record: Mapping[str, Any]) -> Iterator[Span | None] | None:
    """The spans and log records that a record is or has, None for one that is odd; None for another kind of record."""
    if record.keys() & OTLP:
        return otlp(record)
    held = record.get("data")
    if isinstance(held, dict) and isinstance(held.get("spans"), list):  # MLflow's trace
        return _each(held["spans"], {})
    if isinstance(record.get("spans"), list) and isinstance(
        first(record, ("processes", "traceID", "info")), str | dict
    ):
        return _each(record["spans"], {})
    properties = attributes_in(first(record, _INSIGHTS))
    if _is_telling(properties) or _is_of_insights(record):
        return iter([_of_insights(record, properties)])
    attributes = _attributes_of(record)
    if attributes is not None and (_is_telling(attributes) or (_has_trace(record) and not is_call(record))):
        return _each([record], {})
    attributes = attributes or {}
    if _event_name(record, attributes).startswith("gen_ai."):
        return _each([record], {})
    if _is_telling(record):  # a span whose attributes were lifted to the top
        return iter([Span(record, dict(record), _resource_of(record))])
    return None


def _is_of_insights(record: Mapping[str, Any]) -> bool:
    """True for a row of its tables, whatever it tells of."""
    kind = record.get("Type")
    is_of_workspace = isinstance(kind, str) and kind.startswith("App") and "OperationId" in record
    return is_of_workspace or ("operation_Id" in record and "itemType" in record)


def _of_insights(record: Mapping[str, Any], properties: dict[str, Any]) -> Span:
    """A dependency or request (a span), or a trace or event (a log record), of Application Insights or its workspace.

    https://learn.microsoft.com/azure/azure-monitor/reference/tables/appdependencies
    """
    took = first(record, ("DurationMs", "duration"))
    own, around = first(record, ("Id", "id")), first(record, ("ParentId", "operation_ParentId"))
    told = {
        "start_time": first(record, ("TimeGenerated", "timestamp", "time")),
        "Duration": None if took is None else float(took) * 10**6,
        "trace_id": first(record, ("OperationId", "operation_Id")),
        "span_id": around if took is None else own,
        "parent_id": None if took is None else around,
        "name": first(record, ("Name", "name")),
        "status": "ERROR" if str(first(record, ("Success", "success"))).lower() == "false" else None,
    }
    resource = {"service.name": first(record, ("AppRoleName", "cloud_RoleName"))}
    name = properties.get("event.name") or (told["name"] if took is None else None)
    body = parsed(first(record, ("Message", "message")))
    return Span(told, properties, resource, event_name=name if isinstance(name, str) else "", body=body)


def _attributes_of(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The attributes of a span or log record; None for a record that is none."""
    held = first(record, _ATTRIBUTES)
    if held is not None:
        return attributes_in(held)
    columns = {key[11:]: value for key, value in record.items() if key.startswith("attributes.") and value is not None}
    return columns or None


def _is_telling(attributes: Mapping[str, Any]) -> bool:
    return any(
        key.startswith(("gen_ai.", "llm.", "openinference.", "ai.", "langfuse.", "mlflow.")) for key in attributes
    )


def _has_trace(record: Mapping[str, Any]) -> bool:
    context = record.get("context")
    return first(record, _TRACE_ID) is not None or (isinstance(context, dict) and first(context, _TRACE_ID) is not None)


def otlp(record: Mapping[str, Any]) -> Iterator[Span | None]:
    """The spans and log records of a message of OTLP."""
    for names, scopes, records in (
        (_SPANS, SCOPES_OF_SPANS, ("spans",)),
        (_LOGS, SCOPES_OF_LOGS, ("logRecords", "log_records", "logs")),
    ):
        for group in first(record, names) or ():
            resource = attributes_in((group.get("resource") or {}).get("attributes"))
            for scope in first(group, scopes) or ():
                name = str((first(scope, _SCOPE) or {}).get("name") or "")
                yield from _each(first(scope, records) or (), resource, name)


def _each(records: Any, resource: Mapping[str, Any], scope: str = "") -> Iterator[Span | None]:
    for record in records:
        try:
            yield _span(record, resource or _resource_of(record), scope)
        except (AttributeError, TypeError, ValueError, RecursionError):
            yield None


def _span(record: Mapping[str, Any], resource: Mapping[str, Any], scope: str) -> Span:
    attributes = _flat(_attributes_of(record) or {})
    if record.get("span_kind") and "openinference.span.kind" not in attributes and "llm.model_name" in attributes:
        attributes["openinference.span.kind"] = record["span_kind"]
    if not scope:
        held = first(record, ("instrumentation_scope", "instrumentation_info", "scope"))
        scope = str(held.get("name") or "") if isinstance(held, dict) else str(record.get("ScopeName") or "")
    return Span(
        record, attributes, resource, scope, list(_events(record)), _event_name(record, attributes), _body(record)
    )


def _events(record: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    names = record.get("Events.Name")
    if isinstance(names, list):  # ClickHouse's exporter
        for name, held in zip(names, record.get("Events.Attributes") or (), strict=False):
            yield str(name), attributes_in(held)
        return
    events = parsed(first(record, ("events", "otel_events")))
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict):
            held = attributes_in(first(event, ("attributes", "Attributes", "event_attributes")))
            yield str(first(event, ("name", "Name", "event_name")) or ""), held


def _event_name(record: Mapping[str, Any], attributes: Mapping[str, Any]) -> str:
    name = first(record, ("eventName", "event_name", "EventName")) or attributes.get("event.name")
    return name if isinstance(name, str) else ""


def _body(record: Mapping[str, Any]) -> Any:
    body = first(record, ("body", "Body"))
    if isinstance(body, dict) and len(body) == 1 and next(iter(body)).endswith(("Value", "_value")):
        return any_value(body)
    return parsed(body)


def _resource_of(record: Mapping[str, Any]) -> Mapping[str, Any]:
    resource = parsed(record.get("resource"))
    if isinstance(resource, dict):
        return attributes_in(resource.get("attributes", resource))
    return attributes_in(parsed(first(record, _RESOURCE)))


def attributes_in(value: object) -> dict[str, Any]:
    """Attributes as a dict, from a dict, OTLP's list of key and value, Parquet's list of pairs, or JSON text."""
    value = parsed(value)
    if isinstance(value, dict):
        return value
    if isinstance(value, list):
        if value and all(isinstance(item, tuple | list) and len(item) == 2 for item in value):
            return {str(key): held for key, held in value}
        return {str(item.get("key")): any_value(item.get("value")) for item in value if isinstance(item, dict)}
    return {}


def any_value(value: object) -> Any:
    """OTLP's AnyValue as what it holds."""
    if not isinstance(value, dict) or len(value) != 1:
        return None
    ((kind, held),) = value.items()
    if kind in {"arrayValue", "array_value"}:
        return [any_value(item) for item in held.get("values") or ()]
    if kind in {"kvlistValue", "kvlist_value"}:
        return attributes_in(held.get("values"))
    return held


def _flat(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes under dotted names, where they came as objects within objects."""
    if not any(isinstance(value, dict) and key in _ROOTS for key, value in attributes.items()):
        return attributes
    flat: dict[str, Any] = {}
    for key, value in attributes.items():
        if isinstance(value, dict) and key.partition(".")[0] in _ROOTS:
            for inner, held in _flat_below(value, 0):
                flat[f"{key}.{inner}"] = held
        else:
            flat[key] = value
    return flat


def _flat_below(value: Mapping[str, Any], depth: int) -> Iterator[tuple[str, Any]]:
    for key, held in value.items():
        if isinstance(held, dict) and held and depth < 5:
            for inner, below in _flat_below(held, depth + 1):
                yield f"{key}.{inner}", below
        else:
            yield str(key), held


def numbered(attributes: Mapping[str, Any], prefix: str) -> list[Any]:
    """What attributes of numbered names hold: `prefix.0.message.role`, `prefix.1.content` ... as objects in a list.

    A list that is there as such comes with its dotted names opened.
    """
    held = parsed(attributes.get(prefix))
    if isinstance(held, list):
        return [opened(item) for item in held]
    begin = f"{prefix}."
    found = {key[len(begin) :]: value for key, value in attributes.items() if key.startswith(begin)}
    tree = opened(found)
    return _listed(tree) if isinstance(tree, dict) and tree else tree if isinstance(tree, list) else []


def opened(value: Any) -> Any:
    """An object whose names are dotted as objects within objects, with lists where all names are numbers."""
    if isinstance(value, list):
        return [opened(item) for item in value]
    if not isinstance(value, dict):
        return value
    tree: dict[str, Any] = {}
    for key, held in value.items():
        *path, last = str(key).split(".")
        place = tree
        for step in path:
            below = place.setdefault(step, {})
            if not isinstance(below, dict):
                below = place[step] = {}
            place = below
        place[last] = opened(held)
    return _closed(tree)


def _closed(tree: Any) -> Any:
    if not isinstance(tree, dict):
        return tree
    closed = {key: _closed(held) for key, held in tree.items()}
    return _listed(closed) if closed and all(key.isdecimal() and len(key) < 7 for key in closed) else closed


def _listed(tree: Mapping[str, Any]) -> list[Any]:
    numbers = [key for key in tree if key.isdecimal() and len(key) < 7]
    return [tree[key] for key in sorted(numbers, key=int)]


def _hex(value: object) -> str:
    """An id of a trace or span; no id is not all zeros."""
    if not isinstance(value, str):
        return ""
    if value.endswith("=") and len(value) in _BYTES_OF_AN_ID:
        try:
            held = base64.b64decode(value, validate=True)
        except binascii.Error:
            held = b""
        value = held.hex() if len(held) == _BYTES_OF_AN_ID[len(value)] else value
    text = value.lower().removeprefix("0x")
    return text if text.strip("0") or len(text) < 16 else ""


def told_json(value: object) -> Any:
    """A value that was written as JSON text, as MLflow does with every attribute."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
