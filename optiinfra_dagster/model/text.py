"""Texts as every table can hold them, and as people read them."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from datetime import timedelta
from typing import Any


def storable(text: str) -> str:
    """The text with `?` for half a surrogate pair, which JSON can hold and UTF-8 cannot. One costs a whole insert."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def shortened(text: str, limit: int = 240) -> str:
    """Shorten a cloud's words to one line of at most `limit` characters without a full stop, as part of a message."""
    text = " ".join(text.split()).rstrip(". ")
    return text if len(text) <= limit else f"{text[:limit]}..."


def counted(n: int, what: str) -> str:
    """`1 window`, `1,200 windows`."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def named(names: Collection[str], most: int = 12) -> str:
    """The first of some names in order, and how many more there are: `acme, globex and 188 more`; `none`."""
    if not names:
        return "none"
    listed = ", ".join(sorted(names)[:most])
    return f"{listed} and {len(names) - most:,} more" if len(names) > most else listed


def ago(age: timedelta) -> str:
    """How long ago, in its two largest units: `25 min`, `3 h 5 min`, `2 days 4 h`."""
    minutes = max(0, int(age.total_seconds())) // 60
    days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
    if days:
        return f"{counted(days, 'day')} {hours} h"
    return f"{hours} h {rest} min" if hours else f"{rest} min"


def plain(text: str) -> str:
    """The text in one line: spaces for line breaks and control characters, which a name found in a cloud may hold.

    And for bytes of a path that are no UTF-8, which Python keeps as halves of surrogate pairs that nobody can store.
    """
    return re.sub(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]", " ", text)


def to_json(values: Mapping[str, Any]) -> str:
    """A JSON object with sorted keys, so that equal content is equal text."""
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)


_SECRETS = (
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+@"), r"\1***@"),  # the password of a URL
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"), r"\1 ***"),
    (
        re.compile(
            r"(?i)\b([\w-]*(?:password|passwd|secret|token|api[_-]?key|access[_-]?key|signature|sig|credential)[\w-]*"
            r"(?:\s*=\s*|[\"']\s*:\s*)[\"']?)[^\s\"'&,;]{4,}"
        ),
        r"\1***",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "***"),
    (re.compile(r"\b(?:gsk|sk)[_-][A-Za-z0-9_-]{16,}"), "***"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL), "***"),
)


def masked(text: str, secrets: Collection[str] = ()) -> str:
    """The text without the `secrets`, and without what looks like one: `***` stands there.

    No message is meant to hold any; this is for those that a cloud's own words brought along.
    """
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
