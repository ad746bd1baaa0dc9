"""The two queries of a billing export that the lab's BigQuery knows, by their shape, and their answers."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.lab.gcp import focus_rows
from optiinfra_dagster.lab.gcp.export_rows import BILLING_ACCOUNT, FIELDS, ExportRow, columns_of, names_of
from optiinfra_dagster.lab.service import ApiError

if TYPE_CHECKING:
    from optiinfra_dagster.lab.gcp.world import GcpExport

DAYS = [{"name": "day", "type": "DATE"}]
_FLAGS = ("of_account", "own", "is_credit")
_SUMS = ("amount", "unknown", "effective", "line_count", "list_cost", "used", "priced")
Cells = list[str | None]


def refuse(sql: str, export: GcpExport, parameters: Mapping[str, Any]) -> None:
    """Refuse a query that names a column which the table does not have, or lacks a parameter."""
    if export.focus:
        focus_rows.refuse(sql, export)
    columns = columns_of(export) if not export.focus else names_of(FIELDS)
    for name, parts in FIELDS.items():
        names = [f"{name}.{part}" for part, _ in parts] if isinstance(parts, tuple) else [name]
        for column in names:
            # `credits` are read by UNNEST, and their amounts by another name
            used = re.search(rf"(?<![\w.@]){re.escape(column)}(?![\w.])", sql)
            if used and column not in columns and not re.search(rf" AS {re.escape(column)}\b", sql):
                raise ApiError(400, "invalidQuery", f"Unrecognized name: {column} at [1:1]")
    of_charges = {"days", "account_charges", "discounts"}
    needed = {"start", "end", "projects"} | (of_charges if is_of_charges(sql) else set())
    needed |= {"partition"} if export.focus != "view" else set()
    used_names = set(re.findall(r"@(\w+)", sql))
    if needed - parameters.keys() or used_names - parameters.keys() or needed - used_names:
        raise ApiError(400, "invalidQuery", f"Query parameter not found: {sorted(needed - parameters.keys())}")
    if "_PARTITIONTIME >= @partition" not in sql and export.focus != "view":
        raise ApiError(400, "invalidQuery", "The cloud lab knows this query with a filter of the partition only")


def is_of_charges(sql: str) -> bool:
    """True for the query of what days consist of."""
    return "GROUPING SETS" in sql


def changed_days(rows: Sequence[ExportRow], parameters: Mapping[str, Any]) -> list[Cells]:
    """The days of rows that were exported since a time, or are invoiced from a month on."""
    projects = {"", *parameters["projects"]}
    found = {
        row.day
        for row in rows
        if row.project in projects
        and ("since" not in parameters or row.exported >= parameters["since"])
        and ("month" not in parameters or row.text("invoice.month") >= parameters["month"])
    }
    return [[day.isoformat()] for day in sorted(found)]


def _texts(sql: str) -> dict[str, list[str]]:
    """The texts that a query tells of each line, by their names: the columns that each is the first known of."""
    names = sql.rpartition("credit_name, ")[2].partition(")")[0].split(", ")
    found = {}
    for name in names:
        known = re.search(rf"COALESCE\(([^()]*), ''\) AS {name}\b", sql)
        found[name] = known[1].split(", ") if known else []
    return found


def schema(sql: str) -> list[dict[str, str]]:
    """The columns of the answer about charges."""
    types = {"day": "DATE", "currency": "STRING", "is_total": "INTEGER", "project": "STRING"}
    types |= dict.fromkeys(_FLAGS, "BOOLEAN") | {"credit_type": "STRING", "credit_name": "STRING"}
    types |= dict.fromkeys(_texts(sql), "STRING") | dict.fromkeys(_SUMS, "BIGNUMERIC")
    types |= dict.fromkeys(("unknown", "line_count"), "INTEGER")
    return [{"name": name, "type": of_type} for name, of_type in types.items()]


def charges(sql: str, rows: Sequence[ExportRow], parameters: Mapping[str, Any]) -> Iterator[Cells]:
    """The sums of days, by groups and without."""
    texts, projects, discounts = _texts(sql), set(parameters["projects"]), set(parameters["discounts"])
    sums: dict[tuple[str | None, ...], list[Decimal | None]] = {}
    for row in rows:
        if row.day not in parameters["days"]:
            continue
        own = row.project in projects or (not row.project and parameters["account_charges"])
        place = row.day.isoformat(), row.currency
        whose = row.project or BILLING_ACCOUNT, _bool(not row.project), _bool(own)
        told = [_text(sql, row, name, of) if own else "" for name, of in texts.items()]
        for is_credit, of_type, name, numbers in _parts(sql, row, discounts):
            what = (_bool(own and is_credit), of_type, name) if own else ("false", "", "")
            for key in ((*place, "0", *whose, *what, *told), (*place, "1", *(None for _ in (*whose, *what, *told)))):
                known = sums.get(key)
                sums[key] = (
                    numbers
                    if known is None
                    else [None if a is None or b is None else a + b for a, b in zip(known, numbers, strict=True)]
                )
    for key, numbers in sums.items():
        yield [*key, *(None if number is None else f"{number:f}" for number in numbers)]


def _parts(sql: str, row: ExportRow, discounts: set[str]) -> Iterator[tuple[bool, str, str, list[Decimal | None]]]:
    """A line and its credits: whether it is a credit, the credit's type and name, and the numbers in their order."""
    with_list, with_types = "CAST(cost_at_list" in sql, "one.type" in sql
    lowered = sum((amount for of_type, _, amount in row.credits if of_type in discounts and with_types), Decimal(0))
    used = Decimal(row.hours) if row.hours else None
    seconds = used * 3600 if used and "usage.amount " in sql else None
    priced = used if "usage.amount_in_pricing_units" in sql else None
    listed = row.cost if with_list else None
    yield False, "", "", [row.cost, Decimal(0), row.cost + lowered, Decimal(1), listed, seconds, priced]
    for of_type, name, amount in row.credits:
        told = of_type if with_types else ""
        effective = Decimal(0) if told in discounts else amount
        yield (
            True,
            told,
            name,
            [amount, Decimal(0), effective, Decimal(0), Decimal(0) if with_list else None, None, None],
        )


def _text(sql: str, row: ExportRow, name: str, columns: Sequence[str]) -> str:
    if name == "labels_json":
        told = "UNNEST(labels)" in sql
        return json.dumps([{"key": key, "value": value} for key, value in row.labels]) if told else ""
    return next((text for column in columns if (text := row.text(column))), "")


def _bool(value: object) -> str:
    return "true" if value else "false"
