"""OTLP in protobuf's binary form, as the collector's exporters write it to files, S3, Azure and Google Cloud (`proto`).

https://github.com/open-telemetry/opentelemetry-proto, and https://protobuf.dev/programming-guides/encoding/. Each span
and log record comes as OTLP/JSON has it, within its resource and scope, and is read by itself: memory is that of one.
A file has one message, or, as the file exporter writes them, many, each behind its length. It is read by hand, since
protobuf's library would hold a whole message, which may be the whole file.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator, Mapping
from typing import Any, Literal

from optiinfra_dagster.quality.interactions import BadLine, Reason
from optiinfra_dagster.quality.logs.records import CHUNK, MAX_RECORD, Readable

Form = Literal["", "one", "many"]

LENGTH = 4  # bytes before each of many messages
LOOKED_AT = 64  # bytes of a file that tell its form

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # how a field is written
_RESOURCE, _SCOPES = 1, 2  # fields of ResourceSpans and ResourceLogs
_SCOPE, _RECORDS = 1, 2  # fields of ScopeSpans and ScopeLogs
_LONGEST_VARINT = 10

# The fields that are read, by their numbers: the name in OTLP/JSON, and what it holds. `*` stands before repeated ones.
_KIND = str | Mapping[int, "tuple[str, Any]"]
_ANY: dict[int, tuple[str, Any]] = {
    1: ("stringValue", "text"), 2: ("boolValue", "bool"), 3: ("intValue", "int"), 4: ("doubleValue", "double"),
    7: ("bytesValue", "base64"),
}  # fmt: skip
_PAIR: dict[int, tuple[str, Any]] = {1: ("key", "text"), 2: ("value", _ANY)}
_ANY[5] = ("arrayValue", {1: ("*values", _ANY)})
_ANY[6] = ("kvlistValue", {1: ("*values", _PAIR)})
_OF_RESOURCE = {1: ("*attributes", _PAIR)}
_OF_SCOPE = {1: ("name", "text"), 2: ("version", "text")}
_EVENT = {1: ("timeUnixNano", "fixed64"), 2: ("name", "text"), 3: ("*attributes", _PAIR)}
_SPAN = {
    1: ("traceId", "id"), 2: ("spanId", "id"), 4: ("parentSpanId", "id"), 5: ("name", "text"),
    7: ("startTimeUnixNano", "fixed64"), 8: ("endTimeUnixNano", "fixed64"), 9: ("*attributes", _PAIR),
    11: ("*events", _EVENT), 15: ("status", {2: ("message", "text"), 3: ("code", "int")}),
}  # fmt: skip
_LOG = {
    1: ("timeUnixNano", "fixed64"), 5: ("body", _ANY), 6: ("*attributes", _PAIR), 9: ("traceId", "id"),
    10: ("spanId", "id"), 11: ("observedTimeUnixNano", "fixed64"), 12: ("eventName", "text"),
}  # fmt: skip
_FORMS = {"Spans": ("spans", _SPAN), "Logs": ("logRecords", _LOG)}


class _DamagedError(Exception):
    """What is read is no message, or another."""


def form_of(begin: bytes) -> Form:
    """How a file that begins so holds OTLP: as one message, or many; "" for another file.

    In a message each part begins with its first part, which is shorter than it; and between texts stand bytes that no
    text has. An empty line and white space could be mistaken for the first alone.
    """
    if len(begin.translate(None, _OF_NO_TEXT)) == len(begin):
        return ""
    if _fits(begin, 0, 2**63):
        return "one"
    length = int.from_bytes(begin[:LENGTH])
    return "many" if length < _LONGEST and _fits(begin, LENGTH, length) else ""


_OF_NO_TEXT = b"\0\x12"  # what is empty, and the tag of a value or of spans
_LONGEST = 2**28  # bytes of one of many messages


def _fits(begin: bytes, at: int, size: int) -> bool:
    """True if a message of so many bytes may begin here: with its first part, and so on within that."""
    for tags in (b"\n", b"\n\x12", b"\n\x12\x10\x1a", b"\n\x12\x10\x1a"):
        if at >= len(begin) or begin[at] not in tags:
            return False
        try:
            inner, behind = _varint(begin, at + 1)
        except _DamagedError:
            return False
        size -= behind - at
        if inner > size:
            return False
        if inner == 0 or begin[at] == 0x10:  # nothing is told of a resource or a scope
            return True
        at, size = behind, inner
    return True


def read_messages(stream: Readable, form: Form, damages: tuple[type[Exception], ...] = ()) -> Iterator[Any]:
    """The spans and log records of a file, each within its resource and scope, and a `BadLine` for what is none.

    What else may be in such files, metrics and profiles, tells of no call and is passed over.
    """
    source = _Source(stream, damages)
    try:
        while not source.is_at_end():
            length = int.from_bytes(source.take(LENGTH)) if form == "many" else None
            end = None if length is None else source.at + length
            try:
                yield from _message(source, end)
            except _DamagedError:
                yield BadLine(Reason.WRONG_TYPE)
                if end is None or source.at > end:  # where the next message begins is not known
                    return
                source.skip(end - source.at)
    except EOFError:
        yield BadLine(Reason.CUT_FILE)


def _message(source: _Source, end: int | None) -> Iterator[Any]:
    while not source.is_at_end() if end is None else source.at < end:
        number, size = source.part(end)
        if number == 1:
            yield from _resource(source, source.at + size)
        else:
            source.skip(size)


def _resource(source: _Source, end: int) -> Iterator[Any]:
    resource: dict[str, Any] = {}
    while source.at < end:
        number, size = source.part(end)
        if number == _RESOURCE:
            resource = _read(source, size, _OF_RESOURCE) or {}
        elif number == _SCOPES:
            yield from _scope(source, source.at + size, resource)
        else:
            source.skip(size)


def _scope(source: _Source, end: int, resource: Mapping[str, Any]) -> Iterator[Any]:
    scope: dict[str, Any] = {}
    while source.at < end:
        number, size = source.part(end)
        if number == _SCOPE:
            scope = _read(source, size, _OF_SCOPE) or {}
        elif number != _RECORDS:
            source.skip(size)
        elif size > MAX_RECORD:
            source.skip(size)
            yield BadLine(Reason.TOO_LARGE)
        else:
            yield from _record(source.take(size), resource, scope)


def _record(data: bytes, resource: Mapping[str, Any], scope: Mapping[str, Any]) -> Iterator[Any]:
    try:
        signal = _signal_of(data)
        if signal:
            name, fields = _FORMS[signal]
            held = {"scope": scope, name: [_decoded(data, fields)]}
            yield {f"resource{signal}": [{"resource": resource, f"scope{signal}": [held]}]}
    except UnicodeDecodeError:
        yield BadLine(Reason.NOT_UTF8)
    except (_DamagedError, RecursionError):
        yield BadLine(Reason.WRONG_TYPE)


def _signal_of(data: bytes) -> str:
    """Whether a record is a span or a log record, by where it has its times; "" for what is neither."""
    found = {(number, form): value for number, form, value in _fields(data)}
    if found.keys() & {(7, _FIXED64), (8, _FIXED64)} or _is_without_time(found):
        return "Spans"
    return "Logs" if found.keys() & {(1, _FIXED64), (11, _FIXED64)} else ""


def _is_without_time(found: Mapping[tuple[int, int], Any]) -> bool:
    """True for a span that has its ids and no time; where these are, metrics have words."""
    trace_id, span_id = found.get((1, _BYTES), b""), found.get((2, _BYTES), b"")
    return (len(trace_id), len(span_id)) == (16, 8) and not (trace_id + span_id).isascii()


def _read(source: _Source, size: int, fields: Mapping[int, Any]) -> dict[str, Any] | None:
    """What a resource or scope tells; None where it is too large or odd: its records are read all the same."""
    if size > MAX_RECORD:
        source.skip(size)
        return None
    try:
        return _decoded(source.take(size), fields)
    except (_DamagedError, UnicodeDecodeError, RecursionError):
        return None


class _Source:
    """A stream of which some bytes are taken at a time. `at` is how many were. Damages of the stream are an end."""

    def __init__(self, stream: Readable, damages: tuple[type[Exception], ...]) -> None:
        self.at = 0
        self._stream, self._damages = stream, damages
        self._held, self._from = b"", 0

    def is_at_end(self) -> bool:
        """True if nothing follows."""
        return self._from == len(self._held) and not self._more()

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            EOFError: there are not so many.
        """
        parts, lacks = [], size
        while lacks:
            if self._from == len(self._held) and not self._more():
                raise EOFError
            part = self._held[self._from : self._from + lacks]
            self._from += len(part)
            lacks -= len(part)
            parts.append(part)
        self.at += size
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def skip(self, size: int) -> None:
        """Pass over the next bytes.

        Raises:
            EOFError: there are not so many.
        """
        while size:
            size -= len(self.take(min(size, CHUNK)))

    def part(self, end: int | None) -> tuple[int, int]:
        """The number and the size of the next part of a message that ends at `end`; other fields are passed over."""
        tag = self._varint()
        number, form = tag >> 3, tag & 7
        if form == _BYTES:
            size = self._varint()
        elif form == _VARINT:
            number, size = 0, 0
            self._varint()
        elif form in {_FIXED64, _FIXED32}:
            number, size = 0, 8 if form == _FIXED64 else 4
        else:
            raise _DamagedError
        if end is not None and self.at + size > end:
            raise _DamagedError
        return number, size

    def _varint(self) -> int:
        value = 0
        for place in range(_LONGEST_VARINT):
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return value
        raise _DamagedError

    def _more(self) -> bool:
        try:
            self._held, self._from = self._stream.read(CHUNK), 0
        except self._damages:
            raise EOFError from None
        return bool(self._held)


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A number of variable length, and where it ends."""
    value = 0
    for place in range(_LONGEST_VARINT):
        if at >= len(data):
            raise _DamagedError
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at
    raise _DamagedError


def _fields(data: bytes) -> Iterator[tuple[int, int, Any]]:
    """The fields of a message: number, how it is written, and the bytes or the number that it holds."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        form = tag & 7
        if form == _VARINT:
            value: Any
            value, at = _varint(data, at)
        else:
            if form == _BYTES:
                size, at = _varint(data, at)
            elif form in {_FIXED64, _FIXED32}:
                size = 8 if form == _FIXED64 else 4
            else:
                raise _DamagedError
            value = data[at : at + size]
            at += size
            if at > end:
                raise _DamagedError
        yield tag >> 3, form, value


