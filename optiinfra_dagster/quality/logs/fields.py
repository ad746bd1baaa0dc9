"""The fields of a log's record as the parts of an interaction: times, names, counts, costs.

Texts are customers' secrets: no error of this module holds one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Any
from uuid import UUID

from optiinfra_dagster.model.text import storable
from optiinfra_dagster.quality.interactions import Reason

MAX_ID_LENGTH = 512

# Below which a time since the epoch counts seconds, milliseconds, microseconds, nanoseconds: until the year 5138.
_UNITS = ((1e11, 1), (1e14, 10**3), (1e17, 10**6), (1e20, 10**9))

_MOST_USD = Decimal(10**6)  # of one call: more is no cost
_LONGEST_MS = 7 * 24 * 3600 * 1000.0  # of one call


class BadFieldError(Exception):
    """A field that cannot be used."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def first(record: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The first of the keys that is there with a value."""
    for key in keys:
        value = record.get(key)
        if value is not None:
            return value
    return None


def filled(record: Mapping[str, Any], keys: Iterable[str]) -> Any:
    """The first of the keys that is there with a value which is not empty."""
    for key in keys:
        value = record.get(key)
        if value or value not in (None, "", []):
            return value
    return None


def parsed(value: Any) -> Any:
    """Messages that were written as JSON text, since attributes of spans often can hold text only."""
    if isinstance(value, str) and value[:1] in {"[", "{"}:
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value


def of_extended_json(value: object) -> object:
    """What MongoDB writes as an object of one member: {"$oid": ...}, {"$date": {"$numberLong": ...}}."""
    while isinstance(value, dict) and len(value) == 1 and next(iter(value)).startswith("$"):
        (value,) = value.values()
    return value


def moment_of(value: object) -> datetime | None:
    """A time in ISO 8601 or RFC 2822 (UTC if it has no zone), or since the epoch in s, ms, us or ns, told by size.

    MongoDB's, protobuf's (Firestore's) and BigQuery's come as objects, OpenTelemetry's of JavaScript as seconds and ns.
    """
    value = of_extended_json(value)
    if isinstance(value, dict):
        told = first(value, ("value", "timestamp"))
        value = told if told is not None else _nanoseconds(*(first(value, names) for names in _OF_PROTOBUF))
    elif isinstance(value, list) and len(value) == 2:
        value = _nanoseconds(*value)
    try:
        if isinstance(value, str) and not value.isdecimal():
            moment = _written_moment(value)
        elif isinstance(value, datetime):  # of Parquet, where nanoseconds come as pandas has them
            moment = datetime.combine(value.date(), value.time(), value.tzinfo)
        elif isinstance(value, int | float | str) and not isinstance(value, bool):
            return _moment_since_epoch(value if isinstance(value, float) else int(value))
        else:
            return None
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        return None
    return moment if 2000 <= moment.year < 2100 else None


_OF_PROTOBUF = (("seconds", "_seconds"), ("nanos", "_nanoseconds"))


def _nanoseconds(seconds: object, nanos: object) -> int | None:
    try:
        return int(str(seconds)) * 10**9 + int(str(nanos or 0))
    except ValueError:
        return None


def _written_moment(value: str) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except ValueError:
        pass
    text = value.strip()
    text = re.sub(r"\[[\w/+-]+\]$", "", text)  # Java's name of the zone, behind its offset
    since_epoch = re.fullmatch(r"(?:/Date\()?(\d+(?:\.\d+(?:[eE]\+?\d+)?)?)(?:\)/)?", text)  # .NET's, too
    if since_epoch:
        told = since_epoch[1]
        moment = _moment_since_epoch(int(told) if told.isdecimal() else float(told))
        if moment is None:
            raise ValueError
        return moment
    if text[:1].isalpha() and text[:3].upper() in _DAYS:
        return parsedate_to_datetime(text)
    text = re.sub(r"^(\d{4})/(\d\d)/(\d\d)\b", r"\1-\2-\3", text)
    # Fractions longer than Python reads, and a zone by name: `2026-11-21 12:00:00.123456789 +0000 UTC`.
    text = re.sub(r"(\.\d{6})\d+", r"\1", text.upper().removesuffix(" UTC"))
    return datetime.fromisoformat(re.sub(r" ([+-]\d\d:?\d\d)$", r"\1", text))


_DAYS = {"MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"}


def _moment_since_epoch(number: float | int) -> datetime | None:  # noqa: PYI041 - a whole number stays whole
    per_second = next((unit for limit, unit in _UNITS if abs(number) < limit), None)
    if per_second is None:
        return None
    # Whole numbers stay whole: a float has no room for nanoseconds since the epoch.
    whole = round(number * 10**6 / per_second) if isinstance(number, float) else number * 10**6 // per_second
    seconds, micros = divmod(whole, 10**6)
    moment = datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)
    return moment if 2000 <= moment.year < 2100 else None


def name_of(value: object) -> str:
    """An identifier or a name, "" if there is none."""
    name = value if isinstance(value, str) else _written(of_extended_json(value))
    name = storable(name).strip()
    if len(name) > MAX_ID_LENGTH:
        raise BadFieldError(Reason.WRONG_TYPE)
    return name


def _written(value: object) -> str:
    """An id that is no text; data frames and BigQuery have numbers with a point, and Parquet the bytes of UUIDs."""
    if isinstance(value, float | Decimal) and isfinite(value) and value == int(value):
        value = int(value)
    elif isinstance(value, bytes):
        value = value.hex()
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int | UUID)):
        raise BadFieldError(Reason.WRONG_TYPE)
    return "" if value is None else str(value)


def count_of(value: object) -> int | None:
    """A number of tokens; OTLP/JSON writes whole numbers as text."""
    value = of_extended_json(value)
    if isinstance(value, str) and value.isdecimal() and len(value) < 10:
        return int(value)
    if isinstance(value, float) and value.is_integer():  # of data frames, where some lack
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**32 else None


def money_of(value: object) -> Decimal | None:
    """A cost in USD."""
    value = of_extended_json(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        cost = Decimal(str(value))
    except InvalidOperation:
        return None
    return cost if cost.is_finite() and 0 <= cost < _MOST_USD else None


def milliseconds_of(value: object, unit: float = 1.0) -> float | None:
    """A time that something took, told in `unit` milliseconds."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        took = float(value) * unit
    except (ValueError, OverflowError):
        return None
    return took if 0 <= took < _LONGEST_MS else None
