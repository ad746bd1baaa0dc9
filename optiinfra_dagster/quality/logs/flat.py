"""Flat records of a log, which name the fields of a call themselves, in any of the spellings below.

So do the rows of Ragas (`user_input`, `retrieved_contexts`) and DeepEval (`actual_output`, `retrieval_context`), the
answers of OpenAI, Anthropic and Google that an application wrote beside what it asked, and what applications make up.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from optiinfra_dagster.quality.logs.calls import Call, Kind
from optiinfra_dagster.quality.logs.fields import count_of, filled, first, milliseconds_of, parsed
from optiinfra_dagster.quality.logs.messages import reply_of
from optiinfra_dagster.quality.logs.streams import assembled

# Spellings; the first that is there counts.
TIME = (
    "timestamp", "time", "ts", "created_at", "@timestamp", "datetime", "created", "start_time", "startTime",
    "createdAt", "request_created_at", "started_at", "startedAt", "request_time", "date", "logged_at", "event_time",
    "createTime", "create_time", "inserted_at", "Timestamp", "logging_time", "start_timestamp", "time_iso8601",
    "processed_time", "requested_at", "received_at", "requestTime", "eventTime", "event_timestamp", "occurred_at",
    "log_time", "TimeGenerated", "_time", "_ts", "asctime", "@t",
)  # fmt: skip
END = (
    "end_time",
    "endTime",
    "ended_at",
    "endedAt",
    "completed_at",
    "finished_at",
    "response_created_at",
    "end_timestamp",
)
ID = ("interaction_id", "id", "request_id", "requestId", "message_id", "event_id", "uuid", "run_id", "log_id", "_id")
APPLICATION = (
    "application_id", "app_id", "application", "app", "service", "service_name", "service.name", "project_name",
    "serviceName", "project",
)  # fmt: skip
APPLICATION_NAME = ("application_name", "app_name")
MODEL = (
    "model",
    "model_name",
    "model_id",
    "modelId",
    "llm",
    "llm_model",
    "modelName",
    "modelVersion",
    "model_version",
    "deployment_name",
    "deployment",
    "engine",
)
PROVIDER = ("provider", "cloud_provider", "cloud.provider", "cloud")
PROMPT = (
    "prompt", "input", "question", "query", "request", "messages", "contents", "user_input", "prompt_text", "inputs",
    "prompt_messages", "input_messages", "request_body", "requestBody", "user_message", "instruction", "input_text",
    "prompts", "user_prompt", "user_query", "user_question", "prompt_content", "query_text", "question_text",
    "modelInput",
)  # fmt: skip
RESPONSE = (
    "response", "output", "completion", "answer", "choices", "candidates", "model_output", "response_text",
    "actual_output", "outputs", "content", "generations", "generated_text", "completion_message", "output_messages",
    "response_body", "responseBody", "output_text", "assistant_message", "reply", "generation", "model_response",
    "assistant_response", "ai_response", "bot_response", "llm_response", "final_answer", "response_content",
    "answer_text", "bot_message", "ai_message", "responses", "completions",
    "modelOutput",
)  # fmt: skip
CONTEXT = (
    "context", "contexts", "retrieved_context", "documents", "sources", "knowledge", "retrieved_contexts",
    "retrieval_context", "retrieved_documents", "retrieved_docs", "source_documents", "chunks",
)  # fmt: skip
REFERENCE = (
    "reference", "reference_answer", "expected", "expected_output", "ground_truth", "reference_output", "ground_truths",
    "ideal", "target",
)  # fmt: skip
PROMPT_TOKENS = (
    "prompt_tokens", "input_tokens", "promptTokens", "inputTokens", "promptTokenCount", "inputTokenCount", "tokens_in",
    "input_token_count", "prompt_token_count", "prompt_eval_count", "tokens_evaluated", "total_input_tokens",
)  # fmt: skip
RESPONSE_TOKENS = (
    "response_tokens", "completion_tokens", "output_tokens", "completionTokens", "outputTokens", "candidatesTokenCount",
    "outputTokenCount", "tokens_out", "output_token_count", "completion_token_count", "eval_count",
    "candidates_token_count", "tokens_predicted", "total_output_tokens", "generation_token_count", "generated_tokens",
)  # fmt: skip
SESSION = (
    "session_id", "sessionId", "conversation_id", "conversationId", "thread_id", "threadId", "chat_id", "session",
)  # fmt: skip
TRACE = ("trace_id", "traceId", "trace")
COST = ("cost_usd", "cost", "response_cost", "total_cost", "totalCost", "usd_cost", "price_usd", "calculatedTotalCost")
LATENCY_MS = ("latency_ms", "latencyMs", "duration_ms", "durationMs", "delay_ms", "response_time_ms", "elapsed_ms")
_LATENCY_NS = ("total_duration",)  # Ollama's
_LATENCY_S = ("latency_s", "duration_s", "latency_seconds", "duration_seconds", "elapsed_s")
_STATUS = ("status_code", "statusCode", "response_status", "http_status", "status")
USAGE = (
    "usage", "usageMetadata", "token_usage", "tokenUsage", "usage_details", "usage_metadata", "metrics", "tokens",
)  # fmt: skip
PROMPT_USAGE, RESPONSE_USAGE = (*PROMPT_TOKENS, "prompt", "input"), (*RESPONSE_TOKENS, "completion", "output")
_IN_A_BODY = (
    "system", "instructions", "systemInstruction", "system_instruction", "preamble", "system_prompt", "system_message",
    "systemPrompt", "systemMessage", "system_instructions",
)  # fmt: skip
_HISTORY = ("chat_history", "history", "conversation_history", "previous_messages", "chatHistory")
_FOUND = ("documents", "chunks", "passages", "results", "sources", "nodes")  # within an object that is the context
_BESIDE = ("metadata", "meta", "extra", "attributes", "additional_metadata")  # where the rest may stand


def is_call(record: Mapping[str, Any]) -> bool:
    """True for a record that names a prompt and an answer as flat ones do."""
    return filled(record, PROMPT) is not None and filled(record, RESPONSE) is not None


def in_our_spelling(record: Mapping[str, Any]) -> Mapping[str, Any]:
    """A record with `Prompt`, `UserInput` as `prompt`, `user_input`, where it is a call by these names only."""
    if is_call(record):
        return record
    spelled = {_WORD.sub("_", key).lower(): value for key, value in record.items()}
    return spelled if is_call(spelled) else record


_WORD = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


def read_flat(record: Mapping[str, Any]) -> Iterator[Call]:
    """The call that a flat record tells of."""
    call = Call(
        started=filled(record, TIME),
        ended=filled(record, END),
        took_ms=first(record, LATENCY_MS),
        interaction_id=filled(record, ID),
        application_name=filled(record, APPLICATION_NAME),
        model_name=filled(record, MODEL),
        provider=filled(record, PROVIDER),
        system=filled(record, _IN_A_BODY),
        context=_documents(filled(record, CONTEXT)),
        reference=filled(record, REFERENCE),
        session_id=filled(record, SESSION),
        cost_usd=first(record, COST),
        stopped=first(record, ("finish_reason", "stop_reason", "finishReason", "stopReason")),
    )
    call.application_id = named = filled(record, APPLICATION)
    if isinstance(named, dict):
        call.application_id, call.application_name = named.get("id"), call.application_name or named.get("name")
    trace = filled(record, TRACE)
    call.trace_id = trace if isinstance(trace, str) else ""
    call.prompt, call.response = _texts(record)
    call.failed = has_failed(record)
    if call.took_ms is None:
        call.took_ms = milliseconds_of(first(record, _LATENCY_S), 1000)
    _fill_from_bodies(call, record)
    for key in _BESIDE:
        held = parsed(record.get(key))
        if isinstance(held, dict):
            _fill_from_beside(call, held)
    kind = record.get("object") or record.get("call_type") or record.get("type")
    if isinstance(kind, str) and "embed" in kind.lower():
        call.kind = Kind.EMBEDDING
    yield call


def _documents(context: Any) -> Any:
    """A context as the list that it holds, or that was written as JSON; anything else as it is."""
    if isinstance(context, dict):
        held = filled(context, _FOUND)
        return held if isinstance(held, list) else context
    held = parsed(context)
    return held if isinstance(held, list) and all(isinstance(one, str) for one in held) else context


def _texts(record: Mapping[str, Any]) -> tuple[Any, Any]:
    """Prompt and response, which stands at the end of a conversation, perhaps besides."""
    prompt, response = filled(record, PROMPT), filled(record, RESPONSE)
    if response is not None:
        response = _first_choice(record, response)
        prompt = _with_history(record, _without_answer(prompt, response))
    if isinstance(prompt, dict) and not filled(prompt, PROMPT) and "messages" in record:
        prompt = record["messages"]
    if response is None:
        told = parsed(prompt)
        if isinstance(told, dict) and isinstance(told.get("messages"), list):
            told = told["messages"]
        if isinstance(told, list) and len(told) > 1:
            *before, last = told
            if isinstance(last, dict) and first(last, ("role", "type")) in {"assistant", "model", "ai"}:
                return before, last
        if record.get("refusal"):
            response = {"refusal": record["refusal"]}
        elif isinstance(record.get("message"), dict):  # Ollama's answer
            response = record["message"]
    return prompt, response


def _first_choice(record: Mapping[str, Any], response: Any) -> Any:
    """A response with what the record says besides where it is the body of an answer; of several texts the first."""
    if not isinstance(response, list):
        return response
    if any(response is record.get(key) for key in ("responses", "completions")):
        return response[0]
    if any(response is record.get(key) for key in ("output", "content", "choices")):
        return {**{key: record[key] for key in ("stop_reason",) if key in record}, "output": response}
    return response


def _without_answer(prompt: Any, response: Any) -> Any:
    """A conversation without its end, where that is the response."""
    told = parsed(prompt)
    if not isinstance(told, list) or len(told) < 2 or not isinstance(told[-1], dict):
        return prompt
    if first(told[-1], ("role", "type")) not in _SPEAKS:
        return prompt
    last, answer = reply_of(told[-1]), reply_of(response)
    is_answer = bool(last.text.strip()) and last.text.strip() == answer.text.strip()
    return told[:-1] if is_answer else prompt


_SPEAKS = ("assistant", "model", "ai", "AIMessage")


def _with_history(record: Mapping[str, Any], prompt: Any) -> Any:
    """A prompt that is a text with the turns before it, which stand besides as messages, or as pairs of both sides."""
    history = parsed(filled(record, _HISTORY)) if isinstance(prompt, str) else None
    if not isinstance(history, list):
        return prompt
    turns: list[Any] = []
    for turn in history:
        if isinstance(turn, list) and len(turn) == 2 and all(isinstance(text, str) for text in turn):
            turns += [{"role": "user", "content": turn[0]}, {"role": "assistant", "content": turn[1]}]
        elif isinstance(turn, dict) and isinstance(first(turn, ("role", "type")), str):
            turns.append(turn)
        else:
            return prompt  # of something else
    return [*turns, {"role": "user", "content": prompt}] if turns else prompt


def _fill_from_bodies(call: Call, record: Mapping[str, Any]) -> None:
    """What the bodies of request and response say, where the record itself does not."""
    asked, told = body_of(call.prompt), body_of(assembled(parsed(call.response)))
    beside = beside_answer(told)
    _count_tokens(call, record, told, beside)
    if call.context is None:
        call.context = asked.get("documents") or grounds_of(told)  # Cohere's, Google's
    if call.took_ms is None and (nanos := first(record, _LATENCY_NS) or first(told, _LATENCY_NS)) is not None:
        call.took_ms = milliseconds_of(nanos, 1e-6)
    cost = body_of(told.get("usage")).get("cost")  # OpenRouter's; Perplexity's is an object
    call.cost_usd = body_of(cost).get("total_cost", cost) if call.cost_usd is None else call.cost_usd
    is_error = told.get("status") == "failed" or isinstance(told.get("error"), dict)
    call.failed = call.failed or (is_error and not filled(told, RESPONSE))
    named = filled(told, MODEL) or filled(beside, MODEL)  # the release that answered
    call.model_name = named if named is not None else call.model_name
    call.model_name = filled(asked, MODEL) if call.model_name is None else call.model_name
    if call.started is None:
        call.started = filled(told, ("created", "created_at", "createTime"))
    if call.interaction_id is None:
        call.interaction_id = filled(told, ("id", "responseId"))
    elif not is_cached(record):
        call.response_id = filled(told, ("id", "responseId"))
    ended = told.get("incomplete_details") or record.get("incomplete_details")
    if call.stopped is None and isinstance(ended, dict):  # of OpenAI's Responses
        call.stopped = ended.get("reason")


def beside_answer(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """What stands beside the text of an answer: LangChain's, Cohere's, LlamaIndex's, that of frameworks for Java."""
    held = next((body for key in ("llm_output", "meta", "raw", "metadata") if (body := body_of(answer.get(key)))), {})
    generations = answer.get("generations")
    while isinstance(generations, list) and generations:
        generations = generations[0]
    messages = answer.get("messages")
    last = messages[-1] if isinstance(messages, list) and messages else body_of(generations).get("message")
    message = body_of(last)
    message = body_of(message.get("kwargs")) or message or answer
    return {**body_of(message.get("response_metadata")), **_usage_of_langchain(message), **held}


