"""Records of the makers and hosts of models, each by its own fields.

- Bedrock's invocation log: https://docs.aws.amazon.com/bedrock/latest/userguide/model-invocation-logging.html.
- Vertex AI's log of requests and responses in BigQuery:
  https://docs.cloud.google.com/vertex-ai/generative-ai/docs/multimodal/request-response-logging.
- OpenAI's batches, whose lines are read with what was asked where a record holds both:
  https://platform.openai.com/docs/guides/batch.
- Azure API Management's logs of its gateway, and of the models behind it, whose rows hold one request in parts:
  https://learn.microsoft.com/azure/api-management/api-management-howto-llm-logs.
- SageMaker's captures of what its endpoints were asked and answered:
  https://docs.aws.amazon.com/sagemaker/latest/dg/model-monitor-data-capture.html.
- Databricks' inference tables: https://docs.databricks.com/aws/en/ai-gateway/inference-tables.
- Kong's AI gateway: https://developer.konghq.com/ai-gateway/ai-audit-log-reference/.
- Answers as their SDKs dump them, beside what was asked.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from optiinfra_dagster.quality.interactions import Reason
from optiinfra_dagster.quality.logs.calls import Call, Kind
from optiinfra_dagster.quality.logs.envelopes import attributes_in
from optiinfra_dagster.quality.logs.fields import BadFieldError, filled, first, parsed
from optiinfra_dagster.quality.logs.flat import (
    SESSION,
    TIME,
    body_of,
    grounds_of,
    has_failed,
    prompt_tokens_in,
    read_flat,
    response_tokens_in,
)
from optiinfra_dagster.quality.logs.streams import assembled


def is_bedrock(record: Mapping[str, Any]) -> bool:
    """True for a record of the invocation log."""
    return record.get("schemaType") == "ModelInvocationLog" or ("modelId" in record and "operation" in record)


def read_bedrock(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of an invocation."""
    asked, told = _part(record, "input"), _part(record, "output")
    request, response = parsed(asked.get("inputBodyJson")), parsed(told.get("outputBodyJson"))
    whole = body_of(assembled(response))
    usage = whole.get("usage") or {}
    model = str(record.get("modelId") or "").rpartition("/")[2]
    metadata = record.get("requestMetadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    identity = record.get("identity")
    role = str(identity.get("arn") or "") if isinstance(identity, dict) else ""
    is_embedding = "embed" in model or "embedding" in body_of(response)
    yield Call(
        kind=Kind.EMBEDDING if is_embedding else Kind.ANSWER,
        started=record.get("timestamp"),
        took_ms=(whole.get("metrics") or {}).get("latencyMs"),
        interaction_id=record.get("requestId"),
        application_id=filled(metadata, ("application", "app", "service", "application_id")) or _name_of_role(role),
        model_name=model,
        provider="aws",
        prompt=request,
        response=response,
        context=body_of(request).get("documents"),
        prompt_tokens=prompt_tokens_in(asked, ("inputTokenCount",)) or prompt_tokens_in(usage),
        response_tokens=first(told, ("outputTokenCount",)) or response_tokens_in(usage),
        session_id=filled(metadata, SESSION),
        stopped="guardrail_intervened" if whole.get("amazon-bedrock-guardrailAction") == "INTERVENED" else None,
        failed=bool(record.get("errorCode")),
        unread=_unread(record),
    )


_UNREAD = "optiinfra: unread"  # the member for why a body could not be read
_BODIES = (("input", "inputBody"), ("output", "outputBody"))


def with_bodies(record: dict[str, Any], bodies: Callable[[str], Any]) -> dict[str, Any]:
    """A record of the invocation log with those bodies of which it has only the address, from `bodies`."""
    if record.get("errorCode") or "embed" in str(record.get("modelId")):
        return record  # no text of it is read
    for part, name, address in _addresses(record):
        try:
            record = {**record, part: {**record[part], f"{name}Json": bodies(address)}}
        except BadFieldError as error:
            record = {**record, _UNREAD: error.reason}
    return record


def _addresses(record: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """The bodies that a record only has the address of."""
    for part, name in _BODIES:
        held = _part(record, part)
        if f"{name}S3Path" in held and held.get(f"{name}Json") is None:
            yield part, name, str(held[f"{name}S3Path"])


def _unread(record: Mapping[str, Any]) -> Reason | None:
    """The reason for which a body of a record is not there."""
    told = record.get(_UNREAD)
    if isinstance(told, Reason):
        return told
    return Reason.NO_BODY if any(True for _ in _addresses(record)) else None


def _part(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    held = record.get(key)
    return held if isinstance(held, dict) else {}


def _name_of_role(arn: str) -> str | None:
    """The role or user that called: `bot` of `arn:aws:sts::1:assumed-role/bot/session`."""
    kind, _, rest = arn.rpartition(":")[2].partition("/")
    return rest.partition("/")[0] if kind in {"assumed-role", "user"} and rest else None


def is_vertex(record: Mapping[str, Any]) -> bool:
    """True for a row of Vertex AI's table."""
    return "full_request" in record or "request_payload" in record


def read_vertex(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a row."""
    request = parsed(_only(first(record, ("full_request", "request_payload"))))
    held = parsed(first(record, ("full_response", "response_payload")))
    response = [parsed(item) for item in held] if isinstance(held, list) else held
    response = assembled(_only(response))
    told = body_of(response)
    usage = first(told, ("usageMetadata", "usage")) or {}
    metadata = parsed(record.get("metadata"))
    metadata = metadata if isinstance(metadata, dict) else {}
    labels = body_of(request).get("labels")
    labels = labels if isinstance(labels, dict) else {}
    yield Call(
        started=first(record, ("logging_time", *TIME)),
        took_ms=first(metadata, ("request_latency", "requestLatency")),
        interaction_id=first(record, ("request_id", "requestId")),
        application_id=filled(labels, ("application", "app", "service")) or _name(record.get("endpoint")),
        model_name=filled(told, ("modelVersion", "model"))
        or _name(filled(record, ("model", "deployed_model_id")))
        or body_of(request).get("model"),
        provider="gcp",
        prompt=_of_instances(request),
        response=response,
        context=grounds_of(told),
        prompt_tokens=prompt_tokens_in(usage),
        response_tokens=response_tokens_in(usage),
        session_id=filled(labels, SESSION),
        response_id=filled(told, ("responseId", "id")),
        failed="error" in told and not filled(told, ("candidates", "content")),
    )


def _of_instances(request: Any) -> Any:
    """What a request for predictions asks, where its instances name their prompts."""
    instances = body_of(request).get("instances")
    prompts = [body_of(one).get("prompt") for one in instances] if isinstance(instances, list) else []
    return {"prompt": prompts} if prompts and all(prompts) else request


def _only(value: Any) -> Any:
    """The one element of a repeated column that has one."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _name(value: Any) -> Any:
    return value.rpartition("/")[2] if isinstance(value, str) else value


_GATEWAY = {"GatewayLogs", "ApiManagementGatewayLogs"}
_MODELS = {"GatewayLlmLogs", "ApiManagementGatewayLlmLog"}
_TO_MODELS = ("/completions", "/responses", "/messages", "/embeddings", "/converse", ":generatecontent")


def is_gateway(record: Mapping[str, Any]) -> bool:
    """True for a log of API Management, of a diagnostic setting or of a workspace's table."""
    kind = first(record, ("category", "Category", "Type"))
    return isinstance(kind, str) and kind.rpartition("/")[2] in _GATEWAY | _MODELS


def read_gateway(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call that went through the gateway, or a part of one; none where the gateway leads to something else."""
    held = parsed(first(record, ("properties", "Properties")))
    told = {name[:1].lower() + name[1:]: value for name, value in {**record, **body_of(held)}.items()}
    resource = str(first(told, ("_ResourceId", "resourceId")) or "").rpartition("/")[2].lower()
    call = Call(
        started=first(told, ("time", "timeGenerated")),
        interaction_id=told.get("correlationId"),
        application_id=resource or None,
        provider="azure",
    )
    if str(first(record, ("category", "Category", "Type"))).rpartition("/")[2] in _MODELS:
        call.trace_id = call.span_id = str(told.get("correlationId") or "")
        call.is_span, call.is_piece = bool(call.trace_id), bool(call.trace_id)
        call.model_name = filled(told, ("modelName", "deploymentName"))
        call.prompt, call.response = (_messages(told.get(name)) for name in ("requestMessages", "responseMessages"))
        call.prompt_tokens = told.get("promptTokens") or None  # 0 in the parts that do not tell
        call.response_tokens = told.get("completionTokens") or None
        yield call
        return
    asked, answered = (
        parsed(first(told, (f"{side}Body", f"backend{side.capitalize()}Body"))) for side in ("request", "response")
    )
    status = first(told, ("responseCode", "backendResponseCode"))
    call.failed = isinstance(status, int) and status >= 400
    is_of_a_model = any(part in str(told.get("url") or told.get("backendUrl")).lower() for part in _TO_MODELS)
    if is_of_a_model and asked and (answered or call.failed):
        call.prompt, call.response = asked, answered
        call.took_ms = first(told, ("durationMs", "totalTime"))
        (body,) = read_flat({"request": asked, "response": answered})
        call.absorb(body)
        yield call


def _messages(value: Any) -> list[Any]:
    held = parsed(value)
    return held if isinstance(held, list) else [held] if held else []


def is_sagemaker(record: Mapping[str, Any]) -> bool:
    """True for a capture of an endpoint."""
    return isinstance(record.get("captureData"), dict) and isinstance(record.get("eventMetadata"), dict)


def read_sagemaker(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a capture; models of other kinds are asked in CSV."""
    asked, told = (_captured(_part(record["captureData"], side)) for side in ("endpointInput", "endpointOutput"))
    (call,) = read_flat({"request": asked, "response": told})
    about = record["eventMetadata"]
    call.started, call.interaction_id = about.get("inferenceTime"), first(about, ("eventId", "inferenceId"))
    call.provider = "aws"
    yield call


def _captured(side: Mapping[str, Any]) -> Any:
    data = side.get("data")
    if not isinstance(data, str) or "csv" in str(side.get("observedContentType")):
        return None
    if side.get("encoding") == "BASE64":
        data = base64.b64decode(data, validate=True).decode()
    held = parsed(data)
    is_generated = isinstance(held, list) and bool(held) and "generated_text" in body_of(held[0])
    return held[0] if is_generated else held  # of Hugging Face's servers


def is_databricks(record: Mapping[str, Any]) -> bool:
    """True for a row of an inference table."""
    return "databricks_request_id" in record and "request" in record


def read_databricks(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a row; its bodies are texts of JSON."""
    (call,) = read_flat({**record, "date": None})
    about = attributes_in(record.get("request_metadata"))
    call.started = first(record, ("request_time", "timestamp_ms"))
    call.took_ms = first(record, ("execution_duration_ms", "execution_time_ms"))
    call.interaction_id = record["databricks_request_id"]
    call.application_id = filled(about, ("endpoint_name", "model_name")) or filled(record, ("served_entity_id",))
    yield call


def is_kong(record: Mapping[str, Any]) -> bool:
    """True for a log of a request that an AI plugin passed on."""
    return "started_at" in record and any(True for _ in _of_plugins(record))


def _of_plugins(record: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    held = record.get("ai")
    for one in held.values() if isinstance(held, dict) else ():
        if isinstance(one, dict) and isinstance(one.get("meta"), dict) and one.keys() & {"usage", "payload"}:
            yield one


def read_kong(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call to each model; texts are logged where the plugin's `log_payloads` is on."""
    for number, one in enumerate(_of_plugins(record)):
        payload, meta, usage = (_part(one, part) for part in ("payload", "meta", "usage"))
        (call,) = read_flat({side: parsed(payload.get(side)) for side in ("request", "response")})
        request, status = str(_part(record, "request").get("id") or ""), _part(record, "response").get("status")
        call.started, call.took_ms = record["started_at"], first(meta, ("llm_latency",))
        call.interaction_id = f"{request}-{number}" if request and number else request
        names = ((part, name) for part in ("consumer", "service", "route") for name in ("username", "name"))
        call.application_id = next((named for part, name in names if (named := _part(record, part).get(name))), None)
        call.model_name = filled(meta, ("response_model", "request_model")) or call.model_name
        call.prompt_tokens = prompt_tokens_in(usage) if usage else call.prompt_tokens
        call.response_tokens = response_tokens_in(usage) if usage else call.response_tokens
        call.cost_usd = usage.get("cost")
        call.failed = call.failed or (isinstance(status, int) and status >= 400)
        call.is_span = True
        yield call


def is_batch(record: Mapping[str, Any]) -> bool:
    """True for a line of a batch: of what was asked, of what was answered, or of both joined."""
    return "custom_id" in record and bool(record.keys() & {"response", "result", "body", "request"})


def read_batch(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a line; a line of what was asked alone is none."""
    told = first(record, ("response", "result"))  # OpenAI's, Anthropic's
    if told is None and record.get("error") is None:
        return
    told = told if isinstance(told, dict) else {}
    response = first(told, ("body", "message"))
    asked = record.get("request") or {}
    prompt = record.get("body") or asked.get("body") or asked.get("params") or asked or record.get("params")
    answer = body_of(response)
    usage = answer.get("usage") or {}
    yield Call(
        started=first(answer, ("created", "created_at")) or filled(record, TIME),
        interaction_id=first(answer, ("id",)) or first(record, ("id", "custom_id")),
        other_ids=tuple(str(held) for held in (record.get("id"),) if held),
        application_id=filled(record, ("application_id", "application", "app")),
        model_name=answer.get("model") or body_of(prompt).get("model"),
        prompt=prompt,
        response=response,
        prompt_tokens=prompt_tokens_in(usage),
        response_tokens=response_tokens_in(usage),
        failed=bool(record.get("error")) or has_failed(told) or told.get("type") in {"errored", "expired", "canceled"},
    )


def is_exchange(record: Mapping[str, Any]) -> bool:
    """True for a record of a request and its response, each with a body."""
    asked, told = record.get("request"), record.get("response")
    return isinstance(asked, dict) and isinstance(told, dict) and "body" in asked and "body" in told


def read_exchange(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call of a request and its response."""
    asked, told = record["request"], record["response"]
    (call,) = read_flat({**record, "request": parsed(asked["body"]), "response": parsed(told["body"])})
    call.failed = call.failed or has_failed(told)
    yield call
