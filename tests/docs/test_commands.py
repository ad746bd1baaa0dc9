"""Every command of ours that the documentation or the help shows is one: its options and readers exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.core import TyperGroup

from optiinfra_dagster.cli.main import app
from optiinfra_dagster.storage.readers import sources

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md")), *sorted((PROJECT / "deploy").rglob("*.md"))]
PROGRAM = typer.main.get_command(app)
_IN_A_BLOCK = re.compile(
    r"^(?: {4}\s*|\s*(?=[\w./]*optiinfra )|.*\| *)(?:\$ )?(?:[\w./]+/)?optiinfra (.+)$", re.MULTILINE
)
_IN_A_LINE = re.compile(r"`(?:[\w./]+/)?optiinfra ([^`]+)`")
_NOT_SHOWN_WHOLE = re.compile(r"…|\.\.\.|\b[A-Z]{3,}\b")  # `optiinfra read FAMILY READER`


# What a text may leave out that only names a command.
_MAY_BE_LEFT_OUT = {"MissingParameter", "BadOptionUsage", "NoArgsIsHelpError"}


def _cut(shown: str) -> str:
    """A command without what is said behind it, or what it is piped into; empty where it is not shown whole."""
    command = re.split(r"\s{2,}|\s#|\s[|>]|\s&&", " ".join(shown.splitlines()))[0]
    return "" if _NOT_SHOWN_WHOLE.search(re.sub(r"'[^']*'", "", command)) else command


def typed(text: str) -> list[str]:
    """The commands of a page that somebody is to type."""
    return [*filter(None, map(_cut, _IN_A_BLOCK.findall(text)))]


def named(text: str) -> list[str]:
    """The commands that its sentences name."""
    return [*filter(None, map(_cut, _IN_A_LINE.findall(text)))]


def examples(command: Any) -> Iterator[str]:
    """The examples of a command's help and of those below it."""
    yield from typed(command.epilog or "")
    for below in command.commands.values() if isinstance(command, TyperGroup) else ():
        yield from examples(below)


def parse(line: str) -> None:
    """Parse a command line as the program does, without running it; whatever is raised says what is wrong."""
    command: Any = PROGRAM
    context: Any = None
    rest = shlex.split(line)
    while True:
        context = command.make_context(command.name or "optiinfra", rest, parent=context)
        if not isinstance(command, TyperGroup):
            break
        _, command, rest = command.resolve_command(context, [*context._protected_args, *context.args])
    family, reader = (context.params.get(name) for name in ("family", "reader"))
    if isinstance(family, str) and isinstance(reader, str):
        assert reader in sources()[family], line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_the_commands_of_a_page_are_commands(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for command in typed(text):
        parse(command)
    for command in named(text):
        try:
            parse(command)
        except Exception as error:  # of Typer's own copy of Click, which it does not export
            if type(error).__name__ not in _MAY_BE_LEFT_OUT:
                raise AssertionError(f"{command}: {error}") from error


def test_the_examples_of_the_help_are_commands() -> None:
    shown = list(examples(PROGRAM))
    assert len(shown) > 40
    for command in shown:
        parse(command)


def test_the_commands_are_found() -> None:
    counts = {str(page.relative_to(PROJECT)): len(typed(page.read_text(encoding="utf-8"))) for page in PAGES}
    wanted = {"README.md": 5, "docs/access.md": 3, "docs/explain.md": 3, "docs/mcp.md": 1, "docs/operations.md": 9}
    assert {name: counts[name] for name in wanted if counts[name] < wanted[name]} == {}


@pytest.mark.parametrize("wrong", ["collect --custmer acme", "read cost summry --customer acme", "customers shw"])
def test_one_that_is_none_is_noticed(wrong: str) -> None:
    with pytest.raises(Exception, match=r"custmer|summry|shw"):
        parse(wrong)
