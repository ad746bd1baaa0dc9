"""A status as people and programs read it: a line an item with its parts on request, JSON, or Markdown."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from optiinfra_dagster.automation.status.items import Item

if TYPE_CHECKING:
    from optiinfra_dagster.automation.status.items import Section, Status

_NAME_WIDTH = max(len(item) for item in Item)
MOST_MARKDOWN_PARTS = 20  # of an item: a materialization is kept in Dagster's storage
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
    """A table of the items, and beneath it the parts that are not well."""
    rows = ["| | item | |", "|---|---|---|"]
    rows += [f"| {one.state} | {one.item} | {_cell(one.text)} |" for one in status.sections]
    for one in status.sections:
        rows += _parts(one)
    return "\n".join([f"As of {status.at:%Y-%m-%dT%H:%MZ}.", "", *rows])


def _parts(one: Section) -> Iterator[str]:
    odd = [part for part in one.parts if part.state != "ok"]
    if len(odd) < 2:
        return
    yield from ("", f"**{one.item}**", "")
    yield from (f"- {part.state} {_cell(f'{part.name}: {part.text}')}" for part in odd[:MOST_MARKDOWN_PARTS])
    if (more := len(odd) - MOST_MARKDOWN_PARTS + one.more) > 0:
        yield f"- and {more:,} more"


def _cell(text: str) -> str:
    """Text that is no Markdown and no HTML: names and errors come from clouds."""
    short = textwrap.shorten(text, LONGEST_CELL, placeholder=" ...")
    for sign in "\\`*_[]<>|":
        short = short.replace(sign, f"&#{ord(sign)};")
    return short
