"""The tools of an assistant: one for each reader, `explain`, `status` and `readers`; what their arguments may be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.config.wording import closest
from optiinfra_dagster.model.errors import UsageError
from optiinfra_dagster.model.text import plain, shortened
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.storage import cost_choice
from optiinfra_dagster.storage.readers import Source, sources
from optiinfra_dagster.storage.sql import columns

if TYPE_CHECKING:
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

ROWS, MOST_ROWS = 100, 1_000
LONGEST_TEXT = 2_048  # characters of an argument; a resource's id has some hundred

# What the tables of rows themselves are called where the view has another name.
_TABLES = {"costs": "cost_metrics"}
_OF_ROWS = {
    "performance metrics": "The points of a window themselves, as the cloud measured them.",
    "resource timeline": "All that readers say of one resource, in the order of time.",
    "cost metrics": "The charges themselves: what bills say of a day, and the estimates of days that have not settled.",
    "cost restatements": "Days whose published cost a bill changed since: what they were before, and after.",
    "application metrics": "The judged answers of LLM applications themselves, score by score.",
}
_UNITS = {
    "resource": "Capacity is in `unit`.",
    "performance": "Values are in `unit`: percent 0-100, bytes/s, ops/s, seconds, bytes or count.",
    "cost": "Amounts are decimal text in `currency`; nothing is converted.",
    "application": "Scores and rates are from 0 to 1.",
}
_UNKNOWN = "null is unknown, never zero; times are UTC."


@dataclass(frozen=True, slots=True)
class Argument:
    """An argument of a tool: its JSON Schema."""

    schema: Mapping[str, Any]
    required: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """A call whose arguments were checked; `customers` are those that it is about, one where the tool is a reader.

    `tell` is told of a part that failed where the others are answered all the same.
    """

    customers: tuple[str, ...]
    values: Mapping[str, Any]
    tell: Callable[[Exception], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: what it tells, how to read that, what it takes beside a customer, and how it answers."""

    name: str
    tells: str
    how_to_read: str
    arguments: Mapping[str, Argument]
    run: Callable[[ClickHouse, Settings, Call], dict[str, Any]]
    of_all: bool = False  # asked without a customer, it tells of all that the token names

    def schema(self, customers: Sequence[str]) -> dict[str, Any]:
        """The JSON Schema of its arguments, for a token of these customers."""
        wanted = len(customers) > 1 and not self.of_all
        customer = {"type": "string", "enum": list(customers), "description": "the customer's id"}
        return {
            "type": "object",
            "properties": {"customer": customer, **{name: dict(one.schema) for name, one in self.arguments.items()}},
            "required": [*(["customer"] if wanted else []), *(n for n, one in self.arguments.items() if one.required)],
            "additionalProperties": False,
        }

    def checked(self, arguments: Mapping[str, Any], customers: Sequence[str]) -> Call:
        """The call, for a token of these customers.

        Raises:
            UsageError: an argument is not one of the tool's, is of another kind, or names a customer of another token.
        """
        known = ["customer", *self.arguments]
        for name in arguments:
            if name not in known:
                near = closest(_word(name), known)
                raise UsageError(f"{self.name} takes no argument '{_word(name)}'{near}: only {', '.join(known)}.")
        values = {name: value for name, value in arguments.items() if value is not None}
        for name, value in values.items():
            _check(name, value, self.arguments[name].schema if name in self.arguments else {"type": "string"})
        for name, one in self.arguments.items():
            if one.required and name not in values:
                raise UsageError(f"{self.name} needs {name}: {one.schema['description']}.")
        asked = values.pop("customer", None)
        if asked is None and not self.of_all and len(customers) != 1:
            raise UsageError(f"{self.name} needs customer: one of {', '.join(customers)}.")
        if asked is not None and asked not in customers:
            raise no_such_customer(asked)
        return Call(tuple(customers) if asked is None else (asked,), values)


def no_such_customer(name: str) -> UsageError:
    """What is said of a customer that is not there, and of one that the token does not name: the same."""
    return UsageError(f"There is no customer '{_word(name)}'.")


@cache
def tools() -> Mapping[str, Tool]:
    """Every tool by name; those of readers in the order of `optiinfra read`."""
    found = [_of_source(family, name, source) for family, of in sources().items() for name, source in of.items()]
    names = [tool.name for tool in found]
    found += [
        Tool(
            "explain",
            "Where one row of a reader comes from, whether it may be trusted and why not: the slices beneath it and "
            "what they lack, calls and what they cost, restatements, whether the stored rows still match the ledger.",
            "Give `where` or `row` until one row is left. It is of what is published now, and takes no as_of. complete "
            "and unaltered are null where that cannot be told.",
            _of_explain(names),
            _explain,
        ),
        Tool(
            "status",
            "How the collection of each customer stands: what is late, failing, or lost for good, which budgets are "
            "used up, and which costs or answers got unusual.",
            "Ask it where an answer is not complete. States are ok, warn, red, and unknown where "
            "it could not be looked at.",
            {},
            _status,
            of_all=True,
        ),
        Tool(
            "readers",
            "What each reader tells, and column by column what it means, with units.",
            "Ask it before you interpret a column.",
            {"reader": Argument(choice(names, "only this one, with its columns"))},
            _readers,
            of_all=True,
        ),
    ]
    return {tool.name: tool for tool in found}


