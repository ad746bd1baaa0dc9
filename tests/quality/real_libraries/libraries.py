"""The ways in which libraries write a log of the calls, and what a reader must find in each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.quality.real_libraries.calls import CLAUDE, CLAUDE_RELEASE, MODEL, RELEASE, THOUGHT, Api, Call, Kind, calls

ALL = tuple(Api)
CONVERSATIONS = (Api.CHAT, Api.RESPONSES, Api.MESSAGES)


@dataclass(frozen=True, slots=True)
class Way:
    """One way to write: the package that writes, and the environment and driver that make it do so.

    What a library leaves out is named by interface and name of the call (`chat.refusal`, `responses.*`), or by name.
    """

    name: str
    package: str
    environment: str
    driver: str
    apis: tuple[Api, ...]
    application: str = "shop-bot"  # "": the library's own name for it
    provider: str = "aws"
    unmade: frozenset[str] = frozenset()  # calls that the driver cannot make
    lost: frozenset[str] = frozenset()  # whose question or answer is not in the log
    toolless: frozenset[str] = frozenset()  # whose prompt lacks the calls of tools and their results
    miscounted: frozenset[str] = frozenset()  # whose tokens are counted wrong
    aloud: frozenset[str] = frozenset()  # whose thoughts are logged as the first of two answers
    as_asked: frozenset[str] = frozenset()  # whose model is the one asked for, not the one that answered
    refusals: frozenset[str] = frozenset()  # which the log says are refusals

    def calls(self) -> Iterator[Call]:
        """The calls that are in the log."""
        return (call for call in calls(*self.apis) if not named(call, self.unmade))

    def interactions(self) -> list[Call]:
        """The calls whose texts are in the log."""
        return [call for call in self.calls() if call.kind is Kind.INTERACTION and not named(call, self.lost)]

    def without_texts(self) -> int:
        """How many interactions there are whose texts the library left out."""
        return sum(call.kind is Kind.INTERACTION and named(call, self.lost) for call in self.calls())

    def others(self) -> Counter[str]:
        """How many calls of each other kind there are."""
        return Counter(call.kind.value for call in self.calls() if call.kind is not Kind.INTERACTION)

    def prompt_has(self, call: Call) -> list[str]:
        """What the prompt of a call must hold."""
        return [call.asked] if named(call, self.toolless) else call.prompt_has

    def answer(self, call: Call) -> str:
        """The answer that the log tells of."""
        return THOUGHT if named(call, self.aloud) else call.answer

    def model(self, call: Call) -> str:
        """The model that the log names."""
        claude = call.api is Api.MESSAGES
        if named(call, self.as_asked):
            return CLAUDE if claude else MODEL
        return CLAUDE_RELEASE if claude else RELEASE


def named(call: Call, names: frozenset[str]) -> bool:
    """Whether a call is among these."""
    return bool({"*", call.name, f"{call.api}.*", f"{call.api}.{call.name}"} & names)


def _opentelemetry(name: str, package: str, environment: str, apis: tuple[Api, ...], **more: Any) -> Way:
    return Way(name, package, environment, "drive_opentelemetry", apis, **more)


def _langchain(name: str, package: str, *lost: str, **more: Any) -> Way:
    as_asked = frozenset() if name.startswith("genai") else frozenset({"responses.*", "stream"})
    more = {"lost": frozenset({"chat.refusal", *lost}), "as_asked": as_asked, **more}
    return Way(name, package, "langchain", "drive_langchain", CONVERSATIONS, **more)


def _pydantic_ai(name: str, **more: Any) -> Way:
    """Tools are called within a run, so that a step alone is no call of it; of a refusal it makes an error."""
    more = {"lost": frozenset({"chat.refusal", "responses.refusal"}), "unmade": frozenset({"stream_tool_step"}), **more}
    return Way(name, "pydantic-ai-slim", "pydantic_ai", "drive_pydantic_ai", CONVERSATIONS, **more)


def _litellm(name: str, **more: Any) -> Way:
    """Of what is streamed it keeps the model that was asked for."""
    as_asked = frozenset({"chat.stream", "messages.stream"})
    return Way(name, "litellm", "litellm", "drive_litellm", ALL, as_asked=as_asked, **more)


_V2 = "opentelemetry-instrumentation-openai-v2", "openai_v2", (Api.CHAT, Api.EMBEDDINGS)
_GENAI = "opentelemetry-instrumentation-genai-openai", "opentelemetry", ALL
_OPENLLMETRY = "opentelemetry-instrumentation-openai", "openllmetry", ALL
_OPENINFERENCE = "openinference-instrumentation-openai", "openinference", ALL
_REFUSAL = frozenset({"refusal"})
_BY_CLAUDE = frozenset({"messages.refusal"})  # OpenAI's become texts like others
_OF_RESPONSES = frozenset({"responses.refusal"})
_TOOLS_OF_RESPONSES = frozenset({"responses.tool_answer"})
_UNLOGGED = _OF_RESPONSES | {"chat.picture"}
_STREAMED = frozenset({"messages.stream"})  # adds what a stream says of its tokens so far

WAYS = (
    _opentelemetry("openai_v2", *_V2, lost=_REFUSAL),
    _opentelemetry("openai_v2_span", *_V2, lost=_REFUSAL | {"picture"}),
    _opentelemetry("openai_v2_event", *_V2, lost=_REFUSAL | {"picture"}),
    _opentelemetry("openai_v2_both", *_V2, lost=_REFUSAL | {"picture"}),
    _opentelemetry("genai_span", *_GENAI, refusals=_BY_CLAUDE),
    _opentelemetry("genai_event", *_GENAI, refusals=_BY_CLAUDE),
    _opentelemetry("genai_both", *_GENAI, refusals=_BY_CLAUDE),
    _opentelemetry("genai_console", *_GENAI, refusals=_BY_CLAUDE),
    _opentelemetry("genai_without_content", *_GENAI, lost=frozenset({"*"})),
    _opentelemetry("openllmetry", *_OPENLLMETRY, lost=_UNLOGGED, miscounted=_STREAMED, refusals=_REFUSAL),
    _opentelemetry("openllmetry_console", *_OPENLLMETRY, lost=_UNLOGGED, miscounted=_STREAMED, refusals=_REFUSAL),
    _opentelemetry(
        "openllmetry_events", *_OPENLLMETRY, lost=_OF_RESPONSES | {"chat.refusal"}, miscounted=_STREAMED,
        aloud=frozenset({"messages.thought"}), refusals=_BY_CLAUDE,
    ),
    _opentelemetry("openinference", *_OPENINFERENCE, refusals=_BY_CLAUDE),
    _opentelemetry("openinference_console", *_OPENINFERENCE, refusals=_BY_CLAUDE),
    _langchain("openinference_langchain", "openinference-instrumentation-langchain", miscounted=_STREAMED),
    _langchain("openllmetry_langchain", "opentelemetry-instrumentation-langchain"),
    _langchain("genai_langchain", "opentelemetry-instrumentation-genai-langchain", "responses.refusal"),
    _pydantic_ai("pydantic_ai"),
    _pydantic_ai("pydantic_ai_version_2"),
    _pydantic_ai("pydantic_ai_nested", lost=_OF_RESPONSES, miscounted=_STREAMED),
    _pydantic_ai("pydantic_ai_console"),
    _litellm("litellm_s3", application="", provider="", refusals=_REFUSAL),
    _litellm("litellm_otel", toolless=_TOOLS_OF_RESPONSES),
    _litellm("litellm_otel_parent", toolless=_TOOLS_OF_RESPONSES),
    _litellm("litellm_otel_events", toolless=_TOOLS_OF_RESPONSES, lost=_OF_RESPONSES | {"chat.refusal"}),
    Way(
        "langfuse", "langfuse", "langfuse", "drive_langfuse", (Api.CHAT, Api.RESPONSES, Api.EMBEDDINGS), "", "",
        lost=frozenset({"chat.refusal"}), refusals=_OF_RESPONSES,
    ),
    Way("langsmith", "langsmith", "langsmith", "drive_langsmith", CONVERSATIONS, provider="", refusals=_REFUSAL),
    Way("langsmith_otel", "langsmith", "langsmith", "drive_langsmith", CONVERSATIONS, refusals=_REFUSAL),
    Way("vercel", "ai", "vercel", "vercel/drive.mjs", ALL, unmade=frozenset({"stream_tool_step"})),
)  # fmt: skip
