"""The form in which a model at a server is asked for an answer by a schema: servers differ in what they take.

The strictest form that works is used. Groq's models with strict schemas are known; all others are asked about an
interaction of our own until an answer can be read, and what worked is remembered (`Memory`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from optiinfra_dagster.model.errors import Cause, CloudError
from optiinfra_dagster.model.quality import Failure
from optiinfra_dagster.quality import rubric
from optiinfra_dagster.quality.interactions import Interaction
from optiinfra_dagster.quality.replies import ANSWER, NO_JSON

if TYPE_CHECKING:
    from collections.abc import Mapping

    from optiinfra_dagster.quality.replies import Reply
    from optiinfra_dagster.quality.rubric import Question
    from optiinfra_dagster.quality.server import Server

Form = Literal["json_schema", "tool", "json_object", "text"]
FORMS: tuple[Form, ...] = ("json_schema", "tool", "json_object", "text")
"""From the strictest: constrained decoding, arguments of a tool, any JSON object, and text that should be one. The last
two are told the schema in words."""

MOST_ANSWER_TOKENS = 3072
"""Of an answer and the reasoning before it, which takes more with a higher effort; five short pieces of evidence take
about 300."""
MOST_THOUGHTFUL_TOKENS = 8192

_LIMITS = ("max_completion_tokens", "max_tokens")
_OPTIONAL = ("include_reasoning", "reasoning_effort", "seed", "temperature")
_OF_THE_FORM = re.compile(r"response_format|json_|tool_choice|\btools?\b|function call|structured|schema")
_IN_WORDS = "\nAnswer with one JSON object and nothing else. It must conform to this JSON schema:\n"

_PROBE = Interaction(
    interaction_id="probe",
    application_id="",
    application_name="",
    model_name="",
    timestamp=datetime(1970, 1, 1, tzinfo=UTC),
    provider="",
    prompt="What colour is the sky on a clear day?",
    response="On a clear day the sky is blue.",
    context="On a clear day the sky is blue.",
    reference=None,
    prompt_tokens=None,
    response_tokens=None,
)


Ask = Callable[["Dialect", "Question"], "tuple[Reply, Mapping[str, Any]]"]
"""Sends a question in a dialect, and gives the reply and the body that was sent."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """The form of answers, the name of the limit of an answer's tokens, and the options that are left out.

    `answers_as` is the model that the server says has answered: that of an alias or a deployment; "" if it says none.
    """

    form: Form = "json_schema"
    limit: str = "max_completion_tokens"
    without: tuple[str, ...] = ()
    answers_as: str = ""

    def to_json(self) -> str:
        """As it is remembered."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Dialect | None:
        """What was remembered; None where it was before the model that answers was."""
        found = json.loads(text)
        if "answers_as" not in found:
            return None
        return cls(found["form"], found["limit"], tuple(found["without"]), found["answers_as"])

    def is_of(self, answered: str) -> bool:
        """True if it was the judge that answered, as far as the server tells."""
        return not answered or not self.answers_as or answered == self.answers_as

    def options(self, server: Server, effort: str | None) -> dict[str, Any]:
        """The options of a request that shape an answer besides the question."""
        options: dict[str, Any] = {"temperature": 0, "seed": 1}
        if server.is_groq and server.model.startswith("openai/gpt-oss"):
            options |= {"reasoning_effort": "low", "include_reasoning": False}
        if effort is not None:
            options["reasoning_effort"] = effort
        options[self.limit] = most_answer_tokens(effort)
        return {name: value for name, value in options.items() if name not in self.without}

    def request(self, server: Server, effort: str | None, question: Question) -> dict[str, Any]:
        """The body of a request."""
        schema = question.schema
        body = {"model": server.model, "messages": question.messages, **self.options(server, effort)}
        if self.form == "json_schema":
            named = {"name": ANSWER, "strict": True, "schema": schema}
            return {**body, "response_format": {"type": "json_schema", "json_schema": named}}
        if self.form == "tool":
            function = {"name": ANSWER, "description": "Give the verdict.", "strict": True, "parameters": schema}
            chosen = {"type": "function", "function": {"name": ANSWER}}
            return {**body, "tools": [{"type": "function", "function": function}], "tool_choice": chosen}
        system, *others = question.messages
        body["messages"] = [{**system, "content": system["content"] + _IN_WORDS + json.dumps(schema)}, *others]
        return body if self.form == "text" else {**body, "response_format": {"type": "json_object"}}

    def after(self, refusal: str, sent: Mapping[str, Any]) -> Dialect | None:
        """The dialect to try after a refusal, by the words of it; None where there is no other."""
        for name in _LIMITS:
            if name in sent and re.search(rf"\b{name}\b", refusal) and self.limit == _LIMITS[0]:
                return replace(self, limit=_LIMITS[1])
        for name in _OPTIONAL:
            if name in sent and re.search(rf"\b{name}\b", refusal) and not _OF_THE_FORM.search(refusal):
                return replace(self, without=tuple(sorted({*self.without, name})))
        return self.next_form()

    def next_form(self) -> Dialect | None:
        """The dialect with the next form; None after the last."""
        at = FORMS.index(self.form) + 1
        return replace(self, form=FORMS[at]) if at < len(FORMS) else None


