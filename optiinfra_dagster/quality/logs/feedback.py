"""Records that tell what users, or evaluators, said of an answer.

- Langfuse's scores, exported, of its API, or as events: https://langfuse.com/docs/evaluation/scores/data-model.
- LangSmith's feedback: https://docs.langchain.com/langsmith/feedback-data-format.
- Phoenix's annotations: https://arize.com/docs/phoenix/tracing/how-to-tracing/feedback-and-annotations.
- The ratings in Helicone's requests and in the logs of Cloudflare's AI Gateway, and the assessments of MLflow's traces:
  https://docs.helicone.ai/features/advanced-usage/feedback, https://mlflow.org/docs/latest/genai/assessments/feedback/.
- OpenTelemetry's event `gen_ai.evaluation.result`, of the conventions for generative AI.
- A form of our own: `{"timestamp": ..., "feedback": {"interaction_id": ..., "thumb": "up"}}`.

Comments and names of users are customers' secrets: no error of this module holds one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.model.text import storable
from optiinfra_dagster.quality.interactions import BadLine, Feedback, Origin, Reason
from optiinfra_dagster.quality.logs.calls import ODD, provider_of
from optiinfra_dagster.quality.logs.fields import BadFieldError, filled, first, moment_of, name_of, parsed
from optiinfra_dagster.quality.logs.flat import APPLICATION, ID, PROMPT, PROVIDER, RESPONSE, TIME

if TYPE_CHECKING:
    from optiinfra_dagster.quality.logs.envelopes import Span

EVALUATION = "gen_ai.evaluation.result"
LONGEST_COMMENT = 2000  # characters that are taken

# When it was last changed, before when it was given: a change counts as feedback of its own time.
_TIMES = ("updatedAt", "updated_at", "modified_at", "timestamp", "createdAt", "created_at")
_LANGFUSE = {"API": Origin.UNSAID, "ANNOTATION": Origin.HUMAN, "EVAL": Origin.MACHINE}
_LANGSMITH = {"app": Origin.HUMAN, "model": Origin.MACHINE, "auto_eval": Origin.MACHINE}
_OWN = {"interaction_id", "trace_id", "thumb", "stars", "score", "comment"}
_SIGNS = (
    "feedback", "feedback_rating", "annotator_kind", "key", "dataType", "data_type", "source", "body", "scores", "info",
)  # fmt: skip

FeedbackRecord = Feedback | BadLine


def feedback_in(record: Mapping[str, Any]) -> tuple[list[FeedbackRecord], bool]:
    """The feedback that a record tells, and whether it is all that the record tells."""
    if not any(sign in record for sign in _SIGNS):
        return [], False
    try:
        return _feedback_in(record)
    except BadFieldError as error:
        return [BadLine(error.reason)], True


def _feedback_in(record: Mapping[str, Any]) -> tuple[list[FeedbackRecord], bool]:
    if "annotator_kind" in record:
        return [_phoenix(record)], True
    if record.get("type") == "score-create" and isinstance(record.get("body"), dict):
        return [_langfuse({"timestamp": record.get("timestamp"), **record["body"]})], True
    if _is_langfuse(record):
        return [_langfuse(record)], True
    if _is_langsmith(record):
        return [_langsmith(record)], True
    held = record.get("feedback")
    if isinstance(held, dict) and held.keys() & _OWN:
        if first(record, PROMPT) is None and first(record, RESPONSE) is None:
            return [_plain(record, held, of_record=False)], True
        told = _plain(record, held, of_record=True)
        return [told] if isinstance(told, Feedback) else [], False  # what is odd of the record is told of the call
    return _of_gateway(record) or _of_mlflow(record) or _of_langfuse_trace(record), False


# --- Langfuse ---------------------------------------------------------------------------------------------------------


def _is_langfuse(record: Mapping[str, Any]) -> bool:
    is_score = "dataType" in record or "data_type" in record or record.get("source") in _LANGFUSE
    return is_score and "name" in record and "type" not in record and bool(record.keys() & {"value", *_STRINGS})


_STRINGS = ("stringValue", "string_value", "longStringValue", "long_string_value")


def _of_langfuse_trace(record: Mapping[str, Any]) -> list[FeedbackRecord]:
    """The scores of a trace, as the API gives it."""
    scores = record.get("scores")
    if not isinstance(scores, list) or not isinstance(record.get("observations"), list):
        return []
    return [_langfuse(score) for score in scores if isinstance(score, dict) and _is_langfuse(score)]


def _langfuse(record: Mapping[str, Any]) -> FeedbackRecord:
    kind = str(first(record, ("dataType", "data_type")) or "").upper()
    value = record.get("value")
    word = filled(record, _STRINGS) or (value if isinstance(value, str) else "")
    number: object = None
    if kind == "BOOLEAN":
        number = value if isinstance(value, bool) else {1: True, 0: False, "True": True, "False": False}.get(value)
    elif kind not in {"CATEGORICAL", "TEXT", "CORRECTION"}:  # of a category, the number is but its place in a list
        number = value
    observation, trace = _id(first(record, ("observationId", "observation_id"))), _id(_first_trace(record))
    return _feedback(
        record,
        ids=tuple(filter(None, (observation, observation and trace and f"{trace}-{observation}"))),
        trace_id=trace,
        about=_id(first(record, ("sessionId", "session_id", "datasetRunId", "dataset_run_id"))),
        name=record.get("name"),
        number=number,
        word=word if kind not in {"TEXT", "CORRECTION"} else "",
        # An event has no source: the SDK or the API sent it.
        origin=_LANGFUSE.get(str(record.get("source") or "API").upper(), Origin.UNSAID),
        given_by=first(record, ("authorUserId", "author_user_id", "userId", "user_id")),
        comment=record.get("comment"),
    )


def _first_trace(record: Mapping[str, Any]) -> Any:
    return first(record, ("traceId", "trace_id"))


# --- LangSmith --------------------------------------------------------------------------------------------------------


def _is_langsmith(record: Mapping[str, Any]) -> bool:
    told = record.keys() & {"score", "value", "comment", "feedback_source"}
    return isinstance(record.get("key"), str) and bool(told) and bool(record.keys() & {"run_id", "trace_id"})


def _langsmith(record: Mapping[str, Any]) -> FeedbackRecord:
    source, config = _object(record.get("feedback_source")), _object(record.get("feedback_config"))
    run, trace = _id(record.get("run_id")), _id(record.get("trace_id"))
    value = record.get("value")
    return _feedback(
        record,
        ids=(run,) if run and run != trace else (),  # the run at the root is the trace
        trace_id=trace,
        about=_id(record.get("session_id")),
        name=record["key"],
        number=record.get("score") if record.get("score") is not None else value,
        word=value,
        scale=_scale(config),
        origin=_LANGSMITH.get(str(source.get("type")), Origin.UNSAID),
        given_by=first(source, ("ls_user_id", "user_id")),
        comment=record.get("comment"),
    )


# --- Phoenix ----------------------------------------------------------------------------------------------------------


def _phoenix(record: Mapping[str, Any]) -> FeedbackRecord:
    result = _object(record.get("result"))
    flat = {**record, **{f"result.{name}": value for name, value in result.items()}}  # as its data frames have it
    label, score, explanation = (first(flat, (f"result.{name}", name)) for name in ("label", "score", "explanation"))
    span, trace = _id(first(record, ("span_id", "context.span_id"))), _id(record.get("trace_id"))
    return _feedback(
        record,
        ids=tuple(filter(None, (span, span and trace and f"{trace}-{span}"))),
        trace_id=trace,
        about=_id(record.get("session_id")),
        name=first(record, ("name", "annotation_name")),
        number=score,
        word=label,
        origin=Origin.HUMAN if str(record["annotator_kind"]).upper() == "HUMAN" else Origin.MACHINE,
        given_by=filled(record, ("user_id", "identifier")),
        comment=explanation,
    )


# --- Gateways, MLflow -------------------------------------------------------------------------------------------------


def _of_gateway(record: Mapping[str, Any]) -> list[FeedbackRecord]:
    """What a user said of a request, in the record of the request."""
    rated, held = record.get("feedback_rating"), record.get("feedback")
    is_cloudflare = "tokens_in" in record and held in (1, -1) and not isinstance(held, bool)
    if not isinstance(rated, bool) and not is_cloudflare:
        return []
    when = filled(record, ("feedback_created_at", "response_created_at", *TIME))
    own = _id(filled(record, ("request_id", "id")))
    number = held if is_cloudflare else rated
    told = {"timestamp": when}
    return [_feedback(told, ids=(own,) if own else (), name="feedback", number=number, word="", scale="thumbs")]


def _of_mlflow(record: Mapping[str, Any]) -> list[FeedbackRecord]:
    """The assessments of a trace; what was expected of it is none."""
    info = record.get("info")
    told = info.get("assessments") if isinstance(info, dict) else None
    return [_assessment(one) for one in told or () if isinstance(one, dict) and isinstance(one.get("feedback"), dict)]


def _assessment(held: Mapping[str, Any]) -> FeedbackRecord:
    source, value = _object(held.get("source")), held["feedback"].get("value")
    trace, span = _id(held.get("trace_id")).removeprefix("tr-"), _id(held.get("span_id"))
    return _feedback(
        {"timestamp": first(held, ("last_update_time", "create_time"))},
        ids=tuple(filter(None, (span, span and trace and f"{trace}-{span}"))),
        trace_id=trace,
        name=first(held, ("assessment_name", "name")),
        number=value,
        word=value,
        origin=Origin.HUMAN if str(source.get("source_type")).upper() == "HUMAN" else Origin.MACHINE,
        given_by=source.get("source_id"),
        comment=held.get("rationale"),
    )


# --- OpenTelemetry ----------------------------------------------------------------------------------------------------


def evaluations_in(span: Span) -> Iterator[FeedbackRecord]:
    """The results of evaluations that a log record is, or that are events of a span.

    The conventions do not say who evaluated: the name of the evaluation may.
    """
    if span.event_name == EVALUATION:
        held = {**(span.body if isinstance(span.body, dict) else {}), **span.attributes}
        yield _evaluation(span, held, span.event_name)
    for name, attributes in span.events:
        if name == EVALUATION:
            yield _evaluation(span, attributes, "")


def _evaluation(span: Span, held: Mapping[str, Any], event_name: str) -> FeedbackRecord:
    call = span.call()
    whole = f"{call.trace_id}-{call.span_id}" if call.trace_id and call.span_id else ""
    response = _id(held.get("gen_ai.response.id"))
    try:
        return _feedback(
            {"timestamp": call.started if event_name else call.ended or call.started},
            ids=tuple(filter(None, (response, whole))),
            trace_id=call.trace_id,
            name=held.get("gen_ai.evaluation.name"),
            number=_as_number(held.get("gen_ai.evaluation.score.value")),
            word=held.get("gen_ai.evaluation.score.label"),
            origin=Origin.UNSAID,
            application_id=call.application_id,
            provider=call.provider,
            given_by=first(held, ("enduser.id", "user.id")),
            comment=held.get("gen_ai.evaluation.explanation"),
        )
    except BadFieldError as error:
        return BadLine(error.reason)


def _as_number(value: object) -> object:
    """The columns of ClickHouse's exporter hold attributes as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return None


