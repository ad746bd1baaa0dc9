"""Drives LangChain's models, each at the end of a chain, under an instrumentation of LangChain.

Called with the way to write, the URL of the model and the file to write.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from tests.quality.real_libraries.calls import CLAUDE, MODEL, TOOL, Api, Call, Kind, calls
from tests.quality.real_libraries.clients import FUNCTION
from tests.quality.real_libraries.telemetry import telemetry


def model_of(call: Call, url: str) -> Any:
    """The model behind an interface."""
    from langchain_anthropic import ChatAnthropic
    from langchain_openai import ChatOpenAI

    more: dict[str, Any] = {"api_key": "none", "max_retries": 0}
    if call.api is Api.MESSAGES:
        model: Any = ChatAnthropic(model=CLAUDE, base_url=url, max_tokens=512, **more)
    else:
        responses = call.api is Api.RESPONSES
        model = ChatOpenAI(model=MODEL, base_url=f"{url}/v1", use_responses_api=responses, stream_usage=True, **more)
    return model.bind_tools([{"type": "function", "function": FUNCTION}]) if call.tools else model


def messages_of(call: Call) -> list[Any]:
    """What was said, in LangChain's form."""
    from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage

    found: list[Any] = []
    for said in call.messages:
        content = said["content"] or ""
        if said["role"] == "tool":
            found.append(ToolMessage(content, tool_call_id=said["tool_call_id"]))
        elif said["role"] == "assistant":
            asked = [
                {"name": TOOL, "args": json.loads(asked["function"]["arguments"]), "id": asked["id"]}
                for asked in said.get("tool_calls", ())
            ]
            found.append(AIMessage(content, tool_calls=asked))
        else:
            found.append((SystemMessage if said["role"] == "system" else HumanMessage)(content))
    return found


def instrument(way: str) -> None:
    """Turn on what the way to write is named after."""
    if way == "openinference_langchain":
        from openinference.instrumentation.langchain import LangChainInstrumentor as Phoenix

        Phoenix().instrument()
    elif way == "openllmetry_langchain":
        from opentelemetry.instrumentation.langchain import LangchainInstrumentor as Traceloop

        Traceloop().instrument()
    else:
        os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "span_only"
        from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor as Official

        Official().instrument()


def main() -> None:
    """Make the calls."""
    way, url, path = sys.argv[1:]
    with telemetry(Path(path)) as tracer:
        instrument(way)
        from langchain_core.runnables import RunnableLambda

        for call in calls(Api.CHAT, Api.RESPONSES, Api.MESSAGES):
            said = messages_of(call)
            chain = RunnableLambda(lambda _, said=said: said) | model_of(call, url)
            refused = contextlib.suppress(Exception) if call.kind is Kind.FAILED else contextlib.nullcontext()
            with refused, tracer.start_as_current_span(f"POST /{call.name}"):
                if call.stream:
                    list(chain.stream(call.name))
                else:
                    chain.invoke(call.name)


if __name__ == "__main__":
    main()