def _usage_of_langchain(message: Mapping[str, Any]) -> Mapping[str, Any]:
    return {key: message[key] for key in ("usage_metadata",) if message.get(key)}


def _count_tokens(call: Call, record: Mapping[str, Any], told: Mapping[str, Any], beside: Mapping[str, Any]) -> None:
    """The tokens as the record tells them, else its usage or that of the answer, else the answer itself."""
    usages = [body for held in (record, told, beside) for key in USAGE if (body := body_of(held.get(key)))]
    for held, asked, answered in (
        (record, PROMPT_TOKENS, RESPONSE_TOKENS),
        *(({**body_of(usage.get("tokens")), **usage}, PROMPT_USAGE, RESPONSE_USAGE) for usage in usages),
        (told, PROMPT_TOKENS, RESPONSE_TOKENS),
    ):
        call.prompt_tokens = prompt_tokens_in(held, asked) if call.prompt_tokens is None else call.prompt_tokens
        if call.response_tokens is None:
            call.response_tokens = response_tokens_in(held, answered)


def prompt_tokens_in(usage: Mapping[str, Any], names: tuple[str, ...] = PROMPT_TOKENS) -> Any:
    """The tokens of a prompt, with those that were read from a cache or kept in one: some makers tell these apart.

    None where these alone are told: how many the others are is not known.
    """
    named = _first_told(usage, names)
    return _with_others(usage, named, _TOLD_APART_OF_PROMPTS.get(named, ()))