# --- Our own ----------------------------------------------------------------------------------------------------------


def _plain(record: Mapping[str, Any], held: Mapping[str, Any], *, of_record: bool) -> FeedbackRecord:
    """Feedback by itself, or, with `of_record`, beside the interaction that it is about."""
    own = _id(first(held, ("interaction_id",))) or (_id(first(record, ID)) if of_record else "")
    thumb, stars = held.get("thumb"), held.get("stars")
    said = first(held, ("thumb", "stars", "score"))
    return _feedback(
        {**{key: record.get(key) for key in TIME}, **{key: held[key] for key in _TIMES if key in held}},
        ids=(own,) if own else (),
        trace_id=_id(first(held, ("trace_id",)) or (record.get("trace_id") if of_record else None)),
        name=filled(held, ("name",)) or "feedback",
        number=said,
        word=said,
        scale="thumbs" if thumb is not None else "1..5" if stars is not None else _scale(held),
        application_id=filled(held, APPLICATION) or filled(record, APPLICATION),
        provider=filled(held, PROVIDER) or filled(record, PROVIDER),
        given_by=filled(held, ("user_id", "user")) or filled(record, ("user_id", "user")),
        comment=held.get("comment"),
    )


# --- Of all -----------------------------------------------------------------------------------------------------------


