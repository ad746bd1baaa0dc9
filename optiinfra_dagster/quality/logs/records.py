"""The records in the text of a log, one by one, in bounded memory.

JSON may stand one value to a line, spread over many lines, one behind the other, or in arrays; a time may stand before
it in its line. Where one value is too large to be held, what it holds is read one by one: the spans of an OTLP message,
the observations of a trace. Each then comes in what stood before it of the objects around it: `{"resourceSpans":
[{"resource": ..., "scopeSpans": ...}]}` of 500 spans as 500 such messages of one span.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from optiinfra_dagster.quality.interactions import BadLine, Reason

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_RECORD = 4 * 2**20  # characters of one record, and so of one interaction
CHUNK = 2**16  # bytes that are read at a time

# Members that hold many records, and may so be larger than one.
_MANY = {
    "resourceSpans", "scopeSpans", "instrumentationLibrarySpans", "spans", "resourceLogs", "scopeLogs", "logRecords",
    "resource_spans", "scope_spans", "resource_logs", "scope_logs", "log_records",
    "data", "traces", "observations", "runs", "records", "results", "rows", "items", "batch", "batches", "trace",
}  # fmt: skip

# What is worth to be looked through if some of it is no JSON.
_HAS_MANY = re.compile(r'\{\s*"(resource(?:Spans|Logs|_spans|_logs))"')
# What may stand between records: the end of an array, the separator of RFC 7464, byte order marks of joined files.
_BETWEEN = re.compile("[\\s,\\]\x1e\ufeff]*")
_SPACE = re.compile(r"\s*")
_COMMAS = re.compile(r"[\s,]*")
_PLAIN = re.compile(r"[^\s,\]}]*")
_MARK = re.compile(r'["{}\[\]\n]')
_STRING_END = re.compile(r'(?:[^"\\\n]|\\.)*"')
_NOT_UTF8 = re.compile("[\udc80-\udcff]")
# A time before an object in its line, with what stands between them: CloudWatch's exports and Kubernetes, a level, and
# Lambda's id of the request.
TIMED = re.compile(
    r"(\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:\d\d))"
    r"(?: std(?:out|err) F |\t[\w-]{1,40}\t[A-Z]{1,8}\t| [A-Z]{4,8} | )(?=\{)"
)
_LONGEST_TIME = 100  # characters
_DECODER = json.JSONDecoder()
_LONGEST_WORD = 12  # characters within which an error at the end of a text may be but the text's end


class Readable(Protocol):
    """A stream of bytes."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""


class _TooLargeError(Exception):
    """A value has more than `MAX_RECORD` characters."""


