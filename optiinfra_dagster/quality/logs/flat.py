"""Flat records of a log, which name the fields of an interaction themselves, in any of the spellings below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from optiinfra_dagster.quality.logs.fields import Raw, filled, first

# Spellings; the first that is there counts.
_TIME = ("timestamp", "time", "ts", "created_at", "@timestamp", "datetime", "created")
_ID = ("interaction_id", "id", "request_id", "requestId", "message_id", "event_id", "uuid")
_APPLICATION = ("application_id", "app_id", "application", "app", "service", "service_name", "service.name")
_APPLICATION_NAME = ("application_name", "app_name")
_MODEL = ("model", "model_name", "model_id", "modelId", "llm", "llm_model")
_PROVIDER = ("provider", "cloud_provider", "cloud.provider", "cloud")
_PROMPT = ("prompt", "input", "question", "query", "request", "messages", "contents", "user_input", "prompt_text")
_RESPONSE = ("response", "output", "completion", "answer", "choices", "candidates", "model_output", "response_text")
_CONTEXT = ("context", "contexts", "retrieved_context", "documents", "sources", "knowledge")
_REFERENCE = ("reference", "reference_answer", "expected", "expected_output", "ground_truth")
_PROMPT_TOKENS = ("prompt_tokens", "input_tokens", "promptTokens", "inputTokens")
_RESPONSE_TOKENS = ("response_tokens", "completion_tokens", "output_tokens", "completionTokens", "outputTokens")


def read_flat(record: Mapping[str, Any]) -> Raw:
    """The fields of a flat record."""
    application = named = filled(record, _APPLICATION)
    name = filled(record, _APPLICATION_NAME)
    if isinstance(named, dict):
        application, name = named.get("id"), name or named.get("name")
    prompt, response = filled(record, _PROMPT), filled(record, _RESPONSE)
    if response is None and isinstance(prompt, list) and prompt:  # a conversation with its answer at the end
        *before, last = prompt
        if isinstance(last, dict) and last.get("role") == "assistant":
            prompt, response = before, last
    usage = record.get("usage")
    usage = {**usage, **record} if isinstance(usage, dict) else record
    return Raw(
        filled(record, _TIME),
        filled(record, _ID),
        application,
        name,
        filled(record, _MODEL),
        filled(record, _PROVIDER),
        prompt,
        response,
        filled(record, _CONTEXT),
        filled(record, _REFERENCE),
        first(usage, _PROMPT_TOKENS),
        first(usage, _RESPONSE_TOKENS),
    )
