"""Every session that inserts says so, and no INSERT may be sent twice: read in the code itself."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import optiinfra_dagster

PACKAGE = Path(optiinfra_dagster.__file__).parent
INSERT = "INSERT INTO"


@cache
def trees() -> dict[str, ast.Module]:
    """The modules that may insert, by name: those that speak of a client."""
    texts = {path: path.read_text(encoding="utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
    return {str(path.relative_to(PACKAGE)): ast.parse(text) for path, text in texts.items() if "client" in text}


def test_every_session_that_inserts_says_what_it_writes() -> None:
    """Rows of a session that does not say so would be on one replica only, for a while.

    Migrations see to the quorum of their rows themselves, since their sessions come before the tables.
    """
    functions = [
        node
        for name, tree in trees().items()
        if name not in {"storage/migrations.py", "storage/sort_keys.py"}
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    ]
    sessions = {function: _sessions(function) for function in functions}
    calls = {
        function.name: _calls(function)
        for function in functions
        if any(argument.arg == "client" for argument in function.args.args)
        and not sessions[function]
        and function.name != "read_spending"  # what it calls has the name of one that inserts
    }
    inserting, before = {"insert_arrow", "insert_rows", INSERT}, 0
    while len(inserting) > before:  # who is given a client and calls one of them is another
        before = len(inserting)
        inserting |= {name for name, called in calls.items() if called & inserting}
    assert {"publish", "record_imports", "keep_prices", "clear"} <= inserting
    silent = [
        ast.unparse(session)
        for of_function in sessions.values()
        for block, session in of_function
        if _calls(block) & inserting and not any(keyword.arg == "writes" for keyword in session.keywords)
    ]
    assert silent == []


def test_no_insert_may_be_sent_twice() -> None:
    """clickhouse-connect sends `insert` again when the server closes the connection: `insert_rows` is for that."""
    for name, tree in trees().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr in {"insert", "insert_df", "raw_insert"}:
                of_client = isinstance(node.value, ast.Name) and node.value.id == "client"
                assert not of_client or name == "storage/inserts.py", name


def _calls(node: ast.AST) -> set[str]:
    """The names of what is called, and INSERT for a statement into a table."""
    calls = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Call) and isinstance(one.func, ast.Attribute | ast.Name):
            calls.add(one.func.attr if isinstance(one.func, ast.Attribute) else one.func.id)
        elif isinstance(one, ast.Constant) and re.match(r"\s*INSERT INTO (?!FUNCTION )", str(one.value)):
            calls.add(INSERT)
    return calls


def _sessions(node: ast.AST) -> list[tuple[ast.With, ast.Call]]:
    return [
        (block, item.context_expr)
        for block in ast.walk(node)
        if isinstance(block, ast.With)
        for item in block.items
        if isinstance(item.context_expr, ast.Call)
        and isinstance(item.context_expr.func, ast.Attribute)
        and item.context_expr.func.attr == "session"
        and item.optional_vars is not None
    ]