class _Text:
    """A window over the decoded text of a stream. `at` is where reading stands in `text`."""

    def __init__(self, stream: Readable, damages: tuple[type[Exception], ...]) -> None:
        self.text, self.at, self.ended = "", 0, False
        self.odd = False  # some bytes were no UTF-8: they are in the text as halves of surrogate pairs
        self.damaged = False  # the stream ended with one of `damages`
        self._stream, self._damages, self._rest = stream, damages, b""
        self._line, self._counted = 1, 0

    def line(self) -> int:
        """The number of the line that `at` is in, from 1."""
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def more(self, size: int = CHUNK) -> bool:
        """Read on, at most so many bytes; False at the end. What was read before `at` is let go."""
        while not self.ended:
            try:
                chunk = self._stream.read(size)
            except self._damages:
                self.damaged, chunk = True, b""
            data, self._rest = self._rest + chunk, b""
            self.ended = not chunk
            text = self._decoded(data)
            if text:
                self.line()
                self.text, self.at, self._counted = self.text[self.at :] + text, 0, 0
                return True
        return False

    def _decoded(self, data: bytes) -> str:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            if error.reason == "unexpected end of data" and not self.ended:
                data, self._rest = data[: error.start], data[error.start :]
                return data.decode()
            cut = next((n for n in range(1, 4) if not self.ended and data[-n : -n + 1 or None] >= b"\xc0"), 0)
            if cut:  # a character that may go on
                data, self._rest = data[:-cut], data[-cut:]
            self.odd = True
            return data.decode(errors="surrogateescape")

    def passed(self, pattern: re.Pattern[str]) -> str:
        """Pass over what matches, and return the character behind it; "" at the end."""
        while True:
            match = pattern.match(self.text, self.at)
            self.at = match.end() if match else self.at
            if self.at < len(self.text):
                return self.text[self.at]
            if not self.more():
                return ""

    def _read_on(self) -> None:
        """Read on where the line at `at` may not be whole: to try half a value costs as much as to read one."""
        if not self.ended and len(self.text) - self.at < CHUNK and self.text.find("\n", self.at) < 0:
            self.more()

    def next_line(self) -> None:
        """Go to the beginning of the next line."""
        while (end := self.text.find("\n", self.at)) < 0:
            self.at = len(self.text)
            if not self.more():
                return
        self.at = end + 1

    def value(self) -> Any:
        """The value at `at`, which goes behind it.

        Raises:
            UnicodeError: it is no UTF-8, and was passed over.
            ValueError, RecursionError, _TooLargeError: it is no JSON, too deep, too large. Reading stands where it did.
        """
        wanted = 0
        self._read_on()
        while True:
            try:
                value, end = _DECODER.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                held = len(self.text) - self.at
                if self.ended or not (
                    error.pos > len(self.text) - _LONGEST_WORD or error.msg.startswith("Unterminated")
                ):
                    raise
                if held > MAX_RECORD:
                    raise _TooLargeError from None
                wanted = max(2 * held, CHUNK)  # so that a large value is not tried after every chunk
                while (lacks := wanted - len(self.text) + self.at) > 0 and self.more(max(lacks, CHUNK)):
                    pass
            else:
                if end == len(self.text) and not self.ended and not isinstance(value, str | dict | list):
                    self.more()  # a number may go on
                    continue
                if end - self.at > MAX_RECORD:
                    raise _TooLargeError
                begin, self.at = self.at, end
                if self.odd and _NOT_UTF8.search(self.text, begin, end):
                    raise UnicodeError
                return value

    def time(self) -> str:
        """The time before an object, as CloudWatch's exports and Kubernetes write it, which is passed over; else ""."""
        while len(self.text) - self.at < _LONGEST_TIME and self.more():
            pass
        match = TIMED.match(self.text, self.at)
        self.at = match.end() if match else self.at
        return match[1] if match else ""

    def skip(self) -> bool:
        """Pass over the value at `at`, no JSON or too large, without holding it; False if its line ends before.

        What is in one line is not sought beyond it: a line that was cut must not cost those behind it.
        """
        if self.text[self.at] not in '{["':
            return self.passed(_PLAIN) not in {"", "\n"}
        depth = 0
        while True:
            match = _MARK.search(self.text, self.at)
            if match is None:
                self.at = len(self.text)
                if not self.more():
                    return False
                continue
            if match[0] == "\n":
                self.at = match.start()
                return False
            self.at = match.end()
            if match[0] == '"':
                if not self._skip_string():
                    return False
            else:
                depth += 1 if match[0] in "{[" else -1
            if depth <= 0:
                return True

    def _skip_string(self) -> bool:
        while (match := _STRING_END.match(self.text, self.at)) is None:
            end = self.text.find("\n", self.at)
            if end >= 0:
                self.at = end
                return False
            # All of it belongs to the string, but for a backslash whose letter is yet to come.
            tail = len(self.text) - len(self.text.rstrip("\\"))
            self.at = max(self.at, len(self.text) - tail % 2)
            if not self.more():
                return False
        self.at = match.end()
        return True


def read_records(stream: Readable, damages: tuple[type[Exception], ...] = ()) -> Iterator[Any]:
    """The records of a text, and a `BadLine` for what is none; arrays come as what they hold.

    Where reading ends with one of `damages`, what came before it is read, and counts as a file that was cut.
    """
    text = _Text(stream, damages)
    lines = [1]  # of the value that is read
    for value in _values(text, lines):
        yield replace(value, line=lines[0]) if isinstance(value, BadLine) else value


