"""Metadata on every asset's page: owners, links to code, code version, and freshness policy."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from functools import cache
from pathlib import Path

import dagster as dg

PACKAGE = Path(__file__).parents[1]

OWNERS = ["team:optiinfra"]

# Every asset is materialized each 15 minutes, so three in a row were missed. This watches whether the daemon, the
# schedules and the runs are alive; the check `every_customer_published` tells which customer's data is late.
FRESHNESS = dg.FreshnessPolicy.time_window(warn_window=timedelta(minutes=45), fail_window=timedelta(hours=2))


@cache
def code_of_provider(provider: str) -> str:
    """The version of what is collected from a provider: a hash of the files that say what is listed and measured.

    It changes with every edit of them, so Dagster's UI marks what was collected before; nothing is collected again.
    """
    digest = hashlib.blake2b(digest_size=8)
    for path in sorted((PACKAGE / "providers" / provider).rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def code_references(*places: tuple[Path, int, str]) -> dict[str, dg.CodeReferencesMetadataValue]:
    """Metadata that links an asset's page to its code. A place is a file, a line in it, and what it is called."""
    references: list[dg.LocalFileCodeReference | dg.UrlCodeReference] = [
        dg.LocalFileCodeReference(file_path=str(path), line_number=line, label=label) for path, line, label in places
    ]
    return {"dagster/code_references": dg.CodeReferencesMetadataValue(code_references=references)}
