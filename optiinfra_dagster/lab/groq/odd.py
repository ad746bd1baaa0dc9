"""Odd answers and refusals of chat completions, by name: what servers and models have been seen to send.

https://console.groq.com/docs/errors, https://platform.openai.com/docs/guides/error-codes
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Completion = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """An HTTP error: its status, the short code and message of its body, and headers."""

    status: int
    code: str
    message: str = "x"
    headers: Mapping[str, str] = field(default_factory=dict)


REFUSALS: Mapping[str, Refusal] = {
    "json_validate_failed": Refusal(400, "json_validate_failed", "Failed to generate JSON."),
    "no_json_schema": Refusal(400, "", "This model does not support response format `json_schema`."),
    "unknown_400": Refusal(400, "invalid_request_error", "Something is wrong."),
    "too_large_tpm": Refusal(413, "rate_limit_exceeded", "Request too large for model on tokens per minute (TPM)"),
    "too_large_body": Refusal(413, "request_too_large"),
    "context_length": Refusal(400, "context_length_exceeded", "Please reduce the length of the messages."),
    "context_length_vllm": Refusal(400, "", "This model's maximum context length is 8192 tokens."),
    "content_filter_400": Refusal(400, "content_filter", "The prompt triggered the content management policy."),
    "content_flagged_403": Refusal(403, "", "The model requires moderation. Your input was flagged for violence."),
    "prompt_flagged_400": Refusal(400, "invalid_prompt", "Your prompt was flagged as violating our usage policy."),
    "context_length_gemini": Refusal(400, "", "The input token count (9) exceeds the maximum number of tokens."),
    "context_length_500": Refusal(500, "server_error", "Context size has been exceeded."),
    "no_parameters_404": Refusal(404, "", "No endpoints found that support the requested parameters."),
    "proxy_budget": Refusal(400, "budget_exceeded", "Budget has been exceeded! Current cost: 1.0, Max budget: 0.5"),
    "privacy_404": Refusal(404, "", "No endpoints found matching your data policy."),
    "flex_498": Refusal(498, "capacity_exceeded", "Flex tier capacity exceeded"),
    "tokens_per_minute": Refusal(429, "rate_limit_exceeded", "tokens per minute (TPM)", {"retry-after": "0.01"}),
    "tokens_per_day": Refusal(429, "rate_limit_exceeded", "tokens per day (TPD)", {"retry-after": "30000"}),
    "tokens_per_day_told": Refusal(429, "rate_limit_exceeded", "tokens per day (TPD). Please try again in 7h12m1.5s."),
    "requests_per_day": Refusal(429, "rate_limit_exceeded", "Rate limit reached on requests per day (RPD)"),
    "retry_at_date": Refusal(429, "rate_limit_exceeded", "x", {"retry-after": "Fri, 31 Dec 2100 23:59:59 GMT"}),
    "error_500": Refusal(500, "internal_server_error"),
    "overloaded_503": Refusal(503, "service_unavailable", "x", {"retry-after": "0.01"}),
    "wrong_key": Refusal(401, "invalid_api_key", "Invalid API Key"),
    "model_forbidden": Refusal(403, "permissions_error", "The model is blocked at the organization level"),
    "organization_restricted": Refusal(400, "organization_restricted", "Organization has been restricted."),
    "blocked_api_access": Refusal(400, "blocked_api_access", "The API is restricted by your organization"),
    "spend_limit": Refusal(400, "blocked_api_access", "Spend limit reached"),
    "no_credit": Refusal(429, "insufficient_quota", "You exceeded your current quota"),
    "model_decommissioned": Refusal(400, "model_decommissioned", "The model has been decommissioned"),
    "model_not_found": Refusal(404, "model_not_found", "The model `x` does not exist"),
    "wrong_url": Refusal(404, "unknown_url", "Unknown request URL"),
    "redirection": Refusal(307, "moved", "x", {"location": "https://elsewhere.example/v1"}),
}


def _with_content(change: Callable[[str], Any], **choice: Any) -> Callable[[Completion], Completion]:
    def spoil(completion: Completion) -> Completion:
        (first,) = completion["choices"]
        message = {**first["message"], "content": change(first["message"]["content"])}
        return {**completion, "choices": [{**first, "message": message, **choice}]}

    return spoil


def _with_message(change: Callable[[str], dict[str, Any]]) -> Callable[[Completion], Completion]:
    """Another message, made of the content."""

    def spoil(completion: Completion) -> Completion:
        (first,) = completion["choices"]
        message = {"role": "assistant", "content": None, **change(first["message"]["content"])}
        return {**completion, "choices": [{**first, "message": message}]}

    return spoil


def _with(**changes: Any) -> Callable[[Completion], Completion]:
    return lambda completion: {**completion, **changes}


def _in_answer(change: Callable[[dict[str, Any]], object]) -> Callable[[Completion], Completion]:
    """A change of the answer within the content."""

    def rewrite(content: str) -> str:
        found = json.loads(content)
        change(found)
        return json.dumps(found)

    return _with_content(rewrite)


def _call(arguments: str | dict[str, Any], name: str = "verdict") -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def _twice(content: str) -> str:
    return f'{content[:-1]}, "toxicity": {{"evidence": "e", "category": "hate", "severity": 3}}}}'


THOUGHTS = 405
"""Tokens of thoughts that a usage tells in its total alone."""

ANSWERS: Mapping[str, Callable[[Completion], Completion | bytes]] = {
    "think_block": _with_content(lambda content: f"<think>Let me see. {{}}</think>\n{content}"),
    "think_block_without_begin": _with_content(lambda content: f"Let me see. {{}}\n</think>\n\n{content}"),
    "thought_block": _with_content(lambda content: f"<thought>Let me see.</thought>{content}"),
    "think_in_brackets": _with_content(lambda content: f"[THINK]Let me see.[/THINK]{content}"),
    "open_think_block": _with_content(lambda content: f"<think>Let me see.\n{content}"),
    "fence": _with_content(lambda content: f"```json\n{content}\n```"),
    "fence_in_a_line": _with_content(lambda content: f"```{content}```\r\n"),
    "byte_order_mark": _with_content(lambda content: f"\ufeff{content}"),
    "json_in_a_text": _with_content(json.dumps),
    "small_talk": _with_content(lambda content: f"Sure! Here is my verdict: {content}"),
    "cut_json": _with_content(lambda content: content[:-2]),
    "length": _with_content(lambda content: content[:60], finish_reason="length"),
    "empty_content": _with_content(lambda _: ""),
    "null_content": _with_content(lambda _: None),
    "list_of_parts": _with_content(
        lambda content: [
            {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
            {"type": "text", "text": content[:20]},
            {"type": "text", "text": content[20:]},
        ]
    ),
    "object_as_content": _with_content(json.loads),
    "number_as_content": _with_content(lambda _: 7),
    "json_list": _with_content(lambda content: f"[{content}]"),
    "deep_json": _with_content(lambda _: "[" * 100_000),
    "tool_call": _with_message(lambda content: {"tool_calls": [_call(content)]}),
    "tool_call_object": _with_message(lambda content: {"tool_calls": [_call(json.loads(content))]}),
    "words_beside_tool_call": _with_message(lambda content: {"content": "I call it.", "tool_calls": [_call(content)]}),
    "two_tool_calls": _with_message(lambda content: {"tool_calls": [_call(content), _call(content)]}),
    "other_tool": _with_message(lambda content: {"tool_calls": [_call(content, "search")]}),
    "function_call": _with_message(lambda content: {"function_call": {"name": "verdict", "arguments": content}}),
    "reasoning_field": _with_message(lambda content: {"content": content, "reasoning": "secret thoughts"}),
    "answer_as_reasoning": _with_message(lambda content: {"reasoning_content": content}),
    "only_thoughts": _with_message(lambda _: {"reasoning_content": "Let me see. {}"}),
    "refusal_field": _with_message(lambda _: {"refusal": "I can't help with that."}),
    "apology": _with_content(lambda _: "I'm sorry, but I can't help with that."),
    "length_of_model": _with_content(lambda content: content[:60], finish_reason="model_length"),
    "length_in_capitals": _with_content(lambda content: content[:60], finish_reason="MAX_TOKENS"),
    "filter_in_capitals": _with_content(lambda _: "", finish_reason="SAFETY"),
    "ended_by_error": _with_content(lambda content: content[:60], finish_reason="error"),
    "no_resources": _with_content(lambda content: content[:60], finish_reason="insufficient_system_resource"),
    "content_filter": _with_content(lambda _: "", finish_reason="content_filter"),
    "score_as_float": _in_answer(lambda answer: answer["coherence"].update(score=4.0)),
    "score_as_text": _in_answer(lambda answer: answer["coherence"].update(score="4")),
    "score_as_bool": _in_answer(lambda answer: answer["coherence"].update(score=True)),
    "score_of_nine": _in_answer(lambda answer: answer["coherence"].update(score=9)),
    "score_is_nan": _in_answer(lambda answer: answer["coherence"].update(score=float("nan"))),
    "extra_key": _in_answer(lambda answer: answer.update(summary="ok")),
    "missing_key": _in_answer(lambda answer: answer.pop("toxicity")),
    "key_twice": _with_content(_twice),
    "no_choices": _with(choices=[]),
    "null_choices": _with(choices=None),
    "ended_by_an_object": _with_content(lambda content: content, finish_reason={"reason": "stop"}),
    "choice_is_text": _with(choices=["verdict"]),
    "no_usage": lambda completion: {name: value for name, value in completion.items() if name != "usage"},
    "null_usage": _with(usage=None),
    "negative_usage": _with(usage={"prompt_tokens": -1, "completion_tokens": 5, "total_tokens": 4}),
    "huge_usage": _with(usage={"prompt_tokens": 10**12, "completion_tokens": 5, "total_tokens": 5}),
    "other_usage": lambda completion: {
        **completion,
        "usage": {
            "input_tokens": completion["usage"]["prompt_tokens"],
            "output_tokens": completion["usage"]["completion_tokens"],
        },
    },
    "thoughts_apart_in_usage": lambda completion: {
        **completion,
        "usage": {**completion["usage"], "total_tokens": completion["usage"]["total_tokens"] + THOUGHTS},
    },
    "other_model": _with(model="meta-llama/llama-4-scout-17b-16e-instruct"),
    "no_model": _with(model=None),
    "error_in_200": _with(choices=None, error={"message": "Provider returned error", "code": 502}),
    "error_object_in_200": _with(choices=None, object="error", message="EngineCore is dead", code=500),
    "error_in_choice": lambda completion: {
        **completion,
        "choices": [
            {**completion["choices"][0], "finish_reason": "error", "error": {"message": "Upstream error", "code": 502}}
        ],
    },
    "filter_named": _with_content(lambda _: "", finish_reason="content_filter: PROHIBITED_CONTENT"),
    "html": lambda _: b"<html>502 Bad Gateway</html>",
    "null": lambda _: b"null",
}