def _values(text: _Text, lines: list[int]) -> Iterator[Any]:
    while mark := text.passed(_BETWEEN):
        lines[0] = text.line()
        if mark == "[":
            text.at += 1  # its records are as good as those that stand alone
            continue
        try:
            yield _whole(text, mark)
        except _TooLargeError:
            if mark == "{":
                yield from _members(text, lambda inner: inner, Reason.TOO_LARGE)
            else:
                text.next_line()
                yield BadLine(Reason.TOO_LARGE)
        except UnicodeError:
            yield BadLine(Reason.NOT_UTF8)
        except (ValueError, RecursionError):
            if _HAS_MANY.match(text.text, text.at):
                yield from _members(text, lambda inner: inner, Reason.NOT_JSON)
            else:
                yield from _broken(text)
    if text.damaged:
        yield BadLine(Reason.CUT_FILE)


def _whole(text: _Text, mark: str) -> Any:
    """The record at `at`, with a time that stands before it around it."""
    when = text.time() if mark.isdecimal() else ""
    value = text.value()
    if when:
        return {"timestamp": when, "message": value}
    if mark == "{":
        return value
    text.next_line()  # a line of something else is one bad line, whatever it has
    return BadLine(Reason.WRONG_TYPE)


def _broken(text: _Text) -> Iterator[BadLine]:
    """Go on after what is no JSON, at the next line; the other lines of a value over many count as no more."""
    begin, end = text.at, text.text.find("\n", text.at)
    odd = text.odd and _NOT_UTF8.search(text.text, begin, end if end >= 0 else len(text.text))
    text.next_line()
    if not text.damaged or text.at < len(text.text):
        yield BadLine(Reason.NOT_UTF8 if odd else Reason.NOT_JSON)
    while text.passed(_BETWEEN) in {'"', "}"}:
        text.next_line()


def _members(text: _Text, around: Callable[[Any], Any], reason: Reason) -> Iterator[Any]:
    """What the object at `at` holds many of, each within the members that came before it.

    The object is too large or no JSON as a whole (`reason`); so it counts if it holds many of nothing.
    """
    beside: dict[str, Any] = {}
    has_many = False
    text.at += 1
    while (mark := text.passed(_COMMAS)) and mark != "}":
        try:
            key = text.value()
            if not isinstance(key, str) or text.passed(_SPACE) != ":":
                raise ValueError
        except (ValueError, RecursionError, _TooLargeError):
            yield BadLine(reason)
            text.next_line()
            return
        text.at += 1
        mark = text.passed(_SPACE)
        if key in _MANY and mark and mark in "[{":
            has_many = True
            within = _Within(around, beside, key, in_array=mark == "[")
            yield from _elements(text, within) if mark == "[" else _members(text, within, reason)
            continue
        try:
            beside[key] = text.value()
        except UnicodeError:
            reason = Reason.NOT_UTF8
        except (ValueError, RecursionError, _TooLargeError):
            if not text.skip():
                yield BadLine(reason)
                return
    text.at += 1
    if not has_many:
        yield BadLine(reason)


def _elements(text: _Text, around: Callable[[Any], Any]) -> Iterator[Any]:
    """The elements of the array at `at`; one that is no JSON or too large is looked through or passed over."""
    text.at += 1
    while (mark := text.passed(_COMMAS)) and mark != "]":
        reason = Reason.NOT_JSON
        try:
            yield around(text.value())
            continue
        except UnicodeError:
            yield BadLine(Reason.NOT_UTF8)
            continue
        except _TooLargeError:
            reason = Reason.TOO_LARGE
        except (ValueError, RecursionError):
            pass
        if mark == "{":
            yield from _members(text, around, reason)
        else:
            yield BadLine(reason)
            if not text.skip():
                return
    text.at += 1


class _Within:
    """Puts what was read back into the member `key` of an object, and that into what is around it."""

    def __init__(self, around: Callable[[Any], Any], beside: dict[str, Any], key: str, *, in_array: bool) -> None:
        self._around, self._beside, self._key, self._in_array = around, beside, key, in_array

    def __call__(self, inner: Any) -> Any:
        return self._around({**self._beside, self._key: [inner] if self._in_array else inner})
