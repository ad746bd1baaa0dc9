"""Parsing of facts in a cloud's answer: a value in a form that can be read counts, anything else is absent.

Answers differ from their documents: keys are missing or null, numbers come as text, times in other forms. That must
not cost the resource which it is told of, so what cannot be read is unknown, and never zero. Only what has no name is
of no use.
"""

from __future__ import annotations

import ipaddress
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from optiinfra_dagster.model.text import storable

Item = Mapping[str, Any]  # as read from JSON or by an SDK, so a dict: to ask for a Mapping costs ten times as much

_NUMBERS = (int, float)
_READABLE = (str, int, float)

ODD = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What reading an answer of another form than expected raises."""


def name_of(item: Item, key: str) -> str:
    """The name or id of an item, without which it cannot be told from others.

    Raises:
        ValueError: it has no name.
    """
    name = as_text(item.get(key))
    if not name.strip():
        raise ValueError(f"{key} is missing")
    return name


def dig(item: object, *path: str) -> Any:
    """The value at a path of keys: `dig(instance, "State", "Name")`; None where the path does not exist."""
    for key in path:
        item = item.get(key) if isinstance(item, dict) else None
    return item


def as_dict(item: object, *path: str) -> Item:
    """The object at a path of keys; an empty one where there is none."""
    found = dig(item, *path)
    return found if isinstance(found, dict) else {}


def as_dicts(value: object) -> list[Item]:
    """The objects of a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def as_texts(value: object) -> list[str]:
    """The texts of a list; a single one counts as a list."""
    found = map(as_text, value) if isinstance(value, list) else [as_text(value)]
    return [one for one in found if one]


def as_text(value: object) -> str:
    """A text, or a number as one; empty for anything else."""
    if isinstance(value, str):  # nearly always
        return storable(value)
    return str(value) if isinstance(value, _NUMBERS) and not isinstance(value, bool) else ""


def as_number(value: object) -> float | None:
    """A number, or a text that is one. Negative ones stand for `no limit` or `not known` wherever a size is told."""
    found = as_finite(value)
    return None if found is None or found < 0 else found


def as_finite(value: object) -> float | None:
    """A measured value: a finite number of either sign, or a text that is one; None for anything else."""
    if type(value) is float and math.isfinite(value):  # nearly all are, and there are millions
        return value
    if value is None or isinstance(value, bool) or not isinstance(value, _READABLE):
        return None
    try:
        found = float(value)
    except (ValueError, OverflowError):
        return None
    return found if math.isfinite(found) else None


def as_int(value: object) -> int | None:
    """A number as a whole one."""
    found = as_number(value)
    return None if found is None else int(found)


def as_bool(value: object) -> bool | None:
    """Yes or no, and nothing else."""
    return value if isinstance(value, bool) else None


def percent(used: float | None, size: float | None) -> float | None:
    """The share that is used; None where one of the two is not known, or makes no sense."""
    return 100.0 * used / size if size and used is not None and 0 <= used <= size else None


def as_datetime(value: object) -> datetime | None:
    """A time as UTC, which those without a zone are in; None for none, which some services write as the year 1."""
    try:
        moment = value if isinstance(value, datetime) else _moment(value)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None
    return moment if 1970 < moment.year < 2106 else None  # what ClickHouse's DateTime can hold


def _moment(value: object) -> datetime:
    if isinstance(value, str) and value.count("-") > 1:
        return datetime.fromisoformat(value.strip().upper())
    seconds = as_number(value)
    if seconds is None:
        raise ValueError("not a time")
    return datetime.fromtimestamp(seconds / 1000 if seconds > 1e11 else seconds, UTC)  # JavaScript's are longer


def facts(**found: object) -> dict[str, str | int | float | bool | None]:
    """The facts that are worth keeping: flat values that say something. A whole number that came as 3.0 becomes 3."""
    worth_keeping: dict[str, str | int | float | bool | None] = {}
    for name, value in found.items():
        if not value and (value is None or value == ""):
            continue
        if isinstance(value, bool):
            worth_keeping[name] = value
        elif isinstance(value, str):
            worth_keeping[name] = as_text(value)
        elif isinstance(value, _NUMBERS) and as_number(value) is not None:
            worth_keeping[name] = int(value) if value == int(value) < 2**63 else value
    return worth_keeping


def as_labels(value: object) -> dict[str, str]:
    """Tags: an object of names and values, or a list of either `{"Key": …, "Value": …}` or words without a value."""
    pairs: list[tuple[object, object]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        for one in value:
            if isinstance(one, dict):
                pairs.append((dig(one, "Key") or dig(one, "key"), dig(one, "Value") or dig(one, "value")))
            else:
                pairs.append((one, None))
    return {name: _label(label) for key, label in pairs if (name := as_text(key))}


def _label(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else as_text(value)


def addresses(cidr: object) -> int | None:
    """The number of addresses in a network such as `10.0.0.0/16`; None for a value that is not a network."""
    try:
        return ipaddress.ip_network(as_text(cidr), strict=False).num_addresses
    except ValueError:
        return None


def network(cidr: object) -> str:
    """A network as it is written; empty for what is none."""
    return "" if addresses(cidr) is None else as_text(cidr)
