"""The file of tokens: what may stand in it, and that no token is ever shown."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from optiinfra_dagster.assistant.access import Access, Tokens
from optiinfra_dagster.config.access_tokens import load_grants
from optiinfra_dagster.model.errors import ConfigError

TOKEN = "0f" * 32
OTHER = "a" * 64
HASH = hashlib.sha256(TOKEN.encode()).hexdigest()


def written(folder: Path, text: str) -> Path:
    path = folder / "tokens.yaml"
    path.write_text(text)
    return path


def test_tokens_by_digest_and_by_reference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI_TOKEN", f"{'1a' * 20}\n")
    (tmp_path / "token").write_text("2b" * 20)
    path = written(
        tmp_path,
        f"tokens:\n- {{name: desk, sha256: '{HASH.upper()}', customers: [acme, globex, acme]}}\n"
        "- {name: ci, token: {env: CI_TOKEN}, customers: [acme]}\n"
        "- {name: file, token: {file: token}, customers: [globex]}\n",
    )
    tokens = Tokens(path, print)
    assert tokens.who(TOKEN) == Access("desk", ("acme", "globex"))
    assert tokens.who("1a" * 20) == Access("ci", ("acme",))
    assert tokens.who("2b" * 20) == Access("file", ("globex",))
    for wrong in ("", HASH, TOKEN.upper(), f"{TOKEN} ", "\ud800"):
        assert tokens.who(wrong) is None
    assert HASH not in repr(tokens.grants)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "tokens.yaml:1: the file is not a mapping of keys to values. Write `tokens:`"),
        ("tokens: []", "tokens.yaml:1 tokens: is empty."),
        ("token: []", "tokens.yaml:1 token: is not a known key."),
        ("tokens: [", "is not valid YAML"),
        (f"tokens: [{{sha256: '{HASH}', customers: [acme]}}]", "tokens[0].name: is missing."),
        (f"tokens: [{{name: a, sha256: '{HASH}'}}]", "tokens[0].customers: is missing."),
        (f"tokens: [{{name: a, sha256: '{HASH}', customers: []}}]", "tokens[0].customers: is empty."),
        (f"tokens: [{{name: a, sha256: '{HASH}', customers: acme}}]", "tokens[0].customers: must be a list."),
        (f"tokens: [{{name: a, sha256: {TOKEN[:-1]}x, customers: [acme]}}]", "is not a SHA-256 of 64 digits."),
        (f"tokens: [{{name: a, token: {TOKEN}, customers: [acme]}}]", "a secret may not be written here"),
        ("tokens: [{name: a, customers: [acme]}]", "tokens[0]: needs one of sha256 and token."),
        ("tokens: [{name: a, token: {env: NO_SUCH_TOKEN}, customers: [acme]}]", "NO_SUCH_TOKEN is not set."),
        ("tokens: [{name: a, token: {env: SHORT_TOKEN}, customers: [acme]}]", "has 7 characters, and may be guessed."),
        (
            f"tokens: [{{name: a, sha256: '{HASH}', customers: [a]}},\n {{name: b, sha256: '{HASH}', customers: [b]}}]",
            "tokens.yaml:2 tokens[1]: its token stands twice in the file.",
        ),
        (
            f"tokens: [{{name: a, sha256: '{HASH}', customers: [a]}},\n {{name: a, sha256: {OTHER}, customers: [a]}}]",
            "tokens.yaml:2 tokens[1]: its name stands twice in the file.",
        ),
    ],
)
def test_what_is_wrong_is_said_without_the_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setenv("SHORT_TOKEN", "hunter2")
    with pytest.raises(ConfigError) as wrong:
        load_grants(written(tmp_path, text))
    assert said in str(wrong.value)
    assert ("is empty" in str(wrong.value)) == ("[]" in text and "token: []" not in text)
    assert not [secret for secret in (TOKEN, TOKEN[:-1], HASH, "hunter2") if secret in str(wrong.value)]


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        load_grants(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_grants(tmp_path)
    (tmp_path / "latin").write_bytes(b"tokens: [\xff]")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_grants(tmp_path / "latin")
