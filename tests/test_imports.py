"""Imports stand at the top of a module, except where one saves a process what it has no use for (decision 3)."""

from __future__ import annotations

import ast
import sys
from functools import cache
from typing import TYPE_CHECKING

from tests.conftest import PROJECT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# Where imports of our own stand in functions although no library is behind them, and why.
SEAMS = {
    "cli/": "a command loads what it runs, and no other command's modules",
    "lab/control.py": "the lab loads the stand-ins when it is started",
    "providers/aws/provider.py": "its kinds, which most processes never need",
    "providers/azure/provider.py": "its kinds, which most processes never need",
    "providers/gcp/provider.py": "its kinds, which most processes never need",
    "providers/vultr/provider.py": "its kinds, which most processes never need",
    "assistant/collection_status.py": "with the modules beside it, Dagster",
}


def modules() -> dict[str, Path]:
    files = (PROJECT / "optiinfra_dagster").rglob("*.py")
    return {".".join(file.relative_to(PROJECT).with_suffix("").parts).removesuffix(".__init__"): file for file in files}


MODULES = modules()
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def imported(nodes: Sequence[ast.AST], *, in_functions: bool) -> Iterator[str]:
    """The modules that are imported while a module loads, or else by its functions; not those for annotations."""
    for node in nodes:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, FUNCTIONS) and not in_functions:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{name.name}" for name in node.names]
            yield from (name if name in MODULES else node.module for name in whole)
        else:
            yield from imported([*ast.iter_child_nodes(node)], in_functions=in_functions)


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text(encoding="utf-8"))


@cache
def loaded(module: str) -> frozenset[str]:
    """All that is loaded with a module."""
    found, waiting = set[str](), [module]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += imported(tree(name).body, in_functions=False) if name in MODULES else []
    return frozenset(found)


def in_functions(module: str) -> set[str]:
    functions = [node for node in ast.walk(tree(module)) if isinstance(node, FUNCTIONS)]
    return {name for name in imported(functions, in_functions=True) if name in MODULES}


def libraries(names: frozenset[str]) -> set[str]:
    return {name for name in names if name not in MODULES and name.partition(".")[0] not in sys.stdlib_module_names}


def test_no_import_in_a_function_hides_a_circle() -> None:
    circles = [
        f"{module} imports {name} in a function, which loads it again: move what both need to a module of its own"
        for module in MODULES
        for name in in_functions(module)
        if name != module and module in loaded(name)
    ]
    assert circles == []


def test_an_import_in_a_function_saves_a_library() -> None:
    useless = [
        f"{MODULES[module].relative_to(PROJECT)} imports {name} in a function, for nothing: move it to the top"
        for module in MODULES
        for name in sorted(in_functions(module))
        if not any(f"optiinfra_dagster/{seam}" in MODULES[module].as_posix() for seam in SEAMS)
        and not libraries(loaded(name) - loaded(module))
    ]
    assert useless == []
