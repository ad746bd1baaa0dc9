"""OpenTelemetry as an application sets it up that writes its spans and log records to a file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAME = {"service.name": "shop-bot", "cloud.provider": "aws"}


@contextlib.contextmanager
def telemetry(path: Path, *, console: bool = False) -> Iterator[Any]:
    """A tracer of the application's own; all spans and log records go to `path`, and are there at the end.

    As OTLP/JSON, or with `console` as the SDK's console exporters write them, indented over many lines.
    """
    from opentelemetry import _logs, trace
    from opentelemetry.exporter.otlp.json.file._log_exporter import FileLogExporter
    from opentelemetry.exporter.otlp.json.file.trace_exporter import FileSpanExporter
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, ConsoleLogRecordExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter

    resource = Resource(NAME)
    spans, logs = TracerProvider(resource=resource), LoggerProvider(resource=resource)
    with path.open("w", encoding="utf-8") as out:
        if console:
            spans.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter(out=out)))
            logs.add_log_record_processor(BatchLogRecordProcessor(ConsoleLogRecordExporter(out=out)))
        else:
            spans.add_span_processor(BatchSpanProcessor(FileSpanExporter(stream=out)))
            logs.add_log_record_processor(BatchLogRecordProcessor(FileLogExporter(stream=out)))
        trace.set_tracer_provider(spans)
        _logs.set_logger_provider(logs)
        try:
            yield trace.get_tracer("shop")
        finally:
            spans.shutdown()
            logs.shutdown()
