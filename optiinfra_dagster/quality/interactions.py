"""Interactions with an LLM as logs tell of them, and what in a log is none.

Texts are customers' secrets: no repr of this module holds one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

UNKNOWN = "unknown"  # the application or model that a record does not name


# Never changed, though not frozen: to make a frozen one of so many fields takes 5 us instead of 0.2.
@dataclass(slots=True, repr=False, unsafe_hash=True)
class Interaction:
    """A prompt and its response. `timestamp` is its start (zoned UTC); `provider` is "" where not said.

    `context` is what the application gave the model to answer from, `reference` a known good answer. Of one call there
    may be several records: each names the ids under which the others may stand, as far as it knows them.
    """

    interaction_id: str
    application_id: str
    application_name: str
    model_name: str
    timestamp: datetime
    provider: str
    prompt: str
    response: str
    context: str | None = None
    reference: str | None = None
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    other_ids: tuple[str, ...] = ()  # of the same call: trace and span, the API's id of the response, the outer span
    session_id: str = ""  # the conversation
    trace_id: str = ""  # by which the feedback of users is joined
    is_refusal: bool = False  # the API says that the model refused
    latency_ms: float | None = None
    cost_usd: Decimal | None = None  # as the log tells it
    chunks: tuple[str, ...] = ()  # of the context, where the record tells them apart
    earlier: tuple[str, ...] = ()  # turns of its conversation before it, oldest first

    def __repr__(self) -> str:
        """Its ids, without its texts: they must never reach a log."""
        return (
            f"Interaction({self.interaction_id!r}, {self.application_id!r}, {self.model_name!r}, "
            f"{self.timestamp.isoformat()}, {len(self.prompt)} + {len(self.response)} characters)"
        )


class Skip(StrEnum):
    """What a call to a model is that is no interaction."""

    STEP = "step"  # the model only calls tools
    EMBEDDING = "embedding"
    FAILED = "failed"  # the call ended with an error, or by a filter or the limit of its length before its first word


@dataclass(frozen=True, slots=True)
class SkippedCall:
    """A call to a model that is no interaction: counted apart, neither judged nor a bad line."""

    kind: Skip
    interaction_id: str
    application_id: str
    model_name: str
    timestamp: datetime
    provider: str = ""
    application_name: str = ""
    prompt_tokens: int | None = None
    response_tokens: int | None = None
    other_ids: tuple[str, ...] = ()
    latency_ms: float | None = None
    cost_usd: Decimal | None = None
    around: str = ""  # of a failed call, the id of the span under which its question may be logged


class Origin(StrEnum):
    """The person or program that gave feedback."""

    HUMAN = "human"
    MACHINE = "machine"  # an evaluator: a model or a program
    UNSAID = "unsaid"  # the record does not say: the feedback's name may


@dataclass(frozen=True, slots=True, repr=False)
class Feedback:
    """What somebody said of an answer. `timestamp` is when it was given or last changed (zoned UTC).

    It is about the interaction that has one of `ids`; without any, about the trace; without one, about `about`, such as
    a conversation. `number` and `word` are what was said, as it was said; `scale` is `low..high` or `thumbs` where the
    record tells it. `provider` is "" where not said.
    """

    timestamp: datetime
    ids: tuple[str, ...] = ()
    trace_id: str = ""
    about: str = ""
    name: str = ""
    number: bool | float | None = None
    word: str = ""
    scale: str = ""
    origin: Origin = Origin.HUMAN
    application_id: str = ""
    provider: str = ""
    given_by: str = ""  # never kept
    comment: str = ""

    def __repr__(self) -> str:
        """What it is about, without what was said, and by whom: that must never reach a log."""
        return f"Feedback({self.ids!r}, {self.trace_id!r}, {self.name!r}, {self.timestamp.isoformat()})"


class Reason(StrEnum):
    """The reason for which a line of a log cannot be used."""

    TOO_LARGE = "too_large"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    WRONG_TYPE = "wrong_type"  # a field holds something else than it should
    NO_TIME = "no_time"
    IN_FUTURE = "in_future"  # its time is after that at which its file was written: no window would read it
    NO_TEXTS = "no_texts"  # prompt or response is missing or empty
    TEXTS_NOT_LOGGED = "texts_not_logged"  # a span that tells of a call and has no texts: they are not captured
    NO_BODY = "no_body"  # its text is in an object of its own, which is not there, or not yet
    NO_OBSERVATIONS = "no_observations"  # a trace of Langfuse's, whose calls are observations that are nowhere
    NO_PROVIDER = "no_provider"  # neither the record nor the customers file says where the application runs
    CUT_FILE = "cut_file"  # a compressed file ends early or is damaged; what was before it was read


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line, or one span of it, that is no use; `timestamp` where it could still be read, `line` where it is known."""

    reason: Reason
    timestamp: datetime | None = None
    line: int = 0  # its number in the file, from 1
    ids: tuple[str, ...] = ()  # of the call or trace of which it lacks something: another file may have that


@dataclass(frozen=True, slots=True)
class Observation:
    """An observation of Langfuse's, of any kind: its trace is more than a trace alone."""

    trace_id: str
    timestamp: datetime | None


LogRecord = Interaction | SkippedCall | Feedback
"""What of a window's log is made something of."""

Item = LogRecord | BadLine | Observation
"""What a log is read as."""
