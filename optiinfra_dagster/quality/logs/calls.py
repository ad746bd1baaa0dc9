"""A call to a model as a log tells of it, and the interaction that it is.

The readers of formats give calls with their fields as the records hold them; here they are read.

Texts are customers' secrets: no repr and no error of this module holds one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from typing import Any

from optiinfra_dagster.model.text import storable
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.quality.interactions import UNKNOWN, BadLine, Interaction, Reason, Skip, SkippedCall
from optiinfra_dagster.quality.logs.fields import (
    BadFieldError,
    count_of,
    milliseconds_of,
    moment_of,
    money_of,
    name_of,
)
from optiinfra_dagster.quality.logs.messages import (
    BROKEN,
    CUT,
    REFUSED,
    MessageContent,
    is_hidden_text,
    is_vector,
    prompt_of,
    reply_of,
    text_of,
)

# What odd values raise; a number of 400 digits is no float.
ODD = (ArithmeticError, AttributeError, TypeError, ValueError, KeyError, IndexError, RecursionError)

_SHORTEST_MS = 1.0  # of a call whose messages were logged as they came
_STEPPED = {"tool_calls", "tool_call", "tool_use", "tool-calls", "function_call"}  # reasons for which a model stopped


class Kind(Enum):
    """What was asked of the model."""

    ANSWER = auto()
    AGENT = auto()  # an answer, by calls that may be logged, too
    EMBEDDING = auto()


@dataclass(slots=True, repr=False)
class Call:
    """A call to a model. Its fields are as the record holds them; None and "" are not told.

    `started`, `ended` are times, `took_ms` is their distance where it is told itself. `trace_id`, `span_id` and
    `parent_id` are a span's; `response_id` is the API's. With `is_piece`, `prompt` and `response` are lists of messages
    of which other records may hold more.
    """

    kind: Kind = Kind.ANSWER
    started: object = None
    ended: object = None
    took_ms: object = None
    interaction_id: object = None
    trace_id: str = ""
    span_id: str = ""
    parent_id: str = ""
    response_id: object = None
    application_id: object = None
    application_name: object = None
    model_name: object = None
    provider: object = None
    system: object = None
    prompt: Any = None
    response: Any = None
    context: object = None
    reference: object = None
    prompt_tokens: object = None
    response_tokens: object = None
    session_id: object = None
    cost_usd: object = None
    stopped: object = None  # the reason or reasons for which the model stopped
    failed: bool = False
    is_span: bool = False  # whose texts are written on demand only
    scope: str = ""  # who wrote the span
    is_piece: bool = False
    other_ids: tuple[str, ...] = ()
    unread: Reason | None = None  # why a text is not there that the record names

    def absorb(self, other: Call) -> None:
        """Take from another record of the same call what this one does not tell."""
        told = {other.own_id, *other.other_ids, *self.other_ids} - {self.own_id, ""}
        for name in _TOLD:
            if getattr(self, name) in _NOTHING:
                setattr(self, name, getattr(other, name))
        self.failed = self.failed or other.failed
        if other.kind is Kind.EMBEDDING:
            self.kind = Kind.EMBEDDING
        elif other.kind is Kind.ANSWER and self.kind is Kind.AGENT:
            self.kind = Kind.ANSWER
        self.other_ids = tuple(sorted(told))

    @property
    def own_id(self) -> str:
        """Its id as far as it is one, "" otherwise."""
        if self.interaction_id in _NOTHING:
            return f"{self.trace_id}-{self.span_id}" if self.trace_id and self.span_id else _id_of(self.response_id)
        return _id_of(self.interaction_id)


_NOTHING: tuple[object, ...] = (None, "", [], {})
_TOLD = [
    "started", "ended", "took_ms", "interaction_id", "response_id", "application_id", "application_name", "model_name",
    "provider", "system", "prompt", "response", "context", "reference", "prompt_tokens", "response_tokens",
    "session_id", "cost_usd", "stopped", "trace_id", "span_id", "parent_id",
]  # fmt: skip


def read_call(call: Call) -> Interaction | SkippedCall | BadLine:
    """What a call is: an interaction, a call that is none, or no use."""
    timestamp = moment_of(call.started) or moment_of(call.ended)
    if timestamp is None:
        return BadLine(Reason.NO_TIME)
    try:
        return _read(call, timestamp)
    except BadFieldError as error:
        return BadLine(error.reason, timestamp)
    except ODD:
        return BadLine(Reason.WRONG_TYPE, timestamp)


def _read(call: Call, timestamp: datetime) -> Interaction | SkippedCall | BadLine:
    application_id = name_of(call.application_id) or name_of(call.application_name)
    application_name = name_of(call.application_name) or application_id or UNKNOWN
    interaction_id = name_of(call.interaction_id) or call.own_id
    latency_ms = milliseconds_of(call.took_ms)
    if latency_ms is None and (ended := moment_of(call.ended)) is not None and ended >= timestamp:
        latency_ms = (ended - timestamp).total_seconds() * 1000
    if call.is_piece and latency_ms is not None and latency_ms < _SHORTEST_MS:
        latency_ms = None  # its messages were all logged at once, after it
    stopped = _words(call.stopped)
    prompt = MessageContent() if call.failed else _prompt(call)
    reply = MessageContent() if call.failed else reply_of(call.response)
    response = storable(reply.text)
    kind = _skip(call, prompt, reply, stopped)
    ids = call.other_ids
    response_id = _id_of(call.response_id)
    if response_id and response_id != interaction_id and response_id not in ids:
        ids += (response_id,)
    if kind is not None:
        return SkippedCall(
            kind=kind,
            interaction_id=interaction_id or _derived_id(call, timestamp, prompt.text, reply.calls),
            application_id=application_id or UNKNOWN,
            model_name=_model(call),
            timestamp=timestamp,
            provider=provider_of(call.provider),
            application_name=application_name,
            prompt_tokens=count_of(call.prompt_tokens),
            response_tokens=count_of(call.response_tokens),
            other_ids=ids,
            latency_ms=latency_ms,
            cost_usd=money_of(call.cost_usd),
            around=_around(call) if kind is Skip.FAILED else "",
        )
    if call.unread is not None:
        return BadLine(call.unread, timestamp)
    if not prompt.text.strip() or not response.strip():
        not_logged = call.is_span and not prompt.text.strip() and not response.strip()
        # What is logged of it elsewhere may stand under the span around it.
        ids = tuple(filter(None, (interaction_id, *ids, _around(call)))) if call.is_span and interaction_id else ()
        return BadLine(Reason.TEXTS_NOT_LOGGED if not_logged else Reason.NO_TEXTS, timestamp, ids=ids)
    if is_hidden_text(prompt.text) or is_hidden_text(response):
        return BadLine(Reason.TEXTS_NOT_LOGGED, timestamp)
    if reply.calls:
        response = f"{response}\n{storable(reply.calls)}"
    found = None if is_vector(call.context) else call.context  # such as Ollama's, which is numbers of tokens
    documents = found if isinstance(found, list) else [found]
    told = (*map(text_of, documents), *prompt.context, *reply.context)
    chunks = tuple(dict.fromkeys(storable(text) for text in told if text.strip()))
    return Interaction(
        interaction_id=interaction_id or _derived_id(call, timestamp, prompt.text, response),
        application_id=application_id or UNKNOWN,
        application_name=application_name,
        model_name=_model(call),
        timestamp=timestamp,
        provider=provider_of(call.provider),
        prompt=storable(prompt.text),
        response=response,
        context="\n".join(chunks) or None,
        chunks=chunks if len(chunks) > 1 else (),
        reference=storable(text_of(call.reference)) or None,
        prompt_tokens=count_of(call.prompt_tokens),
        response_tokens=count_of(call.response_tokens),
        other_ids=ids,
        session_id=_id_of(call.session_id),
        trace_id=_id_of(call.trace_id),
        is_refusal=reply.is_refusal or bool(stopped & REFUSED),
        latency_ms=latency_ms,
        cost_usd=money_of(call.cost_usd),
    )


def _around(call: Call) -> str:
    """The id of the span around a call; "" where none is told."""
    return f"{call.trace_id}-{call.parent_id}" if call.is_span and call.trace_id and call.parent_id else ""


def _prompt(call: Call) -> MessageContent:
    if call.system in _NOTHING:
        return prompt_of(call.prompt)
    return prompt_of({"system": call.system, "messages": call.prompt})


def _skip(call: Call, prompt: MessageContent, reply: MessageContent, stopped: set[str]) -> Skip | None:
    if call.failed:
        return Skip.FAILED
    if call.kind is Kind.EMBEDDING or reply.is_vector:
        return Skip.EMBEDDING
    if not reply.text.strip() and (reply.calls or stopped & _STEPPED):
        return Skip.STEP
    if prompt.text.strip() and not reply.text.strip() and _ended_before_a_word(call, reply, stopped):
        return Skip.FAILED
    return None


def _ended_before_a_word(call: Call, reply: MessageContent, stopped: set[str]) -> bool:
    """True for an answer without text that was cut within the model's thoughts, or that a filter or error ended.

    Some libraries leave out the words of a refusal, and call it an error: that they were there, its tokens tell.
    """
    if reply.is_cut or stopped & CUT:
        return True
    has_ended = reply.is_refusal or reply.is_broken or bool(stopped & (REFUSED | BROKEN))
    return has_ended and not count_of(call.response_tokens)


def _model(call: Call) -> str:
    named = call.model_name
    if isinstance(named, dict):  # such as a provider beside its name
        named = next((named[key] for key in ("name", "id", "model", "model_name") if named.get(key)), None)
    return name_of(named) or UNKNOWN


def _words(value: object) -> set[str]:
    values = value if isinstance(value, list) else [value]
    return {word.lower() for word in values if isinstance(word, str)}


def _id_of(value: object) -> str:
    """An id that may be missing or odd: then there is none."""
    try:
        return name_of(value)
    except BadFieldError:
        return ""


def _derived_id(call: Call, timestamp: datetime, prompt: str, response: str) -> str:
    """An id for a record that has none, the same whenever it is read: two that agree in all of this are one call."""
    told = "\0".join((timestamp.isoformat(), str(call.application_id), str(call.model_name), prompt, response))
    return hashlib.sha256(told.encode(errors="replace")).hexdigest()[:32]


def provider_of(value: object) -> str:
    """The cloud that the application runs on; "" where the record does not say.

    Other clouds that OpenTelemetry knows (`alibaba_cloud`) come as they are. Any other word does not say: `provider` is
    also what some logs call the maker of the model.
    """
    word = value.strip().lower() if isinstance(value, str) else ""
    return word if word in PROVIDERS or word.endswith("_cloud") else ""
