"""Prompt and answer of a call from its span's events, and from log records of one message each.

So wrote OpenTelemetry's conventions before v1.37 (`gen_ai.user.message`, `gen_ai.choice`) and before v1.28
(`gen_ai.content.prompt`); since then one event holds all details.

Texts are customers' secrets: no error of this module holds one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from optiinfra_dagster.quality.logs.fields import filled, first, parsed

DETAILS = ("gen_ai.client.inference.operation.details", "gen_ai.client.operation.details")
_OF_A_MESSAGE = {"content", "role", "tool_calls", "id", "index", "finish_reason", "message", "name", "refusal"}


def of_conversation(messages: list[Any], result: object) -> tuple[list[Any], Any]:
    """The prompt and the answer of an agent that tells its whole conversation: the answer is at its end."""
    *before, last = messages or [None]
    if isinstance(last, dict) and last.get("role") in {"assistant", "model", "ai"}:
        return before, last
    return messages, result


def texts_of_events(events: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """Prompt and response where they are events of the span, and the attributes of an event with all details."""
    messages: list[Any] = []
    choices: list[Any] = []
    details: dict[str, Any] = {}
    for name, held in events:
        if name in DETAILS:
            details |= held
        elif name == "gen_ai.content.prompt":
            messages += listed(parsed(first(held, ("gen_ai.prompt", "gen_ai.content.prompt"))))
        elif name == "gen_ai.content.completion":
            choices += listed(parsed(first(held, ("gen_ai.completion", "gen_ai.content.completion"))))
        else:
            body = parsed(held.get("gen_ai.event.content"))
            add_message(name, body if isinstance(body, dict) else held, messages, choices)
    return {"prompt": messages, "response": choices, "attributes": details}


def events_attribute(attributes: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The events of one message each that Pydantic AI keeps in an attribute."""
    events = parsed(first(attributes, ("events", "all_messages_events")))
    for event in events if isinstance(events, list) else ():
        if isinstance(event, dict):
            name = event.get("event.name") or f"gen_ai.{event.get('role')}.message"
            yield str(name), event


def listed(value: Any) -> list[Any]:
    """A value as a list of one; a list as it is, and none of nothing."""
    return value if isinstance(value, list) else [] if value is None else [value]


def add_message(name: str, body: Any, messages: list[Any], choices: list[Any]) -> None:
    """Add what an event or log record of one message says to those of its call."""
    told = parsed(body) if isinstance(body, str) else None
    if isinstance(told, dict) and told and told.keys() <= _OF_A_MESSAGE:  # as .NET logs it
        body = told
    if not isinstance(body, dict):
        body = {"content": body}
    if name == "gen_ai.choice":
        message = parsed(body.get("message"))
        message = message if isinstance(message, dict) else {"content": message} if message is not None else body
        calls = filled(body, ("tool_calls",)) or message.get("tool_calls")
        ended = first(body, ("finish_reason", "finish_reasons"))
        choices.append(
            {"role": "assistant", "content": message.get("content"), "tool_calls": parsed(calls),
             "refusal": message.get("refusal"), "finish_reason": ended, "index": body.get("index")}
        )  # fmt: skip
    elif name.startswith("gen_ai.") and name.endswith(".message"):
        content = first(body, ("content", "message"))
        if isinstance(content, dict) and content.keys() == {"tools"}:
            return  # what might be called, as OpenLLMetry tells it
        role = body.get("role") or name.split(".")[1]
        messages.append({"role": role, "content": content, "tool_calls": parsed(body.get("tool_calls"))})


def of_openrouter(completion: Any) -> Any:
    """What OpenRouter's Broadcast tells of an answer as a message; anything else as it is."""
    told = parsed(completion)
    if not isinstance(told, dict) or "completion" not in told:
        return completion
    return {"role": "assistant", "content": told["completion"], "tool_calls": told.get("toolCalls")}
