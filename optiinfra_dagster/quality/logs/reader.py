"""The interactions in a file of a log, of any format.

A record is read by the first reader that knows it: spans and log records of OpenTelemetry (`spans`), the exports of
tools that log calls (`exports`), the logs of those who make or host models (`vendors`); else as a flat one (`flat`).
Feedback (`feedback`) and what was retrieved for a call (`retrievals`) stand among them, and what a shipper of logs
wrapped up is taken out first (`shippers`).

Texts are customers' secrets: no error of this module holds one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.quality.interactions import BadLine, Feedback, Item, Observation, Reason
from optiinfra_dagster.quality.logs import exports, platforms, retrievals, vendors
from optiinfra_dagster.quality.logs.backends import spans_of
from optiinfra_dagster.quality.logs.calls import ODD, Call
from optiinfra_dagster.quality.logs.containers import records_of
from optiinfra_dagster.quality.logs.doubles import Doubles
from optiinfra_dagster.quality.logs.feedback import evaluations_in, feedback_in, feedback_of_fields
from optiinfra_dagster.quality.logs.fields import BadFieldError
from optiinfra_dagster.quality.logs.flat import in_our_spelling, is_call, read_flat
from optiinfra_dagster.quality.logs.messages import is_of_another_kind
from optiinfra_dagster.quality.logs.plain import read_plain
from optiinfra_dagster.quality.logs.records import MAX_RECORD
from optiinfra_dagster.quality.logs.retrievals import Retrieval
from optiinfra_dagster.quality.logs.shippers import printed_in, shipped
from optiinfra_dagster.quality.logs.spans import read_span

if TYPE_CHECKING:
    import io

    from optiinfra_dagster.quality.logs.envelopes import Span

MAX_LINE_BYTES = MAX_RECORD  # of the texts of one row, too

_Test = Callable[[Mapping[str, Any]], bool]
_Reader = Callable[[Mapping[str, Any]], Iterator[Call]]
_Found = tuple[Call | Feedback | Observation | Retrieval | BadLine | None, object]

_READERS: tuple[tuple[_Test, _Reader], ...] = (
    (exports.is_langfuse, exports.read_langfuse),
    (exports.is_langsmith, exports.read_langsmith),
    (exports.is_litellm, exports.read_litellm),
    (exports.is_helicone, exports.read_helicone),
    (exports.is_portkey, exports.read_portkey),
    (exports.is_cloudflare, exports.read_cloudflare),
    (exports.is_promptfoo, exports.read_promptfoo),
    (vendors.is_databricks, vendors.read_databricks),
    (exports.is_mlflow, exports.read_mlflow),
    (exports.is_openai_agents, exports.read_openai_agents),
    (platforms.is_datadog, platforms.read_datadog),
    (platforms.is_weave, platforms.read_weave),
    (vendors.is_bedrock, vendors.read_bedrock),
    (vendors.is_vertex, vendors.read_vertex),
    (vendors.is_gateway, vendors.read_gateway),
    (vendors.is_kong, vendors.read_kong),
    (vendors.is_sagemaker, vendors.read_sagemaker),
    (vendors.is_batch, vendors.read_batch),
    (vendors.is_exchange, vendors.read_exchange),
)

_AROUND = (
    "data",
    "traces",
    "records",
    "rows",
    "items",
    "runs",
    "results",
    "batch",
    "logs",
    "interactions",
    "entries",
    "value",
)  # what may hold records


def read_file(stream: io.BufferedReader, bodies: Callable[[str], Any] | None = None) -> Iterator[Item]:
    """What a file tells of, each call once; `bodies` gives what a record does not hold itself, by its address."""
    doubles = Doubles()
    for record in records_of(stream):
        if bodies is not None and isinstance(record, dict) and vendors.is_bedrock(record):
            yield from _read(vendors.with_bodies(record, bodies), doubles)
        else:
            yield from _read(record, doubles)
    yield from doubles.rest()


def _read(record: Any, doubles: Doubles) -> Iterable[Item]:
    if isinstance(record, BadLine):
        return doubles.pass_on(record)
    if not isinstance(record, dict):
        return doubles.pass_on(BadLine(Reason.WRONG_TYPE))
    if (interaction := read_plain(record)) is not None:
        return doubles.give(interaction)
    return _read_in_full(record, doubles)


def _read_in_full(record: Mapping[str, Any], doubles: Doubles) -> Iterator[Item]:
    try:
        for found, source in _calls(record):
            if isinstance(found, Call):
                yield from doubles.add(found, source)
            elif isinstance(found, Feedback | Observation):
                yield found
            elif isinstance(found, Retrieval):
                doubles.retrievals.add(found)
            else:
                yield from doubles.pass_on(found or BadLine(Reason.WRONG_TYPE))
    except BadFieldError as error:
        yield from doubles.pass_on(BadLine(error.reason))
    except ODD:  # an envelope of another form
        yield from doubles.pass_on(BadLine(Reason.WRONG_TYPE))


def _calls(record: Mapping[str, Any]) -> Iterator[_Found]:
    """The calls that a record tells of, feedback and retrievals, None for one that is odd; and where each is from."""
    told, is_all = feedback_in(record)
    for one in told:
        yield one, None
    if is_all:
        return
    spans = None if platforms.is_weave(record) else spans_of(record)
    if spans is not None:
        yield from _calls_of_spans(spans)
        return
    if platforms.is_step(record):
        return
    read = next((read for knows, read in _READERS if knows(record)), None)
    inner = None if read else _within(record)
    if inner is not None:
        for held in inner:
            yield from _calls(held) if held is not None else ((BadLine(Reason.NOT_JSON), None),)
        return
    for beside in (*retrievals.of_record(record), *exports.told_by_langfuse(record)):
        yield beside, None
    for call in read(record) if read else read_flat(in_our_spelling(record)):
        if not is_of_another_kind(call.response):
            yield call, None


def _within(record: Mapping[str, Any]) -> Iterable[Mapping[str, Any] | None] | None:
    """The records that one of no known tool holds, None for a line that is no JSON; None where it is one itself."""
    if is_call(record):
        return None  # whatever else it lists
    held = next((record[key] for key in _AROUND if _holds_records(record.get(key))), None)
    return shipped(record) if held is None else held


def _calls_of_spans(spans: Iterator[Span | None]) -> Iterator[_Found]:
    for span in spans:
        if span is None:
            yield None, None
            continue
        try:
            evaluations = list(evaluations_in(span))
            call = read_span(span)
        except ODD:
            yield None, None
            continue
        for one in evaluations:
            yield one, None
        if call is not None:
            yield call, (call.application_id, span.scope)
        elif (retrieval := retrievals.of_span(span)) is not None:
            yield retrieval, None
        elif (printed := printed_in(span)) is not None:
            yield from _calls(printed)


def _holds_records(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and len(item) > 2 for item in value)


def read_rows(rows: Iterable[Sequence[Any]], *, has_spans: bool, has_feedback: bool = False) -> Iterator[Item]:
    """What the rows of a table tell, each call once; see `LoggedTable`."""
    doubles = Doubles()
    for *fields, too_large in rows:
        if has_feedback:
            yield feedback_of_fields(fields)
            continue
        if too_large:
            yield from doubles.pass_on(BadLine(Reason.TOO_LARGE))
        elif has_spans:
            yield from _read(fields[0], doubles)
        else:
            yield from doubles.add(_of_fields(fields))
    yield from doubles.rest()


def _of_fields(fields: Sequence[Any]) -> Call:
    """A call from the fields of `llm_interactions`, in the order of the query; its texts are no JSON."""
    moment, interaction_id, application_id, name, model, provider, *texts, prompt_tokens, response_tokens = fields
    prompt, response, context, reference = ([{"type": "text", "text": text}] if text else None for text in texts)
    return Call(
        started=moment,
        interaction_id=interaction_id,
        application_id=application_id,
        application_name=name,
        model_name=model,
        provider=provider,
        prompt=prompt,
        response=response,
        context=context,
        reference=reference,
        prompt_tokens=prompt_tokens,
        response_tokens=response_tokens,
    )
