"""Flat records of the plainest form, text in and text out, as applications write them themselves: read in one go.

Most records of a log have the same names. Where none of them is a sign of another form, which of them hold what is
looked up once; that is five times as fast as to look for every spelling in every record.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeGuard

from optiinfra_dagster.model.text import storable
from optiinfra_dagster.quality.interactions import UNKNOWN, Interaction
from optiinfra_dagster.quality.logs import flat
from optiinfra_dagster.quality.logs.calls import provider_of
from optiinfra_dagster.quality.logs.fields import (
    BadFieldError,
    count_of,
    milliseconds_of,
    moment_of,
    money_of,
    name_of,
)
from optiinfra_dagster.quality.logs.messages import is_hidden_text

# The spellings of each field, in the order in which `read_plain` takes them.
_FIELDS = (
    flat.TIME, flat.ID, flat.APPLICATION, flat.APPLICATION_NAME, flat.MODEL, flat.PROVIDER, flat.PROMPT, flat.RESPONSE,
    flat.CONTEXT, flat.REFERENCE, flat.PROMPT_TOKENS, flat.RESPONSE_TOKENS, flat.USAGE, flat.SESSION, flat.TRACE,
    flat.COST, flat.LATENCY_MS,
)  # fmt: skip
_FIELD_OF = {name: field for field, names in enumerate(_FIELDS) for name in names}
_NEEDED = {_FIELD_OF[name] for name in ("timestamp", "interaction_id", "prompt", "response")}
# Names beside those that change nothing; with any other name a record is read in full.
_IGNORED = {
    "user", "user_id", "temperature", "max_tokens", "environment", "level", "language", "tags", "version", "lang",
}  # fmt: skip
# Names among the spellings that other forms have, too.
_SIGNS = {"messages", "request", "traceId", "trace_id", "request_body", "choices", "candidates", "tokens_in", "modelId"}
_MOST_LAYOUTS = 256

_Layout = tuple[str, ...]  # for each field the name under which a record has it, or ""
_LAYOUTS: dict[tuple[str, ...], _Layout | None] = {}


def read_plain(record: Mapping[str, Any]) -> Interaction | None:
    """The interaction that a record is; None if it must be read in full to know."""
    names = tuple(record)
    try:
        layout = _LAYOUTS[names]
    except KeyError:
        layout = _layout(names)
        if len(_LAYOUTS) < _MOST_LAYOUTS:
            _LAYOUTS[names] = layout
    if layout is None:
        return None
    fields = map(record.get, layout)
    moment, interaction_id, application_id, application_name, model_name, provider, prompt, response, *rest = fields
    context, reference, prompt_tokens, response_tokens, usage, session_id, trace_id, cost, latency = rest
    timestamp = moment_of(moment)
    if timestamp is None or not _is_plain(prompt) or not _is_plain(response):
        return None
    if usage is not None:
        if not isinstance(usage, dict):
            return None
        prompt_tokens, response_tokens = _tokens(usage, prompt_tokens, response_tokens)
    if not (context is None or _is_plain(context)) or not (reference is None or _is_plain(reference)):
        return None
    try:
        interaction_id = name_of(interaction_id)
        application_name = "" if application_name is None else _name(application_name)
        application_id = ("" if application_id is None else _name(application_id)) or application_name or UNKNOWN
        if not interaction_id:
            return None
        return Interaction(
            interaction_id,
            application_id,
            application_name or application_id,
            ("" if model_name is None else _name(model_name)) or UNKNOWN,
            timestamp,
            provider_of(provider) if provider else "",
            storable(prompt),
            storable(response),
            storable(context) if context else None,
            storable(reference) if reference else None,
            None if prompt_tokens is None else count_of(prompt_tokens),
            None if response_tokens is None else count_of(response_tokens),
            (),
            "" if session_id is None else name_of(session_id),
            trace_id if isinstance(trace_id, str) else "",
            False,  # noqa: FBT003 - in the order of the fields, which is a third faster than by name
            None if latency is None else milliseconds_of(latency),
            None if cost is None else money_of(cost),
        )
    except (BadFieldError, TypeError):
        return None


def _tokens(usage: Mapping[str, Any], of_prompt: object, of_response: object) -> tuple[object, object]:
    """Tokens as the record tells them itself, else as its usage does."""
    of_prompt = flat.prompt_tokens_in(usage, flat.PROMPT_USAGE) if of_prompt is None else of_prompt
    return of_prompt, flat.response_tokens_in(usage, flat.RESPONSE_USAGE) if of_response is None else of_response


@lru_cache(maxsize=1024, typed=True)
def _name(value: str | int) -> str:
    """The name of an application or a model: there are few."""
    return name_of(value)


def _is_plain(value: object) -> TypeGuard[str]:
    """True for text that is neither empty nor hidden nor perhaps messages as JSON, server-sent events, or thoughts."""
    if not isinstance(value, str) or value[:1] in _NOT_PLAIN:
        return False
    return not (value.startswith(_EVENTS) or _END in value or is_hidden_text(value))


_END = "</think>"
_EVENTS = ("data:", "event:", "id:", "retry:")  # of server-sent events; comments before them begin with ":"
# After white space, what is there must be looked at; with other signs begin JSON, events, and tags.
_NOT_PLAIN = {"", "[", "{", " ", "\n", "\t", "\r", ":", "<"}


def _layout(names: tuple[str, ...]) -> _Layout | None:
    """Which name of a record holds which field; None for records that must be read in full."""
    layout = [""] * len(_FIELDS)
    for name in names:
        field = _FIELD_OF.get(name)
        if field is not None and not layout[field]:
            layout[field] = name
        elif field is not None or name not in _IGNORED:
            return None  # of two names of a field, it depends on the values which counts
    has_all = all(layout[field] for field in _NEEDED)
    return tuple(layout) if has_all and not _SIGNS & set(names) else None
