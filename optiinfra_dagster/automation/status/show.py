"""A status as people and programs read it: a line an item with its parts on request, JSON, or Markdown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from optiinfra_dagster.automation.status.items import Item, State
from optiinfra_dagster.model import markdown
from optiinfra_dagster.model.text import shortened

if TYPE_CHECKING:
    from optiinfra_dagster.automation.status.items import Section, Status

_NAME_WIDTH = max(len(item) for item in Item)
MOST_MARKDOWN_PARTS = 12  # of an item: a materialization is kept in Dagster's storage
LONGEST_CELL = 400


def lines(status: Status, *, details: bool) -> Iterator[str]:
    """A line an item: its state, name and sentence; with details, its parts beneath it."""
    for one in status.sections:
        yield f"{one.state:<4}  {one.item:<{_NAME_WIDTH}}  {one.text}"
        if details:
            yield from (
                f"        {part.state:<4}  {part.name + ': ' if part.name else ''}{part.text}" for part in one.parts
            )
            if one.more:
                yield f"        and {one.more:,} more"


def to_json(status: Status) -> str:
    """The status as one JSON object."""
    return json.dumps(
        {
            "at": f"{status.at:%Y-%m-%dT%H:%M:%SZ}",
            "state": status.state,
            "items": [
                {
                    "item": one.item,
                    "state": one.state,
                    "text": one.text,
                    "details": [{"state": part.state, "name": part.name, "text": part.text} for part in one.parts],
                    "more": one.more,
                }
                for one in status.sections
            ],
        },
        ensure_ascii=False,
        indent=2,
    )


def to_markdown(status: Status) -> str:
    """A table of all that is not well, the worst first, then what is well. Names and errors come from clouds."""
    not_well = [one for one in status.sections if one.state is not State.OK]
    well = ", ".join(one.item for one in status.sections if one.state is State.OK)
    rows = [row for state in (State.RED, State.WARN) for one in not_well for row in _rows(one, state)]
    parts = [
        f"As of {status.at:%Y-%m-%dT%H:%MZ}{f'; well: {well}' if well else ''}.",
        *([markdown.table(["state", "item", "of", "what is known"], rows)] if rows else []),
    ]
    return "\n\n".join(parts)


def _rows(one: Section, state: State) -> Iterator[tuple[str, str, str, str]]:
    """The first parts of an item that are in a state, and how many more there are."""
    found = [part for part in one.parts if part.state is state]
    for part in found[:MOST_MARKDOWN_PARTS]:
        cell = markdown.escaped(shortened(part.text, LONGEST_CELL))
        yield state, one.item, markdown.escaped(part.name), cell
    more = len(found) - MOST_MARKDOWN_PARTS + (one.more if one.state is state else 0)
    if more > 0:
        yield state, one.item, "", f"and {more:,} more: `optiinfra status --details`"


def customers_of(status: Status) -> list[str]:
    """The customers whose troubles make an item red, in order."""
    return sorted({t.customer for one in status.sections if one.state is State.RED for t in one.troubles if t.customer})
