"""Drives LiteLLM with its S3 logger, or with its OpenTelemetry callback.

Called with the way to write, the URL of the model (and of the bucket) and the file to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from pathlib import Path
from typing import Any

from tests.quality.real_libraries.calls import CLAUDE, EMBEDDER, MODEL, Api, Call, Kind, calls
from tests.quality.real_libraries.clients import FUNCTION, items_of
from tests.quality.real_libraries.telemetry import telemetry


async def make(url: str, call: Call) -> None:
    """One call."""
    import litellm

    more: dict[str, Any] = {"api_key": "none", "num_retries": 0, "max_retries": 0, "stream": call.stream}
    if call.api is Api.EMBEDDINGS:
        base = {"api_base": f"{url}/v1", "api_key": "none"}
        await litellm.aembedding(model=f"openai/{EMBEDDER}", input=[call.asked], **base)
        return
    if call.api is Api.RESPONSES:
        if call.tools:
            more["tools"] = [{"type": "function", **FUNCTION, "strict": False}]
        first = call.messages[0]
        if first["role"] == "system":
            more["instructions"] = first["content"]
        asked = items_of(call)
        answer = await litellm.aresponses(model=f"openai/{MODEL}", input=asked, api_base=f"{url}/v1", **more)
    else:
        if call.tools:
            more["tools"] = [{"type": "function", "function": FUNCTION}]
        if call.stream:
            more["stream_options"] = {"include_usage": True}
        claude = call.api is Api.MESSAGES
        model, api_base = (f"anthropic/{CLAUDE}", url) if claude else (f"openai/{MODEL}", f"{url}/v1")
        answer = await litellm.acompletion(model=model, messages=list(call.messages), api_base=api_base, **more)
    if call.stream:
        async for _ in answer:
            pass


async def make_all(url: str, tracer: Any) -> None:
    """All calls, and wait until their log is written."""
    from litellm.litellm_core_utils.logging_worker import GLOBAL_LOGGING_WORKER

    for call in calls(*Api):
        refused = contextlib.suppress(Exception) if call.kind is Kind.FAILED else contextlib.nullcontext()
        around = tracer.start_as_current_span(f"POST /{call.name}") if tracer else contextlib.nullcontext()
        with refused, around:
            await make(url, call)
        await GLOBAL_LOGGING_WORKER.flush()


async def main() -> None:
    """Make the calls."""
    way, url, path = sys.argv[1:]
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    import litellm

    if way == "litellm_s3":
        from litellm.integrations.s3_v2 import S3Logger

        access = {"s3_aws_access_key_id": "test", "s3_aws_secret_access_key": "test", "s3_region_name": "us-east-1"}
        logger = S3Logger(s3_bucket_name="logs", s3_endpoint_url=url, **access)
        litellm.callbacks = [logger]
        await make_all(url, None)
        await asyncio.sleep(0.5)
        await logger.flush_queue()
        return
    from litellm.integrations.opentelemetry import OpenTelemetry, OpenTelemetryConfig

    if way == "litellm_otel_events":
        os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
        os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_and_event"
    os.environ["USE_OTEL_LITELLM_REQUEST_SPAN"] = "true"  # a span of its own also below one of the application's
    with telemetry(Path(path)) as tracer:
        litellm.callbacks = [OpenTelemetry(config=OpenTelemetryConfig(enable_events=way == "litellm_otel_events"))]
        await make_all(url, tracer if way == "litellm_otel_parent" else None)
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    asyncio.run(main())
