"""The calls that every driver makes, with what a log of each must hold."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

MODEL = "gpt-4o"  # as asked for; the answer names the release below
RELEASE = "gpt-4o-2024-11-20"
CLAUDE = "claude-sonnet-4-5"
CLAUDE_RELEASE = "claude-sonnet-4-5-20250929"
EMBEDDER = "text-embedding-3-small"

TOOL = "get_weather"
THOUGHT = "The prefix tells: tri is three."
PICTURE = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
DEGREES = {"Paris": 14.25, "Rome": 23.75}
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


class Api(StrEnum):
    """The interface of a model that a call goes through."""

    CHAT = "chat"  # OpenAI's chat completions
    RESPONSES = "responses"  # OpenAI's Responses
    MESSAGES = "messages"  # Anthropic's Messages
    EMBEDDINGS = "embeddings"


class Kind(StrEnum):
    """What a call is to a reader of its log."""

    INTERACTION = "interaction"
    STEP = "step"  # the model only asks for tools
    FAILED = "failed"
    EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Call:
    """One call and its answer. `messages` are in the form of OpenAI's chat completions."""

    name: str
    api: Api
    kind: Kind
    messages: tuple[dict[str, Any], ...]
    answer: str = ""
    thought: str = ""  # what the model says to itself before it answers
    stream: bool = False
    tools: bool = False
    refused: bool = False
    status: int = 200
    prompt_tokens: int = 0
    response_tokens: int = 0

    @property
    def asked(self) -> str:
        """The text that the call is known by: that of the last message that a user wrote."""
        return text_of(next(said["content"] for said in reversed(self.messages) if said["role"] == "user"))

    @property
    def prompt_has(self) -> list[str]:
        """What a reader's prompt must hold, in this order."""
        texts: list[str] = []
        for message in self.messages:
            if message["role"] == "tool":
                texts += ["celsius", *(str(value) for value in json.loads(message["content"]).values())]
            elif message.get("content"):
                texts.append(text_of(message["content"]))
            texts += [call["function"]["name"] for call in message.get("tool_calls", ())]
        return texts


def text_of(content: Any) -> str:
    """The text of a message's content, which is a text or a list of parts."""
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content or ())


def calls(*apis: Api) -> Iterator[Call]:
    """The calls of each interface: every question and answer ends with its name, and no number of tokens is twice."""
    for api in apis:
        yield from _embeddings() if api is Api.EMBEDDINGS else _conversations(api)


def _conversations(api: Api) -> Iterator[Call]:
    first = 100 * (1 + list(Api).index(api))

    def call(number: int, name: str, messages: list[dict[str, Any]], answer: str = "", **more: Any) -> Call:
        kind = more.pop("kind", Kind.INTERACTION)
        if kind is not Kind.FAILED:
            more |= {"prompt_tokens": first + number, "response_tokens": 20 + number}
        return Call(name, api, kind, tuple(messages), f"{answer} ({api})" if answer else "", **more)

    def user(text: str) -> dict[str, Any]:
        return {"role": "user", "content": f"{text} ({api})"}

    asks = [
        {"id": f"call_{city}", "type": "function",
         "function": {"name": TOOL, "arguments": f'{{"city": "{city}"}}'}} for city in ("Paris", "Rome")
    ]  # fmt: skip
    results = [
        {"role": "tool", "tool_call_id": f"call_{city}", "content": json.dumps({"celsius": degrees})}
        for city, degrees in DEGREES.items()
    ]
    system = {"role": "system", "content": f"Answer as a pirate would. ({api})"}
    said = {"role": "assistant", "content": "Hello! How can I help?"}
    weather = user("How warm is it in Paris and Rome?")

    yield call(1, "plain", [user("Why is the sky blue?")], "Short waves scatter more.")
    yield call(2, "system", [system, user("Where is the treasure?")], "Arr! Under the palm.")
    yield call(3, "turns", [system, user("Hi!"), said, user("Who was Ada?")], "The first programmer.")
    yield call(4, "stream", [user('Say "größer" and 🙂.')], 'größer 🙂, said\nin "two" lines', stream=True)
    yield call(5, "tool_step", [weather], kind=Kind.STEP, tools=True)
    asked = {"role": "assistant", "content": None, "tool_calls": asks}
    yield call(6, "tool_answer", [weather, asked, *results], "About 14 and 24 degrees.", tools=True)
    yield call(7, "stream_tool_step", [user("Stream how warm it is.")], kind=Kind.STEP, tools=True, stream=True)
    yield call(8, "refusal", [user("How do I pick a lock?")], "I'm sorry, I can't help with that.", refused=True)
    for status in (400, 429, 500):
        yield call(9, f"failed_{status}", [user(f"Answer with {status}.")], kind=Kind.FAILED, status=status)
    yield call(10, "stream_failed", [user("Answer with 503.")], kind=Kind.FAILED, status=503, stream=True)
    # Texts that could be taken for something else than texts.
    asked_in_json = {"role": "user", "content": f'{{"question": "Capital of France?", "content": "{api}"}}'}
    yield replace(call(11, "json", [asked_in_json]), answer=f'{{"capital": "Paris", "content": "{api}"}}')
    asked_in_list = {"role": "user", "content": f'[1, 2, {{"role": "user", "content": "{api}"}}]'}
    yield replace(call(12, "list", [asked_in_list]), answer=f'["one", {{"role": "assistant", "content": "{api}"}}]')
    picture = [{"type": "text", "text": f"What is in the picture? ({api})"},
               {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}]  # fmt: skip
    yield call(13, "picture", [{"role": "user", "content": picture}], "A red dot.")
    yield call(14, "thought", [user("How many wheels has a tricycle?")], "Three.", thought=THOUGHT)


def _embeddings() -> Iterator[Call]:
    text = {"role": "user", "content": "Embed this text. (embeddings)"}
    yield Call("embedding", Api.EMBEDDINGS, Kind.EMBEDDING, (text,), prompt_tokens=7)


ALL = {(call.asked, bool(call.messages[-1]["role"] == "tool")): call for call in calls(*Api)}


def find(asked: str, *, after_tools: bool) -> Call:
    """The call with this last text of a user, whose last messages are results of tools or are not."""
    return ALL[asked, after_tools]
