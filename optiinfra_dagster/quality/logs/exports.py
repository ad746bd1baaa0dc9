"""Records of the tools that log calls, each by its own fields: what such a record says, and which records are its.

- Langfuse's export of observations and traces: https://langfuse.com/docs/api-and-data-platform/features/export-to-blob-storage.
- LangSmith's runs: https://docs.langchain.com/langsmith/run-data-format.
- LiteLLM's standard payload, and the rows of its proxy's spend logs: https://docs.litellm.ai/docs/proxy/logging_spec.
- Helicone's export: https://docs.helicone.ai/tools/export.
- Portkey's export: https://portkey.ai/docs/product/observability/logs-export.
- Cloudflare's AI Gateway: https://developers.cloudflare.com/ai-gateway/observability/logging/.
- promptfoo's results: https://www.promptfoo.dev/docs/configuration/outputs.
- OpenAI's Agents SDK, as its processors of traces export: https://openai.github.io/openai-agents-python/tracing/.
- MLflow's traces, as its search gives them: https://mlflow.org/docs/latest/genai/tracing/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from optiinfra_dagster.quality.interactions import BadLine, Observation, Reason
from optiinfra_dagster.quality.logs.calls import Call, Kind
from optiinfra_dagster.quality.logs.envelopes import told_json
from optiinfra_dagster.quality.logs.fields import count_of, filled, first, moment_of, money_of, parsed
from optiinfra_dagster.quality.logs.flat import (
    APPLICATION,
    PROMPT_TOKENS,
    RESPONSE_TOKENS,
    SESSION,
    TIME,
    beside_answer,
    body_of,
    is_cached,
    read_flat,
)


def object_of(value: Any) -> Mapping[str, Any]:
    """An object, also one written as JSON; an empty one for anything else."""
    value = parsed(value)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> Any:
    """A text that was written as JSON, with quotation marks around it; anything else as it is."""
    return told_json(value) if isinstance(value, str) and value[:1] == '"' else value


# --- Langfuse ---------------------------------------------------------------------------------------------------------

_OBSERVATIONS = {
    "GENERATION", "SPAN", "EVENT", "EMBEDDING", "AGENT", "TOOL", "CHAIN", "RETRIEVER", "EVALUATOR", "GUARDRAIL",
}  # fmt: skip


def is_langfuse(record: Mapping[str, Any]) -> bool:
    """True for an observation, and for a trace with its observations or without them."""
    held, kind = record.get("observations"), record.get("type")
    if (isinstance(held, list) and all(isinstance(one, dict) for one in held)) or _is_trace(record):
        return True
    is_observation = isinstance(kind, str) and kind in _OBSERVATIONS
    return is_observation and first(record, ("trace_id", "traceId")) is not None


def _is_trace(record: Mapping[str, Any]) -> bool:
    """True for a trace whose observations are exported apart: it repeats what its generations say."""
    is_one = "public" in record and "tags" in record and bool(record.keys() & {"bookmarked", "htmlPath"})
    return is_one and "type" not in record  # an observation may come with its trace's members


def _is_of_langfuse_itself(record: Mapping[str, Any]) -> bool:
    """True for what Langfuse's own evaluators and experiments ask models, which stands among the application's calls.

    No environment of an application may begin so: https://langfuse.com/docs/observability/features/environments.
    """
    return str(record.get("environment") or "").startswith("langfuse")


def told_by_langfuse(record: Mapping[str, Any]) -> Iterator[Observation | BadLine]:
    """The observation that a record is; of a trace whose observations are elsewhere, that it lacks them."""
    held = record.get("observations")
    if (isinstance(held, list) and all(isinstance(one, dict) for one in held)) or not is_langfuse(record):
        return
    started = moment_of(first(record, ("start_time", "startTime", "timestamp")))
    if _is_of_langfuse_itself(record):
        return
    if _is_trace(record):
        yield BadLine(Reason.NO_OBSERVATIONS, started, ids=(str(record.get("id")),))
    else:
        yield Observation(str(first(record, ("trace_id", "traceId"))), started)


def read_langfuse(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of an observation that is a generation, or those of a trace."""
    observations = record.get("observations")
    if isinstance(observations, list) or _is_trace(record):
        observations = observations if isinstance(observations, list) else []
        told = {"sessionId": first(record, ("sessionId", "session_id")), "traceName": record.get("name"),
                "environment": record.get("environment")}  # fmt: skip
        for observation in observations:
            if isinstance(observation, dict):
                yield from read_langfuse({**told, **observation})
        return
    if record["type"] not in {"GENERATION", "EMBEDDING"} or _is_of_langfuse_itself(record):
        return
    usage = object_of(first(record, ("usage_details", "usageDetails", "usage")))
    cost = object_of(first(record, ("cost_details", "costDetails")))
    metadata = object_of(record.get("metadata"))
    attributes = object_of(metadata.get("resourceAttributes"))
    trace = str(first(record, ("trace_id", "traceId")))
    yield Call(
        kind=Kind.EMBEDDING if record["type"] == "EMBEDDING" else Kind.ANSWER,
        started=first(record, ("start_time", "startTime")),
        ended=first(record, ("end_time", "endTime")),
        interaction_id=record.get("id"),
        other_ids=(f"{trace}-{record.get('id')}",),  # of its span, where Langfuse got it as one
        application_id=attributes.get("service.name")
        or filled(record, ("trace_name", "traceName", "project_id", "projectId")),
        model_name=filled(record, ("provided_model_name", "providedModelName", "model", "internalModelId")),
        prompt=_text(record.get("input")),
        response=_text(record.get("output")),
        prompt_tokens=_units(usage, "input") or first(usage, PROMPT_TOKENS),
        response_tokens=_units(usage, "output") or first(usage, RESPONSE_TOKENS),
        session_id=filled(record, SESSION),
        trace_id=trace,
        cost_usd=first(cost, ("total",))
        if "total" in cost
        else first(record, ("total_cost", "totalCost", "calculatedTotalCost")),
        failed=str(record.get("level")).upper() == "ERROR",
        provider=attributes.get("cloud.provider"),
    )


