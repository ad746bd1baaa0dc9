"""Spans as the tools that keep traces give them, and what beside spans files of OTLP hold.

- Jaeger's JSON: https://www.jaegertracing.io/docs/latest/apis/.
- Zipkin's, with what OpenTelemetry's exporters make of a span: https://zipkin.io/zipkin-api/,
  https://opentelemetry.io/docs/specs/otel/trace/sdk_exporters/zipkin/.
- Grafana Tempo's answers, which Grafana downloads: https://grafana.com/docs/tempo/latest/api_docs/#query.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optiinfra_dagster.quality.logs import envelopes
from optiinfra_dagster.quality.logs.envelopes import OTLP, SCOPES_OF_LOGS, SCOPES_OF_SPANS, Span, attributes_in, otlp
from optiinfra_dagster.quality.logs.fields import first
from optiinfra_dagster.quality.logs.flat import is_call

_OF_NO_CALLS = {"resourceMetrics", "resource_metrics", "resourceProfiles", "resource_profiles"}
_SCOPED = set(SCOPES_OF_SPANS)


def spans_of(record: Mapping[str, Any]) -> Iterator[Span | None] | None:
    """The spans and log records that a record is or has, None for one that is odd; None for another kind of record."""
    if record.keys() & _OF_NO_CALLS:
        return iter(())
    if "traceID" in record and isinstance(record.get("spans"), list):
        return _jaeger(record)
    if _is_zipkin(record):
        return iter([_of_zipkin(record)])
    trace = _by_itself(record) or _of_tempo(record)
    return envelopes.spans_of(record) if trace is None else otlp(trace)


def _jaeger(trace: Mapping[str, Any]) -> Iterator[Span | None]:
    processes = trace.get("processes") or {}
    for record in trace["spans"]:
        process = processes.get(record.get("processID")) or record.get("process") or {}
        resource = {"service.name": process.get("serviceName"), **_tags(process.get("tags"))}
        references = record.get("references") or ()
        parent = next((held.get("spanID") for held in references if held.get("refType") == "CHILD_OF"), None)
        attributes = _tags(record.get("tags"))
        status = {"status": attributes.get("otel.status_code"), "parentSpanId": parent}
        events = [
            (str(_tags(log.get("fields")).get("event")), _tags(log.get("fields"))) for log in record.get("logs") or ()
        ]
        yield Span({**record, **status}, attributes, resource, str(attributes.get("otel.scope.name") or ""), events)


def _tags(tags: object) -> dict[str, Any]:
    return {str(tag.get("key")): tag.get("value") for tag in tags} if isinstance(tags, list) else {}


def _is_zipkin(record: Mapping[str, Any]) -> bool:
    is_one = "traceId" in record and "id" in record and "type" not in record
    return (
        is_one and any(isinstance(record.get(key), dict) for key in ("localEndpoint", "tags")) and not is_call(record)
    )


def _of_zipkin(record: Mapping[str, Any]) -> Span:
    tags, took = record.get("tags") or {}, record.get("duration")
    told = {
        "start_time": record.get("timestamp"),
        "Duration": None if took is None else float(took) * 1000,
        "trace_id": record["traceId"],
        "span_id": record["id"],
        "parent_id": record.get("parentId"),
        "name": record.get("name"),
        "status": "ERROR" if "error" in tags or str(tags.get("otel.status_code")).upper() == "ERROR" else None,
    }
    events = [_annotated(str(held.get("value"))) for held in record.get("annotations") or ()]
    scope = str(first(tags, ("otel.scope.name", "otel.library.name")) or "")
    resource = {"service.name": (record.get("localEndpoint") or {}).get("serviceName")}
    return Span(told, dict(tags), resource, scope, events)


def _annotated(value: str) -> tuple[str, dict[str, Any]]:
    """An event, as `"name": {...}` of an SDK's exporter or `name|{...}|0` of the collector's."""
    if "|{" in value:
        name, _, held = value.partition("|")
        return name, attributes_in(held.rpartition("|")[0])
    name, _, held = value.partition(": ")
    return name.strip('"'), attributes_in(held)


def _by_itself(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """A message of what is else within one, as Langfuse keeps the spans that it gets; None for another record."""
    if "resource" in record:
        for scopes, around in ((SCOPES_OF_SPANS, "resourceSpans"), (SCOPES_OF_LOGS, "resourceLogs")):
            if any(isinstance(record.get(key), list) for key in scopes):
                return {around: [record]}
    return None


def _of_tempo(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The trace that an answer of Tempo's is; None for another record."""
    trace = record.get("trace", record)
    if not isinstance(trace, dict):
        return None
    batches = trace.get("batches")
    if isinstance(batches, list) and batches and all(isinstance(one, dict) and _SCOPED & one.keys() for one in batches):
        return {"resourceSpans": batches}
    return trace if trace is not record and trace.keys() & OTLP else None
