"""Whose token it is, while the file of tokens and the files that it names change."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from optiinfra_dagster.assistant import access
from optiinfra_dagster.assistant.access import Access, Tokens

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "0123456789abcdef" * 2, "fedcba9876543210" * 2
ACME = Access("ci", ("acme",))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of tokens that names another one, which holds OLD."""
    monkeypatch.setattr(access, "_AGAIN_SECONDS", 0.0)
    (tmp_path / "token").write_text(OLD)
    path = tmp_path / "tokens.yaml"
    path.write_text("tokens:\n  - {name: ci, token: {file: token}, customers: [acme]}\n")
    return path


def test_a_token_that_is_rotated_in_its_own_file_counts_at_once(path: Path) -> None:
    """As Kubernetes does with a mounted secret: the file of tokens stays as it is."""
    tokens = Tokens(path, pytest.fail)
    assert [tokens.who(one) for one in (OLD, NEW)] == [ACME, None]
    fresh = path.parent / "fresh"
    fresh.write_text(NEW)
    fresh.replace(path.parent / "token")
    assert [tokens.who(one) for one in (OLD, NEW)] == [None, ACME]


def test_while_the_file_of_a_token_is_away_nobody_is_let_in(path: Path) -> None:
    """And it is said once, until it is there again."""
    said: list[str] = []
    tokens = Tokens(path, said.append)
    (path.parent / "token").unlink()
    assert [tokens.who(OLD) for _ in range(3)] == [None] * 3
    (line,) = said
    assert "nobody is let in: " in line
    (path.parent / "token").write_text(NEW)
    assert [tokens.who(one) for one in (OLD, NEW)] == [None, ACME]


def test_a_file_that_comes_after_the_one_that_names_it_is_read(path: Path) -> None:
    said: list[str] = []
    tokens = Tokens(path, said.append)
    path.write_text(path.read_text().replace("file: token", "file: second"))
    assert tokens.who(OLD) is None
    (path.parent / "second").write_text(NEW)
    assert [tokens.who(one) for one in (OLD, NEW)] == [None, ACME]
