"""Markdown as Dagster's UI shows it: tables, and text from clouds that is no markup."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from optiinfra_dagster.model.text import plain

# What begins markup, and what GitHub's dialect makes a link of: `http://`, `www.` and addresses of e-mail. `_` in the
# middle of a word is none: role_arn stays readable where the text is shown as it is, such as in a run's log.
_MARKUP = re.compile(r"([\\`*\[\]<>|~$&@]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=\bwww)\.)")


def escaped(text: str) -> str:
    """The text in one line, in which nothing is a link, markup or the end of a cell."""
    return _MARKUP.sub(r"\\\1", plain(text))


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], right: Collection[str] = ()) -> str:
    """A table; `right` are the headings whose columns stand to the right. Its cells are Markdown already."""
    rule = "|".join("--:" if heading in right else "---" for heading in headings)
    return "\n".join([_line(headings), f"|{rule}|", *map(_line, rows)])


def bar(share: float, length: int = 12) -> str:
    """A bar of text, as long as its share of 1; nothing for what is not above 0."""
    return "█" * max(1, round(length * share)) if share > 0 else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
