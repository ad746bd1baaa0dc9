"""Spans and log records of OpenTelemetry that tell of calls to a model, by who wrote them.

- OpenTelemetry's conventions (`gen_ai.`): https://github.com/open-telemetry/semantic-conventions-genai, docs/gen-ai.
  Texts are attributes or an event of all details (since v1.37), events or log records of one message each such as
  `gen_ai.user.message` (before), or `gen_ai.content.prompt` (before v1.28). So write OpenLLMetry, which also numbers
  its attributes (`gen_ai.prompt.0.content`), Pydantic AI, Strands, LiteLLM and many more.
- OpenInference (`llm.input_messages.0.message.content`), as Phoenix keeps it:
  https://github.com/Arize-ai/openinference, spec/semantic_conventions.md.
- The Vercel AI SDK (`ai.prompt.messages`): https://ai-sdk.dev/docs/ai-sdk-core/telemetry.
- Langfuse's SDK (`langfuse.observation.input`): https://langfuse.com/integrations/native/opentelemetry.
- MLflow (`mlflow.spanInputs`): https://mlflow.org/docs/latest/genai/tracing/.
- Google's ADK (`gcp.vertex.agent.llm_request`): https://google.github.io/adk-docs/observability/cloud-trace/.
- AWS's distribution of OpenTelemetry, which takes a span's texts out into a log record of its own, as AgentCore does:
  https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/supported-frameworks-strands.html.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from optiinfra_dagster.quality.logs.calls import Call, Kind
from optiinfra_dagster.quality.logs.envelopes import Span, numbered, told_json
from optiinfra_dagster.quality.logs.fields import filled, first, parsed
from optiinfra_dagster.quality.logs.message_events import (
    DETAILS,
    add_message,
    events_attribute,
    listed,
    of_conversation,
    of_openrouter,
    texts_of_events,
)

_INPUT_TOKENS = (
    "gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens",
    "gen_ai.response.prompt_tokens",
)  # fmt: skip
_OUTPUT_TOKENS = (
    "gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
    "gen_ai.response.completion_tokens",
)  # fmt: skip
_COST = (
    "gen_ai.usage.cost", "gen_ai.usage.total_cost", "operation.cost", "gen_ai.cost.total_cost", "llm.cost.total",
    "gen_ai.usage.cost.total", "llm.usage.cost",
)  # fmt: skip
_SESSION = (
    "gen_ai.conversation.id", "session.id", "langfuse.session.id", "session_id", "thread_id", "metadata.thread_id",
    "gcp.vertex.agent.session_id",
    "traceloop.association.properties.session_id", "ai.telemetry.metadata.sessionId", "metadata.session_id",
    "langsmith.metadata.session_id", "langsmith.metadata.thread_id",
    "traceloop.association.properties.thread_id",
)  # fmt: skip
_STOPPED = (
    "gen_ai.response.finish_reasons", "gen_ai.response.finish_reason", "anthropic.message.stop_reason",
    "llm.response.finish_reason",
)  # fmt: skip
_PROMPTS = ("gen_ai.input.messages", "gen_ai.prompt", "gen_ai.content.prompt", "gen_ai.request.messages")
_RESPONSES = (
    "gen_ai.output.messages", "gen_ai.completion", "gen_ai.content.completion", "gen_ai.response.text",
)  # fmt: skip
_LISTS = ("gen_ai.input.messages", "gen_ai.output.messages", "ai.prompt.messages", "pydantic_ai.all_messages")
_AGENTS = {"invoke_agent", "invoke_workflow", "agent"}
_NO_CALLS = {
    "execute_tool", "create_agent", "retrieval", "rerank", "plan", "moderation", "image_generation", "chain", "tool",
    "retriever", "prompt", "parser",
}  # fmt: skip


_NOTHING: tuple[object, ...] = (None, "", [], {}, "{}", "[]", "null")  # that was answered
# Bodies of request and response, as Google's ADK and Logfire keep them.
_BODIES = ("gcp.vertex.agent.llm_request", "request_data"), ("gcp.vertex.agent.llm_response", "response_data")


def read_span(span: Span) -> Call | None:
    """The call that a span tells of; None for any other span (HTTP, tools, chains, retrievers).

    Raises:
        TypeError: its messages were cut.
    """
    if any(_is_cut(span.attributes.get(name)) for name in _LISTS):
        raise TypeError  # no answer is judged by what is left of it
    if span.event_name:
        return _read_log(span)
    call = _read_whole(span)
    if call is not None and call.response in _NOTHING and any(name == "exception" for name, _ in span.events):
        call.failed = True
    return call


def _is_cut(value: object) -> bool:
    """True for a list as JSON that lacks its end: exporters and backends cut long attributes."""
    return isinstance(value, str) and value[:1] == "[" and not value.rstrip().endswith("]")


def _read_whole(span: Span) -> Call | None:
    attributes = span.attributes
    if "ai.operationId" in attributes:
        call = _read_vercel(span)
    elif "openinference.span.kind" in attributes or "llm.model_name" in attributes:
        call = _read_openinference(span)
    elif any(key.startswith("langfuse.observation.") for key in attributes):
        call = _read_langfuse(span)
    elif "mlflow.spanType" in attributes:
        call = _read_mlflow(span)
    elif span.record.get("name") == "raw_gen_ai_request":
        return _read_raw_litellm(span)
    else:
        return _read_gen_ai(span)
    if call is not None and not call.prompt and not call.response and _has_gen_ai(attributes):
        other = _read_gen_ai(span)
        if other is not None:
            call.absorb(other)
    return call


def _has_gen_ai(attributes: Mapping[str, Any]) -> bool:
    return any(key.startswith("gen_ai.") for key in attributes)


def _common(span: Span) -> Call:
    """A call with what most writers of spans name alike."""
    call, attributes = span.call(), span.attributes
    call.response_id = filled(attributes, ("gen_ai.response.id", "ai.response.id", "llm.response.id"))
    call.model_name = filled(attributes, ("gen_ai.response.model", "gen_ai.request.model"))
    call.prompt_tokens, call.response_tokens = first(attributes, _INPUT_TOKENS), first(attributes, _OUTPUT_TOKENS)
    call.session_id, call.cost_usd = filled(attributes, _SESSION), first(attributes, _COST)
    call.stopped = told_json(first(attributes, _STOPPED))
    call.context = parsed(first(attributes, ("gen_ai.retrieval.documents", "context")))
    call.reference = attributes.get("reference")
    return call


# --- OpenTelemetry ----------------------------------------------------------------------------------------------------


def _read_gen_ai(span: Span) -> Call | None:
    texts = texts_of_events([*span.events, *events_attribute(span.attributes)])
    attributes = span.attributes = {**texts.pop("attributes"), **span.attributes}
    if not _has_gen_ai(attributes) and "llm.request.type" not in attributes and not any(texts.values()):
        return None
    system = parsed(first(attributes, ("gen_ai.system_instructions", "gen_ai.system.instructions")))
    prompt = filled(attributes, _PROMPTS)
    prompt = prompt or numbered(attributes, "gen_ai.input.messages") or numbered(attributes, "gen_ai.prompt")
    if isinstance(prompt, list) and all(isinstance(one, dict) and one.keys() == {"user"} for one in prompt):
        prompt = [one["user"] for one in prompt]  # OpenLLMetry's of Anthropic's completions
    response = of_openrouter(filled(attributes, _RESPONSES))
    response = response or numbered(attributes, "gen_ai.output.messages") or numbered(attributes, "gen_ai.completion")
    prompt, response = prompt or texts["prompt"], response or texts["response"]
    if not prompt and not response:
        prompt, response = (parsed(first(attributes, names)) for names in _BODIES)
        asked = prompt.get("config") if isinstance(prompt, dict) else None
        system = system or (asked.get("system_instruction") if isinstance(asked, dict) else None)
    told = parsed(attributes.get("pydantic_ai.all_messages"))
    if isinstance(told, list) and not prompt:
        prompt, response = of_conversation(told, attributes.get("final_result"))
    elif prompt and not response and "all_messages_events" in attributes:
        prompt, response = of_conversation(prompt, attributes.get("final_result"))
    if parsed(response) == {"output": None}:  # LangSmith's of a call without an answer
        response = None
    kind = _kind_of(attributes, is_told=bool(prompt or response))
    if kind is None or (kind is Kind.AGENT and not (prompt and response) and not span.call().failed):
        return None
    call = _common(span)
    call.kind, call.system, call.prompt, call.response = kind, system, prompt, response
    return call


def _kind_of(attributes: Mapping[str, Any], *, is_told: bool) -> Kind | None:
    """What a span of OpenTelemetry's conventions asked of a model; None where it asked nothing."""
    operation = attributes.get("gen_ai.operation.name") or attributes.get("llm.request.type") or ""
    if not isinstance(operation, str):
        raise TypeError
    if "embed" in operation:
        return Kind.EMBEDDING
    if operation in _AGENTS or (not operation and "event_loop.cycle_id" in attributes):  # Strands' cycles
        return Kind.AGENT
    if operation in _NO_CALLS:
        return None
    is_call = bool(filled(attributes, ("gen_ai.request.model", "gen_ai.response.model", "gen_ai.response.id")))
    if operation or is_told or (is_call and not attributes.get("gen_ai.tool.name")):
        return Kind.ANSWER if is_told or is_call else None
    return None


