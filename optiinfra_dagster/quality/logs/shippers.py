"""Records that a shipper of logs wrapped around those of an application: what an application printed comes in them.

- Cloud Logging's entries, as sinks write them to buckets: https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry.
  OpenTelemetry's exporter for it puts a log record's attributes into `labels` and its body into `jsonPayload`.
- CloudWatch's subscriptions, as Firehose writes them:
  https://docs.aws.amazon.com/AmazonCloudWatch/latest/logs/SubscriptionFilters.html.
- OpenTelemetry's collector, whose log records have a line that was printed as their body.
- Loki's answers to queries, and what is pushed to it: https://grafana.com/docs/loki/latest/reference/loki-http-api/.
- DynamoDB's exports and streams, where each value stands under its type:
  https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/S3DataExport.Output.html.
- Docker, Fluent Bit, Fluentd, Vector, Filebeat, Splunk, journald, SNS, EventBridge: the line that was printed, or what
  it says, is one member.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.quality.logs.fields import filled, parsed
from optiinfra_dagster.quality.logs.flat import PROMPT, RESPONSE, TIME, in_our_spelling, is_call
from optiinfra_dagster.quality.logs.records import TIMED

if TYPE_CHECKING:
    from optiinfra_dagster.quality.logs.envelopes import Span

_AROUND = (
    "data", "payload", "detail", "fields", "properties", "record", "value", "body", "params", "attributes", "_source",
)  # fmt: skip
_LINES = (
    "log", "message", "msg", "@message", "event", "textPayload", "MESSAGE", "Message", "line", "LogMessage",
    "resultDescription", "_raw",
)  # fmt: skip
_TIMES = (*TIME, "receiveTimestamp", "__REALTIME_TIMESTAMP")


def shipped(record: Mapping[str, Any]) -> list[Mapping[str, Any] | None] | None:
    """The records within one of a shipper, None for a line that is no JSON; None for a record of another kind."""
    told = _of_known_shipper(record)
    if told is not None:
        return told
    names = next(([key] for key in _AROUND if _is_call_as_json(record.get(key))), None)
    names = names or [
        key for key, value in record.items() if isinstance(value, dict) and is_call(in_our_spelling(value))
    ]
    if len(names) == 1:
        beside = {name: value for name, value in record.items() if name != names[0]}
        return [{**beside, **parsed(record[names[0]])}]
    if any(record.get(key) is not None for key in (*PROMPT, *RESPONSE)):
        return None
    inner = next((held for key in _LINES if isinstance(held := parsed(record.get(key)), dict) and len(held) > 1), None)
    if inner is not None:
        return [_timed(inner, filled(record, _TIMES))]
    return _deeper(record)


def _of_known_shipper(record: Mapping[str, Any]) -> list[Mapping[str, Any] | None] | None:
    if isinstance(record.get("logEvents"), list) and "logGroup" in record:
        return list(_of_cloudwatch(record))
    item = record.get("Item") or (parsed(record.get("dynamodb")) or {}).get("NewImage")
    if isinstance(item, dict) and item and all(_is_typed(value) for value in item.values()):
        return [{name: _of_dynamodb(value) for name, value in item.items()}]
    streams = _streams_of_loki(record)
    if streams is not None:
        return [line for stream in streams for line in _of_loki(stream)]
    if isinstance(record.get("jsonPayload"), dict) and "logName" in record:
        return [_of_cloud_logging(record, record["jsonPayload"])]
    source = record.get("_source")
    if isinstance(source, dict) and "_index" in record and not is_call(source):
        return [source]  # what Elasticsearch holds, such as a span
    return None


def _deeper(record: Mapping[str, Any]) -> list[Mapping[str, Any] | None] | None:
    """The records within a member of a shipper's record: Lambda's, Loguru's, Splunk's and Elasticsearch's answers."""
    for key in ("record", "result", "hits"):
        held = record.get(key)
        if isinstance(held, dict):
            hits = held.get("hits")
            found = (
                hits if isinstance(hits, list) else shipped({name: told for name, told in held.items() if name != key})
            )
            if found is not None:
                return [None if one is None else _timed(one, filled(record, _TIMES)) for one in found]
    return None


