"""Words of messages about configuration."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def closest(word: str, known: Collection[str], cutoff: float = 0.6) -> str:
    """` (did you mean 'x'?)`, or nothing where no known word is near; `cutoff` is from 0, any word, to 1, the same."""
    cased = [other for other in known if other != word and other.casefold() == word.casefold()]
    swapped = cased or [other for other in known if other != word and sorted(other) == sorted(word)]
    near = swapped or difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f" (did you mean '{near[0]}'?)" if near else ""
