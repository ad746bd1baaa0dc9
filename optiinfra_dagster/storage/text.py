"""Rows as CSV or JSON text: the engine writes it, a server's or the one in this process, and no row becomes an object.

A million rows take 1 to 3 CPU-s so, and 20 to 120 if each value passes through Python. A user who may not send settings
gets the same text by way of `lines`.
"""

from __future__ import annotations

from itertools import groupby
from typing import IO, TYPE_CHECKING

from optiinfra_dagster.storage import text_expressions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from clickhouse_connect.driver.client import Client

    from optiinfra_dagster.storage.readers import Statement

# Columns of text that hold a JSON object, which is written as that object.
JSON_COLUMNS = frozenset({"metadata", "tags", "details", "categories"})

# Times are ISO 8601 with Z, money has all its digits, null in CSV is nothing between commas, where an empty text is "".
_FORMATS = (
    "date_time_output_format = 'iso', output_format_decimal_trailing_zeros = 1, "
    "output_format_json_quote_decimals = 1, output_format_json_quote_64bit_integers = 0, "
    "output_format_json_quote_denormals = 0, output_format_json_escape_forward_slashes = 0, "
    "format_csv_null_representation = '', bool_true_representation = 'True', bool_false_representation = 'False', "
    "enable_named_columns_in_function_tuple = 1"
)
# The engine inside this process takes 300 MB to open. Few rows at once, by one thread, and sorted by way of the disk
# where they are many, a million take 90 MB beside it, be they of 18 columns or of 54. A server sees to itself.
_SMALL = (
    ", max_block_size = 512, max_threads = 1, max_bytes_before_external_sort = 30000000, "
    "max_bytes_ratio_before_external_sort = 0, min_external_sort_block_bytes = 0"
)
_CHUNK = 1 << 18
_TEXTS = {f"{low}{null}String{end}" for low, null, end in (
    ("", "", ""), ("", "Nullable(", ")"), ("LowCardinality(", "", ")"), ("LowCardinality(", "Nullable(", "))"),
)}  # fmt: skip
_CONTROL = r"[\\x00-\\x08\\x0b\\x0c\\x0e-\\x1f\\x7f]"  # all but tab and line breaks, which CSV may hold


def write_csv(client: Client, statement: Statement, out: IO[bytes], *, embedded: bool) -> bool:
    """Write a line of names and a line for each row; true if there is any row."""
    out.write(f"{','.join(statement.types)}\n".encode())
    known = [
        f"if(isFinite({name}), {name}, NULL) AS {name}"  # as in JSON, which has no word for what is no number
        for name, kind in statement.types.items()
        if kind.endswith(("Float64", "Float64)")) and not kind.startswith("Array")
    ]
    found = False
    harmless = {name: _harmless(name) for name, kind in statement.types.items() if kind in _TEXTS}
    replaced = [*known, *(f"{text} AS {name}" for name, text in harmless.items())]
    columns, format_ = f"* REPLACE ({', '.join(replaced)})" if replaced else "*", "CSV"
    if not (by_settings := text_expressions.takes_settings(client)):
        columns = text_expressions.csv_line((harmless.get(name, name), kind) for name, kind in statement.types.items())
        format_ = text_expressions.FORMAT
    sql = statement.select(columns) + (_settings(embedded) if by_settings else "")
    with client.raw_stream(sql, statement.parameters, fmt=format_) as stream:
        while chunk := stream.read(_CHUNK):
            out.write(chunk)
            found = True
    return found


def write_json(client: Client, statement: Statement, out: IO[bytes], *, embedded: bool) -> bool:
    """Write an array with an object for each row, each on a line of its own; true if there is any row."""
    by_settings = text_expressions.takes_settings(client)
    sql = statement.select(_object(statement.types, by_settings=by_settings))
    sql += _settings(embedded) if by_settings else ""
    found, rest = False, b""
    # Of the formats that the embedded engine sends in parts, JSON's own would have the objects as quoted text, and CSV
    # would double every quote. So a row is one text of TabSeparated, which escapes what JSON seldom has.
    with client.raw_stream(sql, statement.parameters, fmt="TabSeparated") as stream:
        while chunk := stream.read(_CHUNK):
            rows, end, rest = (rest + chunk).rpartition(b"\n")
            if end:
                out.write(b",\n " if found else b"[\n ")
                out.write(_unescaped(rows).replace(b"\n", b",\n "))
                found = True
    out.write(b"\n]\n" if found else b"[]\n")
    return found


def _harmless(name: str) -> str:
    """The expression of a text that a spreadsheet does not take for a formula, without control characters such as ESC.

    A name found in a cloud may be `=HYPERLINK(...)`. https://owasp.org/www-community/attacks/CSV_Injection.
    """
    in_one_line = f"if(match({name}, '{_CONTROL}'), replaceRegexpAll({name}, '{_CONTROL}+', ' '), {name})"
    return f"if(match({name}, '^[\\x00-\\x20]*[=+@-]'), concat('\\'', {in_one_line}), {in_one_line})"


def _settings(embedded: bool) -> str:
    return f" SETTINGS {_FORMATS}{_SMALL if embedded else ''}"


def _unescaped(rows: bytes) -> bytes:
    """Rows of JSON as they were before TabSeparated put a backslash before each apostrophe and backslash.

    The apostrophes come first: JSON has an even number of backslashes before one, or none.
    """
    return rows.replace(b"\\'", b"'").replace(b"\\\\", b"\\") if b"\\" in rows else rows


def _object(types: Mapping[str, str], *, by_settings: bool) -> str:
    """The expression of a row as a JSON object, its columns in order; those that hold JSON stand in it as they are."""
    members: list[str] = []
    for holds_json, names in groupby(types, lambda name: name in JSON_COLUMNS and "String" in types[name]):
        if holds_json:
            members += [f"""'"{name}":' || {_as_json(name)}""" for name in names]
        elif not by_settings:
            members += [f"""'"{name}":' || {text_expressions.json_value(name, types[name])}""" for name in names]
        else:
            members.append(f"substring(toJSONString(tuple({', '.join(names)})), 2, -1)")  # without the braces
    listed = " || ',' || ".join(members)
    return f"'{{' || {listed} || '}}'"


def _as_json(name: str) -> str:
    """The expression of a column's JSON; of what is none, as a text. Only what is doubtful is looked at closely.

    That is what has no braces, NaN, which JSON has not, and line breaks, which stand between its values, never in one.
    """
    doubtful = (
        f"(NOT startsWith({name}, '{{') OR NOT endsWith({name}, '}}') OR "
        f"match({name}, 'NaN|Infinity|[\\\\x00-\\\\x1f]'))"
    )
    in_one_line = f"replaceRegexpAll({name}, '[\\\\x00-\\\\x1f]+', ' ')"
    return (
        f"multiIf(empty({name}), '{{}}', NOT {doubtful}, {name}, isValidJSON({name}), {in_one_line}, "
        f"toJSONString({name}))"
    )
