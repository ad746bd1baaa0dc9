"""OTLP as Google's protobuf writes it: OTLP/JSON in, bytes out, by the fields of opentelemetry-proto's messages."""

from __future__ import annotations

import base64
import copy
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

_TYPES = descriptor_pb2.FieldDescriptorProto
_MESSAGES: dict[str, dict[int, tuple[str, str]]] = {  # name, and what it holds; * stands before repeated ones
    "Value": {1: ("string_value", "string"), 2: ("bool_value", "bool"), 3: ("int_value", "int64"),
              4: ("double_value", "double"), 5: ("array_value", "Values"), 6: ("kvlist_value", "Pairs"),
              7: ("bytes_value", "bytes")},
    "Values": {1: ("*values", "Value")},
    "Pairs": {1: ("*values", "Pair")},
    "Pair": {1: ("key", "string"), 2: ("value", "Value")},
    "Resource": {1: ("*attributes", "Pair"), 2: ("dropped_attributes_count", "uint32")},
    "Scope": {1: ("name", "string"), 2: ("version", "string"), 3: ("*attributes", "Pair")},
    "Event": {1: ("time_unix_nano", "fixed64"), 2: ("name", "string"), 3: ("*attributes", "Pair"),
              4: ("dropped_attributes_count", "uint32")},
    "Status": {2: ("message", "string"), 3: ("code", "int32")},
    "Link": {1: ("trace_id", "bytes"), 2: ("span_id", "bytes"), 4: ("*attributes", "Pair"), 6: ("flags", "fixed32")},
    "Span": {1: ("trace_id", "bytes"), 2: ("span_id", "bytes"), 3: ("trace_state", "string"),
             4: ("parent_span_id", "bytes"), 5: ("name", "string"), 6: ("kind", "int32"),
             7: ("start_time_unix_nano", "fixed64"), 8: ("end_time_unix_nano", "fixed64"), 9: ("*attributes", "Pair"),
             10: ("dropped_attributes_count", "uint32"), 11: ("*events", "Event"),
             12: ("dropped_events_count", "uint32"), 13: ("*links", "Link"), 15: ("status", "Status"),
             16: ("flags", "fixed32")},
    "ScopeSpans": {1: ("scope", "Scope"), 2: ("*spans", "Span"), 3: ("schema_url", "string")},
    "ResourceSpans": {1: ("resource", "Resource"), 2: ("*scope_spans", "ScopeSpans"), 3: ("schema_url", "string")},
    "Record": {1: ("time_unix_nano", "fixed64"), 2: ("severity_number", "int32"), 3: ("severity_text", "string"),
               5: ("body", "Value"), 6: ("*attributes", "Pair"), 7: ("dropped_attributes_count", "uint32"),
               8: ("flags", "fixed32"), 9: ("trace_id", "bytes"), 10: ("span_id", "bytes"),
               11: ("observed_time_unix_nano", "fixed64"), 12: ("event_name", "string")},
    "ScopeLogs": {1: ("scope", "Scope"), 2: ("*log_records", "Record"), 3: ("schema_url", "string")},
    "ResourceLogs": {1: ("resource", "Resource"), 2: ("*scope_logs", "ScopeLogs"), 3: ("schema_url", "string")},
    "Point": {3: ("time_unix_nano", "fixed64"), 4: ("as_double", "double"), 7: ("*attributes", "Pair")},
    "Gauge": {1: ("*data_points", "Point")},
    "Metric": {1: ("name", "string"), 2: ("description", "string"), 3: ("unit", "string"), 5: ("gauge", "Gauge"),
               7: ("sum", "Gauge")},
    "ScopeMetrics": {1: ("scope", "Scope"), 2: ("*metrics", "Metric")},
    "ResourceMetrics": {1: ("resource", "Resource"), 2: ("*scope_metrics", "ScopeMetrics")},
    "Traces": {1: ("*resource_spans", "ResourceSpans")},
    "Logs": {1: ("*resource_logs", "ResourceLogs")},
    "Metrics": {1: ("*resource_metrics", "ResourceMetrics")},
}  # fmt: skip
_IDS = {"traceId", "spanId", "parentSpanId"}
_KINDS = {"resourceSpans": "Traces", "resourceLogs": "Logs", "resourceMetrics": "Metrics"}


def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="otlp.proto", package="otlp", syntax="proto3")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        if name == "Value":
            message.oneof_decl.add(name="value")
        for number, (field, kind) in fields.items():
            of_message = kind in _MESSAGES
            one = message.field.add(
                name=field.removeprefix("*"),
                number=number,
                label=_TYPES.LABEL_REPEATED if field[0] == "*" else _TYPES.LABEL_OPTIONAL,
                type=_TYPES.TYPE_MESSAGE if of_message else getattr(_TYPES, f"TYPE_{kind.upper()}"),
            )
            if of_message:
                one.type_name = f".otlp.{kind}"
            if name == "Value":
                one.oneof_index = 0
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL = _pool()


def binary(record: dict[str, Any]) -> bytes:
    """A message of OTLP/JSON as protobuf's bytes."""
    (name,) = record
    made = message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"otlp.{_KINDS[name]}"))()
    json_format.ParseDict(_with_bytes(copy.deepcopy(record)), made, ignore_unknown_fields=True)
    found: bytes = made.SerializeToString(deterministic=True)
    return found


def framed(*messages: bytes) -> bytes:
    """Messages each behind its length, as the collector's file exporter writes them."""
    return b"".join(len(message).to_bytes(4) + message for message in messages)


def _with_bytes(value: Any) -> Any:
    """OTLP/JSON's hexadecimal ids, and words of a status, as protobuf's own JSON has them."""
    if isinstance(value, list):
        return [_with_bytes(one) for one in value]
    if not isinstance(value, dict):
        return value
    found: dict[str, Any] = {}
    for key, held in value.items():
        if key in _IDS:
            found[key] = base64.b64encode(bytes.fromhex(held or "")).decode()
        elif key in {"code", "kind", "severityNumber"} and isinstance(held, str):
            found[key] = int(held == "STATUS_CODE_ERROR") * 2
        else:
            found[key] = _with_bytes(held)
    return found
