"""Statements as a person would run them: the parameters written where they stand, and the conditions of one row."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.errors import UsageError
from optiinfra_dagster.model.windows import parse_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PARAMETER = re.compile(r"\{(\w+):((?:[^{}']|'[^']*')+)\}")
_NUMBER = re.compile(r"(Nullable\()?(U?Int\d+|Float\d+|Decimal\(.*?\))\)?")


def bound(sql: str, parameters: Mapping[str, Any]) -> str:
    """The statement with its parameters in their places."""
    return _PARAMETER.sub(lambda found: _of_type(parameters[found[1]], found[2]), sql)


def of_window(window: datetime) -> dict[str, str]:
    """The parameters of a reader's SELECT."""
    return {"window": window.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")}


def condition(name: str, kind: str, value: Any) -> str:
    """The condition that a column, of a type, has a value that was read from it."""
    if value is None:
        return f"isNull({name})"
    return f"{name} = {literal(value, kind)}"


def literal(value: Any, kind: str = "") -> str:
    """A value as ClickHouse reads it."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime) and value.microsecond:
        return f"toDateTime64('{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC')"
    if isinstance(value, datetime):
        return f"toDateTime('{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}', 'UTC')"
    if isinstance(value, date):
        return f"toDate('{value}')"
    if isinstance(value, Decimal):
        return f"CAST('{value:f}' AS {_plain(kind)})" if kind else f"{value:f}"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(literal, value))}]"
    text = str(value).replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n")
    return f"'{text}'"


def filters(given: Iterable[str], types: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """The conditions of filters such as `period=today`, and their parameters.

    A column that may be null is so where nothing stands behind the sign.

    Raises:
        UsageError: no `=`, a column that is not there, or a value that is none of its type.
    """
    conditions, parameters = [], {}
    for number, text in enumerate(given):
        name, sign, value = text.partition("=")
        if not sign:
            raise UsageError(f"--where {text!r} is no filter: write column=value, as in --where period=today.")
        if name not in types:
            raise UsageError(
                f"--where {text}: there is no column '{name}'{closest(name, types)}. Choose from {', '.join(types)}."
            )
        kind, parameter = types[name], f"where_{number}"
        if not value and "Nullable" in kind:
            conditions.append(f"(isNull({name}) OR toString({name}) = '')")
            continue
        if _is_cast(_plain(kind)):
            conditions.append(f"{name} = CAST({{{parameter}:String}} AS {_plain(kind)})")
        else:
            conditions.append(f"toString({name}) = {{{parameter}:String}}")
        parameters[parameter] = _checked(text, value, kind)
    return conditions, parameters


def _checked(text: str, value: str, kind: str) -> str:
    """The value as a text that ClickHouse casts to the type."""
    plain = _plain(kind)
    if plain.startswith("DateTime"):
        time = parse_time(value, f"--where {text.partition('=')[0]}=")
        return f"{time:%Y-%m-%d %H:%M:%S.%f}" if plain.startswith("DateTime64") else f"{time:%Y-%m-%d %H:%M:%S}"
    try:
        if plain == "Date":
            return str(date.fromisoformat(value))
        if plain == "Bool":
            return {"true": "true", "yes": "true", "false": "false", "no": "false"}[value.lower()]
        if _NUMBER.fullmatch(plain):
            number = Decimal(value)
            if not number.is_finite() or ("Int" in plain and number != int(number)):
                raise ValueError(value)
            return f"{number:f}" if "Int" not in plain else str(int(number))
    except (ValueError, ArithmeticError, KeyError):
        wanted = {"Date": "a day such as 2026-11-21", "Bool": "true or false"}.get(plain, "a number")
        raise UsageError(f"--where {text}: {text.partition('=')[0]} is compared with {wanted}.") from None
    return value


def _is_cast(plain: str) -> bool:
    return plain.startswith("Date") or plain == "Bool" or _NUMBER.fullmatch(plain) is not None


def _plain(kind: str) -> str:
    for outer in ("LowCardinality(", "Nullable("):
        if kind.startswith(outer):
            kind = kind[len(outer) : -1]
    return kind


def _of_type(value: Any, kind: str) -> str:
    if kind.startswith("DateTime"):
        return f"toDateTime({literal(str(value))}, 'UTC')"
    if kind == "String":
        return literal(str(value))
    if kind.startswith("Array(") and isinstance(value, str):
        return value
    return literal(value)
