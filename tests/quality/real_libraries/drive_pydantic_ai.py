"""Drives agents of Pydantic AI: what it asks a tool for and what it makes of the results is one run of an agent.

Called with the way to write, the URL of the model and the file to write.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tests.quality.real_libraries.calls import CLAUDE, DEGREES, MODEL, PICTURE, Api, Call, Kind, calls
from tests.quality.real_libraries.telemetry import telemetry


def model_of(api: Api, url: str) -> Any:
    """The model behind an interface, which asks once."""
    from anthropic import AsyncAnthropic
    from openai import AsyncOpenAI
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.providers.anthropic import AnthropicProvider
    from pydantic_ai.providers.openai import OpenAIProvider

    if api is Api.MESSAGES:
        claude = AsyncAnthropic(base_url=url, api_key="none", max_retries=0)
        return AnthropicModel(CLAUDE, provider=AnthropicProvider(anthropic_client=claude))
    gpt = OpenAIProvider(openai_client=AsyncOpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0))
    return OpenAIChatModel(MODEL, provider=gpt) if api is Api.CHAT else OpenAIResponsesModel(MODEL, provider=gpt)


def history_of(messages: Iterable[dict[str, Any]]) -> list[Any]:
    """What was said before, in Pydantic AI's form."""
    from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart, UserPromptPart

    return [
        ModelRequest([UserPromptPart(said["content"])]) if said["role"] == "user"
        else ModelResponse([TextPart(said["content"])])
        for said in messages
    ]  # fmt: skip


async def run(model: Any, call: Call) -> None:
    """One run of an agent."""
    from pydantic_ai import Agent, BinaryContent

    system = [said["content"] for said in call.messages if said["role"] == "system"]
    agent: Any = Agent(model, name="shop_agent", instructions=system or None, retries=0)
    if call.tools:

        @agent.tool_plain  # type: ignore[untyped-decorator]
        def get_weather(city: str) -> str:
            """The weather in a city."""
            return json.dumps({"celsius": DEGREES[city]})

    *before, _ = [said for said in call.messages if said["role"] in {"user", "assistant"} and said["content"]]
    history = history_of(before) if call.name == "turns" else []
    if call.stream:
        async with agent.run_stream(call.asked, message_history=history) as answer:
            async for _ in answer.stream_text():
                pass
    elif call.name == "picture":
        picture = BinaryContent(base64.b64decode(PICTURE), media_type="image/png")
        await agent.run([call.asked, picture], message_history=history)
    else:
        await agent.run(call.asked, message_history=history)


async def main() -> None:
    """Make the calls, but for the steps: the run that ends with an answer has one of its own."""
    from pydantic_ai import Agent
    from pydantic_ai.models.instrumented import InstrumentationSettings

    way, url, path = sys.argv[1:]
    with telemetry(Path(path), console=way.endswith("_console")) as tracer:
        if way == "pydantic_ai_nested":  # the client that it uses writes a span of its own
            from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
            from opentelemetry.instrumentation.openai import OpenAIInstrumentor

            OpenAIInstrumentor().instrument()
            AnthropicInstrumentor().instrument()
        Agent.instrument_all(InstrumentationSettings(version=2) if way == "pydantic_ai_version_2" else True)
        for call in calls(Api.CHAT, Api.RESPONSES, Api.MESSAGES):
            if call.kind is not Kind.STEP:
                raises = call.kind is Kind.FAILED or call.refused  # it makes an error of a refusal
                errors = contextlib.suppress(Exception) if raises else contextlib.nullcontext()
                with errors, tracer.start_as_current_span(f"POST /{call.name}"):
                    await run(model_of(call.api, url), call)


if __name__ == "__main__":
    asyncio.run(main())
