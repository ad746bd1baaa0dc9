"""The tools of an assistant: one for each reader, `explain`, `status` and `readers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from optiinfra_dagster.assistant.answer import answer
from optiinfra_dagster.assistant.collection_status import standing
from optiinfra_dagster.assistant.descriptions import described
from optiinfra_dagster.assistant.explanations import explained
from optiinfra_dagster.assistant.source_facts import sentence_of, source_columns
from optiinfra_dagster.assistant.tool import Argument, Tool, choice, free_text
from optiinfra_dagster.providers.registry import PROVIDERS
from optiinfra_dagster.storage import cost_choice
from optiinfra_dagster.storage.readers import Source, sources
from optiinfra_dagster.storage.reading import Query

if TYPE_CHECKING:
    from optiinfra_dagster.assistant.tool import Call
    from optiinfra_dagster.config.settings import Settings
    from optiinfra_dagster.storage.clickhouse import ClickHouse

ROWS, MOST_ROWS = 100, 1_000
_UNITS = {
    "resource": "Capacity is in `unit`.",
    "performance": "Values are in `unit`: percent 0-100, bytes/s, ops/s, seconds, bytes or count.",
    "cost": "Amounts are decimal text in `currency`; nothing is converted.",
    "application": "Scores and rates are from 0 to 1.",
}
_UNKNOWN = "null is unknown, never zero; times are UTC."


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
            explained,
        ),
        Tool(
            "status",
            "How the collection of each customer stands: what is late, failing, or lost for good, which budgets are "
            "used up, and which costs or answers got unusual.",
            "Ask it where an answer is not complete. States are ok, warn, red, and unknown where "
            "it could not be looked at.",
            {},
            standing,
            of_all=True,
        ),
        Tool(
            "readers",
            "What each reader tells, and column by column what it means, with units.",
            "Ask it before you interpret a column.",
            {"reader": Argument(choice(names, "only this one, with its columns"))},
            _describe_readers,
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

    def run(clickhouse: ClickHouse, settings: Settings, call: Call) -> dict[str, Any]:
        (customer,) = call.customers
        values = call.values
        query = Query(
            family, name, customer, values.get("provider"), values.get("from"), values.get("to"),
            values.get("resource_id"), None, values.get("cost", "billed"), values.get("as_of"),
        )  # fmt: skip
        return answer(clickhouse, settings, query, values.get("limit", ROWS))

    return Tool(f"{family}_{name}", sentence_of(family, name, source), f"{_UNITS[family]} {_UNKNOWN}", arguments, run)


def _describe_readers(clickhouse: ClickHouse, _: Settings, call: Call) -> dict[str, Any]:
    return described(clickhouse, call.values.get("reader"))
