"""Drives OpenAI's Agents SDK: what it asks a tool for and what it makes of the results is one run of an agent.

Called with the way to write, the URL of the model and the file to write.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.quality.real_libraries.calls import DEGREES, MODEL, Api, Call, Kind, calls
from tests.quality.real_libraries.clients import items_of
from tests.quality.real_libraries.telemetry import telemetry


def instrument(way: str) -> None:
    """Turn on what the way to write is named after."""
    if way.startswith("openinference"):
        from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor as Phoenix

        Phoenix().instrument()
    elif way.startswith("openllmetry"):
        from opentelemetry.instrumentation.openai_agents import OpenAIAgentsInstrumentor as Traceloop

        Traceloop().instrument()
    else:
        os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_only"
        from opentelemetry.instrumentation.genai.openai_agents import OpenAIAgentsInstrumentor as Official

        Official().instrument()


async def run(gpt: Any, call: Call) -> None:
    """One run of an agent."""
    from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool

    def get_weather(city: str) -> str:
        """The weather in a city."""
        return json.dumps({"celsius": DEGREES[city]})

    model: Any = (OpenAIChatCompletionsModel if call.api is Api.CHAT else OpenAIResponsesModel)(MODEL, gpt)
    system = next((said["content"] for said in call.messages if said["role"] == "system"), None)
    tools = [function_tool(get_weather)] if call.tools else []
    agent = Agent(name="shop_agent", instructions=system, model=model, tools=tools)
    asked = call.asked if call.tools else items_of(call)
    if call.stream:
        async for _ in Runner.run_streamed(agent, asked).stream_events():
            pass
    else:
        await Runner.run(agent, asked)


async def main() -> None:
    """Make the calls, but for the steps: the run that ends with an answer has one of its own."""
    way, url, path = sys.argv[1:]
    os.environ["OPENAI_API_KEY"] = "none"
    from agents import set_trace_processors
    from openai import AsyncOpenAI

    with telemetry(Path(path)) as tracer:
        set_trace_processors([])  # nothing goes to OpenAI's own traces
        instrument(way)
        gpt = AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
        for call in calls(Api.CHAT, Api.RESPONSES):
            if call.kind is not Kind.STEP:
                raises = call.kind is Kind.FAILED or call.refused
                errors = contextlib.suppress(Exception) if raises else contextlib.nullcontext()
                with errors, tracer.start_as_current_span(f"POST /{call.name}"):
                    await run(gpt, call)


if __name__ == "__main__":
    asyncio.run(main())
