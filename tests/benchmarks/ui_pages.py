"""The queries that the pages of Dagster's UI send, taken from the files of the UI itself, and what answers them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster_webserver
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import ModuleTarget
from dagster_graphql.schema import create_schema

if TYPE_CHECKING:
    import dagster as dg

_BUNDLE = Path(dagster_webserver.__file__).parent / "webapp" / "build" / "_next" / "static" / "chunks"
_DEFINED = re.compile(r"\b(query|fragment) (\w+)(?= on |\(| \{)")
_SPREAD = re.compile(r"\.\.\.(\w+)(?!\w)(?<!\.\.\.on)")


@cache
def _documents() -> dict[tuple[str, str], str]:
    """Every query and fragment of the UI, by its kind and name."""
    found: dict[tuple[str, str], str] = {}
    for path in sorted(_BUNDLE.rglob("*.js")):
        text = path.read_text()
        for match in _DEFINED.finditer(text):
            if match.groups() not in found and (body := _block(text, match.start())):
                found[match.group(1), match.group(2)] = body
    return found


def _block(text: str, start: int) -> str:
    """The text from `start` to the brace that closes its first one, without the escapes of JavaScript."""
    depth = 0
    for place in range(text.index("{", start), min(start + 20_000, len(text))):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            body = text[start : place + 1].replace("\\n", "\n").replace('\\"', '"')
            return "" if "function" in body else body
    return ""


@cache
def query(name: str) -> str:
    """A query of the UI with every fragment that it spreads."""
    known = _documents()
    wanted, texts = [("query", name)], {}
    while wanted:
        key = wanted.pop()
        if key not in texts:
            texts[key] = known[key]
            wanted += [("fragment", spread) for spread in _SPREAD.findall(texts[key])]
    return "\n".join(texts.values())


class Pages:
    """Answers queries as the webserver does, of one instance."""

    def __init__(self, context: WorkspaceProcessContext) -> None:
        self._context = context
        self._schema = create_schema()

    def ask(self, name: str, **variables: Any) -> Any:
        """The answer to a query of the UI; an AssertionError where it has errors."""
        answer = asyncio.run(
            self._schema.execute_async(
                query(name), context_value=self._context.create_request_context(), variable_values=variables
            )
        )
        assert not answer.errors, (name, answer.errors)
        return answer.data


@contextmanager
def pages(instance: dg.DagsterInstance) -> Iterator[Pages]:
    """The pages of an instance, with the project's definitions in a code server of their own."""
    target = ModuleTarget("optiinfra_dagster.definitions", "defs", None, "optiinfra")
    with WorkspaceProcessContext(instance, target) as context:
        yield Pages(context)
