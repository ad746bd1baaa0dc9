"""Words of messages about configuration."""

from __future__ import annotations

import difflib
from collections.abc import Collection


def closest(word: str, known: Collection[str]) -> str:
    """` (did you mean 'x'?)`, or nothing where no known word is near."""
    near = difflib.get_close_matches(word, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