def _feedback(
    record: Mapping[str, Any],
    *,
    name: object,
    number: object,
    word: object,
    application_id: object = None,
    provider: object = None,
    given_by: object = None,
    comment: object = None,
    **facts: Any,
) -> FeedbackRecord:
    timestamp = moment_of(filled(record, _TIMES) or filled(record, TIME))
    if timestamp is None:
        return BadLine(Reason.NO_TIME)
    try:
        return Feedback(
            timestamp,
            name=name_of(name)[:100],
            number=_finite(number),
            word=storable(word)[:100] if isinstance(word, str) else "",
            application_id=name_of(application_id),
            provider=provider_of(provider),
            given_by=_id(given_by),
            comment=storable(comment)[:LONGEST_COMMENT] if isinstance(comment, str) else "",
            **facts,
        )
    except BadFieldError as error:
        return BadLine(error.reason, timestamp)
    except ODD:
        return BadLine(Reason.WRONG_TYPE, timestamp)


def _finite(value: object) -> bool | float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value if isinstance(value, bool) else None
    number = float(value) if abs(value) < 2**53 else math.inf
    return number if math.isfinite(number) else None


def _scale(held: Mapping[str, Any]) -> str:
    """A scale as `low..high`, from such a text or from its ends; "" where it is not told."""
    told = held.get("scale")
    if isinstance(told, str):
        return told
    ends = told if isinstance(told, dict) else held
    low, high = _finite(ends.get("min")), _finite(ends.get("max"))
    return f"{low:g}..{high:g}" if low is not None and high is not None else ""


def _object(value: object) -> Mapping[str, Any]:
    value = parsed(value)
    return value if isinstance(value, dict) else {}


def _id(value: object) -> str:
    """An id that may be missing or odd: then there is none."""
    try:
        return name_of(value)
    except BadFieldError:
        return ""


def feedback_of_fields(fields: list[Any]) -> FeedbackRecord:
    """Feedback from the fields of `llm_feedback`, in the order of the query."""
    moment, interaction_id, trace_id, application_id, provider, name, value, scale, given_by, comment = fields
    held = {
        "interaction_id": interaction_id, "trace_id": trace_id, "name": name, "score": value, "scale": scale,
        "user_id": given_by, "comment": comment,
    }  # fmt: skip
    record = {"timestamp": moment, "application_id": application_id, "provider": provider}
    return _plain(record, held, of_record=False)
