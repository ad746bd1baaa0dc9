"""Problems: the parts of a collection that could not be had, each with its cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from optiinfra_dagster.model.errors import Cause, CollectionError


def describe(problems: Sequence[Problem], most: int = 10) -> str:
    """Problems as one text: each once, with its place, and how many more there are."""
    texts = list(dict.fromkeys(str(p) for p in problems))
    more = f"; and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


@dataclass(frozen=True, slots=True)
class Problem:
    """A part of a collection that could not be had. `region` or `kind` is empty where the whole account is meant."""

    account_id: str
    region: str
    kind: str
    cause: Cause
    message: str

    @classmethod
    def of(cls, account_id: str, error: CollectionError, region: str = "", kind: str = "") -> Problem:
        """The problem that an error is for an account, or for a region and kind of it."""
        return cls(account_id, region, kind, error.cause, str(error))

    def __str__(self) -> str:
        """Name the place, then the reason: `123456789012/us-east-1 rds:db: AccessDenied ...`."""
        place = "/".join(part for part in (self.account_id, self.region) if part)
        return f"{place} {self.kind}: {self.message}" if self.kind else f"{place}: {self.message}"
