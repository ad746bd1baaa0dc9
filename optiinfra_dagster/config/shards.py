"""Into how many runs a window's collection is divided: `4`, or `aws=4,vultr=1`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

MOST_SHARDS = 64


@dataclass(frozen=True, slots=True)
class Shards:
    """The number of runs of each provider, 1 where none is named unless `of_all` says otherwise."""

    of_all: int = 1
    by_provider: Mapping[str, int] = field(default_factory=dict)

    def of(self, provider: str) -> int:
        """The number of runs of a provider."""
        return self.by_provider.get(provider, self.of_all)


def read_shards(value: object) -> object:
    """The shards that a text names; anything else as it is.

    Raises:
        ValueError: it is neither a number nor a list of providers with numbers, or a number is not from 1 to 64.
    """
    if not isinstance(value, str):
        return value
    if "=" not in value:
        return Shards(of_all=_number(value))
    by_provider: dict[str, int] = {}
    for part in value.split(","):
        provider, _, number = (text.strip() for text in part.partition("="))
        if provider in by_provider:
            raise ValueError(f"{provider} is named twice")
        by_provider[provider] = _number(number)
    return Shards(by_provider=by_provider)


def _number(text: str) -> int:
    if not (text.strip().isdecimal() and 1 <= int(text) <= MOST_SHARDS):
        raise ValueError(f"{text.strip()!r} is not a number from 1 to {MOST_SHARDS}")
    return int(text)
