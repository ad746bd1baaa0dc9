"""Spans of calls as platforms that observe models export them, and which of theirs are of no call.

- Datadog's LLM Observability, as its export API gives spans, and as its SDKs send them:
  https://docs.datadoghq.com/llm_observability/evaluations/export_api/.
- W&B Weave: https://docs.wandb.ai/weave/guides/tracking/call-schema-reference.
- Braintrust: https://www.braintrust.dev/docs/guides/logs. Opik: https://www.comet.com/docs/opik/tracing/export_data.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optiinfra_dagster.quality.logs.calls import Call, Kind
from optiinfra_dagster.quality.logs.exports import object_of
from optiinfra_dagster.quality.logs.fields import filled, first, money_of, parsed
from optiinfra_dagster.quality.logs.flat import MODEL, PROMPT_TOKENS, RESPONSE_TOKENS, SESSION, read_flat


def is_step(record: Mapping[str, Any]) -> bool:
    """True for a span of Braintrust's or Opik's that asked no model: it has input and output as those that did."""
    kind = object_of(record.get("span_attributes")).get("type")
    if kind is not None and "root_span_id" in record:
        return bool(kind != "llm")
    kind = record.get("type")
    return {"trace_id", "parent_span_id", "input"} <= record.keys() and kind in ("general", "tool", "guardrail")


def is_datadog(record: Mapping[str, Any]) -> bool:
    """True for a span, or what an SDK sends of many."""
    record = _sent(record)
    held = record.get("attributes")
    is_one = (
        record.get("type") == "span"
        and isinstance(held, dict)
        and "ml_app" in held
        and bool(held.keys() & {"span_kind", "spans"})
    )
    return is_one or _is_sent_to_datadog(record)


def _sent(record: Mapping[str, Any]) -> Mapping[str, Any]:
    held = record.get("data")
    return held if isinstance(held, dict) and held.get("type") == "span" else record


def _is_sent_to_datadog(record: Mapping[str, Any]) -> bool:
    return "start_ns" in record and "span_id" in record and isinstance(record.get("meta"), dict)


def read_datadog(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a span, or those of the spans that were sent together; none of agents, workflows, tools, tasks."""
    record = _sent(record)
    told = object_of(record.get("attributes")) or record
    if isinstance(told.get("spans"), list):
        around = {key: told[key] for key in ("ml_app", "session_id", "tags") if key in told}
        for span in told["spans"]:
            if isinstance(span, dict):
                yield from read_datadog({**around, **span})
        return
    meta = object_of(told.get("meta")) or told
    kind = first(meta, ("span_kind", "kind")) or object_of(meta.get("span")).get("kind")
    if kind not in {"llm", "embedding"}:
        return
    metrics, metadata = object_of(told.get("metrics")), object_of(meta.get("metadata"))
    parameters = object_of(metadata.get("model_parameters"))
    duration, cost = told.get("duration"), metrics.get("estimated_total_cost")
    trace, span = str(told.get("trace_id") or ""), told.get("span_id")
    yield Call(
        kind=Kind.EMBEDDING if kind == "embedding" else Kind.ANSWER,
        started=told.get("start_ns"),
        took_ms=None if duration is None else float(duration) / 1e6,
        interaction_id=f"{trace}-{span}" if trace and span else span,
        trace_id=trace,
        application_id=filled(told, ("ml_app",)) or _tag(told, "ml_app") or _tag(told, "service"),
        model_name=filled(meta, ("model_name",)) or filled(metadata, ("model_name",)) or filled(parameters, ("model",)),
        prompt=_side(meta, "input"),
        response=_side(meta, "output"),
        prompt_tokens=first(metrics, PROMPT_TOKENS),
        response_tokens=first(metrics, RESPONSE_TOKENS),
        session_id=filled(told, SESSION) or _tag(told, "session_id"),
        cost_usd=None if cost is None else float(cost) / 1e9,  # of 10 tokens of gpt-4o-mini, its example has 1500
        failed=told.get("status") == "error",
        is_span=True,
    )


def _side(meta: Mapping[str, Any], name: str) -> Any:
    held = object_of(meta.get(name))
    return held.get("messages") or parsed(held.get("value"))


def _tag(told: Mapping[str, Any], name: str) -> str | None:
    tags = told.get("tags")
    found = [tag.partition(":")[2] for tag in tags if str(tag).startswith(f"{name}:")] if isinstance(tags, list) else []
    return found[0] if found and found[0] else None


def is_weave(record: Mapping[str, Any]) -> bool:
    """True for a call of Weave's, which is one of any function."""
    return isinstance(record.get("op_name"), str) and "started_at" in record and "inputs" in record


def read_weave(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a model; none of another function, although those around it tell the same question and answer.

    The libraries that Weave knows name the model among their inputs.
    """
    inputs, attributes = object_of(record["inputs"]), object_of(record.get("attributes"))
    kind = attributes.get("kind") or object_of(attributes.get("weave")).get("kind")
    name = record["op_name"].rpartition("/")[2]
    if not (filled(inputs, MODEL) or kind == "llm" or name.startswith("langchain.Llm")):
        return
    (call,) = read_flat(record)
    summary = object_of(record.get("summary"))
    usage = next(iter(object_of(summary.get("usage")).values()), None)
    costs = object_of(object_of(summary.get("weave")).get("costs"))
    if call.prompt_tokens is None and isinstance(usage, dict):
        call.prompt_tokens, call.response_tokens = first(usage, PROMPT_TOKENS), first(usage, RESPONSE_TOKENS)
    told = [money_of(one.get(side)) for one in costs.values() if isinstance(one, dict) for side in _COSTS_OF_WEAVE]
    known = [cost for cost in told if cost is not None]
    call.cost_usd = sum(known) if known else None
    call.application_id = call.application_id or str(record.get("project_id") or "").rpartition("/")[2] or None
    call.failed = bool(record.get("exception"))
    yield call


_COSTS_OF_WEAVE = ("prompt_tokens_total_cost", "completion_tokens_total_cost")
