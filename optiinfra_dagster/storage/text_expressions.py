"""Makes CSV and JSON by expressions within a SELECT, for users of ClickHouse who may not send settings.

The text is the same as that of `text` and `focus`, which tell the server by settings how to write times, decimals and
nulls. Without them each row is one text, which the format TabSeparatedRaw leaves as it is.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from clickhouse_connect.driver.client import Client

FORMAT = "TabSeparatedRaw"


def takes_settings(client: Client) -> bool:
    """True unless the client's user has `readonly = 1`, and so may not say how a statement is to be run."""
    readonly = client.server_settings.get("readonly")
    return readonly is None or readonly.value != "1"


def csv_line(cells: Iterable[tuple[str, str]], *, by_default: bool = False) -> str:
    """The expression of a line of CSV from the expression and the type of each cell; null is nothing.

    As `text` has it: decimals with all their digits, True and False. With `by_default`, as `focus` does, which leaves
    both to the engine: decimals without zeros at the end, true and false.
    """
    cell = _default_cell if by_default else _cell
    return " || ',' || ".join(_or_null(value, kind, cell, "") for value, kind in cells)


def json_value(value: str, kind: str) -> str:
    """The expression of a value as JSON."""
    return _or_null(value, kind, _json, "null")


def _or_null(value: str, kind: str, text: Callable[[str, str], str], null: str) -> str:
    stored = kind.removeprefix("LowCardinality(").removesuffix(")") if kind.startswith("LowCardinality(") else kind
    if not stored.startswith("Nullable("):
        return text(value, stored)
    return f"if(isNull({value}), '{null}', {text(f'assumeNotNull({value})', stored[len('Nullable(') : -1])})"


def _cell(value: str, kind: str) -> str:
    if kind.startswith("Float"):
        return f"if(isFinite({value}), toString({value}), '')"
    if kind.startswith(("Int", "UInt", "Decimal")):
        return _number(value, kind)
    if kind == "Bool":
        return f"if({value}, 'True', 'False')"
    return f"""'"' || replaceAll({_text(value, kind)}, '"', '""') || '"'"""


def _default_cell(value: str, kind: str) -> str:
    if kind == "Bool" or kind.startswith("Decimal"):
        return f"toString({value})"
    return _cell(value, kind)


def _json(value: str, kind: str) -> str:
    if kind.startswith(("Int", "UInt")):
        return f"toString({value})"
    if kind.startswith("Decimal"):
        return f"""'"' || {_number(value, kind)} || '"'"""
    if kind.startswith("DateTime"):
        return f"""'"' || {_text(value, kind)} || '"'"""
    if kind.startswith("Array("):
        return f"'[' || arrayStringConcat(arrayMap(v -> {_json('v', kind[len('Array(') : -1])}, {value}), ',') || ']'"
    return rf"replaceAll(toJSONString({value}), '\\/', '/')"


def _text(value: str, kind: str) -> str:
    if kind.startswith("DateTime"):
        return f"replaceOne(toString(toTimeZone({value}, 'UTC')), ' ', 'T') || 'Z'"
    if kind.startswith("Array(Decimal"):
        return f"'[' || arrayStringConcat(arrayMap(v -> {_number('v', kind[len('Array(') : -1])}, {value}), ',') || ']'"
    return f"toString({value})"


def _number(value: str, kind: str) -> str:
    scale = re.fullmatch(r"Decimal\(\d+, (\d+)\)", kind)
    return f"toDecimalString({value}, {scale[1]})" if scale else f"toString({value})"