def _of_explain(readers: Sequence[str]) -> dict[str, Argument]:
    """What `explain` takes."""
    where = {
        "type": "object",
        "additionalProperties": {"type": "string"},
        "description": 'columns and their values, such as {"period": "yesterday"}',
    }
    return {
        "reader": Argument(choice(readers, "the reader whose row it is"), required=True),
        "where": Argument(where),
        "row": Argument({"type": "integer", "minimum": 1, "maximum": 1_000_000, "description": "the row's number"}),
        "provider": Argument(choice(list(PROVIDERS), "only this cloud")),
        "resource_id": Argument(free_text("only this resource; its full id")),
        "from": Argument(free_text("from this time on; default: the newest window")),
        "to": Argument(free_text("before this time")),
    }


def known_tool(name: str, among: Mapping[str, Tool]) -> Tool:
    """The tool of a name.

    Raises:
        UsageError: there is none.
    """
    if name not in among:
        raise UsageError(f"There is no tool '{_word(name)}'{closest(_word(name), among)}.")
    return among[name]


def _of_source(family: str, name: str, source: Source) -> Tool:
    has = source_columns(source)
    arguments: dict[str, Argument] = {}
    if "provider" in has:
        arguments["provider"] = Argument(choice(list(PROVIDERS), "only this cloud"))
    arguments["from"] = Argument(free_text("from this time on, such as 2026-11-21T00:00Z; default: the newest window"))
    arguments["to"] = Argument(free_text("before this time"))
    if "resource_id" in has:
        described = "only this resource; its full id, as resource_inventory has it"
        arguments["resource_id"] = Argument(free_text(described), required=source.of_one_resource)
    if not source.view.startswith("("):
        arguments["as_of"] = Argument(free_text("what was known at this time, as far as it is kept; default: now"))
    costs = [cost for cost in cost_choice.COSTS if cost_choice.has(cost, dict.fromkeys(has, ""))]
    if len(costs) > 1:
        arguments["cost"] = Argument(choice(costs, "which cost the amount is; default: billed"))
    most = {
        "type": "integer",
        "minimum": 1,
        "maximum": MOST_ROWS,
        "description": f"at most so many rows; default {ROWS}",
    }
    arguments["limit"] = Argument(most)
    described = source.reader.description if source.reader else _OF_ROWS[f"{family} {name}"]

    def run(clickhouse: ClickHouse, settings: Settings, call: Call) -> dict[str, Any]:
        from optiinfra_dagster.assistant.answer import answer
        from optiinfra_dagster.storage.reading import Query

        (customer,) = call.customers
        values = call.values
        query = Query(
            family, name, customer, values.get("provider"), values.get("from"), values.get("to"),
            values.get("resource_id"), None, values.get("cost", "billed"), values.get("as_of"),
        )  # fmt: skip
        return answer(clickhouse, settings, query, values.get("limit", ROWS))

    return Tool(f"{family}_{name}", described, f"{_UNITS[family]} {_UNKNOWN}", arguments, run)


def source_columns(source: Source) -> set[str]:
    """The columns of a source, as far as the code knows them without asking ClickHouse."""
    own = source.reader.columns if source.reader else ()
    of_one = ("resource_id",) if source.of_one_resource else ()
    return {*source.shows, *columns().get(table_of(source), ()), *own, *of_one}


def table_of(source: Source) -> str:
    """The table of a source's rows, by which its columns are described."""
    table = source.reader.table if source.reader else source.view.removesuffix("_current")
    return _TABLES.get(table, table)


def _explain(clickhouse: ClickHouse, settings: Settings, call: Call) -> dict[str, Any]:
    from optiinfra_dagster.assistant.explanations import explained

    return explained(clickhouse, settings, call)


def _status(clickhouse: ClickHouse, settings: Settings, call: Call) -> dict[str, Any]:
    from optiinfra_dagster.assistant.collection_status import standing

    return standing(clickhouse, settings, call)


def _readers(clickhouse: ClickHouse, _: Settings, call: Call) -> dict[str, Any]:
    from optiinfra_dagster.assistant.descriptions import described

    return described(clickhouse, call.values.get("reader"))


def free_text(description: str) -> dict[str, Any]:
    """The schema of a text."""
    return {"type": "string", "description": description}


def choice(words: Sequence[str], description: str) -> dict[str, Any]:
    """The schema of one of some words."""
    return {"type": "string", "enum": list(words), "description": description}


def _check(name: str, value: object, schema: Mapping[str, Any]) -> None:
    """Refuse a value that its schema does not allow; what is text goes on to ClickHouse and into messages."""
    if schema["type"] == "integer":
        if isinstance(value, bool) or not isinstance(value, int):
            raise UsageError(f"{name} must be a whole number.")
        if not schema["minimum"] <= value <= schema["maximum"]:
            raise UsageError(f"{name} must be from {schema['minimum']} to {schema['maximum']:,}.")
        return
    if schema["type"] == "object":
        if not isinstance(value, dict):
            raise UsageError(f"{name} must be an object.")
        for key, one in value.items():
            _check(f"{name}.{_word(key)}", one, schema["additionalProperties"])
        return
    if not isinstance(value, str):
        raise UsageError(f"{name} must be text.")
    if (
        not value
        or len(value) > LONGEST_TEXT
        or value != plain(value)
        or value.encode("utf-8", "replace").decode() != value
    ):
        raise UsageError(f"{name} must be text of 1 to {LONGEST_TEXT:,} characters, without control characters.")
    if "enum" in schema and value not in schema["enum"]:
        choice = ", ".join(schema["enum"])
        raise UsageError(
            f"There is no {name} '{_word(value)}'{closest(_word(value), schema['enum'])}. Choose from {choice}."
        )


def _word(value: str) -> str:
    """A word as it was given, in one line that is not too long."""
    return shortened(plain(value.encode("utf-8", "replace").decode()), 80)