def _decoded(data: bytes, fields: Mapping[int, Any]) -> dict[str, Any]:
    """What a message tells under the names of OTLP/JSON."""
    found: dict[str, Any] = {}
    for number, form, value in _fields(data):
        name, kind = fields.get(number, ("", None))
        if kind is None:
            continue
        held = _value(kind, form, value)
        if name[0] == "*":
            found.setdefault(name[1:], []).append(held)
        else:
            found[name] = held
    return found


def _value(kind: _KIND, form: int, value: Any) -> Any:
    if form != _FORM_OF.get(kind if isinstance(kind, str) else "", _BYTES):
        raise _DamagedError
    if kind == "text":
        return value.decode()
    if not isinstance(kind, str):
        return _decoded(value, kind)
    if kind == "int":
        return value - 2**64 if value >= 2**63 else value
    if kind == "double":
        return struct.unpack("<d", value)[0]
    return _SIMPLE[kind](value)


_FORM_OF = {"bool": _VARINT, "int": _VARINT, "double": _FIXED64, "fixed64": _FIXED64}
_SIMPLE: Mapping[str, Any] = {
    "bool": bool,
    "fixed64": lambda value: int.from_bytes(value, "little"),
    "id": bytes.hex,
    "base64": lambda value: base64.b64encode(value).decode(),
}
