"""Drives the vendors' clients under the instrumentations of OpenTelemetry, OpenLLMetry and OpenInference.

Called with the way to write, the URL of the model and the file to write.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from tests.quality.real_libraries.calls import Api
from tests.quality.real_libraries.clients import make
from tests.quality.real_libraries.telemetry import telemetry

LATEST = {"OTEL_SEMCONV_STABILITY_OPT_IN": "gen_ai_latest_experimental"}
CONTENT = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
EVENT = {"OTEL_INSTRUMENTATION_GENAI_EMIT_EVENT": "true"}

# What an application sets for each way to write.
ENVIRONMENT: dict[str, dict[str, str]] = {
    "openai_v2": {CONTENT: "true"},
    "openai_v2_span": {**LATEST, CONTENT: "span_only"},
    "openai_v2_event": {**LATEST, CONTENT: "event_only", **EVENT},
    "openai_v2_both": {**LATEST, CONTENT: "span_and_event", **EVENT},
    "genai_span": {CONTENT: "span_only"},
    "genai_event": {CONTENT: "event_only", **EVENT},
    "genai_both": {CONTENT: "span_and_event", **EVENT},
    "genai_console": {CONTENT: "span_only"},
    "genai_without_content": {},
    "openllmetry": {},
    "openllmetry_events": {},
    "openllmetry_console": {},
    "openinference": {},
    "openinference_console": {},
}


def instrument(way: str) -> None:
    """Turn on what the way to write is named after."""
    if way.startswith("openai_v2"):
        from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor

        OpenAIInstrumentor().instrument()
    elif way.startswith("genai"):
        from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor as OfficialAnthropic
        from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor as OfficialOpenAI

        OfficialOpenAI().instrument()
        OfficialAnthropic().instrument()
    elif way.startswith("openllmetry"):
        from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor as TraceloopAnthropic
        from opentelemetry.instrumentation.openai import OpenAIInstrumentor as TraceloopOpenAI

        as_events: dict[str, Any] = {"use_attributes": False} if way == "openllmetry_events" else {}
        TraceloopOpenAI(**as_events).instrument()
        TraceloopAnthropic(**as_events).instrument()
    else:
        from openinference.instrumentation.anthropic import AnthropicInstrumentor as PhoenixAnthropic
        from openinference.instrumentation.openai import OpenAIInstrumentor as PhoenixOpenAI

        PhoenixOpenAI().instrument()
        PhoenixAnthropic().instrument()


def main() -> None:
    """Make the calls."""
    way, url, path = sys.argv[1:]
    os.environ.update(ENVIRONMENT[way])
    with telemetry(Path(path), console=way.endswith("_console")) as tracer:
        instrument(way)
        apis = [api for api in Api if api is not Api.MESSAGES or not way.startswith("openai_v2")]
        make(url, *apis, around=lambda name: tracer.start_as_current_span(f"POST /{name}"))


if __name__ == "__main__":
    main()