def response_tokens_in(usage: Mapping[str, Any], names: tuple[str, ...] = RESPONSE_TOKENS) -> Any:
    """The tokens of an answer, with those of the thoughts before it, which are paid for as its own.

    An answer that was cut within its thoughts has no others.
    """
    named = _first_told(usage, names)
    others = _TOLD_APART_OF_RESPONSES.get(named, ()) if named else _THOUGHTS
    return _with_others(usage, named, others)


# Under the name of the others: https://docs.claude.com/en/docs/build-with-claude/prompt-caching#tracking-cache-performance,
# https://docs.aws.amazon.com/bedrock/latest/userguide/prompt-caching.html, https://ai.google.dev/gemini-api/docs/thinking.
_TOLD_APART_OF_PROMPTS = {
    "input_tokens": ("cache_read_input_tokens", "cache_creation_input_tokens"),
    "inputTokens": ("cacheReadInputTokens", "cacheWriteInputTokens"),
    "inputTokenCount": ("cacheReadInputTokenCount", "cacheWriteInputTokenCount"),
}
_THOUGHTS = ("thoughtsTokenCount", "thoughts_token_count")
_TOLD_APART_OF_RESPONSES = {"candidatesTokenCount": _THOUGHTS[:1], "candidates_token_count": _THOUGHTS[1:]}


