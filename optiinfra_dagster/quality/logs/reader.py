"""The interactions in a file of a log.

Two shapes are read, both as JSON lines, or as an array that is in one line or has a record on each: flat records
(`flat`) and OpenTelemetry spans (`spans`). Files are plain or gzip, told by their first bytes.

Texts are customers' secrets: no error of this module holds one.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.text import storable
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.quality.interactions import UNKNOWN, BadLine, Interaction, Reason
from optiinfra_dagster.quality.logs.fields import (
    BadFieldError,
    Raw,
    chunks_of,
    count_of,
    moment_of,
    name_of,
    parsed,
    reply_of,
    text_of,
)
from optiinfra_dagster.quality.logs.flat import read_flat
from optiinfra_dagster.quality.logs.spans import read_span, spans_of

if TYPE_CHECKING:
    import io

MAX_LINE_BYTES = 4 * 2**20  # of one line, and so of one interaction

_ODD = (AttributeError, TypeError, ValueError, RecursionError)  # what values of other types than they should be raise


def read_file(stream: io.BufferedReader) -> Iterator[Interaction | BadLine]:
    """What a file tells of; a damaged compressed file is read as far as it goes."""
    if stream.peek(2)[:2] != b"\x1f\x8b":
        yield from _of_lines(stream)
        return
    try:
        yield from _of_lines(gzip.GzipFile(fileobj=stream))
    except (EOFError, gzip.BadGzipFile, zlib.error):
        yield BadLine(Reason.CUT_FILE)


def _of_lines(stream: Any) -> Iterator[Interaction | BadLine]:
    while line := stream.readline(MAX_LINE_BYTES + 1):
        yield from read_line(line)
        while len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):  # pass over the rest of a line too large
            line = stream.readline(MAX_LINE_BYTES + 1)


def read_line(line: bytes) -> Iterator[Interaction | BadLine]:
    """The interactions in a line of a log: mostly one, several in OTLP, none in a blank line or in other spans."""
    if len(line) > MAX_LINE_BYTES:
        yield BadLine(Reason.TOO_LARGE)
        return
    try:
        text = line.decode("utf-8-sig").strip().removesuffix(",")
        if text in {"", "[", "]"}:  # nothing, or the brackets around an array with a record on each line
            return
        content = json.loads(text)
    except UnicodeDecodeError:
        yield BadLine(Reason.NOT_UTF8)
    except (ValueError, RecursionError):
        yield BadLine(Reason.NOT_JSON)
    else:
        if isinstance(content, dict):
            yield from read_record(content)
        elif isinstance(content, list) and content and all(isinstance(record, dict) for record in content):
            for record in content:
                yield from read_record(record)
        else:
            yield BadLine(Reason.WRONG_TYPE)


def read_record(record: Mapping[str, Any]) -> Iterator[Interaction | BadLine]:
    """The interactions in a parsed record."""
    try:
        for raw in _raws(record):
            yield _finish(raw) if raw else BadLine(Reason.WRONG_TYPE)
    except _ODD:
        yield BadLine(Reason.WRONG_TYPE)  # an OTLP envelope of another form


def read_fields(fields: Sequence[Any], *, structured: bool) -> Interaction | BadLine:
    """An interaction from the fields of `Interaction` in the order of the queries, times since the epoch.

    With `structured`, texts that are messages in JSON are read as such.
    """
    raw = Raw(*fields)
    if structured:
        raw = raw._replace(prompt=parsed(raw.prompt), response=parsed(raw.response), context=parsed(raw.context))
    return _finish(raw)


def _raws(record: Mapping[str, Any]) -> Iterator[Raw | None]:
    """The fields of each interaction; None for a span that is no span."""
    spans = spans_of(record)
    if spans is None:
        yield read_flat(record)
        return
    for span, resource in spans:
        try:
            raw = read_span(span, resource)
        except _ODD:
            yield None
            continue
        if raw is not None:
            yield raw


def _finish(raw: Raw) -> Interaction | BadLine:
    timestamp = moment_of(raw.timestamp)
    if timestamp is None:
        return BadLine(Reason.NO_TIME)
    try:
        interaction_id = name_of(raw.interaction_id)
        if not interaction_id:
            return BadLine(Reason.NO_ID, timestamp)
        application_id = name_of(raw.application_id) or name_of(raw.application_name) or UNKNOWN
        prompt, response = storable(text_of(raw.prompt)), storable(reply_of(raw.response))
        if not prompt.strip() or not response.strip():
            return BadLine(Reason.NO_TEXTS, timestamp)
        return Interaction(
            interaction_id,
            application_id,
            name_of(raw.application_name) or application_id,
            name_of(raw.model_name) or UNKNOWN,
            timestamp,
            _provider(raw.provider),
            prompt,
            response,
            storable(text_of(raw.context)) or None,
            storable(text_of(raw.reference)) or None,
            count_of(raw.prompt_tokens),
            count_of(raw.response_tokens),
            chunks=chunks_of(raw.context),
        )
    except BadFieldError as error:
        return BadLine(error.reason, timestamp)
    except _ODD:
        return BadLine(Reason.WRONG_TYPE, timestamp)


def _provider(value: object) -> str:
    """The cloud that the application runs on; "" where the record does not say.

    Other clouds that OpenTelemetry knows (`alibaba_cloud`) come as they are. Any other word does not say: `provider` is
    also what some logs call the maker of the model.
    """
    word = value.strip().lower() if isinstance(value, str) else ""
    return word if word in PROVIDERS or word.endswith("_cloud") else ""