def _read_log(span: Span) -> Call | None:
    """The call, or a piece of it, that a log record tells of."""
    name, body = span.event_name, span.body
    if name in DETAILS or name == "gen_ai.client.inference.operation":
        if isinstance(body, dict):
            span.attributes = {**_told_in(body), **span.attributes}
        return _read_gen_ai(span)
    if isinstance(body, dict) and body.keys() & {"input", "output"} and body.keys() <= {"input", "output"}:
        return _read_taken_out(span, body)
    messages: list[Any] = []
    choices: list[Any] = []
    held = body if body not in (None, {}, "") else span.attributes
    add_message(name, held, messages, choices)
    if not messages and not choices:
        return None
    call = _common(span)
    call.ended = call.started
    call.is_piece, call.prompt, call.response = True, messages, choices
    return call


def _read_taken_out(span: Span, body: Mapping[str, Any]) -> Call | None:
    """The call whose texts were taken out of its span. The agent around it tells of the same answer in the same way."""
    prompt, response = (_messages_taken_out(body.get(key)) for key in ("input", "output"))
    if prompt and all(message.get("role") == "tool" for message in prompt):
        return None  # of a tool that was run
    call = _common(span)
    call.kind, call.prompt, call.response = Kind.AGENT, prompt, response
    call.stopped = [message["finish_reason"] for message in response if message.get("finish_reason")]
    return call


