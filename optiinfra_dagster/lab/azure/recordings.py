"""Recorded answers of the real Azure as rows of Resource Graph.

Read are VCR cassettes (`interactions`, with answers of Azure Resource Manager or of Resource Graph itself) and the
examples of Azure's REST specification (`responses`). Every resource in them that has a type and an id is a row.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from optiinfra_dagster.lab.azure.kind import Row, bare_row

# Of a resource, in words of Azure: /subscriptions/…/providers/<namespace>/<type>/<name>
_RESOURCE_ID = re.compile(r"/subscriptions/[^/]+(?:/resourcegroups/[^/]+)?/providers/.+", re.IGNORECASE)


def load_rows(files: Iterable[Path]) -> list[Row]:
    """Every resource that the files show, once by its id: the last word counts."""
    rows: dict[str, Row] = {}
    for file in files:
        recorded = json.loads(file.read_text(encoding="utf-8-sig"))
        for answer in _answers(recorded):
            for resource in _resources(answer):
                row = as_row(resource)
                rows[row["id"].lower()] = row
    return list(rows.values())


def _answers(recorded: dict[str, Any]) -> Iterator[Any]:
    for interaction in recorded.get("interactions") or ():
        yield (interaction["response"].get("body") or {}).get("data")
    for response in (recorded.get("responses") or {}).values():
        yield response.get("body")


def _resources(part: Any) -> Iterator[dict[str, Any]]:
    """Whatever looks like a resource in its own right: a list's items or the answer itself, not their parts."""
    if isinstance(part, list):
        for member in part:
            yield from _resources(member)
    elif isinstance(part, dict) and isinstance(part.get("columns"), list) and "rows" in part:
        names = [column.get("name") for column in part["columns"]]
        yield from _resources([dict(zip(names, values, strict=True)) for values in part["rows"]])
    elif isinstance(part, dict):
        if isinstance(part.get("type"), str) and _RESOURCE_ID.fullmatch(str(part.get("id") or "")):
            yield part
        for inner in ("value", "data"):
            yield from _resources(part.get(inner))


def as_row(resource: dict[str, Any]) -> Row:
    """The row that Resource Graph makes of a resource that Resource Manager shows.

    Types in lower case, the power state of a machine's instance view among the extended properties.
    """
    properties = dict(resource.get("properties") or {})
    view = properties.get("instanceView") or {}
    power = [status for status in view.get("statuses") or () if str(status.get("code")).startswith("PowerState/")]
    if power:
        properties["extended"] = {"instanceView": {"powerState": power[-1]}}
    known = {key: resource[key] for key in bare_row("", "") if resource.get(key) is not None}
    known |= {"type": resource["type"].lower(), "properties": properties}
    return bare_row("", "") | bare_row(resource["id"], known["type"]) | known