def _is_call_as_json(value: object) -> bool:
    held = parsed(value)
    return isinstance(held, dict) and is_call(held)


def printed_in(record: Span) -> Mapping[str, Any] | None:
    """What an application printed, in the body or the attributes of a log record; None for a record of another kind."""
    if record.event_name or record.body is None:
        return None
    held = next(
        (told for told in (parsed(record.body), record.attributes) if isinstance(told, dict) and is_call(told)), None
    )
    if held is None:
        return None
    call = record.call()
    told = {"service_name": call.application_id, "cloud.provider": call.provider, "trace_id": call.trace_id or None}
    return _timed({**{key: value for key, value in told.items() if value is not None}, **held}, call.started)


def _of_cloudwatch(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | None]:
    if record.get("messageType") == "CONTROL_MESSAGE":  # whether anybody is there
        return
    for event in record["logEvents"]:
        line = event.get("message")
        before = TIMED.match(line) if isinstance(line, str) else None
        held = parsed(line[before.end() :] if before else line)
        yield _timed(held, event.get("timestamp")) if isinstance(held, dict) else None


_TYPES = {"S", "N", "B", "BOOL", "NULL", "M", "L", "SS", "NS", "BS"}


def _is_typed(value: object) -> bool:
    return isinstance(value, dict) and len(value) == 1 and value.keys() <= _TYPES


def _of_dynamodb(value: Any) -> Any:
    """What a typed value holds."""
    ((kind, held),) = value.items()
    if kind == "M":
        return {name: _of_dynamodb(inner) for name, inner in held.items()}
    if kind == "L":
        return [_of_dynamodb(inner) for inner in held]
    if kind == "N":
        return int(held) if held.lstrip("-").isdecimal() else float(held)
    return None if kind == "NULL" else held


def _streams_of_loki(record: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
    """The streams of an answer to a query, or of what is pushed; None for another record."""
    held = record.get("data")
    is_answer = isinstance(held, dict) and held.get("resultType") == "streams"
    streams = held["result"] if is_answer and isinstance(held, dict) else record.get("streams")
    if not isinstance(streams, list):
        return None
    is_one = all(isinstance(one, dict) and isinstance(one.get("stream"), dict) and "values" in one for one in streams)
    return streams if is_one and (streams or is_answer) else None


def _of_loki(stream: Mapping[str, Any]) -> Iterator[Mapping[str, Any] | None]:
    """The lines of a stream; its labels, and the metadata of a line, name the application and the trace."""
    for when, line, *more in stream["values"]:
        told = {**stream["stream"], **(more[0] if more and isinstance(more[0], dict) else {})}
        beside = {key: told[key] for key in ("service_name", "trace_id") if told.get(key)}
        held = parsed(line)
        yield _timed({**beside, **held}, when) if isinstance(held, dict) else None


def _of_cloud_logging(entry: Mapping[str, Any], payload: Mapping[str, Any]) -> Mapping[str, Any]:
    labels, when = entry.get("labels"), filled(entry, _TIMES)
    trace = str(entry.get("trace") or "").rpartition("/")[2]
    if isinstance(labels, dict) and "event.name" in labels:
        ids = {"trace_id": trace, "span_id": entry.get("spanId")}
        return {**ids, "timestamp": when, "attributes": labels, "event_name": labels["event.name"], "body": payload}
    return _timed({"trace_id": trace, **payload} if trace else payload, when)


def _timed(record: Mapping[str, Any], when: object) -> Mapping[str, Any]:
    """A record with the time of what is around it, unless it has its own."""
    return record if when is None or filled(record, TIME) is not None else {**record, "timestamp": when}
