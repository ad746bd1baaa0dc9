"""Validation of requests as Groq's API does it: their fields, and the JSON schemas of strict mode.

https://console.groq.com/docs/api-reference, https://console.groq.com/docs/structured-outputs
"""

from __future__ import annotations

import re
from typing import Any

from optiinfra_dagster.lab.service import ApiError

# Models whose answers can be constrained to a schema.
STRICT_MODELS = {"openai/gpt-oss-20b", "openai/gpt-oss-120b"}

_FIELDS = {
    "messages", "model", "frequency_penalty", "include_reasoning", "max_completion_tokens", "max_tokens", "metadata",
    "n", "parallel_tool_calls", "presence_penalty", "reasoning_effort", "reasoning_format", "response_format", "seed",
    "service_tier", "stop", "store", "stream", "temperature", "tool_choice", "tools", "top_p", "user",
}  # fmt: skip
_SCHEMA_WORDS = {
    "type", "properties", "required", "additionalProperties", "enum", "const", "items", "anyOf", "description", "title",
    "$defs", "$ref",
}  # fmt: skip
_TYPES = {"object", "array", "string", "integer", "number", "boolean", "null"}


class InvalidError(ApiError):
    """A request that the API refuses with status 400."""

    def __init__(self, message: str, code: str = "invalid_request_error") -> None:
        super().__init__(400, code, message)


def check_request(body: dict[str, Any]) -> None:  # noqa: C901 - one rule per line
    """Refuse what the API would.

    Raises:
        InvalidError: naming what is wrong.
    """
    for name in sorted(body.keys() - _FIELDS):
        raise InvalidError(f"property '{name}' is unsupported")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise InvalidError("'messages' : minimum number of items is 1")
    for message in messages:
        if not isinstance(message, dict) or message.get("role") not in {"system", "user", "assistant", "developer"}:
            raise InvalidError("'messages' : discriminator property 'role' has invalid value")
        if not isinstance(message.get("content"), str):
            raise InvalidError("'messages' : content must be a string")
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1), ("max_completion_tokens", 1, 65_536)):
        value = body.get(name, low)
        if not isinstance(value, int | float) or isinstance(value, bool) or not low <= value <= high:
            raise InvalidError(f"'{name}' : must be from {low} to {high}")
    if body.get("n", 1) != 1:
        raise InvalidError("'n' : number must be at most 1")
    if not isinstance(body.get("seed", 0), int):
        raise InvalidError("'seed' : value must be an integer")
    if "include_reasoning" in body and "reasoning_format" in body:
        raise InvalidError("cannot specify both `include_reasoning` and `reasoning_format`")
    gpt_oss = str(body.get("model")).startswith("openai/gpt-oss")
    if (effort := body.get("reasoning_effort")) and effort not in (
        {"low", "medium", "high"} if gpt_oss else {"none", "default"}
    ):
        raise InvalidError(f"`reasoning_effort` must not be {effort} with this model")
    check_format(body.get("response_format", {"type": "text"}), str(body.get("model")))


def check_format(wanted: object, model: str) -> None:
    """Refuse a response format that the model cannot keep to."""
    if not isinstance(wanted, dict) or wanted.get("type") not in {"text", "json_object", "json_schema"}:
        raise InvalidError("'response_format.type' : unknown")
    if wanted["type"] != "json_schema":
        return
    named = wanted.get("json_schema")
    if not isinstance(named, dict) or not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", str(named.get("name", ""))):
        raise InvalidError("'response_format.json_schema.name' : must be 1 to 64 of a-z, A-Z, 0-9, _ and -")
    if named.keys() - {"name", "description", "schema", "strict"}:
        raise InvalidError("'response_format.json_schema' : unknown property")
    if named.get("strict"):
        if model not in STRICT_MODELS:
            raise InvalidError("This model does not support response format `json_schema` with `strict: true`")
        check_strict(named.get("schema"), "response_format.json_schema.schema")


def check_strict(schema: object, at: str) -> None:
    """Refuse a schema that strict mode does not take: optional properties, open objects, unknown words."""
    if not isinstance(schema, dict):
        raise InvalidError(f"'{at}' : must be an object")
    for word in sorted(schema.keys() - _SCHEMA_WORDS):
        raise InvalidError(f"invalid JSON schema for response_format: '{at}' : '{word}' is not supported")
    if schema.get("type") not in _TYPES and not schema.keys() & {"anyOf", "$ref"}:
        raise InvalidError(f"invalid JSON schema for response_format: '{at}' : unknown type")
    if schema.get("type") == "object":
        properties = schema.get("properties", {})
        if schema.get("additionalProperties") is not False:
            raise InvalidError(
                f"invalid JSON schema: '{at}' : `additionalProperties:false` must be set on every object"
            )
        if sorted(schema.get("required", [])) != sorted(properties):
            raise InvalidError(f"invalid JSON schema: '{at}' : `required` must list every key in properties")
        for name, part in properties.items():
            check_strict(part, f"{at}.{name}")
    for name in ("items", "anyOf"):
        for part in schema[name] if isinstance(schema.get(name), list) else [schema[name]] if name in schema else []:
            check_strict(part, f"{at}.{name}")


def conforms(value: object, schema: dict[str, Any]) -> bool:
    """True for a value that the schema allows; for the answers of the lab's own judge."""
    kinds: dict[str, type | tuple[type, ...]] = {
        "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
    }  # fmt: skip
    if "anyOf" in schema:
        return any(conforms(value, part) for part in schema["anyOf"])
    if "enum" in schema and value not in schema["enum"]:
        return False
    if not isinstance(value, kinds.get(schema["type"], type(None))):
        return False
    if isinstance(value, bool) and schema["type"] != "boolean":
        return False
    if isinstance(value, list):
        return all(conforms(item, schema["items"]) for item in value)
    if isinstance(value, dict):
        properties = schema["properties"]
        return value.keys() == properties.keys() and all(conforms(value[name], properties[name]) for name in properties)
    return True