def _first_told(usage: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if usage.get(name) is not None), "")


def _with_others(usage: Mapping[str, Any], named: str, names_of_others: tuple[str, ...]) -> Any:
    told = usage.get(named)
    others = [count for name in names_of_others if (count := count_of(usage.get(name)))]
    counted = count_of(told)
    return sum(others) + (counted or 0) if others and (counted is not None or told is None) else told


def grounds_of(answer: Mapping[str, Any]) -> list[Any] | None:
    """What Google's models retrieved for an answer."""
    candidates = answer.get("candidates")
    first_one = candidates[0] if isinstance(candidates, list) and candidates else None
    chunks = body_of(body_of(first_one).get("groundingMetadata")).get("groundingChunks")
    found = [body_of(body_of(chunk).get("retrievedContext")).get("text") for chunk in chunks or ()]
    return [text for text in found if text] or None


def is_cached(record: Mapping[str, Any]) -> bool:
    """True for an answer from a gateway's cache: a call of its own, with the API's id of the answer that was kept."""
    return any(str(record[key]).lower() in {"true", "hit"} for key in _CACHED & record.keys())


_CACHED = {"cache_hit", "cached", "cacheHit", "Cached", "cache_status"}


def body_of(value: Any) -> Mapping[str, Any]:
    """The body of a request or response as an object; an empty one for texts and messages."""
    value = parsed(value)
    return value if isinstance(value, dict) else {}


def _fill_from_beside(call: Call, held: Mapping[str, Any]) -> None:
    call.started = call.started if call.started is not None else filled(held, TIME)
    call.ended = call.ended if call.ended is not None else filled(held, END)
    call.session_id = call.session_id or filled(held, SESSION)
    call.model_name = call.model_name or filled(held, MODEL)
    call.application_id = call.application_id or filled(held, APPLICATION)
    call.interaction_id = call.interaction_id or filled(held, ID[2:])
    call.provider = call.provider or filled(held, PROVIDER[1:])
    call.trace_id = call.trace_id or str(filled(held, TRACE) or "")


def has_failed(record: Mapping[str, Any]) -> bool:
    """True for a record that tells of an error."""
    status = first(record, _STATUS)
    if isinstance(status, str):
        if status.lower() in {"failure", "failed", "error", "errored"}:
            return True
        status = int(status) if status.isdecimal() and len(status) == 3 else None
    if isinstance(status, int) and not isinstance(status, bool) and 400 <= status < 600:
        return True
    error = filled(record, ("error", "error_message", "errorCode", "exception", "error_str"))
    has_error = bool(error) or record.get("success") is False or record.get("is_success") is False
    has_error = has_error or record.get("is_error") is True
    return has_error and filled(record, RESPONSE) is None