def _messages_taken_out(held: object) -> list[dict[str, Any]]:
    messages = []
    for message in listed(held.get("messages") if isinstance(held, dict) else None):
        content = message.get("content")
        inner = content if isinstance(content, dict) else {"content": content}
        told = first(inner, ("content", "message"))
        messages.append({**message, "content": told, "finish_reason": inner.get("finish_reason")})
    return messages


def _told_in(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a body tells under the names of attributes."""
    return {key: value for key, value in body.items() if key.startswith("gen_ai.")}


# --- OpenInference ----------------------------------------------------------------------------------------------------


def _read_openinference(span: Span) -> Call | None:
    attributes = span.attributes
    kind = str(attributes.get("openinference.span.kind") or "LLM").upper()
    if kind not in {"LLM", "EMBEDDING"}:
        return None
    call = _common(span)
    call.kind = Kind.EMBEDDING if kind == "EMBEDDING" else Kind.ANSWER
    models = ("llm.model_name", "embedding.model_name", "llm.response.model_name", "llm.request.model_name")
    call.model_name = call.model_name or filled(attributes, models)
    asked = parsed(attributes.get("llm.invocation_parameters"))
    if not call.model_name and isinstance(asked, dict):  # all that a failed call of OpenAI's tells
        call.model_name = asked.get("model")
    call.prompt_tokens = first(attributes, ("llm.token_count.prompt", *_INPUT_TOKENS))
    call.response_tokens = first(attributes, ("llm.token_count.completion", *_OUTPUT_TOKENS))
    call.stopped = call.stopped or attributes.get("llm.finish_reason")
    told = parsed(attributes.get("output.value"))
    call.prompt = _inner(numbered(attributes, "llm.input_messages")) or attributes.get("input.value")
    call.prompt = call.prompt or _inner(numbered(attributes, "llm.prompts"))
    response = _inner(numbered(attributes, "llm.output_messages"))
    call.response = response
    if not _says(response):
        call.response = attributes.get("output.value") or _inner(numbered(attributes, "llm.choices")) or response
    if isinstance(told, dict):
        call.response_id = call.response_id or told.get("id")
        if '"type":"refusal"' in str(attributes["output.value"]).replace(" ", ""):
            call.stopped = "refusal"
    documents = numbered(attributes, "retrieval.documents") or numbered(attributes, "llm.retrieval.documents")
    call.context = call.context or documents or None
    return call


def _says(messages: list[Any]) -> bool:
    return any(
        isinstance(message, dict) and filled(message, ("content", "contents", "tool_calls", "function_call"))
        for message in messages
    )


_AROUND_A_MESSAGE = ("message", "prompt", "completion")


def _inner(messages: list[Any]) -> list[Any]:
    """Messages without the `message`, `message_content` and `tool_call` around each of their parts."""
    inner = []
    for held in messages:
        message = (
            next((held[key] for key in _AROUND_A_MESSAGE if key in held), held) if isinstance(held, dict) else held
        )
        if isinstance(message, dict) and isinstance(message.get("contents"), list):
            parts = [_inner_part(part) for part in message["contents"] if isinstance(part, dict)]
            message = {**message, "content": parts, "contents": None}
        if isinstance(message, dict) and message.get("function_call_name"):
            named = {"name": message["function_call_name"], "arguments": message.get("function_call_arguments_json")}
            message = {**message, "function_call": named}
        inner.append(message)
    return inner


def _inner_part(part: Mapping[str, Any]) -> Any:
    if isinstance(part.get("tool_call"), dict):
        return {"type": "tool_call", "function": part["tool_call"].get("function")}
    return part.get("message_content", part)


# --- Vercel AI SDK ----------------------------------------------------------------------------------------------------


def _read_vercel(span: Span) -> Call | None:
    attributes = span.attributes
    operation = str(attributes["ai.operationId"])
    if "embed" in operation:
        kind = Kind.EMBEDDING
    elif operation.startswith(("ai.generate", "ai.stream")) and not operation.endswith(("Image", "Speech", "Video")):
        kind = Kind.ANSWER
    else:
        return None  # ai.toolCall
    call = _common(span)
    call.kind = kind
    call.model_name = call.model_name or filled(attributes, ("ai.response.model", "ai.model.id"))
    call.prompt_tokens = first(attributes, ("ai.usage.inputTokens", "ai.usage.promptTokens", *_INPUT_TOKENS))
    call.response_tokens = first(attributes, ("ai.usage.outputTokens", "ai.usage.completionTokens", *_OUTPUT_TOKENS))
    call.stopped = call.stopped or first(attributes, ("ai.response.finishReason", "ai.finishReason"))
    call.prompt = parsed(filled(attributes, ("ai.prompt.messages", "ai.prompt")))
    text = filled(attributes, ("ai.response.text", "ai.result.text", "ai.response.object", "ai.result.object"))
    calls = parsed(filled(attributes, ("ai.response.toolCalls", "ai.result.toolCalls")))
    if text or calls:
        call.response = {"role": "assistant", "content": text, "tool_calls": calls}
    call.prompt = call.prompt or filled(attributes, _PROMPTS)  # all that its versions from 7 on write
    call.response = call.response or filled(attributes, _RESPONSES)
    return call


# --- Langfuse's SDK ---------------------------------------------------------------------------------------------------


def _read_langfuse(span: Span) -> Call | None:
    attributes = span.attributes
    kind = str(attributes.get("langfuse.observation.type") or "").lower()
    if kind not in {"generation", "embedding"}:
        is_model = "langfuse.observation.model.name" in attributes or "gen_ai.request.model" in attributes
        if kind not in {"", "span"} or not is_model:
            return None
    call = _common(span)
    call.kind = Kind.EMBEDDING if kind == "embedding" else Kind.ANSWER
    call.model_name = filled(attributes, ("langfuse.observation.model.name", "model")) or call.model_name
    call.prompt = attributes.get("langfuse.observation.input")
    call.response = attributes.get("langfuse.observation.output")
    usage, cost = (parsed(attributes.get(f"langfuse.observation.{name}_details")) or {} for name in ("usage", "cost"))
    call.prompt_tokens = first(usage, ("input", "prompt_tokens", "input_tokens")) or call.prompt_tokens
    call.response_tokens = first(usage, ("output", "completion_tokens", "output_tokens")) or call.response_tokens
    call.cost_usd = cost.get("total") if "total" in cost else call.cost_usd
    call.failed = call.failed or str(attributes.get("langfuse.observation.level")).upper() == "ERROR"
    return call


# --- MLflow -----------------------------------------------------------------------------------------------------------


def _read_mlflow(span: Span) -> Call | None:
    attributes = {key: told_json(value) for key, value in span.attributes.items()}
    kind = str(attributes["mlflow.spanType"])
    if kind not in {"LLM", "CHAT_MODEL", "EMBEDDING"}:
        return None
    call = _common(span)
    call.kind = Kind.EMBEDDING if kind == "EMBEDDING" else Kind.ANSWER
    call.prompt = first(attributes, ("mlflow.spanInputs", "mlflow.span.inputs"))
    call.response = first(attributes, ("mlflow.spanOutputs", "mlflow.span.outputs"))
    usage = first(attributes, ("mlflow.chat.tokenUsage",)) or {}
    call.prompt_tokens, call.response_tokens = usage.get("input_tokens"), usage.get("output_tokens")
    asked = call.prompt if isinstance(call.prompt, dict) else {}
    told = call.response if isinstance(call.response, dict) else {}
    call.model_name = first(attributes, ("mlflow.llm.model", "model")) or told.get("model") or asked.get("model")
    call.response_id = told.get("id")
    cost = attributes.get("mlflow.llm.cost")
    call.cost_usd = cost.get("total_cost") if isinstance(cost, dict) else cost
    return call


# --- LiteLLM ----------------------------------------------------------------------------------------------------------


def _read_raw_litellm(span: Span) -> Call | None:
    """What the API answered within a call of LiteLLM, whose own span leaves refusals and calls of tools out.

    The values are written as Python shows them: `llm.openai.choices`, `llm.openai.messages`, `llm.None.output`.
    """
    told = {key.rpartition(".")[2]: value for key, value in span.attributes.items() if key.startswith("llm.")}
    response = {key: _shown(told[key]) for key in ("choices", "output", "content") if key in told}
    if not response or "id" not in told:
        return None
    call = _common(span)
    call.response_id, call.model_name = told["id"], told.get("model")
    call.system = _shown(first(told, ("system", "instructions")))
    call.prompt = _shown(first(told, ("messages", "input")))
    call.response = response
    return call


def _shown(value: Any) -> Any:
    """A list or an object that was written as Python shows it."""
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return value
    return value or None
