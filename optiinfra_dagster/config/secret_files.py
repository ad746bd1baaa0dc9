"""Finds which of the files that hold customers' secrets was changed last. Nothing here reads them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel

from optiinfra_dagster.config.secrets import CredentialsFile, Reference
from optiinfra_dagster.model.errors import ConfigError


def newest_secret(sections: Iterable[BaseModel]) -> str:
    """The secret file changed last, for a log: `/run/secrets/x of 2026-11-30T03:10:00Z`; empty where there is none.

    It tells which state of a rotated secret a run uses. Secrets of the environment change with its process only.
    """
    changed: dict[float, Path] = {}
    for path in {path for section in sections for path in _files(section)}:
        with suppress(OSError):  # whoever uses it says what is wrong
            changed[path.stat().st_mtime] = path
    if not changed:
        return ""
    at = max(changed)
    return f"{changed[at]} of {datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _files(value: object) -> Iterator[Path]:
    if isinstance(value, Reference):
        yield from [value.file] if value.file else []
    elif isinstance(value, CredentialsFile):
        with suppress(ConfigError):
            yield value.resolve()
    elif isinstance(value, BaseModel):
        for _, field in value:
            yield from _files(field)
    elif isinstance(value, tuple | list):
        for one in value:
            yield from _files(one)
