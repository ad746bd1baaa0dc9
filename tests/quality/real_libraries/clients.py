"""The vendors' clients, which make the calls; a driver turns on before what writes their log."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from tests.quality.real_libraries.calls import (
    CLAUDE,
    EMBEDDER,
    MODEL,
    PARAMETERS,
    PICTURE,
    TOOL,
    Api,
    Call,
    Kind,
    calls,
)

FUNCTION = {"name": TOOL, "description": "The weather in a city.", "parameters": PARAMETERS}


def make(url: str, *apis: Api, around: Callable[[str], AbstractContextManager[Any]]) -> None:
    """All calls of these interfaces, one after the other, each in what `around` opens for its name."""
    import openai

    gpt = openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0)
    for call in calls(*apis):
        refused = contextlib.suppress(Exception) if call.kind is Kind.FAILED else contextlib.nullcontext()
        with refused, around(call.name):
            if call.api is Api.CHAT:
                chat(gpt, call)
            elif call.api is Api.RESPONSES:
                respond(gpt, call)
            elif call.api is Api.MESSAGES:
                message(claude(url), call)
            else:
                gpt.embeddings.create(model=EMBEDDER, input=call.asked)


def claude(url: str) -> Any:
    """A client of Anthropic's."""
    import anthropic

    return anthropic.Anthropic(base_url=url, api_key="none", max_retries=0)


def chat(client: Any, call: Call, **more: Any) -> Any:
    """A chat completion, with its usage also where it is streamed."""
    if call.tools:
        more["tools"] = [{"type": "function", "function": FUNCTION}]
    if call.stream:
        more |= {"stream": True, "stream_options": {"include_usage": True}}
    answer = client.chat.completions.create(model=MODEL, messages=list(call.messages), temperature=0.5, **more)
    return list(answer) if call.stream else answer


def respond(client: Any, call: Call, **more: Any) -> Any:
    """A call of Responses, the system's message as its instructions."""
    if call.messages[0]["role"] == "system":
        more["instructions"] = call.messages[0]["content"]
    if call.tools:
        more["tools"] = [{"type": "function", **FUNCTION, "strict": False}]
    answer = client.responses.create(model=MODEL, input=items_of(call), stream=call.stream, **more)
    return list(answer) if call.stream else answer


def items_of(call: Call) -> Any:
    """The input of a call of Responses, without the system's message."""
    items: list[Any] = []
    for said in call.messages:
        if said["role"] == "tool":
            items.append({"type": "function_call_output", "call_id": said["tool_call_id"], "output": said["content"]})
        elif said.get("tool_calls"):
            items += [
                {"type": "function_call", "call_id": asked["id"], **asked["function"]} for asked in said["tool_calls"]
            ]
        elif said["role"] != "system":
            items.append({**said, "content": _parts_of_responses(said["content"])})
    return items[0]["content"] if call.name == "plain" else items


def message(client: Any, call: Call, **more: Any) -> Any:
    """A call of Anthropic's Messages."""
    first, *rest = call.messages
    if first["role"] == "system":
        more["system"] = first["content"]
    else:
        rest = [first, *rest]
    if call.tools:
        more["tools"] = [{"name": TOOL, "description": FUNCTION["description"], "input_schema": PARAMETERS}]
    said = anthropic_messages(rest)
    answer = client.messages.create(model=CLAUDE, max_tokens=512, messages=said, stream=call.stream, **more)
    return list(answer) if call.stream else answer


def anthropic_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages in Anthropic's form: results of tools are one message of the user."""
    found: list[dict[str, Any]] = []
    for said in messages:
        if said["role"] == "tool":
            result = {"type": "tool_result", "tool_use_id": said["tool_call_id"], "content": said["content"]}
            if isinstance(found[-1]["content"], list) and found[-1]["role"] == "user":
                found[-1]["content"].append(result)
            else:
                found.append({"role": "user", "content": [result]})
        elif said.get("tool_calls"):
            blocks = [
                {"type": "tool_use", "id": asked["id"], "name": TOOL,
                 "input": json.loads(asked["function"]["arguments"])} for asked in said["tool_calls"]
            ]  # fmt: skip
            found.append({"role": "assistant", "content": blocks})
        else:
            found.append({**said, "content": _parts_of_anthropic(said["content"])})
    return found


def _parts_of_responses(content: Any) -> Any:
    if isinstance(content, str):
        return content
    return [
        {"type": "input_text", "text": part["text"]} if part["type"] == "text"
        else {"type": "input_image", "image_url": part["image_url"]["url"], "detail": "auto"}
        for part in content
    ]  # fmt: skip


def _parts_of_anthropic(content: Any) -> Any:
    if isinstance(content, str):
        return content
    source = {"type": "base64", "media_type": "image/png", "data": PICTURE}
    return [part if part["type"] == "text" else {"type": "image", "source": source} for part in content]