def _units(usage: Mapping[str, Any], side: str) -> int | None:
    """The units of all usage types of one side: `input`, `input_cached_tokens`, `cache_read_input_tokens`.

    https://langfuse.com/docs/observability/features/token-and-cost-tracking
    """
    told = [count_of(held) for name, held in usage.items() if side in name and "cost" not in name.lower()]
    counts = [count for count in told if count is not None]
    return sum(counts) if counts else None


# --- LangSmith --------------------------------------------------------------------------------------------------------


_RUNS = {"llm", "chain", "tool", "retriever", "embedding", "prompt", "parser"}


def is_langsmith(record: Mapping[str, Any]) -> bool:
    """True for a run."""
    kind = record.get("run_type")
    return isinstance(kind, str) and kind in _RUNS


def read_langsmith(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a run of a model, or those of the runs below another."""
    for child in record.get("child_runs") or ():
        if isinstance(child, dict) and is_langsmith(child):
            yield from read_langsmith(child)
    if record["run_type"] not in {"llm", "embedding"}:
        return
    inputs, outputs, extra = (
        object_of(record.get("inputs")),
        object_of(record.get("outputs")),
        object_of(record.get("extra")),
    )
    metadata = {**object_of(extra.get("metadata")), **object_of(record.get("metadata"))}
    told = beside_answer(outputs)
    usages = (
        first(outputs, ("usage_metadata", "usage")),
        *(told.get(name) for name in ("token_usage", "usage_metadata")),
    )
    usage = next(filter(None, map(object_of, usages)), {})
    parameters = object_of(extra.get("invocation_params"))
    yield Call(
        kind=Kind.EMBEDDING if record["run_type"] == "embedding" else Kind.ANSWER,
        started=record.get("start_time"),
        ended=record.get("end_time"),
        interaction_id=first(record, ("id", "run_id")),
        application_id=filled(record, ("session_name", "project_name", "session_id", "project_id")),
        model_name=filled(outputs, ("model",))
        or filled(told, ("model_name", "model"))
        or filled(metadata, ("ls_model_name",))
        or filled(parameters, ("model", "model_name")),
        prompt=inputs or record.get("inputs"),
        response=outputs or record.get("outputs"),
        prompt_tokens=first(record, ("prompt_tokens",)) or first(usage, PROMPT_TOKENS),
        response_tokens=first(record, ("completion_tokens",)) or first(usage, RESPONSE_TOKENS),
        session_id=filled(metadata, ("thread_id", *SESSION)) or record.get("thread_id"),
        trace_id=str(record.get("trace_id") or ""),
        response_id=filled(outputs, ("id",)),
        cost_usd=first(record, ("total_cost",)),
        failed=bool(record.get("error")) or record.get("status") == "error",
    )


# --- LiteLLM ----------------------------------------------------------------------------------------------------------


def is_litellm(record: Mapping[str, Any]) -> bool:
    """True for a standard payload or a spend log."""
    return isinstance(record.get("call_type"), str) and ("startTime" in record or "response_cost" in record)


def read_litellm(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a payload; none for what is not asked of a model that answers."""
    kind = record["call_type"]
    asks = any(word in kind for word in ("completion", "response", "message", "embed", "generate", "pass_through"))
    if not asks or kind.removeprefix("a").startswith(("get_", "delete_", "list_", "cancel_")):
        return
    metadata = object_of(record.get("metadata"))
    tags = record.get("request_tags")
    tag = tags[0] if isinstance(tags, list) and tags and isinstance(tags[0], str) and ":" not in tags[0] else None
    requester = object_of(metadata.get("requester_metadata"))
    (call,) = read_flat(record)
    call.kind = Kind.EMBEDDING if "embed" in kind else Kind.ANSWER
    call.started, call.ended = record.get("startTime"), record.get("endTime")
    call.prompt, call.response = parsed(record.get("messages")), parsed(record.get("response"))
    asked = object_of(record.get("proxy_server_request"))  # where a spend log keeps what was asked
    call.prompt = call.prompt or first(asked, ("messages", "input", "prompt"))
    call.application_id = (
        filled(metadata, ("user_api_key_alias", "user_api_key_team_alias"))
        or tag
        or filled(requester, ("app", "service"))
    )
    call.response_id = None if is_cached(record) else body_of(call.response).get("id")
    call.session_id = filled(requester, SESSION) or filled(metadata, SESSION) or record.get("session_id")
    call.cost_usd = first(record, ("response_cost", "spend"))
    call.failed = record.get("status") == "failure" or bool(record.get("error_str"))
    parameters = object_of(record.get("model_parameters"))
    call.prompt = call.prompt or parameters.get("input")
    call.system = parameters.get("instructions") or first(asked, ("system", "instructions"))
    yield call


# --- Gateways ---------------------------------------------------------------------------------------------------------


def is_helicone(record: Mapping[str, Any]) -> bool:
    """True for a request of an export."""
    return "request_body" in record and ("request_created_at" in record or "request_path" in record)


def read_helicone(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a request."""
    (call,) = read_flat(record)
    properties = object_of(first(record, ("request_properties", "properties")))
    call.started = first(record, ("request_created_at", "created_at"))
    call.ended = record.get("response_created_at")
    call.took_ms = first(record, ("delay_ms", "response_delay_ms"))
    call.interaction_id = first(record, ("request_id", "response_id"))
    call.application_id = filled(properties, ("app", "App", "application", "appname", "service", "Helicone-App"))
    call.model_name = filled(record, ("response_model", "request_model", "model")) or call.model_name
    call.prompt, call.response = _body(record, "request_body"), _body(record, "response_body")
    call.session_id = filled(properties, ("Helicone-Session-Id",)) or call.session_id
    call.cost_usd = first(record, ("cost_usd", "costUSD", "cost"))
    call.system = None
    yield call


def _body(record: Mapping[str, Any], key: str) -> Any:
    """A body, which may be the text of a stream."""
    body = parsed(record.get(key))
    if isinstance(body, dict) and isinstance(body.get("streamed_data"), str | list):
        return body["streamed_data"]
    return None if isinstance(body, dict) and body.get("type") == "encrypted" else body


def is_cloudflare(record: Mapping[str, Any]) -> bool:
    """True for a log of the AI Gateway, of its API or of Logpush."""
    return ("tokens_in" in record and "created_at" in record) or {"RequestBody", "ResponseBody"} <= record.keys()


def read_cloudflare(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a log; Logpush encrypts its texts, which then are not there."""
    (call,) = read_flat(record)
    metadata, metrics = object_of(first(record, ("metadata", "Metadata"))), object_of(record.get("Metrics"))
    call.prompt = _body(record, "request") or _body(record, "RequestBody")
    call.response = _body(record, "response") or _body(record, "ResponseBody")
    call.system, call.is_span = None, False
    call.model_name = filled(record, ("model", "Model"))
    call.took_ms = first(record, ("duration",)) if "duration" in record else metrics.get("durationMs")
    call.cost_usd = first(record, ("cost",)) if "cost" in record else metrics.get("cost")
    call.application_id = filled(metadata, ("app", "application", "service")) or filled(
        record, ("gateway", "Gateway", "gateway_id")
    )
    status = first(record, ("status_code", "StatusCode"))
    call.failed = record.get("success") is False or (isinstance(status, int) and status >= 400)
    if "embed" in str(first(record, ("path", "endpoint", "Endpoint", "request_type", "model_type")) or "").lower():
        call.kind = Kind.EMBEDDING
    yield call


_OF_PORTKEY = {"ai_org", "ai_model", "req_units", "res_units", "cost_currency", "request_url"}


def is_portkey(record: Mapping[str, Any]) -> bool:
    """True for a request of an export, which has those columns that were asked for."""
    return len(_OF_PORTKEY & record.keys()) > 1 and bool(record.keys() & {"request", "request.body"})


def read_portkey(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a request; its cost is told in cents."""
    bodies = {side: _body_of_portkey(record, side) for side in ("request", "response")}
    (call,) = read_flat({**record, **bodies})
    metadata, cost = object_of(record.get("metadata")), money_of(record.get("cost"))
    call.application_id = filled(metadata, APPLICATION)
    call.model_name = call.model_name or filled(record, ("ai_model",))
    call.took_ms = record.get("response_time")
    call.prompt_tokens = first(record, ("req_units",)) or call.prompt_tokens
    call.response_tokens = first(record, ("res_units",)) or call.response_tokens
    is_in_usd = record.get("cost_currency") in (None, "", "USD")
    call.cost_usd = cost / 100 if cost is not None and is_in_usd else None
    status, succeeded = record.get("response_status_code"), record.get("is_success")
    call.failed = call.failed or (isinstance(status, int) and status >= 400) or succeeded in (False, 0, "0")
    yield call


def _body_of_portkey(record: Mapping[str, Any], side: str) -> Any:
    held = parsed(record.get(f"{side}.body") or record.get(side))
    return parsed(held["body"]) if isinstance(held, dict) and "body" in held else held


# --- Tools that evaluate ----------------------------------------------------------------------------------------------


def is_promptfoo(record: Mapping[str, Any]) -> bool:
    """True for a file of results, or one of them."""
    return _results(record) is not None or ("promptIdx" in record and "response" in record)


def _results(record: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What holds the results of an evaluation: the file's `results`, or an older file itself."""
    held = record.get("results")
    held = held if isinstance(held, dict) else record
    rows = held.get("results")
    return (
        held
        if isinstance(rows, list) and ("evalId" in record or "stats" in held or "table" in held or "prompts" in held)
        else None
    )


def read_promptfoo(record: Mapping[str, Any]) -> Iterator[Call]:
    """The calls of an evaluation; results have the time of the whole."""
    held = _results(record)
    if held is not None:
        when = first(held, TIME) or first(record, TIME) or object_of(record.get("metadata")).get("exportedAt")
        for number, row in enumerate(held["results"]):
            if isinstance(row, dict):
                yield from read_promptfoo(
                    {"timestamp": when, "id": f"{record.get('evalId') or when}-{number}", "promptIdx": number, **row}
                )
        return
    response, prompt = object_of(record.get("response")), record.get("prompt")
    usage = object_of(first(response, ("tokenUsage",)) or record.get("tokenUsage"))
    variables, provider = object_of(record.get("vars")), record.get("provider")
    yield Call(
        started=first(record, TIME),
        took_ms=record.get("latencyMs"),
        interaction_id=record.get("id"),
        application_id=record.get("description"),
        model_name=filled(provider, ("id", "label")) if isinstance(provider, dict) else provider,
        prompt=filled(prompt, ("raw", "label")) if isinstance(prompt, dict) else prompt,
        response=response.get("output"),
        context=filled(variables, ("context", "documents")),
        reference=filled(variables, ("expected", "reference", "answer")),
        prompt_tokens=usage.get("prompt"),
        response_tokens=usage.get("completion"),
        cost_usd=first(record, ("cost",)) if "cost" in record else response.get("cost"),
        failed=bool(response.get("error") or record.get("error")) and not response.get("output"),
    )


def is_openai_agents(record: Mapping[str, Any]) -> bool:
    """True for a trace of the Agents SDK, or a span of one."""
    return record.get("object") == "trace" or (record.get("object") == "trace.span" and "span_data" in record)


def read_openai_agents(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a span; none of a trace, or of a step that asks no model. A response's texts are not in its span."""
    told = object_of(record.get("span_data"))
    if told.get("type") not in {"generation", "response"}:
        return
    (call,) = read_flat({**told, "id": record.get("id"), "trace_id": record.get("trace_id"), "type": None})
    call.started, call.ended = record.get("started_at"), record.get("ended_at")
    call.response_id = told.get("response_id")
    call.failed = call.failed or bool(record.get("error"))
    yield call


def is_mlflow(record: Mapping[str, Any]) -> bool:
    """True for a trace as MLflow's search gives it: a row with a request and a response."""
    return "request" in record and bool(record.keys() & {"execution_time_ms", "execution_duration"})


def read_mlflow(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a trace."""
    metadata, tags = (
        object_of(record.get("request_metadata") or record.get("trace_metadata")),
        object_of(record.get("tags")),
    )
    usage, told = object_of(metadata.get("mlflow.trace.tokenUsage")), object_of(record.get("response"))
    yield Call(
        started=first(record, ("timestamp_ms", "request_time", "timestamp", "start_time")),
        took_ms=first(record, ("execution_time_ms", "execution_duration")),
        interaction_id=first(record, ("trace_id", "request_id")),
        trace_id=str(record.get("trace_id") or ""),
        application_id=filled(tags, ("mlflow.traceName", "service.name")),
        model_name=filled(told, ("model",)),
        prompt=_text(first(record, ("request", "request_preview"))),
        response=_text(first(record, ("response", "response_preview"))),
        prompt_tokens=usage.get("input_tokens"),
        response_tokens=usage.get("output_tokens"),
        session_id=metadata.get("mlflow.trace.session"),
        failed=str(first(record, ("status", "state"))).upper().endswith("ERROR"),
    )
