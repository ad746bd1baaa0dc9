"""The file of access tokens: who may ask `optiinfra mcp`, and about which customers.

    tokens:
      - name: finops
        sha256: 4d0e...               # of the token: printf %s TOKEN | sha256sum
        customers: [acme, globex]
      - name: ci
        token: {env: CI_TOKEN}        # or {file: /run/secrets/token}, or {aws_secret: name}
        customers: [acme]

No token stands in it. What is looked up is kept as its digest.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, ValidationError, field_validator, model_validator

from optiinfra_dagster.config.secrets import HOW_TO_REFER, Reference, Section, mistakes_of, problem
from optiinfra_dagster.config.yaml_reader import read, spell
from optiinfra_dagster.model.errors import ConfigError, OptiInfraError

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from optiinfra_dagster.config.yaml_reader import Place

SHORTEST_TOKEN = 32  # characters: 128 bits where they are hexadecimal digits, which nobody guesses

_HOW_TO_MAKE = "Make one with `openssl rand -hex 32`"
_HOW_TO_LIST = "Write `tokens:` and beneath it a list, each with name, customers, and sha256 or token"
_HOW_TO_HASH = "Write the 64 digits that `printf %s TOKEN | sha256sum` prints, in quotes"
_WORDS = {
    "extra_forbidden": "is not a known key",
    "list_type": "must be a list",
    "missing": "is missing",
    "model_type": "must be a mapping of keys to values",
    "string_type": "must be text, and YAML reads this as something else: quotes help",
    "too_short": "is empty",
    "tuple_type": "must be a list",
}


@dataclass(frozen=True, slots=True)
class Grant:
    """The rights of one token, known by its digest: the ids of the customers that its holder may ask about.

    `file` is where the token itself was read, if it was in a file.
    """

    name: str
    digest: bytes = field(repr=False)  # SHA-256
    customers: tuple[str, ...]
    file: Path | None = field(default=None, repr=False)


class _Token(Section):
    name: str = Field(min_length=1, max_length=100, description="Write a name by which the log may call its holder")
    sha256: str | None = Field(default=None, description=_HOW_TO_HASH)
    token: Reference | None = Field(default=None, description=HOW_TO_REFER)
    customers: tuple[str, ...] = Field(min_length=1, description="Write the ids of customers, such as [acme]")

    @field_validator("sha256")
    @classmethod
    def _check_digits(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value):
            raise problem("is not a SHA-256 of 64 digits", _HOW_TO_HASH)
        return value

    @model_validator(mode="after")
    def _check_one(self) -> _Token:
        if (self.sha256 is None) == (self.token is None):
            raise problem("needs one of sha256 and token", _HOW_TO_LIST)
        return self


class _Tokens(Section):
    tokens: tuple[_Token, ...] = Field(min_length=1, description=_HOW_TO_LIST)


def load_grants(path: Path) -> tuple[Grant, ...]:
    """The tokens of a file; those that are references are looked up.

    Raises:
        ConfigError: the file cannot be read or is wrong, or a token leads nowhere or is too short. No value is shown.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the file of tokens is not UTF-8 text. Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(
            f"{path}: the file of tokens cannot be read: {error.strerror}. Correct OPTIINFRA_MCP_TOKENS."
        ) from None
    document = read(text)
    found: tuple[_Token, ...] = ()
    if document.parsed:
        try:
            found = _Tokens.model_validate(document.data, context={"folder": path.absolute().parent}).tokens
        except ValidationError as error:
            for details in mistakes_of(error):
                document.complain(*_explained(details))
    if document.mistakes:
        raise ConfigError("\n".join(f"{path}:{mistake}" for mistake in document.mistakes[:20]))
    grants: list[Grant] = []
    for index, one in enumerate(found):
        place: Place = ("tokens", index)
        digest = _digest(path, place, one)
        same_name = any(one.name == other.name for other in grants)
        if same_name or any(digest == other.digest for other in grants):
            raise ConfigError(
                f"{path}:{document.line(place)} {spell(place)}: its {'name' if same_name else 'token'} stands twice in "
                "the file. Give each holder a token of its own."
            )
        file = one.token.file if one.token else None
        grants.append(Grant(one.name, digest, tuple(dict.fromkeys(one.customers)), file))
    return tuple(grants)


def digest_of(token: str) -> bytes:
    """The digest of a token, by which tokens are compared."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def _digest(path: Path, place: Place, one: _Token) -> bytes:
    if one.token is None:
        return bytes.fromhex(one.sha256 or "")
    one.token.found_at(f"{path}: {spell(place)}.token")
    try:
        token = one.token.resolve()
    except OptiInfraError as error:
        raise ConfigError(str(error)) from None
    if len(token) < SHORTEST_TOKEN:
        raise ConfigError(
            f"{path}: {spell(place)}.token has {len(token)} characters, and may be guessed. {_HOW_TO_MAKE}."
        )
    return digest_of(token)


def _explained(details: ErrorDetails) -> tuple[Place, str, str]:
    """The place of a mistake, what it is, and its remedy."""
    place: Place = tuple(details["loc"])
    if details["type"] == "plain":
        return place, details["ctx"]["what"], details["ctx"]["remedy"] or _HOW_TO_LIST
    model = _Tokens if len(place) < 2 else _Token
    known = model.model_fields.get(str(place[-1])) if place else None
    message = details["msg"]
    what = _WORDS.get(details["type"], f"{message[:1].lower()}{message[1:]}")
    if not place:
        what = "the file is not a mapping of keys to values"
    return place, what, (known.description if known else None) or _HOW_TO_LIST