def most_answer_tokens(effort: str | None) -> int:
    """The most tokens of an answer, by the effort of the reasoning before it."""
    return MOST_THOUGHTFUL_TOKENS if effort in {"medium", "high"} else MOST_ANSWER_TOKENS


def known(server: Server) -> Dialect | None:
    """The dialect of a model whose documentation says it: https://console.groq.com/docs/structured-outputs."""
    strict = {"openai/gpt-oss-20b", "openai/gpt-oss-120b"}
    return Dialect(answers_as=server.model) if server.is_groq and server.model in strict else None


class Memory(Protocol):
    """Where dialects that were found out are kept, by server and model."""

    def recall(self, base_url: str, model: str) -> str | None:
        """The dialect that was found before, as JSON."""

    def keep(self, base_url: str, model: str, dialect: str) -> None:
        """Remember a dialect; empty to forget."""


def find(server: Server, effort: str | None, ask: Ask) -> Dialect:
    """Find out how a model is to be asked: the first dialect with an answer that can be read.

    Raises:
        CloudError: the server cannot be used, is away, or no form gives an answer that can be read.
    """
    question = rubric.Question.about(_PROBE)
    dialect: Dialect | None = Dialect()
    reply: Reply | None = None
    while dialect is not None:
        reply, sent = ask(dialect, question)
        if reply.fatal is not None:
            raise reply.fatal
        if reply.said is not None:
            return replace(dialect, answers_as=reply.model)
        if reply.failure is Failure.REFUSED:
            if effort is not None and "reasoning_effort" in reply.about:
                raise CloudError(
                    Cause.CONFIG,
                    f"{server.name} does not take OPTIINFRA_JUDGE_REASONING_EFFORT={effort} for {server.model}. Set it "
                    "to an effort that the model has, or unset it.",
                )
            dialect = dialect.after(reply.about, sent)
        elif reply.failure is Failure.TOO_LARGE:
            break
        elif reply.failure is Failure.OTHER_MODEL:
            raise CloudError(
                Cause.UNAVAILABLE,
                f"At {server.name} another model answered in place of {server.model}. Switch its fallbacks off for "
                f"{server.model_setting}={server.model}, or try again later.",
            )
        elif reply.failure is not None and reply.failure.of_the_question:
            dialect = dialect.next_form()
        else:
            raise CloudError(Cause.UNAVAILABLE, f"{server.name} did not answer. Try again later.", reply.wait)
    raise CloudError(Cause.CONFIG, _why_none(server, effort, reply))


def _why_none(server: Server, effort: str | None, last: Reply | None) -> str:
    """Why no form gave an answer that can be read, by the last reply, and the remedy."""
    failure = last.failure if last is not None else None
    model = f"{server.model} at {server.name}"
    if failure is Failure.TOO_LARGE:
        return (
            f"{model} does not take even a short question with an answer of {most_answer_tokens(effort):,} tokens. Set "
            f"{server.model_setting} to a model with a larger context, or let the server give it one."
        )
    if failure is Failure.TRUNCATED:
        return (
            f"{model} does not end its answer within {most_answer_tokens(effort):,} tokens. Set "
            f"OPTIINFRA_JUDGE_REASONING_EFFORT to a lower effort, or {server.model_setting} to another model."
        )
    if last is not None and last.about == NO_JSON:
        return (
            f"What {server.name} answers at {server.base_url} is no JSON, but a web page or a stream. Correct "
            f"{server.url_setting}."
        )
    said = "no answer"
    if last is not None and failure is not None:
        said = f"refused the last with {last.refused}" if last.refused else f"the last answer was {failure.value}"
    return (
        f"{model} gave no verdict that can be read, in none of {', '.join(FORMS)} ({said}). "
        f"Set {server.model_setting} to a model that follows JSON schemas."
    )
